/* Multivariate normal densities of rows with missing cells.
 *
 * Vectors run along the densities, whose parameters a thread copies first, so many as a vector has:
 * rows with whatever cells missing are the same work for all of them. With the distances x of a row
 * from the means, 0 where it is missing, and the precisions P, missing cells are expected at
 * -inverse(P_mm) P_mo x_o, with the covariances inverse(P_mm).
 */
#pragma once

#include "jobs.hpp"

namespace sklearn_einet::INSTRUCTION_SET {
namespace {

/* Rows go by fours through products, and so do columns; products of so many columns and four rows
 * stay in registers. */
constexpr long four = 4;
constexpr int tall = tile_rows < 12 ? 2 : 4;

/* Rows that are completed before products are made of them: a line of the cache of doubles. */
constexpr long block_rows = 8;

/* Rows for which it is worth copying the parameters of some densities. */
constexpr long worthy_rows = 256;

/* Matrices of more have no place in memory. */
constexpr long most_columns = 1 << 20;

ALWAYS_INLINE inline long whole_fours(long count) {
    return (count + four - 1) / four * four;
}

template <class Real> ALWAYS_INLINE inline long n_vectors(long n) {
    return (n + lanes<Real> - 1) / lanes<Real>;
}

/* A column of a row, in fours of rows of n_columns each. */
template <class Real> ALWAYS_INLINE inline Real *cell(Real *x, long n_columns, long row) {
    return x + (row / four * n_columns * four + row % four) * lanes<Real>;
}

/* A row of a lower triangle. */
template <class Real> ALWAYS_INLINE inline Real *triangle_row(Real *triangle, long row) {
    return triangle + row * (row + 1) / 2 * lanes<Real>;
}

/* Some densities of each of `rows` numbers, padded with zeros. */
template <class Real> ALWAYS_INLINE inline void copy_densities(Real *to, const Real *from,
                                                               long rows, long n, long first) {
    constexpr long width = lanes<Real>;
    const long some = n - first < width ? n - first : width;
    for (long i = 0; i < rows; i++, to += width) {
        if (some == width)
            vec(to).v = vec(from + i * n + first).v;
        else {
            vec(to).v = Vec<Real>{};
            memcpy(to, from + i * n + first, some * sizeof(Real));
        }
    }
}

/* The densities of a job, and where it completes rows. */
template <class Real> struct Completer {
    long d;
    Real *mean, *precision; /* (d), (d, d) */
    Real *factor, *inverse; /* a unit lower triangle with the pivots, and their inverses */
    Real *slope, *scaled;
    int32_t *missing, *factored; /* the missing columns of a row, and those of the factor */
    long n_missing, n_factored;
    Vec<Real> log_det; /* of the block of the precisions that belongs to the missing cells */
};

/* Where a Completer's arrays are in the scratch memory. */
template <class Real> struct CompleterLayout {
    long d, mean, precision, factor, inverse, slope, scaled, missing, factored;

    CompleterLayout(Scratch<Real> *scratch, long columns) : d(columns) {
        if (d > most_columns)
            refuse("joint densities: d is too large");
        constexpr long width = lanes<Real>;
        mean = scratch->numbers(d * width);
        precision = scratch->numbers(d * d * width);
        factor = scratch->numbers(d * (d + 1) / 2 * width);
        inverse = scratch->numbers(d * width);
        slope = scratch->numbers(d * width);
        scaled = scratch->numbers(d * width);
        missing = scratch->numbers(d * width);
        factored = scratch->numbers(d * width);
    }

    /* A completer of some densities. */
    ALWAYS_INLINE Completer<Real> start(Real *memory, const Real *means, const Real *precisions,
                                        long n, long first) const {
        auto integers = [=](long at) { return reinterpret_cast<int32_t *>(memory + at); };
        copy_densities(memory + mean, means, d, n, first);
        copy_densities(memory + precision, precisions, d * d, n, first);
        return {d,
                memory + mean,
                memory + precision,
                memory + factor,
                memory + inverse,
                memory + slope,
                memory + scaled,
                integers(missing),
                integers(factored),
                0,
                0,
                Vec<Real>{}};
    }
};

/* Read a row: x, and which columns are missing. */
template <class Real>
ALWAYS_INLINE inline void read_row(Completer<Real> &own, Real *x, const Real *z, long batch) {
    constexpr long n = lanes<Real>;
    long p = 0;
    for (long j = 0; j < own.d; j++) {
        const Vec<Real> value = Vec<Real>{} + z[j * batch];
        const Bits<Real> seen = (Bits<Real>)(value == value);
        const Vec<Real> distance = value - vec(own.mean + j * n).v;
        vec(x + j * four * n).v = (Vec<Real>)((Bits<Real>)distance & seen);
        own.missing[p] = (int32_t)j;
        p += z[j * batch] != z[j * batch];
    }
    own.n_missing = p;
}

/* P_mo x_o of some missing columns. */
template <int m, class Real>
ALWAYS_INLINE inline void add_slopes(const Completer<Real> &own, const Real *x, long first) {
    constexpr long n = lanes<Real>;
    const Real *row[m];
    Vec<Real> sum[m];
    UNROLL
    for (int o = 0; o < m; o++) {
        row[o] = own.precision + own.factored[first + o] * own.d * n;
        sum[o] = Vec<Real>{};
    }
    for (long j = 0; j < own.d; j++) {
        const Vec<Real> distance = vec(x + j * four * n).v;
        UNROLL
        for (int o = 0; o < m; o++)
            sum[o] += vec(row[o] + j * n).v * distance;
    }
    UNROLL
    for (int o = 0; o < m; o++)
        vec(own.slope + (first + o) * n).v = sum[o];
}

/* Some rows of a column of the factor, times its pivot. */
template <int m, class Real>
ALWAYS_INLINE inline void eliminate(const Completer<Real> &own, long first, long column) {
    constexpr long n = lanes<Real>;
    Real *row[m];
    Vec<Real> sum[m];
    UNROLL
    for (int o = 0; o < m; o++) {
        row[o] = triangle_row(own.factor, first + o);
        const long cell = own.factored[first + o] * own.d + own.factored[column];
        sum[o] = vec(own.precision + cell * n).v;
    }
    for (long k = 0; k < column; k++) {
        const Vec<Real> factor = vec(own.scaled + k * n).v;
        UNROLL
        for (int o = 0; o < m; o++)
            sum[o] -= vec(row[o] + k * n).v * factor;
    }
    UNROLL
    for (int o = 0; o < m; o++)
        vec(row[o] + column * n).v = sum[o];
}

/* Factorize the block of the precisions that belongs to the missing columns of the row read. */
template <class Real> ALWAYS_INLINE inline void factorize(Completer<Real> &own) {
    constexpr long n = lanes<Real>;
    constexpr Real epsilon = sizeof(Real) == 8 ? (Real)DBL_EPSILON : (Real)FLT_EPSILON;
    std::swap(own.missing, own.factored);
    const long p = own.n_factored = own.n_missing;
    own.log_det = Vec<Real>{};
    for (long j = 0; j < p; j++) {
        Real *row = triangle_row(own.factor, j);
        for (long k = 0; k < j; k++)
            vec(own.scaled + k * n).v =
                vec(row + k * n).v * vec(triangle_row(own.factor, k) + k * n).v;
        long i = j;
        for (; i + four <= p; i += four)
            eliminate<four>(own, i, j);
        for (; i < p; i++)
            eliminate<1>(own, i, j);
        /* No smaller than rounding errors, which may be negative. */
        const long diagonal = own.factored[j] * (own.d + 1);
        const Vec<Real> least = epsilon * vec(own.precision + diagonal * n).v;
        Vec<Real> pivot = vec(row + j * n).v;
        pivot = select<Real>((Bits<Real>)(pivot > least), pivot, least);
        const Vec<Real> inverse = (Real)1 / pivot;
        vec(row + j * n).v = pivot;
        vec(own.inverse + j * n).v = inverse;
        own.log_det += log<Real>(pivot);
        for (i = j + 1; i < p; i++)
            vec(triangle_row(own.factor, i) + j * n).v *= inverse;
    }
}

/* Set the missing cells of x to what is expected of them, less the means. */
template <class Real> ALWAYS_INLINE inline void fill_row(const Completer<Real> &own, Real *x) {
    constexpr long n = lanes<Real>;
    const long p = own.n_factored;
    long first = 0;
    for (; first + four <= p; first += four)
        add_slopes<four>(own, x, first);
    for (; first < p; first++)
        add_slopes<1>(own, x, first);
    for (long j = 1; j < p; j++) {
        const Real *row = triangle_row(own.factor, j);
        Vec<Real> sum = vec(own.slope + j * n).v;
        for (long k = 0; k < j; k++)
            sum -= vec(row + k * n).v * vec(own.slope + k * n).v;
        vec(own.slope + j * n).v = sum;
    }
    for (long j = 0; j < p; j++)
        vec(own.slope + j * n).v *= vec(own.inverse + j * n).v;
    for (long j = p - 1; j >= 0; j--) {
        const Real *row = triangle_row(own.factor, j);
        const Vec<Real> solved = vec(own.slope + j * n).v;
        for (long k = 0; k < j; k++)
            vec(own.slope + k * n).v -= vec(row + k * n).v * solved;
        vec(x + own.factored[j] * four * n).v = -solved;
    }
}

/* Whether the same columns are missing as in the row that the factor was made for. */
template <class Real> ALWAYS_INLINE inline bool is_factored(const Completer<Real> &own) {
    return own.n_missing == own.n_factored &&
           !memcmp(own.missing, own.factored, own.n_missing * sizeof(int32_t));
}

/* squares += squares of the products of some rows of a lower triangular matrix with four rows. */
template <class Real> ALWAYS_INLINE inline void add_squares(Real *squares, const Real *matrix,
                                                            const Real *x, long first, long d) {
    constexpr long n = lanes<Real>;
    const long end = first + tall < d ? first + tall : d;
    Vec<Real> sum[tall][four] = {};
    for (long j = 0; j < end; j++)
        UNROLL
    for (int o = 0; o < tall; o++) {
        const Vec<Real> factor = vec(matrix + ((first + o) * d + j) * n).v;
        UNROLL
        for (int r = 0; r < four; r++)
            sum[o][r] += factor * vec(x + (j * four + r) * n).v;
    }
    UNROLL
    for (int r = 0; r < four; r++) {
        Vec<Real> total = vec(squares + r * n).v;
        UNROLL
        for (int o = 0; o < tall; o++)
            total += sum[o][r] * sum[o][r];
        vec(squares + r * n).v = total;
    }
}

/* The part of a row's log-densities that does not depend on distances; missing cells of x are
 * filled. */
template <class Real>
ALWAYS_INLINE inline Vec<Real> complete_row(Completer<Real> &own, Real *x, Vec<Real> peak) {
    if (own.n_missing == 0)
        return peak;
    if (own.n_missing == own.d)
        return Vec<Real>{};
    if (!is_factored(own))
        factorize(own);
    fill_row(own, x);
    return peak + own.n_missing * (Real)0.91893853320467274178 - (Real)0.5 * own.log_det;
}

template <class Real> void run(const JointLogDensities<Real> &op, int threads) {
    constexpr long n = lanes<Real>;
    const long d = op.d, batch = op.batch, padded = whole_fours(d), strips = n_vectors<Real>(op.n);
    Scratch<Real> scratch;
    const CompleterLayout<Real> layout(&scratch, d);
    const long at_whitening = scratch.numbers(padded * d * n), at_peak = scratch.numbers(n);
    const long at_x = scratch.numbers(block_rows * d * n);
    const long at_result = scratch.numbers(block_rows * n);
    const long at_squares = scratch.numbers(block_rows * n);
    auto body = [=](long job, Real *memory) ALWAYS_INLINE {
        const long first = job % strips * n, start = job / strips * worthy_rows;
        const long end = start + worthy_rows < batch ? start + worthy_rows : batch;
        Completer<Real> own = layout.start(memory, op.mean, op.precision, op.n, first);
        Real *whitening = memory + at_whitening, *peak = memory + at_peak, *x = memory + at_x;
        Real *result = memory + at_result, *squares = memory + at_squares;
        copy_densities(whitening, op.whitening, d * d, op.n, first);
        memset(whitening + d * d * n, 0, (padded - d) * d * n * sizeof(Real));
        copy_densities(peak, op.log_peak, 1, op.n, first);
        memset(x, 0, block_rows * d * n * sizeof(Real));
        for (long b = start; b < end; b += block_rows) {
            const long rows = end - b < block_rows ? end - b : block_rows;
            for (long r = 0; r < rows; r++) {
                read_row(own, cell(x, d, r), op.z + b + r, batch);
                vec(result + r * n).v = complete_row(own, cell(x, d, r), vec(peak).v);
            }
            memset(squares, 0, block_rows * n * sizeof(Real));
            for (long i = 0; i < d; i += tall)
                for (long r = 0; r < rows; r += four)
                    add_squares(squares + r * n, whitening, cell(x, d, r), i, d);
            for (long r = 0; r < rows; r++)
                vec(result + r * n).v -= (Real)0.5 * vec(squares + r * n).v;
            for (long c = 0; c < n && first + c < op.n; c++)
                for (long r = 0; r < rows; r++)
                    op.log_density[(first + c) * batch + b + r] = result[r * n + c];
        }
    };
    const long jobs = (batch + worthy_rows - 1) / worthy_rows * strips;
    for_jobs(jobs, team(threads, 8.0 * op.n * d * d * batch), Dynamic{1}, scratch, body);
}

} // namespace
} // namespace sklearn_einet::INSTRUCTION_SET
