"""All levels of a circuit."""

from __future__ import annotations

from dataclasses import replace

from sklearn_einet.circuit.layers.base import Level
from sklearn_einet.circuit.layers.cp_level import CPLevel
from sklearn_einet.circuit.layers.einsum_level import EinsumLevel
from sklearn_einet.circuit.layers.entry_level import EntryLevel
from sklearn_einet.structure import Region

__all__ = ["levels_above"]


def levels_above(
    inner: list[list[Region]], leaves: list[Region], layer: str, K: int
) -> list[Level]:
    """The levels above the leaf regions, from below; `inner` is from the root."""
    levels: list[Level] = []
    sizes = [len(leaves)]
    rows = {region: (0, i) for i, region in enumerate(leaves)}
    for regions in reversed(inner):
        if layer == "cp":
            level: Level = CPLevel.of(regions, rows, sizes, K)
        else:
            level = EinsumLevel.of(regions, rows, sizes, 1 if regions is inner[0] else K)
        levels.append(level)
        rows |= {region: (len(levels), i) for i, region in enumerate(regions)}
        sizes.append(len(regions))
    if layer == "cp" and inner:
        # What is below the root has vectors of K entries: one sum over all of them, and no sum over
        # the partitions before that.
        levels[-1] = replace(levels[-1], mixing=None)
        levels.append(EntryLevel.above(len(levels), levels[-1].n_partitions, K))
    elif not inner:
        levels.append(EntryLevel.above(0, 1, K))
    return levels
