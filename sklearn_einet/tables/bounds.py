"""Boxes of rows, with bounds by name, number, category or date."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from sklearn_einet.tables.encoding import Encoding
from sklearn_einet.tables.frames import cells, is_frame, native_columns, without_mask
from sklearn_einet.tables.schema import Schema
from sklearn_einet.tables.time_bounds import time_bounds
from sklearn_einet.tables.validation import Validate

__all__ = ["read_boxes"]


def read_boxes(
    low: Any, high: Any, schema: Schema, encoding: Encoding, validate: Validate
) -> tuple[np.ndarray, np.ndarray]:
    """Return the bounds of boxes as numbers, infinite for none, (n_boxes, n_features) each.

    Parameters
    ----------
    low, high : dict, frame, array-like or None
        See `EinetDensity.interval_log_proba`.
    schema : Schema
    encoding : Encoding
    validate : callable

    Raises
    ------
    ValueError, TypeError
        If they are no boxes of the columns; the message names the column.
    """
    sides = (("low", low, -np.inf), ("high", high, np.inf))
    low, high = (_side(*side, schema, encoding, validate) for side in sides)
    try:
        low, high = np.broadcast_arrays(low, high)
    except ValueError as error:
        raise ValueError(
            f"low and high must have as many rows as each other, or one; got {len(low)} and "
            f"{len(high)}."
        ) from error
    _check_boxes(low, high, schema, encoding)
    return low, high


def _side(
    parameter: str,
    bounds: Any,
    default: float,
    schema: Schema,
    encoding: Encoding,
    validate: Validate,
) -> np.ndarray:
    """Return one side of boxes, in float64 with infinities for no bound."""
    bounds = without_mask(bounds)
    if bounds is None:
        return np.full((1, len(schema.names)), default)
    has_names = isinstance(schema.names[0], str)
    if isinstance(bounds, Mapping) or (is_frame(bounds) and has_names):
        bounds = _by_name(parameter, bounds, schema, encoding)
    elif encoding.categories or encoding.times:
        validate(bounds, skip_check_array=True)
        bounds = np.column_stack(
            [
                _of_column(parameter, column, values, schema, encoding)
                for column, values in enumerate(native_columns(bounds))
            ]
        )
    else:
        bounds = validate(bounds, dtype=np.float64, ensure_all_finite=False)
    return np.where(np.isnan(bounds), default, bounds)


def _by_name(parameter: str, bounds: Any, schema: Schema, encoding: Encoding) -> np.ndarray:
    """Return bounds of some columns, completed by NaN for the others."""
    names = list(bounds) if isinstance(bounds, Mapping) else list(bounds.columns)
    columns = [int(schema.positions(name, parameter)[0]) for name in names]
    given = [
        _of_column(parameter, column, bounds[name], schema, encoding)
        for column, name in zip(columns, names, strict=True)
    ]
    try:
        values = np.broadcast_arrays(*given)
    except ValueError as error:
        raise ValueError(
            f"{parameter} must have one bound, or the same number of bounds, for each of its "
            f"columns: {error}"
        ) from error
    if len(set(columns)) < len(columns):
        raise ValueError(f"{parameter} has a column twice: {names}.")
    n_boxes = values[0].size if names else 1
    if n_boxes == 0 or any(value.ndim > 1 for value in values):
        raise ValueError(f"{parameter} must have a bound for each box and column.")
    array = np.full((n_boxes, len(schema.names)), np.nan)
    for column, value in zip(columns, values, strict=True):
        array[:, column] = value
    return array


def _of_column(
    parameter: str, column: int, values: Any, schema: Schema, encoding: Encoding
) -> np.ndarray:
    """Return bounds of one column as numbers, NaN for none."""
    name = schema.names[column]
    values = without_mask(values)
    if column in encoding.categories:
        return _categories(parameter, column, name, values, encoding)
    if column in encoding.times:
        return time_bounds(parameter, name, values, encoding.times[column])
    try:
        return np.asarray(values, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise ValueError(
            f"{parameter} must have a number, or a list of them, in column {name!r}: {error}"
        ) from error


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
                f"{parameter} has the category {value!r} in column {name!r}, which was not "
                "there in fit."
            )
    return codes[0] if is_one else codes


def _check_boxes(low: np.ndarray, high: np.ndarray, schema: Schema, encoding: Encoding) -> None:
    """Raise a ValueError if a lower bound exceeds an upper one, or if they make no sense."""
    for row, column in np.argwhere(low > high):
        raise ValueError(
            f"low exceeds high in column {schema.names[column]!r} of row {row}: "
            f"{schema.shown(column, low[row, column])} > {schema.shown(column, high[row, column])}."
        )
    for column in encoding.categories.keys() - encoding.ordered:
        bounded = np.isfinite(low[:, column]) | np.isfinite(high[:, column])
        if (bounded & (low[:, column] != high[:, column])).any():
            raise ValueError(
                f"Column {schema.names[column]!r} has categories without an order: give "
                "low and high the same one, or neither."
            )
