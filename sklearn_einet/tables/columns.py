"""Passes over the rows of a table, and summaries of single columns."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import NamedTuple

import numpy as np

from sklearn_einet.circuit.block_rows import slices
from sklearn_einet.tables.table import Table
from sklearn_einet.tables.weights import rows_with_weight

__all__ = [
    "COLUMN_CELLS",
    "Extremes",
    "SampledColumns",
    "Summary",
    "column_extremes",
    "different_values",
    "row_blocks",
    "summary",
]

# How many cells are held in float64 at a time.
COLUMN_CELLS = 2**17

# How many cells are used to find units and mean statistics.
CELLS_FOR_UNITS = 2**23

# Values that differ by less, relative to their size, are the same up to rounding.
ROUNDING = 4 * np.finfo(np.float64).eps

# A column counts as having ties from this share of pairs of rows with the same value. Fewer ties
# are left to the parameter min_variance.
MANY_TIES = 0.1

# How many distinct values of a column are compared with each other.
COMPARED_VALUES = 64

# The median distance of two draws from a normal distribution, in standard deviations.
NORMAL_DISTANCE = 0.9538725524

# A value is far out from this distance from the median, in robust standard deviations.
FAR = 30.0


def row_blocks(X: np.ndarray) -> Iterator[np.ndarray]:
    """Yield rows as floats, some at a time."""
    for rows in slices(len(X), max(1, COLUMN_CELLS // X.shape[1])):
        block = X[rows]
        yield block if block.dtype.kind == "f" else block.astype(np.float64)


class Extremes(NamedTuple):
    """The ends of every column, over the rows that have weight.

    Attributes
    ----------
    smallest, largest : ndarray of shape (n_features,)
        NaN for columns without an observed cell.
    all_binary : bool
        Whether all observed cells are 0 or 1, including those of rows without weight.
    """

    smallest: np.ndarray
    largest: np.ndarray
    all_binary: bool

    @property
    def constant(self) -> np.ndarray:
        """Which columns hold a single value, up to rounding."""
        with np.errstate(over="ignore"):
            return self.largest - self.smallest <= ROUNDING * np.abs(self.smallest)


def column_extremes(table: Table, is_number: np.ndarray) -> Extremes:
    """Return the least and the largest value of every column of a table.

    Parameters
    ----------
    table : Table
    is_number : ndarray of bool of shape (n_features,)
        Which columns are not categorical.
    """
    blocks = table.by_block(partial(_block_extremes, is_number), table.weight)
    smallest, largest, binary = zip(*blocks, strict=True)
    return Extremes(np.fmin.reduce(smallest), np.fmax.reduce(largest), all(binary))


def _block_extremes(is_number: np.ndarray, X: np.ndarray, weight: np.ndarray | None) -> Extremes:
    smallest, largest = np.full((2, len(is_number)), np.nan)
    all_binary, start = True, 0
    for block in row_blocks(X):
        rows = slice(start, start + len(block))
        start = rows.stop
        counted = block if weight is None else block[weight[rows] > 0]
        if len(counted):
            smallest = np.fmin(smallest, np.fmin.reduce(counted))
            largest = np.fmax(largest, np.fmax.reduce(counted))
        if all_binary:
            block = block if is_number.all() else block[:, is_number]
            all_binary = bool(((block == 0) | (block == 1) | np.isnan(block)).all())
    return Extremes(smallest, largest, all_binary)


class SampledColumns:
    """The rows of a table that have weight, a sample if there are very many, read by columns.

    Parameters
    ----------
    table : Table
    random_state : RandomState
        Chooses the rows if there are very many.

    Attributes
    ----------
    weight : ndarray of shape (n_rows,)
    """

    def __init__(self, table: Table, random_state: np.random.RandomState) -> None:
        self._table = table
        usable = rows_with_weight(table.weight)
        n_rows = len(table) if usable is None else len(usable)
        n_used = min(n_rows, max(1000, CELLS_FOR_UNITS // table.shape[1]))
        rows: slice | np.ndarray = slice(None) if usable is None else usable
        if n_used < n_rows:
            chosen = np.sort(random_state.choice(n_rows, n_used, replace=False))
            rows = chosen if usable is None else usable[chosen]
        self.weight = np.ones(n_used) if table.weight is None else table.weight[rows]
        self._sample, self._rows = table.in_memory(rows)

    def blocks(self, columns: np.ndarray) -> Iterator[np.ndarray]:
        """Yield some of the columns at a time."""
        step = max(1, COLUMN_CELLS // len(self.weight))
        return (columns[part] for part in slices(len(columns), step))

    def cells(self, columns: np.ndarray) -> np.ndarray:
        """Return columns in float64, (n_rows, n_columns).

        If a column is missing in all of these rows, the first observed cells of the table take
        their places.
        """
        sample, rows = self._sample, self._rows
        x = sample[:, columns][rows] if isinstance(rows, slice) else sample[np.ix_(rows, columns)]
        x = np.array(x, dtype=np.float64)
        for j in np.flatnonzero(np.isnan(x).all(axis=0)):
            first = partial(_first_observed, int(columns[j]), len(x))
            parts = self._table.by_block(first, self._table.weight)
            observed = np.concatenate(parts)[: len(x)]
            x[: len(observed), j] = observed
        return x


def _first_observed(column: int, n: int, X: np.ndarray, weight: np.ndarray | None) -> np.ndarray:
    """Return the first n observed cells of a column in rows with weight, or fewer."""
    found, n_found, start = [np.empty(0)], 0, 0
    for block in row_blocks(X):
        cells = block[:, column]
        usable = ~np.isnan(cells)
        if weight is not None:
            usable &= weight[start : start + len(block)] > 0
        start += len(block)
        found.append(cells[usable][: n - n_found])
        n_found += len(found[-1])
        if n_found == n:
            break
    return np.concatenate(found)


class Summary(NamedTuple):
    """A summary of the distinct values of a column.

    Attributes
    ----------
    middle : float
        The median.
    spread : float
        A standard deviation that a few values cannot change: the median distance between two rows
        that differ, divided by that of a standard normal distribution.
    least_variance : float
        The least variance of a normal density given the ties, as a share of the column's own.
    """

    middle: float
    spread: float
    least_variance: float

    @property
    def typical(self) -> tuple[float, float]:
        """The ends of the values that are not far out."""
        return self.middle - FAR * self.spread, self.middle + FAR * self.spread


def different_values(x: np.ndarray, weight: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the distinct observed values of a column in ascending order, and their weights."""
    seen = ~np.isnan(x)
    values, of = np.unique(x[seen], return_inverse=True)
    return values, np.bincount(of, weight[seen])


