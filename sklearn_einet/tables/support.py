"""Checks that columns hold only values that their families can have."""

from __future__ import annotations

from functools import partial

import numpy as np
import torch

from sklearn_einet.families import Categorical, ExponentialFamily
from sklearn_einet.tables.column_axes import ColumnAxes
from sklearn_einet.tables.columns import row_blocks
from sklearn_einet.tables.table import Table

__all__ = ["check_support"]


def check_support(
    axes: ColumnAxes, family: ExponentialFamily, columns: np.ndarray, table: Table
) -> None:
    """Raise a ValueError if a column holds values, apart from atoms, that its family cannot have.

    Parameters
    ----------
    axes : ColumnAxes
        Of all columns of the table.
    family : ExponentialFamily
    columns : ndarray of int
    table : Table
    """
    table.by_block(partial(_check_block, axes, family, columns))


def _check_block(
    axes: ColumnAxes, family: ExponentialFamily, columns: np.ndarray, X: np.ndarray
) -> None:
    for block in row_blocks(X):
        cells = axes.states.without_atoms(block[:, columns], columns.tolist())
        x = torch.tensor(cells, dtype=torch.float64)
        for row, column in torch.nonzero(~(family.in_support(x) | torch.isnan(x))).tolist():
            value, place = float(x[row, column]), int(columns[column])
            if place in axes.encoded:
                raise ValueError(
                    f"Column {axes.names[place]!r} has a category that the first fit has not seen. "
                    "Fit again with a type that lists all categories (pandas.CategoricalDtype, "
                    "polars.Enum)."
                )
            hint = "."
            if isinstance(family, Categorical) and value == -1:
                hint = "; if it is a code for missing cells, replace it by NaN."
            elif value in family.open_ends and place not in axes.times:
                hint = ", or declare it as an atom in the parameter atoms."
            raise ValueError(
                f"Column {axes.names[place]!r} holds {axes.shown(place, value)}, but its "
                f"leaf family {family.name!r} is for {family.support}. Choose another family "
                f"with the parameter leaf, or correct the value{hint}"
            )
