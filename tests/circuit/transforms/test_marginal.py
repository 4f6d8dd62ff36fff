import numpy as np
import pytest
import torch

from sklearn_einet.circuit.queries.sampling import sample
from sklearn_einet.circuit.transforms.marginal import marginal_circuit
from sklearn_einet.families import Bernoulli, Categorical, Normal
from sklearn_einet.learning import StochasticEM
from sklearn_einet.tables.rows import Rows
from tests.helpers.chi_square import chi_square_p
from tests.helpers.circuits import (
    FAMILY_TABLES,
    GRAPHS,
    irregular_graph,
    random_circuit,
    rows_with_gaps,
    states,
    table_id,
    tree_graph,
)


@pytest.mark.parametrize("columns", [[0], [3], [2, 0], [1, 2, 3], [3, 2, 1, 0]], ids=str)
@pytest.mark.parametrize("graph", [*GRAPHS, tree_graph(4, 1, 1)], ids=str)
@pytest.mark.parametrize("families", FAMILY_TABLES, ids=table_id)
def test_equals_marginalisation(graph, families, columns):
    circuit = random_circuit(graph, families)
    rows = rows_with_gaps(circuit, 20, share=0.2)
    others = [c for c in range(4) if c not in columns]
    rows[:, others] = torch.nan
    small = marginal_circuit(circuit, np.array(columns))
    assert small.region_graph.n_features == len(columns)
    np.testing.assert_allclose(
        small.log_prob(rows[:, columns]), circuit.log_prob(rows), rtol=1e-10, atol=1e-12
    )


def test_what_is_not_needed_goes():
    circuit = random_circuit(tree_graph(32, 4, 5), {Normal(): range(32)})
    small = marginal_circuit(circuit, np.array([7]))
    assert len(small.region_graph.regions) <= 2 + 5 * 4
    assert small.n_parameters < circuit.n_parameters / 3
    again = marginal_circuit(marginal_circuit(circuit, np.array([3, 7])), np.array([1]))
    x = torch.linspace(-3, 3, 7, dtype=torch.float64).unsqueeze(1)
    np.testing.assert_allclose(again.log_prob(x), small.log_prob(x), rtol=1e-12)


def test_samples():
    circuit = random_circuit(irregular_graph(), {Bernoulli(): [0, 2], Categorical(3): [1, 3]})
    small = marginal_circuit(circuit, np.array([3, 0]))
    draws = sample(small, 50_000, np.random.RandomState(0))
    observed = np.bincount((draws @ [2, 1]).astype(int), minlength=6)
    expected = 50_000 * small.log_prob(states(3, 2)).exp().numpy()
    assert chi_square_p(observed, expected) > 1e-3


def test_it_can_go_on_learning():
    circuit = random_circuit(tree_graph(4, 2, 3), {Normal(): range(4)})
    before = [w.clone() for w in circuit.weights]
    small = marginal_circuit(circuit, np.array([1, 3]))
    rng = np.random.RandomState(0)
    X = rng.randn(200, 2) + 3
    start = small.log_prob(torch.as_tensor(X)).mean()
    rows = Rows(X, lambda x: x, None, torch.device("cpu"), rng)
    solver = StochasticEM(0.01, 0.2, 50, 200.0)
    for _ in range(5):
        solver.epoch(small, rows)
    assert small.log_prob(torch.as_tensor(X)).mean() > start + 0.5
    assert all(torch.equal(a, b) for a, b in zip(before, circuit.weights, strict=True))
