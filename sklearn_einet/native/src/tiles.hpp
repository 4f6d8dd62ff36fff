/* Small products of matrices, in tiles whose sums stay in registers. */
#pragma once

#include "strips.hpp"

namespace sklearn_einet::INSTRUCTION_SET {
namespace {

/* Matrices with no more columns are not worth transposing, as their rows do not fill vectors. */
constexpr long few_columns = 3;

/* out (rows, strip) = or += a (rows, depth) times b (depth, strip), in the first one or two vectors
 * of every strip. */
template <int rows, int vectors, class Real>
ALWAYS_INLINE inline void product_tile(const Real *a, long a_row, long a_col, long depth,
                                       const Real *b, Real *out, bool add) {
    constexpr long n = lanes<Real>;
    Vec<Real> sum[rows][vectors];
    UNROLL
    for (int r = 0; r < rows; r++)
        UNROLL
    for (int v = 0; v < vectors; v++) {
        sum[r][v] = Vec<Real>{};
        if (add)
            sum[r][v] = vec(out + r * strip<Real> + v * n).v;
    }
    for (long k = 0; k < depth; k++) {
        const Real *column = a + k * a_col;
        Vec<Real> row[vectors];
        UNROLL
        for (int v = 0; v < vectors; v++)
            row[v] = vec(b + k * strip<Real> + v * n).v;
        UNROLL
        for (int r = 0; r < rows; r++) {
            Real factor = column[r * a_row];
            UNROLL
            for (int v = 0; v < vectors; v++)
                sum[r][v] += factor * row[v];
        }
    }
    UNROLL
    for (int r = 0; r < rows; r++)
        UNROLL
    for (int v = 0; v < vectors; v++)
        vec(out + r * strip<Real> + v * n).v = sum[r][v];
}

/* function(constant) with `here`, of 1 to `most`, as a constant. */
template <int most = tile_rows, class Function>
ALWAYS_INLINE inline void with_rows(long here, const Function &function) {
    if constexpr (most > 0) {
        if (here == most)
            function(Constant<most>{});
        else
            with_rows<most - 1>(here, function);
    }
}

/* The same for any number of rows, in tiles of nearly equal size. */
template <class Real> void product(const Real *a, long a_row, long a_col, long rows, long depth,
                                   const Real *b, Real *out, long width, bool add) {
    long n_tiles = (rows + tile_rows - 1) / tile_rows;
    for (long left = rows; left > 0; n_tiles--) {
        long here = (left + n_tiles - 1) / n_tiles;
        with_rows(here, [&](auto tile) ALWAYS_INLINE {
            if (width > lanes<Real>)
                product_tile<tile.value, 2>(a, a_row, a_col, depth, b, out, add);
            else
                product_tile<tile.value, 1>(a, a_row, a_col, depth, b, out, add);
        });
        a += here * a_row;
        out += here * strip<Real>;
        left -= here;
    }
}

/* Add the first numbers of a vector. */
template <class Real> ALWAYS_INLINE inline void accumulate(Real *out, Vec<Real> sum, long count) {
    if (count >= lanes<Real>) {
        vec(out).v += sum;
        return;
    }
    Real part[lanes<Real>];
    vec(part).v = sum;
    for (long i = 0; i < count; i++)
        out[i] += part[i];
}

/* out (rows, count) += a (rows, width) times bt (width, count). */
template <int rows, int vectors, class Real> ALWAYS_INLINE inline void
outer_tile(const Real *a, const Real *bt, long ldb, long width, Real *out, long ldo, long count) {
    constexpr long n = lanes<Real>;
    Vec<Real> sum[rows][vectors];
    UNROLL
    for (int r = 0; r < rows; r++)
        UNROLL
    for (int v = 0; v < vectors; v++)
        sum[r][v] = Vec<Real>{};
    for (long i = 0; i < width; i++) {
        Vec<Real> row[vectors];
        UNROLL
        for (int v = 0; v < vectors; v++)
            row[v] = vec(bt + i * ldb + v * n).v;
        UNROLL
        for (int r = 0; r < rows; r++) {
            Real factor = a[r * strip<Real> + i];
            UNROLL
            for (int v = 0; v < vectors; v++)
                sum[r][v] += factor * row[v];
        }
    }
    UNROLL
    for (int r = 0; r < rows; r++)
        UNROLL
    for (int v = 0; v < vectors; v++)
        accumulate<Real>(out + r * ldo + v * n, sum[r][v], count - v * n);
}

/* out (rows, columns) += a (rows, width) times bt (width, columns); rows of a are a strip apart,
 * and those of bt, ldb apart, may be read up to the next whole vector. */
template <class Real> void outer(const Real *a, long rows, const Real *bt, long ldb, long width,
                                 Real *out, long ldo, long columns) {
    long n_tiles = (rows + tile_rows - 1) / tile_rows;
    for (long left = rows; left > 0; n_tiles--) {
        long here = (left + n_tiles - 1) / n_tiles;
        for (long j = 0; j < columns; j += strip<Real>)
            with_rows(here, [&](auto tile) ALWAYS_INLINE {
                if (columns - j > lanes<Real>)
                    outer_tile<tile.value, 2>(a, bt + j, ldb, width, out + j, ldo, columns - j);
                else
                    outer_tile<tile.value, 1>(a, bt + j, ldb, width, out + j, ldo, columns - j);
            });
        a += here * strip<Real>;
        out += here * ldo;
        left -= here;
    }
}

} // namespace
} // namespace sklearn_einet::INSTRUCTION_SET
