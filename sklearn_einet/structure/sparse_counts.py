"""Sums over the joint counts of all pairs of columns, from sparse matrix products."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from scipy.sparse import csr_array

__all__ = ["PairSums", "log_counts", "prefers_sparse", "sparse_sums"]

# A sparse multiplication takes about as long as so many dense ones; and the average number of
# states from which it is worth checking.
DENSE_PER_SPARSE = 200
MANY_STATES = 16

# How many products of a block of columns, and numbers for its states, are held at a time.
BLOCK_PRODUCTS = 2**21


@dataclass(frozen=True, eq=False)
class PairSums:
    """Terms of the mutual information of pairs: arrays of shape (columns, columns).

    Attributes
    ----------
    total : ndarray
        Number of rows in which both columns are observed.
    first, second : ndarray
        Sums over these rows of the log-ratio of joint to independent probabilities, and its square.
    spare : ndarray
        The product of both columns' numbers of states there, minus one each.
    """

    total: np.ndarray
    first: np.ndarray
    second: np.ndarray
    spare: np.ndarray


def log_counts(counts: np.ndarray) -> np.ndarray:
    """Return logarithms, with 0 for log(0): an empty cell adds nothing, whatever its ratio."""
    return np.log(counts, out=np.zeros_like(counts), where=counts > 0)


def _most_frequent(codes: np.ndarray, n_states: np.ndarray) -> np.ndarray:
    """Return the most frequent state of every column, from codes of shape (n_features, n_rows)."""
    counts = (np.bincount(c[c >= 0], minlength=n) for c, n in zip(codes, n_states, strict=True))
    return np.array([count.argmax() for count in counts])


def prefers_sparse(codes: np.ndarray, n_states: np.ndarray) -> bool:
    """Return whether `sparse_sums` is faster than products of indicators of all states."""
    if n_states.sum() < MANY_STATES * len(n_states):
        return False
    others = (codes != _most_frequent(codes.T, n_states)).sum() / len(codes)
    return bool(DENSE_PER_SPARSE * others**2 < float(n_states.sum()) ** 2)


def sparse_sums(codes: np.ndarray, n_states: np.ndarray) -> PairSums:
    """Sum over all joint counts, for pairs of a column and a later one.

    Only rows in which neither column has its most frequent state are counted. The other counts
    follow from the numbers of rows in every state.

    Parameters
    ----------
    codes : ndarray of int of shape (n_samples, n_features)
        -1 for missing cells.
    n_states : ndarray of int of shape (n_features,)
    """
    table = _Indicators.of(codes.T, n_states)
    result = PairSums(*np.zeros((4, len(n_states), len(n_states))))
    for columns in table.blocks():
        part = _block_sums(table, columns)
        for all_pairs, some in zip(vars(result).values(), vars(part).values(), strict=True):
            all_pairs[columns, columns.start :] = some
    return result


@dataclass(frozen=True, eq=False)
class _Indicators:
    """Rows as sparse indicators of states other than the most frequent ones, and of missing cells.

    Attributes
    ----------
    matrix : csr_array of shape (n_rows, n_indicators)
        For one column after the other: its other states in order, then a missing cell.
    owner : ndarray of shape (n_indicators,)
        The column of each indicator.
    count : ndarray of shape (n_indicators,)
        How many rows have each indicator.
    starts : ndarray of shape (n_columns + 1,)
        Where the indicators of each column start.
    """

    matrix: csr_array
    owner: np.ndarray
    count: np.ndarray
    starts: np.ndarray

    @classmethod
    def of(cls, codes: np.ndarray, n_states: np.ndarray) -> _Indicators:
        """Return the indicators of codes of shape (n_features, n_rows)."""
        frequent = _most_frequent(codes, n_states)
        starts = np.concatenate([[0], np.cumsum(n_states)])  # one state fewer, one for missing
        column, row = np.nonzero(codes != frequent[:, None])
        code = codes[column, row].astype(np.int64)
        place = np.where(code < 0, n_states[column] - 1, code - (code > frequent[column]))
        place += starts[column]
        shape = (codes.shape[1], int(starts[-1]))
        matrix = csr_array((np.ones(len(place)), (row, place)), shape=shape)
        count = np.bincount(place, minlength=shape[1]).astype(float)
        return cls(matrix, np.repeat(np.arange(len(n_states)), n_states), count, starts)

    @property
    def is_missing(self) -> np.ndarray:
        """The indicators of missing cells: the last one of each column."""
        result = np.zeros(len(self.owner), dtype=bool)
        result[self.starts[1:] - 1] = True
        return result

    def blocks(self) -> Iterator[slice]:
        """Return blocks of neighbouring columns whose sums take little memory."""
        n_rows, n_columns = self.matrix.shape[0], len(self.starts) - 1
        per_indicator = self.count * self.matrix.nnz / n_rows + n_columns
        per_column = np.add.reduceat(per_indicator, self.starts[:-1]) + len(self.owner)
        number = (np.cumsum(per_column) // BLOCK_PRODUCTS).astype(int)
        cuts = np.flatnonzero(np.diff(number)) + 1
        for columns in np.split(np.arange(n_columns), cuts):
            yield slice(columns[0], columns[-1] + 1)


def _block_sums(table: _Indicators, columns: slice) -> PairSums:
    """Return the sums of some columns with themselves and all later columns."""
    here = slice(table.starts[columns.start], table.starts[columns.stop])
    later = slice(here.start, None)
    shape = (columns.stop - columns.start, len(table.starts) - 1 - columns.start)
    joint = (table.matrix[:, here].T @ table.matrix[:, later]).tocoo()
    s, t = joint.coords
    mine, other = table.owner[here] - columns.start, table.owner[later] - columns.start
    no_row, no_column = table.is_missing[here], table.is_missing[later]
    by_row, by_column = _Grouping(mine, shape[0]), _Grouping(other, shape[1])

    # How often states of one column occur while the other one is observed.
    rows = table.count[here, None] - by_column.counted(s, t, joint.data, no_column[t], len(mine))
    beside = table.count[later, None] - by_row.counted(t, s, joint.data, no_row[s], len(other))
    total = table.matrix.shape[0] - table.count[later][no_column] - rows[no_row]
    rows[no_row] = beside[no_column] = 0
    # The same for the most frequent states.
    frequent = total - by_row.sums(rows), total - by_column.sums(beside).T
    # Cells of two other states, of one of them and a most frequent one, and of two of those.
    plain = ~(no_row[s] | no_column[t])
    one = rows - by_column.counted(s, t, joint.data, plain, len(mine))
    other_one = beside - by_row.counted(t, s, joint.data, plain, len(other))
    neither = frequent[0] - by_column.sums(other_one).T
    s, t, counts = s[plain], t[plain], joint.data[plain]
    i, j = mine[s], other[t]
    log_total, *log_frequent = (log_counts(each) for each in (total, *frequent))
    log_rows, log_beside = log_counts(rows), log_counts(beside)
    ratio = np.log(counts) + log_total[i, j] - log_rows[s, j] - log_beside[t, i]
    ratio_one = log_counts(one) + (log_total - log_frequent[1])[mine] - log_rows
    ratio_other = log_counts(other_one) + (log_total - log_frequent[0]).T[other] - log_beside
    ratio_neither = log_counts(neither) + log_total - log_frequent[0] - log_frequent[1]

    def summed(power: int) -> np.ndarray:
        cells = np.bincount(i * shape[1] + j, counts * ratio**power, shape[0] * shape[1])
        result = cells.reshape(shape) + by_row.sums(one * ratio_one**power)
        result += by_column.sums(other_one * ratio_other**power).T
        return result + neither * ratio_neither**power

    spare_rows = by_row.sums(rows > 0) + (frequent[0] > 0) - 1
    spare_columns = by_column.sums(beside > 0).T + (frequent[1] > 0) - 1
    spare = spare_rows.clip(0) * spare_columns.clip(0)
    return PairSums(total, summed(1), summed(2), spare)


class _Grouping:
    """Sums over the indicators of each column."""

    def __init__(self, owner: np.ndarray, n_owners: int) -> None:
        self.owner = owner
        self.n_owners = n_owners
        ones = (np.ones(len(owner)), (owner, np.arange(len(owner))))
        self._matrix = csr_array(ones, shape=(n_owners, len(owner)))

    def sums(self, values: np.ndarray) -> np.ndarray:
        """Sum the rows of values, (n_owners, values.shape[1])."""
        result: np.ndarray = self._matrix @ values.astype(float)
        return result

    def counted(
        self, kept: np.ndarray, summed: np.ndarray, data: np.ndarray, where: np.ndarray, n: int
    ) -> np.ndarray:
        """Sum numbers by one index below n and the owner of another, (n, n_owners)."""
        place = kept[where].astype(np.int64) * self.n_owners + self.owner[summed[where]]
        return np.bincount(place, data[where], n * self.n_owners).reshape(n, self.n_owners)
