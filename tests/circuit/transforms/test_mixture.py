"""A mixture of circuits against the weighted sum of their densities."""

import numpy as np
import pytest
import torch

from sklearn_einet.circuit.transforms.mixture import (
    component_circuits,
    component_log_values,
    component_weights,
    mixture_circuit,
)
from sklearn_einet.families import Bernoulli, Categorical, Normal
from sklearn_einet.structure import Partition, Region, RegionGraph, poon_domingos
from tests.helpers.circuits import (
    GRAPHS,
    irregular_graph,
    random_circuit,
    rows_with_gaps,
    tree_graph,
)

FAMILIES = {Normal(): [0], Categorical(3): [1], Bernoulli(): [2, 3]}


def lone_leaf():
    """A leaf region beside a constant 1."""
    return RegionGraph(Region(range(4), [Partition([Region(range(4)), Region(())])]))


MIXED = {
    "one": [tree_graph(4, 2, 1)],
    "alike": [tree_graph(4, 2, 3, seed) for seed in range(3)],
    "sizes": [tree_graph(4, 1, 1), tree_graph(4, 2, 4, 1), irregular_graph()],
    "leaves": [lone_leaf(), lone_leaf()],
    "leaf-and-tree": [tree_graph(4, 2, 2), lone_leaf()],
    "images": [poon_domingos((2, 2), 2), poon_domingos((2, 2), 2, "vertical")],
}


@pytest.fixture(params=MIXED)
def mixed(request):
    circuits = [random_circuit(g, FAMILIES, seed=i) for i, g in enumerate(MIXED[request.param])]
    # One schema for all: the unit of the densities is the columns' own distribution.
    for circuit in circuits[1:]:
        for group, first in zip(circuit.leaf_groups, circuits[0].leaf_groups, strict=True):
            group.reference = first.reference
            group.derive()
    weights = np.random.RandomState(0).dirichlet(np.ones(len(circuits)))
    mixture = mixture_circuit(circuits, weights)
    component = np.repeat(
        np.arange(len(circuits)), [len(c.region_graph.root.partitions) for c in circuits]
    )
    return circuits, weights, mixture, component


def brute_force(circuits, weights, rows):
    joint = torch.stack([c.log_prob(rows) for c in circuits], 1) + torch.tensor(weights).log()
    return joint, joint.logsumexp(1)


def test_density_is_the_weighted_sum(mixed):
    circuits, weights, mixture, component = mixed
    rows = rows_with_gaps(mixture, 50, share=0.3)
    _, total = brute_force(circuits, weights, rows)
    torch.testing.assert_close(mixture.log_prob(rows), total, rtol=1e-12, atol=1e-12)
    np.testing.assert_allclose(component_weights(mixture, component), weights, rtol=1e-14)


def test_impossible_row(mixed):
    _, _, mixture, _ = mixed
    row = torch.tensor([[0.0, 1.0, 0.5, 1.0]], dtype=torch.float64)
    assert mixture.log_prob(row).item() == -np.inf


def test_shares_of_components(mixed):
    circuits, weights, mixture, component = mixed
    rows = rows_with_gaps(mixture, 20, share=0.3)
    leaves, base = mixture.leaf_log_densities(rows.T.contiguous(), mixture.parameters())
    values = component_log_values(mixture, mixture.propagate(leaves), component) + base
    joint, _ = brute_force(circuits, weights, rows)
    torch.testing.assert_close(values.T, joint, rtol=1e-12, atol=1e-12)


def test_taking_apart_is_the_inverse(mixed):
    circuits, _, mixture, component = mixed
    rows = rows_with_gaps(mixture, 20, share=0.3)
    parts = component_circuits(mixture, component)
    for circuit, part in zip(circuits, parts, strict=True):
        torch.testing.assert_close(part.log_prob(rows), circuit.log_prob(rows), rtol=1e-12, atol=0)
        assert repr(part.region_graph.binarized()) == repr(circuit.region_graph.binarized())
    part.weights[0].zero_()
    assert mixture.weights[0].abs().sum() > 0


def test_shares_no_tensors(mixed):
    circuits, _, mixture, _ = mixed
    before = mixture.log_prob(rows_with_gaps(mixture, 5))
    for circuit in circuits:
        for weights in circuit.weights:
            weights.zero_()
        for group in circuit.leaf_groups:
            group.phi.zero_()
    torch.testing.assert_close(mixture.log_prob(rows_with_gaps(mixture, 5)), before)


@pytest.mark.parametrize("graph", GRAPHS[:2])
def test_mixture_with_equal_components_is_the_component(graph):
    circuit = random_circuit(graph, FAMILIES)
    again = random_circuit(
        tree_graph(4, 2, 3) if graph is GRAPHS[1] else irregular_graph(), FAMILIES
    )
    mixture = mixture_circuit([circuit, again], np.array([0.3, 0.7]))
    rows = rows_with_gaps(circuit, 20)
    torch.testing.assert_close(mixture.log_prob(rows), circuit.log_prob(rows))
