"""Values of some columns, by name, number or category, as numbers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from sklearn_einet.tables.encoding import Encoding
from sklearn_einet.tables.frames import cells, numbers, without_mask
from sklearn_einet.tables.schema import Schema
from sklearn_einet.tables.time_bounds import time_bounds

__all__ = ["numbers_by_name", "numbers_of_column"]

# How many categories of a column a message lists.
SHOWN = 8


def numbers_by_name(parameter: str, given: Any, schema: Schema, encoding: Encoding) -> np.ndarray:
    """Return rows with values in some columns, and NaN in the others.

    Parameters
    ----------
    parameter : str
        The name of the parameter, for messages.
    given : dict or DataFrame
        For each of some columns, one value, or one for each row.
    schema : Schema
    encoding : Encoding

    Returns
    -------
    rows : ndarray of shape (n_rows, n_features)
        Codes for categories.

    Raises
    ------
    ValueError, TypeError
        If a value does not suit its column; the message names the column.
    """
    names = list(given) if isinstance(given, Mapping) else list(given.columns)
    columns = [int(schema.positions(name, parameter)[0]) for name in names]
    columns_of_numbers = [
        numbers_of_column(parameter, column, given[name], schema, encoding)
        for column, name in zip(columns, names, strict=True)
    ]
    try:
        values = np.broadcast_arrays(*columns_of_numbers)
    except ValueError as error:
        raise ValueError(
            f"{parameter} must have one value, or the same number of values, for each of its "
            f"columns: {error}"
        ) from error
    if len(set(columns)) < len(columns):
        raise ValueError(f"{parameter} names a column twice: {names}.")
    n_rows = values[0].size if names else 1
    if n_rows == 0 or any(value.ndim > 1 for value in values):
        raise ValueError(f"{parameter} must have a value for each row and column.")
    array = np.full((n_rows, len(schema.names)), np.nan)
    for column, value in zip(columns, values, strict=True):
        array[:, column] = value
    return array


def numbers_of_column(
    parameter: str, column: int, values: Any, schema: Schema, encoding: Encoding
) -> np.ndarray:
    """Return one or several values of a column as numbers, NaN for None; see `numbers_by_name`."""
    name = schema.names[column]
    values = without_mask(values)
    if column in encoding.categories:
        return _categories(parameter, column, name, values, encoding)
    if column in encoding.times:
        return time_bounds(parameter, name, values, encoding.times[column])
    try:
        is_series = hasattr(values, "to_numpy")  # may have a missing value of its own
        found = numbers(values) if is_series else np.asarray(values, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise ValueError(
            f"{parameter} must have a number, or a list of them, in column {name!r}: {error}"
        ) from error
    form = schema.states.forms.get(column)
    return found if form is None else form.rounded(found)


def _some(categories: Any) -> str:
    """Return the first categories of a column, for messages."""
    known = [repr(category) for category in np.asarray(categories).tolist()]
    return ", ".join(known[:SHOWN]) + (", ..." if known[SHOWN:] else "")


def _categories(
    parameter: str, column: int, name: Any, values: Any, encoding: Encoding
) -> np.ndarray:
    """Return the codes of a category, or of several."""
    is_one = np.ndim(values) == 0
    if is_one or not hasattr(values, "dtype"):
        values = np.array([values] if is_one else list(values), dtype=object)
    listed = [None if value in (-np.inf, np.inf) else value for value in cells(values)]
    try:
        codes = encoding.codes(column, listed)
    except TypeError as error:
        raise TypeError(f"{parameter} in column {name!r} must hold categories: {error}") from error
    for value, code in zip(listed, codes, strict=True):
        if code == len(encoding.categories[column]):
            raise ValueError(
                f"{parameter} has the category {value!r} in column {name!r}, which fit has not "
                f"seen. It has seen {_some(encoding.categories[column])}."
            )
    return codes[0] if is_one else codes
