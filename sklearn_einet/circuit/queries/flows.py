"""Downward pass: how much of a row's density goes through each unit of each leaf region."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from sklearn_einet.circuit.circuit import Activations, Circuit
from sklearn_einet.circuit.layers.base import Layer
from sklearn_einet.circuit.queries.descent import descend

__all__ = ["leaf_log_flows"]


def leaf_log_flows(circuit: Circuit, activations: Activations) -> Tensor:
    """Compute log-posteriors of the leaf regions' units by one downward pass.

    The flow through a unit is its value times the derivative of the root's value with respect to
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
    outputs = activations.outputs

    def visit(number: int, layer: Layer, weights: Tensor, derivatives: Tensor) -> Tensor:
        return layer.derivative(layer.layout.join(outputs), weights, derivatives)

    def receive(total: Tensor | None, layer: Layer, output: int, below: Tensor) -> Tensor:
        if total is None and layer.layout.gather is None and len(below) == len(outputs[output]):
            return below  # every row of the output, once and in order
        if total is None:
            total = torch.full_like(outputs[output], -torch.inf)
        which = np.flatnonzero(layer.children[:, 0] == output)
        _add(total, layer.children[which, 1], below, which)
        return total

    derivatives = descend(circuit, torch.zeros_like(outputs[-1]), visit, receive)
    return derivatives + outputs[0] - activations.root


def _add(total: Tensor, rows: np.ndarray, values: Tensor, which: np.ndarray) -> None:
    """Add values[which] to rows of total, both being logarithms."""
    while len(rows):
        # A region that is a child of several partitions takes one turn for each.
        _, first = np.unique(rows, return_index=True)
        turn = torch.as_tensor(rows[first], device=total.device)
        total[turn] = torch.logaddexp(total[turn], values[torch.as_tensor(which[first])])
        rows, which = np.delete(rows, first), np.delete(which, first)
