"""Small circuits with random parameters, and slow but obvious ways to evaluate them."""

import itertools
from typing import NamedTuple

import numpy as np
import torch

from sklearn_einet.circuit import Circuit, LeafColumns
from sklearn_einet.circuit.layers.einsum import EinsumLayer
from sklearn_einet.circuit.layers.mixing import MixingLayer
from sklearn_einet.circuit.layers.stack import PRODUCT_LAYERS
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


# The names of all layers of products.
LAYERS = list(PRODUCT_LAYERS)


def with_other_layers(*graphs):
    """Structures with the layers beyond the two that are listed by name everywhere."""
    others = [layer for layer in LAYERS if layer not in ("tucker", "cp")]
    return [Structure(graph, layer) for layer in others for graph in graphs]


# Over four columns: shared regions, a tree, a lone leaf region; hidden trees; all kinds of layers.
GRAPHS = [
    irregular_graph(),
    tree_graph(4, 2, 3),
    tree_graph(4, 0, 1),
    Structure(irregular_graph(), "cp"),
    Structure(tree_graph(4, 2, 3), "cp"),
    Structure(tree_graph(4, 0, 1), "cp"),
    Structure(hidden_trees(), "cp"),
    Structure(hidden_trees(), "tucker"),
    *with_other_layers(irregular_graph(), tree_graph(4, 2, 3), hidden_trees()),
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
    (leaf region, unit) pairs.
    """

    def expand(output, row, unit):
        if output == 0:
            yield 1.0, [], [(row, unit)]
            return
        layer = circuit.layers[output - 1]
        for weight, indices, below in terms(layer, circuit.weights[output - 1], row, unit):
            subtrees = [list(expand(*layer.children[child], k)) for child, k in below]
            for trees in itertools.product(*subtrees):
                product = weight * np.prod([w for w, _, _ in trees])
                chosen = [(output - 1, index) for index in indices]
                used = [t for _, tree, _ in trees for t in tree]
                leaves = [leaf for _, _, tree in trees for leaf in tree]
                yield product, chosen + used, leaves

    return list(expand(len(circuit.layers), 0, 0))


def terms(layer, weights, row, unit):
    """The terms of a unit in a layer's row: weights, their indices, and (child, unit) pairs."""
    if isinstance(layer, MixingLayer):
        for slot in np.flatnonzero(layer.present[row]):
            term = int(layer.terms[row, slot])
            k = layer.n_terms // len(layer.children)
            below = divmod(term, k) if layer.over_units else (term, unit)
            yield float(weights[row, slot, unit]), [(row, slot, unit)], [below]
        return
    children = np.flatnonzero(layer.partition == row)
    if isinstance(layer, EinsumLayer):
        for pair in itertools.product(range(weights.shape[-1]), repeat=2):
            index = row, unit, *pair
            yield float(weights[index]), [index], list(zip(children, pair, strict=True))
        return
    mixed = [c for c in children if layer.is_mixed[c]]
    for units in itertools.product(range(weights.shape[-1]), repeat=len(mixed)):
        of = dict(zip(mixed, units, strict=True))
        indices = [(int(layer.is_mixed[:c].sum()), unit, k) for c, k in of.items()]
        weight = np.prod([float(weights[index]) for index in indices])
        yield weight, indices, [(c, of.get(c, unit)) for c in children]


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
