"""Rows of a column of every family, and structures over them."""

import numpy as np
import torch

from sklearn_einet.families import (
    Bernoulli,
    Beta,
    Binomial,
    Categorical,
    Exponential,
    FixedShapeGamma,
    Gamma,
    LogNormal,
    Normal,
    Poisson,
)
from sklearn_einet.structure import Partition, Region, RegionGraph
from sklearn_einet.structure.tree_regions import tree_regions
from sklearn_einet.tables.rows import Rows
from tests.helpers.circuits import Structure, tree_graph

MIXED = {
    Normal(): [0],
    LogNormal(): [1],
    Bernoulli(): [2],
    Binomial(6): [3],
    Categorical(4): [4],
    Poisson(): [5],
    Exponential(): [6],
    FixedShapeGamma(2.0): [7],
    Gamma(): [8],
    Beta(): [9],
}


def mixed_rows(n, missing, seed=0):
    rng = np.random.RandomState(seed)
    cluster = rng.randint(3, size=n)
    X = np.column_stack(
        [
            rng.normal(3.0 * cluster),
            rng.lognormal(cluster),
            rng.rand(n) < 0.2 + 0.3 * cluster,
            rng.binomial(6, 0.2 + 0.3 * cluster),
            (cluster + (rng.rand(n) < 0.2)) % 4,
            rng.poisson(1 + 4 * cluster),
            rng.exponential(1.0 + cluster),
            rng.gamma(2.0, 1.0 + cluster),
            rng.gamma(1.0 + 3 * cluster, 1.0),
            rng.beta(1.0 + cluster, 3.0 - cluster),
        ]
    )
    X[rng.rand(*X.shape) < missing] = np.nan
    return X


def wide_irregular_graph():
    """Shared regions, leaves of several columns at all depths, over ten columns."""
    a, b, c, d = Region([0, 9]), Region([1]), Region([2, 3, 4]), Region([5, 6])
    ab, bc = Region([0, 9, 1], [Partition([a, b])]), Region([1, 2, 3, 4], [Partition([b, c])])
    abc = Region([0, 9, 1, 2, 3, 4], [Partition([ab, c]), Partition([a, bc])])
    rest = [Region([7]), Region([8])]
    return RegionGraph(
        Region(range(10), [Partition([abc, d, *rest]), Partition([ab, c, d, *rest])])
    )


# A chain with a branch, and a star with a tail.
HIDDEN = [[1, 2, 3, -1, 3, 4, 4, 6, 7, 8], [9, 9, 9, 9, 9, 4, 5, 9, 9, -1]]

# Over ten columns: random trees, a lone leaf region, one and two hidden trees of which numeric
# columns have leaf regions that are mixed, and shared regions.
CP_GRAPHS = [
    Structure(tree_graph(10, 2, 2), "cp"),
    Structure(tree_graph(10, 0, 1), "cp"),
    Structure(tree_regions(HIDDEN[:1]), "cp"),
    Structure(tree_regions(HIDDEN, np.arange(10) % 3 == 0), "cp"),
    Structure(tree_regions(HIDDEN, np.ones(10, dtype=bool)), "cp"),
    Structure(wide_irregular_graph(), "cp"),
]


def as_rows(X, weight=None):
    return Rows(X, np.array, weight, torch.device("cpu"), np.random.RandomState(0))
