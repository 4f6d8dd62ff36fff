"""Nothing depends on units, and a few bad cells do not ruin a column."""

import warnings

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import roc_auc_score

from sklearn_einet import EinetDensity, EinetImputer, EinetMixture, EinetOutlierDetector
from sklearn_einet.families import Binomial, Normal
from sklearn_einet.tables.columns import FAR, NORMAL_DISTANCE, summary

pytestmark = [
    pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning"),
    pytest.mark.filterwarnings("ignore:Columns have values so far:UserWarning"),
]

N_ROWS = 600


def normal_rows(n=N_ROWS, d=3, seed=0):
    return np.random.default_rng(seed).normal(size=(n, d))


def small(kind=EinetDensity, **parameters):
    fast = {"K": 4, "max_iter": 4, "batch_size": 100, "random_state": 0}
    if kind is EinetMixture:
        fast["n_components"] = 2
    return kind(**(fast | parameters))


# --- robust summaries of columns


def brute_force_spread(x):
    distance = np.abs(np.subtract.outer(x, x))
    return np.median(distance[distance > 0]) / NORMAL_DISTANCE


@pytest.mark.parametrize("unit", [1e-300, 1e-6, 1.0, 1e6, 1e300])
@pytest.mark.parametrize("kind", ["normal", "zeros", "flag", "two values", "heavy", "few"])
def test_spread_by_brute_force(kind, unit):
    rng = np.random.default_rng(0)
    x = {
        "normal": rng.normal(size=800),
        "zeros": np.where(rng.random(800) < 0.7, 0, rng.exponential(size=800)),
        "flag": np.repeat([0.0, 1], [797, 3]),
        "two values": np.repeat([3.0, 5], [400, 400]),
        "heavy": rng.standard_cauchy(800),
        "few": rng.poisson(2, 800).astype(float),
    }[kind]
    found = summary(x * unit, np.ones(800))
    assert found.spread / unit == pytest.approx(brute_force_spread(x), rel=0.05)
    assert found.middle == np.sort(x * unit)[399]


def test_few_values_cannot_change_a_spread():
    x = normal_rows(2000, 1)[:, 0]
    clean = summary(x, np.ones(2000)).spread
    assert clean == pytest.approx(1, abs=0.05)
    for n_bad, bad in [(1, 1e2), (1, 1e300), (100, -1e9), (100, 1e100)]:
        x[:n_bad] = bad
        assert summary(x, np.ones(2000)).spread == pytest.approx(clean, rel=0.2)


def test_weights_are_repetitions_in_summaries():
    x, weight = normal_rows(50, 1)[:, 0].round(1), np.random.default_rng(0).integers(1, 4, 50)
    weighted, repeated = (
        summary(x, weight * 1.0),
        summary(np.repeat(x, weight), np.ones(weight.sum())),
    )
    np.testing.assert_allclose(weighted, repeated)


# --- constant columns


@pytest.mark.parametrize(
    ("kind", "leaf"),
    [
        (EinetDensity, "auto"),
        (EinetDensity, "log-normal"),
        (EinetDensity, "gamma"),
        (EinetDensity, "poisson"),
        (EinetDensity, "negative-binomial"),
        (EinetDensity, "exponential"),
        (EinetMixture, "auto"),
        (EinetOutlierDetector, "auto"),
    ],
)
@pytest.mark.parametrize("constant", [5.0, 5e-6])
def test_constants_are_point_masses(kind, leaf, constant):
    if leaf in ("poisson", "negative-binomial") and constant < 1:
        constant = 0.0
    X = np.abs(normal_rows()) + 0.1
    X[:, 1] = constant
    model = small(kind, leaf="auto" if leaf == "auto" else {leaf: [1]}, max_iter=2).fit(X)
    assert (model.sample(50, random_state=0)[:, 1] == constant).all()
    without, other = X.copy(), X.copy()
    without[:, 1], other[:, 1] = np.nan, 3 * constant + 7
    missing = model.score_samples(without)
    np.testing.assert_allclose(model.score_samples(X), missing, rtol=1e-9)
    surprise = np.log1p(N_ROWS)
    np.testing.assert_allclose(model.score_samples(other), missing - surprise, rtol=1e-9)
    np.testing.assert_allclose(model.feature_scores(X)[:, 1], 0, atol=1e-12)
    np.testing.assert_allclose(model.feature_scores(other)[:, 1], surprise)
    low = {1: [constant, constant - 1, np.nextafter(constant, 99) + 1, -np.inf]}
    high = {1: [constant, constant, np.inf, constant - 0.5]}
    expected = [0, 0, -np.inf, -np.inf]
    np.testing.assert_allclose(model.interval_log_proba(low, high), expected, atol=1e-9)
    assert model.mean()[1] == constant
    assert model.variance()[1] == 0
    np.testing.assert_allclose(model.covariance()[1], 0, atol=1e-12)
    for strategy in ("mean", "mpe", "sample"):
        assert (model.impute(without[:5], strategy, random_state=0)[:, 1] == constant).all()
    assert (model.marginal([1]).sample(3, random_state=0) == constant).all()


