"""Conversion of columns of times of any type to whole numbers of their unit, and back."""

from __future__ import annotations

import datetime
from dataclasses import dataclass, replace
from importlib import import_module
from typing import Any

import numpy as np

from sklearn_einet.tables.frames import holds_times, is_missing
from sklearn_einet.tables.time_zones import UTC, named_zone, zone_name

__all__ = ["ATTOSECONDS", "KINDS", "Ticks", "cells_of_times", "read_ticks", "rescaled", "written"]

#: The kinds of times, in words.
KINDS = {
    "datetime": "timestamps",
    "date": "dates",
    "duration": "durations",
    "period": "periods",
    "time": "times of day",
}

#: Lengths of units. Months and years have none.
ATTOSECONDS = {
    "D": 86400 * 10**18,
    "h": 3600 * 10**18,
    "m": 60 * 10**18,
    "s": 10**18,
    "ms": 10**15,
    "us": 10**12,
    "ns": 10**9,
    "ps": 10**6,
    "fs": 10**3,
    "as": 1,
}

# How numpy stores "not a time".
NAT = np.iinfo(np.int64).min

LETTERS = {"datetime": "M8", "date": "M8", "duration": "m8"}

FRAME_UNITS = ("s", "ms", "us", "ns")


@dataclass(frozen=True)
class Ticks:
    """The cells of a column of times, as whole numbers.

    Attributes
    ----------
    kind : str
        One of `KINDS`.
    unit : str
        One of `ATTOSECONDS`, or the frequency of periods.
    zone : str or None
        Name of the time zone; the ticks themselves are in UTC.
    values : ndarray of int64 of shape (n_rows,)
        Since 1970, since midnight, or the length.
    missing : ndarray of bool of shape (n_rows,)
        Where values have no meaning.
    holder : {"type", "python", "numpy", "pandas"}
        Whether the column has a type of times or, if it has objects, from which library.
    """

    kind: str
    unit: str
    zone: str | None
    values: np.ndarray
    missing: np.ndarray
    holder: str = "type"

    def in_unit(self, unit: str) -> Ticks:
        """Return the same times in another unit, rounded if that is coarser."""
        return replace(self, unit=unit, values=rescaled(self.values, self.unit, unit))


