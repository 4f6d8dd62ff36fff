"""Draws from multivariate normal distributions inside boxes.

A single column is drawn by its inverse distribution function. Several columns are proposed one
after the other from their conditional distributions inside the box, with means shifted to make
proposals resemble the target [1]_. Rows are accepted by the ratio of both densities. Whatever the
shift, the logarithm of the ratio is a concave function of the row, which is largest where the
gradient is 0. With that bound, accepted rows are exact draws.

References
----------
.. [1] Z. I. Botev, "The normal law under linear restrictions: simulation and estimation via minimax
   tilting", Journal of the Royal Statistical Society B 79, 2017.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass

import numpy as np
from scipy.optimize import root

from sklearn_einet.families.normal_intervals import log_interval, truncated_draw, truncated_mean

__all__ = ["draw_inside", "uniforms"]

# Gradients up to this count as 0: the bound is found up to rounding.
STATIONARY = 1e-6

# How far rounding may make a bound too small, as a logarithm.
SLACK = 1e-6

# Draws become approximate if less than this share of so many proposals is accepted.
MANY_PROPOSALS, LEAST_SHARE = 2**22, 2.0**-12

# How many numbers are proposed at a time.
NUMBERS_AT_A_TIME = 2**18


def uniforms(random_state: np.random.RandomState, *shape: int) -> np.ndarray:
    """Draw numbers strictly between 0 and 1."""
    return np.maximum(random_state.random_sample(shape), 2.0**-54)


def draw_inside(
    low: np.ndarray,
    high: np.ndarray,
    mean: np.ndarray,
    covariance: np.ndarray,
    n_samples: int,
    random_state: np.random.RandomState,
) -> np.ndarray:
    """Draw rows of a normal distribution inside a box.

    Parameters
    ----------
    low, high : ndarray of shape (d,)
        Ends of the box, which may be infinite.
    mean : ndarray of shape (d,)
    covariance : ndarray of shape (d, d)
        Positive definite.
    n_samples : int
    random_state : RandomState

    Returns
    -------
    rows : ndarray of shape (n_samples, d)
        Exact draws, unless hardly any proposal is accepted: then there is a warning.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn_einet.families.truncated_normal import draw_inside
    >>> low, covariance = np.array([2.0, 3.0]), np.array([[1.0, 0.9], [0.9, 1.0]])
    >>> high, mean = np.full(2, np.inf), np.zeros(2)
    >>> rows = draw_inside(low, high, mean, covariance, 1000, np.random.RandomState(0))
    >>> rows.min(axis=0) > low, rows.mean(axis=0).round(1)
    (array([ True,  True]), array([3. , 3.3]))
    """
    deviation = np.sqrt(np.diagonal(covariance))
    with np.errstate(all="ignore"):  # infinities are dealt with
        lower, upper = (low - mean) / deviation, (high - mean) / deviation
        if len(mean) == 1:
            _, z = truncated_draw(lower, upper, uniforms(random_state, n_samples))
            z = z[:, None]
        else:
            order = np.argsort(log_interval(lower, upper), kind="stable")
            correlation = covariance / deviation / deviation[:, None]
            factor = np.linalg.cholesky(correlation[np.ix_(order, order)])
            proposal = _Proposal.of(lower[order], upper[order], factor)
            z = np.empty((n_samples, len(mean)))
            z[:, order] = _accepted(proposal, n_samples, random_state) @ factor.T
    return np.clip(mean + deviation * z, low, high)


@dataclass(frozen=True)
class _Proposal:
    """Independent standard normal variables y, drawn one by one; the columns are factor @ y.

    Attributes
    ----------
    low, high : ndarray of shape (d,)
        Bounds of the columns, in units of the variable that each column adds.
    slope : ndarray of shape (d, d)
        Contributions of earlier variables to a column, in these units; strictly lower triangular.
    shift : ndarray of shape (d,)
        Means around which the variables are proposed; 0 for the last one.
    bound : float
        Bound on the logarithm of target over proposal.
    """

    low: np.ndarray
    high: np.ndarray
    slope: np.ndarray
    shift: np.ndarray
    bound: float

    @classmethod
    def of(cls, low: np.ndarray, high: np.ndarray, factor: np.ndarray) -> _Proposal:
        """Choose the shift at the saddle point of the ratio; no shift if that is not found."""
        d, unit = len(low), np.diagonal(factor)
        low, high = low / unit, high / unit
        slope = factor / unit[:, None] - np.eye(d)
        no_shift = cls(low, high, slope, np.zeros(d), float(log_interval(low[:1], high[:1])[0]))
        found = root(no_shift.gradient, np.zeros(2 * (d - 1)))
        y, shift = (np.append(part, 0.0) for part in np.split(found.x, 2))
        gradient = no_shift.gradient(found.x)
        if not np.abs(gradient).max() <= STATIONARY:
            return no_shift  # only the first probability is certain to be below 1
        tilted = cls(low, high, slope, shift, np.inf)
        bound = tilted.log_ratio(y[None])[0]
        if not np.isfinite(bound):
            return no_shift
        return cls(low, high, slope, shift, float(bound) + SLACK)

    def log_ratio(self, y: np.ndarray) -> np.ndarray:
        """Return the logarithm of target over proposal of rows (n, d), up to the target's total."""
        moved = y @ self.slope.T + self.shift
        inside = log_interval(self.low - moved, self.high - moved)
        result: np.ndarray = (inside + self.shift * (0.5 * self.shift - y)).sum(axis=1)
        return result

    def gradient(self, point: np.ndarray) -> np.ndarray:
        """Return the derivatives of the log-ratio with respect to rows and shifts, for all
        variables except the last, at a row and a shift."""
        y, shift = (np.append(part, 0.0) for part in np.split(point, 2))
        moved = self.slope @ y + shift
        mean = truncated_mean(self.low - moved, self.high - moved)
        by_row = self.slope.T @ mean - shift
        by_shift = mean + shift - y
        return np.concatenate([by_row[:-1], by_shift[:-1]])

    def draw(self, n: int, random_state: np.random.RandomState) -> tuple[np.ndarray, np.ndarray]:
        """Draw rows, (n, d), and their log-ratios."""
        y = np.zeros((n, len(self.low)))
        log_ratio = np.zeros(n)
        u = uniforms(random_state, len(self.low), n)
        for k, shift in enumerate(self.shift):
            moved = y[:, :k] @ self.slope[k, :k] + shift
            log_inside, z = truncated_draw(self.low[k] - moved, self.high[k] - moved, u[k])
            y[:, k] = z + shift
            log_ratio += log_inside + shift * (0.5 * shift - y[:, k])
        return y, log_ratio


