"""Lists of calls of compiled functions, recorded once and made many times.

An expectation step on a small batch is some hundred calls of functions that take microseconds each:
finding out what to call takes longer than the calls. So they are recorded once for every size of a
batch, with places in one buffer for all that is in between, and made by one call in each direction.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from sklearn_einet.native.products import addresses, native, native_arguments

__all__ = ["COUNTS", "NOWHERE", "OF_LOGS", "WEIGHTS", "Place", "Program", "Recorder", "in_a_row"]

# What the addresses of places are relative to.
FIXED, BUFFER, SCRATCH, WEIGHTS, COUNTS = ORIGINS = range(5)

# Numbers of a recorded call, its function's first; as in native/module.c.
CALL_LENGTH = 16

# Places begin at multiples of so many bytes, as lines of a cache do.
LINE = 64


def in_a_row(positions: np.ndarray) -> bool:
    """Whether positions follow each other."""
    return len(positions) > 0 and bool((np.diff(positions) == 1).all())


class Place(NamedTuple):
    """Where an array will be: bytes from the start of one of the origins, or of a tensor there."""

    origin: int
    number: int
    offset: int

    def plus(self, n_bytes: int) -> Place:
        """A place further on."""
        return self._replace(offset=self.offset + n_bytes)


NOWHERE = Place(FIXED, 0, 0)

# For compiled gradients: those of weights with respect to their logarithms, which are counts.
OF_LOGS = True


class Recorder:
    """Records calls, and how large the buffer must be for them.

    Parameters
    ----------
    itemsize : int
        Bytes of a number.
    batch : int
    """

    def __init__(self, itemsize: int, batch: int) -> None:
        self.itemsize = itemsize
        self.batch = batch
        self.n_bytes = 0
        self.scratch_bytes = 0
        self._scratch_end = 0
        self._calls: list[list[Place]] = []
        self._kept: list[Tensor] = []

    def row_bytes(self, entries: int) -> int:
        """Bytes of a row of (entries, batch) numbers."""
        return entries * self.batch * self.itemsize

    def buffer(self, rows: int, entries: int) -> Place:
        """Room for an array of shape (rows, entries, batch)."""
        place = Place(BUFFER, 0, self.n_bytes)
        self.n_bytes += self._whole_lines(rows, entries)
        return place

    def scratch(self, rows: int, entries: int) -> Place:
        """Such room until `release`."""
        place = Place(SCRATCH, 0, self._scratch_end)
        self._scratch_end += self._whole_lines(rows, entries)
        self.scratch_bytes = max(self.scratch_bytes, self._scratch_end)
        return place

    def _whole_lines(self, rows: int, entries: int) -> int:
        return -(-rows * self.row_bytes(entries) // LINE) * LINE

    def release(self) -> None:
        """Let other arrays be where those in the scratch have been."""
        self._scratch_end = 0

    def kept(self, numbers: np.ndarray | Tensor) -> Place:
        """An array of indices, which will not change."""
        tensor = torch.as_tensor(numbers, dtype=torch.int64).contiguous()
        self._kept.append(tensor)
        return Place(FIXED, 0, tensor.data_ptr())

    def call(self, function: str, *arguments: Place | int) -> None:
        """Record a call, with places and sizes in the order of the compiled function."""
        code = native.FUNCTIONS.index(function)
        places = [a if isinstance(a, Place) else Place(FIXED, 0, a) for a in (code, *arguments)]
        self._calls.append(places + [NOWHERE] * (CALL_LENGTH - len(places)))

    def program(self, n_weights: int) -> Program:
        """The calls so far, to be made; those of the next program follow."""
        calls, self._calls = self._calls, []
        return Program(calls, self._kept, n_weights)

    def before(self, function: str, *arguments: Place | int) -> None:
        """`call` before all other calls of the program."""
        self.call(function, *arguments)
        self._calls.insert(0, self._calls.pop())


class Program:
    """Recorded calls.

    Parameters
    ----------
    calls : list of list of Place
    kept : list of Tensor
        Indices that the calls read.
    n_weights : int
        Number of tensors of weights.
    """

    def __init__(self, calls: list[list[Place]], kept: list[Tensor], n_weights: int) -> None:
        places = np.array(calls, dtype=np.int64).reshape(-1, 3)
        origin, number, offset = places.T
        self._offsets = offset.copy()
        self._relative = np.flatnonzero(origin != FIXED)
        first = {BUFFER: 0, SCRATCH: 1, WEIGHTS: 2, COUNTS: 2 + n_weights}
        start = np.array([first.get(each, 0) for each in ORIGINS])
        self._tensor = (start[origin] + number)[self._relative]
        self._kept = kept

    def run(
        self,
        buffer: Tensor,
        scratch: Tensor,
        weights: Sequence[Tensor],
        counts: Sequence[Tensor],
    ) -> None:
        """Make the calls."""
        first = native_arguments(buffer)
        assert first is not None
        starts = np.array(addresses(buffer, scratch, *weights, *counts), dtype=np.int64)
        calls = self._offsets.copy()
        calls[self._relative] += starts[self._tensor]
        native.run(*first, calls.ctypes.data, len(calls) // CALL_LENGTH)
