"""Small circuits with random parameters, and slow but obvious ways to evaluate them."""

import itertools

import numpy as np
import torch

from sklearn_einet.circuit import Circuit, LeafColumns
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
from sklearn_einet.structure import Partition, Region, RegionGraph, random_binary_trees


def irregular_graph():
    """Shared regions, several partitions a region, three children, leaves at all depths."""
    a, b, c, d = (Region([i]) for i in range(4))
    ab = Region([0, 1], [Partition([a, b])])
    bc = Region([1, 2], [Partition([b, c])])
    cd = Region([2, 3])
    abc = Region([0, 1, 2], [Partition([ab, c]), Partition([a, bc])])
    return RegionGraph(
        Region(range(4), [Partition([abc, d]), Partition([ab, cd]), Partition([a, b, cd])])
    )


def tree_graph(n_features, depth, replicas, seed=0):
    return random_binary_trees(n_features, depth, replicas, np.random.RandomState(seed))


def random_phi(family, shape, rng):
    """Expectation parameters of random distributions, of shape (..., n_statistics, n)."""
    *outer, n = shape
    outer = tuple(outer)

    def uniform(low, high):
        return torch.as_tensor(rng.uniform(low, high, outer + (n,)))

    if isinstance(family, Categorical):
        phi = torch.as_tensor(rng.dirichlet(np.ones(family.n_statistics), outer + (n,)))
        return phi.transpose(-1, -2) * 0.98 + 0.02 / family.n_statistics
    if isinstance(family, Normal):
        mean, variance = uniform(-2, 2), uniform(0.2, 2)
        return torch.stack([mean, mean**2 + variance], -2)
    if isinstance(family, Gamma):
        theta = torch.stack([uniform(0.5, 5), -uniform(0.5, 3)], -2)
        return family.expectation(theta)
    if isinstance(family, Beta):
        return family.expectation(torch.stack([uniform(0.5, 5), uniform(0.5, 5)], -2))
    if isinstance(family, Binomial):
        return (family.n_trials * uniform(0.1, 0.9)).unsqueeze(-2)
    return uniform(0.5, 4).unsqueeze(-2)


def random_circuit(graph, families, K=3, seed=0, dtype=torch.float64):
    """A circuit with random parameters; `families` maps each family to its columns."""
    rng = np.random.RandomState(seed)
    groups = []
    for family, columns in families.items():
        reference = random_phi(family, (len(columns), 1), rng).squeeze(-1)
        groups.append(LeafColumns(family, np.asarray(columns), reference.numpy()))
    circuit = Circuit(graph, groups, K, min_variance=1e-3, dtype=dtype)
    for i, weights in enumerate(circuit.weights):
        noise = torch.as_tensor(rng.exponential(size=tuple(weights.shape))).to(dtype)
        noise = torch.where(weights > 0, noise, 0)
        axes = (2, 3) if weights.ndim == 4 else (1,)
        circuit.weights[i] = noise / noise.sum(axes, keepdim=True)
    for group in circuit.leaf_groups:
        n_regions, n_slots, _, k = group.phi.shape
        group.phi = random_phi(group.family, (n_regions, n_slots, k), rng)
    return circuit


def states(*sizes):
    """All rows of discrete columns with the given numbers of states."""
    return torch.tensor(list(itertools.product(*map(range, sizes))), dtype=torch.float64)


FAMILY_EXAMPLES = [
    Normal(),
    LogNormal(),
    Bernoulli(),
    Binomial(n_trials=5),
    Categorical(n_states=4),
    Poisson(),
    Exponential(),
    FixedShapeGamma(2.5),
    Gamma(),
    Beta(),
]
