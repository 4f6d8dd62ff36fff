"""Normal variables that are only known up to a cell."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from sklearn_einet.families.normal_intervals import LOG_SQRT_2PI

__all__ = ["FARTHEST", "normal_cells"]

# Ends of cells are at most this far away, so that their squares do not overflow.
FARTHEST = 1e150

SQRT_HALF, SQRT_HALF_PI, SQRT_2PI = math.sqrt(0.5), math.sqrt(math.pi / 2), math.sqrt(2 * math.pi)


def normal_cells(
    low: Tensor, high: Tensor, mean: Tensor, deviation: Tensor
) -> tuple[Tensor, Tensor]:
    """Return log-probabilities of cells, and the expected statistics of variables in them.

    Probabilities are differences of tails relative to the density at the end of the cell that is
    nearest to the mean: they keep their digits however far out the cell is.

    Parameters
    ----------
    low, high : Tensor
        Ends of the cells, at most `FARTHEST`, low < high.
    mean, deviation : Tensor
        All four broadcast with each other.

    Returns
    -------
    log_p : Tensor
    moments : Tensor of shape (2, ...)
        Expectations of the variable and of its square, given the cell.

    Examples
    --------
    >>> import torch
    >>> from sklearn_einet.families.normal_cells import normal_cells
    >>> ends = torch.tensor([-1.0, 0.0, 1e4, 1.0001e4], dtype=torch.float64)
    >>> log_p, (mean, _) = normal_cells(ends[:-1], ends[1:], torch.zeros(()), torch.ones(()))
    >>> log_p.exp().round(decimals=4)[:2].tolist(), mean.round(decimals=4).tolist()
    ([0.3413, 0.5], [-0.4599, 0.7979, 10000.0001])
    """
    start, stop = (low - mean) / deviation, (high - mean) / deviation
    to_start, to_stop = start.abs(), stop.abs()
    around = (start < 0) & (stop > 0)
    nearest = torch.where(around, 0.0, torch.minimum(to_start, to_stop))
    # Densities at both ends, relative to the largest one in the cell.
    at_start = (0.5 * (nearest - to_start) * (nearest + to_start)).exp()
    at_stop = (0.5 * (nearest - to_stop) * (nearest + to_stop)).exp()
    tails = [
        SQRT_HALF_PI * torch.special.erfcx(SQRT_HALF * distance) * density
        for distance, density in ((to_start, at_start), (to_stop, at_stop))
    ]
    mass = torch.where(around, SQRT_2PI - tails[0] - tails[1], (tails[0] - tails[1]).abs())
    mass = mass.clamp_min(torch.finfo(mass.dtype).tiny)
    log_p = mass.log() - (0.5 * nearest * nearest + LOG_SQRT_2PI)
    first = ((at_start - at_stop) / mass).clamp(start, stop)
    variance = 1 + (start * at_start - stop * at_stop) / mass - first * first
    # Farther out, differences are rounding errors.
    variance = variance.clamp(torch.zeros_like(variance), (0.25 * (stop - start) ** 2).clamp_max(1))
    inside = mean + deviation * first
    square = inside * inside + deviation * deviation * variance
    return log_p, torch.stack([inside, square])
