"""Mixing layers: the partitions of each region (paper, 3.4), or the units of the root, mixed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from torch import Tensor

from sklearn_einet.circuit.layers.base import Layer
from sklearn_einet.circuit.layers.choices import Choices, TermValues
from sklearn_einet.circuit.layers.layout import whole_output
from sklearn_einet.circuit.semirings import SUM, Semiring, ratio, scaled_exp
from sklearn_einet.native.passes import LayerBuffers
from sklearn_einet.native.program import BATCH, PerRow

__all__ = ["MixingLayer", "log_mix", "mixing_gradients"]


@dataclass(frozen=True)
class MixingLayer(Layer):
    """Sums over several terms of one output below: its rows, unit by unit, or all of its units.

    The weights have the shape (n_rows, n_slots, k_out).

    Attributes
    ----------
    terms : ndarray of shape (n_rows, n_slots)
        The terms of each row's sum; the first one is repeated as padding.
    over_units : bool
        Whether every unit of a child is a term of its own.
    """

    terms: np.ndarray
    over_units: bool

    @classmethod
    def of_partitions(cls, output: int, counts: np.ndarray, k_out: int) -> MixingLayer:
        """Return the layer that mixes rows of an output into regions, unit by unit, given the
        number of rows of each region in turn."""
        first = np.cumsum(counts) - counts
        steps = np.arange(counts.max())
        terms = first[:, None] + np.where(steps < counts[:, None], steps, 0)
        return cls(whole_output(output, int(counts.sum())), k_out, terms, over_units=False)

    @classmethod
    def of_units(cls, output: int, n_rows: int, K: int) -> MixingLayer:
        """Return the root that is the sum of all units of an output."""
        return cls(whole_output(output, n_rows), 1, np.arange(n_rows * K)[None], over_units=True)

    @property
    def n_rows(self) -> int:
        return len(self.terms)

    @property
    def n_terms(self) -> int:
        """Number of terms of all sums."""
        return len(self.slot)

    @cached_property
    def present(self) -> np.ndarray:
        """Which slots are not padding, that is, repetitions of the first term."""
        present = np.ones(self.terms.shape, dtype=bool)
        present[:, 1:] = np.diff(self.terms) > 0
        return present

    @cached_property
    def slot(self) -> np.ndarray:
        """The position of each term in the flattened `terms`."""
        return np.flatnonzero(self.present)

    @cached_property
    def row_of_term(self) -> np.ndarray:
        """The row of the output that each term belongs to."""
        return self.slot // self.terms.shape[1]

    @property
    def summed_axes(self) -> tuple[int, ...]:
        return (1,)

    def uniform_weights(self, K: int) -> np.ndarray:
        uniform = self.present / self.present.sum(1, keepdims=True)
        return np.repeat(uniform[:, :, None], self.k_out, axis=2)

    def n_free_weights(self, weights: Tensor) -> int:
        return (self.n_terms - self.n_rows) * self.k_out

    def forward(self, x: Tensor, weights: Tensor, semiring: Semiring) -> tuple[Tensor, Tensor]:
        return log_mix(self._split(x), weights, self.on(x.device, "slot"), semiring)

    def gradients(
        self, x: Tensor, weights: Tensor, sums: Tensor, grad: Tensor
    ) -> tuple[Tensor, Tensor]:
        slot = self.on(x.device, "slot")
        below, of_weights = mixing_gradients(self._split(x), weights, slot, sums, grad)
        return below.view_as(x), of_weights

    def derivative(self, x: Tensor, weights: Tensor, log_derivatives: Tensor) -> Tensor:
        above = log_derivatives[self.on(x.device, "row_of_term")]
        return self._by_child(above + self.by_term(weights).log().unsqueeze(-1))

    def expected_counts(self, weights: Tensor, mass: Tensor) -> tuple[Tensor, Tensor]:
        counts = weights * mass.unsqueeze(1)
        return counts, self._by_child(self.by_term(counts))

    def choose(self, choices: Choices, weights: Tensor, visits: Tensor) -> Tensor:
        terms = self.on(visits.device, "terms")

        def values(outputs: Sequence[Tensor]) -> TermValues:
            x = self._split(self.layout.join(outputs))
            return lambda row, unit, walk: x[terms[row], unit.unsqueeze(1), walk.unsqueeze(1)]

        slot = choices.term(weights.transpose(1, 2), visits, values)
        term, unit = terms[visits[1], slot], visits[2]
        if self.over_units:
            k = self.n_terms // len(self.children)
            term, unit = term // k, term % k
        return torch.stack([visits[0], term, unit])

    def by_term(self, values: Tensor) -> Tensor:
        """Return weights, or other numbers of their shape, by term, (n_terms, k_out)."""
        return values.flatten(0, 1)[self.on(values.device, "slot")]

    def _split(self, x: Tensor) -> Tensor:
        """Return children as terms, (n_terms, k_out, batch)."""
        return x.flatten(0, 1).unsqueeze(1) if self.over_units else x

    def _by_child(self, values: Tensor) -> Tensor:
        """Return values of terms, (n_terms, k_out, ...), as values of children."""
        if not self.over_units:
            return values
        return values.reshape(len(self.children), -1, *values.shape[2:])

    def record_forward(self, buffers: LayerBuffers) -> None:
        kept = buffers.kept
        kept["x"], kept["slot"] = buffers.below()[0], buffers.recorder.kept(self.slot)
        arguments = kept["x"], kept["slot"], buffers.weights, buffers.value
        buffers.recorder.call("log_mixture", *arguments, *self._sizes())

    def record_backward(self, buffers: LayerBuffers) -> None:
        kept = buffers.kept
        below = buffers.flows_to(buffers.rows)
        before = kept["x"], kept["slot"], buffers.weights, buffers.flow
        sizes = *self._sizes(), buffers.of_logs
        buffers.recorder.call("log_mixture_gradients", *before, below, buffers.counts, *sizes)
        buffers.add_flows(below, buffers.rows)

    def _sizes(self) -> tuple[int | PerRow, ...]:
        return self.n_terms, *self.terms.shape, self.k_out, BATCH


def log_mix(
    x: Tensor, weights: Tensor, slot: Tensor, semiring: Semiring = SUM
) -> tuple[Tensor, Tensor]:
    """Mix the terms of each row, unit by unit, in the log domain.

    Parameters
    ----------
    x : Tensor of shape (n_terms, K, batch)
        Log-densities.
    weights : Tensor of shape (n_rows, n_slots, K)
        Linear, non-negative weights.
    slot : Tensor of int of shape (n_terms,)
        The position of every term in the flattened first two axes of the weights; ascending.
    semiring : Semiring, default=SUM

    Returns
    -------
    logs : Tensor of shape (n_rows, K, batch)
        -inf, not NaN, where every term has density zero.
    sums : Tensor of shape (n_rows, K, batch)
        The sums themselves, in units of the largest terms.
    """
    lifted, scale = semiring.lift(_padded(x, weights, slot), 1)
    terms = semiring.multiply(lifted, semiring.lift_weights(weights).unsqueeze(-1))
    sums = semiring.total(terms, 1)
    return semiring.lower(sums, scale.squeeze(1)), sums


def mixing_gradients(
    x: Tensor, weights: Tensor, slot: Tensor, sums: Tensor, grad: Tensor
) -> tuple[Tensor, Tensor]:
    """Return gradients with respect to the logarithms of the terms, and to the weights.

    Parameters
    ----------
    x, weights, slot
        As in `log_mix`.
    sums : Tensor of shape (n_rows, K, batch)
        As from `log_mix`.
    grad : Tensor of shape (n_rows, K, batch)
        With respect to the logarithms of the sums.
    """
    scaled, _ = scaled_exp(_padded(x, weights, slot), 1)
    of_terms = scaled.mul_(ratio(grad, sums).unsqueeze(1))
    of_weights = of_terms.sum(-1)
    of_terms.mul_(weights.unsqueeze(-1))
    return of_terms.flatten(0, 1).index_select(0, slot), of_weights


def _padded(x: Tensor, weights: Tensor, slot: Tensor) -> Tensor:
    """Return terms in all slots, -inf in padding, (n_rows, n_slots, K, batch)."""
    shape = weights.shape[:2] + x.shape[1:]
    padded = x.new_full((shape[0] * shape[1], *shape[2:]), -torch.inf)
    return padded.index_copy_(0, slot, x).view(shape)
