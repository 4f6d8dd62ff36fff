"""Columns by name, index, mask or slice."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from sklearn_einet.families import FAMILIES

__all__ = ["mapped_positions", "positions"]


def positions(names: list[Any], wanted: Any, parameter: str) -> np.ndarray:
    """Return indices of columns given by name, index, mask or slice, or a list of these.

    Parameters
    ----------
    names : list of str or int
        Of all columns.
    wanted : str, int, slice or array-like
    parameter : str
        The name of the parameter, for messages.

    Raises
    ------
    ValueError
        If X does not have these columns.
    """
    everything = np.arange(len(names))
    if not isinstance(wanted, slice):
        wanted = np.empty(0, int) if np.size(wanted) == 0 else np.atleast_1d(np.asarray(wanted))
        if wanted.dtype.kind in "UOT":
            return _by_name(names, wanted, parameter)
        if wanted.dtype.kind not in "iub" or wanted.ndim > 1:
            raise ValueError(
                f"{parameter} must list columns by name or index, or be a mask; got "
                f"{wanted.tolist()}. Put the values of columns into X."
            )
        if wanted.dtype.kind == "b" and wanted.shape != everything.shape:
            raise ValueError(
                f"{parameter} is a mask of {wanted.size} columns, but X has {len(names)}."
            )
    try:
        return everything[wanted]
    except (IndexError, TypeError) as error:
        asked = wanted if isinstance(wanted, slice) else wanted.tolist()
        raise ValueError(
            f"{parameter} names the columns {asked}, but X has {len(names)}."
        ) from error


def mapped_positions(
    names: list[Any], asked: Mapping[Any, Any], parameter: str
) -> Iterator[tuple[Any, np.ndarray]]:
    """Yield the keys of a dict from columns, with the indices of the columns.

    Raises
    ------
    ValueError
        If X does not have a column, or if one appears more than once.
    """
    free = np.ones(len(names), dtype=bool)
    for key, wanted in asked.items():
        columns = positions(names, wanted, parameter)
        values, counts = np.unique(columns, return_counts=True)
        for column in [*values[counts > 1], *columns[~free[columns]]]:
            raise ValueError(
                f"Column {names[column]!r} appears more than once in {parameter}={asked!r}."
            )
        free[columns] = False
        yield key, columns


def _by_name(names: list[Any], wanted: np.ndarray, parameter: str) -> np.ndarray:
    for name in wanted:
        if name in names:
            continue
        hint = (
            ""
            if isinstance(names[0], str)
            else " The columns of X have no names: use their numbers."
        )
        if not isinstance(name, str):
            hint = " Give names of columns; put the values of columns into X."
        elif parameter == "leaf" and name in FAMILIES:
            hint = " The dict must map families to columns, not columns to families."
        raise ValueError(
            f"{parameter} names the column {str(name)!r}, which X does not have.{hint}"
        )
    return np.array([names.index(name) for name in wanted])
