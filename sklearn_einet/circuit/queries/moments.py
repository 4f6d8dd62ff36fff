"""Expected values, given the observed cells of each row."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from functools import cached_property
from typing import NamedTuple

import torch
from torch import Tensor

from sklearn_einet.circuit.circuit import Activations, Circuit
from sklearn_einet.circuit.leaves.base import LeafGroup
from sklearn_einet.circuit.queries.flows import leaf_log_flows
from sklearn_einet.circuit.queries.joint_moments import (
    CurvedColumn,
    add_moments,
    covariances_within,
    means_within,
)

__all__ = [
    "LeafMoments",
    "Moments",
    "column_covariances",
    "covariance",
    "expected",
    "moments_of_family",
    "posterior",
]

# Means of log-normal densities can overflow; cut here, neither they nor their squares do.
LARGEST_SQUARABLE = 1e150


def posterior(circuit: Circuit, activations: Activations) -> Tensor:
    """Return posterior probabilities of the leaf regions' units, (n_leaf_regions, K, batch)."""
    return leaf_log_flows(circuit, activations).exp_()


def expected(
    group: LeafGroup, posterior: Tensor, table: Tensor, wanted: Tensor | None = None
) -> Tensor:
    """Compute expectations of functions of the columns of a leaf group.

    A column's conditional distribution is the mixture of its leaves' densities by their
    posteriors, so that every expectation is a product with those of the leaves.

    Parameters
    ----------
    group : LeafGroup
    posterior : Tensor of shape (n_leaf_regions, K, batch)
    table : Tensor of shape (n_leaf_regions, n_slots, n_functions, K)
        Expectations under the leaves' densities.
    wanted : Tensor of bool of shape (n_columns,), default=None
        Columns whose expectations are needed; 0 for others. None: all.

    Returns
    -------
    expected : Tensor of shape (n_columns, n_functions, batch)
    """
    batch = posterior.shape[2]
    n_functions, k = table.shape[2:]
    result = posterior.new_zeros(len(group.columns), n_functions, batch)
    rows = table.reshape(-1, n_functions, k)
    all_terms = group.terms if wanted is None else group.terms.where(wanted)
    for _, terms in all_terms.blocks(8 * max(k, n_functions) * batch):
        products = torch.bmm(rows[terms.slot], posterior[terms.region])
        result.index_add_(0, terms.column, products)
    return result


class LeafMoments(NamedTuple):
    """Means and variances of values under a leaf group's densities.

    Attributes
    ----------
    mean, variance : Tensor of shape (n_regions, n_slots, K)
    center : Tensor of shape (n_columns, 1)
        A number near the means of each column, such as the mean of the whole column.
    """

    mean: Tensor
    variance: Tensor
    center: Tensor


def moments_of_family(group: LeafGroup) -> LeafMoments:
    """Return the moments of a group's densities in the units of the circuit."""
    family = group.family
    return LeafMoments(
        family.mean(group.phi), family.variance(group.phi), family.mean(group.reference)
    )


