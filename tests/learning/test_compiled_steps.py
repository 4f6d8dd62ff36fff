"""Epochs as one compiled call against the same steps one by one."""

from functools import partial

import numpy as np
import pytest
import torch

from sklearn_einet import EinetDensity
from sklearn_einet.families import Bernoulli, Categorical, Constant, Normal, Poisson
from sklearn_einet.learning import StochasticEM
from sklearn_einet.learning.compiled_steps import CompiledSteps
from sklearn_einet.learning.fitting import mean_log_likelihood
from sklearn_einet.structure import Region, RegionGraph, quad_graph, random_binary_trees
from sklearn_einet.tables.rows import Rows
from tests.helpers.circuits import irregular_graph, tree_graph
from tests.helpers.compiled import (
    GRAPHS,
    GRID,
    KINDS,
    Structure,
    cells,
    circuit_of,
    joint_circuit,
)
from tests.helpers.rows import as_rows

pytestmark = pytest.mark.usefixtures("compiled")


def after_epochs(circuit, X, weight=None, n_epochs=3, batch_size=13, **others):
    rows = as_rows(X, weight)
    setting = {"pseudocount": 0.5, "step_size": 0.4, "step_decay": 0.6, **others}
    solver = StochasticEM(
        setting["pseudocount"],
        setting["step_size"],
        batch_size,
        rows.total_weight,
        setting["step_decay"],
    )
    likelihoods = [solver.epoch(circuit, rows) for _ in range(n_epochs)]
    return likelihoods, solver


def parameters(circuit):
    return [*circuit.weights, *(group.phi for group in circuit.leaf_groups)]


def check_same(make, X, weight=None, rtol=1e-9, **others):
    circuit = make()
    found, solver = after_epochs(circuit, X, weight, **others)
    assert solver._compiled is not None
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(CompiledSteps, "of", classmethod(lambda *arguments: None))
        other = make()
        expected, by_steps = after_epochs(other, X, weight, **others)
    assert by_steps._compiled is None
    np.testing.assert_allclose(found, expected, rtol=rtol, atol=rtol)
    for a, b in zip(parameters(circuit), parameters(other), strict=True):
        torch.testing.assert_close(a, b, rtol=100 * rtol, atol=rtol)
    averages = zip(solver.average.leaves, by_steps.average.leaves, strict=True)
    for i, (one, two) in enumerate(averages):
        if i < len(circuit.leaf_groups) and isinstance(circuit.leaf_groups[i].family, Constant):
            continue  # it has nothing to be learned
        for a, b in zip(one, two, strict=True):
            dense = b if isinstance(b, torch.Tensor) else b.dense()
            torch.testing.assert_close(a.double(), dense.double(), rtol=100 * rtol, atol=rtol)
    for a, b in zip(solver.average.counts, by_steps.average.counts, strict=True):
        torch.testing.assert_close(a, b, rtol=100 * rtol, atol=rtol)


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("gaps", [0.0, 0.2])
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("structure", GRAPHS, ids=str)
def test_epochs_are_those_of_single_steps(structure, kind, gaps, weighted):
    X = cells(KINDS[kind], 90, gaps)
    weight = np.random.RandomState(1).exponential(size=90) if weighted else None
    check_same(lambda: circuit_of(structure, KINDS[kind], X), X, weight)


@pytest.mark.parametrize("kind", KINDS)
def test_single_precision(kind):
    X = cells(KINDS[kind], 90, 0.1)
    check_same(lambda: circuit_of(GRAPHS[0], KINDS[kind], X, dtype=torch.float32), X, rtol=1e-5)


@pytest.mark.parametrize("K", [1, 8, 17])
@pytest.mark.parametrize("batch_size", [1, 7, 90, 1000])
def test_units_and_batches(K, batch_size):
    X = cells(KINDS["mixed"], 90, 0.1)
    check_same(lambda: circuit_of(GRAPHS[0], KINDS["mixed"], X, K), X, batch_size=batch_size)


@pytest.mark.parametrize("n_rows", [1, 2])
@pytest.mark.parametrize("kind", ["bounded", "binary", "states"])
def test_hardly_any_rows(kind, n_rows):
    everything = cells(KINDS[kind], 50, 0.0)
    X = everything[:n_rows].copy()
    check_same(lambda: circuit_of(GRAPHS[0], KINDS[kind], everything), X)


