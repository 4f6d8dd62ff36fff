/* The statistics of columns with normal densities. */
#pragma once

#include "strips.hpp"

namespace sklearn_einet::INSTRUCTION_SET {
namespace {

/* Data are doubles for all types of numbers: the variance is a small difference of their
 * statistics. */
using Wide = Vec<double>;
using Mask = Bits<double>;
template <class Real> using Part = typename Format<Real>::Part;
constexpr long doubles = lanes<double>;

/* Cells of a row that one thread takes. */
constexpr long part_size = 256;

ALWAYS_INLINE inline void load(Wide *to, const double *from, long width) {
    if (width == doubles)
        *to = vec(from).v;
    else
        memcpy(to, from, width * sizeof(double));
}

ALWAYS_INLINE inline void store(double *to, const Wide *from, long width) {
    if (width == doubles)
        vec(to).v = *from;
    else
        memcpy(to, from, width * sizeof(double));
}

template <class Real>
ALWAYS_INLINE inline void store_part(Real *to, const Part<Real> *from, long width) {
    if (width == doubles)
        reinterpret_cast<Unaligned<Part<Real>> *>(to)->v = *from;
    else
        memcpy(to, from, width * sizeof(Real));
}

/* The statistics of some cells of a column; their reference densities' logarithms are added to
 * those of the rows, -inf for what is infinite. Returns which cells are finite. */
template <class Real> ALWAYS_INLINE inline Mask read_cells(Wide x, const double *reference,
                                                           bool with_mask, Part<Real> *statistics,
                                                           Wide *base, Wide *largest) {
    const Wide none = {}, least = none - __builtin_inf();
    Wide size = (Wide)((Mask)x & INT64_MAX);
    Mask seen = (Mask)(size <= DBL_MAX), infinite = (Mask)(size > DBL_MAX);
    if (with_mask) {
        x = (Wide)((Mask)x & seen);
        Wide one = (Wide)((Mask)(none + 1.0) & seen);
        statistics[2] = __builtin_convertvector(one, Part<Real>);
    }
    statistics[0] = __builtin_convertvector(x, Part<Real>);
    statistics[1] = __builtin_convertvector(x * x, Part<Real>);
    Wide density = reference[0] + (reference[1] + reference[2] * x) * x;
    *base += (Wide)(((Mask)density & seen) | ((Mask)least & infinite));
    Mask more = (Mask)(size > *largest) & seen;
    *largest = select<double>(more, size, *largest);
    return seen;
}

template <class Real> void run(const ReadNormal<Real> &op, int threads) {
    const long n = op.n_columns, batch = op.batch, t = op.with_mask ? 3 : 2;
    const long n_parts = (batch + part_size - 1) / part_size;
    if (batch && !op.statistics)
        refuse("read_normal: statistics is null");
    if (batch)
        memset(op.base, 0, batch * sizeof(double));
    /* Of each part, the largest size and whether all cells are finite. */
    const Memory found(1, 2 * n_parts * (long)sizeof(double));
    double *const largest_of = static_cast<double *>(found.of_thread(0)), *const all_of =
                                                                              largest_of + n_parts;
    auto body = [=](long part, Real *) ALWAYS_INLINE {
        const long start = part * part_size;
        const long end = start + part_size < batch ? start + part_size : batch;
        Wide largest = {};
        Mask seen = ~Mask{};
        for (long row = 0; row < n; row++)
            for (long b = start; b < end; b += doubles) {
                const long width = end - b < doubles ? end - b : doubles;
                Wide cells = {}, sum = {};
                Part<Real> own[3];
                load(&cells, op.x + row * batch + b, width);
                load(&sum, op.base + b, width);
                seen &= read_cells<Real>(cells, op.reference + 3 * row, op.with_mask, own, &sum,
                                         &largest);
                store(op.base + b, &sum, width);
                for (long i = 0; i < t; i++)
                    store_part<Real>(op.statistics + (row * t + i) * batch + b, own + i, width);
            }
        for (long i = n * t; i < (n + 1) * t; i++)
            memset(op.statistics + i * batch + start, 0, (end - start) * sizeof(Real));
        double most = 0;
        int64_t all_seen = -1;
        for (int c = 0; c < doubles; c++) {
            most = largest[c] > most ? largest[c] : most;
            all_seen &= seen[c];
        }
        largest_of[part] = most;
        all_of[part] = all_seen ? 1 : 0;
    };
    const Team used = team(threads, 2 * exponential * n * batch);
    for_jobs<KeepSubnormals>(n_parts, used, Static{}, Scratch<Real>{}, body);
    op.found[0] = 0;
    op.found[1] = 1;
    for (long part = 0; part < n_parts; part++) {
        op.found[0] = largest_of[part] > op.found[0] ? largest_of[part] : op.found[0];
        op.found[1] = all_of[part] < op.found[1] ? all_of[part] : op.found[1];
    }
}

} // namespace
} // namespace sklearn_einet::INSTRUCTION_SET
