"""Layers of regions: which rows of which earlier outputs they are computed from."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from torch import Tensor

from sklearn_einet.circuit.sum_layers import log_einsum_exp, log_mix_exp
from sklearn_einet.structure import Region

__all__ = ["Level"]


@dataclass(frozen=True)
class Level:
    """The regions of one topological layer and the partitions below them.

    Attributes
    ----------
    children : ndarray of shape (2 * n_partitions, 2) or None
        The (output, row) of the two children of every partition, one after the other; output 0
        is that of the leaf regions. None if the level mixes the entries of a lone leaf region.
    gather : ndarray of shape (2 * n_partitions,) or None
        Rows of the children in the concatenation of the outputs that hold them; None if those
        are all of its rows, in order.
    mixing : ndarray of shape (n_regions, n_partitions) or None
        Rows of the partitions of each region, the first repeated as padding; None if every
        region has one.
    k_out : int
        Number of entries of the regions.
    """

    children: np.ndarray | None
    gather: np.ndarray | None
    mixing: np.ndarray | None
    k_out: int

    @classmethod
    def of(
        cls, regions: Sequence[Region], rows: dict[Region, tuple[int, int]], k_out: int
    ) -> Level:
        """Lay out a layer, given the (output, row) of every region in the layers below."""
        children = np.array([rows[c] for r in regions for p in r.partitions for c in p.children])
        start, total = {}, 0
        for output in np.unique(children[:, 0]):
            start[output] = total
            total += sum(source == output for source, _ in rows.values())
        gather = np.array([start[output] + row for output, row in children])
        in_order = len(gather) == total and bool((np.diff(gather) == 1).all())
        counts = np.array([len(r.partitions) for r in regions])
        mixing = None
        if counts.max() > 1:
            first = np.cumsum(counts) - counts
            steps = np.arange(counts.max())
            mixing = first[:, None] + np.where(steps < counts[:, None], steps, 0)
        return cls(children, None if in_order else gather, mixing, k_out)

    @classmethod
    def of_leaf_root(cls, K: int) -> Level:
        """The level above a root that is a leaf region: its K entries are mixed."""
        return cls(None, None, np.arange(K)[None], k_out=1)

    @cached_property
    def sources(self) -> list[int]:
        """The outputs that hold the children."""
        return [0] if self.children is None else np.unique(self.children[:, 0]).tolist()

    @property
    def n_partitions(self) -> int:
        """Number of partitions."""
        return 0 if self.children is None else len(self.children) // 2

    @property
    def n_regions(self) -> int:
        """Number of regions."""
        return self.n_partitions if self.mixing is None else len(self.mixing)

    @cached_property
    def slot(self) -> np.ndarray:
        """The position of each partition in the flattened `mixing`."""
        assert self.mixing is not None
        present = np.ones(self.mixing.shape, dtype=bool)
        present[:, 1:] = np.diff(self.mixing) > 0
        return np.flatnonzero(present)

    def region_of_partition(self) -> np.ndarray:
        """The region that each partition belongs to."""
        if self.mixing is None:
            return np.arange(self.n_partitions)
        region = np.empty(self.n_partitions, dtype=np.int64)
        region[self.mixing] = np.arange(self.n_regions)[:, None]
        return region

    def uniform_weights(self, K: int) -> list[np.ndarray]:
        """Weights of the einsum layer and of the mixing layer, where the level has them."""
        weights = []
        if self.children is not None:
            weights.append(np.full((self.n_partitions, self.k_out, K, K), 1 / K**2))
        if self.mixing is not None:
            present = np.ones(self.mixing.shape)
            present[:, 1:] = np.diff(self.mixing) > 0
            uniform = present / present.sum(1, keepdims=True)
            weights.append(np.repeat(uniform[:, :, None], self.k_out, axis=2))
        return weights

    def child_values(self, outputs: Sequence[Tensor]) -> Tensor:
        """Log-densities of the partitions' children, one after the other.

        Parameters
        ----------
        outputs : sequence of Tensor of shape (rows, K, batch)
            Those of the leaf regions and of the levels below.

        Returns
        -------
        children : Tensor of shape (2 * n_partitions, K, batch)
        """
        x, gather = self._below(outputs)
        return x if gather is None else x.index_select(0, gather)

    def partition_values(self, outputs: Sequence[Tensor], weights: Iterator[Tensor]) -> Tensor:
        """Log-densities of the level's partitions, (n_partitions, k_out, batch).

        Above a lone leaf region, its entries.

        Parameters
        ----------
        outputs : sequence of Tensor of shape (rows, K, batch)
        weights : iterator of Tensor
            Yields the weights as in `uniform_weights`.
        """
        if self.children is None:
            return outputs[0].transpose(0, 1)
        x, gather = self._below(outputs)
        return log_einsum_exp(x, next(weights), gather)

    def region_values(self, outputs: Sequence[Tensor], weights: Iterator[Tensor]) -> Tensor:
        """Log-densities of the level's regions, (n_regions, k_out, batch).

        Parameters
        ----------
        outputs, weights
            As for `partition_values`.
        """
        if self.children is None:
            return log_mix_exp(self.partition_values(outputs, weights).unsqueeze(0), next(weights))
        if self.mixing is None:
            return self.partition_values(outputs, weights)
        x, gather = self._below(outputs)
        slot = torch.as_tensor(self.slot, device=x.device)
        return log_einsum_exp(x, next(weights), gather, next(weights), slot)

    def _below(self, outputs: Sequence[Tensor]) -> tuple[Tensor, Tensor | None]:
        """The outputs that hold the children, in one, and the children's rows of it."""
        below = [outputs[i] for i in self.sources]
        x = below[0] if len(below) == 1 else torch.cat(below)
        return x, None if self.gather is None else torch.as_tensor(self.gather, device=x.device)

    def by_partition(self, terms: Tensor) -> Tensor:
        """Weights of the mixing layer, or their shares, partition by partition.

        Parameters
        ----------
        terms : Tensor of shape (n_regions, n_partitions, k_out)

        Returns
        -------
        terms : Tensor of shape (n_partitions, k_out)
            Above a lone leaf region, entry by entry.
        """
        assert self.mixing is not None
        rows = torch.as_tensor(self.mixing, device=terms.device).view(-1)
        flat = terms.flatten(0, 1)
        # Padding repeats a partition with weight 0.
        return flat.new_zeros(int(self.mixing.max()) + 1, self.k_out).index_add_(0, rows, flat)
