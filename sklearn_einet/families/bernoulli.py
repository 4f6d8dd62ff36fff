"""Binomial distributions, and their simplest case, Bernoulli distributions."""

from __future__ import annotations

import numpy as np
import torch
from scipy.special import betainc, betaincc
from torch import Tensor

from sklearn_einet.families.base import ExponentialFamily, beyond, by_scipy, is_integer

__all__ = ["Bernoulli", "Binomial"]

# The least probability of either outcome: it keeps log-odds finite without a prior.
MIN_PROBABILITY = 1e-12


class Binomial(ExponentialFamily):
    """Binomial distributions with a fixed number of trials, T(x) = x.

    Parameters
    ----------
    n_trials : int or None, default=None
        The number of trials, which is the largest possible value. None: the largest value of each
        column in fit.

    Examples
    --------
    >>> import torch
    >>> from sklearn_einet.families import Binomial
    >>> Binomial(n_trials=4).variance(torch.tensor([[2.0]])).item()
    1.0
    """

    name = "binomial"
    is_discrete = True

    def __init__(self, n_trials: int | None = None) -> None:
        if n_trials is not None and (n_trials != int(n_trials) or n_trials < 1):
            raise ValueError(f"n_trials must be a positive integer, got {n_trials!r}.")
        self.n_trials = n_trials

    @property
    def support(self) -> str:  # type: ignore[override]
        return f"integers from 0 to {self.n_trials or 'n_trials'}"

    def fit_columns(self, largest: np.ndarray) -> list[tuple[ExponentialFamily, np.ndarray]]:
        if self.n_trials is not None:
            return super().fit_columns(largest)
        largest = np.maximum(largest, 1)
        return [(Binomial(int(n)), np.flatnonzero(largest == n)) for n in np.unique(largest)]

    def interior(self, reference: np.ndarray, weight: float) -> np.ndarray:
        # As if one more row had been seen, half of its trials successes.
        return (weight * reference + 0.5 * self._n) / (weight + 1)

    def in_support(self, x: Tensor) -> Tensor:
        inside = is_integer(x) & (x >= 0)
        return inside if self.n_trials is None else inside & (x <= self.n_trials)

    def log_base_measure(self, x: Tensor) -> Tensor:
        n = x.new_full((), float(self._n))
        return torch.lgamma(n + 1) - torch.lgamma(x + 1) - torch.lgamma(n - x + 1)

    def natural(self, phi: Tensor) -> Tensor:
        return torch.logit(phi / self._n)

    def expectation(self, theta: Tensor) -> Tensor:
        return self._n * torch.sigmoid(theta)

    def log_normalizer(self, theta: Tensor) -> Tensor:
        return self._n * torch.nn.functional.softplus(theta).squeeze(-2)

    def project(self, phi: Tensor, reference: Tensor, min_variance: float | Tensor) -> Tensor:
        return phi.clamp(MIN_PROBABILITY * self._n, (1 - MIN_PROBABILITY) * self._n)

    def sample(self, phi: np.ndarray, random_state: np.random.RandomState) -> np.ndarray:
        return random_state.binomial(self._n, phi[..., 0, :] / self._n).astype(np.float64)

    def variance(self, phi: Tensor) -> Tensor:
        return phi[..., 0, :] * (1 - phi[..., 0, :] / self._n)

    def mode(self, phi: Tensor) -> Tensor:
        return torch.floor((self._n + 1) * phi[..., 0, :] / self._n).clamp_max(self._n)

    def cdf(self, x: Tensor, phi: Tensor, complement: bool = False) -> Tensor:
        # At most x successes: the order statistics of uniform numbers, one for each trial.
        x = x.clamp(-1, self._n).floor()
        at_most = x.clamp(0, self._n - 1)
        function = betainc if complement else betaincc
        inner = by_scipy(function, at_most + 1, self._n - at_most, phi[..., 0, :] / self._n)
        return beyond(x < 0, x >= self._n, inner, complement)

    @property
    def _n(self) -> int:
        if self.n_trials is None:
            raise ValueError("n_trials is not set: give it, or find it from data with fit_columns.")
        return self.n_trials


class Bernoulli(Binomial):
    """Bernoulli distributions of 0 and 1, T(x) = x: binomial distributions with a single trial.

    Examples
    --------
    >>> import torch
    >>> from sklearn_einet.families import Bernoulli
    >>> x, phi = torch.tensor([0.0, 1.0, 2.0]), torch.tensor([[0.25]])
    >>> Bernoulli().log_prob(x, phi).exp()
    tensor([0.7500, 0.2500, 0.0000])
    """

    name = "bernoulli"

    def __init__(self) -> None:
        super().__init__(n_trials=1)

    def __repr__(self) -> str:
        return "Bernoulli()"

    def log_base_measure(self, x: Tensor) -> Tensor:
        return torch.zeros_like(x)
