"""A normal density of the most typical half of the rows."""

import numpy as np
import pytest
import torch
from scipy.stats import chi2

from sklearn_einet.learning.normal_ladder import LadderRows
from sklearn_einet.learning.robust_normal import RIDGE, RobustNormal


def rows_of(X, weight=None):
    z = torch.from_numpy(np.asarray(X, dtype=np.float64).T.copy())
    weight = torch.ones(len(X)).double() if weight is None else torch.as_tensor(weight).double()
    center = z.nanmean(1)
    spread = (z - center.unsqueeze(1)).square().nanmean(1).sqrt()
    return LadderRows(z, weight, center, torch.where(spread > 0, spread, 1.0))


def contaminated(n=400, d=3, share=0.25, seed=0):
    rng = np.random.RandomState(seed)
    X = rng.randn(n, d) @ rng.randn(d, d)
    far = np.arange(n) < share * n
    X[far] = 30 + 0.1 * rng.randn(far.sum(), d)
    return X, far


def naive_fit(X):
    """Concentration steps as in the papers; all rows count the same."""
    low, high = np.quantile(X, [0.01, 0.99], axis=0)
    ridge = RIDGE * np.diag(np.clip(X, low, high).var(axis=0))
    kept = np.ones(len(X), dtype=bool)
    for _ in range(100):
        mean, covariance = X[kept].mean(axis=0), np.cov(X[kept].T, bias=True) + ridge
        deviation = X - mean
        square = np.einsum("ni,ij,nj->n", deviation, np.linalg.inv(covariance), deviation)
        before, kept = kept, square <= np.sort(square)[-(-len(X) // 2) - 1]
        if (before == kept).all():
            break
    return mean, covariance


@pytest.mark.parametrize("seed", range(5))
def test_it_is_the_fixed_point_of_concentration(seed):
    X, far = contaminated(seed=seed)
    robust = RobustNormal.fit(rows_of(X))
    mean, covariance = naive_fit(X)
    # They may end at neighbouring ones: a hundredth of a row of the whole columns is added.
    np.testing.assert_allclose(robust.normal.mean[0], mean, atol=0.05)
    np.testing.assert_allclose(robust.normal.covariance[0], covariance, rtol=0.1, atol=0.1)
    scores = robust.typicality(torch.from_numpy(X.T))
    assert scores[far].max() < scores[~far].min()


def test_typicality_of_normal_rows_is_standard_normal():
    X = np.random.RandomState(0).randn(5000, 4) @ np.random.RandomState(1).randn(4, 4)
    scores = RobustNormal.fit(rows_of(X)).typicality(torch.from_numpy(X.T))
    assert abs(np.median(scores)) < 0.03
    # The half that is kept has a smaller covariance than all rows: the median makes up for it.
    np.testing.assert_allclose(np.quantile(scores, [0.1, 0.9]), [-1.28, 1.28], atol=0.15)


def test_gaps_are_integrated_out():
    X, _ = contaminated()
    robust = RobustNormal.fit(rows_of(X))
    mean, covariance = (each[0].numpy() for each in (robust.normal.mean, robust.normal.covariance))
    row = np.array([[1.0, np.nan, -2.0], [np.nan, 0.5, np.nan], [np.nan] * 3, [0.1, 0.2, 0.3]])
    found = robust.typicality(torch.from_numpy(row.T.copy()))
    for score, cells in zip(found, row, strict=True):
        seen = ~np.isnan(cells)
        n = seen.sum()
        if n == 0:
            assert score == 0
            continue
        deviation = (cells - mean)[seen]
        square = deviation @ np.linalg.solve(covariance[np.ix_(seen, seen)], deviation)
        variance = 2 / (9 * n)
        z = ((square / n / robust.scale) ** (1 / 3) - (1 - variance)) / np.sqrt(variance)
        np.testing.assert_allclose(score, -z, rtol=1e-9)


def test_fits_with_gaps_are_near_those_without():
    X, far = contaminated(n=2000)
    holes = X.copy()
    holes[np.random.RandomState(0).rand(*X.shape) < 0.1] = np.nan
    whole, with_gaps = RobustNormal.fit(rows_of(X)), RobustNormal.fit(rows_of(holes))
    np.testing.assert_allclose(with_gaps.normal.mean, whole.normal.mean, atol=0.15)
    scores = with_gaps.typicality(torch.from_numpy(holes.T.copy()))
    seen = ~np.isnan(holes).all(axis=1)
    assert scores[far & seen].max() < np.quantile(scores[~far], 0.01)


@pytest.mark.parametrize("unit", [1e-9, 1e-3, 1e6, 1e12])
def test_units_do_not_matter(unit):
    X, _ = contaminated()
    units = np.array([1.0, unit, 1.0])
    scores, scaled = (
        RobustNormal.fit(rows_of(rows)).typicality(torch.from_numpy(rows.T.copy()))
        for rows in (X, X * units)
    )
    np.testing.assert_allclose(scaled, scores, rtol=1e-6, atol=1e-6)


def test_a_few_sentinels_do_not_make_a_column_useless():
    X, far = contaminated(share=0.1)
    X[np.flatnonzero(~far)[:3], 0] = 1e9
    scores = RobustNormal.fit(rows_of(X)).typicality(torch.from_numpy(X.T.copy()))
    assert scores[far].max() < np.median(scores[~far])
    assert scores[far].max() < np.quantile(scores[~far], 0.05)


@pytest.mark.parametrize(
    "X",
    [
        np.ones((1, 2)),
        np.ones((5, 3)),
        np.column_stack([np.arange(9.0), np.ones(9)]),
        np.column_stack([np.arange(50.0), np.arange(50.0)]),  # they depend on each other
        np.random.RandomState(0).randn(6, 20),  # fewer rows than columns
        np.where(np.eye(4) > 0, np.nan, 1.0),
    ],
)
def test_unusual_tables_have_finite_scores(X):
    scores = RobustNormal.fit(rows_of(X)).typicality(torch.from_numpy(X.T.copy()))
    assert scores.shape == (len(X),)
    assert np.isfinite(scores).all()


def test_a_weight_is_a_number_of_rows():
    X, _ = contaminated(n=60)
    weight = np.random.RandomState(0).randint(1, 4, size=60)
    rows, repeated = rows_of(X, weight), rows_of(np.repeat(X, weight, axis=0))
    rows = LadderRows(rows.z, rows.weight, repeated.center, repeated.spread)
    one, other = RobustNormal.fit(rows), RobustNormal.fit(repeated)
    np.testing.assert_allclose(one.normal.mean, other.normal.mean, atol=1e-2)


def test_distances_have_the_scale_of_chi_squared():
    X = np.random.RandomState(0).randn(4000, 5)
    robust = RobustNormal.fit(rows_of(X))
    deviation = X - robust.normal.mean[0].numpy()
    precision = robust.normal.precision[0].numpy()
    square = np.einsum("ni,ij,nj->n", deviation, precision, deviation) / robust.scale
    np.testing.assert_allclose(np.median(square), chi2.median(5), rtol=0.01)
