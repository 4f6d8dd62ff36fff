"""Covariances of columns."""

from __future__ import annotations

from functools import partial

import numpy as np
import torch

from sklearn_einet.circuit import Circuit
from sklearn_einet.circuit.queries.moments import Moments, column_covariances, posterior
from sklearn_einet.circuit.queries.moments import covariance as circuit_covariance
from sklearn_einet.model.moments import (
    ColumnMoments,
    mapped_columns,
    moments,
    moments_before_maps,
)
from sklearn_einet.tables.schema import Schema

__all__ = ["covariance"]


def covariance(circuit: Circuit, schema: Schema) -> np.ndarray:
    """Return the covariance matrix of the columns; NaN for those of categories."""
    states = schema.states
    mean, variance = moments(ColumnMoments(circuit, schema))
    values = {column: states.forms[column].atoms for column in states.complete}
    for column in states.split:
        # A column minus its mean is the sum of two functions: one of its state, 0 for "a number",
        # and one of its number, 0 for an atom.
        atoms = states.forms[column].atoms - mean[column]
        values[states.state_of(column)] = np.append(atoms, 0.0)
    of_leaves = partial(moments_before_maps, schema, values=values)
    curved = mapped_columns(schema)
    n_others = states.n_features - states.n_columns
    scale = np.append(schema.scale, np.ones(n_others))
    features = circuit_covariance(circuit, of_leaves, curved).cpu().numpy()
    with np.errstate(over="ignore"):
        features = features * scale * scale[:, None]
    location = np.append(schema.location - mean, np.zeros(n_others))
    parts = _Parts(Moments(circuit, of_leaves, curved), schema, location, scale)
    own = [states.state_of(column) for column in range(states.n_columns)]
    _, first, _ = parts.given([])
    result = features[np.ix_(own, own)] + first[own] * first[own][:, None]
    for i in states.split:
        share, _, products = parts.given([i])
        result[i] += share * products[own]
        result[:, i] += share * products[own]
        for j in states.split:
            if i != j:
                share, _, products = parts.given([i, j])
                result[i, j] += share * products[j]
    result = 0.5 * (result + result.T)
    np.fill_diagonal(result, variance)
    categories = list(schema.encoded)
    result[categories] = result[:, categories] = np.nan
    return result


class _Parts:
    """Products of parts of columns, given that some columns are numbers.

    Parameters
    ----------
    moments : Moments
    schema : Schema
    location, scale : ndarray of shape (n_features,)
        Convert features to the multiplied quantities.
    """

    def __init__(
        self, moments: Moments, schema: Schema, location: np.ndarray, scale: np.ndarray
    ) -> None:
        self.moments, self.schema = moments, schema
        self.location, self.scale = location, scale

    def given(self, numbers: list[int]) -> tuple[float, np.ndarray, np.ndarray]:
        """Return the probability that some columns are numbers, and given that, expectations of all
        features and of their products with the first of these columns."""
        circuit, states = self.moments.circuit, self.schema.states
        evidence = torch.full_like(self.moments.center, torch.nan)
        for column in numbers:
            evidence[states.state_of(column)] = len(states.forms[column].atoms)
        leaves, base = circuit.leaf_log_densities(evidence, circuit.parameters())
        activations = circuit.propagate(leaves)
        share = float((activations.root + base).exp())
        mean, _ = self.moments(posterior(circuit, activations))
        first = mean[:, 0].cpu().numpy() * self.scale + self.location
        if not numbers or share == 0:
            return share, first, np.zeros_like(first)
        tilted = torch.tensor(numbers[:1], device=circuit.device)
        found = column_covariances(self.moments, tilted, leaves)[:, 0].cpu().numpy()
        with np.errstate(over="ignore"):
            within = found * self.scale * self.scale[numbers[0]]
            return share, first, within + first * first[numbers[0]]
