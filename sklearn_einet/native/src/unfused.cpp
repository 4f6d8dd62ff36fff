/* Parameters of normal densities, compiled without fused multiplications and additions.
 *
 * A mean's square must be the same number wherever a variance is the difference from it: fused
 * into the sum, it is not rounded, and a small variance becomes a negative one.
 */

#include "unfused.hpp"
#include "jobs.hpp"

namespace sklearn_einet::INSTRUCTION_SET {
namespace {

/* Slots that a thread takes at a time. */
ALWAYS_INLINE inline long slots_at_a_time(long k) {
    return 1 + 1023 / (k ? k : 1);
}

/* body(start, end, k, memory) for the slots of every job, with k as a constant if it is 1. */
template <class Real, class Body> ALWAYS_INLINE inline void
for_slots(long n_slots, long k, Team team, const Scratch<Real> &scratch, Body body) {
    const long step = slots_at_a_time(k), n_jobs = (n_slots + step - 1) / step;
    auto job = [=](long number, Real *memory) ALWAYS_INLINE {
        const long start = number * step, end = start + step < n_slots ? start + step : n_slots;
        if (k == 1)
            body(start, end, 1, memory);
        else
            body(start, end, k, memory);
    };
    for_jobs<KeepSubnormals>(n_jobs, team, Static{}, scratch, job);
}

/* The maximum of the likelihood of some slots. */
template <class Real> ALWAYS_INLINE inline void
maximize_slots(const Real *__restrict weighted, const Real *__restrict mass,
               const Real *__restrict reference, const Real *__restrict bounds, Real prior,
               const Real *__restrict old, Real *__restrict phi, long start, long end,
               const long k) {
    for (long slot = start; slot < end; slot++)
        for (long e = 0; e < k; e++) {
            long first = 2 * slot * k + e, second = first + k;
            Real total = mass[slot * k + e] + prior, old_mean = old[first];
            Real old_square = old[second];
            Real mean = (weighted[first] + prior * reference[2 * slot]) / total;
            Real square = (weighted[second] + prior * reference[2 * slot + 1]) / total;
            /* A density that no cell belongs to keeps its parameters. */
            mean = total <= FLT_MIN ? old_mean : mean;
            square = total <= FLT_MIN ? old_square : square;
            Real variance = square - mean * mean;
            Real least = bounds[2 * slot], most = bounds[2 * slot + 1];
            variance = variance < least ? least : variance;
            variance = variance > most ? most : variance;
            phi[first] = mean;
            phi[second] = mean * mean + variance;
        }
}

/* What `natural_normal` sets, except the logarithm of the precision. */
template <class Real>
ALWAYS_INLINE inline void natural_slots(const Real *__restrict phi,
                                        const Real *__restrict reference, Real *__restrict theta,
                                        Real *__restrict precisions, Real *__restrict offsets,
                                        long start, long end, const long k) {
    const Real log_sqrt_2pi = (Real)0.91893853320467274178;
    for (long slot = start; slot < end; slot++)
        for (long e = 0; e < k; e++) {
            long first = 2 * slot * k + e, second = first + k, own = (slot - start) * k + e;
            Real mean = phi[first], precision = 1 / (phi[second] - mean * mean);
            theta[first] = mean * precision - reference[3 * slot + 1];
            theta[second] = (Real)-0.5 * precision - reference[3 * slot + 2];
            precisions[own] = precision;
            offsets[own] = (Real)0.5 * mean * mean * precision + log_sqrt_2pi + reference[3 * slot];
        }
}

} // namespace

template <class Real> void maximize_normal(const MaximizeNormal<Real> &op, int threads) {
    auto body = [=](long start, long end, long k, Real *) ALWAYS_INLINE {
        maximize_slots(op.weighted, op.mass, op.reference, op.bounds, *op.prior, op.old, op.phi,
                       start, end, k);
    };
    const Team used = team(threads, 12 * exponential * op.n_slots * op.k);
    for_slots(op.n_slots, op.k, used, Scratch<Real>{}, body);
}

template <class Real> void natural_normal(const NaturalNormal<Real> &op, int threads) {
    constexpr long n = lanes<Real>;
    const long room = slots_at_a_time(op.k) * op.k + n;
    Scratch<Real> scratch;
    const long at_precisions = scratch.numbers(room), at_offsets = scratch.numbers(room);
    auto body = [=](long start, long end, long k, Real *memory) ALWAYS_INLINE {
        Real *precisions = memory + at_precisions, *offsets = memory + at_offsets;
        natural_slots(op.phi, op.reference, op.theta, precisions, offsets, start, end, k);
        const long count = (end - start) * k;
        for (long i = count; i % n; i++)
            precisions[i] = 1;
        for (long i = 0; i < count; i += n)
            vec(offsets + i).v -= (Real)0.5 * log<Real>(vec(precisions + i).v);
        memcpy(op.log_normalizer + start * k, offsets, count * sizeof(Real));
    };
    const Team used = team(threads, 24 * exponential * op.n_slots * op.k);
    for_slots(op.n_slots, op.k, used, scratch, body);
}

template void maximize_normal(const MaximizeNormal<float> &, int);
template void maximize_normal(const MaximizeNormal<double> &, int);
template void natural_normal(const NaturalNormal<float> &, int);
template void natural_normal(const NaturalNormal<double> &, int);

} // namespace sklearn_einet::INSTRUCTION_SET
