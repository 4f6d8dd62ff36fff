"""Negative binomial distributions: counts that vary more than Poisson ones."""

from __future__ import annotations

import numpy as np
import torch
from scipy.optimize import brentq
from scipy.special import betainc, betaincc, digamma
from torch import Tensor

from sklearn_einet.families.base import ExponentialFamily, beyond, by_scipy, is_integer

__all__ = ["NegativeBinomial"]

# The least mean: it keeps the logarithm finite if there are only zeros and no prior.
MIN_MEAN = 1e-12

# The range of numbers of failures found from columns: with the largest, the variance exceeds
# that of a Poisson distribution by a millionth of the mean.
FEWEST_FAILURES, MOST_FAILURES = 1e-4, 1e6


class NegativeBinomial(ExponentialFamily):
    """Negative binomial distributions with a fixed number of failures, T(x) = x.

    The count is the number of successes before `n_failures` failures, which need not be a whole
    number. For a mean m, the variance is m + m**2 / n_failures: fewer failures mean wider
    distributions.

    Parameters
    ----------
    n_failures : float or None, default=None
        The number of failures. None: for each column, the number with the highest likelihood under
        a single distribution for the whole column, rounded to two digits.

    Notes
    -----
    All leaves of a column share the number of failures, and a mixture of distributions varies more
    than each of these. A number found from the whole column therefore makes each group of rows as
    wide as the column. If the spread is between groups rather than within groups, give a larger
    number or choose `Poisson`.

    Examples
    --------
    >>> import torch
    >>> from sklearn_einet.families import NegativeBinomial
    >>> NegativeBinomial(n_failures=2).variance(torch.tensor([[4.0]])).item()
    12.0
    """

    name = "negative-binomial"
    support = "non-negative integers"
    is_discrete = True
    largest = 1e12

    def __init__(self, n_failures: float | None = None) -> None:
        if n_failures is not None and not 0 < n_failures < np.inf:
            raise ValueError(f"n_failures must be a positive number, got {n_failures!r}.")
        self.n_failures = None if n_failures is None else float(n_failures)

    @property
    def reads_cells(self) -> bool:
        return self.n_failures is None

    def fit_cells(self, x: np.ndarray, weight: np.ndarray) -> ExponentialFamily:
        if self.n_failures is not None:
            return self
        seen = ~np.isnan(x)
        values, of = np.unique(x[seen], return_inverse=True)
        share = np.bincount(of, weight[seen]) / weight[seen].sum()
        mean = share @ values
        excess = share @ (values - mean) ** 2 - mean
        if excess <= mean**2 / MOST_FAILURES:
            return NegativeBinomial(MOST_FAILURES)

        def slope(log_n: float) -> float:
            """Return the derivative of the log-likelihood, which is 0 once."""
            n = np.exp(log_n)
            return float(share @ (digamma(values + n) - digamma(n)) - np.log1p(mean / n))

        low, high = np.log(FEWEST_FAILURES), np.log(MOST_FAILURES)
        if slope(low) <= 0 or slope(high) >= 0:
            return NegativeBinomial(FEWEST_FAILURES if slope(low) <= 0 else MOST_FAILURES)
        return NegativeBinomial(float(f"{np.exp(brentq(slope, low, high)):.2g}"))

    def interior(self, reference: np.ndarray, weight: float) -> np.ndarray:
        # As if half a count more had been seen.
        return reference + 0.5 / weight

    def in_support(self, x: Tensor) -> Tensor:
        return is_integer(x) & (x >= 0)

    def log_base_measure(self, x: Tensor) -> Tensor:
        n = x.new_full((), self._n)
        return torch.lgamma(x + n) - torch.lgamma(n) - torch.lgamma(x + 1)

    def natural(self, phi: Tensor) -> Tensor:
        return -torch.log1p(self._n / phi)

    def expectation(self, theta: Tensor) -> Tensor:
        return self._n / torch.expm1(-theta)

    def log_normalizer(self, theta: Tensor) -> Tensor:
        return -self._n * torch.log(-torch.expm1(theta)).squeeze(-2)

    def to_unconstrained(self, theta: Tensor) -> Tensor:
        return torch.log(-theta)

    def from_unconstrained(self, u: Tensor) -> Tensor:
        return -torch.exp(u)

    def project(self, phi: Tensor, reference: Tensor, min_variance: float | Tensor) -> Tensor:
        return phi.clamp_min(MIN_MEAN)

    def sample(self, phi: np.ndarray, random_state: np.random.RandomState) -> np.ndarray:
        # Poisson counts whose rates are gamma distributed.
        rate = random_state.gamma(self._n, phi[..., 0, :] / self._n)
        return random_state.poisson(rate).astype(np.float64)

    def variance(self, phi: Tensor) -> Tensor:
        mean = phi[..., 0, :]
        return mean + mean**2 / self._n

    def mode(self, phi: Tensor) -> Tensor:
        return torch.floor(max(self._n - 1, 0.0) / self._n * phi[..., 0, :])

    def cdf(self, x: Tensor, phi: Tensor, complement: bool = False) -> Tensor:
        # More than x successes before the last failure.
        more, mean = x.floor() + 1, phi[..., 0, :]
        at_least = torch.where(torch.isinf(more), 1.0, more.clamp_min(1))
        function = betainc if complement else betaincc
        n = torch.full_like(mean, self._n)
        inner = by_scipy(function, at_least, n, mean / (mean + self._n))
        return beyond(more < 1, torch.isposinf(more), inner, complement)

    @property
    def _n(self) -> float:
        if self.n_failures is None:
            raise ValueError("n_failures is not set: give it, or find it from data with fit_cells.")
        return self.n_failures
