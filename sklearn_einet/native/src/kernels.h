/* Layers of circuits, for one type of numbers and one width of vectors; see tiles.h. */

#include "tiles.h"

/* Threads take whole rows of the results, or else they would write into the same cache lines; and
 * strips only where there are too few rows. */

/* scaled = exp(x - maximum) for rows of k entries. */
static void NAME(scale)(const REAL *x, long n, long k, long batch, REAL *scaled, REAL *maximum,
                        int threads)
{
    long n_strips = (batch + WIDTH - 1) / WIDTH;
#pragma omp parallel num_threads(team(threads, 8 * n * k * batch))
    {
        unsigned mode = flush_denormals();
        REAL *strip = scratch((k + 1) * WIDTH * sizeof(REAL)), *top = strip + k * WIDTH;
#pragma omp for schedule(static)
        for (long job = 0; job < n * n_strips; job++) {
            long row = job / n_strips, b = job % n_strips * WIDTH;
            long width = batch - b < WIDTH ? batch - b : WIDTH;
            NAME(exp_rows)(strip, top, x + row * k * batch + b, k, batch, width);
            NAME(write_rows)(scaled + row * k * batch + b, strip, k, batch, width);
            NAME(write_rows)(maximum + row * batch + b, top, 1, batch, width);
        }
        free(strip);
        _mm_setcsr(mode);
    }
}

/* How many of a left child's entries are paired at a time. */
ALWAYS long NAME(pair_block)(long k)
{
    long block = 16384 / (k * WIDTH * (long)sizeof(REAL));
    return block < 1 ? 1 : block > k ? k : block;
}

/* All pairs of `count` entries of the left child, from the first given, and those of the right. */
ALWAYS void NAME(pair_rows)(REAL *pairs, const REAL *left, const REAL *right, long count, long k,
                            long width)
{
    for (long c = 0; c < width; c += LANES)
        for (long i = 0; i < count; i++) {
            NAME(vec) factor = VEC(left + i * WIDTH + c);
            for (long j = 0; j < k; j++)
                VEC(pairs + (i * k + j) * WIDTH + c) = factor * VEC(right + j * WIDTH + c);
        }
}

/* The m sums of one partition in a strip. */
ALWAYS void NAME(pair_sums)(const REAL *w, const REAL *left, const REAL *right, REAL *result,
                            REAL *pairs, long m, long k, long width)
{
    long block = NAME(pair_block)(k);
    if (m >= 4) {
        for (long i = 0; i < k; i += block) {
            long here = k - i < block ? k - i : block;
            NAME(pair_rows)(pairs, left + i * WIDTH, right, here, k, width);
            NAME(product)(w + i * k, k * k, 1, m, here * k, pairs, result, width, i > 0);
        }
        return;
    }
    /* Few sums: with the right child first, the rows of the weights fill the register tiles. */
    for (long o = 0; o < m; o++) {
        NAME(product)(w + o * k * k, k, 1, k, k, right, pairs, width, 0);
        for (long c = 0; c < width; c += LANES) {
            NAME(vec) total = (NAME(vec)){0};
            for (long i = 0; i < k; i++)
                total += VEC(left + i * WIDTH + c) * VEC(pairs + i * WIDTH + c);
            VEC(result + o * WIDTH + c) = total;
        }
    }
}

/* logs (n, m, batch) of the sums over all pairs of two children's entries, with weights
 * (n, m, k, k), given logarithms x; the sums themselves are for gradients, and may be left out. */
