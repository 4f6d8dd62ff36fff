"""How many rows to compute at a time."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from sklearn_einet.circuit.layers.mixing import MixingLayer

if TYPE_CHECKING:
    from sklearn_einet.circuit.circuit import Circuit

__all__ = ["good_block_rows"]

# What the activations of one block of rows may take: larger blocks only cost memory.
BLOCK_BYTES = {"cpu": 2**24, "cuda": 2**29}

# The fewest rows in a block, as every block goes through all parameters.
LEAST_ROWS = 128
MOST_ROWS = 2**14

# How much more they may take where the parameters are many, as each block goes through all of them.
MANY_PARAMETERS = 8


def good_block_rows(circuit: Circuit) -> int:
    """Return a number of rows whose activations take little memory, but not too few."""
    # Partitions that are mixed into regions are not counted beside these.
    mixed = [m for m in circuit.layers if isinstance(m, MixingLayer) and not m.over_units]
    rows = sum(n for n, _ in circuit.output_shapes) - sum(layer.n_terms for layer in mixed)
    row_bytes = 3 * rows * circuit.K * torch.finfo(circuit.dtype).bits // 8
    row_bytes += 6 * 8 * circuit.region_graph.n_features
    row_bytes += sum(2 * 8 * g.index.numel() for g in circuit.leaf_groups if g.looks_up)
    size = BLOCK_BYTES["cpu" if circuit.device.type == "cpu" else "cuda"]
    tensors = circuit.weights + [g.phi for g in circuit.leaf_groups]
    parameter_bytes = sum(t.numel() * t.element_size() for t in tensors)
    size = max(size, min(2 * parameter_bytes, MANY_PARAMETERS * size))
    return max(LEAST_ROWS, min(size // row_bytes, MOST_ROWS))
