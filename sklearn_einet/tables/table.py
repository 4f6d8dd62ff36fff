"""Tables of numbers with weights, wherever their rows are stored."""

from __future__ import annotations

import sys
from abc import ABC, abstractmethod
from collections.abc import Callable
from copy import copy
from typing import Any, Self, TypeVar

import numpy as np
import torch

from sklearn_einet.tables.rows import Rows
from sklearn_einet.tables.split import Split
from sklearn_einet.tables.weights import rows_with_weight

__all__ = ["CELLS_AT_A_TIME", "ROWS_AT_A_TIME", "Encode", "Table", "by_block", "is_dask"]

Result = TypeVar("Result")

# How many cells of a table are read at a time, and how many rows if there are few columns.
CELLS_AT_A_TIME = 2**20
ROWS_AT_A_TIME = 2**16

# Converts rows of a table to rows in the units of a circuit.
Encode = Callable[[np.ndarray], np.ndarray]


class Table(ABC):
    """Rows of numbers that a model learns from or is queried with.

    Indexing by a slice or by row numbers returns an array. If the rows are not in memory, index
    only a few at a time.

    Attributes
    ----------
    shape : (int, int)
    dtype : dtype
    weight : ndarray of shape (n_samples,) or None
        Weights of the rows; 1 each if None.
    """

    shape: tuple[int, int]
    dtype: np.dtype[Any]
    weight: np.ndarray | None = None

    def __len__(self) -> int:
        return self.shape[0]

    @abstractmethod
    def __getitem__(self, rows: Any) -> np.ndarray:
        """Return rows as an array."""

    @property
    def total_weight(self) -> float:
        """Sum of the weights."""
        return float(len(self)) if self.weight is None else float(self.weight.sum())

    @abstractmethod
    def selected(self, rows: np.ndarray) -> Table:
        """Return the table of some of the rows, in ascending order, and their weights."""

    @abstractmethod
    def rows(
        self,
        encode: Encode,
        device: torch.device,
        random_state: np.random.RandomState,
        which: np.ndarray | None = None,
    ) -> Rows:
        """Return rows (None: all) to train on, read in the way that suits the kind of table."""

    def by_block(
        self, function: Callable[..., Result], *per_row: np.ndarray | None
    ) -> list[Result]:
        """Return the results of a function for each block of rows, computed where the rows are.

        Parameters
        ----------
        function : callable
            Called with rows that can be sliced, and with the part of each array in `per_row` that
            belongs to them. Errors are raised here; if several blocks fail, that of the first.
        per_row : ndarray of shape (n_samples,) or None
        """
        return [function(self, *per_row)]

    def in_memory(self, rows: Any) -> tuple[np.ndarray, Any]:
        """Return an array and the positions of the given rows in it; without a copy if possible."""
        return self[rows], slice(None)

    def training_sample(
        self, split: Split, random_state: np.random.RandomState
    ) -> tuple[Any, np.ndarray | None]:
        """Return rows to learn a structure from, and their weights: 0 for those held out."""
        return self._source, self._training_weight(split)

    @property
    def _source(self) -> Any:
        """The source of the rows."""
        return self

    def _training_weight(self, split: Split) -> np.ndarray | None:
        if split.held_out is None:
            return self.weight
        weight = np.ones(len(self)) if self.weight is None else self.weight.copy()
        weight[split.held_out] = 0
        return weight

    @property
    def most_scattered_rows(self) -> int:
        """How many randomly placed rows are quick to read."""
        return len(self)

    def weighted(self, weight: np.ndarray | None) -> Self:
        """Return the same rows with other weights."""
        result = copy(self)
        result.weight = weight
        return result

    def with_positive_weight(self) -> Table:
        """Return the rows that count."""
        some = rows_with_weight(self.weight)
        return self if some is None else self.selected(some)


def by_block(X: Any, function: Callable[..., Result], *per_row: np.ndarray | None) -> list[Result]:
    """Return the results of `Table.by_block`; an array is a single block."""
    if isinstance(X, Table):
        return X.by_block(function, *per_row)
    return [function(X, *per_row)]


def is_dask(X: Any) -> bool:
    """Return whether X is a dask collection, without importing dask."""
    dask = sys.modules.get("dask")
    return dask is not None and dask.is_dask_collection(X)
