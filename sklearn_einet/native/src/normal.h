/* Leaves of normal densities, for one type of numbers and one width of vectors; see tiles.h. */

/* Data are doubles in all variants: the variance is a small difference of their statistics. */
#define DOUBLES (LANES * (long)sizeof(REAL) / 8)

typedef double NAME(wide) __attribute__((vector_size(LANES * sizeof(REAL))));
typedef double NAME(any_wide) __attribute__((vector_size(LANES * sizeof(REAL)), aligned(8), may_alias));
typedef int64_t NAME(mask) __attribute__((vector_size(LANES * sizeof(REAL))));
typedef REAL NAME(part) __attribute__((vector_size(DOUBLES * sizeof(REAL))));
typedef REAL NAME(any_part) __attribute__((vector_size(DOUBLES * sizeof(REAL)), aligned(sizeof(REAL)), may_alias));

/* Cells of a row that one thread takes. */
#define PART 256

ALWAYS void NAME(load)(NAME(wide) *to, const double *from, long width)
{
    if (width == DOUBLES)
        *to = *(const NAME(any_wide) *)from;
    else
        memcpy(to, from, width * sizeof(double));
}

ALWAYS void NAME(store)(double *to, const NAME(wide) *from, long width)
{
    if (width == DOUBLES)
        *(NAME(any_wide) *)to = *from;
    else
        memcpy(to, from, width * sizeof(double));
}

ALWAYS void NAME(store_part)(REAL *to, const NAME(part) *from, long width)
{
    if (width == DOUBLES)
        *(NAME(any_part) *)to = *from;
    else
        memcpy(to, from, width * sizeof(REAL));
}

/* The statistics of some cells of a column; their reference densities' logarithms are added to
 * those of the rows, -inf for what is infinite. Returns which cells are finite. */
ALWAYS NAME(mask) NAME(read_cells)(NAME(wide) x, const double *reference, int with_seen,
                                   NAME(part) *statistics, NAME(wide) *base, NAME(wide) *largest)
{
    const NAME(wide) none = {0}, least = none - (double)INFINITY;
    NAME(wide) size = (NAME(wide))((NAME(mask))x & INT64_MAX);
    NAME(mask) seen = size <= DBL_MAX, infinite = size > DBL_MAX;
    if (with_seen) {
        x = (NAME(wide))((NAME(mask))x & seen);
        NAME(wide) one = (NAME(wide))((NAME(mask))(none + 1) & seen);
        statistics[2] = __builtin_convertvector(one, NAME(part));
    }
    statistics[0] = __builtin_convertvector(x, NAME(part));
    statistics[1] = __builtin_convertvector(x * x, NAME(part));
    NAME(wide) density = reference[0] + (reference[1] + reference[2] * x) * x;
    *base += (NAME(wide))(((NAME(mask))density & seen) | ((NAME(mask))least & infinite));
    NAME(mask) more = (size > *largest) & seen;
    *largest = (NAME(wide))(((NAME(mask))size & more) | ((NAME(mask))*largest & ~more));
    return seen;
}

/* What products with the cells x (n, batch) need: for each column a group of rows (batch), the
 * cells and their squares, and with_seen also whether they are finite, with 0 for what is not. A
 * last group has zeros.
 *
 * base (batch) are sums of the logarithms of reference densities, polynomials with coefficients
 * reference (n, 3); `found` are the largest size of a finite cell, and whether all are finite. */
static void NAME(read_normal)(const double *x, const double *reference, REAL *statistics,
                              double *base, double *found, long n, long batch, long with_seen,
                              int threads)
{
    long t = with_seen ? 3 : 2, n_parts = (batch + PART - 1) / PART;
    double most = 0;
    int64_t all_seen = -1;
    memset(base, 0, batch * sizeof(double));
#pragma omp parallel num_threads(team(threads, 4 * n * batch)) reduction(max : most) \
    reduction(& : all_seen)
    {
        NAME(wide) largest = {0};
        NAME(mask) seen = ~(NAME(mask)){0};
#pragma omp for schedule(static)
        for (long part = 0; part < n_parts; part++) {
            long start = part * PART, end = start + PART < batch ? start + PART : batch;
            for (long row = 0; row < n; row++)
                for (long b = start; b < end; b += DOUBLES) {
                    long width = end - b < DOUBLES ? end - b : DOUBLES;
                    NAME(wide) cells = {0}, total = {0};
                    NAME(part) own[3];
                    NAME(load)(&cells, x + row * batch + b, width);
                    NAME(load)(&total, base + b, width);
                    seen &= NAME(read_cells)(cells, reference + 3 * row, with_seen, own, &total, &largest);
                    NAME(store)(base + b, &total, width);
                    for (long i = 0; i < t; i++)
                        NAME(store_part)(statistics + (row * t + i) * batch + b, own + i, width);
                }
            for (long i = n * t; i < (n + 1) * t; i++)
                memset(statistics + i * batch + start, 0, (end - start) * sizeof(REAL));
        }
        for (int c = 0; c < DOUBLES; c++) {
            most = largest[c] > most ? largest[c] : most;
            all_seen &= seen[c];
        }
    }
    found[0] = most;
    found[1] = all_seen ? 1 : 0;
}