static void NAME(einsum)(const REAL *x, const int64_t *gather, const REAL *weights, REAL *sums,
                         REAL *logs, long n, long m, long k, long batch, int threads)
{
    long n_pairs = NAME(pair_block)(k) * k, n_strips = (batch + WIDTH - 1) / WIDTH;
#pragma omp parallel num_threads(team(threads, n * m * k * k * batch))
    {
        unsigned mode = flush_denormals();
        REAL *left = scratch((2 * k + n_pairs + m + 2) * WIDTH * sizeof(REAL));
        REAL *right = left + k * WIDTH, *pairs = right + k * WIDTH;
        REAL *result = pairs + n_pairs * WIDTH, *top = result + m * WIDTH;
#pragma omp for schedule(dynamic, n < 2 * threads ? 1 : n_strips)
        for (long job = 0; job < n * n_strips; job++) {
            long p = job / n_strips, b = job % n_strips * WIDTH;
            long width = batch - b < WIDTH ? batch - b : WIDTH;
            const REAL *first = x + (gather ? gather[2 * p] : 2 * p) * k * batch + b;
            const REAL *second = x + (gather ? gather[2 * p + 1] : 2 * p + 1) * k * batch + b;
            NAME(exp_rows)(left, top, first, k, batch, width);
            NAME(exp_rows)(right, top + WIDTH, second, k, batch, width);
            NAME(pair_sums)(weights + p * m * k * k, left, right, result, pairs, m, k, width);
            if (sums)
                NAME(write_rows)(sums + p * m * batch + b, result, m, batch, width);
            for (long c = 0; c < width; c += LANES) {
                NAME(vec) scale = VEC(top + c) + VEC(top + WIDTH + c);
                for (long o = 0; o < m; o++)
                    VEC(result + o * WIDTH + c) = NAME(log)(VEC(result + o * WIDTH + c)) + scale;
            }
            NAME(write_rows)(logs + p * m * batch + b, result, m, batch, width);
        }
        free(left);
        _mm_setcsr(mode);
    }
}

/* The gradients of a partition's children in a strip, with respect to logarithms: of the entries
 * of the left child from the first given, and the right child's share of those. */
ALWAYS void NAME(child_gradients)(const REAL *w, const REAL *left, const REAL *right,
                                  const REAL *above, REAL *for_left, REAL *for_right, REAL *inner,
                                  long count, long m, long k, long width)
{
    for (long i = 0; i < count; i++) {
        NAME(product)(w + i * k, 1, k * k, k, m, above, inner, width, 0);
        for (long c = 0; c < width; c += LANES) {
            NAME(vec) factor = VEC(left + i * WIDTH + c), total = (NAME(vec)){0};
            for (long j = 0; j < k; j++) {
                NAME(vec) term = VEC(inner + j * WIDTH + c) * VEC(right + j * WIDTH + c);
                total += term;
                VEC(for_right + j * WIDTH + c) += term * factor;
            }
            VEC(for_left + i * WIDTH + c) = total * factor;
        }
    }
}

/* The gradients of the weights of few pairs, LANES sums along the batch for each. */
ALWAYS void NAME(narrow_pairs)(const REAL *above, const REAL *left, const REAL *right, REAL *sums,
                               long m, long k, long width)
{
    for (long c = 0; c < width; c += LANES)
        for (long i = 0; i < k; i++)
            for (long j = 0; j < k; j++) {
                NAME(vec) pair = VEC(left + i * WIDTH + c) * VEC(right + j * WIDTH + c);
                for (long o = 0; o < m; o++)
                    VEC(sums + ((o * k + i) * k + j) * LANES) += VEC(above + o * WIDTH + c) * pair;
            }
}

/* x *= factors. */
ALWAYS void NAME(multiply)(REAL *x, const REAL *factors, long n)
{
    long i = 0;
    for (; i + LANES <= n; i += LANES)
        VEC(x + i) *= VEC(factors + i);
    for (; i < n; i++)
        x[i] *= factors[i];
}

/* Gradients of `einsum` with respect to the logarithms of the children, those of partition p in
 * rows 2 p and 2 p + 1 of grad_x, and with respect to the weights.
 *
 * With `sums`, x has logarithms and grad is with respect to the sums'. With `of_logs`, the gradients
 * of weights are with respect to their logarithms, here and below. */
