"""The torch backend: the reference, and the one for GPUs and machines without a compiler.

Passes call the layers' functions one after the other, without autograd.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from sklearn_einet.circuit.layers.base import Layer
from sklearn_einet.circuit.scratch import blocks
from sklearn_einet.circuit.semirings import SUM, Semiring

__all__ = ["TorchBackend", "TorchPasses"]


class _State(NamedTuple):
    """Outputs, and the sums of every layer if a downward pass follows."""

    outputs: list[Tensor]
    sums: list[Tensor]


class TorchPasses:
    """Passes through layers; see `sklearn_einet.circuit.protocols.Passes`.

    Parameters
    ----------
    layers : sequence of Layer
    semiring : Semiring, default=SUM
    """

    def __init__(self, layers: Sequence[Layer], semiring: Semiring = SUM) -> None:
        self._layers = layers
        self._semiring = semiring

    def up(self, leaves: Tensor, weights: Sequence[Tensor], *, for_down: bool = False) -> _State:
        """Make the upward pass."""
        state = _State([leaves], [])
        for layer, w in zip(self._layers, weights, strict=True):
            output, sums = layer.forward(layer.layout.join(state.outputs), w, self._semiring)
            state.outputs.append(output)
            if for_down:
                state.sums.append(sums)
        return state

    def root(self, state: _State) -> Tensor:
        """Return the logarithm of the root's value for every row."""
        return state.outputs[-1][0, 0]

    def outputs(self, state: _State) -> list[Tensor]:
        """Return the output of the leaf regions and of every layer."""
        return list(state.outputs)

    def down(
        self,
        state: _State,
        upstream: Tensor,
        weights: Sequence[Tensor],
        *,
        of_logs: bool = True,
    ) -> tuple[Tensor, list[Tensor]]:
        """Make the downward pass."""
        outputs, counts = state.outputs, []
        flows: list[Tensor | None] = [None] * len(outputs)
        flows[-1] = upstream.view_as(outputs[-1])
        for layer, w in zip(reversed(self._layers), reversed(weights), strict=True):
            flow = flows.pop()
            assert flow is not None
            outputs.pop()
            x = layer.layout.join(outputs)
            below, gradient = layer.gradients(x, w, state.sums.pop(), flow)
            counts.append(gradient.mul_(w) if of_logs else gradient)
            layer.layout.add_to(flows, outputs, below)
        (leaves,) = flows
        assert leaves is not None
        return leaves, counts[::-1]


class TorchBackend:
    """Operations by torch; see `sklearn_einet.circuit.protocols.Backend`."""

    name = "torch"

    def passes(
        self,
        layers: Sequence[Layer],
        shapes: Sequence[tuple[int, int]],
        dtype: torch.dtype,
    ) -> TorchPasses:
        """Return the passes through layers."""
        return TorchPasses(layers)

    def gathered_product(self, factors: Tensor, bias: Tensor, x: Tensor, index: Tensor) -> Tensor:
        """Multiply matrices with gathered rows."""
        n, slots, t, k = factors.shape
        batch = x.shape[-1]
        products = x.new_empty(n, k, batch)
        flat = factors.reshape(n, slots * t, k).transpose(1, 2)
        for block, rows in blocks(n, x, (slots, t, batch)):
            torch.index_select(x, 0, index[block].view(-1), out=rows.view(-1, t, batch))
            torch.bmm(flat[block], rows.view(-1, slots * t, batch), out=products[block])
        return products.sub_(bias.unsqueeze(-1))

    def gathered_gradients(self, grad: Tensor, x: Tensor, index: Tensor) -> tuple[Tensor, Tensor]:
        """Return the gradients of products of gathered rows."""
        n, k, batch = grad.shape
        slots, t = index.shape[1], x.shape[1]
        result = grad.new_empty(n, slots, t, k)
        flat = result.view(n, slots * t, k)
        for block, rows in blocks(n, x, (slots, t, batch)):
            torch.index_select(x, 0, index[block].view(-1), out=rows.view(-1, t, batch))
            gathered = rows.view(-1, slots * t, batch)
            torch.bmm(gathered, grad[block].transpose(1, 2), out=flat[block])
        return result, grad.sum(-1)

    def pair_counts(self, children: Tensor, partitions: Tensor) -> Tensor:
        """Count joint occurrences of pairs of units and partitions' units."""
        (n, k_out, batch), k = partitions.shape, children.shape[1]
        counts = children.new_empty(n, k_out, k * k)
        for block, outer in blocks(n, children, (k, k, batch)):
            left, right = children[2 * block.start : 2 * block.stop].unflatten(0, (-1, 2)).unbind(1)
            torch.mul(left.unsqueeze(2), right.unsqueeze(1), out=outer)
            torch.bmm(partitions[block], outer.view(-1, k * k, batch).mT, out=counts[block])
        return counts.view(n, k_out, k, k)

    def em_update_(
        self,
        average: Tensor,
        counts: Tensor,
        weights: Tensor,
        keep: Any,
        add: Any,
        smoothing: float,
        idle: bool,
    ) -> None:
        """Make a step of stochastic EM."""
        average.mul_(keep).add_(counts * add)
        new = average + smoothing
        new /= new.sum(1, keepdim=True)
        if idle:
            new = torch.where(average.sum(1, keepdim=True) == 0, weights, new)
        weights.copy_(new)
