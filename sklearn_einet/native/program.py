"""Programs: calls of compiled operations, recorded once and run many times.

An expectation step on a small batch consists of some hundred calls of operations that take
microseconds each: deciding what to call takes longer than the calls. So they are recorded once,
with one buffer for all intermediate results, and run by one call in each direction. All arrays in
the buffer have the batch as their last axis: addresses and sizes are counted in bytes or numbers
per row, and one recording serves batches of all sizes.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from sklearn_einet.native.calls import library, operation, tensor_address
from sklearn_einet.native.threads import n_threads

__all__ = [
    "BATCH",
    "COUNTS",
    "NULL",
    "TABLES",
    "WEIGHTS",
    "Address",
    "PerRow",
    "PerStep",
    "Program",
    "Recorder",
    "in_a_row",
]

# The origins of addresses.
FIXED, BUFFER, SCRATCH, WEIGHTS, COUNTS, TABLES = ORIGINS = range(6)


def in_a_row(positions: np.ndarray) -> bool:
    """Return whether positions are consecutive."""
    return len(positions) > 0 and bool((np.diff(positions) == 1).all())


class Address(NamedTuple):
    """The address of an array: bytes from the start of an origin, or of a tensor there, plus bytes
    per row of the batch."""

    origin: int
    number: int
    offset: int
    per_row: int = 0

    def plus(self, bytes_per_row: int) -> Address:
        """Return the address that many bytes per row of the batch further on."""
        return self._replace(per_row=self.per_row + bytes_per_row)


NULL = Address(FIXED, 0, 0)


class PerRow(NamedTuple):
    """A size in numbers per row of the batch."""

    n: int


BATCH = PerRow(1)


class PerStep(NamedTuple):
    """An address or number that differs at every step; see `sklearn_einet.native.steps`."""

    name: str


Argument = Address | PerRow | PerStep | float


class Recorder:
    """A growing list of calls, and the size of the buffer that they need.

    Parameters
    ----------
    itemsize : int
        Bytes of a number.

    Attributes
    ----------
    n_units, scratch_units : int
        Numbers for each row of the batch that the buffer and the scratch have to hold.
    """

    def __init__(self, itemsize: int) -> None:
        self.itemsize = itemsize
        self.n_units = 0
        self.scratch_units = 0
        self._scratch_end = 0
        self._instructions: list[list[Address]] = []
        self._places: list[tuple[int, str]] = []
        self._kept: list[Tensor] = []

    def buffer(self, rows: int, units: int) -> Address:
        """Reserve an array of shape (rows, units, batch)."""
        address = Address(BUFFER, 0, 0, self.n_units * self.itemsize)
        self.n_units += rows * units
        return address

    def scratch(self, rows: int, units: int) -> Address:
        """Reserve such an array in the scratch until `release`."""
        address = Address(SCRATCH, 0, 0, self._scratch_end * self.itemsize)
        self._scratch_end += rows * units
        self.scratch_units = max(self.scratch_units, self._scratch_end)
        return address

    def release(self) -> None:
        """Let later arrays reuse the scratch."""
        self._scratch_end = 0

    def kept(self, numbers: np.ndarray | Tensor) -> Address:
        """Keep an array of indices, which will not change."""
        return self.fixed(torch.as_tensor(numbers, dtype=torch.int64).contiguous())

    def fixed(self, tensor: Tensor) -> Address:
        """Return the address of a contiguous tensor, which lives as long as the program."""
        if not tensor.numel():
            tensor = tensor.new_zeros(1)  # which has an address
        self._kept.append(tensor)
        return Address(FIXED, 0, tensor_address(tensor, tensor.dtype))

    def call(self, name: str, *arguments: Argument, **fields: Argument) -> None:
        """Record a call of an operation, with its fields in order or by name."""
        declared = operation(name)
        values = declared.bind(arguments, fields)
        instruction = [Address(FIXED, 0, declared.code)]
        for field, value in zip(declared.fields, values, strict=True):
            if value is None:
                value = NULL
            if isinstance(value, PerStep):
                place = len(self._instructions) * library.INSTRUCTION_LENGTH + len(instruction)
                self._places.append((place, value.name))
                instruction.append(NULL)
                continue
            if field.is_array != isinstance(value, Address):
                raise TypeError(f"{name}: {field.name} cannot be {value!r}.")
            if isinstance(value, PerRow):
                value = Address(FIXED, 0, 0, value.n)
            elif field.kind == "Number":
                value = Address(FIXED, 0, int(np.float64(value).view(np.int64)))
            elif not isinstance(value, Address):
                value = Address(FIXED, 0, int(value))
            instruction.append(value)
        padding = library.INSTRUCTION_LENGTH - len(instruction)
        self._instructions.append(instruction + [NULL] * padding)

    def program(self, n_weights: int) -> Program:
        """Return the calls so far as a program, and start the next one."""
        instructions, self._instructions = self._instructions, []
        places, self._places = self._places, []
        parts = np.array(instructions, dtype=np.int64).reshape(-1, 4).T
        return Program(parts, places, self._kept, n_weights)

    def before(self, name: str, *arguments: Argument, **fields: Argument) -> None:
        """Record a `call` before all others of the program."""
        self.call(name, *arguments, **fields)
        self._instructions.insert(0, self._instructions.pop())


class Program:
    """Recorded calls, which can be run.

    Parameters
    ----------
    parts : ndarray of int of shape (4, n_numbers)
        The parts of the address, see `Address`, of every number of every instruction.
    places : list of (int, str)
        The numbers that differ at every step, and their names.
    kept : list of Tensor
        Tensors that the calls read or write at fixed addresses.
    n_weights : int
        Number of tensors of weights.
    """

    def __init__(
        self, parts: np.ndarray, places: list[tuple[int, str]], kept: list[Tensor], n_weights: int
    ) -> None:
        self.places = places
        self._parts = parts
        self._kept = kept
        self._n_weights = n_weights
        origin, number, self._offsets, self._per_row = parts
        self._relative = np.flatnonzero((origin != FIXED) & (origin != TABLES))
        first = {BUFFER: 0, SCRATCH: 1, WEIGHTS: 2, COUNTS: 2 + n_weights}
        start = np.array([first.get(each, 0) for each in ORIGINS])
        self._tensor = (start[origin] + number)[self._relative]
        self._in_tables = np.flatnonzero(origin == TABLES)
        self._table = number[self._in_tables]

    @classmethod
    def joined(cls, programs: Sequence[Program]) -> Program:
        """Return the concatenation of programs."""
        ends = np.cumsum([each._parts.shape[1] for each in programs]).tolist()
        pairs = zip([0, *ends], programs, strict=False)
        places = [(start + place, name) for start, each in pairs for place, name in each.places]
        kept = [tensor for each in programs for tensor in each._kept]
        parts = np.concatenate([each._parts for each in programs], axis=1)
        return cls(parts, places, kept, programs[0]._n_weights)

    def run(
        self,
        batch: int,
        buffer: Tensor,
        scratch: Tensor,
        weights: Sequence[Tensor],
        counts: Sequence[Tensor],
        tables: Sequence[Tensor] = (),
    ) -> None:
        """Run the calls for a batch of some size.

        Parameters
        ----------
        batch : int
        buffer, scratch : Tensor
        weights, counts : sequence of Tensor
            In the type of the buffer.
        tables : sequence of Tensor
            Of any types.
        """
        instructions = self.instructions(batch, buffer, scratch, weights, counts, tables)
        library.run(buffer.dtype is torch.float64, n_threads(), instructions)

    def instructions(
        self,
        batch: int,
        buffer: Tensor,
        scratch: Tensor,
        weights: Sequence[Tensor],
        counts: Sequence[Tensor],
        tables: Sequence[Tensor] = (),
    ) -> np.ndarray:
        """Return the instructions for a batch of some size; see `run`."""
        tensors = buffer, scratch, *weights, *counts
        starts = np.array([tensor_address(t, buffer.dtype) for t in tensors], dtype=np.int64)
        instructions = self._offsets + batch * self._per_row
        instructions[self._relative] += starts[self._tensor]
        places = np.array([tensor_address(t, t.dtype) for t in tables], dtype=np.int64)
        instructions[self._in_tables] += places[self._table]
        return instructions
