"""Hidden Chow-Liu trees, learned from the mutual information of columns."""

from __future__ import annotations

import numpy as np
from scipy.sparse import csr_array
from scipy.sparse.csgraph import breadth_first_order, minimum_spanning_tree

from sklearn_einet.structure.discretization import discretized
from sklearn_einet.structure.mutual_information import mutual_information
from sklearn_einet.structure.region_graph import RegionGraph
from sklearn_einet.structure.tree_regions import tree_regions

__all__ = ["chow_liu", "chow_liu_trees", "spanning_trees"]

# How many multiplications and additions mutual information may take, and how many rows are used
# in any case, even if that takes more.
MAX_PRODUCTS = 5 * 10**11
MIN_ROWS = 2000


def chow_liu(
    X: np.ndarray,
    n_states: np.ndarray,
    replicas: int = 1,
    *,
    random_state: np.random.RandomState,
    weight: np.ndarray | None = None,
    n_bins: int = 5,
    mixed_leaves: np.ndarray | None = None,
) -> RegionGraph:
    """Learn hidden Chow-Liu trees from a table.

    A Chow-Liu tree is the tree over the columns with the largest total mutual information, so that
    it links the most strongly dependent pairs. In the circuit, every column that is not at the end
    of a branch has a latent variable of its own.

    Parameters
    ----------
    X, n_states, replicas, random_state, weight, n_bins
        As in `chow_liu_trees`. The trees become partitions of the root.
    mixed_leaves : ndarray of bool of shape (n_features,), default=None
        As in `tree_regions`.

    Returns
    -------
    graph : RegionGraph

    References
    ----------
    A. Liu and G. Van den Broeck, "Tractable Regularization of Probabilistic Circuits", NeurIPS
    2021. C. Chow and C. Liu, "Approximating Discrete Probability Distributions with Dependence
    Trees", IEEE Transactions on Information Theory, 1968.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn_einet.structure.chow_liu import chow_liu
    >>> from sklearn_einet.structure.tree_regions import tree_of
    >>> random_state = np.random.RandomState(0)
    >>> X = random_state.randn(500, 4).cumsum(1)  # a walk: each column hangs on the one before
    >>> graph = chow_liu(X, np.zeros(4, int), random_state=random_state)
    >>> graph
    RegionGraph(n_features=4, regions=6, partitions=2, leaves=4)
    >>> tree_of(graph)[0].tolist()  # the parent of every column
    [1, 2, -1, 2]
    """
    trees = chow_liu_trees(
        X, n_states, replicas, random_state=random_state, weight=weight, n_bins=n_bins
    )
    return tree_regions(trees, mixed_leaves)


