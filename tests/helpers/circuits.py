"""Small circuits with random parameters, and slow but obvious ways to evaluate them."""

import itertools
from typing import NamedTuple

import numpy as np
import torch

from sklearn_einet.circuit import Circuit, LeafColumns
from sklearn_einet.circuit.layers.einsum_level import EinsumLevel
from sklearn_einet.circuit.layers.entry_level import EntryLevel
from sklearn_einet.circuit.queries.sampling import sample
from sklearn_einet.families import (
    Bernoulli,
    Beta,
    Binomial,
    Categorical,
    Constant,
    Exponential,
    FixedShapeGamma,
    Gamma,
    LogNormal,
    Normal,
    Poisson,
)
from sklearn_einet.structure import Partition, Region, RegionGraph, random_binary_trees
from sklearn_einet.structure.tree_regions import tree_regions
from tests.helpers.families import FAMILY_EXAMPLES, grid, random_phi


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


def hidden_trees():
    """Two hidden Chow-Liu trees of unequal depth over four columns."""
    return tree_regions([[-1, 0, 1, 2], [3, 3, 3, -1]])


class Structure(NamedTuple):
    """A region graph and the kind of its layers."""

    graph: RegionGraph
    layer: str

    def __str__(self):
        return f"{self.layer}-{self.graph}"


# Over four columns: shared regions, a tree, a lone leaf region; hidden trees; both kinds of layers.
GRAPHS = [
    irregular_graph(),
    tree_graph(4, 2, 3),
    tree_graph(4, 0, 1),
    Structure(irregular_graph(), "cp"),
    Structure(tree_graph(4, 2, 3), "cp"),
    Structure(tree_graph(4, 0, 1), "cp"),
    Structure(hidden_trees(), "cp"),
    Structure(hidden_trees(), "tucker"),
]


def random_circuit(graph, families, K=3, seed=0, dtype=torch.float64, layer="tucker"):
    """A circuit with random parameters; `families` maps each family to its columns, and `graph`
    is a region graph or a Structure."""
    if isinstance(graph, Structure):
        graph, layer = graph
    rng = np.random.RandomState(seed)
    groups = []
    for family, columns in families.items():
        reference = random_phi(family, (len(columns), 1), rng).squeeze(-1)
        groups.append(LeafColumns(family, np.asarray(columns), reference.numpy()))
    circuit = Circuit(graph, groups, K, layer=layer, min_variance=1e-3, dtype=dtype)
    for i, weights in enumerate(circuit.weights):
        noise = torch.as_tensor(rng.exponential(size=tuple(weights.shape))).to(dtype)
        noise = torch.where(weights > 0, noise, 0)
        circuit.weights[i] = noise / noise.sum(circuit.summed_axes[i], keepdim=True)
    for group in circuit.leaf_groups:
        n_regions, n_slots, _, k = group.phi.shape
        group.phi = random_phi(group.family, (n_regions, n_slots, k), rng)
    return circuit


def induced_trees(circuit):
    """All induced trees, by recursion.

    Each is its weight, the chosen terms of sums as (number of the weights, index), and the chosen
    (leaf region, entry) pairs.
    """
    weights, numbers = circuit.weights, circuit.by_level(range(len(circuit.weights)))

    def expand(output, row, entry):
        if output == 0:
            yield 1.0, [], [(row, entry)]
            return
        level, (_, mixing) = circuit.levels[output - 1], numbers[output - 1]
        partitions = [(1.0, [], row)]
        if mixing is not None:
            partitions = [
                (float(w), [(mixing, (row, p, entry))], int(level.mixing[row, p]))
                for p, w in enumerate(weights[mixing][row, :, entry])
                if w > 0
            ]
        for weight, terms, partition in partitions:
            for more_weight, more_terms, entries in choices(output, partition, entry):
                children = level.children[level.partition == partition]
                if isinstance(level, EntryLevel):
                    children = level.children[[partition // circuit.K]]
                below = [
                    list(expand(*child, k)) for child, k in zip(children, entries, strict=True)
                ]
                for trees in itertools.product(*below):
                    product = weight * more_weight * np.prod([w for w, _, _ in trees])
                    used = [t for _, tree, _ in trees for t in tree]
                    leaves = [leaf for _, _, tree in trees for leaf in tree]
                    yield product, terms + more_terms + used, leaves

    def choices(output, partition, entry):
        """The ways to choose the children's entries: their weights, terms and the entries."""
        level, (sums, _) = circuit.levels[output - 1], numbers[output - 1]
        if isinstance(level, EntryLevel):
            yield 1.0, [], [partition % circuit.K]
        elif isinstance(level, EinsumLevel):
            for i, j in itertools.product(range(circuit.K), repeat=2):
                index = partition, entry, i, j
                yield float(weights[sums][index]), [(sums, index)], [i, j]
        else:
            children = np.flatnonzero(level.partition == partition)
            mixed = [c for c in children if level.is_mixed[c]]
            for entries in itertools.product(range(circuit.K), repeat=len(mixed)):
                of = dict(zip(mixed, entries, strict=True))
                terms = [(sums, (int(level.is_mixed[:c].sum()), entry, k)) for c, k in of.items()]
                weight = np.prod([float(weights[which][index]) for which, index in terms])
                yield weight, terms, [of.get(c, entry) for c in children]

    return list(expand(len(circuit.levels), 0, 0))


def states(*sizes):
    """All rows of discrete columns with the given numbers of states."""
    return torch.tensor(list(itertools.product(*map(range, sizes))), dtype=torch.float64)


# Circuits over four columns: one family each, and mixtures of all kinds.
FAMILY_TABLES = [{family: [0, 1, 2, 3]} for family in FAMILY_EXAMPLES] + [
    {Normal(): [0], Categorical(3): [1], Gamma(): [2], Bernoulli(): [3]},
    {Normal(): [0, 2], Constant(): [1], Bernoulli(): [3]},
    {LogNormal(): [3], Poisson(): [1], Beta(): [2], Binomial(5): [0]},
    {Exponential(): [1], FixedShapeGamma(2.5): [0], Normal(): [2, 3]},
]


def family_of(circuit, column):
    return next(g.family for g in circuit.leaf_groups if column in g.columns.tolist())


def table_id(families):
    return "-".join(family.name for family in families)


def completions(circuit, row, column):
    """A row with every value of a column, and the weights of these values."""
    nodes, weights = grid(family_of(circuit, column))
    rows = row.repeat(len(nodes), 1)
    rows[:, column] = nodes
    return rows, weights


def rows_with_gaps(circuit, n, seed=0, share=0.5):
    """Rows that the circuit could have drawn, without some of their cells."""
    rng = np.random.RandomState(seed)
    rows = sample(circuit, n, rng)
    rows[rng.rand(*rows.shape) < share] = np.nan
    return torch.as_tensor(rows)
