"""What the estimators share: scoring, and the interface of scikit-learn's outlier detectors."""

from __future__ import annotations

import sys
from collections.abc import Callable
from functools import wraps
from typing import Any, TypeVar

import numpy as np
import torch
from scipy.sparse import issparse
from scipy.special import expit
from sklearn.base import BaseEstimator, DensityMixin, OutlierMixin
from sklearn.utils import Tags, check_random_state
from sklearn.utils.validation import _check_sample_weight, check_is_fitted, validate_data

from sklearn_einet._schema import Schema
from sklearn_einet._training import query_circuit, resolve_device
from sklearn_einet.circuit import Circuit

__all__ = [
    "BaseEinet",
    "boolean_columns",
    "invalid_column",
    "levels_to_caller",
    "new_random_state",
    "restores_on_failure",
]

Method = TypeVar("Method", bound=Callable[..., Any])

# Share of the training rows that contamination="auto" takes for outliers.
AUTO_CONTAMINATION = 0.1

# predict_proba gives a training row of median density this probability of being an inlier.
MEDIAN_INLIER_PROBABILITY = 0.95


class BaseEinet(OutlierMixin, DensityMixin, BaseEstimator):
    """Scores and outlier labels from a log-density.

    Derived classes provide `score_samples`, and set `_outlier_attributes` in fit.
    """

    device: Any
    n_features_in_: int
    circuit_: Circuit
    offset_: float
    classes_: np.ndarray
    _probability_scale: float
    _schema: Schema

    def score_samples(self, X: Any) -> np.ndarray:
        """Log-density of each row, in nats."""
        raise NotImplementedError

    def score(self, X: Any, y: Any = None) -> float:
        """Mean log-density of the rows, in nats: what model selection should maximise.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Missing cells are NaN.
        y : Ignored
            Not used, present for API consistency.

        Returns
        -------
        score : float
            -inf if any row is impossible under the model.
        """
        return float(np.mean(self.score_samples(X)))

    def decision_function(self, X: Any) -> np.ndarray:
        """Log-density above the outlier threshold, ``score_samples(X) - offset_``.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Missing cells are NaN.

        Returns
        -------
        decision : ndarray of shape (n_samples,)
            In nats; negative for outliers.
        """
        return self.score_samples(X) - self.offset_

    def predict(self, X: Any) -> np.ndarray:
        """Label every row as inlier or outlier.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Missing cells are NaN.

        Returns
        -------
        labels : ndarray of int of shape (n_samples,)
            -1 for outliers, 1 for inliers, as scikit-learn's outlier detectors.
        """
        check_is_fitted(self)
        return np.where(self.decision_function(X) < 0, -1, 1)

    def predict_proba(self, X: Any) -> np.ndarray:
        """Degree to which every row is an outlier or an inlier.

        The log-odds of the inlier class are the decision function, in the unit in which a
        training row of median density is an inlier with probability 0.95. This is a monotone
        rescaling of `score_samples`, 0.5 at `offset_`, and no calibrated frequency: without
        labels there is nothing to calibrate on.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Missing cells are NaN.

        Returns
        -------
        probability : ndarray of shape (n_samples, 2)
            Columns as in `classes_`: outlier (-1), inlier (1).
        """
        check_is_fitted(self)
        decision = self.decision_function(X)
        inlier = expit(decision / self._probability_scale)
        # Rounding must not put a row onto the other side of the threshold.
        inlier = np.where(decision < 0, np.minimum(inlier, np.nextafter(0.5, 0)), inlier)
        return np.column_stack([1 - inlier, inlier])

    def _outlier_attributes(
        self, scores: np.ndarray, weight: np.ndarray | None, contamination: float | str
    ) -> dict[str, Any]:
        """Threshold and unit of the outlier scores, from the training rows' log-densities."""
        share = AUTO_CONTAMINATION if isinstance(contamination, str) else contamination
        weight = np.ones(len(scores)) if weight is None else weight
        offset = _threshold(scores, weight, share)
        median = _threshold(scores, weight, 0.5)
        odds = np.log(MEDIAN_INLIER_PROBABILITY / (1 - MEDIAN_INLIER_PROBABILITY))
        scale = (median - offset) / odds
        return {
            "offset_": offset,
            "classes_": np.array([-1, 1]),
            "_probability_scale": scale if 0 < scale < np.inf else 1.0,
        }

    def _check_array(self, X: Any, reset: bool) -> np.ndarray:
        """A numeric array without infinities; errors name the column."""
        try:
            array = validate_data(
                self, X, reset=reset, dtype="numeric", ensure_all_finite="allow-nan"
            )
            return array if array.dtype.kind in "fiub" else array.astype(np.float64)
        except (TypeError, ValueError) as error:
            column = invalid_column(X)
            if column is None:
                raise
            hint = ""
            if "string" in str(error):
                hint = (
                    ". Make texts that stand for missing values NaN; number categories 0, 1, 2, "
                    "... and name them in leaf={'categorical': ...}"
                )
            raise type(error)(f"Column {column!r} cannot be used: {error}{hint}") from error

    def _validate(
        self, X: Any, sample_weight: Any, reset: bool
    ) -> tuple[np.ndarray, np.ndarray | None]:
        """The rows that have weight, and their weights."""
        X = self._check_array(X, reset=reset)
        if sample_weight is None:
            return X, None
        weight = _check_sample_weight(sample_weight, X, dtype=np.float64, ensure_non_negative=True)
        return (X, weight) if (weight > 0).all() else (X[weight > 0], weight[weight > 0])

    def _query_circuit(self, dtype: torch.dtype | None = None) -> Circuit:
        device = resolve_device(self.device, required=False)
        return query_circuit(self.circuit_, device, dtype)

    def __sklearn_tags__(self) -> Tags:
        tags = super().__sklearn_tags__()
        tags.input_tags.allow_nan = True
        return tags


