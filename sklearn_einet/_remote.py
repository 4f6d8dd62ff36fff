"""Tables whose rows are kept elsewhere, in blocks, and what is computed where they lie."""

from __future__ import annotations

import sys
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any, TypeVar

import numpy as np
import torch

from sklearn_einet.learning import Rows

__all__ = ["RemoteTable", "by_block", "is_dask", "rows_of"]

Result = TypeVar("Result")


class RemoteTable(ABC):
    """A table of numbers that is cut into blocks of rows, each in the memory of some worker.

    Indexing brings rows here, as an array: only for few of them.

    Attributes
    ----------
    shape : (int, int)
    dtype : dtype
    """

    shape: tuple[int, int]
    dtype: np.dtype[Any]

    def __len__(self) -> int:
        return self.shape[0]

    @abstractmethod
    def __getitem__(self, key: Any) -> np.ndarray:
        """Rows, by a slice or an array of indices, and perhaps some of their columns."""

    @abstractmethod
    def by_block(
        self, function: Callable[..., Result], *per_row: np.ndarray | None
    ) -> list[Result]:
        """See the function `by_block`."""

    @abstractmethod
    def rows(
        self,
        encode: Callable[[np.ndarray], np.ndarray],
        weight: np.ndarray | None,
        device: torch.device,
        random_state: np.random.RandomState,
        which: np.ndarray | None,
    ) -> Rows:
        """Rows whose `Rows.total` is computed by the workers."""


def is_dask(X: Any) -> bool:
    """Whether X is one of dask's collections; never imports dask."""
    dask = sys.modules.get("dask")
    return dask is not None and dask.is_dask_collection(X)


def by_block(
    X: np.ndarray | RemoteTable, function: Callable[..., Result], *per_row: np.ndarray | None
) -> list[Result]:
    """What a function says of each block of a table; a table in memory is a single block.

    Parameters
    ----------
    X : ndarray or RemoteTable
    function : callable
        Given an array of rows, and of each array in `per_row` the part that belongs to them. What
        it raises is raised here; if it fails for several blocks, for the first of them.
    per_row : ndarray of shape (n_samples,) or None
    """
    if isinstance(X, RemoteTable):
        return X.by_block(function, *per_row)
    return [function(X, *per_row)]


def rows_of(
    X: np.ndarray | RemoteTable,
    encode: Callable[[np.ndarray], np.ndarray],
    weight: np.ndarray | None,
    device: torch.device,
    random_state: np.random.RandomState,
    which: np.ndarray | None = None,
) -> Rows:
    """Rows of a table to learn from, see `Rows` for the parameters."""
    if isinstance(X, RemoteTable):
        return X.rows(encode, weight, device, random_state, which)
    return Rows(X, encode, weight, device, random_state, which)