@pytest.mark.parametrize("family", [Normal(), Bernoulli(), Categorical(4)], ids=str)
def test_one_column(family):
    X = cells([family], 60, 0.1)
    check_same(lambda: circuit_of(RegionGraph(Region([0])), [family], X), X)


def test_ties_and_a_column_without_cells():
    X = np.round(cells(KINDS["normal"], 80, 0.0))
    start = X.copy()
    X[:, 1] = np.nan
    check_same(lambda: circuit_of(GRAPHS[0], KINDS["normal"], start), X)


def test_rows_far_out():
    X = cells(KINDS["normal"], 80, 0.0)
    X[3] = 1e6
    check_same(lambda: circuit_of(GRAPHS[0], KINDS["normal"], X), X, rtol=1e-7)


def test_rows_without_weight():
    X = cells(KINDS["mixed"], 90, 0.1)
    weight = np.ones(90)
    weight[::3] = 0
    check_same(lambda: circuit_of(GRAPHS[0], KINDS["mixed"], X), X, weight)


@pytest.mark.parametrize("gaps", [0.0, 0.2])
def test_joint_densities_that_stay(gaps):
    X = cells([Normal(), Normal(), Bernoulli(), Categorical(5)], 90, gaps)
    check_same(lambda: joint_circuit(X), X)


@pytest.mark.parametrize("layer", ["cp", "tucker"])
@pytest.mark.parametrize("structure", [irregular_graph(), quad_graph((3, 2))], ids=str)
def test_regions_with_different_numbers_of_partitions(structure, layer):
    X = cells(KINDS["mixed"], 90, 0.1)[:, : structure.n_features]
    families = KINDS["mixed"][: structure.n_features]
    check_same(lambda: circuit_of(Structure(structure, layer), families, X), X)


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("rows_at_a_time", [1, 13, 40])
@pytest.mark.parametrize("kind", ["mixed", "grid", "joint"])
def test_rows_that_are_not_kept(kind, rows_at_a_time, weighted, monkeypatch):
    families = (Normal(), Normal(), Bernoulli(), Categorical(5)) if kind == "joint" else KINDS[kind]
    X = cells(families, 90, 0.1)
    monkeypatch.setattr("sklearn_einet.tables.rows.ENCODED_BYTES", 0)
    monkeypatch.setattr("sklearn_einet.tables.rows.READ_BYTES", rows_at_a_time * 8 * X.shape[1])
    weight = np.random.RandomState(1).exponential(size=90) if weighted else None
    make = joint_circuit if kind == "joint" else partial(circuit_of, GRAPHS[0], families)
    check_same(lambda: make(X), X, weight)


def test_joint_densities_whose_values_take_too_much(monkeypatch):
    X = cells([Normal(), Normal(), Bernoulli(), Categorical(5)], 90, 0.1)
    for module in ("compiled_table", "compiled_batches"):
        monkeypatch.setattr(f"sklearn_einet.learning.{module}.GIVEN_BYTES", 100)
    check_same(lambda: joint_circuit(X), X)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_some_rows_that_are_not_kept_with_batches_without_weight(dtype, monkeypatch):
    X = cells(KINDS["mixed"], 90, 0.1)
    weight = np.r_[np.zeros(30), np.random.RandomState(1).exponential(size=60)]
    which = np.arange(0, 90, 2)
    some, of_some = X[which], weight[which]
    results = []
    for table, of_row, chosen in ((X, weight, which), (some, of_some, None)):
        monkeypatch.setattr("sklearn_einet.tables.rows.ENCODED_BYTES", 0 if results else 2**26)
        rows = Rows(table, np.array, of_row, torch.device("cpu"), np.random.RandomState(0), chosen)
        circuit = circuit_of(GRAPHS[0], KINDS["mixed"], X, dtype=dtype)
        solver = StochasticEM(0.5, 0.4, 3, rows.total_weight)
        results.append([solver.epoch(circuit, rows) for _ in range(2)])
        assert solver._compiled is not None
    assert results[0] == pytest.approx(results[1], rel=1e-5)


