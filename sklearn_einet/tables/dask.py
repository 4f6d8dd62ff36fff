"""Blocks of rows kept by dask's workers, and sums over them."""

from __future__ import annotations

import operator
import pickle
import sys
import warnings
from collections.abc import Callable, Iterator, Sequence, Sized
from contextlib import contextmanager
from typing import Any, TypeVar

import cloudpickle
import numpy as np
import torch
from dask.base import compute as dask_compute
from dask.base import persist as dask_persist
from dask.delayed import Delayed, delayed

from sklearn_einet.tables.rows import Rows
from sklearn_einet.tables.table import Encode, Table

__all__ = ["DaskTable", "compute", "persist", "shared_payload"]

Total = TypeVar("Total")
Result = TypeVar("Result")


class DaskTable(Table):
    """A table whose blocks are kept by dask's workers or threads.

    Only tasks without side effects are sent to blocks, and blocks are results of tasks. If a
    worker is lost, dask recomputes elsewhere what it held.

    Parameters
    ----------
    blocks : list of Delayed
        Arrays of shape (n_rows, n_features), persisted.
    lengths : sequence of int
        Their numbers of rows, at least 1.
    n_features : int
    dtype : dtype
    weight : ndarray of shape (n_samples,) or None, default=None
    """

    def __init__(
        self,
        blocks: list[Delayed],
        lengths: Sequence[int],
        n_features: int,
        dtype: np.dtype[Any],
        weight: np.ndarray | None = None,
    ) -> None:
        self.blocks = blocks
        self.starts = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
        self.shape = int(self.starts[-1]), n_features
        self.dtype = dtype
        self.weight = weight

    def __getitem__(self, key: Any) -> np.ndarray:
        rows, columns = key if isinstance(key, tuple) else (key, slice(None))
        if isinstance(rows, slice):
            rows = np.arange(*rows.indices(len(self)))
        pieces = list(self.split(rows))
        parts = compute([delayed(_taken)(self.blocks[i], local, columns) for i, _, local in pieces])
        n_columns = len(np.arange(self.shape[1])[columns])
        result = np.empty((len(rows), n_columns), self.dtype)
        for (_, places, _), part in zip(pieces, parts, strict=True):
            result[places] = part
        return result

    def split(self, rows: np.ndarray) -> Iterator[tuple[int, np.ndarray, np.ndarray]]:
        """Yield the blocks that hold some of the rows.

        For each: its number, where in `rows` its rows are, and which rows of the block they are.
        """
        block = np.searchsorted(self.starts, rows, "right") - 1
        order = np.argsort(block, kind="stable")
        bounds = np.searchsorted(block, np.arange(len(self.blocks) + 1), sorter=order)
        for number in np.flatnonzero(np.diff(bounds)):
            places = order[bounds[number] : bounds[number + 1]]
            yield int(number), places, rows[places] - self.starts[number]

    def by_block(
        self, function: Callable[..., Result], *per_row: np.ndarray | None
    ) -> list[Result]:
        job = shared_payload(function)
        cuts = [
            [None] * len(self.blocks) if each is None else np.split(each, self.starts[1:-1])
            for each in per_row
        ]
        tasks = [
            delayed(_attempted)(job, *arguments)
            for arguments in zip(self.blocks, *cuts, strict=True)
        ]
        results = []
        for result, error in compute(tasks):
            if error is not None:
                raise error
            results.append(result)
        return results

    def rows(
        self,
        encode: Encode,
        device: torch.device,
        random_state: np.random.RandomState,
        which: np.ndarray | None = None,
    ) -> Rows:
        return DaskRows(self, encode, self.weight, device, random_state, which)

    def selected(self, rows: np.ndarray) -> DaskTable:
        """Return the table of some of the rows, in order."""
        pieces = list(self.split(rows))
        blocks = [delayed(_taken)(self.blocks[i], local, slice(None)) for i, _, local in pieces]
        lengths = [len(local) for _, _, local in pieces]
        weight = None if self.weight is None else self.weight[rows]
        return DaskTable(persist(blocks), lengths, self.shape[1], self.dtype, weight)

    def groups(self) -> list[list[int]]:
        """Return the numbers of the blocks, grouped by thread.

        The blocks of a group lie on one worker; groups of the same worker are neighbours.
        """
        distributed = sys.modules.get("distributed")
        futures = [] if distributed is None else distributed.futures_of(self.blocks)
        if len(futures) != len(self.blocks):  # all blocks are local
            return [[number] for number in range(len(self.blocks))]
        client = futures[0].client
        holders, n_threads = client.who_has(futures), client.nthreads()
        of_worker: dict[str, list[int]] = {}
        for number, future in enumerate(futures):
            # A worker that was just lost holds nothing: another one will compute the block.
            worker = min(holders.get(future.key) or [""])
            of_worker.setdefault(worker, []).append(number)
        groups: list[list[int]] = []
        for worker, numbers in sorted(of_worker.items()):
            n_groups = min(len(numbers), n_threads.get(worker, 1))
            groups += [numbers[first::n_groups] for first in range(n_groups)]
        return groups


