"""Log-densities of parts of rows, given other parts."""

from __future__ import annotations

from typing import Any

import numpy as np

from sklearn_einet.circuit import Circuit
from sklearn_einet.circuit.block_rows import slices
from sklearn_einet.model.evidence import Evidence, check_possible
from sklearn_einet.model.log_density import log_density
from sklearn_einet.tables.schema import Schema
from sklearn_einet.tables.table import ROWS_AT_A_TIME

__all__ = ["conditional_log_density", "log_density_given"]


def log_density_given(
    circuit: Circuit, schema: Schema, X: np.ndarray, evidence: np.ndarray, first: int = 0
) -> np.ndarray:
    """Return the log-density of rows given their cells in `evidence`, which may be a single row.

    For messages, `first` is the number of the first row.
    """
    of_evidence = log_density(circuit, schema, evidence)
    check_possible(of_evidence, np.arange(first, first + len(of_evidence)))
    return log_density(circuit, schema, X) - of_evidence


def conditional_log_density(
    circuit: Circuit, schema: Schema, X: Any, given: np.ndarray
) -> np.ndarray:
    """Return the log-density of rows given some columns; see `TableDensity`."""
    result = np.empty(len(X))
    given_cells = Evidence(circuit, schema)
    # Whole blocks at a time, so that block limits do not matter.
    step = circuit.block_rows * max(1, ROWS_AT_A_TIME // circuit.block_rows)
    for rows in slices(len(X), step):
        both = X[rows].astype(np.float64)
        cells = np.full_like(both, np.nan)
        cells[:, given] = both[:, given]
        evidence = given_cells.usable(cells)
        both[:, given] = evidence[:, given]
        result[rows] = log_density_given(circuit, schema, both, evidence, rows.start)
    return result
