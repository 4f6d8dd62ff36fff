"""Dask collections: tables to learn from, and lazy answers."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import dask.array as da
import numpy as np
from dask.base import compute
from dask.delayed import delayed
from sklearn.utils.validation import validate_data

from sklearn_einet.estimators.settings import Settings
from sklearn_einet.model.devices import resolve_device
from sklearn_einet.model.outlier_scores import OutlierScores, RowQuery
from sklearn_einet.tables.callers import levels_to_caller
from sklearn_einet.tables.column_warnings import check_categories
from sklearn_einet.tables.dask import DaskTable, shared_payload
from sklearn_einet.tables.dask_reading import blocks_of, fitted_encoding, table_of
from sklearn_einet.tables.encoding import Encoding
from sklearn_einet.tables.validation import BlockReader

__all__ = ["LazyQuery", "dask_table"]

# Steps per epoch above which the steps are probably too small.
MANY_STEPS = 20


def dask_table(
    estimator: Any, X: Any, sample_weight: Any, encoding: Encoding | None
) -> tuple[DaskTable, Encoding, Any]:
    """Return what fit sees of a dask array or dataframe: its rows, encoding and weights.

    Parameters
    ----------
    estimator : EinetDensity
        The names and the number of its features are set if there is no encoding yet; otherwise X
        is compared with them.
    X : dask array or dataframe
    sample_weight : array-like, dask array or None
    encoding : Encoding or None
    """
    blocks, like = blocks_of(X)
    reset = encoding is None
    if encoding is None:
        encoding = fitted_encoding(blocks, like, estimator.categorical_features)
    validate_data(estimator, like, reset=reset, skip_check_array=True)
    reader = BlockReader(encoding, estimator._column_names, type(estimator).__name__)
    table = table_of(blocks, reader)
    _warn_of_many_steps(estimator, len(table))
    (sample_weight,) = compute(sample_weight)
    return table, encoding, sample_weight


def _warn_of_many_steps(estimator: Any, n_rows: int) -> None:
    """Warn of steps that are too small to be worth their messages to the workers."""
    if estimator.solver == "em" or not isinstance(estimator.batch_size, str):
        return
    n_steps = -(-n_rows // Settings.of(estimator).batch_size_of(n_rows))
    if n_steps > MANY_STEPS:
        warnings.warn(
            f"batch_size='auto' is meant for tables in memory. With dask, each of the {n_steps} "
            "steps of an epoch goes to the workers and back. Set batch_size to thousands of rows, "
            "or set solver='em'.",
            UserWarning,
            stacklevel=levels_to_caller(),
        )


@dataclass(frozen=True)
class LazyQuery:
    """The answers of a density for blocks of rows, computed when asked for.

    Attributes
    ----------
    scores : OutlierScores
    reader : BlockReader
    device : str or torch.device
        Where workers compute, if they have such a device.
    query : callable
        A method of `OutlierScores`.
    """

    scores: OutlierScores
    reader: BlockReader
    device: Any
    query: RowQuery

    def __call__(self, block: Any, without_rows: np.ndarray) -> np.ndarray:
        """Return the answers for a block; `without_rows` are the answers for no rows."""
        if not len(block):
            return without_rows
        rows = self.reader(block)
        check_categories(self.scores.density.schema, rows)
        device = resolve_device(self.device, required=False)
        return np.asarray(self.query(self.scores.to(device), rows))

    def answers(
        self,
        X: Any,
        check_columns: Callable[[Any], Any],
        dtype: type,
        n_outputs: int | None,
    ) -> da.Array:
        """Return a dask array, not computed yet, of the answers for all rows.

        Parameters
        ----------
        X : dask array or dataframe
        check_columns : callable
            Raises an error if a table without rows does not have the columns of fit.
        dtype : type
        n_outputs : int or None
            Columns of the result; None if it has one dimension.
        """
        blocks, like = blocks_of(X)
        check_columns(like)
        columns = () if n_outputs is None else (n_outputs,)
        meta = np.empty((0, *columns), dtype)
        payload = shared_payload((self, meta))
        if isinstance(X, da.Array):
            shape = {"drop_axis": 1} if n_outputs is None else {"chunks": (X.chunks[0], columns)}
            whole_rows = X.rechunk({1: -1})
            return da.map_blocks(
                _answer, whole_rows, payload=payload, dtype=dtype, meta=meta, **shape
            )
        answers = [
            da.from_delayed(delayed(_answer)(block, payload), (np.nan, *columns), meta=meta)
            for block in blocks
        ]
        return da.concatenate(answers, allow_unknown_chunksizes=True)


def _answer(block: Any, payload: tuple[LazyQuery, np.ndarray]) -> np.ndarray:
    lazy, without_rows = payload
    return lazy(block, without_rows)
