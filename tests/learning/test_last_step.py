"""The step of full EM that ends fits by stochastic EM."""

import copy
from dataclasses import replace

import numpy as np
import pytest
import torch

from sklearn_einet import EinetDensity, EinetMixture, EinetOutlierDetector
from sklearn_einet.families import Bernoulli, Categorical, Normal, Poisson
from sklearn_einet.learning import FullEM, StochasticEM, fit_circuit, fitting
from sklearn_einet.learning.expectation_maximization import penalty
from sklearn_einet.learning.fitting import mean_log_likelihood
from sklearn_einet.tables.rows import Rows
from tests.helpers.circuits import GRAPHS, random_circuit

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

FAMILIES = {Normal(): [0], Bernoulli(): [1], Categorical(4): [2], Poisson(): [3]}
N_ROWS = 120


def mixed_rows(missing=0.0, seed=0):
    rng = np.random.RandomState(seed)
    cluster = rng.randint(3, size=N_ROWS)
    X = np.column_stack(
        [
            rng.normal(2.0 * cluster),
            rng.rand(N_ROWS) < 0.2 + 0.3 * cluster,
            (cluster + (rng.rand(N_ROWS) < 0.2)) % 4,
            rng.poisson(1 + 3 * cluster),
        ]
    )
    X[rng.rand(*X.shape) < missing] = np.nan
    return X


def as_rows(X, weight=None):
    return Rows(X, np.array, weight, torch.device("cpu"), np.random.RandomState(0))


def solver_for(rows, pseudocount):
    return StochasticEM(pseudocount, 0.3, 20, rows.total_weight)


def marginal(circuit, column, values):
    """Probabilities or densities of the values of one column."""
    x = torch.full((len(values), 4), torch.nan, dtype=torch.float64)
    x[:, column] = torch.as_tensor(values, dtype=torch.float64)
    return circuit.log_prob(x).exp().numpy()


def fit(circuit, solver, rows, held_out, max_iter, learn_held_out=False):
    return fit_circuit(
        circuit,
        solver,
        rows,
        held_out,
        max_iter=max_iter,
        tol=0,
        n_iter_no_change=max_iter,
        after_epoch=lambda history, ended: False,
        learn_held_out=learn_held_out,
    )


@pytest.mark.parametrize(("tol", "expected"), [(0.0, 4), (1e9, 1)])
def test_steps_before_the_last_one_stop_at_tol(tol, expected, monkeypatch):
    rows, held_out = as_rows(mixed_rows()), as_rows(mixed_rows(seed=1))
    scores = iter(np.arange(100.0))  # every step gains one nat
    monkeypatch.setattr(fitting, "mean_log_likelihood", lambda *arguments: next(scores))
    _, goes_on = fitting._settled(
        random_circuit(GRAPHS[0], FAMILIES), solver_for(rows, 0.5), rows, held_out, tol
    )
    assert goes_on
    assert next(scores) == 1 + expected


# --- what holds exactly


@pytest.mark.parametrize("weighted", [False, True], ids=["", "weighted"])
@pytest.mark.parametrize("graph", GRAPHS, ids=str)
def test_columns_have_the_means_of_the_rows(graph, weighted):
    X = mixed_rows()
    weight = np.random.RandomState(1).exponential(size=N_ROWS) if weighted else None
    rows = as_rows(X, weight)
    circuit = next(solver_for(rows, 0.0).last_step(random_circuit(graph, FAMILIES), rows))
    for column, n_states in [(1, 2), (2, 4)]:
        states = np.arange(n_states)
        shares = np.average(X[:, [column]] == states, axis=0, weights=weight)
        np.testing.assert_allclose(marginal(circuit, column, states), shares, atol=1e-9)
    counts = np.arange(200)
    mean = marginal(circuit, 3, counts) @ counts
    np.testing.assert_allclose(mean, np.average(X[:, 3], weights=weight), rtol=1e-9)
    grid = np.linspace(-30, 40, 20_001)
    density = marginal(circuit, 0, grid) * (grid[1] - grid[0])
    for power in (1, 2):
        mean = np.average(X[:, 0] ** power, weights=weight)
        np.testing.assert_allclose(density @ grid**power, mean, rtol=1e-6)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("missing", [0.0, 0.3])
@pytest.mark.parametrize("pseudocount", [0.0, 2.0])
@pytest.mark.parametrize("graph", GRAPHS[::3], ids=str)
def test_the_penalised_likelihood_rises(graph, pseudocount, missing, dtype):
    circuit = random_circuit(graph, FAMILIES, dtype=dtype)
    rows = as_rows(mixed_rows(missing))
    solver = solver_for(rows, pseudocount)

    def value(circuit):
        log_likelihood = mean_log_likelihood(circuit, rows) * rows.total_weight
        return log_likelihood + float(penalty(circuit, pseudocount))

    for _ in range(3):
        solver.epoch(circuit, rows)
        before = value(circuit)
        assert value(next(solver.last_step(circuit, rows))) >= before - 1e-6 * abs(before)
    assert value(next(solver.last_step(circuit, rows))) > before + 0.1


