"""Tables of dask: blocks of rows that stay on the workers, for fit, and lazy scores."""

from __future__ import annotations

import copy
import operator
import pickle
import sys
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, TypeVar

import cloudpickle
import dask.array as da
import narwhals.stable.v2 as nw
import numpy as np
import torch
from dask.base import compute as dask_compute
from dask.base import persist as dask_persist
from dask.delayed import Delayed, delayed
from sklearn.utils.validation import _check_sample_weight, validate_data

from sklearn_einet._base import levels_to_caller
from sklearn_einet._encoding import Encoding, doubts_about_texts
from sklearn_einet._frames import cells, is_frame, native_columns, types
from sklearn_einet._remote import RemoteTable
from sklearn_einet.learning import Rows

__all__ = ["checked_table", "lazy_scores"]

Total = TypeVar("Total")
Result = TypeVar("Result")


class DaskTable(RemoteTable):
    """A table whose blocks are kept by dask's workers, or by its threads.

    All that is sent to blocks are tasks without side effects, and blocks are results of tasks: if
    a worker is lost, dask computes again what it held, elsewhere.

    Parameters
    ----------
    blocks : list of Delayed
        Arrays of shape (n_rows, n_features), persisted.
    lengths : sequence of int
        Their numbers of rows, at least 1.
    n_features : int
    dtype : dtype
    """

    def __init__(
        self, blocks: list[Delayed], lengths: Sequence[int], n_features: int, dtype: np.dtype[Any]
    ) -> None:
        self.blocks = blocks
        self.starts = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
        self.shape = int(self.starts[-1]), n_features
        self.dtype = dtype

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
        """Of every block that holds some of the rows its number, where in `rows` those are, and
        which rows of the block."""
        block = np.searchsorted(self.starts, rows, "right") - 1
        order = np.argsort(block, kind="stable")
        bounds = np.searchsorted(block, np.arange(len(self.blocks) + 1), sorter=order)
        for number in np.flatnonzero(np.diff(bounds)):
            places = order[bounds[number] : bounds[number + 1]]
            yield int(number), places, rows[places] - self.starts[number]

    def by_block(
        self, function: Callable[..., Result], *per_row: np.ndarray | None
    ) -> list[Result]:
        job = _sent(function)
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
        encode: Callable[[np.ndarray], np.ndarray],
        weight: np.ndarray | None,
        device: torch.device,
        random_state: np.random.RandomState,
        which: np.ndarray | None,
    ) -> Rows:
        return DaskRows(self, encode, weight, device, random_state, which)

    def selected(self, rows: np.ndarray) -> DaskTable:
        """The table of some of the rows, in order."""
        pieces = list(self.split(rows))
        blocks = [delayed(_taken)(self.blocks[i], local, slice(None)) for i, _, local in pieces]
        lengths = [len(local) for _, _, local in pieces]
        return DaskTable(persist(blocks), lengths, self.shape[1], self.dtype)

    def by_worker(self) -> list[int]:
        """Numbers of the blocks, those that lie at the same place next to each other."""
        distributed = sys.modules.get("distributed")
        futures = [] if distributed is None else distributed.futures_of(self.blocks)
        if len(futures) != len(self.blocks):  # all are here
            return list(range(len(self.blocks)))
        holders = futures[0].client.who_has(futures)
        first = [min(holders.get(future.key) or ("",)) for future in futures]
        return sorted(range(len(first)), key=first.__getitem__)


class DaskRows(Rows):
    """Rows of a `DaskTable`: totals are computed where they lie, and added up along a tree."""

    _blockwise: dict[int, tuple[Any, Any]] | None = None

    def total(
        self, part: Callable[[Rows, np.ndarray | None], Total], which: np.ndarray | None = None
    ) -> Total:
        pieces = self._all_pieces() if which is None else self._pieces(which)
        job = _sent((part, self.encode, self.device))
        # Neighbours are added first: with blocks in the order of the workers that hold them, sums
        # travel only from worker to worker, and not from block to block.
        tasks = [
            delayed(_summand)(job, self.X.blocks[i], *pieces[i])
            for i in self.X.by_worker()
            if i in pieces
        ]
        while len(tasks) > 1:
            pairs = [tasks[i : i + 2] for i in range(0, len(tasks), 2)]
            tasks = [delayed(operator.add)(*pair) if pair[1:] else pair[0] for pair in pairs]
        result: Total = compute(tasks)[0]
        return result

    def _pieces(self, batch: np.ndarray | None) -> dict[int, tuple[Any, Any]]:
        """For each block with rows of a batch (None: all), which these are (None: all) and their
        weights (None: 1 each)."""
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
        """`_pieces` of all rows, which are sent to the blocks once only."""
        if self._blockwise is None:
            pieces = self._pieces(None)
            sent = iter(persist([delayed(each) for pair in pieces.values() for each in pair]))
            self._blockwise = {i: (next(sent), next(sent)) for i in pieces}
        return self._blockwise


