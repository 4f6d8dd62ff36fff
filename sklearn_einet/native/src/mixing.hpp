/* Mixtures: of the partitions of a region, unit by unit, and of the units of single children, as CP
 * layers have them. */
#pragma once

#include "tiles.hpp"

namespace sklearn_einet::INSTRUCTION_SET {
namespace {

template <class Real> void run(const Scale<Real> &op, int threads) {
    const long k = op.k, batch = op.batch;
    Scratch<Real> scratch;
    const long at_rows = scratch.strips(k), at_top = scratch.strips(1);
    auto body = [=](long row, long b, long width, Real *memory) ALWAYS_INLINE {
        Real *rows = memory + at_rows, *top = memory + at_top;
        exp_rows(rows, top, op.x + row * k * batch + b, k, batch, width);
        write_rows(op.scaled + row * k * batch + b, rows, k, batch, width);
        write_rows(op.maximum + row * batch + b, top, 1, batch, width);
    };
    const Team used = team(threads, exponential * op.n_rows * k * batch);
    for_strips(op.n_rows, batch, used, Static{}, scratch, body);
}

/* The first partition of a region, or of the first one after it that has any. */
template <class Operation>
ALWAYS_INLINE inline long first_partition(const Operation &op, long region) {
    long low = 0, high = op.n_partitions;
    while (low < high) {
        long middle = (low + high) / 2;
        if (op.slot[middle] < region * op.n_slots)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

template <class Real> void run(const LogMixture<Real> &op, int threads) {
    constexpr long ld = strip<Real>;
    const long k = op.k, batch = op.batch;
    Scratch<Real> scratch;
    const long at_terms = scratch.strips(op.n_slots), at_result = scratch.strips(k);
    const long at_top = scratch.strips(1);
    auto body = [=](long r, long b, long width, Real *memory) ALWAYS_INLINE {
        Real *terms = memory + at_terms, *result = memory + at_result, *top = memory + at_top;
        long first = first_partition(op, r), last = first_partition(op, r + 1);
        for (long o = 0; o < k; o++) {
            const Real *x = op.x + (first * k + o) * batch + b;
            exp_rows(terms, top, x, last - first, k * batch, width);
            for (long c = 0; c < width; c += lanes<Real>) {
                Vec<Real> sum = {};
                for (long p = first; p < last; p++)
                    sum += op.weights[op.slot[p] * k + o] * vec(terms + (p - first) * ld + c).v;
                vec(result + o * ld + c).v = log<Real>(sum) + vec(top + c).v;
            }
        }
        write_rows(op.logs + r * k * batch + b, result, k, batch, width);
    };
    const Team used = team(threads, 2 * exponential * op.n_partitions * k * batch);
    for_strips(op.n_regions, batch, used, Static{}, scratch, body);
}

template <class Real> void run(const LogMixtureGradients<Real> &op, int threads) {
    constexpr long ld = strip<Real>, n = lanes<Real>;
    const long n_slots = op.n_slots, k = op.k, batch = op.batch;
    Scratch<Real> scratch;
    const long at_terms = scratch.strips(n_slots), at_above = scratch.strips(1);
    const long at_sums = scratch.strips(1), at_top = scratch.strips(1);
    const long at_spare = scratch.strips(1), at_totals = scratch.numbers(n_slots * n);
    auto body = [=](long r, Real *memory) ALWAYS_INLINE {
        Real *terms = memory + at_terms, *above = memory + at_above, *sums = memory + at_sums;
        Real *top = memory + at_top, *spare = memory + at_spare, *totals = memory + at_totals;
        const long first = first_partition(op, r), count = first_partition(op, r + 1) - first;
        Real *grad_weights = op.grad_weights + r * n_slots * k;
        memset(grad_weights, 0, n_slots * k * sizeof(Real));
        for (long o = 0; o < k; o++) {
            memset(totals, 0, count * n * sizeof(Real));
            for (long b = 0; b < batch; b += ld) {
                const long width = strip_width<Real>(batch, b), here = (first * k + o) * batch + b;
                exp_rows(terms, top, op.x + here, count, k * batch, width);
                for (long c = 0; c < ld; c += n) {
                    vec(sums + c).v = Vec<Real>{};
                    for (long p = 0; p < count; p++)
                        vec(sums + c).v +=
                            op.weights[op.slot[first + p] * k + o] * vec(terms + p * ld + c).v;
                }
                ratio_rows(above, op.grad + (r * k + o) * batch + b, sums, 1, batch, width, spare);
                for (long p = 0; p < count; p++)
                    for (long c = 0; c < width; c += n) {
                        Vec<Real> share = vec(terms + p * ld + c).v * vec(above + c).v;
                        vec(totals + p * n).v += share;
                        vec(terms + p * ld + c).v = op.weights[op.slot[first + p] * k + o] * share;
                    }
                write_rows(op.grad_x + here, terms, count, k * batch, width);
            }
            for (long p = 0; p < count; p++)
                op.grad_weights[op.slot[first + p] * k + o] = total<Real>(vec(totals + p * n).v);
        }
        if (op.of_logs)
            multiply(grad_weights, op.weights + r * n_slots * k, n_slots * k);
    };
    const Team used = team(threads, 4 * exponential * op.n_partitions * k * batch);
    for_jobs(op.n_regions, used, Static{}, scratch, body);
}

template <class Real> void run(const MixtureUpdate<Real> &op, int threads) {
    const long k = op.k;
    const Real of_old = op.keep, of_new = op.add;
    auto body = [=](long r, Real *) ALWAYS_INLINE {
        const long first = first_partition(op, r), count = first_partition(op, r + 1) - first;
        const Real more = (Real)(op.prior / (double)count + op.least);
        for (long o = 0; o < k; o++) {
            Real total = more * (Real)count;
            for (long p = first; p < first + count; p++) {
                const long at = op.slot[p] * k + o;
                op.average[at] = of_old * op.average[at] + of_new * op.counts[at];
                total += op.average[at];
            }
            for (long p = first; p < first + count; p++) {
                const long at = op.slot[p] * k + o;
                op.weights[at] = (op.average[at] + more) / total;
            }
        }
    };
    const Team used = team(threads, 4 * access * op.n_partitions * k);
    for_jobs(op.n_regions, used, Static{}, Scratch<Real>{}, body);
}

template <class Real> void run(const Mix<Real> &op, int threads) {
    constexpr long ld = strip<Real>;
    const long m = op.k_out, k = op.k, batch = op.batch, last = op.n_partitions - 1;
    if (last >= 0 &&
        ((op.mixed_ends[last] && !(op.mixed && op.weights)) || (op.plain_ends[last] && !op.plain)))
        refuse("mix: mixed, plain or weights is null although there are such children");
    Scratch<Real> scratch;
    const long at_child = scratch.strips(k), at_inner = scratch.strips(m);
    const long at_result = scratch.strips(m), at_top = scratch.strips(1);
    auto body = [=](long p, long b, long width, Real *memory) ALWAYS_INLINE {
        Real *child = memory + at_child, *inner = memory + at_inner;
        Real *result = memory + at_result, *top = memory + at_top;
        memset(result, 0, m * ld * sizeof(Real));
        for (long i = p ? op.plain_ends[p - 1] : 0; i < op.plain_ends[p]; i++)
            for (long o = 0; o < m; o++) {
                copy(child, op.x + (op.plain[i] * k + o) * batch + b, width);
                for (long c = 0; c < width; c += lanes<Real>)
                    vec(result + o * ld + c).v += vec(child + c).v;
            }
        for (long i = p ? op.mixed_ends[p - 1] : 0; i < op.mixed_ends[p]; i++) {
            exp_rows(child, top, op.x + op.mixed[i] * k * batch + b, k, batch, width);
            product(op.weights + i * m * k, k, 1, m, k, child, inner, width, false);
            if (op.sums)
                write_rows(op.sums + i * m * batch + b, inner, m, batch, width);
            for (long c = 0; c < width; c += lanes<Real>)
                for (long o = 0; o < m; o++)
                    vec(result + o * ld + c).v +=
                        log<Real>(vec(inner + o * ld + c).v) + vec(top + c).v;
        }
        write_rows(op.logs + p * m * batch + b, result, m, batch, width);
    };
    const long n_mixed = last < 0 ? 0 : op.mixed_ends[last];
    const Team used = team(threads, (m * k + exponential * (m + k)) * n_mixed * batch);
    Dynamic schedule = by_rows<Real>(op.n_partitions, batch, threads);
    for_strips(op.n_partitions, batch, used, schedule, scratch, body);
}

template <class Real> void run(const MixGradients<Real> &op, int threads) {
    constexpr long n = lanes<Real>;
    const long m = op.k_out, k = op.k, batch = op.batch, ld_turned = (k + n - 1) / n * n;
    Scratch<Real> scratch;
    const long at_child = scratch.strips(k), at_below = scratch.strips(k);
    const long at_above = scratch.strips(m), at_top = scratch.strips(1);
    const long at_turned = scratch.strips(ld_turned);
    auto body = [=](long i, Real *memory) ALWAYS_INLINE {
        Real *child = memory + at_child, *below = memory + at_below, *above = memory + at_above;
        Real *top = memory + at_top, *turned = memory + at_turned;
        const Real *w = op.weights + i * m * k;
        Real *grad_w = op.grad_weights + i * m * k;
        memset(grad_w, 0, m * k * sizeof(Real));
        for (long b = 0; b < batch; b += strip<Real>) {
            const long width = strip_width<Real>(batch, b);
            exp_rows(child, top, op.x + op.mixed[i] * k * batch + b, k, batch, width);
            ratio_rows(above, op.grad + op.of[i] * m * batch + b, op.sums + i * m * batch + b, m,
                       batch, width, top);
            product(w, 1, k, k, m, above, below, width, false);
            for (long j = 0; j < k; j++)
                for (long c = 0; c < width; c += n)
                    vec(below + j * strip<Real> + c).v *= vec(child + j * strip<Real> + c).v;
            write_rows(op.grad_x + i * k * batch + b, below, k, batch, width);
            transpose(turned, ld_turned, child, k, width);
            outer(above, m, turned, ld_turned, width, grad_w, k, k);
        }
        if (op.of_logs)
            multiply(grad_w, w, m * k);
    };
    const Team used = team(threads, (2 * m * k + exponential * (m + k)) * op.n_mixed * batch);
    for_jobs(op.n_mixed, used, Dynamic{1}, scratch, body);
}

} // namespace
} // namespace sklearn_einet::INSTRUCTION_SET
