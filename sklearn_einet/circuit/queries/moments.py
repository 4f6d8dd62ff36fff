"""Expected values, given the observed cells of each row."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from sklearn.utils import gen_batches
from torch import Tensor

from sklearn_einet.circuit.circuit import Activations, Circuit
from sklearn_einet.circuit.leaves.base import LeafGroup
from sklearn_einet.circuit.queries.flows import leaf_log_flows

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


def expected(group: LeafGroup, posterior: Tensor, table: Tensor) -> Tensor:
    """Compute expectations of functions of the columns of a leaf group.

    A column's conditional distribution is the mixture of its leaves' densities by their
    posteriors, so that every expectation is a product with those of the leaves.

    Parameters
    ----------
    group : LeafGroup
    posterior : Tensor of shape (n_leaf_regions, K, batch)
    table : Tensor of shape (n_leaf_regions, n_slots, n_functions, K)
        Expectations under the leaves' densities.

    Returns
    -------
    expected : Tensor of shape (n_columns, n_functions, batch)
    """
    batch = posterior.shape[2]
    n_functions, k = table.shape[2:]
    result = posterior.new_zeros(len(group.columns), n_functions, batch)
    rows = table.reshape(-1, n_functions, k)
    for _, terms in group.terms.blocks(8 * max(k, n_functions) * batch):
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
    ) -> None:
        self.circuit = circuit
        self.tables = []
        self._centers = []
        for group in circuit.leaf_groups:
            mean, variance, center = of_leaves(group)
            center = _bounded(center)
            deviation = _bounded(mean) - center[group.index.clamp_max(len(group.columns) - 1)]
            square = deviation**2 + variance.clamp_max(LARGEST_SQUARABLE**2)
            self.tables.append(torch.stack([deviation, square], 2))
            self._centers.append(center)

    def __call__(self, posterior: Tensor) -> tuple[Tensor, Tensor]:
        """Return those of missing cells; for observed ones they have no meaning.

        Parameters
        ----------
        posterior : Tensor of shape (n_leaf_regions, K, batch)

        Returns
        -------
        mean, variance : Tensor of shape (n_features, batch)
        """
        mean = posterior.new_empty(self.circuit.region_graph.n_features, posterior.shape[2])
        variance = torch.empty_like(mean)
        groups = zip(self.circuit.leaf_groups, self.tables, self._centers, strict=True)
        for group, table, center in groups:
            first, second = expected(group, posterior, table).unbind(1)
            mean[group.columns] = first + center
            variance[group.columns] = (second - first**2).clamp_min(0)
        return mean, variance


def _bounded(mean: Tensor) -> Tensor:
    return mean.clamp(-LARGEST_SQUARABLE, LARGEST_SQUARABLE)


def covariance(
    circuit: Circuit, of_leaves: Callable[[LeafGroup], LeafMoments] = moments_of_family
) -> Tensor:
    """Compute the covariance of all pairs of columns, (n_features, n_features).

    E[(x_i - c) x_j] is E[x_i - c] times the mean of x_j under the density that is proportional to
    (x_i - c) p(x). With c below all means of x_i at the leaves, that density is the circuit with
    (mean - c) for the values of x_i's leaves: one upward and one downward pass for each column.

    Parameters
    ----------
    circuit : Circuit
    of_leaves : callable, default=moments_of_family
        As of `Moments`.
    """
    moments = Moments(circuit, of_leaves)
    mean, variance = moments(posterior(circuit, circuit.propagate(circuit.nothing)))
    result = torch.empty(len(mean), len(mean), dtype=mean.dtype, device=mean.device)
    for group, table in zip(circuit.leaf_groups, moments.tables, strict=True):
        deviation = table[:, :, 0].flatten(0, 1)
        for part in gen_batches(len(group.columns), circuit.block_rows):
            columns = group.columns[part]
            margin = torch.where(variance[columns, 0] > 0, variance[columns, 0].sqrt(), 1.0)
            leaves = _tilted_leaves(circuit, group, part, deviation, margin)
            activations = circuit.propagate(leaves)
            tilted, _ = moments(posterior(circuit, activations))
            result[:, columns] = (tilted - mean) * activations.root.exp()
    result = 0.5 * (result + result.T)
    result.diagonal().copy_(variance[:, 0])
    return result


def _tilted_leaves(
    circuit: Circuit, group: LeafGroup, part: slice, deviation: Tensor, margin: Tensor
) -> Tensor:
    """Return logarithms of (mean - c) at the leaves of one column after the other, 0 at all others.

    Parameters
    ----------
    circuit : Circuit
    group : LeafGroup
    part : slice
        Some of the group's columns, each a row of the batch.
    deviation : Tensor of shape (n_regions * n_slots, K)
        Means of the leaf group's densities.
    margin : Tensor of shape (n_columns,)
        Positive distances of c from the least mean.
    """
    start, stop = int(part.start), int(part.stop)
    wanted = torch.zeros_like(group.columns, dtype=torch.bool)
    wanted[part] = True
    terms = group.terms.where(wanted)
    values, column = deviation[terms.slot], terms.column - start
    least = torch.full_like(margin, torch.inf).scatter_reduce_(0, column, values.amin(1), "amin")
    leaves = circuit.nothing.repeat(1, 1, stop - start)
    leaves[terms.region, :, column] = (values - (least - margin)[column].unsqueeze(1)).log()
    return leaves
