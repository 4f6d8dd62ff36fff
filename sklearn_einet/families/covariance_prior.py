"""EM steps for multivariate normal distributions with shrunk covariances."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from sklearn_einet.families.multivariate_normal import MultivariateNormal, pairs

__all__ = ["CovariancePrior", "maximized", "scatters"]


@dataclass(frozen=True)
class CovariancePrior:
    """A prior towards which the covariances of joint leaves are shrunk.

    Attributes
    ----------
    scale : Tensor of shape (n_pools, d, d)
        Pooled covariances within the densities of each pool.
    pool : Tensor of int of shape (n_regions * K,)
        The pool of every density.
    rows : float
        How many rows the prior counts for.
    floor : float
        The least eigenvalue of a covariance relative to its pool's.
    """

    scale: Tensor
    pool: Tensor
    rows: float
    floor: float

    def to(self, device: torch.device) -> CovariancePrior:
        """Return the same prior on another device; tensors are shared if possible."""
        return replace(self, scale=self.scale.to(device), pool=self.pool.to(device))

    def shrunk(self, scatter: Tensor, mass: Tensor, unit: float) -> Tensor:
        """Return the covariances that maximise the penalised likelihood, (n_densities, d, d).

        Parameters
        ----------
        scatter : Tensor of shape (n_densities, d, d)
            Sums of products of distances from the mean.
        mass : Tensor of shape (n_densities,)
        unit : float
            The mass of a row.
        """
        rows = self.rows * unit
        target = self.scale[self.pool]
        covariance = (scatter + rows * target) / (mass + rows).view(-1, 1, 1)
        # The prior alone keeps the eigenvalues above this share.
        low = torch.nonzero(rows < self.floor * (mass + rows)).view(-1)
        if len(low):
            covariance[low] = _floored(covariance[low], target[low], self.floor)
        return covariance

    def penalty(self, normals: MultivariateNormal) -> Tensor:
        """Return the log-density of the covariances under the prior, up to a constant."""
        target = self.scale[self.pool]
        product = (normals.precision * target).sum((1, 2))
        log_det = 2 * normals.cholesky.diagonal(dim1=1, dim2=2).log().sum(1)
        return -0.5 * self.rows * (product + log_det).sum()


def _floored(covariance: Tensor, target: Tensor, floor: float) -> Tensor:
    """Return the most likely covariances that are at least a given share of others."""
    factor = torch.linalg.cholesky(target)
    half = torch.linalg.solve_triangular(factor, covariance, upper=False)
    whitened = torch.linalg.solve_triangular(factor, half.transpose(1, 2), upper=False)
    values, vectors = torch.linalg.eigh(0.5 * (whitened + whitened.transpose(1, 2)))
    root = torch.bmm(factor, vectors * values.clamp_min(floor).sqrt().unsqueeze(1))
    return torch.bmm(root, root.transpose(1, 2))


def scatters(
    weighted: Tensor, mass: Tensor, center: Tensor, spread: Tensor, pseudocount: float
) -> tuple[Tensor, Tensor, Tensor]:
    """Return means, scatters about these, and masses, with a prior from the whole columns.

    Parameters
    ----------
    weighted : Tensor of shape (n, d + d (d + 1) / 2)
        Sums of x and x x'.
    mass : Tensor of shape (n,)
    center, spread : Tensor of shape (d,)
        Means and standard deviations of the whole columns.
    pseudocount : float
        Mass of the prior.

    Returns
    -------
    mean : Tensor of shape (n, d)
    scatter : Tensor of shape (n, d, d)
    total : Tensor of shape (n,)
        At least the smallest normal float.
    """
    d = len(center)
    total = (mass + pseudocount).clamp_min(torch.finfo(torch.float32).tiny)
    mean = (weighted[:, :d] + pseudocount * center) / total.unsqueeze(1)
    row, column = pairs(d, mean.device)
    scatter = torch.empty(len(mean), d, d, dtype=mean.dtype, device=mean.device)
    scatter[:, row, column] = weighted[:, d:]
    scatter[:, column, row] = weighted[:, d:]
    scatter += pseudocount * (torch.diag(spread**2) + center.unsqueeze(1) * center)
    scatter -= total.view(-1, 1, 1) * mean.unsqueeze(2) * mean.unsqueeze(1)
    return mean, scatter, total


def maximized(
    normals: MultivariateNormal,
    weighted: Tensor,
    mass: Tensor,
    prior: CovariancePrior,
    whole: tuple[Tensor, Tensor],
    pseudocount: float,
    unit: float,
) -> MultivariateNormal:
    """Return the densities of the M-step.

    Parameters
    ----------
    normals : MultivariateNormal
        The previous densities: one to which no row belongs is kept.
    weighted, mass, whole, pseudocount
        As in `scatters`.
    prior : CovariancePrior
    unit : float
        The mass of a row.
    """
    mean, scatter, total = scatters(weighted, mass, *whole, pseudocount)
    covariance = prior.shrunk(scatter, total, unit)
    idle = mass + pseudocount <= torch.finfo(torch.float32).tiny
    mean = torch.where(idle.unsqueeze(1), normals.mean, mean)
    covariance = torch.where(idle.view(-1, 1, 1), normals.covariance, covariance)
    return MultivariateNormal(mean, covariance)
