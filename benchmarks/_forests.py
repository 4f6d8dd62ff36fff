"""missForest by scikit-learn's forests, for imputation.py."""

from __future__ import annotations

from typing import Any

import numpy as np
from sklearn.base import BaseEstimator
from sklearn.ensemble import RandomForestClassifier, RandomForestRegressor
from sklearn.experimental import enable_iterative_imputer  # noqa: F401
from sklearn.impute import IterativeImputer
from sklearn.preprocessing import StandardScaler

Filled = tuple[np.ndarray, list[np.ndarray]]
TREES = 30
ROUNDS = 4


class Forest(BaseEstimator):
    """A forest that classifies if all targets are whole numbers, and regresses otherwise."""

    def __init__(self, random_state: Any = None) -> None:
        self.random_state = random_state

    def fit(self, X: np.ndarray, y: np.ndarray) -> Forest:
        """Grow the trees, with the parameters of missForest except for their number."""
        whole = bool((y == np.round(y)).all())
        kind = RandomForestClassifier if whole else RandomForestRegressor
        self.forest_ = kind(
            TREES,
            max_features="sqrt",
            min_samples_leaf=1 if whole else 5,
            random_state=self.random_state,
        ).fit(X, y)
        return self

    def predict(self, X: np.ndarray) -> np.ndarray:
        """The forest's predictions."""
        return self.forest_.predict(X)


class MissForest:
    """missForest: an IterativeImputer with forests, for tables with categories as codes.

    Parameters
    ----------
    is_categorical : ndarray of bool, shape (n_columns,)
    n_states : list of int
        Categories of each column.
    seed : int
    """

    def __init__(self, is_categorical: np.ndarray, n_states: list[int], seed: int) -> None:
        self.is_categorical = is_categorical
        self.n_states = n_states
        self.imputer = IterativeImputer(
            Forest(), max_iter=ROUNDS, random_state=seed, keep_empty_features=True
        )

    def fit(self, X: np.ndarray) -> MissForest:
        """Fit the forests of all rounds."""
        self.scaler = StandardScaler().fit(X)
        self.imputer.fit(self._coded(X))
        return self

    def fill(self, X: np.ndarray) -> Filled:
        """Filled rows, and the shares of the votes in the last round."""
        coded = self.imputer.transform(self._coded(X))
        filled = np.where(self.is_categorical, coded, self.scaler.inverse_transform(coded))
        scores = [np.zeros((len(X), n)) for n in self.n_states]
        for column, others, estimator in self.imputer.imputation_sequence_[-X.shape[1] :]:
            if self.is_categorical[column]:
                seen = estimator.forest_.classes_.astype(int)
                scores[column][:, seen] = estimator.forest_.predict_proba(coded[:, others])
        return filled, scores

    def _coded(self, X: np.ndarray) -> np.ndarray:
        """Categories unchanged, numbers standardised, so that they are not whole."""
        return np.where(self.is_categorical, X, self.scaler.transform(X))
