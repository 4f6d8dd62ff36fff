import numpy as np
import pytest
import torch

from sklearn_einet.families import Normal
from sklearn_einet.learning import FullEM, GradientAscent
from sklearn_einet.learning.expectation_maximization import penalty
from tests.helpers.circuits import LAYERS, irregular_graph, random_circuit, tree_graph
from tests.helpers.rows import CP_GRAPHS, MIXED, as_rows, mixed_rows


@pytest.mark.parametrize("optimizer", ["adam", "sgd"])
@pytest.mark.parametrize("missing", [0.0, 0.3])
@pytest.mark.parametrize("graph", [tree_graph(10, 2, 2), CP_GRAPHS[0], CP_GRAPHS[3]], ids=str)
def test_improves_mixed_columns(optimizer, missing, graph):
    circuit = random_circuit(graph, MIXED)
    rows = as_rows(mixed_rows(200, missing), np.random.RandomState(1).exponential(size=200))
    solver = GradientAscent(optimizer, 0.1, 0.02, 50, rows.total_weight)
    values = [solver.epoch(circuit, rows) for _ in range(15)]
    assert values[-1] > values[0] + 0.5
    assert np.isfinite(values).all()


@pytest.mark.parametrize("layer", LAYERS)
def test_parameters_stay_valid(layer):
    circuit = random_circuit(irregular_graph(), {Normal(): range(4)}, layer=layer)
    padding = [w == 0 for w in circuit.weights]
    rows = as_rows(np.random.RandomState(0).randn(50, 4))
    GradientAscent("adam", 0.1, 0.1, 10, 50.0).epoch(circuit, rows)
    for weights, pad, axes in zip(circuit.weights, padding, circuit.summed_axes, strict=True):
        torch.testing.assert_close(weights.sum(axes), torch.ones_like(weights.sum(axes)))
        assert ((weights == 0) == pad).all()
        assert not weights.requires_grad


@pytest.mark.parametrize("graph", [tree_graph(10, 1, 2), CP_GRAPHS[3]], ids=str)
def test_agrees_with_em_on_the_objective(graph):
    """Plain gradient ascent climbs the very function that full EM climbs."""
    X = mixed_rows(60, 0.1)
    circuit = random_circuit(graph, MIXED)
    rows = as_rows(X)
    solver = GradientAscent("sgd", 2.0, 1e-3, 60, 60.0)
    values = []
    for _ in range(30):
        prior = float(penalty(circuit, 2.0))
        values.append(solver.epoch(circuit, rows) * 60 + prior)
    assert (np.diff(values) > 0).all()
    # An optimum of EM is a stationary point of the gradient.
    for _ in range(400):
        FullEM(2.0).epoch(circuit, rows)
    before = FullEM(2.0).epoch(circuit, rows)
    after = [GradientAscent("sgd", 2.0, 1e-3, 60, 60.0).epoch(circuit, rows) for _ in range(5)]
    np.testing.assert_allclose(after, before, atol=1e-4)
