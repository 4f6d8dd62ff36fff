"""Passes over the rows of a table, and what is read off single columns."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from sklearn.utils import gen_batches

__all__ = ["BLOCK_CELLS", "first_observed", "least_variance", "row_blocks"]

# Share of pairs of rows with the same value from which a column counts as having ties. Fewer are
# left to the parameter min_variance.
MANY_TIES = 0.1

# How many cells are held in float64 at a time.
BLOCK_CELLS = 2**17


def first_observed(column: int, n: int, X: np.ndarray) -> np.ndarray:
    """The first n observed cells of a column of a table, or as many as there are."""
    found = [np.empty(0)]
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


def least_variance(x: np.ndarray, weight: np.ndarray) -> float:
    """The variance that ties leave to a normal density, as a share of the column's own.

    Two rows of a normal column that is rounded to a grid of width h standard deviations have the
    same value with probability c = h / sqrt(4 pi), and rounding has the variance h**2 / 12, which
    is 1.05 c**2. Densities that are narrower than that describe the grid, and a column whose every
    other value is 0 has no density at all there: its peak would grow without end.
    """
    seen = ~np.isnan(x)
    _, of = np.unique(x[seen], return_inverse=True)
    counts = np.bincount(of, weight[seen])
    total = counts.sum()
    share = counts @ (counts - 1).clip(0) / (total * max(total - 1, 1))
    return float(min(share, 1.0) ** 2) if share > MANY_TIES else 0.0
