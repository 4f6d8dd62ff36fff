"""Means and variances of columns, and of missing cells given the rest of the row."""

from __future__ import annotations

from collections.abc import Collection, Mapping
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
from sklearn_einet.families import Categorical
from sklearn_einet.model.evidence import check_possible, incomplete_blocks
from sklearn_einet.tables.column_maps import ColumnMap
from sklearn_einet.tables.mapped_moments import mapped_moments
from sklearn_einet.tables.schema import Schema

__all__ = [
    "ColumnMoments",
    "conditional_moments",
    "mapped_columns",
    "moments",
    "moments_before_maps",
]


def moments(of_columns: ColumnMoments) -> tuple[np.ndarray, np.ndarray]:
    """Return mean and variance of every column."""
    nothing = torch.full_like(of_columns.of_posterior.center, torch.nan)
    mean, variance = of_columns(nothing, of_columns.circuit.nothing)
    return mean[0], variance[0]


def conditional_moments(
    of_columns: ColumnMoments, X: np.ndarray, codes: bool, warn: bool = True
) -> tuple[np.ndarray, np.ndarray]:
    """Return rows with means in place of missing cells; see `TableDensity.conditional_moments`."""
    gaps = np.isnan(X)
    mean, variance, wanted = X.copy(), np.zeros(X.shape), gaps.any(axis=0)
    for rows, evidence, leaves in incomplete_blocks(of_columns.circuit, of_columns.schema, X, warn):
        missing = gaps[rows]
        block_mean, block_variance = of_columns(evidence, leaves, rows, wanted, codes)
        mean[rows] = np.where(missing, block_mean, X[rows])
        variance[rows] = np.where(missing, block_variance, 0.0)
    return mean, variance


class ColumnMoments:
    """Means and variances of the table's columns, in their units.

    The moments of mapped columns' leaves are computed when first needed, and cached.

    Parameters
    ----------
    circuit : Circuit
        Its parameters must not change any more.
    schema : Schema
    """

    def __init__(self, circuit: Circuit, schema: Schema) -> None:
        self.circuit, self.schema = circuit, schema
        # Rounding to a grid spreads a density evenly over each step.
        self._rounding = np.zeros(len(schema.names))
        for column, form in schema.states.forms.items():
            if not form.is_complete:
                self._rounding[column] = form.step**2 / 12
        self.of_posterior = Moments(
            circuit, partial(moments_before_maps, schema, maps={}), mapped_columns(schema)
        )
        self._ready: set[int] = set()

    def __call__(
        self,
        evidence: Tensor,
        leaves: Tensor,
        rows: np.ndarray | None = None,
        wanted: np.ndarray | None = None,
        codes: bool = True,
    ) -> tuple[np.ndarray, np.ndarray]:
        """Return the moments of missing cells, (batch, n_columns) each.

        Parameters
        ----------
        evidence : Tensor of shape (n_features, batch)
        leaves : Tensor of shape (n_leaf_regions, K, batch)
            The leaf regions' values for it.
        rows : ndarray of int of shape (batch,), default=None
            The numbers of the rows, for messages. None: there is no evidence.
        wanted : ndarray of bool of shape (n_columns,), default=None
            Columns whose moments are needed; those of others may be wrong. None: all.
        codes : bool, default=True
            False: return the most probable category instead of the mean of a column's codes.
        """
        for column in self.schema.maps.keys() - self._ready:
            if wanted is None or wanted[column]:
                self._make_ready(column)
        posteriors, mean, variance = self._of_features(evidence, leaves, rows, codes)
        for column in self.schema.states.split:
            if wanted is None or wanted[column]:
                share = self._states(column, posteriors)
                self._join_atoms(column, share, evidence, mean, variance)
        return mean, variance

    def _make_ready(self, column: int) -> None:
        """Set the moments of a mapped column's leaves; concurrent threads set the same values."""
        mapped = {column: self.schema.maps[column]}
        for number, group in enumerate(self.circuit.leaf_groups):
            for place in torch.nonzero(group.columns == column).view(-1).tolist():
                found = moments_before_maps(self.schema, group, maps=mapped)
                self.of_posterior.set_column(number, place, found)
        self._ready.add(column)

    def _of_features(
        self,
        evidence: Tensor,
        leaves: Tensor,
        rows: np.ndarray | None,
        codes: bool = True,
        wanted: Collection[int] | None = None,
    ) -> tuple[Tensor, np.ndarray, np.ndarray]:
        """Return posteriors of leaf units, and moments of numbers regardless of atoms; for mapped
        columns, perhaps only those in `wanted`."""
        activations = self.circuit.propagate(leaves)
        if rows is not None:
            check_possible(activations.root.cpu().numpy(), rows)
        posteriors = posterior(self.circuit, activations)
        given = None if rows is None else evidence
        first, second = self.of_posterior(posteriors, given, wanted)
        if not codes:
            _set_categories(self.circuit, self.schema, posteriors, first)
        n_columns = len(self.schema.names)
        mean = self.schema.decode_mean(first[:n_columns].T.cpu().numpy())
        variance = self.schema.decode_square(second[:n_columns].T.cpu().numpy())
        variance += self._rounding
        return posteriors, mean, variance

    def _states(self, column: int, posteriors: Tensor) -> np.ndarray:
        """Return the probabilities of a column's states, (batch, n_states)."""
        state = self.schema.states.state_of(column)
        for group in self.circuit.leaf_groups:
            place = torch.nonzero(group.columns == state).view(-1)
            if len(place):
                wanted = torch.zeros_like(group.columns, dtype=torch.bool)
                wanted[place] = True
                found = expected(group, posteriors, group.phi, wanted)[int(place)]
                return (found / found.sum(0)).T.cpu().numpy()
        raise AssertionError("every state has leaves")

    def _join_atoms(
        self,
        column: int,
        share: np.ndarray,
        evidence: Tensor,
        mean: np.ndarray,
        variance: np.ndarray,
    ) -> None:
        """Combine moments of a column's numbers with its atoms, in place."""
        atoms, state = self.schema.states.forms[column].atoms, self.schema.states.state_of(column)
        some = np.flatnonzero((share[:, -1] > 0) & torch.isnan(evidence[state]).cpu().numpy())
        number, square = np.zeros((2, len(share)))
        if len(some):
            given = evidence[:, torch.as_tensor(some)]
            given[state] = len(atoms)
            leaves, _ = self.circuit.leaf_log_densities(given, self.circuit.parameters())
            _, means, variances = self._of_features(given, leaves, some, wanted=[column])
            number[some], square[some] = means[:, column], variances[:, column]
        of_atoms, of_number = share[:, :-1], share[:, -1]
        total = of_atoms @ atoms + of_number * number
        spread = (of_atoms * (atoms - total[:, None]) ** 2).sum(axis=1)
        variance[:, column] = spread + of_number * (square + (number - total) ** 2)
        mean[:, column] = total


