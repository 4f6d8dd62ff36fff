"""Boxes of rows, with bounds by name, number, category or date."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from sklearn_einet.families import Constant
from sklearn_einet.tables.by_name import numbers_by_name, numbers_of_column
from sklearn_einet.tables.encoding import Encoding
from sklearn_einet.tables.frames import is_frame, native_columns, without_mask
from sklearn_einet.tables.schema import Schema
from sklearn_einet.tables.validation import Validate

__all__ = ["read_boxes", "without_ends"]

# How far from an excluded bound a box begins, in steps of a grid.
BESIDE_BOUND = 1e-6

# How far it begins from the single value of a column, in rounding errors of that value.
BESIDE_VALUE = 3.0

CLOSED = ("both", "left", "right", "neither")


def read_boxes(
    low: Any, high: Any, schema: Schema, encoding: Encoding, validate: Validate
) -> tuple[np.ndarray, np.ndarray]:
    """Return the bounds of boxes as numbers, (n_boxes, n_features) each; infinite without a bound.

    Parameters
    ----------
    low, high : dict, DataFrame, array-like or None
        See `EinetDensity.interval_log_proba`.
    schema : Schema
    encoding : Encoding
    validate : callable

    Raises
    ------
    ValueError, TypeError
        If they are not valid boxes of the columns; the message names the column.
    """
    sides = (("low", low, -np.inf), ("high", high, np.inf))
    low, high = (_side(*side, schema, encoding, validate) for side in sides)
    try:
        low, high = np.broadcast_arrays(low, high)
    except ValueError as error:
        raise ValueError(
            f"low and high must have the same number of rows, or one row; got {len(low)} and "
            f"{len(high)}."
        ) from error
    _check_boxes(low, high, schema, encoding)
    return low, high


def without_ends(
    low: np.ndarray, high: np.ndarray, schema: Schema, closed: str
) -> tuple[np.ndarray, np.ndarray]:
    """Return bounds that belong to their boxes, given some that may not.

    Raises
    ------
    ValueError
        If closed is not one of "both", "left", "right" and "neither".
    """
    if closed not in CLOSED:
        raise ValueError(f"closed must be one of {CLOSED}, got {closed!r}.")
    above, below = np.nextafter(low, np.inf), np.nextafter(high, -np.inf)
    steps = np.zeros(low.shape[1])
    for column, form in schema.states.forms.items():
        steps[column] = BESIDE_BOUND * form.step
        above[:, column] = form.neighbour(low[:, column], np.inf)
        below[:, column] = form.neighbour(high[:, column], -np.inf)
    for group in schema.own_groups:
        if isinstance(group.family, Constant):
            steps[group.columns] = BESIDE_VALUE * schema.scale[group.columns]
    # The neighbours of infinities are not bounds.
    above = np.where(low > -np.inf, np.maximum(above, low + steps), low)
    below = np.where(high < np.inf, np.minimum(below, high - steps), high)
    return (
        above if closed in ("right", "neither") else low,
        below if closed in ("left", "neither") else high,
    )


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
        bounds = numbers_by_name(parameter, bounds, schema, encoding)
    elif encoding.categories or encoding.times:
        validate(bounds, skip_check_array=True)
        bounds = np.column_stack(
            [
                numbers_of_column(parameter, column, values, schema, encoding)
                for column, values in enumerate(native_columns(bounds))
            ]
        )
    else:
        bounds = validate(bounds, dtype=np.float64, ensure_all_finite=False, copy=True)
        bounds = schema.states.rounded(bounds)
    return np.where(np.isnan(bounds), default, bounds)


def _check_boxes(low: np.ndarray, high: np.ndarray, schema: Schema, encoding: Encoding) -> None:
    """Raise a ValueError if a lower bound exceeds an upper one, or if they do not suit the
    column."""
    for row, column in np.argwhere(low > high):
        raise ValueError(
            f"low exceeds high in column {schema.names[column]!r} of row {row}: "
            f"{schema.shown(column, low[row, column])} > {schema.shown(column, high[row, column])}."
        )
    for column in encoding.categories.keys() - encoding.ordered:
        bounded = np.isfinite(low[:, column]) | np.isfinite(high[:, column])
        if (bounded & (low[:, column] != high[:, column])).any():
            raise ValueError(
                f"Column {schema.names[column]!r} has categories without an order: give low and "
                "high the same category, or leave out both."
            )
