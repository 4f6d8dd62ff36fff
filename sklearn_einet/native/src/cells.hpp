/* Normal leaves of columns on a grid in steps of stochastic EM: the probabilities of its cells, and
 * M-steps with what is expected of a number that is only known to be in a cell.
 */
#pragma once

#include "leaves.hpp"

namespace sklearn_einet::INSTRUCTION_SET {
namespace {

constexpr double log_sqrt_2pi = 0x1.d67f1c864beb5p-1, sqrt_2pi = 0x1.40d931ff62706p+1;

/* The tail of a standard normal variable beyond x, x >= 0, by its density there: t = 4 / (4 + x)
 * times a polynomial in 2 t - 1, to 1e-15 of it. */
constexpr double tail_terms[] = {
    0x1.e4aa012912ddep-2,  0x1.8615d9b491666p-2,  0x1.f0d9856bc3c18p-3,   0x1.dec30ee67861ep-4,
    0x1.360ce26013f9ep-5,  0x1.35aa3c9633c98p-8,  -0x1.1dcfea6b25491p-9,  -0x1.0be6d6a7ef327p-10,
    0x1.5e7b09dc4e955p-14, 0x1.2fb4401fc6d08p-13, -0x1.40e74b51dcc5bp-20, -0x1.7181642370b48p-16,
    0x1.e0d535d939044p-22, 0x1.f22a6764afef3p-19, -0x1.a48321ba6e1e4p-22, -0x1.598326b41e0a2p-21,
    0x1.6442fbfdbf950p-23, 0x1.b4a44f299f179p-24, -0x1.a816713378ba3p-25, -0x1.a55e4de2aa7c4p-27,
    0x1.59f5967c36434p-27, 0x1.b804a8500a890p-31, -0x1.22e0dbb723c0fp-30};

ALWAYS_INLINE inline Wide tail_by_density(Wide x) {
    const Wide t = 4.0 / (4.0 + x);
    return t * polynomial<double>(2.0 * t - 1.0, tail_terms);
}

ALWAYS_INLINE inline Wide size_of(Wide x) {
    return (Wide)((Mask)x & INT64_MAX);
}

ALWAYS_INLINE inline Wide least(Wide a, Wide b) {
    return select<double>((Mask)(a < b), a, b);
}

ALWAYS_INLINE inline Wide most(Wide a, Wide b) {
    return select<double>((Mask)(a > b), a, b);
}

/* The logarithm of the probability that standard normal variables are between two ends, and their
 * mean and variance there. Tails are relative to the density at the end that is nearest to 0: all
 * digits are kept however far out it is. */
ALWAYS_INLINE inline Wide log_between(Wide start, Wide stop, Wide *mean, Wide *variance) {
    const Wide none = {};
    const Wide to_start = size_of(start), to_stop = size_of(stop);
    const Mask around = (Mask)(start < none) & (Mask)(stop > none);
    const Wide nearest = (Wide)((Mask)least(to_start, to_stop) & ~around);
    const Wide at_start = exp<double>(0.5 * (nearest - to_start) * (nearest + to_start));
    const Wide at_stop = exp<double>(0.5 * (nearest - to_stop) * (nearest + to_stop));
    const Wide below = tail_by_density(to_start) * at_start;
    const Wide above = tail_by_density(to_stop) * at_stop;
    Wide mass = select<double>(around, sqrt_2pi - below - above, size_of(below - above));
    mass = most(mass, none + DBL_MIN);
    const Wide share = 1.0 / mass, span = stop - start;
    *mean = least(most((at_start - at_stop) * share, start), stop);
    Wide found = 1.0 + (start * at_start - stop * at_stop) * share - *mean * *mean;
    *variance = least(most(found, none), least(0.25 * span * span, none + 1.0));
    return log<double>(mass) - (0.5 * nearest * nearest + log_sqrt_2pi);
}

/* The values of k densities for a cell; root has the inverses of their standard deviations, and
 * deviation these. */
template <class Real>
ALWAYS_INLINE inline void measure_cell(Real *logs, double *moments, const double *ends,
                                       double reference, const double *means, const double *root,
                                       const double *deviation, long k) {
    for (long e = 0; e < k; e += doubles) {
        const long width = left(k, e);
        Wide mean = {}, scale = {}, unit = {};
        load(&mean, means + e, width);
        load(&scale, root + e, width);
        load(&unit, deviation + e, width);
        Wide inside, variance;
        Wide value =
            log_between((ends[0] - mean) * scale, (ends[1] - mean) * scale, &inside, &variance);
        const Part<Real> log_p = __builtin_convertvector(value - reference, Part<Real>);
        inside = mean + unit * inside;
        const Wide square = inside * inside + unit * unit * variance;
        store_part<Real>(logs + e, &log_p, width);
        store(moments + e, &inside, width);
        store(moments + k + e, &square, width);
    }
}

template <class Real> void run(const CellValues<Real> &op, int threads) {
    const long k = op.k, batch = op.batch, most_cells = most_states(op.terms, op.n_terms);
    Scratch<Real> scratch;
    const long at_root = wide_numbers(scratch, k), at_deviation = wide_numbers(scratch, k);
    const long at_found = scratch.numbers(most_cells);
    auto body = [=](long i, Real *memory) ALWAYS_INLINE {
        double *root = reinterpret_cast<double *>(memory + at_root);
        double *deviation = reinterpret_cast<double *>(memory + at_deviation);
        Real *found = memory + at_found;
        const int64_t *term = op.terms + 4 * i, first = term[2], n = term[3];
        const double *x = op.x + term[1] * batch, *factors = op.factors + i * 3 * k;
        for (long e = 0; e < k; e++) {
            root[e] = __builtin_sqrt(2 * factors[k + e]);
            deviation[e] = 1 / root[e];
        }
        find_states(found, x, n, batch);
        for (long c = 0; c < n; c++)
            if (found[c] != 0)
                measure_cell(op.logs + (first + c) * k, op.moments + (first + c) * 2 * k,
                             op.ends + 2 * (first + c), op.reference[first + c], factors, root,
                             deviation, k);
    };
    const long cells = most_cells < batch ? most_cells : batch;
    const Team used = team(threads, 20 * exponential * op.n_terms * k * cells);
    for_jobs(op.n_terms, used, Dynamic{1}, scratch, body);
}

template <class Real> void run(const CellUpdate<Real> &op, int threads) {
    const long k = op.k, batch = op.batch;
    Scratch<Real> scratch;
    const TurnedFlows<Real> at(scratch, k);
    const long at_own = wide_numbers(scratch, 3 * k);
    const long at_variance = wide_numbers(scratch, k + doubles);
    const long at_logs = wide_numbers(scratch, k + doubles);
    auto body = [=](long i, Real *memory) ALWAYS_INLINE {
        double *own = reinterpret_cast<double *>(memory + at_own);
        double *variance = reinterpret_cast<double *>(memory + at_variance);
        double *logs = reinterpret_cast<double *>(memory + at_logs);
        const int64_t *term = op.terms + 4 * i;
        const double *x = op.x + term[1] * batch;
        const double *of_term = op.moments + term[2] * 2 * k;
        for (long j = 0; j < 3 * k; j++)
            own[j] = 0;
        for_seen(at, memory, x, op.flows + term[0] * k * batch, k, batch,
                 [=](int64_t cell, const Real *flow) ALWAYS_INLINE {
                     const double *moments = of_term + cell * 2 * k;
                     for (long e = 0; e < k; e++) {
                         own[e] += flow[e];
                         own[k + e] += flow[e] * moments[e];
                         own[2 * k + e] += flow[e] * moments[k + e];
                     }
                 });
        double *sums = op.sums + i * 3 * k;
        for (long j = 0; j < 3 * k; j++)
            sums[j] = op.keep * sums[j] + op.add * own[j];
        maximize_normals(op.factors + i * 3 * k, sums, op.priors + 4 * i, op.prior, k, variance,
                         logs);
    };
    const Team used = team(threads, 4 * exponential * op.n_terms * k * batch);
    for_jobs(op.n_terms, used, Static{}, scratch, body);
}

} // namespace
} // namespace sklearn_einet::INSTRUCTION_SET
