"""Quarters of an image, quarters of these, and so on down to pixels."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from sklearn_einet.structure.poon_domingos import checked_shape
from sklearn_einet.structure.region_graph import Partition, Region, RegionGraph

__all__ = ["quad_graph", "quad_tree"]


def quad_tree(image_shape: Sequence[int]) -> RegionGraph:
    """Cut an image into four quarters, and each of them again, down to single pixels.

    Every region has one partition: four quarters, or two halves where one side is a single pixel.
    If the length of a side is odd, its first half is the longer one. All channels of a pixel stay
    together.

    Parameters
    ----------
    image_shape : (height, width) or (height, width, channels)
        Features are the flattened pixels, in the order of ``image.reshape(-1)``.

    Returns
    -------
    graph : RegionGraph

    Raises
    ------
    ValueError
        If a size is not a positive integer.

    References
    ----------
    L. Loconte et al., "What is the Relationship between Tensor Factorizations and Circuits (and
    How Can We Exploit it)?", TMLR 2025, section 4.1.

    Examples
    --------
    >>> from sklearn_einet.structure import quad_tree
    >>> quad_tree((4, 4))
    RegionGraph(n_features=16, regions=21, partitions=5, leaves=16)
    """
    return RegionGraph(_region(_pixels(image_shape), both_orders=False))


def quad_graph(image_shape: Sequence[int]) -> RegionGraph:
    """Cut an image into quarters in both orders of cuts, and each of them again, down to pixels.

    A region has two partitions: into an upper and a lower half, and into a left and a right half.
    The halves are then cut the other way, so that both orders lead to the same four quarters. If
    one side is a single pixel, there is one partition. Sizes are as in `quad_tree`.

    Parameters
    ----------
    image_shape : (height, width) or (height, width, channels)
        Features are the flattened pixels, in the order of ``image.reshape(-1)``.

    Returns
    -------
    graph : RegionGraph

    Raises
    ------
    ValueError
        If a size is not a positive integer.

    References
    ----------
    L. Loconte et al., "What is the Relationship between Tensor Factorizations and Circuits (and
    How Can We Exploit it)?", TMLR 2025, section 4.1.

    Examples
    --------
    >>> from sklearn_einet.structure import quad_graph
    >>> quad_graph((2, 2))
    RegionGraph(n_features=4, regions=9, partitions=6, leaves=4)
    """
    return RegionGraph(_region(_pixels(image_shape), both_orders=True))


def _pixels(image_shape: Sequence[int]) -> np.ndarray:
    """Return the feature of every channel of every pixel."""
    shape = checked_shape(image_shape)
    return np.arange(np.prod(shape)).reshape(shape)


def _region(pixels: np.ndarray, both_orders: bool) -> Region:
    """Return the region of a rectangle, with all regions below it."""
    scope = pixels.ravel().tolist()
    if pixels.shape[:2] == (1, 1):
        return Region(scope)
    rows = [
        [_region(quarter, both_orders) for quarter in _halves(half, axis=1)]
        for half in _halves(pixels, axis=0)
    ]
    quarters = [quarter for row in rows for quarter in row]
    if not both_orders or len(quarters) == 2:
        return Region(scope, [Partition(quarters)])
    columns = zip(*rows, strict=True)
    return Region(scope, [Partition(map(_whole, pairs)) for pairs in (rows, columns)])


def _whole(halves: Sequence[Region]) -> Region:
    """Return the region of two adjacent rectangles."""
    partition = Partition(halves)
    return Region(partition.scope, [partition])


def _halves(pixels: np.ndarray, axis: int) -> list[np.ndarray]:
    """Return the two halves of a rectangle, or the rectangle if its side cannot be cut."""
    return np.array_split(pixels, min(2, pixels.shape[axis]), axis)
