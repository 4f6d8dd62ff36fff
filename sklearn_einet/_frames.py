"""Frames and arrays, column by column: pandas and polars behind one interface."""

from __future__ import annotations

from typing import Any

import narwhals.stable.v2 as nw
import numpy as np

__all__ = ["as_frame", "cells", "is_frame", "native_columns", "numbers", "types"]


def is_frame(X: Any) -> bool:
    """Whether X is a frame of pandas or polars."""
    return nw.dependencies.is_pandas_dataframe(X) or nw.dependencies.is_polars_dataframe(X)


def native_columns(X: Any) -> list[Any]:
    """The columns of a frame as its series, those of an array-like as arrays."""
    if hasattr(X, "get_columns"):
        return list(X.get_columns())
    if is_frame(X):
        return [X.iloc[:, j] for j in range(X.shape[1])]
    # Lists of texts and numbers would become an array of texts.
    array = X if hasattr(X, "dtype") else np.asarray(X, dtype=object)
    return list(np.asarray(array).T) if array.ndim == 2 else []


def types(X: Any) -> list[Any]:
    """The types of a frame's columns, as narwhals calls them."""
    found = nw.from_native(X).schema.dtypes()
    for j, column in enumerate(native_columns(X)):
        # pandas has no type for booleans and missing cells but a new one that hardly anybody uses.
        if found[j] == nw.Object and {type(cell) for cell in cells(column)} <= {bool, type(None)}:
            found[j] = nw.Boolean()
    return found


def cells(column: Any) -> list[Any]:
    """The cells of a column as Python's values, None where missing."""
    if hasattr(column, "iloc"):
        return list(column.astype(object).where(column.notna(), None))
    values = column.to_list() if hasattr(column, "to_list") else column.tolist()
    return [None if _is_missing(value) else value for value in values]


def numbers(column: Any) -> np.ndarray:
    """A column as float64, NaN where missing.

    Raises
    ------
    TypeError, ValueError
        If it holds anything else but numbers and booleans.
    """
    kind = getattr(column.dtype, "kind", "")
    if kind in ("M", "m"):
        raise TypeError("times are no numbers")
    if kind == "O" or isinstance(column, np.ndarray):
        return np.array([np.nan if cell is None else cell for cell in cells(column)], np.float64)
    try:
        return np.asarray(column.to_numpy(dtype=np.float64, na_value=np.nan))
    except TypeError:  # polars
        return column.to_numpy().astype(np.float64)


def as_frame(kind: Any, names: list[Any], columns: list[Any], like: Any) -> Any:
    """A frame of pandas or polars.

    Parameters
    ----------
    kind : type
    names : list
    columns : list of ndarray or series
        Series of another kind of frame are converted; those of this one stay as they are.
    like : frame or None
        If it is of the same kind, its index is taken if it has as many rows, and its types: numbers
        that are not whole stay in float64 where it has whole ones.
    """
    if type(like) is not kind:
        values = [c if isinstance(c, np.ndarray) else np.array(cells(c)) for c in columns]
        return kind(dict(zip(names, values, strict=True)))
    data = {}
    for name, column, old, dtype in zip(
        names, columns, native_columns(like), types(like), strict=True
    ):
        data[name] = column
        if isinstance(column, np.ndarray) and _fits(column, dtype):
            series = type(old)(column) if hasattr(old, "iloc") else type(old)(name, column)
            cast = series.astype if hasattr(old, "iloc") else series.cast
            data[name] = cast(old.dtype)
    if hasattr(like, "iloc"):
        index = like.index if len(like) == len(columns[0]) else None
        return kind({name: getattr(c, "array", c) for name, c in data.items()}, index=index)
    return kind(data)


def _fits(values: np.ndarray, dtype: Any) -> bool:
    """Whether a column of numbers or categories can have a type."""
    if values.dtype.kind != "f":
        return True
    if dtype.is_integer():
        return bool((values == np.round(values)).all())
    return bool(dtype.is_float() or dtype in (nw.Categorical, nw.Enum))


def _is_missing(value: Any) -> bool:
    if value is None:
        return True
    try:
        return bool(value != value)
    except TypeError:  # pandas.NA is neither true nor false
        return True
