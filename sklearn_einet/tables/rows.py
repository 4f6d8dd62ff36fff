"""Training rows, encoded block by block."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sized
from copy import copy
from functools import cached_property
from typing import Any, Self, TypeVar

import numpy as np
import torch
from torch import Tensor

__all__ = ["STRIP", "Rows", "even_slices"]

#: Rows that the loops over a batch take at a time: fewer rows cost the same.
STRIP = 32

# Rows that take less than this share of a GPU's free memory are moved there once, not by batch.
RESIDENT_SHARE = 0.25

# Memory for rows that are encoded once and kept, on a CPU.
ENCODED_BYTES = 2**26

# Memory for rows that are encoded a few at a time.
READ_BYTES = 2**22

# How many cells are moved at a time.
MOVED_CELLS = 2**24

Total = TypeVar("Total")
Made = TypeVar("Made")


class Rows:
    """Rows of a table with weights, read in blocks and never copied as a whole.

    Parameters
    ----------
    X : array of shape (n_samples, n_features)
        Anything whose rows can be selected by slices and index arrays.
    encode : callable
        Maps selected rows to float64 in the circuit's units.
    weight : ndarray of shape (n_samples,) or None
    device : torch.device
    random_state : RandomState
        Source of the order of minibatches.
    which : ndarray of int or None, default=None
        The rows that count; None for all.
    """

    def __init__(
        self,
        X: Any,
        encode: Callable[[np.ndarray], np.ndarray],
        weight: np.ndarray | None,
        device: torch.device,
        random_state: np.random.RandomState,
        which: np.ndarray | None = None,
    ) -> None:
        self.X = X
        self.encode = encode
        self.weight = weight
        self.device = device
        self.random_state = random_state
        self.which = which
        self._latest: dict[str, tuple[Any, Any]] = {}

    def __len__(self) -> int:
        return len(self.X if self.which is None else self.which)

    @cached_property
    def total_weight(self) -> float:
        """Sum of the weights."""
        if self.weight is None:
            return float(len(self))
        return float(self.weight.sum() if self.which is None else self.weight[self.which].sum())

    @cached_property
    def all_weights(self) -> Tensor | None:
        """The weights of the rows that count, on a CPU."""
        if self.weight is None:
            return None
        return torch.from_numpy(
            np.array(self.weight if self.which is None else self.weight[self.which])
        )

    def apart(self) -> Self:
        """Return the same rows without cached results, which may hold references to them."""
        other = copy(self)
        other._latest = {}
        return other

    def raw(self, block: Any) -> tuple[np.ndarray, np.ndarray | None]:
        """Return rows in the units of the table, and their weights."""
        rows = block if self.which is None else self.which[block]
        return self.X[rows], None if self.weight is None else self.weight[rows]

    def select(self, block: Any) -> tuple[Tensor, Tensor | None]:
        """Return the encoded rows and their weights on the device."""
        if self.encoded is not None:
            x, weight = self.encoded
            return x[block], None if weight is None else weight[block]
        if self._resident is None:
            return self._load(block)
        index: Any = block if self.which is None else self.which[block]
        if not isinstance(index, slice):
            index = self._moved(index)
        x, weight = self._resident
        return x[index], None if weight is None else weight[index]

    @cached_property
    def encoded(self) -> tuple[Tensor, Tensor | None] | None:
        """The rows that count on a CPU, encoded once instead of by batch, if they take little
        memory; row by row, because minibatches are drawn from them."""
        if self.device.type != "cpu" or not self.is_at_hand:
            return None
        if not 0 < 8 * len(self) * self.X.shape[1] <= ENCODED_BYTES:
            return None
        # The intermediate results of a few rows take little memory.
        first, *others = self.blocks(self.rows_at_a_time)
        start, _ = self._load(first)
        x = start.new_empty(len(self), start.shape[1])
        x[first] = start
        for block in others:
            x[block] = self._load(block)[0]
        return x, self.all_weights

    @property
    def rows_at_a_time(self) -> int:
        """How many rows to encode at a time."""
        return max(1, READ_BYTES // (8 * self.X.shape[1]))

    @property
    def is_at_hand(self) -> bool:
        """Whether any of the rows can be read in this process."""
        return isinstance(self.X, np.ndarray)

    @cached_property
    def _resident(self) -> tuple[Tensor, Tensor | None] | None:
        """All rows of the table on a GPU, if they take little of its memory; None on a CPU."""
        if self.device.type != "cuda" or not isinstance(self.X, np.ndarray):
            return None
        free, _ = torch.cuda.mem_get_info(self.device)
        if 8 * self.X.size > RESIDENT_SHARE * free:
            return None
        step = max(1, MOVED_CELLS // self.X.shape[1])
        parts = [
            self._moved(self.encode(self.X[start : start + step]))
            for start in range(0, len(self.X), step)
        ]
        return torch.cat(parts), None if self.weight is None else self._moved(np.array(self.weight))

    def _load(self, block: Any) -> tuple[Tensor, Tensor | None]:
        raw, weight = self.raw(block)
        x = self._moved(self.encode(raw))
        # Weights may be a view of a read-only array.
        return x, None if weight is None else self._moved(np.array(weight))

    def _moved(self, array: np.ndarray) -> Tensor:
        """Return an array on the device; a GPU copies it from pinned memory while it computes."""
        tensor = torch.from_numpy(array)
        if self.device.type == "cuda":
            tensor = tensor.pin_memory()
        return tensor.to(self.device, non_blocking=True)

    def latest(self, name: str, key: Any, make: Callable[[], Made]) -> Made:
        """Return a result made from the rows, cached until another key asks for the same name.

        Parameters
        ----------
        name : str
            The name of the result.
        key : object
            The object that it is made for: compared by identity, and kept as well.
        make : callable
        """
        held = self._latest.get(name)
        if held is None or held[0] is not key:
            held = self._latest[name] = key, make()
        made: Made = held[1]
        return made

    def total(self, part: Callable[[Rows, Any], Total], which: Any = None) -> Total:
        """Return the sum of an additive function over some rows.

        Parameters
        ----------
        part : callable
            Takes rows and which of them count (None: all), and returns the value for these. For the
            union of two disjoint batches, it is the sum of both values. It may be called in another
            process, and several times: it must not change anything.
        which : a batch as from `batches`, or None for all rows
        """
        return part(self, which)

    def n_batches(self, size: int) -> int:
        """Return the number of minibatches."""
        return -(-len(self) // size)

    def batches(self, size: int) -> Iterator[Sized]:
        """Return minibatches of nearly equal size: every row once, in random order."""
        order = self.random_state.permutation(len(self))
        return iter(np.split(order, self._batch_ends(size)[:-1]))

    def _batch_ends(self, size: int) -> np.ndarray:
        """Return where minibatches of at most `size` rows end: all but the last have whole strips,
        if `size` has."""
        step = 1 if size % STRIP else STRIP
        ends = np.append(np.arange(step, len(self), step), len(self))
        return np.array([part[-1] for part in np.array_split(ends, self.n_batches(size))])

    def blocks(self, size: int, which: Any = None) -> Iterator[Any]:
        """Cut a batch (None: all rows) into the fewest nearly equal pieces of at most `size` rows,
        for `select`."""
        for block in even_slices(len(self) if which is None else len(which), size):
            yield block if which is None else which[block]


def even_slices(n: int, size: int) -> Iterator[slice]:
    """Yield nearly equal slices of at most `size` of n numbers, in multiples of `STRIP`."""
    step = -(-n // max(1, -(-n // size)))
    step = min(size, -(-step // STRIP) * STRIP)
    for start in range(0, n, max(1, step)):
        yield slice(start, min(start + step, n))
