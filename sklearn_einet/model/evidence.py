"""Cells of rows as evidence about the other cells, and the handling of impossible ones."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from functools import partial

import numpy as np
from torch import Tensor

from sklearn_einet.circuit import Circuit
from sklearn_einet.circuit.block_rows import slices
from sklearn_einet.model.log_density import column_blocks, columns_of
from sklearn_einet.tables.callers import levels_to_caller
from sklearn_einet.tables.schema import Schema

__all__ = ["FAR_BEYOND", "Evidence", "check_possible", "incomplete_blocks", "usable_evidence"]

#: Warn about cells to condition on from this many standard deviations beyond the values in fit.
#: In a normal column, the largest of a million values is about 5 from the mean.
FAR_BEYOND = 10.0


class Evidence:
    """Finds the cells of rows that can be conditioned on, and warns once however many rows it
    reads.

    Parameters
    ----------
    circuit : Circuit
    schema : Schema
    warn : bool, default=True
        False for evidence that has been read before: no warnings.
    """

    def __init__(self, circuit: Circuit, schema: Schema, warn: bool = True) -> None:
        self.circuit = circuit
        self.schema = schema
        self.warned = not warn

    def usable(self, X: np.ndarray) -> np.ndarray:
        """Return rows with NaN where a cell is impossible under the model, with a warning.

        It also warns if a cell to condition on is far beyond the values in fit.
        """
        evidence = np.empty(X.shape)
        for rows, columns in column_blocks(self.circuit, self.schema, X):
            evidence[rows] = self._possible(X[rows], columns)
        self._warn(X, evidence)
        return evidence

    def encoded(self, X: np.ndarray) -> Tensor:
        """Return what is `usable` of a few rows as a tensor of shape (n_features, batch), in the
        units of the circuit."""
        columns = columns_of(self.circuit, self.schema, X)
        evidence = self._possible(X, columns)
        self._warn(X, evidence)
        is_whole = np.array_equal(np.isnan(evidence), np.isnan(X))
        return columns if is_whole else columns_of(self.circuit, self.schema, evidence)

    def _possible(self, X: np.ndarray, columns: Tensor) -> np.ndarray:
        """Return a few rows, which are encoded in columns, without impossible cells."""
        features = self.circuit.usable(columns).T.cpu().numpy()
        return np.where(self.schema.states.usable(X, features), X, np.nan)

    def _warn(self, X: np.ndarray, evidence: np.ndarray) -> None:
        if self.warned:
            return
        message = _dropped(self.schema, X, evidence) or _extrapolated(self.schema, evidence)
        if message is not None:
            self.warned = True
            warnings.warn(message, UserWarning, stacklevel=levels_to_caller())


def usable_evidence(circuit: Circuit, schema: Schema, X: np.ndarray) -> np.ndarray:
    """Return the result of `Evidence.usable` for a complete set of rows."""
    return Evidence(circuit, schema).usable(X)


def _dropped(schema: Schema, X: np.ndarray, evidence: np.ndarray) -> str | None:
    """Return a warning about cells that cannot be conditioned on, if any."""
    surprising = np.isnan(evidence) & ~np.isnan(X)
    if schema.handle_unknown == "ignore":
        surprising &= ~schema.unknown_categories(X)  # already warned about
    for row, column in np.argwhere(surprising)[:1]:
        shown = schema.shown(column, X[row, column])
        what = f"{shown}, which is impossible under the fitted model"
        if column in schema.encoded:
            what = "a category not seen in fit"
        elif schema.states.unseen(X[[row]])[0, column]:
            what = f"{shown}, beyond the bounds of the column"
        elif column in schema.definition:
            what = f"{shown}, beyond the values seen in fit"
        name = schema.names[column]
        return f"Column {name!r} holds {what}: such cells are not conditioned on."
    return None


def _extrapolated(schema: Schema, evidence: np.ndarray) -> str | None:
    """Return a warning about the cell farthest beyond the values in fit, if it is far."""
    beyond = schema.deviations_beyond(evidence)
    if not (beyond > FAR_BEYOND).any():
        return None
    row, column = np.unravel_index(np.nanargmax(beyond), beyond.shape)
    value, (smallest, largest) = evidence[row, column], schema.seen[:, column]
    shown = partial(schema.shown, int(column))
    side, end = (
        ("below the smallest", smallest) if value < smallest else ("beyond the largest", largest)
    )
    return (
        f"Column {schema.names[column]!r} holds {shown(value)}, {beyond[row, column]:.3g} standard "
        f"deviations {side} value seen in fit ({shown(end)}): results conditioned on "
        "it are extrapolations."
    )


def check_possible(log_density: np.ndarray, rows: np.ndarray | None = None) -> None:
    """Raise a ValueError if the cells of a row jointly have probability 0.

    For messages, `rows` are the numbers of the rows.
    """
    for row in np.flatnonzero(np.isneginf(log_density)):
        row = row if rows is None else rows[row]
        raise ValueError(
            f"Together, the cells to condition on in row {row} have probability 0 under the "
            "fitted model. Fit with pseudocount > 0, or remove some of them."
        )


def incomplete_blocks(
    circuit: Circuit, schema: Schema, X: np.ndarray, warn: bool = True
) -> Iterator[tuple[np.ndarray, Tensor, Tensor]]:
    """Yield some rows with missing cells at a time, with their evidence in the units of the
    circuit, (n_features, batch), and the leaf regions' values for it."""
    incomplete = np.flatnonzero(np.isnan(X).any(axis=1))
    evidence, parameters = Evidence(circuit, schema, warn), circuit.parameters()
    for part in slices(len(incomplete), circuit.block_rows):
        rows = incomplete[part]
        columns = evidence.encoded(X[rows])
        leaves, _ = circuit.leaf_log_densities(columns, parameters)
        yield rows, columns, leaves
