"""How unexpected single cells are."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np

from sklearn_einet.circuit import Circuit
from sklearn_einet.circuit.queries.cells import conditional_scores, marginal_scores
from sklearn_einet.circuit.queries.flows import leaf_log_flows
from sklearn_einet.model.log_density import column_blocks
from sklearn_einet.tables.schema import Schema

__all__ = ["cell_scores"]


def cell_scores(circuit: Circuit, schema: Schema, X: Any, given_others: bool) -> np.ndarray:
    """Return minus the log-density of every cell; see `TableDensity.cell_scores`."""
    parameters = circuit.parameters()
    scores = partial(conditional_scores, circuit, parameters=parameters)
    if not given_others:
        log_flows = leaf_log_flows(circuit, circuit.propagate(circuit.nothing))
        scores = partial(marginal_scores, circuit, parameters=parameters, log_flows=log_flows)
    ignored = schema.handle_unknown == "ignore"
    result = np.empty(X.shape)
    for rows, columns in column_blocks(circuit, schema, X):
        block = scores(columns).T.cpu().numpy()
        block = np.where(schema.unknown_cells(X[rows]), -schema.log_unknown, block)
        if ignored:
            block[schema.unknown_categories(X[rows])] = np.nan
        result[rows] = block - schema.cell_log_jacobian(X[rows])
    return result
