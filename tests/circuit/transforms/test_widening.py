"""Densities convolved with normal noise."""

import numpy as np
import pytest
from scipy.stats import norm

from sklearn_einet import EinetDensity
from sklearn_einet.circuit.transforms.widening import widened

RNG = np.random.RandomState(0)
PLAIN = {"numeric_transform": None, "atoms": None, "random_state": 0}


def column_deviation(model):
    """Standard deviations of the columns under a model."""
    return np.sqrt(model.table_density_.moments()[1])


@pytest.mark.parametrize("bandwidth", [0.1, 0.4, 1.5])
@pytest.mark.parametrize("scale", [1.0, 1e-6, 1e8])
def test_a_column_is_convolved(bandwidth, scale):
    X = scale * np.concatenate([RNG.randn(150), 6 + 0.3 * RNG.randn(80)])[:, None]
    plain, wide = (
        EinetDensity(K=3, structure="chow-liu", bandwidth=b, max_iter=20, tol=1, **PLAIN).fit(X)
        for b in (0, bandwidth)
    )
    steps = np.linspace(-8, 8, 8001)
    weight = norm.pdf(steps)
    weight /= weight.sum()
    spread = bandwidth * column_deviation(plain)[0]
    for x in scale * np.array([-2.0, 0.0, 3.0, 6.0, 9.0]):
        density = np.exp(plain.score_samples((x - spread * steps)[:, None])) * scale
        found = np.exp(wide.score_samples([[x]]))[0] * scale
        np.testing.assert_allclose(found, weight @ density, rtol=1e-5, atol=1e-12)


def test_joint_densities_are_convolved():
    X = RNG.randn(300, 2) @ np.array([[1.0, 0.9], [0.0, 0.3]])
    how = {"K": 3, "structure": "joint-normal", "replicas": 1} | PLAIN
    plain, wide = (EinetDensity(bandwidth=b, **how).fit(X) for b in (0, 0.5))
    steps = np.linspace(-6, 6, 241)
    weight = norm.pdf(steps)
    weight /= weight.sum()
    spread = 0.5 * column_deviation(plain)
    for row in ([0.0, 0.0], [1.0, -1.0], [3.0, 2.0]):
        first, second = np.meshgrid(steps * spread[0], steps * spread[1], indexing="ij")
        moved = np.column_stack([row[0] - first.ravel(), row[1] - second.ravel()])
        density = np.exp(plain.score_samples(moved)).reshape(len(steps), -1)
        expected = weight @ density @ weight
        np.testing.assert_allclose(np.exp(wide.score_samples([row]))[0], expected, rtol=1e-3)
    # So are the densities of the cells that are left, each column by its own noise.
    marginal = [np.exp(plain.score_samples([[1.0 - s * spread[0], np.nan]]))[0] for s in steps]
    found = np.exp(wide.score_samples([[1.0, np.nan]]))[0]
    np.testing.assert_allclose(found, weight @ marginal, rtol=1e-3)


def test_variances_grow_and_covariances_stay():
    X = RNG.randn(400, 3) @ RNG.randn(3, 3)
    plain, wide = (
        EinetDensity(K=4, structure="joint-normal", bandwidth=b, **PLAIN).fit(X) for b in (0, 0.7)
    )
    before, after = plain.covariance(), wide.covariance()
    np.testing.assert_allclose(np.diag(after), (1 + 0.7**2) * np.diag(before), rtol=1e-6)
    off = ~np.eye(3, dtype=bool)
    np.testing.assert_allclose(after[off], before[off], rtol=1e-6)
    np.testing.assert_allclose(plain.mean(), wide.mean(), rtol=1e-9)


def test_other_families_and_bounded_variances_stay():
    X = np.column_stack([RNG.randint(0, 3, 200), RNG.gamma(2.0, size=200), RNG.randn(200)])
    how = {"leaf": {"categorical": [0], "gamma": [1]}, "structure": "chow-liu", "K": 2} | PLAIN
    plain, wide = (EinetDensity(bandwidth=b, **how).fit(X) for b in (0, 0.5))
    nothing = np.nan
    for row in ([1.0, nothing, nothing], [nothing, 2.0, nothing], [2.0, 0.5, nothing]):
        np.testing.assert_allclose(wide.score_samples([row]), plain.score_samples([row]))
    assert wide.score_samples([[1, 1, 0.0]]) != plain.score_samples([[1, 1, 0.0]])
    bounded = {"variance_bounds": (1e-3, 1.0), "structure": "binary-trees", "K": 2} | PLAIN
    one, other = (EinetDensity(bandwidth=b, **bounded).fit(X[:, 2:]) for b in (0, 0.5))
    np.testing.assert_array_equal(one.score_samples(X[:, 2:]), other.score_samples(X[:, 2:]))


def test_the_circuit_itself_stays_as_it_is():
    X = RNG.randn(200, 2)
    model = EinetDensity(K=2, **PLAIN).fit(X)
    before = model.score_samples(X)
    widened(model.circuit_, 0.5)
    np.testing.assert_array_equal(model.score_samples(X), before)


@pytest.mark.parametrize("bandwidth", [-0.1, "wide", None])
def test_bad_bandwidths(bandwidth):
    with pytest.raises(ValueError, match="bandwidth"):
        EinetDensity(bandwidth=bandwidth).fit(RNG.randn(20, 2))
