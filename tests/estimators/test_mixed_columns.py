"""Strings, categories, booleans, counts and numbers in one table: all queries by enumeration."""

import copy
import itertools
import pickle

import numpy as np
import pandas as pd
import pytest
from scipy.special import logsumexp
from sklearn.base import clone

from sklearn_einet import EinetDensity
from sklearn_einet.families import Categorical
from tests.helpers.mixed_columns import (
    CATEGORIES,
    ESTIMATORS,
    FRAMES,
    MODELS,
    NAMES,
    NOTHING,
    combinations,
    object_array,
    only,
    pandas_frame,
    polars_frame,
    records,
    small,
)

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")


@pytest.fixture(scope="module", params=itertools.product(MODELS, (pandas_frame, polars_frame)))
def case(request):
    kind, make = request.param
    return small(kind).fit(make(records())), make


def log_density(model, make, row):
    """By summation over all combinations of missing categories."""
    return logsumexp(model.score_samples(make(combinations(row))))


QUERIES = records(12, seed=1, missing=0.4)


# --- by enumeration


def test_probabilities_sum_to_one(case):
    model, make = case
    scores = model.score_samples(make(combinations(NOTHING)))
    assert len(scores) == 24
    assert np.exp(scores).sum() == pytest.approx(1, abs=1e-12)
    assert np.isfinite(scores).all()  # also of the category that never occurs


def test_missing_categories_are_summed_over(case):
    model, make = case
    expected = [log_density(model, make, row) for row in QUERIES]
    np.testing.assert_allclose(model.score_samples(make(QUERIES)), expected, atol=1e-9)


@pytest.mark.parametrize("given", [["city"], ["grade", "size"], ["member", "visits", "weight"]])
def test_conditional_densities(case, given):
    model, make = case
    expected = [
        log_density(model, make, row) - log_density(model, make, only(row, given))
        for row in QUERIES
    ]
    found = model.conditional_score_samples(make(QUERIES), given)
    np.testing.assert_allclose(found, expected, atol=1e-9)


def test_feature_scores_are_log_ratios(case):
    model, make = case
    conditional, marginal = (
        np.asarray(model.feature_scores(make(QUERIES), method))
        for method in ("conditional", "marginal")
    )
    np.testing.assert_array_equal(
        np.isnan(conditional), [[row[name] is None for name in NAMES] for row in QUERIES]
    )
    for i, row in enumerate(QUERIES):
        for name in CATEGORIES:
            if row[name] is not None:
                pair = model.score_samples(make([row | {name: None}, row]))
                at = NAMES.index(name)
                assert conditional[i, at] == pytest.approx(pair[0] - pair[1], abs=1e-9)
                alone = model.score_samples(make([only(row, [name])]))[0]
                assert marginal[i, at] == pytest.approx(-alone, abs=1e-9)


def test_imputed_categories_are_the_most_probable_ones(case):
    model, make = case
    filled = model.impute(make(QUERIES))
    n_filled = 0
    for i, row in enumerate(QUERIES):
        for name, values in CATEGORIES.items():
            if row[name] is None:
                scores = model.score_samples(make(combinations(row, [name])))
                assert filled[name][i] == values[scores.argmax()]
                n_filled += 1
    assert n_filled > 10


def lists(frame):
    """The cells of a DataFrame, whatever its kind."""
    return {name: frame[name].to_list() for name in frame.columns}


def counts_of(frame):
    """How often each combination of categories is in a DataFrame."""
    rows = zip(*(frame[name].to_list() for name in CATEGORIES), strict=True)
    found = pd.Series(list(rows)).value_counts()
    return np.array([found.get(c, 0) for c in itertools.product(*CATEGORIES.values())])


def assert_close_to(counts, p):
    n = counts.sum()
    assert (np.abs(counts - n * p) < 4.5 * np.sqrt(n * p * (1 - p)) + 1e-9).all()


