import copy

import numpy as np
import pytest
import torch

from sklearn_einet.circuit.queries.sampling import sample
from sklearn_einet.families import Bernoulli, Categorical, Normal
from sklearn_einet.learning.expectation_maximization import maximize, step
from sklearn_einet.learning.statistics import Statistics, expected_statistics, prior_statistics
from tests.helpers.circuits import (
    LAYERS,
    Structure,
    hidden_trees,
    induced_trees,
    irregular_graph,
    random_circuit,
    states,
    tree_graph,
    with_other_layers,
)

GRAPHS = [
    tree_graph(4, 2, 2),
    tree_graph(4, 0, 1),
    irregular_graph(),
    Structure(tree_graph(4, 2, 2), "cp"),
    Structure(irregular_graph(), "cp"),
    Structure(hidden_trees(), "cp"),
    Structure(hidden_trees(), "tucker"),
    *with_other_layers(irregular_graph(), hidden_trees()),
]


def assert_same(found, counts, leaves, rtol):
    for a, b in zip(found.counts, counts, strict=True):
        torch.testing.assert_close(a, b, rtol=rtol, atol=1e-12)
    for (a, a_mass), (b, b_mass) in zip(found.leaves, leaves, strict=True):
        torch.testing.assert_close(a, b, rtol=rtol, atol=1e-12)
        torch.testing.assert_close(a_mass, b_mass, rtol=rtol, atol=1e-12)


def enumerated_statistics(circuit, X, weight):
    """Expected counts and leaf statistics as sums over all induced trees."""
    counts = [torch.zeros_like(w) for w in circuit.weights]
    leaves = [
        (torch.zeros_like(g.phi), torch.zeros_like(g.phi[:, :, 0])) for g in circuit.leaf_groups
    ]
    trees = induced_trees(circuit)
    for x, row_weight in zip(X, weight, strict=True):
        log_leaf = {}
        for g in circuit.leaf_groups:
            for region in range(len(g.index)):
                for slot, position in enumerate(g.index[region].tolist()):
                    if position < len(g.columns):
                        cell = x[g.columns[position]]
                        if not torch.isnan(cell):
                            value = g.family.log_prob(cell[None], g.phi[region, slot])
                            log_leaf[region] = log_leaf.get(region, 0) + value
        joint = np.array(
            [
                w * np.exp(sum(float(log_leaf[r][k]) for r, k in used if r in log_leaf))
                for w, _, used in trees
            ]
        )
        posterior = float(row_weight) * joint / joint.sum()
        for p, (_, terms, used) in zip(posterior, trees, strict=True):
            for which, index in terms:
                counts[which][index] += p
            for region, k in used:
                for g, (weighted, mass) in zip(circuit.leaf_groups, leaves, strict=True):
                    for slot, position in enumerate(g.index[region].tolist()):
                        if position < len(g.columns):
                            cell = x[g.columns[position]]
                            if not torch.isnan(cell):
                                mass[region, slot, k] += p
                                weighted[region, slot, :, k] += (
                                    p * g.family.statistics(cell[None])[:, 0]
                                )
    return counts, leaves


@pytest.mark.parametrize("graph", GRAPHS, ids=str)
def test_counts_equal_those_of_induced_trees(graph):
    circuit = random_circuit(graph, {Bernoulli(): [0], Normal(): [1, 3], Categorical(3): [2]}, K=2)
    nan = torch.nan
    X = torch.tensor(
        [[0, 0.3, 2, -1.0], [1, nan, 0, 0.5], [nan, nan, nan, 2.0], [nan, nan, nan, nan]]
    ).double()
    weight = torch.tensor([1.0, 0.5, 2.0, 1.0]).double()
    found = expected_statistics(circuit, X, weight)
    counts, leaves = enumerated_statistics(circuit, X, weight)
    assert_same(found, counts, leaves, rtol=1e-9)
    assert found.weight == 4.5
    assert found.log_likelihood == pytest.approx(float(circuit.log_prob(X) @ weight))


@pytest.mark.parametrize("graph", GRAPHS, ids=str)
def test_blocks_add_up(graph):
    circuit = random_circuit(graph, {Normal(): [0, 1, 2, 3]})
    X = torch.randn(30, 4, generator=torch.Generator().manual_seed(0)).double()
    X[3:9, 2] = torch.nan
    whole = expected_statistics(circuit, X)
    parts = (
        expected_statistics(circuit, X[:7])
        + expected_statistics(circuit, X[7:8])
        + expected_statistics(circuit, X[8:])
    )
    assert parts.weight == whole.weight == 30
    assert parts.log_likelihood == pytest.approx(whole.log_likelihood)
    assert_same(parts, whole.counts, whole.leaves, rtol=1e-10)


