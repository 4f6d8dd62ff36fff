"""Levels of CP layers: children mixed one by one, then multiplied entry by entry."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import torch
from torch import Tensor

from sklearn_einet.circuit.layers.base import LevelWeights
from sklearn_einet.circuit.layers.cp_layers import (
    Wiring,
    log_cp_derivatives,
    log_cp_exp,
    log_cp_max,
    take_rows,
)
from sklearn_einet.circuit.layers.layout import arrange
from sklearn_einet.circuit.layers.sum_level import SumLevel
from sklearn_einet.native.passes import LevelPlaces
from sklearn_einet.native.program import OF_LOGS, Address
from sklearn_einet.structure import Region

__all__ = ["CPLevel"]


@dataclass(frozen=True)
class CPLevel(SumLevel):
    """Partitions of any number of children. The sums have weights of shape (n_mixed, k_out, K).

    Attributes
    ----------
    is_mixed : ndarray of bool of shape (n_children,)
        Which children's entries are mixed; those of the others are taken as they are.
    """

    is_mixed: np.ndarray

    @classmethod
    def of(
        cls,
        regions: Sequence[Region],
        rows: dict[Region, tuple[int, int]],
        sizes: Sequence[int],
        k_out: int,
    ) -> CPLevel:
        """Lay out a layer; see `arrange` for the parameters."""
        children = (child for r in regions for p in r.partitions for child in p.children)
        is_mixed = np.array([child.mixed for child in children])
        return cls(**arrange(regions, rows, sizes), k_out=k_out, is_mixed=is_mixed)

    @cached_property
    def wiring(self) -> Wiring:
        """Where the children are in what is below."""
        rows = np.arange(len(self.partition)) if self.gather is None else self.gather
        return Wiring.of(rows, self.partition, self.is_mixed)

    @cached_property
    def n_children(self) -> np.ndarray:
        """The number of children of each partition."""
        return np.bincount(self.partition)

    @cached_property
    def number(self) -> np.ndarray:
        """The row of the weights of each mixed child."""
        return np.cumsum(self.is_mixed) - 1

    @property
    def summed_axes(self) -> tuple[int, ...]:
        return (2,)

    def uniform_sums(self, K: int) -> np.ndarray:
        return np.full((int(self.is_mixed.sum()), self.k_out, K), 1 / K)

    def partition_values(
        self, outputs: Sequence[Tensor], weights: LevelWeights, leaves: Tensor | None = None
    ) -> Tensor:
        return log_cp_exp(self.below(outputs, leaves), weights.sums, self.wiring)

    def _record_partitions_up(self, places: LevelPlaces, to: Address) -> None:
        kept, n_mixed = places.kept, int(self.is_mixed.sum())
        wiring = Wiring.of(places.rows, self.partition, self.is_mixed)
        rows, ends, plain, plain_ends, kept["of"] = map(places.recorder.kept, wiring.tensors)
        kept["rows"], kept["sums"] = rows, places.recorder.buffer(n_mixed, self.k_out)
        arguments = places.values, rows, ends, plain, plain_ends, places.weights[0], kept["sums"]
        sizes = self.n_partitions, self.k_out, places.k, places.recorder.batch
        places.recorder.call("mix", *arguments, to, *sizes)

    def _record_partitions_down(self, places: LevelPlaces, flows: Address) -> None:
        kept, rows = places.kept, places.rows[self.is_mixed]
        below = places.flows_to(rows)
        before = places.values, kept["rows"], kept["of"], places.weights[0], kept["sums"], flows
        sizes = len(rows), self.k_out, places.k, places.recorder.batch
        places.recorder.call("mix_gradients", *before, below, places.counts[0], *sizes, OF_LOGS)
        places.add_flows(below, rows)
        which = places.recorder.kept(self.partition[~self.is_mixed])
        places.add_flows(flows, places.rows[~self.is_mixed], which)

    def partition_maxima(self, outputs: Sequence[Tensor], weights: LevelWeights) -> Tensor:
        return log_cp_max(self.below(outputs), weights.sums, self.wiring)

    def child_derivatives(
        self, outputs: Sequence[Tensor], weights: LevelWeights, log_derivatives: Tensor
    ) -> Tensor:
        x = self.below(outputs)
        mixed, plain = log_cp_derivatives(x, weights.sums, self.wiring, log_derivatives)
        return self._children(mixed, plain)

    def expected_counts(self, weights: LevelWeights, mass: Tensor) -> tuple[Tensor, Tensor]:
        of_child = mass[self.on(mass.device, "partition")]
        mixed = self.on(mass.device, "is_mixed")
        counts = weights.sums * of_child[mixed].unsqueeze(2)
        return counts, self._children(counts.sum(1), of_child[~mixed])

    def joint_counts(self, children: Tensor, partitions: Tensor, which: slice) -> Tensor:
        mixed = self.is_mixed[which]
        of = self.partition[which] - self.partition[which.start]
        return torch.bmm(partitions[of[mixed]], children[mixed].transpose(1, 2))

    def choose(self, choices: Any, weights: LevelWeights, visits: Tensor) -> Tensor:
        n_children = self.on(visits.device, "n_children")
        repeats = n_children[visits[1]]
        row, partition, entry = visits.repeat_interleave(repeats, dim=1)
        last = repeats.cumsum(0).repeat_interleave(repeats)
        end = n_children.cumsum(0)[partition]
        child = end - last + torch.arange(len(row), device=row.device)
        result = torch.stack([row, child, entry])
        mixed = self.on(row.device, "is_mixed")[child]
        number = self.on(row.device, "number")[child[mixed]]
        to_mix = torch.stack([row[mixed], number, entry[mixed]])
        result[2, mixed] = choices.entry(self, weights.sums, to_mix)
        return result

    def rows_of_sums(self, partitions: np.ndarray) -> np.ndarray:
        end = np.cumsum(self.n_children)
        start = end - self.n_children
        children = np.concatenate([np.arange(start[p], end[p]) for p in partitions])
        return self.number[children[self.is_mixed[children]]]

    def mixed_values(self, outputs: Sequence[Tensor]) -> Tensor:
        """Log-densities of the mixed children, (n_mixed, K, batch)."""
        x = self.below(outputs)
        return take_rows(x, self.wiring.on(x.device).mixed)

    def _children(self, mixed: Tensor, plain: Tensor) -> Tensor:
        """Values of the mixed children and of the others, in the order of all."""
        result = mixed.new_empty(len(self.partition), *mixed.shape[1:])
        where = self.on(mixed.device, "is_mixed")
        result[where], result[~where] = mixed, plain
        return result