class DaskRows(Rows):
    """Rows of a `DaskTable`: totals are computed where the rows are, and added up along a tree."""

    _blockwise: dict[int, tuple[Any, Any]] | None = None
    _groups: list[list[int]] | None = None

    def batches(self, size: int) -> Iterator[Sized]:
        self._groups = None  # blocks may move during an epoch
        return super().batches(size)

    def total(
        self, part: Callable[[Rows, np.ndarray | None], Total], which: np.ndarray | None = None
    ) -> Total:
        if which is None or self._groups is None:
            self._groups = self.X.groups()
        pieces = self._all_pieces() if which is None else self._pieces(which)
        summand = delayed(_total_of_blocks if which is None else _total_of_batch)
        job = shared_payload((part, self.encode, self.device))
        tasks = []
        for group in self._groups:
            present = [number for number in group if number in pieces]
            if present:
                blocks = [self.X.blocks[number] for number in present]
                tasks.append(summand(job, blocks, [pieces[number] for number in present]))
        # Add neighbours first: only sums travel between workers.
        while len(tasks) > 1:
            pairs = [tasks[i : i + 2] for i in range(0, len(tasks), 2)]
            tasks = [delayed(operator.add)(*pair) if pair[1:] else pair[0] for pair in pairs]
        result: Total = compute(tasks)[0]
        return result

    def _pieces(self, batch: np.ndarray | None) -> dict[int, tuple[Any, Any]]:
        """Return the rows of a batch (None: all) by the blocks that hold them.

        For each block: which of its rows (None: all), and their weights (None: 1 each).
        """
        if batch is None and self.which is None:
            if self.weight is None:
                return dict.fromkeys(range(len(self.X.blocks)), (None, None))
            of_blocks = np.split(self.weight, self.X.starts[1:-1])
            return {i: (None, weight) for i, weight in enumerate(of_blocks)}
        rows: Any = batch if self.which is None else self.which
        if batch is not None and self.which is not None:
            rows = self.which[batch]
        return {
            i: (local, None if self.weight is None else self.weight[rows[places]])
            for i, places, local in self.X.split(rows)
        }

    def _all_pieces(self) -> dict[int, tuple[Any, Any]]:
        """Return `_pieces` of all rows, which are sent to the blocks only once."""
        if self._blockwise is None:
            pieces = self._pieces(None)
            sent = iter(persist([delayed(each) for pair in pieces.values() for each in pair]))
            self._blockwise = {i: (next(sent), next(sent)) for i in pieces}
        return self._blockwise


def compute(tasks: list[Delayed]) -> tuple[Any, ...]:
    """Compute tasks, with the cluster if there is a client, else the default scheduler."""
    with _large_graphs():
        results: tuple[Any, ...] = dask_compute(*tasks)
    return results


def persist(tasks: list[Delayed]) -> list[Delayed]:
    """Persist the results of tasks where they are computed."""
    with _large_graphs():
        return list(dask_persist(*tasks))


@contextmanager
def _large_graphs() -> Iterator[None]:
    """Silence the warning that a graph is large.

    The graph holds one copy of the circuit on purpose: dask can resend it if a worker is lost.
    """
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Sending large graph", category=UserWarning)
        yield


def shared_payload(message: Any) -> Delayed:
    """Return a task for an object that many tasks need, so that it passes the scheduler once."""
    return delayed(pickle.loads, pure=False)(cloudpickle.dumps(message))


def _taken(block: np.ndarray, rows: np.ndarray, columns: Any) -> np.ndarray:
    return block[rows] if columns == slice(None) else block[rows, columns]


def _attempted(
    function: Callable[..., Result], *arguments: Any
) -> tuple[Result | None, Exception | None]:
    """Return the result of a function, or what it raised."""
    try:
        return function(*arguments), None
    except (TypeError, ValueError) as error:
        return None, error


def _total_of_blocks(job: Any, blocks: list[np.ndarray], pieces: list[tuple[Any, Any]]) -> Any:
    """Return a total over blocks, given the rows of each that count (None: all) and weights."""
    part, encode, device = job
    total = None
    for block, (local, weight) in zip(blocks, pieces, strict=True):
        if local is not None and weight is not None:
            of_rows, weight = weight, np.zeros(len(block))
            weight[local] = of_rows
        rows = Rows(block, encode, weight, device, np.random.RandomState(0), local)
        here = part(rows, None)
        total = here if total is None else total + here
    return total


def _total_of_batch(job: Any, blocks: list[np.ndarray], pieces: list[tuple[Any, Any]]) -> Any:
    """Return a total over the rows of a batch that lie in some blocks.

    The rows are concatenated: a few large matrix products are faster than many small ones.
    """
    part, encode, device = job
    x = np.concatenate([block[local] for block, (local, _) in zip(blocks, pieces, strict=True)])
    weights = [weight for _, weight in pieces]
    weight = None if weights[0] is None else np.concatenate(weights)
    return part(Rows(x, encode, weight, device, np.random.RandomState(0)), None)
