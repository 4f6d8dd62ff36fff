"""Probabilities of boxes."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from sklearn_einet.circuit.circuit import Circuit
from sklearn_einet.circuit.leaves.joint_normal import JointGroup
from sklearn_einet.families.normal_boxes import log_box_probability

__all__ = ["interval_log_values"]


def interval_log_values(circuit: Circuit, low: Tensor, high: Tensor) -> tuple[Tensor, float]:
    """Return log-probabilities of boxes at the leaf regions, to be propagated like densities.

    Parameters
    ----------
    circuit : Circuit
    low, high : Tensor of shape (n_features, batch)
        The bounds of every column; infinite for free columns.

    Returns
    -------
    leaves : Tensor of shape (n_leaf_regions, K, batch)
    error : float
        The largest standard error of a probability; 0 unless three or more columns of a joint
        density are bounded.
    """
    leaves = circuit.nothing.repeat(1, 1, low.shape[1])
    bounded = ((low > -torch.inf) | (high < torch.inf)).any(1)
    for group in circuit.leaf_groups:
        width = 8 * low.shape[1] * max(circuit.K, group.family.n_statistics)
        for _, terms in group.terms.where(bounded[group.columns]).blocks(width):
            columns = group.columns[terms.column]
            share = group.term_log_intervals(low[columns], high[columns], terms)
            leaves.index_add_(0, terms.region, share)
    largest_error = 0.0
    for joint in circuit.joint_groups:
        values, error = _joint_log_intervals(joint, low, high)
        share = torch.from_numpy(values.T).to(leaves).view(len(joint.regions), joint.K, -1)
        leaves.index_add_(0, joint.regions, share)
        largest_error = max(largest_error, float(error.max(initial=0.0)))
    return leaves, largest_error


def _joint_log_intervals(
    group: JointGroup, low: Tensor, high: Tensor
) -> tuple[np.ndarray, np.ndarray]:
    """Return log-probabilities of boxes under joint densities, and the errors of the
    probabilities, (batch, n_densities)."""
    ends = []
    for bound in (low, high):
        parts = [family.axis(x) for family, x in group.by_family(bound[group.columns])]
        ends.append(torch.cat(parts).T.cpu().numpy())
    normals = group.normals
    mean, covariance = normals.mean.cpu().numpy(), normals.covariance.cpu().numpy()
    return log_box_probability(ends[0], ends[1], mean, covariance)
