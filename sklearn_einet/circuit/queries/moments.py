"""Expected values, given the observed cells of each row."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cached_property
from typing import NamedTuple

import torch
from sklearn.utils import gen_batches
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
    "covariance",
    "expected",
    "moments_of_family",
    "posterior",
]

# Means of log-normal densities can exceed all numbers; cut here, neither they nor their squares do.
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
        Columns whose expectations are asked for; 0 for others. None: all.

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
    """Means and variances of the values that a leaf group's densities are of.

    Attributes
    ----------
    mean, variance : Tensor of shape (n_regions, n_slots, K)
    center : Tensor of shape (n_columns, 1)
        A number near the means of each column, such as that of the whole column.
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
        From a leaf group to the `LeafMoments` of what moments are asked for.
    curved : mapping of int to CurvedColumn, default=None
        The same for joint densities: columns that are not on the axis of their family.

    Attributes
    ----------
    tables : list of Tensor of shape (n_leaf_regions, n_slots, 2, K)
        First and second moments of every leaf group's densities. They are taken about the whole
        columns' means, so that large means lose no digits in the squares.
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
            mean, variance, center = of_leaves(group)
            center = _bounded(center)
            self.center[group.columns] = center
            deviation = _bounded(mean) - center[group.index.clamp_max(len(group.columns) - 1)]
            square = deviation**2 + variance.clamp_max(LARGEST_SQUARABLE**2)
            self.tables.append(torch.stack([deviation, square], 2))

    @cached_property
    def within(self) -> list[tuple[Tensor, Tensor]]:
        """Means and variances of the columns under every joint density without evidence, (n, d)
        each."""
        return [means_within(joint, self.curved) for joint in self.circuit.joint_groups]

    def __call__(self, posterior: Tensor, evidence: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Return those of missing cells; for observed ones they have no meaning.

        Parameters
        ----------
        posterior : Tensor of shape (n_leaf_regions, K, batch)
        evidence : Tensor of shape (n_features, batch), default=None
            What the posterior is given, NaN where nothing; None: nothing at all.

        Returns
        -------
        mean, variance : Tensor of shape (n_features, batch)
        """
        circuit = self.circuit
        first = posterior.new_zeros(circuit.region_graph.n_features, posterior.shape[2])
        second = torch.zeros_like(first)
        for group, table in zip(circuit.leaf_groups, self.tables, strict=True):
            first[group.columns], second[group.columns] = expected(group, posterior, table).unbind(
                1
            )
        for number, joint in enumerate(circuit.joint_groups):
            if evidence is not None:
                add_moments(joint, posterior, evidence, self.center, self.curved, first, second)
                continue
            mean, variance = self.within[number]
            share = posterior[joint.regions].flatten(0, 1)
            deviation = mean - self.center[joint.columns].T
            first[joint.columns] += deviation.T @ share
            second[joint.columns] += (deviation**2 + variance).T @ share
        return first + self.center, (second - first**2).clamp_min(0)


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
    What columns have to do with each other under joint densities is added, by the probabilities of
    these.

    Parameters
    ----------
    circuit : Circuit
    of_leaves, curved
        As of `Moments`.
    """
    moments = Moments(circuit, of_leaves, curved)
    probability = posterior(circuit, circuit.propagate(circuit.nothing))
    mean, variance = moments(probability)
    result = torch.empty(len(mean), len(mean), dtype=mean.dtype, device=mean.device)
    for group, table in zip(circuit.leaf_groups, moments.tables, strict=True):
        deviation = table[:, :, 0].flatten(0, 1)
        for part in gen_batches(len(group.columns), circuit.block_rows):
            columns = group.columns[part]
            margin = torch.where(variance[columns, 0] > 0, variance[columns, 0].sqrt(), 1.0)
            leaves = _tilted_leaves(moments, group, part, deviation, margin)
            activations = circuit.propagate(leaves)
            tilted, _ = moments(posterior(circuit, activations))
            result[:, columns] = (tilted - mean) * activations.root.exp()
    for joint in circuit.joint_groups:
        share = probability[joint.regions].flatten(0, 1)
        within = (covariances_within(joint, moments.curved) * share.unsqueeze(2)).sum(0)
        result[joint.columns.unsqueeze(1), joint.columns] += within
    result = 0.5 * (result + result.T)
    result.diagonal().copy_(variance[:, 0])
    return result


def _tilted_leaves(
    moments: Moments, group: LeafGroup, part: slice, deviation: Tensor, margin: Tensor
) -> Tensor:
    """Return logarithms of (mean - c) at the leaves of one column after the other, 0 at all others.

    Parameters
    ----------
    moments : Moments
    group : LeafGroup
    part : slice
        Some of the group's columns, each a row of the batch.
    deviation : Tensor of shape (n_regions * n_slots, K)
        Means of the leaf group's densities, less those of the whole columns.
    margin : Tensor of shape (n_columns,)
        Positive distances of c from the least mean.
    """
    circuit = moments.circuit
    start, stop = int(part.start), int(part.stop)
    wanted = torch.zeros_like(group.columns, dtype=torch.bool)
    wanted[part] = True
    terms = group.terms.where(wanted)
    values, column = deviation[terms.slot], terms.column - start
    least = torch.full_like(margin, torch.inf).scatter_reduce_(0, column, values.amin(1), "amin")
    numbers = range(len(circuit.joint_groups))
    joint = [_joint_deviations(moments, number, group.columns[part]) for number in numbers]
    for own, where in joint:
        least[where] = torch.minimum(least[where], own.amin((0, 1)))
    least = least - margin
    leaves = circuit.nothing.repeat(1, 1, stop - start)
    leaves[terms.region, :, column] = (values - least[column].unsqueeze(1)).log()
    for each, (own, where) in zip(circuit.joint_groups, joint, strict=True):
        tilted = leaves[each.regions]
        tilted[:, :, where] = (own - least[where]).log()
        leaves[each.regions] = tilted
    return leaves


def _joint_deviations(moments: Moments, number: int, columns: Tensor) -> tuple[Tensor, Tensor]:
    """Return means of a joint group's densities, less those of the whole columns, (n_regions, K,
    n), for those of some columns that are joint, and which these are, (n,)."""
    joint, (mean, _) = moments.circuit.joint_groups[number], moments.within[number]
    where = torch.nonzero(torch.isin(columns, joint.columns)).view(-1)
    own = mean[:, joint.positions(columns[where])] - moments.center[columns[where]].T
    return own.view(len(joint.regions), joint.K, -1), where
