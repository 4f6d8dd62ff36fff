"""The interface of backends."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

import torch
from torch import Tensor

__all__ = ["Backend", "Passes"]


class Passes(Protocol):
    """Both passes through the layers of a circuit."""

    def up(self, leaves: Tensor, weights: Sequence[Tensor], *, for_down: bool = False) -> Any:
        """Make the upward pass.

        Parameters
        ----------
        leaves : Tensor of shape (n_leaf_regions, K, batch)
            Log-densities; they are copied.
        weights : sequence of Tensor
        for_down : bool, default=False
            Whether `down` will be called.

        Returns
        -------
        state
            For the other methods.
        """

    def root(self, state: Any) -> Tensor:
        """Return the logarithm of the root's value for every row, (batch,)."""

    def outputs(self, state: Any) -> list[Tensor]:
        """Return the output of the leaf regions and of every layer, (rows, k, batch) each."""

    def down(
        self, state: Any, upstream: Tensor, weights: Sequence[Tensor], *, of_logs: bool = True
    ) -> tuple[Tensor, list[Tensor]]:
        """Make the downward pass.

        Parameters
        ----------
        state
            As from `up` with `for_down`. It is overwritten, like the results of `root` and
            `outputs`.
        upstream : Tensor of shape (batch,)
            Weights of the rows.
        weights : sequence of Tensor
        of_logs : bool, default=True
            False: return gradients with respect to the weights instead of the counts.

        Returns
        -------
        flows : Tensor of shape (n_leaf_regions, K, batch)
            Posteriors of the leaf regions' units, times the weights of the rows.
        counts : list of Tensor
            Posteriors of the terms of all sums, summed over the rows, in the shape of the weights.
        """


class Backend(Protocol):
    """The operations with which circuits, their leaves and EM are computed."""

    @property
    def name(self) -> str:
        """Either "native" or "torch"."""

    def passes(
        self,
        layers: Sequence[Any],
        shapes: Sequence[tuple[int, int]],
        dtype: torch.dtype,
    ) -> Passes:
        """Return the passes through layers.

        Parameters
        ----------
        layers : sequence of Layer
        shapes : sequence of (int, int)
            Rows and units of the outputs of the leaf regions and of every layer.
        dtype : torch.dtype
        """

    def gathered_product(self, factors: Tensor, bias: Tensor, x: Tensor, index: Tensor) -> Tensor:
        """Multiply matrices with rows gathered from a table.

        Parameters
        ----------
        factors : Tensor of shape (n, n_slots, t, K)
        bias : Tensor of shape (n, K)
        x : Tensor of shape (m, t, batch)
            m groups of t rows.
        index : Tensor of int of shape (n, n_slots)
            The groups for each product.

        Returns
        -------
        products : Tensor of shape (n, K, batch)
            sum_st factors[:, s, t] x[index[:, s], t] - bias.
        """

    def gathered_gradients(self, grad: Tensor, x: Tensor, index: Tensor) -> tuple[Tensor, Tensor]:
        """Return gradients of `gathered_product` with respect to factors, and to minus the bias.

        Parameters
        ----------
        grad : Tensor of shape (n, K, batch)
        x, index
            As for `gathered_product`.
        """

    def pair_counts(self, children: Tensor, partitions: Tensor) -> Tensor:
        """Return sums over the batch of products of two children's units and a partition's.

        Parameters
        ----------
        children : Tensor of shape (2 * n_partitions, K, batch)
        partitions : Tensor of shape (n_partitions, k_out, batch)

        Returns
        -------
        counts : Tensor of shape (n_partitions, k_out, K, K)
        """

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
        """Make a step of stochastic EM for sums over the last, contiguous axis, in place.

        Parameters
        ----------
        average, counts, weights : Tensor of shape (n_sums, n_terms)
            The average becomes keep * average + add * counts, and the weights proportional to it
            and the smoothing.
        keep, add : float, or Tensor on a GPU
        smoothing : float
        idle : bool
            Whether sums whose average is 0 keep their weights.
        """
