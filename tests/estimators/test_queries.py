"""Queries of a fitted model, in the units and names of the table.

That they are exact is tested on circuits, in tests/circuit.
"""

import inspect
import pickle
import warnings
from dataclasses import replace

import numpy as np
import pandas as pd
import polars as pl
import pytest
import torch
from sklearn.base import clone
from sklearn.datasets import load_iris
from sklearn.exceptions import NotFittedError

from sklearn_einet import EinetDensity
from sklearn_einet.circuit.queries import sampling
from sklearn_einet.estimators.completion import CompletionQueries
from sklearn_einet.estimators.criteria import CriterionQueries
from sklearn_einet.estimators.intervals import IntervalQueries
from sklearn_einet.estimators.scores import ScoreQueries
from sklearn_einet.families import Categorical
from tests.helpers.densities import LEAVES, mixed_frame, small, with_gaps

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

IRIS = load_iris().data
STRATEGIES = ["mean", "mpe", "sample"]


@pytest.fixture(scope="module")
def model():
    """Of columns in very different units."""
    return small(atoms=None, max_iter=30).fit(IRIS * [1, 1e3, 1e-3, 1] + [0, 0, 5, -100])


@pytest.fixture(scope="module")
def X():
    return with_gaps(IRIS * [1, 1e3, 1e-3, 1] + [0, 0, 5, -100], 0.3)


@pytest.fixture(scope="module")
def mixed():
    return small(leaf=LEAVES).fit(mixed_frame())


@pytest.fixture(scope="module")
def mixed_rows():
    frame = mixed_frame(60, seed=1).astype(float)
    return frame.mask(np.random.RandomState(0).rand(*frame.shape) < 0.3)


def values(tables):
    """The numbers in a DataFrame, or in a list of DataFrames."""
    return np.asarray(tables, dtype=float)


def without(X, columns):
    X = np.array(X, dtype=float)
    X[:, columns] = np.nan
    return X


# --- densities


@pytest.mark.parametrize("given", [[0, 2], [False, True, False, False], slice(1, 3), 3, []])
def test_chain_rule(model, X, given):
    given_mask = np.zeros(4, dtype=bool)
    given_mask[given] = True
    joint = model.score_samples(X)
    evidence = model.score_samples(without(X, ~given_mask))
    conditional = model.conditional_score_samples(X, given=given)
    np.testing.assert_allclose(evidence + conditional, joint, rtol=1e-9, atol=1e-9)


def test_chain_rule_of_mixed_columns(mixed, mixed_rows):
    for given in ("city", ["age", "visits"], ["income", "share", "member"]):
        evidence = mixed_rows.copy()
        evidence[[c for c in evidence if c not in np.atleast_1d(given)]] = np.nan
        total = mixed.score_samples(evidence) + mixed.conditional_score_samples(mixed_rows, given)
        np.testing.assert_allclose(total, mixed.score_samples(mixed_rows), rtol=1e-9, atol=1e-9)


def test_conditional_density_integrates_to_one(model):
    row = np.array([[5.0, 3500, np.nan, -99.8]])
    grid = np.linspace(4.99, 5.02, 20_001)
    rows = np.repeat(row, len(grid), axis=0)
    rows[:, 2] = grid
    density = np.exp(model.conditional_score_samples(rows, given=[0, 1, 3]))
    assert np.trapezoid(density, grid) == pytest.approx(1, abs=1e-6)


def test_given_everything_or_nothing(model, X):
    np.testing.assert_allclose(model.conditional_score_samples(X, range(4)), 0, atol=1e-12)
    np.testing.assert_allclose(
        model.conditional_score_samples(X, []), model.score_samples(X), rtol=1e-12, atol=1e-12
    )


@pytest.mark.parametrize("method", ["conditional", "marginal"])
def test_feature_scores(model, X, method):
    scores = model.feature_scores(X, method=method)
    for column in range(4):
        others = np.arange(4) != column
        if method == "conditional":
            expected = -model.conditional_score_samples(X, given=others)
        else:
            expected = -model.score_samples(without(X, others))
        expected[np.isnan(X[:, column])] = np.nan
        np.testing.assert_allclose(scores[:, column], expected, rtol=1e-9, atol=1e-9)


