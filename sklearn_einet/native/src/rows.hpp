/* What is done to arrays row by row: clearing, adding, and the M-step of sums. */
#pragma once

#include "strips.hpp"

namespace sklearn_einet::INSTRUCTION_SET {
namespace {

template <class Real> void run(const Clear<Real> &op, int threads) {
    constexpr long some = 4096;
    auto body = [=](long job, Real *) ALWAYS_INLINE {
        const long start = job * some, n = op.n - start < some ? op.n - start : some;
        memset(op.x + start, 0, n * sizeof(Real));
    };
    const Team used = team(threads, 5.0 * op.n);
    for_jobs((op.n + some - 1) / some, used, Static{}, Scratch<Real>{}, body);
}

template <class Real> void run(const AddRows<Real> &op, int threads) {
    const long size = op.row_size, n = n_strips<Real>(size);
    /* Threads take parts of all rows, as a row may be added to several times. */
    const Team used = team(threads, access * op.n_rows * size);
    const int parts = used.members;
    auto body = [=](long part, Real *) ALWAYS_INLINE {
        const long start = n * part / parts * strip<Real>;
        const long stop = n * (part + 1) / parts * strip<Real>, end = stop < size ? stop : size;
        for (long row = 0; row < op.n_rows; row++) {
            Real *sum = op.target + op.target_rows[row] * size;
            const Real *more = op.source + (op.source_rows ? op.source_rows[row] : row) * size;
            long i = start;
            if (op.replaces) {
                memcpy(sum + i, more + i, (end - i) * sizeof(Real));
                continue;
            }
            for (; i + lanes<Real> <= end; i += lanes<Real>)
                vec(sum + i).v += vec(more + i).v;
            for (; i < end; i++)
                sum[i] += more[i];
        }
    };
    for_jobs(parts, used, Static{}, Scratch<Real>{}, body);
}

template <class Real> void run(const EMUpdate<Real> &op, int threads) {
    constexpr long n = lanes<Real>;
    const long k = op.n_terms;
    const Real of_old = op.keep, of_new = op.add, more = op.smoothing;
    auto body = [=](long row, Real *) ALWAYS_INLINE {
        Real *mean = op.average + row * k, *to = op.weights + row * k;
        const Real *from = op.counts + row * k;
        Vec<Real> sum = {};
        Real total = 0;
        long j = 0;
        for (; j + n <= k; j += n) {
            Vec<Real> here = of_old * vec(mean + j).v + of_new * vec(from + j).v;
            vec(mean + j).v = here;
            sum += here;
        }
        for (; j < k; j++) {
            mean[j] = of_old * mean[j] + of_new * from[j];
            total += mean[j];
        }
        for (int c = 0; c < n; c++)
            total += sum[c];
        if (op.idle && total == 0)
            return;
        Real factor = 1 / (total + more * k);
        for (j = 0; j + n <= k; j += n)
            vec(to + j).v = (vec(mean + j).v + more) * factor;
        for (; j < k; j++)
            to[j] = (mean[j] + more) * factor;
    };
    const Team used = team(threads, 2 * access * op.n_sums * k);
    for_jobs(op.n_sums, used, Static{}, Scratch<Real>{}, body);
}

} // namespace
} // namespace sklearn_einet::INSTRUCTION_SET
