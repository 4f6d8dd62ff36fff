"""The interface of scikit-learn's outlier detectors."""

from __future__ import annotations

from typing import Any

import numpy as np

from sklearn_einet.estimators.base import BaseEinet
from sklearn_einet.model.outlier_scores import OutlierScores

__all__ = ["OutlierQueries"]


class OutlierQueries(BaseEinet):
    """Scores and labels of outliers, from log-densities."""

    def decision_function(self, X: Any) -> np.ndarray:
        """Return how far the log-density of each row lies above the outlier threshold.

        For complete rows, this is ``score_samples(X) - offset_``.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Missing cells are NaN.

        Returns
        -------
        decision : ndarray of shape (n_samples,)
            In nats (1 nat is 1.44 bits). Always finite; negative for outliers. A row with missing
            cells has the value of a complete row that is equally atypical, see Notes.

        Notes
        -----
        Log-densities of rows with different missing cells cannot be compared: they have different
        units. A row is therefore compared with rows in which the same cells are missing. The mean
        and standard deviation of their log-densities are estimated from 64 to 256 draws from the
        model, the same for all rows. Minus a log-density is treated as a gamma variable of rate 1,
        as it is for normal columns. That gives the p-value of the row among rows with the same
        missing cells, and the log-density with this p-value among complete rows. Rows without any
        observed cell get the median of complete rows.

        Each combination of missing cells in X costs as much as scoring these draws; tables without
        missing cells cost nothing extra. `score_samples` is still the density of the observed
        cells.
        """
        decision: np.ndarray = self._row_wise(X, OutlierScores.decision)
        return decision

    def predict(self, X: Any) -> np.ndarray:
        """Label each row as an inlier or an outlier.

        Training rows and new rows are treated alike, so that no `novelty` parameter is needed,
        unlike in `sklearn.neighbors.LocalOutlierFactor`.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Missing cells are NaN. Rows with missing cells are compared with rows in which the same
            cells are missing, see `decision_function`.

        Returns
        -------
        labels : ndarray of int of shape (n_samples,)
            -1 for outliers and 1 for inliers, as in all outlier detectors of scikit-learn.
        """
        labels: np.ndarray = self._row_wise(X, OutlierScores.labels, dtype=int)
        return labels

    def predict_proba(self, X: Any) -> np.ndarray:
        """Return the degree to which each row is an outlier or an inlier.

        This is `decision_function` on a scale from 0 to 1. It is not a calibrated frequency:
        without labels there is nothing to calibrate on. The log-odds of an inlier are those of the
        row's p-value (see `p_values`) minus those of the threshold's p-value c. So a row at
        `offset_` has 0.5, and a row of median density is an inlier with probability 1 - c.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Missing cells are NaN. Rows with missing cells are compared with rows in which the same
            cells are missing, see `decision_function`.

        Returns
        -------
        probability : ndarray of shape (n_samples, 2)
            Columns as in `classes_`: outlier (-1), inlier (1). The second one is at least 0.5 for
            exactly the rows that `predict` labels as inliers.
        """
        probability: np.ndarray = self._row_wise(X, OutlierScores.probabilities, n_outputs=2)
        return probability

    def p_values(self, X: Any) -> np.ndarray:
        """Return the p-value of each row: the share of typical rows that are at least as unlikely.

        Typical rows are here the n rows that fit held out for early stopping. With these, the
        p-values are conformal: if X comes from the same source as the training rows, a share p of
        its rows has p-values below p, on average. If fit held out no rows, it uses the training
        rows, which the model fits a little better than new ones. Below 1 / (n + 1), p-values
        decrease exponentially: they keep outliers in order, but are not shares any more.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Missing cells are NaN. Rows with missing cells are compared with rows in which the same
            cells are missing under the model, see `decision_function`. For a single combination of
            missing cells, p-values are as good as the model. For all rows together they are
            conformal whatever the model, if cells are missing as in the training rows.

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
        p_values: np.ndarray = self._row_wise(X, OutlierScores.p_values)
        return p_values

    def drift_p_value(self, X: Any) -> float:
        """Test for drift: whether rows come from the same source as the training rows.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            A batch of new rows, such as those of one day. Missing cells are NaN.

        Returns
        -------
        p_value : float
            p-value of the two-sample Kolmogorov-Smirnov test on the log-densities of these rows
            and of the rows that `fit` held out. A small value indicates drift. Rows with missing
            cells are scored as in `decision_function`.

        Notes
        -----
        If rows are independent and come from the same source as the training rows, a p-value below
        0.05 has a probability of at most 0.05. The probability is lower if log-densities repeat, as
        in tables with few different rows. The p-value is exact with up to 10,000 rows on each side.
        It is too small if `fit` held out no rows (see `p_values`), and for models from `marginal`.

        Each batch is a separate test: of 100 batches without drift, five are below 0.05. The test
        does not see changes that keep the distribution of log-densities, such as rows that move
        from one cluster to another of the same size and shape. To see the direction of a change,
        compare `score` between batches: it decreases if rows become less likely.

        Examples
        --------
        >>> import numpy as np
        >>> from sklearn_einet import EinetOutlierDetector
        >>> rng = np.random.RandomState(0)
        >>> detector = EinetOutlierDetector(random_state=0).fit(rng.normal(size=(2000, 3)))
        >>> bool(detector.drift_p_value(rng.normal(size=(300, 3))) > 0.05)
        True
        >>> bool(detector.drift_p_value(rng.normal(scale=1.3, size=(300, 3))) < 0.001)
        True
        """
        scores = self._outlier_scores()
        return scores.distribution.distance_p_value(scores.comparable(self.as_numbers(X)))
