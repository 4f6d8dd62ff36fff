"""Log-densities of rows in the units of their columns."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

import numpy as np
import torch
from torch import Tensor

from sklearn_einet.circuit import Circuit
from sklearn_einet.circuit.block_rows import slices
from sklearn_einet.circuit.leaves.groups import threads_of_leaves
from sklearn_einet.tables.schema import Schema
from sklearn_einet.tables.table import by_block

__all__ = ["column_blocks", "columns_of", "log_density", "query_circuit"]


def query_circuit(circuit: Circuit, device: torch.device) -> Circuit:
    """Return a circuit for queries: in float64 on the CPU, in its own precision on a GPU."""
    return circuit.to(device, torch.float64 if device.type == "cpu" else None).settled()


def columns_of(circuit: Circuit, schema: Schema, X: np.ndarray) -> Tensor:
    """Return rows as a tensor of shape (n_features, batch), in the units of the circuit."""
    return torch.from_numpy(schema.encode(X).T).to(circuit.device)


def column_blocks(
    circuit: Circuit, schema: Schema, X: np.ndarray
) -> Iterator[tuple[slice, Tensor]]:
    """Yield some rows at a time, with their columns as returned by `columns_of`."""
    for rows in slices(len(X), circuit.block_rows):
        yield rows, columns_of(circuit, schema, X[rows])


def log_density(circuit: Circuit, schema: Schema, X: np.ndarray) -> np.ndarray:
    """Return the log-density of rows in the units of their columns, computed where the rows are."""
    parts = by_block(X, partial(_local_log_density, circuit, schema))
    return parts[0] if len(parts) == 1 else np.concatenate(parts)


def _local_log_density(circuit: Circuit, schema: Schema, X: np.ndarray) -> np.ndarray:
    """Return log-densities of the rows of one block, computed some at a time."""
    parameters = circuit.parameters()
    result = np.empty(len(X))
    with torch.no_grad(), threads_of_leaves(circuit.leaf_groups):
        for rows in slices(len(X), circuit.block_rows):
            known, of_unknown = schema.without_unknown(X[rows])
            columns = columns_of(circuit, schema, known)
            result[rows] = circuit.log_prob(columns.T, parameters).cpu().numpy()
            result[rows] += schema.log_jacobian(known) + of_unknown
    return result
