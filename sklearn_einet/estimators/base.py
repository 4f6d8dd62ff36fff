"""What the estimators share: scoring, and the interface of scikit-learn's outlier detectors."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from functools import wraps
from typing import Any, TypeVar

import numpy as np
import torch
from scipy.special import expit
from sklearn.base import BaseEstimator, DensityMixin, OutlierMixin
from sklearn.utils import Tags, check_random_state, gen_batches
from sklearn.utils.validation import (
    check_array,
    check_is_fitted,
    validate_data,
)

from sklearn_einet.circuit import Circuit
from sklearn_einet.estimators.recipe import resolve_device
from sklearn_einet.model.gap_patterns import comparable_scores, rows_to_compare
from sklearn_einet.model.log_density import query_circuit
from sklearn_einet.model.score_distribution import ScoreDistribution, nearest_threshold
from sklearn_einet.tables.callers import levels_to_caller
from sklearn_einet.tables.encoding import Encoding
from sklearn_einet.tables.frames import refuse_times, unusable, unusable_column, without_mask
from sklearn_einet.tables.schema import Schema
from sklearn_einet.tables.stored import StoredTable, is_stored, native_dtype
from sklearn_einet.tables.table import is_dask
from sklearn_einet.tables.weights import checked_weight

__all__ = [
    "BaseEinet",
    "by_row",
    "levels_to_caller",
    "new_random_state",
    "restores_on_failure",
]

# How many rows are looked through for unknown categories at a time.
ROWS_AT_A_TIME = 2**16

Method = TypeVar("Method", bound=Callable[..., Any])

# The comparable score of rows that are impossible under the model.
LEAST_SCORE = -1e290

# Share of usual rows that contamination="auto" takes for outliers.
AUTO_CONTAMINATION = 0.1


def by_row(dtype: type, n_outputs: int | None = None) -> Callable[[Method], Method]:
    """Make a method that scores rows lazy, and do so block by block, for dask's collections.

    Parameters
    ----------
    dtype : type
        Of the scores.
    n_outputs : int or None, default=None
        How many columns they have; None: they have one dimension.
    """

    def decorator(method: Method) -> Method:
        @wraps(method)
        def wrapped(self: Any, X: Any) -> Any:
            if not is_dask(X):
                return method(self, X)
            from sklearn_einet.estimators.dask_input import lazy_scores

            check_is_fitted(self)
            return lazy_scores(self, method.__name__, X, dtype, n_outputs)

        return wrapped  # type: ignore[return-value]

    return decorator


class BaseEinet(OutlierMixin, DensityMixin, BaseEstimator):
    """Scores and outlier labels from a log-density.

    Derived classes provide `score_samples`, and set `_outlier_attributes` in fit.
    """

    device: Any
    categorical_features: Any
    n_features_in_: int
    circuit_: Circuit
    offset_: float
    classes_: np.ndarray
    _score_distribution: ScoreDistribution
    _encoding: Encoding
    _schema: Schema

    @property
    def categories_(self) -> dict[Any, np.ndarray]:
        """Categories of the columns that have them."""
        check_is_fitted(self)
        names = self._encoding.names
        return {names[j]: values.copy() for j, values in self._encoding.categories.items()}

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

    @by_row(float)
    def decision_function(self, X: Any) -> np.ndarray:
        """Log-density above the threshold: of complete rows, ``score_samples(X) - offset_``.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Missing cells are NaN.

        Returns
        -------
        decision : ndarray of shape (n_samples,)
            In nats, finite; negative for outliers. In place of the log-density of a row with
            missing cells stands that of a complete row that is as unusual, see Notes.

        Notes
        -----
        Log-densities of different cells do not compare: they have different units. A row is
        therefore referred to what is usual for rows in which the same cells are missing. Mean and
        standard deviation of such rows' log-densities under the model are estimated from 64 to 256
        draws, the same for all rows; minus a log-density is taken for a gamma variable of rate 1,
        as it is of normal columns, which gives its p-value among rows with the same gaps, and the
        log-density that has this p-value among complete rows. Rows without any observed cell have
        the median of those. Every combination of missing cells in X costs as much as scoring so
        many rows more; tables without missing cells cost nothing. `score_samples` remains the
        density of what was observed.
        """
        return self._comparable_scores(X) - self.offset_

    @by_row(int)
    def predict(self, X: Any) -> np.ndarray:
        """Label every row as inlier or outlier.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Missing cells are NaN.

        Returns
        -------
        labels : ndarray of int of shape (n_samples,)
            -1 for outliers, 1 for inliers, as scikit-learn's outlier detectors. Rows with missing
            cells are compared to what is usual for such, see `decision_function`.
        """
        check_is_fitted(self)
        return np.where(self.decision_function(X) < 0, -1, 1)

    @by_row(float, n_outputs=2)
    def predict_proba(self, X: Any) -> np.ndarray:
        """Degree to which every row is an outlier or an inlier.

        The log-odds of the inlier class are those of the row's p-value (see `p_values`) above those
        of the threshold's: a row at `offset_` has 0.5, and if that is at the p-value c, a row of
        median density is an inlier with probability 1 - c. This is a monotone rescaling of
        `decision_function`, and no calibrated frequency: without labels there is nothing to
        calibrate on.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Missing cells are NaN. Rows that have some are compared to what is usual for such, see
            `decision_function`.

        Returns
        -------
        probability : ndarray of shape (n_samples, 2)
            Columns as in `classes_`: outlier (-1), inlier (1). The second is at least 0.5 for the
            rows that `predict` calls inliers, and only for those.
        """
        check_is_fitted(self)
        scores = self._comparable_scores(X)
        usual = self._score_distribution
        inlier = expit(usual.logit(scores) - usual.logit(np.array(self.offset_)))
        # Rounding must not put a row onto the other side of the threshold.
        is_outlier = scores - self.offset_ < 0
        inlier = np.where(is_outlier, inlier.clip(max=np.nextafter(0.5, 0)), inlier.clip(min=0.5))
        return np.column_stack([1 - inlier, inlier])

    @by_row(float)
    def p_values(self, X: Any) -> np.ndarray:
        """Share of usual rows that are at least as unlikely as each row.

        Usual rows are those that fit held out to stop early, if it did, or else the training rows,
        which the model fits a little better than new ones. From held-out rows, the p-values are
        conformal: if X comes from where the training rows came from, p-values below p occur in a
        share p of its rows, on average. Below 1 / (n + 1), with n usual rows, they fall
        exponentially to keep outliers in order, and are no shares any more.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Missing cells are NaN. Rows that have some are compared to what is usual for such under
            the model, see `decision_function`. This holds for every combination of missing cells
            as far as the model does; the p-values of all rows together are conformal whatever
            the model, if cells are missing as among the training rows.

        Returns
        -------
        p_values : ndarray of shape (n_samples,)
            Small for outliers.

        References
        ----------
        S. Bates et al., "Testing for Outliers with Conformal p-Values", Annals of Statistics 51,
        2023.

        Examples
        --------
        >>> from sklearn.datasets import load_iris
        >>> from sklearn_einet import EinetDensity
        >>> model = EinetDensity(max_iter=200, random_state=0).fit(load_iris().data)
        >>> p = model.p_values([[5.0, 3.5, 1.4, 0.2], [5.0, 3.5, 9.0, 0.2]])
        >>> p[0] > 0.5, p[1] < 1e-3
        (np.True_, np.True_)
        """
        check_is_fitted(self)
        return expit(self._score_distribution.logit(self._comparable_scores(X)))

    def _comparable_scores(self, X: Any) -> np.ndarray:
        """Log-densities of the rows, those of rows with missing cells as of complete ones."""
        check_is_fitted(self)
        X = self._read(X)
        scores = comparable_scores(self._query_circuit(), self._schema, X)
        return np.clip(scores, LEAST_SCORE, -LEAST_SCORE)  # metrics take no infinities

    def _outlier_attributes(
        self,
        scores: np.ndarray,
        weight: np.ndarray | None,
        contamination: float | str,
        held_out: np.ndarray | None = None,
        unseen: np.ndarray | None = None,
    ) -> dict[str, Any]:
        """Threshold and distribution of the outlier scores.

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
        return {
            "offset_": max(offset, LEAST_SCORE),
            "classes_": np.array([-1, 1]),
            "_score_distribution": distribution,
        }

    def _check_array(self, X: Any, reset: bool) -> Any:
        """An array of numbers without infinities and masks; errors name the column.

        What is read by slices of rows is a `StoredTable`, unless there are categories to encode.
        """
        X = without_mask(X)
        if is_dask(X):
            raise TypeError(
                f"{type(self).__name__} takes dask collections in fit, partial_fit and the methods "
                "that score rows. For other queries, compute() them, or have the method of the "
                "fitted estimator mapped over their blocks."
            )
        if is_stored(X):
            X = X if isinstance(X, StoredTable) else StoredTable(X)
            asked = self.categorical_features if reset else self._encoding.categories or None
            if asked is None or isinstance(asked, str):
                return self._check_stored(X, reset)
            X = X[:]
        if reset:
            self._encoding, doubts = Encoding.fit(X, self.categorical_features)
            for doubt in doubts:
                warnings.warn(doubt, UserWarning, stacklevel=levels_to_caller())
        if self._encoding.categories:
            validate_data(self, X, reset=reset, skip_check_array=True)
            coded = self._encoding.encode(X)
            try:
                return check_array(coded, ensure_all_finite="allow-nan", estimator=self)
            except ValueError as error:
                raise unusable_column(coded, error, self._encoding.names) or error from None
        refuse_times(X)
        try:
            array = validate_data(
                self, X, reset=reset, dtype="numeric", ensure_all_finite="allow-nan"
            )
            wanted = native_dtype(array.dtype)
            if array.dtype == wanted:
                return array
            with np.errstate(over="ignore"):  # of long doubles; infinities are told of
                array = array.astype(wanted)
            return check_array(array, ensure_all_finite="allow-nan", estimator=self)
        except (TypeError, ValueError) as error:
            raise unusable_column(X, error) or error from None

    def _check_stored(self, X: StoredTable, reset: bool) -> StoredTable:
        """What `_check_array` does, one slab after the other."""
        if reset:
            self._encoding = Encoding()
        example = X[:1] if X.shape[1] else X[:]
        validate_data(self, example, reset=reset, dtype="numeric", ensure_all_finite=False)
        if X.dtype.kind != "f":
            return X
        infinite = np.zeros(X.shape[1], dtype=bool)
        for rows in X.slabs():
            found = np.isinf(X[rows]).any(axis=0)
            if found.any():
                infinite, example = infinite | found, X[rows]
        for column in np.flatnonzero(infinite):
            try:
                check_array(example, ensure_all_finite="allow-nan", estimator=self, input_name="X")
            except ValueError as error:
                raise unusable(int(column), error, X) from error
        return X

    def _read(self, X: Any) -> Any:
        """The rows of a query, checked; see `_check_array`."""
        array = self._check_array(X, reset=False)
        if self._schema.handle_unknown == "smooth":
            return array
        unknown = np.zeros(array.shape[1], dtype=bool)
        for rows in gen_batches(len(array), ROWS_AT_A_TIME):
            unknown |= self._schema.unknown_categories(array[rows]).any(axis=0)
        for column in np.flatnonzero(unknown):
            problem = f"Column {self._schema.names[column]!r} has categories not seen in fit"
            if self._schema.handle_unknown == "error":
                raise ValueError(f"{problem}; handle_unknown='smooth' or 'ignore' takes them.")
            warnings.warn(f"{problem}: ignored.", UserWarning, stacklevel=levels_to_caller())
        return array

    def _validate(self, X: Any, sample_weight: Any, reset: bool) -> tuple[Any, np.ndarray | None]:
        """The rows that have weight, see `_check_array`, and their weights."""
        if is_dask(X):
            from sklearn_einet.estimators.dask_input import checked_table

            return checked_table(self, X, sample_weight, reset)
        X = self._check_array(X, reset=reset)
        if sample_weight is None:
            return X, None
        weight = checked_weight(sample_weight, X)
        if (weight > 0).all():
            return X, weight
        kept = np.flatnonzero(weight > 0)
        return X.selected(kept) if isinstance(X, StoredTable) else X[kept], weight[kept]

    def _query_circuit(self, dtype: torch.dtype | None = None) -> Circuit:
        device = resolve_device(self.device, required=False)
        return query_circuit(self.circuit_, device, dtype)

    def __sklearn_tags__(self) -> Tags:
        tags = super().__sklearn_tags__()
        tags.input_tags.allow_nan = True
        return tags


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
