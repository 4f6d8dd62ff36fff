"""DataFrames and arrays by column: pandas and polars behind one interface."""

from __future__ import annotations

import datetime
from typing import Any

import narwhals.stable.v2 as nw
import numpy as np
from scipy.sparse import issparse

__all__ = [
    "as_frame",
    "cells",
    "column_type",
    "declared_categories",
    "has_times",
    "holds_integers",
    "holds_times",
    "is_frame",
    "is_missing",
    "may_hold_times",
    "native_columns",
    "number_types",
    "numbers",
    "refuse_other_cells",
    "repeated",
    "types",
    "unusable",
    "unusable_column",
    "without_mask",
]

# What is wrong with times in place of numbers.
TIMES_FOR_NUMBERS = "it holds dates or other times, but had numbers in fit"

# How the names of those pandas types begin that hold times as objects.
TYPES_OF_OBJECTS = ("period[", "time32[", "time64[")

# narwhals' names of numpy's types: asking narwhals takes longer than looking at the cells.
PLAIN_TYPES: dict[np.dtype[Any], Any] = {
    np.dtype(each.__name__.lower()): each()
    for each in (nw.Float32, nw.Float64, nw.Int8, nw.Int16, nw.Int32, nw.Int64)
    + (nw.UInt8, nw.UInt16, nw.UInt32, nw.UInt64)
} | {np.dtype(bool): nw.Boolean()}

SEVERAL_VALUES = "its cells hold several values each"

# Classes of times among objects; periods of pandas are recognised by their method strftime.
TIMES = (datetime.date, datetime.time, datetime.timedelta, np.datetime64, np.timedelta64)


def is_frame(X: Any) -> bool:
    """Return whether X is a pandas or polars DataFrame."""
    return nw.dependencies.is_pandas_dataframe(X) or nw.dependencies.is_polars_dataframe(X)


def without_mask(X: Any) -> Any:
    """Return a table, row or column with NaN, NaT or None, depending on its type, where it is
    masked."""
    if isinstance(X, list | tuple) and any(isinstance(row, np.ma.MaskedArray) for row in X):
        X = np.ma.array(X)
    if not isinstance(X, np.ma.MaskedArray):
        return X
    masked = np.ma.getmaskarray(X)
    if not masked.any():
        return X.data
    if X.dtype.kind in "Mm":
        return np.where(masked, np.array("NaT", X.dtype), X.data)
    is_number = X.dtype.kind in "fiub"
    # The narrowest type that has NaN and all values: a byte does not need eight.
    values = np.array(X.data, np.result_type(X.dtype, np.float32) if is_number else object)
    values[masked] = np.nan if is_number else None
    return values


def native_columns(X: Any) -> list[Any]:
    """Return the columns of a DataFrame as series, those of an array-like as arrays."""
    X = without_mask(X)
    if hasattr(X, "get_columns"):
        return list(X.get_columns())
    if is_frame(X):
        return [column for _, column in X.items()]
    # Lists of strings and numbers would become an array of strings.
    array = np.asarray(X) if hasattr(X, "dtype") else np.asarray(X, dtype=object)
    return list(array.T) if array.ndim == 2 else []


def types(X: Any) -> list[Any]:
    """Return the types of a DataFrame's columns, as narwhals calls them."""
    return [column_type(column) for column in native_columns(X)]


def column_type(column: Any) -> Any:
    """Return the type of a series, as narwhals calls it."""
    if _is_plain(column.dtype) and column.dtype in PLAIN_TYPES:
        return PLAIN_TYPES[column.dtype]
    if hasattr(column, "iloc") and not getattr(column.dtype, "ordered", True):
        return nw.Categorical()
    dtype = nw.from_native(column, series_only=True).dtype
    # pandas' only type for booleans with missing cells is new and rarely used.
    if dtype == nw.Object and {type(c) for c in cells(column)} <= {bool, np.bool_, type(None)}:
        return nw.Boolean()
    return dtype


def _is_plain(dtype: Any) -> bool:
    """Return whether a type is one of numpy's for numbers or booleans."""
    return isinstance(dtype, np.dtype) and dtype.kind in "biuf"


def number_types(template: Any, dtype: np.dtype[Any], n_columns: int) -> list[np.dtype[Any]]:
    """Return the types of the columns of a table of numbers.

    Parameters
    ----------
    template : DataFrame or None
        The table that the numbers came in, if it was a DataFrame: its columns' types, and float64
        for columns without numbers.
    dtype : dtype
        The common type of all numbers.
    n_columns : int
    """
    if not is_frame(template):
        return [dtype] * n_columns
    found = []
    for own in types(template):
        name = str(own).lower()
        is_number = (own.is_integer() or own.is_float()) and hasattr(np, name)
        found.append(np.dtype(name if is_number else np.float64))
    return found


