import numpy as np
import pytest
import torch

from sklearn_einet.families import (
    Bernoulli,
    Normal,
)
from sklearn_einet.learning import FullEM, StochasticEM, expectation_maximization
from sklearn_einet.learning.expectation_maximization import maximize, penalty
from sklearn_einet.learning.fitting import mean_log_likelihood
from sklearn_einet.learning.statistics import expected_statistics
from tests.helpers.circuits import LAYERS, irregular_graph, random_circuit, tree_graph
from tests.helpers.rows import CP_GRAPHS, MIXED, as_rows, mixed_rows, wide_irregular_graph


def check_monotone(graph, pseudocount, missing):
    circuit = random_circuit(graph, MIXED)
    rows = as_rows(mixed_rows(60, missing))
    solver, values = FullEM(pseudocount), []
    for _ in range(25):
        prior = float(penalty(circuit, pseudocount))
        values.append(solver.epoch(circuit, rows) * len(rows) + prior)
    gains = np.diff(values)
    assert (gains >= -1e-6 * np.abs(values[1:])).all()
    assert values[-1] > values[0] + 10


@pytest.mark.parametrize("missing", [0.0, 0.3])
@pytest.mark.parametrize("pseudocount", [0.0, 0.1, 5.0])
@pytest.mark.parametrize("graph", [tree_graph(10, 2, 2), tree_graph(10, 0, 1)], ids=str)
def test_full_em_never_lowers_the_penalised_likelihood(graph, pseudocount, missing):
    check_monotone(graph, pseudocount, missing)


@pytest.mark.parametrize("pseudocount", [0.0, 0.1])
@pytest.mark.parametrize("graph", [wide_irregular_graph(), *CP_GRAPHS], ids=str)
def test_full_em_is_monotone_in_cp_layers_and_shared_regions(graph, pseudocount):
    check_monotone(graph, pseudocount, missing=0.3)


@pytest.mark.parametrize("layer", LAYERS)
def test_full_em_is_monotone_with_weights_and_variance_floor(layer):
    circuit = random_circuit(irregular_graph(), {Normal(): range(4)}, layer=layer)
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


@pytest.mark.parametrize("graph", [tree_graph(10, 2, 2), CP_GRAPHS[0], CP_GRAPHS[3]], ids=str)
def test_mixed_in_float32_is_monotone_to_its_accuracy(graph):
    circuit = random_circuit(graph, MIXED, dtype=torch.float32)
    rows = as_rows(mixed_rows(60, 0.2))
    values = [FullEM(0.0).epoch(circuit, rows) for _ in range(20)]
    assert (np.diff(values) >= -1e-6 * np.abs(values[1:])).all()


