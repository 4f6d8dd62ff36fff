"""Steps: a program that runs for one batch of rows after the other in a single call."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from torch import Tensor

from sklearn_einet.native.calls import library
from sklearn_einet.native.program import Program
from sklearn_einet.native.threads import n_threads

__all__ = ["Steps"]

# Rows after which to check whether the user has interrupted the program.
INTERRUPTIBLE_ROWS = 2**14


class Steps:
    """A program that is run for one batch after the other.

    Parameters
    ----------
    program : Program
    n_units, scratch_units : int
        Numbers for each row of the batch that the buffer and the scratch have to hold.
    most_rows : int
        The size of the largest batch.
    dtype : torch.dtype
    """

    def __init__(
        self, program: Program, n_units: int, scratch_units: int, most_rows: int, dtype: torch.dtype
    ) -> None:
        self._program = program
        self._sizes = n_units * most_rows, scratch_units * most_rows
        self._dtype = dtype
        self._places = np.array([place for place, _ in program.places], dtype=np.int64)

    def run(
        self,
        sizes: np.ndarray,
        numbers: Mapping[str, np.ndarray],
        weights: Sequence[Tensor],
        counts: Sequence[Tensor],
        tables: Sequence[Tensor],
    ) -> None:
        """Run the program for batches of some sizes.

        Parameters
        ----------
        sizes : ndarray of int of shape (n_steps,)
        numbers : dict of str to ndarray of shape (n_steps,)
            The numbers that differ at every step, by name: addresses, or float64.
        weights, counts, tables : sequence of Tensor
            As in `Program.run`.
        """
        different, which = np.unique(sizes, return_inverse=True)
        # Not kept: the M-steps of leaves that follow may need as much memory.
        buffer, scratch = (torch.empty(size, dtype=self._dtype) for size in self._sizes)
        tensors = buffer, scratch, weights, counts, tables
        programs = np.stack([self._program.instructions(size, *tensors) for size in different])
        columns = [numbers[name].view(np.int64) for _, name in self._program.places]
        values, which = np.column_stack(columns), which.astype(np.int64)
        at_a_time = max(1, INTERRUPTIBLE_ROWS // int(different[-1]))
        for start in range(0, len(sizes), at_a_time):
            here = slice(start, start + at_a_time)
            library.run_steps(
                self._dtype is torch.float64,
                n_threads(),
                programs,
                len(different),
                which[here],
                self._places,
                values[here],
            )