def cells(column: Any) -> list[Any]:
    """Return the cells of a column as Python values, None where missing."""
    if _is_plain(column.dtype):
        array = column.to_numpy() if hasattr(column, "to_numpy") else np.asarray(column)
        found = array.tolist()
        for place in np.flatnonzero(np.isnan(array)).tolist():
            found[place] = None
        return found
    if hasattr(column, "iloc"):
        if getattr(column.dtype, "name", "") == "category":  # faster by categories than by cells
            found = [*column.array.categories.tolist(), None]
            return [found[code] for code in column.array.codes.tolist()]
        pairs = zip(column.astype(object).tolist(), column.isna().tolist(), strict=True)
        return [None if is_gap else value for value, is_gap in pairs]
    if hasattr(column, "to_list"):
        values = column.to_list()
    else:  # a list of datetime64[ns] would have numbers
        values = list(column) if column.dtype.kind in "Mm" else column.tolist()
    return [None if is_missing(value) else value for value in values]


def declared_categories(column: Any, dtype: Any) -> tuple[list[Any] | None, bool]:
    """Return the categories that the type of a series lists, if any, and whether they are ordered.

    `dtype` is as from `types`.
    """
    if hasattr(column, "cat") and hasattr(column.cat, "categories"):  # pandas
        return column.cat.categories.tolist(), bool(column.cat.ordered)
    if isinstance(dtype, nw.Enum):
        return list(dtype.categories), True
    return None, False


def numbers(column: Any) -> np.ndarray:
    """Return a column as float64, NaN where missing.

    Raises
    ------
    TypeError, ValueError
        If it holds anything but numbers and booleans.
    """
    if hasattr(column, "iloc") and _is_plain(column.dtype):
        return np.asarray(column.to_numpy().astype(np.float64, copy=False))
    _refuse_other_values(column)
    kind = getattr(column.dtype, "kind", "")
    if kind == "c":
        raise ValueError("Complex data not supported")
    if kind == "O" or isinstance(column, np.ndarray):
        values = np.array([np.nan if cell is None else cell for cell in cells(column)], np.float64)
    elif hasattr(column, "iloc"):
        values = np.asarray(column.to_numpy(dtype=np.float64, na_value=np.nan))
    else:
        values = column.to_numpy().astype(np.float64)
    if values.ndim > 1:
        raise TypeError(SEVERAL_VALUES)
    return values


def may_hold_times(X: Any) -> bool:
    """Return whether a table's types allow columns that do not hold numbers."""
    if isinstance(X, np.ndarray):
        return X.dtype.kind in "OMm"
    return is_frame(X) or isinstance(X, list | tuple)


def has_times(X: Any) -> bool:
    """Return whether a table has a column with times in it."""
    return may_hold_times(X) and any(holds_times(column) for _, column in _named_columns(X))


def holds_integers(column: Any) -> bool:
    """Return whether a series has an integer type."""
    is_series = hasattr(column, "iloc") or hasattr(column, "to_list")
    return is_series and bool(column_type(column).is_integer())


def refuse_other_cells(X: Any) -> None:
    """Raise a TypeError if a column holds times, or several values in a cell; it names the column.

    The table had no times in fit.
    """
    for name, column in _named_columns(X) if may_hold_times(X) else []:
        try:
            _refuse_other_values(column)
        except TypeError as error:
            raise unusable(name, error, X) from error


def _refuse_other_values(column: Any) -> None:
    """Raise a TypeError if a column holds times, or by its type several values in a cell.

    Conversions could turn either into numbers: older numpy takes arrays of one number for numbers.
    """
    if holds_times(column):
        raise TypeError(TIMES_FOR_NUMBERS)
    if getattr(column.dtype, "is_nested", bool)():  # polars
        raise TypeError(SEVERAL_VALUES)


def unusable(name: Any, error: Exception, X: Any) -> Exception:
    """Return an error of the same type that names the column."""
    hint = ""
    if "could not convert string" in str(error):
        hint = (
            ". Replace strings that mark missing cells by NaN; name categorical columns in "
            f"categorical_features{'' if is_frame(X) else ', or pass a DataFrame'}"
        )
    return type(error)(f"Column {name!r} cannot be used: {error}{hint}")


def unusable_column(X: Any, error: Exception, names: Any = None) -> Exception | None:
    """Return why a table was refused: its first column that is not numeric or holds an infinity.

    Parameters
    ----------
    X : DataFrame or array-like
    error : Exception
        The error that the validation of X has raised.
    names : sequence, default=None
        Names of the columns. None: those of the DataFrame, or their numbers.

    Returns
    -------
    error : Exception or None
        None if there is no such column.
    """
    for name, column in _named_columns(X, names):
        try:
            if np.isinf(numbers(column)).any():
                return unusable(name, error, X)
        except (TypeError, ValueError) as cause:
            return unusable(name, cause, X)
    return None


