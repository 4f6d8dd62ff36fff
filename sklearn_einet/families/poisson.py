"""Poisson distributions."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from sklearn_einet.families.base import ExponentialFamily, beyond, is_integer

__all__ = ["Poisson"]

# The least rate: it keeps the logarithm finite if there are only zeros and no prior.
MIN_RATE = 1e-12


class Poisson(ExponentialFamily):
    """Poisson distributions of counts, T(x) = x.

    Examples
    --------
    >>> import torch
    >>> from sklearn_einet.families import Poisson
    >>> Poisson().log_prob(torch.tensor([0.0]), torch.tensor([[3.0]])).item()
    -3.0
    """

    name = "poisson"
    support = "non-negative integers"
    is_discrete = True
    largest = 1e12

    def interior(self, reference: np.ndarray, weight: float) -> np.ndarray:
        # As if half a count more had been seen.
        return reference + 0.5 / weight

    def in_support(self, x: Tensor) -> Tensor:
        return is_integer(x) & (x >= 0)

    def log_base_measure(self, x: Tensor) -> Tensor:
        return -torch.lgamma(x + 1)

    def natural(self, phi: Tensor) -> Tensor:
        return torch.log(phi)

    def expectation(self, theta: Tensor) -> Tensor:
        return torch.exp(theta)

    def log_normalizer(self, theta: Tensor) -> Tensor:
        return torch.exp(theta).squeeze(-2)

    def project(self, phi: Tensor, reference: Tensor, min_variance: float | Tensor) -> Tensor:
        return phi.clamp_min(MIN_RATE)

    def sample(self, phi: np.ndarray, random_state: np.random.RandomState) -> np.ndarray:
        return random_state.poisson(phi[..., 0, :]).astype(np.float64)

    def variance(self, phi: Tensor) -> Tensor:
        return phi[..., 0, :]

    def mode(self, phi: Tensor) -> Tensor:
        return phi[..., 0, :].floor()

    def cdf(self, x: Tensor, phi: Tensor, complement: bool = False) -> Tensor:
        upper = x.floor() + 1
        function = torch.special.gammainc if complement else torch.special.gammaincc
        at_least = torch.where(torch.isinf(upper), 1.0, upper.clamp_min(1))
        inner = function(at_least, phi[..., 0, :])
        return beyond(upper < 1, torch.isposinf(upper), inner, complement)
