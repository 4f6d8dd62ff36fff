"""Tables in files and the like, read some rows at a time and never held as a whole."""

from __future__ import annotations

import mmap
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from scipy.sparse import issparse

from sklearn_einet.tables.rows import Rows, even_slices
from sklearn_einet.tables.split import Split
from sklearn_einet.tables.table import Encode, Table

__all__ = ["StoredRows", "StoredTable", "is_stored", "native_dtype"]

# Bytes to read at a time.
SLAB_BYTES = 2**20

# Bytes to hold at a time for drawing minibatches.
SHUFFLED_BYTES = 2**26

# If fewer than one row of a slab in so many are needed, only the span between them is read.
FEW = 16

# Bytes to read from a memory map before its pages are released.
HELD_BYTES = 2**24

# How many cells a structure is learned from, and the least number of rows.
CELLS_OF_STRUCTURE, MIN_ROWS_OF_STRUCTURE = 2**24, 2000

# How many cells are read from random rows at once, and the least number of rows.
SCATTERED_CELLS, MIN_SCATTERED_ROWS = 2**21, 5000


def is_stored(X: Any) -> bool:
    """Return whether a table should be read by slices of rows.

    That is the case for memory maps of numbers, and for any other object with a two-dimensional
    `shape`, a numeric `dtype` and rows that can be sliced, such as datasets of h5py and zarr.
    """
    if isinstance(X, np.ndarray) and (not isinstance(X, np.memmap) or X._mmap is None):  # type: ignore[attr-defined]
        return False
    if issparse(X) or hasattr(X, "__dask_graph__") or not hasattr(X, "__getitem__"):
        return False
    try:
        shape, kind = tuple(X.shape), np.dtype(X.dtype).kind
    except (AttributeError, TypeError):
        return False
    return len(shape) == 2 and kind in "fiub"


def native_dtype(dtype: Any) -> Any:
    """Return the type in which torch can hold numbers of a type: in native byte order, and with at
    most double precision."""
    plain = dtype.kind in "fiub" and dtype.itemsize <= 8
    return dtype.newbyteorder("=") if plain else np.dtype(np.float64)


