"""How a fit models each column, in words and numbers."""

from __future__ import annotations

from importlib import import_module
from typing import Any

import numpy as np

from sklearn_einet.families import Bernoulli, Categorical, Constant, SymlogNormal
from sklearn_einet.tables.chained_map import ChainedMap
from sklearn_einet.tables.column_maps import ColumnMap
from sklearn_einet.tables.encoding import Encoding
from sklearn_einet.tables.frames import as_frame, is_frame
from sklearn_einet.tables.schema import Schema

__all__ = ["leaf_report"]

# Reasons for families that nobody has requested.
REASONS = {
    Categorical: "categories",
    Bernoulli: "0 and 1, or booleans",
    Constant: "a single value",
    SymlogNormal: "values far from all others",
}


def leaf_report(schema: Schema, encoding: Encoding) -> Any:
    """Return a DataFrame with a row for each column; see `EinetDensity.leaf_report_`.

    It is of the same kind as the table in fit, or a pandas DataFrame.

    Raises
    ------
    ImportError
        If the table in fit was an array, and pandas is not installed.
    """
    rows = [_row(schema, column) for column in range(len(schema.names))]
    template = encoding.template
    kind = type(template) if is_frame(template) else import_module("pandas").DataFrame
    names = list(rows[0])
    columns = [_array([row[name] for row in rows]) for name in names]
    return as_frame(kind, names, columns, None)


def _row(schema: Schema, column: int) -> dict[str, Any]:
    form = schema.states.forms.get(column)
    family = next(g.family for g in schema.leaf_columns if column in g.columns)
    leaf, atoms, reason = family.name, 0, REASONS.get(type(family), "")
    if form is not None:
        atoms, reason = len(form.atoms), form.reason
        if form.is_complete:
            leaf = "states"
    return {
        "column": schema.names[column],
        "leaf": leaf,
        "transform": _transform(schema.maps.get(column)),
        "n_atoms": atoms,
        "share_of_atoms": 0.0 if form is None else 1 - form.number_share,
        "step": 0.0 if form is None else form.step,
        "low": -np.inf if form is None else form.low,
        "high": np.inf if form is None else form.high,
        "reason": reason,
    }


def _transform(column_map: ColumnMap | None) -> str:
    """Return the name of a map that is fitted to the column."""
    while isinstance(column_map, ChainedMap):
        column_map = column_map.inner
    return "" if column_map is None else column_map.name


def _array(values: list[Any]) -> np.ndarray:
    if not isinstance(values[0], str):
        return np.array(values)
    result = np.empty(len(values), dtype=object)
    result[:] = values
    return result
