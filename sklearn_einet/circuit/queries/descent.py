"""The walk down the layers of a circuit, from the root to the leaf regions."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from torch import Tensor

from sklearn_einet.circuit.circuit import Circuit
from sklearn_einet.circuit.layers.base import Layer

__all__ = ["descend"]

State = TypeVar("State")


def descend(
    circuit: Circuit,
    root: State,
    visit: Callable[[int, Layer, Tensor, State], Tensor],
    receive: Callable[[State | None, Layer, int, Tensor], State],
) -> State:
    """Descend through all layers, with one state for every output.

    Parameters
    ----------
    circuit : Circuit
    root : State
        Of the last output.
    visit : callable
        Maps the number of a layer, the layer, its weights and the state of its output to a message
        for the children.
    receive : callable
        Maps the state of an output so far (None at first), a layer above it, the number of the
        output, and the message from that layer to the updated state.

    Returns
    -------
    leaves : State
        Of the leaf regions' output.
    """
    states: dict[int, State] = {len(circuit.layers): root}
    for number in reversed(range(len(circuit.layers))):
        layer = circuit.layers[number]
        below = visit(number, layer, circuit.weights[number], states.pop(number + 1))
        for output in layer.layout.sources:
            states[output] = receive(states.get(output), layer, output, below)
    return states[0]
