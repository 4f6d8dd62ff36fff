"""Learned trees with either kind of layers, through the estimators: all queries by enumeration."""

import copy
import itertools
import pickle
import warnings

import numpy as np
import pandas as pd
import pytest
import torch
from scipy import signal
from sklearn.base import clone
from sklearn.datasets import load_breast_cancer, load_iris
from sklearn.model_selection import GridSearchCV

from sklearn_einet import EinetDensity, EinetMixture
from sklearn_einet.estimators import recipe
from sklearn_einet.learning import StochasticEM
from sklearn_einet.structure import chow_liu
from sklearn_einet.structure.tree_regions import tree_of
from tests.helpers.chi_square import chi_square_p
from tests.helpers.circuits import states

pytestmark = [pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")]
IRIS = load_iris().data

SIZES = 2, 3, 3, 2, 1
LEAF = {"bernoulli": [0, 3], "categorical": [1, 4], "binomial": [2]}
ALL_ROWS = states(*SIZES).numpy()


def discrete_table(n=300, seed=0):
    """A chain of columns: binary, three categories, counts of two, binary; and a constant one."""
    rng = np.random.RandomState(seed)
    a = rng.rand(n) < 0.4
    b = np.where(rng.rand(n) < 0.2, rng.randint(3, size=n), 2 * a)
    c = rng.binomial(2, 0.2 + 0.3 * b)
    d = rng.rand(n) < 0.1 + 0.4 * c
    X = np.column_stack([a, b, c, d, np.zeros(n)]).astype(float)
    X[rng.rand(*X.shape) < 0.1] = np.nan
    return X


def small(**parameters):
    fast = {"K": 3, "max_iter": 5, "early_stopping": False, "random_state": 0}
    return EinetDensity(**(fast | parameters))


def small_mixture(**parameters):
    fast = {"K": 3, "max_iter": 4, "early_stopping": False, "random_state": 0}
    return EinetMixture(2, **(fast | parameters))


def chosen(rows):
    """For every row the completions of it among all rows, as a mask."""
    return (np.isnan(rows)[:, None] | (rows[:, None] == ALL_ROWS)).all(2)


def scopes(model):
    """The columns of every region, layer by layer."""
    return [[sorted(region.scope) for region in layer] for layer in model.region_graph_.layers()]


class Enumeration:
    """The distribution of a fitted model as a table, and all queries from it."""

    def __init__(self, model):
        self.p = np.exp(model.score_samples(ALL_ROWS))

    def probability(self, rows):
        return chosen(rows) @ self.p

    def conditional(self, rows):
        """Of every row the probabilities of all completions."""
        weights = chosen(rows) * self.p
        return weights / weights.sum(1, keepdims=True)

    def mean(self, rows):
        return self.conditional(rows) @ ALL_ROWS

    def variance(self, rows):
        return self.conditional(rows) @ ALL_ROWS**2 - self.mean(rows) ** 2


@pytest.fixture(
    scope="module",
    params=[
        ("density", "cp", 1),
        ("density", "tucker", 3),
        ("mixture", "cp", 3),
        ("mixture", "tucker", 1),
    ],
    ids=lambda p: f"{p[0]}-{p[1]}-{p[2]}",
)
def case(request):
    """A fitted model, its distribution by enumeration, and rows with gaps."""
    kind, layer, replicas = request.param
    make = small if kind == "density" else small_mixture
    model = make(structure="chow-liu", layer=layer, replicas=replicas, leaf=LEAF)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model.fit(discrete_table())
    assert model.circuit_.layer == layer
    n_trees = replicas if kind == "density" else replicas * len(model.estimators_)
    assert len(model.region_graph_.root.partitions) == n_trees
    rng = np.random.RandomState(1)
    rows = ALL_ROWS[rng.randint(len(ALL_ROWS), size=40)]
    rows[rng.rand(*rows.shape) < 0.4] = np.nan
    rows[0] = np.nan
    rows[1] = ALL_ROWS[7]
    return model, Enumeration(model), rows


# --- every query by enumeration


def test_probabilities_sum_to_one_and_missing_cells_are_summed_over(case):
    model, truth, rows = case
    assert truth.p.sum() == pytest.approx(1, abs=1e-12)
    np.testing.assert_allclose(np.exp(model.score_samples(rows)), truth.probability(rows))
    outside = np.array([[0.0, 3, 0, 0, 0], [0.5, 0, 0, 0, 0], [0, 0, 0, 0, 1]])
    scores = model.score_samples(outside)
    assert np.isneginf(scores[1])
    # Categories that fit has not seen are as probable as one more row would make them.
    rest = np.where([[0, 1, 0, 0, 0], [0] * 5, [0, 0, 0, 0, 1]], np.nan, outside)[[0, 2]]
    expected = np.log(truth.probability(rest)) - np.log1p(len(discrete_table()))
    np.testing.assert_allclose(scores[[0, 2]], expected, rtol=1e-9)


@pytest.mark.parametrize("given", [[], [0], [1, 3], [0, 1, 2, 3, 4]], ids=str)
def test_conditional_densities(case, given):
    model, truth, rows = case
    evidence = np.full_like(rows, np.nan)
    evidence[:, given] = rows[:, given]
    np.testing.assert_allclose(
        model.conditional_score_samples(rows, given),
        np.log(truth.probability(rows) / truth.probability(evidence)),
        atol=1e-10,
    )


def test_intervals(case):
    model, truth, _ = case
    rng = np.random.RandomState(2)
    low, high = np.sort(rng.uniform(-0.5, 2.5, (2, 30, 5)), axis=0)
    low[rng.rand(30, 5) < 0.4], high[rng.rand(30, 5) < 0.4] = -np.inf, np.inf
    inside = (low[:, None] <= ALL_ROWS) & (high[:, None] >= ALL_ROWS)
    found = np.exp(model.interval_log_proba(low, high))
    np.testing.assert_allclose(found, inside.all(2) @ truth.p, atol=1e-12)


def test_moments(case):
    model, truth, rows = case
    np.testing.assert_allclose(model.mean(rows), truth.mean(rows), atol=1e-10)
    np.testing.assert_allclose(model.variance(rows), truth.variance(rows), atol=1e-10)
    np.testing.assert_allclose(model.mean(), truth.mean(rows[:1])[0], atol=1e-10)
    np.testing.assert_allclose(model.variance(), truth.variance(rows[:1])[0], atol=1e-10)
    np.testing.assert_allclose(
        model.covariance(), np.cov(ALL_ROWS.T, aweights=truth.p, bias=True), atol=1e-10
    )


def test_mean_imputation(case):
    model, truth, rows = case
    expected = truth.mean(rows)
    for column in (1, 4):  # the most probable category
        shares = truth.conditional(rows) @ (ALL_ROWS[:, column, None] == np.arange(3))
        expected[:, column] = shares.argmax(1)
    np.testing.assert_allclose(model.impute(rows), expected, atol=1e-10)


def test_most_probable_imputation(case):
    """Approximate: the hidden choices are maximised, too, where the truth sums over them."""
    model, truth, rows = case
    filled = model.impute(rows, strategy="mpe")
    seen = ~np.isnan(rows)
    np.testing.assert_array_equal(filled[seen], rows[seen])
    found = truth.probability(filled)
    best = (chosen(rows) * truth.p).max(1)
    assert (found > 0).all()
    assert np.mean(found > 0.999 * best) > 0.5
    assert np.exp(np.log(found / best).mean()) > 0.6


def test_cell_scores(case):
    model, truth, rows = case
    conditional, marginal = model.feature_scores(rows), model.feature_scores(rows, "marginal")
    for column in range(5):
        others, alone = rows.copy(), np.full_like(rows, np.nan)
        others[:, column], alone[:, column] = np.nan, rows[:, column]
        seen = ~np.isnan(rows[:, column])
        expected = np.log(truth.probability(others) / truth.probability(rows))
        np.testing.assert_allclose(conditional[seen, column], expected[seen], atol=1e-10)
        expected = -np.log(truth.probability(alone))
        np.testing.assert_allclose(marginal[seen, column], expected[seen], atol=1e-10)
        assert np.isnan(conditional[~seen, column]).all()
        assert np.isnan(marginal[~seen, column]).all()


@pytest.mark.parametrize("columns", [[4], [2], [3, 0], [2, 4, 1], [0, 1, 2, 3, 4]], ids=str)
def test_marginals(case, columns):
    model, truth, rows = case
    marginal = model.marginal(columns)
    rest = np.full_like(rows, np.nan)
    rest[:, columns] = rows[:, columns]
    found = np.exp(marginal.score_samples(rows[:, columns]))
    np.testing.assert_allclose(found, truth.probability(rest), rtol=1e-6)
    np.testing.assert_allclose(marginal.mean(), model.mean()[columns], atol=1e-6)
    everything = states(*(SIZES[c] for c in columns)).numpy()
    assert np.exp(marginal.score_samples(everything)).sum() == pytest.approx(1, abs=1e-12)
    cells = model.covariance()[np.ix_(columns, columns)]
    np.testing.assert_allclose(np.atleast_2d(marginal.covariance()), cells, atol=1e-6)


def frequencies(draws):
    """How many of the draws are each of all rows."""
    code = np.ravel_multi_index(draws.astype(int).T, SIZES)
    return np.bincount(code, minlength=len(ALL_ROWS))


def test_draws(case):
    model, truth, _ = case
    observed = frequencies(model.sample(20_000, random_state=0))
    expected = 20_000 * truth.p
    assert chi_square_p(observed, expected) > 1e-3
    row = np.array([[np.nan, 2, np.nan, np.nan, 0]])
    draws = model.sample_conditional(row, n_draws=20_000, random_state=0)[:, 0]
    expected = 20_000 * truth.conditional(row)[0]
    observed, possible = frequencies(draws), expected > 0
    assert observed[~possible].sum() == 0
    assert chi_square_p(observed[possible], expected[possible]) > 1e-3


# --- tables at the limits


@pytest.mark.parametrize(
    ("make", "layer", "replicas"),
    [
        (small, "cp", 3),
        (small, "tucker", 1),
        (small_mixture, "cp", 1),
        (small_mixture, "tucker", 3),
    ],
)
@pytest.mark.parametrize("shape", ["one column", "two columns", "one row", "two rows", "constant"])
def test_small_tables(make, layer, replicas, shape):
    X = {
        "one column": discrete_table(60)[:, 2:3],
        "two columns": discrete_table(60)[:, [0, 2]],
        "one row": np.array([[1.0, 2, 0, 1]]),
        "two rows": np.array([[1.0, 2, 0, np.nan], [0, 0, 2, 1]]),
        "constant": np.ones((9, 4)),
    }[shape]
    model = make(layer=layer, replicas=replicas, leaf="categorical", max_iter=3)
    if make is small_mixture and shape == "one row":
        model.set_params(n_components=1)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model.fit(X)
    sizes = np.nanmax(X, 0).astype(int) + 1
    rows = states(*sizes).numpy()
    p = np.exp(model.score_samples(rows))
    assert p.sum() == pytest.approx(1, abs=1e-12)
    np.testing.assert_allclose(model.mean(), p @ rows, atol=1e-10)
    np.testing.assert_allclose(
        np.atleast_2d(model.covariance()),
        np.atleast_2d(np.cov(rows.T, aweights=p, bias=True)) if len(rows) > 1 else 0,
        atol=1e-10,
    )
    last = model.marginal([X.shape[1] - 1])
    shares = [p[rows[:, -1] == value].sum() for value in range(sizes[-1])]
    np.testing.assert_allclose(
        np.exp(last.score_samples(np.arange(sizes[-1])[:, None])), shares, atol=1e-6
    )
    assert np.isin(model.impute(np.full((1, X.shape[1]), np.nan), "mpe"), range(3)).all()
    if X.shape[1] > 1:
        scores = model.feature_scores(rows)[:, 0]
        without = [p[(rows[:, 1:] == row[1:]).all(1)].sum() for row in rows]
        np.testing.assert_allclose(scores, np.log(without) - np.log(p), atol=1e-10)


def mixed_frame(n=300, missing=0.1, seed=0):
    rng = np.random.RandomState(seed)
    kind = rng.randint(3, size=n)
    frame = pd.DataFrame(
        {
            "size": rng.normal(3 * kind, 1),
            "colour": (kind + (rng.rand(n) < 0.2)) % 3,
            "visits": rng.poisson(1 + 3 * kind),
            "member": rng.rand(n) < 0.2 + 0.3 * kind,
        }
    ).astype(float)
    return frame.mask(rng.rand(*frame.shape) < missing)


MIXED_LEAF = {"categorical": ["colour"], "poisson": ["visits"], "bernoulli": ["member"]}


@pytest.mark.parametrize(("make", "layer"), [(small, "tucker"), (small_mixture, "cp")])
def test_mixed_columns_by_sums_and_integrals(make, layer):
    # Sums over a grid are exact for densities that are normal in the column itself.
    plain = {"numeric_transform": None}
    model = make(layer=layer, leaf=MIXED_LEAF, replicas=2, **plain).fit(mixed_frame())
    sizes = np.linspace(-12, 18, 301)
    step = sizes[1] - sizes[0]
    grid = np.stack(
        np.meshgrid(sizes, np.arange(3), np.arange(40), np.arange(2), indexing="ij"), -1
    ).reshape(-1, 4)

    def as_frame(rows):
        return pd.DataFrame(rows, columns=["size", "colour", "visits", "member"])

    p = np.exp(model.score_samples(as_frame(grid))) * step
    assert p.sum() == pytest.approx(1, abs=1e-7)
    np.testing.assert_allclose(model.mean(), p @ grid, atol=1e-6)
    covariance = np.cov(grid.T, aweights=p, bias=True)
    np.testing.assert_allclose(model.covariance(), covariance, rtol=1e-5, atol=1e-6)
    row = np.array([[np.nan, 1, np.nan, 0]])
    alike = (grid[:, [1, 3]] == [1, 0]).all(1)
    total = p[alike].sum()
    assert np.exp(model.score_samples(as_frame(row)))[0] == pytest.approx(total, rel=1e-7)
    mean = p[alike] @ grid[alike] / total
    np.testing.assert_allclose(np.asarray(model.mean(as_frame(row)))[0], mean, rtol=1e-6)
    np.testing.assert_allclose(model.impute(as_frame(row)).to_numpy()[0], mean, rtol=1e-6)
    scores = np.asarray(model.feature_scores(as_frame(row)))[0]
    np.testing.assert_allclose(
        scores[3], -np.log(total / p[grid[:, 1] == 1].sum()), rtol=1e-6, atol=1e-9
    )
    found = model.interval_log_proba({"visits": 2, "member": 1}, {"visits": 5, "colour": 1})
    inside = (grid[:, 2] >= 2) & (grid[:, 2] <= 5) & (grid[:, 3] == 1) & (grid[:, 1] <= 1)
    assert np.exp(found)[0] == pytest.approx(p[inside].sum(), rel=1e-6)


@pytest.mark.parametrize(("make", "layer"), [(small, "cp"), (small_mixture, "tucker")])
def test_columns_that_are_hardly_observed(make, layer):
    frame = mixed_frame(400, missing=0)
    rng = np.random.RandomState(1)
    frame[["size", "colour"]] = frame[["size", "colour"]].mask(rng.rand(400, 2) < 0.9)
    frame.loc[frame["visits"].notna() & (np.arange(400) % 2 > 0), "visits"] = np.nan
    frame.loc[np.arange(400) % 2 == 0, "member"] = np.nan  # never beside visits
    model = make(layer=layer, leaf=MIXED_LEAF, early_stopping=True).fit(frame)
    assert np.isfinite(model.score_samples(frame)).all()
    filled = model.impute(frame).to_numpy()
    assert np.isfinite(filled).all()
    seen = frame.notna().to_numpy()
    np.testing.assert_array_equal(filled[seen], frame.to_numpy()[seen])
    assert np.isfinite(model.covariance()).all()
    assert np.isfinite(model.sample(20, random_state=0)).all(axis=None)


@pytest.mark.parametrize("refine_iter", [0, 1])
@pytest.mark.parametrize(
    "layer",
    [
        "cp",
        "tucker",
    ],
)
def test_mixtures_show_their_trees(layer, refine_iter):
    mixture = small_mixture(layer=layer, refine_iter=refine_iter, replicas=1).fit(IRIS)
    (first, second) = tree_of(mixture.region_graph_)
    for tree, each in zip((first, second), mixture.estimators_, strict=True):
        np.testing.assert_array_equal(tree_of(each.region_graph_)[0], tree)


# --- rows and their weights


@pytest.mark.parametrize("make", [small, small_mixture])
@pytest.mark.parametrize("solver", ["sem", "em", "adam"])
def test_rows_of_weight_zero_do_not_count(make, solver):
    X = np.vstack([IRIS, 100 * np.random.RandomState(0).randn(50, 4)])
    weight = np.r_[np.ones(150), np.zeros(50)]
    weighted = make(solver=solver, early_stopping="auto").fit(X, sample_weight=weight)
    removed = make(solver=solver, early_stopping="auto").fit(IRIS, sample_weight=np.ones(150))
    np.testing.assert_array_equal(weighted.score_samples(IRIS), removed.score_samples(IRIS))


@pytest.mark.parametrize(
    ("kind", "layer", "replicas"),
    [
        ("numbers", "cp", 1),
        ("numbers", "tucker", 3),
        ("mixed", "cp", 3),
        ("mixed", "tucker", 1),
    ],
)
def test_integer_weights_are_repetitions_in_full_em(kind, layer, replicas):
    """Most rows are of one chain of columns, most of the weight is on those of another one."""
    rng = np.random.RandomState(1)
    heavy = np.arange(90) % 3 == 0
    X, leaf = rng.randn(90, 5).cumsum(1), "auto"
    X[heavy] = X[heavy][:, [3, 0, 4, 1, 2]]
    if kind == "mixed":
        X[:, 1], X[:, 2], X[:, 3] = X[:, 1] > 0, np.digitize(X[:, 2], [-1, 1]), np.exp(X[:, 3])
        X[:, 3] = np.minimum(X[:, 3] // 1, 20)
        leaf = {"bernoulli": [1], "categorical": [2], "poisson": [3]}
    X[rng.rand(*X.shape) < 0.1] = np.nan
    repeats = np.where(heavy, rng.randint(8, 12, size=90), rng.randint(0, 2, size=90))
    repeated = np.repeat(X, repeats, axis=0)
    model = small(solver="em", layer=layer, replicas=replicas, leaf=leaf)
    weighted = clone(model).fit(X, sample_weight=repeats)
    plain = tree_of(clone(model).fit(X[repeats > 0]).region_graph_)
    assert not np.array_equal(tree_of(weighted.region_graph_), plain)
    for rows in (repeated, rng.permutation(repeated)):
        other = clone(model).fit(rows)
        np.testing.assert_array_equal(tree_of(weighted.region_graph_), tree_of(other.region_graph_))
        np.testing.assert_allclose(
            weighted.score_samples(X), other.score_samples(X), rtol=1e-6, atol=1e-6
        )
        assert weighted.log_likelihoods_ == pytest.approx(other.log_likelihoods_, rel=1e-6)


@pytest.mark.parametrize("make", [small, small_mixture])
@pytest.mark.parametrize("weighted", [False, True])
def test_held_out_rows_have_no_say_in_the_structure(monkeypatch, make, weighted):
    """The trees are those of a table whose held-out rows have been made nonsense."""
    rng = np.random.RandomState(0)
    X = rng.randn(200, 5).cumsum(1)
    weight = rng.randint(1, 4, size=200) if weighted else None
    original, nonsense, calls = recipe.chow_liu, False, []

    def spy(X, n_states, replicas, *, weight, **others):
        calls.append(weight == 0)
        if nonsense:
            X = X.copy()
            X[weight == 0] = 1e6 * rng.randn(int((weight == 0).sum()), 5)
        return original(X, n_states, replicas, weight=weight, **others)

    monkeypatch.setattr(recipe, "chow_liu", spy)
    options = {"early_stopping": True, "validation_fraction": 0.3, "replicas": 2, "max_iter": 2}
    first = make(**options).fit(X, sample_weight=weight)
    assert sum(held_out.sum() for held_out in calls) == 60
    nonsense = True
    second = make(**options).fit(X, sample_weight=weight)
    for a, b in zip(tree_of(first.region_graph_), tree_of(second.region_graph_), strict=True):
        np.testing.assert_array_equal(a, b)
    np.testing.assert_array_equal(first.score_samples(X), second.score_samples(X))


def test_the_structure_is_that_of_the_rows():
    X = np.random.RandomState(0).randn(300, 6).cumsum(1)[:, [3, 0, 5, 1, 4, 2]]
    (parents,) = tree_of(small().fit(X).region_graph_)
    edges = {frozenset(edge) for edge in enumerate(parents.tolist()) if edge[1] >= 0}
    order = [1, 3, 5, 0, 4, 2]
    assert edges == {frozenset(pair) for pair in itertools.pairwise(order)}


# --- steps that shrink


@pytest.fixture
def started(monkeypatch):
    """The step decay, and the number of epochs gone before, of every epoch of stochastic EM."""
    calls = []
    original = StochasticEM.epoch

    def epoch(self, circuit, rows):
        calls.append((self.step_size, self.step_decay, self.n_epochs))
        return original(self, circuit, rows)

    monkeypatch.setattr(StochasticEM, "epoch", epoch)
    return calls


@pytest.mark.parametrize("decay", [0.0, 0.75])
def test_epochs_are_counted_on(started, decay):
    model = small(step_decay=decay, warm_start=True, max_iter=3, tol=0).fit(IRIS)
    model.fit(IRIS)
    model.partial_fit(IRIS).partial_fit(IRIS)
    model.fit(IRIS)
    assert started == [(0.3, decay, t) for t in range(11)]
    started.clear()
    model.set_params(warm_start=False).fit(IRIS)
    assert [t for *_, t in started] == [0, 1, 2]
    started.clear()
    marginal = model.marginal([0, 2]).partial_fit(IRIS[:, [0, 2]])
    pickle.loads(pickle.dumps(marginal)).partial_fit(IRIS[:, [0, 2]])
    assert [t for *_, t in started] == [3, 4]


def test_epochs_of_a_stream_are_counted_from_the_first(started):
    model = small()
    for _ in range(3):
        model.partial_fit(IRIS)
    assert started == [(0.3, 0.75, t) for t in range(3)]
    failing = copy.deepcopy(model)
    with pytest.raises(ValueError, match="infinity"):
        failing.partial_fit(np.full((3, 4), np.inf))
    failing.partial_fit(IRIS)
    assert started[-1][2] == 3


def test_refinement_goes_on_from_the_components(started):
    model = small_mixture(refine_iter=2, tol=0).fit(IRIS)
    assert [t for *_, t in started] == [0, 1, 2, 3] * len(model.estimators_) + [4, 5]


def test_components_go_on_from_refinement(started):
    model = small_mixture(refine_iter=2, tol=0).fit(IRIS)
    started.clear()
    model.estimators_[0].partial_fit(IRIS)
    assert [t for *_, t in started] == [6]


def test_no_decay_is_another_model():
    constant, decaying = (small(step_decay=d).fit(IRIS).score_samples(IRIS) for d in (0, 0.75))
    assert not np.allclose(constant, decaying)


# --- in scikit-learn


@pytest.mark.parametrize("make", [small, small_mixture])
@pytest.mark.parametrize("layer", ["cp", "tucker"])
def test_global_state_and_seeds(make, layer):
    X = mixed_frame(100)
    np.random.seed(0)
    torch.manual_seed(0)
    before = np.random.get_state()[1].copy(), torch.get_rng_state()
    settings = torch.get_num_threads(), torch.get_default_dtype(), torch.is_grad_enabled()
    models = [make(layer=layer, leaf=MIXED_LEAF, replicas=3).fit(X) for _ in range(2)]
    first, again = models
    np.testing.assert_array_equal(np.random.get_state()[1], before[0])
    assert torch.equal(torch.get_rng_state(), before[1])
    now = torch.get_num_threads(), torch.get_default_dtype(), torch.is_grad_enabled()
    assert now == settings
    np.testing.assert_array_equal(first.score_samples(X), again.score_samples(X))
    np.testing.assert_array_equal(first.sample(5, random_state=1), again.sample(5, random_state=1))
    other = make(layer=layer, leaf=MIXED_LEAF, replicas=3, random_state=1).fit(X)
    assert not np.array_equal(first.score_samples(X), other.score_samples(X))


@pytest.mark.parametrize("how", ["pickle", "deepcopy"])
def test_copies(case, how):
    model, _, rows = case
    other = pickle.loads(pickle.dumps(model)) if how == "pickle" else copy.deepcopy(model)
    np.testing.assert_array_equal(other.score_samples(rows), model.score_samples(rows))
    np.testing.assert_array_equal(other.sample(9, random_state=0), model.sample(9, random_state=0))
    assert scopes(other) == scopes(model)
    assert b"torch._utils" not in pickle.dumps(model)


@pytest.mark.parametrize("layer", ["cp", "tucker"])
def test_single_precision_agrees_with_double(layer):
    X = load_breast_cancer().data[:200]
    for rows in (X, np.where(np.random.RandomState(0).rand(*X.shape) < 0.3, np.nan, X)):
        single, double = (
            small(layer=layer, dtype=dtype, replicas=2).fit(rows)
            for dtype in ("float32", "float64")
        )
        for a, b in zip(tree_of(single.region_graph_), tree_of(double.region_graph_), strict=True):
            np.testing.assert_array_equal(a, b)
        np.testing.assert_allclose(
            single.score_samples(rows), double.score_samples(rows), atol=2e-2
        )


def test_grid_search():
    grid = {
        "structure": ["chow-liu", "binary-trees"],
        "layer": ["auto", "cp", "tucker"],
        "K": [None, 2],
    }
    search = GridSearchCV(small(K=None, max_iter=2), grid, cv=2, error_score="raise").fit(IRIS)
    assert np.isfinite(search.cv_results_["mean_test_score"]).all()
    best = search.best_estimator_
    assert clone(best).get_params() == best.get_params()
    assert {key: best.get_params()[key] for key in grid} == search.best_params_
    defaults = small(K=None, max_iter=1).fit(IRIS)
    assert (defaults.circuit_.layer, defaults.circuit_.K) == ("cp", 32)
    assert small(K=None, layer="tucker", max_iter=1).fit(IRIS).circuit_.K == 10
    trees = small(structure="binary-trees", max_iter=1).fit(IRIS)
    assert (trees.circuit_.layer, len(trees.region_graph_.root.partitions)) == ("cp", 10)


@pytest.mark.parametrize(
    ("before", "after", "message"),
    [
        (
            {"layer": "cp"},
            {"layer": "tucker"},
            "layer='cp' and cannot continue with layer='tucker'",
        ),
        ({"layer": "tucker"}, {"layer": "auto"}, "layer='tucker' .* layer='cp'"),
        ({"K": 3}, {"K": 4}, "K=3 and cannot continue with K=4"),
        ({"K": 3}, {"K": None}, "K=3 and cannot continue with K=32"),
    ],
)
@pytest.mark.parametrize("method", ["fit", "partial_fit"])
def test_a_fitted_model_does_not_change_its_layers(before, after, message, method):
    model = small(warm_start=True, **before).fit(IRIS)
    scores = model.score_samples(IRIS)
    model.set_params(**after)
    with pytest.raises(ValueError, match=message):
        getattr(model, method)(IRIS)
    np.testing.assert_array_equal(model.score_samples(IRIS), scores)
    model.set_params(**before)
    getattr(model, method)(IRIS)
    model.set_params(warm_start=False, **after).fit(IRIS)


@pytest.mark.parametrize("make", [small, small_mixture])
@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("layer", "einsum"),
        ("layer", None),
        ("structure", "chow"),
        ("structure", None),
        ("step_decay", -0.1),
        ("step_decay", 1.1),
        ("step_decay", np.nan),
        ("step_decay", "auto"),
        ("step_decay", None),
        ("replicas", 0),
        ("replicas", 1.5),
        ("K", 0),
        ("K", 2.5),
    ],
)
def test_bad_parameters(make, name, value):
    model = make(**{name: value})
    with pytest.raises((ValueError, TypeError), match=name):
        model.fit(IRIS)
    assert not hasattr(model, "circuit_")


