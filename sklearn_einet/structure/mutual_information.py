"""Mutual information of all pairs of columns, from matrix products of indicators of states."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from sklearn_einet.structure.sparse_counts import (
    PairSums,
    log_counts,
    prefers_sparse,
    sparse_sums,
)

__all__ = ["mutual_information"]

# How many rows and (about) how many states of columns are one-hot coded at a time.
BLOCK_ROWS = 4096
BLOCK_STATES = 1024


# Standard deviations above its mean that the information of independent columns may reach.
CAUTION = 3


@dataclass(frozen=True, eq=False)
class _Block:
    """Neighbouring columns whose states are one-hot coded together.

    Attributes
    ----------
    columns : slice
    owner, state : ndarray of shape (n_block_states,)
        The column, counted from the first one of the block, and the code of every state.
    starts : ndarray of shape (n_block_columns,)
        Where the states of each column start.
    """

    columns: slice
    owner: np.ndarray
    state: np.ndarray
    starts: np.ndarray

    @classmethod
    def all_of(cls, n_states: np.ndarray) -> list[_Block]:
        """Return the blocks of a table's columns."""
        number = (np.cumsum(n_states) - 1) // BLOCK_STATES
        blocks = []
        for columns in np.split(np.arange(len(n_states)), np.flatnonzero(np.diff(number)) + 1):
            some = n_states[columns]
            owner, starts = np.repeat(np.arange(len(some)), some), np.cumsum(some) - some
            state = np.arange(len(owner)) - starts[owner]
            blocks.append(cls(slice(columns[0], columns[-1] + 1), owner, state, starts))
        return blocks

    def one_hot(self, codes: np.ndarray) -> np.ndarray:
        """Return indicators of states, from codes of shape (n_features, n_rows)."""
        state = self.state.astype(codes.dtype)[:, None]
        return (codes[self.columns][self.owner] == state).astype(np.float32)


def mutual_information(
    codes: np.ndarray, n_states: np.ndarray, weight: np.ndarray | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Return mutual information of all pairs of columns of codes, and how uncertain it is.

    A pair is judged by the n rows in which both columns are observed. From their mutual
    information, an amount is subtracted that independent columns hardly ever exceed: the mean plus
    three standard deviations, (k + 3 sqrt(2 k)) / (2 n) with k = (S - 1) (T - 1) for columns with
    S and T states in these rows. Without this, a column with few observed cells would seem to
    depend strongly on all others.

    Parameters
    ----------
    codes : ndarray of int of shape (n_samples, n_features)
        -1 for missing cells.
    n_states : ndarray of int of shape (n_features,)
        Column j holds codes below n_states[j] >= 1.
    weight : ndarray of shape (n_samples,), default=None
        How many rows each row counts for, at least 0.

    Returns
    -------
    information : ndarray of shape (n_features, n_features)
        In nats; symmetric, with 0 on the diagonal. Negative where independent columns could have as
        much; -inf for pairs without information: they are never observed together, or one of them
        is constant there.
    variance : ndarray of shape (n_features, n_features)
        Variance of the estimates, in squared nats: that of the log-ratio of joint to independent
        probabilities over the rows, divided by n.

    Raises
    ------
    ValueError
        If a weight is negative or not finite.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn_einet.structure.mutual_information import mutual_information
    >>> codes = np.repeat([[0, 0, 1], [1, 1, 1], [0, 0, 0], [1, 1, 0]], 100, axis=0)
    >>> information, variance = mutual_information(codes, np.array([2, 2, 2]))
    >>> information.round(3).tolist()
    [[0.0, 0.687, -0.007], [0.687, 0.0, -0.007], [-0.007, -0.007, 0.0]]
    """
    if weight is not None:
        if not (np.isfinite(weight) & (weight >= 0)).all():
            raise ValueError("weight must be finite and at least 0 in every row.")
        weight = np.asarray(weight, np.float32)
    # Whole numbers of rows can be derived from others exactly.
    if (weight is None or (weight == 1).all()) and prefers_sparse(codes, n_states):
        information, variance = _estimates(sparse_sums(codes, n_states))
        information, variance = (np.triu(m) + np.triu(m, 1).T for m in (information, variance))
    else:
        information, variance = _by_dense_products(codes.T, n_states, weight)
    np.fill_diagonal(information, 0)
    np.fill_diagonal(variance, 0)
    return information, variance


def _by_dense_products(
    codes: np.ndarray, n_states: np.ndarray, weight: np.ndarray | None
) -> tuple[np.ndarray, np.ndarray]:
    """Return mutual information and its variance, from codes of shape (n_features, n_rows)."""
    information = np.zeros((len(n_states), len(n_states)))
    variance = np.zeros_like(information)
    blocks = _Block.all_of(n_states)
    for i, first in enumerate(blocks):
        for second in blocks[i:]:
            counts = _joint_counts(codes, first, second, weight)
            here = _estimates(_sums(counts, first, second))
            for matrix, part in zip((information, variance), here, strict=True):
                matrix[first.columns, second.columns] = part
                matrix[second.columns, first.columns] = part.T
    return information, variance


def _joint_counts(
    codes: np.ndarray, first: _Block, second: _Block, weight: np.ndarray | None
) -> np.ndarray:
    """Count the rows with each pair of states, for all states of two blocks."""
    counts = np.zeros((len(first.owner), len(second.owner)))
    for start in range(0, codes.shape[1], BLOCK_ROWS):
        rows = slice(start, start + BLOCK_ROWS)
        left = first.one_hot(codes[:, rows])
        right = left if second is first else second.one_hot(codes[:, rows])
        # Counts within a block of rows are exact in float32, their sums in float64.
        counts += (left if weight is None else left * weight[rows]) @ right.T
    return counts


def _sums(counts: np.ndarray, first: _Block, second: _Block) -> PairSums:
    """Return the terms of mutual information, from the joint counts of two blocks."""

    def by_column(cells: np.ndarray) -> np.ndarray:
        return np.add.reduceat(np.add.reduceat(cells, first.starts, 0), second.starts, 1)

    rows = np.add.reduceat(counts, second.starts, axis=1)
    columns = np.add.reduceat(counts, first.starts, axis=0)
    total = np.add.reduceat(rows, first.starts, axis=0)
    ratio = log_counts(counts) - log_counts(columns)[first.owner]
    ratio += (log_counts(total)[first.owner] - log_counts(rows))[:, second.owner]
    weighted = counts * ratio
    spare_rows = np.add.reduceat(rows > 0, first.starts, axis=0, dtype=np.int64) - 1
    spare_columns = np.add.reduceat(columns > 0, second.starts, axis=1, dtype=np.int64) - 1
    spare = spare_rows.clip(0) * spare_columns.clip(0)
    return PairSums(total, by_column(weighted), by_column(weighted * ratio), spare)


def _estimates(sums: PairSums) -> tuple[np.ndarray, np.ndarray]:
    """Return mutual information and its variance."""
    n = np.where(sums.total > 0, sums.total, 1)
    plug_in = sums.first / n
    variance = (sums.second / n - plug_in**2).clip(0) / n
    chance = (sums.spare + CAUTION * np.sqrt(2 * sums.spare)) / (2 * n)
    return np.where(sums.spare > 0, plug_in - chance, -np.inf), variance
