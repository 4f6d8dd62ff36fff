from itertools import pairwise

import numpy as np
import pytest
from scipy import integrate, stats

from sklearn_einet.families.normal_boxes import LARGE_ERROR, log_box_probability

INF = np.inf


def standard(low, high, correlation):
    """The log-probability of one box under one standardized distribution, and its error."""
    low, high = np.atleast_2d(low).astype(float), np.atleast_2d(high).astype(float)
    values = log_box_probability(low, high, np.zeros((1, low.shape[1])), np.array([correlation]))
    return tuple(value[0, 0] for value in values)


def equal(d, r):
    """A correlation matrix with the same number everywhere."""
    return np.full((d, d), r) + (1 - r) * np.eye(d)


def random_problem(d, n_boxes, k, seed=0):
    """Boxes, some of whose sides are free, and distributions."""
    rng = np.random.RandomState(seed)
    factor = rng.normal(size=(k, d, d))
    covariance = factor @ factor.transpose(0, 2, 1) + 0.1 * np.eye(d)
    mean = rng.normal(size=(k, d))
    low = rng.normal(size=(n_boxes, d)) - 2
    high = low + rng.exponential(size=low.shape) * 4
    low[rng.random_sample(low.shape) < 0.3] = -INF
    high[rng.random_sample(low.shape) < 0.3] = INF
    return low, high, mean, covariance


def reference(low, high, mean, covariance, precision):
    """The probabilities by scipy, of bounded columns."""
    result = np.ones((len(low), len(mean)))
    for i, j in np.ndindex(*result.shape):
        some = np.isfinite(low[i]) | np.isfinite(high[i])
        if some.any():
            result[i, j] = stats.multivariate_normal.cdf(
                high[i, some],
                mean[j, some],
                covariance[j][np.ix_(some, some)],
                lower_limit=low[i, some],
                maxpts=10**6,
                abseps=precision,
                releps=precision,
                **({"rng": 0} if "rng" in _cdf_parameters() else {}),
            )
    return result


def _cdf_parameters():
    return stats.multivariate_normal.cdf.__code__.co_varnames


@pytest.mark.parametrize("d", [1, 2])
def test_one_and_two_columns_against_scipy(d):
    problem = random_problem(d, 40, 3)
    found, error = log_box_probability(*problem)
    np.testing.assert_allclose(np.exp(found), reference(*problem, 1e-13), atol=1e-12)
    assert (error == 0).all()


@pytest.mark.parametrize("d", [3, 4, 6])
def test_many_columns_against_scipy(d):
    problem = random_problem(d, 6, 2)
    found, error = log_box_probability(*problem)
    np.testing.assert_allclose(np.exp(found), reference(*problem, 1e-6), atol=2e-5)
    assert error.max() < LARGE_ERROR


@pytest.mark.parametrize("d", [1, 2, 3, 10])
def test_independent_columns(d):
    rng = np.random.RandomState(0)
    low = rng.normal(size=(5, d)) * 3
    high = low + rng.exponential(size=(5, d))
    low[1] = 30.0
    high[1] = INF
    high[2] = -30
    low[2] = -INF
    mean, deviation = rng.normal(size=(1, d)), rng.uniform(0.5, 2, (1, d))
    found, error = log_box_probability(low, high, mean, np.array([np.diag(deviation[0] ** 2)]))
    each = [
        log_box_probability(low[:, [j]], high[:, [j]], mean[:, [j]], deviation[:, [j], None] ** 2)
        for j in range(d)
    ]
    np.testing.assert_allclose(found, sum(value for value, _ in each), rtol=1e-10)
    assert (error < 1e-12).all()


def test_one_column_keeps_its_digits_in_the_tails():
    low, high = np.array([[30.0], [-INF], [-40.0]]), np.array([[INF], [-30.0], [-39.0]])
    found, _ = log_box_probability(low, high, np.zeros((1, 1)), np.ones((1, 1, 1)))
    tails = stats.norm.logcdf([-30.0, -30, -39])
    tails[2] += np.log1p(-np.exp(stats.norm.logcdf(-40.0) - tails[2]))
    np.testing.assert_allclose(found[:, 0], tails, rtol=1e-14)


