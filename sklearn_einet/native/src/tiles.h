/* Functions and small products of vectors, for one type of numbers and one width of vectors.
 *
 * The includer defines
 *   REAL, INT   the type of the numbers, and the signed integer of the same size
 *   LANES       numbers in a vector
 *   ROWS        rows of a register tile: ROWS * 2 sums, two vectors and one more stay in registers
 *   NAME(x)     the name of a function
 *   IS_DOUBLE   whether REAL is double
 *
 * All arrays have the batch as their last, contiguous axis, which vectors run along. A batch is cut
 * into strips of WIDTH numbers; what a strip needs is copied to scratch memory first, padded with
 * zeros, so that all loops have full vectors and stay in the first level of the cache.
 */

#define WIDTH (2 * LANES)
#define VEC(address) (*(NAME(any) *)(address))

typedef REAL NAME(vec) __attribute__((vector_size(LANES * sizeof(REAL))));
typedef REAL NAME(any) __attribute__((vector_size(LANES * sizeof(REAL)), aligned(sizeof(REAL)), may_alias));
typedef INT NAME(ivec) __attribute__((vector_size(LANES * sizeof(REAL))));

/* exp(x) for x <= 0, with 0 near the least normal number and below; NaN stays NaN. */
ALWAYS NAME(vec) NAME(exp)(NAME(vec) x)
{
#if IS_DOUBLE
    const REAL magic = 0x1.8p52, high = 0x1.62e42fefa0000p-1, low = 0x1.cf79abc9e3b39p-40;
    const REAL least = -708.0;
    const INT bias = 1023, shift = 52;
    const int degree = 13;
#else
    const REAL magic = 0x1.8p23f, high = 0x1.62e4p-1f, low = 0x1.7f7d1cp-20f, least = -87.0f;
    const INT bias = 127, shift = 23;
    const int degree = 7;
#endif
    NAME(vec) shifted = x * (REAL)1.4426950408889634 + magic;
    NAME(vec) whole = shifted - magic;
    NAME(vec) rest = x - whole * high - whole * low;
    NAME(vec) value = rest * (REAL)(1.0 / degree) + 1;
#pragma GCC unroll 16
    for (int i = degree - 1; i > 0; i--)
        value = value * (rest * (REAL)(1.0 / i)) + 1;
    NAME(vec) start = (NAME(vec)){0} + magic;
    NAME(vec) power = (NAME(vec))(((NAME(ivec))shifted - (NAME(ivec))start + bias) << shift);
    return (NAME(vec))((NAME(ivec))(value * power) & ~(x < least));
}

/* log(x) for x >= 0; NaN stays NaN. Numbers below the least normal one count as 0, as they do in
 * all loops here, see `flush_denormals`. */
ALWAYS NAME(vec) NAME(log)(NAME(vec) x)
{
#if IS_DOUBLE
    const INT shift = 52, half = 0x3fe6a09e667f3bcd;
    const int terms = 11;
#else
    const INT shift = 23, half = 0x3f3504f3;
    const int terms = 5;
#endif
    NAME(vec) none = (NAME(vec)){0};
    NAME(ivec) zero = x == none, large = ~(x <= (REAL)(IS_DOUBLE ? DBL_MAX : FLT_MAX));
    /* x = 2**power * m with m between sqrt(1/2) and sqrt(2). */
    NAME(ivec) bits = (NAME(ivec))x - half;
    NAME(ivec) power = bits >> shift;
    NAME(vec) m = (NAME(vec))((NAME(ivec))x - (power << shift));
    NAME(vec) s = (m - 1) / (m + 1), square = s * s;
    NAME(vec) value = none + (REAL)(1.0 / (2 * terms + 1));
#pragma GCC unroll 16
    for (int i = terms - 1; i >= 0; i--)
        value = value * square + (REAL)(1.0 / (2 * i + 1));
    NAME(vec) exponent = __builtin_convertvector(power, NAME(vec));
    value = 2 * s * value + exponent * (REAL)0.69314718055994530942;
    value = (NAME(vec))(((NAME(ivec))value & ~zero) | ((NAME(ivec))(none - (REAL)INFINITY) & zero));
    return (NAME(vec))(((NAME(ivec))value & ~large) | ((NAME(ivec))x & large));
}

/* The sum of the numbers in a vector. */
ALWAYS REAL NAME(total)(NAME(vec) x)
{
#if LANES == 16
    const NAME(ivec) lane = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15};
    x += __builtin_shuffle(x, lane ^ 8);
    x += __builtin_shuffle(x, lane ^ 4);
#elif LANES == 8
    const NAME(ivec) lane = {0, 1, 2, 3, 4, 5, 6, 7};
    x += __builtin_shuffle(x, lane ^ 4);
#else
    const NAME(ivec) lane = {0, 1, 2, 3};