@pytest.mark.parametrize("swap", [False, True])
def test_blocks_of_different_precision_add_up(swap):
    """A block with large values has statistics of double precision, which are not rounded."""
    circuit = random_circuit(tree_graph(4, 2, 2), {Normal(): [0, 1, 2, 3]}).to("cpu", torch.float32)
    generator = torch.Generator().manual_seed(0)
    blocks = [torch.randn(64, 4, generator=generator).double() for _ in range(2)]
    blocks[1] = 1e4 + blocks[1]
    small, large = (expected_statistics(circuit, x) for x in blocks)
    assert small.leaves[0][0].dtype == torch.float32
    assert large.leaves[0][0].dtype == torch.float64
    exact = small.leaves[0][0].double() + large.leaves[0][0]
    first, second = (large, small) if swap else (small, large)
    counts = [a + b for a, b in zip(first.counts, second.counts, strict=True)]
    total = first + second
    first += second
    for found in (total, first):
        assert found.leaves[0][0].dtype == torch.float64
        torch.testing.assert_close(found.leaves[0][0], exact, rtol=1e-15, atol=0)
        assert all(torch.equal(a, b) for a, b in zip(found.counts, counts, strict=True))
        assert found.weight == 128


@pytest.mark.parametrize("graph", GRAPHS, ids=str)
def test_prior_statistics_are_the_expectation_under_the_model(graph):
    families = {Bernoulli(): [0, 2], Categorical(3): [1], Categorical(2): [3]}
    circuit = random_circuit(graph, families)
    everything = states(2, 3, 2, 2)
    expected = expected_statistics(circuit, everything, circuit.log_prob(everything).exp())
    found = prior_statistics(circuit)
    assert_same(found, expected.counts, expected.leaves, rtol=1e-9)


@pytest.mark.parametrize("graph", GRAPHS, ids=str)
def test_prior_statistics_are_a_fixed_point(graph):
    circuit = random_circuit(graph, {Normal(): range(4)})
    rows = torch.as_tensor(sample(circuit, 20, np.random.RandomState(0)))
    before = circuit.log_prob(rows)
    maximize(circuit, prior_statistics(circuit), pseudocount=0.0)
    torch.testing.assert_close(circuit.log_prob(rows), before, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("layer", LAYERS)
@pytest.mark.parametrize("pseudocount", [0.0, 0.3])
@pytest.mark.usefixtures("backend")
def test_step_maximizes_a_weighted_mean(layer, pseudocount):
    """In place and in one pass, a stochastic step agrees with its definition."""
    circuit = random_circuit(Structure(tree_graph(4, 1, 2), layer), {Normal(): range(4)})
    generator = torch.Generator().manual_seed(0)
    a, b = (torch.randn(n, 4, generator=generator).double() for n in (5, 8))
    average, batch = expected_statistics(circuit, a), expected_statistics(circuit, b)
    first = expected_statistics(circuit, a)
    mixed = Statistics(
        0.0,
        1.0,
        [0.75 * x / 5 + 0.25 * y / 8 for x, y in zip(first.counts, batch.counts, strict=True)],
        [
            tuple(0.75 * x / 5 + 0.25 * y / 8 for x, y in zip(old, new, strict=True))
            for old, new in zip(first.leaves, batch.leaves, strict=True)
        ],
    )
    expected = circuit.to("cpu")
    expected.leaf_groups = [copy.copy(group) for group in circuit.leaf_groups]
    maximize(expected, mixed, pseudocount)
    circuit.weights = [w.clone() for w in circuit.weights]
    step(circuit, average, batch, 0.25, pseudocount)
    for found, wanted in zip(average.counts, mixed.counts, strict=True):
        torch.testing.assert_close(found, wanted)
    for found, wanted in zip(circuit.weights, expected.weights, strict=True):
        torch.testing.assert_close(found, wanted)
    for found, wanted in zip(circuit.leaf_groups, expected.leaf_groups, strict=True):
        torch.testing.assert_close(found.phi, wanted.phi)
    assert average.weight == 1
