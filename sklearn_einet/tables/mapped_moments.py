"""Mean and variance of what a map makes of normal variables."""

from __future__ import annotations

import numpy as np

from sklearn_einet.circuit.block_rows import slices
from sklearn_einet.tables.column_maps import ColumnMap

__all__ = ["mapped_moments"]

# Standard deviations beyond which a normal density adds nothing, and beyond which it is no number.
REACH, LARGEST_REACH = 8.0, 38.0

# The largest width of a piece of the axis, in standard deviations, and points within each.
WIDTH = 3.0
POINTS, WEIGHTS = np.polynomial.legendre.leggauss(8)

# How many points are evaluated at a time.
POINTS_AT_A_TIME = 2**19


def mapped_moments(
    column_map: ColumnMap, mean: np.ndarray, variance: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Return E[z] and Var[z] where y, to which the map takes z, is normal.

    By Gauss-Legendre quadrature between the map's knots.

    Parameters
    ----------
    column_map : ColumnMap
    mean, variance : ndarray of any shape
        Of y; variances are positive.

    Returns
    -------
    mean, variance : ndarray of the same shape
        Of z.
    """
    mean, variance = np.broadcast_arrays(mean, variance)
    center, sd = mean.ravel().astype(np.float64), np.sqrt(variance.ravel())
    first, second = np.empty((2, len(center)))
    if not len(center):
        return first.reshape(mean.shape), second.reshape(mean.shape)
    knots = column_map.knots
    # The square of the inverse times the density may have its peak far from the mean.
    reach = np.minimum(REACH + 2 * column_map.growth * sd, LARGEST_REACH)
    n_pieces = int(np.ceil(2 * reach.max(initial=REACH) / WIDTH))
    n_points = (n_pieces + len(knots)) * len(POINTS)
    for part in slices(len(center), max(1, POINTS_AT_A_TIME // n_points)):
        t, weight = _points(knots, center[part], sd[part], reach[part], n_pieces)
        # About the image of the mean, so that large values lose no digits.
        origin = column_map.inverse(center[part])
        y = center[part, None] + sd[part, None] * t
        deviation = np.zeros_like(t)
        counts = weight > 0
        deviation[counts] = column_map.inverse(y[counts])
        deviation -= origin[:, None]
        shift = (weight * deviation).sum(1)
        first[part] = origin + shift
        second[part] = (weight * (deviation - shift[:, None]) ** 2).sum(1)
    return first.reshape(mean.shape), second.reshape(mean.shape)


def _points(
    knots: np.ndarray, mean: np.ndarray, sd: np.ndarray, reach: np.ndarray, n_pieces: int
) -> tuple[np.ndarray, np.ndarray]:
    """Return points of quadrature in standard deviations, and weights, (n_densities, n_points)."""
    even = np.linspace(-1, 1, n_pieces + 1) * reach[:, None]
    inner = np.clip((knots - mean[:, None]) / sd[:, None], -reach[:, None], reach[:, None])
    ends = np.sort(np.concatenate([even, inner], axis=1), axis=1)
    half = 0.5 * np.diff(ends)[:, :, None]
    t = (half * (1 + POINTS) + ends[:, :-1, None]).reshape(len(mean), -1)
    weight = (half * WEIGHTS).reshape(t.shape) * np.exp(-0.5 * t * t)
    return t, weight / weight.sum(1, keepdims=True)