def test_feature_scores_of_mixed_columns(mixed, mixed_rows):
    scores = values(mixed.feature_scores(mixed_rows))
    for i, column in enumerate(mixed_rows):
        others = [c for c in mixed_rows if c != column]
        expected = -mixed.conditional_score_samples(mixed_rows, given=others)
        expected[mixed_rows[column].isna()] = np.nan
        np.testing.assert_allclose(scores[:, i], expected, rtol=1e-8, atol=1e-8)


def test_feature_scores_find_the_spoilt_cell():
    full = EinetDensity(random_state=0).fit(IRIS)
    spoilt = IRIS.copy()
    column = np.random.RandomState(0).randint(4, size=150)
    spoilt[np.arange(150), column] += 4.0
    usual = full.feature_scores(IRIS).mean(axis=0)
    found = (full.feature_scores(spoilt) - usual).argmax(axis=1)
    assert np.mean(found == column) > 0.8


# --- boxes


def test_intervals_agree_with_draws(mixed):
    draws = values(mixed.sample(100_000, random_state=0))
    names = list(mixed.feature_names_in_)
    low = {"age": 35, "visits": 3, "city": 1}
    high = {"age": 60, "city": 1, "income": 60_000}
    inside = np.ones(len(draws), dtype=bool)
    for column, (a, b) in {
        "age": (35, 60),
        "visits": (3, np.inf),
        "city": (1, 1),
        "income": (0, 60_000),
    }.items():
        drawn = draws[:, names.index(column)]
        inside &= (drawn >= a) & (drawn <= b)
    p = np.exp(mixed.interval_log_proba(low, high))[0]
    error = np.sqrt(p * (1 - p) / len(draws))
    assert abs(inside.mean() - p) < 4 * error
    assert 0.01 < p < 0.5


def test_intervals_are_cdf_and_survival_function(model):
    grid = np.full((500, 4), np.nan)
    grid[:, 1] = np.linspace(1500, 5000, 500)
    cdf = np.exp(model.interval_log_proba(high=grid))
    survival = np.exp(model.interval_log_proba(low=grid))
    np.testing.assert_allclose(cdf + survival, 1, atol=1e-12)
    assert (np.diff(cdf) > 0).all()
    density = np.exp(model.score_samples(grid))
    steps = np.diff(grid[:, 1]) * (density[1:] + density[:-1]) / 2
    np.testing.assert_allclose(np.diff(cdf), steps, atol=1e-5)


def test_one_lower_bound_for_many_upper_ones(model):
    high = np.full((3, 4), np.nan)
    high[:, 0] = [5, 6, 7]
    low = np.full((1, 4), -np.inf)
    low[0, 1] = 3000
    together = model.interval_log_proba(low, high)
    alone = [model.interval_log_proba(low, row[None])[0] for row in high]
    np.testing.assert_allclose(together, alone)
    np.testing.assert_allclose(
        model.interval_log_proba(np.full((1, 4), np.nan), np.full((2, 4), np.inf)), 0, atol=1e-15
    )


def test_bounds_by_name(mixed, model):
    names = list(mixed.feature_names_in_)
    whole = pd.DataFrame({"age": [30.0, 40.0], "city": [1.0, 2.0]}, columns=names)
    expected = mixed.interval_log_proba(high=whole)
    for bounds in (
        {"age": [30, 40], "city": [1, 2]},
        {"city": np.array([1, 2]), "age": pd.Series([30, 40], index=[5, 6])},
        pd.DataFrame({"city": [1, 2], "age": [30, 40]}),
        pl.DataFrame({"city": [1, 2], "age": [30, 40]}),
        pd.DataFrame({"city": [1, 2], "age": [30, 40]}, dtype="Int64"),
    ):
        np.testing.assert_array_equal(mixed.interval_log_proba(high=bounds), expected)
    one = mixed.interval_log_proba({"age": 20}, {"age": [30, 40], "city": 1})
    assert one.shape == (2,)
    np.testing.assert_allclose(mixed.interval_log_proba({"age": None}, {}), 0, atol=1e-12)
    by_number = model.interval_log_proba({0: 5}, {0: 6})
    np.testing.assert_array_equal(
        by_number, model.interval_log_proba([[5] + [np.nan] * 3], [[6] + [np.nan] * 3])
    )
    with pytest.raises(ValueError, match="low names the column 'size', which X does not have"):
        mixed.interval_log_proba({"size": 3})
    with pytest.raises(ValueError, match="high must have a number"):
        mixed.interval_log_proba(high={"age": "old"})
    with pytest.raises(ValueError, match="high must have one value, or the same number of"):
        mixed.interval_log_proba(high={"age": [30, 40], "city": [1, 1, 1]})
    for bounds in ({"age": []}, {"age": [[1, 2], [3, 4]]}):
        with pytest.raises(ValueError, match="low must have a value for each row and column"):
            mixed.interval_log_proba(bounds)
    with pytest.raises(ValueError, match="low names a column twice"):
        mixed.interval_log_proba({"age": 5, 0: 3})


