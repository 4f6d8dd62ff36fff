"""Structures with joint leaf regions of the numeric columns."""

from __future__ import annotations

import itertools
from collections.abc import Collection, Sequence

from sklearn_einet.structure.region_graph import Partition, Region, RegionGraph

__all__ = ["joined_graph", "joint_regions", "renamed"]


def joint_regions(
    n_features: int, joint: Sequence[int], replicas: int, others: Region | None = None
) -> RegionGraph:
    """Return the structure of a mixture of joint densities of some columns.

    Every state of a partition of the root has one joint density of the columns, and its own
    mixture of the densities of the other columns.

    Parameters
    ----------
    n_features : int
    joint : sequence of int
        The columns that have joint densities.
    replicas : int
        Number of partitions of the root, each with K states.
    others : Region or None, default=None
        A region of the other columns; None without other columns.

    Returns
    -------
    graph : RegionGraph

    Examples
    --------
    >>> from sklearn_einet.structure import Region
    >>> from sklearn_einet.structure.joint_regions import joint_regions
    >>> graph = joint_regions(3, [0, 2], 2, Region([1]))
    >>> [[sorted(child.scope) for child in p.children] for p in graph.root.partitions]
    [[[0, 2], [1]], [[0, 2], [1]]]
    """
    partitions = []
    for _ in range(replicas):
        beside = Region((), mixed=False) if others is None else others
        partitions.append(Partition([Region(joint, mixed=False, joint=True), beside]))
    return RegionGraph(Region(range(n_features), partitions))


def renamed(root: Region, columns: Sequence[Collection[int]]) -> Region:
    """Return the same region with column i replaced by the columns in columns[i]."""
    new: dict[Region, Region] = {}
    for region in reversed(RegionGraph(root).regions):
        scope = [int(column) for feature in region.scope for column in columns[feature]]
        partitions = [Partition([new[c] for c in p.children]) for p in region.partitions]
        new[region] = Region(scope, partitions, region.mixed, region.joint)
    return new[root]


def joined_graph(graphs: Sequence[RegionGraph]) -> RegionGraph:
    """Return the structure of a mixture in the form in which its circuit computes it."""
    partitions = itertools.chain.from_iterable(graph.root.partitions for graph in graphs)
    return RegionGraph(Region(range(graphs[0].n_features), partitions))
