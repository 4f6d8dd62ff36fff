"""Quantiles inside intervals: by the share of an interval's probability below a value."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

__all__ = ["bisected", "tails_at"]

# Doublings of a step away from a finite end, and halvings of an interval.
MOST_DOUBLINGS, MOST_HALVINGS = 1100, 110

Cdf = Callable[..., Tensor]


def bisected(
    log_below: Callable[[Tensor], Tensor],
    level: Tensor,
    low: Tensor,
    high: Tensor,
    start: Tensor,
    is_discrete: bool,
) -> Tensor:
    """Return the least values in intervals at which an ascending function reaches a level.

    Parameters
    ----------
    log_below : callable
        Maps values to those of the function, which reaches the level at the upper ends.
    level, low, high : Tensor of shape (n,)
        Ends may be infinite.
    start : Tensor of shape (n,)
        Finite values from which to search if an end is infinite.
    is_discrete : bool
        Whether values are integers; otherwise, results are exact up to rounding.
    """
    under = torch.ceil(low) - 1 if is_discrete else low
    over = torch.floor(high) if is_discrete else high
    start = torch.minimum(torch.maximum(torch.floor(start), under), over)
    start = torch.where(torch.isfinite(start), start, torch.where(over < 0, over, under))
    under = _widened(lambda x: log_below(x) >= level, under, start, -1)
    over = _widened(lambda x: log_below(x) < level, over, torch.maximum(start, under), 1)
    for _ in range(MOST_HALVINGS):
        middle = under + 0.5 * (over - under)
        middle = torch.floor(middle) if is_discrete else middle
        inside = (under < middle) & (middle < over)
        if not bool(inside.any()):
            break
        reached = log_below(middle) >= level
        over = torch.where(inside & reached, middle, over)
        under = torch.where(inside & ~reached, middle, under)
    return over


def _widened(goes_on: Callable[[Tensor], Tensor], end: Tensor, start: Tensor, sign: int) -> Tensor:
    """Return finite ends: infinite ones are searched from the start in doubling steps."""
    is_free = torch.isinf(end)
    if not bool(is_free.any()):
        return end
    end, step = torch.where(is_free, start + sign, end), 1.0
    for _ in range(MOST_DOUBLINGS):
        left = is_free & goes_on(end) & torch.isfinite(end + sign * step)
        if not bool(left.any()):
            break
        end, step = torch.where(left, end + sign * step, end), 2 * step
    return end


def tails_at(
    cdf: Cdf, u: Tensor, low: Tensor, high: Tensor, phi: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """Return probabilities below and beyond the u-quantiles of intervals.

    Parameters
    ----------
    cdf : callable
        As in `ExponentialFamily`.
    u, low, high : Tensor of shape (..., n)
    phi : Tensor of shape (..., n_statistics, n)

    Returns
    -------
    below, beyond : Tensor of shape (..., n)
    is_upper : Tensor of bool of shape (..., n)
        Whether `beyond` has all digits, rather than `below`.
    """
    below, beyond = cdf(low, phi), cdf(low, phi, complement=True)
    is_upper = beyond <= 0.5
    lower = below + u * (cdf(high, phi) - below)
    upper = beyond - u * (beyond - cdf(high, phi, complement=True))
    return lower, upper, is_upper
