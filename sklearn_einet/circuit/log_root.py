"""The root's value as a differentiable function of the leaves and the weights."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from sklearn_einet.circuit.protocols import Passes

__all__ = ["LogRoot"]


class LogRoot(torch.autograd.Function):
    """Both passes as one function that autograd can differentiate once.

    Called as ``LogRoot.apply(passes, leaves, *weights)``, with leaves of shape (n_leaf_regions, K,
    batch), it returns the logarithm of the root's value for every row, (batch,).
    """

    @staticmethod
    def forward(ctx: Any, passes: Passes, leaves: Tensor, *weights: Tensor) -> Tensor:
        is_asked = any(ctx.needs_input_grad)
        state = passes.up(leaves, weights, for_down=is_asked)
        if is_asked:
            ctx.passes, ctx.state = passes, state
            ctx.save_for_backward(*weights)
        return passes.root(state).clone()

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        state, ctx.state = ctx.state, None  # overwritten by the pass
        if state is None:
            raise RuntimeError("The gradient of a pass can be computed only once.")
        flows, gradients = ctx.passes.down(state, grad, ctx.saved_tensors, of_logs=False)
        return None, flows, *gradients