static void NAME(einsum_gradients)(const REAL *x, const int64_t *gather, const REAL *weights,
                                   const REAL *sums, const REAL *grad, REAL *grad_x,
                                   REAL *grad_weights, long n, long m, long k, long batch,
                                   long of_logs, int threads)
{
    long block = NAME(pair_block)(k);
    long ld = block * k + 2 * LANES, ld_turned = (k + LANES - 1) / LANES * LANES;
    long n_narrow = k <= FEW_COLUMNS ? m * k * k : 0;
#pragma omp parallel num_threads(team(threads, n * m * k * k * batch))
    {
        unsigned mode = flush_denormals();
        REAL *left = scratch(((5 * k + m + 1 + ld_turned + ld) * WIDTH + n_narrow * LANES) * sizeof(REAL));
        REAL *right = left + k * WIDTH, *above = right + k * WIDTH;
        REAL *for_left = above + m * WIDTH, *for_right = for_left + k * WIDTH;
        REAL *inner = for_right + k * WIDTH, *top = inner + k * WIDTH;
        REAL *turned = top + WIDTH, *pairs = turned + ld_turned * WIDTH;
        REAL *narrow = pairs + ld * WIDTH;
#pragma omp for schedule(dynamic, 1 + n / (16 * threads))
        for (long p = 0; p < n; p++) {
            const REAL *first = x + (gather ? gather[2 * p] : 2 * p) * k * batch;
            const REAL *second = x + (gather ? gather[2 * p + 1] : 2 * p + 1) * k * batch;
            const REAL *w = weights + p * m * k * k;
            REAL *grad_w = grad_weights + p * m * k * k;
            memset(grad_w, 0, m * k * k * sizeof(REAL));
            memset(narrow, 0, n_narrow * LANES * sizeof(REAL));
            for (long b = 0; b < batch; b += WIDTH) {
                long width = batch - b < WIDTH ? batch - b : WIDTH;
                if (sums) {
                    NAME(exp_rows)(left, top, first + b, k, batch, width);
                    NAME(exp_rows)(right, top, second + b, k, batch, width);
                    NAME(ratio_rows)(above, grad + p * m * batch + b, sums + p * m * batch + b, m,
                                     batch, width, top);
                } else {
                    NAME(copy_rows)(left, first + b, k, batch, width);
                    NAME(copy_rows)(right, second + b, k, batch, width);
                    NAME(copy_rows)(above, grad + p * m * batch + b, m, batch, width);
                }
                memset(for_right, 0, k * WIDTH * sizeof(REAL));
                if (n_narrow)
                    NAME(narrow_pairs)(above, left, right, narrow, m, k, width);
                else
                    NAME(transpose)(turned, ld_turned, right, k, width);
                for (long i = 0; i < k; i += block) {
                    long here = k - i < block ? k - i : block;
                    NAME(child_gradients)(w + i * k, left + i * WIDTH, right, above,
                                          for_left + i * WIDTH, for_right, inner, here, m, k, width);
                    if (n_narrow)
                        continue;
                    for (long c = 0; c < width; c++)
                        for (long e = 0; e < here; e++) {
                            REAL factor = left[(i + e) * WIDTH + c];
                            REAL *to = pairs + c * ld + e * k;
                            /* What is written beyond k entries is overwritten by the next. */
                            for (long j = 0; j < k; j += LANES)
                                VEC(to + j) = factor * VEC(turned + c * ld_turned + j);
                        }
                    NAME(outer)(above, m, pairs, ld, width, grad_w + i * k, k * k, here * k);
                }
                NAME(write_rows)(grad_x + 2 * p * k * batch + b, for_left, k, batch, width);
                NAME(write_rows)(grad_x + (2 * p + 1) * k * batch + b, for_right, k, batch, width);
            }
            for (long i = 0; i < n_narrow; i++)
                grad_w[i] = NAME(total)(VEC(narrow + i * LANES));
            if (of_logs)
                NAME(multiply)(grad_w, w, m * k * k);
        }
        free(left);
        _mm_setcsr(mode);
    }
}

