"""The cells that jointly make a row unlikely: without them, it is typical."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.special import expit

from sklearn_einet.model.gap_patterns import GapPatterns, different_patterns, to_normal
from sklearn_einet.model.log_density import log_density
from sklearn_einet.model.outlier_scores import OutlierScores

__all__ = ["Explanation", "explained"]

# The reported quantiles of what to expect in place of named cells.
QUANTILES = np.array([0.1, 0.5, 0.9])


@dataclass(frozen=True)
class Explanation:
    """The named cells, row by row, in the order in which they were found.

    Attributes
    ----------
    row, column : ndarray of int of shape (n_cells,)
    p_value, p_value_without : ndarray of shape (n_cells,)
        Of the cell's row, as it is and without all of its named cells.
    typical : ndarray of shape (3, n_cells)
        Quantiles of the values to expect in their place given the cells of the row that are not
        named; for categories, the most probable one.
    """

    row: np.ndarray
    column: np.ndarray
    p_value: np.ndarray
    p_value_without: np.ndarray
    typical: np.ndarray


def explained(scores: OutlierScores, X: np.ndarray, max_cells: int | None = None) -> Explanation:
    """Name the cells of outlying rows without which these are typical.

    Parameters
    ----------
    scores : OutlierScores
    X : ndarray of shape (n_samples, n_features)
    max_cells : int or None, default=None
        The most cells to name in a row. None: as many as needed.
    """
    before = scores.comparable(X)
    own = np.flatnonzero(before < scores.offset)
    removal = _Removal(scores)
    order = removal.order(X[own], X.shape[1] if max_cells is None else max_cells)
    without = np.where(order > 0, np.nan, X[own])
    # Sorted by row, and within a row by the order in which cells were taken out.
    place, column = np.nonzero(order)
    sorted_ = np.lexsort([order[place, column], place])
    place, column = place[sorted_], column[sorted_]
    after = scores.comparable(without)
    p_before, p_after = (expit(scores.distribution.logit(s)) for s in (before[own], after))
    typical = scores.density.typical_cells(without, place, column, QUANTILES)
    return Explanation(own[place], column, p_before[place], p_after[place], typical)


class _Removal:
    """Takes cells out of rows until these are typical.

    Parameters
    ----------
    scores : OutlierScores
    """

    def __init__(self, scores: OutlierScores) -> None:
        self.scores = scores
        self.density = scores.density
        self.gaps = GapPatterns(self.density.scoring_circuit, self.density.schema)

    def order(self, X: np.ndarray, max_cells: int) -> np.ndarray:
        """Return when each cell is taken out, (n_samples, n_features), from 1 on; 0: never.

        Each time, the cell without which the row is the most typical is taken out. In the end,
        cells are put back as long as the row stays typical.
        """
        order = np.zeros(X.shape, dtype=np.int64)
        rows = X.copy()
        active = np.arange(len(X))
        for step in range(1, max_cells + 1):
            active = active[~np.isnan(rows[active]).all(axis=1)]
            if not len(active):
                break
            taken = np.nanargmin(self._unusual_without(rows[active]), axis=1)
            order[active, taken] = step
            rows[active, taken] = np.nan
            active = active[self._is_outlier(rows[active])]
        return self._minimal(X, rows, order)

    def _minimal(self, X: np.ndarray, rows: np.ndarray, order: np.ndarray) -> np.ndarray:
        """Return an order from which no further cell can be put back."""
        usual = ~self._is_outlier(rows)
        for step in range(1, order.max(initial=0) + 1):
            several = np.flatnonzero(usual & ((order > 0).sum(axis=1) > 1))
            place, column = np.nonzero(order[several] == step)
            trial = rows[several[place]].copy()
            trial[np.arange(len(place)), column] = X[several[place], column]
            back = ~self._is_outlier(trial)
            chosen = several[place[back]], column[back]
            rows[chosen] = X[chosen]
            order[chosen] = 0
        return order

    def _is_outlier(self, rows: np.ndarray) -> np.ndarray:
        result: np.ndarray = self.scores.comparable(rows) < self.scores.offset
        return result

    def _unusual_without(self, rows: np.ndarray) -> np.ndarray:
        """Return how atypical rows are without each of their cells, as standard normal variables;
        NaN where a cell is missing."""
        result = np.empty(rows.shape)
        patterns, pattern = different_patterns(self.gaps.missing(rows))
        for number, missing in enumerate(patterns):
            own = np.flatnonzero(pattern == number)
            draws = np.where(missing, np.nan, self.gaps.draws[0])
            usual = self._without_each(draws)
            values = self._without_each(rows[own])
            mean, deviation = usual.mean(axis=0), usual.std(axis=0)
            result[own] = to_normal(values, mean, deviation)
            result[own] = np.where(np.isposinf(values), -np.inf, result[own])
        result[np.isnan(rows)] = np.nan
        return result

    def _without_each(self, rows: np.ndarray) -> np.ndarray:
        """Return the log-densities of rows without each of their cells, by two passes."""
        density = self.density
        whole = log_density(density.scoring_circuit, density.schema, rows)[:, None]
        cells = density.cell_scores(rows)
        # Without its impossible cells a row may have any density; the others are not to blame.
        impossible = np.isposinf(cells)
        some = impossible.any(axis=1, keepdims=True)
        result = np.where(some, np.where(impossible, np.inf, -np.inf), 0.0)
        np.add(whole, cells, out=result, where=~some)
        return result
