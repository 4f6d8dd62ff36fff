"""Categories that fit has not seen, as the parameter handle_unknown says."""

import warnings

import numpy as np
import pandas as pd
import polars as pl
import pytest

from sklearn_einet import EinetDensity, EinetMixture
from sklearn_einet.inspection import ConditionalDensityDisplay, FeatureScoresDisplay
from tests.helpers.mixed_columns import (
    FRAMES,
    N_ROWS,
    NAMES,
    NOTHING,
    changed,
    combinations,
    pandas_frame,
    polars_frame,
    records,
    small,
)

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

QUERIES = records(20, seed=2, missing=0.3)
UNKNOWN = changed(QUERIES, city="Paris")
MISSING = changed(QUERIES, city=None)
SURPRISE = np.log1p(N_ROWS)
CITY = NAMES.index("city")
REST = np.arange(len(NAMES)) != CITY


@pytest.fixture(scope="module", params=["density", "mixture"])
def kind(request):
    return request.param


@pytest.fixture(scope="module", params=[pandas_frame, polars_frame], ids=["pandas", "polars"])
def make(request):
    return request.param


@pytest.fixture(scope="module")
def models(kind, make):
    X = make(records())
    return {how: small(kind, handle_unknown=how).fit(X) for how in ("smooth", "ignore", "error")}


def unusable(model, query):
    """The result of a query that says that a cell was not conditioned on."""
    with pytest.warns(UserWarning, match="Column 'city'.*") as caught:
        result = query(model)
    assert len([w for w in caught if "'city'" in str(w.message)]) == 1
    assert caught[0].filename == __file__
    return result


QUERY_METHODS = {
    "score_samples": lambda model, X: model.score_samples(X),
    "predict": lambda model, X: model.predict(X),
    "p_values": lambda model, X: model.p_values(X),
    "predict_proba": lambda model, X: model.predict_proba(X),
    "conditional": lambda model, X: model.conditional_score_samples(X, ["size"]),
    "given": lambda model, X: model.conditional_score_samples(X, ["city", "size"]),
    "feature_scores": lambda model, X: model.feature_scores(X),
    "marginal_scores": lambda model, X: model.feature_scores(X, method="marginal"),
    "mean": lambda model, X: np.asarray(model.mean(X))[:, REST],
    "responsibilities": lambda model, X: model.responsibilities(X),
}


def methods(model):
    return {
        name: query
        for name, query in QUERY_METHODS.items()
        if name != "responsibilities" or isinstance(model, EinetMixture)
    }


# --- smooth


def test_smooth_is_the_probability_of_one_more_row(models, make):
    model = models["smooth"]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = model.score_samples(make(UNKNOWN))
        conditional = model.conditional_score_samples(make(UNKNOWN), ["size", "grade"])
        scores = np.asarray(model.feature_scores(make(UNKNOWN)))
        marginal = np.asarray(model.feature_scores(make(UNKNOWN), method="marginal"))
    expected = model.score_samples(make(MISSING)) - SURPRISE
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-12)
    without = model.conditional_score_samples(make(MISSING), ["size", "grade"])
    np.testing.assert_allclose(conditional, without - SURPRISE, rtol=0, atol=1e-12)
    for each, method in ((scores, "conditional"), (marginal, "marginal")):
        np.testing.assert_allclose(each[:, CITY], SURPRISE, rtol=1e-15)
        without = np.asarray(model.feature_scores(make(MISSING), method=method))
        np.testing.assert_allclose(each[:, REST], without[:, REST], rtol=1e-12, atol=1e-12)


def test_an_unknown_cell_alone(models, make):
    model = models["smooth"]
    row = make([NOTHING | {"city": "Paris"}])
    assert model.score_samples(row) == pytest.approx(-SURPRISE, abs=1e-12)
    np.testing.assert_allclose(np.asarray(model.feature_scores(row))[0, CITY], SURPRISE)


