"""The densities of the components of a mixture."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from sklearn_einet.circuit import Circuit
from sklearn_einet.circuit.block_rows import slices
from sklearn_einet.circuit.transforms.mixture import component_log_values
from sklearn_einet.model.evidence import Evidence, check_possible
from sklearn_einet.model.log_density import column_blocks
from sklearn_einet.model.table_density import TableDensity
from sklearn_einet.tables.schema import Schema

__all__ = ["joint_log_densities", "responsibilities"]

# How many rows are held in float64 at a time.
ROWS_OF_EVIDENCE = 2**13


def joint_log_densities(density: TableDensity, component: np.ndarray, X: np.ndarray) -> np.ndarray:
    """Return log(weight of a component * its density), (n_samples, n_components).

    Parameters
    ----------
    density : TableDensity
    component : ndarray of int of shape (n_root_partitions,)
        As in `component_circuits`.
    X : ndarray of shape (n_samples, n_features)
    """
    return _joint(density.scoring_circuit, density.schema, component, X)


def responsibilities(density: TableDensity, component: np.ndarray, X: Any) -> np.ndarray:
    """Return the probability of every component given each row, (n_samples, n_components)."""
    circuit, schema = density.exact_circuit, density.schema
    joint = np.empty((len(X), int(component[-1]) + 1))
    evidence = Evidence(circuit, schema)
    for some in slices(len(X), ROWS_OF_EVIDENCE):
        cells = evidence.usable(X[some].astype(np.float64))
        joint[some] = _joint(circuit, schema, component, cells)
    total = np.logaddexp.reduce(joint, axis=1, keepdims=True)
    check_possible(total[:, 0])
    return np.exp(joint - total)


def _joint(circuit: Circuit, schema: Schema, component: np.ndarray, X: np.ndarray) -> np.ndarray:
    parameters = circuit.parameters()
    result = np.empty((len(X), int(component[-1]) + 1))
    X, of_unknown = schema.without_unknown(X)
    with torch.no_grad():
        for rows, columns in column_blocks(circuit, schema, X):
            leaves, base = circuit.leaf_log_densities(columns, parameters)
            activations = circuit.propagate(leaves, parameters)
            values = component_log_values(circuit, activations, component)
            result[rows] = (values + base).T.cpu().numpy()
            result[rows] += schema.log_jacobian(X[rows])[:, None]
    # As in Circuit.log_prob: values too extreme for a float have no density.
    result = np.where(np.isnan(result), -np.inf, result)
    return result + np.reshape(of_unknown, (-1, 1))