def test_equal_bounds_of_discrete_columns(mixed, mixed_rows):
    discrete = ["member", "visits", "city", "passed"]
    rows = mixed_rows.assign(**{c: np.nan for c in mixed_rows if c not in discrete})
    np.testing.assert_allclose(
        mixed.interval_log_proba(rows, rows), mixed.score_samples(rows), rtol=1e-9, atol=1e-12
    )
    assert np.isneginf(mixed.interval_log_proba(mixed_rows[:1], mixed_rows[:1])).all()


# --- completion


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_observed_cells_come_back_to_the_bit(model, X, strategy):
    filled = model.impute(X, strategy=strategy, random_state=0)
    seen = ~np.isnan(X)
    np.testing.assert_array_equal(filled[seen], X[seen])
    assert np.isfinite(filled).all()
    assert filled.dtype == np.float64


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_complete_rows_are_copied(model, strategy):
    complete = np.tile([5.0, 3500, 5.0014, -99.8], (3, 1))
    filled = model.impute(complete, strategy=strategy)
    np.testing.assert_array_equal(filled, complete)
    assert not np.shares_memory(filled, complete)
    single = complete.astype(np.float32)
    np.testing.assert_array_equal(model.impute(single, strategy=strategy), single)


def test_rows_without_any_cell(model):
    nothing = np.full((2, 4), np.nan)
    np.testing.assert_allclose(model.impute(nothing), np.tile(model.mean(), (2, 1)), rtol=1e-9)
    np.testing.assert_allclose(model.variance(nothing)[0], model.variance(), rtol=1e-9)
    draws = model.sample_conditional(nothing, n_draws=20_000, random_state=0)[:, 0]
    error = np.sqrt(model.variance() / 20_000)
    np.testing.assert_array_less(np.abs(draws.mean(0) - model.mean()), 4 * error)
    scale = np.sqrt(model.variance())
    np.testing.assert_allclose(
        np.cov((draws / scale).T), model.covariance() / np.outer(scale, scale), atol=0.05
    )


def test_moments_are_those_of_conditional_draws(mixed, mixed_rows):
    rows = mixed_rows[:5]
    draws = mixed.sample_conditional(rows, n_draws=5000, random_state=0)
    assert len(draws) == 5000
    draws = values(draws)
    mean, variance = values(mixed.mean(rows)), values(mixed.variance(rows))
    error = np.sqrt(variance / 5000)
    assert (np.abs(draws.mean(0) - mean) <= 4.5 * error + 1e-9 * np.abs(mean)).all()
    seen = rows.notna().to_numpy()
    assert (variance[seen] == 0).all()
    np.testing.assert_array_equal(mean[seen], rows.to_numpy()[seen])
    # Variances of skewed columns have large errors of their own.
    light = [c for c in range(rows.shape[1]) if rows.columns[c] not in ("income", "cost", "wait")]
    np.testing.assert_allclose(draws.var(0)[:, light], variance[:, light], rtol=0.15, atol=1e-12)


def test_mean_of_categories_is_the_most_probable_one(mixed, mixed_rows):
    city = list(mixed_rows).index("city")
    filled = values(mixed.impute(mixed_rows))
    for row in np.flatnonzero(mixed_rows["city"].isna()):
        options = pd.concat([mixed_rows.iloc[[row]]] * 3).assign(city=[0.0, 1.0, 2.0])
        assert filled[row, city] == mixed.score_samples(options).argmax()
    assert set(filled[:, city]) <= {0.0, 1.0, 2.0}


