"""Maps that leave out cells of grids."""

import pickle

import numpy as np
import pytest
from scipy.stats import norm

from sklearn_einet.tables.column_maps import YeoJohnson
from sklearn_einet.tables.cut_out import CutOut
from sklearn_einet.tables.half_line import HalfLine
from sklearn_einet.tables.mapped_moments import mapped_moments

INNER = [None, YeoJohnson(0.4, 0.3, 0.7)]
STARTS = {
    "one": [-0.25],
    "beside each other": [-1.0, -0.5, 0.0],
    "far apart": [-3.0, 0.25, 2.0],
}
MAPS = [CutOut(np.array(starts), 0.5, inner) for starts in STARTS.values() for inner in INNER]
EVERY = pytest.mark.parametrize(
    "cut", MAPS, ids=[f"{s}, {getattr(i, 'name', None)}" for s in STARTS for i in INNER]
)


def inside(cut, z):
    """Which values are in the cells that are left out."""
    return ((z[:, None] > cut.starts) & (z[:, None] < cut.starts + cut.width)).any(axis=1)


@EVERY
def test_cells_are_left_out_and_nothing_else(cut):
    z = np.linspace(-6, 6, 4807)
    kept = z[~inside(cut, z)]
    y = cut.forward(kept)
    assert (np.diff(y) >= 0).all()
    # The two ends of a cell, or of several side by side, are one point.
    ends = np.concatenate([cut.starts, cut.starts + cut.width])
    open_ends = ~np.isclose(kept[:, None], ends, atol=1e-9).any(axis=1)
    np.testing.assert_allclose(cut.inverse(y)[open_ends], kept[open_ends], atol=1e-9)
    assert not inside(cut, cut.inverse(np.linspace(-6, 6, 5001))).any()


@EVERY
def test_maps_are_constant_in_the_cells(cut):
    for start in cut.starts:
        y = cut.forward(start + cut.width * np.linspace(0, 1, 9))
        np.testing.assert_allclose(y, y[0], atol=1e-12)


@EVERY
def test_slopes_by_differences(cut):
    z = np.linspace(-5.5, 5.5, 1777)
    ends = np.concatenate([cut.starts, cut.starts + cut.width])
    if cut.inner is not None and hasattr(cut.inner, "low"):
        bends = np.array([cut.inner.low, cut.inner.high])
        z = z[(np.abs(cut.first(z)[:, None] - bends) > 1e-4).all(axis=1)]
    z = z[~inside(cut, z) & (np.abs(z[:, None] - ends) > 1e-4).all(axis=1)]
    slope = (cut.forward(z + 1e-6) - cut.forward(z - 1e-6)) / 2e-6
    np.testing.assert_allclose(cut.log_slope(z), np.log(slope), atol=1e-6)


@EVERY
def test_densities_of_what_is_kept_integrate_to_one(cut):
    ends = np.sort(np.concatenate([cut.inverse(np.linspace(-9, 9, 200_001)), cut.starts]))
    ends = np.sort(np.concatenate([ends, cut.starts + cut.width]))
    z, width = 0.5 * (ends[1:] + ends[:-1]), np.diff(ends)
    z, width = z[~inside(cut, z)], width[~inside(cut, z)]
    density = norm.pdf(cut.forward(z)) * np.exp(cut.log_slope(z))
    assert density @ width == pytest.approx(1, abs=1e-6)


@pytest.mark.parametrize("start", np.linspace(0.1, 3.0, 30))
def test_bounds_at_a_cell_are_not_jumped_over(start):
    low, width = -2.4, 0.1
    moved = float(HalfLine(low, False, width, None).forward(np.array(start)))
    bounds = HalfLine(low, False, width, HalfLine(moved, True, width, None))
    cut = CutOut(np.array([start]), 0.5, bounds)
    assert cut.inverse(np.linspace(-5, 40, 451)).max() == pytest.approx(start, abs=1e-12)
    first, _ = mapped_moments(cut, np.array([20.0]), np.array([1.0]))
    assert first[0] == pytest.approx(start, abs=1e-12)


@EVERY
def test_moments_by_brute_force(cut):
    mean, variance = np.array([[-1.0], [0.3]]), np.array([0.04, 1.0])
    first, second = mapped_moments(cut, mean, variance)
    t = np.linspace(-10, 10, 2_000_001)
    weight = norm.pdf(t) / norm.pdf(t).sum()
    for i, j in np.ndindex(2, 2):
        z = cut.inverse(mean[i, 0] + t * np.sqrt(variance[j]))
        expected = weight @ z
        assert first[i, j] == pytest.approx(expected, abs=1e-5)
        assert second[i, j] == pytest.approx(weight @ (z - expected) ** 2, abs=1e-5)


@EVERY
def test_what_is_not_finite(cut):
    special = np.array([-np.inf, np.nan, np.inf])
    np.testing.assert_array_equal(cut.forward(special), special)
    np.testing.assert_array_equal(cut.inverse(special), special)
    far = np.array([-1e100, -1e9, 1e9, 1e100])
    for mapped in (cut.forward(far), cut.inverse(far)):
        assert np.isfinite(mapped).all()
        assert (np.diff(mapped) > 0).all()


@EVERY
def test_equality_and_pickles_are_by_value(cut):
    again = pickle.loads(pickle.dumps(cut))
    assert again == cut
    assert hash(again) == hash(cut)
    assert cut != CutOut(cut.starts, 0.25, cut.inner)
    assert cut != CutOut(cut.starts + 1, 0.5, cut.inner)
    assert cut != CutOut(cut.starts, 0.5, YeoJohnson(0.123, 0.0, 1.0))