/* A mean's square must be the same number wherever a variance is the difference from it: fused
 * into the sum, it is not rounded, and a small variance becomes a negative one. */
#pragma GCC push_options
#pragma GCC optimize("fp-contract=off")

/* The maximum of the likelihood of some slots, see `maximize_normal`. */
ALWAYS void NAME(maximize_slots)(const REAL *restrict weighted, const REAL *restrict mass,
                                 const REAL *restrict reference, const REAL *restrict bounds,
                                 REAL prior, const REAL *restrict old, REAL *restrict phi,
                                 long start, long end, const long k)
{
    for (long slot = start; slot < end; slot++)
        for (long e = 0; e < k; e++) {
            long first = 2 * slot * k + e, second = first + k;
            REAL total = mass[slot * k + e] + prior, old_mean = old[first], old_square = old[second];
            REAL mean = (weighted[first] + prior * reference[2 * slot]) / total;
            REAL square = (weighted[second] + prior * reference[2 * slot + 1]) / total;
            /* A density that no cell belongs to keeps its parameters. */
            mean = total <= FLT_MIN ? old_mean : mean;
            square = total <= FLT_MIN ? old_square : square;
            REAL variance = square - mean * mean, least = bounds[2 * slot], most = bounds[2 * slot + 1];
            variance = variance < least ? least : variance;
            variance = variance > most ? most : variance;
            phi[first] = mean;
            phi[second] = mean * mean + variance;
        }
}

/* phi (n, 2, k), means of the cells and of their squares: the maximum of the likelihood given sums
 * over cells, weighted (n, 2, k) and mass (n, k), and a prior of a mass prior[0] with the means
 * reference (n, 2). Variances are kept in the bounds (n, 2). */
static void NAME(maximize_normal)(const REAL *weighted, const REAL *mass, const REAL *reference,
                                  const REAL *bounds, const REAL *prior, const REAL *old, REAL *phi,
                                  long n, long k, int threads)
{
    long step = 1 + 1023 / k, n_jobs = (n + step - 1) / step;
#pragma omp parallel for schedule(static) num_threads(team(threads, 4 * n * k))
    for (long job = 0; job < n_jobs; job++) {
        long start = job * step, end = start + step < n ? start + step : n;
        if (k == 1)
            NAME(maximize_slots)(weighted, mass, reference, bounds, *prior, old, phi, start, end, 1);
        else
            NAME(maximize_slots)(weighted, mass, reference, bounds, *prior, old, phi, start, end, k);
    }
}

/* What `natural_normal` sets, but for the logarithm of the precision. */
ALWAYS void NAME(natural_slots)(const REAL *restrict phi, const REAL *restrict reference,
                                REAL *restrict theta, REAL *restrict precisions,
                                REAL *restrict offsets, long start, long end, const long k)
{
    const REAL log_sqrt_2pi = (REAL)0.91893853320467274178;
    for (long slot = start; slot < end; slot++)
        for (long e = 0; e < k; e++) {
            long first = 2 * slot * k + e, second = first + k, own = (slot - start) * k + e;
            REAL mean = phi[first], precision = 1 / (phi[second] - mean * mean);
            theta[first] = mean * precision - reference[3 * slot + 1];
            theta[second] = (REAL)-0.5 * precision - reference[3 * slot + 2];
            precisions[own] = precision;
            offsets[own] = (REAL)0.5 * mean * mean * precision + log_sqrt_2pi + reference[3 * slot];
        }
}

/* The logarithms of normal densities phi, less those with the coefficients reference (n, 3), are
 * theta[0] x + theta[1] x^2 - offset, with theta (n, 2, k) and offset (n, k). */
static void NAME(natural_normal)(const REAL *phi, const REAL *reference, REAL *theta, REAL *offset,
                                 long n, long k, int threads)
{
    long step = 1 + 1023 / k, n_jobs = (n + step - 1) / step;
#pragma omp parallel num_threads(team(threads, 8 * n * k))
    {
        REAL *precisions = scratch((step * k + LANES) * 2 * sizeof(REAL));
        REAL *offsets = precisions + step * k + LANES;
#pragma omp for schedule(static)
        for (long job = 0; job < n_jobs; job++) {
            long start = job * step, end = start + step < n ? start + step : n;
            if (k == 1)
                NAME(natural_slots)(phi, reference, theta, precisions, offsets, start, end, 1);
            else
                NAME(natural_slots)(phi, reference, theta, precisions, offsets, start, end, k);
            long count = (end - start) * k;
            for (long i = count; i % LANES; i++)
                precisions[i] = 1;
            for (long i = 0; i < count; i += LANES)
                VEC(offsets + i) -= (REAL)0.5 * NAME(log)(VEC(precisions + i));
            memcpy(offset + start * k, offsets, count * sizeof(REAL));
        }
        free(precisions);
    }
}

#pragma GCC pop_options

#undef DOUBLES
#undef PART
