"""Conversion of times to days, hours or seconds since the first value, and back."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from sklearn_einet.tables.frames import cells, native_columns
from sklearn_einet.tables.ticks import (
    ATTOSECONDS,
    KINDS,
    Ticks,
    cells_of_times,
    read_ticks,
    written,
)
from sklearn_einet.tables.time_grids import Grid
from sklearn_einet.tables.time_zones import clock_offsets

__all__ = ["TimeAxis", "put_times", "stacked"]

# A day has more attoseconds than int64 can count.
LONGEST_STEP = 2**62

# How many cells are used to see whether local time may have a coarser grid.
CELLS_OF_CLOCKS = 1000

# The range of Python's dates, in days since 1970, without the ends, which may not exist in
# another zone.
FIRST_DAY, LAST_DAY = -719161, 2932895

# The range of Python's durations, in days.
MOST_DAYS = 999_999_999


@dataclass(frozen=True)
class TimeAxis:
    """Converts a column's dates, durations, periods or times of day to numbers, and back.

    A number counts steps since the origin: the first value seen in fit, or 0 for durations, or
    midnight for times of day. The step is the coarsest of day, hour, minute, second, millisecond
    and so on such that all values seen in fit are whole steps away from the origin (for periods, it
    is one period). If the values lie too far apart for exact numbers in float64, the step is the
    next one that makes the numbers small enough.

    Times with a zone are counted in UTC, where all hours have the same length, but midnights before
    and after a change of the clocks are not whole days apart. If local time is the same time of day
    in the whole column, local days are counted.

    Attributes
    ----------
    kind : str
        "datetime", "date", "duration", "period" or "time".
    unit : str
        Of the grids' ticks, such as "ns"; for periods, their frequency.
    zone : str or None
    holder : str
        The library of the objects; see `Ticks`.
    utc : Grid or None
        None if no cell was observed.
    clock : Grid or None
        The grid of local time, if it is one of days.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn_einet.tables.times import TimeAxis
    >>> days = np.array(["2024-02-28", "2024-03-01", "NaT"], dtype="datetime64[s]")
    >>> axis = TimeAxis.fit(days)
    >>> axis.to_numbers(days), axis.shown(1.0)
    (array([ 0.,  2., nan]), '2024-02-29')
    """

    kind: str
    unit: str
    zone: str | None
    holder: str
    utc: Grid | None
    clock: Grid | None = None

    @classmethod
    def fit(cls, column: Any) -> TimeAxis:
        """Return the axis of a series or array of times.

        Raises
        ------
        TypeError
            If it holds anything else.
        """
        ticks = read_ticks(column)
        if ticks is None:
            raise TypeError("it holds no times")
        axis = cls(ticks.kind, ticks.unit, ticks.zone, ticks.holder, None)
        values = ticks.values[~ticks.missing]
        if not len(values):
            return axis
        utc = Grid.of(values, axis._steps, axis._is_from_zero)
        return replace(axis, utc=utc, clock=axis._clock_grid(values))

    @classmethod
    def merged(cls, axes: Sequence[TimeAxis]) -> TimeAxis:
        """Return the axis of a column from those of its parts, with all their values on its grid.

        Raises
        ------
        TypeError
            If the parts have different kinds of times.
        """
        first = axes[0]
        for axis in axes[1:]:
            first._refuse(axis.kind, axis.unit, axis.zone, "another part of the table")
        seen = [axis for axis in axes if axis.utc is not None]
        if not seen:
            return first
        if first.kind == "period":
            unit = first.unit
        else:
            unit = min((axis.unit for axis in seen), key=lambda each: ATTOSECONDS[each])
        has_hours = any(axis.kind == "datetime" for axis in seen)
        wanted = replace(first, unit=unit, kind="datetime" if has_hours else first.kind)
        grids, clocks = [], []
        for axis in seen:
            factor = 1 if unit == axis.unit else ATTOSECONDS[axis.unit] // ATTOSECONDS[unit]
            grids += [axis.utc.rescaled(factor)] if axis.utc is not None else []
            clocks += [axis.clock.rescaled(factor)] if axis.clock is not None else []
        steps, from_zero = wanted._steps, wanted._is_from_zero
        utc = Grid.merged(grids, steps, from_zero)
        clock = Grid.merged(clocks, steps, from_zero) if len(clocks) == len(grids) else None
        return replace(wanted, utc=utc, clock=clock)

    @property
    def grid(self) -> Grid:
        """The grid whose points are whole numbers."""
        if self.utc is None:
            return Grid(0, max(self._steps), 0, 0)
        return self.clock if self._by_clock and self.clock is not None else self.utc

    def to_numbers(self, column: Any, by_clock: bool = False) -> np.ndarray:
        """Return the cells of a series or an array as numbers, NaN where missing.

        Parameters
        ----------
        column : series or ndarray
        by_clock : bool, default=False
            Whether times without a zone are local times of the column's zone.

        Raises
        ------
        TypeError
            If they are not the kind of times of this axis.
        """
        ticks = read_ticks(column)
        if ticks is None:
            if set(cells(column)) <= {None}:
                return np.full(len(column), np.nan)
            raise TypeError(f"it had {KINDS[self.kind]} in fit, but holds other values now")
        if ticks.missing.all():
            return np.full(len(ticks.values), np.nan)
        if by_clock and ticks.zone is None and self.zone is not None:
            ticks = self._in_zone(ticks)
        self._refuse(ticks.kind, ticks.unit, ticks.zone, "this table")
        return self._numbers(ticks)

    def column(self, numbers: np.ndarray, template: Any = None) -> Any:
        """Return numbers without gaps as a column of times, rounded to the grid.

        Parameters
        ----------
        numbers : ndarray
        template : series or None
            The type for the column; without it, an array is returned.
        """
        return written(self._ticks(numbers), template)

    def filled(self, old: Any, numbers: np.ndarray, template: Any = None) -> Any:
        """Return a column with its missing cells filled by times; all other cells are kept.

        Parameters
        ----------
        old : series or ndarray
        numbers : ndarray
            For all cells.
        template : series or None
            Gives the type of a column with only missing cells and another type.
        """
        ticks, known = self._ticks(numbers), read_ticks(old)
        if known is None:
            same_library = type(template) is type(old)
            new = written(ticks, template if same_library else old)
            if hasattr(old, "to_physical"):
                return new.alias(old.name)
            return new.set_axis(old.index) if hasattr(old, "iloc") else new
        if not known.missing.any():
            return old
        if known.kind == "date":
            ticks = replace(ticks.in_unit("D"), kind="date")
        elif self.kind == "date":
            ticks = replace(ticks, kind=known.kind)
        if not known.missing.all():
            ticks = replace(ticks, holder=known.holder)
        new = written(ticks, old)
        if hasattr(old, "to_physical"):
            return new.zip_with(old.is_null(), old)
        result = (old.array if hasattr(old, "iloc") else old).copy()
        result[known.missing] = getattr(new, "array", new)[known.missing]
        return (
            type(old)(result, index=old.index, dtype=old.dtype) if hasattr(old, "iloc") else result
        )

    def shown(self, number: float) -> str:
        """Return the grid value that a number represents, as a string."""
        ticks = self._ticks(np.array([number]))
        if self.kind in ("period", "time"):
            return str(cells_of_times(ticks)[0])
        if self.kind == "duration":
            return str(cells_of_times(replace(ticks.in_unit("us"), holder="python"))[0])
        values = ticks.values
        if self.zone is not None:
            offsets = self._offsets(values, by_clock=False)
            values = values if offsets is None else values + offsets
        text = np.datetime_as_string(values.view(f"M8[{self.unit}]"), unit="auto")[0]
        return " ".join([text.replace("T", " "), *([] if self.zone is None else [self.zone])])

    @property
    def _steps(self) -> list[int]:
        if self.kind == "period":
            return [1]
        unit = ATTOSECONDS[self.unit]
        steps = [length // unit for length in ATTOSECONDS.values() if length >= unit]
        return [step for step in steps if step <= LONGEST_STEP]

    @property
    def _is_from_zero(self) -> bool:
        return self.kind in ("duration", "time")

    @property
    def _by_clock(self) -> bool:
        if self.clock is None or self.utc is None:
            return False
        # Each part of a table may have a time of day of its own.
        return self.clock.step >= self.utc.step

    def _refuse(self, kind: str, unit: str, zone: str | None, where: str) -> None:
        """Raise a TypeError if times of another kind cannot be counted on this axis."""
        dates = {"date", "datetime"}
        if kind != self.kind and {kind, self.kind} != dates:
            raise TypeError(f"it had {KINDS[self.kind]} in fit, but has {KINDS[kind]} in {where}")
        if kind == "period" and unit != self.unit:
            raise TypeError(
                f"it had periods of frequency {self.unit!r} in fit, but has {unit!r} in {where}: "
                "convert them with asfreq"
            )
        if (zone is None) != (self.zone is None):
            had, has = ("no", "one") if self.zone is None else ("a", "none")
            raise TypeError(
                f"it had {had} time zone in fit, but has {has} in {where}: convert it with "
                "tz_localize (pandas) or replace_time_zone (polars)"
            )

    def _numbers(self, ticks: Ticks) -> np.ndarray:
        """Return the numbers of ticks in any unit; NaN where missing."""
        grid, values = self.grid, np.where(ticks.missing, 0, ticks.values)
        if self._by_clock:
            offsets = replace(self, unit=ticks.unit)._offsets(values, by_clock=False)
            if offsets is None:
                raise TypeError(f"it has times outside the range of the time zone {self.zone}")
            values = values + offsets
        if ticks.unit == self.unit:
            numbers = grid.numbers(values)
        else:
            unit, mine = ATTOSECONDS[ticks.unit], ATTOSECONDS[self.unit]
            origin, step = mine * grid.origin, mine * grid.step
            # Python's integers have as many digits as needed.
            numbers = np.array([(unit * each - origin) / step for each in values.tolist()])
        return np.where(ticks.missing, np.nan, numbers)

    def _in_zone(self, ticks: Ticks) -> Ticks:
        """Return local times of the zone as times with the zone."""
        if ticks.kind not in ("date", "datetime"):
            return ticks
        if ATTOSECONDS[ticks.unit] > ATTOSECONDS["s"]:
            ticks = ticks.in_unit("s")
        values = np.where(ticks.missing, 0, ticks.values)
        offsets = replace(self, unit=ticks.unit)._offsets(values, by_clock=True)
        if offsets is None:
            return ticks
        return replace(ticks, zone=self.zone, kind=self.kind, values=values - offsets)

    def _ticks(self, numbers: np.ndarray) -> Ticks:
        """Return the ticks of numbers without gaps, rounded to the grid."""
        values = self.grid.values(np.asarray(numbers, dtype=np.float64), *self._ends)
        if self._by_clock:
            offsets = self._offsets(values, by_clock=True)
            values = values if offsets is None else values - offsets
        missing = np.zeros(len(values), dtype=bool)
        return Ticks(self.kind, self.unit, self.zone, values, missing, self.holder)

    @property
    def _ends(self) -> tuple[int, int]:
        """The ticks beyond which there are no values, unless fit has seen some."""
        most = np.iinfo(np.int64).max
        if self.kind == "period":
            return -most, most
        day = ATTOSECONDS["D"] // ATTOSECONDS[self.unit]
        if self.kind == "time":
            return 0, day - 1
        ends = (-MOST_DAYS, MOST_DAYS) if self.kind == "duration" else (FIRST_DAY, LAST_DAY)
        return max(ends[0] * day, -most), min(ends[1] * day, most)

    def _clock_grid(self, values: np.ndarray) -> Grid | None:
        """Return the grid of local time, if that is always the same time of day."""
        if self.zone is None:
            return None
        for few in (values[:CELLS_OF_CLOCKS], values):
            offsets = self._offsets(few, by_clock=False)
            if offsets is None:
                return None
            clock = few + offsets
            back = self._offsets(clock, by_clock=True)
            if back is None or (back != offsets).any():
                return None
            grid = Grid.of(clock, self._steps, from_zero=False)
            if grid.step < max(self._steps):
                return None
        return grid

    def _offsets(self, values: np.ndarray, by_clock: bool) -> np.ndarray | None:
        """Return how far local time is ahead of UTC, in ticks."""
        second = ATTOSECONDS["s"] // ATTOSECONDS[self.unit]
        offsets = clock_offsets(values // second, str(self.zone), by_clock)
        return None if offsets is None else offsets * second


def put_times(
    columns: list[Any],
    axes: Mapping[int, TimeAxis],
    rows: np.ndarray,
    original: Any = None,
    template: Any = None,
    kind: type | None = None,
) -> None:
    """Put columns of times in their places among those of a table.

    Parameters
    ----------
    columns : list of series and ndarrays
        Of the table.
    axes : dict of int to TimeAxis
    rows : ndarray of shape (n_samples, n_features)
        Numbers without gaps.
    original : DataFrame or array-like, default=None
        Its times are kept.
    template : DataFrame, default=None
        Gives the types of times that are not from `original`.
    kind : type, default=None
        The kind of DataFrame to build, if the columns come from another library.
    """
    if not axes:
        return
    templates = None if template is None else native_columns(template)
    known = None if original is None else native_columns(original)
    for j, axis in axes.items():
        like = None if templates is None else templates[j]
        if known is None:
            columns[j] = axis.column(rows[:, j], like)
        else:
            columns[j] = axis.filled(known[j], rows[:, j], like)
        if kind is not None:
            columns[j] = _converted(columns[j], kind)


def _converted(column: Any, kind: type) -> Any:
    """Return a column without gaps as a series for one kind of DataFrame, with a suitable type."""
    ticks = read_ticks(column)
    return column if ticks is None else written(replace(ticks, holder="type"), kind({"": []})[""])


def stacked(columns: list[Any]) -> np.ndarray:
    """Return an array of some columns: of a type of times if all are times, else of objects."""
    if len({column.dtype.kind for column in columns}) > 1:
        columns = [_objects(column) if column.dtype.kind in "Mm" else column for column in columns]
    return np.column_stack(columns)


def _objects(column: np.ndarray) -> np.ndarray:
    result = np.empty(len(column), dtype=object)
    result[:] = list(column)
    return result
