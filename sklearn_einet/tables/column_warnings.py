"""What users are told of the values of their columns."""

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
    """Name all columns whose variance is that of values that are far out, in one warning."""
    if not schema.far_out:
        return
    columns = ", ".join(
        f"{schema.names[column]!r} ({schema.shown(column, found.value)}; "
        f"{100 * found.share:.2g}% of its cells)"
        for column, found in schema.far_out.items()
    )
    warnings.warn(
        f"Columns with values so far from all others that mean and variance are theirs: {columns}. "
        "If they stand for missing values, make them NaN; amounts of many orders of magnitude have "
        "better densities with leaf='log-normal'.",
        UserWarning,
        stacklevel=levels_to_caller(),
    )


def warn_of_narrow_counts(schema: Schema, n_rows: int) -> None:
    """Name all columns that vary less than the mixtures of counts that were asked for can."""
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
            f"Columns that vary less than counts can: {', '.join(narrow)}. Mixtures of Poisson or "
            "negative binomial distributions have a variance of at least their mean, and make "
            "these columns too wide: leave them to leaf='auto'.",
            UserWarning,
            stacklevel=levels_to_caller(),
        )


def warn_of_unseen_values(schema: Schema, table: Table) -> None:
    """Name the columns of a later block whose values the first fit has ruled out."""
    for column in schema.unseen_columns(table):
        warnings.warn(
            f"Column {schema.names[column]!r} has values beyond those of the first fit, which read "
            "off what the column can have: the model takes them for missing and does not learn "
            "them. Fit anew if they are usual.",
            UserWarning,
            stacklevel=levels_to_caller(),
        )


def check_categories(schema: Schema, X: Any) -> None:
    """Refuse the rows of a query with categories not seen in fit, or tell that they are ignored.

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
            raise ValueError(f"{problem}; handle_unknown='smooth' or 'ignore' takes them.")
        warnings.warn(f"{problem}: ignored.", UserWarning, stacklevel=levels_to_caller())
