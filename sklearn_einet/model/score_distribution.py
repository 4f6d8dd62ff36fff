"""The distribution of log-densities of typical rows, which turns scores into p-values."""

from __future__ import annotations

import numpy as np
from scipy.special import logit
from scipy.stats import ks_2samp

from sklearn_einet.circuit.block_rows import slices

__all__ = ["ScoreDistribution", "nearest_threshold", "threshold"]

# Share of the rows that determine how fast the tails fall.
TAIL = 0.1

# How many scores are compared at a time.
SCORES_AT_A_TIME = 2**16

# Nats by which scores of equal rows may differ: held-out rows are scored by the model that has
# not learned from them.
SAME_SCORE = 1e-3


class ScoreDistribution:
    """A smooth distribution function of scores.

    At the given scores, it agrees with conformal p-values [1]_: the i-th lowest of n scores has the
    p-value i / (n + 1), so that a new row from the same source has a p-value below p with
    probability p, on average. Between scores it is linear. Beyond the lowest and the highest score
    it falls exponentially, as fast as the tenth of the scores there. This keeps scores in order,
    but does not estimate a probability.

    Parameters
    ----------
    scores : ndarray of shape (n_samples,)
    weight : ndarray of shape (n_samples,), default=None
        How many rows each score counts for.

    References
    ----------
    .. [1] S. Bates et al., "Testing for Outliers with Conformal p-Values", Annals of Statistics 51,
       2023.

    Examples
    --------
    >>> import numpy as np
    >>> from scipy.special import expit
    >>> from sklearn_einet.model.score_distribution import ScoreDistribution
    >>> usual = ScoreDistribution(np.array([1.0, 2.0, 4.0]))
    >>> expit(usual.logit(np.array([-np.inf, 1.0, 3.0, 4.0]))).round(3).tolist()
    [0.0, 0.25, 0.625, 0.75]
    >>> usual.quantile(0.625)
    3.0
    """

    def __init__(self, scores: np.ndarray, weight: np.ndarray | None = None) -> None:
        ordered, counts = _different(scores, weight)
        finite = np.isfinite(ordered)
        self.scores = ordered[finite]
        # The p-value jumps where several rows, or heavy ones, have the same score.
        self.p_to = (counts.cumsum() / (counts.sum() + 1))[finite]
        self.p_from = self.p_to - (counts - 1).clip(0)[finite] / (counts.sum() + 1)
        if len(self.scores):
            self.low_scale = self._tail_scale(counts[finite], -1)
            self.high_scale = self._tail_scale(counts[finite], 1)

    def logit(self, scores: np.ndarray) -> np.ndarray:
        """Return log-odds of the p-values of scores, P(score of a typical row <= score)."""
        if not len(self.scores):
            return np.where(np.isneginf(scores), -np.inf, 0.0)
        result = np.empty(scores.shape)
        for part in slices(scores.size, SCORES_AT_A_TIME):
            result.flat[part] = self._logit(scores.flat[part])
        return result

    def _logit(self, scores: np.ndarray) -> np.ndarray:
        """Return the `logit` of a few scores."""
        inside = np.clip(scores, self.scores[0], self.scores[-1])
        before = self.scores.searchsorted(inside + _rounding(inside), "right") - 1
        after = np.minimum(before + 1, len(self.scores) - 1)
        gap = np.where(after > before, self.scores[after] - self.scores[before], 1.0)
        share = (inside - self.scores[before]) / gap
        is_tie = share * gap <= _rounding(inside)
        p = self.p_to[before] + share * (self.p_from[after] - self.p_to[before])
        p = np.where(is_tie, 0.5 * (self.p_from + self.p_to)[before], p)
        below, above = (inside - scores).clip(0), (scores - inside).clip(0)
        low = np.log(p) - below / self.low_scale
        high = np.log1p(-p) - above / self.high_scale
        return np.where(
            below > 0, low - _log1mexp(low), np.where(above > 0, _log1mexp(high) - high, logit(p))
        )

    def distance_p_value(self, scores: np.ndarray) -> float:
        """Return the p-value of the two-sample Kolmogorov-Smirnov test.

        The samples are the scores of the distribution, with weights as numbers of rows, and the
        given ones. Scores within a thousandth of a nat of each other are ties.

        Parameters
        ----------
        scores : ndarray of shape (n_samples,)
        """
        if not len(self.scores):
            return 1.0
        n = self.p_to[-1] / (1 - self.p_to[-1])
        counts = np.diff(self.p_to * (n + 1), prepend=0.0)
        usual = np.repeat(self.scores, np.maximum(1, np.rint(counts)).astype(np.int64))
        nearest = self._nearest(scores)
        with np.errstate(invalid="ignore"):  # both may be -inf
            tied = np.where(np.abs(nearest - scores) < SAME_SCORE, nearest, scores)
        return float(ks_2samp(usual, tied).pvalue)

    def _nearest(self, scores: np.ndarray) -> np.ndarray:
        """Return the nearest scores of the distribution."""
        above = self.scores.searchsorted(scores).clip(max=len(self.scores) - 1)
        below = (above - 1).clip(min=0)
        with np.errstate(invalid="ignore"):
            is_above = np.abs(self.scores[above] - scores) < np.abs(self.scores[below] - scores)
        return self.scores[np.where(is_above, above, below)]

    def quantile(self, p: float) -> float:
        """Return the score with a given p-value, 0 < p < 1."""
        if not len(self.scores):
            return -np.inf
        least, most = 0.5 * (self.p_from[0] + self.p_to[0]), 0.5 * (self.p_from[-1] + self.p_to[-1])
        if p < least:
            return float(self.scores[0] + self.low_scale * np.log(p / least))
        if p > most:
            return float(self.scores[-1] - self.high_scale * np.log((1 - p) / (1 - most)))
        return self._inner_quantile(p)

    def _inner_quantile(self, p: float) -> float:
        knots = np.column_stack([self.p_from, self.p_to]).ravel()
        return float(np.interp(p, knots, np.repeat(self.scores, 2)))

    def _tail_scale(self, counts: np.ndarray, side: int) -> float:
        """Return the mean distance of the rows in a tail from its start."""
        share = min(0.5, max(TAIL, 2 / counts.sum()))
        start = self._inner_quantile(share if side < 0 else 1 - share)
        beyond = (side * (self.scores - start)).clip(0)
        scale = float(beyond @ counts) / (share * counts.sum())
        return scale if 0 < scale < np.inf else 1.0


