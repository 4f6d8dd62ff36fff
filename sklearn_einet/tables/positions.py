"""Columns by name, index, mask or slice."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from sklearn_einet.families import FAMILIES

__all__ = ["mapped_positions", "positions"]


def positions(names: list[Any], wanted: Any, parameter: str) -> np.ndarray:
    """Return indices of columns given by name, index, mask or slice, or a list of those.

    Parameters
    ----------
    names : list of str or int
        Of all columns.
    wanted : str, int, slice or array-like
    parameter : str
        What asks for them, for messages.

    Raises
    ------
    ValueError
        If X does not have them.
    """
    everything = np.arange(len(names))
    if not isinstance(wanted, slice):
        wanted = np.empty(0, int) if np.size(wanted) == 0 else np.atleast_1d(np.asarray(wanted))
        if wanted.dtype.kind in "UOT":
            return _by_name(names, wanted, parameter)
        if wanted.dtype.kind not in "iub" or wanted.ndim > 1:
            raise ValueError(
                f"{parameter} must name columns, by names, indices or a mask; got "
                f"{wanted.tolist()}. Values of columns belong into X."
            )
        if wanted.dtype.kind == "b" and wanted.shape != everything.shape:
            raise ValueError(f"{parameter} is a mask of {wanted.size} columns, X has {len(names)}.")
    try:
        return everything[wanted]
    except (IndexError, TypeError) as error:
        asked = wanted if isinstance(wanted, slice) else wanted.tolist()
        raise ValueError(
            f"{parameter} asks for the columns {asked}, X has {len(names)}."
        ) from error


def mapped_positions(
    names: list[Any], asked: Mapping[Any, Any], parameter: str
) -> Iterator[tuple[Any, np.ndarray]]:
    """Yield the keys of a dict to columns, and the indices of these.

    Raises
    ------
    ValueError
        If X does not have the columns, or if one is there more than once.
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
        hint = "" if isinstance(names[0], str) else " X has numbers for names."
        if not isinstance(name, str):
            hint = " Give names; values of columns belong into X."
        elif parameter == "leaf" and name in FAMILIES:
            hint = " A dict is to map families to columns, not columns to families."
        raise ValueError(
            f"{parameter} names the column {str(name)!r}, which X does not have.{hint}"
        )
    return np.array([names.index(name) for name in wanted])
