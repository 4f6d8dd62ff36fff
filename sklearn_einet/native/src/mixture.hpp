/* EM of mixtures of multivariate normal densities, many steps in one call.
 *
 * Vectors run along rows. These are sorted by which of their cells are missing: what a density
 * expects of missing cells is the same linear function of the others in all rows of such a pattern.
 * In large mixtures nearly all densities of a row have no share in it worth the name: most steps
 * are for the pairs of rows and densities that had one in the last step that was for all of them
 * (sparse EM: R. Neal and G. Hinton, "A View of the EM Algorithm that Justifies Incremental,
 * Sparse, and Other Variants", 1998).
 */
#pragma once

#include <algorithm>
#include <cmath>

#include "jobs.hpp"

namespace sklearn_einet::INSTRUCTION_SET {
namespace {

/* Rows of a job; and vectors of them that go together through a matrix. */
constexpr long mixture_rows = 1024;
constexpr int abreast = 4;

/* Steps from one that is for all pairs to the next one; the share of the likeliest density of its
 * row that makes a pair matter; and the share of all pairs up to which those are listed. */
constexpr long steps_between = 5;
constexpr double least_share = 1e-9, most_listed = 1.0 / 3;

/* Rows with the same missing cells: the end of them, how many are missing, and the columns, those
 * that are missing first. */
struct Pattern {
    const int64_t *at;

    long end() const { return at[0]; }
    long n_missing() const { return at[1]; }
    long column(long i) const { return at[2 + i]; }
};

/* Rows of a block, of which a list may have some. */
struct SomeRows {
    long first;
    const int32_t *list;
    long count;

    ALWAYS_INLINE long at(long i) const { return first + (list ? list[i] : i); }

