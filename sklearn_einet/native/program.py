"""Programs: calls of compiled operations, recorded once and run many times.

An expectation step on a small batch is some hundred calls of operations that take microseconds
each: finding out what to call takes longer than the calls. So they are recorded once for every size
of a batch, with one buffer for all that is in between, and run by one call in each direction.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from sklearn_einet.native.calls import library, operation, tensor_address

__all__ = ["COUNTS", "NULL", "WEIGHTS", "Address", "Program", "Recorder", "in_a_row"]

# What addresses are relative to.
FIXED, BUFFER, SCRATCH, WEIGHTS, COUNTS = ORIGINS = range(5)

# Arrays begin at multiples of so many bytes, as lines of a cache do.
LINE = 64


def in_a_row(positions: np.ndarray) -> bool:
    """Return whether positions follow each other."""
    return len(positions) > 0 and bool((np.diff(positions) == 1).all())


class Address(NamedTuple):
    """The address of an array: bytes from the start of an origin, or of a tensor there."""

    origin: int
    number: int
    offset: int

    def plus(self, n_bytes: int) -> Address:
        """Return the address so many bytes further on."""
        return self._replace(offset=self.offset + n_bytes)


NULL = Address(FIXED, 0, 0)


class Recorder:
    """A growing list of calls, and the size of the buffer that they need.

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
        self._instructions: list[list[Address]] = []
        self._kept: list[Tensor] = []

    def row_bytes(self, entries: int) -> int:
        """Return the bytes of a row of (entries, batch) numbers."""
        return entries * self.batch * self.itemsize

    def buffer(self, rows: int, entries: int) -> Address:
        """Reserve an array of shape (rows, entries, batch)."""
        address = Address(BUFFER, 0, self.n_bytes)
        self.n_bytes += self._whole_lines(rows, entries)
        return address

    def scratch(self, rows: int, entries: int) -> Address:
        """Reserve such an array until `release`."""
        address = Address(SCRATCH, 0, self._scratch_end)
        self._scratch_end += self._whole_lines(rows, entries)
        self.scratch_bytes = max(self.scratch_bytes, self._scratch_end)
        return address

    def _whole_lines(self, rows: int, entries: int) -> int:
        return -(-rows * self.row_bytes(entries) // LINE) * LINE

    def release(self) -> None:
        """Let other arrays be where those in the scratch have been."""
        self._scratch_end = 0

    def kept(self, numbers: np.ndarray | Tensor) -> Address:
        """Keep an array of indices, which will not change."""
        tensor = torch.as_tensor(numbers, dtype=torch.int64).contiguous()
        self._kept.append(tensor)
        return Address(FIXED, 0, tensor.data_ptr())

    def call(self, name: str, *arguments: Address | float, **fields: Address | float) -> None:
        """Record a call of an operation, with its fields in order or by name."""
        declared = operation(name)
        values = declared.bind(arguments, fields)
        instruction = [Address(FIXED, 0, declared.code)]
        for field, value in zip(declared.fields, values, strict=True):
            if value is None:
                value = NULL
            if field.is_array != isinstance(value, Address):
                raise TypeError(f"{name}: {field.name} cannot be {value!r}.")
            if field.kind == "Number":
                value = int(np.float64(value).view(np.int64))
            instruction.append(value if field.is_array else Address(FIXED, 0, int(value)))
        padding = library.INSTRUCTION_LENGTH - len(instruction)
        self._instructions.append(instruction + [NULL] * padding)

    def program(self, n_weights: int) -> Program:
        """Return the calls so far as a program, and begin the next one."""
        instructions, self._instructions = self._instructions, []
        return Program(instructions, self._kept, n_weights)

    def before(self, name: str, *arguments: Address | float, **fields: Address | float) -> None:
        """Record a `call` before all others of the program."""
        self.call(name, *arguments, **fields)
        self._instructions.insert(0, self._instructions.pop())


class Program:
    """Recorded calls, which can be run.

    Parameters
    ----------
    instructions : list of list of Address
    kept : list of Tensor
        Indices that the calls read.
    n_weights : int
        Number of tensors of weights.
    """

    def __init__(
        self, instructions: list[list[Address]], kept: list[Tensor], n_weights: int
    ) -> None:
        origin, number, offset = np.array(instructions, dtype=np.int64).reshape(-1, 3).T
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
        """Run the calls."""
        dtype = buffer.dtype
        tensors = buffer, scratch, *weights, *counts
        starts = np.array([tensor_address(t, dtype) for t in tensors], dtype=np.int64)
        instructions = self._offsets.copy()
        instructions[self._relative] += starts[self._tensor]
        library.run(dtype is torch.float64, torch.get_num_threads(), instructions)
