"""Random binary trees: the structure of RAT-SPNs (paper, section 4.1)."""

from __future__ import annotations

import warnings

import numpy as np

from sklearn_einet.structure.region_graph import Partition, Region, RegionGraph

__all__ = ["random_binary_trees"]


def random_binary_trees(
    n_features: int, depth: int, replicas: int, random_state: np.random.RandomState
) -> RegionGraph:
    """Split all features at random into halves, `depth` times; repeat this `replicas` times.

    Parameters
    ----------
    n_features : int
        Number of features d >= 1.
    depth : int
        Number D >= 0 of splits between the root and a leaf region. If there are fewer than
        2**depth features, it is lowered to floor(log2(n_features)) with a warning.
    replicas : int
        Number R >= 1 of trees, which become partitions of the root. With depth 0 there is nothing
        to split, and the root itself is the only leaf region.
    random_state : RandomState
        Source of the random splits.

    Returns
    -------
    graph : RegionGraph
        With R * (2**D - 1) partitions and R * 2**D leaf regions, whose sizes differ by at
        most one feature.

    References
    ----------
    R. Peharz et al., "Random Sum-Product Networks: A Simple and Effective Approach to
    Probabilistic Deep Learning", UAI 2019, Algorithm 1.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn_einet.structure import random_binary_trees
    >>> random_binary_trees(8, depth=2, replicas=3, random_state=np.random.RandomState(0))
    RegionGraph(n_features=8, regions=19, partitions=9, leaves=12)
    """
    deepest = n_features.bit_length() - 1
    if depth > deepest:
        warnings.warn(
            f"depth={depth} needs at least {2**depth} features, but there are {n_features}: "
            f"depth={deepest} is used instead.",
            UserWarning,
            stacklevel=2,
        )
        depth = deepest
    if depth == 0:
        return RegionGraph(Region(range(n_features)))
    partitions = [
        _split(random_state.permutation(n_features), depth, random_state) for _ in range(replicas)
    ]
    return RegionGraph(Region(range(n_features), partitions))


def _split(features: np.ndarray, depth: int, random_state: np.random.RandomState) -> Partition:
    """Split shuffled features at random, and the halves again `depth` - 1 times."""
    # An odd feature goes to a random side, so that no side is larger on average.
    middle = (len(features) + random_state.randint(2)) // 2
    if depth == 1:
        return Partition([Region(features[:middle].tolist()), Region(features[middle:].tolist())])
    halves = (
        _split(half, depth - 1, random_state) for half in (features[:middle], features[middle:])
    )
    return Partition([Region(half.scope, [half]) for half in halves])
