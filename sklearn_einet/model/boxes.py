"""Probabilities of boxes."""

from __future__ import annotations

import numpy as np
import torch
from sklearn.utils import gen_batches

from sklearn_einet.circuit import Circuit
from sklearn_einet.circuit.queries.intervals import interval_log_values
from sklearn_einet.tables.schema import Schema

__all__ = ["box_log_probability"]


def box_log_probability(
    circuit: Circuit, schema: Schema, low: np.ndarray, high: np.ndarray
) -> np.ndarray:
    """Return log-probabilities of boxes; see `TableDensity.box_log_probability`."""
    result = np.empty(len(low))
    for rows in gen_batches(len(low), circuit.block_rows):
        ends = (schema.standardize(bounds[rows]).T for bounds in (low, high))
        leaves = interval_log_values(
            circuit, *(torch.from_numpy(end).to(circuit.device) for end in ends)
        )
        result[rows] = circuit.propagate(leaves).root.cpu().numpy()
    return np.minimum(result, 0.0)
