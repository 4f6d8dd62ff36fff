"""How many rows to compute at a time."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

__all__ = ["good_block_rows", "slices"]

# Memory for the activations of one block of rows: larger blocks only cost memory.
BLOCK_BYTES = {"cpu": 2**24, "cuda": 2**29}

# The fewest rows in a block, because every block goes through all parameters.
LEAST_ROWS = 128
MOST_ROWS = 2**14

# How much more memory they may take if there are many parameters, for the same reason.
MANY_PARAMETERS = 8


def good_block_rows(row_bytes: int, parameters: Sequence[Tensor], device: torch.device) -> int:
    """Return a number of rows whose activations take little memory, but not too few.

    Parameters
    ----------
    row_bytes : int
        Memory for the activations of a row.
    parameters : sequence of Tensor
        The parameters that each block goes through.
    device : torch.device
    """
    size = BLOCK_BYTES["cpu" if device.type == "cpu" else "cuda"]
    parameter_bytes = sum(t.numel() * t.element_size() for t in parameters)
    size = max(size, min(2 * parameter_bytes, MANY_PARAMETERS * size))
    return max(LEAST_ROWS, min(size // row_bytes, MOST_ROWS))


def slices(n: int, size: int) -> Iterator[slice]:
    """Cut n rows into slices of at most `size`; scikit-learn's `gen_batches` takes longer to
    check its arguments than scoring a row takes."""
    for start in range(0, n, size):
        yield slice(start, min(start + size, n))