def _different(scores: np.ndarray, weight: np.ndarray | None) -> tuple[np.ndarray, np.ndarray]:
    """Return the distinct scores in ascending order, and the weight of each."""
    order = np.argsort(scores, kind="stable")
    ordered = scores[order]
    is_new = np.ones(len(scores), dtype=bool)
    with np.errstate(invalid="ignore"):  # of infinities
        for part in slices(len(scores) - 1, SCORES_AT_A_TIME) if len(scores) > 1 else []:
            later = ordered[part.start + 1 : part.stop + 1]
            is_new[part.start + 1 : part.stop + 1] = later - ordered[part] > _rounding(later)
    first = np.flatnonzero(is_new)
    if weight is None:
        return ordered[first], np.diff(first, append=len(scores)).astype(np.float64)
    return ordered[first], np.bincount(is_new.cumsum() - 1, weight[order])


def _rounding(scores: np.ndarray) -> np.ndarray:
    """Return the difference up to which scores count as equal: sums may differ in order."""
    return 1e-9 * (1 + np.abs(scores))


def _log1mexp(x: np.ndarray) -> np.ndarray:
    """Return log(1 - exp(x)) for x below 0."""
    return np.log(-np.expm1(x))


def threshold(scores: np.ndarray, weight: np.ndarray, share: float) -> float:
    """Return a number below which the given share of the weight lies, or less if scores are tied.

    It is half-way between two scores where possible, so that rounding moves no training row to the
    other side.
    """
    order = np.argsort(scores, kind="stable")
    after = np.cumsum(weight[order])
    above = after > share * after[-1] * (1 + 1e-12)
    value = scores[order][int(np.argmax(above))]
    if np.isneginf(value) and np.isfinite(scores).any():
        return float(scores[np.isfinite(scores)].min())
    below = scores[scores < value]
    lower = below.max(initial=-np.inf)
    return float(value if np.isinf(lower) else 0.5 * (lower + value))


def nearest_threshold(scores: np.ndarray, weight: np.ndarray, share: float) -> float:
    """Return a number such that the share of the weight below it is nearest to the given share.

    Equal scores lie on the same side, and there are scores on both sides unless all are equal. If
    two shares are equally near, the smaller one is used.
    """
    values, weights = _different(scores, weight)
    if len(values) == 1:
        return float(values[0])
    total = weights.sum()
    distance = np.abs(weights.cumsum()[:-1] - share * total)
    nearest = int(np.argmax(distance <= distance.min() + 1e-12 * total))
    value = values[nearest + 1]
    lower = scores[scores < value].max()
    # Half-way, so that rounding moves no training row to the other side.
    return float(value if np.isneginf(lower) else 0.5 * (lower + value))
