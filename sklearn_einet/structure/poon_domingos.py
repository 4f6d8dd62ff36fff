"""Rectangles of an image: the structure of Poon and Domingos (paper, section 4.2)."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from numbers import Integral
from typing import Any

import numpy as np

from sklearn_einet.structure.region_graph import Partition, Region, RegionGraph

__all__ = ["SPLIT_AXES", "checked_shape", "poon_domingos"]

#: Which cuts are made: by vertical lines (into left and right), by horizontal lines, or by both.
SPLIT_AXES = {"both": (0, 1), "horizontal": (0,), "vertical": (1,)}

# Top, left, bottom, right: pixels from top to bottom - 1 and from left to right - 1.
Rectangle = tuple[int, int, int, int]


def poon_domingos(
    image_shape: Sequence[int], delta: int | Iterable[int], split_axes: str = "both"
) -> RegionGraph:
    """Cut an image into two rectangles in all ways along a grid, and each rectangle again.

    Every rectangle of grid cells is one region, however many ways lead to it, with one partition
    for each cut. Rectangles that a grid can no longer cut are cut along the next finer grid. All
    channels of a pixel stay together.

    Parameters
    ----------
    image_shape : (height, width) or (height, width, channels)
        Features are the flattened pixels, in the order of ``image.reshape(-1)``.
    delta : int or iterable of int
        Numbers of pieces into which the grids cut each side, from coarse to fine. On images of
        28 x 28 pixels, 7 makes leaf regions of 4 x 4 pixels, and [7, 28] cuts those into pixels.
        A side has at most as many pieces as pixels.
    split_axes : {"both", "horizontal", "vertical"}, default="both"
        Cuts by horizontal lines, by vertical lines, or by both.

    Returns
    -------
    graph : RegionGraph

    Raises
    ------
    ValueError
        If a size is not a positive integer, the grids do not become finer, or no grid cuts the
        image.

    References
    ----------
    H. Poon and P. Domingos, "Sum-Product Networks: A New Deep Architecture", UAI 2011, section 4.

    Examples
    --------
    >>> from sklearn_einet.structure import poon_domingos
    >>> poon_domingos((4, 4), 2)
    RegionGraph(n_features=16, regions=9, partitions=6, leaves=4)
    >>> poon_domingos((4, 4, 3), [2, 4], split_axes="vertical")
    RegionGraph(n_features=48, regions=7, partitions=3, leaves=4)
    """
    height, width, channels = checked_shape(image_shape)
    grids = _grids(height, width, delta)
    if split_axes not in SPLIT_AXES:
        raise ValueError(f"split_axes must be one of {sorted(SPLIT_AXES)}, got {split_axes!r}.")
    whole = (0, 0, height, width)
    halves = _all_cuts(whole, grids, SPLIT_AXES[split_axes])
    if not halves[whole]:
        raise ValueError(
            f"delta={delta!r} does not split an image of {height} x {width} pixels with "
            f"split_axes={split_axes!r}: give at least one number of pieces above 1."
        )
    features = np.arange(height * width * channels).reshape(height, width, channels)
    regions: dict[Rectangle, Region] = {}
    # Smaller rectangles first, because a region needs its children.
    for rectangle in sorted(halves, key=lambda r: (r[2] - r[0]) * (r[3] - r[1])):
        top, left, bottom, right = rectangle
        partitions = [Partition([regions[a], regions[b]]) for a, b in halves[rectangle]]
        scope = features[top:bottom, left:right].ravel().tolist()
        regions[rectangle] = Region(scope, partitions)
    return RegionGraph(regions[whole])


def checked_shape(image_shape: Any) -> tuple[int, int, int]:
    """Return height, width and number of channels."""
    shape = tuple(image_shape) if isinstance(image_shape, Iterable) else ()
    if len(shape) not in (2, 3) or not all(isinstance(n, Integral) and int(n) >= 1 for n in shape):
        raise ValueError(
            "image_shape must be (height, width) or (height, width, channels) with positive "
            f"integers, got {image_shape!r}."
        )
    height, width, channels = (*shape, 1)[:3]
    return int(height), int(width), int(channels)


def _grids(height: int, width: int, delta: Any) -> list[tuple[set[int], set[int]]]:
    """Return rows and columns of the cuts of every grid, from coarse to fine."""
    pieces = list(delta) if isinstance(delta, Iterable) else [delta]
    whole = all(isinstance(n, Integral) and int(n) >= 1 for n in pieces)
    if not pieces or not whole or any(np.diff(pieces) <= 0):
        raise ValueError(
            f"delta must be a positive integer or an increasing list of these, got {delta!r}."
        )
    return [(_lines(height, int(n)), _lines(width, int(n))) for n in pieces]


def _lines(side: int, n_pieces: int) -> set[int]:
    """Return where a side is cut into pieces of nearly equal length."""
    return set(np.linspace(0, side, min(n_pieces, side) + 1).round().astype(int).tolist())


def _all_cuts(
    whole: Rectangle, grids: list[tuple[set[int], set[int]]], axes: tuple[int, ...]
) -> dict[Rectangle, list[tuple[Rectangle, Rectangle]]]:
    """Return the pairs of rectangles into which each reachable rectangle is cut; none for
    leaves."""
    result: dict[Rectangle, list[tuple[Rectangle, Rectangle]]] = {}
    stack = [whole]
    while stack:
        rectangle = stack.pop()
        if rectangle in result:
            continue
        result[rectangle] = _cuts(rectangle, grids, axes)
        stack.extend(half for pair in result[rectangle] for half in pair)
    return result


def _cuts(
    rectangle: Rectangle, grids: list[tuple[set[int], set[int]]], axes: tuple[int, ...]
) -> list[tuple[Rectangle, Rectangle]]:
    """Return the cuts of a rectangle along the coarsest grid that cuts it."""
    top, left, bottom, right = rectangle
    for grid in grids:
        rows = [r for r in sorted(grid[0]) if 0 in axes and top < r < bottom]
        columns = [c for c in sorted(grid[1]) if 1 in axes and left < c < right]
        if rows or columns:
            above_below = [((top, left, r, right), (r, left, bottom, right)) for r in rows]
            left_right = [((top, left, bottom, c), (top, c, bottom, right)) for c in columns]
            return above_below + left_right
    return []