def test_an_unusual_value_of_a_constant_is_an_outlier():
    X = normal_rows(2000)
    X[:, 1] = 1e-6
    model = EinetDensity(random_state=0, max_iter=10).fit(X)
    rows = np.zeros((3, 3))
    rows[:, 1] = [1e-6, 1.0, 2e-6]
    assert model.predict(rows).tolist() == [1, -1, -1]


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_constants_but_for_rounding(dtype):
    X = normal_rows().astype(dtype)
    X[:, 1] = 0.1
    model = small().fit(X)
    rows = normal_rows(5, seed=1).astype(np.float32 if dtype == np.float64 else np.float64)
    rows[:, 1] = 0.1
    without = rows.copy()
    without[:, 1] = np.nan
    np.testing.assert_allclose(model.score_samples(rows), model.score_samples(without))


def test_large_whole_numbers_are_no_constants():
    X = normal_rows()
    X[:, 1] = 1e15 + np.arange(N_ROWS) % 4
    assert small().fit(X).variance()[1] == pytest.approx(1.25, rel=0.1)


def test_whole_tables_of_constants_and_single_rows():
    for X in (np.full((9, 3), 4.0), normal_rows(1)):
        model = small().fit(X)
        np.testing.assert_array_equal(model.sample(2, random_state=0), X[[0, 0]])
        np.testing.assert_allclose(model.score_samples(X), 0)
        np.testing.assert_allclose(model.score_samples(X + 1), -3 * np.log1p(len(X)))


def test_constant_first_block_of_partial_fit():
    X = normal_rows()
    X[:, 1] = 5
    model = small().partial_fit(X)
    assert (model.sample(9, random_state=0)[:, 1] == 5).all()
    later = normal_rows(seed=1)
    with pytest.warns(UserWarning, match="Column 1 has values beyond the range that the first fit"):
        model.partial_fit(later)
    assert (model.sample(9, random_state=0)[:, 1] == 5).all()
    without = later.copy()
    without[:, 1] = np.nan
    expected = model.score_samples(without) - np.log1p(N_ROWS)
    np.testing.assert_allclose(model.score_samples(later), expected)


# --- columns that trimming makes constant


@pytest.mark.parametrize(("share", "unit"), [(0.02, 1e-6), (0.05, 1.0), (0.02, 1e6)])
@pytest.mark.parametrize("leaf", ["auto", "exponential", "log-normal", "poisson", "gaps"])
def test_a_flag_of_outliers_is_found_in_every_unit(leaf, share, unit):
    X = np.random.default_rng(1).normal(size=(1000, 4))
    usual, unusual = 0.0, 1.0
    if leaf == "exponential":
        X = np.abs(X)
    if leaf == "log-normal":
        X, usual, unusual = np.exp(X), 5.0, 10.0
    if leaf == "poisson":
        X, unit = np.random.default_rng(1).poisson(3, X.shape) * 1.0, max(unit, 1.0)
    is_outlier = np.arange(1000) < 1000 * share
    X[:, 3] = np.where(is_outlier, unusual, usual) * unit
    if leaf == "gaps":
        leaf = "auto"
        X[::7, 3] = X[3::5, 1] = np.nan
        is_outlier &= ~np.isnan(X[:, 3])
    detector = small(EinetOutlierDetector, leaf=leaf).fit(X)
    assert roc_auc_score(is_outlier, -detector.decision_function(X)) >= 0.95
    assert (detector.predict(X[is_outlier]) == -1).mean() > 0.9


# --- bad cells