def test_most_probable_completions_are_possible_values(mixed, mixed_rows):
    filled = mixed.impute(mixed_rows, strategy="mpe")
    assert np.isfinite(mixed.score_samples(filled)).all()
    drawn = mixed.impute(mixed_rows, strategy="sample", random_state=0)
    likely, usual = (mixed.score_samples(frame).mean() for frame in (filled, drawn))
    assert likely > usual


def test_conditional_draws_follow_the_seed(model, X):
    first, again, other = (model.sample_conditional(X, random_state=s) for s in (0, 0, 1))
    np.testing.assert_array_equal(first, again)
    assert not np.array_equal(first, other)
    assert first.shape == X.shape
    assert model.sample_conditional(X, n_draws=1, random_state=0).shape == (1, *X.shape)
    np.testing.assert_array_equal(model.impute(X, strategy="sample", random_state=0), first)


def test_covariance_of_the_table():
    many = small(max_iter=60, K=16).fit(IRIS)
    deviation = np.sqrt(many.variance())
    correlation = many.covariance() / np.outer(deviation, deviation)
    np.testing.assert_allclose(correlation, np.corrcoef(IRIS.T), atol=0.12)
    assert (np.linalg.eigvalsh(correlation) > 0).all()


def test_single_column_and_single_row():
    one = small().fit(IRIS[:, :1])
    nothing = np.array([[np.nan]])
    np.testing.assert_allclose(one.impute(nothing)[0], one.mean())
    assert one.covariance() == pytest.approx(one.variance()[0])
    np.testing.assert_allclose(one.feature_scores([[5.0]])[0], -one.score_samples([[5.0]]))
    assert one.interval_log_proba(low=[[0.0]], high=[[100.0]]) == pytest.approx(0, abs=1e-6)
    assert one.sample_conditional(nothing, random_state=0).shape == (1, 1)


def test_constant_column():
    X = np.column_stack([IRIS, np.full(150, 7.0)])
    constant = small().fit(X)
    X[:10, 4] = np.nan
    np.testing.assert_allclose(constant.impute(X)[:10, 4], 7.0, atol=0.2)
    assert np.isfinite(constant.feature_scores(X[10:])).all()
    assert np.isfinite(constant.covariance()).all()


# --- marginals


def test_marginal_scores_and_draws(mixed, mixed_rows):
    columns = ["visits", "age", "city"]
    marginal = mixed.marginal(columns)
    assert marginal.feature_names_in_.tolist() == columns
    assert marginal.n_features_in_ == 3
    rest = mixed_rows.copy()
    rest[[c for c in rest if c not in columns]] = np.nan
    np.testing.assert_allclose(
        marginal.score_samples(mixed_rows[columns]), mixed.score_samples(rest), rtol=1e-9, atol=1e-9
    )
    filled = marginal.impute(mixed_rows[columns])
    positions = [list(mixed_rows).index(c) for c in columns]
    pd.testing.assert_frame_equal(filled, mixed.impute(rest)[columns], rtol=1e-9)
    order = np.ix_(positions, positions)
    np.testing.assert_allclose(marginal.covariance(), mixed.covariance()[order], rtol=1e-6)
    assert marginal.sample(5).shape == (5, 3)
    pickle.loads(pickle.dumps(marginal)).score_samples(mixed_rows[columns])


def test_marginal_is_an_outlier_detector(model, X):
    marginal = model.marginal([0, 2])
    draws = marginal.sample(5000, random_state=1)
    assert np.mean(marginal.predict(draws) == -1) == pytest.approx(0.1, abs=0.02)
    far = draws[:1] + [100, 0]
    assert marginal.predict(far) == -1
    assert marginal.predict_proba(far)[0, 0] > 0.9


def test_marginal_leaves_the_original_alone(model, X):
    before = model.score_samples(X)
    marginal = model.marginal([1, 3])
    marginal.partial_fit(X[:, [1, 3]])
    np.testing.assert_array_equal(model.score_samples(X), before)
    assert model.n_features_in_ == 4


def test_marginal_can_be_fitted_anew(mixed):
    marginal = mixed.marginal(["visits", "age", "city"])
    frame = mixed_frame()[["visits", "age", "city"]]
    again = clone(marginal).fit(frame)
    names = {
        frame.columns[c]: g.family.name
        for g in again.circuit_.leaf_groups
        for c in g.columns.tolist()
    }
    assert names == {"visits": "poisson", "age": "normal", "city": "categorical"}


