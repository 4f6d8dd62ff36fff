"""What the parameter atoms says of columns of numbers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from numbers import Real
from typing import Any

import numpy as np

from sklearn_einet.families import ExponentialFamily
from sklearn_einet.tables.positions import positions

__all__ = ["LEAST_SHARE", "FormRequests", "requested_atoms"]

# Share of the rows from which a value that repeats is an atom, if atoms="auto".
LEAST_SHARE = 1e-3


@dataclass(frozen=True)
class FormRequests:
    """What is asked of columns, and what is known of them.

    Attributes
    ----------
    least_share : float
        Share of the rows from which a value that repeats is an atom; above 1: none is.
    atoms : mapping of int to ndarray
        Those of columns that have been given.
    families : mapping of int to ExponentialFamily
        Columns whose family somebody has named.
    open_ends : mapping of int to list of float
        The open ends of their family's support that are values of these columns.
    without_sign : frozenset of int
        Columns whose 0 means nothing, such as those of dates.
    """

    least_share: float = LEAST_SHARE
    atoms: Mapping[int, np.ndarray] = field(default_factory=dict)
    families: Mapping[int, ExponentialFamily] = field(default_factory=dict)
    open_ends: Mapping[int, list[float]] = field(default_factory=dict)
    without_sign: frozenset[int] = frozenset()


def requested_atoms(names: list[Any], atoms: Any) -> tuple[float, dict[int, np.ndarray]]:
    """Return the least share of an atom, and the atoms of columns that have been given.

    Parameters
    ----------
    names : list of str or int
        Of all columns.
    atoms : "auto", float, dict or None
        As of `EinetDensity`.

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
            raise ValueError(f"atoms={atoms!r} must be above 0 and at most 1, as a share of rows.")
        return float(atoms), {}
    if not isinstance(atoms, Mapping):
        raise TypeError(
            f"atoms must be 'auto', None, a share of rows, or a dict of columns to values, got "
            f"{atoms!r}."
        )
    given: dict[int, np.ndarray] = {}
    for column, values in atoms.items():
        try:
            own = np.unique(np.atleast_1d(np.asarray(values, dtype=np.float64)))
        except (TypeError, ValueError) as error:
            raise TypeError(f"atoms must have numbers for column {column!r}: {error}") from error
        if not np.isfinite(own).all():
            raise ValueError(f"atoms has a value for column {column!r} that is no finite number.")
        given |= dict.fromkeys(positions(names, column, "atoms").tolist(), own)
    return LEAST_SHARE, given
