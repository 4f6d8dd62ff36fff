"""Full EM and log-likelihoods by compiled programs against those of torch, block by block."""

import numpy as np
import pytest
import torch

from sklearn_einet.families import Bernoulli, Categorical, Constant, Normal, Poisson
from sklearn_einet.learning import FullEM, StochasticEM, mean_log_likelihood
from sklearn_einet.learning.compiled_rows import CompiledRows
from sklearn_einet.learning.compiled_table import CompiledTable
from sklearn_einet.learning.expectation_maximization import _local_statistics, block_statistics
from sklearn_einet.structure import Region, RegionGraph, random_binary_trees
from tests.helpers.circuits import irregular_graph, tree_graph
from tests.helpers.compiled import GRAPHS, GRID, KINDS, cells, circuit_of, joint_circuit
from tests.helpers.rows import as_rows

pytestmark = pytest.mark.usefixtures("compiled")

JOINT = [Normal(), Normal(), Bernoulli(), Categorical(5)]


def dense(tensor):
    return tensor.to_dense() if tensor.is_sparse else tensor


def check_statistics(circuit, rows, rtol):
    found, expected = block_statistics(circuit, rows, None), _local_statistics(circuit, rows, None)
    assert found.log_likelihood == pytest.approx(expected.log_likelihood, rel=rtol, abs=rtol)
    assert found.weight == pytest.approx(expected.weight)
    for a, b in zip(found.counts, expected.counts, strict=True):
        torch.testing.assert_close(a, b, rtol=10 * rtol, atol=10 * rtol)
    families = [group.family for group in circuit.leaf_groups] + [None] * len(circuit.joint_groups)
    for family, one, other in zip(families, found.leaves, expected.leaves, strict=True):
        if isinstance(family, Constant):
            continue  # it has nothing to be learned
        for a, b in zip(one, other, strict=True):
            torch.testing.assert_close(
                a.double(), dense(b).double(), rtol=10 * rtol, atol=10 * rtol
            )


def check_log_densities(circuit, rows, rtol):
    x, weight = rows.select(slice(None))
    with torch.no_grad():
        expected = circuit.log_prob(x)
    found = CompiledRows.of(circuit, rows).log_prob(circuit)
    torch.testing.assert_close(found, expected, rtol=rtol, atol=rtol)
    mean = np.average(expected.numpy(), weights=weight)
    assert mean_log_likelihood(circuit, rows) == pytest.approx(mean, rel=rtol, abs=rtol)


def check_same(circuit, X, weight=None, rtol=1e-9, block_rows=None):
    circuit._block_rows = block_rows
    rows = as_rows(X, weight)
    assert CompiledRows.of(circuit, rows) is not None
    for _ in range(2):  # what the first time leaves does not matter
        check_log_densities(circuit, rows, rtol)
        check_statistics(circuit, rows, rtol)


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("gaps", [0.0, 0.2])
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("structure", GRAPHS, ids=str)
def test_results_are_those_of_torch(structure, kind, gaps, weighted):
    X = cells(KINDS[kind], 90, gaps)
    weight = np.random.RandomState(1).exponential(size=90) if weighted else None
    check_same(circuit_of(structure, KINDS[kind], X), X, weight)


@pytest.mark.parametrize("kind", KINDS)
def test_single_precision(kind):
    X = cells(KINDS[kind], 90, 0.1)
    check_same(circuit_of(GRAPHS[0], KINDS[kind], X, dtype=torch.float32), X, rtol=1e-5)


@pytest.mark.parametrize("K", [1, 8, 17])
@pytest.mark.parametrize("block_rows", [1, 7, 64, 90])
def test_units_and_blocks(K, block_rows):
    X = cells(KINDS["grid and others"], 90, 0.1)
    circuit = circuit_of(GRAPHS[0], KINDS["grid and others"], X, K)
    check_same(circuit, X, block_rows=block_rows)


@pytest.mark.parametrize("kind", ["bounded", "binary", "states", "grid"])
def test_a_single_row(kind):
    everything = cells(KINDS[kind], 50, 0.0)
    check_same(circuit_of(GRAPHS[0], KINDS[kind], everything), everything[:1].copy())


@pytest.mark.parametrize("family", [Normal(), Bernoulli(), Categorical(4), GRID], ids=str)
def test_one_column(family):
    X = cells([family], 60, 0.1)
    check_same(circuit_of(RegionGraph(Region([0])), [family], X), X)


