"""Missing cells of a table, marks of missing cells, and replacement of columns."""

from __future__ import annotations

from numbers import Real
from typing import Any

import narwhals.stable.v2 as nw
import numpy as np

from sklearn_einet.tables.frames import (
    as_frame,
    cells,
    declared_categories,
    is_frame,
    native_columns,
    numbers,
    types,
    without_mask,
)
from sklearn_einet.tables.stored import StoredTable, is_stored
from sklearn_einet.tables.table import is_dask

__all__ = [
    "joined",
    "marks_nothing_else",
    "missing_cells",
    "replaced",
    "with_gaps",
    "with_zeros",
    "without_marks",
]

# Fill values for missing strings, numbers and booleans where there is nothing to learn from, as
# in scikit-learn's SimpleImputer.
MISSING_TEXT = "missing_value"


def marks_nothing_else(mark: Any) -> bool:
    """Return whether a mark is one that missing cells have anyway."""
    if isinstance(mark, Real):
        return bool(mark != mark)
    return mark is None or type(mark).__name__ == "NAType"


def missing_cells(X: Any) -> np.ndarray | None:
    """Return which cells of a table are missing, or None if X is not a table in memory."""
    if is_dask(X):
        return None
    if is_stored(X):
        table = StoredTable(X)
        slabs = [np.isnan(table[rows]) for rows in table.slabs()]
        return np.concatenate(slabs) if slabs else None
    columns = native_columns(X)
    return np.column_stack([_missing(column) for column in columns]) if columns else None


def without_marks(X: Any, mark: Any) -> Any:
    """Return a table in which the cells that hold a mark are missing.

    Parameters
    ----------
    X : DataFrame or array-like of shape (n_samples, n_features)
    mark : number, str, NaN, None or pandas.NA

    Raises
    ------
    ValueError
        If other cells are missing, or no column can hold the mark.
    """
    if marks_nothing_else(mark):
        return X
    if is_dask(X) or (is_stored(X) and not isinstance(X, np.ndarray)):
        raise ValueError(
            f"missing_values={mark!r} works only for tables in memory: replace these cells of X by "
            "NaN."
        )
    missing = missing_cells(X)
    if missing is None:
        return X
    names = X.columns if is_frame(X) else range(missing.shape[1])
    for j in np.flatnonzero(missing.any(axis=0)):
        raise ValueError(
            f"Column {names[j]!r} contains NaN or other missing cells, but missing_values={mark!r}:"
            " mark all missing cells in the same way, or set missing_values=np.nan."
        )
    if is_frame(X):
        return _frame_without_marks(X, mark)
    array = np.asarray(X if hasattr(X, "dtype") else np.asarray(X, dtype=object))
    if array.dtype.kind in "SU":
        array = array.astype(object)
    _refuse_text_among_numbers(mark, array.dtype.kind in "fiub")
    return without_mask(np.ma.array(array, mask=array == mark))


def replaced(X: Any, new: dict[int, np.ndarray]) -> Any:
    """Return a table with some columns replaced; X itself if there is nothing to replace."""
    if not new:
        return X
    if not is_frame(X):
        array = np.array(X if hasattr(X, "dtype") else np.asarray(X, dtype=object))
        for j, values in new.items():
            array[:, j] = values
        return array
    if hasattr(X, "iloc"):
        table = X.copy(deep=False)
        for j, values in new.items():
            table.isetitem(j, values)
        return table
    series = type(native_columns(X)[0])
    return X.with_columns([series(X.columns[j], values) for j, values in new.items()])


def with_zeros(X: Any, column: int) -> np.ndarray:
    """Return the values of a column with missing cells filled: by 0, by False among booleans, and
    by "missing_value" among strings and categories of a DataFrame."""
    values = native_columns(X)[column]
    dtype = types(_selected(X, column))[0] if is_frame(X) else nw.Unknown()
    if dtype == nw.Boolean:
        return np.array([bool(cell) for cell in cells(values)], dtype=bool)
    is_text = dtype in (nw.String, nw.Categorical, nw.Enum)
    if not is_text:
        found = numbers(values)
        return np.where(np.isnan(found), 0.0, found)
    result = np.empty(len(values), dtype=object)
    result[:] = [MISSING_TEXT if cell is None else cell for cell in cells(values)]
    return result


