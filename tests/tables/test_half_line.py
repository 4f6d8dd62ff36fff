"""Maps of what is on one side of a bound to the whole line."""

import itertools
import pickle

import numpy as np
import pytest
from scipy.integrate import quad
from scipy.stats import norm

from sklearn_einet.tables.column_maps import LARGEST, YeoJohnson
from sklearn_einet.tables.half_line import HalfLine, joined_maps
from sklearn_einet.tables.mapped_moments import mapped_moments

LOWER = HalfLine(-1.0, False, 0.1, None)
UPPER = HalfLine(2.0, True, 0.3, YeoJohnson(0.4, 0.3, 0.7))
BOTH = HalfLine(-1.0, False, 0.1, HalfLine(2.0, True, 0.1, None))
MAPS = {"lower": LOWER, "upper, then a power": UPPER, "both": BOTH}
ENDS = {"lower": (-1.0, np.inf), "upper, then a power": (-np.inf, 2.0), "both": (-1.0, 2.0)}
EVERY = pytest.mark.parametrize("name", MAPS)


def values(name, beside=1e-6):
    low, high = np.clip(ENDS[name], -9, 9)
    inner = np.linspace(low, high, 2001)[1:-1]
    return np.sort(np.concatenate([[low + beside], inner, [high - beside]]))


@EVERY
def test_inverses_and_slopes(name):
    half, z = MAPS[name], values(name)
    y = half.forward(z)
    assert (np.diff(y) > 0).all()
    np.testing.assert_allclose(half.inverse(y), z, atol=1e-9)
    inner = z[(z > z[0] + 1e-3) & (z < z[-1] - 1e-3)]
    slope = (half.forward(inner + 1e-7) - half.forward(inner - 1e-7)) / 2e-7
    np.testing.assert_allclose(half.log_slope(inner), np.log(slope), atol=1e-5)


@EVERY
def test_everything_is_drawn_within_the_bounds(name):
    low, high = ENDS[name]
    z = MAPS[name].inverse(np.linspace(-40, 40, 4001))
    assert (z >= low).all()
    assert (z <= high + 1e-9).all()
    assert (np.diff(z) >= 0).all()


@EVERY
def test_densities_have_their_mass_within_the_bounds(name):
    half = MAPS[name]
    low, high = half.inverse(np.array([-9.0, 9.0]))

    def density(z):
        z = np.array([z])
        return float(norm.pdf(half.forward(z)[0], 0.2, 0.8) * np.exp(half.log_slope(z)[0]))

    points = half.inverse(np.linspace(-5, 5, 21))
    mass = sum(quad(density, *ends, limit=200)[0] for ends in itertools.pairwise(points))
    mass += quad(density, low, points[0])[0] + quad(density, points[-1], high)[0]
    assert mass == pytest.approx(1, abs=1e-6)


@EVERY
@pytest.mark.parametrize("sd", [0.05, 1.0])
def test_moments_by_brute_force(name, sd):
    half = MAPS[name]
    for mean in (-1.2, 0.0, 1.5):
        first, second = mapped_moments(half, np.array([mean]), np.array([sd**2]))
        t = np.linspace(-9, 9, 400_001)
        weight = norm.pdf(t) / norm.pdf(t).sum()
        z = half.inverse(mean + sd * t)
        expected = weight @ z
        assert first[0] == pytest.approx(expected, abs=1e-6)
        assert second[0] == pytest.approx(weight @ (z - expected) ** 2, abs=1e-6)


def test_values_beyond_the_bound_have_no_image():
    y = LOWER.forward(np.array([-np.inf, -3.0, -1.0, np.nan, np.inf]))
    assert y[0] == -np.inf
    assert (y[1:3] == -LARGEST).all()
    assert np.isnan(y[3])
    assert y[4] == np.inf
    assert LOWER.inverse(np.array([-1e6, np.nan, -np.inf, np.inf]))[0] == -1.0


def test_far_from_the_bound_values_stay_as_they_are():
    z = np.array([3.0, 1e3, 1e12])
    np.testing.assert_allclose(LOWER.forward(z), z, rtol=1e-12)
    np.testing.assert_allclose(LOWER.inverse(z), z, rtol=1e-12)


def test_maps_are_equal_by_their_parameters():
    assert pickle.loads(pickle.dumps(BOTH)) == BOTH
    assert hash(pickle.loads(pickle.dumps(BOTH))) == hash(BOTH)
    assert HalfLine(-1.0, False, 0.2, None) != LOWER


@pytest.mark.parametrize("n", [1, 3, 1000])
def test_joined_maps_are_the_same_ones(n):
    more = {f"{name}, wider": HalfLine(-1.5, False, 0.5, each) for name, each in MAPS.items()}
    maps = dict(enumerate([*MAPS.values(), *more.values(), HalfLine(5.0, True, 0.2, None)], 2))
    z = np.random.RandomState(0).normal(scale=3, size=(max(maps) + 1, n))
    z[:, ::7] = [[np.nan]]
    seen = []
    for some, joined in joined_maps(maps):
        columns = np.atleast_1d(some).tolist()
        seen += columns
        for method in ("forward", "log_slope", "inverse"):
            found = np.atleast_2d(getattr(joined, method)(z[some]))
            expected = [getattr(maps[column], method)(z[column]) for column in columns]
            np.testing.assert_array_equal(found, expected)
    assert sorted(seen) == list(maps)
    assert len(joined_maps(maps)) == 5  # chains of one, two and three, and two others