/* The first partition of a region, or of the first one after it that has any: `slot` has the
 * positions of n partitions, in ascending order, among `slots` for each region. */
ALWAYS long NAME(first_partition)(const int64_t *slot, long n, long slots, long region)
{
    long low = 0, high = n;
    while (low < high) {
        long middle = (low + high) / 2;
        if (slot[middle] < region * slots)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

/* logs (regions, k, batch) of the mixtures of each region's partitions x (n, k, batch), entry by
 * entry, with weights (regions, slots, k). */
static void NAME(log_mixture)(const REAL *x, const int64_t *slot, const REAL *weights, REAL *logs,
                              long n, long regions, long slots, long k, long batch, int threads)
{
    long n_strips = (batch + WIDTH - 1) / WIDTH;
#pragma omp parallel num_threads(team(threads, 8 * n * k * batch))
    {
        unsigned mode = flush_denormals();
        REAL *terms = scratch((slots + k + 1) * WIDTH * sizeof(REAL));
        REAL *result = terms + slots * WIDTH, *top = result + k * WIDTH;
#pragma omp for schedule(static)
        for (long job = 0; job < regions * n_strips; job++) {
            long r = job / n_strips, b = job % n_strips * WIDTH;
            long width = batch - b < WIDTH ? batch - b : WIDTH;
            long first = NAME(first_partition)(slot, n, slots, r);
            long last = NAME(first_partition)(slot, n, slots, r + 1);
            for (long o = 0; o < k; o++) {
                NAME(exp_rows)(terms, top, x + (first * k + o) * batch + b, last - first, k * batch,
                               width);
                for (long c = 0; c < width; c += LANES) {
                    NAME(vec) sum = (NAME(vec)){0};
                    for (long p = first; p < last; p++)
                        sum += weights[slot[p] * k + o] * VEC(terms + (p - first) * WIDTH + c);
                    VEC(result + o * WIDTH + c) = NAME(log)(sum) + VEC(top + c);
                }
            }
            NAME(write_rows)(logs + r * k * batch + b, result, k, batch, width);
        }
        free(terms);
        _mm_setcsr(mode);
    }
}

/* Gradients of `log_mixture` with respect to x and to the weights. */
static void NAME(log_mixture_gradients)(const REAL *x, const int64_t *slot, const REAL *weights,
                                        const REAL *grad, REAL *grad_x, REAL *grad_weights, long n,
                                        long regions, long slots, long k, long batch, long of_logs,
                                        int threads)
{
#pragma omp parallel num_threads(team(threads, 8 * n * k * batch))
    {
        unsigned mode = flush_denormals();
        REAL *terms = scratch((slots * (WIDTH + LANES) + 4 * WIDTH) * sizeof(REAL));
        REAL *above = terms + slots * WIDTH, *sums = above + WIDTH, *top = sums + WIDTH;
        REAL *spare = top + WIDTH, *totals = spare + WIDTH;
#pragma omp for schedule(static)
        for (long r = 0; r < regions; r++) {
            long first = NAME(first_partition)(slot, n, slots, r);
            long count = NAME(first_partition)(slot, n, slots, r + 1) - first;
            memset(grad_weights + r * slots * k, 0, slots * k * sizeof(REAL));
            for (long o = 0; o < k; o++) {
                memset(totals, 0, count * LANES * sizeof(REAL));
                for (long b = 0; b < batch; b += WIDTH) {
                    long width = batch - b < WIDTH ? batch - b : WIDTH;
                    REAL *to = grad_x + (first * k + o) * batch + b;
                    NAME(exp_rows)(terms, top, x + (first * k + o) * batch + b, count, k * batch,
                                   width);
                    for (long c = 0; c < WIDTH; c += LANES) {
                        VEC(sums + c) = (NAME(vec)){0};
                        for (long p = 0; p < count; p++)
                            VEC(sums + c) += weights[slot[first + p] * k + o] * VEC(terms + p * WIDTH + c);
                    }
                    NAME(ratio_rows)(above, grad + (r * k + o) * batch + b, sums, 1, batch, width, spare);
                    for (long p = 0; p < count; p++)
                        for (long c = 0; c < width; c += LANES) {
                            NAME(vec) share = VEC(terms + p * WIDTH + c) * VEC(above + c);
                            VEC(totals + p * LANES) += share;
                            VEC(terms + p * WIDTH + c) = weights[slot[first + p] * k + o] * share;
                        }
                    NAME(write_rows)(to, terms, count, k * batch, width);
                }
                for (long p = 0; p < count; p++)
                    grad_weights[slot[first + p] * k + o] = NAME(total)(VEC(totals + p * LANES));
            }
            if (of_logs)
                NAME(multiply)(grad_weights + r * slots * k, weights + r * slots * k, slots * k);
        }
        free(terms);
        _mm_setcsr(mode);
    }
}

/* logs (n, m, batch): for each partition, the sum of its plain children's logarithms, and those of
 * its mixed children's sums with weights (n_mixed, m, k).
 *
 * The children of partition p are rows[ends[p - 1]] to rows[ends[p] - 1] of x. */
static void NAME(mix)(const REAL *x, const int64_t *mixed, const int64_t *mixed_ends,
                      const int64_t *plain, const int64_t *plain_ends, const REAL *weights,
                      REAL *sums, REAL *logs, long n, long m, long k, long batch, int threads)
{
    long n_strips = (batch + WIDTH - 1) / WIDTH;
#pragma omp parallel num_threads(team(threads, n * m * k * batch))
    {
        unsigned mode = flush_denormals();
        REAL *child = scratch((k + 2 * m + 1) * WIDTH * sizeof(REAL)), *inner = child + k * WIDTH;
        REAL *result = inner + m * WIDTH, *top = result + m * WIDTH;
#pragma omp for schedule(dynamic, n < 2 * threads ? 1 : n_strips)
        for (long job = 0; job < n * n_strips; job++) {
            long p = job / n_strips, b = job % n_strips * WIDTH;
            long width = batch - b < WIDTH ? batch - b : WIDTH;
            memset(result, 0, m * WIDTH * sizeof(REAL));
            for (long i = p ? plain_ends[p - 1] : 0; i < plain_ends[p]; i++)
                for (long o = 0; o < m; o++) {
                    NAME(copy)(child, x + (plain[i] * k + o) * batch + b, width);
                    for (long c = 0; c < width; c += LANES)
                        VEC(result + o * WIDTH + c) += VEC(child + c);
                }
            for (long i = p ? mixed_ends[p - 1] : 0; i < mixed_ends[p]; i++) {
                NAME(exp_rows)(child, top, x + mixed[i] * k * batch + b, k, batch, width);
                NAME(product)(weights + i * m * k, k, 1, m, k, child, inner, width, 0);
                if (sums)
                    NAME(write_rows)(sums + i * m * batch + b, inner, m, batch, width);
                for (long c = 0; c < width; c += LANES)
                    for (long o = 0; o < m; o++)
                        VEC(result + o * WIDTH + c) += NAME(log)(VEC(inner + o * WIDTH + c)) + VEC(top + c);
            }
            NAME(write_rows)(logs + p * m * batch + b, result, m, batch, width);
        }
        free(child);
        _mm_setcsr(mode);
    }
}

/* Gradients of `mix` with respect to the logarithms of the mixed children, (n, k, batch), and to
 * the weights; `of` tells the partition of each mixed child. */
static void NAME(mix_gradients)(const REAL *x, const int64_t *mixed, const int64_t *of,
                                const REAL *weights, const REAL *sums, const REAL *grad,
                                REAL *grad_x, REAL *grad_weights, long n, long m, long k,
                                long batch, long of_logs, int threads)
{
    long ld = (k + LANES - 1) / LANES * LANES;
#pragma omp parallel num_threads(team(threads, n * m * k * batch))
    {
        unsigned mode = flush_denormals();
        REAL *child = scratch((2 * k + m + 1 + ld) * WIDTH * sizeof(REAL));
        REAL *below = child + k * WIDTH, *above = below + k * WIDTH, *top = above + m * WIDTH;
        REAL *turned = top + WIDTH;
#pragma omp for schedule(dynamic)
        for (long i = 0; i < n; i++) {
            const REAL *w = weights + i * m * k;
            memset(grad_weights + i * m * k, 0, m * k * sizeof(REAL));
            for (long b = 0; b < batch; b += WIDTH) {
                long width = batch - b < WIDTH ? batch - b : WIDTH;
                NAME(exp_rows)(child, top, x + mixed[i] * k * batch + b, k, batch, width);
                NAME(ratio_rows)(above, grad + of[i] * m * batch + b, sums + i * m * batch + b, m,
                                 batch, width, top);
                NAME(product)(w, 1, k, k, m, above, below, width, 0);
                for (long j = 0; j < k; j++)
                    for (long c = 0; c < width; c += LANES)
                        VEC(below + j * WIDTH + c) *= VEC(child + j * WIDTH + c);
                NAME(write_rows)(grad_x + i * k * batch + b, below, k, batch, width);
                NAME(transpose)(turned, ld, child, k, width);
                NAME(outer)(above, m, turned, ld, width, grad_weights + i * m * k, k, k);
            }
            if (of_logs)
                NAME(multiply)(grad_weights + i * m * k, w, m * k);
        }
        free(child);
        _mm_setcsr(mode);
    }
}

/* Groups of t rows of x, `slots` of them for each product: those in `index`. */
ALWAYS void NAME(gather_rows)(REAL *rows, const REAL *x, const int64_t *index, long slots, long t,
                              long batch, long width)
{
    for (long s = 0; s < slots; s++)
        NAME(copy_rows)(rows + s * t * WIDTH, x + index[s] * t * batch, t, batch, width);
}

/* Few results of `gathered` in a whole strip, for which rows are not worth copying. The last strip
 * of a batch begins earlier for that, if it can, and so has some numbers of the one before. */
ALWAYS void NAME(narrow_product)(const REAL *a, const REAL *x, const int64_t *index, REAL *result,
                                 const int m, long slots, long t, long batch)
{
    NAME(vec) sum[FEW_COLUMNS][2];
#pragma GCC unroll 3
    for (int o = 0; o < m; o++)
#pragma GCC unroll 2
        for (int v = 0; v < 2; v++)
            sum[o][v] = VEC(result + o * WIDTH + v * LANES);
    for (long s = 0; s < slots; s++) {
        const REAL *row = x + index[s] * t * batch;
        for (long i = 0; i < t; i++, a += m, row += batch)
#pragma GCC unroll 3
            for (int o = 0; o < m; o++)
#pragma GCC unroll 2
                for (int v = 0; v < 2; v++)
                    sum[o][v] += a[o] * VEC(row + v * LANES);
    }
#pragma GCC unroll 3
    for (int o = 0; o < m; o++)
#pragma GCC unroll 2
        for (int v = 0; v < 2; v++)
            VEC(result + o * WIDTH + v * LANES) = sum[o][v];
}

/* out (n, m, batch) = a (n, slots * t, m), transposed, times gathered rows of x, - bias (n, m). */
static void NAME(gathered)(const REAL *a, const REAL *bias, const REAL *x, const int64_t *index,
                           REAL *out, long n, long m, long slots, long t, long batch, int threads)
{
    long n_strips = (batch + WIDTH - 1) / WIDTH, depth = slots * t;
    int narrow = m <= FEW_COLUMNS && batch >= WIDTH;
#pragma omp parallel num_threads(team(threads, n * m * slots * t * batch))
    {
        unsigned mode = flush_denormals();
        REAL *rows = scratch((depth + m) * WIDTH * sizeof(REAL)), *result = rows + depth * WIDTH;
#pragma omp for schedule(static)
        for (long job = 0; job < n * n_strips; job++) {
            long p = job / n_strips, b = job % n_strips * WIDTH;
            long width = batch - b < WIDTH ? batch - b : WIDTH;
            const REAL *factors = a + p * m * depth;
            const int64_t *own = index + p * slots;
            long early = narrow ? WIDTH - width : 0;
            for (long o = 0; o < m; o++)
                for (long c = 0; c < WIDTH; c += LANES)
                    VEC(result + o * WIDTH + c) = (NAME(vec)){0} - bias[p * m + o];
            if (narrow && m == 1)
                NAME(narrow_product)(factors, x + b - early, own, result, 1, slots, t, batch);
            else if (narrow && m == 2)
                NAME(narrow_product)(factors, x + b - early, own, result, 2, slots, t, batch);
            else if (narrow)
                NAME(narrow_product)(factors, x + b - early, own, result, 3, slots, t, batch);
            else {
                NAME(gather_rows)(rows, x + b, own, slots, t, batch, width);
                NAME(product)(factors, 1, m, m, depth, rows, result, width, 1);
            }
            NAME(write_rows)(out + p * m * batch + b, result + early, m, batch, width);
        }
        free(rows);
        _mm_setcsr(mode);
    }
}

/* The gradients of one product for few columns: sums along the whole batch, one by one; `above`
 * has room for all strips. */
ALWAYS void NAME(narrow_gradients)(const REAL *grad, const REAL *x, const int64_t *index, REAL *to,
                                   REAL *above, long m, long slots, long t, long batch)
{
    long n_strips = (batch + WIDTH - 1) / WIDTH, early = n_strips * WIDTH - batch;
    memset(above, 0, m * n_strips * WIDTH * sizeof(REAL));
    for (long o = 0; o < m; o++) {
        REAL *strips = above + o * n_strips * WIDTH;
        long whole = batch / WIDTH * WIDTH;
        memcpy(strips, grad + o * batch, whole * sizeof(REAL));
        memcpy(strips + whole + early, grad + o * batch + whole, (batch - whole) * sizeof(REAL));
    }
    for (long s = 0; s < slots; s++)
        for (long i = 0; i < t; i++)
            for (long o = 0; o < m; o++) {
                const REAL *row = x + (index[s] * t + i) * batch, *strip = above + o * n_strips * WIDTH;
                NAME(vec) sum[2] = {{0}, {0}};
                for (long b = 0; b < n_strips; b++, row += WIDTH, strip += WIDTH) {
                    if (b == n_strips - 1)
                        row -= early;
                    sum[0] += VEC(row) * VEC(strip);
                    sum[1] += VEC(row + LANES) * VEC(strip + LANES);
                }
                *to++ = NAME(total)(sum[0] + sum[1]);
            }
}

/* Gradients of `gathered` with respect to a, and sums of grad (n, m, batch) over the batch. */
static void NAME(gathered_gradients)(const REAL *grad, const REAL *x, const int64_t *index,
                                     REAL *grad_a, REAL *totals, long n, long m, long slots,
                                     long t, long batch, int threads)
{
    long depth = slots * t, ld = (m + LANES - 1) / LANES * LANES;
    int narrow = m <= FEW_COLUMNS && batch >= WIDTH;
    long room = narrow ? m * ((batch + WIDTH - 1) / WIDTH) : depth + m + ld;
#pragma omp parallel num_threads(team(threads, n * m * slots * t * batch))
    {
        unsigned mode = flush_denormals();
        REAL *rows = scratch(room * WIDTH * sizeof(REAL));
#pragma omp for schedule(static)
        for (long p = 0; p < n; p++) {
            REAL *to = grad_a + p * m * depth;
            for (long o = 0; o < m; o++)
                totals[p * m + o] = NAME(sum)(grad + (p * m + o) * batch, batch);
            if (narrow) {
                NAME(narrow_gradients)(grad + p * m * batch, x, index + p * slots, to, rows, m, slots,
                                       t, batch);
                continue;
            }
            REAL *above = rows + depth * WIDTH, *turned = above + m * WIDTH;
            memset(to, 0, m * depth * sizeof(REAL));
            for (long b = 0; b < batch; b += WIDTH) {
                long width = batch - b < WIDTH ? batch - b : WIDTH;
                NAME(gather_rows)(rows, x + b, index + p * slots, slots, t, batch, width);
                NAME(copy_rows)(above, grad + p * m * batch + b, m, batch, width);
                NAME(transpose)(turned, ld, above, m, width);
                NAME(outer)(rows, depth, turned, ld, width, to, m, m);
            }
        }
        free(rows);
        _mm_setcsr(mode);
    }
}

/* Numbers become 0. */
static void NAME(clear)(REAL *x, long n)
{
    memset(x, 0, n * sizeof(REAL));
}

/* Add rows of `from` to rows of `to`, of `size` numbers each; rows of the latter may be repeated.
 * Without their indices, the rows of `from` are taken in order. */
static void NAME(add_rows)(REAL *to, const int64_t *to_rows, const REAL *from,
                           const int64_t *from_rows, long n, long size, int threads)
{
    /* Threads take parts of all rows, as a row may be added to several times. */
    long n_strips = (size + WIDTH - 1) / WIDTH;
#pragma omp parallel num_threads(team(threads, n * size))
    {
        unsigned mode = flush_denormals();
        long parts = omp_get_num_threads(), part = omp_get_thread_num();
        long start = n_strips * part / parts * WIDTH, end = n_strips * (part + 1) / parts * WIDTH;
        if (end > size)
            end = size;
        for (long row = 0; row < n; row++) {
            REAL *sum = to + to_rows[row] * size;
            const REAL *more = from + (from_rows ? from_rows[row] : row) * size;
            long i = start;
            for (; i + LANES <= end; i += LANES)
                VEC(sum + i) += VEC(more + i);
            for (; i < end; i++)
                sum[i] += more[i];
        }
        _mm_setcsr(mode);
    }
}

/* A stochastic M-step for n sums of k terms each: average = keep * average + add * counts, and
 * weights in proportion to average + smoothing. With `idle`, sums without counts stay. */
static void NAME(reweigh)(REAL *average, const REAL *counts, REAL *weights, double keep, double add,
                          double smoothing, int idle, long n, long k, int threads)
{
    REAL of_old = keep, of_new = add, more = smoothing;
#pragma omp parallel num_threads(team(threads, n * k))
    {
        unsigned mode = flush_denormals();
#pragma omp for schedule(static)
        for (long row = 0; row < n; row++) {
            REAL *mean = average + row * k, *to = weights + row * k;
            const REAL *from = counts + row * k;
            NAME(vec) sum = (NAME(vec)){0};
            REAL total = 0;
            long j = 0;
            for (; j + LANES <= k; j += LANES) {
                NAME(vec) here = of_old * VEC(mean + j) + of_new * VEC(from + j);
                VEC(mean + j) = here;
                sum += here;
            }
            for (; j < k; j++) {
                mean[j] = of_old * mean[j] + of_new * from[j];
                total += mean[j];
            }
            for (int c = 0; c < LANES; c++)
                total += sum[c];
            if (idle && total == 0)
                continue;
            REAL factor = 1 / (total + more * k);
            for (j = 0; j + LANES <= k; j += LANES)
                VEC(to + j) = (VEC(mean + j) + more) * factor;
            for (; j < k; j++)
                to[j] = (mean[j] + more) * factor;
        }
        _mm_setcsr(mode);
    }
}

#include "normal.h"

/* The next variant defines all of these anew. */
#undef WIDTH
#undef VEC
#undef REAL
#undef INT
#undef LANES
#undef IS_DOUBLE
#undef NAME