def _threshold(scores: np.ndarray, weight: np.ndarray, share: float) -> float:
    """A number that the given share of the weight lies below.

    It is half-way between two scores where it can be, so that rounding moves no training row to
    the other side.
    """
    order = np.argsort(scores, kind="stable")
    after = np.cumsum(weight[order])
    above = after > share * after[-1] * (1 + 1e-12)
    value = scores[order][int(np.argmax(above))]
    below = scores[scores < value]
    lower = below.max(initial=-np.inf)
    return float(value if np.isinf(lower) else 0.5 * (lower + value))


def restores_on_failure(method: Method) -> Method:
    """Make a method that raises leave the attributes of its object as they were."""

    @wraps(method)
    def wrapped(self: Any, *args: Any, **kwargs: Any) -> Any:
        before = vars(self).copy()
        try:
            return method(self, *args, **kwargs)
        except BaseException:
            vars(self).clear()
            vars(self).update(before)
            raise

    return wrapped  # type: ignore[return-value]


def new_random_state(seed: Any) -> np.random.RandomState:
    """A RandomState; unlike scikit-learn's helper, None never draws from numpy's global one."""
    return np.random.RandomState() if seed is None else check_random_state(seed)


def levels_to_caller() -> int:
    """The stacklevel with which a warning points to the code that called the package."""
    level, frame = 1, sys._getframe(1)
    ours = ("sklearn_einet", "sklearn.")  # scikit-learn's decorators stand around fit
    while frame.f_back is not None and frame.f_globals["__name__"].startswith(ours):
        level, frame = level + 1, frame.f_back
    return level


def boolean_columns(X: Any) -> np.ndarray:
    """Which columns of a pandas or polars frame have a boolean type; no column of an array."""
    types = [str(dtype).lower() for dtype in X.dtypes] if hasattr(X, "columns") else []
    return np.array([name in ("bool", "boolean") for name in types] or False)


def invalid_column(X: Any) -> Any:
    """The first column of a table that is not numeric or holds an infinity; None if there is none.

    Only for messages, after validation has failed.
    """
    if issparse(X) or np.ndim(X) != 2:
        return None
    is_frame = hasattr(X, "columns")
    array = None if is_frame else np.asarray(X)
    for column in X.columns if is_frame else range(np.shape(X)[1]):
        try:
            values = _as_numbers(X[column]) if array is None else array[:, column].astype(float)
        except (TypeError, ValueError):
            return column
        if np.isinf(values).any():
            return column
    return None


def _as_numbers(series: Any) -> np.ndarray:
    """A column of a pandas or polars frame, NaN where missing; an error if sklearn has one, too."""
    kind = getattr(series.dtype, "kind", "")
    if kind in ("M", "m"):
        raise TypeError("times are no numbers")
    if kind == "O":
        return np.asarray(series).astype(np.float64)
    try:
        return np.asarray(series.to_numpy(dtype=np.float64, na_value=np.nan))
    except TypeError:  # polars
        return series.to_numpy().astype(np.float64)
