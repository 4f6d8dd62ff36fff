"""Conditions on columns as users state them: values, ranges, and sets of values."""

from __future__ import annotations

from collections.abc import Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from typing import Any

import numpy as np

from sklearn_einet.tables.by_name import numbers_of_column
from sklearn_einet.tables.encoding import Encoding
from sklearn_einet.tables.schema import Schema

__all__ = ["Condition", "Conditions", "read_conditions"]


@dataclass(frozen=True, eq=False)
class Condition:
    """A condition on one column.

    Attributes
    ----------
    low, high : float
        Ends of a range, both inclusive; infinite for open ends.
    values : ndarray or None
        Distinct numbers or category codes, one of which the column must have. None: any number in
        the range. Otherwise, all of them lie in the range.
    is_missing : bool
        Whether the cell must be missing.
    """

    low: float = -np.inf
    high: float = np.inf
    values: np.ndarray | None = None
    is_missing: bool = False

    def contains(self, x: np.ndarray) -> np.ndarray:
        """Return which numbers meet the condition."""
        inside = (self.low <= x) & (x <= self.high) & (not self.is_missing)
        return inside if self.values is None else inside & np.isin(x, self.values)

    def both(self, other: Condition) -> Condition:
        """Return the condition that is met where both are; perhaps nothing can meet it."""
        low, high = max(self.low, other.low), min(self.high, other.high)
        values = other.values if self.values is None else self.values
        if values is not None:
            values = values[self.contains(values) & other.contains(values)]
        if self.is_missing != other.is_missing:
            return Condition(np.inf, -np.inf)
        return Condition(low, high, values, self.is_missing)

    @property
    def is_empty(self) -> bool:
        """Whether no number can meet it."""
        return self.low > self.high or (self.values is not None and not len(self.values))

    @property
    def is_free(self) -> bool:
        """Whether any number meets it."""
        no_range = self.low == -np.inf and self.high == np.inf
        return self.values is None and no_range and not self.is_missing


@dataclass(frozen=True)
class Conditions:
    """Conditions that must all be met, one for each of some columns.

    Attributes
    ----------
    of_columns : dict of int to Condition
    words : dict of int to str
        The conditions as the user has written them, for messages.
    """

    of_columns: Mapping[int, Condition]
    words: Mapping[int, str]

    def contain(self, X: np.ndarray) -> np.ndarray:
        """Return which rows meet the conditions, or lack the cells that would tell."""
        result = np.ones(len(X), dtype=bool)
        for column, condition in self.of_columns.items():
            x = np.asarray(X[:, column], dtype=np.float64)
            result &= np.isnan(x) | condition.contains(x)
        return result

    def of(self, columns: Any) -> Conditions:
        """Return the conditions on some of the columns."""
        return Conditions({c: self.of_columns[c] for c in columns}, self.words)

    def both(self, other: Conditions) -> Conditions:
        """Return the conditions that are met where both these and others are."""
        together = dict(self.of_columns)
        for column, condition in other.of_columns.items():
            known = together.get(column)
            together[column] = condition if known is None else known.both(condition)
        return Conditions(together, {**self.words, **other.words})


def read_conditions(parameter: str, given: Any, schema: Schema, encoding: Encoding) -> Conditions:
    """Read conditions from a dict.

    Parameters
    ----------
    parameter : str
        The name of the parameter, for messages.
    given : dict
        From columns, by name or number, to conditions. A tuple (low, high) is a range, in which
        None or NaN means no bound; a list, set or array is a choice of values; [None] is a missing
        cell; anything else is a value.
    schema : Schema
    encoding : Encoding

    Raises
    ------
    ValueError, TypeError
        If a condition does not suit its column; the message names the column.
    """
    if not isinstance(given, Mapping):
        raise TypeError(
            f"{parameter} must be a dict from columns to conditions, such as "
            f"{{'age': (40, None)}}; got {type(given).__name__}."
        )
    of_columns, words = {}, {}
    for name, asked in given.items():
        column = int(schema.positions(name, parameter)[0])
        if column in words:
            raise ValueError(f"{parameter} names column {schema.names[column]!r} twice.")
        words[column] = f"{schema.names[column]!r}: {asked!r}"
        where = parameter, column, schema, encoding
        is_range = isinstance(asked, tuple)
        condition = _range(asked, *where) if is_range else _values(asked, *where)
        if not condition.is_free:
            of_columns[column] = condition
    return Conditions(of_columns, words)


def _range(
    asked: tuple[Any, ...], parameter: str, column: int, schema: Schema, encoding: Encoding
) -> Condition:
    name = schema.names[column]
    if len(asked) != 2:
        raise ValueError(
            f"{parameter} has a tuple of {len(asked)} values in column {name!r}: give a range as a "
            "tuple (low, high), or several values as a list."
        )
    if column in encoding.categories and column not in encoding.ordered:
        raise ValueError(
            f"{parameter} has a range in column {name!r}, whose categories have no order: give a "
            "list of categories instead."
        )
    low, high = (
        _number(end, default, parameter, column, schema, encoding)
        for end, default in zip(asked, (-np.inf, np.inf), strict=True)
    )
    if low > high:
        raise ValueError(
            f"{parameter} has a range in column {name!r} whose low end exceeds its high end: "
            f"{asked[0]!r} > {asked[1]!r}."
        )
    if low == high:
        return Condition(low, high, _finite(np.array([low]), parameter, name))
    return Condition(low, high)


def _number(
    end: Any, default: float, parameter: str, column: int, schema: Schema, encoding: Encoding
) -> float:
    """Return an end of a range."""
    number = np.nan
    if end is not None:
        found = numbers_of_column(parameter, column, end, schema, encoding)
        if np.ndim(found):
            raise ValueError(
                f"{parameter} must have a range of two numbers in column {schema.names[column]!r}, "
                f"got {end!r}."
            )
        number = float(found)
    return default if np.isnan(number) else number


def _values(
    asked: Any, parameter: str, column: int, schema: Schema, encoding: Encoding
) -> Condition:
    name = schema.names[column]
    if isinstance(asked, Mapping | slice):
        raise TypeError(
            f"{parameter} must have a value, a range (low, high) or a list of values in column "
            f"{name!r}; got {asked!r}."
        )
    listed = list(asked) if isinstance(asked, AbstractSet | range) else asked
    if isinstance(listed, list) and listed and all(each is None for each in listed):
        if column not in schema.states.gaps:
            raise ValueError(
                f"{parameter} asks for missing cells in column {name!r}, but the model has not "
                "learned when these are missing: fit with learn_gaps=True, and with rows in which "
                "some of them are."
            )
        return Condition(is_missing=True)
    numbers = numbers_of_column(parameter, column, listed, schema, encoding)
    if not np.ndim(numbers) and np.isnan(numbers):
        raise ValueError(
            f"{parameter} has no value in column {name!r}, got {asked!r}: leave the column out, or "
            "write [None] to ask for a missing cell."
        )
    if np.ndim(numbers) > 1 or not np.size(numbers) or np.isnan(numbers).any():
        raise ValueError(
            f"{parameter} must have at least one value in column {name!r}, and none of them "
            f"missing; got {asked!r}."
        )
    values = _finite(np.unique(numbers), parameter, name)
    return Condition(float(values[0]), float(values[-1]), values)


def _finite(values: np.ndarray, parameter: str, name: Any) -> np.ndarray:
    if not np.isfinite(values).all():
        raise ValueError(
            f"{parameter} has an infinite value in column {name!r}: write None for an open end."
        )
    return values
