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
    """Eq. 4 of the paper, without ever holding the outer products of a whole layer."""

    @staticmethod
    def forward(ctx: Any, children: Tensor, weights: Tensor) -> Tensor:
        maximum = finite_maximum(children, dim=1)
        scaled = (children - maximum).exp_()
        n, k_out, k, _ = weights.shape
        batch = children.shape[-1]
        sums = children.new_empty(n, k_out, batch)
        flat = weights.view(n, k_out, k * k)
        for block, outer in blocks(n, children, (k, k, batch)):
            left, right = _pair(scaled, block)
            torch.mul(left.unsqueeze(2), right.unsqueeze(1), out=outer)
            torch.bmm(flat[block], outer.view(-1, k * k, batch), out=sums[block])
        ctx.save_for_backward(scaled, weights, sums)
        return sums.log().add_(maximum[0::2]).add_(maximum[1::2])

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, Tensor | None]:
        scaled, weights, sums = ctx.saved_tensors
        n, k_out, k, _ = weights.shape
        batch = scaled.shape[-1]
        flat = weights.view(n, k_out, k * k)
        # Where a sum is zero, so are the gradients of all its terms.
        grad_sums = torch.where(sums > 0, grad / sums, 0)
        grad_weights = torch.empty_like(weights)
        grad_children = torch.empty_like(scaled)
        buffers = zip(
            blocks(n, scaled, (k, k, batch)),
            blocks(n, scaled, (k, k, batch)),
            strict=True,
        )
        for (block, outer), (_, grad_outer) in buffers:
            left, right = _pair(scaled, block)
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
            grad_left, grad_right = _pair(grad_children, block)
            torch.sum(grad_outer, dim=2, out=grad_left)
            torch.sum(grad_outer, dim=1, out=grad_right)
        return grad_children, grad_weights


def log_einsum_exp(children: Tensor, weights: Tensor) -> Tensor:
    """Every sum node over the products of two children's entries, in the log domain.

    Parameters
    ----------
    children : Tensor of shape (2 * n_partitions, K, batch)
        Log-densities; the children of partition p are the rows 2 p and 2 p + 1.
    weights : Tensor of shape (n_partitions, K_out, K, K)
        Linear, non-negative weights of the products (left, right).

    Returns
    -------
    sums : Tensor of shape (n_partitions, K_out, batch)
        log(sum_ij weights[p, o, i, j] exp(children[2 p, i] + children[2 p + 1, j])). -inf, not
        NaN, where every product has density zero.
    """
    result: Tensor = _LogEinsumExp.apply(children, weights)
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
    """Mix the partitions of each region, entry by entry, in the log domain.

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


def _pair(rows: Tensor, block: slice) -> tuple[Tensor, Tensor]:
    """Views of the left and right children's rows of a block of partitions."""
    return rows[2 * block.start : 2 * block.stop : 2], rows[
        2 * block.start + 1 : 2 * block.stop : 2
    ]


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