@pytest.mark.parametrize(
    ("features", "message"),
    [
        ([], "at least one column"),
        ([0, 0], "column 0 twice"),
        ([7], "features names the columns"),
        ([[0, 1]], "features must list columns"),
        (["a"], "features names the column 'a'"),
        ([True, False], "features is a mask of 2"),
    ],
)
def test_bad_features(model, features, message):
    with pytest.raises(ValueError, match=message):
        model.marginal(features)


# --- bad input and impossible cells


def test_unknown_columns_in_given(model, mixed, X, mixed_rows):
    with pytest.raises(ValueError, match="given names the column 'size', which X does not have"):
        mixed.conditional_score_samples(mixed_rows, given=["age", "size"])
    with pytest.raises(ValueError, match=r"given names the columns \[4\], but X has 4"):
        model.conditional_score_samples(X, given=4)
    with pytest.raises(ValueError, match="given is a mask of 2 columns, but X has 4"):
        model.conditional_score_samples(X, given=[True, False])
    for wrong in (pd.Series({"age": 30.0}), [0.5]):
        with pytest.raises(ValueError, match="ut the values of columns into X"):
            mixed.conditional_score_samples(mixed_rows, given=wrong)
    with pytest.raises(ValueError, match=r"given names the columns slice\('age', 'city', None\)"):
        mixed.conditional_score_samples(mixed_rows, given=slice("age", "city"))


def test_bad_bounds(model, mixed):
    with pytest.raises(ValueError, match="needs low, high or both"):
        model.interval_log_proba()
    names = list(mixed.feature_names_in_)
    low, high = (pd.DataFrame({"age": [20.0, a]}, columns=names, dtype=float) for a in (50.0, 40.0))
    with pytest.raises(ValueError, match="low exceeds high in column 'age' of row 1: 50 > 40"):
        mixed.interval_log_proba(low, high)
    with pytest.raises(ValueError, match="the same number of rows, or one row; got 2 and 3"):
        model.interval_log_proba(np.zeros((2, 4)), np.ones((3, 4)))
    with pytest.raises(ValueError, match="3 features"):
        model.interval_log_proba(low=np.zeros((2, 3)))


def test_bad_parameters(model, X):
    with pytest.raises(ValueError, match="strategy must be one of"):
        model.impute(X, strategy="median")
    with pytest.raises(ValueError, match="method must be"):
        model.feature_scores(X, method="shap")
    with pytest.raises(ValueError, match="n_draws"):
        model.sample_conditional(X, n_draws=0)
    with pytest.raises(TypeError, match="n_draws"):
        model.sample_conditional(X, n_draws=1.5)


@pytest.mark.parametrize("column", ["city", "visits", "share"])
def test_impossible_cells_are_not_conditioned_on(mixed, mixed_rows, column):
    rows = mixed_rows.assign(age=np.nan)
    spoilt, missing = rows.assign(**{column: -3.0}), rows.assign(**{column: np.nan})
    at = list(rows).index(column)
    others = [i for i in range(rows.shape[1]) if i != at]
    message = f"Column '{column}' holds -3, which is impossible under the fitted model"
    for query in (
        lambda X: mixed.impute(X),
        lambda X: mixed.impute(X, strategy="mpe"),
        lambda X: mixed.sample_conditional(X, random_state=0),
        mixed.mean,
        mixed.variance,
    ):
        with pytest.warns(UserWarning, match=message):
            found = values(query(spoilt))
        assert not np.isnan(found).any()
        if query != mixed.variance:
            assert (found[:, at] == -3).all()
    expected = values(mixed.variance(missing))
    np.testing.assert_allclose(found[:, others], expected[:, others], rtol=1e-9)
    given = [c for c in rows if c != "wait"]
    with pytest.warns(UserWarning, match=message):
        found = mixed.conditional_score_samples(spoilt, given=given)
    np.testing.assert_allclose(found, mixed.conditional_score_samples(missing, given), rtol=1e-9)
    # A category that fit has not seen is as probable as one more row would make it.
    surprise = np.log1p(len(mixed_frame())) if column == "city" else np.inf
    found = mixed.conditional_score_samples(spoilt, given=["member"])
    np.testing.assert_allclose(
        found, mixed.conditional_score_samples(missing, given=["member"]) - surprise, rtol=1e-12
    )
    scores, expected = (values(mixed.feature_scores(each)) for each in (spoilt, missing))
    np.testing.assert_allclose(scores[:, at], surprise, rtol=1e-15)
    np.testing.assert_allclose(scores[:, others], expected[:, others])


