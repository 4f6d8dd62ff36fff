"""All layers of a circuit."""

from __future__ import annotations

import numpy as np

from sklearn_einet.circuit.layers.base import Layer, ProductLayer
from sklearn_einet.circuit.layers.cp import CPLayer
from sklearn_einet.circuit.layers.einsum import EinsumLayer
from sklearn_einet.circuit.layers.layout import child_layout
from sklearn_einet.circuit.layers.mixing import MixingLayer
from sklearn_einet.structure import Region

__all__ = ["PRODUCT_LAYERS", "layers_above"]

#: How the children of a partition are combined, by name.
PRODUCT_LAYERS: dict[str, type[ProductLayer]] = {"tucker": EinsumLayer, "cp": CPLayer}


def layers_above(
    inner: list[list[Region]], leaves: list[Region], kind: type[ProductLayer], K: int
) -> list[Layer]:
    """Stack the layers above the leaf regions, from the bottom up; `inner` is from the root."""
    layers: list[Layer] = []
    sizes = [len(leaves)]
    rows = {region: (0, i) for i, region in enumerate(leaves)}

    def add(layer: Layer) -> None:
        layers.append(layer)
        sizes.append(layer.n_rows)

    for regions in reversed(inner):
        is_root = regions is inner[0]
        k_out = 1 if is_root and kind.ends_in_sums else K
        add(kind.above(child_layout(regions, rows, sizes), regions, k_out))
        counts = np.array([len(region.partitions) for region in regions])
        if is_root and not kind.ends_in_sums:
            # One sum over all units, without a separate sum over the partitions.
            add(MixingLayer.of_units(len(layers), sizes[-1], K))
        elif counts.max() > 1:
            add(MixingLayer.of_partitions(len(layers), counts, k_out))
        rows |= {region: (len(layers), i) for i, region in enumerate(regions)}
    if not inner:
        add(MixingLayer.of_units(0, 1, K))
    return layers