def _accepted(
    proposal: _Proposal, n_samples: int, random_state: np.random.RandomState
) -> np.ndarray:
    """Return accepted rows; if hardly any are, some proposed rows chosen by their ratios."""
    accepted: list[np.ndarray] = []
    n_left, n_proposed, n_accepted, bound = n_samples, 0, 0, proposal.bound
    largest = NUMBERS_AT_A_TIME // len(proposal.low)
    while n_left > 0:
        rate = (n_accepted + 1) / (n_proposed + 1)
        step = int(min(largest, max(64, 1.2 * n_left / rate)))
        rows, log_ratio = proposal.draw(step, random_state)
        if log_ratio.max() > bound:  # by more than rounding: such rows would be too rare
            accepted, n_left, bound = [], n_samples, float(log_ratio.max()) + SLACK
        kept = rows[np.log(uniforms(random_state, step)) < log_ratio - bound]
        accepted.append(kept[:n_left])
        n_left -= len(accepted[-1])
        n_proposed, n_accepted = n_proposed + step, n_accepted + len(kept)
        is_hopeless = n_proposed > MANY_PROPOSALS and n_accepted < LEAST_SHARE * n_proposed
        if n_left > 0 and is_hopeless:
            accepted.append(_resampled(rows, log_ratio, n_left, random_state))
            break
    return np.concatenate(accepted)


def _resampled(
    rows: np.ndarray, log_ratio: np.ndarray, n: int, random_state: np.random.RandomState
) -> np.ndarray:
    """Return some of the rows chosen by their ratios, with a warning."""
    warnings.warn(
        "Columns depend so closely on each other, and so few rows lie inside the ranges, that "
        "draws are approximate: they are chosen from a sample.",
        UserWarning,
        stacklevel=2,
    )
    weight = np.exp(log_ratio - log_ratio.max())
    return rows[random_state.choice(len(rows), n, p=weight / weight.sum())]