def test_how_often_rows_are_encoded(monkeypatch):
    monkeypatch.setattr("sklearn_einet.tables.rows.ENCODED_BYTES", 0)
    X = cells(KINDS["mixed"], 90, 0.1)
    n_encoded = 0

    def encode(x):
        nonlocal n_encoded
        n_encoded += len(x)
        return np.array(x)

    rows = Rows(X, encode, None, torch.device("cpu"), np.random.RandomState(0))
    circuit = circuit_of(GRAPHS[0], KINDS["mixed"], X)
    solver = StochasticEM(0.5, 0.4, 13, rows.total_weight)
    for n_passes in (2, 3):  # the first epoch begins with a look at all rows
        solver.epoch(circuit, rows)
        assert n_encoded == n_passes * 90
    for n_passes in (4, 5):
        mean_log_likelihood(circuit, rows)
        assert n_encoded == n_passes * 90


def test_random_structures():
    for seed in range(12):
        rng = np.random.RandomState(seed)
        pool = [Normal(), Bernoulli(), Categorical(3), Categorical(30), Constant(), GRID]
        families = [pool[i] for i in rng.randint(len(pool), size=6)]
        X = cells(families, 70, 0.3 * rng.rand(), seed)
        graph = random_binary_trees(6, rng.randint(3), 1 + rng.randint(3), rng)
        check_same(lambda: circuit_of(graph, families, X, 4, seed=seed), X)  # noqa: B023


# --- what is left to single steps


def is_compiled(circuit, X, **others):
    return after_epochs(circuit, X, n_epochs=1, **others)[1]._compiled is not None


def test_what_is_left_to_single_steps(monkeypatch):
    X = cells(KINDS["mixed"], 50, 0.0)

    def make(structure=GRAPHS[0], families=KINDS["mixed"]):
        return circuit_of(structure, families, X)

    assert is_compiled(make(), X)
    assert not is_compiled(make(), X, pseudocount=0.0)
    assert not is_compiled(make(families=(Poisson(), *KINDS["mixed"][1:])), X.round().clip(0))
    beyond = cells(KINDS["grid"], 50, 0.0)
    on_grids = circuit_of(GRAPHS[0], KINDS["grid"], beyond)
    beyond[0, 2] = 1000.0
    assert not is_compiled(on_grids, beyond)  # a value without a cell
    outside = X.copy()
    outside[0, 1] = 2.0
    assert not is_compiled(make(), outside)
    joint = joint_circuit(cells([Normal(), Normal(), Bernoulli(), Categorical(5)], 50, 0.0))
    joint.joint_groups[0].frozen = False
    assert not is_compiled(joint, X[:, [0, 0, 1, 2]])
    monkeypatch.setenv("SKLEARN_EINET_BACKEND", "torch")
    assert not is_compiled(make(), X)


# --- fits


def test_fits_do_not_depend_on_threads():
    X = cells(KINDS["mixed"], 3000, 0.1)
    scores = []
    for n_threads in (1, 2):
        before = torch.get_num_threads()
        torch.set_num_threads(n_threads)
        try:
            model = EinetDensity(structure="chow-liu", max_iter=3, random_state=0)
            scores.append(model.fit(X).score_samples(X))
        finally:
            torch.set_num_threads(before)
    np.testing.assert_array_equal(*scores)


def test_an_interrupted_fit_leaves_the_model_as_it_was(monkeypatch):
    X = cells(KINDS["mixed"], 300, 0.1)
    model = EinetDensity(structure="chow-liu", max_iter=3, random_state=0).fit(X)
    before = model.score_samples(X)

    def interrupted(*arguments):
        raise KeyboardInterrupt

    monkeypatch.setattr("sklearn_einet.native.steps.library.run_steps", interrupted)
    for refit in (model.partial_fit, model.fit):
        with pytest.raises(KeyboardInterrupt):
            refit(X)
        np.testing.assert_array_equal(model.score_samples(X), before)


def test_large_products_are_left_to_single_steps():
    X = cells((Normal(),) * 4, 3000, 0.0)
    circuit = circuit_of(tree_graph(4, 0, 1), (Normal(),) * 4, X, K=64)
    assert is_compiled(circuit, X, batch_size=2048)
    assert not is_compiled(circuit, X, batch_size=2100)
