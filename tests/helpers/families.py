"""Everything that the tests of families need: one entry of `CASES` for each."""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import torch
from scipy import stats

from sklearn_einet.families import (
    Bernoulli,
    Beta,
    Binomial,
    Categorical,
    Constant,
    Exponential,
    ExponentialFamily,
    FixedShapeGamma,
    Gamma,
    LogNormal,
    NegativeBinomial,
    Normal,
    Poisson,
    SymlogNormal,
)


def uniform(rng, shape, low, high):
    return torch.as_tensor(rng.uniform(low, high, shape))


def random_mean(family, rng, shape):
    """Expectation parameters of random distributions of positive numbers with T(x) = x."""
    return uniform(rng, shape, 0.5, 4).unsqueeze(-2)


class Case(NamedTuple):
    """A family, with everything that its tests need.

    Attributes
    ----------
    example : ExponentialFamily
        With all hyperparameters set.
    outside : list of float
        Values outside the support of the example.
    nodes : callable (family, n) -> (nodes, weights)
        With which sums over values are integrals under `phi`: about n of them, or the states of a
        discrete family that have any probability.
    scipy : callable (family, phi) -> the same distributions in scipy.stats, or None
    phi : callable (family, rng, shape) -> expectation parameters of random distributions
        From a shape (..., n) to (..., n_statistics, n).
    """

    example: ExponentialFamily
    outside: list[float]
    nodes: Callable[..., Any]
    scipy: Callable[..., Any] | None
    phi: Callable[..., Any] = random_mean


def state_nodes(n):
    """Nodes of the states 0, ..., n - 1."""
    nodes = torch.arange(n, dtype=torch.float64)
    return nodes, torch.ones_like(nodes)


def along(axis, slope, low, high):
    """Nodes of trapezoid sums from `low` to `high` on an axis: values are `axis` of these.

    Sums of functions that vanish at both ends converge faster than any power.
    """

    def nodes(family, n):
        u = torch.linspace(low, high, n, dtype=torch.float64)
        x, weights = axis(u), slope(u) * (u[1] - u[0])
        inside = family.in_support(x)
        return x[inside], weights[inside]

    return nodes


def first(phi):
    return phi[..., 0, :].numpy()


# --- normal distributions, and those of their logarithms


def random_normal(family, rng, shape):
    mean, variance = uniform(rng, shape, -2, 2), uniform(rng, shape, 0.2, 2)
    return torch.stack([mean, mean**2 + variance], -2)


def sd(phi):
    return np.sqrt(phi[..., 1, :].numpy() - first(phi) ** 2)


class Symlog:
    """The distribution of a number whose symmetric logarithm is normal, by change of variables."""

    def __init__(self, normal, family):
        self.normal, self.c = normal, family.threshold

    def down(self, x):
        far = self.c * (1 + np.log(np.maximum(np.abs(x) / self.c, 1)))
        return np.where(np.abs(x) <= self.c, x, np.sign(x) * far)

    def up(self, y):
        far = self.c * np.exp(np.maximum(np.abs(y) / self.c - 1, 0))
        return np.where(np.abs(y) <= self.c, y, np.sign(y) * far)

    def ppf(self, q):
        return self.up(self.normal.ppf(q))

    def isf(self, q):
        return self.up(self.normal.isf(q))

    def logpdf(self, x):
        return self.normal.logpdf(self.down(x)) - np.log(np.maximum(np.abs(x) / self.c, 1))

    def cdf(self, x):
        return self.normal.cdf(self.down(x))

    def sf(self, x):
        return self.normal.sf(self.down(x))

    def _moment(self, power):
        y = self.normal.mean() + self.normal.std() * np.linspace(-12, 12, 400_001)[:, None]
        return (self.up(y) ** power * self.normal.pdf(y)).sum(0) * (y[1] - y[0])

    def mean(self):
        return self._moment(1)

    def var(self):
        return self._moment(2) - self._moment(1) ** 2