def moments_before_maps(
    schema: Schema,
    group: LeafGroup,
    values: Mapping[int, np.ndarray] | None = None,
    maps: Mapping[int, ColumnMap] | None = None,
) -> LeafMoments:
    """Return the moments of a group's densities; for mapped columns, of the unmapped values.

    Parameters
    ----------
    schema : Schema
    group : LeafGroup
    values : mapping of int to ndarray, default=None
        The values of features' states. None: the atoms, in columns of nothing else.
    maps : mapping of int to ColumnMap, default=None
        The maps of columns whose moments must be right. None: all.
    """
    moments = moments_of_family(group)
    maps = schema.maps if maps is None else maps
    if values is None:
        values = {column: schema.states.forms[column].atoms for column in schema.states.complete}
    if not maps and not values:
        return moments
    mean, variance, center = (each.clone() for each in moments)
    for position, column in enumerate(group.columns.tolist()):
        if column in maps:
            own = group.index == position
            found = mapped_moments(maps[column], *(each[own].cpu().numpy() for each in moments[:2]))
            mean[own], variance[own] = (torch.from_numpy(each).to(mean.device) for each in found)
            center[position] = 0.0  # the mean of the column's typical cells
        elif column in values:
            own = group.index == position
            atoms = torch.as_tensor(values[column], device=mean.device)
            center[position] = _of_states(group.reference[position].T, atoms)[0]
            mean[own], variance[own] = _of_states(group.phi[own].transpose(1, 2), atoms)
    return LeafMoments(mean, variance, center)


def _of_states(shares: Tensor, values: Tensor) -> tuple[Tensor, Tensor]:
    """Return mean and variance of values with the given probabilities along the last axis."""
    mean = (shares * values).sum(-1)
    return mean, (shares * (values - mean.unsqueeze(-1)) ** 2).sum(-1)


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


def mapped_columns(schema: Schema) -> dict[int, MappedColumn]:
    """Return the columns with maps, in the form used by `Moments`."""
    return {column: MappedColumn(each) for column, each in schema.maps.items()}


def _set_categories(circuit: Circuit, schema: Schema, posterior: Tensor, columns: Tensor) -> None:
    """Set categorical cells of an array (n_features, batch) to the most probable category."""
    numbers = torch.as_tensor(schema.states.complete, device=columns.device)
    for group in circuit.leaf_groups:
        if isinstance(group.family, Categorical):
            categories = ~torch.isin(group.columns, numbers)
            probabilities = expected(group, posterior, group.phi)
            own = group.columns[categories]
            columns[own] = probabilities.argmax(1).to(columns.dtype)[categories]