@pytest.mark.parametrize("graph", GRAPHS[::3], ids=str)
def test_it_is_the_step_of_full_em(graph):
    rows = as_rows(mixed_rows(0.2))
    full = random_circuit(graph, FAMILIES)
    last = next(solver_for(rows, 0.5).last_step(full, rows))
    FullEM(0.5).epoch(full, rows)
    x = torch.as_tensor(mixed_rows(0.2, seed=1))
    assert torch.equal(last.log_prob(x), full.log_prob(x))


@pytest.mark.parametrize("pseudocount", [0.0, 0.5])
def test_the_circuit_before_stays_as_it_was(pseudocount):
    rows = as_rows(mixed_rows(0.2))
    circuit = random_circuit(GRAPHS[0], FAMILIES)

    def tensors(circuit):
        return [*circuit.weights, *(group.phi for group in circuit.leaf_groups)]

    before = copy.deepcopy(tensors(circuit))
    last = next(solver_for(rows, pseudocount).last_step(circuit, rows))
    assert all(torch.equal(a, b) for a, b in zip(tensors(circuit), before, strict=True))
    assert not {t.data_ptr() for t in tensors(circuit)} & {t.data_ptr() for t in tensors(last)}


# --- when it is made


class Scripted:
    """A solver whose epochs, and last step, lead to given circuits."""

    def __init__(self, epochs, last):
        self.epochs, self.last = iter(epochs), last
        self.first, self.improved = None, None  # circuits that the last steps were made from
        self.n_steps = 0

    def epoch(self, circuit, rows):
        given = next(self.epochs)
        circuit.weights, circuit.leaf_groups = given.weights, given.leaf_groups
        return 0.0

    def last_step(self, circuit, *parts):
        self.first, self.improved = self.first or circuit, circuit
        self.n_steps += 1
        return iter(() if self.last is None else (self.last,))

    def end_epochs(self):
        pass


@pytest.fixture(scope="module")
def better_and_worse():
    """Circuits that are ever worse on the rows, and the rows."""
    rows = as_rows(mixed_rows())
    circuits = [random_circuit(GRAPHS[0], FAMILIES, seed=seed) for seed in range(4)]
    return sorted(circuits, key=lambda c: -mean_log_likelihood(c, rows)), rows


def test_held_out_rows_decide(better_and_worse):
    (best, good, bad, _), rows = better_and_worse
    start = random_circuit(GRAPHS[0], FAMILIES)
    # The last step starts from the best epoch, not from the last one.
    solver = Scripted([bad, good, bad], best)
    history = fit(start, solver, rows, rows, 3)
    assert mean_log_likelihood(solver.first, rows) == mean_log_likelihood(good, rows)
    # Further steps go on from there, as long as they do no harm.
    assert solver.improved is best
    assert history.circuit is best
    solver = Scripted([bad, good, bad], bad)
    history = fit(start, solver, rows, rows, 3)
    assert solver.n_steps == 1  # what has been refused is not tried again
    assert mean_log_likelihood(history.circuit, rows) == mean_log_likelihood(good, rows)
    # Epochs are all that the history counts.
    assert len(history.log_likelihoods) == len(history.validation_log_likelihoods) == 3


def test_without_held_out_rows_it_is_kept(better_and_worse):
    (_, good, bad, _), rows = better_and_worse
    start = random_circuit(GRAPHS[0], FAMILIES)
    assert fit(start, Scripted([good], bad), rows, None, 1).circuit is bad
    solver = Scripted([good, bad], None)  # one without such a step
    assert fit(start, solver, rows, None, 2).circuit is solver.improved


def test_other_held_out_rows_refuse_it():
    rows, X = as_rows(mixed_rows()), mixed_rows(seed=1)
    X[:, 0] += 20
    history = fit(random_circuit(GRAPHS[0], FAMILIES), solver_for(rows, 0.1), rows, as_rows(X), 2)
    after = mean_log_likelihood(history.circuit, as_rows(X))
    assert after == max(history.validation_log_likelihoods)


@pytest.mark.parametrize("graph", GRAPHS[::3], ids=str)
def test_held_out_rows_are_learned_if_asked_for(graph):
    X, Y = mixed_rows(), mixed_rows(seed=1)[:50]
    rows, held_out = as_rows(X), as_rows(Y)
    for learn in (False, True):
        start = random_circuit(graph, FAMILIES)
        history = fit(start, solver_for(rows, 0.0), rows, held_out, 1, learn)
        table = np.concatenate([X, Y]) if learn else X
        shares = (table[:, [2]] == np.arange(4)).mean(axis=0)
        np.testing.assert_allclose(marginal(history.circuit, 2, range(4)), shares, atol=1e-6)
        assert (history.calibration is not None) == learn
    shares = (X[:, [2]] == np.arange(4)).mean(axis=0)
    np.testing.assert_allclose(marginal(history.calibration, 2, range(4)), shares, atol=1e-6)


# --- estimators


