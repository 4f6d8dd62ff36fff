"""Sum layers: einsum layers (paper, 3.2 and 3.3) and mixing layers (paper, 3.4).

All activations are log-densities of shape (rows, K, batch), one row for each region or partition.
The batch is the last axis, so that every element-wise operation and every reduction over K runs
over contiguous memory however small K is.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

__all__ = [
    "blocks",
    "finite_maximum",
    "log_einsum_derivatives",
    "log_einsum_exp",
    "log_einsum_max",
    "log_mix_exp",
]

# Bytes of a scratch buffer: what stays in a core's cache between being written and being read.
BUFFER_BYTES = 2**21


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
        maximum = finite_maximum(x, dim=1)
        scaled = (x - maximum).exp_()
        n, k_out, k, _ = weights.shape
        batch = x.shape[-1]
        sums = x.new_empty(n, k_out, batch)
        flat = weights.view(n, k_out, k * k)
        for block, outer in blocks(n, x, (k, k, batch)):
            left, right = _pair(scaled, block, gather)
            torch.mul(left.unsqueeze(2), right.unsqueeze(1), out=outer)
            torch.bmm(flat[block], outer.view(-1, k * k, batch), out=sums[block])
        scale = torch.add(*_pair(maximum, slice(0, n), gather))
        if mixing is None or slot is None:
            ctx.save_for_backward(scaled, weights, sums, gather)
            return sums.log().add_(scale)
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
        scaled, weights, sums, gather, *mixed_layer = ctx.saved_tensors
        grad_mixing, tiny = None, torch.finfo(sums.dtype).tiny
        # Where a sum is zero, so are the gradients of all its terms.
        if mixed_layer:
            mixing, slot, share, mixed = mixed_layer
            ratio = torch.where(mixed >= tiny, grad / mixed, 0)
            grad_terms = _by_partition(ratio, mixing, slot) * share
            shares = torch.einsum("nkb,nkb->nk", grad_terms, sums)
            grad_mixing = _by_region(shares, mixing, slot, 0)
            grad_sums = grad_terms.mul_(mixing.flatten(0, 1)[slot].unsqueeze(-1))
        else:
            grad_sums = torch.where(sums >= tiny, grad / sums, 0)
        grad_x, grad_weights = _einsum_gradients(scaled, weights, gather, grad_sums)
        return grad_x, grad_weights, None, grad_mixing, None


def _einsum_gradients(
    scaled: Tensor, weights: Tensor, gather: Tensor | None, grad_sums: Tensor
) -> tuple[Tensor, Tensor]:
    """Gradients with respect to the logarithms of the children's entries, and to the weights."""
    n, k_out, k, _ = weights.shape
    batch = scaled.shape[-1]
    flat = weights.view(n, k_out, k * k)
    grad_weights = torch.empty_like(weights)
    grad_x = scaled.new_empty(scaled.shape) if gather is None else scaled.new_zeros(scaled.shape)
    buffers = zip(
        blocks(n, scaled, (k, k, batch)),
        blocks(n, scaled, (k, k, batch)),
        strict=True,
    )
    for (block, outer), (_, grad_outer) in buffers:
        left, right = _pair(scaled, block, gather)
        torch.mul(left.unsqueeze(2), right.unsqueeze(1), out=outer)
        flat_outer = outer.view(-1, k * k, batch)
        torch.bmm(
            grad_sums[block],
            flat_outer.transpose(1, 2),
            out=grad_weights.view(n, k_out, k * k)[block],
        )
        torch.bmm(
            flat[block].transpose(1, 2), grad_sums[block], out=grad_outer.view(-1, k * k, batch)
        )
        grad_outer.mul_(outer)
        if gather is None:
            grad_left, grad_right = _pair(grad_x, block)
            torch.sum(grad_outer, dim=2, out=grad_left)
            torch.sum(grad_outer, dim=1, out=grad_right)
        else:
            for_left, for_right = _pair(gather, block)
            # In two dimensions, rows are added several times as fast.
            flat_x = grad_x.view(len(grad_x), -1)
            flat_x.index_add_(0, for_left, grad_outer.sum(2).flatten(1))
            flat_x.index_add_(0, for_right, grad_outer.sum(1).flatten(1))
    return grad_x, grad_weights


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
    maximum, top = finite_maximum(children, dim=1), finite_maximum(log_derivatives, dim=1)
    scaled, outer_derivatives = (children - maximum).exp_(), (log_derivatives - top).exp_()
    n, _, k, _ = weights.shape
    batch = children.shape[-1]
    flat = weights.flatten(2)
    result = torch.empty_like(scaled)
    for block, pairs in blocks(n, children, (k, k, batch)):
        flat_pairs = pairs.view(-1, k * k, batch)
        torch.bmm(flat[block].transpose(1, 2), outer_derivatives[block], out=flat_pairs)
        left, right = _pair(scaled, block)
        for_left, for_right = _pair(result, block)
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
            left, right = _pair(children, block)
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


def finite_maximum(x: Tensor, dim: int) -> Tensor:
    """The maximum along an axis, kept; the least number where all is -inf, so that -inf - max is
    -inf."""
    return x.amax(dim, keepdim=True).clamp_min_(torch.finfo(x.dtype).min)


def _pair(rows: Tensor, block: slice, gather: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """The left and right children's rows of a block of partitions; views if nothing is gathered."""
    both = slice(2 * block.start, 2 * block.stop)
    if gather is None:
        return rows[both][0::2], rows[both][1::2]
    return rows.index_select(0, gather[both][0::2]), rows.index_select(0, gather[both][1::2])


def blocks(n: int, like: Tensor, shape: tuple[int, ...]) -> Iterator[tuple[slice, Tensor]]:
    """Cut n rows into blocks, each with the same scratch buffer of `shape` a row."""
    row_bytes = like.element_size() * torch.Size(shape).numel()
    # A GPU is kept busy by large products; a CPU's cache is kept warm by small ones.
    size = BUFFER_BYTES if like.device.type == "cpu" else 64 * BUFFER_BYTES
    step = min(n, max(1, size // max(1, row_bytes)))
    buffer = like.new_empty(step, *shape)
    for start in range(0, n, step):
        block = slice(start, min(start + step, n))
        yield block, buffer[: block.stop - block.start]