def rescaled(values: np.ndarray, unit: str, wanted: str) -> np.ndarray:
    """Return ticks in another unit, rounded and clipped to the range of int64."""
    if unit == wanted:
        return values
    old, new = ATTOSECONDS[unit], ATTOSECONDS[wanted]
    if old < new:
        factor = new // old
        whole, rest = np.divmod(values, factor)
        return np.asarray(whole + (rest > factor // 2))
    factor = old // new
    limit = np.iinfo(np.int64).max // factor
    return np.asarray(np.clip(values, -limit, limit) * factor)


def read_ticks(column: Any) -> Ticks | None:
    """Return the ticks of a series or an array; None if it has no times.

    Raises
    ------
    TypeError
        If it has both times and other values, or times of several kinds.
    """
    if not holds_times(column):
        return None
    dtype = column.dtype
    if hasattr(column, "to_physical"):
        return _of_polars(column)
    if hasattr(dtype, "pyarrow_dtype"):
        return _of_arrow(column)
    if hasattr(dtype, "freq"):
        missing = column.isna().to_numpy()
        ordinals = import_module("pandas").PeriodIndex(column).asi8
        return Ticks("period", str(dtype)[len("period[") : -1], None, ordinals, missing)
    if dtype.kind == "O":
        return _of_objects([None if is_missing(cell) else cell for cell in column])
    zone = zone_name(getattr(dtype, "tz", None))
    if zone is not None:
        column = column.dt.tz_convert(UTC).dt.tz_localize(None)
    return _of_numpy(column.to_numpy() if hasattr(column, "iloc") else column, zone)


def _of_numpy(array: np.ndarray, zone: str | None = None, holder: str = "type") -> Ticks:
    """Return the ticks of an array of datetime64 or timedelta64."""
    unit = np.datetime_data(array.dtype)[0]
    is_duration = array.dtype.kind == "m"
    if unit == "generic" or (is_duration and unit in ("Y", "M")):
        raise TypeError(
            f"durations in {'months or years' if unit in ('Y', 'M') else 'no unit'} have no "
            "fixed length: convert them to days with astype('timedelta64[D]')"
        )
    kind = "duration" if is_duration else "datetime"
    if unit in ("Y", "M", "W"):
        unit = "D"
    if unit == "D" and kind == "datetime":
        kind = "date"
    array = array.astype(f"{array.dtype.kind}8[{unit}]")
    return Ticks(kind, unit, zone, array.view(np.int64), np.isnat(array), holder)


def _of_polars(series: Any) -> Ticks:
    kind, unit, zone = _polars_type(series.dtype)
    values = series.to_physical().fill_null(0).to_numpy().astype(np.int64)
    return Ticks(kind, unit, zone, values, series.is_null().to_numpy())


def _polars_type(dtype: Any) -> tuple[str, str, str | None]:
    """Return kind, unit and zone of a polars type."""
    kind = str(type(dtype).__name__ if not isinstance(dtype, type) else dtype.__name__).lower()
    default = {"date": "D", "time": "ns"}.get(kind, "us")
    return kind, getattr(dtype, "time_unit", None) or default, getattr(dtype, "time_zone", None)


def _of_arrow(series: Any) -> Ticks:
    kind, unit, zone, stored = _arrow_type(series.dtype.pyarrow_dtype)
    integers = series.astype(f"int{8 * series.dtype.pyarrow_dtype.byte_width}[pyarrow]")
    values = integers.to_numpy(dtype=np.int64, na_value=0)
    return Ticks(kind, unit, zone, rescaled(values, stored, unit), series.isna().to_numpy())


def _arrow_type(dtype: Any) -> tuple[str, str, str | None, str]:
    """Return kind, unit and zone of a pyarrow type, and the unit in which it stores values."""
    name = str(dtype)
    unit = "ms" if name.startswith("date64") else getattr(dtype, "unit", "D")
    if name.startswith("date"):
        return "date", "D", None, unit
    kind = {"timestamp": "datetime", "duration": "duration"}.get(name.partition("[")[0], "time")
    return kind, unit, getattr(dtype, "tz", None), unit


def _of_objects(objects: list[Any]) -> Ticks:
    """Return the ticks of objects, None where missing."""
    missing = np.array([cell is None for cell in objects], dtype=bool)
    kinds, zones, frequencies, ticks = set(), set(), set(), []
    holder = ""
    for cell in (cell for cell in objects if cell is not None):
        kind, zone, tick = _of_object(cell)
        kinds.add(kind)
        zones.add(zone)
        frequencies.add(getattr(cell, "freqstr", None))
        ticks.append(tick)
        holder = holder or _holder(cell)
    words = sorted(KINDS.get(kind, kind) for kind in kinds)
    if len(words) > 1:
        raise TypeError(f"it holds {' and '.join(words)}: convert them to one kind")
    if None in zones and len(zones) > 1:
        raise TypeError("it holds times with and without a time zone: convert them to one kind")
    if len(frequencies) > 1:
        lengths = " and ".join(map(repr, frequencies))
        raise TypeError(
            f"it holds periods of frequencies {lengths}: convert them to one with asfreq"
        )
    (kind,), zone = kinds, zones.pop() if len(zones) == 1 else UTC
    values = np.zeros(len(objects), dtype=np.int64)
    if kind in ("period", "time"):
        values[~missing] = ticks
        unit = frequencies.pop() if kind == "period" else "us"
        return Ticks(kind, str(unit), None, values, missing, holder)
    found = _of_numpy(np.array(ticks), zone, holder)
    values[~missing] = found.values
    return replace(found, kind=kind, values=values, missing=missing)


def _of_object(cell: Any) -> tuple[str, str | None, Any]:
    """Return the kind of a cell, its zone, and its value in numpy's type or as ticks."""
    if hasattr(cell, "freqstr"):
        return "period", None, cell.ordinal
    if isinstance(cell, np.datetime64):
        is_date = np.datetime_data(cell.dtype)[0] in ("Y", "M", "W", "D")
        return "date" if is_date else "datetime", None, cell
    if hasattr(cell, "asm8"):  # pandas
        zone = zone_name(getattr(cell, "tzinfo", None))
        return "duration" if cell.asm8.dtype.kind == "m" else "datetime", zone, cell.asm8
    if isinstance(cell, datetime.datetime):
        zone = zone_name(cell.tzinfo)
        if zone is not None:
            cell = cell.astimezone(datetime.UTC).replace(tzinfo=None)
        return "datetime", zone, np.datetime64(cell, "us")
    if isinstance(cell, datetime.date):
        return "date", None, np.datetime64(cell, "D")
    if isinstance(cell, datetime.timedelta):
        return "duration", None, np.timedelta64(cell, "us")
    if isinstance(cell, np.timedelta64):
        return "duration", None, cell
    if isinstance(cell, datetime.time):
        if cell.tzinfo is not None:
            raise TypeError("times of day cannot have a time zone without a date: drop the zone")
        since = datetime.timedelta(
            0, 3600 * cell.hour + 60 * cell.minute + cell.second, cell.microsecond
        )
        return "time", None, since // datetime.timedelta(microseconds=1)
    return "strings" if isinstance(cell, str) else "numbers or others", None, None


def _holder(cell: Any) -> str:
    if isinstance(cell, np.generic):
        return "numpy"
    return "pandas" if hasattr(cell, "asm8") or hasattr(cell, "freqstr") else "python"


def written(ticks: Ticks, like: Any) -> Any:
    """Return times without gaps as a series or an array of the same type as another.

    Parameters
    ----------
    ticks : Ticks
    like : series, ndarray, or None
        A column of times, or any series of a library, for which a type is chosen. None: an array.
    """
    dtype: Any = getattr(like, "dtype", None)
    if hasattr(like, "to_physical"):
        return _as_polars(ticks, dtype).alias(like.name)
    is_typed = ticks.holder == "type" and ticks.kind in LETTERS
    is_numpy = getattr(dtype, "kind", "") in ("M", "m")
    if not hasattr(like, "iloc"):
        if is_numpy:
            return _as_numpy(_rounded(ticks, dtype)).astype(dtype)
        return _as_numpy(ticks) if is_typed else cells_of_times(ticks)
    pandas = import_module("pandas")
    if hasattr(dtype, "pyarrow_dtype"):
        _, unit, _, stored = _arrow_type(dtype.pyarrow_dtype)
        values = rescaled(ticks.in_unit(unit).values, unit, stored)
        width = 8 * dtype.pyarrow_dtype.byte_width
        return pandas.Series(values, dtype=f"int{width}[pyarrow]").astype(dtype)
    if is_numpy:
        return _as_pandas(_rounded(ticks, dtype), pandas).astype(dtype)
    if is_typed:
        return _as_pandas(ticks, pandas)
    if ticks.kind == "period" and ticks.holder == "type":
        return pandas.Series(pandas.PeriodIndex.from_ordinals(ticks.values, freq=ticks.unit))
    return pandas.Series(cells_of_times(ticks), dtype=object)


def _rounded(ticks: Ticks, dtype: Any) -> Ticks:
    """Return ticks in the unit of a numpy or pandas type, if that has a fixed length."""
    unit = getattr(dtype, "unit", None) or np.datetime_data(dtype)[0]
    return ticks.in_unit(unit) if unit in ATTOSECONDS else ticks


def _as_numpy(ticks: Ticks) -> np.ndarray:
    return ticks.values.view(f"{LETTERS[ticks.kind]}[{ticks.unit}]")


def _as_pandas(ticks: Ticks, pandas: Any) -> Any:
    if ticks.unit not in FRAME_UNITS:
        ticks = ticks.in_unit("s" if ATTOSECONDS[ticks.unit] > ATTOSECONDS["s"] else "ns")
    series = pandas.Series(_as_numpy(ticks))
    if ticks.zone is None:
        return series
    return series.dt.tz_localize(UTC).dt.tz_convert(named_zone(ticks.zone) or UTC)


def _as_polars(ticks: Ticks, dtype: Any) -> Any:
    polars = import_module("polars")
    if not dtype.is_temporal():
        if ticks.kind == "period":
            return polars.Series(list(cells_of_times(ticks)), dtype=polars.Object)
        unit = ticks.unit if ticks.unit in ("ms", "us", "ns") else "us"
        dtype = {
            "date": polars.Date,
            "time": polars.Time,
            "duration": polars.Duration(unit),
            "datetime": polars.Datetime(unit, ticks.zone),
        }[ticks.kind]
    _, unit, _ = _polars_type(dtype)
    return polars.Series(ticks.in_unit(unit).values).cast(dtype)


def cells_of_times(ticks: Ticks) -> np.ndarray:
    """Return times without gaps as objects of the library that they came from, or of numpy."""
    result = np.empty(len(ticks.values), dtype=object)
    if ticks.kind == "period":
        pandas = import_module("pandas")
        result[:] = list(pandas.PeriodIndex.from_ordinals(ticks.values, freq=ticks.unit))
    elif ticks.kind == "time":
        midnight = np.array(["1970-01-01"], "M8[us]")
        moments = midnight + ticks.in_unit("us").values.view("m8[us]")
        result[:] = [moment.time() for moment in moments.astype(object)]
    elif ticks.holder == "pandas":
        result[:] = list(_as_pandas(ticks, import_module("pandas")))
    elif ticks.holder == "python":
        unit = "D" if ticks.kind == "date" else "us"
        result[:] = _as_numpy(ticks.in_unit(unit)).astype(object)
        if ticks.zone is not None:
            zone = named_zone(ticks.zone) or datetime.UTC
            result[:] = [moment.replace(tzinfo=datetime.UTC).astimezone(zone) for moment in result]
    else:
        result[:] = list(_as_numpy(ticks))
    return result
