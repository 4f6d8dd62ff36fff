"""Bounds of columns of times: dates, durations, periods, times of day, or strings."""

from __future__ import annotations

import datetime
from importlib import import_module
from typing import Any

import numpy as np

from sklearn_einet.tables.frames import holds_times, is_missing
from sklearn_einet.tables.ticks import KINDS
from sklearn_einet.tables.times import TimeAxis

__all__ = ["time_bounds"]

EXAMPLES = {
    "datetime": "'2024-01-31 12:00'",
    "date": "'2024-01-31'",
    "duration": "datetime.timedelta(days=1)",
    "period": "'2024-01'",
    "time": "'12:30'",
}


def time_bounds(parameter: str, name: Any, values: Any, axis: TimeAxis) -> np.ndarray:
    """Return bounds of one column of times as numbers, NaN without a bound.

    Parameters
    ----------
    parameter : {"low", "high"}
    name : str or int
        Of the column.
    values : scalar, sequence, array or series
        Times of the column's type, or strings. Without a time zone, they are in that of the column.
        Periods stand for their beginnings in `low` and for their ends in `high`.
    axis : TimeAxis

    Raises
    ------
    ValueError, TypeError
        If they are not such times; the message names the column.
    """
    try:
        is_one = np.ndim(values) == 0
        if not is_one and _is_typed(values) and holds_times(values):
            return axis.to_numbers(values, by_clock=True)
        bounds = [values] if is_one else list(values)
        numbers = np.array([_number(parameter, bound, axis) for bound in bounds])
    except (TypeError, ValueError, OverflowError) as error:
        what, example = KINDS[axis.kind], EXAMPLES[axis.kind]
        kind = TypeError if isinstance(error, TypeError) else ValueError
        raise kind(
            f"{parameter} must have {what}, such as {example}, in column {name!r}: {error}"
        ) from error
    return numbers[0] if is_one else numbers


def _number(parameter: str, bound: Any, axis: TimeAxis) -> float:
    """Return one bound as a number, NaN for None."""
    if is_missing(bound) or (isinstance(bound, float) and np.isinf(bound)):
        return np.nan
    if isinstance(bound, str):
        bound = _parsed(bound, axis)
    if hasattr(bound, "asfreq"):
        how = "start" if parameter == "low" else "end"
        if axis.kind == "period":
            bound = bound.asfreq(axis.unit, how)
        else:
            bound = bound.start_time if parameter == "low" else bound.end_time
    elif axis.kind == "period" and isinstance(bound, datetime.date | np.datetime64):
        bound = import_module("pandas").Period(bound, freq=axis.unit)
    cell = np.empty(1, dtype=object)
    cell[0] = bound
    if not holds_times(cell):
        raise TypeError(f"got {bound!r}")
    return float(axis.to_numbers(cell, by_clock=True)[0])


def _is_typed(values: Any) -> bool:
    return hasattr(values, "dtype") and getattr(values.dtype, "kind", "") != "O"


def _parsed(text: str, axis: TimeAxis) -> Any:
    """Return the time that a string represents, parsed by pandas if it is installed."""
    if axis.kind == "time":
        return datetime.time.fromisoformat(text)
    try:
        pandas = import_module("pandas")
    except ImportError:
        if axis.kind == "duration":
            raise TypeError("reading durations from strings needs pandas: install it") from None
        return np.datetime64(text)
    if axis.kind == "duration":
        if text.strip().replace(".", "", 1).isdecimal():
            raise ValueError(f"{text!r} has no unit, such as hours or days")
        return pandas.Timedelta(text)
    if not _has_year(pandas, text):
        raise ValueError(f"{text!r} has no year")
    return (pandas.Period if axis.kind == "period" else pandas.Timestamp)(text)


def _has_year(pandas: Any, text: str) -> bool:
    """Return whether a string names a year, as far as is known; for others, parsers take the year 1
    or the present day."""
    try:
        return bool(pandas.Period(text).year > 1)
    except ValueError:
        return True