class Moments:
    """Mean and variance of every column, given posteriors.

    Parameters
    ----------
    circuit : Circuit
    of_leaves : callable, default=moments_of_family
        Maps a leaf group to the `LeafMoments` of the requested quantity.
    curved : mapping of int to CurvedColumn, default=None
        The same for joint densities: columns that are not on the axis of their family.

    Attributes
    ----------
    tables : list of Tensor of shape (n_leaf_regions, n_slots, 2, K)
        First and second moments of every leaf group's densities, about the means of the whole
        columns, so that large means lose no digits in the squares.
    """

    def __init__(
        self,
        circuit: Circuit,
        of_leaves: Callable[[LeafGroup], LeafMoments] = moments_of_family,
        curved: Mapping[int, CurvedColumn] | None = None,
    ) -> None:
        self.circuit = circuit
        self.tables = []
        self.curved = curved or {}
        self.center = torch.empty(
            circuit.region_graph.n_features, 1, dtype=torch.float64, device=circuit.device
        )
        for group in circuit.leaf_groups:
            found = of_leaves(group)
            self.center[group.columns] = _bounded(found.center)
            self.tables.append(_table(group, found))

    def set_column(self, number: int, place: int, found: LeafMoments) -> None:
        """Change the moments of one of the columns of a leaf group.

        Parameters
        ----------
        number : int
            The number of the leaf group.
        place : int
            The position of the column in the group.
        found : LeafMoments
            The moments of the whole group.
        """
        group = self.circuit.leaf_groups[number]
        self.center[group.columns[place]] = _bounded(found.center)[place]
        own = group.index == place
        self.tables[number][own] = _table(group, found)[own]

    @cached_property
    def within(self) -> list[tuple[Tensor, Tensor]]:
        """Means and variances of the columns under every joint density without evidence, (n, d)
        each."""
        return [means_within(joint, self.curved) for joint in self.circuit.joint_groups]

    def __call__(
        self,
        posterior: Tensor,
        evidence: Tensor | None = None,
        wanted: Collection[int] | None = None,
    ) -> tuple[Tensor, Tensor]:
        """Return the moments of missing cells; for observed cells they have no meaning.

        Parameters
        ----------
        posterior : Tensor of shape (n_leaf_regions, K, batch)
        evidence : Tensor of shape (n_features, batch), default=None
            The evidence of the posterior, NaN without any. None: no evidence at all.
        wanted : collection of int, default=None
            The only curved columns whose moments given evidence must be right. None: all.

        Returns
        -------
        mean, variance : Tensor of shape (n_features, batch)
        """
        circuit, curved = self.circuit, self.curved
        if wanted is not None:
            curved = {column: curved[column] for column in curved.keys() & wanted}
        first = posterior.new_zeros(circuit.region_graph.n_features, posterior.shape[2])
        second = torch.zeros_like(first)
        for group, table in zip(circuit.leaf_groups, self.tables, strict=True):
            first[group.columns], second[group.columns] = expected(group, posterior, table).unbind(
                1
            )
        for number, joint in enumerate(circuit.joint_groups):
            if evidence is not None:
                add_moments(joint, posterior, evidence, self.center, curved, first, second)
                continue
            mean, variance = self.within[number]
            share = posterior[joint.regions].flatten(0, 1)
            deviation = mean - self.center[joint.columns].T
            first[joint.columns] += deviation.T @ share
            second[joint.columns] += (deviation**2 + variance).T @ share
        return first + self.center, (second - first**2).clamp_min(0)


def _table(group: LeafGroup, found: LeafMoments) -> Tensor:
    """Return first and second moments about the columns' centers, (n_regions, n_slots, 2, K)."""
    center = _bounded(found.center)[group.index.clamp_max(len(group.columns) - 1)]
    deviation = _bounded(found.mean) - center
    square = deviation**2 + found.variance.clamp_max(LARGEST_SQUARABLE**2)
    return torch.stack([deviation, square], 2)


def _bounded(mean: Tensor) -> Tensor:
    return mean.clamp(-LARGEST_SQUARABLE, LARGEST_SQUARABLE)


def covariance(
    circuit: Circuit,
    of_leaves: Callable[[LeafGroup], LeafMoments] = moments_of_family,
    curved: Mapping[int, CurvedColumn] | None = None,
) -> Tensor:
    """Compute the covariance of all pairs of columns, (n_features, n_features).

    E[(x_i - c) x_j] is E[x_i - c] times the mean of x_j under the density that is proportional to
    (x_i - c) p(x). With c below all means of x_i at the leaves, that density is the circuit with
    (mean - c) for the values of x_i's leaves: one upward and one downward pass for each column.
    Covariances under joint densities are added, weighted by the probabilities of these.

    Parameters
    ----------
    circuit : Circuit
    of_leaves, curved
        As in `Moments`.
    """
    moments = Moments(circuit, of_leaves, curved)
    columns = torch.arange(len(moments.center), device=moments.center.device)
    result = torch.cat(
        [
            column_covariances(moments, part, circuit.nothing)
            for part in columns.split(circuit.block_rows)
        ],
        1,
    )
    result = 0.5 * (result + result.T)
    _, variance = moments(posterior(circuit, circuit.propagate(circuit.nothing)))
    result.diagonal().copy_(variance[:, 0])
    return result


