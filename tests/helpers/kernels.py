"""Compiled operations as functions, which make room for their results."""

import torch

from sklearn_einet.native.calls import call


def scale(x):
    scaled, maximum = torch.empty_like(x), x.new_empty(len(x), 1, x.shape[2])
    n, k, batch = x.shape
    call("scale", x=x, scaled=scaled, maximum=maximum, n_rows=n, k=k, batch=batch)
    return scaled, maximum


def einsum(x, weights, gather=None):
    """Logarithms of the sums over pairs, and the sums in units of the children's maxima."""
    n, k_out, k, _ = weights.shape
    logs, sums = (x.new_empty(n, k_out, x.shape[2]) for _ in range(2))
    arrays = {"x": x, "gather": gather, "weights": weights, "sums": sums, "logs": logs}
    call("einsum", **arrays, n_partitions=n, k_out=k_out, k=k, batch=x.shape[2])
    return logs, sums


def einsum_gradients(x, weights, gather, sums, grad, of_logs=False):
    """Gradients with respect to the children, (2 * n_partitions, K, batch), and to the weights."""
    (n, k_out, k, _), batch = weights.shape, x.shape[2]
    grad_x, grad_weights = x.new_empty(2 * n, k, batch), torch.empty_like(weights)
    arrays = {"x": x, "gather": gather, "weights": weights, "sums": sums, "grad": grad}
    arrays |= {"grad_x": grad_x, "grad_weights": grad_weights}
    sizes = {"n_partitions": n, "k_out": k_out, "k": k, "batch": batch}
    call("einsum_gradients", **arrays, **sizes, of_logs=of_logs)
    return grad_x, grad_weights


def log_mixture(x, weights, slot):
    (n, k, batch), (n_regions, n_slots, _) = x.shape, weights.shape
    logs = x.new_empty(n_regions, k, batch)
    sizes = {"n_partitions": n, "n_regions": n_regions, "n_slots": n_slots, "k": k, "batch": batch}
    call("log_mixture", x=x, slot=slot, weights=weights, logs=logs, **sizes)
    return logs


def log_mixture_gradients(x, weights, slot, grad, of_logs=False):
    (n, k, batch), (n_regions, n_slots, _) = x.shape, weights.shape
    grad_x, grad_weights = torch.empty_like(x), torch.empty_like(weights)
    arrays = {"x": x, "slot": slot, "weights": weights, "grad": grad}
    arrays |= {"grad_x": grad_x, "grad_weights": grad_weights}
    sizes = {"n_partitions": n, "n_regions": n_regions, "n_slots": n_slots, "k": k, "batch": batch}
    call("log_mixture_gradients", **arrays, **sizes, of_logs=of_logs)
    return grad_x, grad_weights


def mix(x, weights, wiring):
    """The values of a CP layer's partitions, and the sums of its mixed children."""
    n_mixed, k_out, k = weights.shape
    mixed, mixed_ends, plain, plain_ends, _ = map(torch.from_numpy, wiring.arrays())
    sums = x.new_empty(n_mixed, k_out, x.shape[2])
    logs = x.new_empty(wiring.n_partitions, k_out, x.shape[2])
    arrays = {"mixed": mixed, "mixed_ends": mixed_ends, "plain": plain, "plain_ends": plain_ends}
    arrays |= {"x": x, "weights": weights, "sums": sums, "logs": logs}
    call("mix", **arrays, n_partitions=len(logs), k_out=k_out, k=k, batch=x.shape[2])
    return logs, sums


def mix_gradients(x, weights, wiring, sums, grad, of_logs=False):
    """Gradients with respect to the mixed children, and to the weights."""
    n_mixed, k_out, k = weights.shape
    mixed, *_, of = map(torch.from_numpy, wiring.arrays())
    grad_x, grad_weights = x.new_empty(n_mixed, k, x.shape[2]), torch.empty_like(weights)
    arrays = {"x": x, "mixed": mixed, "of": of, "weights": weights, "sums": sums, "grad": grad}
    arrays |= {"grad_x": grad_x, "grad_weights": grad_weights}
    sizes = {"n_mixed": n_mixed, "k_out": k_out, "k": k, "batch": x.shape[2]}
    call("mix_gradients", **arrays, **sizes, of_logs=of_logs)
    return grad_x, grad_weights
