"""Probabilities of boxes."""

from __future__ import annotations

import warnings

import numpy as np
import torch
from sklearn.utils import gen_batches

from sklearn_einet.circuit import Circuit
from sklearn_einet.circuit.queries.intervals import interval_log_values
from sklearn_einet.families.normal_boxes import LARGE_ERROR
from sklearn_einet.tables.callers import levels_to_caller
from sklearn_einet.tables.schema import Schema

__all__ = ["box_log_probability"]


def box_log_probability(
    circuit: Circuit, schema: Schema, low: np.ndarray, high: np.ndarray
) -> np.ndarray:
    """Return log-probabilities of boxes; see `TableDensity.box_log_probability`."""
    result, largest_error = np.empty(len(low)), 0.0
    for rows in gen_batches(len(low), circuit.block_rows):
        ends = (schema.standardize(bounds[rows]).T for bounds in (low, high))
        leaves, error = interval_log_values(
            circuit, *(torch.from_numpy(end).to(circuit.device) for end in ends)
        )
        largest_error = max(largest_error, error)
        result[rows] = circuit.propagate(leaves).root.cpu().numpy()
    if largest_error > LARGE_ERROR:
        warnings.warn(
            f"Probabilities of boxes have standard errors of up to {largest_error:.1g}: three or "
            "more bounded columns depend closely on each other.",
            UserWarning,
            stacklevel=levels_to_caller(),
        )
    return np.minimum(result, 0.0)
