"""Multivariate normal distributions with missing cells."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from sklearn_einet.families.normal import LOG_SQRT_2PI

__all__ = ["Gaps", "MultivariateNormal", "pairs", "patterns_of"]

# If the rounding error of log-densities exceeds so many nats, they are not computed as products
# with statistics.
ROUNDING_TOLERANCE = 1e-8

# Matrices of up to this size are inverted all at once, column by column, instead of one by one.
SMALL_MATRIX = 12

# The most bits of a pattern of missing cells that is written as one number.
LARGEST_CODE = 62


def pairs(d: int, device: torch.device) -> tuple[Tensor, Tensor]:
    """Return the rows and columns of the upper triangle, in the order of the statistics."""
    row, column = torch.triu_indices(d, d, device=device)
    return row, column


@dataclass(frozen=True)
class Gaps:
    """Rows with the same number of missing cells.

    Attributes
    ----------
    rows : Tensor of int of shape (n_rows,)
    missing : Tensor of int of shape (n_missing, n_patterns)
        The missing columns of every pattern.
    pattern : Tensor of int of shape (n_rows,)
        The pattern of every row.
    """

    rows: Tensor
    missing: Tensor
    pattern: Tensor

    @property
    def of_rows(self) -> Tensor:
        """The missing columns of every row, (n_missing, n_rows)."""
        return self.missing[:, self.pattern]


def patterns_of(missing: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return the different columns of a mask (d, batch) in lexicographic order, (d, n_patterns),
    the number of each column among them, (batch,), and how often each occurs."""
    d = len(missing)
    if d > LARGEST_CODE:
        return torch.unique(missing, dim=1, return_inverse=True, return_counts=True)
    # Sorting whole numbers is many times faster than comparing columns.
    place = torch.arange(d - 1, -1, -1, device=missing.device).unsqueeze(1)
    codes = (missing.to(torch.int64) << place).sum(0)
    codes, pattern, counts = torch.unique(codes, return_inverse=True, return_counts=True)
    return (codes >> place) & 1 == 1, pattern, counts


def gaps_of(missing: Tensor) -> list[Gaps]:
    """Group rows by the number of missing cells, and these by pattern.

    Parameters
    ----------
    missing : Tensor of bool of shape (d, batch)
        Rows without missing cells are in no group.
    """
    if not bool(missing.any()):  # nothing to sort the rows by
        return []
    patterns, pattern, _ = patterns_of(missing)
    n_missing = patterns.sum(0)
    result = []
    for p in torch.unique(n_missing[n_missing > 0]).tolist():
        here = torch.nonzero(n_missing == p).view(-1)
        number = torch.full_like(n_missing, -1)
        number[here] = torch.arange(len(here), device=missing.device)
        rows = torch.nonzero(number[pattern] >= 0).view(-1)
        columns = torch.nonzero(patterns[:, here].T)[:, 1].view(len(here), p).T
        result.append(Gaps(rows, columns.contiguous(), number[pattern[rows]]))
    return result


@dataclass(frozen=True)
class Completion:
    """Missing cells of some rows given the observed ones, under every distribution.

    Attributes
    ----------
    gaps : Gaps
    deviation : Tensor of shape (n_missing, n_rows, n)
        Conditional means, less the means of the distributions.
    covariance : Tensor of shape (n_missing, n_missing, n_patterns, n)
    log_det_precision : Tensor of shape (n_patterns, n)
        Log-determinants of the inverses of the covariances.
    gain : Tensor of shape (n_rows, n)
        The reduction of the quadratic form by the missing cells.
    """

    gaps: Gaps
    deviation: Tensor
    covariance: Tensor
    log_det_precision: Tensor
    gain: Tensor


@dataclass(frozen=True)
class CompletedRows:
    """Rows completed by conditional means under each of the distributions.

    Attributes
    ----------
    deviation : Tensor of shape (n, d, batch)
        Distances from the means.
    log_density : Tensor of shape (n, batch)
        Of the observed cells, in nats.
    completions : list of Completion
    """

    deviation: Tensor
    log_density: Tensor
    completions: list[Completion]


