"""Leaves whose values are looked up in tables of the columns' states."""

from __future__ import annotations

from abc import abstractmethod

import torch
from torch import Tensor

from sklearn_einet.circuit.leaves.base import LeafGroup
from sklearn_einet.circuit.leaves.terms import Cells

__all__ = ["TableGroup"]

# The kind of terms that compiled loops look up.
LOOKED_UP = 2


class TableGroup(LeafGroup):
    """Leaves whose tables have a row for each state of each term, and a last one for "missing".

    Attributes
    ----------
    n_states : Tensor of int of shape (n_terms,)
        How many rows each term has.
    first_row : Tensor of int of shape (n_regions * n_slots,)
        The first row of every slot.
    places, compiled_terms, compiled_ends : Tensor of int
        The terms in the form of compiled loops; see `native.look_ups`.
    """

    looks_up = True
    n_states: Tensor
    first_row: Tensor
    places: Tensor
    compiled_terms: Tensor
    compiled_ends: Tensor

    def derive(self) -> None:
        super().derive()
        n_regions, n_slots = self.index.shape
        self._regions = torch.unique(self.terms.region)
        self.n_states = self.states_of_columns()[self.terms.column]
        self.first_row = torch.zeros_like(self.index.flatten())
        self.first_row[self.terms.slot] = self.n_states.cumsum(0) - self.n_states
        self._n_rows = int(self.n_states.sum())
        # Compute only regions with columns of the group, which may be few.
        self._start = self.first_row.view(n_regions, n_slots, 1)[self._regions]
        self._index = self.index[self._regions]
        self.own_regions = None if len(self._regions) == n_regions else self._regions
        region, column, slot = self.terms
        first = self.first_row[slot]
        self.places = torch.stack([region, column, first, self.n_states], 1)
        self.compiled_terms = torch.stack([torch.full_like(column, LOOKED_UP), column, first], 1)
        self.compiled_ends = torch.searchsorted(region.contiguous(), self._regions, right=True)

    @abstractmethod
    def states_of_columns(self) -> Tensor:
        """Return the number of states of every column, (n_columns,)."""

    def table_rows(
        self, cells: Cells, states: Tensor, is_sparse: bool = False
    ) -> tuple[Tensor, Tensor | None]:
        """Return the table rows of cells, (n_regions * batch, n_slots), and the rows that occur at
        all, among which the former are then counted; None: all."""
        n_slots = self._index.shape[1]
        if cells.complete and self.mask is None:
            rows = states[self._index] + self._start
        else:
            states = torch.nn.functional.pad(states, (0, 0, 0, 1), value=-1)[self._index]
            rows = torch.where(states >= 0, states + self._start, self._n_rows)
        rows = rows.transpose(1, 2).reshape(-1, n_slots)
        if not is_sparse:
            return rows, None
        used, rows = torch.unique(rows, return_inverse=True)
        return rows, used[used < self._n_rows]

    def summed(self, rows: Tensor, table: Tensor, batch: int) -> Tensor:
        """Return sums over the slots of values looked up in a table, whose last row is for missing
        cells, (n_own_regions, K, batch)."""
        sums = torch.nn.functional.embedding_bag(rows, table, mode="sum", padding_idx=-1)
        return sums.view(len(self._regions), batch, table.shape[1]).transpose(1, 2)

    def in_all_regions(self, own: Tensor) -> Tensor:
        """Return values of the own regions, with zeros for the others."""
        if self.own_regions is None:
            return own
        return own.new_zeros(len(self.index), *own.shape[1:]).index_copy(0, self.own_regions, own)

    def flows_of_rows(self, rows: Tensor, n_rows: int, flows: Tensor) -> Tensor:
        """Return the flows through each row of the table, (n_rows, K)."""
        by_row = flows[self._regions].transpose(1, 2).reshape(-1, flows.shape[1])
        table = flows.new_zeros(n_rows + 1, flows.shape[1])
        for slot in rows.T.contiguous():
            table.index_add_(0, slot, by_row)
        return table[:-1]
