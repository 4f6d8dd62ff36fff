/* Strips of the batch.
 *
 * All arrays have the batch as their last, contiguous axis, which vectors run along. A batch is cut
 * into strips of two vectors; what a strip needs is copied to scratch memory first, padded with
 * zeros, so that all loops have full vectors and stay in the first level of the cache.
 */
#pragma once

#include "jobs.hpp"

namespace sklearn_einet::INSTRUCTION_SET {
namespace {

template <class Real> constexpr long strip = 2 * lanes<Real>;

template <class Real> ALWAYS_INLINE inline long n_strips(long batch) {
    return (batch + strip<Real> - 1) / strip<Real>;
}

/* The numbers of the strip that begins at `start`. */
template <class Real> ALWAYS_INLINE inline long strip_width(long batch, long start) {
    return batch - start < strip<Real> ? batch - start : strip<Real>;
}

/* body(row, start, width, memory) for every strip of every row. */
template <class Real, class Schedule, class Body>
ALWAYS_INLINE inline void for_strips(long n_rows, long batch, Team team, Schedule schedule,
                                     const Scratch<Real> &scratch, Body body) {
    const long n = n_strips<Real>(batch);
    for_jobs(n_rows * n, team, schedule, scratch, [=](long job, Real *memory) ALWAYS_INLINE {
        long start = job % n * strip<Real>;
        body(job / n, start, strip_width<Real>(batch, start), memory);
    });
}

/* Threads take whole rows of the results, or else they would write into the same cache lines; and
 * strips only where there are too few rows. */
template <class Real> ALWAYS_INLINE inline Dynamic by_rows(long n_rows, long batch, int threads) {
    return {n_rows < 2 * (long)threads ? 1 : n_strips<Real>(batch)};
}

/* Copy a strip of one row, padded with zeros. */
template <class Real> ALWAYS_INLINE inline void copy(Real *to, const Real *from, long width) {
    constexpr long n = lanes<Real>;
    if (width == strip<Real>) {
        vec(to).v = vec(from).v;
        vec(to + n).v = vec(from + n).v;
        return;
    }
    long done = width < n ? 0 : n;
    vec(to).v = vec(to + n).v = Vec<Real>{};
    if (done)
        vec(to).v = vec(from).v;
    for (long b = done; b < width; b++)
        to[b] = from[b];
}

template <class Real>
ALWAYS_INLINE inline void copy_rows(Real *to, const Real *from, long rows, long ld, long width) {
    for (long k = 0; k < rows; k++)
        copy(to + k * strip<Real>, from + k * ld, width);
}

/* Back from a strip to rows that are ld numbers apart. */
template <class Real>
ALWAYS_INLINE inline void write_rows(Real *to, const Real *from, long rows, long ld, long width) {
    constexpr long n = lanes<Real>;
    for (long k = 0; k < rows; k++)
        if (width == strip<Real>) {
            vec(to + k * ld).v = vec(from + k * strip<Real>).v;
            vec(to + k * ld + n).v = vec(from + k * strip<Real> + n).v;
        } else
            memcpy(to + k * ld, from + k * strip<Real>, width * sizeof(Real));
}

/* A strip of exp(x - top), with the maximum over the rows for top; at least the least number, so
 * that the exponential of -inf is 0 where all rows have it. */
template <class Real> ALWAYS_INLINE inline void exp_rows(Real *to, Real *top, const Real *from,
                                                         long rows, long ld, long width) {
    copy_rows(to, from, rows, ld, width);
    for (long c = 0; c < width; c += lanes<Real>) {
        Vec<Real> most = Vec<Real>{} - Format<Real>::most;
        for (long k = 0; k < rows; k++) {
            Vec<Real> value = vec(to + k * strip<Real> + c).v;
            /* What is not a number is the maximum. */
            Bits<Real> keep = (Bits<Real>)(value <= most) | (Bits<Real>)(most != most);
            most = select<Real>(keep, most, value);
        }
        for (long k = 0; k < rows; k++)
            vec(to + k * strip<Real> + c).v = exp<Real>(vec(to + k * strip<Real> + c).v - most);
        vec(top + c).v = most;
    }
}

/* A strip of grad / sums, 0 where a sum is: so are the gradients of all its terms. */
template <class Real> ALWAYS_INLINE inline void ratio_rows(Real *to, const Real *grad,
                                                           const Real *sums, long rows, long ld,
                                                           long width, Real *spare) {
    for (long k = 0; k < rows; k++) {
        copy(to + k * strip<Real>, grad + k * ld, width);
        copy(spare, sums + k * ld, width);
        for (long c = 0; c < strip<Real>; c += lanes<Real>) {
            Vec<Real> sum = vec(spare + c).v;
            Bits<Real> some = (Bits<Real>)(sum >= Format<Real>::tiny);
            Vec<Real> ratio = vec(to + k * strip<Real> + c).v / sum;
            vec(to + k * strip<Real> + c).v = (Vec<Real>)((Bits<Real>)ratio & some);
        }
    }
}

/* to (width, ld) = from (rows, strip) transposed, padded with zeros; ld is the number of rows, up to
 * whole vectors. */
template <class Real>
ALWAYS_INLINE inline void transpose(Real *to, long ld, const Real *from, long rows, long width) {
    constexpr long n = lanes<Real>;
    for (long b = 0; b < width; b += n)
        for (long k = 0; k < ld; k += n) {
            Vec<Real> square[n];
            UNROLL
            for (long r = 0; r < n; r++)
                square[r] = k + r < rows ? vec(from + (k + r) * strip<Real> + b).v : Vec<Real>{};
            transpose_square<Real>(square);
            const long here = width - b < n ? width - b : n;
            UNROLL
            for (long c = 0; c < n; c++)
                if (c < here)
                    vec(to + (b + c) * ld + k).v = square[c];
        }
}

/* x *= factors. */
template <class Real> ALWAYS_INLINE inline void multiply(Real *x, const Real *factors, long n) {
    long i = 0;
    for (; i + lanes<Real> <= n; i += lanes<Real>)
        vec(x + i).v *= vec(factors + i).v;
    for (; i < n; i++)
        x[i] *= factors[i];
}

} // namespace
} // namespace sklearn_einet::INSTRUCTION_SET