def chow_liu_trees(
    X: np.ndarray,
    n_states: np.ndarray,
    replicas: int = 1,
    *,
    random_state: np.random.RandomState,
    weight: np.ndarray | None = None,
    n_bins: int = 5,
) -> list[np.ndarray]:
    """Return spanning trees of a table's columns with the largest total mutual information.

    Parameters
    ----------
    X : ndarray of shape (n_samples, n_features)
        NaN is a missing cell: a pair of columns is judged by the rows in which both are observed.
        Very large tables are judged by randomly chosen rows, so that 2,000 columns take less than
        a minute: by 62,500 rows if all columns are binary, by 10,000 if all are numeric.
    n_states : ndarray of int of shape (n_features,)
        For a column of codes 0, ..., S - 1, the number S; 0 for a column of numbers, which is cut
        into bins. If there are very many states, the rarest are merged.
    replicas : int, default=1
        Number of trees, at least 1. The first one is found from the estimates of mutual
        information. Further ones are found after adding normal noise with the estimates' standard
        deviations, as if they came from other rows.
    random_state : RandomState
        Source of the noise and of the choice of rows.
    weight : ndarray of shape (n_samples,), default=None
        How many rows each row counts for, at least 0.
    n_bins : int, default=5
        Largest number of bins of a column of numbers.

    Returns
    -------
    trees : list of ndarray of int of shape (n_features,)
        The parent of every column, -1 for the root. The root is in the middle of a longest path.

    Raises
    ------
    ValueError
        If replicas is below 1, n_bins is below 2, a weight is negative, or a code is too large.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn_einet.structure.chow_liu import chow_liu_trees
    >>> X = np.repeat([[0, 0, 0], [1, 1, 1], [0, 0, 1], [1, 1, 0]], [9, 9, 1, 1], axis=0)
    >>> X[:5, 2] = 1 - X[:5, 2]
    >>> chow_liu_trees(X, np.array([2, 2, 2]), random_state=np.random.RandomState(0))
    [array([-1,  0,  0])]
    """
    if replicas < 1:
        raise ValueError(f"replicas must be at least 1, got {replicas}.")
    d = X.shape[1]
    max_states = min(256, max(n_bins, int((2 * MAX_PRODUCTS / MIN_ROWS) ** 0.5) // d))
    total = int(np.where(n_states == 0, n_bins, np.minimum(n_states, max_states)).sum())
    rows: slice | np.ndarray = slice(None)
    if weight is not None and (weight == 0).any():
        rows = np.flatnonzero(weight)
    n_rows = len(X) if isinstance(rows, slice) else len(rows)
    n_used = max(MIN_ROWS, 2 * MAX_PRODUCTS // total**2)
    if n_used < n_rows:
        chosen = np.sort(random_state.choice(n_rows, n_used, replace=False))
        rows = chosen if isinstance(rows, slice) else rows[chosen]
    own_weight = None if weight is None else _as_rows(weight[rows])
    codes, found = discretized(X, n_states, n_bins, max_states, rows, own_weight)
    information, variance = mutual_information(codes, found, own_weight)
    return spanning_trees(information, variance, replicas, random_state)


def _as_rows(weight: np.ndarray) -> np.ndarray | None:
    """Return positive weights as numbers of rows, at least as many as there are; None: 1 each."""
    # Whole numbers are kept, so that they have exactly the effect of repeated rows.
    weight = weight * max(1.0, len(weight) / weight.sum())
    return None if (weight == 1).all() else weight


def spanning_trees(
    information: np.ndarray,
    variance: np.ndarray,
    replicas: int,
    random_state: np.random.RandomState,
) -> list[np.ndarray]:
    """Return the tree with the largest total weight, and trees for weights with normal noise.

    Parameters
    ----------
    information, variance : ndarray of shape (n_features, n_features)
        Weights of all pairs, symmetric, and their variances.
    replicas : int
        Number of trees; all except the first have noisy weights.
    random_state : RandomState
        Source of the noise.

    Returns
    -------
    trees : list of ndarray of int of shape (n_features,)
        The parent of every column, -1 for the root. The root is in the middle of a longest path.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn_einet.structure.chow_liu import spanning_trees
    >>> chain = np.array([[0, 3, 1], [3, 0, 2], [1, 2, 0]])
    >>> spanning_trees(chain, chain / 100, 1, np.random.RandomState(0))
    [array([ 1, -1,  1])]
    """
    d = len(information)
    if d == 1:
        return [np.array([-1])] * replicas
    pairs = np.triu_indices(d, 1)
    values, deviation = information[pairs], np.sqrt(variance[pairs])
    edges = np.asarray(pairs, dtype=np.int32)  # the only integers that scipy < 1.16 takes
    trees = []
    for replica in range(replicas):
        noise = random_state.standard_normal(len(values)) * deviation if replica else 0.0
        # Ranks instead of values: a weight of 0 would mean no edge, and the order of equal weights
        # would depend on the machine.
        rank = np.empty(len(values))
        rank[np.argsort(-(values + noise), kind="stable")] = np.arange(1, len(values) + 1)
        tree = minimum_spanning_tree(csr_array((rank, edges), shape=(d, d)))
        trees.append(_rooted_at_centre(tree))
    return trees


def _rooted_at_centre(tree: csr_array) -> np.ndarray:
    """Return parents in a tree of undirected edges, rooted in the middle of a longest path."""
    start = 0
    for _ in range(2):  # the column furthest from any other is an end of a longest path
        order, before = breadth_first_order(tree, start, directed=False)
        start = order[-1]
    path = [start]
    while before[path[-1]] >= 0:
        path.append(before[path[-1]])
    _, parents = breadth_first_order(tree, path[len(path) // 2], directed=False)
    return np.where(parents < 0, -1, parents).astype(np.int64)
