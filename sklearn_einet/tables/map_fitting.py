"""Estimation of maps of single columns, and the choice among them."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.polynomial.chebyshev import chebvander
from scipy.special import ndtri

from sklearn_einet.tables.column_maps import (
    ColumnMap,
    QuantileSpline,
    YeoJohnson,
    signed_log,
    transformed,
)
from sklearn_einet.tables.columns import different_values

__all__ = ["KINDS", "fit_maps"]

# The kinds of maps, as the parameter numeric_transform names them.
KINDS = ("yeo-johnson", "quantile-spline")

# How many distinct values of a column are used; if there are more, means of neighbours.
MAX_VALUES = 4096

# How many columns are fitted at a time.
COLUMNS_AT_A_TIME = 32

# Columns with fewer distinct values have no map unless one is requested.
LEAST_VALUES = 10

# Number of parts of the values that are held out in turn to compare maps.
N_FOLDS = 5

# What a map must gain to be chosen, in nats per row: over no map, and a spline over the other
# kind. To both, this number divided by the number of values is added: few values tell little.
LEAST_GAIN, LEAST_GAIN_OF_SPLINE, CAUTION = 0.02, 0.04, 2.0

# Polynomials of this degree in the power approximate logarithms of variances.
DEGREE = 12
NODES = 1 + np.cos(np.pi * (np.arange(DEGREE + 1) + 0.5) / (DEGREE + 1))
POWERS = np.linspace(0, 2, 201)

# The variance of columns with a single value, in the units of z.
LEAST_VARIANCE = 1e-12

# The largest number of knots of a spline, and the least distance between two.
MAX_KNOTS, LEAST_WIDTH = 16, 1e-6

# Least and largest slope of a spline before it is scaled; gaps and ties would exceed them.
SLOPES = (1 / 30, 30.0)


class Values(NamedTuple):
    """The distinct values of a column, in ascending order, and their weights."""

    z: np.ndarray
    weight: np.ndarray

    def fold(self, number: int, held_out: bool) -> Values:
        """Return the held-out values, or the others."""
        which = (np.arange(len(self.z)) % N_FOLDS == number) == held_out
        return Values(self.z[which], self.weight[which])


def fit_maps(z: np.ndarray, weight: np.ndarray, kinds: list[str | None]) -> list[ColumnMap | None]:
    """Return maps of columns.

    Nothing depends on the order of the rows. Weights count as numbers of rows.

    Parameters
    ----------
    z : ndarray of shape (n_samples, n_columns)
        In units of mean 0 and variance 1; NaN where missing.
    weight : ndarray of shape (n_samples,)
    kinds : list of {"auto", "yeo-johnson", "quantile-spline", None}
        The kind for each column. "auto" chooses the map, or none, under which held-out values are
        most likely to be normal.
    """
    result: list[ColumnMap | None] = [None] * len(kinds)
    values = {j: different(z[:, j], weight) for j, kind in enumerate(kinds) if kind is not None}
    wanted = [
        j
        for j, each in values.items()
        if len(each.z) >= (LEAST_VALUES if kinds[j] == "auto" else 2)
    ]
    for start in range(0, len(wanted), COLUMNS_AT_A_TIME):
        columns = wanted[start : start + COLUMNS_AT_A_TIME]
        powers = _PowerFits([values[j] for j in columns])
        for place, j in enumerate(columns):
            if kinds[j] == "auto":
                result[j] = _chosen(values[j], powers, place)
            elif kinds[j] == "yeo-johnson":
                result[j] = powers.map_of(place)
            else:
                result[j] = fit_spline(values[j])
    return result


def different(z: np.ndarray, weight: np.ndarray) -> Values:
    """Return the distinct values of a column, or means of neighbours if there are many."""
    values, counts = different_values(np.where(weight > 0, z, np.nan), weight)
    if len(values) <= MAX_VALUES:
        return Values(values, counts)
    group = np.arange(len(values)) * MAX_VALUES // len(values)
    total = np.bincount(group, counts)
    return Values(np.bincount(group, counts * values) / total, total)


def _chosen(values: Values, powers: _PowerFits, place: int) -> ColumnMap | None:
    """Return the map that is best for held-out values of a column, or None."""
    least, of_spline = np.array([LEAST_GAIN, LEAST_GAIN_OF_SPLINE]) + CAUTION / len(values.z)
    gain = powers.gain[place]
    if spline_log_likelihood(values) - powers.plain[place] > max(least, gain) + of_spline:
        return fit_spline(values)
    return powers.map_of(place) if gain > least else None


class _PowerFits:
    """The transformation of Yeo and Johnson, fitted to columns and compared with no map.

    Logarithms of variances are smooth functions of the power. Polynomials through a few of their
    values give the best power for every column, with each fold left out.

    Parameters
    ----------
    columns : list of Values

    Attributes
    ----------
    plain : ndarray of shape (n_columns,)
        Mean log-densities of held-out values under normal densities without a map.
    gain : ndarray of shape (n_columns,)
        What the map adds to them.
    """

    def __init__(self, columns: list[Values]) -> None:
        n_values = -(-max(len(each.z) for each in columns) // N_FOLDS) * N_FOLDS
        self._z, self._weight = np.zeros((2, len(columns), n_values))
        for row, each in enumerate(columns):
            self._z[row, : len(each.z)], self._weight[row, : len(each.z)] = each
        self._range = [(each.z[0], each.z[-1]) for each in columns]
        self._mass = _by_fold(self._weight)
        self._logs = _by_fold(self._weight * signed_log(self._z))
        best = self._best_powers()
        self.power = best[:, -1]
        sums = self._sums(self.power)
        self.shift, variance = (each[:, -1] for each in _normal(_without_each(self._mass), *sums))
        self.unit = np.sqrt(variance)
        self.plain = self._held_out(np.ones_like(best))
        self.gain = self._held_out(best) - self.plain

    def map_of(self, place: int) -> YeoJohnson:
        """Return the map of a column, linear beyond its values."""
        ends = self._range[place]
        return YeoJohnson(self.power[place], self.shift[place], self.unit[place], *ends)

    def _best_powers(self) -> np.ndarray:
        """Return the most likely powers of the columns, (n_columns, N_FOLDS + 1): with each fold
        left out, and with all."""
        mass, logs = _without_each(self._mass), _without_each(self._logs)
        at_nodes = []
        for node in NODES:
            _, variance = _normal(mass, *self._sums(np.full(len(mass), node)))
            at_nodes.append(np.log(variance))
        log_variance = np.tensordot(AT_POWERS, np.array(at_nodes), 1)
        slope = (POWERS - 1)[:, None, None]
        likelihood = slope * logs - 0.5 * mass * log_variance
        best = likelihood.argmax(0).clip(1, len(POWERS) - 2)
        left, top, right = (
            np.take_along_axis(likelihood, best[None] + step, 0)[0] for step in (-1, 0, 1)
        )
        bend = left + right - 2 * top
        step = np.where(bend < 0, 0.5 * (left - right) / np.where(bend < 0, bend, -1.0), 0.0)
        step = np.where(bend < 0, step, np.sign(right - left))
        return np.clip(POWERS[best] + (POWERS[1] - POWERS[0]) * np.clip(step, -1, 1), 0, 2)

    def _sums(self, power: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return sums of transformed values and their squares, without each fold and in total."""
        u = self._z if (power == 1).all() else transformed(self._z, power[:, None])
        return _without_each(_by_fold(self._weight * u)), _without_each(
            _by_fold(self._weight * u * u)
        )

    def _held_out(self, powers: np.ndarray) -> np.ndarray:
        """Return mean log-densities of held-out values, given the powers without each fold."""
        total = np.zeros(len(powers))
        mass = _without_each(self._mass)
        for fold in range(N_FOLDS):
            power = powers[:, fold]
            first, second = self._sums(power)
            mean, variance = (each[:, fold] for each in _normal(mass, first, second))
            first, second = (each[:, -1] - each[:, fold] for each in (first, second))
            here = self._mass[:, fold]
            square = second - 2 * mean * first + mean**2 * here
            total -= 0.5 * (square / variance + here * np.log(2 * np.pi * variance))
            total += (power - 1) * self._logs[:, fold]
        return total / mass[:, -1]


