/* M-steps of mixtures of multivariate normal densities, and both steps by turns. */
#pragma once

#include "mixture.hpp"

namespace sklearn_einet::INSTRUCTION_SET {
namespace {

/* The mean of a density, its scatter about that and its mass, with some rows of the whole columns
 * added. */
template <class Real> ALWAYS_INLINE inline void move_mean(const Mixture<Real> &own, long c) {
    const auto &op = own.op;
    const long d = op.d;
    const Real *center = op.whole, *spread = op.whole + d, prior = (Real)op.pseudocount;
    Real *mean = op.mean + c * d, *scatter = own.sums + c * (d + 1) * (d + 1);
    Real *first = scatter + d * (d + 1);
    const Real mass = std::max(first[d] + prior, (Real)FLT_MIN);
    own.total[c] = mass;
    for (long i = 0; i < d; i++)
        for (long j = 0; j <= i; j++) {
            const Real offset = (center[i] - mean[i]) * (center[j] - mean[j]);
            const Real whole = offset + (i == j ? spread[i] * spread[i] : (Real)0);
            const Real left = first[i] + prior * (center[i] - mean[i]);
            const Real right = first[j] + prior * (center[j] - mean[j]);
            scatter[i * (d + 1) + j] += prior * whole - left * right / mass;
        }
    for (long i = 0; i < d; i++)
        mean[i] += (first[i] + prior * (center[i] - mean[i])) / mass;
}

/* The covariance within all densities. Values far out, which the deviations of the whole columns
 * leave out, have no say. */
template <class Real> inline void pool(const Mixture<Real> &own) {
    const auto &op = own.op;
    const long d = op.d;
    const Real *spread = op.whole + d;
    Real mass = 0;
    std::fill(op.scale, op.scale + d * d, (Real)0);
    for (long c = 0; c < op.n; c++) {
        mass += own.total[c];
        for (long i = 0; i < d; i++)
            for (long j = 0; j <= i; j++)
                op.scale[i * d + j] += own.sums[(c * (d + 1) + i) * (d + 1) + j];
    }
    Real *shrink = own.total + op.n;
    for (long i = 0; i < d; i++)
        shrink[i] = std::min(spread[i] / std::sqrt(op.scale[i * d + i] / mass), (Real)1);
    for (long i = 0; i < d; i++)
        for (long j = 0; j <= i; j++) {
            Real &value = op.scale[i * d + j];
            value *= shrink[i] * shrink[j] / mass;
            value += i == j ? (Real)op.ridge * spread[i] * spread[i] : (Real)0;
            op.scale[j * d + i] = value;
        }
    for (long c = 0; c < op.n; c++)
        op.log_weights[c] = std::log(own.total[c] / mass);
}

/* Covariances shrunk to the pooled one. */
template <class Real> ALWAYS_INLINE inline void shrink(const Mixture<Real> &own, long c) {
    const auto &op = own.op;
    const long d = op.d;
    const Real rows = (Real)op.prior_rows;
    Real *covariance = op.covariance + c * d * d;
    const Real *scatter = own.sums + c * (d + 1) * (d + 1);
    for (long i = 0; i < d; i++)
        for (long j = 0; j <= i; j++)
            covariance[j * d + i] = covariance[i * d + j] =
                (scatter[i * (d + 1) + j] + rows * op.scale[i * d + j]) / (own.total[c] + rows);
}

/* The inverse of the lower triangular factor of a matrix, (d, d), whose logarithm of the
 * determinant is returned. */
template <class Real>
ALWAYS_INLINE inline Real invert_factor(Real *inverse, const Real *matrix, Real *factor, long d) {
    Real log_det = 0;
    for (long i = 0; i < d; i++)
        for (long j = 0; j <= i; j++) {
            Real value = matrix[i * d + j];
            for (long k = 0; k < j; k++)
                value -= factor[i * d + k] * factor[j * d + k];
            factor[i * d + j] = i == j ? std::sqrt(value) : value / factor[j * d + j];
        }
    std::fill(inverse, inverse + d * d, (Real)0);
    for (long i = 0; i < d; i++) {
        log_det += std::log(factor[i * d + i]);
        for (long j = 0; j <= i; j++) {
            Real value = i == j ? (Real)1 : (Real)0;
            for (long k = j; k < i; k++)
                value -= factor[i * d + k] * inverse[k * d + j];
            inverse[i * d + j] = value / factor[i * d + i];
        }
    }
    return 2 * log_det;
}

/* The products of the columns of lower triangular inverses of factors: the inverse. */
template <class Real>
ALWAYS_INLINE inline Real inverse_cell(const Real *whitening, long i, long j, long d) {
    Real value = 0;
    for (long k = std::max(i, j); k < d; k++)
        value += whitening[k * d + i] * whitening[k * d + j];
    return value;
}

template <class Real> ALWAYS_INLINE inline bool has_gaps(const Mixture<Real> &own) {
    return own.op.n_patterns > 1 || (own.op.n_patterns && own.pattern(0).n_missing());
}

/* What a density needs to be scored, and what it expects of missing cells given the others: the
 * slopes -inverse(P_mm) P_mo and the covariances inverse(P_mm), P the inverse of its covariance. */
template <class Real>
ALWAYS_INLINE inline void prepare(const Mixture<Real> &own, long c, Real *scratch) {
    constexpr Real log_sqrt_2pi = (Real)0.91893853320467274178;
    const long d = own.op.d, area = d * d;
    Real *factor = scratch, *block = factor + area, *inverse = block + area;
    Real *precision = inverse + area, *whitening = own.whitening + c * area;
    const Real log_det = invert_factor(whitening, own.op.covariance + c * area, factor, d);
    const Real peak = own.op.log_weights[c] - (Real)0.5 * log_det - d * log_sqrt_2pi;
    for (long i = 0; i < area; i++)
        precision[i] = inverse_cell(whitening, i / d, i % d, d);
    for (long p = 0; p < own.op.n_patterns; p++) {
        const Pattern pattern = own.pattern(p);
        const long m = pattern.n_missing();
        for (long k = 0; k < m; k++)
            for (long l = 0; l < m; l++)
                block[k * m + l] = precision[pattern.column(k) * d + pattern.column(l)];
        const Real lost = m ? invert_factor(inverse, block, factor, m) : (Real)0;
        Real *completion = own.completion(c, p);
        for (long k = 0; k < m; k++) {
            Real *row = completion + pattern.column(k) * d;
            for (long l = 0; l < m; l++)
                row[pattern.column(l)] = block[l] = inverse_cell(inverse, k, l, m);
            for (long i = m; i < d; i++) {
                Real slope = 0;
                for (long l = 0; l < m; l++)
                    slope -= block[l] * precision[pattern.column(l) * d + pattern.column(i)];
                row[pattern.column(i)] = slope;
            }
        }
        /* Rows without any cell are certain. */
        own.shifts[c * own.op.n_patterns + p] =
            m == d ? own.op.log_weights[c] : peak + m * log_sqrt_2pi - (Real)0.5 * lost;
    }
}

/* Where a call's arrays are, of which each is in use by all threads. */
template <class Real> struct MixtureLayout {
    long whitening, completions, shifts, sums, total, shares, log_likelihoods, lists, counts,
        is_listed;
    Scratch<Real> all;

    MixtureLayout(const MixtureSteps<Real> &op, long n_blocks, long stride) {
        const long area = op.d * op.d, n_pairs = n_blocks * op.n * stride;
        whitening = all.numbers(op.n * area);
        completions = all.numbers(op.n * op.n_patterns * area);
        shifts = all.numbers(op.n * op.n_patterns);
        sums = all.numbers(op.n * (op.d + 1) * (op.d + 1));
        total = all.numbers(op.n + op.d);
        log_likelihoods = all.numbers(n_blocks);
        shares = all.numbers(n_pairs);
        lists = all.numbers(n_pairs);
        counts = all.numbers(2 * n_blocks * op.n + 2);
        is_listed = all.numbers(2 * n_blocks + 2);
    }
};

template <class Real> void run(const MixtureSteps<Real> &op, int threads) {
    constexpr long n = lanes<Real>;
    const long d = op.d, stride = mixture_rows;
    const long n_blocks = (op.batch + stride - 1) / stride;
    if (d > most_columns)
        refuse("mixture_steps: d is too large");
    std::fill(op.log_likelihoods, op.log_likelihoods + op.max_steps, (Real)__builtin_nan(""));
    if (!op.n)
        return;
    const MixtureLayout<Real> layout(op, n_blocks, stride);
    const Memory memory(1, layout.all.bytes());
    Real *const at = static_cast<Real *>(memory.of_thread(0));
    auto integers = [=](long place) { return (int64_t *)(((uintptr_t)(at + place) + 7) / 8 * 8); };
    const Mixture<Real> own = {op,
                               stride,
                               at + layout.whitening,
                               at + layout.completions,
                               at + layout.shifts,
                               at + layout.sums,
                               at + layout.total,
                               at + layout.shares,
                               reinterpret_cast<int32_t *>(at + layout.lists),
                               integers(layout.counts),
                               integers(layout.is_listed),
                               at + layout.log_likelihoods};
    Scratch<Real> scratch;
    const long at_x = scratch.numbers((d + 1) * abreast * n);
    const long at_sums = scratch.numbers((d + 1) * (d + 2) / 2 * n);
    const long at_masses = scratch.numbers(op.n_patterns);
    const long at_largest = scratch.numbers(stride), at_sum = scratch.numbers(stride);
    const long at_matrices = scratch.numbers(4 * d * d);
    const double cells = (double)d * d * op.n;
    const Team rows_team = team(threads, cells * op.batch), team_of_all = team(threads, cells * d);
    const auto by_density = [&](Team used, const auto &body) {
        for_jobs(op.n, used, Dynamic{1}, scratch, body);
    };
    const auto finish = [=](long c, Real *mine)
                            ALWAYS_INLINE { prepare(own, c, mine + at_matrices); };
    by_density(team_of_all, finish);
    Real last = -(Real)__builtin_inf(), weight = 0;
    for (long r = 0; r < op.batch; r++)
        weight += op.weight[r];
    weight = std::max(weight, (Real)FLT_MIN);
    for (long step = 0; step < op.max_steps; step++) {
        const bool for_all = step % steps_between == 0;
        for_jobs(n_blocks, rows_team, Dynamic{1}, scratch,
                 [=](long block, Real *mine) ALWAYS_INLINE {
                     infer(own, block, for_all, mine + at_x, mine + at_largest, mine + at_sum);
                 });
        by_density(rows_team, [=](long c, Real *mine) ALWAYS_INLINE {
            add_up(own, mine + at_x, mine + at_sums, mine + at_masses, c);
            move_mean(own, c);
        });
        pool(own);
        by_density(team_of_all, [=](long c, Real *mine) ALWAYS_INLINE {
            shrink(own, c);
            prepare(own, c, mine + at_matrices);
        });
        Real log_likelihood = 0;
        for (long block = 0; block < n_blocks; block++)
            log_likelihood += own.log_likelihoods[block];
        op.log_likelihoods[step] = log_likelihood;
        if (step >= op.min_steps && log_likelihood / weight < last + op.tolerance)
            break;
        last = log_likelihood / weight;
    }
}

} // namespace
} // namespace sklearn_einet::INSTRUCTION_SET
