"""Structures for images by name."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from sklearn_einet.structure.poon_domingos import poon_domingos
from sklearn_einet.structure.quadrants import quad_graph, quad_tree
from sklearn_einet.structure.region_graph import RegionGraph

__all__ = ["IMAGE_STRUCTURES", "image_regions"]

#: Structures for pixels, which need the shape of the image.
IMAGE_STRUCTURES = ("poon-domingos", "quad-graph", "quad-tree")


def image_regions(
    structure: str,
    image_shape: Sequence[int] | None,
    delta: int | Iterable[int] | None,
    split_axes: Any,
    n_features: int,
) -> RegionGraph:
    """Return the region graph of a table whose rows are images.

    Parameters
    ----------
    structure : str
        One of `IMAGE_STRUCTURES`.
    image_shape, delta, split_axes
        As in `poon_domingos`; quad trees and graphs need only the shape.
    n_features : int
        Number of columns of the table.

    Raises
    ------
    ValueError
        If a parameter is missing, or the shape does not fit the number of columns.
    """
    if image_shape is None:
        raise ValueError(f"structure={structure!r} needs the parameter image_shape.")
    if structure == "quad-tree":
        graph = quad_tree(image_shape)
    elif structure == "quad-graph":
        graph = quad_graph(image_shape)
    elif delta is None:
        raise ValueError(f"structure={structure!r} needs the parameter delta.")
    else:
        graph = poon_domingos(image_shape, delta, split_axes)
    if graph.n_features != n_features:
        raise ValueError(
            f"image_shape={image_shape!r} has {graph.n_features} features, but X has {n_features}."
        )
    return graph
