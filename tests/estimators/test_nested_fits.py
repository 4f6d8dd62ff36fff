"""Detectors that mix a density of the most typical rows with one of nearly all: trim="auto"."""

import pickle

import numpy as np
import pandas as pd
import pytest
from scipy.special import logsumexp
from scipy.stats import ks_2samp
from sklearn.base import clone
from sklearn.datasets import load_iris
from sklearn.metrics import roc_auc_score

from sklearn_einet import EinetDensity, EinetOutlierDetector
from sklearn_einet.circuit.transforms.mixture import component_circuits
from sklearn_einet.estimators.trimming import CORE_TRIM, OUTER_SHARE, OUTER_TRIM, typical_weight
from sklearn_einet.model.score_distribution import ScoreDistribution
from sklearn_einet.tables.in_memory import InMemoryTable

IRIS = load_iris().data


def contaminated(n=600, d=4, share=0.1, seed=0):
    """Correlated rows in two clusters, and outliers in a third: the last ones."""
    rng = np.random.RandomState(seed)
    X = rng.randn(n, d) @ rng.randn(d, d) + 3 * (rng.rand(n, 1) < 0.4)
    is_outlier = np.arange(n) >= (1 - share) * n
    X[is_outlier] = X.mean(axis=0) + 5 * X.std(axis=0) + 0.1 * rng.randn(is_outlier.sum(), d)
    return X, is_outlier


# --- what it is


def test_it_is_a_mixture_of_both_densities():
    X, _ = contaminated()
    model = EinetOutlierDetector(random_state=0).fit(X)
    circuit = model.circuit_
    component = np.array([0, 1])
    core, outer = component_circuits(circuit, component)
    parts = [
        model.table_density_.__class__(
            each, model.table_density_.schema, model.table_density_.encoding
        ).log_density(X)
        for each in (core, outer)
    ]
    terms = [parts[0] + np.log(1 - OUTER_SHARE), parts[1] + np.log(OUTER_SHARE)]
    np.testing.assert_allclose(model.score_samples(X), logsumexp(terms, axis=0), rtol=1e-6)


def test_probabilities_add_up_to_one():
    X, _ = contaminated(d=2)
    model = EinetOutlierDetector(random_state=0).fit(X)
    low, high = X.min(axis=0) - 8 * X.std(axis=0), X.max(axis=0) + 8 * X.std(axis=0)
    axes = [np.linspace(*ends, 300) for ends in zip(low, high, strict=True)]
    points = np.stack(np.meshgrid(*axes), axis=-1).reshape(-1, 2)
    cell = np.prod([axis[1] - axis[0] for axis in axes])
    # A smooth density is summed up exactly by a fine grid.
    np.testing.assert_allclose(np.exp(model.score_samples(points)).sum() * cell, 1, atol=2e-3)
    np.testing.assert_allclose(model.interval_log_proba(low=[[-np.inf] * 2]), 0, atol=1e-6)


@pytest.mark.parametrize("share", [0.03, 0.1, 0.2])
def test_a_cluster_of_outliers_is_unlikely(share):
    X, is_outlier = contaminated(share=share)
    model = EinetOutlierDetector(random_state=0).fit(X)
    assert roc_auc_score(is_outlier, -model.score_samples(X)) > 0.97
    flexible = EinetDensity(random_state=0).fit(X)
    assert roc_auc_score(is_outlier, -flexible.score_samples(X)) < 0.9


def test_shares_of_rows_that_are_left_out():
    scores, table = np.random.RandomState(0).randn(1000), InMemoryTable(np.zeros((1000, 2)))
    for share in (CORE_TRIM, OUTER_TRIM):
        weight = typical_weight(scores, share, table)
        assert weight.sum() == (1 - share) * 1000
        assert scores[weight == 0].max() < scores[weight == 1].min()


# --- tables