def test_marginals_go_on_learning():
    model = small(structure="chow-liu", replicas=2).fit(IRIS)
    marginal = model.marginal([0, 3])
    before = marginal.score(IRIS[:50, [0, 3]])
    for _ in range(5):
        marginal.partial_fit(IRIS[:50, [0, 3]])
    assert marginal.score(IRIS[:50, [0, 3]]) > before


def test_marginals_of_images_go_on_learning():
    model = EinetDensity(
        structure="poon-domingos", image_shape=(2, 2), delta=2, max_iter=2, random_state=0
    ).fit(IRIS)
    model.marginal([0, 1]).partial_fit(IRIS[:, :2])


def test_marginals_keep_the_kind_of_structure():
    marginal = small(structure="chow-liu", replicas=None).fit(IRIS).marginal([0, 1, 2])
    again = clone(marginal).fit(IRIS[:, :3])
    assert len(tree_of(again.region_graph_)) == 1


# --- long chains


@pytest.mark.parametrize("layer", ["cp", "tucker"])
def test_a_deep_chain(layer):
    """Each of 400 columns depends on the one before: 200 levels below the root."""
    noise = np.random.RandomState(0).randn(200, 400)
    X = signal.lfilter([1], [1, -0.9], noise)
    model = small(layer=layer, K=2, max_iter=1, batch_size=200).fit(X)
    assert len(model.region_graph_.layers()) > 180
    X = X[:30]
    assert np.isfinite(model.score_samples(X)).all()
    columns = [399, 0, 200]
    marginal = model.marginal(columns)
    rest = np.full_like(X, np.nan)
    rest[:, columns] = X[:, columns]
    np.testing.assert_allclose(
        marginal.score_samples(X[:, columns]), model.score_samples(rest), rtol=1e-5, atol=1e-5
    )
    other = pickle.loads(pickle.dumps(copy.deepcopy(model)))
    np.testing.assert_array_equal(other.score_samples(X), model.score_samples(X))
    assert np.isfinite(model.feature_scores(X)).all()
    assert np.isfinite(model.sample(2, random_state=0)).all()
    X[:, ::2] = np.nan
    assert np.isfinite(model.impute(X[:3], "mpe")).all()
    model.partial_fit(X)


