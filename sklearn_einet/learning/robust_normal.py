"""A normal density of the most typical half of the rows, which is robust to outliers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

import numpy as np
import torch
from torch import Tensor

from sklearn_einet.families import MultivariateNormal
from sklearn_einet.families.covariance_prior import scatters
from sklearn_einet.families.multivariate_normal import CompletedRows
from sklearn_einet.learning.normal_ladder import LadderRows
from sklearn_einet.native.threads import torch_alone

__all__ = ["RobustNormal"]

# The largest number of concentration steps; about ten are needed until the kept rows no longer
# change.
MAX_STEPS = 50

# Variances are raised by this share of the columns' variances between these quantiles, because
# typical rows may all agree in a column; or by a share of the whole columns' variances if those
# are less than a share of these, because these may come from a few far-out numbers.
RIDGE, BETWEEN, LEAST_INNER = 1e-3, (0.01, 0.99), 1e-18

# Quantiles that determine the middle and the width of a column.
QUARTILES = 0.25, 0.5, 0.75

# The gain of the log-density at the mean, in nats, with which the second start counts.
LEAST_GAIN = 0.25

# Mass, in rows, of the whole columns.
PSEUDOCOUNT = 0.01


@dataclass(frozen=True)
class RobustNormal:
    """A normal density of the most typical half of the rows.

    Half of the weight is kept. Lower bounds of variances, and the second start, are computed from
    the rows without weights.

    Attributes
    ----------
    normal : MultivariateNormal
        A single density.
    scale : float
        A factor that makes squared distances of typical rows those of a chi-squared variable.

    References
    ----------
    P. J. Rousseeuw and K. Van Driessen, "A Fast Algorithm for the Minimum Covariance Determinant
    Estimator", Technometrics 41, 1999.

    Examples
    --------
    >>> import torch
    >>> from sklearn_einet.learning.normal_ladder import LadderRows
    >>> from sklearn_einet.learning.robust_normal import RobustNormal
    >>> z = torch.randn(2, 300, generator=torch.Generator().manual_seed(0)).double()
    >>> z[:, :60] += 20  # a fifth of the rows lies elsewhere
    >>> rows = LadderRows(z, torch.ones(300).double(), z.mean(1), z.std(1))
    >>> robust = RobustNormal.fit(rows)
    >>> robust.normal.mean.abs().max().item() < 0.5
    True
    >>> scores = robust.typicality(z)
    >>> bool(scores[:60].max() < scores[60:].min())
    True
    """

    normal: MultivariateNormal
    scale: float

    @classmethod
    @torch_alone()
    def fit(cls, rows: LadderRows) -> Self:
        """Fit by concentration steps: keep the nearest half of the rows, and fit to it.

        They start from all rows, and from the half nearest to the columns' medians, because a close
        group of outliers can hide behind the covariance that it causes. The second result is used
        if its density is higher by more than chance.
        """
        variance = _inner_variance(rows.z)
        variance = torch.where(variance > LEAST_INNER * rows.spread**2, variance, rows.spread**2)
        ridge = torch.diag(RIDGE * variance)
        near = rows.weight * _is_near(rows, variance)
        first, second = (cls._concentrated(rows, ridge, start) for start in (rows.weight, near))
        gain = float(second.normal.log_peak - first.normal.log_peak)
        return second if gain > LEAST_GAIN else first

    @classmethod
    def _concentrated(cls, rows: LadderRows, ridge: Tensor, kept: Tensor) -> Self:
        """Return the result of concentration steps, starting from given rows; if cells are missing,
        each is also a step of EM."""
        whole = torch.diag(rows.spread**2)
        normal, scale = MultivariateNormal(rows.center.unsqueeze(0), whole.unsqueeze(0)), 1.0
        for step in range(MAX_STEPS):
            completed = normal.completed(rows.z)
            if step:
                ratio = _ratio(normal, completed, rows.z)
                middle = _weighted_median(ratio, rows.weight)
                scale = max(middle, torch.finfo(torch.float64).tiny)
                before, kept = kept, rows.weight * (ratio <= middle)
                if torch.equal(before, kept):
                    break
            total = normal.expected_of(completed, kept.unsqueeze(0))
            whole_columns = rows.center, rows.spread, PSEUDOCOUNT
            mean, scatter, mass = scatters(total[:, 1:], total[:, 0], *whole_columns)
            normal = MultivariateNormal(mean, scatter / mass.view(-1, 1, 1) + ridge)
        # The median of a chi-squared variable, by Wilson and Hilferty.
        return cls(normal, scale / (1 - 2 / (9 * len(rows.z))) ** 3)

    def typicality(self, z: Tensor) -> np.ndarray:
        """Return how typical rows are: minus their distances from the mean, as standard normal
        variables, so that rows with different gaps are comparable.

        Parameters
        ----------
        z : Tensor of shape (d, batch)
            NaN where a cell is missing; empty rows have the typicality 0.

        Returns
        -------
        typicality : ndarray of shape (batch,)
        """
        n_seen = (~torch.isnan(z)).sum(0)
        ratio = _ratio(self.normal, self.normal.completed(z), z) / self.scale
        variance = 2 / (9 * n_seen.clamp_min(1).to(ratio.dtype))
        unusual = (ratio ** (1 / 3) - (1 - variance)) / variance.sqrt()
        result: np.ndarray = torch.where(n_seen == 0, 0.0, -unusual).numpy()
        return result


def _ratio(normal: MultivariateNormal, completed: CompletedRows, z: Tensor) -> Tensor:
    """Return squared distances of the observed cells, divided by their numbers, (batch,)."""
    # With conditional means for missing cells, the distance is that of the observed cells.
    square = torch.matmul(normal.whitening, completed.deviation)[0].square_().sum(0)
    return square / (~torch.isnan(z)).sum(0).clamp_min(1)


def _is_near(rows: LadderRows, variance: Tensor) -> Tensor:
    """Return the half of the rows, by weight, that is nearest to the columns' medians."""
    low, middle, high = rows.z.nanquantile(rows.z.new_tensor(QUARTILES), dim=1, keepdim=True)
    unit = torch.where(high > low, (high - low) ** 2, variance.unsqueeze(1))
    distance = ((rows.z - middle) ** 2 / unit).nanmean(0)
    return distance <= _weighted_median(distance, rows.weight)


def _inner_variance(z: Tensor) -> Tensor:
    """Return the variances of columns whose extreme cells are moved to their quantiles, (d,)."""
    low, high = z.nanquantile(z.new_tensor(BETWEEN), dim=1, keepdim=True)
    inner = z.clamp(low, high)
    middle = inner.nanmean(1, keepdim=True)
    return (inner - middle).square().nanmean(1).nan_to_num(0.0)


def _weighted_median(values: Tensor, weight: Tensor) -> float:
    """Return the least value that half of the weight does not exceed."""
    order = values.argsort()
    after = weight[order].cumsum(0)
    place = int((after < 0.5 * after[-1]).sum())
    return float(values[order[min(place, len(order) - 1)]])