BAD = [
    (1, 1e2),
    (1, -1e9),
    (12, 9999.0),
    (12, -1e2),
    (30, -999.0),
    (30, 1e9),
    (6, 1e100),
    (3, 1e300),
]
LONGER = {"K": 8, "max_iter": 15}


@pytest.fixture(scope="module")
def clean_scores():
    """The scores of new rows by models of rows without bad cells."""
    X, new = normal_rows(), normal_rows(seed=1)
    return {kind: small(kind, **LONGER).fit(X).score(new) for kind in (EinetDensity, EinetMixture)}


@pytest.mark.parametrize(
    ("kind", "n_bad", "value"),
    [(EinetDensity, *bad) for bad in BAD] + [(EinetMixture, *bad) for bad in BAD[4::3]],
)
def test_bad_cells_leave_the_others_alone(clean_scores, kind, n_bad, value):
    X, new = normal_rows(), normal_rows(seed=1)
    X[:n_bad, 0] = value
    model = small(kind, **LONGER).fit(X)
    assert model.score(new) > clean_scores[kind] - 0.1
    draws = model.sample(2000, random_state=0)[:, 0]
    low, high = np.quantile(draws, [0.1, 0.9])
    assert -2 < low < high < 2
    inside = np.exp(model.interval_log_proba({0: -1}, {0: 1})[0])
    assert inside == pytest.approx(0.683 * (1 - n_bad / N_ROWS), abs=0.05)


@pytest.mark.parametrize(
    ("leaf", "value"),
    [
        ("poisson", 1e12),
        ("negative-binomial", 1e12),
        ("exponential", 1e9),
        ("gamma", 1e9),
        ("binomial", 1e9),
    ],
)
def test_bad_cells_of_other_families(leaf, value):
    rng = np.random.default_rng(0)
    X, new = rng.poisson(4, (2, N_ROWS, 3)) + (0.5 if leaf == "gamma" else 0.0)
    clean = small(leaf=leaf, **LONGER).fit(X).score(new)
    X[5, 0] = value
    assert small(leaf=leaf, **LONGER).fit(X).score(new) > clean - 0.1


def test_imputation_beside_a_bad_cell():
    """One age of 99999, and an income that is a thousand times the age."""
    rng = np.random.default_rng(0)
    age = rng.normal(40, 12, 1000)
    age[0] = 99999
    X = np.column_stack([age, 1000 * age])
    imputer = EinetImputer(EinetDensity(random_state=0), strategy="mean").fit(X)
    young, old = imputer.transform([[25.0, np.nan], [60.0, np.nan]])[:, 1]
    assert young == pytest.approx(25_000, rel=0.1)
    assert old == pytest.approx(60_000, rel=0.1)
    share = np.exp(imputer.density_.interval_log_proba({0: 30}, {0: 50})[0])
    assert share == pytest.approx(((age >= 30) & (age <= 50)).mean(), abs=0.05)


@pytest.mark.parametrize("leaf", ["auto", "exponential", "gamma", "poisson", "negative-binomial"])
@pytest.mark.parametrize("value", [1e18, 1e30, 9.97e36, 1e100, 1e300])
def test_detectors_survive_fill_values(value, leaf):
    X = normal_rows()
    if leaf != "auto":
        X = np.ceil(5 * np.abs(X))
    X[:5, 0] = value
    detector = small(EinetOutlierDetector, leaf=leaf).fit(X)
    assert (detector.predict(X[:5]) == -1).all()
    assert np.isfinite(detector.decision_function(X)).all()


@pytest.mark.parametrize("weight", [1e-300, 1e300])
def test_weights_that_are_no_numbers_of_rows(weight):
    with pytest.raises(ValueError, match="sample_weight sums to"):
        small().fit(normal_rows(), sample_weight=np.full(N_ROWS, weight))


def test_a_warning_names_dominated_columns():
    frame = pd.DataFrame(normal_rows(2000), columns=["age", "height", "pulse"])
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        warnings.filterwarnings("ignore", "The log-likelihood was still growing")
        small(max_iter=1).fit(frame)
    frame.loc[0, "age"], frame.loc[:1, "pulse"] = 99999, -9999
    with pytest.warns(UserWarning, match="'age' .*99999; 0.05%.*'pulse' .*-9999; 0.1%") as caught:
        small(max_iter=1).fit(frame)
    assert sum("so far from all" in str(w.message) for w in caught) == 1
    assert caught[0].filename == __file__


