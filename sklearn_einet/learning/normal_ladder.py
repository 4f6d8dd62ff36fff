"""Mixtures of 1, 2, 4, 8, ... multivariate normal densities of the same rows.

Each mixture starts from the one before, with components split along their longest axes, and is then
learned by EM on its own. Rows that none of them has seen determine their shares: the average has
the detail of many components where rows support it, and the caution of few where they do not.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from sklearn_einet.circuit.backend import choose_backend
from sklearn_einet.circuit.leaves.normal_rows import (
    expected_statistics,
    log_density,
    log_density_by,
    scaled_posterior,
    scored,
)
from sklearn_einet.families import MultivariateNormal
from sklearn_einet.families.covariance_prior import CovariancePrior, scatters
from sklearn_einet.families.multivariate_normal import patterns_of
from sklearn_einet.native.backend import NativeBackend

__all__ = ["MAX_STEPS", "LadderRows", "Rung", "climb", "stacking_weights"]

# How far the halves of a component are moved from its middle, in standard deviations.
SPLIT = 0.7

# The fewest and the most steps of EM for each mixture, and the gain in nats per row that ends them.
MIN_STEPS, MAX_STEPS, TOLERANCE = 5, 30, 1e-3

# The same for a single density, which takes more than one step only if cells are missing. With
# many missing cells, gains are small long before the end, and all other mixtures start from it.
SINGLE_STEPS, SINGLE_TOLERANCE = 100, 1e-6

# Mass, in rows, of the whole columns in each component.
PSEUDOCOUNT = 0.01

# Variance of the pooled covariance in every direction, as a share of the columns' own.
RIDGE = 1e-4

# Memory for log-densities of a block of rows, and for the statistics that are kept for all steps.
BLOCK_BYTES, KEPT_BYTES = 2**22, 2**28

# Steps are compiled up to so many pairs of rows and components, and so many numbers that describe
# missing cells.
MOST_PAIRS, MOST_COMPLETIONS = 2**24, 2**23

# And where that is faster. In pairs of rows and components of torch's steps: what a compiled step
# takes for a pattern of missing cells and a component, what torch takes for a row whatever the
# components, and for a step of rows with one column. (Measured with 4, 7 and 20 columns.)
PAIRS_OF_PATTERN, PAIRS_OF_ROW, PAIRS_OF_STEP = 13, 6, 60_000

# How often shares are improved in stacking.
STACKING_STEPS = 300


@dataclass(frozen=True)
class Rung:
    """A mixture of multivariate normal densities.

    Attributes
    ----------
    log_weights : Tensor of shape (n,)
    normals : MultivariateNormal
        n densities.
    scale : Tensor of shape (d, d)
        The pooled covariance within them.
    """

    log_weights: Tensor
    normals: MultivariateNormal
    scale: Tensor

    def log_density(self, z: Tensor) -> Tensor:
        """Return log-densities of rows (d, batch), (batch,)."""
        parts = [
            (log_density(self.normals, block) + self.log_weights.unsqueeze(1)).logsumexp(0)
            for block in z.split(_block_rows(len(self.log_weights), len(z)), dim=1)
        ]
        return torch.cat(parts)


def _block_rows(n: int, d: int) -> int:
    return max(16, BLOCK_BYTES // (8 * n * d))


class LadderRows:
    """Rows to learn from, with everything that the steps need.

    Parameters
    ----------
    z : Tensor of shape (d, n_rows)
        NaN where a cell is missing.
    weight : Tensor of shape (n_rows,)
    center, spread : Tensor of shape (d,)
        Means and standard deviations of the whole columns.
    """

    def __init__(self, z: Tensor, weight: Tensor, center: Tensor, spread: Tensor) -> None:
        self.z = z
        self.weight = weight
        self.center = center
        self.spread = spread
        self.is_complete = not bool(torch.isnan(z).any())
        self._kept: list[tuple[Tensor, Tensor]] | None = None

    @cached_property
    def by_pattern(self) -> tuple[Tensor, Tensor, Tensor]:
        """The rows sorted by which of their cells are missing, as needed by compiled steps."""
        d, n_rows = self.z.shape
        if self.is_complete:
            return self.z.contiguous(), torch.tensor([[n_rows, 0, *range(d)]]), self.weight
        patterns, pattern, counts = patterns_of(torch.isnan(self.z))
        order = pattern.argsort(stable=True)
        columns = patterns.T.to(torch.int8).argsort(dim=1, descending=True, stable=True)
        places = torch.column_stack([counts.cumsum(0), patterns.sum(0), columns])
        return self.z[:, order].contiguous(), places.contiguous(), self.weight[order].contiguous()

    def of(self, which: Tensor) -> LadderRows:
        """Return some of the rows, given a mask."""
        return LadderRows(self.z[:, which], self.weight[which], self.center, self.spread)

    def blocks(self, normals: MultivariateNormal) -> Iterator[tuple[Tensor, Any, Tensor]]:
        """Yield log-densities of blocks of rows, what `expected_statistics` needs, and weights."""
        n, d = normals.mean.shape
        if not self.is_complete or d * d * self.z.shape[1] * 4 > KEPT_BYTES:
            rows = _block_rows(n, d)
            for z, weight in zip(self.z.split(rows, dim=1), self.weight.split(rows), strict=True):
                yield *scored(normals, z), weight
            return
        if self._kept is None:
            size = max(1, BLOCK_BYTES // (8 * max(64, d * d // 2)))
            pairs = zip(self.z.split(size, dim=1), self.weight.split(size), strict=True)
            self._kept = [(normals.statistics(z), weight) for z, weight in pairs]
        for statistics, weight in self._kept:
            yield log_density_by(normals, statistics), statistics, weight


def climb(
    rows: LadderRows,
    sizes: Sequence[int],
    prior_rows: float,
    floor: float,
    most: int = MAX_STEPS,
    after_rung: Callable[[int], Any] | None = None,
) -> Iterator[Rung]:
    """Fit mixtures of more and more components, each when it is asked for.

    Parameters
    ----------
    rows : LadderRows
    sizes : sequence of int
        Ascending, from 1 on, each at most twice the one before.
    prior_rows, floor : float
        As in `CovariancePrior`.
    most : int, default=MAX_STEPS
        The largest number of EM steps for a mixture.
    after_rung : callable or None, default=None
        Told of every mixture by its size.

    Yields
    ------
    rung : Rung
        One for each size.
    """
    rung = _start(rows, prior_rows, floor)
    yield rung
    for size in sizes[1:]:
        rung = _climbed(_split(rung, size), rows, prior_rows, floor, most)
        if after_rung is not None:
            after_rung(size)
        yield rung


def _start(rows: LadderRows, prior_rows: float, floor: float) -> Rung:
    """Return the single normal density of the rows."""
    whole = torch.diag(rows.spread**2)
    single = MultivariateNormal(rows.center.unsqueeze(0), whole.unsqueeze(0))
    start = Rung(torch.zeros_like(rows.center[:1]), single, whole)
    return _climbed(start, rows, prior_rows, floor)


def _climbed(
    rung: Rung, rows: LadderRows, prior_rows: float, floor: float, most: int = MAX_STEPS
) -> Rung:
    """Return a mixture after EM, until it no longer gains."""
    last = -torch.inf
    n_steps, tolerance = most, TOLERANCE
    if len(rung.log_weights) == 1:
        n_steps, tolerance = (1 if rows.is_complete else SINGLE_STEPS), SINGLE_TOLERANCE
    backend = choose_backend(rows.z.device, rows.z.dtype)
    if isinstance(backend, NativeBackend) and _is_compiled(rung, rows, prior_rows, floor):
        mean, covariance, log_weights, scale = backend.mixture_steps(
            rows.by_pattern,
            torch.stack([rows.center, rows.spread]),
            (rung.normals.mean, rung.normals.covariance, rung.log_weights),
            pseudocount=PSEUDOCOUNT,
            prior_rows=prior_rows,
            ridge=RIDGE,
            tolerance=tolerance,
            min_steps=MIN_STEPS,
            max_steps=n_steps,
        )
        return Rung(log_weights, MultivariateNormal(mean, covariance), scale)
    for step in range(n_steps):
        rung, log_likelihood = _stepped(rung, rows, prior_rows, floor)
        if step >= MIN_STEPS and log_likelihood < last + tolerance:
            break
        last = log_likelihood
    return rung


def _is_compiled(rung: Rung, rows: LadderRows, prior_rows: float, floor: float) -> bool:
    """Return whether compiled steps are faster: not if nearly every row of many has its own pattern
    of missing cells, and never if the floor of covariances could matter."""
    (n, d), n_rows = rung.normals.mean.shape, rows.z.shape[1]
    largest = float(rows.weight.sum()) + PSEUDOCOUNT + prior_rows
    by_torch = n_rows * (n + PAIRS_OF_ROW) + PAIRS_OF_STEP // d
    return (
        0 < n_rows <= MOST_PAIRS // n
        and prior_rows >= floor * largest
        and (n_patterns := len(rows.by_pattern[1])) * n * d * d <= MOST_COMPLETIONS
        and (n_patterns - 1) * n * PAIRS_OF_PATTERN < by_torch
    )


def _stepped(rung: Rung, rows: LadderRows, prior_rows: float, floor: float) -> tuple[Rung, float]:
    """Return a mixture after a step of EM, and the mean log-likelihood before."""
    total: Any = 0.0
    log_likelihood = 0.0
    for scores, kept, weight in rows.blocks(rung.normals):
        posterior, largest = scaled_posterior(scores + rung.log_weights.unsqueeze(1))
        evidence = posterior.sum(0)
        log_likelihood += float((largest + evidence.log()) @ weight)
        posterior.mul_(weight / evidence)
        total = total + expected_statistics(rung.normals, kept, posterior)
    mean, scatter, mass = scatters(total[:, 1:], total[:, 0], rows.center, rows.spread, PSEUDOCOUNT)
    scale = scatter.sum(0) / mass.sum()
    # Far-out values, which the whole columns' deviations leave out, do not count.
    shrink = (rows.spread / scale.diagonal().sqrt()).clamp_max(1.0)
    scale = scale * shrink * shrink.unsqueeze(1) + RIDGE * torch.diag(rows.spread**2)
    pool = torch.zeros(len(mean), dtype=torch.int64, device=mean.device)
    prior = CovariancePrior(scale.unsqueeze(0), pool, prior_rows, floor)
    normals = MultivariateNormal(mean, prior.shrunk(scatter, mass, 1.0))
    stepped = Rung((mass / mass.sum()).log(), normals, scale)
    # Without any rows, the densities are those of the whole columns.
    return stepped, log_likelihood / max(float(rows.weight.sum()), 1e-300)


def _split(rung: Rung, size: int) -> Rung:
    """Return a mixture with the heaviest components split along their longest axes."""
    n = len(rung.log_weights)
    order = rung.log_weights.argsort(descending=True, stable=True)
    halved = rung.normals.of(order[: size - n])
    values, vectors = torch.linalg.eigh(halved.covariance)
    shift = SPLIT * vectors[:, :, -1] * values[:, -1:].sqrt()
    # The sign of eigenvectors is arbitrary: nothing may depend on it.
    shift = shift * torch.where(shift.sum(1, keepdim=True) < 0, -1.0, 1.0)
    covariance = halved.covariance - shift.unsqueeze(2) * shift.unsqueeze(1)
    kept = rung.normals.of(order[size - n :])
    normals = MultivariateNormal(
        torch.cat([halved.mean - shift, halved.mean + shift, kept.mean]),
        torch.cat([covariance, covariance, kept.covariance]),
    )
    half = rung.log_weights[order[: size - n]] - math.log(2)
    log_weights = torch.cat([half, half, rung.log_weights[order[size - n :]]])
    return Rung(log_weights, normals, rung.scale)


def stacking_weights(log_densities: Tensor, weight: Tensor, prior: Tensor) -> Tensor:
    """Return the shares of densities in the mixture that makes unseen rows most likely.

    If the rows do not decide, the shares are those of the prior.

    Parameters
    ----------
    log_densities : Tensor of shape (n_densities, n_rows)
    weight : Tensor of shape (n_rows,)
    prior : Tensor of shape (n_densities,)
        Weight of each density before any row is seen.

    Returns
    -------
    shares : Tensor of shape (n_densities,)
        Positive, with sum 1.

    References
    ----------
    P. Smyth and D. Wolpert, "Linearly Combining Density Estimators via Stacking", Machine
    Learning 36, 1999.
    """
    values = (log_densities - log_densities.amax(0)).exp()
    shares = prior / prior.sum()
    for _ in range(STACKING_STEPS):
        joint = values * shares.unsqueeze(1)
        shares = joint @ (weight / joint.sum(0)) + prior
        shares = shares / shares.sum()
    return shares
