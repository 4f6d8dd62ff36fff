import numpy as np
import pytest
import torch

from sklearn_einet.families import Bernoulli, Categorical, Normal
from sklearn_einet.learning.initialization import initialize
from sklearn_einet.structure.tree_regions import tree_regions
from tests.helpers.circuits import (
    Structure,
    irregular_graph,
    random_circuit,
    tree_graph,
    with_other_layers,
)
from tests.helpers.rows import MIXED, mixed_rows

CHAIN = tree_regions([np.arange(10) - 1])
GRAPHS = [
    tree_graph(10, 2, 3),
    tree_graph(10, 0, 1),
    Structure(tree_graph(10, 2, 3), "cp"),
    Structure(CHAIN, "cp"),
    *with_other_layers(CHAIN),
]


def parameters(circuit):
    return [*circuit.weights, *(group.phi for group in circuit.leaf_groups)]


@pytest.mark.parametrize("graph", GRAPHS, ids=str)
def test_weights_and_repetitions_and_order(graph):
    X = mixed_rows(40, 0.2)
    rng = np.random.RandomState(0)
    repeats = rng.randint(1, 4, size=40)
    weighted, repeated = (random_circuit(graph, MIXED) for _ in range(2))
    initialize(weighted, torch.tensor(X), torch.tensor(repeats).double(), np.random.RandomState(1))
    shuffled = rng.permutation(np.repeat(X, repeats, axis=0))
    initialize(repeated, torch.tensor(shuffled), None, np.random.RandomState(1))
    for a, b in zip(parameters(weighted), parameters(repeated), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-8, atol=1e-10)


@pytest.mark.parametrize("graph", [*GRAPHS, irregular_graph()], ids=str)
def test_parameters_are_valid_and_differ(graph):
    d = (graph.graph if isinstance(graph, Structure) else graph).n_features
    circuit = random_circuit(graph, {Normal(): range(d)}, K=4)
    padding = [w == 0 for w in circuit.weights]
    x = torch.randn(100, d, generator=torch.Generator().manual_seed(0)).double()
    initialize(circuit, x, None, np.random.RandomState(0))
    for weights, pad, axes in zip(circuit.weights, padding, circuit.summed_axes, strict=True):
        torch.testing.assert_close(weights.sum(axes), torch.ones_like(weights.sum(axes)))
        assert ((weights == 0) == pad).all()
    (group,) = circuit.leaf_groups
    assert (group.family.variance(group.phi) > 0).all()
    means = group.phi[:, 0, 0].sort(dim=-1).values
    assert (means.diff(dim=-1) > 1e-6).all()
    assert torch.isfinite(circuit.log_prob(x)).all()


@pytest.mark.parametrize(
    "graph", [tree_graph(8, 2, 3), Structure(tree_regions([np.arange(8) - 1]), "cp")], ids=str
)
def test_start_beats_independent_columns(graph):
    """On dependent columns the start is already better than a product of marginals."""
    rng = np.random.RandomState(0)
    cluster = rng.randint(2, size=(300, 1))
    x = torch.tensor((rng.rand(300, 8) < np.where(cluster, 0.9, 0.1)).astype(float))
    circuit = random_circuit(graph, {Bernoulli(): range(8)}, K=4)
    initialize(circuit, x, None, rng)
    p = x.mean(0)
    independent = (x * p.log() + (1 - x) * (1 - p).log()).sum(1).mean()
    assert circuit.log_prob(x).mean() > independent + 0.3


def test_constant_and_single_rows():
    families = {Normal(): [0, 1], Categorical(2): [2, 3]}
    for x in (torch.zeros(5, 4).double(), torch.ones(1, 4).double()):
        circuit = random_circuit(irregular_graph(), families)
        initialize(circuit, x, None, np.random.RandomState(0))
        assert torch.isfinite(circuit.log_prob(x)).all()
