"""Tables of many states with few in a batch: the results of whole tables at the cost of rows."""

import copy
import pickle

import numpy as np
import pytest
import torch

from sklearn_einet.circuit.leaves import look_up as look_up_leaves
from sklearn_einet.circuit.leaves.decaying import Decaying
from sklearn_einet.families import Categorical, Normal
from sklearn_einet.learning import FullEM, StochasticEM, initialize
from sklearn_einet.learning.expectation_maximization import maximize
from sklearn_einet.learning.statistics import Statistics, _plus, expected_statistics
from sklearn_einet.tables.rows import Rows
from tests.helpers.circuits import (
    Structure,
    hidden_trees,
    irregular_graph,
    random_circuit,
    tree_graph,
)

# Some leaf regions have two of the columns of 60 states, some have one or none.
FAMILIES = {Categorical(60): [0, 2], Normal(): [1], Categorical(3): [3]}
GRAPHS = [irregular_graph(), Structure(hidden_trees(), "cp"), Structure(tree_graph(4, 1, 2), "cp")]


def rows_of_states(n=40, missing=0.2, seed=0):
    """Rows in which most states of the first and the third column never occur."""
    rng = np.random.RandomState(seed)
    X = rng.randint(60, size=(n, 4)) // 7 * 7.0
    X[:, 1], X[:, 3] = rng.randn(n), rng.randint(3, size=n)
    X[rng.random_sample(X.shape) < missing] = np.nan
    return X


@pytest.fixture
def by_states(monkeypatch):
    """What calls a function with sparse tables, or with whole ones."""

    def call(is_sparse, function):
        with monkeypatch.context() as patch:
            patch.setattr(look_up_leaves, "SMALL_TABLE", 0 if is_sparse else 2**60)
            return function()

    return call


def as_rows(X, weight=None):
    device = torch.device("cpu")
    return Rows(X, np.asarray, weight, device, np.random.RandomState(0))


def parameters(circuit):
    return [*circuit.weights, *(group.phi for group in circuit.leaf_groups)]


def assert_close(found, expected, rtol=1e-10):
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one, other, rtol=rtol, atol=1e-14)


@pytest.mark.parametrize("graph", GRAPHS, ids=str)
@pytest.mark.parametrize("missing", [0.0, 0.3, 1.0])
def test_densities_and_statistics(graph, missing, by_states):
    circuit = random_circuit(graph, FAMILIES)
    x = torch.tensor(rows_of_states(missing=missing))
    dense, sparse = (by_states(s, lambda: expected_statistics(circuit, x)) for s in (False, True))
    assert [weighted.is_sparse for weighted, _ in sparse.leaves] == [True, False, False]
    assert sparse.log_likelihood == pytest.approx(dense.log_likelihood, rel=1e-12)
    for (found, mass), (expected, other) in zip(sparse.leaves, dense.leaves, strict=True):
        assert_close([found.to_dense(), mass], [expected, other])
    new, old = copy.deepcopy(circuit), circuit
    by_states(True, lambda: maximize(new, sparse, 0.1))
    by_states(False, lambda: maximize(old, dense, 0.1))
    assert_close(parameters(new), parameters(old))


def test_parameters_that_are_not_normalised(by_states):
    circuit = random_circuit(GRAPHS[0], FAMILIES)
    x = torch.tensor(rows_of_states())
    circuit.leaf_groups[0].phi *= 3
    dense, sparse = (by_states(s, lambda: circuit.log_prob(x)) for s in (False, True))
    assert_close([sparse], [dense])


def test_sums_of_statistics(by_states):
    circuit = random_circuit(GRAPHS[1], FAMILIES)
    x = torch.tensor(rows_of_states(n=200))

    def parts():
        # More rows than states: a dense part among sparse ones, wherever it comes.
        blocks = (x[:30], x[30:60], x[60:130], x[130:])
        return [expected_statistics(circuit, block) for block in blocks]

    total = by_states(True, lambda: expected_statistics(circuit, x))
    for order in ([0, 1, 2, 3], [2, 0, 3, 1]):
        some = by_states(True, parts)
        found: Statistics = some[order[0]]
        for i in order[1:]:
            found = found + some[i]
        for (weighted, mass), (expected, other) in zip(found.leaves, total.leaves, strict=True):
            assert_close([weighted.to_dense(), mass], [expected.to_dense(), other])


def test_sums_are_dense_where_that_takes_less_memory():
    table = torch.arange(12.0).view(6, 2)
    parts = [torch.where(torch.arange(6).view(-1, 1) % 2 == i, table, 0) for i in (0, 1)]
    one, other = (part.to_sparse(1) for part in parts)
    assert _plus(one, one).is_sparse
    for total in (_plus(_plus(one, other), table), _plus(one + table.to_sparse(1), other)):
        assert not total.is_sparse
        assert_close([total], [2 * table])


