"""Input layers: factorised leaves as matrix products of sufficient statistics (paper, 3.5).

A leaf region with scope S has K densities, each a product over the features of S. In an
exponential family their logarithms are one matrix product, sum_i T(x_i) . theta_ik - A(theta_ik),
and the gradient with respect to theta is the statistic of the M-step. The base measure h(x) is the
same for all K and for all regions, so that it is left out of the circuit and added at the root.
"""

from __future__ import annotations

import copy
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from sklearn_einet.circuit.sum_layers import blocks
from sklearn_einet.families import Categorical, ExponentialFamily

__all__ = ["LeafGroup"]

# The rounding error of a product, in nats, above which it is computed in float64.
ROUNDING_TOLERANCE = 2e-5

TENSORS = ("columns", "index", "reference", "phi")


class LeafGroup:
    """All columns of one family at the leaves of a circuit.

    Parameters
    ----------
    family : ExponentialFamily
    columns : Tensor of shape (n_columns,)
        The group's columns among those of the circuit.
    index : Tensor of shape (n_regions, n_slots)
        For each leaf region, the features of its scope that belong to the group, as positions in
        `columns`, padded with n_columns.
    K : int
        Number of densities of every leaf region.
    reference : Tensor of shape (n_columns, n_statistics)
        Expectation parameters of every whole column: the prior, and the unit of `min_variance`.
    min_variance : float
        See `ExponentialFamily.project`.

    Attributes
    ----------
    phi : Tensor of shape (n_regions, n_slots, n_statistics, K)
        Expectation parameters, in float64.
    """

    def __init__(
        self,
        family: ExponentialFamily,
        columns: Tensor,
        index: Tensor,
        K: int,
        reference: Tensor,
        min_variance: float,
    ) -> None:
        self.family = family
        self.columns = columns
        self.index = index
        self.min_variance = min_variance
        self.reference = reference.unsqueeze(-1)
        self.phi = self.slot_reference.expand(-1, -1, -1, K).clone()

    def to(self, device: torch.device | str) -> LeafGroup:
        """The same group on another device; tensors are shared if they can."""
        other = copy.copy(self)
        for name in TENSORS:
            setattr(other, name, getattr(self, name).to(device))
        return other

    def __getstate__(self) -> dict[str, Any]:
        return vars(self) | {name: getattr(self, name).cpu().numpy() for name in TENSORS}

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state)
        for name in TENSORS:
            setattr(self, name, torch.tensor(state[name]))

    @property
    def present(self) -> Tensor:
        """Which slots are no padding, of shape (n_regions, n_slots, 1)."""
        return (self.index < len(self.columns)).unsqueeze(-1)

    @property
    def slot_reference(self) -> Tensor:
        """The reference of every slot, of shape (n_regions, n_slots, n_statistics, 1)."""
        return self.reference[self.index.clamp_max(len(self.columns) - 1)]

    def natural(self) -> tuple[Tensor, Tensor]:
        """Natural parameters and log-normalisers, (regions, slots, [statistics,] K)."""
        theta = self.family.natural(self.phi)
        return theta, self.family.log_normalizer(theta)

    def update(self, weighted: Tensor, mass: Tensor, pseudocount: float) -> None:
        """M-step (paper, eq. 7): expectation parameters become mean statistics.

        Parameters
        ----------
        weighted : Tensor of shape (n_regions, n_slots, n_statistics, K)
            Statistics of the observed cells, weighted by the posteriors of their leaves.
        mass : Tensor of shape (n_regions, n_slots, K)
            The sums of those posteriors.
        pseudocount : float
            Mass of the prior, which has the statistics of the whole column.
        """
        mass = mass.to(self.phi.dtype).unsqueeze(2) + pseudocount
        phi = (weighted.to(self.phi.dtype) + pseudocount * self.slot_reference) / mass
        # A leaf that no observed cell belongs to keeps its parameters.
        phi = torch.where(mass > torch.finfo(torch.float32).tiny, phi, self.phi)
        self.phi = self.family.project(phi, self.slot_reference, self.min_variance)

    def log_densities(
        self, x: Tensor, theta: Tensor, log_normalizer: Tensor, dtype: torch.dtype
    ) -> tuple[Tensor, Tensor]:
        """The group's share of the leaves' log-densities.

        Parameters
        ----------
        x : Tensor of shape (n_columns, batch)
            NaN cells are marginalised.
        theta, log_normalizer : Tensor
            As from `natural`.
        dtype : torch.dtype
            The type of the result; products that would lose too much in it are done in float64.

        Returns
        -------
        leaves : Tensor of shape (n_regions, K, batch)
            Without the base measure.
        log_base_measure : Tensor of shape (batch,)
            Summed over the observed columns; -inf where a value is outside of the support.
        """
        seen = self.family.in_support(x)
        complete = bool(seen.all())
        if complete:
            base = self.family.log_base_measure(x).sum(0)
        else:
            missing = torch.isnan(x)
            x = torch.where(seen, x, self.family.fill_value)
            base = torch.where(seen, self.family.log_base_measure(x), 0).sum(0)
            base = torch.where((seen | missing).all(0), base, -torch.inf)
        if isinstance(self.family, Categorical):
            return self._look_up(x, seen, theta - log_normalizer.unsqueeze(2), dtype), base
        statistics = self.family.statistics(x)
        if complete:
            normalizer = torch.where(self.present, log_normalizer, 0).sum(1)
        else:
            # The indicator of an observed cell is one more statistic, with the parameter -A.
            statistics = torch.cat([statistics, seen.unsqueeze(1)], 1) * seen.unsqueeze(1)
            theta = torch.cat([theta, -log_normalizer.unsqueeze(2)], 2)
        exact = self._product_dtype(statistics, theta, dtype)
        statistics, theta = statistics.to(exact), theta.to(exact)
        # Padding slots read a last row of zeros.
        statistics = torch.nn.functional.pad(statistics, (0, 0, 0, 0, 0, 1))
        leaves: Tensor = _GatheredProduct.apply(statistics, self.index, theta)
        if complete:
            leaves = leaves - normalizer.to(exact).unsqueeze(-1)
        return leaves.to(dtype), base

    def _product_dtype(self, statistics: Tensor, theta: Tensor, dtype: torch.dtype) -> torch.dtype:
        """float64 if the terms of the product are so large that float32 would round visibly."""
        largest = statistics.detach().abs().amax() * theta.detach().abs().amax()
        rounding = torch.finfo(dtype).eps / 2 * float(largest)
        return torch.float64 if rounding > ROUNDING_TOLERANCE else dtype

    def _look_up(self, x: Tensor, seen: Tensor, table: Tensor, dtype: torch.dtype) -> Tensor:
        """Gather and sum log-probabilities of states instead of multiplying with indicators."""
        n_regions, n_slots, n_states, k = table.shape
        # One row of the table for each state of each slot, and a last one for "missing".
        missing_row = n_regions * n_slots * n_states
        states = torch.where(seen, x, -1).to(torch.int64)
        states = torch.nn.functional.pad(states, (0, 0, 0, 1), value=-1)[self.index]
        offset = torch.arange(0, missing_row, n_states, device=x.device)
        rows = torch.where(states >= 0, states + offset.view(n_regions, n_slots, 1), missing_row)
        table = torch.nn.functional.pad(table.to(dtype).reshape(-1, k), (0, 0, 0, 1))
        bags = rows.transpose(1, 2).reshape(-1, n_slots)
        sums = torch.nn.functional.embedding_bag(
            bags, table, mode="sum", padding_idx=missing_row
        )
        return sums.view(n_regions, -1, k).transpose(1, 2)


