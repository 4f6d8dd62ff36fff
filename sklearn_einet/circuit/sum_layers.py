"""Sum layers: einsum layers (paper, 3.2 and 3.3) and mixing layers (paper, 3.4).

All activations are log-densities of shape (rows, K, batch), one row for each region or partition.
The batch is the last axis, so that every element-wise operation and every reduction over K runs
over contiguous memory however small K is.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from sklearn_einet.circuit.products import (
    blocks,
    finite_maximum,
    log_pair_sums,
    pair,
    pair_gradients,
    pair_sums,
    ratio,
    scaled_exp,
)

__all__ = [
    "log_einsum_derivatives",
    "log_einsum_exp",
    "log_einsum_max",
    "log_mix_exp",
]


class _LogEinsumExp(torch.autograd.Function):
    """Eq. 4 of the paper and the mixing above it, without the outer products of a whole layer.

    Regions have many parents in the structure of Poon and Domingos. Exponentials are taken once
    for each of them, and logarithms once for each region of the layer: what is between, for each
    partition, is products and sums.
    """

    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        weights: Tensor,
        gather: Tensor | None,
        mixing: Tensor | None,
        slot: Tensor | None,
    ) -> Tensor:
        if mixing is None or slot is None:
            logs, sums = log_pair_sums(x, weights, gather, any(ctx.needs_input_grad))
            ctx.save_for_backward(x, weights, sums, gather)
            return logs
        scaled, maximum = scaled_exp(x)
        sums = pair_sums(scaled, weights, gather)
        scale = torch.add(*pair(maximum, slice(0, len(weights)), gather))
        # Each region's largest sum becomes 1. What is lost by underflow is far below it.
        peak = sums.amax(1, keepdim=True)
        scale = torch.where(peak > 0, scale, -torch.inf)
        top = _by_region(
            peak.clamp_min_(torch.finfo(x.dtype).tiny).log_().add_(scale), mixing, slot, -torch.inf
        )
        highest = top.amax(1).clamp_min_(torch.finfo(x.dtype).min)
        share = (scale - _by_partition(highest, mixing, slot)).exp_()
        terms = sums * share * mixing.flatten(0, 1)[slot].unsqueeze(-1)
        mixed = _by_region(terms, mixing, slot, 0).sum(1)
        ctx.save_for_backward(scaled, weights, sums, gather, mixing, slot, share, mixed)
        return mixed.log().add_(highest)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        x, weights, sums, gather, *mixed_layer = ctx.saved_tensors
        if not mixed_layer:
            grad_x, grad_weights = pair_gradients(x, weights, gather, sums, grad)
            return grad_x, grad_weights, None, None, None
        mixing, slot, share, mixed = mixed_layer
        grad_terms = _by_partition(ratio(grad, mixed), mixing, slot) * share
        shares = torch.einsum("nkb,nkb->nk", grad_terms, sums)
        grad_mixing = _by_region(shares, mixing, slot, 0)
        grad_sums = grad_terms.mul_(mixing.flatten(0, 1)[slot].unsqueeze(-1))
        grad_x, grad_weights = pair_gradients(x, weights, gather, None, grad_sums)
        return grad_x, grad_weights, None, grad_mixing, None


def log_einsum_exp(
    x: Tensor,
    weights: Tensor,
    gather: Tensor | None = None,
    mixing: Tensor | None = None,
    slot: Tensor | None = None,
) -> Tensor:
    """Every sum node over the products of two children's entries, in the log domain.

    Parameters
    ----------
    x : Tensor of shape (rows, K, batch)
        Log-densities of regions.
    weights : Tensor of shape (n_partitions, K_out, K, K)
        Linear, non-negative weights of the products (left, right).
    gather : Tensor of int of shape (2 * n_partitions,) or None, default=None
        The children of partition p are the rows gather[2 p] and gather[2 p + 1]. None: the rows
        2 p and 2 p + 1.
    mixing : Tensor of shape (n_regions, n_slots, K_out) or None, default=None
        Weights with which partitions are mixed, entry by entry, into regions.
    slot : Tensor of int of shape (n_partitions,) or None, default=None
        The position of every partition in the flattened first two axes of `mixing`; ascending.

    Returns
    -------
    sums : Tensor of shape (n_partitions, K_out, batch), or (n_regions, K_out, batch) with mixing
        log(sum_ij weights[p, o, i, j] exp(left[i] + right[j])). -inf, not NaN, where every product
        has density zero.
    """
    result: Tensor = _LogEinsumExp.apply(x, weights, gather, mixing, slot)
    return result


def _by_region(values: Tensor, mixing: Tensor, slot: Tensor, padding: float) -> Tensor:
    """Values of partitions in the slots of their regions, (n_regions, n_slots, ...)."""
    shape = mixing.shape[:2] + values.shape[1:]
    if len(values) == shape[0] * shape[1]:
        return values.view(shape)
    padded = values.new_full((shape[0] * shape[1], *shape[2:]), padding)
    return padded.index_copy_(0, slot, values).view(shape)


def _by_partition(values: Tensor, mixing: Tensor, slot: Tensor) -> Tensor:
    """Values of regions, repeated for each of their partitions."""
    return values.index_select(0, slot // mixing.shape[1])


def log_einsum_derivatives(children: Tensor, weights: Tensor, log_derivatives: Tensor) -> Tensor:
    """The downward pass of `log_einsum_exp`, in the log domain.

    Derivatives with respect to densities, unlike those with respect to their logarithms, do not
    vanish where a density does. In the log domain none of them is lost to underflow.

    Parameters
    ----------
    children : Tensor of shape (2 * n_partitions, K, batch)
    weights : Tensor of shape (n_partitions, K_out, K, K)
    log_derivatives : Tensor of shape (n_partitions, K_out, batch)
        Logarithms of the root's derivatives with respect to the sums' densities.

    Returns
    -------
    log_derivatives : Tensor of shape (2 * n_partitions, K, batch)
        Those with respect to the children's densities.
    """
    scaled, maximum = scaled_exp(children)
    outer_derivatives, top = scaled_exp(log_derivatives)
    n, _, k, _ = weights.shape
    batch = children.shape[-1]
    flat = weights.flatten(2)
    result = torch.empty_like(scaled)
    for block, pairs in blocks(n, children, (k, k, batch)):
        flat_pairs = pairs.view(-1, k * k, batch)
        torch.bmm(flat[block].transpose(1, 2), outer_derivatives[block], out=flat_pairs)
        left, right = pair(scaled, block)
        for_left, for_right = pair(result, block)
        torch.sum(pairs * right.unsqueeze(1), dim=2, out=for_left)
        torch.sum(pairs.mul_(left.unsqueeze(2)), dim=1, out=for_right)
    result.log_()
    result[0::2] += top + maximum[1::2]
    result[1::2] += top + maximum[0::2]
    return result


def log_einsum_max(children: Tensor, weights: Tensor) -> Tensor:
    """`log_einsum_exp` with the largest term in place of the sum."""
    n, k_out, k, _ = weights.shape
    batch = children.shape[-1]
    log_weights = weights.log()
    result = children.new_empty(n, k_out, batch)
    for o in range(k_out):
        for block, terms in blocks(n, children, (k, k, batch)):
            left, right = pair(children, block)
            torch.add(log_weights[block, o].unsqueeze(-1), right.unsqueeze(1), out=terms)
            result[block, o] = (terms.amax(2) + left).amax(1)
    return result


def log_mix_exp(partitions: Tensor, weights: Tensor) -> Tensor:
    """Mix given values of each region, entry by entry, in the log domain.

    Parameters
    ----------
    partitions : Tensor of shape (n_regions, n_partitions, K, batch)
    weights : Tensor of shape (n_regions, n_partitions, K)
        Linear, non-negative weights.

    Returns
    -------
    sums : Tensor of shape (n_regions, K, batch)
    """
    maximum = finite_maximum(partitions.detach(), dim=1)
    sums = (weights.unsqueeze(-1) * (partitions - maximum).exp()).sum(1)
    possible = sums > 0  # elsewhere the logarithm's gradient would not be a number
    log_sums = torch.where(possible, torch.where(possible, sums, 1).log(), -torch.inf)
    return log_sums + maximum.squeeze(1)
