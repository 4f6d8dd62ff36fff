"""Scores of rows with missing cells, made comparable to those of complete rows."""

from __future__ import annotations

from functools import cached_property, partial

import numpy as np

from sklearn_einet.circuit import Circuit
from sklearn_einet.circuit.block_rows import slices
from sklearn_einet.circuit.queries.sampling import sample
from sklearn_einet.model.log_density import log_density
from sklearn_einet.tables.schema import Schema
from sklearn_einet.tables.table import CELLS_AT_A_TIME, by_block

__all__ = [
    "GapPatterns",
    "comparable_scores",
    "different_patterns",
    "rows_to_compare",
    "to_normal",
]

# How many drawn cells a pattern of gaps is scored by, and the least number of draws. In wide
# tables fewer draws suffice: a typical row's gaps change less of its log-density.
CELLS_OF_PATTERN, MIN_DRAWS, MAX_DRAWS = 2048, 64, 256

# The number of training rows with gaps from which a threshold or a distribution is computed, if
# not all are needed.
MAX_ROWS_TO_COMPARE = 2000

# Least shape of the gamma distributions, which is that of the log-density of a single normal
# column. Below it, the transformation is too coarse.
LEAST_SHAPE = 0.5

# The share of the mean of a gamma distribution below which its transformation is linear.
LINEAR_BELOW = 0.05

# Smaller spreads are stretched to that shape, up to so many standard deviations around the mean.
# Beyond, a rare value in a column with little variation counts by its probability.
BODY = 3.0

# Spreads in nats that are only rounding errors.
LEAST_DEVIATION = 1e-6


