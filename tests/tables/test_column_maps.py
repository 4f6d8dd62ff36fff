"""Maps of single columns: their parts, their estimates, and the moments behind them."""

import pickle

import numpy as np
import pytest
from scipy.optimize import minimize_scalar
from scipy.stats import norm, yeojohnson, yeojohnson_llf

from sklearn_einet.tables.column_maps import ColumnMap, QuantileSpline, YeoJohnson
from sklearn_einet.tables.map_fitting import different, fit_maps, fit_spline
from sklearn_einet.tables.mapped_moments import mapped_moments


def standardized(x):
    return (x - np.nanmean(x)) / np.nanstd(x)


def columns(n=1000, seed=0):
    rng = np.random.default_rng(seed)
    raw = {
        "normal": rng.normal(size=n),
        "rounded": rng.normal(size=n).round(1),
        "exponential": rng.exponential(size=n),
        "log-normal": rng.lognormal(0, 0.8, size=n),
        "minus log-normal": -rng.lognormal(0, 0.8, size=n),
        "uniform": rng.random(n),
        "two bumps": rng.normal(size=n) + rng.choice([-5, 5], n),
        "zeros": np.where(rng.random(n) < 0.5, 0, rng.exponential(size=n)),
        "heavy": rng.standard_t(3, size=n).clip(-15, 15),
        "two values": rng.choice([3.0, 7.0], n),
        "nearly constant": np.r_[np.zeros(n - 1), 1.0],
        "ties except for rounding": rng.integers(0, 12, n) * 0.1 + rng.choice([0, 1e-16], n),
    }
    return {name: standardized(x) for name, x in raw.items()}


COLUMNS = columns()
KINDS = ["yeo-johnson", "quantile-spline"]


def fitted(name, kind):
    (found,) = fit_maps(COLUMNS[name][:, None], np.ones(1000), [kind])
    assert isinstance(found, ColumnMap)
    return found


ALL_MAPS = [
    *(YeoJohnson(power, 0.3, 0.7) for power in (0.0, 1e-9, 0.4, 1.0, 1.7, 2.0)),
    *(YeoJohnson(power, 0.3, 0.7, -1.5, 2.5) for power in (0.0, 0.4, 2.0)),
    *(fitted(name, kind) for name in COLUMNS for kind in KINDS),
]


@pytest.mark.parametrize("column_map", ALL_MAPS, ids=lambda each: type(each).__name__)
def test_inverses_and_slopes(column_map):
    z = np.concatenate([np.linspace(-12, 12, 2001), COLUMNS["heavy"]])
    z = np.sort(np.append(z, getattr(column_map, "z", [])))
    y = column_map.forward(z)
    assert (np.diff(y)[np.diff(z) > 1e-9] > 0).all()
    np.testing.assert_allclose(column_map.inverse(y), z, atol=1e-9)
    step = 1e-6
    slope = (column_map.forward(z + step) - column_map.forward(z - step)) / (2 * step)
    # The second derivative jumps where pieces of a spline meet.
    np.testing.assert_allclose(column_map.log_slope(z), np.log(slope), atol=1e-3)
    assert np.mean(np.abs(column_map.log_slope(z) - np.log(slope))) < 1e-6


@pytest.mark.parametrize("column_map", ALL_MAPS, ids=lambda each: type(each).__name__)
def test_what_is_not_finite(column_map):
    special = np.array([-np.inf, np.nan, np.inf])
    np.testing.assert_array_equal(column_map.forward(special), special)
    np.testing.assert_array_equal(column_map.inverse(special), special)
    huge = np.array([-1e300, -1e100, 1e100, 1e300])
    for mapped in (column_map.forward(huge), column_map.inverse(huge)):
        assert np.isfinite(mapped * mapped).all()
        assert (np.diff(mapped) >= 0).all()
    np.testing.assert_array_equal(column_map.forward(np.full((2, 3, 1), np.nan)).shape, (2, 3, 1))