def test_evidence_of_probability_zero():
    """Every cell is possible, but not both together: no pseudocount, and weights of 0."""
    blind = small(K=2, replicas=1, depth=1, pseudocount=0.0, leaf="categorical").fit(
        np.array([[0, 0, 0, 0], [1, 1, 1, 1]] * 20)
    )
    weights = blind.circuit_.weights[0]
    weights[:] = 0
    weights[..., 0, 0] = 1
    group = blind.circuit_.leaf_groups[0]
    group.phi[..., 0, :], group.phi[..., 1, :] = 1.0, 0.0
    blind.table_density_ = replace(blind.table_density_)  # it has kept what it was before
    row = np.array([[0.0, 0.0, 0.0, np.nan], [1.0, 1.0, 1.0, np.nan]])
    for query in (blind.impute, blind.sample_conditional, blind.mean):
        with pytest.raises(ValueError, match="in row 1 have probability 0 under"):
            query(row)
    with pytest.raises(ValueError, match="in row 1 have probability 0 under"):
        blind.conditional_score_samples(row, given=[0, 1])


QUERIES = {
    "conditional_score_samples": {"given": [0]},
    "feature_scores": {},
    "impute": {},
    "interval_log_proba": {},
    "marginal": {},
    "mean": {},
    "sample_conditional": {},
    "variance": {},
}


@pytest.mark.parametrize("query", [*QUERIES, "covariance"])
def test_not_fitted(query):
    arguments = [] if query == "covariance" else [[0] if query == "marginal" else IRIS]
    with pytest.raises(NotFittedError):
        getattr(EinetDensity(), query)(*arguments, **QUERIES.get(query, {}))


def test_queries_change_nothing(model, X):
    before, rows = pickle.dumps(model), X.copy()
    np.random.seed(0)
    torch.manual_seed(0)
    state, torch_state = np.random.get_state()[1].copy(), torch.get_rng_state()
    settings = torch.get_num_threads(), torch.get_default_dtype()
    for query, arguments in QUERIES.items():
        getattr(model, query)([0, 1] if query == "marginal" else X, **arguments)
    model.covariance()
    assert pickle.dumps(model) == before
    np.testing.assert_array_equal(X, rows)
    np.testing.assert_array_equal(np.random.get_state()[1], state)
    assert torch.equal(torch.get_rng_state(), torch_state)
    assert settings == (torch.get_num_threads(), torch.get_default_dtype())


def test_queries_in_blocks_are_the_same(model, X, monkeypatch):
    whole = model.impute(X), model.feature_scores(X), model.impute(X, "mpe")
    monkeypatch.setattr(type(model.circuit_), "block_rows", 7)
    blocks = model.impute(X), model.feature_scores(X), model.impute(X, "mpe")
    for a, b in zip(whole, blocks, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-9, atol=1e-9)


def test_frames_raise_no_warnings(mixed, mixed_rows):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        mixed.impute(mixed_rows)
        mixed.feature_scores(mixed_rows)
        mixed.marginal(["age"])
        mixed.interval_log_proba(low=mixed_rows, high=mixed_rows + 1)
        mixed.interval_log_proba(low=mixed_rows)
        mixed.interval_log_proba(high=mixed_rows)
        mixed.conditional_score_samples(mixed_rows, given="age")


def test_every_public_query_has_an_example_and_is_in_the_tests():
    queries = {
        name: method
        for base in (IntervalQueries, ScoreQueries, CriterionQueries, CompletionQueries)
        for name, method in vars(base).items()
        if inspect.isfunction(method) and not name.startswith("_")
    }
    others = {"covariance", "sample", "score", "score_samples", "bic", "aic", "event_log_proba"}
    assert set(queries) == {*QUERIES, *others}
    for method in queries.values():
        assert ">>> " in method.__doc__


def test_warnings_point_to_the_caller(mixed, mixed_rows):
    spoilt = mixed_rows.assign(city=-3.0)
    for query in (mixed.impute, mixed.sample_conditional, mixed.mean):
        with pytest.warns(UserWarning, match="city") as caught:
            query(spoilt)
        assert caught[0].filename == __file__


