"""Einet: the outlier detector as a detector of pyod."""

from __future__ import annotations

from typing import Any

import numpy as np
from sklearn.base import clone
from sklearn.utils.validation import check_is_fitted

from sklearn_einet.estimators.base import BaseEinet, restores_on_failure
from sklearn_einet.estimators.detector import EinetOutlierDetector
from sklearn_einet.estimators.documentation import DocumentationLink

try:
    from pyod.models.base import BaseDetector
except ImportError as error:
    raise ImportError(
        'sklearn_einet.contrib.pyod needs pyod. Run: pip install "sklearn-einet[pyod]"'
    ) from error

__all__ = ["Einet"]


class Einet(DocumentationLink, BaseDetector):
    """Outlier detection by an Einsum Network, as a detector of pyod.

    This class wraps `EinetOutlierDetector` and follows the conventions of pyod: higher scores mean
    more outlying rows, and labels are 1 for outliers and 0 for inliers. It works wherever pyod
    takes a detector, for example in ``FeatureBagging``, ``LSCP`` and ``SUOD``.

    Parameters
    ----------
    contamination : float or pyod thresholding object, default=0.1
        Expected share of outliers among the training rows, in (0, 0.5]. It sets `threshold_`, and
        does not change the scores.
    detector : EinetOutlierDetector, EinetDensity, EinetMixture or None, default=None
        The detector to wrap, with all its parameters. `fit` clones it. None means
        ``EinetOutlierDetector()``. pyod does not use its `contamination`.
    random_state : int, RandomState instance or None, default=None
        Replaces the `random_state` of `detector`, unless it is None.

    Attributes
    ----------
    detector_ : EinetOutlierDetector, EinetDensity or EinetMixture
        The fitted detector. Use it for whatever pyod has no method for, such as the p-values of
        rows and the scores of single cells.
    decision_scores_ : ndarray of shape (n_samples,)
        Outlier scores of the training rows.
    threshold_ : float
        Score above which a row is an outlier.
    labels_ : ndarray of int of shape (n_samples,)
        Labels of the training rows: 1 for outliers, 0 for inliers.

    See Also
    --------
    sklearn_einet.EinetOutlierDetector : The same detector with the interface of scikit-learn.

    Notes
    -----
    The scores are ``-detector_.decision_function(X)``, in nats, the unit of log-likelihoods. For
    rows without missing cells this is ``detector_.offset_ - detector_.score_samples(X)``. Rows with
    missing cells (NaN) are compared to typical rows with the same missing cells, so that all scores
    are on one scale.

    DataFrames, columns of categories and missing cells are accepted. pyod's ensembles convert their
    input to an array of numbers without missing cells before they pass it on.

    References
    ----------
    .. [1] R. Peharz et al., "Einsum Networks: Fast and Scalable Learning of Tractable Probabilistic
       Circuits", ICML 2020.
    .. [2] Y. Zhao, Z. Nasrullah and Z. Li, "PyOD: A Python Toolbox for Scalable Outlier Detection",
       JMLR 20, 2019.

    Examples
    --------
    >>> from pyod.utils.data import generate_data
    >>> from sklearn_einet.contrib.pyod import Einet
    >>> X, X_new, y, y_new = generate_data(
    ...     n_train=300, n_test=100, contamination=0.1, random_state=0
    ... )
    >>> detector = Einet(contamination=0.1, random_state=0).fit(X)
    >>> detector.labels_.sum()
    np.int64(30)
    >>> detector.predict([[0.0, 0.0], X[0]])
    array([1, 0])
    """

    def __init__(
        self,
        contamination: Any = 0.1,
        detector: BaseEinet | None = None,
        random_state: Any = None,
    ) -> None:
        super().__init__(contamination=contamination)
        self.detector = detector
        self.random_state = random_state

    @restores_on_failure
    def fit(self, X: Any, y: Any = None) -> Einet:
        """Fit the detector, and score and label the training rows.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Missing cells are NaN.
        y : ignored
            pyod warns if it is given.

        Returns
        -------
        self : object
        """
        if isinstance(self.contamination, int | float) and not 0 < self.contamination <= 0.5:
            raise ValueError(f"contamination must be in (0, 0.5], got {self.contamination!r}.")
        if not isinstance(self.detector, BaseEinet | None):
            raise TypeError(
                "detector must be an EinetOutlierDetector, another density of this package, or "
                f"None: got {self.detector!r}."
            )
        self._set_n_classes(y)
        detector = EinetOutlierDetector() if self.detector is None else clone(self.detector)
        if self.random_state is not None:
            detector.set_params(random_state=self.random_state)
        self.detector_ = detector.fit(X)
        # An array also for a dask collection, of which pyod knows nothing.
        self.decision_scores_ = -np.asarray(self.detector_.decision_function(X))
        self._process_decision_scores()
        return self

    def decision_function(self, X: Any) -> np.ndarray:
        """Return the outlier score of each row.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Missing cells are NaN.

        Returns
        -------
        scores : ndarray of shape (n_samples,)
            Higher means more outlying.
        """
        check_is_fitted(self, ["decision_scores_", "threshold_", "labels_"])
        scores: np.ndarray = -np.asarray(self.detector_.decision_function(X))
        return scores
