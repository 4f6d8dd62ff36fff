"""Tables of dask: blocks of rows that stay on the workers, for fit, and lazy scores."""

from __future__ import annotations

import copy
import warnings
from typing import Any

import dask.array as da
import narwhals.stable.v2 as nw
import numpy as np
from dask.base import compute as dask_compute
from dask.delayed import Delayed, delayed
from sklearn.utils.validation import validate_data

from sklearn_einet.estimators.recipe import batch_size_of
from sklearn_einet.tables.callers import levels_to_caller
from sklearn_einet.tables.dask import DaskTable, compute, persist, sent
from sklearn_einet.tables.encoding import Encoding, doubts_about_texts
from sklearn_einet.tables.frames import cells, is_frame, native_columns, types
from sklearn_einet.tables.weights import checked_weight

__all__ = ["checked_table", "lazy_scores"]


# Steps of an epoch above which they are likely to be too small.
MANY_STEPS = 20


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
    reader = sent(_reader(estimator))
    blocks = persist([delayed(_checked)(reader, part) for part in parts])
    facts = compute([delayed(_facts)(block) for block in blocks])
    lengths = [length for length, _ in facts]
    if not any(lengths):
        raise ValueError(f"Found array with 0 sample(s) (shape=(0, {like.shape[1]})).")
    _warn_of_many_steps(estimator, sum(lengths))
    kept = np.flatnonzero(lengths)
    dtype = np.result_type(*(facts[i][1] for i in kept))
    table = DaskTable([blocks[i] for i in kept], [lengths[i] for i in kept], like.shape[1], dtype)
    if sample_weight is None:
        return table, None
    (sample_weight,) = dask_compute(sample_weight)
    weight = checked_weight(sample_weight, table)
    if (weight > 0).all():
        return table, weight
    return table.selected(np.flatnonzero(weight > 0)), weight[weight > 0]


def _warn_of_many_steps(estimator: Any, n_rows: int) -> None:
    """Tell of steps that are too small to be worth the messages that each of them takes."""
    if estimator.solver == "em" or not isinstance(estimator.batch_size, str):
        return
    n_steps = -(-n_rows // batch_size_of(estimator, n_rows))
    if n_steps > MANY_STEPS:
        warnings.warn(
            f"batch_size='auto' is meant for tables in memory: on dask, each of the {n_steps} "
            "steps of an epoch goes to the workers and back. Set batch_size to thousands of rows, "
            "or solver='em'.",
            UserWarning,
            stacklevel=levels_to_caller(),
        )


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
    job = sent((model, method, meta))
    if isinstance(X, da.Array):
        shape = {"drop_axis": 1} if n_outputs is None else {"chunks": (X.chunks[0], columns)}
        whole_rows = X.rechunk({1: -1})
        return da.map_blocks(_scored, whole_rows, job=job, dtype=dtype, meta=meta, **shape)
    blocks = [
        da.from_delayed(delayed(_scored)(part, job), (np.nan, *columns), meta=meta)
        for part in parts
    ]
    return da.concatenate(blocks, allow_unknown_chunksizes=True)


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
    doubtful = {}
    for j, categories in encoding.categories.items():
        name = encoding.names[j]
        if any(j not in part.categories and j not in blank for part, blank, *_ in known):
            raise ValueError(
                f"Column {name!r} holds texts in some partitions and other values in others: give "
                "it one type, by astype."
            )
        if by_type and any(j in texts for _, _, texts, _ in known):
            doubtful[name] = categories.tolist()
    for doubt in doubts_about_texts(doubtful, n_rows):
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


def _scored(block: Any, job: Any) -> np.ndarray:
    """What a method says of a block."""
    model, method, without_rows = job
    if not len(block):
        return np.asarray(without_rows)
    return np.asarray(getattr(model, method)(block))