def binary_table(n=600):
    rng = np.random.RandomState(0)
    cluster = rng.randint(3, size=(n, 1))
    return (rng.rand(n, 5) < 0.15 + 0.3 * ((cluster + np.arange(5)) % 3)).astype(float)


def new(kind=EinetDensity, **parameters):
    given = {"K": 3, "max_iter": 2, "tol": 0, "early_stopping": False, "random_state": 0}
    return kind(**given | parameters)


def largest_error(model, X):
    """The largest difference between probabilities of ones and their shares."""
    marginals = [np.exp(model.marginal([j]).score_samples([[1.0]])[0]) for j in range(X.shape[1])]
    return np.abs(marginals - X.mean(axis=0)).max()


# The pseudocount moves the mass of a node by so many rows at most, of K nodes in each of 4 layers,
# once away from its terms and once towards others; rounding is float32's.
BOUND = 2 * 3 * 4 * 0.01 / 600 + 1e-5


@pytest.mark.parametrize(
    "model",
    [
        new(),
        new(structure="binary-trees", layer="tucker", replicas=2),
        new(EinetMixture, n_components=2),
        new(EinetMixture, n_components=2, refine_iter=2),
    ],
    ids=["learned", "random", "mixture", "refined"],
)
def test_shares_of_the_model_are_those_of_the_table(model):
    X = binary_table()
    assert largest_error(model.fit(X), X) < BOUND


def test_it_is_the_last_step_that_makes_them_agree(monkeypatch):
    monkeypatch.setattr(StochasticEM, "last_step", lambda *_: iter(()))
    X = binary_table()
    assert largest_error(new().fit(X), X) > 20 * BOUND


def test_held_out_rows_are_learned_and_calibrate_unseen(monkeypatch):
    histories = []

    def recorded(*args, **kwargs):
        histories.append(fit_circuit(*args, **kwargs))
        return histories[-1]

    monkeypatch.setattr("sklearn_einet.estimators.training.fit_circuit", recorded)
    X = binary_table()
    model = new(early_stopping=True).fit(X)
    assert len(model.validation_log_likelihoods_) == model.n_iter_ == 2
    held_out = np.random.RandomState(0).permutation(len(X))[:60]
    training = np.setdiff1d(np.arange(600), held_out)
    (history,) = histories
    assert largest_error(model, X) < BOUND
    # The circuit that p-values are computed from agrees with the training rows alone.
    unseen = copy.copy(model)
    unseen.table_density_ = replace(model.table_density_, circuit=history.calibration)
    assert largest_error(unseen, X[training]) < 600 / 540 * BOUND
    assert largest_error(unseen, X) > 10 * BOUND
    scores = np.unique(unseen.score_samples(X[held_out]).round(6))
    np.testing.assert_allclose(model._score_distribution.scores, scores, atol=1e-5)


@pytest.mark.parametrize(("n_rows", "seed"), [(60, 22), (60, 38), (200, 29)])
def test_contamination_is_the_share_of_the_rows_as_they_are_scored_in_the_end(n_rows, seed):
    rng = np.random.RandomState(seed)
    X = rng.standard_t(3, size=(n_rows, 4))
    X[:, 1] += X[:, 0]
    X[rng.randint(n_rows)] += 8
    model = EinetDensity(K=4, contamination=0.1, random_state=seed).fit(X)
    assert (model.predict(X) == -1).sum() == n_rows // 10


def test_a_warm_start_ends_with_it():
    X = binary_table()
    model = new(warm_start=True).fit(X[:300]).fit(X)
    assert largest_error(model, X) < BOUND


def test_a_trimmed_fit_ends_with_it(monkeypatch):
    made = []
    original = StochasticEM.last_step
    monkeypatch.setattr(
        StochasticEM, "last_step", lambda *args: made.append(args) or original(*args)
    )
    X = np.random.RandomState(0).randn(200, 3)
    new(EinetOutlierDetector).fit(X)
    core, outer = (len(rows) for _, _, rows in made)
    assert (core, outer) == (140, 196)


@pytest.mark.parametrize("solver", ["em", "adam"])
def test_other_solvers_and_partial_fit_go_without(solver, monkeypatch):
    monkeypatch.delattr(StochasticEM, "last_step")
    X = binary_table()
    new(solver=solver).fit(X)
    new().partial_fit(X).partial_fit(X)


def test_a_file_ends_with_it(tmp_path):
    X = binary_table()
    np.save(tmp_path / "table.npy", X)
    model = new().fit(np.load(tmp_path / "table.npy", mmap_mode="r"))
    assert largest_error(model, X) < BOUND
    np.testing.assert_array_equal(model.score_samples(X), new().fit(X).score_samples(X))


def test_blocks_of_dask_end_with_it():
    da = pytest.importorskip("dask.array", reason="dask is not installed")
    X = binary_table()
    model = new(batch_size=200).fit(da.from_array(X, chunks=(150, 5)))
    assert largest_error(model, X) < BOUND
    alone = new(batch_size=200).fit(X)
    np.testing.assert_allclose(model.score_samples(X), alone.score_samples(X), rtol=1e-3, atol=1e-3)
