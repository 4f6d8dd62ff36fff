"""Joint leaf regions in queries: cells and missing cells under every density."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor

from sklearn_einet.circuit.leaves.joint_normal import JointGroup
from sklearn_einet.families.multivariate_normal import CompletedRows, patterns_of
from sklearn_einet.families.normal import LOG_SQRT_2PI

__all__ = [
    "cell_log_densities",
    "completed_blocks",
    "drawn",
    "log_peaks",
    "missing_variances",
]

# Memory for the matrices of a block of walks.
WALK_BYTES = 2**26


def completed_blocks(group: JointGroup, z: Tensor) -> Iterator[tuple[slice, CompletedRows]]:
    """Yield some rows (d, batch) at a time, with the missing cells completed by every density."""
    for part in group.blocks(z):
        yield part, group.normals.completed(z[:, part])


def missing_variances(group: JointGroup, completed: CompletedRows) -> Tensor:
    """Return variances of missing cells given the observed ones, 0 for these, (n, d, batch)."""
    result = torch.zeros_like(completed.deviation)
    for each in completed.completions:
        variance = each.covariance.diagonal().permute(2, 0, 1)  # (p, patterns, n)
        of_rows = variance[:, each.gaps.pattern].permute(2, 0, 1)
        result[:, each.gaps.of_rows, each.gaps.rows] = of_rows
    return result


def cell_log_densities(group: JointGroup, z: Tensor, evidence: Tensor) -> Tensor:
    """Return log-densities of cells given the other cells of the evidence, (n, d, batch).

    Parameters
    ----------
    group : JointGroup
    z : Tensor of shape (d, batch)
        The cells, on their axes.
    evidence : Tensor of shape (d, batch)
        The same, with NaN for cells that are not evidence for the others.

    Returns
    -------
    log_densities : Tensor of shape (n, d, batch)
        Relative to the columns' own distributions; NaN where z is.
    """
    normals = group.normals
    completed = normals.completed(evidence)
    slope = torch.bmm(normals.precision, completed.deviation)
    precision = normals.precision.diagonal(dim1=1, dim2=2).unsqueeze(2).expand_as(slope).clone()
    for each in completed.completions:
        columns = normals.precision[:, :, each.gaps.missing]  # (n, d, p, patterns)
        known = torch.einsum("nipg,pqgn,niqg->gin", columns, each.covariance, columns)
        precision[:, :, each.gaps.rows] -= known[each.gaps.pattern].permute(2, 1, 0)
    unused = torch.isnan(evidence)
    variance = torch.where(unused, missing_variances(group, completed), 1 / precision)
    deviation = z - normals.mean.unsqueeze(2) - completed.deviation
    distance = torch.where(unused, deviation, slope * variance)
    value = -0.5 * (distance**2 / variance + variance.log()) - LOG_SQRT_2PI
    value = value - group.log_reference(z)
    return value.masked_fill_(torch.isnan(z), torch.nan)


def log_peaks(group: JointGroup, z: Tensor, left_out: Tensor | None = None) -> Tensor:
    """Return logarithms of the largest densities of the missing cells given the observed ones.

    Parameters
    ----------
    group : JointGroup
    z : Tensor of shape (d, batch)
    left_out : Tensor of bool of shape (d, batch), default=None
        Missing cells to integrate out; None: no cells.

    Returns
    -------
    log_peaks : Tensor of shape (n, batch)
        Per unit of the columns; 0 for rows without missing cells.
    """
    result = z.new_zeros(len(group.normals), z.shape[1])
    for part, completed in completed_blocks(group, z):
        values = result[:, part]
        for each in completed.completions:
            rows, missing = each.gaps.rows, each.gaps.of_rows
            peak = 0.5 * each.log_det_precision[each.gaps.pattern].T
            values[:, rows] = peak - len(missing) * LOG_SQRT_2PI
        missing = torch.isnan(z[:, part])
        if left_out is not None and bool(left_out[:, part].any()):
            missing &= ~left_out[:, part]
            values -= _peaks_given_all(group, left_out[:, part])
        values += _log_slopes(group, completed, missing)
    return result


def _peaks_given_all(group: JointGroup, cells: Tensor) -> Tensor:
    """Return logarithms of the largest densities of cells (d, batch) given all others, (n, batch).

    Dividing a peak over more cells by these gives the peak over the others alone."""
    patterns, of, _ = patterns_of(cells)
    peaks = group.center.new_zeros(len(group.normals), patterns.shape[1])
    for number, pattern in enumerate(patterns.T):
        which = torch.nonzero(pattern).view(-1)
        block = group.normals.precision[:, which.unsqueeze(1), which]
        peaks[:, number] = 0.5 * torch.logdet(block) - len(which) * LOG_SQRT_2PI
    return peaks[:, of]


def _log_slopes(group: JointGroup, completed: CompletedRows, missing: Tensor) -> Tensor:
    """Return log-slopes of the axes at the means of missing cells, summed, (n, batch)."""
    means = (completed.deviation + group.normals.mean.unsqueeze(2)).transpose(0, 1)
    slopes = [
        family.log_axis_slope(family.from_axis(mean)) for family, mean in group.by_family(means)
    ]
    return (torch.cat(slopes) * missing.unsqueeze(1)).sum(0)


def drawn(
    group: JointGroup, z: Tensor, unit: Tensor, random_state: np.random.RandomState | None
) -> Tensor:
    """Return rows with missing cells filled, each by one of the densities.

    Parameters
    ----------
    group : JointGroup
    z : Tensor of shape (d, n_rows)
        NaN where missing.
    unit : Tensor of int of shape (n_rows,)
        The density of each row.
    random_state : RandomState or None
        None: use conditional means instead of draws.
    """
    result = z.clone()
    d = len(z)
    n_missing = torch.isnan(z).sum(0)
    step = max(1, WALK_BYTES // (8 * d * d))
    for p in torch.unique(n_missing).tolist():
        rows = torch.nonzero(n_missing == p).view(-1)
        noise = None
        if random_state is not None:
            noise = torch.as_tensor(random_state.standard_normal((len(rows), p))).to(z.device)
        if p == d:
            result[:, rows] = _whole_rows(group, unit[rows], noise)
        elif p > 0:
            for start in range(0, len(rows), step):
                part = slice(start, start + step)
                _complete(
                    group,
                    result,
                    rows[part],
                    unit[rows[part]],
                    noise[part] if noise is not None else None,
                )
    return result


def _whole_rows(group: JointGroup, unit: Tensor, noise: Tensor | None) -> Tensor:
    """Return rows of densities, (d, n_rows); means without noise (n_rows, d)."""
    result = group.normals.mean[unit]
    if noise is not None:
        for number in torch.unique(unit).tolist():
            rows = unit == number
            result[rows] += noise[rows] @ group.normals.cholesky[number].T
    return result.T


def _complete(
    group: JointGroup, result: Tensor, rows: Tensor, unit: Tensor, noise: Tensor | None
) -> None:
    """Fill missing cells, the same number in each of the rows, in place."""
    z = result[:, rows].T
    missing = torch.isnan(z)
    column = torch.nonzero(missing)[:, 1].view(len(rows), -1)
    mean, precision = group.normals.mean[unit], group.normals.precision[unit]
    deviation = torch.where(missing, 0.0, z - mean)
    own = precision.gather(1, column.unsqueeze(2).expand(-1, -1, z.shape[1]))
    slope = torch.bmm(own, deviation.unsqueeze(2))
    block = own.gather(2, column.unsqueeze(1).expand(-1, column.shape[1], -1))
    factor = torch.linalg.cholesky(block)
    shift = -torch.cholesky_solve(slope, factor)
    if noise is not None:
        upper = factor.transpose(1, 2)
        shift = shift + torch.linalg.solve_triangular(upper, noise.unsqueeze(2), upper=True)
    values = mean.gather(1, column) + shift.squeeze(2)
    result[column, rows.unsqueeze(1)] = values