@pytest.mark.parametrize("graph", GRAPHS, ids=str)
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("pseudocount", [0.0, 0.5])
@pytest.mark.usefixtures("by_steps")
def test_stochastic_em(graph, weighted, pseudocount, by_states):
    X = rows_of_states(n=90)
    weight = np.random.RandomState(1).exponential(size=90) if weighted else None
    X[40:, 2] = np.nan  # leaves that hardly any row reaches

    def fitted():
        circuit = random_circuit(graph, FAMILIES)
        rows = as_rows(X, weight)
        solver = StochasticEM(pseudocount, 0.6, 13, rows.total_weight, step_decay=0.5)
        likelihoods = [solver.epoch(circuit, rows) for _ in range(4)]
        return likelihoods, circuit, solver

    likelihoods, circuit, solver = by_states(True, fitted)
    expected, dense, _ = by_states(False, fitted)
    is_running = isinstance(solver.average.leaves[0][0], Decaying)
    assert is_running == (pseudocount > 0)
    np.testing.assert_allclose(likelihoods, expected, rtol=1e-12)
    assert_close(parameters(circuit), parameters(dense))
    sums = circuit.leaf_groups[0].phi.sum(2)
    torch.testing.assert_close(sums, torch.ones_like(sums), rtol=1e-14, atol=0)


def test_a_step_of_one_forgets_the_average(by_states):
    def fitted():
        circuit = random_circuit(GRAPHS[0], FAMILIES)
        StochasticEM(0.5, 1.0, 13, 40.0).epoch(circuit, as_rows(rows_of_states()))
        return parameters(circuit)

    assert_close(by_states(True, fitted), by_states(False, fitted))


def test_full_em_and_the_start(by_states):
    X = rows_of_states()

    def fitted():
        circuit = random_circuit(GRAPHS[1], FAMILIES)
        initialize(circuit, torch.tensor(X), None, np.random.RandomState(0))
        start = [each.clone() for each in parameters(circuit)]
        FullEM(0.1).epoch(circuit, as_rows(X))
        return start + parameters(circuit)

    assert_close(by_states(True, fitted), by_states(False, fitted))


def test_a_circuit_within_an_epoch(by_states):
    """A copy for another process has the parameters of the average at the time."""
    circuit = random_circuit(GRAPHS[0], FAMILIES)
    x = torch.tensor(rows_of_states())

    def within():
        group = circuit.leaf_groups[0]
        statistics = expected_statistics(circuit, x)
        weighted, mass = statistics.leaves[0]
        average = group.running(weighted.to_dense().double(), 13, 0.5)
        before = group.phi
        group.update(average, mass, 0.5)
        assert group.phi is before
        found = circuit.log_prob(x)
        other = pickle.loads(pickle.dumps(circuit))
        group.settle()
        return found, other.log_prob(x), circuit.log_prob(x), group.natural_parameters().theta

    found, other, settled, theta = by_states(True, within)
    assert_close([found, other], [settled, settled])
    torch.testing.assert_close(theta, circuit.leaf_groups[0].natural_parameters().theta)


def test_decay_of_many_steps():
    rng = np.random.RandomState(0)
    average, expected = Decaying(torch.ones(5, 2).double()), np.ones((5, 2))
    for step in range(900):
        keep = 0.0 if step == 700 else 0.6
        more = torch.zeros(5, 2).double()
        more[rng.randint(4)] = 1.0
        average.blend(more.to_sparse(1), keep, 0.4)
        expected = keep * expected + 0.4 * more.numpy()
    np.testing.assert_allclose(average.dense().numpy(), expected, rtol=1e-11, atol=1e-300)
    assert 1e-101 < average.scale <= 1


@pytest.mark.usefixtures("by_steps")
def test_an_epoch_computes_no_table_in_a_step(monkeypatch):
    """Whole tables are computed once an epoch, however many steps it has."""
    circuit = random_circuit(Structure(hidden_trees(), "cp"), {Categorical(5000): [0, 1, 2, 3]}, 8)
    rows = as_rows(np.random.RandomState(0).randint(5000, size=(60, 4)).astype(float))
    solver = StochasticEM(0.1, 0.3, 6, 60.0)
    solver.epoch(circuit, rows)
    sizes = []
    for name in ("natural", "log_normalizer", "project_", "statistics", "smoothed"):
        function = getattr(Categorical, name)

        def counted(self, x, *args, function=function):
            sizes.append(x.numel())
            return function(self, x, *args)

        monkeypatch.setattr(Categorical, name, counted)
    solver.epoch(circuit, rows)
    phi = circuit.leaf_groups[0].phi
    assert len(sizes) == 10  # rows of the table in all steps but the first, and the table at last
    assert max(sizes[:9]) <= 6 * phi[:, :, 0].numel()
    assert sizes[9] == phi.numel()
