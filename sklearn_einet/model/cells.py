"""Scores of single cells: how unexpected they are."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any

import numpy as np
import torch
from torch import Tensor

from sklearn_einet.circuit import Circuit
from sklearn_einet.circuit.queries.cells import conditional_scores, marginal_scores
from sklearn_einet.circuit.queries.flows import leaf_log_flows
from sklearn_einet.model.log_density import columns_of
from sklearn_einet.tables.schema import Schema

__all__ = ["cell_scores"]


def cell_scores(circuit: Circuit, schema: Schema, X: Any, given_others: bool) -> np.ndarray:
    """Return minus the log-density of every cell; see `TableDensity.cell_scores`."""
    kind = _GivenOthers if given_others else _GivenNothing
    of_features = kind(circuit, schema)
    ignored = schema.handle_unknown == "ignore"
    result = np.empty(X.shape)
    for start in range(0, len(X), circuit.block_rows):
        rows = slice(start, start + circuit.block_rows)
        known, _ = schema.without_unknown(X[rows])
        features = columns_of(circuit, schema, known)
        block = _of_columns(of_features, schema, features).T.cpu().numpy()
        block -= schema.cell_log_jacobian(known)
        block = np.where(
            np.isnan(known) & ~np.isnan(X[rows]), -schema.log_density_of_unknown(X[rows]), block
        )
        if ignored:
            block[schema.unknown_categories(X[rows])] = np.nan
        result[rows] = block
    return result


def _of_columns(of_features: _FeatureScores, schema: Schema, features: Tensor) -> Tensor:
    """Return scores of the table's columns, (n_columns, batch), from those of the circuit's.

    A number in a column that also has atoms is as unexpected as its state (with the number
    missing), plus the number given that state.
    """
    found = of_features(features)
    result = found[: len(schema.names)].clone()
    for column in schema.states.split:
        state = schema.states.state_of(column)
        is_number = torch.nonzero(~torch.isnan(features[column])).view(-1)
        result[column] = found[state]
        if len(is_number):
            here = features[:, is_number]
            result[column, is_number] = of_features.number(column, state, here)
    return result


class _FeatureScores(ABC):
    """Minus the log-densities of cells of the circuit's columns, (n_features, batch)."""

    def __init__(self, circuit: Circuit, schema: Schema) -> None:
        self.circuit = circuit
        self.parameters = circuit.parameters()

    @abstractmethod
    def __call__(self, features: Tensor) -> Tensor:
        """Return the scores of all cells."""

    @abstractmethod
    def number(self, column: int, state: int, features: Tensor) -> Tensor:
        """Return the scores of a column's numbers together with their state, (batch,)."""


class _GivenOthers(_FeatureScores):
    """Scores of cells given the other cells of the row."""

    def __call__(self, features: Tensor) -> Tensor:
        return conditional_scores(self.circuit, features, self.parameters)

    def number(self, column: int, state: int, features: Tensor) -> Tensor:
        without = features.clone()
        without[column] = torch.nan
        return self(features)[column] + self(without)[state]


class _GivenNothing(_FeatureScores):
    """Scores of cells whatever the others are."""

    def __init__(self, circuit: Circuit, schema: Schema) -> None:
        super().__init__(circuit, schema)
        self.log_flows = leaf_log_flows(circuit, circuit.propagate(circuit.nothing))

    def __call__(self, features: Tensor) -> Tensor:
        return marginal_scores(self.circuit, features, self.parameters, self.log_flows)

    def number(self, column: int, state: int, features: Tensor) -> Tensor:
        alone = torch.full_like(features, torch.nan)
        alone[[column, state]] = features[[column, state]]
        return -self.circuit.log_prob(alone.T, self.parameters).to(features.dtype)
