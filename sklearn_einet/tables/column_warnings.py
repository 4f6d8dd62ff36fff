"""Warnings about the values of columns."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np

from sklearn_einet.circuit.block_rows import slices
from sklearn_einet.families import NegativeBinomial, Poisson
from sklearn_einet.tables.callers import levels_to_caller
from sklearn_einet.tables.schema import Schema
from sklearn_einet.tables.table import ROWS_AT_A_TIME, Table

__all__ = [
    "check_categories",
    "warn_of_far_values",
    "warn_of_narrow_counts",
    "warn_of_unseen_values",
]

# By how many standard errors the variance of counts may be below their mean.
STANDARD_ERRORS = 3.0


def warn_of_far_values(schema: Schema) -> None:
    """Name all columns whose variance is mostly due to far-out values, in one warning."""
    if not schema.far_out:
        return
    columns = ", ".join(
        f"{schema.names[column]!r} ({schema.shown(column, found.value)}; "
        f"{100 * found.share:.2g}% of its cells)"
        for column, found in schema.far_out.items()
    )
    warnings.warn(
        "Columns have values so far from all others that they dominate the variance: "
        f"{columns}. If these values mark missing cells, replace them by NaN. For amounts that "
        "span many orders of magnitude, leaf='log-normal' gives better densities.",
        UserWarning,
        stacklevel=levels_to_caller(),
    )


def warn_of_narrow_counts(schema: Schema, n_rows: int) -> None:
    """Name all columns that vary less than the requested mixtures of counts can."""
    narrow = []
    for group in schema.leaf_columns:
        if not isinstance(group.family, Poisson | NegativeBinomial):
            continue
        mean, variance = group.reference[:, 0], schema.spread[group.columns] ** 2
        # The standard error of the variance of so many Poisson counts, in units of the mean.
        error = np.sqrt((2 + 1 / mean) / n_rows)
        for j in np.flatnonzero(variance < mean * (1 - STANDARD_ERRORS * error)):
            name = schema.names[group.columns[j]]
            narrow.append(f"{name!r} (mean {mean[j]:.3g}, variance {variance[j]:.3g})")
    if narrow:
        warnings.warn(
            f"Columns vary less than the requested leaf family allows: {', '.join(narrow)}. "
            "Mixtures of Poisson or negative binomial distributions have a variance of at least "
            "their mean, which is too wide for these columns: leave them to leaf='auto'.",
            UserWarning,
            stacklevel=levels_to_caller(),
        )


def warn_of_unseen_values(schema: Schema, table: Table) -> None:
    """Name the columns of a later block whose values the first fit has ruled out."""
    for column in schema.unseen_columns(table):
        warnings.warn(
            f"Column {schema.names[column]!r} has values beyond the range that the first fit has "
            "set for it. The model treats them as missing and does not learn from them. If such "
            "values are to be expected, fit again on all rows.",
            UserWarning,
            stacklevel=levels_to_caller(),
        )


def check_categories(schema: Schema, X: Any) -> None:
    """Refuse rows with categories not seen in fit, or warn that these are ignored.

    Raises
    ------
    ValueError
        If `handle_unknown` is "error".
    """
    if schema.handle_unknown == "smooth":
        return
    unknown = np.zeros(X.shape[1], dtype=bool)
    for rows in slices(len(X), ROWS_AT_A_TIME):
        unknown |= schema.unknown_categories(X[rows]).any(axis=0)
    for column in np.flatnonzero(unknown):
        problem = f"Column {schema.names[column]!r} has categories not seen in fit"
        if schema.handle_unknown == "error":
            raise ValueError(f"{problem}; handle_unknown='smooth' or 'ignore' accepts them.")
        warnings.warn(f"{problem}, which are ignored.", UserWarning, stacklevel=levels_to_caller())
