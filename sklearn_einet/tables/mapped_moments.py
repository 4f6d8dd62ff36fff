"""Mean and variance of what a map makes of normal variables."""

from __future__ import annotations

import numpy as np
from sklearn.utils import gen_batches

from sklearn_einet.tables.column_maps import ColumnMap

__all__ = ["mapped_moments"]

# Standard deviations beyond which a normal density adds nothing, and beyond which it is no number.
REACH, LARGEST_REACH = 9.0, 38.0

# The largest width of a piece of the axis, in standard deviations, and points within each.
WIDTH = 3.0
POINTS, WEIGHTS = np.polynomial.legendre.leggauss(10)

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
    # The square of the inverse times the density may have its peak far from the mean.
    reach = np.minimum(REACH + 2 * column_map.growth * sd, LARGEST_REACH)
    widest = reach.max(initial=REACH)
    n_pieces = int(np.ceil(2 * widest / WIDTH))
    n_points = (n_pieces + len(column_map.knots)) * len(POINTS)
    for part in gen_batches(len(center), max(1, POINTS_AT_A_TIME // n_points)):
        first[part], second[part] = _moments(
            column_map, center[part], sd[part], reach[part], n_pieces
        )
    return first.reshape(mean.shape), second.reshape(mean.shape)


def _moments(
    column_map: ColumnMap, mean: np.ndarray, sd: np.ndarray, reach: np.ndarray, n_pieces: int
) -> tuple[np.ndarray, np.ndarray]:
    even = np.linspace(-1, 1, n_pieces + 1) * reach[:, None]
    knots = (column_map.knots - mean[:, None]) / sd[:, None]
    knots = np.clip(knots, -reach[:, None], reach[:, None])
    ends = np.sort(np.concatenate([even, knots], axis=1), axis=1)
    half = 0.5 * np.diff(ends)[:, :, None]
    t = (half * (1 + POINTS) + ends[:, :-1, None]).reshape(len(mean), -1)
    weight = (half * WEIGHTS).reshape(t.shape) * np.exp(-0.5 * t * t)
    weight /= weight.sum(1, keepdims=True)
    # About the image of the mean, so that large values lose no digits.
    origin = column_map.inverse(mean)
    deviation = column_map.inverse(mean[:, None] + sd[:, None] * t) - origin[:, None]
    shift = (weight * deviation).sum(1)
    return origin + shift, (weight * (deviation - shift[:, None]) ** 2).sum(1)
