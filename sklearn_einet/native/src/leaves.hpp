/* Univariate leaves in steps of stochastic EM: their values, and their M-steps.
 *
 * A term is a column in a leaf region. There are three kinds: normal densities, of two states, and
 * of any number of states; each has its own parameters for every unit.
 */
#pragma once

#include "normal.hpp"

namespace sklearn_einet::INSTRUCTION_SET {
namespace {

constexpr int64_t normal_kind = 0, binary_kind = 1;

/* Below this scale, a decaying table is multiplied out. */
constexpr double least_scale = 1e-100;

template <class Real> void run(const ReadCells<Real> &op, int threads) {
    constexpr long some = 64;
    auto body = [=](long job, Real *) ALWAYS_INLINE {
        const long start = job * some, end = start + some < op.batch ? start + some : op.batch;
        for (long b = start; b < end; b++) {
            const double *row = op.table + op.rows[b] * op.n_columns;
            for (long column = 0; column < op.n_columns; column++)
                op.x[column * op.batch + b] = row[column];
        }
    };
    const Team used = team(threads, 4 * access * op.batch * op.n_columns);
    for_jobs((op.batch + some - 1) / some, used, Static{}, Scratch<Real>{}, body);
}

/* The doubles of a strip from b on, and how many. */
ALWAYS_INLINE inline long left(long width, long b) {
    return width - b < doubles ? width - b : doubles;
}

/* Add the logarithms of k normal densities, less that of the column, to a strip. */
template <class Real>
ALWAYS_INLINE inline void add_normals(Real *result, const double *x, const double *factors,
                                      const double *prior, long k, long width) {
    constexpr long n_parts = strip<Real> / doubles;
    const double half = 0.5 / (prior[1] - prior[0] * prior[0]);
    Wide cells[n_parts] = {}, own[n_parts];
    Mask seen[n_parts];
    for (long p = 0; p < n_parts; p++) {
        if (p * doubles < width)
            load(cells + p, x + p * doubles, left(width, p * doubles));
        seen[p] = (Mask)(cells[p] == cells[p]);
        Wide distance = cells[p] - prior[0];
        own[p] = half * distance * distance;
    }
    for (long e = 0; e < k; e++) {
        const double mean = factors[e], precision = factors[k + e], offset = factors[2 * k + e];
        Real *to = result + e * strip<Real>;
        for (long p = 0; p < n_parts; p++, to += doubles) {
            Wide distance = cells[p] - mean;
            Wide value = own[p] + offset - precision * distance * distance;
            value = (Wide)((Mask)value & seen[p]);
            reinterpret_cast<Unaligned<Part<Real>> *>(to)->v +=
                __builtin_convertvector(value, Part<Real>);
        }
    }
}

/* Cells in the type of the kernel, 0 for what is missing, and whether they are seen; up to a whole
 * number of strips. */
template <class Real>
ALWAYS_INLINE inline void split_cells(Real *cells, Real *seen, const double *x, long batch) {
    for (long b = 0; b < batch; b++) {
        seen[b] = x[b] == x[b] ? 1 : 0;
        cells[b] = x[b] == x[b] ? (Real)x[b] : 0;
    }
    for (long b = batch; b % strip<Real>; b++)
        seen[b] = cells[b] = 0;
}

template <class Real> ALWAYS_INLINE inline void
add_binaries(Real *result, const double *x, const double *factors, long k, long width) {
    Real cells[strip<Real>], seen[strip<Real>];
    split_cells(cells, seen, x, width);
    for (long c = 0; c < width; c += lanes<Real>) {
        const Vec<Real> one = vec(seen + c).v, cell = vec(cells + c).v;
        for (long e = 0; e < k; e++)
            vec(result + e * strip<Real> + c).v +=
                (Real)factors[e] * one + (Real)factors[k + e] * cell;
    }
}

template <class Real> ALWAYS_INLINE inline void add_states(Real *turned, long ld, const double *x,
                                                           const Real *logs, long k, long width) {
    for (long c = 0; c < width; c++) {
        if (x[c] != x[c])
            continue;
        const Real *row = logs + (int64_t)x[c] * k;
        Real *to = turned + c * ld;
        long e = 0;
        for (; e + lanes<Real> <= k; e += lanes<Real>)
            vec(to + e).v += vec(row + e).v;
        for (; e < k; e++)
            to[e] += row[e];
    }
}

template <class Real> void run(const LeafValues<Real> &op, int threads) {
    constexpr long ld = strip<Real>;
    const long k = op.k, batch = op.batch;
    const long ld_turned = (k + ld - 1) / ld * ld;
    Scratch<Real> scratch;
    const long at_result = scratch.strips(k), at_turned = scratch.strips(ld_turned);
    auto body = [=](long r, long b, long width, Real *memory) ALWAYS_INLINE {
        Real *result = memory + at_result, *turned = memory + at_turned;
        const double *x = op.x + b;
        /* What is read unit by unit of a row is added up so, and then turned. */
        memset(turned, 0, ld_turned * ld * sizeof(Real));
        memset(result, 0, k * ld * sizeof(Real));
        bool turn = false;
        if (op.given && op.given_at[r] >= 0) {
            turn = true;
            for (long c = 0; c < width; c++)
                memcpy(turned + c * ld_turned,
                       op.given + op.rows[b + c] * op.n_given + op.given_at[r], k * sizeof(Real));
        }
        for (long i = r ? op.ends[r - 1] : 0; i < op.ends[r]; i++) {
            const int64_t kind = op.terms[3 * i], place = op.terms[3 * i + 2];
            const double *cells = x + op.terms[3 * i + 1] * batch;
            if (kind == normal_kind)
                add_normals(result, cells, op.normals + place * 3 * k, op.priors + 4 * place, k,
                            width);
            else if (kind == binary_kind)
                add_binaries(result, cells, op.binaries + place * 2 * k, k, width);
            else {
                turn = true;
                add_states(turned, ld_turned, cells, op.logs + place * k, k, width);
            }
        }
        if (turn)
            for (long e = 0; e < k; e++)
                for (long c = 0; c < width; c++)
                    result[e * ld + c] += turned[c * ld_turned + e];
        write_rows(op.leaves + r * k * batch + b, result, k, batch, width);
    };
    const Team used = team(threads, 3 * access * op.n_terms * k * batch);
    for_strips(op.n_regions, batch, used, by_rows<Real>(op.n_regions, batch, threads), scratch,
               body);
}

/* The logarithms of a state's k probabilities, less that of the whole column. */
template <class Real>
ALWAYS_INLINE inline void log_state(Real *to, const double *counts, const double *mass,
                                    double scale, double more, double prior, double reference,
                                    double correction, long k, Real *share) {
    constexpr long n = lanes<Real>;
    for (long e = 0; e < k; e++) {
        const double total = mass[e] + prior;
        share[e] = total > 0 ? (Real)((scale * counts[e] + prior * reference) / total + more)
                             : (Real)reference;
    }
    for (long e = k; e % n; e++)
        share[e] = 1;
    const Real own = (Real)(__builtin_log(reference) + __builtin_log1p(correction));
    for (long e = 0; e < k; e += n) {
        Vec<Real> value = log<Real>(vec(share + e).v) - own;
        if (k - e >= n)
            vec(to + e).v = value;
        else
            memcpy(to + e, &value, (k - e) * sizeof(Real));
    }
}

/* found[s] = 1 for the states s of n that x has, else 0; what is missing is none. */
template <class Real>
ALWAYS_INLINE inline void find_states(Real *found, const double *x, long n, long batch) {
    for (long s = 0; s < n; s++)
        found[s] = 0;
    for (long b = 0; b < batch; b++)
        if (x[b] == x[b])
            found[(int64_t)x[b]] = 1;
}

/* The largest number of states of a term. */
ALWAYS_INLINE inline long most_states(const int64_t *terms, long n_terms) {
    long most = 0;
    for (long i = 0; i < n_terms; i++)
        most = terms[4 * i + 3] > most ? terms[4 * i + 3] : most;
    return most;
}

template <class Real> void run(const StateLogs<Real> &op, int threads) {
    const long k = op.k, batch = op.batch, most = most_states(op.terms, op.n_terms);
    Scratch<Real> scratch;
    const long at_share = scratch.strips((k + strip<Real> - 1) / strip<Real>);
    const long at_found = scratch.numbers(most);
    auto body = [=](long i, Real *memory) ALWAYS_INLINE {
        Real *share = memory + at_share, *found = memory + at_found;
        const int64_t *term = op.terms + 4 * i, first = term[2], n = term[3];
        const double *x = op.x + term[1] * batch;
        find_states(found, x, n, batch);
        for (long s = 0; s < n; s++)
            if (found[s] != 0)
                log_state(op.logs + (first + s) * k, op.counts + (first + s) * k, op.mass + i * k,
                          *op.scale, op.least, op.prior, op.reference[first + s],
                          op.least * (double)n, k, share);
    };
    const long states = most < batch ? most : batch;
    const Team used = team(threads, 2 * exponential * op.n_terms * k * states);
    for_jobs<KeepSubnormals>(op.n_terms, used, Dynamic{1}, scratch, body);
}

template <class Real> void run(const RootFlows<Real> &op, int) {
    double sum = 0;
    for (long b = 0; b < op.batch; b++) {
        const double weight = op.weight ? op.weight[op.rows[b]] : 1, value = op.root[b];
        const bool known = value == value;
        if (weight != 0)
            sum += known ? weight * value : -__builtin_inf();
        op.flows[b] = known ? (Real)weight : 0;
    }
    *op.total += sum;
}

/* The sums over a batch of flows, and of flows times the cells and their squares. */
template <class Real> ALWAYS_INLINE inline void
sum_cells(double *sums, const Real *flows, const double *cells, const double *seen, long batch) {
    Wide mass = {}, first = {}, second = {};
    for (long b = 0; b < batch; b += doubles) {
        Part<Real> part = {};
        if (batch - b >= doubles)
            part = reinterpret_cast<const Unaligned<Part<Real>> *>(flows + b)->v;
        else
            memcpy(&part, flows + b, (batch - b) * sizeof(Real));
        const Wide flow = __builtin_convertvector(part, Wide), cell = vec(cells + b).v;
        const Wide product = flow * cell;
        mass += flow * vec(seen + b).v;
        first += product;
        second += product * cell;
    }
    sums[0] = total<double>(mass);
    sums[1] = total<double>(first);
    sums[2] = total<double>(second);
}

/* Room for so many doubles. */
template <class Real> ALWAYS_INLINE inline long wide_numbers(Scratch<Real> &scratch, long count) {
    return scratch.strips((count * (long)(sizeof(double) / sizeof(Real)) + strip<Real>) /
                          strip<Real>);
}

/* y = log(x) for some doubles, both with room for whole vectors; what x has there is changed. */
ALWAYS_INLINE inline void log_all(double *y, double *x, long count) {
    for (long i = count; i % doubles; i++)
        x[i] = 1;
    for (long i = 0; i < count; i += doubles)
        vec(y + i).v = log<double>(vec(x + i).v);
}

/* The M-step of k normal densities; variance has room for whole vectors. */
ALWAYS_INLINE inline void maximize_normals(double *factors, const double *sums, const double *prior,
                                           double of_prior, long k, double *variance,
                                           double *logs) {
    const double own = prior[1] - prior[0] * prior[0];
    for (long e = 0; e < k; e++) {
        const double all = sums[e] + of_prior;
        const double mean = (sums[k + e] + of_prior * prior[0]) / all;
        const double square = (sums[2 * k + e] + of_prior * prior[1]) / all;
        double found = square - mean * mean;
        found = found < prior[2] ? prior[2] : found;
        found = found > prior[3] ? prior[3] : found;
        /* A density that no cell belongs to keeps its parameters. */
        const bool keep = all <= FLT_MIN;
        factors[e] = keep ? factors[e] : mean;
        factors[k + e] = keep ? factors[k + e] : 0.5 / found;
        variance[e] = 0.5 / factors[k + e] / own;
    }
    log_all(logs, variance, k);
    for (long e = 0; e < k; e++)
        factors[2 * k + e] = -0.5 * logs[e];
}

template <class Real> void run(const NormalUpdate<Real> &op, int threads) {
    const long k = op.k, batch = op.batch;
    Scratch<Real> scratch;
    const long at_cells = wide_numbers(scratch, batch + doubles);
    const long at_seen = wide_numbers(scratch, batch + doubles);
    const long at_variance = wide_numbers(scratch, k + doubles);
    const long at_logs = wide_numbers(scratch, k + doubles);
    auto body = [=](long i, Real *memory) ALWAYS_INLINE {
        double *cells = reinterpret_cast<double *>(memory + at_cells);
        double *seen = reinterpret_cast<double *>(memory + at_seen);
        double *variance = reinterpret_cast<double *>(memory + at_variance);
        double *logs = reinterpret_cast<double *>(memory + at_logs);
        const double *x = op.x + op.terms[2 * i + 1] * batch;
        const Real *flows = op.flows + op.terms[2 * i] * k * batch;
        split_cells<double>(cells, seen, x, batch);
        double *sums = op.sums + i * 3 * k;
        for (long e = 0; e < k; e++) {
            double own[3];
            sum_cells(own, flows + e * batch, cells, seen, batch);
            for (long j = 0; j < 3; j++)
                sums[j * k + e] = op.keep * sums[j * k + e] + op.add * own[j];
        }
        maximize_normals(op.factors + i * 3 * k, sums, op.priors + 4 * i, op.prior, k, variance,
                         logs);
    };
    const Team used = team(threads, 3 * access * op.n_terms * k * batch);
    for_jobs(op.n_terms, used, Static{}, scratch, body);
}

/* The M-step of k densities of two states; both scratch arrays have room for whole vectors. */
ALWAYS_INLINE inline void maximize_binaries(double *factors, const double *sums, double reference,
                                            double of_prior, double least, long k, double *one,
                                            double *none) {
    const double own = __builtin_log1p(-reference), odds = __builtin_log(reference) - own;
    for (long e = 0; e < k; e++) {
        const double all = sums[e] + of_prior;
        double share = all > FLT_MIN ? (sums[k + e] + of_prior * reference) / all : reference;
        share = share < least ? least : share > 1 - least ? 1 - least : share;
        one[e] = share;
        none[e] = 1 - share;
    }
    log_all(one, one, k);
    log_all(none, none, k);
    for (long e = 0; e < k; e++) {
        if (sums[e] + of_prior <= FLT_MIN)
            continue;
        factors[e] = none[e] - own;
        factors[k + e] = one[e] - none[e] - odds;
    }
}

template <class Real> void run(const BinaryUpdate<Real> &op, int threads) {
    constexpr long n = lanes<Real>;
    const long k = op.k, batch = op.batch, whole = batch / n * n;
    Scratch<Real> scratch;
    const long at_cells = scratch.strips(n_strips<Real>(batch));
    const long at_seen = scratch.strips(n_strips<Real>(batch));
    const long at_one = wide_numbers(scratch, k + doubles);
    const long at_none = wide_numbers(scratch, k + doubles);
    auto body = [=](long i, Real *memory) ALWAYS_INLINE {
        Real *cells = memory + at_cells, *seen = memory + at_seen;
        double *one = reinterpret_cast<double *>(memory + at_one);
        double *none = reinterpret_cast<double *>(memory + at_none);
        const Real *flows = op.flows + op.terms[2 * i] * k * batch;
        split_cells(cells, seen, op.x + op.terms[2 * i + 1] * batch, batch);
        double *sums = op.sums + i * 2 * k;
        for (long e = 0; e < k; e++) {
            const Real *own = flows + e * batch;
            Vec<Real> mass = {}, hits = {};
            for (long b = 0; b < whole; b += n) {
                mass += vec(own + b).v * vec(seen + b).v;
                hits += vec(own + b).v * vec(cells + b).v;
            }
            double all = total<Real>(mass), first = total<Real>(hits);
            for (long b = whole; b < batch; b++) {
                all += own[b] * seen[b];
                first += own[b] * cells[b];
            }
            sums[e] = op.keep * sums[e] + op.add * all;
            sums[k + e] = op.keep * sums[k + e] + op.add * first;
        }
        maximize_binaries(op.factors + i * 2 * k, sums, op.reference[i], op.prior, op.least, k, one,
                          none);
    };
    const Team used = team(threads, 3 * access * op.n_terms * k * batch);
    for_jobs(op.n_terms, used, Static{}, scratch, body);
}

/* Scratch memory of `for_seen`: where it begins, and the distance of its rows. */
template <class Real> struct TurnedFlows {
    long at_rows, at_turned, ld;

    TurnedFlows(Scratch<Real> &scratch, long k)
        : ld((k + lanes<Real> - 1) / lanes<Real> * lanes<Real>) {
        at_rows = scratch.strips(k);
        at_turned = scratch.strips(ld);
    }
};

/* body(state, flows of the k units) for every cell that is not missing. */
template <class Real, class Body>
ALWAYS_INLINE inline void for_seen(const TurnedFlows<Real> &at, Real *memory, const double *x,
                                   const Real *flows, long k, long batch, Body body) {
    Real *rows = memory + at.at_rows, *turned = memory + at.at_turned;
    for (long b = 0; b < batch; b += strip<Real>) {
        const long width = strip_width<Real>(batch, b);
        copy_rows(rows, flows + b, k, batch, width);
        transpose(turned, at.ld, rows, k, width);
        for (long c = 0; c < width; c++)
            if (x[b + c] == x[b + c])
                body((int64_t)x[b + c], turned + c * at.ld);
    }
}

template <class Real> void run(const StateUpdate<Real> &op, int threads) {
    const long k = op.k, batch = op.batch;
    *op.scale *= op.keep;
    if (*op.scale < least_scale) {
        for (long i = 0; i < op.n_states * k; i++)
            op.counts[i] *= *op.scale;
        *op.scale = 1;
    }
    const double more = op.add / *op.scale;
    Scratch<Real> scratch;
    const TurnedFlows<Real> at(scratch, k);
    const long at_mass = wide_numbers(scratch, k);
    auto body = [=](long i, Real *memory) ALWAYS_INLINE {
        double *mass = reinterpret_cast<double *>(memory + at_mass);
        const int64_t *term = op.terms + 4 * i;
        const double *x = op.x + term[1] * batch;
        double *counts = op.counts + term[2] * k;
        for (long e = 0; e < k; e++)
            mass[e] = 0;
        for_seen(at, memory, x, op.flows + term[0] * k * batch, k, batch,
                 [=](int64_t state, const Real *own) ALWAYS_INLINE {
                     double *to = counts + state * k;
                     for (long e = 0; e < k; e++) {
                         to[e] += more * own[e];
                         mass[e] += own[e];
                     }
                 });
        for (long e = 0; e < k; e++)
            op.mass[i * k + e] = op.keep * op.mass[i * k + e] + op.add * mass[e];
    };
    const Team used = team(threads, 3 * access * op.n_terms * k * batch);
    for_jobs(op.n_terms, used, Static{}, scratch, body);
}

} // namespace
} // namespace sklearn_einet::INSTRUCTION_SET
