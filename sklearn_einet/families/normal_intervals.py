"""Standard normal variables in intervals, however far out."""

from __future__ import annotations

import math

import numpy as np
from scipy.special import log_ndtr, ndtr, ndtri, ndtri_exp

__all__ = ["LOG_SQRT_2PI", "log_interval", "truncated_draw", "truncated_mean"]

LOG_SQRT_2PI = 0.5 * math.log(2 * math.pi)

# Below this, distribution functions are computed by their logarithms.
FAR_BELOW = -35.0

# Shares are rounded to this instead of 1, whose quantile is infinite.
LARGEST_SHARE = 1 - 2.0**-53


def log_interval(low: np.ndarray, high: np.ndarray) -> np.ndarray:
    """Return log P(low <= X <= high) of a standard normal X."""
    # Mirror intervals above 0: below it, logarithms keep all digits.
    above = low > 0
    low, high = np.where(above, -high, low), np.where(above, -low, high)
    log_low, log_high = log_ndtr(low), log_ndtr(high)
    possible = (low < high) & (log_high > -np.inf)
    share = np.where(possible, log_low - log_high, 0.0)
    return np.asarray(log_high + np.log(-np.expm1(share)))


def truncated_mean(low: np.ndarray, high: np.ndarray) -> np.ndarray:
    """Return means of standard normal variables in intervals, approximately."""
    log_inside = log_interval(low, high)
    densities = (np.exp(-0.5 * end**2 - LOG_SQRT_2PI - log_inside) for end in (low, high))
    mean = -np.subtract(*reversed(list(densities)))
    # Far out, differences are rounding errors: there, the mean is the nearest end.
    nearest = np.clip(0.0, low, high)
    usable = np.isfinite(mean) & (np.abs(nearest) < -FAR_BELOW)
    return np.clip(np.where(usable, mean, nearest), low, high)


def truncated_draw(
    low: np.ndarray, high: np.ndarray, u: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Return log-probabilities of intervals, and the u-quantiles inside."""
    above = low > 0
    bottom, top = np.where(above, -high, low), np.where(above, -low, high)
    u = np.where(above, 1 - u, u)
    possible = bottom < top
    if (top > FAR_BELOW).all():
        below = ndtr(bottom)
        inside = np.where(possible, ndtr(top) - below, 0.0)
        share = np.minimum(below + u * inside, LARGEST_SHARE)
        drawn, log_inside = ndtri(share), np.log(inside)
    else:
        log_inside = log_interval(bottom, top)
        log_below = log_ndtr(bottom) + np.log1p(-u)
        drawn = ndtri_exp(np.logaddexp(log_below, log_ndtr(top) + np.log(u)))
    drawn = np.where(possible, np.clip(drawn, bottom, top), 0.0)
    return log_inside, np.where(above, -drawn, drawn)