def test_draws_have_the_probabilities_of_the_model(case):
    model, make = case
    p = np.exp(model.score_samples(make(combinations(NOTHING))))
    assert_close_to(counts_of(model.sample(20_000, random_state=0)), p)


def test_conditional_draws_have_the_probabilities_of_the_model(case):
    model, make = case
    row = NOTHING | {"size": 4.0, "visits": 5}
    scores = model.score_samples(make(combinations(row)))
    drawn = model.sample_conditional(make([row] * 5000), random_state=0)
    assert_close_to(counts_of(drawn), np.exp(scores - logsumexp(scores)))


def test_intervals_of_ordered_categories(case):
    model, make = case
    found = model.score_samples(make(combinations(NOTHING, ["grade"])))
    scores = dict(zip(CATEGORIES["grade"], found, strict=True))
    for low, high in itertools.combinations_with_replacement(CATEGORIES["grade"], 2):
        inside = CATEGORIES["grade"][CATEGORIES["grade"].index(low) :]
        inside = inside[: inside.index(high) + 1]
        found = model.interval_log_proba({"grade": low}, {"grade": high})
        assert found == pytest.approx(logsumexp([scores[g] for g in inside]), abs=1e-9)
    upper = model.interval_log_proba(low={"grade": "high"})
    assert upper == pytest.approx(logsumexp([scores["high"], scores["top"]]), abs=1e-9)


def test_intervals_of_texts_and_booleans_are_probabilities(case):
    model, make = case
    for name in ("city", "member"):
        for value in CATEGORIES[name]:
            found = model.interval_log_proba({name: value}, {name: value})
            expected = model.score_samples(make([NOTHING | {name: value}]))
            np.testing.assert_allclose(found, expected, atol=1e-9)
    box = {"city": "Oslo", "grade": "mid", "member": True}
    found = model.interval_log_proba(box, box | {"grade": "high"})
    rows = [NOTHING | box | {"grade": grade} for grade in ("mid", "high")]
    assert found == pytest.approx(logsumexp(model.score_samples(make(rows))), abs=1e-9)


def test_several_boxes_of_categories(case):
    model, make = case
    rows = [NOTHING | {"city": "Oslo"}, NOTHING | {"city": "Rome", "grade": "mid"}, NOTHING]
    expected = model.score_samples(make(rows))
    cities, grades = ["Oslo", "Rome", None], [None, "mid", None]
    as_dict = {"city": cities, "grade": grades}
    for bounds in (as_dict, pd.DataFrame(as_dict), make(rows), object_array(rows)):
        np.testing.assert_allclose(model.interval_log_proba(bounds, bounds), expected, atol=1e-9)
    one = model.interval_log_proba({"city": "Oslo"}, {"city": ["Oslo"] * 2, "visits": [3, 5]})
    assert one.shape == (2,)


def test_moments(case):
    """Booleans have a mean, categories have none."""
    model, make = case
    has_none = np.isin(NAMES, ["city", "grade"])
    for moments in (model.mean(), model.variance(), np.diag(model.covariance())):
        np.testing.assert_array_equal(np.isnan(moments), has_none)
    np.testing.assert_array_equal(
        np.isnan(model.covariance()), has_none[:, None] | has_none[None, :]
    )
    of_member = np.exp(model.score_samples(make([NOTHING | {"member": True}])))[0]
    assert model.mean()[NAMES.index("member")] == pytest.approx(of_member, abs=1e-9)
    mean = np.asarray(model.mean(make(QUERIES)))
    assert np.isnan(mean[:, has_none]).all()
    assert np.isfinite(mean[:, ~has_none]).all()


def test_categories_(case):
    model, _ = case
    found = {name: values.tolist() for name, values in model.categories_.items()}
    assert found == {name: CATEGORIES[name] for name in ("city", "grade")}
    model.categories_["city"][0] = "Paris"
    assert model.categories_["city"][0] == "Bern"