@pytest.mark.parametrize(
    "r", [0.0, 1e-9, 0.3, -0.9, 0.99, -0.999999, 1 - 1e-9, 1 - 1e-13, 1.0, -1.0, -1 + 1e-15]
)
def test_quarters(r):
    found, _ = standard([0, 0], [INF, INF], equal(2, r))
    assert np.exp(found) == pytest.approx(0.25 + np.arcsin(r) / (2 * np.pi), abs=1e-12)


@pytest.mark.parametrize("r", [-0.49, 0.0, 0.2, 0.9, 0.9999])
def test_eighths(r):
    found, error = standard([0, 0, 0], [INF] * 3, equal(3, r))
    expected = 1 / 8 + 3 * np.arcsin(r) / (4 * np.pi)
    assert np.exp(found) == pytest.approx(expected, abs=4 * max(error, 1e-12))
    assert error < LARGE_ERROR


@pytest.mark.parametrize("d", [3, 5, 10])
def test_orthants_of_correlation_one_half(d):
    found, error = standard(np.zeros(d), [INF] * d, equal(d, 0.5))
    assert np.exp(found) == pytest.approx(1 / (d + 1), abs=4 * error)
    assert error < LARGE_ERROR


@pytest.mark.parametrize("r", [1.0, -1.0, 1 - 1e-14])
def test_two_columns_that_are_one(r):
    rng = np.random.RandomState(0)
    low = rng.normal(size=(50, 2))
    high = low + rng.exponential(size=low.shape)
    covariance = np.array([[[4.0, 2 * r], [2 * r, 1]]])
    found, _ = log_box_probability(low, high, np.zeros((1, 2)), covariance)
    ends = [low[:, 1], high[:, 1]] if r > 0 else [-high[:, 1], -low[:, 1]]
    bottom, top = np.maximum(low[:, 0] / 2, ends[0]), np.minimum(high[:, 0] / 2, ends[1])
    expected = np.maximum(stats.norm.cdf(top) - stats.norm.cdf(bottom), 0)
    np.testing.assert_allclose(np.exp(found[:, 0]), expected, atol=1e-7 if abs(r) < 1 else 1e-11)


@pytest.mark.parametrize("r", [0.5, -0.5, 0.95, 0.0])
@pytest.mark.parametrize(
    ("low", "high"),
    [((8, 9), (INF, INF)), ((20, -1), (INF, 1)), ((-INF, 12), (INF, 13)), ((-9, -9), (-8, INF))],
)
def test_two_columns_keep_their_digits_in_the_tails(low, high, r):
    found, _ = standard(low, high, equal(2, r))
    s = np.sqrt(1 - r * r)

    def integrand(x):
        ends = ((end - r * x[:, None]) / s for end in (low[1], high[1]))
        inner, _ = log_box_probability(*ends, np.zeros((1, 1)), np.ones((1, 1, 1)))
        return np.exp(inner[:, 0] - 0.5 * x * x - found) / np.sqrt(2 * np.pi)

    start, stop = max(low[0], -40.0), min(high[0], 40.0)
    edges = np.linspace(start, stop, 400)
    pieces = [integrate.fixed_quad(integrand, *ends, n=9)[0] for ends in pairwise(edges)]
    assert sum(pieces) == pytest.approx(1, rel=1e-8)


def test_singular_covariances_of_many_columns():
    # The third column is the sum of the others, the fourth the first.
    loadings = np.array([[1.0, 0], [0, 1], [1, 1], [1, 0]])
    low, high = np.array([[-1.0, -1, -0.5, -0.7]]), np.array([[1.0, 2, 1, 3]])
    covariance = loadings @ loadings.T
    found, error = log_box_probability(low, high, np.zeros((1, 4)), covariance[None])

    def inner(x):
        bottom, top = max(-1.0, -0.5 - x), min(2.0, 1 - x)
        return stats.norm.pdf(x) * max(stats.norm.cdf(top) - stats.norm.cdf(bottom), 0)

    expected, _ = integrate.quad(inner, -0.7, 1.0, epsabs=1e-10)
    assert error[0, 0] <= 1e-6
    assert np.exp(found[0, 0]) == pytest.approx(expected, abs=5e-6)


