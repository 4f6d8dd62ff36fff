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
        """Return how far each row's log-density lies above the threshold.

        Of complete rows, that is ``score_samples(X) - offset_``.

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
        decision: np.ndarray = self._row_wise(X, OutlierScores.decision)
        return decision

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
        labels: np.ndarray = self._row_wise(X, OutlierScores.labels, dtype=int)
        return labels

    def predict_proba(self, X: Any) -> np.ndarray:
        """Return the degree to which every row is an outlier or an inlier.

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
        probability: np.ndarray = self._row_wise(X, OutlierScores.probabilities, n_outputs=2)
        return probability

    def p_values(self, X: Any) -> np.ndarray:
        """Return the share of usual rows that are at least as unlikely as each row.

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
        p_values: np.ndarray = self._row_wise(X, OutlierScores.p_values)
        return p_values

    def drift_p_value(self, X: Any) -> float:
        """Test whether rows come from where the training rows came from.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            A batch of new rows, such as those of a day. Missing cells are NaN.

        Returns
        -------
        p_value : float
            Of the two-sample test by Kolmogorov and Smirnov, on the log-densities of the rows and
            of those that `fit` held out; of rows with missing cells as in `decision_function`.

        Notes
        -----
        If rows are independent, and those in X come from where the training rows came from, a
        p-value below 0.05 has a probability of 0.05 at most; of repeated log-densities, as in
        tables with few different rows, it is less. It is exact with up to 10,000 rows on each side.
        Without held-out rows (see `p_values`), and for models from `marginal`, it comes out too
        small. Every batch is a test of its own: of 100 batches without
        drift five are below 0.05. Nothing is seen of changes that leave the distribution of
        log-densities as it is, such as rows that move from one cluster to another of the same
        size and shape. `score` over windows says in which direction rows have moved:
        it falls if they become less likely.

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
