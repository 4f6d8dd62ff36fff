"""Batches for compiled steps: from a table in memory, or encoded a few at a time."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from sklearn_einet.circuit import Circuit
from sklearn_einet.learning.compiled_table import GIVEN_BYTES, Block, CompiledTable, measure

__all__ = ["Batches", "Piece"]


class Piece(NamedTuple):
    """Some batches, ready to be read.

    Attributes
    ----------
    rows : ndarray of int
        The rows of one batch after the other, as positions in the tensors of `Batches`.
    sizes : ndarray of int of shape (n_batches,)
    weight : ndarray
        The weights of the rows.
    """

    rows: np.ndarray
    sizes: np.ndarray
    weight: np.ndarray


class Batches(ABC):
    """The tensors from which programs read rows; their addresses do not change.

    Attributes
    ----------
    cells : Tensor of shape (n_rows, n_columns)
    given : Tensor of shape (n_rows, n_values)
        Values of joint densities.
    weight : Tensor of shape (n_rows,) or None
        In the type of the circuit.
    """

    cells: Tensor
    given: Tensor
    weight: Tensor | None

    @staticmethod
    def of(circuit: Circuit, table: CompiledTable, most_rows: int) -> Batches:
        """Return the batches of a table, with a largest number of rows. Joint densities are
        frozen."""
        if table.kept is not None and (given := table.given(circuit)) is not None:
            return _KeptBatches(circuit, table.kept, given)
        return _ReadBatches(circuit, table, most_rows)

    @abstractmethod
    def pieces(self, batches: Iterable[Any]) -> Iterator[Piece]:
        """Yield batches as from `Rows.batches` in pieces; the next piece may overwrite the last."""


class _KeptBatches(Batches):
    def __init__(self, circuit: Circuit, kept: Block, given: Tensor) -> None:
        self.cells, self.given = kept.cells.contiguous(), given
        self.weight = None if kept.weight is None else kept.weight.to(circuit.dtype)
        self._row_weight = np.ones(len(kept.x)) if kept.weight is None else kept.weight.numpy()

    def pieces(self, batches: Iterable[Any]) -> Iterator[Piece]:
        parts = list(batches)
        order, sizes = np.concatenate(parts), np.array([len(part) for part in parts])
        yield Piece(order, sizes, self._row_weight[order])


class _ReadBatches(Batches):
    """Batches that are encoded when they are needed."""

    def __init__(self, circuit: Circuit, table: CompiledTable, most_rows: int) -> None:
        self._circuit, self._table = circuit, table
        n_values = sum(len(group.regions) * group.K for group in circuit.joint_groups)
        at_a_time = table.rows_at_a_time
        if n_values:
            at_a_time = min(at_a_time, GIVEN_BYTES // (circuit.dtype.itemsize * n_values))
        self._capacity = max(most_rows, at_a_time)
        self.cells = torch.empty(self._capacity, table.n_columns, dtype=torch.float64)
        self.given = torch.empty(self._capacity, n_values, dtype=circuit.dtype)
        has_weight = table.weight is not None
        self.weight = torch.empty(self._capacity, dtype=circuit.dtype) if has_weight else None

    def pieces(self, batches: Iterable[Any]) -> Iterator[Piece]:
        end, weights = 0, list[np.ndarray]()
        for batch in batches:
            if end + len(batch) > self._capacity:
                yield self._piece(weights)
                end, weights = 0, []
            weights.append(self._read(batch, end))
            end += len(batch)
        yield self._piece(weights)

    def _read(self, batch: Any, start: int) -> np.ndarray:
        """Encode a batch from a position on; return its weights."""
        x, cells, weight = self._table.read(batch)
        own = slice(start, start + len(x))
        self.cells[own] = cells
        measure(self._circuit, x, self.given[own], False)
        if weight is None or self.weight is None:
            return np.ones(len(x))
        self.weight[own] = weight
        return weight.numpy()

    @staticmethod
    def _piece(weights: list[np.ndarray]) -> Piece:
        weight, sizes = np.concatenate(weights), np.array([len(each) for each in weights])
        return Piece(np.arange(len(weight)), sizes, weight)