def joined(
    table: Any, X: Any, kept: dict[int, np.ndarray | None], more: np.ndarray, names: Any
) -> Any:
    """Return a table with some columns replaced or left out, and columns of numbers after them.

    Parameters
    ----------
    table : DataFrame or ndarray
    X : DataFrame or array-like
        A table with the same columns; replaced columns get its types.
    kept : dict of int to ndarray or None
        Replacements of some columns. None: leave the column out.
    more : ndarray of shape (n_samples, n_more)
    names : sequence of str
        Of the columns of the result, in a DataFrame.
    """
    columns: list[Any] = []
    for j, column in enumerate(native_columns(table)):
        values = kept.get(j, column)
        if is_frame(table) and j in kept and values is not None:
            like = _selected(X, j) if is_frame(X) else None
            (values,) = native_columns(as_frame(type(table), [names[0]], [values], like))
        if values is not None:
            columns.append(values)
    columns += list(more.astype(np.float64).T)
    if not is_frame(table):
        return np.column_stack(columns)
    series = type(native_columns(table)[0])
    if not hasattr(table, "iloc"):
        return type(table)([series(n, c) for n, c in zip(names, columns, strict=True)])
    # Series of another index would be aligned by it.
    data = [c.set_axis(table.index) if hasattr(c, "iloc") else c for c in columns]
    frame = type(table)(dict(enumerate(data)), index=table.index)
    frame.columns = list(names)
    return frame


def _missing(column: Any) -> np.ndarray:
    if isinstance(column, np.ndarray):
        if column.dtype.kind == "f":
            return np.isnan(column)
        if column.dtype.kind != "O":
            return np.zeros(len(column), dtype=bool)
        return np.array([cell is None for cell in cells(column)], dtype=bool)
    series = nw.from_native(column, series_only=True)
    missing = series.is_null()
    if series.dtype.is_float():
        missing = missing | series.is_nan()
    return np.asarray(missing.to_numpy()).astype(bool)


def _frame_without_marks(X: Any, mark: Any) -> Any:
    dtypes = types(X)
    _refuse_text_among_numbers(mark, all(d.is_numeric() or d == nw.Boolean for d in dtypes))
    is_text = isinstance(mark, str)
    new: dict[int, Any] = {}
    for j, (column, dtype) in enumerate(zip(native_columns(X), dtypes, strict=True)):
        listed = declared_categories(column, dtype)[0]
        if listed is not None:
            if mark in listed:
                new[j] = _without_category(column, mark, listed)
        elif hasattr(column, "iloc"):
            found = (column == mark).fillna(False).to_numpy(dtype=bool)
            if found.any():
                new[j] = column.mask(found)
        elif dtype in (nw.String, nw.Categorical) if is_text else dtype.is_numeric():
            series = nw.from_native(column, series_only=True)
            new[j] = series.zip_with(series != mark, _nothing(series)).to_native()
    return replaced(X, new)


def _without_category(column: Any, mark: Any, listed: list[Any]) -> Any:
    """Return a column whose type no longer lists the mark as a category."""
    if hasattr(column, "cat") and hasattr(column.cat, "remove_categories"):
        return column.cat.remove_categories([mark])
    series = nw.from_native(column, series_only=True)
    texts = series.cast(nw.String())
    texts = texts.zip_with(texts != mark, _nothing(texts))
    return texts.cast(nw.Enum([value for value in listed if value != mark])).to_native()


def _nothing(series: Any) -> Any:
    """Return a series of the same type and length with all cells missing."""
    native = series.to_native()
    return nw.from_native(native.clear(len(native)), series_only=True)


def _selected(X: Any, column: int) -> Any:
    return X.iloc[:, [column]] if hasattr(X, "iloc") else X[:, [column]]


def _refuse_text_among_numbers(mark: Any, all_numbers: bool) -> None:
    if isinstance(mark, str) and all_numbers:
        raise ValueError(
            f"missing_values={mark!r} is a string, but X has only numbers: give a number or np.nan."
        )


def with_gaps(X: Any, missing: np.ndarray) -> Any:
    """Return a table with missing cells, marked as its kind does, where a mask is true.

    Parameters
    ----------
    X : DataFrame or ndarray of shape (n_samples, n_columns)
    missing : ndarray of bool of shape (n_samples, n_columns)
    """
    if not is_frame(X):
        if X.dtype.kind in "fiub":
            return np.where(missing, np.nan, X)
        result = X.astype(object)
        result[missing] = np.nan if not result.size or X.dtype.kind == "O" else None
        return result
    if hasattr(X, "iloc"):
        return X.mask(missing)
    columns = [nw.from_native(column, series_only=True) for column in native_columns(X)]
    kept = [nw.new_series("kept", ~mask, nw.Boolean(), backend="polars") for mask in missing.T]
    data = [
        c.zip_with(k, nw.new_series(c.name, [None] * len(c), c.dtype, backend="polars")).to_native()
        for c, k in zip(columns, kept, strict=True)
    ]
    return type(X)(data)
