"""All queries on random tables of all kinds of columns, with few rows or more."""

import numpy as np
import pytest

from tests.helpers.atoms import STRUCTURES, new

pytestmark = [
    pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning"),
    pytest.mark.filterwarnings("ignore:.*(beyond the values seen in fit|standard errors)"),
]

COLUMNS = {
    "normal": lambda rng, n: rng.standard_normal(n),
    "zeros": lambda rng, n: np.where(rng.rand(n) < 0.5, 0, rng.lognormal(size=n)),
    "few": lambda rng, n: rng.randint(0, 5, n) * 1.0,
    "counts": lambda rng, n: rng.poisson(30, n) * 1.0,
    "both ends": lambda rng, n: rng.rand(n).clip(0.2, 0.8),
    "sentinel": lambda rng, n: np.where(rng.rand(n) < 0.05, -999, rng.uniform(0, 1, n)),
    "whole": lambda rng, n: rng.normal(0, 50, n).round(),
    "constant": lambda rng, n: np.full(n, 3.0),
    "far away": lambda rng, n: 1e9 + rng.randint(0, 1000, n),
    "rare": lambda rng, n: np.where(rng.rand(n) < 0.97, 0, rng.standard_cauchy(n)),
    "far out": lambda rng, n: np.append(np.zeros(n - 2), [1e12, -1e12]),
    "heavy": lambda rng, n: rng.standard_cauchy(n).round(1),
    "numbers of rows": lambda rng, n: rng.randint(0, 2**40, n) * 1.0,
    "prices": lambda rng, n: np.where(rng.rand(n) < 0.3, 9.99, rng.lognormal(3, 1, n).round(2)),
}


def random_table(seed):
    rng = np.random.RandomState(seed)
    n = [5, 12, 40, 150, 400][seed % 5]
    # Sizes are at hand in any case: what joint densities are of.
    chosen = ["normal", *rng.permutation(sorted(COLUMNS))[: rng.randint(1, 4)]]
    X = np.column_stack([COLUMNS[name](rng, n) for name in chosen])
    gaps = rng.rand(*X.shape) < (0.2 if seed % 2 else 0)
    gaps[0] = False
    return np.where(gaps, np.nan, X)


@pytest.fixture(scope="module", params=range(24))
def fitted(request):
    X = random_table(request.param)
    with np.errstate(over="raise", invalid="raise", divide="raise"):
        return new(STRUCTURES[request.param % 4]).fit(X), X


def test_scores(fitted):
    model, X = fitted
    scores = model.score_samples(X)
    assert np.isfinite(scores).all()
    p = model.p_values(X)
    assert ((p > 0) & (p <= 1)).all()
    seen = ~np.isnan(X)
    for method in ("conditional", "marginal"):
        assert (np.isfinite(model.feature_scores(X, method)) == seen).all()
    alone = np.where(np.arange(X.shape[1]) == 1, X, np.nan)
    expected = scores - model.score_samples(alone)
    np.testing.assert_allclose(model.conditional_score_samples(X, [1]), expected, atol=1e-6)
    part = model.marginal([1]).score_samples(X[:, [1]])
    np.testing.assert_allclose(part, model.score_samples(alone), atol=1e-6)


def test_draws(fitted):
    model, X = fitted
    drawn = model.sample(300, random_state=0)
    assert np.isfinite(model.score_samples(drawn)).all()
    filled = [model.impute(X, strategy, random_state=0) for strategy in ("mpe", "sample", "mean")]
    seen = ~np.isnan(X)
    for rows in filled:
        np.testing.assert_array_equal(rows[seen], X[seen])
    report = model.leaf_report_
    for rows in (drawn, *filled[:2]):
        assert np.isfinite(rows).all()
        assert (rows >= report["low"].to_numpy()).all()
        assert (rows <= report["high"].to_numpy()).all()
        for column, step in enumerate(report["step"]):
            steps = (rows[:, column] - X[0, column]) / (step or 1)
            if step:
                assert (np.abs(steps - steps.round()) <= 1e-5 * (1 + np.abs(steps))).all()


def test_moments(fitted):
    model, X = fitted
    variance, covariance = model.variance(), model.covariance()
    assert np.isfinite(model.mean()).all()
    assert (variance >= 0).all()
    np.testing.assert_allclose(covariance.diagonal(), variance, rtol=1e-6)
    np.testing.assert_array_equal(covariance, covariance.T)
    size = np.sqrt(np.where(variance > 0, variance, 1.0))
    assert np.linalg.eigvalsh(covariance / np.outer(size, size)).min() > -1e-6
    nothing = np.full((1, X.shape[1]), np.nan)
    np.testing.assert_allclose(model.mean(nothing)[0], model.mean(), rtol=1e-9, atol=1e-9)


def test_boxes(fitted):
    """The probabilities at, below and above a value add up to 1."""
    model, X = fitted
    rng = np.random.RandomState(0)
    report = model.leaf_report_
    for column in range(X.shape[1]):
        values = X[rng.randint(len(X), size=10), column]
        values = values[~np.isnan(values)]
        ends = np.full((len(values), X.shape[1]), np.nan)
        ends[:, column] = values
        at = np.exp(model.interval_log_proba(ends, ends))
        above = np.exp(model.interval_log_proba(ends, None, "neither"))
        below = np.exp(model.interval_log_proba(None, ends, "neither"))
        assert (np.concatenate([at, above, below]) <= 1 + 1e-9).all()
        is_bounded = np.isfinite(report[["low", "high"]].iloc[column]).any()
        # Beside bounds, what is drawn reflected is left out.
        atol = 0.2 if is_bounded else 1e-6
        np.testing.assert_allclose(at + above + below, 1, atol=atol)
        from_here = np.exp(model.interval_log_proba(ends, None))
        np.testing.assert_allclose(from_here, at + above, atol=atol)
