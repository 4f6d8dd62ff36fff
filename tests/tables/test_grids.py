"""The steps of grids: those that values were made with, whatever the unit."""

from fractions import Fraction
from itertools import pairwise
from math import gcd

import numpy as np
import pytest

from sklearn_einet.tables.grids import grid_step, nearest_on_grid

WHOLE = np.unique(np.random.RandomState(0).randint(-500, 500, 40)).astype(float)


def exact_step(decimals):
    """The greatest common divisor of distances, in fractions."""
    parts = [Fraction(text) for text in decimals]
    distances = [b - a for a, b in pairwise(parts)]
    unit = 1
    for each in distances:
        unit = unit * each.denominator // gcd(unit, each.denominator)
    return float(Fraction(gcd(*(int(each * unit) for each in distances)), unit))


@pytest.mark.parametrize("places", [0, 1, 2, 4, 6])
@pytest.mark.parametrize("multiple", [1, 2, 5, 12, 25])
def test_steps_of_decimals_by_fractions(places, multiple):
    rng = np.random.RandomState(places * 100 + multiple)
    whole = np.unique(rng.randint(-4000, 4000, 30)) * multiple
    texts = [str(Fraction(int(each), 10**places)) for each in whole]
    values = np.array([float(Fraction(text)) for text in texts])
    assert grid_step(values) == pytest.approx(exact_step(texts), rel=1e-12)


@pytest.mark.parametrize("unit", [2.54, 1 / 3, np.pi, 1e-12, 1e12, 0.3048, 4.184e-3])
@pytest.mark.parametrize("values", [WHOLE, WHOLE + 1000, WHOLE / 10], ids=["", "shifted", "tenths"])
def test_steps_change_with_the_unit(values, unit):
    assert grid_step(unit * values) == pytest.approx(unit * grid_step(values), rel=1e-9)


def test_temperatures_in_another_unit():
    celsius = np.arange(-200, 451) / 10
    assert grid_step(celsius) == pytest.approx(0.1)
    assert grid_step(32 + 1.8 * celsius) == pytest.approx(0.18)


def test_sums_of_decimals_are_on_a_grid_in_spite_of_rounding():
    values = np.unique(np.cumsum(np.full(200, 0.1)))
    assert (values != np.arange(1, 201) / 10).any()
    assert grid_step(values) == pytest.approx(0.1, rel=1e-9)


@pytest.mark.parametrize(
    "values",
    [
        np.sqrt(np.arange(2.0, 60.0)),
        np.sort(np.random.RandomState(0).standard_normal(300)),
        np.array([0.0, 1.0, np.pi]),
        np.array([3.0]),
        np.array([]),
        np.array([0.0, 1.0, 1e300]),
        np.array([-1e308, 1e308]),
        np.array([0.0, 1.0, 2.0**33]),  # more steps than anybody has rounded to
    ],
    ids=["roots", "normal", "pi", "one", "none", "huge", "infinite range", "fine"],
)
def test_values_on_no_grid(values):
    with np.errstate(over="raise"):
        assert grid_step(values) == 0


@pytest.mark.parametrize("step", [1.0, 0.25, 0.1, 0.3, 0.01, 0.025, 2.54, 1 / 3, 1e-5, 3e8])
@pytest.mark.parametrize("shift", [0, 500], ids=["", "shifted"])
@pytest.mark.parametrize("precision", ["float32", "float64"])
def test_steps_of_narrow_types(step, shift, precision):
    values = (step * (WHOLE + shift)).astype(precision).astype(float)
    assert grid_step(values, precision) == pytest.approx(step, rel=1e-9 if step > 0.4 else 1e-7)


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("n", [10, 300])
@pytest.mark.parametrize("precision", ["float16", "float32"])
def test_narrow_numbers_on_no_grid(seed, n, precision):
    numbers = np.random.RandomState(seed).standard_normal(n).astype(precision)
    assert grid_step(np.unique(numbers).astype(float), precision) == 0


def test_decimals_are_on_a_grid_only_in_their_own_type():
    tenths = (np.unique(WHOLE) / 10).astype(np.float32).astype(float)
    assert grid_step(tenths) == 0
    assert grid_step(tenths, "float32") == 0.1


def test_two_values_are_a_step_apart():
    assert grid_step(np.array([0.25, 0.75])) == 0.5
    assert grid_step(np.array([np.e, np.pi])) == pytest.approx(np.pi - np.e)


@pytest.mark.parametrize("places", [1, 2, 3])
def test_numbers_on_decimal_grids_are_as_written(places):
    origin, step = -3.0, 10.0**-places
    x = np.random.RandomState(0).uniform(-50, 50, 500)
    found = nearest_on_grid(x, origin, step)
    np.testing.assert_array_equal(found, [float(f"{each:.{places}f}") for each in x])


@pytest.mark.parametrize("origin", [-7.9, 0.05, 0.25, 0.1, 12.345, -0.3, 1e5])
@pytest.mark.parametrize("step", [0.1, 0.2, 0.5, 0.05, 0.25, 0.3, 0.004])
def test_decimal_grids_need_not_have_zero(origin, step):
    x = origin + step * np.random.RandomState(0).uniform(-40, 40, 300)
    n_steps = np.round((x - origin) / step).astype(int).tolist()
    exact = [float(Fraction(str(origin)) + n * Fraction(str(step))) for n in n_steps]
    np.testing.assert_array_equal(nearest_on_grid(x, origin, step), exact)


@pytest.mark.parametrize(
    ("origin", "step"), [(0.5, 1.0), (1 / 3, 2 / 3), (-7.0, 2.54), (1e6, 250.0)]
)
def test_nearest_numbers_on_grids(origin, step):
    x = origin + step * np.random.RandomState(1).uniform(-30, 30, 300)
    grid = origin + step * np.arange(-31, 32)
    expected = grid[np.abs(x[:, None] - grid).argmin(axis=1)]
    found = nearest_on_grid(x, origin, step)
    np.testing.assert_allclose(found, expected, rtol=1e-12, atol=1e-12)
    np.testing.assert_array_equal(nearest_on_grid(found, origin, step), found)