def summary(x: np.ndarray, weight: np.ndarray) -> Summary:
    """Return the summary of a column with an observed cell.

    Two rows of a normal column that is rounded to a grid of width h standard deviations have the
    same value with probability c = h / sqrt(4 pi), and rounding has the variance h**2 / 12, which
    is 1.05 c**2. Narrower densities describe the grid, and a column in which every other value is
    0 has no density there at all: the peak would grow without limit.
    """
    values, counts = different_values(x, weight)
    total = counts.sum()
    share = counts @ (counts - 1).clip(0) / (total * max(total - 1, 1))
    least = float(min(share, 1.0) ** 2) if share > MANY_TIES else 0.0
    middle = values[counts.cumsum().searchsorted(0.5 * total)]
    return Summary(float(middle), _spread(*_representatives(values, counts)), least)


def _representatives(values: np.ndarray, counts: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return a few values, with weights, that stand for many: the most frequent value and quantiles
    of the others."""
    if len(values) <= COMPARED_VALUES:
        return values, counts
    top = int(counts.argmax())
    others, weight = np.delete(values, top), np.delete(counts, top)
    levels = (np.arange(COMPARED_VALUES - 1) + 0.5) / (COMPARED_VALUES - 1)
    until = weight.cumsum()
    quantiles = others[until.searchsorted(levels * until[-1])]
    each = np.full(len(levels), until[-1] / len(levels))
    return np.append(quantiles, values[top]), np.append(each, counts[top])


def _spread(values: np.ndarray, weight: np.ndarray) -> float:
    """Return the median distance between different values, as a normal standard deviation."""
    first, second = np.triu_indices(len(values), 1)
    with np.errstate(over="ignore"):
        distance = np.abs(values[first] - values[second])
    differ = distance > 0
    if not differ.any():
        return 0.0
    distance, mass = distance[differ], (weight[first] * weight[second])[differ]
    order = distance.argsort()
    until = mass[order].cumsum()
    return float(distance[order][until.searchsorted(0.5 * until[-1])] / NORMAL_DISTANCE)
