"""The parameters atoms and bounds, by column."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from numbers import Real
from typing import Any

import numpy as np

from sklearn_einet.families import ExponentialFamily
from sklearn_einet.tables.column_forms import FLOAT64
from sklearn_einet.tables.columns import Extremes
from sklearn_einet.tables.frames import is_missing
from sklearn_einet.tables.positions import positions
from sklearn_einet.tables.time_bounds import time_bounds
from sklearn_einet.tables.times import TimeAxis

__all__ = [
    "LEAST_SHARE",
    "NONE",
    "FormRequests",
    "check_within",
    "requested_atoms",
    "requested_bounds",
]

# Share of the rows from which a repeated value is an atom if atoms="auto".
LEAST_SHARE = 1e-3

# The bounds of a column without bounds.
NONE = (-np.inf, np.inf)

Bounds = tuple[float, float]


@dataclass(frozen=True)
class FormRequests:
    """Requests about columns, and what is known about these.

    Attributes
    ----------
    least_share : float
        Share of the rows from which a repeated value is an atom; above 1: no atoms.
    atoms : mapping of int to ndarray
        The given atoms of columns.
    bounds : mapping of int to (float, float)
        The given bounds of columns.
    other_bounds : (float, float) or None
        Of all other columns. None: find them.
    families : mapping of int to ExponentialFamily
        Columns whose family the user has named.
    open_ends : mapping of int to list of float
        The open ends of their family's support that occur in these columns.
    without_sign : frozenset of int
        Columns whose 0 means nothing, such as those of dates.
    dtypes : sequence of dtype
        Of all columns; empty if all are float64.
    """

    least_share: float = LEAST_SHARE
    atoms: Mapping[int, np.ndarray] = field(default_factory=dict)
    bounds: Mapping[int, Bounds] = field(default_factory=dict)
    other_bounds: Bounds | None = None
    families: Mapping[int, ExponentialFamily] = field(default_factory=dict)
    open_ends: Mapping[int, list[float]] = field(default_factory=dict)
    without_sign: frozenset[int] = frozenset()
    dtypes: Sequence[np.dtype[Any]] = ()

    def bounds_of(self, column: int) -> Bounds | None:
        """Return the bounds of a column; None: find them."""
        return self.bounds.get(column, self.other_bounds)

    def dtype_of(self, column: int) -> np.dtype[Any]:
        """Return the type of a column."""
        return self.dtypes[column] if len(self.dtypes) else FLOAT64


def requested_atoms(names: list[Any], atoms: Any) -> tuple[float, dict[int, np.ndarray]]:
    """Return the least share of an atom, and the given atoms of columns.

    Parameters
    ----------
    names : list of str or int
        Of all columns.
    atoms : "auto", float, dict or None
        As in `EinetDensity`.

    Raises
    ------
    ValueError, TypeError
        Naming the parameter or the column at fault.
    """
    if atoms is None:
        return np.inf, {}
    if isinstance(atoms, str) and atoms == "auto":
        return LEAST_SHARE, {}
    if isinstance(atoms, Real):
        if not 0 < float(atoms) <= 1:
            raise ValueError(
                f"atoms={atoms!r} is a share of the rows: it must be above 0 and at most 1."
            )
        return float(atoms), {}
    if not isinstance(atoms, Mapping):
        raise TypeError(
            f"atoms must be 'auto', None, a share of rows, or a dict from columns to values; got "
            f"{atoms!r}."
        )
    given: dict[int, np.ndarray] = {}
    for column, values in atoms.items():
        try:
            own = np.unique(np.atleast_1d(np.asarray(values, dtype=np.float64)))
        except (TypeError, ValueError) as error:
            raise TypeError(f"atoms must have numbers for column {column!r}: {error}") from error
        if not np.isfinite(own).all():
            raise ValueError(
                f"atoms has a value for column {column!r} that is not a finite number."
            )
        given |= dict.fromkeys(positions(names, column, "atoms").tolist(), own)
    return LEAST_SHARE, given


def requested_bounds(
    names: list[Any], bounds: Any, times: Mapping[int, TimeAxis]
) -> tuple[Bounds | None, dict[int, Bounds]]:
    """Return the bounds of all other columns (None: find them), and the given bounds of columns.

    Parameters
    ----------
    names : list of str or int
        Of all columns.
    bounds : "auto", dict or None
        As in `EinetDensity`.
    times : mapping of int to TimeAxis
        Columns of times, whose bounds are times.

    Raises
    ------
    ValueError, TypeError
        Naming the parameter or the column at fault.
    """
    if bounds is None:
        return NONE, {}
    if isinstance(bounds, str) and bounds == "auto":
        return None, {}
    if not isinstance(bounds, Mapping):
        raise TypeError(
            f"bounds must be 'auto', None, or a dict from columns to (low, high); got {bounds!r}."
        )
    given: dict[int, Bounds] = {}
    for name, pair in bounds.items():
        for column in positions(names, name, "bounds").tolist():
            given[column] = _pair(names[column], pair, times.get(column))
    return None, given


def _pair(name: Any, pair: Any, axis: TimeAxis | None) -> Bounds:
    """Return the bounds of a column as numbers; infinite for open ends."""
    if not isinstance(pair, tuple | list | np.ndarray) or len(pair) != 2:
        raise TypeError(f"bounds must have a pair (low, high) for column {name!r}, got {pair!r}.")
    if axis is None:
        low, high = (
            _end(name, value, open_end) for value, open_end in zip(pair, NONE, strict=True)
        )
    else:
        sides = zip(("low", "high"), pair, strict=True)
        try:
            low, high = (float(time_bounds(side, name, end, axis)) for side, end in sides)
        except (TypeError, ValueError) as error:
            raise type(error)(f"bounds: {error}") from error
        # Draws are rounded to the grid of the column, whose points are whole numbers.
        low = -np.inf if np.isnan(low) else float(np.ceil(low))
        high = np.inf if np.isnan(high) else float(np.floor(high))
    if not low < high:
        raise ValueError(f"bounds has {pair!r} for column {name!r}, but low must be below high.")
    return low, high


def _end(name: Any, value: Any, open_end: float) -> float:
    if is_missing(value):
        return open_end
    try:
        return float(value)
    except (TypeError, ValueError) as error:
        raise TypeError(f"bounds must have numbers for column {name!r}: {error}") from error


def check_within(
    names: list[Any],
    bounds: Mapping[int, Bounds],
    extremes: Extremes,
    times: Mapping[int, TimeAxis],
    halves: Collection[int],
) -> None:
    """Raise a ValueError if a column has values beyond its given bounds; it names the column.

    Parameters
    ----------
    names, times
        As in `requested_bounds`.
    bounds : mapping of int to (float, float)
    extremes : Extremes
        Of the rows.
    halves : collection of int
        Columns in half precision.
    """
    for column, (low, high) in bounds.items():
        axis = times.get(column)
        rounded = np.float16 if column in halves else np.float32
        for value in (float(extremes.smallest[column]), float(extremes.largest[column])):
            bound = min(max(value, low), high)
            with np.errstate(over="ignore"):  # in single precision a bound is rounded
                is_within = np.isnan(value) or rounded(value) == rounded(bound)
            if is_within:
                continue
            shown = [f"{each:g}" if axis is None else axis.shown(each) for each in (value, bound)]
            side = "below its lower" if value < bound else "above its upper"
            raise ValueError(
                f"Column {names[column]!r} holds {shown[0]}, {side} bound {shown[1]} in "
                "the parameter bounds. Correct the value, make it a missing cell, or change the "
                "bound."
            )
