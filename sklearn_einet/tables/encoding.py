"""Conversion of tables with categories and dates to arrays of numbers, and back."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from importlib import import_module
from itertools import chain, pairwise
from typing import Any

import narwhals.stable.v2 as nw
import numpy as np
from sklearn import get_config
from sklearn.utils._set_output import ADAPTERS_MANAGER
from sklearn.utils.validation import _check_categorical_features, check_array

from sklearn_einet.tables.frames import (
    as_frame,
    cells,
    declared_categories,
    has_times,
    holds_integers,
    holds_times,
    is_frame,
    native_columns,
    numbers,
    repeated,
    types,
    unusable,
)
from sklearn_einet.tables.lazy_tables import Tables, cut
from sklearn_einet.tables.string_doubts import doubts_about_strings
from sklearn_einet.tables.templates import described, restored
from sklearn_einet.tables.times import TimeAxis, put_times, stacked

__all__ = ["Encoding"]


class Encoding:
    """Converts a table's categories and times to numbers, and arrays of numbers to tables.

    Attributes
    ----------
    names : sequence
        Names of the columns, or their numbers. Empty for arrays without categories and times.
    template : DataFrame or None
        An empty DataFrame of the kind and with the types of the one seen in fit.
    categories : dict of int to ndarray
        For each categorical column, its categories by code. All other values have the code after
        the last one.
    ordered : set of int
        The columns whose categories have an order.
    booleans : set of int
        The columns of booleans.
    times : dict of int to TimeAxis
        For each column of dates, durations, periods or times of day, its conversion to numbers.
    """

    def __init__(self, names: Sequence[Any] = (), template: Any = None) -> None:
        self.names = names
        self.template = template
        self.categories: dict[int, np.ndarray] = {}
        self.ordered: set[int] = set()
        self.booleans: set[int] = set()
        self.times: dict[int, TimeAxis] = {}

    def __getstate__(self) -> dict[str, Any]:
        """Return the state without DataFrames, which would have to be trusted when loaded."""
        return vars(self) | {"names": list(self.names), "template": described(self.template)}

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state, template=restored(state["template"]))

    @classmethod
    def fit(cls, X: Any, categorical_features: Any) -> tuple[Encoding, list[str]]:
        """Find the categorical columns, their categories, and the columns of times.

        Parameters
        ----------
        X : DataFrame or array-like of shape (n_samples, n_features)
        categorical_features : "from_dtype", None, or array-like of str, int or bool
            As in `EinetDensity`.

        Returns
        -------
        encoding : Encoding
        doubts : list of str
            Why columns of strings may not be categories.

        Raises
        ------
        ValueError
            If X lacks a column that categorical_features names.
        TypeError
            If a column has both times and other values.
        """
        by_type = isinstance(categorical_features, str)
        if not is_frame(X) and (by_type or categorical_features is None) and not has_times(X):
            return cls(), []
        columns = _columns(X)
        names = list(X.columns) if is_frame(X) else list(range(len(columns)))
        if len(set(names)) < len(names):
            twice = next(name for name in names if names.count(name) > 1)
            raise ValueError(f"Column {twice!r} is in X more than once: rename or drop one.")
        dtypes = types(X) if is_frame(X) else [nw.Unknown()] * len(columns)
        shape = X if is_frame(X) else np.empty((0, len(columns)))
        asked = categorical_features if is_frame(X) or not by_type else None
        chosen = _check_categorical_features(shape, asked)
        encoding = cls(names, X.head(0) if is_frame(X) else None)
        texts = {}
        for j, (column, dtype) in enumerate(zip(columns, dtypes, strict=True)):
            is_text = by_type and dtype == nw.String
            if not is_text and (chosen is None or not chosen[j]):
                if holds_times(column):
                    try:
                        encoding.times[j] = TimeAxis.fit(column)
                    except TypeError as error:
                        raise unusable(names[j], error, X) from error
                elif dtype == nw.Boolean:
                    encoding.booleans.add(j)
                continue
            try:
                categories, has_order = _categories(column, dtype)
            except TypeError as error:  # lists, or values that cannot be sorted
                raise TypeError(f"Column {names[j]!r} cannot be used: {error}") from error
            encoding.categories[j] = _array(categories)
            if has_order:
                encoding.ordered.add(j)
            if is_text:
                texts[names[j]] = categories
        return encoding, doubts_about_strings(texts, len(columns[0]) if columns else 0)

    @classmethod
    def merged(cls, parts: Sequence[Encoding]) -> Encoding:
        """Return the encoding of a table, from those of its blocks of rows.

        The categories of a column are those of all blocks, sorted. If its type lists different
        categories in different blocks, they are in order of appearance.
        """
        result = cls(parts[0].names, parts[0].template)
        listed = {nw.Categorical, nw.Enum}
        dtypes = [] if result.template is None else types(result.template)
        for j in sorted(set().union(*(part.categories for part in parts))):
            lists = [part.categories[j].tolist() for part in parts if j in part.categories]
            values, has_order = lists[0], any(j in part.ordered for part in parts)
            if any(other != values for other in lists):
                values = list(dict.fromkeys(chain.from_iterable(lists)))
                if not dtypes or type(dtypes[j]) not in listed:
                    values = _sorted(values)
                has_order = _increase(values)
            result.categories[j] = _array(values)
            if has_order:
                result.ordered.add(j)
        everywhere = set.intersection(*(part.booleans for part in parts))
        result.booleans = everywhere - result.categories.keys()
        for j in set().union(*(part.times for part in parts)) - result.categories.keys():
            try:
                result.times[j] = TimeAxis.merged([p.times[j] for p in parts if j in p.times])
            except TypeError as error:
                raise unusable(result.names[j], error, result.template) from error
        return result

    def to_numbers(self, X: Any) -> np.ndarray:
        """Return a float64 array of numbers, NaN where missing.

        Raises
        ------
        ValueError, TypeError
            If a column holds other values; the message names the column.
        """
        columns = _columns(X)
        result = np.empty((len(columns[0]), len(columns)))
        for j, column in enumerate(columns):
            try:
                if j in self.times:
                    result[:, j] = self.times[j].to_numbers(column)
                elif j in self.categories:
                    result[:, j] = self.codes(j, cells(column))
                else:
                    result[:, j] = numbers(column)
            except (TypeError, ValueError) as error:
                raise unusable(self.names[j], error, X) from error
        return result

    def codes(self, column: int, values: Sequence[Any]) -> np.ndarray:
        """Return the codes of values of a categorical column, NaN for None."""
        categories = self.categories[column].tolist()
        code: dict[Any, float] = {value: float(i) for i, value in enumerate(categories)}
        code[None] = np.nan
        unknown = float(len(categories))
        return np.fromiter((code.get(value, unknown) for value in values), float, len(values))

    def table(self, rows: np.ndarray, original: Any = None) -> Any:
        """Return a table for the user.

        Parameters
        ----------
        rows : ndarray of shape (n_samples, n_features)
            Without missing cells; with codes for categories.
        original : DataFrame or array-like of shape (n_samples, n_features), default=None
            The table whose missing cells were filled. Its other cells are kept.

        Returns
        -------
        table : DataFrame or ndarray
            A DataFrame if `original` is one or, without it, if the table in fit was one, or if
            scikit-learn's option `transform_output` asks for one. Columns keep the types of that
            DataFrame: cells of integer types are filled with whole numbers.
        """
        like = self.template if original is None else original
        wanted = get_config()["transform_output"]
        if self._is_plain(like):
            return rows
        columns: list[Any] = [self._values(rows[:, j], j) for j in range(rows.shape[1])]
        if original is not None:
            columns = [
                self._kept(j, *pair)
                for j, pair in enumerate(zip(native_columns(original), columns, strict=True))
            ]
        kind = type(like)
        if wanted != "default":
            kind = import_module(ADAPTERS_MANAGER.adapters[wanted].container_lib).DataFrame
        other = None if kind is type(like) else kind
        put_times(columns, self.times, rows, original, self.template, other)
        if not is_frame(like) and wanted == "default":
            return stacked(columns)
        if is_frame(like):
            return as_frame(kind, list(like.columns), columns, like, self.template)
        names = [f"x{j}" for j in range(len(columns))] if self.template is None else self.names
        return as_frame(kind, list(names), columns, None)

    def tables(self, draws: np.ndarray, original: Any) -> Tables | np.ndarray:
        """Return tables for the user with several completions of one table.

        They are made as one long table, so that each costs only its rows, and all have the same
        types: those that can hold the values of all draws.

        Parameters
        ----------
        draws : ndarray of shape (n_draws, n_samples, n_features)
        original : DataFrame or array-like of shape (n_samples, n_features)
            As in `table`.

        Returns
        -------
        tables : Tables, or ndarray of shape (n_draws, n_samples, n_features)
        """
        if self._is_plain(original):
            return draws
        n_draws = len(draws)
        long = self.table(np.concatenate(draws), repeated(original, n_draws))
        return cut(long, n_draws, original)

    def _is_plain(self, like: Any) -> bool:
        """Return whether a table like this one should be an array of numbers."""
        is_array = not is_frame(like) and get_config()["transform_output"] == "default"
        return is_array and not self.categories and not self.times

    def restricted(self, columns: np.ndarray) -> Encoding:
        """Return the encoding of some of the columns, in the order given."""
        places = list(enumerate(columns.tolist()))
        result = Encoding(range(len(columns)))
        if self.template is not None:
            result.names = [self.names[column] for column in columns]
            by_place = getattr(self.template, "iloc", self.template)
            result.template = by_place[:, columns.tolist()]
        result.categories = {i: self.categories[j] for i, j in places if j in self.categories}
        result.ordered = {i for i, j in places if j in self.ordered}
        result.booleans = {i for i, j in places if j in self.booleans}
        result.times = {i: self.times[j] for i, j in places if j in self.times}
        return result

    def _values(self, numbers: np.ndarray, column: int) -> np.ndarray:
        """Return the values that the numbers of a column stand for."""
        if column in self.booleans:
            return numbers > 0.5
        if column not in self.categories:
            return numbers
        categories = self.categories[column]
        # The code of unknown values occurs only in cells that keep their old value.
        return categories[np.minimum(numbers.astype(np.int64), len(categories) - 1)]

    def _kept(self, column: int, old: Any, new: np.ndarray) -> Any:
        """Return a column with its missing cells replaced by new values."""
        if column in self.times:
            return old
        if column not in self.categories and column not in self.booleans:
            values = numbers(old)
            missing = np.isnan(values)
            if not missing.any():
                return old
            return np.where(missing, np.round(new) if holds_integers(old) else new, values)
        known = cells(old)
        if None not in known:
            return old
        filled = [n if o is None else o for o, n in zip(known, new.tolist(), strict=True)]
        if column in self.booleans:
            return np.array(filled, dtype=bool if set(filled) <= {False, True} else np.float64)
        return _array(filled)


def _columns(X: Any) -> list[Any]:
    """Return the columns of a DataFrame or two-dimensional array, or raise an error."""
    if not is_frame(X):
        array = X if hasattr(X, "dtype") else np.asarray(X, dtype=object)
        check_array(array, dtype=None, ensure_all_finite=False)
    return native_columns(X)


def _categories(column: Any, dtype: Any) -> tuple[list[Any], bool]:
    """Return the categories of a column by their codes, and whether they have an order."""
    values, has_order = declared_categories(column, dtype)
    if values is None:
        seen = set(cells(column)) - {None}
        values, has_order = _sorted(seen), False
    return values, has_order or _increase(values)


def _sorted(values: Iterable[Any]) -> list[Any]:
    return sorted(values, key=lambda value: (isinstance(value, str), value))


def _increase(values: list[Any]) -> bool:
    """Return whether categories are numbers in ascending order."""
    if any(isinstance(value, str) for value in values):
        return False
    return all(a < b for a, b in pairwise(values))


def _array(values: list[Any]) -> np.ndarray:
    """Return an array of booleans or numbers if all values are such, else of objects."""
    for kinds in (bool | np.bool_, int | np.integer, int | float | np.number):
        if all(isinstance(value, kinds) for value in values):
            return np.array(values)
    result = np.empty(len(values), dtype=object)
    result[:] = values
    return result