def test_several_unknown_cells_add_up(kind):
    """Two columns of strings; and codes in a column that leaf calls categorical."""
    frame = pandas_frame(records()).astype({"grade": object})
    frame["code"] = np.random.RandomState(0).randint(3, size=N_ROWS)
    model = small(kind, leaf={"poisson": ["visits"], "categorical": ["code"]}).fit(frame)
    assert list(model.categories_) == ["city", "grade"]
    names = ["city", "grade", "code"]
    for n in range(4):
        unknown = frame.assign(**dict(zip(names[:n], ["Paris", "best", 3], strict=False)))
        missing = frame.assign(**dict.fromkeys(names[:n]))
        expected = model.score_samples(missing.astype({"code": float})) - n * SURPRISE
        np.testing.assert_allclose(model.score_samples(unknown), expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize("value", [3, -1, 0.5, 1e9])
def test_codes(kind, value):
    X = np.random.RandomState(0).randint(3, size=(N_ROWS, 2)).astype(float)
    rows, missing = np.array([[value, 1.0]]), np.array([[np.nan, 1.0]])
    smooth, ignore, error = (
        small(kind, leaf="categorical", handle_unknown=how).fit(X)
        for how in ("smooth", "ignore", "error")
    )
    expected = smooth.score_samples(missing)
    np.testing.assert_allclose(smooth.score_samples(rows), expected - SURPRISE, atol=1e-12)
    with pytest.warns(UserWarning, match="Column 0 has categories not seen in fit"):
        np.testing.assert_allclose(ignore.score_samples(rows), expected, rtol=1e-12)
    with pytest.raises(ValueError, match="Column 0 has categories not seen in fit"):
        error.score_samples(rows)
    with pytest.warns(UserWarning, match="Column 0"):
        assert smooth.impute([[value, np.nan]])[0, 0] == value


def test_weights_are_numbers_of_rows(kind, make):
    weight = np.random.RandomState(0).randint(4, size=N_ROWS)
    model = small(kind).fit(make(records()), sample_weight=weight)
    found = model.score_samples(make(UNKNOWN)) - model.score_samples(make(MISSING))
    np.testing.assert_allclose(found, -np.log1p(weight.sum()), atol=1e-12)


def test_unknown_cells_make_outliers(models, make):
    """More atypical than any known category."""
    model = models["smooth"]
    rows = records(200, seed=3, missing=0)
    shares = [
        np.mean(model.predict(make(changed(rows, city=city))) == -1) for city in ("Oslo", "Paris")
    ]
    assert shares[0] < 0.3
    assert shares[1] > 0.6


def test_marginals_keep_the_rule(models, make):
    marginal = models["smooth"].marginal(["city", "size"])
    rows, without = (make(r)[["city", "size"]] for r in (UNKNOWN, MISSING))
    found = marginal.score_samples(rows) - marginal.score_samples(without)
    np.testing.assert_allclose(found, -SURPRISE, atol=1e-12)


# --- ignore, and error


def test_ignored_cells_are_missing(models, make):
    model = models["ignore"]
    for query in methods(model).values():
        found = unusable(model, lambda model, query=query: query(model, make(UNKNOWN)))
        np.testing.assert_allclose(found, query(model, make(MISSING)), rtol=1e-12, atol=1e-12)


def test_errors_name_the_column(models, make):
    model = models["error"]
    queries = list(methods(model).values())
    queries += [lambda m, X: m.impute(X), lambda m, X: m.sample_conditional(X)]
    for query in queries:
        with pytest.raises(ValueError, match="Column 'city' has categories not seen in fit"):
            query(model, make(UNKNOWN))
    np.testing.assert_array_equal(
        model.score_samples(make(QUERIES)), models["smooth"].score_samples(make(QUERIES))
    )


# --- conditioning


@pytest.mark.parametrize("how", ["smooth", "ignore"])
def test_unknown_cells_are_not_conditioned_on(models, make, how):
    model = models[how]
    conditional = methods(model)
    for name in ("given", "mean", "responsibilities"):
        if name in conditional:
            query = conditional[name]
            found = unusable(model, lambda model, query=query: query(model, make(UNKNOWN)))
            np.testing.assert_allclose(found, query(model, make(MISSING)), rtol=1e-12)


@pytest.mark.parametrize("how", ["smooth", "ignore"])
@pytest.mark.parametrize("strategy", ["mean", "mpe", "sample"])
def test_imputation_returns_unknown_cells_as_they_came(models, make, how, strategy):
    model = models[how]
    given, without = make(UNKNOWN), make(MISSING)
    if strategy != "sample":
        found = unusable(model, lambda model: model.impute(given, strategy))
        expected = model.impute(without, strategy)
    else:
        found = unusable(model, lambda model: model.sample_conditional(given, random_state=0))
        expected = model.sample_conditional(without, random_state=0)
    assert found["city"].to_list() == ["Paris"] * len(UNKNOWN)
    if strategy != "sample":  # the draw of the missing city takes random numbers
        assert found["grade"].to_list() == expected["grade"].to_list()
        for name in ("visits", "size", "member", "weight"):
            pair = (np.array(table[name].to_list(), dtype=float) for table in (found, expected))
            np.testing.assert_allclose(*pair, rtol=1e-9)


def test_categories_that_only_the_query_has(kind):
    """In types: they come back, and missing cells beside them are filled by known ones."""
    rows = records()
    cities = [row["city"] for row in rows]
    others = ["Paris" if city == "Rome" else city for city in cities]
    for make, X in (
        (lambda v: pd.Series(pd.Categorical(v)), pandas_frame(rows)),
        (lambda v: pl.Series(v, dtype=pl.Enum(sorted({c for c in v if c}))), polars_frame(rows)),
    ):
        change = X.assign if isinstance(X, pd.DataFrame) else X.with_columns
        model = small(kind).fit(change(city=make(cities)))
        with pytest.warns(UserWarning, match="'city'"):
            filled = model.impute(change(city=make(others)))["city"].to_list()
        kept = [f for f, o in zip(filled, others, strict=True) if o is not None]
        assert kept == [o for o in others if o is not None]
        assert set(filled) <= {"Bern", "Oslo", "Rome", "Paris"}


def test_declared_categories_are_known(models, make):
    """The type in fit had a category that no row has."""
    rows = changed(QUERIES, grade="top")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        scores = [models[how].score_samples(make(rows)) for how in models]
    for each in scores[1:]:
        np.testing.assert_array_equal(each, scores[0])
    assert np.isfinite(scores).all()


# --- displays


@FRAMES
def test_displays(make):
    model = small().fit(make(records()))
    row = make(changed(QUERIES[:1], city="Paris", size=None))
    bars = FeatureScoresDisplay.from_estimator(model, row, max_features=None)
    labels = [label.get_text() for label in bars.ax_.get_yticklabels()]
    assert "city = Paris" in labels
    assert "size missing" in labels
    curve = ConditionalDensityDisplay.from_estimator(model, row, "city")
    assert [label.get_text() for label in curve.ax_.get_xticklabels()] == ["Bern", "Oslo", "Rome"]
    assert np.isnan(curve.value)
    assert curve.conditional.sum() == pytest.approx(1, abs=1e-9)


# --- more rows later


@FRAMES
def test_partial_fit(make):
    X = make(records(400))
    model = small().partial_fit(X)
    before = model.score(X)
    for _ in range(5):
        model.partial_fit(X)
    scores = model.score_samples(X)
    assert scores.mean() > before
    state = vars(model).copy()
    with pytest.raises(ValueError, match="'city'"):
        model.partial_fit(make(changed(records(50), city="Paris")))
    assert vars(model) == state
    np.testing.assert_array_equal(model.score_samples(X), scores)


@FRAMES
def test_warm_start(make):
    X = make(records())
    parameters = {"max_iter": 5, "tol": 0, "solver": "em"}
    model = small(warm_start=True, **parameters).fit(X)
    before = model.score_samples(X)
    with pytest.raises(ValueError, match="'city'"):
        model.fit(make(changed(records(), city="Paris")))
    np.testing.assert_array_equal(model.score_samples(X), before)
    model.fit(X)
    longer = small(**parameters | {"max_iter": 10}).fit(X)
    np.testing.assert_allclose(model.score_samples(X), longer.score_samples(X), rtol=1e-9)


@FRAMES
def test_categories_of_few_rows(make):
    """Of a single row, and of none: grades that are in the type only."""
    model = small().fit(make(records(1, missing=0)))
    scores = model.score_samples(make(combinations(NOTHING, ["grade"])))
    assert np.exp(scores).sum() == pytest.approx(1, abs=1e-12)
    assert np.isfinite(scores).all()
    assert np.isfinite(model.score_samples(make(records()))).any()


def test_normalised_weights_do_not_make_unknown_categories_probable():
    frame = pd.DataFrame({"c": ["x", "y"] * 20, "n": np.arange(40.0)})
    model = EinetDensity(K=2, max_iter=2, random_state=0)
    model.fit(frame, sample_weight=np.full(40, 1 / 40))
    gap, unknown = (frame.head(1).assign(c=c) for c in (None, "z"))
    difference = model.score_samples(unknown) - model.score_samples(gap)
    assert difference[0] == pytest.approx(-np.log(41))
