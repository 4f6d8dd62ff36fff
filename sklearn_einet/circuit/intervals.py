"""Probabilities of boxes."""

from __future__ import annotations

from torch import Tensor

from sklearn_einet.circuit.circuit import Circuit

__all__ = ["interval_log_values"]


def interval_log_values(circuit: Circuit, low: Tensor, high: Tensor) -> Tensor:
    """Log-probabilities of boxes at the leaf regions, to be propagated like densities.

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
    bounded = ((low > -float("inf")) | (high < float("inf"))).any(1)
    for group in circuit.leaf_groups:
        phi = group.phi.flatten(0, 1)
        width = 8 * circuit.K * low.shape[1] * group.family.n_statistics
        for _, terms in group.terms.where(bounded[group.columns]).blocks(width):
            columns = group.columns[terms.column]
            share = group.family.log_interval(
                low[columns].unsqueeze(2), high[columns].unsqueeze(2), phi[terms.slot].unsqueeze(1)
            )
            leaves.index_add_(0, terms.region, share.transpose(1, 2))
    return leaves