@pytest.mark.gpu
@pytest.mark.usefixtures("gpu")
@pytest.mark.parametrize("make", [small, small_mixture])
@pytest.mark.parametrize("layer", ["cp", "tucker"])
def test_gpu_agrees_with_cpu(make, layer):
    X = load_breast_cancer().data
    X = np.where(np.random.RandomState(0).rand(*X.shape) < 0.2, np.nan, X)
    options = {"structure": "chow-liu", "layer": layer, "replicas": 2, "solver": "em"}
    gpu, cpu = (make(device=d, **options).fit(X) for d in ("cuda", "cpu"))
    assert scopes(gpu) == scopes(cpu)
    assert gpu.circuit_.device.type == "cuda"
    np.testing.assert_allclose(gpu.score_samples(X), cpu.score_samples(X), atol=1e-3)
    loaded = pickle.loads(pickle.dumps(gpu)).set_params(device="cpu")
    np.testing.assert_allclose(loaded.score_samples(X), gpu.score_samples(X), atol=1e-6)


def test_large_tables_have_more_units_and_go_on_with_them():
    X = np.random.RandomState(0).randint(0, 2, (10_000, 3)).astype(float)
    settings = {"structure": "chow-liu", "max_iter": 1, "random_state": 0}
    model = EinetDensity(**settings).fit(X)
    assert model.table_density_.circuit.K == 64
    assert EinetDensity(**settings).fit(X[1:]).table_density_.circuit.K == 32
    assert EinetDensity(K=5, **settings).fit(X).table_density_.circuit.K == 5
    assert model.partial_fit(X[:100]).table_density_.circuit.K == 64
    model.set_params(warm_start=True).fit(X[:100])
    assert model.table_density_.circuit.K == 64


def test_numbers_with_very_many_states_are_compared_in_bins(monkeypatch):
    """Grey values that follow each other are much the same; categories are not."""
    rng = np.random.RandomState(0)
    grey = rng.randint(256, size=400)
    frame = pd.DataFrame(
        {
            "a": grey,
            "b": (grey + rng.randint(-20, 21, size=400)).clip(0, 255),
            "c": rng.randint(256, size=400),
            "d": pd.Categorical([f"state {i}" for i in rng.randint(40, size=400)]),
        }
    )
    seen = []

    def spy(X, n_states, *arguments, **others):
        seen.append(n_states.tolist())
        return chow_liu(X, n_states, *arguments, **others)

    monkeypatch.setattr(recipe, "chow_liu", spy)
    leaf = {"categorical": ["a", "b", "c"]}
    model = small(structure="chow-liu", leaf=leaf, max_iter=1).fit(frame)
    assert seen[0][:3] == [0, 0, 0]
    assert seen[0][3] > 32
    (tree,) = tree_of(model.region_graph_)
    assert tree[0] == 1 or tree[1] == 0
