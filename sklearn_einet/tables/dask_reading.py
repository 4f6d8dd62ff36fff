"""Dask arrays and dataframes as tables of numbers: blocks of rows that stay on the workers."""

from __future__ import annotations

import warnings
from typing import Any

import dask.array as da
import narwhals.stable.v2 as nw
import numpy as np
from dask.delayed import Delayed, delayed

from sklearn_einet.tables.callers import levels_to_caller
from sklearn_einet.tables.dask import DaskTable, compute, persist, shared_payload
from sklearn_einet.tables.encoding import Encoding
from sklearn_einet.tables.frames import cells, is_frame, may_hold_times, native_columns, types
from sklearn_einet.tables.string_doubts import doubts_about_strings
from sklearn_einet.tables.validation import BlockReader

__all__ = ["blocks_of", "fitted_encoding", "table_of"]


def blocks_of(X: Any) -> tuple[list[Delayed], Any]:
    """Return blocks of rows of a dask collection, and an empty table of the same kind.

    Raises
    ------
    TypeError, ValueError
        If X is another kind of collection, or does not have two dimensions.
    """
    if isinstance(X, da.Array):
        if X.ndim != 2:
            raise ValueError(f"Expected 2D array, got {X.ndim}D array instead.")
        return list(X.rechunk({1: -1}).to_delayed().ravel()), np.empty((0, X.shape[1]), X.dtype)
    like = getattr(X, "_meta", None)
    if not is_frame(like):
        raise TypeError(f"X must be a dask array or DataFrame, got {type(X)}.")
    return list(X.to_delayed()), like


def table_of(blocks: list[Delayed], reader: BlockReader) -> DaskTable:
    """Return the table of the numbers in some blocks."""
    payload = shared_payload(reader)
    arrays = persist([delayed(_read)(payload, block) for block in blocks])
    facts = compute([delayed(_facts)(array) for array in arrays])
    lengths = [length for length, _ in facts]
    if not any(lengths):
        raise ValueError(f"Found array with 0 sample(s) (shape=(0, {len(reader.column_names)})).")
    kept = np.flatnonzero(lengths)
    dtype = np.result_type(*(facts[i][1] for i in kept))
    return DaskTable(
        [arrays[i] for i in kept], [lengths[i] for i in kept], len(reader.column_names), dtype
    )


def _read(reader: BlockReader, block: Any) -> np.ndarray:
    return reader(block)


def _facts(block: np.ndarray) -> tuple[int, np.dtype[Any]]:
    return len(block), block.dtype


def fitted_encoding(blocks: list[Delayed], like: Any, categorical_features: Any) -> Encoding:
    """Return the encoding of all blocks, with the same warnings as for a table in memory.

    Parameters
    ----------
    blocks, like
        As from `blocks_of`.
    categorical_features : "from_dtype", None, or array-like of str, int or bool
        As in `EinetDensity`.
    """
    by_type = isinstance(categorical_features, str)
    if not is_frame(like):
        if (by_type or categorical_features is None) and not may_hold_times(like):
            return Encoding()
    else:
        encoding, _ = Encoding.fit(like, categorical_features)
        if not (encoding.categories or encoding.times) and nw.Object() not in types(like):
            return encoding  # here only types decide
    results = compute([delayed(_block_encoding)(block, categorical_features) for block in blocks])
    known = [result for result in results if result is not None]
    if not known:
        raise ValueError(f"Found array with 0 sample(s) (shape=(0, {like.shape[1]})).")
    encoding = Encoding.merged([block for block, *_ in known])
    n_rows = sum(length for *_, length in known)
    doubtful = {}
    for j, categories in encoding.categories.items():
        name = encoding.names[j]
        if any(j not in block.categories and j not in blank for block, blank, *_ in known):
            raise ValueError(
                f"Column {name!r} holds strings in some partitions and other values in others: "
                "convert it to one type with astype."
            )
        if by_type and any(j in texts for _, _, texts, _ in known):
            doubtful[name] = categories.tolist()
    for doubt in doubts_about_strings(doubtful, n_rows):
        warnings.warn(doubt, UserWarning, stacklevel=levels_to_caller())
    return encoding


def _block_encoding(
    block: Any, categorical_features: Any
) -> tuple[Encoding, set[int], set[int], int] | None:
    """Return the encoding of a block, its columns without values, its columns of strings, and its
    length; None for a block without rows."""
    if not len(block):
        return None
    encoding, _ = Encoding.fit(block, categorical_features)
    blank, texts = set(), set()
    if is_frame(block):
        for j, (column, dtype) in enumerate(zip(native_columns(block), types(block), strict=True)):
            if dtype == nw.String:
                texts.add(j)
            elif column.dtype.kind == "O" and set(cells(column)) == {None}:
                blank.add(j)
    return encoding, blank, texts, len(block)
