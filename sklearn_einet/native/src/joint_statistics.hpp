/* Expected statistics of multivariate normal densities, from rows with missing cells. */
#pragma once

#include "joint.hpp"

namespace sklearn_einet::INSTRUCTION_SET {
namespace {

/* Jobs that are enough for all threads to be busy nearly to the end. */
constexpr long few_jobs = 8;

/* Sums of products of all pairs of columns, in blocks of four by four: those of the upper triangle,
 * one row of blocks after the other. Where the row is, and from there the column. */
ALWAYS_INLINE inline long pair_row(long i, long n_columns) {
    const long block = i / four, n_blocks = n_columns / four;
    return (block * n_blocks - block * (block + 1) / 2) * four * four + i % four * four;
}

ALWAYS_INLINE inline long pair_column(long j) {
    return j / four * four * four + j % four;
}

ALWAYS_INLINE inline long n_pairs(long n_columns) {
    const long n_blocks = n_columns / four;
    return n_blocks * (n_blocks + 1) / 2 * four * four;
}

/* Add the products of some columns, times the weights, with four columns. */
template <class Real> ALWAYS_INLINE inline void add_products(Real *sums, const Real *weighted,
                                                             const Real *x, long n_columns, long i,
                                                             long j, long rows) {
    constexpr long n = lanes<Real>;
    Real *const own = sums + (pair_row(i, n_columns) + pair_column(j)) * n;
    Vec<Real> sum[tall][four];
    UNROLL
    for (int o = 0; o < tall; o++)
        UNROLL
    for (int c = 0; c < four; c++)
        sum[o][c] = vec(own + (o * four + c) * n).v;
    for (long r = 0; r < rows; r++) {
        const Real *left = cell(weighted, n_columns, r) + i * four * n;
        const Real *right = cell(x, n_columns, r) + j * four * n;
        Vec<Real> row[four];
        UNROLL
        for (int c = 0; c < four; c++)
            row[c] = vec(right + c * four * n).v;
        UNROLL
        for (int o = 0; o < tall; o++) {
            const Vec<Real> factor = vec(left + o * four * n).v;
            UNROLL
            for (int c = 0; c < four; c++)
                sum[o][c] += factor * row[c];
        }
    }
    UNROLL
    for (int o = 0; o < tall; o++)
        UNROLL
    for (int c = 0; c < four; c++)
        vec(own + (o * four + c) * n).v = sum[o][c];
}

/* Add the covariances of the missing cells that the factor is for, times the mass of the rows. The
 * factor is inverted. */
template <class Real> ALWAYS_INLINE inline void add_covariances(Completer<Real> &own, Real *sums,
                                                                long n_columns, Vec<Real> mass) {
    constexpr long n = lanes<Real>;
    for (long k = 0; k < own.n_factored; k++) {
        Real *row = triangle_row(own.factor, k);
        for (long i = 0; i < k; i++) {
            const Vec<Real> factor = vec(own.scaled + i * n).v = vec(row + i * n).v;
            vec(row + i * n).v = -factor;
        }
        for (long i = 1; i < k; i++) {
            const Real *above = triangle_row(own.factor, i);
            const Vec<Real> factor = vec(own.scaled + i * n).v;
            for (long j = 0; j < i; j++)
                vec(row + j * n).v -= factor * vec(above + j * n).v;
        }
        vec(row + k * n).v = Vec<Real>{} + (Real)1;
        const Vec<Real> share = mass * vec(own.inverse + k * n).v;
        for (long i = 0; i <= k; i++) {
            Real *to = sums + pair_row(own.factored[i], n_columns) * n;
            const Vec<Real> factor = share * vec(row + i * n).v;
            for (long j = i; j <= k; j++)
                vec(to + pair_column(own.factored[j]) * n).v += factor * vec(row + j * n).v;
        }
    }
    own.n_factored = 0;
}

/* Statistics from sums about the means, in the order 1, x and the upper triangle of x x'. */
template <class Real> ALWAYS_INLINE inline void write_statistics(Real *statistics, const Real *sums,
                                                                 const Real *mean, long d,
                                                                 long n_columns, long some) {
    constexpr long n = lanes<Real>;
    const long n_statistics = 1 + d + d * (d + 1) / 2;
    auto sum = [=](long i, long j) ALWAYS_INLINE {
        return vec(sums + (pair_row(i, n_columns) + pair_column(j)) * n).v;
    };
    auto write = [=](long at, Vec<Real> value) ALWAYS_INLINE {
        for (long c = 0; c < some; c++)
            statistics[c * n_statistics + at] = value[c];
    };
    const Vec<Real> mass = sum(d, d);
    write(0, mass);
    long at = 1 + d;
    for (long i = 0; i < d; i++) {
        const Vec<Real> own = vec(mean + i * n).v, first = sum(i, d);
        write(1 + i, first + own * mass);
        for (long j = i; j < d; j++) {
            const Vec<Real> other = vec(mean + j * n).v;
            write(at++, sum(i, j) + own * sum(j, d) + (first + own * mass) * other);
        }
    }
}

/* The rows of a job, whose sums are added up. */
template <class Real>
ALWAYS_INLINE inline void sum_rows(const JointStatistics<Real> &op, Completer<Real> own, Real *x,
                                   Real *weighted, Real *sums, long first, long start, long end) {
    constexpr long n = lanes<Real>;
    const long d = op.d, n_columns = whole_fours(d + 1);
    const long some = op.n - first < n ? op.n - first : n;
    memset(x, 0, block_rows * n_columns * n * sizeof(Real));
    memset(weighted, 0, block_rows * n_columns * n * sizeof(Real));
    memset(sums, 0, n_pairs(n_columns) * n * sizeof(Real));
    Vec<Real> mass = {};
    for (long b = start; b < end; b += block_rows) {
        const long rows = end - b < block_rows ? end - b : block_rows;
        for (long r = 0; r < rows; r++) {
            Real *row = cell(x, n_columns, r), *to = cell(weighted, n_columns, r);
            Vec<Real> weight = {};
            for (long c = 0; c < some; c++)
                weight[c] = op.posterior[(first + c) * op.batch + b + r];
            read_row(own, row, op.z + b + r, op.batch);
            vec(row + d * four * n).v = Vec<Real>{} + (Real)1;
            if (own.n_missing) {
                if (!is_factored(own)) {
                    add_covariances(own, sums, n_columns, mass);
                    mass = Vec<Real>{};
                    factorize(own);
                }
                mass += weight;
                fill_row(own, row);
            }
            for (long j = 0; j <= d; j++)
                vec(to + j * four * n).v = weight * vec(row + j * four * n).v;
        }
        for (long i = 0; i <= d; i += tall)
            for (long j = i / four * four; j <= d; j += four)
                add_products(sums, weighted, x, n_columns, i, j, rows);
    }
    add_covariances(own, sums, n_columns, mass);
}

template <class Real> void run(const JointStatistics<Real> &op, int threads) {
    constexpr long n = lanes<Real>;
    const long d = op.d, batch = op.batch, n_columns = whole_fours(d + 1);
    const long strips = n_vectors<Real>(op.n), size = n_pairs(n_columns) * n;
    const Team used = team(threads, 8.0 * op.n * d * d * batch);
    Scratch<Real> scratch;
    const CompleterLayout<Real> layout(&scratch, d);
    const long at_x = scratch.numbers(block_rows * n_columns * n);
    const long at_weighted = scratch.numbers(block_rows * n_columns * n);
    if (!strips)
        return;
    /* Where there are few vectors of densities, threads share the rows; in as many parts for any
     * number of threads, so that the sums are the same to the last digit. */
    const long worthy = batch / worthy_rows + 1, wanted = (few_jobs + strips - 1) / strips;
    const long parts = wanted < worthy ? wanted : worthy;
    const Memory memory(1, parts * strips * size * (long)sizeof(Real));
    Real *const all_sums = static_cast<Real *>(memory.of_thread(0));
    auto add = [=](long job, Real *own) ALWAYS_INLINE {
        const long first = job % strips * n, part = job / strips;
        sum_rows(op, layout.start(own, op.mean, op.precision, op.n, first), own + at_x,
                 own + at_weighted, all_sums + job * size, first, batch * part / parts,
                 batch * (part + 1) / parts);
    };
    for_jobs(parts * strips, used, Dynamic{1}, scratch, add);
    auto finish = [=](long strip, Real *own) ALWAYS_INLINE {
        Real *sums = all_sums + strip * size;
        for (long part = 1; part < parts; part++)
            for (long i = 0; i < size; i += n)
                vec(sums + i).v += vec(sums + part * strips * size + i).v;
        const long first = strip * n, some = op.n - first < n ? op.n - first : n;
        const long n_statistics = 1 + d + d * (d + 1) / 2;
        copy_densities(own, op.mean, d, op.n, first);
        write_statistics(op.statistics + first * n_statistics, sums, own, d, n_columns, some);
    };
    for_jobs(strips, used, Static{}, scratch, finish);
}

} // namespace
} // namespace sklearn_einet::INSTRUCTION_SET
