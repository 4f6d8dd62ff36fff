"""Numbers that may mark missing cells, such as -999."""

from __future__ import annotations

import warnings
from functools import partial
from typing import NamedTuple

import numpy as np

from sklearn_einet.tables.callers import levels_to_caller
from sklearn_einet.tables.columns import row_blocks
from sklearn_einet.tables.schema import Schema
from sklearn_einet.tables.table import Table

__all__ = ["warn_of_missing_markers"]

# Negative numbers of so many digits, all of them 9.
MARKERS = -(10.0 ** np.arange(1, 10) - 1)

# How far a marker is below all other numbers of its column at least, as a share of their range.
LEAST_GAP = 0.25


class _Column(NamedTuple):
    """The cells of a column: how many are observed, how many the smallest number, and the ends of
    the others."""

    n_observed: int
    n_smallest: int
    low: float
    high: float


def warn_of_missing_markers(schema: Schema, table: Table) -> None:
    """Name all columns whose smallest number may mark missing cells, in one warning.

    It is -9, -99, -999, ..., and the other numbers are all positive or far above. Columns with a
    warning of far-out values have none of this kind.
    """
    smallest = schema.seen[0]
    may_be = np.isin(smallest, MARKERS)
    may_be[[*schema.far_out, *schema.times]] = False
    columns = np.flatnonzero(may_be)
    if not len(columns):
        return
    named = []
    for column, cells in zip(columns.tolist(), _cells(table, columns, smallest), strict=True):
        gap = cells.low - smallest[column]
        if cells.low >= 0 or gap >= LEAST_GAP * (cells.high - cells.low) > 0:
            percent = 100 * cells.n_smallest / cells.n_observed
            shown = f"{smallest[column]:.0f}; {percent:.2g}% of its cells"
            named.append(f"{schema.names[column]!r} ({shown})")
    if named:
        warnings.warn(
            f"Columns have a number that may mark missing cells: {', '.join(named)}. If so, "
            "replace it by NaN (in EinetImputer, set missing_values): else means and filled cells "
            "mix it with the other numbers.",
            UserWarning,
            stacklevel=levels_to_caller(),
        )


def _cells(table: Table, columns: np.ndarray, smallest: np.ndarray) -> list[_Column]:
    """Return what is needed of the cells of some columns."""
    parts = np.concatenate(table.by_block(partial(_of_rows, columns, smallest[columns])))
    counts = parts[:, :2].sum(0)
    low, high = parts[:, 2].min(0), parts[:, 3].max(0)
    return [_Column(*each) for each in zip(*counts.astype(int).tolist(), low, high, strict=True)]


def _of_rows(columns: np.ndarray, smallest: np.ndarray, X: np.ndarray) -> np.ndarray:
    """Return the numbers of `_Column` for blocks of rows, (n_blocks, 4, n_columns)."""
    found = []
    for block in row_blocks(X):
        x = block[:, columns]
        is_smallest, is_other = x == smallest, x > smallest
        low = np.where(is_other, x, np.inf).min(0)
        high = np.where(is_other, x, -np.inf).max(0)
        found.append([(~np.isnan(x)).sum(0), is_smallest.sum(0), low, high])
    return np.array(found, dtype=np.float64)
