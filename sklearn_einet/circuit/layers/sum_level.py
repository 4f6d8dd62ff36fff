"""Levels whose partitions are vectors of sums."""

from __future__ import annotations

from abc import abstractmethod

from torch import Tensor

from sklearn_einet.circuit.layers.base import Level
from sklearn_einet.native.passes import LevelPlaces
from sklearn_einet.native.program import Address

__all__ = ["SumLevel"]


class SumLevel(Level):
    """A level with weights of sums in its partitions; subclasses tell what is summed."""

    def record_up(self, places: LevelPlaces) -> None:
        if self.mixing is None:
            self._record_partitions_up(places, places.value)
            return
        partitions = places.recorder.buffer(self.n_partitions, self.k_out)
        self._record_partitions_up(places, partitions)
        self._record_mixing_up(places, partitions)

    def record_down(self, places: LevelPlaces) -> None:
        if self.mixing is None:
            self._record_partitions_down(places, places.flow)
            return
        flows = places.recorder.scratch(self.n_partitions, self.k_out)
        self._record_mixing_down(places, flows)
        self._record_partitions_down(places, flows)

    @abstractmethod
    def _record_partitions_up(self, places: LevelPlaces, to: Address) -> None:
        """Record `partition_values`."""

    @abstractmethod
    def _record_partitions_down(self, places: LevelPlaces, flows: Address) -> None:
        """Record the flows below partitions, given theirs, and the gradients of their sums."""

    @abstractmethod
    def joint_counts(self, children: Tensor, partitions: Tensor, which: slice) -> Tensor:
        """How often groups of rows occur together, as the weights of the sums.

        Parameters
        ----------
        children : Tensor of shape (n_children, K, n_rows)
            Shares of the rows in the groups of each child of some consecutive partitions.
        partitions : Tensor of shape (n_partitions, k_out, n_rows)
            Those in the groups of the partitions' regions, times the weights of the rows.
        which : slice
            The children among those of all partitions.

        Returns
        -------
        counts : Tensor
            The rows of those partitions.
        """
