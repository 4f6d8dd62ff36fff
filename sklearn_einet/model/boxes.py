"""Probabilities of boxes."""

from __future__ import annotations

import numpy as np
import torch

from sklearn_einet.circuit import Circuit
from sklearn_einet.circuit.block_rows import slices
from sklearn_einet.circuit.queries.intervals import interval_log_values
from sklearn_einet.model.numerical_errors import warn_of_large_errors
from sklearn_einet.tables.box_terms import box_terms
from sklearn_einet.tables.schema import Schema

__all__ = ["box_log_probability"]


def box_log_probability(
    circuit: Circuit, schema: Schema, low: np.ndarray, high: np.ndarray
) -> np.ndarray:
    """Return log-probabilities of boxes; see `TableDensity.box_log_probability`."""
    result, largest_error = np.full(len(low), -np.inf), 0.0
    for possible, *ends in box_terms(schema, low, high):
        rows_of_term = np.flatnonzero(possible)
        for some in slices(len(rows_of_term), circuit.block_rows):
            rows = rows_of_term[some]
            leaves, error = interval_log_values(
                circuit, *(torch.from_numpy(end[rows].T).to(circuit.device) for end in ends)
            )
            largest_error = max(largest_error, error)
            term = circuit.propagate(leaves).root.cpu().numpy()
            result[rows] = np.logaddexp(result[rows], term)
    warn_of_large_errors("boxes", largest_error)
    return np.minimum(result, 0.0)
