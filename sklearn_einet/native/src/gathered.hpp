/* Products of matrices with rows that are gathered from a table, for leaves. */
#pragma once

#include "tiles.hpp"

namespace sklearn_einet::INSTRUCTION_SET {
namespace {

/* Groups of t rows of x, `slots` of them for each product: those in `index`. */
template <class Real> ALWAYS_INLINE inline void gather_rows(Real *rows, const Real *x,
                                                            const int64_t *index, long slots,
                                                            long t, long batch, long width) {
    for (long s = 0; s < slots; s++)
        copy_rows(rows + s * t * strip<Real>, x + index[s] * t * batch, t, batch, width);
}

/* Few results of `gathered` in a whole strip, for which rows are not worth copying. The last strip
 * of a batch begins earlier for that, if it can, and so has some numbers of the one before. */
template <int m, class Real>
ALWAYS_INLINE inline void narrow_product(const Real *a, const Real *x, const int64_t *index,
                                         Real *result, long slots, long t, long batch) {
    constexpr long ld = strip<Real>, n = lanes<Real>;
    Vec<Real> sum[m][2];
    UNROLL
    for (int o = 0; o < m; o++)
        UNROLL
    for (int v = 0; v < 2; v++)
        sum[o][v] = vec(result + o * ld + v * n).v;
    for (long s = 0; s < slots; s++) {
        const Real *row = x + index[s] * t * batch;
        for (long i = 0; i < t; i++, a += m, row += batch)
            UNROLL
        for (int o = 0; o < m; o++)
            UNROLL
        for (int v = 0; v < 2; v++)
            sum[o][v] += a[o] * vec(row + v * n).v;
    }
    UNROLL
    for (int o = 0; o < m; o++)
        UNROLL
    for (int v = 0; v < 2; v++)
        vec(result + o * ld + v * n).v = sum[o][v];
}

template <class Real> void run(const Gathered<Real> &op, int threads) {
    constexpr long ld = strip<Real>, n = lanes<Real>;
    const long m = op.k, slots = op.n_slots, t = op.n_statistics, batch = op.batch;
    const long depth = slots * t;
    const bool narrow = m <= few_columns && batch >= ld;
    Scratch<Real> scratch;
    const long at_rows = scratch.strips(depth), at_result = scratch.strips(m);
    auto body = [=](long p, long b, long width, Real *memory) ALWAYS_INLINE {
        Real *rows = memory + at_rows, *result = memory + at_result;
        const Real *factors = op.factors + p * m * depth, *x = op.x + b;
        const int64_t *own = op.index + p * slots;
        const long early = narrow ? ld - width : 0;
        for (long o = 0; o < m; o++)
            for (long c = 0; c < ld; c += n)
                vec(result + o * ld + c).v = Vec<Real>{} - op.bias[p * m + o];
        if (narrow)
            with_rows<few_columns>(m, [&](auto columns) ALWAYS_INLINE {
                narrow_product<columns.value>(factors, x - early, own, result, slots, t, batch);
            });
        else {
            gather_rows(rows, x, own, slots, t, batch, width);
            product(factors, 1, m, m, depth, rows, result, width, true);
        }
        write_rows(op.products + p * m * batch + b, result + early, m, batch, width);
    };
    const Team used = team(threads, access * op.n_regions * m * depth * batch);
    for_strips(op.n_regions, batch, used, Static{}, scratch, body);
}

/* The sum of a row of any length. */
template <class Real> ALWAYS_INLINE inline Real sum_row(const Real *row, long length) {
    Vec<Real> sum = {};
    long i = 0;
    for (; i + lanes<Real> <= length; i += lanes<Real>)
        sum += vec(row + i).v;
    Real result = total<Real>(sum);
    for (; i < length; i++)
        result += row[i];
    return result;
}

/* The gradients of one product for few columns: sums along the whole batch, one by one; `above`
 * has room for all strips. */
template <class Real> ALWAYS_INLINE inline void narrow_gradients(const Real *grad, const Real *x,
                                                                 const int64_t *index, Real *to,
                                                                 Real *above, long m, long slots,
                                                                 long t, long batch) {
    constexpr long ld = strip<Real>, n = lanes<Real>;
    const long n_all = n_strips<Real>(batch), early = n_all * ld - batch, whole = batch / ld * ld;
    memset(above, 0, m * n_all * ld * sizeof(Real));
    for (long o = 0; o < m; o++) {
        Real *strips = above + o * n_all * ld;
        memcpy(strips, grad + o * batch, whole * sizeof(Real));
        memcpy(strips + whole + early, grad + o * batch + whole, (batch - whole) * sizeof(Real));
    }
    for (long s = 0; s < slots; s++)
        for (long i = 0; i < t; i++)
            for (long o = 0; o < m; o++) {
                const Real *row = x + (index[s] * t + i) * batch, *own = above + o * n_all * ld;
                Vec<Real> sum[2] = {};
                for (long b = 0; b < n_all; b++, row += ld, own += ld) {
                    if (b == n_all - 1)
                        row -= early;
                    sum[0] += vec(row).v * vec(own).v;
                    sum[1] += vec(row + n).v * vec(own + n).v;
                }
                *to++ = total<Real>(sum[0] + sum[1]);
            }
}

template <class Real> void run(const GatheredGradients<Real> &op, int threads) {
    constexpr long n = lanes<Real>;
    const long m = op.k, slots = op.n_slots, t = op.n_statistics, batch = op.batch;
    const long depth = slots * t, ld_turned = (m + n - 1) / n * n;
    const bool narrow = m <= few_columns && batch >= strip<Real>;
    Scratch<Real> scratch;
    const long at_rows = scratch.strips(narrow ? m * n_strips<Real>(batch) : depth);
    const long at_above = scratch.strips(narrow ? 0 : m);
    const long at_turned = scratch.strips(narrow ? 0 : ld_turned);
    auto body = [=](long p, Real *memory) ALWAYS_INLINE {
        Real *rows = memory + at_rows, *above = memory + at_above, *turned = memory + at_turned;
        const Real *grad = op.grad + p * m * batch;
        const int64_t *own = op.index + p * slots;
        Real *to = op.grad_factors + p * m * depth;
        for (long o = 0; o < m; o++)
            op.totals[p * m + o] = sum_row(grad + o * batch, batch);
        if (narrow) {
            narrow_gradients(grad, op.x, own, to, rows, m, slots, t, batch);
            return;
        }
        memset(to, 0, m * depth * sizeof(Real));
        for (long b = 0; b < batch; b += strip<Real>) {
            const long width = strip_width<Real>(batch, b);
            gather_rows(rows, op.x + b, own, slots, t, batch, width);
            copy_rows(above, grad + b, m, batch, width);
            transpose(turned, ld_turned, above, m, width);
            outer(rows, depth, turned, ld_turned, width, to, m, m);
        }
    };
    const Team used = team(threads, access * op.n_regions * m * depth * batch);
    for_jobs(op.n_regions, used, Static{}, scratch, body);
}

} // namespace
} // namespace sklearn_einet::INSTRUCTION_SET
