"""Columns with a single value."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from sklearn_einet.families.base import ExponentialFamily

__all__ = ["Constant"]


class Constant(ExponentialFamily):
    """Point masses at the only value of a column, T(x) = 0: nothing is left to learn.

    In the circuit, the value is 0 and the unit is its rounding error.

    Examples
    --------
    >>> import torch
    >>> from sklearn_einet.families import Constant
    >>> Constant().log_prob(torch.tensor([0.0, 2.0]), torch.zeros(1, 1))
    tensor([0., -inf])
    """

    name = "constant"
    support = "a single value"
    is_discrete = True

    @property
    def n_free_parameters(self) -> int:
        return 0

    @staticmethod
    def rounding(value: np.ndarray) -> np.ndarray:
        """Return how far numbers may be from a value to count as equal to it.

        A table and its queries may have different types, such as single precision.
        """
        return np.maximum(
            np.finfo(np.float32).eps * np.abs(value), np.finfo(np.float64).smallest_normal
        )

    def in_support(self, x: Tensor) -> Tensor:
        return x.abs() <= 1

    def statistics(self, x: Tensor) -> Tensor:
        return torch.zeros_like(x).unsqueeze(-2)

    def natural(self, phi: Tensor) -> Tensor:
        return torch.zeros_like(phi)

    def expectation(self, theta: Tensor) -> Tensor:
        return torch.zeros_like(theta)

    def log_normalizer(self, theta: Tensor) -> Tensor:
        return torch.zeros_like(theta[..., 0, :])

    def sample(self, phi: np.ndarray, random_state: np.random.RandomState) -> np.ndarray:
        return np.zeros_like(phi[..., 0, :])

    def mean(self, phi: Tensor) -> Tensor:
        return torch.zeros_like(phi[..., 0, :])

    def variance(self, phi: Tensor) -> Tensor:
        return torch.zeros_like(phi[..., 0, :])

    def mode(self, phi: Tensor) -> Tensor:
        return torch.zeros_like(phi[..., 0, :])

    def cdf(self, x: Tensor, phi: Tensor, complement: bool = False) -> Tensor:
        reached = x + torch.zeros_like(phi[..., 0, :]) >= -1
        return (~reached if complement else reached).to(phi.dtype)

    def log_interval(self, low: Tensor, high: Tensor, phi: Tensor) -> Tensor:
        inside = (low <= 1) & (high >= -1) & torch.isfinite(phi[..., 0, :])
        return torch.where(inside, 0.0, -torch.inf).to(phi.dtype)

    def truncated_quantile(self, u: Tensor, low: Tensor, high: Tensor, phi: Tensor) -> Tensor:
        return torch.zeros_like(u)