def test_frames_with_numbers_for_names_are_arrays():
    frame = pd.DataFrame(IRIS, columns=[1, 2, 3, 0])
    fitted = small().fit(frame)
    by_frame = fitted.interval_log_proba(frame[:3] - 0.5, frame[:3] + 0.5)
    by_array = fitted.interval_log_proba(IRIS[:3] - 0.5, IRIS[:3] + 0.5)
    np.testing.assert_array_equal(by_frame, by_array)


def test_far_bounds(model):
    high = model.interval_log_proba(high={0: -1e200})
    low = model.interval_log_proba(low={0: 1e200})
    assert np.isneginf([high, low]).all()
    assert -np.inf < model.interval_log_proba(low={0: 1e6})[0] < -1e6


def test_many_draws_take_little_memory():
    """Blocks of walks, whatever the number of draws and of categories."""
    blocks = []
    original = sampling.fill

    def fill(circuit, visits, rows, *arguments):
        blocks.append(rows.size * max(g.family.n_statistics for g in circuit.leaf_groups))
        return original(circuit, visits, rows, *arguments)

    wide = small(leaf={Categorical(300): [0]}, max_iter=1).fit(np.arange(300.0)[:, None])
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("sklearn_einet.model.completion.fill", fill)
        patch.setattr(sampling, "WALK_CELLS", 3000)
        draws = wide.sample_conditional([[np.nan]], n_draws=100, random_state=0)
    assert draws.shape == (100, 1, 1)
    assert len(blocks) == 10
    assert max(blocks) <= 3000


@pytest.mark.gpu
@pytest.mark.usefixtures("gpu")
def test_queries_on_a_gpu(X):
    fitted = small(device="cuda").fit(X)
    on_cpu = pickle.loads(pickle.dumps(fitted)).set_params(device="cpu")
    for query, arguments in QUERIES.items():
        if query in ("marginal", "sample_conditional"):
            continue
        found, expected = (getattr(m, query)(X, **arguments) for m in (fitted, on_cpu))
        np.testing.assert_allclose(found, expected, rtol=1e-6, atol=1e-6)
    np.testing.assert_allclose(fitted.covariance(), on_cpu.covariance(), rtol=1e-6)
    marginals = (m.marginal([2, 0]).score_samples(X[:, [2, 0]]) for m in (fitted, on_cpu))
    np.testing.assert_allclose(*marginals, atol=1e-3)
    assert np.isfinite(fitted.sample_conditional(X, n_draws=2)).all()


# --- draws without noise


def test_draws_without_noise_are_values_of_leaves():
    """Only the hidden choices are random: few values occur, and these are means of leaves."""
    model = small(structure="chow-liu", numeric_transform=None, atoms=None, max_iter=20).fit(IRIS)
    (group,) = model.circuit_.leaf_groups
    means = model.table_density_.schema.decode(
        np.zeros((1, 4))
    )  # of the columns, where the circuit has 0
    smooth = model.sample(200, random_state=0, noise=False)
    noisy = model.sample(200, random_state=0)
    for column in range(4):
        terms = group.terms.where(group.columns == column)
        possible = (
            group.phi.flatten(0, 1)[terms.slot, 0].ravel()
            * model.table_density_.schema.scale[column]
        )
        possible = possible.numpy() + means[0, column]
        nearest = np.abs(smooth[:, [column]] - possible).min(axis=1)
        np.testing.assert_allclose(nearest, 0, atol=1e-9)
        assert np.abs(noisy[:, [column]] - possible).min(axis=1).max() > 1e-3


def test_conditional_draws_without_noise(mixed, mixed_rows):
    draws = values(mixed.sample_conditional(mixed_rows, n_draws=20, random_state=0, noise=False))
    observed = mixed_rows.notna().to_numpy()
    np.testing.assert_array_equal(draws[3][observed], mixed_rows.to_numpy()[observed])
    assert np.isfinite(draws).all()
    spread = draws.std(axis=0)[~observed].mean()
    noisy = values(mixed.sample_conditional(mixed_rows, n_draws=20, random_state=0))
    assert 0 < spread < noisy.std(axis=0)[~observed].mean()