TABLES = {
    "one row": np.array([[1.0, 2.0, 3.0]]),
    "two rows": np.array([[1.0, 2.0], [2.0, 1.0]]),
    "one column": np.random.RandomState(0).randn(60, 1),
    "constants": np.column_stack([np.ones(80), np.random.RandomState(0).randn(80, 2)]),
    "nothing but constants": np.ones((40, 3)),
    "copies": np.column_stack([np.arange(70.0)] * 3),
    "few rows": np.random.RandomState(0).randn(12, 20),
    "zeros": np.random.RandomState(0).randn(200, 4).clip(min=0.8) - 0.8,
    "binary": np.random.RandomState(0).randint(0, 2, (90, 6)).astype(float),
    "gaps": np.where(
        np.random.RandomState(1).rand(120, 3) < 0.3, np.nan, np.random.RandomState(0).randn(120, 3)
    ),
    "a column of few cells": np.column_stack(
        [np.random.RandomState(0).randn(100, 2), np.r_[[7.0, 8.0], np.full(98, np.nan)]]
    ),
    "a sentinel": np.r_[np.random.RandomState(0).randn(150, 3), [[-1e9, 0, 0]] * 2],
    "wide": np.random.RandomState(0).randn(50, 300),
}


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize("name", TABLES)
@pytest.mark.parametrize("trim", ["auto", 0, 0.2])
def test_unusual_tables(name, trim):
    X = TABLES[name]
    model = EinetOutlierDetector(trim=trim, random_state=0).fit(X)
    scores = model.score_samples(X)
    assert np.isfinite(scores).all()
    assert np.isfinite(model.score_samples(np.full((1, X.shape[1]), np.nan))).all()
    assert set(model.predict(X)) <= {-1, 1}
    drawn = model.sample(5, random_state=0)
    assert drawn.shape == (5, X.shape[1])


def test_tables_of_categories_have_trees():
    rng = np.random.RandomState(0)
    first = rng.randint(0, 3, 400)
    columns = {
        f"c{j}": np.where(rng.rand(400) < 0.9, first, rng.randint(0, 3, 400)) for j in range(5)
    }
    table = pd.DataFrame(columns).astype("category")
    model = EinetOutlierDetector(random_state=0).fit(table)
    assert not model.circuit_.joint_groups
    odd = pd.DataFrame([[0, 1, 2, 0, 1]], columns=list(table)).astype(table.dtypes)
    assert model.p_values(odd)[0] < 0.1 < np.median(model.p_values(table))


def test_numbers_and_categories():
    rng = np.random.RandomState(0)
    kind = rng.randint(0, 2, 600)
    table = pd.DataFrame(
        {"x": 4 * kind + rng.randn(600), "y": rng.randn(600), "kind": np.array(["a", "b"])[kind]}
    )
    model = EinetOutlierDetector(random_state=0).fit(table)
    assert model.circuit_.joint_groups
    swapped = table.assign(kind=np.array(["b", "a"])[kind])
    mixed = np.r_[-model.score_samples(table), -model.score_samples(swapped)]
    assert roc_auc_score(np.repeat([0, 1], 600), mixed) > 0.8


@pytest.mark.parametrize("unit", [1e-7, 1e9])
def test_units_do_not_matter(unit):
    X, _ = contaminated()
    units = np.array([1.0, unit, 1.0, 1 / unit])
    one, other = (EinetOutlierDetector(random_state=0).fit(rows) for rows in (X, X * units))
    np.testing.assert_allclose(
        other.decision_function(X * units), one.decision_function(X), rtol=1e-4, atol=1e-4
    )


def test_repeated_rows_rank_as_single_ones():
    X, _ = contaminated()
    order = [
        EinetOutlierDetector(early_stopping=False, random_state=0)
        .fit(rows)
        .score_samples(X)
        .argsort()
        .argsort()
        for rows in (X, np.repeat(X, 2, axis=0))
    ]
    assert np.corrcoef(*order)[0, 1] > 0.98


# --- parameters and fits


@pytest.mark.parametrize(
    "how", [{"solver": "em"}, {"structure": "chow-liu"}, {"K": 3, "replicas": 2}]
)
def test_other_settings(how):
    X, is_outlier = contaminated()
    model = EinetOutlierDetector(max_iter=20, tol=1, random_state=0, **how).fit(X)
    assert roc_auc_score(is_outlier, -model.score_samples(X)) > 0.9


def test_a_density_can_be_robust_too():
    X, is_outlier = contaminated()
    plain, robust = (
        EinetDensity(trim=trim, bandwidth=0.4, max_iter=5, tol=1, random_state=0).fit(X)
        for trim in (0, "auto")
    )
    found = [roc_auc_score(is_outlier, -model.score_samples(X)) for model in (plain, robust)]
    assert found[1] > found[0] + 0.05


