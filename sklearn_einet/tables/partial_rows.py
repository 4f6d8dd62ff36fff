"""Rows with only some of the columns: dicts, or DataFrames that lack columns."""

from __future__ import annotations

from collections.abc import Mapping
from collections.abc import Set as AbstractSet
from typing import Any

import numpy as np
from sklearn import get_config

from sklearn_einet.tables.by_name import numbers_by_name
from sklearn_einet.tables.encoding import Encoding
from sklearn_einet.tables.frames import as_frame, is_frame, native_columns
from sklearn_einet.tables.lazy_tables import Tables, cut
from sklearn_einet.tables.schema import Schema

__all__ = [
    "completed_table",
    "completed_tables",
    "framed_numbers",
    "is_partial",
    "read_partial_rows",
]


def is_partial(X: Any, schema: Schema) -> bool:
    """Return whether X has only some of the columns: a dict, or a DataFrame that lacks some."""
    if isinstance(X, Mapping):
        return True
    if not is_frame(X) or not isinstance(schema.names[0], str):
        return False
    return 0 < len(X.columns) < len(schema.names) and set(X.columns) <= set(schema.names)


def read_partial_rows(X: Any, schema: Schema, encoding: Encoding) -> np.ndarray:
    """Return rows as numbers, with NaN in columns that are not given.

    Parameters
    ----------
    X : dict or DataFrame
        As in `is_partial`.
    schema : Schema
    encoding : Encoding

    Raises
    ------
    ValueError, TypeError
        Naming the column at fault.
    """
    for name, asked in X.items() if isinstance(X, Mapping) else ():
        if isinstance(asked, tuple | AbstractSet):
            raise TypeError(
                f"X has a {type(asked).__name__} in column {name!r}: give one value, or a list "
                "with one for each row. For ranges and sets, use sample(n_samples, given=...)."
            )
    rows = numbers_by_name("X", X, schema, encoding)
    for column in np.flatnonzero(np.isinf(rows).any(axis=0)):
        raise ValueError(
            f"X has an infinite value in column {schema.names[column]!r}: use a number or NaN."
        )
    return rows


def completed_table(rows: np.ndarray, X: Any, encoding: Encoding) -> Any:
    """Return the table of all columns, of the same kind as X, or as the table in fit for a dict.

    Parameters
    ----------
    rows : ndarray of shape (n_samples, n_features)
    X : dict or DataFrame
        The partial rows that were completed.
    encoding : Encoding
    """
    table = _of_kind(encoding.table(rows), X)
    if hasattr(table, "iloc") and hasattr(X, "iloc"):
        table.index = X.index
    return table


def completed_tables(draws: np.ndarray, X: Any, encoding: Encoding) -> Tables | np.ndarray:
    """Return several completions, (n_draws, n_samples, n_features), as `completed_table` does."""
    return cut(_of_kind(encoding.table(np.concatenate(draws)), X), len(draws), X)


def _of_kind(table: Any, X: Any) -> Any:
    is_asked_for = get_config()["transform_output"] != "default"
    if not is_frame(X) or is_asked_for or isinstance(table, type(X)):
        return table
    return as_frame(type(X), list(table.columns), native_columns(table), None)


def framed_numbers(values: np.ndarray, X: Any, encoding: Encoding) -> Any:
    """Return a number for every cell of a table, as a float DataFrame if the table is one.

    Parameters
    ----------
    values : ndarray of shape (n_samples, n_features)
    X : DataFrame, array-like or dict
        The table, which may lack columns. A dict counts as a table of the same kind as in fit.
    encoding : Encoding
    """
    like = encoding.template if isinstance(X, Mapping) else X
    if not is_frame(like):
        return values
    names = like.columns
    if len(names) < values.shape[1]:
        template = encoding.template
        names = template.columns if hasattr(template, "iloc") else list(template.columns)
    if hasattr(like, "iloc"):
        index = like.index if len(like) == len(values) else None
        return type(like)(values, index=index, columns=names)
    return type(like)({str(name): values[:, j] for j, name in enumerate(names)})