class MultivariateNormal:
    """n multivariate normal distributions of d columns, in float64.

    An exponential family with T(x) = (x, x x'), whose upper triangle is kept: log-densities of
    complete rows are one matrix product. If cells are missing, they are integrated out for the
    density of the observed ones, and are themselves normal given the observed ones. Both follow
    from the block of the precision for the missing cells, which rows with the same pattern of gaps
    share.

    Parameters
    ----------
    mean : Tensor of shape (n, d)
    covariance : Tensor of shape (n, d, d)
        Positive definite.

    Examples
    --------
    >>> import torch
    >>> from sklearn_einet.families import MultivariateNormal
    >>> mean = torch.zeros(1, 2, dtype=torch.float64)
    >>> covariance = torch.tensor([[[1.0, 0.8], [0.8, 1.0]]], dtype=torch.float64)
    >>> normals = MultivariateNormal(mean, covariance)
    >>> normals.completed(torch.tensor([[2.0], [torch.nan]]).double()).deviation[0, :, 0]
    tensor([2.0000, 1.6000], dtype=torch.float64)
    """

    def __init__(self, mean: Tensor, covariance: Tensor) -> None:
        self.mean = mean
        self.covariance = covariance

    def __len__(self) -> int:
        return len(self.mean)

    @property
    def n_columns(self) -> int:
        """Number of columns, d."""
        return self.mean.shape[1]

    @cached_property
    def cholesky(self) -> Tensor:
        """Lower triangular factors of the covariances, (n, d, d); NaN where these are not
        positive definite, for example after diverged updates."""
        factor, failed = torch.linalg.cholesky_ex(self.covariance)
        return factor.masked_fill_((failed > 0).view(-1, 1, 1), torch.nan)

    @cached_property
    def precision(self) -> Tensor:
        """Inverses of the covariances, (n, d, d)."""
        return torch.cholesky_inverse(self.cholesky)

    @cached_property
    def whitening(self) -> Tensor:
        """Inverses of the Cholesky factors, (n, d, d)."""
        identity = torch.eye(self.n_columns, dtype=self.mean.dtype, device=self.mean.device)
        return torch.linalg.solve_triangular(
            self.cholesky, identity.expand_as(self.cholesky), upper=False
        )

    @cached_property
    def log_peak(self) -> Tensor:
        """Log-densities at the means, (n,)."""
        log_det = self.cholesky.diagonal(dim1=1, dim2=2).log().sum(1)
        return -log_det - self.n_columns * LOG_SQRT_2PI

    @cached_property
    def theta(self) -> Tensor:
        """Natural parameters and minus the log-normaliser, (n, 1 + d + d (d + 1) / 2)."""
        linear = torch.bmm(self.precision, self.mean.unsqueeze(2)).squeeze(2)
        constant = self.log_peak - 0.5 * (linear * self.mean).sum(1)
        row, column = pairs(self.n_columns, self.mean.device)
        square = -self.precision[:, row, column]
        square[:, row == column] *= 0.5
        return torch.cat([constant.unsqueeze(1), linear, square], 1)

    @cached_property
    def largest_factor(self) -> float:
        """The largest absolute value of a natural parameter."""
        return float(self.theta.abs().max())

    def statistics(self, z: Tensor) -> Tensor:
        """Return 1, z and the upper triangle of z z' of complete rows, (d, batch)."""
        row, column = pairs(len(z), z.device)
        return torch.cat([torch.ones_like(z[:1]), z, z[row] * z[column]])

    def log_density_of(self, statistics: Tensor) -> Tensor | None:
        """Return log-densities of complete rows by one product; None if rounding errors are
        large."""
        size = float(statistics.abs().max()) if statistics.numel() else 0.0
        error = torch.finfo(statistics.dtype).eps * size * self.largest_factor
        return self.theta @ statistics if error <= ROUNDING_TOLERANCE else None

    def log_density(self, z: Tensor) -> Tensor:
        """Return log-densities of the observed cells of rows, in nats.

        Parameters
        ----------
        z : Tensor of shape (d, batch)
            NaN where a cell is missing.

        Returns
        -------
        log_density : Tensor of shape (n, batch)
        """
        seen = ~torch.isnan(z)
        if not bool(seen.all()):
            return self.completed(z).log_density
        result = self.log_density_of(self.statistics(z))
        if result is None:
            distance = torch.matmul(self.whitening, z.unsqueeze(0) - self.mean.unsqueeze(2))
            result = self.log_peak.unsqueeze(1) - 0.5 * distance.square_().sum(1)
        return result

    def completed(self, z: Tensor) -> CompletedRows:
        """Return rows (d, batch) completed where cells are NaN."""
        missing = torch.isnan(z)
        deviation = (z.unsqueeze(0) - self.mean.unsqueeze(2)).masked_fill_(missing, 0.0)
        slope = torch.bmm(self.precision, deviation)
        square = torch.linalg.vecdot(deviation, slope, dim=1)
        log_density = self.log_peak.unsqueeze(1) - 0.5 * square
        completions = []
        for gaps in gaps_of(missing):
            found = self._completion(gaps, slope)
            completions.append(found)
            p = len(gaps.missing)
            log_det = found.log_det_precision[gaps.pattern]
            gain = 0.5 * (found.gain - log_det) + p * LOG_SQRT_2PI
            log_density[:, gaps.rows] += gain.T
            deviation[:, gaps.of_rows, gaps.rows] = found.deviation.permute(2, 0, 1)
            if p == self.n_columns:
                log_density[:, gaps.rows] = 0.0
        return CompletedRows(deviation, log_density, completions)

    def _completion(self, gaps: Gaps, slope: Tensor) -> Completion:
        """Return the conditional distributions of missing cells, from slopes without these."""
        missing = gaps.missing
        block = self.precision_by_column[missing.unsqueeze(1), missing.unsqueeze(0)]
        covariance, log_det = inverse(block)
        own = slope[:, gaps.of_rows, gaps.rows].permute(1, 2, 0)
        deviation = -(covariance[:, :, gaps.pattern] * own.unsqueeze(0)).sum(1)
        gain = -(deviation * own).sum(0)
        return Completion(gaps, deviation, covariance, log_det, gain)

    @cached_property
    def mean_by_column(self) -> Tensor:
        """The means as (d, n)."""
        return self.mean.T.contiguous()

    @cached_property
    def precision_by_column(self) -> Tensor:
        """The precisions as (d, d, n)."""
        return self.precision.permute(1, 2, 0).contiguous()

    @cached_property
    def whitening_by_column(self) -> Tensor:
        """The inverses of the Cholesky factors as (d, d, n)."""
        return self.whitening.permute(1, 2, 0).contiguous()

    def expected_of(self, completed: CompletedRows, posterior: Tensor) -> Tensor:
        """Sum expected statistics of incomplete rows, weighted by posteriors.

        Parameters
        ----------
        completed : CompletedRows
        posterior : Tensor of shape (n, batch)

        Returns
        -------
        statistics : Tensor of shape (n, 1 + d + d (d + 1) / 2)
        """
        deviation = completed.deviation
        mass = posterior.sum(1)
        first = torch.bmm(deviation, posterior.unsqueeze(2)).squeeze(2)
        second = torch.bmm(deviation * posterior.unsqueeze(1), deviation.transpose(1, 2))
        n, d = self.mean.shape
        spread = second.new_zeros(d * d, n)
        for each in completed.completions:
            gaps = each.gaps
            mass_of = posterior.new_zeros(each.covariance.shape[2], n)
            mass_of.index_add_(0, gaps.pattern, posterior[:, gaps.rows].T)
            place = gaps.missing.unsqueeze(1) * d + gaps.missing.unsqueeze(0)
            spread.index_add_(0, place.flatten(), (each.covariance * mass_of).flatten(0, 2))
        second += spread.T.view(n, d, d)
        # Convert distances from the means to the values themselves.
        cross = first.unsqueeze(2) * self.mean.unsqueeze(1)
        square = self.mean.unsqueeze(2) * self.mean.unsqueeze(1) * mass.view(-1, 1, 1)
        second += cross + cross.transpose(1, 2) + square
        first = first + self.mean * mass.unsqueeze(1)
        row, column = pairs(d, second.device)
        return torch.cat([mass.unsqueeze(1), first, second[:, row, column]], 1)

    def of(self, which: Tensor) -> MultivariateNormal:
        """Return some of the distributions."""
        return MultivariateNormal(self.mean[which], self.covariance[which])

    def marginal(self, columns: Tensor) -> MultivariateNormal:
        """Return the distributions of some of the columns, in the order given."""
        covariance = self.covariance[:, columns.unsqueeze(1), columns]
        return MultivariateNormal(self.mean[:, columns], covariance)

    def to(self, device: torch.device) -> MultivariateNormal:
        """Return the same distributions on another device; self if already there."""
        mean = self.mean.to(device)
        return self if mean is self.mean else MultivariateNormal(mean, self.covariance.to(device))


def inverse(matrices: Tensor) -> tuple[Tensor, Tensor]:
    """Return inverses and log-determinants of positive definite matrices.

    Parameters
    ----------
    matrices : Tensor of shape (p, p, ...)

    Returns
    -------
    inverse : Tensor of shape (p, p, ...)
    log_determinant : Tensor of shape (...)
    """
    p = len(matrices)
    if p > SMALL_MATRIX:
        moved = matrices.movedim((0, 1), (-2, -1))
        factor = torch.linalg.cholesky(moved)
        log_det = 2 * factor.diagonal(dim1=-2, dim2=-1).log().sum(-1)
        return torch.cholesky_inverse(factor).movedim((-2, -1), (0, 1)).contiguous(), log_det
    result = matrices.clone()
    log_det = torch.zeros_like(matrices[0, 0])
    for k in range(p):  # the sweep operator, for all matrices at once
        pivot = result[k, k].clone()
        log_det += pivot.log()
        row = result[k] / pivot
        column = result[:, k].clone()
        result -= column.unsqueeze(1) * row.unsqueeze(0)
        result[k] = row
        result[:, k] = -column / pivot
        result[k, k] = 1 / pivot
    return result, log_det
