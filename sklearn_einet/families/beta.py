"""Beta distributions."""

from __future__ import annotations

import numpy as np
import torch
from scipy.special import betainc, betaincc, betainccinv, betaincinv
from torch import Tensor

from sklearn_einet.families.base import ExponentialFamily, by_scipy
from sklearn_einet.families.quantiles import tails_at

__all__ = ["Beta"]

# The least distance of G(x) + G(1 - x) from 1, with the geometric mean G: it bounds the
# concentration.
MIN_GAP = 1e-7


class Beta(ExponentialFamily):
    """Beta distributions of proportions, T(x) = (log x, log(1 - x)).

    The M-step has no closed form: Newton's method on the concave likelihood solves it up to
    rounding. The values 0 and 1 have no finite statistics and are outside of the support.

    References
    ----------
    T. P. Minka, "Estimating a Dirichlet distribution", 2000.

    Examples
    --------
    >>> import torch
    >>> from sklearn_einet.families import Beta
    >>> theta = torch.tensor([[2.0], [6.0]], dtype=torch.float64)
    >>> Beta().mean(Beta().expectation(theta)).round(decimals=4)
    tensor([0.2500], dtype=torch.float64)
    """

    name = "beta"
    support = "numbers between 0 and 1, both excluded"
    n_statistics = 2
    fill_value = 0.5
    open_ends = (0.0, 1.0)

    def in_support(self, x: Tensor) -> Tensor:
        return (x > 0) & (x < 1)

    def statistics(self, x: Tensor) -> Tensor:
        return torch.stack([torch.log(x), torch.log1p(-x)], dim=-2)

    def log_base_measure(self, x: Tensor) -> Tensor:
        return -torch.log(x) - torch.log1p(-x)

    def natural(self, phi: Tensor) -> Tensor:
        """Solve by Newton's method, halving coordinates that a full step would make negative."""
        gap = (1 - phi.exp().sum(-2, keepdim=True)).clamp_min(MIN_GAP)
        theta = 0.5 + 0.5 * phi.exp() / gap
        for _ in range(50):
            total = theta.sum(-2, keepdim=True)
            slope = phi - torch.digamma(theta) + torch.digamma(total)
            # The Hessian of A is diag(own) - shared: its inverse by Sherman and Morrison.
            own, shared = torch.polygamma(1, theta), torch.polygamma(1, total)
            common = (slope / own).sum(-2, keepdim=True) / (
                1 / shared - (1 / own).sum(-2, keepdim=True)
            )
            new = torch.maximum(theta + (slope + common) / own, 0.5 * theta)
            new = new.clamp_max(1 / MIN_GAP)
            done = bool(((new - theta).abs() <= 1e-13 * theta).all())
            theta = new
            if done:
                break
        return theta

    def expectation(self, theta: Tensor) -> Tensor:
        return torch.digamma(theta) - torch.digamma(theta.sum(-2, keepdim=True))

    def log_normalizer(self, theta: Tensor) -> Tensor:
        return torch.lgamma(theta).sum(-2) - torch.lgamma(theta.sum(-2))

    def to_unconstrained(self, theta: Tensor) -> Tensor:
        return torch.log(theta)

    def from_unconstrained(self, u: Tensor) -> Tensor:
        return torch.exp(u)

    def sample(self, phi: np.ndarray, random_state: np.random.RandomState) -> np.ndarray:
        theta = self.natural(torch.as_tensor(phi)).numpy()
        x = random_state.beta(theta[..., 0, :], theta[..., 1, :])
        # Rounding must not move a draw to a bound, where the density is not defined.
        eps = np.finfo(np.float64).eps
        return np.clip(x, eps, 1 - eps)

    def mean(self, phi: Tensor) -> Tensor:
        theta = self.natural(phi)
        return theta[..., 0, :] / theta.sum(-2)

    def variance(self, phi: Tensor) -> Tensor:
        theta = self.natural(phi)
        total = theta.sum(-2)
        return theta[..., 0, :] * theta[..., 1, :] / (total * total * (total + 1))

    def mode(self, phi: Tensor) -> Tensor:
        theta = self.natural(phi)
        a, b = theta[..., 0, :], theta[..., 1, :]
        # With both parameters below 1 there is a pole at each end, the stronger for the smaller
        # one.
        at_pole = torch.where(a < b, 0.0, 1.0).to(a.dtype)
        inner = ((a - 1) / (a + b - 2)).clamp(0, 1)
        return torch.where((a < 1) | (b < 1), at_pole, torch.where(a + b == 2, 0.5, inner))

    def cdf(self, x: Tensor, phi: Tensor, complement: bool = False) -> Tensor:
        theta = self.natural(phi)
        function = betaincc if complement else betainc
        return by_scipy(function, theta[..., 0, :], theta[..., 1, :], x.clamp(0, 1))

    def truncated_quantile(self, u: Tensor, low: Tensor, high: Tensor, phi: Tensor) -> Tensor:
        a, b = self.natural(phi).unbind(-2)
        lower, upper, is_upper = tails_at(self.cdf, u, low, high, phi)
        x = torch.where(
            is_upper, by_scipy(betainccinv, a, b, upper), by_scipy(betaincinv, a, b, lower)
        )
        eps = np.finfo(np.float64).eps
        return x.clamp(eps, 1 - eps).clamp(low, high)
