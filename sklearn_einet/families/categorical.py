"""Categorical distributions."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from sklearn_einet.families.base import ExponentialFamily, is_integer

__all__ = ["Categorical"]

# Added to the probability of every state: it keeps logarithms finite without a prior. Unlike a
# least probability, it can be taken into account state by state.
ADDED_PROBABILITY = 1e-12


class Categorical(ExponentialFamily):
    """Distributions of the states 0, ..., n_states - 1; T(x) has an indicator for each state.

    Parameters
    ----------
    n_states : int or None, default=None
        The number of states. None: one more than the largest value of each column in fit.

    Examples
    --------
    >>> import torch
    >>> from sklearn_einet.families import Categorical
    >>> phi = torch.tensor([[0.2], [0.5], [0.3]])
    >>> Categorical(n_states=3).mode(phi)
    tensor([1.])
    """

    name = "categorical"
    is_discrete = True

    def __init__(self, n_states: int | None = None) -> None:
        if n_states is not None and (n_states != int(n_states) or n_states < 1):
            raise ValueError(f"n_states must be a positive integer, got {n_states!r}.")
        self.n_states = n_states

    @property
    def support(self) -> str:  # type: ignore[override]
        return (
            f"integers from 0 to {'n_states - 1' if self.n_states is None else self.n_states - 1}"
        )

    @property
    def n_statistics(self) -> int:  # type: ignore[override]
        if self.n_states is None:
            raise ValueError("n_states is not set: give it, or find it from data with fit_columns.")
        return self.n_states

    @property
    def n_free_parameters(self) -> int:
        return self.n_statistics - 1  # probabilities sum to 1

    def fit_columns(self, largest: np.ndarray) -> list[tuple[ExponentialFamily, np.ndarray]]:
        if self.n_states is not None:
            return super().fit_columns(largest)
        return [(Categorical(int(m) + 1), np.flatnonzero(largest == m)) for m in np.unique(largest)]

    def interior(self, reference: np.ndarray, weight: float) -> np.ndarray:
        # As if one more row had been seen, spread evenly over the states.
        return (weight * reference + 1 / self.n_statistics) / (weight + 1)

    def in_support(self, x: Tensor) -> Tensor:
        inside = is_integer(x) & (x >= 0)
        return inside if self.n_states is None else inside & (x < self.n_states)

    def supports_all(self, x: Tensor) -> bool:
        if not x.numel():
            return True
        low, high = torch.aminmax(x)  # NaN where a cell is missing
        n_states = torch.inf if self.n_states is None else self.n_states
        return bool(low >= 0) and bool(high < n_states) and torch.equal(x, x.floor())

    def statistics(self, x: Tensor) -> Tensor:
        states = torch.arange(self.n_statistics, dtype=x.dtype, device=x.device)
        return (x.unsqueeze(-2) == states.unsqueeze(-1)).to(x.dtype)

    def weighted_sum(self, x: Tensor, weight: Tensor) -> Tensor:
        total = weight.new_zeros(*x.shape[:-1], self.n_statistics)
        return total.scatter_add_(-1, x.to(torch.int64), weight)

    def squared_deviations(self, x: Tensor, weight: Tensor, center: Tensor) -> Tensor:
        hits = self.weighted_sum(x, weight)
        return hits * (1 - center) ** 2 + (weight.sum(-1, keepdim=True) - hits) * center**2

    def natural(self, phi: Tensor) -> Tensor:
        return torch.log(phi)

    def expectation(self, theta: Tensor) -> Tensor:
        return torch.softmax(theta, dim=-2)

    def log_normalizer(self, theta: Tensor) -> Tensor:
        return torch.logsumexp(theta, dim=-2)

    def project(self, phi: Tensor, reference: Tensor, min_variance: float | Tensor) -> Tensor:
        return self.project_(phi.clone())

    def project_(self, phi: Tensor) -> Tensor:
        """Project parameters in place, and return them."""
        phi.add_(ADDED_PROBABILITY)
        return phi.div_(phi.sum(-2, keepdim=True))

    def smoothed(self, phi: Tensor) -> Tensor:
        """Return probabilities of single states after `project`, from those before."""
        return (phi + ADDED_PROBABILITY).div_(1 + ADDED_PROBABILITY * self.n_statistics)

    def sample(self, phi: np.ndarray, random_state: np.random.RandomState) -> np.ndarray:
        cumulative = np.cumsum(phi, axis=-2)
        u = random_state.random_sample(phi.shape[:-2] + phi.shape[-1:]) * cumulative[..., -1, :]
        return (u[..., None, :] >= cumulative).sum(-2).astype(np.float64)

    def log_probabilities(self, values: Tensor, phi: Tensor) -> Tensor:
        known = self.in_support(values)
        states = torch.where(known, values, 0).to(torch.int64)
        found = phi[..., states, :] / phi.sum(-2, keepdim=True)
        return torch.where(known.unsqueeze(1), found, 0.0).log()

    def mean(self, phi: Tensor) -> Tensor:
        return (phi * self._states(phi)).sum(-2)

    def variance(self, phi: Tensor) -> Tensor:
        return (phi * (self._states(phi) - self.mean(phi).unsqueeze(-2)) ** 2).sum(-2)

    def mode(self, phi: Tensor) -> Tensor:
        return phi.argmax(-2).to(phi.dtype)

    def cdf(self, x: Tensor, phi: Tensor, complement: bool = False) -> Tensor:
        below = self._states(phi) <= x.unsqueeze(-2)
        return (phi * (~below if complement else below)).sum(-2)

    def _states(self, phi: Tensor) -> Tensor:
        """Return the states 0, 1, ... along the axis of statistics."""
        return torch.arange(phi.shape[-2], dtype=phi.dtype, device=phi.device).unsqueeze(-1)
