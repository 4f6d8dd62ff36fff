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

from sklearn_einet.native.products import (
    blocks,
    log_mixture,
    log_pair_sums,
    mixture_gradients,
    pair,
    pair_gradients,
    scaled_exp,
)

__all__ = [
    "log_einsum_derivatives",
    "log_einsum_exp",
    "log_einsum_max",
    "log_mix_exp",
]


class _LogEinsumExp(torch.autograd.Function):
    """Eq. 4 of the paper, without the outer products of a whole layer."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weights: Tensor, gather: Tensor | None) -> Tensor:
        logs, sums = log_pair_sums(x, weights, gather, any(ctx.needs_input_grad))
        ctx.save_for_backward(x, weights, sums, gather)
        return logs

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        x, weights, sums, gather = ctx.saved_tensors
        return *pair_gradients(x, weights, gather, sums, grad), None


def log_einsum_exp(x: Tensor, weights: Tensor, gather: Tensor | None = None) -> Tensor:
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

    Returns
    -------
    sums : Tensor of shape (n_partitions, K_out, batch)
        log(sum_ij weights[p, o, i, j] exp(left[i] + right[j])). -inf, not NaN, where every product
        has density zero.
    """
    result: Tensor = _LogEinsumExp.apply(x, weights, gather)
    return result


class _LogMixExp(torch.autograd.Function):
    """The mixing layer of the paper's section 3.4; exponentials are taken again for gradients."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weights: Tensor, slot: Tensor) -> Tensor:
        ctx.save_for_backward(x, weights, slot)
        return log_mixture(x, weights, slot)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        x, weights, slot = ctx.saved_tensors
        return *mixture_gradients(x, weights, slot, grad), None


def log_mix_exp(partitions: Tensor, weights: Tensor, slot: Tensor) -> Tensor:
    """Mix the partitions of each region, entry by entry, in the log domain.

    Parameters
    ----------
    partitions : Tensor of shape (n_partitions, K, batch)
        Log-densities.
    weights : Tensor of shape (n_regions, n_slots, K)
        Linear, non-negative weights.
    slot : Tensor of int of shape (n_partitions,)
        The position of every partition in the flattened first two axes of the weights; ascending.

    Returns
    -------
    sums : Tensor of shape (n_regions, K, batch)
        -inf, not NaN, where every partition has density zero.
    """
    result: Tensor = _LogMixExp.apply(partitions, weights, slot)
    return result


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
