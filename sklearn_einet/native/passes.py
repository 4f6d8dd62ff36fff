"""Both passes of an expectation step through the levels of a circuit, as recorded calls."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from sklearn_einet.native.program import COUNTS, NULL, WEIGHTS, Address, Recorder, in_a_row

if TYPE_CHECKING:
    from sklearn_einet.circuit.layers.base import Level

__all__ = ["LevelPlaces", "Passes"]


class LevelPlaces:
    """Where the arrays of one level are, for its methods `record_up` and `record_down`.

    Attributes
    ----------
    recorder : Recorder
    k : int
        Number of entries of the children.
    rows : ndarray of int
        Rows of the children among those of all outputs.
    alone : bool
        Whether each of them has no other parent.
    values, flows : Address
        Of the rows of all outputs: logarithms, and derivatives with respect to them.
    value, flow : Address
        Those of the level's own regions.
    weights, counts : list of Address
        Of the level's weights.
    kept : dict of str to Address
        What is to be found again on the way down.
    adds : bool
        Whether anything is added to flows, which must be 0 before that.
    """

    def __init__(
        self,
        recorder: Recorder,
        k: int,
        rows: np.ndarray,
        alone: bool,
        values: Address,
        flows: Address,
        own_row: int,
        numbers: range,
    ) -> None:
        self.recorder = recorder
        self.k = k
        self.rows = rows
        self.alone = alone
        self.values, self.flows = values, flows
        self.value, self.flow = self.at(values, own_row), self.at(flows, own_row)
        self.weights = [Address(WEIGHTS, number, 0) for number in numbers]
        self.counts = [Address(COUNTS, number, 0) for number in numbers]
        self.kept: dict[str, Address] = {}
        self.adds = False

    def at(self, place: Address, row: int) -> Address:
        """A row of the values or flows."""
        return place.plus(int(row) * self.recorder.row_bytes(self.k))

    def below(self) -> tuple[Address, Address]:
        """Where the children's values are, and which rows from there; nowhere if all in order."""
        if in_a_row(self.rows):
            return self.at(self.values, self.rows[0]), NULL
        return self.values, self.recorder.kept(self.rows)

    def flows_to(self, rows: np.ndarray) -> Address:
        """Where to write the flows of some children, before `add_flows`."""
        if self.alone and in_a_row(rows):
            return self.at(self.flows, rows[0])
        return self.recorder.scratch(len(rows), self.k)

    def add_flows(self, written: Address, rows: np.ndarray, which: Address = NULL) -> None:
        """Add flows to those of some children, unless that is where they have been written.

        `which` are the rows of what has been written, if not all in order.
        """
        if len(rows) and written != self.at(self.flows, rows[0]):
            to = self.flows, self.recorder.kept(rows)
            sizes = len(rows), self.k * self.recorder.batch
            self.recorder.call("add_rows", *to, written, which, *sizes)
            self.adds = True


class Passes:
    """The passes of an expectation step through the levels of a circuit, for batches of one size.

    Parameters
    ----------
    levels : sequence of Level
    shapes : sequence of (int, int)
        Rows and entries of the leaf regions' output and of every level's. All but the last, which
        is the root's, have the same number of entries.
    dtype : torch.dtype
    batch : int
    """

    def __init__(
        self,
        levels: Sequence[Level],
        shapes: Sequence[tuple[int, int]],
        dtype: torch.dtype,
        batch: int,
    ) -> None:
        self._circuit = levels, shapes, dtype, batch
        # Without a row that two parents add to, flows can take the place of the values below them.
        if any(own.adds for own in self._record(in_place=True)):
            self._record(in_place=False)

    def _record(self, in_place: bool) -> list[LevelPlaces]:
        levels, shapes, dtype, batch = self._circuit
        recorder = Recorder(dtype.itemsize, batch)
        k = shapes[0][1]
        first_row = np.cumsum([0, *(rows for rows, _ in shapes)])
        n_rows, root = int(first_row[-1]), int(first_row[-2])
        values = recorder.buffer(n_rows, k)
        flows = values if in_place else recorder.buffer(n_rows, k)
        rows_below = [first_row[level.children[:, 0]] + level.children[:, 1] for level in levels]
        n_parents = np.bincount(np.concatenate(rows_below), minlength=n_rows)
        places: list[LevelPlaces] = []
        n_weights = 0
        for level, rows, own_row in zip(levels, rows_below, first_row[1:-1], strict=True):
            numbers = range(n_weights, n_weights + level.n_weights)
            n_weights = numbers.stop
            alone = bool((n_parents[rows] == 1).all())
            own = LevelPlaces(recorder, k, rows, alone, values, flows, int(own_row), numbers)
            level.record_up(own)
            places.append(own)
        self._up = recorder.program(n_weights)
        for level, own in zip(reversed(levels), reversed(places), strict=True):
            recorder.release()
            level.record_down(own)
        if not in_place:
            recorder.before("clear", flows, root * k * batch)
        self._down = recorder.program(n_weights)
        self._shape = shapes[0][0], k, batch
        self._sizes = [n // dtype.itemsize for n in (recorder.n_bytes, recorder.scratch_bytes)]
        self._flows = flows.offset // dtype.itemsize
        self._root = root * k * batch
        return places

    def up(self, leaves: Tensor, weights: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
        """The upward pass.

        Parameters
        ----------
        leaves : Tensor of shape (n_leaf_regions, K, batch)
            Log-densities.
        weights : sequence of Tensor

        Returns
        -------
        root : Tensor of shape (batch,)
            Logarithm of the root's value for every row.
        buffer : Tensor
            For `down`.
        """
        buffer = leaves.new_empty(self._sizes[0])
        buffer[: leaves.numel()].view_as(leaves).copy_(leaves)
        self._up.run(buffer, buffer, weights, [])
        return buffer[self._root : self._root + leaves.shape[-1]].clone(), buffer

    def down(
        self, buffer: Tensor, upstream: Tensor, weights: Sequence[Tensor]
    ) -> tuple[Tensor, list[Tensor]]:
        """The downward pass.

        Parameters
        ----------
        buffer : Tensor
            As from `up`; used up.
        upstream : Tensor of shape (batch,)
            Weights of the rows.
        weights : sequence of Tensor

        Returns
        -------
        flows : Tensor of shape (n_leaf_regions, K, batch)
            Posteriors of the leaf regions' entries, times the weights of the rows.
        counts : list of Tensor
            Sums over the rows of the posteriors of the terms of all sums, as the weights.
        """
        root = self._flows + self._root
        buffer[root : root + len(upstream)] = upstream
        counts = [torch.empty_like(w) for w in weights]
        self._down.run(buffer, buffer.new_empty(self._sizes[1]), weights, counts)
        flows = buffer[self._flows : self._flows + math.prod(self._shape)]
        return flows.view(self._shape), counts
