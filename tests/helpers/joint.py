"""Small circuits with joint leaves, and the same densities as flat mixtures, slow but obvious.

All families are normal ones, on axes of their own, and categories. A term of the flat mixture, one
for each induced tree, is then one normal density of all numeric columns times probabilities of
categories.
"""

from dataclasses import dataclass

import numpy as np
import torch
from scipy import special, stats

from sklearn_einet.families import (
    Categorical,
    LogNormal,
    MultivariateNormal,
    Normal,
    SymlogNormal,
)
from sklearn_einet.structure import Partition, Region, RegionGraph
from tests.helpers.circuits import induced_trees, random_circuit

# Nodes and weights of sums that are expectations under a standard normal density. The step is small
# as the symmetric logarithm has a kink in its second derivative.
NODES = np.linspace(-12, 12, 6001)
WEIGHTS = np.exp(-0.5 * NODES**2) / np.sqrt(2 * np.pi) * (NODES[1] - NODES[0])
COARSE = slice(None, None, 20)


def joint(columns, mixed=False):
    return Region(columns, mixed=mixed, joint=True)


def beside_categories():
    """A joint density of three columns beside a category; and trees of single columns."""
    single = [Region([i]) for i in range(4)]
    return RegionGraph(
        Region(range(4), [Partition([joint([0, 1, 3]), Region([2])]), Partition(single)])
    )


def several_groups():
    """Joint densities of all columns, of pairs, and of one beside a product of the others."""
    return RegionGraph(
        Region(
            range(4),
            [
                Partition([joint(range(4)), Region((), mixed=False)]),
                Partition([joint([0, 2]), joint([1, 3])]),
                Partition([joint([3]), Region([0, 1, 2])]),
                Partition([joint([0, 2]), Region([1, 3])]),
            ],
        )
    )


def deep():
    """Joint densities that are mixed, shared, and two partitions below the root."""
    pair, third, last = joint([0, 1], mixed=True), Region([2]), Region([3])
    three = Region([0, 1, 2], [Partition([pair, third])])
    return RegionGraph(
        Region(
            range(4),
            [Partition([three, last]), Partition([pair, joint([2, 3], mixed=True)])],
        )
    )


def lone():
    """Nothing but one joint region."""
    return RegionGraph(joint(range(4), mixed=True))


MIXED = {Normal(): [0], SymlogNormal(1.5): [1], Categorical(3): [2], LogNormal(): [3]}
NUMERIC = {Normal(): [0, 2], SymlogNormal(1.5): [1], LogNormal(): [3]}
NORMAL = {Normal(): [0, 1, 2, 3]}

# What makes a structure, its layers, and families.
CASES = {
    "categories": (beside_categories, "cp", MIXED),
    "categories-tucker": (beside_categories, "tucker", MIXED),
    "groups": (several_groups, "cp", NUMERIC),
    "deep": (deep, "cp", NUMERIC),
    "deep-tucker": (deep, "tucker", MIXED),
    "lone": (lone, "cp", NORMAL),
    "lone-curved": (lone, "cp", MIXED),
}


def random_normals(n, d, rng, size=1.0):
    """Random normal densities of d columns."""
    factor = rng.standard_normal((n, d, d))
    covariance = size**2 * (0.3 * factor @ factor.transpose(0, 2, 1) + 0.1 * np.eye(d))
    mean = size * rng.standard_normal((n, d))
    return MultivariateNormal(torch.as_tensor(mean), torch.as_tensor(covariance))


def joint_circuit(case, K=2, seed=0, dtype=torch.float64):
    """A circuit of one of the CASES with random parameters."""
    graph, layer, families = CASES[case]
    circuit = random_circuit(graph(), families, K=K, seed=seed, dtype=dtype, layer=layer)
    rng = np.random.RandomState(seed + 1)
    for group in circuit.joint_groups:
        group.normals = random_normals(len(group.normals), len(group.columns), rng)
    return circuit