@pytest.mark.parametrize("seed", range(12))
def test_units_do_not_matter_to_any_table(seed):
    """A fuzz test over scales, shifts, shares, types and leaves."""
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(300, 4))
    X[:, 1] = np.where(rng.random(300) < rng.choice([0.01, 0.5, 0.97]), 0.0, X[:, 1])
    X[:, 2] = rng.standard_cauchy(300) if seed % 2 else np.exp(2 * X[:, 2])
    X[rng.random((300, 4)) < rng.choice([0, 0.1])] = np.nan
    if seed % 3 == 0:
        X[rng.integers(0, 300, 3), 0] = rng.choice([1e3, -1e9, 1e30])
    leaf = "auto"
    if seed % 4 == 3:
        X, leaf = np.abs(X) + 1e-3, "log-normal"
    scale = 2.0 ** rng.integers(-30, 30, 4)
    kind = [EinetDensity, EinetOutlierDetector, EinetMixture][seed % 3]
    one, other = (small(kind, leaf=leaf).fit(table) for table in (X, X * scale))
    seen = ~np.isnan(X)
    expected = one.score_samples(X) - seen @ np.log(scale)
    np.testing.assert_allclose(other.score_samples(X * scale), expected, rtol=1e-4, atol=1e-3)
    different = one.predict(X) != other.predict(X * scale)
    if not np.isnan(X).any():
        assert not different.any()
    assert different.mean() < 0.05
    assert np.isfinite(other.decision_function(X * scale)).all()


# --- values beyond those of fit


def test_counts_above_all_of_fit_are_smoothed():
    rng = np.random.default_rng(0)
    X = rng.binomial(4, 0.4, (N_ROWS, 2))
    model = small(leaf="binomial").fit(X)
    new = np.array([[X[:, 0].max() + 2, 1], [-1, 1], [1.5, 1]])
    alone = model.score_samples([[np.nan, 1]])[0]
    found = model.score_samples(new)
    np.testing.assert_allclose(found[0], alone - np.log1p(N_ROWS))
    assert np.isneginf(found[1:]).all()
    for outcome in (model.decision_function, model.p_values, model.predict_proba):
        assert np.isfinite(outcome(new)).all()
    assert (model.predict(new[1:]) == -1).all()
    # What the user says is impossible is so.
    given = small(leaf={Binomial(4): [0, 1]}).fit(X)
    assert np.isneginf(given.score_samples(new)).all()
    assert roc_auc_score([1, 1, 1, 0], -given.decision_function(np.vstack([new, X[:1]]))) == 1


def test_scorers_take_rows_beyond_the_support():
    X = np.random.default_rng(0).beta(2, 3, (N_ROWS, 2))
    model = small(leaf="beta").fit(X)
    rows = np.array([[0.0, 0.5], [0.4, 0.5]])
    assert np.isneginf(model.score_samples(rows)[0])
    assert roc_auc_score([1, 0], -model.decision_function(rows)) == 1


def test_absolute_bounds_are_in_the_units_of_the_user():
    X = normal_rows()
    X[:, 1] = 3
    model = small(variance_bounds=(0.01, 1.0)).fit(X)
    assert model.variance()[1] == pytest.approx(0.01)
    assert {type(group.family) for group in model.circuit_.leaf_groups} == {Normal}


def test_far_values_are_where_the_axis_is_logarithmic():
    X = normal_rows()
    assert [g.family.name for g in small().fit(X).circuit_.leaf_groups] == ["normal"]
    X[0, 2] = 3 * FAR
    groups = small().fit(X).circuit_.leaf_groups
    assert {g.family.name: g.columns.tolist() for g in groups} == {
        "normal": [0, 1],
        "symlog-normal": [2],
    }


@pytest.mark.filterwarnings("error::RuntimeWarning")
def test_answers_at_the_ends_of_float64():
    X = normal_rows()
    X[:2, 0], X[:, 1] = [1e300, -1e300], 1e300
    model = small().fit(X)
    assert np.isfinite(model.sample(500, random_state=0)).all()
    assert np.isfinite(model.mean()).all()
    assert not np.isnan(model.variance()).any()
    assert model.variance()[1] == 0
    assert not np.isnan(model.covariance()).any()
    detector = small(EinetOutlierDetector).fit(X)
    for outcome in (detector.decision_function, detector.p_values, detector.predict_proba):
        assert np.isfinite(outcome(X)).all()
