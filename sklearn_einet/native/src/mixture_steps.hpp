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
    for (long i = 0; has_gaps(own) && i < area; i++)
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
        lists = all.numbers(n_pairs * (long)sizeof(int32_t) / (long)sizeof(Real) + 1);
        counts = all.numbers(2 * n_blocks * op.n + 2);
        is_listed = all.numbers(2 * n_blocks + 2);
    }

    Mixture<Real> start(const MixtureSteps<Real> &op, Real *at, long stride) const {
        const auto integers = [=](long place) {
            return reinterpret_cast<int64_t *>(((uintptr_t)(at + place) + 7) / 8 * 8);
        };
        return {op,
                stride,
                at + whitening,
                at + completions,
                at + shifts,
                at + sums,
                at + total,
                at + shares,
                reinterpret_cast<int32_t *>(at + lists),
                integers(counts),
                integers(is_listed),
                at + log_likelihoods};
    }
};

/* The scratch memory of a thread. */
template <class Real> struct MixtureScratch {
    Scratch<Real> all;
    long x, sums, masses, largest, sum, matrices;

    MixtureScratch(const MixtureSteps<Real> &op, long stride) {
        x = all.numbers((op.d + 1) * abreast * lanes<Real>);
        sums = all.numbers((op.d + 1) * (op.d + 2) / 2 * lanes<Real>);
        masses = all.numbers(op.n_patterns);
        largest = all.numbers(stride);
        sum = all.numbers(stride);
        matrices = all.numbers(4 * op.d * op.d);
    }
};

/* Pairs of rows and densities that a step is for. */
template <class Real> inline double n_pairs(const Mixture<Real> &own) {
    double pairs = 0;
    for (long block = 0; block < own.n_blocks(); block++)
        for (long c = 0; c < own.op.n; c++)
            pairs += (double)own.rows(block, c).count;
    return pairs;
}

/* One step of EM; returns the log-likelihood before it. */
template <class Real> inline Real
em_step(const Mixture<Real> &own, const MixtureScratch<Real> &scratch, int threads, bool for_all) {
    const long n = own.op.n, d = own.op.d, n_blocks = own.n_blocks();
    const double pairs = for_all ? (double)n * own.op.batch : n_pairs(own);
    const Team of_rows = team(threads, pairs * (d * d / 2.0 + 2 * d + exponential));
    for_jobs(n_blocks, of_rows, Dynamic{1}, scratch.all, [=](long block, Real *at) ALWAYS_INLINE {
        infer(own, block, for_all, at + scratch.x, at + scratch.largest, at + scratch.sum);
    });
    for_jobs(n, of_rows, Dynamic{1}, scratch.all, [=](long c, Real *at) ALWAYS_INLINE {
        add_up(own, at + scratch.x, at + scratch.sums, at + scratch.masses, c);
        move_mean(own, c);
    });
    pool(own);
    const Team of_densities = team(threads, (double)n * d * d * d);
    for_jobs(n, of_densities, Dynamic{1}, scratch.all, [=](long c, Real *at) ALWAYS_INLINE {
        shrink(own, c);
        prepare(own, c, at + scratch.matrices);
    });
    Real log_likelihood = 0;
    for (long block = 0; block < n_blocks; block++)
        log_likelihood += own.log_likelihoods[block];
    return log_likelihood;
}

template <class Real> void run(const MixtureSteps<Real> &op, int threads) {
    constexpr long stride = mixture_rows;
    const long n_blocks = (op.batch + stride - 1) / stride;
    if (op.d > most_columns)
        refuse("mixture_steps: d is too large");
    std::fill(op.log_likelihoods, op.log_likelihoods + op.max_steps, (Real)__builtin_nan(""));
    if (!op.n)
        return;
    const MixtureLayout<Real> layout(op, n_blocks, stride);
    const Memory memory(1, layout.all.bytes());
    const Mixture<Real> own = layout.start(op, static_cast<Real *>(memory.of_thread(0)), stride);
    const MixtureScratch<Real> scratch(op, stride);
    for_jobs(op.n, Team{1, false}, Static{}, scratch.all,
             [=](long c, Real *at) ALWAYS_INLINE { prepare(own, c, at + scratch.matrices); });
    Real last = -(Real)__builtin_inf(), weight = 0;
    for (long r = 0; r < op.batch; r++)
        weight += op.weight[r];
    for (long step = 0; step < op.max_steps; step++) {
        op.log_likelihoods[step] = em_step(own, scratch, threads, step % steps_between == 0);
        const Real mean = op.log_likelihoods[step] / std::max(weight, (Real)FLT_MIN);
        if (step >= op.min_steps && mean < last + op.tolerance)
            break;
        last = mean;
    }
}

} // namespace
} // namespace sklearn_einet::INSTRUCTION_SET