def checked_table(
    estimator: Any, X: Any, sample_weight: Any, reset: bool
) -> tuple[DaskTable, np.ndarray | None]:
    """What fit sees of a dask array or dataframe, and of weights: the rows that have any.

    Parameters
    ----------
    estimator : BaseEinet
        Its encoding and the names and number of its features are set if `reset` is true, and else
        compared with.
    X : dask array or dataframe
    sample_weight : array-like, dask array or None
    reset : bool
    """
    parts, like = _parts(X)
    if reset:
        estimator._encoding = _fitted_encoding(estimator, parts, like)
    validate_data(estimator, like, reset=reset, skip_check_array=True)
    reader = _sent(_reader(estimator))
    blocks = persist([delayed(_checked)(reader, part) for part in parts])
    facts = compute([delayed(_facts)(block) for block in blocks])
    lengths = [length for length, _ in facts]
    if not any(lengths):
        raise ValueError(f"Found array with 0 sample(s) (shape=(0, {like.shape[1]})).")
    kept = np.flatnonzero(lengths)
    dtype = np.result_type(*(facts[i][1] for i in kept))
    table = DaskTable([blocks[i] for i in kept], [lengths[i] for i in kept], like.shape[1], dtype)
    if sample_weight is None:
        return table, None
    (sample_weight,) = dask_compute(sample_weight)
    weight = _check_sample_weight(sample_weight, table, dtype=np.float64, ensure_non_negative=True)
    if (weight > 0).all():
        return table, weight
    return table.selected(np.flatnonzero(weight > 0)), weight[weight > 0]


def lazy_scores(
    estimator: Any, method: str, X: Any, dtype: Any, n_outputs: int | None = None
) -> da.Array:
    """What a method says of the rows of a dask collection, block by block and only when asked.

    Parameters
    ----------
    estimator : BaseEinet
        Fitted.
    method : str
        Name of a method that takes X alone.
    X : dask array or dataframe
    dtype : type
        Of the results.
    n_outputs : int or None, default=None
        Columns of the result; None if it has one dimension.
    """
    parts, like = _parts(X)
    validate_data(estimator, like, reset=False, skip_check_array=True)
    model = copy.copy(estimator)
    vars(model).pop("_skl_callbacks", None)  # they are of use in fit only, and need not pickle
    columns = () if n_outputs is None else (n_outputs,)
    meta = np.empty((0, *columns), dtype)
    job = _sent((model, method, meta))
    if isinstance(X, da.Array):
        shape = {"drop_axis": 1} if n_outputs is None else {"chunks": (X.chunks[0], columns)}
        whole_rows = X.rechunk({1: -1})
        return da.map_blocks(_scored, whole_rows, job=job, dtype=dtype, meta=meta, **shape)
    blocks = [
        da.from_delayed(delayed(_scored)(part, job), (np.nan, *columns), meta=meta)
        for part in parts
    ]
    return da.concatenate(blocks, allow_unknown_chunksizes=True)


def compute(tasks: list[Delayed]) -> tuple[Any, ...]:
    """Results of tasks, by the default scheduler or the cluster that there is a client of."""
    with _large_graphs():
        results: tuple[Any, ...] = dask_compute(*tasks)
    return results


def persist(tasks: list[Delayed]) -> list[Delayed]:
    """Tasks whose results are kept where they are computed."""
    with _large_graphs():
        return list(dask_persist(*tasks))


