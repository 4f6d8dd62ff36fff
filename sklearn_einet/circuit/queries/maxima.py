"""Upward pass with maxima in place of sums: the most probable way to complete each row."""

from __future__ import annotations

import torch
from torch import Tensor

from sklearn_einet.circuit.circuit import Activations, Circuit

__all__ = ["add_peaks", "peak_log_densities", "propagate_maxima"]


def peak_log_densities(circuit: Circuit) -> list[Tensor]:
    """Logarithms of the largest densities of every leaf group's terms, (n_terms, K) each."""
    result = []
    for group in circuit.leaf_groups:
        phi = group.phi.flatten(0, 1)[group.terms.slot]
        result.append(group.family.log_prob(group.family.peak(phi), phi))
    return result


def add_peaks(circuit: Circuit, leaves: Tensor, missing: Tensor, peaks: list[Tensor]) -> None:
    """Multiply the leaf regions' values by the largest densities of the missing cells, in place.

    Parameters
    ----------
    circuit : Circuit
    leaves : Tensor of shape (n_leaf_regions, K, batch)
        Log-densities of the observed cells.
    missing : Tensor of bool of shape (n_features, batch)
    peaks : list of Tensor
        As from `peak_log_densities`.
    """
    for group, peak in zip(circuit.leaf_groups, peaks, strict=True):
        for part, terms in group.terms.blocks(8 * circuit.K * missing.shape[1]):
            here = missing[group.columns[terms.column]].unsqueeze(1)
            leaves.index_add_(0, terms.region, peak[part].unsqueeze(2) * here)


def propagate_maxima(circuit: Circuit, leaves: Tensor) -> Activations:
    """The upward pass, every sum replaced by its largest term.

    Parameters
    ----------
    circuit : Circuit
    leaves : Tensor of shape (n_leaf_regions, K, batch)
    """
    activations = Activations([leaves], [])
    all_weights = circuit.by_level(circuit.weights)
    for level, weights in zip(circuit.levels, all_weights, strict=True):
        values = level.partition_maxima(activations.regions, weights)
        activations.partitions.append(values)
        if level.mixing is not None:
            rows = torch.as_tensor(level.mixing, device=leaves.device)
            values = (values[rows] + weights.mixing.log().unsqueeze(-1)).amax(1)
        activations.regions.append(values)
    return activations
