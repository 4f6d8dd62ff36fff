"""The interface of leaf distributions (paper, section 3.5)."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor

from sklearn_einet.families.quantiles import bisected

__all__ = ["ExponentialFamily"]


class ExponentialFamily(ABC):
    """A univariate exponential family, p(x) = h(x) exp(T(x) . theta - A(theta)).

    A family object holds only fixed hyperparameters, such as a number of trials. The distributions
    themselves are tensors of parameters. Their second to last axis (length `n_statistics`) runs
    over the components of T; all other axes are free and broadcast. Values x have the same axes
    without that one. Learning uses the expectation parameters phi = E[T(x)], for which the M-step
    is a weighted mean.

    Methods that are not abstract have defaults for T(x) = x, h(x) = 1, a natural parameter that can
    be any real number, and no bounds.

    Attributes
    ----------
    name : str
        The name by which the estimators know the family.
    n_statistics : int
        The length of T(x).
    fill_value : float
        A value inside the support, which stands in for missing cells.
    largest : float
        Larger values count as this one, in the units of the circuit: where log-densities grow with
        the values, those of larger values differ only by rounding errors.
    support : str
        The set of possible values in words, for error messages.
    is_discrete : bool
        Whether values have probabilities instead of densities.
    open_ends : tuple of float
        Finite ends of the support of a continuous family that do not belong to it.

    References
    ----------
    M. J. Wainwright and M. I. Jordan, "Graphical Models, Exponential Families, and Variational
    Inference", Foundations and Trends in Machine Learning 1, 2008, section 3.
    """

    name: ClassVar[str]
    support: str
    n_statistics: int = 1
    fill_value: ClassVar[float] = 0.0
    largest: ClassVar[float] = np.inf
    is_discrete: ClassVar[bool] = False
    open_ends: ClassVar[tuple[float, ...]] = ()

    @property
    def n_free_parameters(self) -> int:
        """Number of parameters of one distribution that are not determined by its others."""
        return self.n_statistics

    def fit_columns(self, largest: np.ndarray) -> list[tuple[ExponentialFamily, np.ndarray]]:
        """Set hyperparameters that are found from the data.

        Parameters
        ----------
        largest : ndarray of shape (n_columns,)
            The largest value of every column.

        Returns
        -------
        families : list of (ExponentialFamily, ndarray of int)
            Families with every hyperparameter set, and which of the columns each one models.
        """
        return [(self, np.arange(len(largest)))]

    @property
    def reads_cells(self) -> bool:
        """Whether hyperparameters are found from all cells of a column, by `fit_cells`."""
        return False

    def fit_cells(self, x: np.ndarray, weight: np.ndarray) -> ExponentialFamily:
        """Return the family with hyperparameters found from the cells of one column.

        Parameters
        ----------
        x : ndarray of shape (n_samples,)
            Values inside the support, or NaN.
        weight : ndarray of shape (n_samples,)
        """
        return self

    def on_axis(self, x: np.ndarray) -> np.ndarray:
        """Return values on the axis on which the family measures distances."""
        return x

    def log_axis_slope(self, x: Tensor) -> Tensor:
        """Return the logarithm of the slope of `on_axis`, in the units of the circuit."""
        return torch.zeros_like(x)

    def scaling(self, x: np.ndarray, weight: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return a shift and a unit for every column under which the family is invariant.

        Parameters
        ----------
        x : ndarray of shape (n_samples, n_columns)
            Values inside the support, or NaN.
        weight : ndarray of shape (n_samples,)

        Returns
        -------
        location, scale : ndarray of shape (n_columns,)
            The circuit sees ``(x - location) / scale``.
        """
        return np.zeros(x.shape[1]), np.ones(x.shape[1])

    def interior(self, reference: np.ndarray, weight: float) -> np.ndarray:
        """Move the mean statistics of whole columns off the boundary of the parameter space.

        Parameters
        ----------
        reference : ndarray of shape (n_columns, n_statistics)
            Expectation parameters of the columns, possibly those of a constant.
        weight : float
            Weight of the rows that they come from.
        """
        return reference

    @abstractmethod
    def in_support(self, x: Tensor) -> Tensor:
        """Return whether each value has positive density; False for NaN."""

    def supports_all(self, x: Tensor) -> bool:
        """Return whether `in_support` holds for all values; False may also mean "not sure"."""
        return bool(self.in_support(x).all())

    def statistics(self, x: Tensor) -> Tensor:
        """Return sufficient statistics T(x): (..., n) to (..., n_statistics, n)."""
        return x.unsqueeze(-2)

    def weighted_sum(self, x: Tensor, weight: Tensor) -> Tensor:
        """Sum weighted statistics: two tensors (..., n) to (..., n_statistics)."""
        return (self.statistics(x) * weight.unsqueeze(-2)).sum(-1)

    def squared_deviations(self, x: Tensor, weight: Tensor, center: Tensor) -> Tensor:
        """Sum weighted squared distances of statistics from a center, (..., n_statistics).

        Parameters
        ----------
        x, weight : Tensor of shape (..., n)
        center : Tensor of shape (..., n_statistics)
        """
        deviation = self.statistics(x) - center.unsqueeze(-1)
        return (weight.unsqueeze(-2) * deviation**2).sum(-1)

    def log_base_measure(self, x: Tensor) -> Tensor:
        """Return log h(x) in nats, of the shape of x."""
        return torch.zeros_like(x)

    @abstractmethod
    def natural(self, phi: Tensor) -> Tensor:
        """Return the natural parameters theta for expectation parameters phi, in the same shape."""

    @abstractmethod
    def expectation(self, theta: Tensor) -> Tensor:
        """Return the expectation parameters phi: the gradient of A at theta."""

    @abstractmethod
    def log_normalizer(self, theta: Tensor) -> Tensor:
        """Return A(theta), without the axis of statistics."""

    def to_unconstrained(self, theta: Tensor) -> Tensor:
        """Return real-valued coordinates of theta, for gradient descent."""
        return theta

    def from_unconstrained(self, u: Tensor) -> Tensor:
        """Invert `to_unconstrained`, differentiably."""
        return u

    def project(self, phi: Tensor, reference: Tensor, min_variance: float | Tensor) -> Tensor:
        """Return the best distribution that is not too concentrated, from an M-step's result.

        Parameters
        ----------
        phi : Tensor of shape (..., n_statistics, n)
            Mean sufficient statistics.
        reference : Tensor that broadcasts with phi
            Expectation parameters of the whole column.
        min_variance : float, or for normal densities Tensor of shape (..., n)
            The least variance, as a share of the column's own.

        Returns
        -------
        phi : Tensor
            The maximum likelihood distribution among the admissible ones, so that EM stays
            monotone.
        """
        return phi

    def log_prob(self, x: Tensor, phi: Tensor) -> Tensor:
        """Return the log density (or probability) of x in nats; -inf outside of the support.

        Parameters
        ----------
        x : Tensor of shape (..., n)
        phi : Tensor of shape (..., n_statistics, n) or broadcastable
        """
        inside = self.in_support(x)
        x = torch.where(inside, x, self.fill_value)
        theta = self.natural(phi)
        value = (self.statistics(x) * theta).sum(-2) - self.log_normalizer(theta)
        return torch.where(inside, value + self.log_base_measure(x), -torch.inf)

    @abstractmethod
    def sample(self, phi: np.ndarray, random_state: np.random.RandomState) -> np.ndarray:
        """Draw once from every distribution in phi: (..., n_statistics, n) to (..., n)."""

    def mean(self, phi: Tensor) -> Tensor:
        """Return E[x], without the axis of statistics."""
        return phi[..., 0, :]

    @abstractmethod
    def variance(self, phi: Tensor) -> Tensor:
        """Return Var[x], without the axis of statistics."""

    @abstractmethod
    def mode(self, phi: Tensor) -> Tensor:
        """Return a value of highest density (a limit if the density has a pole there)."""

    @abstractmethod
    def cdf(self, x: Tensor, phi: Tensor, complement: bool = False) -> Tensor:
        """Return P(X <= x), or P(X > x) without cancellation; x may be infinite."""

    def log_interval(self, low: Tensor, high: Tensor, phi: Tensor) -> Tensor:
        """Return log P(low <= X <= high) in nats; both may be infinite.

        Parameters
        ----------
        low, high : Tensor of shape (..., n)
        phi : Tensor of shape (..., n_statistics, n) or broadcastable

        Returns
        -------
        log_probability : Tensor of shape (..., n)
            -inf for a single point of a continuous distribution, and for an empty interval.
        """
        below = torch.ceil(low) - 1 if self.is_discrete else low
        # A difference of two probabilities is precise if they are small. With a single bound, one
        # evaluation is enough, which matters as many families' functions are slow.
        if bool(torch.isneginf(low).all()):
            return self.cdf(high, phi).log()
        beyond_low = self.cdf(below, phi, complement=True)
        if bool(torch.isposinf(high).all()):
            return beyond_low.log()
        lower = self.cdf(high, phi) - self.cdf(below, phi)
        upper = beyond_low - self.cdf(high, phi, complement=True)
        result = torch.where(beyond_low > 0.5, lower, upper).clamp(0, 1).log()
        if self.is_discrete:
            result = torch.where(low == high, self.log_prob(low, phi), result)
        return result

    def truncated_quantile(self, u: Tensor, low: Tensor, high: Tensor, phi: Tensor) -> Tensor:
        """Return the u-quantile of X given low <= X <= high.

        Parameters
        ----------
        u, low, high : Tensor of shape (n,)
            Numbers strictly between 0 and 1, and the ends of intervals with positive
            probability.
        phi : Tensor of shape (n_statistics, n)
        """
        level = self.log_interval(low, high, phi) + torch.log(u)
        return bisected(
            lambda x: self.log_interval(low, x, phi),
            level,
            low,
            high,
            self.mean(phi),
            self.is_discrete,
        )

    def log_probabilities(self, values: Tensor, phi: Tensor) -> Tensor:
        """Return log-probabilities of given values, (..., n_values, n).

        Parameters
        ----------
        values : Tensor of shape (n_values,)
            For discrete families.
        phi : Tensor of shape (..., n_statistics, n)
        """
        return self.log_prob(values.unsqueeze(1), phi.unsqueeze(-3))

    def peak(self, phi: Tensor) -> Tensor:
        """Return the mode; the mean where the density has no maximum inside the support."""
        mode = self.mode(phi)
        return torch.where(self.in_support(mode), mode, self.mean(phi))

    def __repr__(self) -> str:
        settings = ", ".join(f"{k}={v!r}" for k, v in vars(self).items())
        return f"{type(self).__name__}({settings})"

    def __eq__(self, other: object) -> bool:
        return type(self) is type(other) and vars(self) == vars(other)

    def __hash__(self) -> int:
        return hash((type(self), tuple(sorted(vars(self).items()))))


