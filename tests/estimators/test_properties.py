"""Random tables and parameters."""

import warnings

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sklearn_einet import EinetDensity

SETTINGS = settings(
    max_examples=40,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)


@st.composite
def tables(draw):
    """Tables of random shapes, types, units and missing patterns."""
    n_rows, n_columns = draw(st.integers(1, 30)), draw(st.integers(1, 9))
    rng = np.random.RandomState(draw(st.integers(0, 2**31 - 1)))
    kind = draw(st.sampled_from(["float64", "float32", "int64", "uint8", "bool"]))
    if kind.startswith("float"):
        exponent = rng.randint(-12, 13, size=n_columns) if kind == "float64" else 0
        X = (rng.standard_t(2, (n_rows, n_columns)) + rng.randn(n_columns)) * 10.0**exponent
        X = X.astype(kind)
        X[rng.rand(n_rows, n_columns) < draw(st.sampled_from([0.0, 0.1, 0.6]))] = np.nan
        for column in np.flatnonzero(np.isnan(X).all(axis=0)):
            X[rng.randint(n_rows), column] = 1
    else:
        X = rng.randint(0, draw(st.sampled_from([1, 2, 5, 200])), (n_rows, n_columns)).astype(kind)
    return X


@st.composite
def estimators(draw):
    return EinetDensity(
        depth=draw(st.sampled_from([None, 0, 1, 2, 3])),
        replicas=draw(st.integers(1, 3)),
        K=draw(st.integers(1, 4)),
        numeric_transform=draw(st.sampled_from([None, "auto", "yeo-johnson", "quantile-spline"])),
        structure=draw(st.sampled_from(["chow-liu", "binary-trees"])),
        layer=draw(st.sampled_from(["cp", "tucker"])),
        solver=draw(st.sampled_from(["sem", "em", "adam", "sgd"])),
        step_size=draw(st.sampled_from([0.01, 0.1])),
        batch_size=draw(st.sampled_from(["auto", 1, 7])),
        max_iter=draw(st.integers(1, 4)),
        pseudocount=draw(st.sampled_from([0.0, 0.01, 2.0])),
        min_variance=draw(st.sampled_from([1e-6, 1e-3, 0.1])),
        dtype=draw(st.sampled_from(["auto", "float32", "float64"])),
        random_state=draw(st.integers(0, 100)),
    )


def quietly(function, *arguments):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        return function(*arguments)


@SETTINGS
@given(tables(), estimators())
def test_scores_are_numbers_and_seeds_reproduce(X, estimator):
    quietly(estimator.fit, X)
    scores = estimator.score_samples(X)
    assert np.isfinite(scores).all()
    far = X.astype(float) * 1e3 + 1e3
    assert not np.isnan(estimator.score_samples(far)).any()
    np.testing.assert_array_equal(quietly(estimator.fit, X).score_samples(X), scores)
    draws = estimator.sample(4, random_state=0)
    assert np.isfinite(draws).all()
    np.testing.assert_array_equal(draws, estimator.sample(4, random_state=0))
    probability = estimator.predict_proba(X)
    assert ((probability >= 0) & (probability <= 1)).all()
    np.testing.assert_array_equal(probability[:, 1] >= 0.5, estimator.predict(X) == 1)


@SETTINGS
@given(estimators(), st.integers(1, 5), st.integers(2, 3), st.integers(0, 1000))
def test_discrete_densities_sum_to_one(estimator, n_columns, n_states, seed):
    rng = np.random.RandomState(seed)
    X = rng.randint(n_states, size=(20, n_columns)).astype(float)
    X[0] = n_states - 1  # every state's number is known
    estimator.set_params(leaf="categorical")
    quietly(estimator.fit, X)
    grid = np.stack(np.meshgrid(*[np.arange(n_states)] * n_columns), -1).reshape(-1, n_columns)
    probability = np.exp(estimator.score_samples(grid))
    assert probability.sum() == pytest.approx(1, abs=1e-9)
    # Any marginal is the sum over what is missing.
    missing = rng.rand(n_columns) < 0.5
    marginal = np.where(missing, np.nan, grid[:1])
    alike = (grid[:, ~missing] == grid[0, ~missing]).all(axis=1)
    expected = probability[alike].sum()
    assert np.exp(estimator.score_samples(marginal))[0] == pytest.approx(expected, abs=1e-9)


@SETTINGS
@given(tables(), st.integers(0, 1000))
def test_row_order_and_blocks_do_not_matter(X, seed):
    estimator = EinetDensity(replicas=2, K=3, max_iter=2, random_state=0)
    quietly(estimator.fit, X)
    scores = estimator.score_samples(X)
    order = np.random.RandomState(seed).permutation(len(X))
    np.testing.assert_allclose(
        estimator.score_samples(X[order]), scores[order], rtol=1e-9, atol=1e-9
    )
    np.testing.assert_allclose(estimator.score_samples(X[:1]), scores[:1], rtol=1e-9, atol=1e-9)