@pytest.mark.parametrize("column_map", ALL_MAPS, ids=lambda each: type(each).__name__)
def test_densities_integrate_to_one(column_map):
    ends = column_map.inverse(np.linspace(-9, 9, 200_001))
    z, width = 0.5 * (ends[1:] + ends[:-1]), np.diff(ends)
    density = norm.pdf(column_map.forward(z)) * np.exp(column_map.log_slope(z))
    assert density @ width == pytest.approx(1, abs=1e-6)


@pytest.mark.parametrize("column_map", ALL_MAPS, ids=lambda each: type(each).__name__)
def test_moments_by_brute_force(column_map):
    mean = np.array([[-3.0], [0.2], [2.0]])
    variance = np.array([1e-4, 0.09, 1.0, 4.0])
    first, second = mapped_moments(column_map, mean, variance)
    assert first.shape == second.shape == (3, 4)
    t = np.linspace(-14, 14, 400_001)
    weight = norm.pdf(t) / norm.pdf(t).sum()
    for i, j in np.ndindex(3, 4):
        z = column_map.inverse(mean[i, 0] + t * np.sqrt(variance[j]))
        expected = weight @ z
        assert first[i, j] == pytest.approx(expected, rel=1e-7, abs=1e-7)
        assert second[i, j] == pytest.approx(weight @ (z - expected) ** 2, rel=1e-6, abs=1e-12)


def test_moments_of_logarithms_are_log_normal():
    scale, mean, variance = 0.9, np.array([1.0, 6.0]), np.array([0.3, 1.5])
    first, second = mapped_moments(YeoJohnson(0, 0.0, 1 / scale), scale * mean, variance * scale**2)
    # exp(y) - 1 where y is positive, as good as everywhere.
    far = np.array([mean[1]]), np.array([variance[1]])
    expected = np.exp(far[0] + far[1] / 2) - 1
    np.testing.assert_allclose(first[1:], expected, rtol=1e-6)
    assert second[1] == pytest.approx(np.exp(2 * 6.0 + 1.5) * np.expm1(1.5), rel=1e-6)
    assert first.shape == (2,)


@pytest.mark.parametrize("column_map", ALL_MAPS[::5], ids=lambda each: type(each).__name__)
def test_equality_and_pickles_are_by_value(column_map):
    again = pickle.loads(pickle.dumps(column_map))
    assert again == column_map
    assert hash(again) == hash(column_map)
    assert column_map != YeoJohnson(0.123, 0.0, 1.0)
    assert column_map != "map"


def test_powers_without_a_whole_line_as_image():
    with pytest.raises(ValueError, match="power must be between 0 and 2"):
        YeoJohnson(-0.5, 0.0, 1.0)


# --- estimates


@pytest.mark.parametrize("name", ["normal", "exponential", "minus log-normal", "uniform", "heavy"])
def test_powers_by_scipy(name):
    z = COLUMNS[name]
    found = fitted(name, "yeo-johnson")
    best = minimize_scalar(
        lambda power: -yeojohnson_llf(power, z), bounds=(0, 2), options={"xatol": 1e-9}
    )
    assert found.power == pytest.approx(best.x, abs=1e-3)
    mapped = yeojohnson(z, found.power)
    assert found.shift == pytest.approx(mapped.mean(), abs=1e-9)
    assert found.unit == pytest.approx(mapped.std())


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", sorted(COLUMNS))
def test_mapped_columns_have_unit_variance(name, kind):
    y = fitted(name, kind).forward(COLUMNS[name])
    assert y.mean() == pytest.approx(0, abs=1e-9)
    assert y.std() == pytest.approx(1)


@pytest.mark.parametrize("name", ["normal", "exponential", "uniform", "two bumps", "log-normal"])
def test_splines_make_columns_normal(name):
    y = fitted(name, "quantile-spline").forward(columns(20_000, seed=1)[name])
    assert np.abs(np.sort(y) - norm.ppf((np.arange(20_000) + 0.5) / 20_000))[400:-400].max() < 0.3


