"""Tables whose rows are kept elsewhere, in blocks, and what is computed where they lie."""

from __future__ import annotations

import sys
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any, TypeVar

import numpy as np
import torch

from sklearn_einet.tables.rows import Rows
from sklearn_einet.tables.stored import StoredRows, StoredTable

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


def by_block(X: Any, function: Callable[..., Result], *per_row: np.ndarray | None) -> list[Result]:
    """What a function says of each block of a table; any table here is a single block.

    Parameters
    ----------
    X : ndarray, StoredTable or RemoteTable
    function : callable
        Given a table whose rows can be had by slices, and of each array in `per_row` the part that
        belongs to them. What it raises is raised here; if it fails for several blocks, for the
        first of them.
    per_row : ndarray of shape (n_samples,) or None
    """
    if isinstance(X, RemoteTable):
        return X.by_block(function, *per_row)
    return [function(X, *per_row)]


def rows_of(
    X: Any,
    encode: Callable[[np.ndarray], np.ndarray],
    weight: np.ndarray | None,
    device: torch.device,
    random_state: np.random.RandomState,
    which: np.ndarray | None = None,
) -> Rows:
    """Some rows of a table (None: all), read as the kind of table demands; see `Rows`."""
    if isinstance(X, RemoteTable):
        return X.rows(encode, weight, device, random_state, which)
    kind = StoredRows if isinstance(X, StoredTable) else Rows
    return kind(X, encode, weight, device, random_state, which)
