"""Probabilities of boxes."""

from __future__ import annotations

import torch
from torch import Tensor

from sklearn_einet.circuit.circuit import Circuit

__all__ = ["interval_log_values"]


def interval_log_values(circuit: Circuit, low: Tensor, high: Tensor) -> Tensor:
    """Return log-probabilities of boxes at the leaf regions, to be propagated like densities.

    Parameters
    ----------
    circuit : Circuit
    low, high : Tensor of shape (n_features, batch)
        The bounds of every column, infinite where it is free.

    Returns
    -------
    leaves : Tensor of shape (n_leaf_regions, K, batch)
    """
    leaves = circuit.nothing.repeat(1, 1, low.shape[1])
    bounded = ((low > -torch.inf) | (high < torch.inf)).any(1)
    for group in circuit.leaf_groups:
        width = 8 * low.shape[1] * max(circuit.K, group.family.n_statistics)
        for _, terms in group.terms.where(bounded[group.columns]).blocks(width):
            columns = group.columns[terms.column]
            share = group.term_log_intervals(low[columns], high[columns], terms)
            leaves.index_add_(0, terms.region, share)
    return leaves
