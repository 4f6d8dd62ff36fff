"""Normal distributions."""

from __future__ import annotations

import math
from collections.abc import Sequence
from numbers import Real

import numpy as np
import torch
from torch import Tensor

from sklearn_einet.families.base import ExponentialFamily, weighted_mean
from sklearn_einet.families.normal_intervals import LOG_SQRT_2PI, truncated_draw

__all__ = ["LOG_SQRT_2PI", "Normal"]


class Normal(ExponentialFamily):
    """Normal distributions, T(x) = (x, x**2).

    Parameters
    ----------
    variance_bounds : (float, float) or None, default=None
        Absolute bounds on the variance, least and largest. None: the least variance is a share of
        the column's own.

    Examples
    --------
    >>> import torch
    >>> from sklearn_einet.families import Normal
    >>> phi = torch.tensor([[1.0], [5.0]])  # mean 1, mean square 5
    >>> Normal().variance(phi).item()
    4.0
    """

    name = "normal"
    support = "finite numbers"
    n_statistics = 2

    def __init__(self, variance_bounds: Sequence[float] | None = None) -> None:
        self.variance_bounds = None if variance_bounds is None else _checked(variance_bounds)

    def scaling(self, x: np.ndarray, weight: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        location = weighted_mean(x, weight)
        largest = np.nanmax(np.abs(x - location), axis=0)
        unit = np.where(largest > 0, largest, 1.0)  # the squares of huge numbers overflow
        scale = unit * np.sqrt(weighted_mean(((x - location) / unit) ** 2, weight))
        if self.variance_bounds is not None:
            return location, np.ones_like(scale)  # so that the bounds are in the circuit's units
        # Variances below the level of rounding errors are meaningless.
        scale = np.maximum(scale, 10 * np.finfo(np.float64).eps * np.abs(location))
        return location, np.where(scale < np.finfo(np.float64).tiny, 1.0, scale)

    def interior(self, reference: np.ndarray, weight: float) -> np.ndarray:
        mean, square = reference.T
        return np.stack([mean, np.where(square - mean**2 < 1e-12, mean**2 + 1, square)], axis=1)

    def in_support(self, x: Tensor) -> Tensor:
        return torch.isfinite(x)

    def supports_all(self, x: Tensor) -> bool:
        return math.isfinite(x.sum())

    def statistics(self, x: Tensor) -> Tensor:
        y = self.axis(x)
        return torch.stack([y, y * y], dim=-2)

    def axis(self, x: Tensor) -> Tensor:
        """Return values on the axis on which the distribution is normal."""
        return x

    def from_axis(self, y: Tensor) -> Tensor:
        """Return the inverse of `axis`."""
        return y

    def log_base_measure(self, x: Tensor) -> Tensor:
        return x.new_full((), -LOG_SQRT_2PI).expand(x.shape)

    def natural(self, phi: Tensor) -> Tensor:
        precision = self._spread(phi).reciprocal()
        return torch.stack([phi[..., 0, :] * precision, -0.5 * precision], dim=-2)

    def expectation(self, theta: Tensor) -> Tensor:
        variance = -0.5 / theta[..., 1, :]
        mean = theta[..., 0, :] * variance
        return torch.stack([mean, mean * mean + variance], dim=-2)

    def log_normalizer(self, theta: Tensor) -> Tensor:
        first, second = theta[..., 0, :], theta[..., 1, :]
        return torch.add(torch.log(-2 * second), first * first / second, alpha=0.5).mul(-0.5)

    def to_unconstrained(self, theta: Tensor) -> Tensor:
        log_precision = torch.log(-2 * theta[..., 1, :])
        return torch.stack([theta[..., 0, :] / log_precision.exp(), log_precision], dim=-2)

    def from_unconstrained(self, u: Tensor) -> Tensor:
        precision = u[..., 1, :].exp()
        return torch.stack([u[..., 0, :] * precision, -0.5 * precision], dim=-2)

    def project(self, phi: Tensor, reference: Tensor, min_variance: float | Tensor) -> Tensor:
        mean = phi[..., 0, :]
        spread = self._spread(phi).clamp(*self.limits(reference, min_variance))
        return torch.stack([mean, mean * mean + spread], dim=-2)

    def limits(self, reference: Tensor, min_variance: float | Tensor) -> tuple[Tensor, Tensor]:
        """Return the least and the largest variance that `project` leaves as it is."""
        least = min_variance * self._spread(reference)
        if self.variance_bounds is None:
            return least, torch.full_like(least, torch.inf)
        smallest, largest = self.variance_bounds
        return torch.full_like(least, smallest), torch.full_like(least, largest)

    def sample(self, phi: np.ndarray, random_state: np.random.RandomState) -> np.ndarray:
        mean = phi[..., 0, :]
        return random_state.normal(mean, np.sqrt(phi[..., 1, :] - mean * mean))

    def variance(self, phi: Tensor) -> Tensor:
        return self._spread(phi)

    def mode(self, phi: Tensor) -> Tensor:
        return phi[..., 0, :]

    def cdf(self, x: Tensor, phi: Tensor, complement: bool = False) -> Tensor:
        z = self._standardized(x, phi) * math.sqrt(0.5)
        return 0.5 * torch.special.erfc(z if complement else -z)

    def log_interval(self, low: Tensor, high: Tensor, phi: Tensor) -> Tensor:
        low, high = self._standardized(low, phi), self._standardized(high, phi)
        # Mirror intervals above the mean: below it, logarithms keep all digits.
        above = low > 0
        low, high = torch.where(above, -high, low), torch.where(above, -low, high)
        log_low, log_high = torch.special.log_ndtr(low), torch.special.log_ndtr(high)
        possible = (low < high) & (log_high > -torch.inf)
        share = torch.where(possible, log_low - log_high, 0.0)
        return log_high + torch.log(-torch.expm1(share))

    def truncated_quantile(self, u: Tensor, low: Tensor, high: Tensor, phi: Tensor) -> Tensor:
        start, stop = (self._standardized(end, phi).cpu().numpy() for end in (low, high))
        with np.errstate(all="ignore"):  # infinities are handled
            _, z = truncated_draw(start, stop, u.cpu().numpy())
        y = phi[..., 0, :] + self._spread(phi).sqrt() * torch.from_numpy(z).to(phi)
        return self.from_axis(y).clamp(low, high)

    def _standardized(self, x: Tensor, phi: Tensor) -> Tensor:
        return (self.axis(x) - phi[..., 0, :]) / self._spread(phi).sqrt()

    def _spread(self, phi: Tensor) -> Tensor:
        """Return the variance of the first component of T."""
        mean = phi[..., 0, :]
        return phi[..., 1, :] - mean * mean


def _checked(variance_bounds: Sequence[float]) -> tuple[float, float]:
    is_pair = len(variance_bounds) == 2 and all(isinstance(b, Real) for b in variance_bounds)
    if not is_pair or not 0 < variance_bounds[0] <= variance_bounds[1] < math.inf:
        raise ValueError(
            "variance_bounds must be two numbers, the least and the largest variance, with "
            f"0 < least <= largest < inf; got {variance_bounds!r}."
        )
    return float(variance_bounds[0]), float(variance_bounds[1])
