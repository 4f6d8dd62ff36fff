"""Normal distributions on an axis that becomes logarithmic far out."""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor

from sklearn_einet.families.normal import LOG_SQRT_2PI, Normal

__all__ = ["SymlogNormal"]

# Standard deviations beyond which a normal density has no mass in double precision.
NO_MASS = 39.0

# Logarithm of the largest moment and draw, in thresholds: far below overflow.
LARGEST_EXPONENT = 345.0


class SymlogNormal(Normal):
    """Normal distributions of g(x), T(x) = (g(x), g(x)**2), for columns with far-out values.

    g is the symmetric logarithm: x up to the threshold c on both sides of 0, and
    sign(x) c (1 + log(abs(x) / c)) beyond, with a continuous slope at c. A value of a billion is
    some hundred units away, so that neither variances nor rounding errors grow with it.

    Parameters
    ----------
    threshold : float, default=30.0
        c, in the units of the circuit, which are about the standard deviation of the values that
        are not far out.

    Examples
    --------
    >>> import torch
    >>> from sklearn_einet.families import SymlogNormal
    >>> phi = torch.tensor([[0.0], [1.0]], dtype=torch.float64)  # standard normal up to 30
    >>> SymlogNormal().log_prob(torch.tensor([2.0, 1e9], dtype=torch.float64), phi)
    tensor([-2.9189e+00, -1.5108e+05], dtype=torch.float64)
    """

    name = "symlog-normal"

    def __init__(self, threshold: float = 30.0) -> None:
        super().__init__()
        if not 0 < threshold < math.inf:
            raise ValueError(f"threshold must be a positive number, got {threshold!r}.")
        self.threshold = float(threshold)

    def log_axis_slope(self, x: Tensor) -> Tensor:
        return self.log_base_measure(x) + LOG_SQRT_2PI

    def log_base_measure(self, x: Tensor) -> Tensor:
        return -torch.log((x.abs() / self.threshold).clamp_min(1)) - LOG_SQRT_2PI

    def sample(self, phi: np.ndarray, random_state: np.random.RandomState) -> np.ndarray:
        return self.from_axis(torch.as_tensor(super().sample(phi, random_state))).numpy()

    def mean(self, phi: Tensor) -> Tensor:
        return self._moments(phi)[0]

    def variance(self, phi: Tensor) -> Tensor:
        return self._moments(phi)[1]

    def mode(self, phi: Tensor) -> Tensor:
        # Beyond the threshold, the density is log-normal; its peak may be at the threshold itself.
        mean, c = phi[..., 0, :], self.threshold
        size = mean.abs()
        peak = torch.where(size <= c, size, (size - self._spread(phi) / c).clamp_min(c))
        return self.from_axis(mean.sign() * peak)

    def axis(self, x: Tensor) -> Tensor:
        c = self.threshold
        far = c * (1 + torch.log((x.abs() / c).clamp_min(1)))
        return torch.where(x.abs() <= c, x, x.sign() * far)

    def from_axis(self, y: Tensor) -> Tensor:
        c = self.threshold
        far = c * torch.exp((y.abs() / c - 1).clamp(0, LARGEST_EXPONENT))
        return torch.where(y.abs() <= c, y, y.sign() * far)

    def _moments(self, phi: Tensor) -> tuple[Tensor, Tensor]:
        """Return mean and variance, from the moments of three pieces of the axis."""
        c, mean, variance = self.threshold, phi[..., 0, :], self._spread(phi)
        sd = variance.sqrt()
        first, second = self._inner_moments(mean, sd)
        for side in (1.0, -1.0):
            for power in (1, 2):
                # E[x**power; side * y > c], of exp((y / c - 1) * power) * c**power.
                m, a = side * mean, power / c
                log_size = power * (math.log(c) - 1) + a * m + 0.5 * a * a * variance
                log_size = log_size + torch.special.log_ndtr((m + a * variance - c) / sd)
                log_size = log_size.clamp_max(power * LARGEST_EXPONENT)
                if power == 1:
                    first = first + side * log_size.exp()
                else:
                    second = second + log_size.exp()
        spread = (second - first * first).clamp_min(0)
        inside = mean.abs() + NO_MASS * sd < c
        outside = mean.abs() - NO_MASS * sd > c
        # If one piece has all of the mass, its own formula loses no digits.
        spread = torch.where(outside, torch.expm1(variance / c**2) * first * first, spread)
        return torch.where(inside, mean, first), torch.where(inside, variance, spread)

    def _inner_moments(self, mean: Tensor, sd: Tensor) -> tuple[Tensor, Tensor]:
        """Return E[y; abs(y) <= c] and E[y**2; abs(y) <= c] of a normal y."""
        low, high = (-self.threshold - mean) / sd, (self.threshold - mean) / sd
        mass = torch.special.ndtr(high) - torch.special.ndtr(low)
        density_low, density_high = (torch.exp(-0.5 * z * z - LOG_SQRT_2PI) for z in (low, high))
        first = mean * mass - sd * (density_high - density_low)
        slope = high * density_high - low * density_low
        second = (mean**2 + sd**2) * mass - 2 * mean * sd * (density_high - density_low)
        return first, second - sd**2 * slope