class StoredTable(Table):
    """A table in a file, or any other source of rows by slices.

    It is indexed like an array, by a slice of rows or an array of their numbers. It reads slabs of
    neighbouring rows: the source is only ever asked for slices, which are no longer than a slab.
    The last slab is kept, so that going through the rows in order reads each of them once. Pages
    of memory maps are released after reading. Rows are returned in the `native_dtype`, whatever
    the type of the source.

    Parameters
    ----------
    source : numpy.memmap, or object with shape, dtype and slices of rows
    kept : ndarray of int, default=None
        The rows of the source to use, in ascending order; None for all.
    weight : ndarray of shape (n_samples,), default=None
        Weights of the used rows.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn_einet.tables.stored import StoredTable
    >>> table = StoredTable(np.arange(8.0).reshape(4, 2))
    >>> table[1:3].tolist(), table[np.array([3, 0])].tolist()
    ([[2.0, 3.0], [4.0, 5.0]], [[6.0, 7.0], [0.0, 1.0]])
    """

    def __init__(
        self, source: Any, kept: np.ndarray | None = None, weight: np.ndarray | None = None
    ) -> None:
        self.source = source
        self.kept = kept
        self.weight = weight
        self.dtype = native_dtype(np.dtype(source.dtype))
        self.shape = (int(source.shape[0]) if kept is None else len(kept), int(source.shape[1]))
        self.slab_rows = max(1, SLAB_BYTES // self.row_bytes)
        self._slab: tuple[int, np.ndarray] = (-1, np.empty(0))
        self._map = _mapped_file(source)
        self._held_bytes = 0

    def __getitem__(self, rows: slice | np.ndarray) -> np.ndarray:
        """Return some rows: a slice of neighbours, or rows by number in any order."""
        if isinstance(rows, slice):
            start, stop, step = rows.indices(len(self))
            if step != 1:
                raise ValueError(f"rows must be neighbours, got {rows}.")
            number = start // self.slab_rows
            if start < stop <= (number + 1) * self.slab_rows:
                first = number * self.slab_rows
                return self._read_slab(number)[start - first : stop - first]
            return self._in_order(np.arange(start, stop))
        order = np.argsort(rows, kind="stable")
        result = np.empty((len(rows), self.shape[1]), self.dtype)
        result[order] = self._in_order(rows[order])
        return result

    def training_sample(
        self, split: Split, random_state: np.random.RandomState
    ) -> tuple[np.ndarray, np.ndarray | None]:
        """Return all rows of a small table, and randomly chosen training rows of a large one.

        Learning a structure goes column by column, which would read the rows many times.
        """
        n_rows = max(MIN_ROWS_OF_STRUCTURE, CELLS_OF_STRUCTURE // self.shape[1])
        if n_rows >= len(self):
            return self[:], self._training_weight(split)
        n_training = len(self) if split.train is None else len(split.train)
        chosen = random_state.choice(n_training, min(n_rows, n_training), replace=False)
        chosen = np.sort(chosen if split.train is None else split.train[chosen])
        return self[chosen], None if self.weight is None else self.weight[chosen]

    @property
    def most_scattered_rows(self) -> int:
        return max(MIN_SCATTERED_ROWS, SCATTERED_CELLS // self.shape[1])

    @property
    def row_bytes(self) -> int:
        """The size of a row."""
        return max(1, self.shape[1]) * self.dtype.itemsize

    def astype(self, dtype: Any) -> np.ndarray:
        """Return the whole table, as an array."""
        return self[:].astype(dtype)

    def selected(self, rows: np.ndarray) -> StoredTable:
        """Return the table of some of the rows, in ascending order, without reading any."""
        weight = None if self.weight is None else self.weight[rows]
        return StoredTable(self.source, rows if self.kept is None else self.kept[rows], weight)

    def rows(
        self,
        encode: Encode,
        device: torch.device,
        random_state: np.random.RandomState,
        which: np.ndarray | None = None,
    ) -> StoredRows:
        return StoredRows(self, encode, self.weight, device, random_state, which)

    def slabs(self) -> Iterator[slice]:
        """Yield the rows in order, as many as are read at once."""
        for start in range(0, len(self), self.slab_rows):
            yield slice(start, min(start + self.slab_rows, len(self)))

    def _in_order(self, rows: np.ndarray) -> np.ndarray:
        """Return a copy of rows, in ascending order."""
        result = np.empty((len(rows), self.shape[1]), self.dtype)
        for part in _runs(rows // self.slab_rows):
            some = rows[part]
            number = int(some[0]) // self.slab_rows
            if self._slab[0] == number or FEW * len(some) > self.slab_rows:
                result[part] = self._read_slab(number)[some - number * self.slab_rows]
            else:
                self._fetch(some, result[part])
        return result

    def _read_slab(self, number: int) -> np.ndarray:
        held, slab = self._slab
        if held != number:
            rows = np.arange(number * self.slab_rows, min((number + 1) * self.slab_rows, len(self)))
            slab = np.empty((len(rows), self.shape[1]), self.dtype)
            self._fetch(rows, slab)
            slab.flags.writeable = False  # views of it are returned
            self._slab = number, slab
        return slab

    def _fetch(self, rows: np.ndarray, result: np.ndarray) -> None:
        """Read rows in ascending order from the source."""
        rows = rows if self.kept is None else self.kept[rows]
        for part in _runs(rows // self.slab_rows):
            some = rows[part]
            first, last = int(some[0]), int(some[-1])
            block = np.asarray(self.source[first : last + 1])
            with np.errstate(over="ignore"):  # long doubles; infinities are refused
                result[part] = block[some - first]
            if self._map is not None:
                # Rows in between are read along.
                self._held_bytes += max(block.nbytes, abs(block.strides[0]) * len(block))
                if self._held_bytes >= HELD_BYTES:
                    # All pages, because the system may have read more than requested.
                    self._map.madvise(mmap.MADV_DONTNEED)
                    self._held_bytes = 0


class StoredRows(Rows):
    """Rows of a `StoredTable`.

    Minibatches hold rows spread over the table as far as memory allows: slabs of neighbouring rows
    are read in random order into a buffer, which is shuffled and cut. If the buffer holds all rows,
    their order is the same as for an array. Every row occurs once.
    """

    X: Any

    @property
    def is_at_hand(self) -> bool:
        return True

    def batches(self, size: int) -> Iterator[Any]:
        """Yield minibatches of nearly equal size: every row once, in random order."""
        if self.encoded is not None:
            yield from super().batches(size)
            return
        sizes = iter(np.diff(self._batch_ends(size), prepend=0).tolist())
        missing = next(sizes)
        parts: list[LoadedRows] = []
        for buffer, order in self._shuffled():
            start = 0
            while start < len(order):
                some = order[start : start + missing]
                parts.append(buffer[some])
                start, missing = start + len(some), missing - len(some)
                if not missing:
                    yield parts[0] if len(parts) == 1 else LoadedRows.joined(parts)
                    parts, missing = [], next(sizes, 0)

    def blocks(self, size: int, which: Any = None) -> Iterator[Any]:
        if not isinstance(which, LoadedRows):
            yield from super().blocks(size, which)
            return
        for block in even_slices(len(which), size):
            yield which[block]

    def raw(self, block: Any) -> tuple[np.ndarray, np.ndarray | None]:
        return (block.x, block.weight) if isinstance(block, LoadedRows) else super().raw(block)

    def _shuffled(self) -> Iterator[tuple[LoadedRows, np.ndarray]]:
        """Yield buffers of rows, each overwritten by the next, with a random order of each."""
        capacity = max(1, SHUFFLED_BYTES // self.X.row_bytes)
        limits = np.arange(0, len(self.X) + self.X.slab_rows, self.X.slab_rows).clip(
            max=len(self.X)
        )
        if self.which is not None:
            limits = self.which.searchsorted(limits)
        slabs = np.arange(len(limits) - 1)
        if len(self) > capacity:
            slabs = self.random_state.permutation(slabs)
        counts = np.diff(limits)[slabs]
        groups = [slabs[part] for part in _runs((counts.cumsum() - 1) // capacity)]
        most = max(np.diff(limits)[group].sum() for group in groups)
        x = np.empty((most, self.X.shape[1]), self.X.dtype)
        weight = None if self.weight is None else np.empty(most)
        for group in groups:
            n = 0
            for slab in group:
                raw, own_weight = self.raw(slice(limits[slab], limits[slab + 1]))
                x[n : n + len(raw)] = raw
                if weight is not None:
                    weight[n : n + len(raw)] = own_weight
                n += len(raw)
            held = LoadedRows(x[:n], None if weight is None else weight[:n])
            yield held, self.random_state.permutation(n)


@dataclass(frozen=True, eq=False)
class LoadedRows:
    """Rows of a table in memory, and their weights."""

    x: np.ndarray
    weight: np.ndarray | None

    def __len__(self) -> int:
        return len(self.x)

    def __getitem__(self, rows: slice | np.ndarray) -> LoadedRows:
        return LoadedRows(self.x[rows], None if self.weight is None else self.weight[rows])

    @classmethod
    def joined(cls, parts: list[LoadedRows]) -> LoadedRows:
        """Return the rows of several objects, concatenated."""
        weights = [part.weight for part in parts if part.weight is not None]
        return cls(
            np.concatenate([part.x for part in parts]), np.concatenate(weights) if weights else None
        )


def _mapped_file(source: Any) -> mmap.mmap | None:
    """Return the file of a memory map; None if X has no file, or if its pages must be kept.

    Changes of a copy-on-write map exist only in its pages.
    """
    if not isinstance(source, np.memmap) or source.mode == "c":
        return None
    memory: mmap.mmap = source._mmap  # type: ignore[attr-defined]
    return memory if hasattr(memory, "madvise") and hasattr(mmap, "MADV_DONTNEED") else None


def _runs(values: np.ndarray) -> Iterator[slice]:
    """Yield slices of neighbouring positions that have the same value."""
    cuts = np.flatnonzero(np.diff(values)) + 1
    for start, stop in pairwise([0, *cuts.tolist(), len(values)]):
        if start < stop:
            yield slice(start, stop)