def test_ties_and_a_column_without_cells():
    X = np.round(cells(KINDS["normal"], 80, 0.0))
    circuit = circuit_of(GRAPHS[0], KINDS["normal"], X)
    X[:, 1] = np.nan
    check_same(circuit, X)


def test_rows_without_weight():
    X = cells(KINDS["mixed"], 90, 0.1)
    weight = np.ones(90)
    weight[::3] = 0
    check_same(circuit_of(GRAPHS[0], KINDS["mixed"], X), X, weight)


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("kind", ["mixed", "grid", "joint"])
def test_rows_that_are_not_kept(kind, weighted, monkeypatch):
    monkeypatch.setattr("sklearn_einet.tables.rows.ENCODED_BYTES", 0)
    monkeypatch.setattr("sklearn_einet.tables.rows.READ_BYTES", 1000)
    X = cells(JOINT if kind == "joint" else KINDS[kind], 90, 0.1)
    weight = np.random.RandomState(1).exponential(size=90) if weighted else None
    circuit = joint_circuit(X) if kind == "joint" else circuit_of(GRAPHS[0], KINDS[kind], X)
    check_same(circuit, X, weight, block_rows=32)


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("frozen", [False, True])
@pytest.mark.parametrize("gaps", [0.0, 0.2])
def test_joint_densities(gaps, frozen, weighted):
    X = cells(JOINT, 90, gaps)
    weight = np.random.RandomState(1).exponential(size=90) if weighted else None
    circuit = joint_circuit(X)
    circuit.joint_groups[0].frozen = frozen
    check_same(circuit, X, weight, block_rows=32)


def test_frozen_joint_densities_may_be_replaced_all_the_same():
    X = cells(JOINT, 90, 0.1)
    circuit, rows = joint_circuit(X), as_rows(X)
    before = mean_log_likelihood(circuit, rows)
    (group,) = circuit.joint_groups
    group.normals = type(group.normals)(group.normals.mean + 0.5, group.normals.covariance)
    check_statistics(circuit, rows, 1e-9)
    assert mean_log_likelihood(circuit, rows) != before


def test_random_structures():
    for seed in range(12):
        rng = np.random.RandomState(seed)
        pool = [Normal(), Bernoulli(), Categorical(3), Categorical(30), Constant(), GRID]
        families = [pool[i] for i in rng.randint(len(pool), size=6)]
        X = cells(families, 70, 0.3 * rng.rand(), seed)
        graph = random_binary_trees(6, rng.randint(3), 1 + rng.randint(3), rng)
        check_same(circuit_of(graph, families, X, 4, seed=seed), X, block_rows=32)


def test_sums_with_padding():
    X = cells((Normal(),) * 4, 60, 0.1)
    check_same(circuit_of(irregular_graph(), (Normal(),) * 4, X), X)


# --- rows that are not a number, or impossible


@pytest.mark.parametrize("weighted", [False, True])
def test_values_that_are_no_numbers(weighted):
    X = cells(KINDS["normal"], 40, 0.0)
    circuit, weight = circuit_of(GRAPHS[0], KINDS["normal"], X), None
    if weighted:
        weight = 1.0 + np.arange(40) % 3
    X[3, 0] = 1e150  # its square is finite, and the density of no leaf
    rows = as_rows(X, weight)
    assert CompiledRows.of(circuit, rows) is not None
    check_log_densities(circuit, rows, 1e-9)
    check_statistics(circuit, rows, 1e-9)
    circuit.weights[0].fill_(torch.nan)
    assert mean_log_likelihood(circuit, rows) == -np.inf
    assert block_statistics(circuit, rows, None).log_likelihood == -np.inf


def test_what_is_left_to_torch(monkeypatch):
    X = cells(KINDS["mixed"], 50, 0.0)

    def is_compiled(families=KINDS["mixed"], X=X):
        return CompiledRows.of(circuit_of(GRAPHS[0], families, X), as_rows(X)) is not None

    assert is_compiled()
    assert not is_compiled((Poisson(), *KINDS["mixed"][1:]), X.round().clip(0))
    on_grids = cells(KINDS["grid"], 50, 0.0)
    circuit = circuit_of(GRAPHS[0], KINDS["grid"], on_grids)
    on_grids[0, 2] = 1000.0  # a value without a cell
    assert CompiledRows.of(circuit, as_rows(on_grids)) is None
    impossible = X.copy()
    impossible[0, 1] = 2.0
    circuit, rows = circuit_of(GRAPHS[0], KINDS["mixed"], X), as_rows(impossible)
    assert CompiledRows.of(circuit, rows) is None
    assert mean_log_likelihood(circuit, rows) == -np.inf
    monkeypatch.setenv("SKLEARN_EINET_BACKEND", "torch")
    assert not is_compiled()


