"""Mean and variance of mapped normal variables."""

from __future__ import annotations

import math
from bisect import bisect
from itertools import pairwise

import numpy as np

from sklearn_einet.circuit.block_rows import slices
from sklearn_einet.tables.column_maps import ColumnMap

__all__ = ["mapped_moments"]

# Standard deviations beyond which a normal density adds nothing, and beyond which it underflows.
REACH, LARGEST_REACH = 8.0, 38.0

# The largest width of a piece of the axis, in standard deviations, and the points within each.
# They give the variance of a normal density itself to within 1e-9.
WIDTH = 2.5
POINTS, WEIGHTS = np.polynomial.legendre.leggauss(8)

# How many points are evaluated at a time, so that they stay in the cache.
POINTS_AT_A_TIME = 2**15

# What a group's own points cost, in pieces of one density's axis, and how wide a group may be, in
# approximate standard deviations.
COST_OF_GROUP = 300.0
LEAST_SPAN, LARGEST_SPAN = 2.0, 500.0


def mapped_moments(
    column_map: ColumnMap, mean: np.ndarray, variance: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Return E[z] and Var[z], where the image y of z under the map is normal.

    Uses Gauss-Legendre quadrature between the map's knots. Densities of similar widths share the
    points, so that the map is inverted only a few times.

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
    result = np.full((2, mean.size), np.nan)
    # Parameters near the ends of the range of floats overflow on the way.
    with np.errstate(over="ignore", invalid="ignore"):
        order, groups = _similar(center, sd)
        if groups:
            result[:, order] = _in_groups(column_map, center[order], sd[order], groups)
    is_point = sd == 0  # by rounding
    if is_point.any():
        result[:, is_point] = column_map.inverse(center[is_point]), np.zeros(is_point.sum())
    return result[0].reshape(mean.shape), result[1].reshape(mean.shape)


def _similar(center: np.ndarray, sd: np.ndarray) -> tuple[np.ndarray, list[slice]]:
    """Return an order of densities, and groups of similar ones as slices of it.

    Standard deviations within a group differ by a factor below 2. Means are in ascending order,
    and groups are chosen for the least work: each group needs points of its own, and wide groups
    need points far from most means. Densities whose parameters overflowed, or of width 0, are left
    out.
    """
    octave = np.frexp(sd)[1]
    order = np.lexsort((center, octave))
    order = order[(np.isfinite(center) & np.isfinite(sd) & (sd > 0))[order]]
    octave, center = octave[order], center[order]
    is_first = np.ones(len(order), dtype=bool)
    is_first[1:] = octave[1:] != octave[:-1]
    starts = np.flatnonzero(is_first)
    of_octave = np.cumsum(is_first) - 1
    n = np.diff(starts, append=len(order))
    beyond = np.ldexp(center - center[starts][of_octave], -octave)
    span = np.sqrt(COST_OF_GROUP * WIDTH * beyond[starts + n - 1] / n)
    number = beyond // span.clip(LEAST_SPAN, LARGEST_SPAN)[of_octave]
    is_first[1:] |= number[1:] != number[:-1]
    ends = [*np.flatnonzero(is_first).tolist(), len(order)]
    return order, [slice(*pair) for pair in pairwise(ends)]


def _in_groups(
    column_map: ColumnMap, center: np.ndarray, sd: np.ndarray, groups: list[slice]
) -> np.ndarray:
    """Return E[z] and Var[z] of densities in groups of similar ones, (2, n)."""
    origin, unit = (each[[group.start for group in groups]] for each in (center, sd))
    last = center[[group.stop - 1 for group in groups]]
    pieces = _pieces(column_map, origin.tolist(), last.tolist(), unit.tolist())
    n_pieces = np.array([len(ends) - 1 for ends in pieces])
    ends = np.concatenate(pieces)
    half = 0.5 * np.delete(np.diff(ends), n_pieces.cumsum()[:-1] + np.arange(len(groups) - 1))
    start = np.concatenate([ends[:-1] for ends in pieces])
    offset = (half[:, None] * (1 + POINTS) + start[:, None]).ravel()
    n_points = len(POINTS) * n_pieces
    values = column_map.inverse(np.repeat(origin, n_points) + offset)
    # In a unit of the group, so that products with squares do not overflow.
    weight = ((half / np.repeat(unit, n_pieces))[:, None] * WEIGHTS).ravel()
    scale = math.sqrt(0.5) / sd
    shift = (center - np.repeat(origin, [group.stop - group.start for group in groups])) * scale
    result, stop = np.empty((2, len(center))), 0
    for group, n in zip(groups, n_points.tolist(), strict=True):
        points = slice(stop, stop := stop + n)
        own = offset[points], weight[points], values[points]
        for part in slices(group.stop - group.start, max(1, POINTS_AT_A_TIME // n)):
            rows = slice(group.start + part.start, group.start + part.stop)
            result[:, rows] = _quadrature(scale[rows], shift[rows], *own)
    return result


def _pieces(
    column_map: ColumnMap, origins: list[float], lasts: list[float], units: list[float]
) -> list[np.ndarray]:
    """Return where the pieces of each group's axis end, relative to the group's first mean.

    Parameters
    ----------
    column_map : ColumnMap
    origins, lasts : list of float
        The first and the last mean of each group.
    units : list of float
        A standard deviation of each.
    """
    knots, growth, result = column_map.knots, column_map.growth, []
    listed = knots.tolist()
    for origin, last, unit in zip(origins, lasts, units, strict=True):
        largest = math.ldexp(1.0, math.frexp(unit)[1])
        # The square of the inverse times the density may have its peak far from the mean.
        reach = min(REACH + 2 * growth * largest, LARGEST_REACH) * largest
        # Pieces end at multiples of their width, whatever other densities are in the group, so that
        # the result for one does not depend on the rest. The least deviation sets their size.
        piece = 0.5 * WIDTH * largest
        start = math.fmod(origin, piece)
        low = math.floor((start - reach) / piece)
        high = math.ceil((start + (last - origin) + reach) / piece)
        ends = piece * np.arange(low, high + 1) - start
        inner = slice(bisect(listed, origin + ends[0]), bisect(listed, origin + ends[-1]))
        if inner.start < inner.stop:
            ends = np.sort(np.concatenate([ends, (knots[inner] - origin).clip(ends[0], ends[-1])]))
        result.append(ends)
    return result


def _quadrature(
    scale: np.ndarray, shift: np.ndarray, offset: np.ndarray, weight: np.ndarray, value: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Return means and variances of values at points under normal densities.

    Parameters
    ----------
    scale : ndarray of shape (n_densities,)
        Factors that scale distances so that the density is exp(-x**2).
    shift : ndarray of shape (n_densities,)
        The means, times these factors.
    offset, weight, value : ndarray of shape (n_points,)
        The points, their weights in an integral, and the values.
    """
    density = np.multiply.outer(scale, offset)
    density -= shift[:, None]
    density *= density
    np.negative(density, out=density)
    np.exp(density, out=density)
    density *= weight
    total = density.sum(axis=1)
    mean = density @ value / total
    deviation = value - mean[:, None]
    # Sums of large values lose digits that sums of small distances keep.
    mean += np.einsum("ij,ij->i", density, deviation) / total
    deviation *= deviation
    return mean, np.einsum("ij,ij->i", density, deviation) / total