class _GatheredProduct(torch.autograd.Function):
    """Batched product of parameters with the statistics of each region's scope.

    The gathered statistics, as many times larger than the data as there are replicas, exist one
    block of regions at a time and are gathered again in the backward pass.
    """

    @staticmethod
    def forward(ctx: Any, statistics: Tensor, index: Tensor, theta: Tensor) -> Tensor:
        ctx.save_for_backward(statistics, index)
        n, slots, t, k = theta.shape
        batch = statistics.shape[-1]
        flat = theta.view(n, slots * t, k).transpose(1, 2)
        result = statistics.new_empty(n, k, batch)
        for block, rows in blocks(n, statistics, (slots, t, batch)):
            torch.index_select(statistics, 0, index[block].view(-1), out=rows.view(-1, t, batch))
            torch.bmm(flat[block], rows.view(-1, slots * t, batch), out=result[block])
        return result

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[None, None, Tensor]:
        statistics, index = ctx.saved_tensors
        n, slots = index.shape
        t, batch = statistics.shape[1:]
        k = grad.shape[1]
        result = grad.new_empty(n, slots * t, k)
        for block, rows in blocks(n, statistics, (slots, t, batch)):
            torch.index_select(statistics, 0, index[block].view(-1), out=rows.view(-1, t, batch))
            torch.bmm(
                rows.view(-1, slots * t, batch), grad[block].transpose(1, 2), out=result[block]
            )
        return None, None, result.view(n, slots, t, k)
