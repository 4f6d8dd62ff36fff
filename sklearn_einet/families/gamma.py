"""Gamma distributions with a fixed shape (such as exponential ones) or with any shape."""

from __future__ import annotations

from typing import ClassVar

import numpy as np
import torch
from scipy.special import gammainccinv, gammaincinv
from torch import Tensor

from sklearn_einet.families.base import ExponentialFamily, beyond, by_scipy, weighted_mean
from sklearn_einet.families.quantiles import tails_at

__all__ = ["Exponential", "FixedShapeGamma", "Gamma"]


# The least squared coefficient of variation, 1 / shape, that Newton's method resolves.
MIN_SQUARED_VARIATION = 1e-7


class _PositiveScale(ExponentialFamily):
    """A base for gamma distributions: positive values, with the mean as the unit."""

    support = "positive numbers"
    fill_value = 1.0
    largest = 1e12
    open_ends: ClassVar[tuple[float, ...]] = (0.0,)

    def scaling(self, x: np.ndarray, weight: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        mean = weighted_mean(x, weight)
        return np.zeros(x.shape[1]), np.where(mean > 0, mean, 1.0)

    def in_support(self, x: Tensor) -> Tensor:
        return torch.isfinite(x) & (x > 0)

    def _shape_and_mean(self, phi: Tensor) -> tuple[Tensor, Tensor]:
        raise NotImplementedError

    def sample(self, phi: np.ndarray, random_state: np.random.RandomState) -> np.ndarray:
        shape, mean = (a.numpy() for a in self._shape_and_mean(torch.as_tensor(phi)))
        # Tiny draws must not underflow to 0, which is outside of the support.
        return np.maximum(random_state.gamma(shape, mean / shape), np.finfo(np.float64).tiny)

    def mean(self, phi: Tensor) -> Tensor:
        return self._shape_and_mean(phi)[1]

    def variance(self, phi: Tensor) -> Tensor:
        shape, mean = self._shape_and_mean(phi)
        return mean * mean / shape

    def mode(self, phi: Tensor) -> Tensor:
        shape, mean = self._shape_and_mean(phi)
        return (mean * (1 - 1 / shape)).clamp_min(0)

    def cdf(self, x: Tensor, phi: Tensor, complement: bool = False) -> Tensor:
        shape, mean = self._shape_and_mean(phi)
        function = torch.special.gammaincc if complement else torch.special.gammainc
        inner = function(shape, torch.where(torch.isinf(x), 1.0, x.clamp_min(0)) * shape / mean)
        return beyond(x < 0, torch.isposinf(x), inner, complement)

    def truncated_quantile(self, u: Tensor, low: Tensor, high: Tensor, phi: Tensor) -> Tensor:
        shape, mean = self._shape_and_mean(phi)
        lower, upper, is_upper = tails_at(self.cdf, u, low, high, phi)
        from_below, from_beyond = (
            by_scipy(function, shape, tail)
            for function, tail in ((gammaincinv, lower), (gammainccinv, upper))
        )
        x = torch.where(is_upper, from_beyond, from_below) * mean / shape
        return x.clamp_min(np.finfo(np.float64).tiny).clamp(low, high)


class FixedShapeGamma(_PositiveScale):
    """Gamma distributions with one given shape, T(x) = x.

    Parameters
    ----------
    shape : float
        The shape, a positive number.

    Examples
    --------
    >>> import torch
    >>> from sklearn_einet.families import FixedShapeGamma
    >>> FixedShapeGamma(2.0).variance(torch.tensor([[3.0]])).item()
    4.5
    """

    name = "fixed-shape-gamma"

    def __init__(self, shape: float) -> None:
        if not 0 < shape < np.inf:
            raise ValueError(f"shape must be a positive number, got {shape!r}.")
        self.shape = float(shape)

    def interior(self, reference: np.ndarray, weight: float) -> np.ndarray:
        return np.where(reference > 0, reference, 1.0)

    def log_base_measure(self, x: Tensor) -> Tensor:
        shape = x.new_full((), self.shape)
        return torch.xlogy(shape - 1, x) - torch.lgamma(shape)

    def natural(self, phi: Tensor) -> Tensor:
        return -self.shape / phi

    def expectation(self, theta: Tensor) -> Tensor:
        return -self.shape / theta

    def log_normalizer(self, theta: Tensor) -> Tensor:
        return -self.shape * torch.log(-theta).squeeze(-2)

    def to_unconstrained(self, theta: Tensor) -> Tensor:
        return torch.log(-theta)

    def from_unconstrained(self, u: Tensor) -> Tensor:
        return -torch.exp(u)

    def project(self, phi: Tensor, reference: Tensor, min_variance: float | Tensor) -> Tensor:
        # The spread of a gamma distribution is proportional to its mean: a lower bound for one is
        # a lower bound for the other.
        return torch.maximum(phi, min_variance**0.5 * reference)

    def _shape_and_mean(self, phi: Tensor) -> tuple[Tensor, Tensor]:
        mean = phi[..., 0, :]
        return torch.full_like(mean, self.shape), mean


class Exponential(FixedShapeGamma):
    """Exponential distributions of non-negative numbers, T(x) = x.

    Examples
    --------
    >>> import torch
    >>> from sklearn_einet.families import Exponential
    >>> Exponential().log_prob(torch.tensor([2.0]), torch.tensor([[1.0]])).item()
    -2.0
    """

    name = "exponential"
    support = "non-negative numbers"
    open_ends = ()

    def __init__(self) -> None:
        super().__init__(shape=1.0)

    def __repr__(self) -> str:
        return "Exponential()"

    def in_support(self, x: Tensor) -> Tensor:
        return torch.isfinite(x) & (x >= 0)


class Gamma(_PositiveScale):
    """Gamma distributions of any shape, T(x) = (log x, x).

    The M-step has no closed form: Newton's method solves it up to rounding.

    References
    ----------
    T. P. Minka, "Estimating a Gamma distribution", 2002.

    Examples
    --------
    >>> import torch
    >>> from sklearn_einet.families import Gamma
    >>> theta = torch.tensor([[3.0], [-2.0]])  # shape 3, rate 2
    >>> Gamma().mean(Gamma().expectation(theta)).item()
    1.5
    """

    name = "gamma"
    n_statistics = 2

    def on_axis(self, x: np.ndarray) -> np.ndarray:
        return np.log(x)

    def log_axis_slope(self, x: Tensor) -> Tensor:
        return -torch.log(x)

    def statistics(self, x: Tensor) -> Tensor:
        return torch.stack([torch.log(x), x], dim=-2)

    def log_base_measure(self, x: Tensor) -> Tensor:
        return -torch.log(x)

    def natural(self, phi: Tensor) -> Tensor:
        shape, mean = self._shape_and_mean(phi)
        return torch.stack([shape, -shape / mean], dim=-2)

    def expectation(self, theta: Tensor) -> Tensor:
        shape, rate = theta[..., 0, :], -theta[..., 1, :]
        return torch.stack([torch.digamma(shape) - torch.log(rate), shape / rate], dim=-2)

    def log_normalizer(self, theta: Tensor) -> Tensor:
        shape, rate = theta[..., 0, :], -theta[..., 1, :]
        return torch.lgamma(shape) - shape * torch.log(rate)

    def to_unconstrained(self, theta: Tensor) -> Tensor:
        return torch.log(torch.stack([theta[..., 0, :], -theta[..., 1, :]], dim=-2))

    def from_unconstrained(self, u: Tensor) -> Tensor:
        return torch.stack([u[..., 0, :].exp(), -u[..., 1, :].exp()], dim=-2)

    def project(self, phi: Tensor, reference: Tensor, min_variance: float | Tensor) -> Tensor:
        # 1 / shape is the squared coefficient of variation. For a given mean, the likelihood is
        # concave in the shape: where the bound is exceeded, the maximum is at the bound.
        mean = phi[..., 1, :]
        largest = phi.new_full((), float(1 / max(min_variance, MIN_SQUARED_VARIATION)))
        at_bound = torch.digamma(largest) - torch.log(largest) + torch.log(mean)
        return torch.stack([torch.minimum(phi[..., 0, :], at_bound), mean], dim=-2)

    def _shape_and_mean(self, phi: Tensor) -> tuple[Tensor, Tensor]:
        """Solve log(shape) - digamma(shape) = log E[x] - E[log x] for the shape."""
        gap = (torch.log(phi[..., 1, :]) - phi[..., 0, :]).clamp_min(MIN_SQUARED_VARIATION / 2)
        shape = (3 - gap + torch.sqrt((gap - 3) ** 2 + 24 * gap)) / (12 * gap)
        for _ in range(5):
            error = torch.log(shape) - torch.digamma(shape) - gap
            slope = 1 - shape * torch.polygamma(1, shape)
            shape = shape / (1 + error / slope)
        return shape, phi[..., 1, :]
