"""Blocks of work that share a scratch buffer."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

__all__ = ["SCRATCH_BYTES", "blocks"]

# Bytes of a scratch buffer, which must stay in a core's cache between writing and reading.
SCRATCH_BYTES = 2**21


def blocks(n: int, like: Tensor, shape: tuple[int, ...]) -> Iterator[tuple[slice, Tensor]]:
    """Cut n rows into blocks that share a scratch buffer of `shape` per row."""
    row_bytes = like.element_size() * torch.Size(shape).numel()
    # GPUs need large products; small ones stay in a CPU's cache.
    size = SCRATCH_BYTES if like.device.type == "cpu" else 64 * SCRATCH_BYTES
    step = max(1, min(n, size // max(1, row_bytes)))
    buffer = like.new_empty(step, *shape)
    for start in range(0, n, step):
        block = slice(start, min(start + step, n))
        yield block, buffer[: block.stop - block.start]
