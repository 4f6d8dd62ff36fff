"""Rows with columns known to lie inside ranges or among given values."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from sklearn_einet.circuit.circuit import Circuit
from sklearn_einet.circuit.leaves.base import LeafGroup
from sklearn_einet.circuit.leaves.joint_normal import JointGroup
from sklearn_einet.circuit.queries.joint import completed_blocks
from sklearn_einet.families.multivariate_normal import CompletedRows, Gaps
from sklearn_einet.families.normal_boxes import log_box_probability

__all__ = ["Event", "axis_ends", "conditionals", "event_log_densities"]

# Standard error of a probability as a share of it, because unlikely events are conditioned on,
# too.
RELATIVE_TOLERANCE = 1e-3


@dataclass(frozen=True)
class Event:
    """A product event: restrictions of single columns of a circuit.

    Attributes
    ----------
    low, high : ndarray of shape (n_features,)
        Ends of ranges in the units of the circuit, both inclusive; infinite without a range.
    sets : dict of int to ndarray
        For columns of discrete families, their allowed distinct values. Such columns have no
        range.
    """

    low: np.ndarray
    high: np.ndarray
    sets: Mapping[int, np.ndarray] = field(default_factory=dict)

    @property
    def has_range(self) -> np.ndarray:
        """Which columns have a range, (n_features,)."""
        return (self.low > -np.inf) | (self.high < np.inf)


def event_log_densities(
    circuit: Circuit, columns: Tensor, event: Event
) -> tuple[Tensor, Tensor, float]:
    """Return log-densities of rows at the leaf regions, times the probability that their missing
    cells belong to an event.

    Parameters
    ----------
    circuit : Circuit
    columns : Tensor of shape (n_features, batch)
        NaN where only the event is known, and so in all columns that it restricts.
    event : Event

    Returns
    -------
    leaves : Tensor of shape (n_leaf_regions, K, batch)
        Relative to the columns' own distributions, to be propagated.
    base : Tensor of shape (batch,)
        Log-densities of the rows under those.
    error : float
        As in `interval_log_values`.
    """
    leaves, base = circuit.leaf_log_densities(columns, circuit.parameters())
    leaves = leaves.clone()
    low, high, has_range = (
        torch.as_tensor(each, device=circuit.device)
        for each in (event.low, event.high, event.has_range)
    )
    for group in circuit.leaf_groups:
        for _, terms in group.terms.where(has_range[group.columns]).blocks(8 * circuit.K):
            own = group.columns[terms.column]
            share = group.term_log_intervals(low[own].unsqueeze(1), high[own].unsqueeze(1), terms)
            leaves.index_add_(0, terms.region, share.to(leaves).expand(-1, -1, leaves.shape[2]))
        for region, share in _set_terms(group, event):
            leaves.index_add_(0, region, share.to(leaves).expand(-1, -1, leaves.shape[2]))
    largest_error = 0.0
    for joint in circuit.joint_groups:
        bounded = np.flatnonzero(event.has_range[joint.columns.cpu().numpy()])
        if len(bounded):
            values, error = _joint_log_ranges(joint, columns, event, bounded)
            share = torch.from_numpy(values).to(leaves).view(len(joint.regions), joint.K, -1)
            leaves.index_add_(0, joint.regions, share)
            largest_error = max(largest_error, error)
    return leaves, base, largest_error


def _set_terms(group: LeafGroup, event: Event) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield leaf regions, and the log-probabilities of a column's set there, (n_terms, K, 1)."""
    for position, column in enumerate(group.columns.tolist()):
        if column not in event.sets:
            continue
        own = torch.zeros(len(group.columns), dtype=torch.bool, device=group.columns.device)
        own[position] = True
        values = torch.as_tensor(event.sets[column], device=own.device)
        k = group.phi.shape[-1]
        for _, terms in group.terms.where(own).blocks(8 * k * max(len(values), 1)):
            phi = group.phi.flatten(0, 1)[terms.slot]
            share = group.family.log_probabilities(values, phi).logsumexp(-2)
            yield terms.region, share.unsqueeze(2)


def axis_ends(
    group: JointGroup, event: Event, bounded: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Return the ends of ranges on the axes of the families of some of a group's columns."""
    ends = []
    for bound in (event.low, event.high):
        own = torch.from_numpy(bound).to(group.columns.device)[group.columns].unsqueeze(1)
        parts = [family.axis(x) for family, x in group.by_family(own)]
        ends.append(torch.cat(parts)[:, 0].cpu().numpy()[bounded])
    return ends[0], ends[1]


def _joint_log_ranges(
    group: JointGroup, columns: Tensor, event: Event, bounded: np.ndarray
) -> tuple[np.ndarray, float]:
    """Return log-probabilities of ranges given the observed cells of rows under joint densities,
    (n_densities, batch), and the largest error."""
    low, high = axis_ends(group, event, bounded)
    z = group.axis(columns)
    # Rows with the same values in the group's columns have the same probabilities.
    known, which = torch.unique(z.nan_to_num(nan=torch.inf), dim=1, return_inverse=True)
    known = torch.where(torch.isinf(known), torch.nan, known)
    result, largest = np.zeros((len(group.normals), known.shape[1])), 0.0
    for part, completed in completed_blocks(group, known):
        for rows, mean, covariance in conditionals(group, completed, bounded):
            values, error = _box_probabilities(low, high, mean, covariance)
            result[:, part][:, rows] = values
            largest = max(largest, float(error.max(initial=0.0)))
    return result[:, which.cpu().numpy()], largest


def conditionals(
    group: JointGroup, completed: CompletedRows, columns: np.ndarray
) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """Yield rows with the same missing cells, and the distributions of some of these: means
    (n_densities, n_rows, d) and covariances (n_densities, d, d)."""
    means = completed.deviation + group.normals.mean.unsqueeze(2)
    for each in completed.completions:
        for pattern in range(each.gaps.missing.shape[1]):
            rows, place = _of_pattern(each.gaps, pattern, columns)
            covariance = each.covariance[:, :, pattern][place.unsqueeze(1), place]
            yield (
                rows.cpu().numpy(),
                means[:, columns][:, :, rows].transpose(1, 2).cpu().numpy(),
                covariance.permute(2, 0, 1).cpu().numpy(),
            )


def _of_pattern(gaps: Gaps, pattern: int, columns: np.ndarray) -> tuple[Tensor, Tensor]:
    """Return the rows of a pattern of gaps, and the positions of some columns among its gaps."""
    missing = gaps.missing[:, pattern]
    wanted = torch.as_tensor(columns, device=missing.device).unsqueeze(1)
    return gaps.rows[gaps.pattern == pattern], (missing == wanted).to(torch.int64).argmax(1)


def _box_probabilities(
    low: np.ndarray, high: np.ndarray, mean: np.ndarray, covariance: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Return log-probabilities of one box and their errors, (n_densities, n_rows), given means
    (n_densities, n_rows, d) and covariances (n_densities, d, d)."""
    n, n_rows, d = mean.shape
    values, error = np.empty((2, n, n_rows))
    if n_rows < n:
        for row in range(n_rows):
            found = log_box_probability(
                low[None], high[None], mean[:, row], covariance, RELATIVE_TOLERANCE
            )
            values[:, row], error[:, row] = (each[0] for each in found)
    else:
        for number in range(n):
            lower, upper = low - mean[number], high - mean[number]
            found = log_box_probability(
                lower, upper, np.zeros((1, d)), covariance[[number]], RELATIVE_TOLERANCE
            )
            values[number], error[number] = (each[:, 0] for each in found)
    return values, error
