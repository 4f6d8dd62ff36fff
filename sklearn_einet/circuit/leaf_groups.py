"""The two kinds of leaf groups: products with sufficient statistics, and looked-up states."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from sklearn_einet.circuit.input_layer import Cells, LeafGroup, Terms
from sklearn_einet.circuit.leaf_parameters import Factors
from sklearn_einet.circuit.products import gathered_gradients, gathered_product
from sklearn_einet.families import Categorical, ExponentialFamily

__all__ = ["leaf_group"]

# The rounding error of a product, in nats, above which it is computed in float64.
ROUNDING_TOLERANCE = 2e-5


class ProductGroup(LeafGroup):
    """Leaves computed as a batched matrix product of sufficient statistics."""

    def _statistics(self, x: Tensor) -> Tensor:
        return self.family.statistics(x)

    def linear(self, cells: Cells, factors: Factors, dtype: torch.dtype) -> tuple[Tensor, Any]:
        statistics = cells.statistics
        assert statistics is not None
        if not cells.complete:
            seen = cells.seen.unsqueeze(1)
            statistics = torch.cat([statistics, seen], 1) * seen
        padded = _padded(statistics, _first_dtype(statistics, dtype))
        if padded.dtype != torch.float64 and _rounds(
            padded, factors.largest(cells.complete, dtype)
        ):
            padded = _padded(statistics, torch.float64)
        leaves: Tensor = _GatheredProduct.apply(
            padded, self.index, *factors.matrices(cells.complete, padded.dtype)
        )
        return leaves.to(dtype), (padded, cells.complete)

    def expected(self, kept: Any, flows: Tensor) -> tuple[Tensor, Tensor]:
        statistics, complete = kept
        weighted, mass = gathered_gradients(flows.to(statistics.dtype), statistics, self.index)
        if complete:
            return weighted, torch.where(self.present, mass.unsqueeze(1), 0)
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


class LookUpGroup(LeafGroup):
    """Categorical leaves: log-probabilities of states are gathered and summed.

    Products with indicators of states would cost as many times more as there are states.
    """

    looks_up = True

    def linear(self, cells: Cells, factors: Factors, dtype: torch.dtype) -> tuple[Tensor, Any]:
        n_regions, n_slots, n_states, k = factors.theta.shape
        table = factors.table(dtype)
        # One row of the table for each state of each slot, and a last one for "missing".
        missing = len(table) - 1
        states = torch.where(cells.seen, cells.x, -1).to(torch.int64)
        states = torch.nn.functional.pad(states, (0, 0, 0, 1), value=-1)[self.index]
        start = torch.arange(0, missing, n_states, device=table.device)
        rows = torch.where(states >= 0, states + start.view(n_regions, n_slots, 1), missing)
        rows = rows.transpose(1, 2).reshape(-1, n_slots)
        sums = torch.nn.functional.embedding_bag(rows, table, mode="sum", padding_idx=missing)
        return sums.view(n_regions, -1, k).transpose(1, 2), (rows, n_states)

    def expected(self, kept: Any, flows: Tensor) -> tuple[Tensor, Tensor]:
        rows, n_states = kept
        n_regions, n_slots = self.index.shape
        k = flows.shape[1]
        by_row = flows.transpose(1, 2).reshape(-1, k)
        table = flows.new_zeros(n_regions * n_slots * n_states + 1, k)
        for slot in rows.T.contiguous():
            table.index_add_(0, slot, by_row)
        weighted = table[:-1].view(n_regions, n_slots, n_states, k)
        return weighted, weighted.sum(2)

    def _term_products(self, cells: Cells, terms: Terms, theta: Tensor) -> Tensor:
        states = cells.x[terms.column].to(torch.int64)
        number = torch.arange(len(theta), device=theta.device).unsqueeze(1)
        return theta[number, states].transpose(1, 2)

    def term_log_intervals(self, low: Tensor, high: Tensor, terms: Terms) -> Tensor:
        phi = self.phi.flatten(0, 1)[terms.slot]
        states = torch.arange(phi.shape[1], dtype=phi.dtype, device=phi.device).view(1, -1, 1)
        inside = (states >= low.unsqueeze(1)) & (states <= high.unsqueeze(1))
        return torch.bmm(phi.transpose(1, 2), inside.to(phi.dtype)).log()

    def log_reference(self, cells: Cells) -> Tensor:
        table = self.reference_theta.squeeze(-1) - self.reference_normalizer
        return table.gather(1, cells.x.to(torch.int64)) * cells.seen


def leaf_group(family: ExponentialFamily, *arguments: Any) -> LeafGroup:
    """The leaf group that suits a family; see `LeafGroup` for the arguments."""
    kind = LookUpGroup if isinstance(family, Categorical) else ProductGroup
    return kind(family, *arguments)


def _padded(statistics: Tensor, dtype: torch.dtype) -> Tensor:
    """Statistics, and a last row of zeros, which padding slots read."""
    padded = statistics.new_empty(len(statistics) + 1, *statistics.shape[1:], dtype=dtype)
    padded[:-1] = statistics
    padded[-1] = 0
    return padded


def _first_dtype(statistics: Tensor, dtype: torch.dtype) -> torch.dtype:
    """The type to try; on a GPU float64, as whether it is needed would have to be waited for."""
    return dtype if statistics.device.type == "cpu" else torch.float64


def _rounds(statistics: Tensor, largest_factor: float) -> bool:
    """Whether the terms of a product are so large that their rounding errors would be visible."""
    low, high = torch.aminmax(statistics)
    largest = max(-float(low), float(high)) * largest_factor
    return not torch.finfo(statistics.dtype).eps / 2 * largest <= ROUNDING_TOLERANCE


class _GatheredProduct(torch.autograd.Function):
    """Batched product of parameters with the statistics of each region's scope.

    The gathered statistics, as many times larger than the data as there are replicas, exist one
    block of regions at a time and are gathered again in the backward pass.
    """

    @staticmethod
    def forward(
        ctx: Any, statistics: Tensor, index: Tensor, theta: Tensor, total: Tensor
    ) -> Tensor:
        ctx.save_for_backward(statistics, index)
        return gathered_product(theta, total, statistics, index)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[None, None, Tensor, Tensor]:
        statistics, index = ctx.saved_tensors
        of_theta, of_total = gathered_gradients(grad, statistics, index)
        return None, None, of_theta, of_total.neg_()
