"""From log-densities to outliers: thresholds, labels and p-values."""

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

# Share of usual rows that contamination="auto" takes for outliers.
AUTO_CONTAMINATION = 0.1

NOTHING_USUAL = ScoreDistribution(np.empty(0))


@dataclass(frozen=True)
class OutlierScores:
    """A density, and what is usual for its log-densities.

    Attributes
    ----------
    density : TableDensity
    offset : float, default=-inf
        The comparable log-density below which a row is an outlier.
    distribution : ScoreDistribution
        That of usual rows' comparable log-densities. Without any by default.
    """

    density: TableDensity
    offset: float = -np.inf
    distribution: ScoreDistribution = NOTHING_USUAL

    def to(self, device: torch.device) -> OutlierScores:
        """Return the same with queries computed on a device."""
        return replace(self, density=self.density.to(device))

    def log_density(self, X: Any) -> np.ndarray:
        """Return the log-density of each row."""
        return self.density.log_density(X)

    def comparable(self, X: Any) -> np.ndarray:
        """Return log-densities, those of rows with missing cells as of complete ones."""
        scores = self.density.comparable_scores(X)
        return np.clip(scores, LEAST_SCORE, -LEAST_SCORE)  # metrics take no infinities

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
        # Rounding must not put a row onto the other side of the threshold.
        is_outlier = scores - self.offset < 0
        inlier = np.where(is_outlier, inlier.clip(max=np.nextafter(0.5, 0)), inlier.clip(min=0.5))
        return np.column_stack([1 - inlier, inlier])

    def p_values(self, X: Any) -> np.ndarray:
        """Return shares of usual rows that are at least as unlikely as each row."""
        return expit(self.distribution.logit(self.comparable(X)))


# What is said of each row of an array.
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
        The training rows' comparable scores, NaN where `rows_to_compare` does not need them.
    weight : ndarray of shape (n_samples,) or None
    contamination : float or "auto"
    held_out : ndarray of int, default=None
        Which of the rows have been held out.
    unseen : ndarray of shape (n_samples,), default=None
        The scores, those of held-out rows by a model that has not learned from them: p-values
        compare with these. None: the same.
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
        if len(others):  # then both labels are to occur
            lowest = 0.5 * (least + others.min()) if np.isfinite(least) else others.min()
            offset = float(np.clip(offset, lowest, others.max()))
    else:
        weight = np.ones(len(scores)) if weight is None else weight
        offset = nearest_threshold(scores, weight, contamination)
    return max(offset, LEAST_SCORE), distribution
