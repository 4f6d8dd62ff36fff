"""The backend of torch: the reference, and what GPUs and machines without a compiler run.

Passes are layer functions, one after the other, and autograd through them.
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
    """Outputs, and the weights that they can be differentiated with respect to."""

    outputs: list[Tensor]
    weights: list[Tensor]


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
        leaves, kept = leaves.detach(), [w.detach() for w in weights]
        if for_down:
            leaves.requires_grad_()
            for w in kept:
                w.requires_grad_()
        with torch.set_grad_enabled(for_down):
            return _State(self._outputs(leaves, kept), kept)

    def _outputs(self, leaves: Tensor, weights: Sequence[Tensor]) -> list[Tensor]:
        outputs = [leaves]
        own_leaves = self._own_leaves(leaves)
        for layer, w, own in zip(self._layers, weights, own_leaves, strict=True):
            outputs.append(layer.forward(layer.layout.join(outputs, own), w, self._semiring))
        return outputs

    def _own_leaves(self, leaves: Tensor) -> list[Tensor | None]:
        """Return the leaf regions of each layer, where they need not be cut out one by one.

        Cut in one go, they are joined in one step again by autograd.
        """
        rows = [layer.layout.leaf_rows for layer in self._layers]
        sizes = [each.stop - each.start for each in rows]
        if sum(sizes) != len(leaves) or max(sizes) == len(leaves):
            return [leaves if size == len(leaves) else None for size in sizes]
        return list(leaves.split(sizes[::-1]))[::-1]

    def root(self, state: _State) -> Tensor:
        """Return the logarithm of the root's value for every row."""
        return state.outputs[-1][0, 0].detach()

    def outputs(self, state: _State) -> list[Tensor]:
        """Return the output of the leaf regions and of every layer."""
        return [output.detach() for output in state.outputs]

    def down(
        self, state: _State, upstream: Tensor, weights: Sequence[Tensor]
    ) -> tuple[Tensor, list[Tensor]]:
        """Make the downward pass."""
        inputs, root = [state.outputs[0], *state.weights], state.outputs[-1]
        flows, *gradients = torch.autograd.grad(root, inputs, upstream.view_as(root))
        with torch.no_grad():
            return flows, [g.mul_(w) for g, w in zip(gradients, state.weights, strict=True)]

    def log_root(self, leaves: Tensor, weights: Sequence[Tensor]) -> Tensor:
        """Return the logarithm of the root's value for every row; differentiable."""
        return self._outputs(leaves, weights)[-1][0, 0]


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
        """Count pairs of units and what they are joint with."""
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
