"""Einsum layers: sums over all pairs of two children's units (paper, 3.2 and 3.3)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor

from sklearn_einet.circuit.layers.base import ProductLayer
from sklearn_einet.circuit.layers.choices import Choices
from sklearn_einet.circuit.layers.layout import ChildLayout
from sklearn_einet.circuit.protocols import Backend
from sklearn_einet.circuit.scratch import blocks
from sklearn_einet.circuit.semirings import SUM, Semiring, ratio, scaled_exp
from sklearn_einet.native.passes import LayerBuffers
from sklearn_einet.native.program import BATCH, PerRow
from sklearn_einet.structure import Region

__all__ = ["EinsumLayer", "einsum_gradients", "log_einsum", "log_einsum_derivatives"]


@dataclass(frozen=True)
class EinsumLayer(ProductLayer):
    """Partitions of two children, with weights of shape (n_partitions, k_out, K, K)."""

    is_binary: ClassVar[bool] = True
    ends_in_sums: ClassVar[bool] = True
    auto_K: ClassVar[int] = 10  # as costly as 32 in a CP layer: 10**3 is nearly 32**2

    @classmethod
    def above(cls, layout: ChildLayout, regions: Sequence[Region], k_out: int) -> EinsumLayer:
        return cls(layout, k_out)

    @property
    def partition(self) -> np.ndarray:
        return np.arange(len(self.children)) // 2

    @property
    def n_rows(self) -> int:
        return len(self.children) // 2

    @property
    def summed_axes(self) -> tuple[int, ...]:
        return (2, 3)

    def uniform_weights(self, K: int) -> np.ndarray:
        return np.full((self.n_rows, self.k_out, K, K), 1 / K**2)

    def forward(self, x: Tensor, weights: Tensor, semiring: Semiring) -> tuple[Tensor, Tensor]:
        return log_einsum(x, weights, self.layout.gather_on(x.device), semiring)

    def gradients(
        self, x: Tensor, weights: Tensor, sums: Tensor, grad: Tensor
    ) -> tuple[Tensor, Tensor]:
        return einsum_gradients(x, weights, self.layout.gather_on(x.device), sums, grad)

    def derivative(self, x: Tensor, weights: Tensor, log_derivatives: Tensor) -> Tensor:
        return log_einsum_derivatives(self.layout.gathered(x), weights, log_derivatives)

    def expected_counts(self, weights: Tensor, mass: Tensor) -> tuple[Tensor, Tensor]:
        pairs = weights * mass[:, :, None, None]
        return pairs, torch.stack([pairs.sum((1, 3)), pairs.sum((1, 2))], 1).flatten(0, 1)

    def choose(self, choices: Choices, weights: Tensor, visits: Tensor) -> Tensor:
        row, partition, _ = visits
        left, right = choices.pair(
            weights, visits, lambda outputs: self.layout.gathered(self.layout.join(outputs))
        )
        row, child = row.repeat(2), torch.cat([2 * partition, 2 * partition + 1])
        return torch.stack([row, child, torch.cat([left, right])])

    def rows_of_weights(self, partitions: np.ndarray) -> np.ndarray:
        return partitions

    def joint_counts(
        self, children: Tensor, partitions: Tensor, which: slice, backend: Backend
    ) -> Tensor:
        return backend.pair_counts(children, partitions)

    def record_forward(self, buffers: LayerBuffers) -> None:
        kept = buffers.kept
        kept["x"], kept["gather"] = buffers.below()
        kept["sums"] = buffers.for_down(self.n_rows, self.k_out)
        arguments = kept["x"], kept["gather"], buffers.weights, kept["sums"], buffers.value
        buffers.recorder.call("einsum", *arguments, *self._sizes(buffers))

    def record_backward(self, buffers: LayerBuffers) -> None:
        kept, below = buffers.kept, buffers.flows_to(buffers.rows)
        before = kept["x"], kept["gather"], buffers.weights, kept["sums"], buffers.flow
        arguments = *before, below, buffers.counts
        sizes = *self._sizes(buffers), buffers.of_logs
        buffers.recorder.call("einsum_gradients", *arguments, *sizes)
        buffers.add_flows(below, buffers.rows)

    def _sizes(self, buffers: LayerBuffers) -> tuple[int | PerRow, ...]:
        return self.n_rows, self.k_out, buffers.k, BATCH


def log_einsum(
    x: Tensor, weights: Tensor, gather: Tensor | None = None, semiring: Semiring = SUM
) -> tuple[Tensor, Tensor]:
    """Compute every sum node over the products of two children's units, in the log domain.

    This is eq. 4 of the paper, without the outer products of a whole layer.

    Parameters
    ----------
    x : Tensor of shape (rows, K, batch)
        Log-densities of regions.
    weights : Tensor of shape (n_partitions, K_out, K, K)
        Linear, non-negative weights of the products (left, right).
    gather : Tensor of int of shape (2 * n_partitions,) or None, default=None
        The children of partition p are the rows gather[2 p] and gather[2 p + 1]. None: the rows
        2 p and 2 p + 1.
    semiring : Semiring, default=SUM

    Returns
    -------
    logs : Tensor of shape (n_partitions, K_out, batch)
        log(sum_ij weights[p, o, i, j] exp(left[i] + right[j])), with `SUM`. -inf, not NaN, where
        every product has density zero.
    sums : Tensor of shape (n_partitions, K_out, batch)
        The sums themselves, in units of the children's maxima.
    """
    n, k_out, k, _ = weights.shape
    batch = x.shape[-1]
    sums = x.new_empty(n, k_out, batch)
    lifted, scale = semiring.lift(x, 1)
    flat = semiring.lift_weights(weights).reshape(n, k_out, k * k)
    for block, outer in blocks(n, x, (k, k, batch)):
        left, right = _pair(lifted, block, gather)
        semiring.multiply(left.unsqueeze(2), right.unsqueeze(1), out=outer)
        semiring.matmul(flat[block], outer.view(-1, k * k, batch), out=sums[block])
    return semiring.lower(sums, torch.add(*_pair(scale, slice(0, n), gather))), sums


def einsum_gradients(
    x: Tensor, weights: Tensor, gather: Tensor | None, sums: Tensor, grad: Tensor
) -> tuple[Tensor, Tensor]:
    """Return gradients with respect to the logarithms of the children, and to the weights.

    Parameters
    ----------
    x, weights, gather
        As in `log_einsum`.
    sums : Tensor of shape (n_partitions, k_out, batch)
        As from `log_einsum`.
    grad : Tensor of shape (n_partitions, k_out, batch)
        With respect to the logarithms of the sums.
    """
    scaled, _ = scaled_exp(x)
    of_sums = ratio(grad, sums)
    n, k_out, k, _ = weights.shape
    batch = scaled.shape[-1]
    grad_weights = torch.empty_like(weights, memory_format=torch.contiguous_format)
    flat, flat_grad = weights.reshape(n, k_out, k * k), grad_weights.view(n, k_out, k * k)
    make = scaled.new_empty if gather is None else scaled.new_zeros
    grad_logs = make(scaled.shape)
    shape = k, k, batch
    buffers = zip(blocks(n, scaled, shape), blocks(n, scaled, shape), strict=True)
    for (block, outer), (_, grad_outer) in buffers:
        left, right = _pair(scaled, block, gather)
        torch.mul(left.unsqueeze(2), right.unsqueeze(1), out=outer)
        flat_outer = outer.view(-1, k * k, batch)
        torch.bmm(of_sums[block], flat_outer.transpose(1, 2), out=flat_grad[block])
        torch.bmm(
            flat[block].transpose(1, 2), of_sums[block], out=grad_outer.view(-1, k * k, batch)
        )
        grad_outer.mul_(outer)
        if gather is None:
            for_left, for_right = _pair(grad_logs, block)
            torch.sum(grad_outer, dim=2, out=for_left)
            torch.sum(grad_outer, dim=1, out=for_right)
        else:
            left_rows, right_rows = _pair(gather, block)
            flat_logs = grad_logs.view(len(grad_logs), -1)
            flat_logs.index_add_(0, left_rows, grad_outer.sum(2).flatten(1))
            flat_logs.index_add_(0, right_rows, grad_outer.sum(1).flatten(1))
    return grad_logs, grad_weights


def log_einsum_derivatives(children: Tensor, weights: Tensor, log_derivatives: Tensor) -> Tensor:
    """Make the downward pass of `log_einsum`, in the log domain.

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
        left, right = _pair(scaled, block)
        for_left, for_right = _pair(result, block)
        torch.sum(pairs * right.unsqueeze(1), dim=2, out=for_left)
        torch.sum(pairs.mul_(left.unsqueeze(2)), dim=1, out=for_right)
    result.log_()
    result[0::2] += top + maximum[1::2]
    result[1::2] += top + maximum[0::2]
    return result


def _pair(rows: Tensor, block: slice, gather: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """Return the rows of the left and right children of a block of partitions; views if nothing is
    gathered."""
    both = slice(2 * block.start, 2 * block.stop)
    if gather is None:
        return rows[both][0::2], rows[both][1::2]
    return rows.index_select(0, gather[both][0::2]), rows.index_select(0, gather[both][1::2])
