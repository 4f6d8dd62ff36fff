"""Log-normal distributions."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from sklearn_einet.families.base import weighted_mean
from sklearn_einet.families.normal import LOG_SQRT_2PI, Normal

__all__ = ["LogNormal"]


class LogNormal(Normal):
    """Log-normal distributions, T(x) = (log x, log(x)**2), for positive, skewed columns.

    Examples
    --------
    >>> import torch
    >>> from sklearn_einet.families import LogNormal
    >>> phi = torch.tensor([[0.0], [1.0]])  # log x is standard normal
    >>> round(LogNormal().mean(phi).item(), 4)
    1.6487
    """

    name = "log-normal"
    support = "positive numbers"
    fill_value = 1.0
    open_ends = (0.0,)

    def on_axis(self, x: np.ndarray) -> np.ndarray:
        return np.log(x)

    def log_axis_slope(self, x: Tensor) -> Tensor:
        return -torch.log(x)

    def scaling(self, x: np.ndarray, weight: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        return np.zeros(x.shape[1]), np.exp(weighted_mean(np.log(x), weight))

    def in_support(self, x: Tensor) -> Tensor:
        return torch.isfinite(x) & (x > 0)

    def axis(self, x: Tensor) -> Tensor:
        return torch.log(x.clamp_min(0))

    def from_axis(self, y: Tensor) -> Tensor:
        return torch.exp(y)

    def log_base_measure(self, x: Tensor) -> Tensor:
        return -torch.log(x) - LOG_SQRT_2PI

    def sample(self, phi: np.ndarray, random_state: np.random.RandomState) -> np.ndarray:
        return np.exp(super().sample(phi, random_state))

    def mean(self, phi: Tensor) -> Tensor:
        return torch.exp(phi[..., 0, :] + 0.5 * self._spread(phi))

    def variance(self, phi: Tensor) -> Tensor:
        return torch.expm1(self._spread(phi)) * self.mean(phi) ** 2

    def mode(self, phi: Tensor) -> Tensor:
        return torch.exp(phi[..., 0, :] - self._spread(phi))