def symlog_nodes(family, n):
    """Gauss-Legendre nodes and weights between the places where the axis changes."""
    c = family.threshold
    x, weight = np.polynomial.legendre.leggauss(n // 3)
    ends = [-14, -c, c, 14]
    middle, half = np.add(ends[1:], ends[:-1]) / 2, np.diff(ends) / 2
    u = torch.as_tensor(np.concatenate([m + h * x for m, h in zip(middle, half, strict=True)]))
    growth = (u.abs() / c - 1).clamp_min(0).exp()
    nodes = torch.where(u.abs() <= c, u, u.sign() * c * growth)
    return nodes, growth * torch.as_tensor(np.concatenate([h * weight for h in half]))


# --- families of two parameters, and of many


def random_gamma(family, rng, shape):
    theta = [uniform(rng, shape, 0.5, 5), -uniform(rng, shape, 0.5, 3)]
    return family.expectation(torch.stack(theta, -2))


def scipy_gamma(family, phi):
    shape, rate = family.natural(phi).numpy() * [[1], [-1]]
    return stats.gamma(shape, scale=1 / rate)


def random_beta(family, rng, shape):
    theta = [uniform(rng, shape, 0.5, 5), uniform(rng, shape, 0.5, 5)]
    return family.expectation(torch.stack(theta, -2))


def random_binomial(family, rng, shape):
    return (family.n_trials * uniform(rng, shape, 0.1, 0.9)).unsqueeze(-2)


def scipy_binomial(family, phi):
    return stats.binom(family.n_trials, first(phi) / family.n_trials)


def scipy_negative_binomial(family, phi):
    n = family.n_failures
    return stats.nbinom(n, n / (n + first(phi)))


def random_categorical(family, rng, shape):
    phi = torch.as_tensor(rng.dirichlet(np.ones(family.n_statistics), shape))
    return phi.transpose(-1, -2) * 0.98 + 0.02 / family.n_statistics


CASES = {
    Normal: Case(
        Normal(),
        outside=[np.inf, -np.inf],
        nodes=along(lambda u: u, torch.ones_like, -14, 14),
        scipy=lambda family, phi: stats.norm(first(phi), sd(phi)),
        phi=random_normal,
    ),
    LogNormal: Case(
        LogNormal(),
        outside=[0, -1, np.inf],
        nodes=along(torch.exp, torch.exp, -14, 22),
        scipy=lambda family, phi: stats.lognorm(s=sd(phi), scale=np.exp(first(phi))),
        phi=random_normal,
    ),
    SymlogNormal: Case(
        SymlogNormal(3.0),
        outside=[np.inf, -np.inf],
        nodes=symlog_nodes,
        scipy=lambda family, phi: Symlog(stats.norm(first(phi), sd(phi)), family),
        phi=random_normal,
    ),
    Bernoulli: Case(
        Bernoulli(),
        outside=[-1, 0.5, 2],
        nodes=lambda family, n: state_nodes(2),
        scipy=scipy_binomial,
        phi=random_binomial,
    ),
    Binomial: Case(
        Binomial(n_trials=5),
        outside=[-1, 0.5, 6],
        nodes=lambda family, n: state_nodes(family.n_trials + 1),
        scipy=scipy_binomial,
        phi=random_binomial,
    ),
    Categorical: Case(
        Categorical(n_states=4),
        outside=[-1, 0.5, 4, np.inf],
        nodes=lambda family, n: state_nodes(family.n_states),
        scipy=None,  # scipy.stats has tables of states only for one distribution at a time
        phi=random_categorical,
    ),
    Poisson: Case(
        Poisson(),
        outside=[-1, 0.5, np.inf],
        nodes=lambda family, n: state_nodes(60),
        scipy=lambda family, phi: stats.poisson(first(phi)),
    ),
    NegativeBinomial: Case(
        NegativeBinomial(n_failures=2.5),
        outside=[-1, 0.5, np.inf],
        nodes=lambda family, n: state_nodes(120),
        scipy=scipy_negative_binomial,
    ),
    Exponential: Case(
        Exponential(),
        outside=[-1e-9, np.inf],
        nodes=along(torch.exp, torch.exp, -45, 6),
        scipy=lambda family, phi: stats.expon(scale=first(phi)),
    ),
    FixedShapeGamma: Case(
        FixedShapeGamma(2.5),
        outside=[0, -1, np.inf],
        nodes=along(torch.exp, torch.exp, -45, 6),
        scipy=lambda family, phi: stats.gamma(family.shape, scale=first(phi) / family.shape),
    ),
    Gamma: Case(
        Gamma(),
        outside=[0, -1, np.inf],
        nodes=along(torch.exp, torch.exp, -45, 6),
        scipy=scipy_gamma,
        phi=random_gamma,
    ),
    Beta: Case(
        Beta(),
        outside=[0, 1, -0.1, 1.1],
        nodes=along(torch.sigmoid, lambda u: torch.sigmoid(u) * torch.sigmoid(-u), -36, 36),
        scipy=lambda family, phi: stats.beta(*family.natural(phi).numpy()),
        phi=random_beta,
    ),
}

FAMILY_EXAMPLES = [case.example for case in CASES.values()]


def random_phi(family, shape, rng):
    """Expectation parameters of random distributions, from a shape (..., n)."""
    if isinstance(family, Constant):
        return torch.zeros(*shape[:-1], 1, shape[-1], dtype=torch.float64)
    return CASES[type(family)].phi(family, rng, tuple(shape))


def grid(family, n=500):
    """Nodes and weights with which sums over a column of a random circuit are integrals."""
    if isinstance(family, Constant):
        return state_nodes(1)
    return CASES[type(family)].nodes(family, n)
