"""The downward pass: the share of a row's density through each unit of each leaf region."""

from __future__ import annotations

import torch
from torch import Tensor

from sklearn_einet.circuit.circuit import Activations, Circuit
from sklearn_einet.circuit.layers.base import Layer
from sklearn_einet.circuit.queries.descent import descend

__all__ = ["leaf_log_flows"]


def leaf_log_flows(circuit: Circuit, activations: Activations) -> Tensor:
    """Compute log-posteriors of the leaf regions' units by one downward pass.

    The flow through a unit is its value times the derivative of the root's value with respect to
    it, divided by the root's value: the posterior probability that the row comes from the unit.
    Logarithms are used throughout, so that nothing underflows however unlikely a cell is.

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
            return below  # every row of the output once, in order
        if total is None:
            total = torch.full_like(outputs[output], -torch.inf)
        for rows, children in layer.layout.turns[output]:
            turn = torch.as_tensor(rows, device=total.device)
            more = below[torch.as_tensor(children, device=total.device)]
            total[turn] = torch.logaddexp(total[turn], more)
        return total

    derivatives = descend(circuit, torch.zeros_like(outputs[-1]), visit, receive)
    return derivatives + outputs[0] - activations.root
