"""Circuits with another structure, and copying of parameters for shared regions."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from sklearn_einet.circuit.circuit import Circuit, LeafColumns
from sklearn_einet.circuit.layers.base import ProductLayer
from sklearn_einet.circuit.leaves.joint_normal import JointGroup
from sklearn_einet.structure import Region, RegionGraph

__all__ = ["copy_leaves", "copy_sums", "restructured"]


def restructured(
    circuit: Circuit, graph: RegionGraph, leaf_columns: Sequence[LeafColumns] | None = None
) -> Circuit:
    """Return an unfitted circuit with another structure, otherwise like a given one.

    Parameters
    ----------
    circuit : Circuit
    graph : RegionGraph
    leaf_columns : sequence of LeafColumns, default=None
        None: those of `circuit`.
    """
    return Circuit(
        graph,
        circuit.leaf_columns if leaf_columns is None else leaf_columns,
        circuit.K,
        layer=circuit.layer,
        min_variance=circuit.leaf_groups[0].min_variance,
        dtype=circuit.dtype,
        device=circuit.device,
    )


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
    new_regions, old_regions = new.graph.layers(), old_graph.layers()
    of_old = dict(enumerate(_from_the_root(old)))
    for depth, (given, mixing) in enumerate(_from_the_root(new)):
        if depth not in of_old:
            continue
        taken, old_mixing = of_old[depth]
        old_row = {region: i for i, region in enumerate(old_regions[depth])}
        pairs = [
            (i, old_row[source[region]])
            for i, region in enumerate(new_regions[depth])
            if region in source
        ]
        if not pairs:
            continue
        rows, old_rows = np.array(pairs).T
        if mixing is not None:
            mixing[rows] = 0
            if old_mixing is None:
                mixing[rows, 0] = 1
            else:
                width = min(mixing.shape[1], old_mixing.shape[1])
                mixing[rows, :width] = old_mixing[old_rows, :width]
        if given is not None and taken is not None:
            old_sums = taken.layer.rows_of_weights(_partitions(old_regions[depth], old_rows))
            sums = given.layer.rows_of_weights(_partitions(new_regions[depth], rows))
            given.weights[sums] = taken.weights[old_sums]


class _Products(NamedTuple):
    """The partitions of a topological layer of regions."""

    layer: ProductLayer
    weights: Tensor


def _from_the_root(circuit: Circuit) -> list[tuple[_Products | None, Tensor | None]]:
    """Return the partitions of each topological layer, and the weights that mix them.

    The mixture of units above CP layers is left out. A lone leaf region has no partitions.
    """
    result: list[tuple[_Products | None, Tensor | None]] = []
    mixing = None
    for layer, weights in zip(reversed(circuit.layers), reversed(circuit.weights), strict=True):
        if isinstance(layer, ProductLayer):
            result.append((_Products(layer, weights), mixing))
            mixing = None
        elif circuit.region_graph.root.is_leaf:
            result.append((None, weights))
        elif not (circuit.mixes_units and layer is circuit.layers[-1]):
            mixing = weights
    return result


def _partitions(layer: list[Region], rows: np.ndarray) -> np.ndarray:
    """Return the numbers of the partitions of some of a layer's regions."""
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
    """Copy the parameters of the leaf regions' densities.

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
    # For every leaf region of the new circuit, that of the old one, or -1.
    old_row = torch.tensor(
        [
            row[source[leaf]] if leaf.scope and leaf in source else -1
            for leaf in new.graph.layers()[-1]
        ],
        device=old.device,
    )
    old_column = torch.as_tensor(columns, device=old.device)
    groups = {c: group for group in old.leaf_groups for c in group.columns.tolist()}
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
    for joint in new.joint_groups:
        _copy_joint(old.joint_groups, joint, old_row[joint.regions], old_column[joint.columns])


def _copy_joint(
    origins: Sequence[JointGroup], joint: JointGroup, old_rows: Tensor, columns: Tensor
) -> None:
    """Copy joint densities, given their rows and columns in the old circuit."""
    for origin in origins:
        here = torch.isin(old_rows, origin.regions)
        if not bool(here.any()) or not bool(torch.isin(columns, origin.columns).all()):
            continue
        own_rows = torch.nonzero(here).view(-1)
        rows = torch.searchsorted(origin.regions, old_rows[here])
        joint.copy_from(origin, own_rows, rows, origin.positions(columns))