def test_the_same_seed_gives_the_same_model():
    X, _ = contaminated()
    one, other = (clone(EinetOutlierDetector(random_state=3)).fit(X) for _ in range(2))
    np.testing.assert_array_equal(one.score_samples(X), other.score_samples(X))
    loaded = pickle.loads(pickle.dumps(one))
    np.testing.assert_array_equal(one.score_samples(X), loaded.score_samples(X))


def test_rows_of_no_weight_do_not_count():
    X, _ = contaminated(share=0)
    far = np.r_[X, X[:200] + 100]
    weight = np.r_[np.ones(len(X)), np.zeros(200)]
    one = EinetOutlierDetector(early_stopping=False, random_state=0).fit(X)
    other = EinetOutlierDetector(early_stopping=False, random_state=0).fit(
        far, sample_weight=weight
    )
    np.testing.assert_allclose(one.score_samples(X), other.score_samples(X), rtol=1e-6)


def test_it_goes_on_learning():
    X, _ = contaminated()
    model = EinetOutlierDetector(warm_start=True, random_state=0).fit(X)
    assert np.isfinite(model.fit(X).score_samples(X)).all()
    assert np.isfinite(model.partial_fit(X[:300]).score_samples(X)).all()
    stream = EinetOutlierDetector(random_state=0)
    for rows in np.array_split(X[:500], 5):
        stream.partial_fit(rows)
    assert np.isfinite(stream.decision_function(X)).all()


@pytest.mark.parametrize("trim", [-0.1, 0.5, "none", None])
def test_bad_trim(trim):
    with pytest.raises(ValueError, match="trim"):
        EinetOutlierDetector(trim=trim).fit(IRIS)


# --- drift


@pytest.mark.parametrize("n", [1, 3, 40, 400])
def test_drift_is_the_test_of_two_samples(n):
    X, _ = contaminated(n=900, share=0)
    model = EinetOutlierDetector(random_state=0).fit(X[:500])
    batch = X[500 : 500 + n]
    usual = model._score_distribution.scores
    expected = ks_2samp(usual, model.decision_function(batch) + model.offset_)
    np.testing.assert_allclose(model.drift_p_value(batch), expected.pvalue, rtol=1e-6)


def test_drift_p_values_are_uniform_without_drift():
    found = []
    for seed in range(30):
        rng = np.random.RandomState(seed)
        model = EinetOutlierDetector(random_state=0).fit(rng.randn(400, 2))
        found.append(model.drift_p_value(rng.randn(100, 2)))
    assert np.mean(np.array(found) < 0.1) <= 0.25
    assert np.median(found) > 0.25


@pytest.mark.parametrize(("n_usual", "n_new"), [(6, 1), (30, 2), (100, 5)])
def test_drift_p_values_of_few_rows_are_not_too_small(n_usual, n_new):
    rng = np.random.RandomState(0)
    found = [
        ScoreDistribution(rng.rand(n_usual)).distance_p_value(rng.rand(n_new)) for _ in range(400)
    ]
    assert np.mean(np.array(found) <= 0.05) < 0.08
    assert np.mean(np.array(found) <= 0.01) < 0.025


@pytest.mark.parametrize("shift", [-1e-4, 0.0, 1e-4])
def test_drift_among_equal_rows_is_not_that_of_rounding(shift):
    rng = np.random.RandomState(0)
    usual, new = rng.choice([-7.0, -2.0, 1.0], size=(2, 200))
    distribution = ScoreDistribution(usual)
    assert distribution.distance_p_value(new + shift) == distribution.distance_p_value(new) > 0.01
    assert distribution.distance_p_value(new + 0.1) < 1e-3


@pytest.mark.parametrize("change", [lambda X: 1.5 * X, lambda X: 0.5 * X, lambda X: X + 1.5])
def test_drift_is_found(change):
    rng = np.random.RandomState(0)
    model = EinetOutlierDetector(random_state=0).fit(rng.randn(2000, 3))
    assert model.drift_p_value(change(rng.randn(300, 3))) < 1e-3


def test_drift_of_rows_with_gaps_and_of_repeated_ones():
    rng = np.random.RandomState(0)
    model = EinetOutlierDetector(random_state=0).fit(rng.randn(1000, 3))
    rows = np.where(rng.rand(200, 3) < 0.3, np.nan, rng.randn(200, 3))
    assert model.drift_p_value(rows) > 0.01
    assert 0 <= model.drift_p_value(np.zeros((50, 3))) < 1e-3
    same = EinetDensity(random_state=0).fit(np.ones((100, 2)))
    assert same.drift_p_value(np.ones((30, 2))) == 1
