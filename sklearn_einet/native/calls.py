"""Calls of compiled operations by the names of their fields, checked by their declarations.

Every operation is declared once, in `src/operations.hpp`, with the names, kinds and shapes of its
fields. Everything here is derived from that.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Any, NamedTuple

import torch
from torch import Tensor

from sklearn_einet.native.threads import n_threads

import_error: ImportError | None = None
try:
    from sklearn_einet.native import _native as library
except ImportError as error:  # there was no compiler when the package was built
    import_error, library = error, None  # type: ignore[assignment]

__all__ = [
    "Operation",
    "available",
    "call",
    "import_error",
    "instruction_set",
    "instruction_sets",
    "library",
    "operation",
    "tensor_address",
    "use",
]

SCALARS = ("Size", "Flag", "Number")


class Field(NamedTuple):
    """A field of an operation: an array, a size, a flag or a number.

    Attributes
    ----------
    name : str
    kind : str
        As in `src/operations.hpp`.
    shape : str
        Names of sizes and constants; any other word means a free dimension.
    """

    name: str
    kind: str
    shape: str

    @property
    def is_array(self) -> bool:
        """Whether the field is the address of an array."""
        return self.kind not in SCALARS

    @property
    def is_optional(self) -> bool:
        """Whether the array may be left out."""
        return self.kind.startswith("Optional")

    @property
    def dtype(self) -> torch.dtype | None:
        """The fixed type of the array; None if it is that of the call."""
        if self.kind.endswith("Index"):
            return torch.int64
        return torch.float64 if self.kind.startswith("Double") else None


class _Array(NamedTuple):
    """An array of an operation: its position, its type if fixed, and its number of elements: a
    factor times the sizes in some positions, or a multiple of that."""

    position: int
    dtype: torch.dtype | None
    constant: int
    sizes: tuple[int, ...]
    is_free: bool


class Operation:
    """A declared operation.

    Parameters
    ----------
    code : int
        The first number of its recorded instructions.
    name : str
    fields : sequence of Field
    """

    def __init__(self, code: int, name: str, fields: Sequence[Field]) -> None:
        self.code = code
        self.name = name
        self.fields = tuple(fields)
        self.names = [field.name for field in fields]
        self.positions = {field.name: i for i, field in enumerate(fields)}
        self.required = [i for i, field in enumerate(fields) if not field.is_optional]

    @cached_property
    def arrays(self) -> list[_Array]:
        """The checks of every array."""
        arrays = []
        sizes_by_name = {n: i for n, i in self.positions.items() if not self.fields[i].is_array}
        for i, field in enumerate(self.fields):
            words = field.shape.split()
            sizes = tuple(sizes_by_name[w] for w in words if w in sizes_by_name)
            numbers = [int(w) for w in words if w.isdigit()]
            is_free = len(sizes) + len(numbers) < len(words)
            if field.is_array:
                arrays.append(_Array(i, field.dtype, math.prod(numbers), sizes, is_free))
        return arrays

    def bind(self, arguments: Sequence[Any], named: Mapping[str, Any]) -> list[Any]:
        """Return the value of every field; None for optional arrays that are left out."""
        if len(arguments) > len(self.fields):
            raise TypeError(f"{self.name} has {len(self.fields)} fields, not {len(arguments)}.")
        values = [*arguments, *map(named.get, self.names[len(arguments) :])]
        if not named.keys() <= self.positions.keys():
            unknown = sorted(named.keys() - self.positions.keys())
            raise TypeError(f"{self.name} has no field {unknown[0]!r}.")
        if len(arguments) and not named.keys().isdisjoint(self.names[: len(arguments)]):
            raise TypeError(f"{self.name} has two values for a field.")
        for i in self.required:
            if values[i] is None:
                raise TypeError(f"{self.name} needs the field {self.names[i]!r}.")
        return values


OPERATIONS = {
    name: Operation(code, name, [Field(*field) for field in fields])
    for code, (name, fields) in enumerate(library.OPERATIONS if library is not None else ())
}


def available() -> bool:
    """Return whether the compiled part is built; without it, torch is used."""
    return library is not None


def instruction_sets() -> tuple[str, ...]:
    """Return the names of this processor's instruction sets, the fastest first."""
    return library.INSTRUCTION_SETS if library is not None else ()


def instruction_set() -> str | None:
    """Return the name of the instruction set in use: "avx512", "avx2", "generic" (which every
    processor of the architecture has), or None without the compiled part."""
    return library.instruction_set() if library is not None else None


def use(instruction_set: str) -> None:
    """Choose one of the `instruction_sets`; the default is the fastest."""
    if library is None:
        raise ValueError("The compiled part is not built.")
    library.use(instruction_set)


def operation(name: str) -> Operation:
    """Return the declaration of an operation."""
    if name not in OPERATIONS:
        raise ValueError(f"There is no compiled operation {name!r}.")
    return OPERATIONS[name]


def tensor_address(tensor: Tensor, dtype: torch.dtype) -> int:
    """Return the address of a tensor, which must be contiguous, on the CPU and of a given type."""
    if tensor.dtype is not dtype:
        raise TypeError(f"All tensors must have the same type; got {dtype} and {tensor.dtype}.")
    if not (tensor.is_cpu and tensor.is_contiguous()):
        raise TypeError("Tensors must be contiguous and on the CPU.")
    return tensor.data_ptr()


def call(name: str, /, **fields: Tensor | float | None) -> None:
    """Run an operation.

    Parameters
    ----------
    name : str
    **fields : Tensor, int, float or None
        All fields of the operation; optional arrays may be left out. Arrays of numbers must have
        the same type, float32 or float64.
    """
    declared = operation(name)
    values = declared.bind((), fields)
    common = None
    for i, dtype, expected, sizes, is_free in declared.arrays:
        tensor = values[i]
        if tensor is None:
            values[i] = 0
            continue
        if dtype is None:
            dtype = common = common or tensor.dtype
        for j in sizes:
            expected *= values[j]
        found = tensor.numel()
        if found != expected and not (is_free and expected and found % expected == 0):
            what = declared.fields[i].name
            raise ValueError(f"{name}: {what} has {found} numbers, but needs {expected}.")
        values[i] = tensor_address(tensor, dtype)
    common = common or torch.float64
    if common is not torch.float32 and common is not torch.float64:
        raise TypeError(f"{name} computes in float32 or float64, not in {common}.")
    run = getattr(library, name)
    run(common is torch.float64, n_threads(), *values)
