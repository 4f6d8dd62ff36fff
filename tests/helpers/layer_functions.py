"""Functions of layers for autograd, which takes the gradients that the layers write out."""

from __future__ import annotations

import torch

from sklearn_einet.circuit.layers import cp, einsum, mixing
from sklearn_einet.circuit.semirings import SUM

__all__ = ["log_cp", "log_einsum", "log_mix", "written_out_output"]


class _WrittenOut(torch.autograd.Function):
    """A function that returns logarithms and sums, and one that returns its gradients."""

    @staticmethod
    def forward(ctx, function, gradients, x, weights):
        logs, sums = function(x, weights)
        ctx.gradients = gradients
        ctx.save_for_backward(x, weights, sums)
        return logs

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, grad):
        return None, None, *ctx.gradients(*ctx.saved_tensors, grad)


def written_out_output(layer, x, weights):
    """Return the output of a layer."""
    return _WrittenOut.apply(lambda *a: layer.forward(*a, SUM), layer.gradients, x, weights)


def log_einsum(x, weights, gather=None, semiring=SUM):
    """See `sklearn_einet.circuit.layers.einsum`."""

    def gradients(x, weights, sums, grad):
        return einsum.einsum_gradients(x, weights, gather, sums, grad)

    def function(*a):
        return einsum.log_einsum(*a, gather, semiring)

    return _WrittenOut.apply(function, gradients, x, weights)


def log_cp(x, weights, wiring, semiring=SUM):
    """See `sklearn_einet.circuit.layers.cp`."""

    def gradients(x, weights, sums, grad):
        return cp.cp_gradients(x, weights, wiring, sums, grad)

    return _WrittenOut.apply(lambda *a: cp.log_cp(*a, wiring, semiring), gradients, x, weights)


def log_mix(x, weights, slot, semiring=SUM):
    """See `sklearn_einet.circuit.layers.mixing`."""

    def gradients(x, weights, sums, grad):
        return mixing.mixing_gradients(x, weights, slot, sums, grad)

    def function(*a):
        return mixing.log_mix(*a, slot, semiring)

    return _WrittenOut.apply(function, gradients, x, weights)