#endif
    x += __builtin_shuffle(x, lane ^ 2);
    x += __builtin_shuffle(x, lane ^ 1);
    return x[0];
}

/* The sum of a row of any length. */
ALWAYS REAL NAME(sum)(const REAL *row, long length)
{
    NAME(vec) sum = {0};
    long i = 0;
    for (; i + LANES <= length; i += LANES)
        sum += VEC(row + i);
    REAL result = NAME(total)(sum);
    for (; i < length; i++)
        result += row[i];
    return result;
}

/* Copy a strip of one row, padded with zeros. */
ALWAYS void NAME(copy)(REAL *to, const REAL *from, long width)
{
    if (width == WIDTH) {
        VEC(to) = VEC(from);
        VEC(to + LANES) = VEC(from + LANES);
        return;
    }
    long done = width < LANES ? 0 : LANES;
    VEC(to) = VEC(to + LANES) = (NAME(vec)){0};
    if (done)
        VEC(to) = VEC(from);
    for (long b = done; b < width; b++)
        to[b] = from[b];
}

ALWAYS void NAME(copy_rows)(REAL *to, const REAL *from, long rows, long ld, long width)
{
    for (long k = 0; k < rows; k++)
        NAME(copy)(to + k * WIDTH, from + k * ld, width);
}

/* Back from a strip to rows that are ld numbers apart. */
ALWAYS void NAME(write_rows)(REAL *to, const REAL *from, long rows, long ld, long width)
{
    for (long k = 0; k < rows; k++)
        if (width == WIDTH) {
            VEC(to + k * ld) = VEC(from + k * WIDTH);
            VEC(to + k * ld + LANES) = VEC(from + k * WIDTH + LANES);
        } else
            memcpy(to + k * ld, from + k * WIDTH, width * sizeof(REAL));
}

/* A strip of exp(x - top), with the maximum over the rows for top; at least the least number, so
 * that the exponential of -inf is 0 where all rows have it. */
ALWAYS void NAME(exp_rows)(REAL *to, REAL *top, const REAL *from, long rows, long ld, long width)
{
    NAME(copy_rows)(to, from, rows, ld, width);
    for (long c = 0; c < width; c += LANES) {
        NAME(vec) most = (NAME(vec)){0} + (REAL)(IS_DOUBLE ? -DBL_MAX : -FLT_MAX);
        for (long k = 0; k < rows; k++) {
            NAME(vec) value = VEC(to + k * WIDTH + c);
            /* What is not a number is the maximum. */
            NAME(ivec) keep = (value <= most) | (most != most);
            most = (NAME(vec))(((NAME(ivec))most & keep) | ((NAME(ivec))value & ~keep));
        }
        for (long k = 0; k < rows; k++)
            VEC(to + k * WIDTH + c) = NAME(exp)(VEC(to + k * WIDTH + c) - most);
        VEC(top + c) = most;
    }
}

/* A strip of grad / sums, 0 where a sum is: so are the gradients of all its terms. */
ALWAYS void NAME(ratio_rows)(REAL *to, const REAL *grad, const REAL *sums, long rows, long ld,
                             long width, REAL *spare)
{
    for (long k = 0; k < rows; k++) {
        NAME(copy)(to + k * WIDTH, grad + k * ld, width);
        NAME(copy)(spare, sums + k * ld, width);
        for (long c = 0; c < WIDTH; c += LANES) {
            NAME(vec) sum = VEC(spare + c);
            NAME(ivec) some = sum >= (REAL)(IS_DOUBLE ? DBL_MIN : FLT_MIN);
            NAME(vec) ratio = VEC(to + k * WIDTH + c) / sum;
            VEC(to + k * WIDTH + c) = (NAME(vec))((NAME(ivec))ratio & some);
        }
    }
}

/* out (rows, WIDTH) = or += a (rows, depth) times b (depth, WIDTH), in the first one or two vectors
 * of every strip. */
ALWAYS void NAME(tile)(const int rows, const int vectors, const REAL *a, long a_row, long a_col,
                       long depth, const REAL *b, REAL *out, int add)
{
    NAME(vec) sum[ROWS][2];
#pragma GCC unroll 16
    for (int r = 0; r < rows; r++)
#pragma GCC unroll 2
        for (int v = 0; v < vectors; v++) {
            sum[r][v] = (NAME(vec)){0};
            if (add)
                sum[r][v] = VEC(out + r * WIDTH + v * LANES);
        }
    for (long k = 0; k < depth; k++) {
        const REAL *column = a + k * a_col;
        NAME(vec) row[2];
#pragma GCC unroll 2
        for (int v = 0; v < vectors; v++)
            row[v] = VEC(b + k * WIDTH + v * LANES);
#pragma GCC unroll 16
        for (int r = 0; r < rows; r++) {
            REAL factor = column[r * a_row];
#pragma GCC unroll 2
            for (int v = 0; v < vectors; v++)
                sum[r][v] += factor * row[v];
        }
    }
#pragma GCC unroll 16
    for (int r = 0; r < rows; r++)
#pragma GCC unroll 2
        for (int v = 0; v < vectors; v++)
            VEC(out + r * WIDTH + v * LANES) = sum[r][v];
}

