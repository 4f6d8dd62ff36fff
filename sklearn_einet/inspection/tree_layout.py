"""Positions of the nodes of a tree."""

from __future__ import annotations

import numpy as np

__all__ = ["tree_layout"]


def tree_layout(parents: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return where to draw the nodes of a tree, without overlaps or crossing edges.

    Parameters
    ----------
    parents : ndarray of int of shape (n_nodes,)
        -1 for the root.

    Returns
    -------
    depth : ndarray of int of shape (n_nodes,)
        Number of edges to the root.
    row : ndarray of shape (n_nodes,)
        From 0 on. Nodes of the same depth are at least one row apart; parents are half-way between
        their first and last child.

    Raises
    ------
    ValueError
        If the parents do not form a tree.

    References
    ----------
    E. Reingold and J. Tilford, "Tidier Drawings of Trees", IEEE Transactions on Software
    Engineering, 1981.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn_einet.inspection.tree_layout import tree_layout
    >>> depth, row = tree_layout(np.array([-1, 0, 0, 2]))
    >>> depth.tolist(), row.tolist()
    ([0, 1, 1, 2], [0.5, 0.0, 1.0, 1.0])
    """
    n = len(parents)
    roots = np.flatnonzero(parents == -1)
    if len(roots) != 1 or not ((parents >= -1) & (parents < n)).all():
        raise ValueError("parents must be indices of nodes, and -1 exactly once, for the root.")
    children: list[list[int]] = [[] for _ in range(n)]
    for child, parent in enumerate(parents):
        if parent >= 0:
            children[parent].append(child)
    order, depth = [int(roots[0])], np.zeros(n, dtype=int)
    for node in order:
        depth[children[node]] = depth[node] + 1
        order += children[node]
    if len(order) < n:
        raise ValueError("parents has a cycle, so it is not a tree.")
    # Subtrees are moved together until they nearly touch. The first and the last row of a subtree
    # at every depth are counted from its own root.
    first: dict[int, np.ndarray] = {}
    last: dict[int, np.ndarray] = {}
    offset = np.zeros(n)
    for node in reversed(order):
        top, bottom = np.empty(0), np.empty(0)
        for child in children[node]:
            low, high = first.pop(child), last.pop(child)
            common = min(len(top), len(low))
            if common:
                offset[child] = (bottom[:common] - low[:common]).max() + 1
            top = np.append(top, low[len(top) :] + offset[child])
            bottom = np.append(high + offset[child], bottom[len(high) :])
        if children[node]:
            middle = (offset[children[node][0]] + offset[children[node][-1]]) / 2
            offset[children[node]] -= middle
            top, bottom = top - middle, bottom - middle
        first[node], last[node] = np.append(0.0, top), np.append(0.0, bottom)
    row = np.zeros(n)
    for node in order[1:]:
        row[node] = row[parents[node]] + offset[node]
    return depth, row - row.min()
