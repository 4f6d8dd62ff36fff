"""Layers of regions: which rows of which earlier outputs they are computed from, and how."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, fields
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from sklearn_einet.circuit.layers.sum_layers import log_mix_exp
from sklearn_einet.native.passes import LevelPlaces
from sklearn_einet.native.program import OF_LOGS, Address

__all__ = ["Level", "LevelWeights"]


class LevelWeights(NamedTuple):
    """The weights of one level, or numbers of the same shapes.

    Attributes
    ----------
    sums : Tensor or None
        Those of the sum nodes in its partitions, if they have any.
    mixing : Tensor of shape (n_regions, n_slots, k_out) or None
        Those with which partitions are mixed into regions, if a region has several.
    """

    sums: Any
    mixing: Any


@dataclass(frozen=True)
class Level(ABC):
    """The regions of one topological layer and the partitions below them.

    Attributes
    ----------
    children : ndarray of shape (n_children, 2)
        The (output, row) of the children of every partition, one partition after the other;
        output 0 is that of the leaf regions.
    partition : ndarray of shape (n_children,)
        The partition of every child.
    gather : ndarray of shape (n_children,) or None
        Rows of the children in what `below` gives; None if those are all of its rows, in order.
    leaf_rows : slice
        The leaf regions among which the level has children.
    mixing : ndarray of shape (n_regions, n_slots) or None
        Rows of the partitions of each region, the first repeated as padding; None if every
        region has one.
    k_out : int
        Number of entries of the regions.
    """

    children: np.ndarray
    partition: np.ndarray
    gather: np.ndarray | None
    leaf_rows: slice
    mixing: np.ndarray | None
    k_out: int

    def __getstate__(self) -> dict[str, Any]:
        """The attributes alone: what queries have cached does not change a pickle."""
        return {field.name: getattr(self, field.name) for field in fields(self)}

    def on(self, device: torch.device, name: str) -> Tensor:
        """One of the arrays as a tensor on a device, which is copied there once."""
        kept, key = vars(self), f"{name} on {device}"
        if key not in kept:
            kept[key] = torch.as_tensor(getattr(self, name), device=device)
        return kept[key]

    @cached_property
    def sources(self) -> list[int]:
        """The outputs that hold the children."""
        return np.unique(self.children[:, 0]).tolist()

    @property
    def n_partitions(self) -> int:
        """Number of partitions."""
        return int(self.partition[-1]) + 1

    @property
    def n_regions(self) -> int:
        """Number of regions."""
        return self.n_partitions if self.mixing is None else len(self.mixing)

    @cached_property
    def slot(self) -> np.ndarray:
        """The position of each partition in the flattened `mixing`."""
        assert self.mixing is not None
        return np.flatnonzero(_no_padding(self.mixing))

    @property
    def n_weights(self) -> int:
        """Number of tensors of weights."""
        return bool(self.summed_axes) + (self.mixing is not None)

    def region_of_partition(self) -> np.ndarray:
        """The region that each partition belongs to."""
        if self.mixing is None:
            return np.arange(self.n_partitions)
        region = np.empty(self.n_partitions, dtype=np.int64)
        region[self.mixing] = np.arange(self.n_regions)[:, None]
        return region

    def uniform_mixing(self) -> np.ndarray | None:
        """Even weights of the partitions of each region; padding has none."""
        if self.mixing is None:
            return None
        present = _no_padding(self.mixing)
        uniform = present / present.sum(1, keepdims=True)
        return np.repeat(uniform[:, :, None], self.k_out, axis=2)

    @property
    @abstractmethod
    def summed_axes(self) -> tuple[int, ...]:
        """The axes over which the weights of the sums in partitions are normalised."""

    @abstractmethod
    def uniform_sums(self, K: int) -> np.ndarray | None:
        """Even weights of the sums in partitions, if there are any."""

    def below(self, outputs: Sequence[Tensor], leaves: Tensor | None = None) -> Tensor:
        """The outputs that hold the children, in one.

        Parameters
        ----------
        outputs : sequence of Tensor of shape (rows, K, batch)
            Those of the leaf regions and of the levels below.
        leaves : Tensor or None, default=None
            The rows `leaf_rows` of the leaf regions' output, if they have been cut out already.
        """
        parts = [outputs[i] for i in self.sources]
        if self.sources[0] == 0:
            parts[0] = outputs[0][self.leaf_rows] if leaves is None else leaves
        return parts[0] if len(parts) == 1 else torch.cat(parts)

    @abstractmethod
    def partition_values(
        self, outputs: Sequence[Tensor], weights: LevelWeights, leaves: Tensor | None = None
    ) -> Tensor:
        """Log-densities of the level's partitions, (n_partitions, k_out, batch).

        Parameters
        ----------
        outputs, leaves
            As for `below`.
        weights : LevelWeights
        """

    def region_values(
        self, outputs: Sequence[Tensor], weights: LevelWeights, leaves: Tensor | None = None
    ) -> Tensor:
        """Log-densities of the level's regions, (n_regions, k_out, batch); as the partitions'."""
        values = self.partition_values(outputs, weights, leaves)
        if self.mixing is None:
            return values
        return log_mix_exp(values, weights.mixing, self.on(values.device, "slot"))

    @abstractmethod
    def record_up(self, places: LevelPlaces) -> None:
        """Record how the regions' values follow from those below, as `region_values`."""

    @abstractmethod
    def record_down(self, places: LevelPlaces) -> None:
        """Record how the flows below, and the gradients of the weights, follow from the regions'
        flows; on the way back from `record_up` with the same places."""

    def _record_mixing_up(self, places: LevelPlaces, partitions: Address) -> None:
        places.kept["partitions"], places.kept["slot"] = partitions, places.recorder.kept(self.slot)
        arguments = partitions, places.kept["slot"], places.weights[-1], places.value
        places.recorder.call("log_mixture", *arguments, *self._mixing_sizes(places))

    def _record_mixing_down(self, places: LevelPlaces, flows: Address) -> None:
        places.recorder.call(
            "log_mixture_gradients",
            places.kept["partitions"],
            places.kept["slot"],
            places.weights[-1],
            places.flow,
            flows,
            places.counts[-1],
            *self._mixing_sizes(places),
            OF_LOGS,
        )

    def _mixing_sizes(self, places: LevelPlaces) -> tuple[int, ...]:
        assert self.mixing is not None
        return self.n_partitions, *self.mixing.shape, self.k_out, places.recorder.batch

    @abstractmethod
    def partition_maxima(self, outputs: Sequence[Tensor], weights: LevelWeights) -> Tensor:
        """`partition_values` with the largest term in place of every sum."""

    @abstractmethod
    def child_derivatives(
        self, outputs: Sequence[Tensor], weights: LevelWeights, log_derivatives: Tensor
    ) -> Tensor:
        """Logarithms of the root's derivatives with respect to the children's densities.

        Parameters
        ----------
        outputs : sequence of Tensor
        weights : LevelWeights
        log_derivatives : Tensor of shape (n_partitions, k_out, batch)
            Those with respect to the partitions' densities.

        Returns
        -------
        log_derivatives : Tensor of shape (n_children, K, batch)
        """

    @abstractmethod
    def expected_counts(self, weights: LevelWeights, mass: Tensor) -> tuple[Tensor | None, Tensor]:
        """How often the terms of the sums are chosen if the weights are the probabilities.

        Parameters
        ----------
        weights : LevelWeights
        mass : Tensor of shape (n_partitions, k_out)
            How often each entry of a partition is reached.

        Returns
        -------
        counts : Tensor or None
            As the weights of the sums.
        below : Tensor of shape (n_children, K)
            How often each entry of a child is reached.
        """

    @abstractmethod
    def choose(self, choices: Any, weights: LevelWeights, visits: Tensor) -> Tensor:
        """Go on from partitions to their children.

        Parameters
        ----------
        choices : Choices
            See `sklearn_einet.circuit.queries.sampling`.
        weights : LevelWeights
        visits : Tensor of int of shape (3, n_visits)
            Row of the batch, partition, entry.

        Returns
        -------
        visits : Tensor of int of shape (3, n_visits_below)
            Row of the batch, number of the child, entry.
        """

    @abstractmethod
    def rows_of_sums(self, partitions: np.ndarray) -> np.ndarray:
        """The rows of the weights of the sums that belong to some partitions, in their order."""

    def by_partition(self, terms: Tensor) -> Tensor:
        """Weights of the mixing layer, or their shares, partition by partition.

        Parameters
        ----------
        terms : Tensor of shape (n_regions, n_slots, k_out)

        Returns
        -------
        terms : Tensor of shape (n_partitions, k_out)
        """
        assert self.mixing is not None
        rows = self.on(terms.device, "mixing").view(-1)
        flat = terms.flatten(0, 1)
        # Padding repeats a partition with weight 0.
        return flat.new_zeros(self.n_partitions, self.k_out).index_add_(0, rows, flat)


def _no_padding(mixing: np.ndarray) -> np.ndarray:
    """Which slots hold a partition of their own, as `mixing` repeats the first one as padding."""
    present = np.ones(mixing.shape, dtype=bool)
    present[:, 1:] = np.diff(mixing) > 0
    return present
