"""What the cells of rows tell about each other, and what to do where they are impossible."""

from __future__ import annotations

import warnings
from collections.abc import Iterator

import numpy as np
from torch import Tensor

from sklearn_einet.circuit import Circuit
from sklearn_einet.model.log_density import column_blocks
from sklearn_einet.tables.callers import levels_to_caller
from sklearn_einet.tables.schema import Schema

__all__ = ["check_possible", "incomplete_blocks", "surprising_cells", "usable_evidence"]


def usable_evidence(
    circuit: Circuit, schema: Schema, X: np.ndarray, warn: bool = True
) -> np.ndarray:
    """Return rows with NaN where a cell is impossible under the model, with a warning."""
    usable = np.empty(X.shape, dtype=bool)
    for rows, columns in column_blocks(circuit, schema, X):
        usable[rows] = circuit.usable(columns).T.cpu().numpy()
    evidence = np.where(usable, X, np.nan)
    for row, column in np.argwhere(surprising_cells(schema, X, evidence))[:1] if warn else []:
        what = f"{X[row, column]:g}, which the fitted model deems impossible"
        if column in schema.encoded:
            what = "a category not seen in fit"
        elif column in schema.definition:
            what = f"{X[row, column]:g}, beyond what fit has seen"
        warnings.warn(
            f"Column {schema.names[column]!r} holds {what}: such cells were not conditioned on.",
            UserWarning,
            stacklevel=levels_to_caller(),
        )
    return evidence


def surprising_cells(schema: Schema, X: np.ndarray, evidence: np.ndarray) -> np.ndarray:
    """Return which cells have been dropped from the evidence and need a warning."""
    surprising: np.ndarray = np.isnan(evidence) & ~np.isnan(X)
    if schema.handle_unknown == "ignore":
        surprising &= ~schema.unknown_categories(X)  # warned of already
    return surprising


def check_possible(log_density: np.ndarray, rows: np.ndarray | None = None) -> None:
    """Raise a ValueError if the cells of a row have probability 0 together.

    For messages, `rows` are the numbers of the rows.
    """
    for row in np.flatnonzero(np.isneginf(log_density)):
        row = row if rows is None else rows[row]
        raise ValueError(
            f"The cells to condition on in row {row} have probability 0 together under the "
            "fitted model. Fit with pseudocount > 0, or remove some of them."
        )


def incomplete_blocks(
    circuit: Circuit, schema: Schema, X: np.ndarray
) -> Iterator[tuple[np.ndarray, Tensor, Tensor]]:
    """Yield rows with missing cells some at a time, their evidence in the units of the circuit,
    (n_features, batch), and the leaf regions' values for it."""
    incomplete = np.flatnonzero(np.isnan(X).any(axis=1))
    evidence = usable_evidence(circuit, schema, X[incomplete])
    parameters = circuit.parameters()
    for part, columns in column_blocks(circuit, schema, evidence):
        leaves, _ = circuit.leaf_log_densities(columns, parameters)
        yield incomplete[part], columns, leaves
