"""Leaves computed as products with sufficient statistics."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from sklearn_einet.circuit.leaves.base import LeafGroup
from sklearn_einet.circuit.leaves.natural_parameters import NaturalParameters
from sklearn_einet.circuit.leaves.terms import Cells, Terms
from sklearn_einet.circuit.protocols import Backend

__all__ = ["ProductGroup", "rounds"]

# Products with larger rounding errors, in nats, are computed in float64.
ROUNDING_TOLERANCE = 2e-5


class ProductGroup(LeafGroup):
    """Leaves computed as a batched matrix product of sufficient statistics."""

    def _statistics(self, x: Tensor) -> Tensor | None:
        return self.family.statistics(x)

    def linear(
        self, cells: Cells, natural: NaturalParameters, dtype: torch.dtype
    ) -> tuple[Tensor, Any]:
        statistics = cells.statistics
        assert statistics is not None
        if not cells.complete:
            seen = cells.seen.unsqueeze(1)
            statistics = torch.cat([statistics, seen], 1) * seen
        padded = _padded(statistics, _first_dtype(statistics, dtype))
        if padded.dtype != torch.float64:
            low, high = torch.aminmax(padded)
            largest = max(-float(low), float(high))
            if rounds(largest, natural.largest(cells.complete), dtype):
                padded = _padded(statistics, torch.float64)
        return self._products(padded, cells.complete, natural, dtype)

    def _products(
        self, padded: Tensor, complete: bool, natural: NaturalParameters, dtype: torch.dtype
    ) -> tuple[Tensor, Any]:
        """Return the results of `linear`, given statistics and a last row of zeros."""
        leaves: Tensor = _GatheredProduct.apply(
            self.backend, padded, self.index, *natural.matrices(complete, padded.dtype)
        )
        return leaves.to(dtype), (padded, complete)

    def expected(self, kept: Any, flows: Tensor) -> tuple[Tensor, Tensor]:
        statistics, complete = kept
        flows = flows.to(statistics.dtype)
        weighted, mass = self.backend.gathered_gradients(flows, statistics, self.index)
        if complete:
            return weighted, self.in_slots(mass)
        return weighted[:, :, :-1], weighted[:, :, -1]

    def _term_products(self, cells: Cells, terms: Terms, theta: Tensor) -> Tensor:
        assert cells.statistics is not None
        return torch.bmm(theta.transpose(1, 2), cells.statistics[terms.column])

    def log_reference(self, cells: Cells) -> Tensor:
        assert cells.statistics is not None
        value = self.family.log_base_measure(cells.x) - self.reference_normalizer
        for i in range(self.family.n_statistics):
            value.addcmul_(self.reference_theta[:, i], cells.statistics[:, i])
        return value if cells.complete else value.mul_(cells.seen)

    def _log_reference_sum(self, cells: Cells) -> Tensor:
        if not cells.complete:
            return super()._log_reference_sum(cells)
        assert cells.statistics is not None
        products = self.reference_theta.view(-1) @ cells.statistics.flatten(0, 1)
        constant = self.reference_normalizer.sum()
        return products + (self.family.log_base_measure(cells.x).sum(0) - constant)


def _padded(statistics: Tensor, dtype: torch.dtype) -> Tensor:
    """Return statistics, and a last row of zeros, which padding slots read."""
    padded = statistics.new_empty(len(statistics) + 1, *statistics.shape[1:], dtype=dtype)
    padded[:-1] = statistics
    padded[-1] = 0
    return padded


def _first_dtype(statistics: Tensor, dtype: torch.dtype) -> torch.dtype:
    """Return the type to try; on a GPU float64, because a check would mean waiting."""
    return dtype if statistics.device.type == "cpu" else torch.float64


def rounds(largest_statistic: float, largest_factor: float, dtype: torch.dtype) -> bool:
    """Return whether terms of a product are so large that rounding errors matter."""
    error = torch.finfo(dtype).eps / 2 * largest_statistic * largest_factor
    return not error <= ROUNDING_TOLERANCE


class _GatheredProduct(torch.autograd.Function):
    """Batched product of parameters with the statistics of each region's scope.

    The gathered statistics, which are larger than the data by the number of replicas, exist for one
    block of regions at a time and are gathered again in the backward pass.
    """

    @staticmethod
    def forward(
        ctx: Any, backend: Backend, statistics: Tensor, index: Tensor, theta: Tensor, total: Tensor
    ) -> Tensor:
        ctx.backend = backend
        ctx.save_for_backward(statistics, index)
        return backend.gathered_product(theta, total, statistics, index)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[None, None, None, Tensor, Tensor]:
        statistics, index = ctx.saved_tensors
        of_theta, of_total = ctx.backend.gathered_gradients(grad, statistics, index)
        return None, None, None, of_theta, of_total.neg_()
