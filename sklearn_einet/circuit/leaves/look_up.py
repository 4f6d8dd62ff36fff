"""Leaves looked up in tables of states."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from sklearn_einet.circuit.leaves.base import Cells, LeafGroup, Terms
from sklearn_einet.circuit.leaves.decaying import Decaying
from sklearn_einet.circuit.leaves.natural_parameters import NaturalParameters
from sklearn_einet.families import Categorical

__all__ = ["LookUpGroup"]

# Tables with fewer numbers than this are computed as a whole before their states are counted.
SMALL_TABLE = 2**15


class LookUpGroup(LeafGroup):
    """Categorical leaves: log-probabilities of states are gathered and summed.

    Products with indicators of states would cost as many times more as there are states. Where a
    block of rows has fewer cells than the tables have rows, only those of its states are computed,
    and its statistics are sparse. In stochastic EM, parameters then follow from a decaying average
    when they are looked up, and a step costs as much as its rows, however many states there are.
    """

    looks_up = True
    family: Categorical
    _running: _Running | None = None

    def linear(
        self, cells: Cells, natural: NaturalParameters, dtype: torch.dtype
    ) -> tuple[Tensor, Any]:
        n_regions, n_slots = self.index.shape
        n_states = self.family.n_statistics
        # One row of the table for each state of each slot, and a last one for "missing".
        missing = n_regions * n_slots * n_states
        states = torch.where(cells.seen, cells.x, -1).to(torch.int64)
        states = torch.nn.functional.pad(states, (0, 0, 0, 1), value=-1)[self.index]
        start = torch.arange(0, missing, n_states, device=states.device)
        rows = torch.where(states >= 0, states + start.view(n_regions, n_slots, 1), missing)
        rows = rows.transpose(1, 2).reshape(-1, n_slots)
        used = None
        if self._is_sparse(cells.x.shape[1]):
            used, rows = torch.unique(rows, return_inverse=True)
            used = used[used < missing]
            table = torch.nn.functional.pad(natural.rows(used).to(dtype), (0, 0, 0, 1))
        else:
            table = natural.table(dtype)
        sums = torch.nn.functional.embedding_bag(rows, table, mode="sum", padding_idx=-1)
        return sums.view(n_regions, cells.x.shape[1], -1).transpose(1, 2), (rows, used)

    def _is_sparse(self, n_rows: int) -> bool:
        """Return whether the states of so many rows are few among those of the tables."""
        # On a GPU their number would have to be waited for.
        is_large = self.phi.numel() >= SMALL_TABLE and n_rows < self.family.n_statistics
        return is_large and self.phi.device.type == "cpu"

    def expected(self, kept: Any, flows: Tensor) -> tuple[Tensor, Tensor]:
        rows, used = kept
        n_regions, n_slots = self.index.shape
        n_states, k = self.family.n_statistics, flows.shape[1]
        by_row = flows.transpose(1, 2).reshape(-1, k)
        n_used = n_regions * n_slots * n_states if used is None else len(used)
        table = flows.new_zeros(n_used + 1, k)
        for slot in rows.T.contiguous():
            table.index_add_(0, slot, by_row)
        table = table[:-1]
        if used is None:
            weighted = table.view(n_regions, n_slots, n_states, k)
            return weighted, weighted.sum(2)
        # In double precision, as the probabilities of states are not normalised one by one.
        mass = torch.zeros(n_regions * n_slots, k, dtype=torch.float64)
        mass.index_add_(0, used // n_states, table.to(mass.dtype))
        place = torch.stack([used // (n_slots * n_states), used // n_states % n_slots])
        place = torch.cat([place, (used % n_states).unsqueeze(0)])
        shape = (n_regions, n_slots, n_states, k)
        weighted = torch.sparse_coo_tensor(
            place, table, shape, is_coalesced=True, check_invariants=False
        )
        return weighted, mass.view(n_regions, n_slots, k)

    def running(self, weighted: Tensor, n_rows: int, pseudocount: float) -> Tensor | Decaying:
        # Without a prior, leaves that no row reaches keep what they have, which is in no average.
        if self._is_sparse(n_rows) and pseudocount > torch.finfo(torch.float32).tiny:
            return Decaying(weighted)
        return weighted

    def update(self, weighted: Tensor | Decaying, mass: Tensor, pseudocount: float) -> None:
        if isinstance(weighted, Decaying):
            self._running = _Running(weighted, mass, pseudocount)
            return
        self._running = None
        super().update(weighted.to_dense(), mass, pseudocount)

    def settle(self) -> None:
        if self._running is not None:
            running, self._running = self._running, None
            super().update(running.average.dense(), running.mass, running.pseudocount)

    def __getstate__(self) -> dict[str, Any]:
        self.settle()
        return super().__getstate__()

    def natural_parameters(self) -> NaturalParameters:
        return _StateParameters(self)

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
        states = cells.x.to(torch.int64)
        theta = self.reference_theta.squeeze(-1).gather(1, states)
        return (theta - self.reference_normalizer) * cells.seen


@dataclass(frozen=True)
class _Running:
    """Parameters of a group while they follow a decaying average; see `LookUpGroup.update`."""

    average: Decaying
    mass: Tensor
    pseudocount: float

    def rows(self, group: LookUpGroup, used: Tensor) -> Tensor:
        """Return some rows of the group's parameters, (n_used, K), as `update` would set them."""
        counts = self.average.table.flatten(0, 2)[used].mul_(self.average.scale)
        counts.add_(group.slot_reference.flatten(0, 2)[used], alpha=self.pseudocount)
        total = self.mass.flatten(0, 1)[used // group.family.n_statistics] + self.pseudocount
        return group.family.smoothed(counts.div_(total))


class _StateParameters(NaturalParameters):
    """The parameters of a group, computed for the states that are asked for."""

    def __init__(self, group: LookUpGroup) -> None:
        self._group = group
        self._running = group._running
        self.mask = group.mask
        self._kept = {}
        self._largest = {}

    @cached_property
    def _dense(self) -> NaturalParameters:
        self._group.settle()
        return self._group.at(self._group.family.natural(self._group.phi))

    @property
    def theta(self) -> Tensor:  # type: ignore[override]
        return self._dense.theta

    @property
    def log_normalizer(self) -> Tensor:  # type: ignore[override]
        return self._dense.log_normalizer

    @cached_property
    def _sums(self) -> Tensor:
        return self._group.phi.sum(2).flatten(0, 1)

    def rows(self, used: Tensor) -> Tensor:
        group, n_states = self._group, self._group.family.n_statistics
        slot, state = used // n_states, used % n_states
        if self._running is None:
            phi = group.phi.flatten(0, 2)[used] / self._sums[slot]
        else:
            phi = self._running.rows(group, used)
        column = group.index.flatten()[slot]
        reference = group.reference_theta[column, state] - group.reference_normalizer[column]
        return phi.log_().sub_(reference)
