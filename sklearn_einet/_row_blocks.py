"""Passes over the rows of a table, some at a time."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from sklearn.utils import gen_batches

__all__ = ["BLOCK_CELLS", "first_observed", "row_blocks"]

# How many cells are held in float64 at a time.
BLOCK_CELLS = 2**17


def first_observed(X: np.ndarray, column: int, n: int) -> np.ndarray:
    """The first n observed cells of a column, or as many as there are."""
    found: list[np.ndarray] = []
    for block in row_blocks(X):
        cells = block[:, column]
        found.append(cells[~np.isnan(cells)][: n - sum(map(len, found))])
        if sum(map(len, found)) == n:
            break
    return np.concatenate(found)


def row_blocks(X: np.ndarray) -> Iterator[np.ndarray]:
    """Rows in float, some at a time."""
    for rows in gen_batches(len(X), max(1, BLOCK_CELLS // X.shape[1])):
        block = X[rows]
        yield block if block.dtype.kind == "f" else block.astype(np.float64)