def test_marginals(case):
    model, make = case
    names = ["weight", "grade", "member", "city"]
    marginal = model.marginal(names)
    kept = make(QUERIES)[names]
    rest = make([only(row, names) for row in QUERIES])
    expected = model.score_samples(rest)
    np.testing.assert_allclose(marginal.score_samples(kept), expected, atol=1e-9)
    assert list(marginal.categories_) == ["grade", "city"]
    drawn, whole = marginal.sample(3), make(QUERIES)
    assert list(drawn.columns) == names
    assert all(drawn[name].dtype == whole[name].dtype for name in names)
    bounds = {"grade": "low"}, {"grade": "mid", "member": True}
    assert marginal.interval_log_proba(*bounds) == pytest.approx(model.interval_log_proba(*bounds))
    discrete = ["grade", "member", "city"]
    assert lists(marginal.impute(kept)[discrete]) == lists(model.impute(rest)[discrete])
    again = clone(marginal).fit(make(records())[names])
    assert list(again.categories_) == ["grade", "city"]


@pytest.mark.parametrize("how", [lambda m: pickle.loads(pickle.dumps(m)), copy.deepcopy])
def test_persistence(case, how):
    model, make = case
    X, other = make(QUERIES), how(model)
    np.testing.assert_array_equal(other.score_samples(X), model.score_samples(X))
    assert lists(other.sample(5, random_state=0)) == lists(model.sample(5, random_state=0))
    assert lists(other.impute(X)) == lists(model.impute(X))
    assert clone(other).get_params() == model.get_params()


# --- what must not matter


def scores_of(X, queries=None, **parameters):
    return small(**parameters).fit(X).score_samples(X if queries is None else queries)


@ESTIMATORS
def test_pandas_and_polars_are_the_same(kind):
    rows = records()
    frames = [make(rows) for make in (pandas_frame, polars_frame)]
    models = [small(kind).fit(frame) for frame in frames]
    first, *others = (m.score_samples(X) for m, X in itertools.product(models, frames))
    for scores in others:
        np.testing.assert_array_equal(scores, first)
    for query in (
        lambda model, X: model.sample(50, random_state=0),
        lambda model, X: model.impute(X),
        lambda model, X: model.impute(X, "mpe"),
        lambda model, X: model.impute(X, "sample", random_state=0),
        lambda model, X: model.sample_conditional(X, n_draws=2, random_state=0)[1],
    ):
        mine, others = (lists(query(m, X)) for m, X in zip(models, frames, strict=True))
        assert mine == others
    responses = (m.feature_scores(X) for m, X in zip(models, frames, strict=True))
    np.testing.assert_array_equal(*responses)


def test_arrays_of_objects_are_the_same_as_frames():
    """Columns of an array have to be told: which are categories, and which are 0 or 1."""
    rows = records()
    leaf = {"poisson": [1], "bernoulli": [4]}
    array, frame = object_array(rows), pandas_frame(rows)
    from_array = small(leaf=leaf, categorical_features=[0, 2]).fit(array)
    # The order of a type is not in an array.
    texts = frame.assign(grade=frame["grade"].astype(object))
    from_frame = small(leaf=leaf).fit(texts)
    expected = from_frame.score_samples(texts)
    np.testing.assert_array_equal(from_array.score_samples(array), expected)
    np.testing.assert_array_equal(from_frame.score_samples(array), expected)
    np.testing.assert_array_equal(from_frame.score_samples(array.tolist()), expected)


@FRAMES
@ESTIMATORS
def test_names_of_categories_do_not_matter(make, kind):
    rows = records()
    new = {"Bern": "a town", "Oslo": "b", "Rome": "é", None: None}
    renamed = [row | {"city": new[row["city"]]} for row in rows]
    np.testing.assert_array_equal(
        scores_of(make(rows), kind=kind), scores_of(make(renamed), kind=kind)
    )


