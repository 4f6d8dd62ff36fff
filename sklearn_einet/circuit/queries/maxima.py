"""The most probable values of missing cells.

With these values at the leaves, the upward pass in the semiring `MAX` finds the most probable
completion of each row.
"""

from __future__ import annotations

import torch
from torch import Tensor

from sklearn_einet.circuit.circuit import Circuit
from sklearn_einet.circuit.queries.joint import log_peaks

__all__ = ["add_peaks", "peak_log_densities"]


def peak_log_densities(circuit: Circuit) -> list[Tensor]:
    """Return logarithms of the largest densities of every leaf group's terms, (n_terms, K) each."""
    return [group.log_peaks() for group in circuit.leaf_groups]


def add_peaks(
    circuit: Circuit, leaves: Tensor, missing: Tensor, evidence: Tensor, peaks: list[Tensor]
) -> None:
    """Multiply the leaf regions' values by the largest densities of the missing cells, in place.

    Parameters
    ----------
    circuit : Circuit
    leaves : Tensor of shape (n_leaf_regions, K, batch)
        Log-densities of the observed cells.
    missing : Tensor of bool of shape (n_features, batch)
        The cells to fill; other cells without evidence are integrated out.
    evidence : Tensor of shape (n_features, batch)
        The observed cells, NaN elsewhere; joint densities of missing cells depend on them.
    peaks : list of Tensor
        As from `peak_log_densities`.
    """
    for group, peak in zip(circuit.leaf_groups, peaks, strict=True):
        for part, terms in group.terms.blocks(8 * circuit.K * missing.shape[1]):
            here = missing[group.columns[terms.column]].unsqueeze(1)
            leaves.index_add_(0, terms.region, peak[part].unsqueeze(2) * here)
    for joint in circuit.joint_groups:
        z = joint.axis(evidence)
        left_out = torch.isnan(z) & ~missing[joint.columns]
        share = log_peaks(joint, z, left_out).view(len(joint.regions), joint.K, -1)
        leaves.index_add_(0, joint.regions, share.to(leaves.dtype))