def column_covariances(moments: Moments, columns: Tensor, leaves: Tensor) -> Tensor:
    """Return covariances of some columns with all columns, given evidence on others.

    Parameters
    ----------
    moments : Moments
    columns : Tensor of int of shape (batch,)
    leaves : Tensor of shape (n_leaf_regions, K, batch) or (n_leaf_regions, K, 1)
        The leaf regions' values for the evidence, which must not be on columns of joint densities.

    Returns
    -------
    covariances : Tensor of shape (n_features, batch)
    """
    circuit = moments.circuit
    given = circuit.propagate(leaves)
    of_evidence = given.root.clone()
    probability = posterior(circuit, given)
    mean, variance = moments(probability)
    spread = variance.expand(-1, len(columns)).gather(0, columns.unsqueeze(0))[0].sqrt()
    margin = torch.where(spread > 0, spread, 1.0)
    activations = circuit.propagate(_tilted_leaves(moments, columns, leaves, margin))
    root = activations.root.clone()
    tilted, _ = moments(posterior(circuit, activations))
    result = (tilted - mean) * (root - of_evidence).exp()
    for joint in circuit.joint_groups:
        here = torch.nonzero(torch.isin(columns, joint.columns)).view(-1)
        if len(here):
            share = probability[joint.regions].flatten(0, 1).expand(-1, len(columns))[:, here]
            own = covariances_within(joint, moments.curved)[:, joint.positions(columns[here])]
            within = torch.einsum("nbd,nb->db", own, share)
            result[joint.columns.unsqueeze(1), here] += within
    return result


def _tilted_leaves(moments: Moments, columns: Tensor, leaves: Tensor, margin: Tensor) -> Tensor:
    """Return leaf regions' values times (mean - c) at the leaves of one column per row.

    Parameters
    ----------
    moments : Moments
    columns : Tensor of int of shape (batch,)
    leaves : Tensor of shape (n_leaf_regions, K, batch) or (n_leaf_regions, K, 1)
    margin : Tensor of shape (batch,)
        Positive distances of c from the least mean.
    """
    circuit = moments.circuit
    result = leaves.expand(-1, -1, len(columns)).clone()
    for column in torch.unique(columns):
        rows = torch.nonzero(columns == column).view(-1)
        places = []
        for group, table in zip(circuit.leaf_groups, moments.tables, strict=True):
            terms = group.terms.where(group.columns == column)
            places.append((terms.region, table[:, :, 0].flatten(0, 1)[terms.slot]))
        for number, joint in enumerate(circuit.joint_groups):
            own = _joint_deviations(moments, number, column.view(1))
            places.append((joint.regions[: len(own)], own))
        least = torch.stack([values.min() for _, values in places if len(values)]).min()
        for region, values in places:
            tilt = (values.unsqueeze(2) - (least - margin[rows])).log().to(result.dtype)
            result[region.unsqueeze(1), :, rows] += tilt.permute(0, 2, 1)
    return result


def _joint_deviations(moments: Moments, number: int, column: Tensor) -> Tensor:
    """Return means of a joint group's densities minus that of the whole column, (n_regions, K), or
    (0, K) if the column is not joint."""
    joint, (mean, _) = moments.circuit.joint_groups[number], moments.within[number]
    if not bool(torch.isin(column, joint.columns)):
        return mean.new_zeros(0, joint.K)
    own = mean[:, joint.positions(column)[0]] - moments.center[column]
    return own.view(len(joint.regions), joint.K)