def test_splines_have_no_spikes_at_ties():
    for name in ("rounded", "ties except for rounding", "zeros", "two values", "nearly constant"):
        spline = fitted(name, "quantile-spline")
        slope = np.exp(spline.log_slope(np.linspace(-5, 5, 10_001)))
        assert slope.min() > 1e-3
        assert slope.max() < 100
    # A rounded normal column is normal.
    slope = np.exp(fitted("rounded", "quantile-spline").log_slope(np.linspace(-3, 3, 1001)))
    assert slope.min() > 0.7
    assert slope.max() < 1.4


def test_automatic_choices():
    z = np.column_stack(list(COLUMNS.values()))
    found = fit_maps(z, np.ones(1000), ["auto"] * z.shape[1])
    kinds = {name: type(each) for name, each in zip(COLUMNS, found, strict=True)}
    for name in ("normal", "rounded", "two values", "nearly constant"):
        assert kinds[name] is type(None)
    assert kinds["log-normal"] is not type(None)
    assert kinds["minus log-normal"] is not type(None)
    for name in ("uniform", "two bumps", "heavy"):
        assert kinds[name] is QuantileSpline


@pytest.mark.parametrize("n", [12, 40, 100, 400, 2000])
def test_normal_columns_have_no_map(n):
    rng = np.random.default_rng(n)
    z = np.stack([standardized(rng.normal(size=n)) for _ in range(50)], axis=1)
    found = fit_maps(z, np.ones(n), ["auto"] * 50)
    assert sum(each is not None for each in found) <= 5


@pytest.mark.parametrize("n", [40, 100, 400, 2000])
def test_log_normal_columns_have_a_map(n):
    rng = np.random.default_rng(n)
    z = np.stack([standardized(rng.lognormal(size=n)) for _ in range(20)], axis=1)
    assert all(each is not None for each in fit_maps(z, np.ones(n), ["auto"] * 20))


def test_few_values_have_no_automatic_map():
    z = standardized(2.0 ** np.tile(np.arange(9), 100))
    assert fit_maps(z[:, None], np.ones(900), ["auto"]) == [None]
    assert fit_maps(np.full((5, 1), 0.0), np.ones(5), ["yeo-johnson"]) == [None]


@pytest.mark.parametrize("kind", ["auto", *KINDS])
def test_weights_are_repetitions_and_order_does_not_matter(kind):
    z = COLUMNS["log-normal"][:200].copy()
    z[::7] = np.nan
    weight = np.random.default_rng(0).integers(0, 4, 200)
    repeated = np.random.default_rng(1).permutation(np.repeat(z, weight))
    (first,) = fit_maps(z[:, None], weight * 1.0, [kind])
    (second,) = fit_maps(repeated[:, None], np.ones(len(repeated)), [kind])
    grid = np.linspace(-3, 6, 50)
    np.testing.assert_allclose(first.forward(grid), second.forward(grid), rtol=1e-9)


def test_many_values_are_those_of_their_neighbours():
    z = columns(50_000)["log-normal"]
    values = different(z, np.ones(50_000))
    assert len(values.z) <= 5000
    assert values.weight.sum() == 50_000
    assert values.weight @ values.z == pytest.approx(0, abs=1e-6)
    assert fit_spline(values).forward(z).std() == pytest.approx(1, abs=0.01)


def test_power_maps_are_linear_beyond_their_ends():
    column_map, plain = YeoJohnson(0.0, 0.3, 0.7, -1.5, 2.5), YeoJohnson(0.0, 0.3, 0.7)
    inside = np.linspace(-1.5, 2.5, 50)
    np.testing.assert_array_equal(column_map.forward(inside), plain.forward(inside))
    for side in (np.array([-4.0, -3.0, -2.0]), np.array([3.0, 5.0, 7.0])):
        steps = np.diff(column_map.forward(side))
        np.testing.assert_allclose(steps[0], steps[1], rtol=1e-12)
    y = np.array([-50.0, 50.0])
    np.testing.assert_allclose(column_map.forward(column_map.inverse(y)), y)
    assert np.abs(column_map.inverse(y)).max() < 1e3 < plain.inverse(y)[1]
