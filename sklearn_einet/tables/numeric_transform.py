"""The kind of map of every column, by the parameter numeric_transform."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from sklearn_einet.families import ExponentialFamily, Normal
from sklearn_einet.tables.map_fitting import KINDS
from sklearn_einet.tables.positions import mapped_positions

__all__ = ["requested_maps"]

CHOICES = ("auto", *KINDS)


def requested_maps(
    names: list[Any],
    asked: Any,
    requests: Sequence[tuple[ExponentialFamily, np.ndarray]],
    variance_bounds: Any,
) -> dict[int, str]:
    """Return the requested kind of map by column: "auto" or a name.

    Parameters
    ----------
    names : list of str or int
        Of all columns.
    asked : str, dict of str to columns, or None
    requests : sequence of (ExponentialFamily, ndarray of int)
        Families and their columns.
    variance_bounds : (float, float) or None
        Bounds are in the columns' units, so that they rule out maps.

    Raises
    ------
    ValueError
        Naming the column or the parameter at fault.
    """
    if asked is None:
        return {}
    kinds = list(asked) if isinstance(asked, Mapping) else [asked]
    for kind in kinds:
        if kind not in CHOICES:
            raise ValueError(f"numeric_transform={asked!r}: {kind!r} is not one of {CHOICES}.")
    if variance_bounds is not None:
        if set(kinds) - {"auto"}:
            raise ValueError(
                f"numeric_transform={asked!r} cannot be combined with variance_bounds, which are "
                "in the units of the columns: set only one of the two."
            )
        return {}
    normal = {
        int(column)
        for family, columns in requests
        if type(family) is Normal and family.variance_bounds is None
        for column in columns
    }
    if not isinstance(asked, Mapping):
        return dict.fromkeys(sorted(normal), asked)
    return _mapped(names, asked, normal)


def _mapped(names: list[Any], asked: Mapping[str, Any], normal: set[int]) -> dict[int, str]:
    """Return the kind that a dict requests, by column."""
    result: dict[int, str] = {}
    for kind, columns in mapped_positions(names, asked, "numeric_transform"):
        for column in columns.tolist():
            if column not in normal and kind != "auto":
                raise ValueError(
                    f"Column {names[column]!r} has no normal leaves, so that "
                    f"numeric_transform={asked!r} cannot map it: leave it out, or set its leaf to "
                    "'normal'."
                )
            result[column] = kind
    return {column: kind for column, kind in result.items() if column in normal}
