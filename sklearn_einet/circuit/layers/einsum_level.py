"""Levels of einsum layers: all pairs of two children's entries (paper, 3.2 and 3.3)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from sklearn_einet.circuit.layers.base import LevelWeights
from sklearn_einet.circuit.layers.layout import arrange
from sklearn_einet.circuit.layers.sum_layers import (
    log_einsum_derivatives,
    log_einsum_exp,
    log_einsum_max,
)
from sklearn_einet.circuit.layers.sum_level import SumLevel
from sklearn_einet.native.passes import LevelPlaces
from sklearn_einet.native.products import pair_gradients
from sklearn_einet.native.program import OF_LOGS, Address
from sklearn_einet.structure import Region

__all__ = ["EinsumLevel"]


class EinsumLevel(SumLevel):
    """Partitions of two children. The sums have weights of shape (n_partitions, k_out, K, K)."""

    @classmethod
    def of(
        cls,
        regions: Sequence[Region],
        rows: dict[Region, tuple[int, int]],
        sizes: Sequence[int],
        k_out: int,
    ) -> EinsumLevel:
        """Lay out a layer; see `arrange` for the parameters."""
        return cls(**arrange(regions, rows, sizes), k_out=k_out)

    @property
    def summed_axes(self) -> tuple[int, ...]:
        return (2, 3)

    def uniform_sums(self, K: int) -> np.ndarray:
        return np.full((self.n_partitions, self.k_out, K, K), 1 / K**2)

    def partition_values(
        self, outputs: Sequence[Tensor], weights: LevelWeights, leaves: Tensor | None = None
    ) -> Tensor:
        x = self.below(outputs, leaves)
        return log_einsum_exp(x, weights.sums, self._gather(x))

    def _record_partitions_up(self, places: LevelPlaces, to: Address) -> None:
        kept = places.kept
        kept["x"], kept["gather"] = places.below()
        kept["sums"] = places.recorder.buffer(self.n_partitions, self.k_out)
        arguments = kept["x"], kept["gather"], places.weights[0], kept["sums"], to
        places.recorder.call("einsum", *arguments, *self._sizes(places))

    def _record_partitions_down(self, places: LevelPlaces, flows: Address) -> None:
        kept, below = places.kept, places.flows_to(places.rows)
        before = kept["x"], kept["gather"], places.weights[0], kept["sums"], flows
        arguments = *before, below, places.counts[0]
        places.recorder.call("einsum_gradients", *arguments, *self._sizes(places), OF_LOGS)
        places.add_flows(below, places.rows)

    def _sizes(self, places: LevelPlaces) -> tuple[int, ...]:
        return self.n_partitions, self.k_out, places.k, places.recorder.batch

    def partition_maxima(self, outputs: Sequence[Tensor], weights: LevelWeights) -> Tensor:
        return log_einsum_max(self.child_values(outputs), weights.sums)

    def child_derivatives(
        self, outputs: Sequence[Tensor], weights: LevelWeights, log_derivatives: Tensor
    ) -> Tensor:
        return log_einsum_derivatives(self.child_values(outputs), weights.sums, log_derivatives)

    def expected_counts(self, weights: LevelWeights, mass: Tensor) -> tuple[Tensor, Tensor]:
        pairs = weights.sums * mass[:, :, None, None]
        return pairs, torch.stack([pairs.sum((1, 3)), pairs.sum((1, 2))], 1).flatten(0, 1)

    def joint_counts(self, children: Tensor, partitions: Tensor, which: slice) -> Tensor:
        (n, k_out, _), k = partitions.shape, children.shape[1]
        # The gradient of a weighted sum of products with respect to the weights, whatever these
        # are, is the sum of the products.
        ones = children.new_ones(n, k_out, k, k)
        _, counts = pair_gradients(children, ones, None, None, partitions)
        return counts

    def choose(self, choices: Any, weights: LevelWeights, visits: Tensor) -> Tensor:
        row, partition, _ = visits
        left, right = choices.pair(self, weights.sums, visits)
        row, child = row.repeat(2), torch.cat([2 * partition, 2 * partition + 1])
        return torch.stack([row, child, torch.cat([left, right])])

    def rows_of_sums(self, partitions: np.ndarray) -> np.ndarray:
        return partitions

    def child_values(self, outputs: Sequence[Tensor]) -> Tensor:
        """Log-densities of the partitions' children, (2 * n_partitions, K, batch)."""
        x = self.below(outputs)
        gather = self._gather(x)
        return x if gather is None else x.index_select(0, gather)

    def _gather(self, x: Tensor) -> Tensor | None:
        return None if self.gather is None else self.on(x.device, "gather")