def as_frame(
    kind: Any, names: list[Any], columns: list[Any], like: Any, template: Any = None
) -> Any:
    """Return a pandas or polars DataFrame.

    Parameters
    ----------
    kind : type
    names : list
    columns : list of ndarray or series
        Series of the other library are converted. Series of this library are kept, and times must
        be such series.
    like : DataFrame or None
        If it is of the same kind, the result has its types, and its index if it has as many rows.
        Numbers that are not whole stay in float64 where it has whole ones.
    template : DataFrame, default=None
        Of the same kind. It gives the types of columns that cannot have those of `like`, in which
        all cells may have been missing.
    """
    if type(like) is not kind:
        return kind(dict(zip(names, map(_typed, columns), strict=True)))
    is_pandas = hasattr(like, "iloc")
    index = like.index if is_pandas and len(like) == len(columns[0]) else None
    sources = [like] if type(template) is not kind else [like, template]
    data = []
    for j, (name, column) in enumerate(zip(names, columns, strict=True)):
        if isinstance(column, np.ndarray):
            column = _as_series(name, column, j, sources, index)
        data.append(column)
    if not is_pandas:
        return kind(data)
    frame = kind(dict(enumerate(data)), index=index)
    frame.columns = like.columns
    return frame


def _as_series(name: Any, column: np.ndarray, j: int, sources: list[Any], index: Any) -> Any:
    """Return a column with its type in the first of some DataFrames whose type fits; numbers of a
    pandas DataFrame that already have this type are returned unchanged."""
    new: Any = None
    for source in sources:
        is_pandas = hasattr(source, "iloc")
        old = source.iloc[:, j] if is_pandas else source.to_series(j)
        if new is None:
            if is_pandas and _is_plain(column.dtype) and column.dtype == old.dtype:
                return column
            new = type(old)(column, index=index) if is_pandas else type(old)(name, column)
        dtype = column_type(old)
        if _fits(column, dtype):
            wanted = _with_categories(old, dtype, column)
            return new.astype(wanted) if is_pandas else new.cast(wanted)
    return new


def repeated(X: Any, times: int) -> Any:
    """Return a DataFrame or an array-like with copies of all rows, one after the other."""
    if not is_frame(X):
        # Lists of strings and numbers would become an array of strings.
        array = X if hasattr(X, "dtype") else np.asarray(X, dtype=object)
        return np.tile(array, (times, 1))
    places = np.tile(np.arange(len(X)), times)
    if not hasattr(X, "iloc"):
        return X[places]
    # pandas cannot select rows of columns in the other byte order.
    swapped = {
        name: dtype.newbyteorder("=")
        for name, dtype in X.dtypes.items()
        if isinstance(dtype, np.dtype) and not dtype.isnative
    }
    return (X.astype(swapped) if swapped else X).iloc[places].reset_index(drop=True)


def _typed(column: Any) -> Any:
    """Return a column in a form from which a new DataFrame gets its type."""
    if column.dtype.kind != "O" if isinstance(column, np.ndarray) else holds_times(column):
        return column
    values = cells(column)
    return values if len({type(value) for value in values}) == 1 else np.asarray(column, object)


def _fits(values: np.ndarray, dtype: Any) -> bool:
    """Return whether a column of numbers or categories can have a type."""
    if values.dtype.kind == "b":
        return not dtype.is_numeric()
    if values.dtype.kind != "f":
        return not dtype.is_numeric() and dtype != nw.Boolean
    if dtype.is_integer():
        name = str(dtype).lower()
        limits = np.iinfo(name if hasattr(np, name) else np.int64)
        whole = values == np.round(values)
        return bool((whole & (values >= limits.min) & (values <= limits.max)).all())
    return bool(dtype.is_float() or dtype in (nw.Categorical, nw.Enum))


def _with_categories(series: Any, dtype: Any, values: np.ndarray) -> Any:
    """Return the type of a series; if it lists categories, with any that it lacks."""
    listed, has_order = declared_categories(series, dtype)
    if listed is None:
        return series.dtype
    options = {"ordered": has_order} if hasattr(series, "iloc") else {}
    known = set(listed)
    more = [value for value in dict.fromkeys(values.tolist()) if value not in known]
    return type(series.dtype)(listed + more, **options) if more else series.dtype


def _named_columns(X: Any, names: Any = None) -> list[tuple[Any, Any]]:
    """Return the columns of a table by their names or numbers; empty if X is not a table."""
    if not is_frame(X) and (issparse(X) or np.ndim(X) != 2):
        return []
    if names is None:
        names = X.columns if is_frame(X) else range(np.shape(X)[1])
    return list(zip(names, native_columns(X), strict=True))


def holds_times(column: Any) -> bool:
    """Return whether a column has a type of times, or times among its objects."""
    kind = getattr(column.dtype, "kind", "")
    if kind == "O":
        if str(column.dtype).startswith(TYPES_OF_OBJECTS):
            return True
        return any(isinstance(c, TIMES) or hasattr(c, "strftime") for c in cells(column))
    return kind in ("M", "m") or getattr(column.dtype, "is_temporal", bool)()  # pandas or polars


def is_missing(value: Any) -> bool:
    """Return whether a cell is None, NaN, NaT or pandas.NA."""
    if value is None:
        return True
    try:
        return bool(value != value)
    except TypeError:  # pandas.NA is neither true nor false
        return True
