import numpy as np
import pytest
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
from sklearn_einet.learning import FullEM, Rows, StochasticEM
from sklearn_einet.learning.expectation_maximization import maximize, penalty
from sklearn_einet.learning.fitting import mean_log_likelihood
from sklearn_einet.learning.statistics import expected_statistics
from tests.helpers import irregular_graph, random_circuit, tree_graph

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


def as_rows(X, weight=None):
    return Rows(X, np.array, weight, torch.device("cpu"), np.random.RandomState(0))


@pytest.mark.parametrize("missing", [0.0, 0.3])
@pytest.mark.parametrize("pseudocount", [0.0, 0.1, 5.0])
@pytest.mark.parametrize("graph", [tree_graph(10, 2, 2), tree_graph(10, 0, 1)], ids=str)
def test_full_em_never_lowers_the_penalised_likelihood(graph, pseudocount, missing):
    circuit = random_circuit(graph, MIXED)
    rows = as_rows(mixed_rows(60, missing))
    solver, values = FullEM(pseudocount), []
    for _ in range(25):
        prior = float(penalty(circuit, pseudocount))
        values.append(solver.epoch(circuit, rows) * len(rows) + prior)
    gains = np.diff(values)
    assert (gains >= -1e-6 * np.abs(values[1:])).all()
    assert values[-1] > values[0] + 10


def test_full_em_is_monotone_with_weights_and_variance_floor():
    circuit = random_circuit(irregular_graph(), {Normal(): range(4)})
    for group in circuit.leaf_groups:
        group.min_variance = 0.1
    rng = np.random.RandomState(0)
    X = np.round(rng.randn(40, 4))  # ties, at which variances would vanish
    rows = as_rows(X, rng.exponential(size=40))
    solver, values = FullEM(0.0), []
    for _ in range(30):
        values.append(solver.epoch(circuit, rows))
    # The first step moves the random start into the constraint.
    assert (np.diff(values)[1:] >= -1e-9).all()
    (group,) = circuit.leaf_groups
    spread = group.family.variance(group.phi)
    floor = 0.1 * group.family.variance(group.slot_reference)
    assert (spread >= floor * (1 - 1e-9)).all()
    assert (spread < floor * (1 + 1e-9)).any()


def test_mixed_in_float32_is_monotone_to_its_accuracy():
    circuit = random_circuit(tree_graph(10, 2, 2), MIXED, dtype=torch.float32)
    rows = as_rows(mixed_rows(60, 0.2))
    values = [FullEM(0.0).epoch(circuit, rows) for _ in range(20)]
    assert (np.diff(values) >= -1e-6 * np.abs(values[1:])).all()


def test_one_large_step_of_stochastic_em_is_a_full_one():
    X = mixed_rows(50, 0.1)
    full, stochastic = (random_circuit(tree_graph(10, 2, 2), MIXED) for _ in range(2))
    FullEM(0.5).epoch(full, as_rows(X))
    StochasticEM(0.5, 1.0, 50, 50.0).epoch(stochastic, as_rows(X))
    for a, b in zip(full.weights, stochastic.weights, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-6, atol=1e-9)
    for a, b in zip(full.leaf_groups, stochastic.leaf_groups, strict=True):
        torch.testing.assert_close(a.phi, b.phi, rtol=1e-6, atol=1e-9)


def test_weights_equal_repetitions():
    X = mixed_rows(20, 0.2)
    repeats = np.random.RandomState(0).randint(1, 4, size=20)
    weighted, repeated = (random_circuit(tree_graph(10, 2, 2), MIXED) for _ in range(2))
    for _ in range(5):
        FullEM(0.1).epoch(weighted, as_rows(X, repeats.astype(float)))
        FullEM(0.1).epoch(repeated, as_rows(np.repeat(X, repeats, axis=0)))
    for a, b in zip(weighted.weights, repeated.weights, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-7, atol=1e-12)


def test_stochastic_em_improves():
    circuit = random_circuit(tree_graph(10, 2, 2), MIXED, dtype=torch.float32)
    rows = as_rows(mixed_rows(500, 0.1))
    solver = StochasticEM(0.1, 0.05, 20, 500.0)
    values = [solver.epoch(circuit, rows) for _ in range(5)]
    assert values[-1] > values[0] + 1
    assert mean_log_likelihood(circuit, rows) > values[0] + 1


def test_nodes_without_mass_keep_their_parameters():
    circuit = random_circuit(tree_graph(4, 1, 1), {Normal(): range(4)}, K=2)
    statistics = expected_statistics(circuit, torch.zeros(3, 4, dtype=torch.float64))
    before = circuit.leaf_groups[0].phi.clone(), [w.clone() for w in circuit.weights]
    for counts in statistics.counts:
        counts.zero_()
    statistics.leaves = [(w.zero_(), m.zero_()) for w, m in statistics.leaves]
    maximize(circuit, statistics, pseudocount=0.0)
    torch.testing.assert_close(circuit.leaf_groups[0].phi, before[0])
    for a, b in zip(circuit.weights, before[1], strict=True):
        torch.testing.assert_close(a, b)


@pytest.mark.parametrize("pseudocount", [0.0, 0.1])
def test_weights_stay_positive_and_normalised(pseudocount):
    circuit = random_circuit(irregular_graph(), {Bernoulli(): range(4)}, dtype=torch.float32)
    padding = [w == 0 for w in circuit.weights]
    X = np.ones((30, 4))  # every row the same: most terms lose all their mass
    for _ in range(50):
        FullEM(pseudocount).epoch(circuit, as_rows(X))
    for weights, pad in zip(circuit.weights, padding, strict=True):
        assert (weights[~pad] > 0).all()
        assert (weights[pad] == 0).all()
        axes = (2, 3) if weights.ndim == 4 else (1,)
        torch.testing.assert_close(weights.sum(axes), torch.ones_like(weights.sum(axes)))
    assert torch.isfinite(circuit.log_prob(torch.tensor([[0.0, 1, 0, 1]])))
