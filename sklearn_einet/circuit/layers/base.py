"""The interface of layers.

A layer turns outputs below it, tensors of shape (rows, K, batch) of logarithms, into one output of
its own, by sum nodes whose weights are one tensor. A layer of products (`ProductLayer`) has one row
for each partition of the regions of one topological layer; where a region has several partitions, a
`MixingLayer` above mixes them.

CONTRIBUTING.md says how to add a layer of products.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from torch import Tensor

from sklearn_einet.circuit.layers.choices import Choices
from sklearn_einet.circuit.layers.layout import ArrayHolder, ChildLayout
from sklearn_einet.circuit.protocols import Backend
from sklearn_einet.circuit.semirings import Semiring
from sklearn_einet.native.passes import LayerBuffers
from sklearn_einet.structure import Region

__all__ = ["MIN_WEIGHT", "Layer", "ProductLayer", "has_no_padding"]

#: The least weight of a sum's term if no pseudocount keeps it positive; smaller numbers are 0 in
#: float32.
MIN_WEIGHT = 1e-30


def has_no_padding(weights: Tensor, axes: tuple[int, ...]) -> bool:
    """Return whether the terms of each sum are contiguous in memory, without anything else."""
    # A mixing layer has padding, except that of a root.
    return 1 not in axes or len(weights) == weights.shape[2] == 1


@dataclass(frozen=True)
class Layer(ArrayHolder, ABC):
    """One layer of a circuit, with one tensor of weights.

    Attributes
    ----------
    layout : ChildLayout
        Where the children are.
    k_out : int
        Number of units of every row of the output.
    """

    layout: ChildLayout
    k_out: int

    @property
    def children(self) -> np.ndarray:
        """The (output, row) of every child."""
        return self.layout.children

    @property
    @abstractmethod
    def n_rows(self) -> int:
        """Number of rows of the output."""

    @property
    @abstractmethod
    def summed_axes(self) -> tuple[int, ...]:
        """The axes over which the weights are normalised."""

    @abstractmethod
    def uniform_weights(self, K: int) -> np.ndarray:
        """Return equal weights for the terms of every sum; padding has weight 0."""

    def n_free_weights(self, weights: Tensor) -> int:
        """Return the number of free weights: those of a sum add up to 1, and padding does not
        count."""
        n_terms = math.prod(weights.shape[axis] for axis in self.summed_axes)
        return weights.numel() - weights.numel() // n_terms

    @abstractmethod
    def forward(self, x: Tensor, weights: Tensor, semiring: Semiring) -> tuple[Tensor, Tensor]:
        """Make the upward pass through the layer.

        Parameters
        ----------
        x : Tensor of shape (rows, K, batch)
            As from `ChildLayout.join`.
        weights : Tensor
        semiring : Semiring

        Returns
        -------
        output : Tensor of shape (n_rows, k_out, batch)
        sums : Tensor
            The sums in the semiring's representation, for `gradients`.
        """

    @abstractmethod
    def gradients(
        self, x: Tensor, weights: Tensor, sums: Tensor, grad: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Make the downward pass through the layer, after `forward` with `SUM`.

        It does not use autograd: being the same few operations each time, it can be recorded, and
        needs only the outputs and the sums.

        Parameters
        ----------
        x, weights
            As in `forward`.
        sums : Tensor
            As from `forward`.
        grad : Tensor of shape (n_rows, k_out, batch)
            The gradient with respect to the output.

        Returns
        -------
        below : Tensor of shape (rows, K, batch)
            That with respect to x.
        of_weights : Tensor
            That with respect to the weights.
        """

    @abstractmethod
    def derivative(self, x: Tensor, weights: Tensor, log_derivatives: Tensor) -> Tensor:
        """Return logarithms of the root's derivatives with respect to the children's densities.

        Derivatives with respect to densities, unlike those with respect to their logarithms, do not
        vanish where a density does. In the log domain none of them is lost to underflow.

        Parameters
        ----------
        x, weights
            As in `forward`.
        log_derivatives : Tensor of shape (n_rows, k_out, batch)
            Those with respect to the output's densities.

        Returns
        -------
        log_derivatives : Tensor of shape (n_children, K, batch)
        """

    @abstractmethod
    def expected_counts(self, weights: Tensor, mass: Tensor) -> tuple[Tensor, Tensor]:
        """Return how often the terms of the sums are chosen if the weights are the probabilities.

        Parameters
        ----------
        weights : Tensor
        mass : Tensor of shape (n_rows, k_out)
            How often each unit is reached.

        Returns
        -------
        counts : Tensor
            As the weights.
        below : Tensor of shape (n_children, K)
            How often each unit of a child is reached.
        """

    @abstractmethod
    def choose(self, choices: Choices, weights: Tensor, visits: Tensor) -> Tensor:
        """Choose one term of every sum, and continue to the children.

        Parameters
        ----------
        choices : Choices
            How terms are chosen.
        weights : Tensor
        visits : Tensor of int of shape (3, n_visits)
            Row of the batch, row of the output, unit.

        Returns
        -------
        visits : Tensor of int of shape (3, n_visits_below)
            Row of the batch, number of the child, unit.
        """

    @abstractmethod
    def record_forward(self, buffers: LayerBuffers) -> None:
        """Record the computation of the output, as by `forward` with `SUM`."""

    @abstractmethod
    def record_backward(self, buffers: LayerBuffers) -> None:
        """Record the computation of the flows below, and of the weights' gradients, from the
        output's flows, after `record_forward` with the same buffers."""


@dataclass(frozen=True)
class ProductLayer(Layer):
    """The partitions of the regions of one topological layer, one row each.

    Attributes
    ----------
    is_binary : bool
        Whether a partition always has two children.
    ends_in_sums : bool
        Whether the units of a partition are sums. If so, the root's partitions have one unit;
        otherwise, they have K units, and a `MixingLayer` sums over these.
    auto_K : int
        The K that the estimators use for K=None.
    """

    is_binary: ClassVar[bool]
    ends_in_sums: ClassVar[bool]
    auto_K: ClassVar[int]

    @classmethod
    @abstractmethod
    def above(cls, layout: ChildLayout, regions: Sequence[Region], k_out: int) -> ProductLayer:
        """Return the layer of all partitions of some regions."""

    @property
    @abstractmethod
    def partition(self) -> np.ndarray:
        """The partition of every child, in ascending order."""

    @property
    def n_rows(self) -> int:
        return int(self.partition[-1]) + 1

    @property
    def is_summed(self) -> np.ndarray:
        """Which children have their units summed; those of the others are taken as they are."""
        return np.ones(len(self.children), dtype=bool)

    @abstractmethod
    def rows_of_weights(self, partitions: np.ndarray) -> np.ndarray:
        """Return the rows of the weights that belong to some partitions, in their order."""

    @abstractmethod
    def joint_counts(
        self, children: Tensor, partitions: Tensor, which: slice, backend: Backend
    ) -> Tensor:
        """Return how often groups of rows occur together, as the weights.

        Parameters
        ----------
        children : Tensor of shape (n_children, K, n_rows)
            Shares of the rows in the groups of each child of some consecutive partitions.
        partitions : Tensor of shape (n_partitions, k_out, n_rows)
            Those in the groups of the partitions' regions, times the weights of the rows.
        which : slice
            The children among those of all partitions.
        backend : Backend

        Returns
        -------
        counts : Tensor
            The rows of those partitions.
        """
