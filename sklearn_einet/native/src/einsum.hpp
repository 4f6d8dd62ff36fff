/* Sums over all pairs of two children's units (paper, eq. 4), and their gradients. */
#pragma once

#include "tiles.hpp"

namespace sklearn_einet::INSTRUCTION_SET {
namespace {

/* How many of a left child's units are paired at a time. */
template <class Real> ALWAYS_INLINE inline long pair_block(long k) {
    long row = k * strip<Real> * (long)sizeof(Real), block = row ? 16384 / row : 1;
    return block < 1 ? 1 : block > k ? k : block;
}

/* All pairs of `count` units of the left child, from the first given, and those of the right. */
template <class Real> ALWAYS_INLINE inline void
pair_rows(Real *pairs, const Real *left, const Real *right, long count, long k, long width) {
    for (long c = 0; c < width; c += lanes<Real>)
        for (long i = 0; i < count; i++) {
            Vec<Real> factor = vec(left + i * strip<Real> + c).v;
            for (long j = 0; j < k; j++)
                vec(pairs + (i * k + j) * strip<Real> + c).v =
                    factor * vec(right + j * strip<Real> + c).v;
        }
}

/* The m sums of one partition in a strip. */
template <class Real> ALWAYS_INLINE inline void pair_sums(const Real *w, const Real *left,
                                                          const Real *right, Real *result,
                                                          Real *pairs, long m, long k, long width) {
    constexpr long ld = strip<Real>;
    long block = pair_block<Real>(k);
    if (m >= 4) {
        for (long i = 0; i < k; i += block) {
            long here = k - i < block ? k - i : block;
            pair_rows(pairs, left + i * ld, right, here, k, width);
            product(w + i * k, k * k, 1, m, here * k, pairs, result, width, i > 0);
        }
        return;
    }
    /* Few sums: with the right child first, the rows of the weights fill the register tiles. */
    for (long o = 0; o < m; o++) {
        product(w + o * k * k, k, 1, k, k, right, pairs, width, false);
        for (long c = 0; c < width; c += lanes<Real>) {
            Vec<Real> sum = {};
            for (long i = 0; i < k; i++)
                sum += vec(left + i * ld + c).v * vec(pairs + i * ld + c).v;
            vec(result + o * ld + c).v = sum;
        }
    }
}

/* The row of x of a partition's left (0) or right (1) child. */
template <class Operation>
ALWAYS_INLINE inline long child_row(const Operation &op, long p, long side) {
    return op.gather ? op.gather[2 * p + side] : 2 * p + side;
}

template <class Real> void run(const Einsum<Real> &op, int threads) {
    constexpr long ld = strip<Real>;
    const long m = op.k_out, k = op.k, batch = op.batch, n_pairs = pair_block<Real>(k) * k;
    Scratch<Real> scratch;
    const long at_left = scratch.strips(k), at_right = scratch.strips(k);
    const long at_pairs = scratch.strips(n_pairs), at_result = scratch.strips(m);
    const long at_top = scratch.strips(2);
    auto body = [=](long p, long b, long width, Real *memory) ALWAYS_INLINE {
        Real *left = memory + at_left, *right = memory + at_right, *pairs = memory + at_pairs;
        Real *result = memory + at_result, *top = memory + at_top;
        exp_rows(left, top, op.x + child_row(op, p, 0) * k * batch + b, k, batch, width);
        exp_rows(right, top + ld, op.x + child_row(op, p, 1) * k * batch + b, k, batch, width);
        pair_sums(op.weights + p * m * k * k, left, right, result, pairs, m, k, width);
        if (op.sums)
            write_rows(op.sums + p * m * batch + b, result, m, batch, width);
        for (long c = 0; c < width; c += lanes<Real>) {
            Vec<Real> scale = vec(top + c).v + vec(top + ld + c).v;
            for (long o = 0; o < m; o++)
                vec(result + o * ld + c).v = log<Real>(vec(result + o * ld + c).v) + scale;
        }
        write_rows(op.logs + p * m * batch + b, result, m, batch, width);
    };
    const double of_one = m * k * k + exponential * (2 * k + m);
    const Team used = team(threads, of_one * op.n_partitions * batch);
    Dynamic schedule = by_rows<Real>(op.n_partitions, batch, threads);
    for_strips(op.n_partitions, batch, used, schedule, scratch, body);
}

/* The gradients of a partition's children in a strip, with respect to logarithms: of the units of
 * the left child from the first given, and the right child's share of those. */
template <class Real>
ALWAYS_INLINE inline void child_gradients(const Real *w, const Real *left, const Real *right,
                                          const Real *above, Real *for_left, Real *for_right,
                                          Real *inner, long count, long m, long k, long width) {
    constexpr long ld = strip<Real>;
    for (long i = 0; i < count; i++) {
        product(w + i * k, 1, k * k, k, m, above, inner, width, false);
        for (long c = 0; c < width; c += lanes<Real>) {
            Vec<Real> factor = vec(left + i * ld + c).v, sum = {};
            for (long j = 0; j < k; j++) {
                Vec<Real> term = vec(inner + j * ld + c).v * vec(right + j * ld + c).v;
                sum += term;
                vec(for_right + j * ld + c).v += term * factor;
            }
            vec(for_left + i * ld + c).v = sum * factor;
        }
    }
}

/* The gradients of the weights of few pairs, a vector of sums along the batch for each. */
template <class Real> ALWAYS_INLINE inline void narrow_pairs(const Real *above, const Real *left,
                                                             const Real *right, Real *sums, long m,
                                                             long k, long width) {
    constexpr long ld = strip<Real>, n = lanes<Real>;
    for (long c = 0; c < width; c += n)
        for (long i = 0; i < k; i++)
            for (long j = 0; j < k; j++) {
                Vec<Real> pair = vec(left + i * ld + c).v * vec(right + j * ld + c).v;
                for (long o = 0; o < m; o++)
                    vec(sums + ((o * k + i) * k + j) * n).v += vec(above + o * ld + c).v * pair;
            }
}

/* Pairs of `count` units of the left child and those of the right, which is transposed, for every
 * number of a strip. */
template <class Real> ALWAYS_INLINE inline void pair_columns(Real *pairs, long ld_pairs,
                                                             const Real *left, const Real *turned,
                                                             long ld_turned, long count, long k,
                                                             long width) {
    for (long c = 0; c < width; c++)
        for (long i = 0; i < count; i++) {
            Real factor = left[i * strip<Real> + c];
            Real *to = pairs + c * ld_pairs + i * k;
            /* What is written beyond k units is overwritten by the next. */
            for (long j = 0; j < k; j += lanes<Real>)
                vec(to + j).v = factor * vec(turned + c * ld_turned + j).v;
        }
}

template <class Real> void run(const EinsumGradients<Real> &op, int threads) {
    constexpr long n = lanes<Real>;
    const long m = op.k_out, k = op.k, batch = op.batch, block = pair_block<Real>(k);
    const long ld_pairs = block * k + 2 * n, ld_turned = (k + n - 1) / n * n;
    const long n_narrow = k <= few_columns ? m * k * k : 0;
    Scratch<Real> scratch;
    const long at_left = scratch.strips(k), at_right = scratch.strips(k);
    const long at_above = scratch.strips(m), at_for_left = scratch.strips(k);
    const long at_for_right = scratch.strips(k), at_inner = scratch.strips(k);
    const long at_top = scratch.strips(1), at_turned = scratch.strips(ld_turned);
    const long at_pairs = scratch.strips(ld_pairs), at_narrow = scratch.numbers(n_narrow * n);
    auto body = [=](long p, Real *memory) ALWAYS_INLINE {
        Real *left = memory + at_left, *right = memory + at_right, *above = memory + at_above;
        Real *for_left = memory + at_for_left, *for_right = memory + at_for_right;
        Real *inner = memory + at_inner, *top = memory + at_top, *turned = memory + at_turned;
        Real *pairs = memory + at_pairs, *narrow = memory + at_narrow;
        const Real *first = op.x + child_row(op, p, 0) * k * batch;
        const Real *second = op.x + child_row(op, p, 1) * k * batch;
        const Real *w = op.weights + p * m * k * k, *grad = op.grad + p * m * batch;
        Real *grad_w = op.grad_weights + p * m * k * k;
        memset(grad_w, 0, m * k * k * sizeof(Real));
        memset(narrow, 0, n_narrow * n * sizeof(Real));
        for (long b = 0; b < batch; b += strip<Real>) {
            long width = strip_width<Real>(batch, b);
            if (op.sums) {
                exp_rows(left, top, first + b, k, batch, width);
                exp_rows(right, top, second + b, k, batch, width);
                ratio_rows(above, grad + b, op.sums + p * m * batch + b, m, batch, width, top);
            } else {
                copy_rows(left, first + b, k, batch, width);
                copy_rows(right, second + b, k, batch, width);
                copy_rows(above, grad + b, m, batch, width);
            }
            memset(for_right, 0, k * strip<Real> * sizeof(Real));
            if (n_narrow)
                narrow_pairs(above, left, right, narrow, m, k, width);
            else
                transpose(turned, ld_turned, right, k, width);
            for (long i = 0; i < k; i += block) {
                long here = k - i < block ? k - i : block;
                const Real *own = left + i * strip<Real>;
                child_gradients(w + i * k, own, right, above, for_left + i * strip<Real>, for_right,
                                inner, here, m, k, width);
                if (n_narrow)
                    continue;
                pair_columns(pairs, ld_pairs, own, turned, ld_turned, here, k, width);
                outer(above, m, pairs, ld_pairs, width, grad_w + i * k, k * k, here * k);
            }
            write_rows(op.grad_x + 2 * p * k * batch + b, for_left, k, batch, width);
            write_rows(op.grad_x + (2 * p + 1) * k * batch + b, for_right, k, batch, width);
        }
        for (long i = 0; i < n_narrow; i++)
            grad_w[i] = total<Real>(vec(narrow + i * n).v);
        if (op.of_logs)
            multiply(grad_w, w, m * k * k);
    };
    const double of_one = 3.0 * m * k * k + exponential * (2 * k + m);
    const Team used = team(threads, of_one * op.n_partitions * batch);
    Dynamic schedule = {1 + op.n_partitions / (16 * (long)threads)};
    for_jobs(op.n_partitions, used, schedule, scratch, body);
}

} // namespace
} // namespace sklearn_einet::INSTRUCTION_SET