    /* How many from one on are before a row. */
    ALWAYS_INLINE long until(long from, long end) const {
        if (!list)
            return std::min(count, end - first) - from;
        return std::lower_bound(list + from, list + count, end - first) - list - from;
    }
};

/* What is known of the densities, and of their shares in the rows. */
template <class Real> struct Mixture {
    MixtureSteps<Real> op;
    long stride;
    Real *whitening;       /* (n, d, d): inverses of the factors of the covariances */
    Real *completions;     /* (n, n_patterns, d, d): slopes of missing cells, or covariances */
    Real *shifts;          /* (n, n_patterns): logarithms of weights and densities at the peaks */
    Real *sums;            /* (n, d + 1, d + 1): statistics about the means, then scatters */
    Real *total;           /* (n): masses */
    Real *shares;          /* (n_blocks, n, stride) */
    int32_t *lists;        /* (n_blocks, n, stride) */
    int64_t *counts;       /* (n_blocks, n): lengths of lists */
    int64_t *is_listed;    /* (n_blocks) */
    Real *log_likelihoods; /* (n_blocks) */

    long n_blocks() const { return (op.batch + stride - 1) / stride; }
    Real *shares_of(long block, long c) const { return shares + (block * op.n + c) * stride; }
    Pattern pattern(long p) const { return {op.patterns + p * (op.d + 2)}; }
    Real *completion(long c, long p) const {
        return completions + (c * op.n_patterns + p) * op.d * op.d;
    }
    SomeRows rows(long block, long c) const {
        const long first = block * stride, pair = block * op.n + c;
        if (is_listed[block])
            return {first, lists + pair * stride, counts[pair]};
        return {first, nullptr, std::min(stride, op.batch - first)};
    }
};

/* body(part, some) for the parts of rows that have the same pattern, which is its last argument. */
template <class Real, class Body>
ALWAYS_INLINE inline void by_pattern(const Mixture<Real> &own, SomeRows rows, const Body &body) {
    long p = 0;
    for (long i = 0; i < rows.count;) {
        while (own.pattern(p).end() <= rows.at(i))
            p++;
        const long some = rows.until(i, own.pattern(p).end());
        body(i, some, p);
        i += some;
    }
}

/* Read m vectors of rows, less the mean, and complete them. Past the end the last row is repeated.
 */
template <int m, class Real> ALWAYS_INLINE inline void
read_rows(const Mixture<Real> &own, Real *x, SomeRows rows, long from, long some, long c, long p) {
    constexpr long n = lanes<Real>, width = m * n;
    const long d = own.op.d;
    const Real *mean = own.op.mean + c * d;
    if (!rows.list && some >= width)
        for (long j = 0; j < d; j++)
            for (int v = 0; v < m; v++)
                vec(x + j * width + v * n).v =
                    vec(own.op.z + j * own.op.batch + rows.first + from + v * n).v - mean[j];
    else {
        long at[width];
        for (long i = 0; i < width; i++)
            at[i] = rows.at(from + std::min(i, some - 1));
        for (long j = 0; j < d; j++)
            for (long i = 0; i < width; i++)
                x[j * width + i] = own.op.z[j * own.op.batch + at[i]] - mean[j];
    }
    const Pattern pattern = own.pattern(p);
    const Real *slopes = own.completion(c, p);
    for (long k = 0; k < pattern.n_missing(); k++) {
        Vec<Real> value[m] = {};
        for (long i = pattern.n_missing(); i < d; i++) {
            const long j = pattern.column(i);
            for (int v = 0; v < m; v++)
                value[v] += slopes[pattern.column(k) * d + j] * vec(x + j * width + v * n).v;
        }
        for (int v = 0; v < m; v++)
            vec(x + pattern.column(k) * width + v * n).v = value[v];
    }
}

/* squares += squares of the products of `tall` rows of a lower triangular matrix with m vectors. */
template <int m, int tall, class Real> ALWAYS_INLINE inline void
add_products_squared(Vec<Real> *squares, const Real *matrix, const Real *x, long i, long d) {
    constexpr long n = lanes<Real>;
    Vec<Real> sum[tall][m] = {};
    for (long j = 0; j < i + tall; j++)
        UNROLL
    for (int o = 0; o < tall; o++)
        UNROLL
    for (int v = 0; v < m; v++)
        sum[o][v] += matrix[(i + o) * d + j] * vec(x + (j * m + v) * n).v;
    UNROLL
    for (int o = 0; o < tall; o++)
        UNROLL
    for (int v = 0; v < m; v++)
        squares[v] += sum[o][v] * sum[o][v];
}

/* Logarithms of the shares of a density in m vectors of rows, up to the rows' own sums. */
template <int m, class Real>
ALWAYS_INLINE inline void score_rows(const Mixture<Real> &own, Real *x, SomeRows rows, long from,
                                     long some, long c, long p, Real *shares) {
    constexpr long n = lanes<Real>;
    read_rows<m>(own, x, rows, from, some, c, p);
    const long d = own.op.d;
    const Real *whitening = own.whitening + c * d * d;
    Vec<Real> squares[m] = {};
    long i = 0;
    for (; i + 2 <= d; i += 2)
        add_products_squared<m, 2>(squares, whitening, x, i, d);
    if (i < d)
        add_products_squared<m, 1>(squares, whitening, x, i, d);
    const Real shift = own.shifts[c * own.op.n_patterns + p];
    for (int v = 0; v < m; v++) {
        const Vec<Real> value = shift - (Real)0.5 * squares[v];
        const long here = std::min(n, some - v * n);
        if (here == n)
            vec(shares + from + v * n).v = value;
        else
            for (long l = 0; l < here; l++)
                shares[from + v * n + l] = value[l];
    }
}

/* The same for the rows of a block. */
template <class Real>
ALWAYS_INLINE inline void score(const Mixture<Real> &own, Real *x, long block, long c) {
    constexpr long n = lanes<Real>;
    const SomeRows rows = own.rows(block, c);
    Real *shares = own.shares_of(block, c);
    by_pattern(own, rows, [&](long from, long some, long p) ALWAYS_INLINE {
        for (; some > n; from += abreast * n, some -= abreast * n)
            score_rows<abreast>(own, x, rows, from, some, c, p, shares);
        if (some > 0)
            score_rows<1>(own, x, rows, from, some, c, p, shares);
    });
}

/* Raise the largest logarithms of the rows to those of a density. */
template <class Real>
ALWAYS_INLINE inline void raise(Real *largest, const Real *shares, SomeRows rows) {
    if (rows.list)
        for (long i = 0; i < rows.count; i++)
            largest[rows.list[i]] = std::max(largest[rows.list[i]], shares[i]);
    else
        for (long r = 0; r < rows.count; r++)
            largest[r] = std::max(largest[r], shares[r]);
}

/* Shares relative to the likeliest densities, and the sums of them. */
template <class Real> ALWAYS_INLINE inline void make_relative(Real *shares, Real *sum,
                                                              const Real *largest, SomeRows rows) {
    constexpr long n = lanes<Real>;
    if (!rows.list) {
        for (long r = 0; r < rows.count; r += n) {
            const Vec<Real> share = exp<Real>(vec(shares + r).v - vec(largest + r).v);
            vec(shares + r).v = share;
            vec(sum + r).v += share;
        }
        return;
    }
    for (long i = 0; i < rows.count; i++)
        shares[i] -= largest[rows.list[i]];
    for (long i = 0; i < rows.count; i += n)
        vec(shares + i).v = exp<Real>(vec(shares + i).v);
    for (long i = 0; i < rows.count; i++)
        sum[rows.list[i]] += shares[i];
}

/* Keep the shares that matter, and list their rows; returns how many. */
template <class Real> ALWAYS_INLINE inline long keep(Real *shares, int32_t *list, long rows) {
    constexpr long n = lanes<Real>;
    constexpr Real least = (Real)least_share;
    long count = 0;
    for (long start = 0; start < rows; start += n) {
        const Vec<Real> some = vec(shares + start).v;
        Real any = some[0];
        for (long l = 1; l < n; l++)
            any = std::max(any, some[l]);
        if (any <= least)
            continue;
        for (long r = start; r < std::min(start + n, rows); r++) {
            list[count] = (int32_t)r;
            shares[count] = some[r - start];
            count += some[r - start] > least;
        }
    }
    return count;
}

/* Make lists of the pairs of a block that matter, if they are few. */
template <class Real>
ALWAYS_INLINE inline void list_pairs(const Mixture<Real> &own, long block, long rows) {
    const long n = own.op.n;
    Real *shares = own.shares + block * n * own.stride;
    long matter = 0;
    for (long c = 0; c < n; c++)
        for (long r = 0; r < rows; r++)
            matter += shares[c * own.stride + r] > (Real)least_share;
    own.is_listed[block] = matter <= most_listed * n * rows;
    for (long c = 0; own.is_listed[block] && c < n; c++, shares += own.stride)
        own.counts[block * n + c] = keep(shares, own.lists + (block * n + c) * own.stride, rows);
}

/* An E-step for a block of rows: shares become posteriors times the weights of the rows. */
template <class Real> ALWAYS_INLINE inline void
infer(const Mixture<Real> &own, long block, bool for_all, Real *x, Real *largest, Real *sum) {
    const long first = block * own.stride, rows = std::min(own.stride, own.op.batch - first);
    if (for_all)
        own.is_listed[block] = 0;
    std::fill(largest, largest + own.stride, -(Real)__builtin_inf());
    std::fill(sum, sum + own.stride, (Real)0);
    const auto each = [&](const auto &body) ALWAYS_INLINE {
        for (long c = 0; c < own.op.n; c++)
            body(c, own.shares_of(block, c), own.rows(block, c));
    };
    each([&](long c, Real *shares, SomeRows some) ALWAYS_INLINE {
        score(own, x, block, c);
        raise(largest, shares, some);
    });
    each([&](long, Real *shares, SomeRows some)
             ALWAYS_INLINE { make_relative(shares, sum, largest, some); });
    Real total = 0;
    for (long r = 0; r < rows; r++) {
        const Real weight = own.op.weight[first + r];
        total += weight * (largest[r] + std::log(sum[r]));
        sum[r] = weight / sum[r];
    }
    own.log_likelihoods[block] = total;
    if (for_all)
        list_pairs(own, block, rows);
    each([&](long, Real *shares, SomeRows some) ALWAYS_INLINE {
        for (long i = 0; i < some.count; i++)
            shares[i] *= sum[some.list ? some.list[i] : i];
    });
}

/* Add the products of all pairs of columns, one of which is 1, of m vectors of rows, times their
 * shares; returns the mass. */
template <int m, class Real>
ALWAYS_INLINE inline Vec<Real> add_rows_of(const Mixture<Real> &own, Real *x, Real *sums,
                                           SomeRows rows, long from, long some, long c, long p,
                                           const Real *shares) {
    constexpr long n = lanes<Real>;
    const long d = own.op.d;
    read_rows<m>(own, x, rows, from, some, c, p);
    Vec<Real> share[m], mass = {};
    for (int v = 0; v < m; v++) {
        const long here = std::max(0L, std::min(n, some - v * n));
        share[v] = Vec<Real>{};
        if (here == n)
            share[v] = vec(shares + from + v * n).v;
        else
            for (long l = 0; l < here; l++)
                share[v][l] = shares[from + v * n + l];
        vec(x + (d * m + v) * n).v = Vec<Real>{} + (Real)1;
        mass += share[v];
    }
    for (long i = 0; i <= d; i++) {
        Vec<Real> weighted[m];
        for (int v = 0; v < m; v++)
            weighted[v] = share[v] * vec(x + (i * m + v) * n).v;
        for (long j = 0; j <= i; j++, sums += n) {
            Vec<Real> sum = vec(sums).v;
            UNROLL
            for (int v = 0; v < m; v++)
                sum += weighted[v] * vec(x + (j * m + v) * n).v;
            vec(sums).v = sum;
        }
    }
    return mass;
}

/* The statistics of a density about its mean, (d + 1, d + 1): the lower triangle of sums of
 * products, where the last column is 1. */
template <class Real> ALWAYS_INLINE inline void add_up(const Mixture<Real> &own, Real *x,
                                                       Real *sums, Real *masses, long c) {
    constexpr long n = lanes<Real>;
    const long d = own.op.d, n_blocks = own.n_blocks();
    memset(sums, 0, (d + 1) * (d + 2) / 2 * n * sizeof(Real));
    memset(masses, 0, own.op.n_patterns * sizeof(Real));
    for (long block = 0; block < n_blocks; block++) {
        const SomeRows rows = own.rows(block, c);
        const Real *shares = own.shares_of(block, c);
        by_pattern(own, rows, [&](long from, long some, long p) ALWAYS_INLINE {
            Vec<Real> mass = {};
            for (; some > n; from += abreast * n, some -= abreast * n)
                mass += add_rows_of<abreast>(own, x, sums, rows, from, some, c, p, shares);
            if (some > 0)
                mass += add_rows_of<1>(own, x, sums, rows, from, some, c, p, shares);
            masses[p] += total<Real>(mass);
        });
    }
    Real *result = own.sums + c * (d + 1) * (d + 1);
    for (long i = 0; i <= d; i++)
        for (long j = 0; j <= i; j++, sums += n)
            result[i * (d + 1) + j] = total<Real>(vec(sums).v);
    for (long p = 0; p < own.op.n_patterns; p++) {
        const Pattern pattern = own.pattern(p);
        const Real *covariance = own.completion(c, p);
        for (long k = 0; k < pattern.n_missing(); k++)
            for (long l = 0; l < pattern.n_missing(); l++) {
                const long i = pattern.column(k), j = pattern.column(l);
                if (j <= i)
                    result[i * (d + 1) + j] += masses[p] * covariance[i * d + j];
            }
    }
}

} // namespace
} // namespace sklearn_einet::INSTRUCTION_SET