def beyond(under: Tensor, over: Tensor, inner: Tensor, complement: bool) -> Tensor:
    """Return a cdf, or its complement, set to 0 or 1 outside of the range of its formula."""
    at_bottom, at_top = (1.0, 0.0) if complement else (0.0, 1.0)
    return torch.where(under, at_bottom, torch.where(over, at_top, inner))


def by_scipy(function: Any, *arguments: Tensor) -> Tensor:
    """Apply a scipy.special ufunc to tensors, for functions that torch lacks."""
    arrays = [a.detach().cpu().double().numpy() for a in arguments]
    return torch.as_tensor(function(*arrays), device=arguments[0].device)


def weighted_mean(x: np.ndarray, weight: np.ndarray) -> np.ndarray:
    """Return the mean of the observed values of every column; each needs at least one."""
    seen = ~np.isnan(x)
    total = weight @ seen
    # Relative to an observed value, so that large values lose no digits in the sum.
    shift = np.nanmax(np.where((weight > 0)[:, None], x, np.nan), axis=0, initial=-np.inf)
    return np.asarray(shift + weight @ np.where(seen, x - shift, 0) / total)


def is_integer(x: Tensor) -> Tensor:
    """Return whether each value is finite and whole; False for NaN."""
    return torch.isfinite(x) & (x == x.round())
