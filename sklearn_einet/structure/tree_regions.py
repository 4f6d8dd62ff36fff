"""Trees of columns as region graphs, and back."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from sklearn_einet.structure.region_graph import Partition, Region, RegionGraph

__all__ = ["tree_of", "tree_regions"]


def tree_regions(
    trees: Sequence[np.ndarray], mixed_leaves: np.ndarray | None = None
) -> RegionGraph:
    """Return the circuit structure of hidden trees.

    A column with children in the tree has a region of all columns below it, with one partition:
    the column itself as a leaf region, then the regions of its children.

    Parameters
    ----------
    trees : sequence of ndarray of int of shape (n_features,)
        The parent of every column, -1 for the root. Each tree is one partition of the root region.
    mixed_leaves : ndarray of bool of shape (n_features,), default=None
        Which columns have leaf regions whose densities are mixed; None for none.

    Returns
    -------
    graph : RegionGraph
        A single leaf region if there is only one column.

    Raises
    ------
    ValueError
        If an array of parents is not a tree, or mixed_leaves has another length.

    Examples
    --------
    >>> from sklearn_einet.structure.tree_regions import tree_regions
    >>> graph = tree_regions([[1, -1, 1, 2]])
    >>> [[sorted(region.scope) for region in layer] for layer in graph.layers()]
    [[[0, 1, 2, 3]], [[2, 3]], [[1], [0], [2], [3]]]
    """
    d = len(trees[0])
    mixed = [False] * d if mixed_leaves is None else [bool(m) for m in mixed_leaves]
    if len(mixed) != d:
        raise ValueError(f"mixed_leaves must have {d} entries, got {len(mixed)}.")
    partitions = [_root_partition(np.asarray(tree).tolist(), mixed) for tree in trees]
    return RegionGraph(Region(range(d), [p for p in partitions if p is not None]))


def _root_partition(parents: list[int], mixed: list[bool]) -> Partition | None:
    """Return the partition of a tree's root; None if the tree is a single column."""
    children: dict[int, list[int]] = {column: [] for column in range(-1, len(mixed))}
    for column, parent in enumerate(parents[: len(mixed)]):
        children.get(parent, []).append(column)
    order = children[-1][:]
    for column in order:
        order.extend(children[column])
    if len(children[-1]) != 1 or not len(order) == len(parents) == len(mixed):
        raise ValueError(
            f"trees must hold arrays of {len(mixed)} parents that lead to one root; got {parents}."
        )
    regions: dict[int, Region] = {}
    partition = None
    for column in reversed(order):
        leaf, partition = Region([column], mixed=mixed[column]), None
        below = [regions.pop(child) for child in children[column]]
        if below:
            partition = Partition([leaf, *below])
        regions[column] = Region(partition.scope, [partition]) if partition else leaf
    return partition


def tree_of(graph: RegionGraph) -> list[np.ndarray]:
    """Return the trees of a graph made by `chow_liu`, without joint densities beside them.

    Features after all columns are states of these columns, in the same leaf regions.

    Parameters
    ----------
    graph : RegionGraph

    Returns
    -------
    trees : list of ndarray of int of shape (n_columns,)
        The parent of every column, -1 for the root; one tree for each partition of the root.

    Raises
    ------
    ValueError
        If the graph does not consist of such trees.

    Examples
    --------
    >>> from sklearn_einet.structure.tree_regions import tree_of, tree_regions
    >>> tree_of(tree_regions([[1, -1, 1, 2]]))
    [array([ 1, -1,  1,  2])]
    """
    if graph.root.is_leaf and graph.n_features == 1:
        return [np.array([-1])]
    trees = []
    for top in graph.root.partitions:
        if any(child.joint for child in top.children):
            continue
        parent_of: dict[int, int] = {}
        behind: set[int] = set()
        stack = [(top, -1)]
        while stack:
            partition, parent = stack.pop()
            column = _column(partition.children[0], behind)
            parent_of[column] = parent
            for region in partition.children[1:]:
                if len(region.partitions) == 1:
                    stack.append((region.partitions[0], column))
                else:
                    parent_of[_column(region, behind)] = column
        if behind and min(behind) < len(parent_of):
            raise ValueError(
                f"graph is not a Chow-Liu tree: a leaf region has column {min(behind)} and another."
            )
        trees.append(np.array([parent_of[column] for column in range(len(parent_of))]))
    if not trees:
        raise ValueError("graph is not a Chow-Liu tree: its root is a leaf region.")
    return trees


def _column(leaf: Region, behind: set[int]) -> int:
    """Return the first column of a leaf region, and note those that follow: its state."""
    if not leaf.is_leaf or not leaf.scope:
        raise ValueError(
            f"graph is not a Chow-Liu tree: the region of {sorted(leaf.scope)} should be a single "
            "column."
        )
    column, *states = sorted(leaf.scope)
    behind.update(states)
    return column
