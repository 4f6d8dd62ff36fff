"""Means and variances of columns, and of missing cells given the others of their rows."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from torch import Tensor

from sklearn_einet.circuit import Circuit
from sklearn_einet.circuit.leaves.base import LeafGroup
from sklearn_einet.circuit.queries.moments import (
    LeafMoments,
    Moments,
    expected,
    moments_of_family,
    posterior,
)
from sklearn_einet.circuit.queries.moments import covariance as circuit_covariance
from sklearn_einet.families import Categorical
from sklearn_einet.model.evidence import check_possible, incomplete_blocks
from sklearn_einet.tables.column_maps import ColumnMap
from sklearn_einet.tables.mapped_moments import mapped_moments
from sklearn_einet.tables.schema import Schema

__all__ = ["conditional_moments", "covariance", "moments", "moments_before_maps"]


def moments(circuit: Circuit, schema: Schema) -> tuple[np.ndarray, np.ndarray]:
    """Return mean and variance of every column."""
    without_evidence = posterior(circuit, circuit.propagate(circuit.nothing))
    moments = Moments(circuit, partial(moments_before_maps, schema), _mapped_columns(schema))
    mean, variance = (each[:, 0].cpu().numpy() for each in moments(without_evidence))
    return schema.decode_mean(mean), schema.decode_square(variance)


def conditional_moments(
    circuit: Circuit, schema: Schema, X: np.ndarray, codes: bool, warn: bool = True
) -> tuple[np.ndarray, np.ndarray]:
    """Return rows with means in place of missing cells; see `TableDensity.conditional_moments`."""
    wanted = np.isnan(X).any(axis=0)
    of_leaves = partial(moments_before_maps, schema, wanted=wanted)
    of_posterior = Moments(circuit, of_leaves, _mapped_columns(schema))
    mean, variance = X.copy(), np.zeros(X.shape)
    for rows, evidence, leaves in incomplete_blocks(circuit, schema, X, warn):
        activations = circuit.propagate(leaves)
        check_possible(activations.root.cpu().numpy(), rows)
        posteriors = posterior(circuit, activations)
        block_mean, block_variance = of_posterior(posteriors, evidence)
        if not codes:
            _set_categories(circuit, posteriors, block_mean)
        missing = np.isnan(X[rows])
        decoded = schema.decode_mean(block_mean.T.cpu().numpy())
        mean[rows] = np.where(missing, decoded, X[rows])
        scaled = schema.decode_square(block_variance.T.cpu().numpy())
        variance[rows] = np.where(missing, scaled, 0.0)
    return mean, variance


def moments_before_maps(
    schema: Schema, group: LeafGroup, wanted: np.ndarray | None = None
) -> LeafMoments:
    """Return the moments of a group's densities, of mapped columns those of the unmapped values.

    Parameters
    ----------
    schema : Schema
    group : LeafGroup
    wanted : ndarray of bool of shape (n_features,), default=None
        Columns whose moments are asked for; those of others need not be right. None: all.
    """
    moments = moments_of_family(group)
    if not schema.maps:
        return moments
    mean, variance, center = (each.clone() for each in moments)
    for position, column in enumerate(group.columns.tolist()):
        if column in schema.maps and (wanted is None or wanted[column]):
            own = group.index == position
            found = mapped_moments(
                schema.maps[column], *(each[own].cpu().numpy() for each in moments[:2])
            )
            mean[own], variance[own] = (torch.from_numpy(each).to(mean.device) for each in found)
            center[position] = 0.0  # that of the column's usual cells
    return LeafMoments(mean, variance, center)


@dataclass(frozen=True)
class MappedColumn:
    """A column with a map in front of its densities."""

    column_map: ColumnMap

    def moments(self, mean: Tensor, variance: Tensor) -> tuple[Tensor, Tensor]:
        """Return mean and variance before the map, given those after it."""
        found = mapped_moments(self.column_map, mean.cpu().numpy(), variance.cpu().numpy())
        first, second = (torch.from_numpy(each).to(mean.device) for each in found)
        return first, second

    def values(self, y: Tensor) -> Tensor:
        """Return the inverse of the map."""
        return torch.from_numpy(self.column_map.inverse(y.cpu().numpy())).to(y.device)


def _mapped_columns(schema: Schema) -> dict[int, MappedColumn]:
    return {column: MappedColumn(each) for column, each in schema.maps.items()}


def _set_categories(circuit: Circuit, posterior: Tensor, columns: Tensor) -> None:
    """Put the most probable category into the categorical ones of (n_features, batch) cells."""
    for group in circuit.leaf_groups:
        if isinstance(group.family, Categorical):
            probabilities = expected(group, posterior, group.phi)
            columns[group.columns] = probabilities.argmax(1).to(columns.dtype)


def covariance(circuit: Circuit, schema: Schema) -> np.ndarray:
    """Return the covariance matrix of the columns; NaN for those of categories."""
    scale = schema.scale.copy()
    scale[list(schema.encoded)] = np.nan
    of_leaves = partial(moments_before_maps, schema)
    curved = _mapped_columns(schema)
    result: np.ndarray = circuit_covariance(circuit, of_leaves, curved).cpu().numpy()
    with np.errstate(over="ignore"):
        return result * scale * scale[:, None]
