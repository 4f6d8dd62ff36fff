"""Probabilities of boxes under multivariate normal distributions.

One bounded column has a closed form. For two, the conditional probability of one is integrated over
the other, by Gauss-Legendre rules on pieces that are adapted to the integrand. For three or more,
the variables are separated [1]_: one column after the other is drawn from its conditional
distribution inside the box, the most restrictive column first [2]_, and the probabilities of being
inside are multiplied. Randomly shifted lattices [3]_ replace random draws, and the spread over the
shifts gives the error.

References
----------
.. [1] A. Genz, "Numerical Computation of Multivariate Normal Probabilities", Journal of
   Computational and Graphical Statistics 1, 1992.
.. [2] A. Genz and F. Bretz, "Computation of Multivariate Normal and t Probabilities", Springer,
   2009, sections 2.1.3 (singular covariances) and 4.1.3 (the order of columns).
.. [3] F. J. Hickernell, H. S. Hong, P. L'Ecuyer and C. Lemieux, "Extensible Lattice Sequences for
   Quasi-Monte Carlo Quadrature", SIAM Journal on Scientific Computing 22, 2000.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from sklearn.utils import gen_batches

from sklearn_einet.families.normal import LOG_SQRT_2PI
from sklearn_einet.families.normal_intervals import (
    log_interval,
    truncated_draw,
    truncated_mean,
)

__all__ = ["LARGE_ERROR", "log_box_probability"]

#: Callers should warn about errors from this one on.
LARGE_ERROR = 1e-5

# Standard error of a probability at which the integration of three or more columns ends.
TOLERANCE = 1e-6

# Shifts of the lattice, and its first and largest number of points.
SHIFTS, FIRST_POINTS, MOST_POINTS = 8, 2**8, 2**15

# The lattice's generating vector consists of powers of this number; see `_points`.
LATTICE_BASE = 17797

# A column is a function of others if its variance given these is below this share of its own.
SINGULAR = 1e-12

# How far the logarithm of a density may fall below its peak before the rest is negligible.
NEGLIGIBLE = 42.0

# Nodes of a Gauss-Legendre rule, and pieces of equal length. Pieces also end where the conditional
# probability is so many standard deviations from its step.
NODES, WEIGHTS = np.polynomial.legendre.leggauss(16)
EQUAL_PIECES = np.linspace(0, 1, 9)
AROUND_STEPS = np.array([-8.0, -4.0, 0.0, 4.0, 8.0])

# How many numbers are held at a time.
NUMBERS_AT_A_TIME = 2**17


def log_box_probability(
    low: np.ndarray,
    high: np.ndarray,
    mean: np.ndarray,
    covariance: np.ndarray,
    relative_tolerance: float = np.inf,
) -> tuple[np.ndarray, np.ndarray]:
    """Return log P(low <= X <= high) in nats for every box and every distribution.

    Parameters
    ----------
    low, high : ndarray of shape (n_boxes, d)
        Infinite for free sides. A column without bounds is integrated out exactly.
    mean : ndarray of shape (K, d)
    covariance : ndarray of shape (K, d, d)
        Variances must be positive; the correlations may be singular.
    relative_tolerance : float, default=inf
        A bound on the standard error as a share of the probability, which must also be met.

    Returns
    -------
    log_probability : ndarray of shape (n_boxes, K)
        -inf for boxes without volume. For one or two bounded columns, probabilities have a relative
        error of about 1e-10 or less, even far in the tails. The same boxes always have the same
        result.
    error : ndarray of shape (n_boxes, K)
        Standard errors of the probabilities (not of their logarithms) for three or more bounded
        columns: at most 1e-6, unless that would take too many points, for example where columns are
        nearly functions of each other. 0 for fewer columns.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn_einet.families.normal_boxes import log_box_probability
    >>> mean, covariance = np.zeros((1, 2)), np.array([[[1.0, 0.5], [0.5, 1.0]]])
    >>> inf = np.inf
    >>> log_probability, _ = log_box_probability(
    ...     np.array([[0, 0], [0, -inf], [1, 1]]), np.full((3, 2), inf), mean, covariance
    ... )
    >>> np.exp(log_probability[:, 0]).round(4)
    array([0.3333, 0.5   , 0.0625])
    """
    n_boxes, k = len(low), len(mean)
    log_probability, error = np.zeros((2, n_boxes, k))
    is_bounded = ~(np.isneginf(low) & np.isposinf(high))
    is_empty = (low >= high).any(axis=1)
    log_probability[is_empty] = -np.inf
    deviation = np.sqrt(np.einsum("kii->ki", covariance))
    correlation = covariance / deviation[:, :, None] / deviation[:, None, :]
    patterns, pattern = np.unique(is_bounded, axis=0, return_inverse=True)
    for number, mask in enumerate(patterns):
        columns = np.flatnonzero(mask)
        boxes = np.flatnonzero((pattern.ravel() == number) & ~is_empty)
        if not len(columns) or not len(boxes):
            continue
        among = correlation[:, columns[:, None], columns].clip(-1, 1)
        for some in gen_batches(len(boxes), max(1, NUMBERS_AT_A_TIME // (k * len(columns)))):
            here = boxes[some]
            lower, upper = (
                (end[np.ix_(here, columns)][:, None] - mean[:, columns]) / deviation[:, columns]
                for end in (low, high)
            )
            values = _standardized(
                lower.reshape(-1, len(columns)),
                upper.reshape(-1, len(columns)),
                np.tile(among, (len(here), 1, 1)),
                relative_tolerance,
            )
            log_probability[here], error[here] = (value.reshape(-1, k) for value in values)
    return np.minimum(log_probability, 0.0), error


def _standardized(
    low: np.ndarray, high: np.ndarray, correlation: np.ndarray, relative_tolerance: float
) -> tuple[np.ndarray, np.ndarray]:
    """Return log-probabilities and errors of boxes of standard normal columns.

    Parameters
    ----------
    low, high : ndarray of shape (n, d)
    correlation : ndarray of shape (n, d, d)
    """
    with np.errstate(all="ignore"):  # infinities are dealt with
        if low.shape[1] == 1:
            return log_interval(low[:, 0], high[:, 0]), np.zeros(len(low))
        if low.shape[1] == 2:
            step = NUMBERS_AT_A_TIME // (20 * len(NODES))
            parts = [
                _log_bivariate(low[some], high[some], correlation[some, 0, 1])
                for some in gen_batches(len(low), step)
            ]
            return np.concatenate(parts), np.zeros(len(low))
        return _integrated(_Steps.of(low, high, correlation), relative_tolerance)


def _log_bivariate(low: np.ndarray, high: np.ndarray, correlation: np.ndarray) -> np.ndarray:
    """Return log-probabilities of boxes of two columns; (n, 2) twice, and (n,).

    The integrand over the first column is log-concave. It has the shape of exp(-q(x) / 2), where
    q(x) is the least Mahalanobis distance of a point of the box whose first column is x. It is that
    of x alone or, if the other column's conditional mean is outside of the box, a parabola.
    """
    turned = correlation < 0
    ends = np.array([low[:, 1], high[:, 1]])
    bottom, top = np.where(turned, -ends[::-1], ends)
    r = np.maximum(np.abs(correlation), 1e-300)
    s = np.sqrt(np.maximum((1 - r) * (1 + r), SINGULAR**2))
    peak = np.clip(r * np.clip(0.0, bottom, top), low[:, 0], high[:, 0])
    outside = np.maximum(np.maximum(bottom - r * peak, r * peak - top), 0) / s
    least = peak**2 + outside**2
    start, stop = -_reach(least, -top, -bottom, r, s), _reach(least, bottom, top, r, s)
    start, stop = np.maximum(start, low[:, 0]), np.minimum(stop, high[:, 0])
    edges = [start + (stop - start) * share for share in EQUAL_PIECES]
    edges += [(end + z * s) / r for end in (bottom, top) for z in AROUND_STEPS]
    edges_ = np.sort(np.clip(np.array(edges), start, stop), axis=0)
    half = 0.5 * np.diff(edges_, axis=0)
    piece, which = np.nonzero(half > 0)
    half = half[piece, which]
    x = (edges_[piece, which] + half)[:, None] + half[:, None] * NODES
    r, s, bottom, top, least_ = (each[which, None] for each in (r, s, bottom, top, least))
    inner = log_interval((bottom - r * x) / s, (top - r * x) / s)
    inner += 0.5 * (least_ - x * x)
    total = np.bincount(which, half * (np.exp(inner) @ WEIGHTS), len(least))
    result = np.log(total) - 0.5 * least - LOG_SQRT_2PI
    return np.where(np.isfinite(least), result, -np.inf)


def _reach(
    least: np.ndarray, bottom: np.ndarray, top: np.ndarray, r: np.ndarray, s: np.ndarray
) -> np.ndarray:
    """Return the largest x at which the density is not negligible."""
    most = least + 2 * NEGLIGIBLE
    nearest = np.clip(r * np.sqrt(most), bottom, top)
    # There, the other column is at an end of the box or inside; both cases have the same formula.
    return r * nearest + s * np.sqrt(np.maximum(most - nearest**2, 0))


class _Steps(NamedTuple):
    """Boxes with columns in the order of integration.

    Column j is the sum of the independent variables y_0, ..., y_{n-1}, n the last one that it
    depends on, times its row of the factor. It bounds y_n, given those before.

    Attributes
    ----------
    low, high : ndarray of shape (n, d)
    factor : ndarray of shape (n, d, d)
        Of the correlation matrix: its Cholesky factor where it is not singular.
    last : ndarray of int of shape (n, d)
        The variable that each column bounds; ascending.
    """

    low: np.ndarray
    high: np.ndarray
    factor: np.ndarray
    last: np.ndarray

    @classmethod
    def of(cls, low: np.ndarray, high: np.ndarray, correlation: np.ndarray) -> _Steps:
        """Choose the order: next comes the column that is least likely to be inside, given the
        expected values of the columns before it."""
        n, d = low.shape
        items = np.arange(n)
        factor, last = np.zeros((n, d, d)), np.full((n, d), d)
        center, variance = np.zeros((n, d)), np.ones((n, d))
        for i in range(d):
            left = last == d
            deviation = np.sqrt(np.where(left, variance, 1))
            ends = [(end - center) / deviation for end in (low, high)]
            chosen = np.where(left, log_interval(*ends), np.inf).argmin(axis=1)
            before = np.einsum("njm,nm->nj", factor[:, :, :i], factor[items, chosen, :i])
            column = correlation[items, :, chosen] - before
            column = np.where(left, column / deviation[items, chosen, None], 0)
            factor[:, :, i] = column
            expected = truncated_mean(*(end[items, chosen] for end in ends))
            center += column * expected[:, None]
            variance = variance - column**2
            last[left & (variance <= SINGULAR)] = i
            last[items[left.any(axis=1)], chosen[left.any(axis=1)]] = i
        order = np.argsort(last, axis=1, kind="stable")
        return cls(
            np.take_along_axis(low, order, axis=1),
            np.take_along_axis(high, order, axis=1),
            np.take_along_axis(factor, order[:, :, None], axis=1),
            np.take_along_axis(last, order, axis=1),
        )

    def some(self, items: np.ndarray) -> _Steps:
        """Return some of the boxes."""
        return _Steps(*(each[items] for each in self))

    def log_values(self, points: np.ndarray) -> np.ndarray:
        """Return logarithms of the integrand, (n, n_points), at points of the unit cube,
        (n_points, d - 1)."""
        n, d = self.low.shape
        total = np.zeros((n, len(points)))
        y: list[np.ndarray] = []
        for i in range(d):
            low, high = self._bounds(i, y, len(points))
            if i == d - 1:
                return total + log_interval(low, high)
            log_inside, drawn = truncated_draw(low, high, points[:, i])
            total += log_inside
            y.append(drawn)
        raise AssertionError("there are columns")

    def _bounds(self, i: int, y: list[np.ndarray], n_points: int) -> tuple[np.ndarray, np.ndarray]:
        """Return the bounds of a variable, given the variables before it."""
        low = np.full((len(self.low), n_points), -np.inf)
        high = -low
        for j in np.flatnonzero((self.last == i).any(axis=0)):
            known = sum((self.factor[:, j, m, None] * y[m] for m in range(i)), np.zeros(1))
            slope = np.where(self.last[:, j] == i, self.factor[:, j, i], np.nan)[:, None]
            one = (self.low[:, j, None] - known) / slope
            other = (self.high[:, j, None] - known) / slope
            # NaN means no bound: here, the column of a box bounds another variable.
            low = np.fmax(low, np.fmin(one, other))
            high = np.fmin(high, np.fmax(one, other))
        return low, high


def _integrated(steps: _Steps, relative_tolerance: float) -> tuple[np.ndarray, np.ndarray]:
    """Return log-probabilities and standard errors, from as many points as needed."""
    n, d = steps.low.shape
    shifts = np.random.RandomState(0).random_sample((SHIFTS, 1, d - 1))
    sums = np.full((n, SHIFTS), -np.inf)
    log_mean, error = np.full(n, -np.inf), np.zeros(n)
    active, n_points = np.arange(n), 0
    while len(active) and n_points < MOST_POINTS:
        points = _points(n_points, d - 1)
        n_points += len(points)
        for some, values in _summed(steps, active, points, shifts):
            sums[some] = np.logaddexp(sums[some], values)
        means = sums[active] - np.log(n_points)
        log_mean[active] = np.logaddexp.reduce(means, axis=1) - np.log(SHIFTS)
        error[active] = np.exp(means).std(axis=1, ddof=1) / np.sqrt(SHIFTS)
        relative = np.exp(np.minimum(log_mean, 0)) * relative_tolerance
        active = active[error[active] > np.fmin(TOLERANCE, relative[active])]
    return log_mean, error


def _summed(
    steps: _Steps, items: np.ndarray, points: np.ndarray, shifts: np.ndarray
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yield some boxes at a time, with logarithms of sums over points for each shift."""
    per_step = max(1, NUMBERS_AT_A_TIME // (2 * SHIFTS))
    for part in gen_batches(len(points), per_step):
        shifted = (points[part] + shifts) % 1.0
        # Make the integrand periodic: lattices converge faster on a circle.
        folded = 1 - np.abs(2 * shifted - 1)
        folded = np.clip(folded, 1e-16, 1 - 1e-16).reshape(-1, points.shape[1])
        for block in gen_batches(len(items), max(1, per_step // (part.stop - part.start))):
            some = items[block]
            values = steps.some(some).log_values(folded).reshape(len(some), SHIFTS, -1)
            largest = values.max(axis=2, keepdims=True)
            largest = np.where(np.isfinite(largest), largest, 0.0)
            yield some, np.log(np.exp(values - largest).sum(axis=2)) + largest[:, :, 0]


def _points(n_before: int, n_dims: int) -> np.ndarray:
    """Return points that double a lattice, or the first points if there are none yet."""
    n = 2 * n_before or FIRST_POINTS
    index = np.arange(1 if n_before else 0, n, 2 if n_before else 1)
    generator = [pow(LATTICE_BASE, power, MOST_POINTS) for power in range(n_dims)]
    return (index[:, None] * np.array(generator) % n) / n