@contextmanager
def _large_graphs() -> Iterator[None]:
    """No warning that a graph is large: it holds a single copy of the circuit, on purpose, so that
    dask can send it again if a worker is lost."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Sending large graph", category=UserWarning)
        yield


def _sent(message: Any) -> Delayed:
    """Something that many tasks need, as a task of its own: bytes cross the scheduler once."""
    return delayed(pickle.loads, pure=False)(cloudpickle.dumps(message))


def _parts(X: Any) -> tuple[list[Delayed], Any]:
    """Blocks of rows of a dask collection, and a table without rows of the kind that they are.

    Raises
    ------
    TypeError, ValueError
        If X is another collection, or does not have two dimensions.
    """
    if isinstance(X, da.Array):
        if X.ndim != 2:
            raise ValueError(f"Expected 2D array, got {X.ndim}D array instead.")
        return list(X.rechunk({1: -1}).to_delayed().ravel()), np.empty((0, X.shape[1]), X.dtype)
    like = getattr(X, "_meta", None)
    if not is_frame(like):
        raise TypeError(f"X must be a dask array or dataframe, got {type(X)}.")
    return list(X.to_delayed()), like


def _fitted_encoding(estimator: Any, parts: list[Delayed], like: Any) -> Encoding:
    """The encoding of all blocks, with warnings as of a table in memory."""
    asked = estimator.categorical_features
    by_type = isinstance(asked, str)
    if not is_frame(like):
        if by_type or asked is None:
            return Encoding()
    else:
        encoding, _ = Encoding.fit(like, asked)
        if not encoding.categories and nw.Object() not in types(like):
            return encoding  # only types decide here
    results = compute([delayed(_block_encoding)(part, asked) for part in parts])
    known = [result for result in results if result is not None]
    if not known:
        raise ValueError(f"Found array with 0 sample(s) (shape=(0, {like.shape[1]})).")
    encoding = Encoding.merged([part for part, *_ in known])
    n_rows = sum(length for *_, length in known)
    for j, categories in encoding.categories.items():
        name = encoding.names[j]
        if any(j not in part.categories and j not in blank for part, blank, *_ in known):
            raise ValueError(
                f"Column {name!r} holds texts in some partitions and other values in others: give "
                "it one type, by astype."
            )
        if by_type and any(j in texts for _, _, texts, _ in known):
            for doubt in doubts_about_texts(name, categories.tolist(), n_rows):
                warnings.warn(doubt, UserWarning, stacklevel=levels_to_caller())
    return encoding


def _block_encoding(
    part: Any, categorical_features: Any
) -> tuple[Encoding, set[int], set[int], int] | None:
    """The encoding of a block, its columns without any value, those of texts, and its length.

    None for a block without rows.
    """
    if not len(part):
        return None
    encoding, _ = Encoding.fit(part, categorical_features)
    blank, texts = set(), set()
    if is_frame(part):
        for j, (column, dtype) in enumerate(zip(native_columns(part), types(part), strict=True)):
            if dtype == nw.String:
                texts.add(j)
            elif column.dtype.kind == "O" and set(cells(column)) == {None}:
                blank.add(j)
    return encoding, blank, texts, len(part)


def _reader(estimator: Any) -> Any:
    """A copy of an estimator that has just what it needs to check a table."""
    result = object.__new__(type(estimator))
    for name in ("_encoding", "n_features_in_", "feature_names_in_"):
        if hasattr(estimator, name):
            setattr(result, name, getattr(estimator, name))
    return result


def _checked(reader: Any, part: Any) -> np.ndarray:
    """A block as an array of numbers."""
    if not len(part):
        return np.empty((0, reader.n_features_in_))
    array: np.ndarray = reader._check_array(part, reset=False)
    return array


def _facts(block: np.ndarray) -> tuple[int, np.dtype[Any]]:
    return len(block), block.dtype


def _taken(block: np.ndarray, rows: np.ndarray, columns: Any) -> np.ndarray:
    return block[rows] if columns == slice(None) else block[rows, columns]


def _attempted(
    function: Callable[..., Result], *arguments: Any
) -> tuple[Result | None, Exception | None]:
    """The result of a function, or what it raised."""
    try:
        return function(*arguments), None
    except (TypeError, ValueError) as error:
        return None, error


def _summand(job: Any, block: np.ndarray, local: np.ndarray | None, weight: Any) -> Any:
    """What a block adds to a total: `local` are the rows that count (None: all), with weights."""
    part, encode, device = job
    if local is not None and weight is not None:
        of_rows, weight = weight, np.zeros(len(block))
        weight[local] = of_rows
    rows = Rows(block, encode, weight, device, np.random.RandomState(0), local)
    return part(rows, None)


def _scored(block: Any, job: Any) -> np.ndarray:
    """What a method says of a block."""
    model, method, without_rows = job
    if not len(block):
        return np.asarray(without_rows)
    return np.asarray(getattr(model, method)(block))