class GapPatterns:
    """Typical log-densities of rows with given patterns of missing cells.

    They come from rows drawn from the model, always the same ones, with these cells removed. A
    log-density is compared to them by its p-value: minus the log-density is treated as a gamma
    variable with their mean and variance, of rate 1 as for all normal densities, and transformed
    to a standard normal one by the method of Wilson and Hilferty [1]_. The comparable score is the
    log-density of a complete row with the same p-value.

    Parameters
    ----------
    circuit : Circuit
        As in `query_circuit`.
    schema : Schema

    References
    ----------
    .. [1] E. B. Wilson and M. M. Hilferty, "The Distribution of Chi-Square", PNAS 17, 1931.
    """

    def __init__(self, circuit: Circuit, schema: Schema) -> None:
        self.circuit = circuit
        self.schema = schema

    @cached_property
    def draws(self) -> tuple[np.ndarray, np.ndarray]:
        """Rows drawn from the model, and their log-densities."""
        n_features = len(self.schema.names)
        n_draws = int(np.clip(CELLS_OF_PATTERN // n_features, MIN_DRAWS, MAX_DRAWS))
        rows = self.schema.decode(sample(self.circuit, n_draws, np.random.RandomState(0)))
        scores = log_density(self.circuit, self.schema, rows)
        finite = np.isfinite(scores)  # except draws from leaves that have poles
        return rows[finite], scores[finite]

    def missing(self, X: np.ndarray) -> np.ndarray:
        """Return which cells do not count in the log-densities of rows."""
        result: np.ndarray = np.isnan(X)
        if self.schema.handle_unknown == "ignore":
            result |= self.schema.unknown_categories(X)
        return result

    def comparable(self, scores: np.ndarray, missing: np.ndarray) -> np.ndarray:
        """Return log-densities of complete rows that are as atypical as the given ones.

        Parameters
        ----------
        scores : ndarray of shape (n_samples,)
            Log-densities.
        missing : ndarray of bool of shape (n_samples, n_features)
            Scores of complete rows are returned unchanged.
        """
        result = scores.copy()
        some = np.flatnonzero(missing.any(axis=1))
        if not len(some):
            return result
        patterns, pattern = different_patterns(missing[some])
        mean, deviation = self.moments(patterns)
        _, usual = self.draws
        z = to_normal(scores[some], mean[pattern], deviation[pattern])
        result[some] = _from_normal(z, usual.mean(), usual.std())
        empty = missing[some].all(axis=1)  # empty rows are as typical as possible
        result[some[empty]] = np.median(usual)
        return result

    def moments(self, patterns: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return mean and standard deviation of log-densities of draws without some cells.

        Parameters
        ----------
        patterns : ndarray of bool of shape (n_patterns, n_features)
            Which cells are missing.
        """
        mean, deviation = np.empty((2, len(patterns)))
        draws, _ = self.draws
        for some in slices(len(patterns), max(1, CELLS_AT_A_TIME // draws.size)):
            rows = np.where(patterns[some, None], np.nan, draws)
            scores = log_density(self.circuit, self.schema, rows.reshape(-1, rows.shape[2]))
            scores = scores.reshape(rows.shape[:2])
            mean[some], deviation[some] = scores.mean(axis=1), scores.std(axis=1)
        return mean, deviation


def comparable_scores(
    circuit: Circuit,
    schema: Schema,
    X: np.ndarray,
    wanted: np.ndarray | None = None,
    scores: np.ndarray | None = None,
) -> np.ndarray:
    """Return log-densities that are comparable whatever cells are missing, computed where rows are.

    Parameters
    ----------
    circuit : Circuit
        As in `query_circuit`.
    schema : Schema
    X : ndarray or Table of shape (n_samples, n_features)
    wanted : ndarray of bool of shape (n_samples,), default=None
        The rows with gaps to score; the others get NaN. None: all.
    scores : ndarray of shape (n_samples,), default=None
        The rows' log-densities, if they are known.
    """
    parts = by_block(X, partial(_local_scores, circuit, schema), wanted, scores)
    return parts[0] if len(parts) == 1 else np.concatenate(parts)


def _local_scores(
    circuit: Circuit,
    schema: Schema,
    X: np.ndarray,
    wanted: np.ndarray | None,
    scores: np.ndarray | None,
) -> np.ndarray:
    """Return comparable scores, some rows at a time."""
    gaps = GapPatterns(circuit, schema)
    result = np.empty(len(X))
    # Whole blocks at a time, so that block limits do not matter.
    n_blocks = max(1, CELLS_AT_A_TIME // (circuit.block_rows * X.shape[1]))
    for rows in slices(len(X), circuit.block_rows * n_blocks):
        block = X[rows]
        missing = gaps.missing(block)
        plain = log_density(circuit, schema, block) if scores is None else scores[rows]
        unwanted = np.zeros(len(block), dtype=bool)
        if wanted is not None:
            unwanted = missing.any(axis=1) & ~wanted[rows]
        missing[unwanted] = False
        result[rows] = np.where(unwanted, np.nan, gaps.comparable(plain, missing))
    return result


def rows_to_compare(
    n_rows: int, held_out: np.ndarray | None, contamination: float | str
) -> np.ndarray | None:
    """Return which training rows with gaps need comparable scores for the outlier methods.

    Parameters
    ----------
    n_rows : int
    held_out : ndarray of int or None
        The rows that p-values are computed from; None: all.
    contamination : float or "auto"
        A number is a share of all rows.

    Returns
    -------
    wanted : ndarray of bool of shape (n_rows,) or None
        None: all.
    """
    if not isinstance(contamination, str):
        return None
    usual = np.arange(n_rows) if held_out is None or not len(held_out) else held_out
    if len(usual) > MAX_ROWS_TO_COMPARE:
        usual = np.random.RandomState(0).choice(usual, MAX_ROWS_TO_COMPARE, replace=False)
    wanted = np.zeros(n_rows, dtype=bool)
    wanted[usual] = True
    return wanted


def different_patterns(missing: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the distinct rows of a mask, and the index of each row among them."""
    packed = np.packbits(missing, axis=1)
    keys = packed.view(np.dtype((np.void, packed.shape[1]))).ravel()
    _, first, number = np.unique(keys, return_index=True, return_inverse=True)
    return missing[first], number


def to_normal(scores: np.ndarray, mean: np.ndarray, deviation: np.ndarray) -> np.ndarray:
    """Return standard normal quantiles of scores; higher means less typical."""
    shape, stretch, deviation = _gamma(deviation)
    below = mean - scores
    body = np.clip(below, -BODY * deviation, BODY * deviation)
    share = 1 + (stretch * body + (below - body)) / shape  # of the gamma variable's mean
    root = np.cbrt(np.maximum(share, LINEAR_BELOW))
    root += (share - LINEAR_BELOW).clip(max=0) / (3 * LINEAR_BELOW ** (2 / 3))
    return (root - 1 + 1 / (9 * shape)) * 3 * np.sqrt(shape)


def _from_normal(z: np.ndarray, mean: float, deviation: np.ndarray) -> np.ndarray:
    """Return the inverse of `to_normal`."""
    shape, stretch, deviation = _gamma(deviation)
    root = 1 - 1 / (9 * shape) + z / (3 * np.sqrt(shape))
    linear = np.cbrt(LINEAR_BELOW)
    share = np.maximum(root, linear) ** 3
    share += (root - linear).clip(max=0) * (3 * LINEAR_BELOW ** (2 / 3))
    stretched = shape * (share - 1)
    limit = BODY * deviation * stretch
    body = np.clip(stretched, -limit, limit)
    return mean - (body / stretch + (stretched - body))


def _gamma(deviation: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return shapes of gamma variables, factors that stretch scores to these, and deviations."""
    deviation = np.maximum(deviation, LEAST_DEVIATION)
    shape = np.maximum(deviation**2, LEAST_SHAPE)
    return shape, np.sqrt(shape) / deviation, deviation
