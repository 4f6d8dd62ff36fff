"""Downward pass: how much of a row's density goes through each entry of each leaf region."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from sklearn_einet.circuit.circuit import Activations, Circuit

__all__ = ["leaf_log_flows"]


def leaf_log_flows(circuit: Circuit, activations: Activations) -> Tensor:
    """Log-posteriors of the leaf regions' entries, from one downward pass.

    The flow through an entry is its value times the derivative of the root's value with respect to
    it, per unit of the root's value: the posterior probability that the row comes from it. All
    is done with logarithms, so that nothing underflows however unlikely a cell is.

    Parameters
    ----------
    circuit : Circuit
    activations : Activations
        What `Circuit.propagate` returned.

    Returns
    -------
    log_flows : Tensor of shape (n_leaf_regions, K, batch)

    References
    ----------
    A. Darwiche, "A Differential Approach to Inference in Bayesian Networks", JACM 2003.
    """
    derivatives: dict[int, Tensor] = {}
    derivatives[len(circuit.levels)] = torch.zeros_like(activations.regions[-1])
    weights = circuit.by_level(circuit.weights)
    for output in range(len(circuit.levels), 0, -1):
        level, here = circuit.levels[output - 1], derivatives.pop(output)
        if level.mixing is not None:
            region = torch.as_tensor(level.region_of_partition(), device=here.device)
            mixing = level.by_partition(weights[output - 1].mixing)
            here = here[region] + mixing.log().unsqueeze(-1)
        below = level.child_derivatives(activations.regions, weights[output - 1], here)
        for source in level.sources:
            whole = level.gather is None and len(below) == len(activations.regions[source])
            if whole and source not in derivatives:
                derivatives[source] = below  # every row of the source, once and in order
                continue
            if source not in derivatives:
                derivatives[source] = torch.full_like(activations.regions[source], -torch.inf)
            which = np.flatnonzero(level.children[:, 0] == source)
            _add(derivatives[source], level.children[which, 1], below, which)
    return derivatives[0] + activations.regions[0] - activations.root


def _add(total: Tensor, rows: np.ndarray, values: Tensor, which: np.ndarray) -> None:
    """Add values[which] to rows of total, both being logarithms."""
    while len(rows):
        # A region that is a child of several partitions takes one turn for each.
        _, first = np.unique(rows, return_index=True)
        turn = torch.as_tensor(rows[first], device=total.device)
        total[turn] = torch.logaddexp(total[turn], values[torch.as_tensor(which[first])])
        rows, which = np.delete(rows, first), np.delete(which, first)