@dataclass
class Flat:
    """A mixture of normal densities of numeric columns, times probabilities of categories.

    Attributes
    ----------
    log_weights : ndarray of shape (n,)
    mean, covariance : ndarray of shape (n, n_features) and (n, n_features, n_features)
        On the axes of the families.
    families : list
        Of every column.
    probabilities : dict
        For each column of categories, an array (n, n_states).
    """

    log_weights: np.ndarray
    mean: np.ndarray
    covariance: np.ndarray
    families: list
    probabilities: dict

    @property
    def numeric(self):
        return [i for i in range(len(self.families)) if i not in self.probabilities]

    def axis(self, rows):
        result = np.array(rows, dtype=float)
        for column in self.numeric:
            x = torch.as_tensor(result[:, column])
            result[:, column] = self.families[column].axis(x)
        return result

    def log_slopes(self, rows):
        """Log-derivatives of the axes, summed over the observed cells of rows."""
        columns = [
            self.families[c].log_axis_slope(torch.as_tensor(rows[:, c])) * torch.ones(len(rows))
            for c in self.numeric
        ]
        return np.nansum(np.array(columns), axis=0) if columns else np.zeros(len(rows))

    def term_log_densities(self, rows):
        """Logarithms of the weighted terms' densities of observed cells, (n_rows, n)."""
        rows = np.asarray(rows, dtype=float)
        z, slopes = self.axis(rows), self.log_slopes(rows)
        result = np.empty((len(rows), len(self.log_weights)))
        for i, row in enumerate(z):
            seen = [c for c in self.numeric if not np.isnan(row[c])]
            for k in range(len(self.log_weights)):
                value = self.log_weights[k] + slopes[i]
                if seen:
                    value += stats.multivariate_normal.logpdf(
                        row[seen], self.mean[k, seen], self.covariance[k][np.ix_(seen, seen)]
                    )
                for column, share in self.probabilities.items():
                    if not np.isnan(row[column]):
                        value += np.log(share[k, int(row[column])])
                result[i, k] = value
        return result

    def log_prob(self, rows):
        return special.logsumexp(self.term_log_densities(rows), axis=1)

    def given(self, row):
        """The flat mixture of the columns given the observed cells of one row (n_features,).

        Observed columns keep their place, with variance 0.
        """
        terms = self.term_log_densities(row[None])[0]
        z = self.axis(row[None])[0]
        seen = np.array([c for c in self.numeric if not np.isnan(z[c])], dtype=int)
        mean, covariance = self.mean.copy(), self.covariance.copy()
        for k in range(len(terms)):
            own = self.covariance[k]
            gain = own[:, seen] @ np.linalg.inv(own[np.ix_(seen, seen)])
            mean[k] = self.mean[k] + gain @ (z[seen] - self.mean[k, seen])
            covariance[k] = own - gain @ own[seen]
        covariance[:, seen] = covariance[:, :, seen] = 0
        probabilities = {}
        for column, share in self.probabilities.items():
            states = np.arange(share.shape[1])
            known = not np.isnan(row[column])
            probabilities[column] = 1.0 * (states == row[column]) + 0 * share if known else share
        log_weights = terms - special.logsumexp(terms)
        return Flat(log_weights, mean, covariance, self.families, probabilities)

    def values(self, column, nodes=NODES):
        """Values of a numeric column at points so many standard deviations from the means of all
        terms, (n, n_nodes)."""
        sd = np.sqrt(self.covariance[:, column, column].clip(0))
        y = self.mean[:, column, None] + sd[:, None] * nodes
        return self.families[column].from_axis(torch.as_tensor(y)).numpy()

    def moments(self, column):
        """Mean and variance of a numeric column."""
        x, weights = self.values(column), np.exp(self.log_weights)
        first = weights @ (x @ WEIGHTS)
        return first, weights @ ((x - first) ** 2 @ WEIGHTS)

    def covariance_of(self, i, j):
        """The covariance of two numeric columns, by sums over both."""
        weights = np.exp(self.log_weights)
        nodes, mass = NODES[COARSE], WEIGHTS[COARSE] / WEIGHTS[COARSE].sum()
        first, second = self.moments(i)[0], self.moments(j)[0]
        x = self.values(i, nodes) - first
        total = 0.0
        for k, weight in enumerate(weights):
            own = self.covariance[k]
            slope = own[i, j] / own[i, i]
            rest = np.sqrt(max(own[j, j] - slope * own[i, j], 0.0))
            sd = np.sqrt(own[i, i])
            y = self.mean[k, j] + slope * sd * nodes[:, None] + rest * nodes
            values = self.families[j].from_axis(torch.as_tensor(y)).numpy() - second
            total += weight * ((x[k] * mass) @ values @ mass)
        return total


def flat(circuit):
    """A circuit of normal and categorical leaves as a flat mixture."""
    n = circuit.region_graph.n_features
    trees = induced_trees(circuit)
    families, probabilities = [None] * n, {}
    for group in circuit.leaf_groups:
        for column in group.columns.tolist():
            families[column] = group.family
            if isinstance(group.family, Categorical):
                probabilities[column] = np.ones((len(trees), group.family.n_states))
    mean, covariance = np.zeros((len(trees), n)), np.zeros((len(trees), n, n))
    for number, (_, _, leaves) in enumerate(trees):
        for region, unit in leaves:
            for group in circuit.leaf_groups:
                for slot, position in enumerate(group.index[region].tolist()):
                    if position == len(group.columns):
                        continue
                    column, phi = int(group.columns[position]), group.phi[region, slot, :, unit]
                    if column in probabilities:
                        probabilities[column][number] = phi
                    else:
                        mean[number, column] = phi[0]
                        covariance[number, column, column] = phi[1] - phi[0] ** 2
            for group in circuit.joint_groups:
                for row in np.flatnonzero(group.regions == region):
                    which, columns = row * circuit.K + unit, group.columns.numpy()
                    mean[number, columns] = group.normals.mean[which]
                    place = np.ix_([number], columns, columns)
                    covariance[place] = group.normals.covariance[which]
    log_weights = np.log([weight for weight, _, _ in trees])
    return Flat(log_weights, mean, covariance, families, probabilities)


def rows_of(circuit, n, seed=0, share=0.4):
    """Rows that the circuit could have drawn, without some of their cells."""
    rng = np.random.RandomState(seed)
    mixture = flat(circuit)
    rows = np.empty((n, len(mixture.families)))
    terms = rng.choice(len(mixture.log_weights), size=n, p=np.exp(mixture.log_weights))
    for row, term in zip(rows, terms, strict=True):
        row[:] = rng.multivariate_normal(mixture.mean[term], mixture.covariance[term])
        for column, family in enumerate(mixture.families):
            if column in mixture.probabilities:
                p = mixture.probabilities[column][term]
                row[column] = rng.choice(len(p), p=p / p.sum())
            else:
                row[column] = family.from_axis(torch.as_tensor(row[column : column + 1]))[0]
    rows[rng.rand(*rows.shape) < share] = np.nan
    rows[0] = np.nan
    return torch.as_tensor(rows)