# Maps values of a polynomial at the nodes to its values at all powers.
AT_POWERS = chebvander(POWERS - 1, DEGREE) @ np.linalg.inv(chebvander(NODES - 1, DEGREE))


def _by_fold(x: np.ndarray) -> np.ndarray:
    """Return sums over the values of every column in each fold, (n_columns, N_FOLDS)."""
    return x.reshape(len(x), -1, N_FOLDS).sum(1)


def _without_each(sums: np.ndarray) -> np.ndarray:
    """Return sums without each fold, and the total in the last place."""
    total = sums.sum(1, keepdims=True)
    return np.concatenate([total - sums, total], axis=1)


def _normal(
    mass: np.ndarray, first: np.ndarray, second: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Return means and variances."""
    mass = np.maximum(mass, np.finfo(np.float64).tiny)
    mean = first / mass
    return mean, np.maximum(second / mass - mean**2, LEAST_VARIANCE)


def spline_log_likelihood(values: Values) -> float:
    """Return the mean log-density of held-out values under splines fitted to the others."""
    total = 0.0
    for fold in range(N_FOLDS):
        spline = fit_spline(values.fold(fold, held_out=False))
        z, weight = values.fold(fold, held_out=True)
        y = spline.forward(z)
        total += float((weight * (spline.log_slope(z) - 0.5 * y * y)).sum())
    return total / float(values.weight.sum()) - 0.5 * float(np.log(2 * np.pi))


def fit_spline(values: Values) -> QuantileSpline:
    """Return a spline that makes a column with at least two distinct values normal.

    Its knots are the means of neighbouring values and of their normal scores, so that single values
    do not bend it. Slopes are kept within bounds. Finally, the mapped values are scaled to mean 0
    and variance 1.
    """
    z, weight = values
    share = (weight.cumsum() - 0.5 * weight) / weight.sum()
    n_groups = int(np.clip(round(1.5 * len(z) ** 0.3), 2, MAX_KNOTS))
    ends = 0.5 - 0.5 * np.cos(np.pi * np.arange(1, n_groups) / n_groups)
    group = np.searchsorted(ends, share)
    if group[0] == group[-1]:
        group = (np.arange(len(z)) >= len(z) // 2).astype(int)
    knots, scores = _group_means(group, weight, z, ndtri(share))
    if (np.diff(knots) < LEAST_WIDTH).any():  # the same values up to rounding
        _, group = np.unique(group, return_inverse=True)
        group = np.append(0, np.diff(knots) >= LEAST_WIDTH).cumsum()[group]
        knots, scores = _group_means(group, weight, z, ndtri(share))
    width = np.diff(knots)
    secant = np.clip(np.diff(scores) / width, *SLOPES)
    y = np.concatenate([[0.0], (secant * width).cumsum()])
    spline = QuantileSpline(knots, y, _knot_slopes(secant, width))
    mapped = spline.forward(z)
    mean = (weight * mapped).sum() / weight.sum()
    sd = np.sqrt((weight * (mapped - mean) ** 2).sum() / weight.sum())
    return QuantileSpline(knots, (y - mean) / sd, spline.slope / sd)


def _group_means(group: np.ndarray, weight: np.ndarray, *values: np.ndarray) -> list[np.ndarray]:
    """Return weighted means of values in the groups that have any."""
    _, group = np.unique(group, return_inverse=True)
    mass = np.bincount(group, weight)
    return [np.bincount(group, weight * each) / mass for each in values]


def _knot_slopes(secant: np.ndarray, width: np.ndarray) -> np.ndarray:
    """Return slopes at knots: geometric means of the adjacent slopes, the nearer weighing more."""
    log, left, right = np.log(secant), width[:-1], width[1:]
    inner = (right * log[:-1] + left * log[1:]) / (left + right)
    return np.exp(np.concatenate([log[:1], inner, log[-1:]]))