@pytest.mark.parametrize("codes", [[0, 1, 2], [1, 5, 7], [-3.5, 0.25, 1e9]])
def test_numbers_of_categories_do_not_matter(codes):
    rows = records()
    of = dict(zip(CATEGORIES["city"], codes, strict=True)) | {None: np.nan}
    frame = pandas_frame(rows)
    numbered = frame.assign(city=[of[row["city"]] for row in rows])
    expected = scores_of(frame)
    by_name = ["city", "grade"]
    np.testing.assert_array_equal(scores_of(numbered, categorical_features=by_name), expected)
    as_type = numbered.assign(city=numbered["city"].astype("category"))
    np.testing.assert_array_equal(scores_of(as_type), expected)


@FRAMES
def test_order_of_columns_does_not_matter(make):
    frame = make(records())
    parameters = {"structure": "chow-liu", "solver": "em", "K": 1}
    order = [NAMES[i] for i in (3, 0, 5, 2, 1, 4)]
    np.testing.assert_allclose(
        scores_of(frame[order], **parameters), scores_of(frame, **parameters), atol=1e-8
    )


@FRAMES
def test_units_change_scores_by_the_jacobian(make):
    rows = records()
    seen = np.array([row["size"] is not None for row in rows])

    def in_unit(scale, shift):
        return make(
            [r | {"size": None if r["size"] is None else r["size"] * scale + shift} for r in rows]
        )

    expected = scores_of(make(rows))
    exactly = scores_of(in_unit(2, 0)) + np.log(2) * seen
    np.testing.assert_allclose(exactly, expected, rtol=0, atol=1e-12)
    nearly = scores_of(in_unit(1.8, 32)) + np.log(1.8) * seen
    np.testing.assert_allclose(nearly, expected, atol=2e-3)


@pytest.mark.parametrize("texts", [["x", "y", "x"], ["x", "y", "z"]])
def test_the_number_of_categories_does_not_matter_to_other_columns(texts):
    frame = pd.DataFrame({"c": texts * 20, "b": [0, 1, 1] * 20})
    model = EinetDensity(K=2, max_iter=2, random_state=0).fit(frame)
    assert {g.family.name for g in model.circuit_.leaf_groups} == {"categorical", "bernoulli"}


@pytest.mark.parametrize("n_states", [40, 20_000])
def test_declared_categories_cost_nothing_row_by_row(n_states, monkeypatch):
    """A fit makes no indicators of all states, and few tables, however many steps it has."""
    rng = np.random.RandomState(0)
    categories = [f"c{i}" for i in range(n_states)]
    frame = pd.DataFrame(
        {
            "where": pd.Categorical(rng.choice(categories, 300), categories=categories),
            "size": rng.randn(300),
        }
    )
    n_tables = []
    for name in ("statistics", "log_normalizer", "project"):
        function = getattr(Categorical, name)

        def counted(self, x, *args, function=function, name=name):
            n_tables.append(name)
            return function(self, x, *args)

        monkeypatch.setattr(Categorical, name, counted)
    model = EinetDensity(max_iter=3, tol=0, K=4, random_state=0).fit(frame)
    assert "statistics" not in n_tables
    if n_states == 20_000:  # smaller tables are no trouble
        assert len(n_tables) < 12 < model.n_iter_ * 300 // 20
    # Categories that do not occur are as probable as each other, and as smoothing makes them.
    seen = set(frame["where"])
    absent = [name for name in categories if name not in seen]
    rows = pd.DataFrame(
        {
            "where": pd.Categorical([*absent[:3], frame["where"][0]], categories=categories),
            "size": np.nan,
        }
    )
    if absent:
        scores = model.score_samples(rows)
        np.testing.assert_allclose(scores[:3], scores[0], rtol=1e-9)
        assert scores[0] < scores[3]
    every = pd.DataFrame({"where": pd.Categorical(categories, categories=categories)})
    total = np.exp(model.score_samples(every.assign(size=np.nan))).sum()
    assert total == pytest.approx(1, rel=1e-9)
