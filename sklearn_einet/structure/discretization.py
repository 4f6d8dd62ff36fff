"""Discretisation: columns of a table as codes of states."""

from __future__ import annotations

import numpy as np

__all__ = ["discretized"]

# How many cells of a table are copied at a time.
DISCRETIZED_CELLS = 2**22


def discretized(
    X: np.ndarray,
    n_states: np.ndarray,
    n_bins: int = 5,
    max_states: int = 256,
    rows: slice | np.ndarray = slice(None),
    weight: np.ndarray | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """Return a table as codes of states.

    Parameters
    ----------
    X : ndarray of shape (n_samples, n_features)
        NaN is a missing cell.
    n_states : ndarray of int of shape (n_features,)
        For a column of codes 0, ..., S - 1, the number S; 0 for a column of numbers. If such a
        column has at most n_bins distinct values, each is a state; otherwise, the states are bins
        with about the same number of cells. Equal numbers share a bin, and no bin is empty.
    n_bins : int, default=5
        Largest number of states of a column of numbers, at least 2.
    max_states : int, default=256
        Largest number of states of a column of codes, at least 2. If there are more, the rarest
        are merged.
    rows : slice or ndarray of int, default=slice(None)
        Which rows to use.
    weight : ndarray of shape (n_rows,), default=None
        How many rows each of the used rows counts for, more than 0.

    Returns
    -------
    codes : ndarray of int of shape (n_rows, n_features)
        -1 for missing cells. Columns are contiguous in memory.
    n_states : ndarray of int of shape (n_features,)
        Numbers of states, at least 1.

    Raises
    ------
    ValueError
        If n_bins or max_states is below 2, or if a column of codes has other values.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn_einet.structure.discretization import discretized
    >>> X = np.array([[1, 0.1], [0, 0.2], [1, np.nan], [2, 0.3], [1, 7.0]])
    >>> codes, n_states = discretized(X, np.array([3, 0]), n_bins=2)
    >>> codes.tolist(), n_states.tolist()
    ([[1, 0], [0, 0], [1, -1], [2, 1], [1, 1]], [3, 2])
    """
    for name, value in (("n_bins", n_bins), ("max_states", max_states)):
        if value < 2:
            raise ValueError(f"{name} must be at least 2, got {value}.")
    n_rows, n_columns = len(X[rows, :1]), X.shape[1]
    most = np.where(n_states == 0, n_bins, np.minimum(n_states, max_states))
    codes = np.empty((n_columns, n_rows), np.min_scalar_type(-int(most.max())))
    found = np.empty(n_columns, np.int64)
    step = max(1, DISCRETIZED_CELLS // max(1, n_rows))
    for start in range(0, n_columns, step):
        block = np.ascontiguousarray(X[rows, start : start + step].T)
        for j, values in enumerate(block, start):
            if n_states[j] == 0:
                edges = _edges(*_distinct(values, weight), n_bins)
                codes[j] = np.where(np.isnan(values), -1, edges.searchsorted(values, "right"))
                found[j] = len(edges) + 1
            else:
                codes[j], found[j] = _coded(values, weight, int(n_states[j]), max_states, j)
    return codes.T, found


def _distinct(values: np.ndarray, weight: np.ndarray | None) -> tuple[np.ndarray, np.ndarray]:
    """Return the distinct observed values in order, and the weight of the rows up to each."""
    seen = ~np.isnan(values)
    order = np.flatnonzero(seen)[np.argsort(values[seen], kind="stable")]
    ordered = values[order]
    last = np.flatnonzero(np.diff(ordered, append=np.inf) > 0)
    if weight is None:
        return ordered[last], last + 1.0
    return ordered[last], weight[order].cumsum()[last]


def _edges(values: np.ndarray, until: np.ndarray, n_bins: int) -> np.ndarray:
    """Return the smallest value of each bin except the first, for values from `_distinct`."""
    if len(values) <= n_bins:
        return values[1:]
    edges, start, n = [], 0.0, until[-1]
    # The excess of a frequent value over its share is taken from all later bins: if half of the
    # cells are 0, the other values still get bins.
    for bins_left in range(n_bins, 1, -1):
        target = start + (n - start) / bins_left
        i = min(int(until.searchsorted(target, "right")), len(values) - 1)
        before, after = until[i - 1] if i else 0.0, until[i]
        if not (target - before <= after - target and before > start):
            before, i = after, i + 1
        start = before
        if i == len(values):
            break
        edges.append(values[i])
    return np.array(edges)


def _coded(
    values: np.ndarray, weight: np.ndarray | None, n_states: int, max_states: int, column: int
) -> tuple[np.ndarray, int]:
    """Return codes of a column of codes, at most max_states of them, and their number."""
    missing = np.isnan(values)
    with np.errstate(invalid="ignore"):
        codes = np.where(missing, -1, values).astype(np.int32)
    if not ((codes == values) & (codes >= 0) & (codes < n_states) | missing).all():
        raise ValueError(f"X has values in column {column} that are not codes below {n_states}.")
    if n_states <= max_states:
        return codes, n_states
    own_weight = None if weight is None else weight[~missing]
    frequency = np.bincount(codes[~missing], own_weight, minlength=n_states)
    rank = np.empty(n_states + 1, np.int32)
    rank[np.argsort(-frequency, kind="stable")] = np.arange(n_states)
    rank[-1] = -1  # where code -1 looks
    return np.minimum(rank, max_states - 1)[codes], max_states
