"""The arithmetic of a pass: sums or maxima of products, given logarithms.

Both semirings compute with lifted numbers. For sums, these are linear, in units of their maximum,
so that nothing overflows or underflows. For maxima, they are the logarithms themselves.
"""

from __future__ import annotations

from abc import ABC, abstractmethod

import torch
from torch import Tensor

from sklearn_einet.circuit.scratch import blocks

__all__ = ["MAX", "SUM", "Semiring", "finite_maximum", "ratio", "scaled_exp"]


def finite_maximum(x: Tensor, dim: int) -> Tensor:
    """Return the maximum along an axis, kept; the least float where everything is -inf,
    so that -inf - max is -inf."""
    return x.amax(dim, keepdim=True).clamp_min_(torch.finfo(x.dtype).min)


def scaled_exp(x: Tensor, dim: int = 1) -> tuple[Tensor, Tensor]:
    """Return exp(x - maximum), and the finite maximum along an axis, kept."""
    maximum = finite_maximum(x, dim)
    return (x - maximum).exp_(), maximum


def ratio(grad: Tensor, sums: Tensor) -> Tensor:
    """Return grad / sums, and 0 where a sum is 0: then the gradients of its terms are 0, too."""
    return torch.where(sums >= torch.finfo(sums.dtype).tiny, grad / sums, 0)


class Semiring(ABC):
    """The two operations of a circuit's nodes."""

    @abstractmethod
    def lift(self, x: Tensor, dim: int) -> tuple[Tensor, Tensor]:
        """Return lifted numbers, given logarithms, and their scale along an axis, kept."""

    @abstractmethod
    def lower(self, values: Tensor, scale: Tensor) -> Tensor:
        """Return logarithms: the inverse of `lift`."""

    @abstractmethod
    def lift_weights(self, weights: Tensor) -> Tensor:
        """Return lifted weights, given linear ones."""

    @abstractmethod
    def multiply(self, a: Tensor, b: Tensor, out: Tensor | None = None) -> Tensor:
        """Return products, element by element."""

    @abstractmethod
    def total(self, x: Tensor, dim: int) -> Tensor:
        """Add up along an axis."""

    @abstractmethod
    def matmul(self, weights: Tensor, x: Tensor, out: Tensor | None = None) -> Tensor:
        """Return batched matrix products, (n, m, k) times (n, k, batch)."""


class _Sum(Semiring):
    """Sums of products."""

    def lift(self, x: Tensor, dim: int) -> tuple[Tensor, Tensor]:
        return scaled_exp(x, dim)

    def lower(self, values: Tensor, scale: Tensor) -> Tensor:
        return values.log().add_(scale)

    def lift_weights(self, weights: Tensor) -> Tensor:
        return weights

    def multiply(self, a: Tensor, b: Tensor, out: Tensor | None = None) -> Tensor:
        return torch.mul(a, b, out=out)

    def total(self, x: Tensor, dim: int) -> Tensor:
        return x.sum(dim)

    def matmul(self, weights: Tensor, x: Tensor, out: Tensor | None = None) -> Tensor:
        return torch.bmm(weights, x, out=out)


class _Max(Semiring):
    """Maxima of products: in the log domain, maxima of sums."""

    def lift(self, x: Tensor, dim: int) -> tuple[Tensor, Tensor]:
        return x, torch.zeros((), dtype=x.dtype, device=x.device).expand_as(x.narrow(dim, 0, 1))

    def lower(self, values: Tensor, scale: Tensor) -> Tensor:
        return values

    def lift_weights(self, weights: Tensor) -> Tensor:
        return weights.log()

    def multiply(self, a: Tensor, b: Tensor, out: Tensor | None = None) -> Tensor:
        return torch.add(a, b, out=out)

    def total(self, x: Tensor, dim: int) -> Tensor:
        return x.amax(dim)

    def matmul(self, weights: Tensor, x: Tensor, out: Tensor | None = None) -> Tensor:
        (n, m, _), batch = weights.shape, x.shape[-1]
        out = x.new_empty(n, m, batch) if out is None else out
        for o in range(m if n else 0):
            for block, terms in blocks(n, x, x.shape[1:]):
                torch.add(weights[block, o].unsqueeze(-1), x[block], out=terms)
                torch.amax(terms, 1, out=out[block, o])
        return out


SUM: Semiring = _Sum()
MAX: Semiring = _Max()