def test_columns_that_are_all_the_same():
    found, error = standard([-1, -2, -0.5, -INF], [1, 0.7, 3, 2], np.ones((4, 4)))
    assert np.exp(found) == pytest.approx(stats.norm.cdf(0.7) - stats.norm.cdf(-0.5), abs=1e-12)
    assert error < 1e-12


def test_free_columns_do_not_matter():
    low, high, mean, covariance = random_problem(5, 4, 2)
    low[:, [1, 3]], high[:, [1, 3]] = -INF, INF
    found, _ = log_box_probability(low, high, mean, covariance)
    rest = [0, 2, 4]
    expected, _ = log_box_probability(
        low[:, rest], high[:, rest], mean[:, rest], covariance[:, rest][:, :, rest]
    )
    np.testing.assert_array_equal(found, expected)
    free, error = log_box_probability(np.full((1, 5), -INF), np.full((1, 5), INF), mean, covariance)
    assert (free == 0).all()
    assert (error == 0).all()


@pytest.mark.parametrize("d", [1, 2, 4])
def test_boxes_without_volume(d):
    low, high = np.zeros((3, d)), np.ones((3, d))
    high[0, 0] = 0.0
    low[1, 0] = 2.0
    low[2], high[2] = INF, INF
    found, error = log_box_probability(low, high, np.zeros((2, d)), np.array([np.eye(d)] * 2))
    assert np.isneginf(found).all()
    assert (error == 0).all()
    found, _ = log_box_probability(low[:0], high[:0], np.zeros((2, d)), np.array([np.eye(d)] * 2))
    assert found.shape == (0, 2)


@pytest.mark.parametrize("d", [2, 4])
def test_units_do_not_matter(d):
    low, high, mean, covariance = random_problem(d, 8, 3)
    expected, _ = log_box_probability(low, high, mean, covariance)
    unit = 10.0 ** np.linspace(-6, 6, d)
    scaled = low * unit, high * unit, mean * unit, covariance * unit * unit[:, None]
    found, _ = log_box_probability(*scaled)
    np.testing.assert_allclose(found, expected, rtol=1e-4 if d > 2 else 1e-9, atol=1e-5)


def test_many_columns_far_in_the_tails():
    # All draws from correlation 1/2 share a common part: one integral over it.
    found, error = standard([12.0] * 4, [INF] * 4, equal(4, 0.5))
    x = np.linspace(0, 40, 40001)
    logs = 4 * stats.norm.logsf(12 * np.sqrt(2) - x) + stats.norm.logpdf(x)
    expected = np.logaddexp.reduce(logs) + np.log(x[1])
    assert found == pytest.approx(expected, abs=1e-2)
    assert error < 1e-30


def test_what_cannot_be_integrated_well_is_told():
    # Two columns that differ by next to nothing, and not in the way that a third one does.
    rng = np.random.RandomState(0)
    factor = rng.normal(size=(10, 10)) * 10.0 ** -np.arange(10)
    covariance = factor @ factor.T + 1e-9 * np.eye(10)
    low, high = np.full((1, 10), -0.1), np.full((1, 10), 0.6)
    found, error = log_box_probability(low, high, np.zeros((1, 10)), covariance[None])
    again, _ = log_box_probability(low, high, np.zeros((1, 10)), covariance[None])
    assert found == again
    assert error > 0
    draws = rng.multivariate_normal(np.zeros(10), covariance, 200_000)
    share = ((draws > low) & (draws < high)).all(axis=1).mean()
    assert np.exp(found[0, 0]) == pytest.approx(share, abs=5e-3)