@pytest.mark.parametrize("graph", [tree_graph(10, 2, 2), *CP_GRAPHS], ids=str)
def test_one_large_step_of_stochastic_em_is_a_full_one(graph):
    X = mixed_rows(50, 0.1)
    full, stochastic = (random_circuit(graph, MIXED) for _ in range(2))
    FullEM(0.5).epoch(full, as_rows(X))
    StochasticEM(0.5, 1.0, 50, 50.0).epoch(stochastic, as_rows(X))
    for a, b in zip(full.weights, stochastic.weights, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-6, atol=1e-9)
    for a, b in zip(full.leaf_groups, stochastic.leaf_groups, strict=True):
        torch.testing.assert_close(a.phi, b.phi, rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize("graph", [tree_graph(10, 2, 2), CP_GRAPHS[3]], ids=str)
def test_weights_equal_repetitions(graph):
    X = mixed_rows(20, 0.2)
    repeats = np.random.RandomState(0).randint(1, 4, size=20)
    weighted, repeated = (random_circuit(graph, MIXED) for _ in range(2))
    for _ in range(5):
        FullEM(0.1).epoch(weighted, as_rows(X, repeats.astype(float)))
        FullEM(0.1).epoch(repeated, as_rows(np.repeat(X, repeats, axis=0)))
    for a, b in zip(weighted.weights, repeated.weights, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-7, atol=1e-12)


@pytest.mark.parametrize("graph", [tree_graph(10, 2, 2), CP_GRAPHS[0], CP_GRAPHS[3]], ids=str)
def test_stochastic_em_improves(graph):
    circuit = random_circuit(graph, MIXED, dtype=torch.float32)
    rows = as_rows(mixed_rows(500, 0.1))
    solver = StochasticEM(0.1, 0.05, 20, 500.0)
    values = [solver.epoch(circuit, rows) for _ in range(5)]
    assert values[-1] > values[0] + 1
    assert mean_log_likelihood(circuit, rows) > values[0] + 1


@pytest.mark.parametrize("layer", LAYERS)
def test_nodes_without_mass_keep_their_parameters(layer):
    circuit = random_circuit(tree_graph(4, 1, 1), {Normal(): range(4)}, K=2, layer=layer)
    statistics = expected_statistics(circuit, torch.zeros(3, 4, dtype=torch.float64))
    before = circuit.leaf_groups[0].phi.clone(), [w.clone() for w in circuit.weights]
    for counts in statistics.counts:
        counts.zero_()
    statistics.leaves = [(w.zero_(), m.zero_()) for w, m in statistics.leaves]
    maximize(circuit, statistics, pseudocount=0.0)
    torch.testing.assert_close(circuit.leaf_groups[0].phi, before[0])
    for a, b in zip(circuit.weights, before[1], strict=True):
        torch.testing.assert_close(a, b)


@pytest.mark.parametrize("layer", LAYERS)
@pytest.mark.parametrize("pseudocount", [0.0, 0.1])
def test_weights_stay_positive_and_normalised(pseudocount, layer):
    circuit = random_circuit(
        irregular_graph(), {Bernoulli(): range(4)}, dtype=torch.float32, layer=layer
    )
    padding = [w == 0 for w in circuit.weights]
    X = np.ones((30, 4))  # every row the same: most terms lose all their mass
    for _ in range(50):
        FullEM(pseudocount).epoch(circuit, as_rows(X))
    for weights, pad, axes in zip(circuit.weights, padding, circuit.summed_axes, strict=True):
        assert (weights[~pad] > 0).all()
        assert (weights[pad] == 0).all()
        torch.testing.assert_close(weights.sum(axes), torch.ones_like(weights.sum(axes)))
    assert torch.isfinite(circuit.log_prob(torch.tensor([[0.0, 1, 0, 1]])))


# --- steps that shrink


def steps_of(monkeypatch, epochs, weight=None, n_rows=50, **parameters):
    """The sizes of all steps of some epochs in minibatches of 10 rows."""
    sizes = []
    monkeypatch.setattr(
        expectation_maximization, "step", lambda *arguments: sizes.append(arguments[3])
    )
    circuit = random_circuit(tree_graph(4, 1, 1), {Normal(): range(4)}, K=2)
    rows = as_rows(np.random.RandomState(0).randn(n_rows, 4), weight)
    solver = StochasticEM(0.1, 0.3, 10, 50.0, **parameters)
    for _ in range(epochs):
        solver.epoch(circuit, rows)
    return np.array(sizes)


@pytest.mark.parametrize("decay", [0.0, 0.5, 0.75, 1.0])
@pytest.mark.parametrize("before", [0, 7])
@pytest.mark.usefixtures("by_steps")
def test_steps_shrink_by_a_power_of_the_epochs(monkeypatch, decay, before):
    sizes = steps_of(monkeypatch, 4, step_decay=decay, n_epochs=before)
    epochs = before + np.arange(20) / 5  # five batches an epoch
    np.testing.assert_allclose(sizes, 0.3 / (1 + epochs) ** decay, rtol=1e-12)


@pytest.mark.usefixtures("by_steps")
def test_the_step_does_not_shrink_unless_asked_to(monkeypatch):
    np.testing.assert_array_equal(steps_of(monkeypatch, 3), 0.3)
    np.testing.assert_array_equal(steps_of(monkeypatch, 3, n_epochs=100), 0.3)


@pytest.mark.usefixtures("by_steps")
def test_shrunk_steps_are_in_proportion_to_the_weight_of_the_batch(monkeypatch):
    sizes = steps_of(monkeypatch, 2, np.full(50, 7.0), step_decay=1.0)
    np.testing.assert_allclose(sizes, 0.3 / (1 + np.arange(10) / 5), rtol=1e-12)
    weight = np.random.RandomState(0).exponential(size=50)
    sizes = steps_of(monkeypatch, 1, weight, step_decay=1.0)
    shares = sizes * (1 + np.arange(5) / 5) / 0.3
    assert shares.mean() == pytest.approx(1, rel=1e-9)
    assert shares.std() > 0.01


@pytest.mark.usefixtures("by_steps")
def test_one_batch_and_batches_of_unequal_size(monkeypatch):
    sizes = steps_of(monkeypatch, 3, n_rows=4, step_decay=1.0)
    np.testing.assert_allclose(sizes, 0.3 / np.arange(1, 4), rtol=1e-12)
    sizes = steps_of(monkeypatch, 2, n_rows=23, step_decay=1.0)
    np.testing.assert_allclose(sizes, 0.3 / (1 + np.arange(6) / 3), rtol=1e-12)


def test_steps_of_one_over_t_average_all_statistics():
    """Whole batches with steps of 1, 1/2, 1/3, ...: the plain mean of their statistics."""
    circuit = random_circuit(CP_GRAPHS[3], MIXED)
    rows = as_rows(mixed_rows(30, 0.1))
    solver = StochasticEM(0.1, 1.0, 30, 30.0, step_decay=1.0)
    counts = []
    for _ in range(4):
        x, _ = rows.select(slice(None))
        counts.append(expected_statistics(circuit, x).counts)
        solver.epoch(circuit, rows)
    for found, *each in zip(solver.average.counts, *counts, strict=True):
        torch.testing.assert_close(found, sum(each) / 120, rtol=1e-9, atol=1e-12)