#if ROWS > 5
#define TILE_CASES                                                                              \
    TILE_CASE(1) TILE_CASE(2) TILE_CASE(3) TILE_CASE(4) TILE_CASE(5) TILE_CASE(6) TILE_CASE(7)  \
    TILE_CASE(8) TILE_CASE(9) TILE_CASE(10) TILE_CASE(11) TILE_CASE(12)
#else
#define TILE_CASES TILE_CASE(1) TILE_CASE(2) TILE_CASE(3) TILE_CASE(4) TILE_CASE(5)
#endif

#define TILE_CASE(n)                                                                            \
    case n:                                                                                     \
        if (width > LANES)                                                                      \
            NAME(tile)(n, 2, a, a_row, a_col, depth, b, out, add);                              \
        else                                                                                    \
            NAME(tile)(n, 1, a, a_row, a_col, depth, b, out, add);                              \
        break;

/* The same for any number of rows, in tiles of nearly equal size. */
static void NAME(product)(const REAL *a, long a_row, long a_col, long rows, long depth,
                          const REAL *b, REAL *out, long width, int add)
{
    long n_tiles = (rows + ROWS - 1) / ROWS;
    for (long left = rows; left > 0; n_tiles--) {
        long here = (left + n_tiles - 1) / n_tiles;
        switch (here) { TILE_CASES }
        a += here * a_row;
        out += here * WIDTH;
        left -= here;
    }
}

#undef TILE_CASE

/* Add the first numbers of a vector. */
ALWAYS void NAME(accumulate)(REAL *out, NAME(vec) sum, long count)
{
    if (count >= LANES) {
        VEC(out) += sum;
        return;
    }
    REAL part[LANES];
    VEC(part) = sum;
    for (long i = 0; i < count; i++)
        out[i] += part[i];
}

/* out (rows, count) += a (rows, width) times bt (width, count). */
ALWAYS void NAME(outer_tile)(const int rows, const int vectors, const REAL *a, const REAL *bt,
                             long ldb, long width, REAL *out, long ldo, long count)
{
    NAME(vec) sum[ROWS][2];
#pragma GCC unroll 16
    for (int r = 0; r < rows; r++)
#pragma GCC unroll 2
        for (int v = 0; v < vectors; v++)
            sum[r][v] = (NAME(vec)){0};
    for (long i = 0; i < width; i++) {
        NAME(vec) row[2];
#pragma GCC unroll 2
        for (int v = 0; v < vectors; v++)
            row[v] = VEC(bt + i * ldb + v * LANES);
#pragma GCC unroll 16
        for (int r = 0; r < rows; r++) {
            REAL factor = a[r * WIDTH + i];
#pragma GCC unroll 2
            for (int v = 0; v < vectors; v++)
                sum[r][v] += factor * row[v];
        }
    }
#pragma GCC unroll 16
    for (int r = 0; r < rows; r++)
#pragma GCC unroll 2
        for (int v = 0; v < vectors; v++)
            NAME(accumulate)(out + r * ldo + v * LANES, sum[r][v], count - v * LANES);
}

#define TILE_CASE(n)                                                                            \
    case n:                                                                                     \
        if (columns - j > LANES)                                                                \
            NAME(outer_tile)(n, 2, a, bt + j, ldb, width, out + j, ldo, columns - j);           \
        else                                                                                    \
            NAME(outer_tile)(n, 1, a, bt + j, ldb, width, out + j, ldo, columns - j);           \
        break;

/* out (rows, columns) += a (rows, width) times bt (width, columns); rows of a are WIDTH apart, and
 * those of bt, ldb apart, may be read up to the next multiple of LANES. */
static void NAME(outer)(const REAL *a, long rows, const REAL *bt, long ldb, long width,
                        REAL *out, long ldo, long columns)
{
    long n_tiles = (rows + ROWS - 1) / ROWS;
    for (long left = rows; left > 0; n_tiles--) {
        long here = (left + n_tiles - 1) / n_tiles;
        for (long j = 0; j < columns; j += WIDTH)
            switch (here) { TILE_CASES }
        a += here * WIDTH;
        out += here * ldo;
        left -= here;
    }
}

#undef TILE_CASE
#undef TILE_CASES

/* to (width, ld) = from (rows, WIDTH) transposed, padded with zeros. */
ALWAYS void NAME(transpose)(REAL *to, long ld, const REAL *from, long rows, long width)
{
    for (long b = 0; b < width; b++) {
        for (long k = 0; k < rows; k++)
            to[b * ld + k] = from[k * WIDTH + b];
        for (long k = rows; k < ld; k++)
            to[b * ld + k] = 0;
    }
}
