"""Copying parameters between circuits that have regions in common."""

from __future__ import annotations

import numpy as np
import torch

from sklearn_einet.circuit.circuit import Circuit
from sklearn_einet.circuit.layers.base import Level, LevelWeights
from sklearn_einet.structure import Region, RegionGraph

__all__ = ["copy_leaves", "copy_sums"]


def copy_sums(
    old: Circuit, old_graph: RegionGraph, new: Circuit, source: dict[Region, Region]
) -> None:
    """Copy the weights of partitions and regions.

    Parameters
    ----------
    old : Circuit
    old_graph : RegionGraph
        That of `old`, as it is computed.
    new : Circuit
        Changed in place.
    source : dict of Region to Region
        Maps regions of `new` to those of `old` that they come from, with the same partitions in
        the same order. Both must be equally far from their roots.
    """
    new_layers, old_layers = new.graph.layers(), old_graph.layers()
    of_old = dict(enumerate(_levels_from_the_root(old)))
    for depth, (level, weights) in enumerate(_levels_from_the_root(new)):
        if depth not in of_old:
            continue
        old_level, old_weights = of_old[depth]
        old_row = {region: i for i, region in enumerate(old_layers[depth])}
        pairs = [
            (i, old_row[source[region]])
            for i, region in enumerate(new_layers[depth])
            if region in source
        ]
        if not pairs:
            continue
        rows, old_rows = np.array(pairs).T
        if weights.mixing is not None:
            weights.mixing[rows] = 0
            if old_weights.mixing is None:
                weights.mixing[rows, 0] = 1
            else:
                width = min(weights.mixing.shape[1], old_weights.mixing.shape[1])
                weights.mixing[rows, :width] = old_weights.mixing[old_rows, :width]
        if weights.sums is not None:
            taken = old_level.rows_of_sums(_partitions(old_layers[depth], old_rows))
            given = level.rows_of_sums(_partitions(new_layers[depth], rows))
            weights.sums[given] = old_weights.sums[taken]


def _levels_from_the_root(circuit: Circuit) -> list[tuple[Level, LevelWeights]]:
    """Those of the graph's layers, without the mixture of the entries above them."""
    pairs = list(zip(circuit.levels, circuit.by_level(circuit.weights), strict=True))[::-1]
    return pairs[1:] if circuit.mixes_entries else pairs


def _partitions(layer: list[Region], rows: np.ndarray) -> np.ndarray:
    """Numbers of the partitions of some of a layer's regions."""
    n_partitions = [len(region.partitions) for region in layer]
    after = np.cumsum(n_partitions)
    return np.concatenate([np.arange(after[i] - n_partitions[i], after[i]) for i in rows])


def copy_leaves(
    old: Circuit,
    old_graph: RegionGraph,
    new: Circuit,
    source: dict[Region, Region],
    columns: np.ndarray,
) -> None:
    """Copy the parameters of univariate densities.

    Parameters
    ----------
    old : Circuit
    old_graph : RegionGraph
        That of `old`, as it is computed.
    new : Circuit
        Changed in place.
    source : dict of Region to Region
        Maps leaf regions of `new` to those of `old` that they come from.
    columns : ndarray of int
        The column of `old` that each column of `new` is.
    """
    row = {region: i for i, region in enumerate(old_graph.layers()[-1])}
    old_row = torch.tensor(
        [
            row[source[leaf]] if leaf.scope and leaf in source else -1
            for leaf in new.graph.layers()[-1]
        ],
        device=old.device,
    )
    old_column = torch.as_tensor(columns, device=old.device)
    groups = {int(c): group for group in old.leaf_groups for c in group.columns}
    for group in new.leaf_groups:
        origin = groups[int(old_column[group.columns[0]])]
        width = old_graph.n_features
        keys = origin.terms.region * width + origin.columns[origin.terms.column]
        keys, order = keys.sort()
        region, column, slot = group.terms
        mapped = old_row[region] >= 0
        region, column, slot = region[mapped], column[mapped], slot[mapped]
        wanted = old_row[region] * width + old_column[group.columns[column]]
        there = origin.terms.slot[order[torch.searchsorted(keys, wanted)]]
        group.phi.flatten(0, 1)[slot] = origin.phi.flatten(0, 1)[there]
