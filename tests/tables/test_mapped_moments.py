"""Moments behind maps of columns, by brute force, whatever the widths of the densities."""

import numpy as np
import pytest
from scipy.stats import lognorm

from sklearn_einet import EinetImputer
from sklearn_einet.tables.column_maps import QuantileSpline, YeoJohnson
from sklearn_einet.tables.cut_out import CutOut
from sklearn_einet.tables.half_line import HalfLine
from sklearn_einet.tables.mapped_moments import mapped_moments

SPLINE = QuantileSpline(
    np.array([-1.5, -0.8, -0.1, 0.0, 0.7, 4.0]),
    np.array([-2.0, -1.9, -0.2, 0.3, 0.4, 2.0]),
    np.array([0.1, 3.0, 2.0, 4.0, 0.3, 0.05]),
)
MAPS = {
    "power": YeoJohnson(0.4, 0.3, 0.7),
    "logarithm up to an end": YeoJohnson(0.0, 0.3, 0.7, -1.5, 20.0),
    "spline": SPLINE,
    "bound": HalfLine(-1.0, False, 0.05, None),
    "bounds, then a spline": HalfLine(-3.0, False, 0.1, HalfLine(6.0, True, 0.1, SPLINE)),
    "cells": CutOut(np.array([-1.0, -0.5, 2.0]), 0.5, YeoJohnson(0.6, 0.0, 0.5)),
}
MEANS = np.array([-30.0, -2.0, -0.7, 0.31, 1.9, 12.0])


def brute_force(column_map, mean, sd):
    """Mean and variance by the trapezoidal rule, far out too."""
    # Jumps cost it digits.
    t = np.linspace(-16, 16, 1_000_001 if isinstance(column_map, CutOut) else 200_001)
    weight = np.exp(-0.5 * t * t)
    weight /= weight.sum()
    origin = column_map.inverse(np.array([mean]))[0]
    deviation = column_map.inverse(mean + sd * t) - origin
    shift = weight @ deviation
    return origin + shift, weight @ (deviation - shift) ** 2


@pytest.mark.parametrize("sd", [1e-5, 1e-2, 0.1, 0.5, 1.0, 3.0, 20.0])
@pytest.mark.parametrize("name", MAPS)
def test_all_widths(name, sd):
    column_map = MAPS[name]
    first, second = mapped_moments(column_map, MEANS, np.full(len(MEANS), sd**2))
    digits = 1e-4 if name == "cells" else 1e-7
    for number, mean in enumerate(MEANS):
        expected, variance = brute_force(column_map, mean, sd)
        # Where the values are next to a bound, they have no more digits.
        rounding = 1e-14 * max(1, abs(expected))
        atol = digits * np.sqrt(variance) + rounding
        np.testing.assert_allclose(first[number], expected, rtol=0, atol=atol)
        atol = rounding * (np.sqrt(variance) + rounding)
        np.testing.assert_allclose(second[number], variance, rtol=digits, atol=atol)


class Exponential:
    """Takes exp(slope * y) to y."""

    knots = np.empty(0)

    def __init__(self, slope):
        self.growth = slope

    def inverse(self, y):
        return np.exp(self.growth * y)


@pytest.mark.parametrize(("slope", "mean", "sd"), [(1.0, 30.0, 0.5), (6.0, 4.0, 0.1)])
def test_small_values_beside_huge_ones(slope, mean, sd):
    """Two densities so far from each other that their values share no digit."""
    means = np.array([-mean, mean])
    first, second = mapped_moments(Exponential(slope), means, np.full(2, sd**2))
    expected = lognorm(slope * sd, scale=np.exp(slope * means))
    np.testing.assert_allclose(first, expected.mean(), rtol=1e-8)
    np.testing.assert_allclose(second, expected.var(), rtol=1e-8)


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("means", [[1e300, -1e300], [1.0, 2.0]])
def test_densities_without_any_width(means):
    """As variances that were below the least number."""
    first, second = mapped_moments(HalfLine(-1.0, False, 0.05, None), np.array(means), np.zeros(2))
    np.testing.assert_array_equal(second, 0)
    inverse = HalfLine(-1.0, False, 0.05, None).inverse(np.array(means))
    np.testing.assert_array_equal(first, inverse)


@pytest.mark.parametrize("sigma", [0.01, 0.3, 1.0, 3.0])
def test_logarithms_with_heavy_tails(sigma):
    # Far above 0 the inverse is exp(y) - 1; where it is not, there is no mass.
    mean = 8 * sigma + np.array([1.0, 4.0])
    first, second = mapped_moments(YeoJohnson(0, 0.0, 1.0), mean, np.full(2, sigma**2))
    expected = lognorm(sigma, scale=np.exp(mean)).stats("mv")
    np.testing.assert_allclose(first + 1, expected[0], rtol=1e-8)
    np.testing.assert_allclose(second, expected[1], rtol=1e-7)


def test_what_is_found_does_not_depend_on_the_other_densities():
    rng = np.random.default_rng(0)
    mean, variance = 2 * rng.normal(size=(40, 50)), np.exp(rng.normal(-4, 3, size=(40, 50)))
    for column_map in MAPS.values():
        first, second = mapped_moments(column_map, mean, variance)
        for at in [(0, 0), (17, 3), (39, 49)]:
            alone = mapped_moments(column_map, mean[at], variance[at])
            sd = np.sqrt(second[at])
            np.testing.assert_allclose(alone[0], first[at], rtol=1e-13, atol=1e-12 * sd)
            np.testing.assert_allclose(alone[1], second[at], rtol=1e-10)


def test_no_densities_and_densities_that_overflowed():
    nothing = mapped_moments(SPLINE, np.empty((0, 3)), np.empty((0, 3)))
    assert [each.shape for each in nothing] == [(0, 3), (0, 3)]
    mean, variance = np.array([0.5, np.nan, 0.5, np.inf]), np.array([1.0, 1.0, np.inf, 1.0])
    with np.errstate(all="raise"):
        found = np.array(mapped_moments(SPLINE, mean, variance))
    np.testing.assert_array_equal(np.isnan(found), [[False, True, True, True]] * 2)


def test_densities_that_are_far_away():
    for mean in (1e6, -1e15, 1e18):
        for column_map in (SPLINE, MAPS["bound"], HalfLine(0.0, False, 0.1, None)):
            first, second = mapped_moments(column_map, np.array([mean]), np.array([0.25]))
            assert first[0] == pytest.approx(column_map.inverse(np.array([mean]))[0], rel=1e-6)
            assert np.isfinite(second[0])


@pytest.mark.parametrize("unit", [1e-12, 1.0, 1e12])
def test_units_of_columns_do_not_matter(unit):
    rng = np.random.default_rng(0)
    x = rng.normal(size=(300, 1))
    X = np.hstack([np.exp(x + 0.3 * rng.normal(size=x.shape)), x])
    gaps = X.copy()
    gaps[::3, 0] = np.nan
    imputer = EinetImputer(random_state=0).fit(gaps)
    assert imputer.density_.table_density_.schema.maps
    again = EinetImputer(random_state=0).fit(gaps * [unit, 1])
    np.testing.assert_allclose(
        again.transform(gaps * [unit, 1]) / [unit, 1], imputer.transform(gaps), rtol=1e-6
    )
