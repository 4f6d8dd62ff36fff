"""The circuit for some of the columns, with the others integrated out."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from sklearn_einet.circuit.circuit import Circuit
from sklearn_einet.circuit.transforms.copying import copy_leaves, copy_sums, restructured
from sklearn_einet.structure import Partition, Region, RegionGraph

__all__ = ["marginal_circuit"]


def marginal_circuit(circuit: Circuit, columns: np.ndarray) -> Circuit:
    """Return the exact marginal density of some columns, as a circuit of its own.

    Regions without any of these columns integrate to 1: all of them become one leaf region with
    empty scope, and everything below them is dropped.

    Parameters
    ----------
    circuit : Circuit
    columns : ndarray of int
        The columns to keep, in their new order.

    Returns
    -------
    circuit : Circuit
        It shares no tensors with the original.
    """
    position = {int(column): i for i, column in enumerate(columns)}
    old_graph = circuit.graph
    kept = _restricted_regions(old_graph, position)
    leaf_columns = []
    for group in circuit.leaf_columns:
        here = np.isin(group.columns, columns)
        if here.any():
            own = group.of(here)
            renamed = np.array([position[int(c)] for c in own.columns])
            leaf_columns.append(replace(own, columns=renamed))
    result = restructured(circuit, RegionGraph(kept[old_graph.root]), leaf_columns)
    source = {new: old for old, new in kept.items() if new.scope}
    # The rest of a region stays as far from the root as the region was.
    copy_sums(circuit, old_graph, result, source)
    if circuit.mixes_units:
        result.weights[-1].copy_(circuit.weights[-1])
    copy_leaves(circuit, old_graph, result, source, columns)
    return result


def _restricted_regions(graph: RegionGraph, position: dict[int, int]) -> dict[Region, Region]:
    """Return the replacement of each region, including some that are no longer reachable."""
    empty = Region(())
    kept: dict[Region, Region] = {}
    for region in reversed(graph.regions):
        scope = [position[feature] for feature in region.scope if feature in position]
        if scope:
            partitions = [Partition([kept[c] for c in p.children]) for p in region.partitions]
            kept[region] = Region(scope, partitions, region.mixed, region.joint)
        else:
            # A region that is not mixed has one parent, and stays unmixed.
            kept[region] = empty if region.mixed else Region((), mixed=False)
    return kept
