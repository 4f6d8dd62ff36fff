"""Leaves looked up in tables of states."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from sklearn_einet.circuit.leaves.decaying import Decaying
from sklearn_einet.circuit.leaves.natural_parameters import NaturalParameters
from sklearn_einet.circuit.leaves.tables import TableGroup
from sklearn_einet.circuit.leaves.terms import Cells, Terms
from sklearn_einet.families import Categorical
from sklearn_einet.native.backend import NativeBackend
from sklearn_einet.native.look_ups import looked_up, state_sums

__all__ = ["LookUpGroup"]

# Tables with fewer numbers than this are computed as a whole without counting states first.
SMALL_TABLE = 2**15


class LookUpGroup(TableGroup):
    """Categorical leaves: log-probabilities of states are gathered and summed.

    Products with indicators of states would cost as many times more as there are states. If a block
    of rows has fewer cells than the tables have rows, only the table rows of its states are
    computed, and its statistics are sparse. In stochastic EM, parameters are then computed from a
    decaying average when they are looked up, so that the cost of a step depends on its rows and not
    on the number of states.
    """

    family: Categorical
    _running: _Running | None = None

    def states_of_columns(self) -> Tensor:
        return torch.full_like(self.columns, self.family.n_statistics)

    def linear(
        self, cells: Cells, natural: NaturalParameters, dtype: torch.dtype
    ) -> tuple[Tensor, Any]:
        own, kept = self.own_linear(cells, natural, dtype)
        return self.in_all_regions(own), kept

    def own_linear(
        self, cells: Cells, natural: NaturalParameters, dtype: torch.dtype
    ) -> tuple[Tensor, Any]:
        batch = cells.x.shape[1]
        is_sparse = self._is_sparse(batch)
        table = None if is_sparse else natural.table(dtype)
        is_native = isinstance(self.backend, NativeBackend)
        if is_native and table is not None and not table.requires_grad:
            states = cells.x if cells.complete else torch.where(cells.seen, cells.x, torch.nan)
            own = looked_up(states, self.compiled_terms, self.compiled_ends, table)
            return own, states
        states = cells.x if cells.complete else torch.where(cells.seen, cells.x, -1)
        rows, used = self.table_rows(cells, states.to(torch.int64), is_sparse)
        if table is None:
            assert used is not None
            table = torch.nn.functional.pad(natural.rows(used).to(dtype), (0, 0, 0, 1))
        return self.summed(rows, table, batch), (rows, used)

    def _is_sparse(self, n_rows: int) -> bool:
        """Return whether so many rows have few states compared with the tables."""
        # On a GPU their number would have to be waited for.
        is_large = self.phi.numel() >= SMALL_TABLE and n_rows < self.family.n_statistics
        return is_large and self.phi.device.type == "cpu"

    def expected(self, kept: Any, flows: Tensor) -> tuple[Tensor, Tensor]:
        if isinstance(kept, Tensor):
            return self._dense(*state_sums(kept, flows, self.places, self._n_rows))
        rows, used = kept
        n_regions, n_slots = self.index.shape
        n_states, k = self.family.n_statistics, flows.shape[1]
        slot_of = self.terms.slot
        table = self.flows_of_rows(rows, self._n_rows if used is None else len(used), flows)
        if used is None:
            return self._dense(table, table.view(-1, n_states, k).sum(1))
        # In double precision, because probabilities of states are not normalised one by one.
        mass = torch.zeros(n_regions * n_slots, k, dtype=torch.float64)
        slots = slot_of[used // n_states]
        mass.index_add_(0, slots, table.to(mass.dtype))
        place = torch.stack([slots // n_slots, slots % n_slots])
        place = torch.cat([place, (used % n_states).unsqueeze(0)])
        shape = (n_regions, n_slots, n_states, k)
        weighted = torch.sparse_coo_tensor(
            place, table, shape, is_coalesced=True, check_invariants=False
        )
        return weighted, mass.view(n_regions, n_slots, k)

    def _dense(self, table: Tensor, mass: Tensor) -> tuple[Tensor, Tensor]:
        """Return statistics in all slots, given those of the states and of the terms."""
        n_regions, n_slots = self.index.shape
        weighted = table.new_zeros(n_regions * n_slots, self.family.n_statistics, table.shape[1])
        weighted[self.terms.slot] = table.view(-1, *weighted.shape[1:])
        all_mass = mass.new_zeros(n_regions * n_slots, mass.shape[1])
        all_mass[self.terms.slot] = mass
        shape = n_regions, n_slots
        return weighted.unflatten(0, shape), all_mass.unflatten(0, shape)

    def running(self, weighted: Tensor, n_rows: int, pseudocount: float) -> Tensor | Decaying:
        # Without a prior, leaves that no row reaches keep their parameters, which no average has.
        if self._is_sparse(n_rows) and pseudocount > torch.finfo(torch.float32).tiny:
            return Decaying(weighted)
        return weighted

    def update(self, weighted: Tensor | Decaying, mass: Tensor, pseudocount: float) -> None:
        if isinstance(weighted, Decaying):
            self._running = _Running(weighted, mass, pseudocount)
            return
        self._running = None
        super().update(weighted.to_dense(), mass, pseudocount)

    def projected(self, phi: Tensor) -> Tensor:
        return self.family.project_(phi)

    def settle(self) -> None:
        if self._running is not None:
            running, self._running = self._running, None
            super().update(running.average.dense(), running.mass, running.pseudocount)

    def __getstate__(self) -> dict[str, Any]:
        self.settle()
        return super().__getstate__()

    def natural_parameters(self) -> NaturalParameters:
        return _StateParameters(self)

    def factors(self, theta: Tensor, log_normalizer: Tensor) -> NaturalParameters:
        return _SlotParameters(self.terms, theta, log_normalizer, self.mask)

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
        n_states = group.family.n_statistics
        slot = group.terms.slot[used // n_states]
        row = slot * n_states + used % n_states
        counts = self.average.table.flatten(0, 2)[row].mul_(self.average.scale)
        counts.add_(group.slot_reference.flatten(0, 2)[row], alpha=self.pseudocount)
        total = self.mass.flatten(0, 1)[slot] + self.pseudocount
        return group.family.smoothed(counts.div_(total))


class _SlotParameters(NaturalParameters):
    """Parameters whose table has the states of slots that are not padding.

    Parameters
    ----------
    terms : Terms
        These slots.
    theta, log_normalizer, mask
        As in `NaturalParameters`.
    """

    def __init__(
        self, terms: Terms, theta: Tensor, log_normalizer: Tensor, mask: Tensor | None
    ) -> None:
        super().__init__(theta, log_normalizer, mask)
        self.terms = terms

    def _table(self, dtype: torch.dtype) -> Tensor:
        theta = self.theta.flatten(0, 1)[self.terms.slot]
        log_normalizer = self.log_normalizer.flatten(0, 1)[self.terms.slot]
        table = (theta - log_normalizer.unsqueeze(1)).to(dtype)
        return torch.nn.functional.pad(table.flatten(0, 1), (0, 0, 0, 1))

    def rows(self, used: Tensor) -> Tensor:
        n_states = self.theta.shape[2]
        slot, state = self.terms.slot[used // n_states], used % n_states
        theta = self.theta.flatten(0, 1)[slot, state]
        return theta - self.log_normalizer.flatten(0, 1)[slot]


class _StateParameters(NaturalParameters):
    """The parameters of a group, computed for requested states."""

    def __init__(self, group: LookUpGroup) -> None:
        self._group = group
        self._running = group._running
        self.mask = group.mask
        self._kept = {}
        self._largest = {}

    @cached_property
    def _dense(self) -> NaturalParameters:
        group = self._group
        group.settle()
        theta = group.family.natural(group.phi)
        # Probabilities are available: no exponentials are needed.
        log_normalizer = group.phi.sum(2).log_() - group.slot_normalizer
        return group.factors(theta - group.slot_theta, log_normalizer)

    @property
    def theta(self) -> Tensor:  # type: ignore[override]
        return self._dense.theta

    @property
    def log_normalizer(self) -> Tensor:  # type: ignore[override]
        return self._dense.log_normalizer

    @cached_property
    def _sums(self) -> Tensor:
        return self._group.phi.sum(2).flatten(0, 1)

    def _table(self, dtype: torch.dtype) -> Tensor:
        group, (_, column, slot) = self._group, self._group.terms
        group.settle()
        phi = group.phi.flatten(0, 1)[slot]
        reference = group.reference_theta - group.reference_normalizer.unsqueeze(1)
        total = phi.sum(1, keepdim=True).log_()
        table = phi.log_().sub_(total).sub_(reference[column])
        return torch.nn.functional.pad(table.flatten(0, 1).to(dtype), (0, 0, 0, 1))

    def _once(self, key: Hashable, compute: Callable[[], Tensor]) -> Tensor:
        if key not in self._kept:
            self._kept[key] = compute()
        return self._kept[key]

    def rows(self, used: Tensor) -> Tensor:
        group, n_states = self._group, self._group.family.n_statistics
        slot, state = group.terms.slot[used // n_states], used % n_states
        if self._running is None:
            phi = group.phi.flatten(0, 2)[slot * n_states + state] / self._sums[slot]
        else:
            phi = self._running.rows(group, used)
        column = group.index.flatten()[slot]
        reference = group.reference_theta[column, state] - group.reference_normalizer[column]
        return phi.log_().sub_(reference)
