"""Copying parameters between circuits that have regions in common."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from sklearn_einet.circuit.circuit import Circuit
from sklearn_einet.structure import Region, RegionGraph

__all__ = ["copy_leaves", "copy_sums", "weights_from_the_root"]


def weights_from_the_root(circuit: Circuit) -> list[tuple[Tensor | None, Tensor | None]]:
    """Weights of the einsum layer and of the mixing layer of every level, where it has them."""
    weights = iter(circuit.weights)
    return [
        (
            None if level.children is None else next(weights),
            None if level.mixing is None else next(weights),
        )
        for level in circuit.levels
    ][::-1]


def copy_sums(
    old: Circuit, old_graph: RegionGraph, new: Circuit, source: dict[Region, Region]
) -> None:
    """Copy the weights of partitions and regions.

    Parameters
    ----------
    old : Circuit
    old_graph : RegionGraph
        That of `old`, binarized.
    new : Circuit
        Changed in place.
    source : dict of Region to Region
        Maps regions of `new` to those of `old` that they come from, with the same partitions in
        the same order. Both must be equally far from their roots.
    """
    old_weights, new_weights = weights_from_the_root(old), weights_from_the_root(new)
    old_layers, new_layers = old_graph.layers(), new.region_graph.layers()
    for depth, (einsum, mixing) in enumerate(new_weights[: len(old_weights)]):
        old_einsum, old_mixing = old_weights[depth]
        old_row = {region: i for i, region in enumerate(old_layers[depth])}
        pairs = [
            (i, old_row[source[region]])
            for i, region in enumerate(new_layers[depth])
            if region in source
        ]
        if not pairs:
            continue
        rows, old_rows = torch.tensor(pairs).T.to(new.device)
        if mixing is not None:
            mixing[rows] = 0
            if old_mixing is None:
                mixing[rows, 0] = 1
            else:
                width = min(mixing.shape[1], old_mixing.shape[1])
                mixing[rows, :width] = old_mixing[old_rows, :width]
        if einsum is not None and old_einsum is not None:
            taken = _partitions(old_layers[depth], old_rows.tolist())
            einsum[_partitions(new_layers[depth], rows.tolist())] = old_einsum[taken]


def _partitions(layer: list[Region], rows: list[int]) -> Tensor:
    """Numbers of the partitions of some of a layer's regions."""
    n_partitions = [len(region.partitions) for region in layer]
    after = np.cumsum(n_partitions)
    return torch.as_tensor(
        np.concatenate([np.arange(after[i] - n_partitions[i], after[i]) for i in rows])
    )


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
        That of `old`, binarized.
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
            for leaf in new.region_graph.layers()[-1]
        ],
        device=old.device,
    )
    old_column = torch.as_tensor(columns, device=old.device)
    groups = {int(c): group for group in old.leaf_groups for c in group.columns}
    for group in new.leaf_groups:
        origin = groups[int(old_column[group.columns[0]])]
        slots = torch.full((len(row), old_graph.n_features), -1, device=old.device)
        slots[origin.terms.region, origin.columns[origin.terms.column]] = origin.terms.slot
        region, column, slot = group.terms
        mapped = old_row[region] >= 0
        region, column, slot = region[mapped], column[mapped], slot[mapped]
        there = slots[old_row[region], old_column[group.columns[column]]]
        group.phi.flatten(0, 1)[slot] = origin.phi.flatten(0, 1)[there]