def test_large_products_are_left_to_torch():
    X = cells((Normal(),) * 4, 3000, 0.0)
    circuit = circuit_of(tree_graph(4, 0, 1), (Normal(),) * 4, X, K=64)
    for block_rows, expected in ((2048, True), (2100, False)):
        circuit._block_rows = block_rows
        assert (CompiledRows.of(circuit, as_rows(X)) is not None) == expected


# --- in fits


def test_tables_are_read_once_for_circuits_of_the_same_layers():
    X = cells(KINDS["mixed"], 60, 0.1)
    circuit, rows = circuit_of(GRAPHS[0], KINDS["mixed"], X), as_rows(X)
    compiled = CompiledRows.of(circuit, rows)
    assert CompiledRows.of(circuit.to("cpu"), rows) is compiled
    assert compiled._table is CompiledTable.of(circuit, rows)
    other = circuit_of(GRAPHS[1], KINDS["mixed"], X)
    assert CompiledRows.of(other, rows) is not compiled
    check_statistics(other, rows, 1e-9)
    check_statistics(circuit, rows, 1e-9)


def test_steps_from_other_parameters():
    X = cells(KINDS["mixed"], 90, 0.1)
    circuit, rows = circuit_of(GRAPHS[0], KINDS["mixed"], X), as_rows(X)
    solver = StochasticEM(0.5, 0.4, 13, rows.total_weight)
    values = []
    for _ in range(2):
        solver.epoch(circuit, rows)
        check_log_densities(circuit, rows, 1e-9)
        check_statistics(circuit, rows, 1e-9)
        (last,) = solver.last_step(circuit, rows)
        check_log_densities(last, rows, 1e-9)
        values.append(mean_log_likelihood(last, rows))
    assert values[0] != values[1]


def test_full_em_learns_what_it_learns_by_torch(monkeypatch):
    X = cells(KINDS["grid and others"], 90, 0.1)

    def learned():
        circuit, rows = circuit_of(GRAPHS[0], KINDS["grid and others"], X), as_rows(X)
        solver = FullEM(0.5)
        return [solver.epoch(circuit, rows) for _ in range(5)], circuit

    found, circuit = learned()
    monkeypatch.setattr(CompiledRows, "of", classmethod(lambda *arguments: None))
    expected, other = learned()
    np.testing.assert_allclose(found, expected, rtol=1e-9)
    for a, b in zip(circuit.leaf_groups, other.leaf_groups, strict=True):
        torch.testing.assert_close(a.phi, b.phi, rtol=1e-7, atol=1e-9)


def test_a_mixture_with_a_circuit_beside():
    X = cells(KINDS["mixed"], 60, 0.1)
    weight = np.random.RandomState(1).exponential(size=60)
    circuit = circuit_of(GRAPHS[0], KINDS["mixed"], X)
    beside, rows = circuit_of(GRAPHS[1], KINDS["mixed"], X, seed=1), as_rows(X, weight)
    x = torch.tensor(X)
    for _ in range(2):
        both = np.logaddexp(*(each.log_prob(x).numpy() for each in (circuit, beside))) - np.log(2)
        expected = np.average(both, weights=weight)
        assert mean_log_likelihood(circuit, rows, beside) == pytest.approx(expected, rel=1e-9)
        FullEM(0.5).epoch(circuit, rows)


def test_results_do_not_depend_on_threads():
    X = cells(KINDS["grid and others"], 3000, 0.1)
    circuit = circuit_of(GRAPHS[0], KINDS["grid and others"], X, K=32, dtype=torch.float32)
    results = []
    for n_threads in (1, 2):
        rows, before = as_rows(X), torch.get_num_threads()
        torch.set_num_threads(n_threads)
        try:
            statistics, mean = (
                block_statistics(circuit, rows, None),
                mean_log_likelihood(circuit, rows),
            )
        finally:
            torch.set_num_threads(before)
        numbers = torch.tensor([mean, statistics.log_likelihood], dtype=torch.float64)
        leaves = [tensor for pair in statistics.leaves for tensor in pair]
        results.append([numbers, *statistics.counts, *leaves])
    for one, other in zip(*results, strict=True):
        assert torch.equal(one, other)
