"""Outliers from log-densities: thresholds, labels and p-values."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from scipy.special import expit

from sklearn_einet.model.gap_patterns import rows_to_compare
from sklearn_einet.model.score_distribution import ScoreDistribution, nearest_threshold
from sklearn_einet.model.table_density import TableDensity

__all__ = ["AUTO_CONTAMINATION", "OutlierScores", "RowQuery", "threshold_and_distribution"]

# The comparable score of rows that are impossible under the model.
LEAST_SCORE = -1e290

# Share of typical rows that contamination="auto" labels as outliers.
AUTO_CONTAMINATION = 0.1

NOTHING_USUAL = ScoreDistribution(np.empty(0))


@dataclass(frozen=True)
class OutlierScores:
    """A density, with the distribution of log-densities of typical rows.

    Attributes
    ----------
    density : TableDensity
    offset : float, default=-inf
        The comparable log-density below which a row is an outlier.
    distribution : ScoreDistribution
        Of the comparable log-densities of typical rows; empty by default.
    """

    density: TableDensity
    offset: float = -np.inf
    distribution: ScoreDistribution = NOTHING_USUAL

    def to(self, device: torch.device) -> OutlierScores:
        """Return the same scores with queries computed on a device."""
        return replace(self, density=self.density.to(device))

    def log_density(self, X: Any) -> np.ndarray:
        """Return the log-density of each row."""
        return self.density.log_density(X)

    def comparable(self, X: Any) -> np.ndarray:
        """Return log-densities, with those of incomplete rows made comparable to complete ones."""
        scores = self.density.comparable_scores(X)
        return np.clip(scores, LEAST_SCORE, -LEAST_SCORE)  # metrics do not accept infinities

    def decision(self, X: Any) -> np.ndarray:
        """Return comparable log-densities above the threshold."""
        return self.comparable(X) - self.offset

    def labels(self, X: Any) -> np.ndarray:
        """Return -1 for outliers and 1 for inliers."""
        return np.where(self.decision(X) < 0, -1, 1)

    def probabilities(self, X: Any) -> np.ndarray:
        """Return degrees to which rows are outliers and inliers, (n_samples, 2)."""
        scores = self.comparable(X)
        usual = self.distribution
        inlier = expit(usual.logit(scores) - usual.logit(np.array(self.offset)))
        # Rounding must not move a row to the other side of the threshold.
        is_outlier = scores - self.offset < 0
        inlier = np.where(is_outlier, inlier.clip(max=np.nextafter(0.5, 0)), inlier.clip(min=0.5))
        return np.column_stack([1 - inlier, inlier])

    def p_values(self, X: Any) -> np.ndarray:
        """Return the share of typical rows that are at least as unlikely as each row."""
        return expit(self.distribution.logit(self.comparable(X)))


# Results for each row of an array.
RowQuery = Callable[[OutlierScores, Any], np.ndarray]


def threshold_and_distribution(
    scores: np.ndarray,
    weight: np.ndarray | None,
    contamination: float | str,
    held_out: np.ndarray | None = None,
    unseen: np.ndarray | None = None,
) -> tuple[float, ScoreDistribution]:
    """Return the threshold and the distribution of outlier scores.

    Parameters
    ----------
    scores : ndarray of shape (n_samples,)
        The training rows' comparable scores; NaN for rows that `rows_to_compare` does not need.
    weight : ndarray of shape (n_samples,) or None
    contamination : float or "auto"
    held_out : ndarray of int, default=None
        Which of the rows have been held out.
    unseen : ndarray of shape (n_samples,), default=None
        The scores that p-values compare with: those of held-out rows come from a model that has
        not learned from them. None: the same scores.
    """
    unseen = scores if unseen is None else unseen
    usual: Any = slice(None) if held_out is None or not len(held_out) else held_out
    if np.isnan(unseen[usual]).any():
        usual = rows_to_compare(len(scores), held_out, contamination)
    distribution = ScoreDistribution(unseen[usual], None if weight is None else weight[usual])
    if isinstance(contamination, str):
        offset = distribution.quantile(AUTO_CONTAMINATION)
        least = np.nanmin(scores)
        others = scores[scores > least]
        if len(others):  # then both labels must occur
            lowest = 0.5 * (least + others.min()) if np.isfinite(least) else others.min()
            offset = float(np.clip(offset, lowest, others.max()))
    else:
        weight = np.ones(len(scores)) if weight is None else weight
        offset = nearest_threshold(scores, weight, contamination)
    return max(offset, LEAST_SCORE), distribution
