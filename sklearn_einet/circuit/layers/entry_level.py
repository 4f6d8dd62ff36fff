"""The sum over all entries of a vector, at the root."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from sklearn_einet.circuit.layers.base import Level, LevelWeights
from sklearn_einet.native.passes import LevelPlaces

__all__ = ["EntryLevel"]


class EntryLevel(Level):
    """The root of a circuit above vectors of K entries: a sum over all of them.

    Every entry of every child is a partition.
    """

    @classmethod
    def above(cls, output: int, n_rows: int, K: int) -> EntryLevel:
        """The level above all rows of an output."""
        rows = np.arange(n_rows)
        return cls(
            children=np.column_stack([np.full(n_rows, output), rows]),
            partition=(rows + 1) * K - 1,
            gather=None,
            leaf_rows=slice(0, 0 if output else n_rows),
            mixing=np.arange(n_rows * K)[None],
            k_out=1,
        )

    @property
    def summed_axes(self) -> tuple[int, ...]:
        return ()

    def uniform_sums(self, K: int) -> None:
        return None

    def partition_values(
        self, outputs: Sequence[Tensor], weights: LevelWeights, leaves: Tensor | None = None
    ) -> Tensor:
        return self.below(outputs, leaves).flatten(0, 1).unsqueeze(1)

    def record_up(self, places: LevelPlaces) -> None:
        # The partitions are the entries of the children, which are all rows of an output.
        self._record_mixing_up(places, places.at(places.values, places.rows[0]))

    def record_down(self, places: LevelPlaces) -> None:
        self._record_mixing_down(places, places.at(places.flows, places.rows[0]))

    def partition_maxima(self, outputs: Sequence[Tensor], weights: LevelWeights) -> Tensor:
        return self.partition_values(outputs, weights)

    def child_derivatives(
        self, outputs: Sequence[Tensor], weights: LevelWeights, log_derivatives: Tensor
    ) -> Tensor:
        return self._by_child(log_derivatives)

    def expected_counts(self, weights: LevelWeights, mass: Tensor) -> tuple[None, Tensor]:
        return None, self._by_child(mass)

    def choose(self, choices: Any, weights: LevelWeights, visits: Tensor) -> Tensor:
        row, partition, _ = visits
        n_entries = self.n_partitions // len(self.children)
        return torch.stack([row, partition // n_entries, partition % n_entries])

    def rows_of_sums(self, partitions: np.ndarray) -> np.ndarray:
        return np.empty(0, dtype=np.int64)

    def _by_child(self, values: Tensor) -> Tensor:
        """Of every partition a number, (n_partitions, 1, ...), as (n_children, K, ...)."""
        return values.reshape(len(self.children), -1, *values.shape[2:])
