"""Probabilities of cells, and expectations in them, compared with integrals."""

import numpy as np
import pytest
import torch
from scipy.integrate import quad
from scipy.stats import norm

from sklearn_einet.families.normal_cells import FARTHEST, normal_cells
from sklearn_einet.families.normal_intervals import log_interval

CELLS = [
    (-0.5, 0.5),
    (-0.01, 0.02),
    (0.0, 1.0),
    (-3.0, -2.9),
    (5.0, 9.0),
    (-38.0, -37.0),
    (60.0, 60.5),
    (-200.0, 3.0),
]


def tensors(*values):
    return [torch.tensor(value, dtype=torch.float64) for value in values]


@pytest.mark.parametrize("ends", CELLS)
def test_moments_by_integration(ends):
    mean, deviation = 0.3, 0.7
    low, high = (mean + deviation * end for end in ends)
    log_p, moments = normal_cells(*tensors(low, high, mean, deviation))
    start, stop = (np.array(end) for end in ends)
    np.testing.assert_allclose(log_p, log_interval(start, stop), rtol=1e-12, atol=1e-13)
    nearest = np.clip(0, *ends)

    def weighted(power):
        """The integral of a power of the standard variable, relative to the largest density."""
        return quad(
            lambda z: z**power * np.exp(0.5 * (nearest - z) * (nearest + z)),
            max(ends[0], nearest - 12),
            min(ends[1], nearest + 12),
            epsabs=1e-14,
            epsrel=1e-12,
            limit=200,
        )[0]

    first, second = weighted(1) / weighted(0), weighted(2) / weighted(0)
    expected = [
        mean + deviation * first,
        mean**2 + 2 * mean * deviation * first + deviation**2 * second,
    ]
    np.testing.assert_allclose(moments, expected, rtol=1e-10, atol=1e-12)


def test_cells_without_ends_and_far_out():
    low, high = tensors([-FARTHEST, 3.0, 1e5, -1e5 - 1], [-2.0, FARTHEST, 1e5 + 1, -1e5])
    log_p, moments = normal_cells(low, high, *tensors(0.0, 1.0))
    np.testing.assert_allclose(log_p[:2], [norm.logcdf(-2), norm.logsf(3)], rtol=1e-13)
    tail = norm.pdf(3) / norm.sf(3)
    np.testing.assert_allclose(moments[:, 1], [tail, 1 + 3 * tail], rtol=1e-12)
    assert float(log_p[2]) == pytest.approx(-0.5e10 - np.log(1e5 * np.sqrt(2 * np.pi)), rel=1e-14)
    np.testing.assert_allclose(moments[0, 2:], [1e5 + 1e-5, -1e5 - 1e-5], rtol=1e-14)
    variance = moments[1] - moments[0] ** 2
    assert torch.isfinite(moments).all()
    assert (variance > -1e-4).all()


def test_all_cells_have_the_moments_of_the_whole():
    edges = torch.linspace(-30, 31, 123, dtype=torch.float64)
    for mean, deviation in ((0.2, 0.05), (0.5, 1.0), (3.0, 4.0)):
        log_p, moments = normal_cells(edges[:-1], edges[1:], *tensors(mean, deviation))
        p = log_p.exp()
        assert float(p.sum()) == pytest.approx(1, abs=1e-11)
        whole = (moments * p).sum(1)
        np.testing.assert_allclose(whole, [mean, mean**2 + deviation**2], rtol=1e-10)
