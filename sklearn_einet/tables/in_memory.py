"""Tables in memory."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import numpy as np
import torch

from sklearn_einet.tables.rows import Rows
from sklearn_einet.tables.table import Encode, Table

__all__ = ["InMemoryTable"]

Result = TypeVar("Result")


class InMemoryTable(Table):
    """An array and the weights of its rows.

    Parameters
    ----------
    array : ndarray of shape (n_samples, n_features)
    weight : ndarray of shape (n_samples,) or None, default=None
    """

    def __init__(self, array: np.ndarray, weight: np.ndarray | None = None) -> None:
        self.array = array
        self.weight = weight
        self.shape = array.shape[0], array.shape[1]
        self.dtype = array.dtype

    def __getitem__(self, rows: Any) -> np.ndarray:
        selected: np.ndarray = self.array[rows]
        return selected

    def selected(self, rows: np.ndarray) -> InMemoryTable:
        weight = None if self.weight is None else self.weight[rows]
        return InMemoryTable(self.array[rows], weight)

    def rows(
        self,
        encode: Encode,
        device: torch.device,
        random_state: np.random.RandomState,
        which: np.ndarray | None = None,
    ) -> Rows:
        return Rows(self.array, encode, self.weight, device, random_state, which)

    def by_block(
        self, function: Callable[..., Result], *per_row: np.ndarray | None
    ) -> list[Result]:
        return [function(self.array, *per_row)]

    @property
    def _source(self) -> np.ndarray:
        return self.array

    def in_memory(self, rows: Any) -> tuple[np.ndarray, Any]:
        return self.array, rows
