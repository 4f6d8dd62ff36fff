"""How similar drawn rows are to real ones, for synthetic.py.

DataFrames have the same columns and categories, and numbers in float64. The measures of columns and
of pairs are those of `sdmetrics`, which computes them where it is installed; a few lines here do
elsewhere, to the same values.
"""

from __future__ import annotations

from importlib.util import find_spec
from itertools import combinations
from typing import Any

import numpy as np
import pandas as pd
from _frames import decimals, numeric, on_grid
from scipy.stats import ks_2samp
from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor
from sklearn.metrics import r2_score, roc_auc_score
from sklearn.model_selection import StratifiedKFold, cross_val_score

BINS = 10
FOLDS = 5


def ks_complement(real: pd.Series, drawn: pd.Series) -> float:
    """1 minus the largest distance between two distribution functions."""
    if find_spec("sdmetrics"):
        from sdmetrics.single_column import KSComplement

        return float(KSComplement.compute(real, drawn))
    return 1 - float(ks_2samp(real.dropna(), drawn.dropna()).statistic)


def tv_complement(real: pd.Series, drawn: pd.Series) -> float:
    """1 minus the total variation between two columns of categories."""
    if find_spec("sdmetrics"):
        from sdmetrics.single_column import TVComplement

        return float(TVComplement.compute(real.astype(object), drawn.astype(object)))
    shares = [column.value_counts(normalize=True) for column in (real, drawn)]
    return 1 - 0.5 * float((shares[0] - shares[1]).abs().sum())


def correlation_similarity(real: pd.DataFrame, drawn: pd.DataFrame) -> float:
    """1 minus half the difference of the correlations of two columns of numbers."""
    real, drawn = real.dropna(), drawn.dropna()
    if (real.nunique() < 2).any() or (drawn.nunique() < 2).any():
        return np.nan
    if find_spec("sdmetrics"):
        from sdmetrics.column_pairs import CorrelationSimilarity

        return float(CorrelationSimilarity.compute(real, drawn))
    return 1 - abs(np.corrcoef(real.T)[0, 1] - np.corrcoef(drawn.T)[0, 1]) / 2


def contingency_similarity(real: pd.DataFrame, drawn: pd.DataFrame) -> float:
    """1 minus the total variation between two pairs of columns of codes."""
    if find_spec("sdmetrics"):
        from sdmetrics.column_pairs import ContingencySimilarity

        return float(ContingencySimilarity.compute(real, drawn))
    names = list(real)
    shares = [frame.groupby(names).size() / len(frame) for frame in (real, drawn)]
    return 1 - 0.5 * float(shares[0].sub(shares[1], fill_value=0).abs().sum())


def column_shapes(real: pd.DataFrame, drawn: pd.DataFrame) -> dict[str, float]:
    """By column, the likeness of its values."""
    numbers = set(numeric(real))
    return {
        name: (ks_complement if name in numbers else tv_complement)(real[name], drawn[name])
        for name in real
    }


def pair_trends(real: pd.DataFrame, drawn: pd.DataFrame) -> float:
    """The mean likeness of all pairs of columns: of two columns of numbers by their correlation,
    of others by their shares, numbers in ten bins of the real ones' range."""
    codes = [pd.DataFrame(index=frame.index) for frame in (real, drawn)]
    numbers = set(numeric(real))
    for name in real:
        edges = np.histogram_bin_edges(real[name].dropna(), BINS)[1:-1] if name in numbers else None
        for coded, frame in zip(codes, (real, drawn), strict=True):
            x = frame[name]
            coded[name] = x.cat.codes if edges is None else np.digitize(x, edges) - 2 * x.isna()
    scores = []
    for pair in map(list, combinations(real, 2)):
        if numbers.issuperset(pair):
            scores.append(correlation_similarity(real[pair], drawn[pair]))
        else:
            scores.append(contingency_similarity(codes[0][pair], codes[1][pair]))
    return float(np.nanmean(scores))


def not_told_apart(real: pd.DataFrame, drawn: pd.DataFrame, classifier: Any) -> float:
    """1 if a classifier cannot tell rows that it has not seen apart, 0 if it always can."""
    X = pd.concat([real, drawn], ignore_index=True)
    y = np.repeat([0, 1], [len(real), len(drawn)])
    folds = StratifiedKFold(FOLDS, shuffle=True, random_state=0)
    auroc = cross_val_score(classifier, X, y, scoring="roc_auc", cv=folds).mean()
    return float(1 - 2 * max(0.0, auroc - 0.5))


def hist_gradient_boosting() -> Any:
    """The classifier of scikit-learn."""
    return HistGradientBoostingClassifier(random_state=0)


def xgboost() -> Any:
    """The classifier of XGBoost, or None if it is not installed."""
    if not find_spec("xgboost"):
        return None
    from xgboost import XGBClassifier

    return XGBClassifier(enable_categorical=True, n_jobs=1, random_state=0)


def usefulness(train: pd.DataFrame, test: pd.DataFrame, target: str, unfair: list[str]) -> float:
    """How well a model that learns from some rows predicts others: AUROC, or R2 of numbers."""
    X, X_test = (frame.drop(columns=[target, *unfair]) for frame in (train, test))
    y, y_test = train[target], test[target]
    if y.dtype != "category":
        model = HistGradientBoostingRegressor(random_state=0).fit(X, y)
        return float(r2_score(y_test, model.predict(X_test)))
    positive = y.cat.categories[-1]
    if (y == positive).nunique() < 2:
        return 0.5
    classifier = hist_gradient_boosting().fit(X, y == positive)
    return float(roc_auc_score(y_test == positive, classifier.predict_proba(X_test)[:, 1]))


def share_of_copies(rows: pd.DataFrame, of: pd.DataFrame) -> float:
    """The share of rows that agree with one of others in all cells."""
    keys = [pd.util.hash_pandas_object(frame, index=False).to_numpy() for frame in (rows, of)]
    return float(np.isin(keys[0], keys[1]).mean())


def impossible_values(drawn: pd.DataFrame, train: pd.DataFrame) -> tuple[float, float]:
    """The shares of numbers outside of their column's range, and of those beside its grid.

    A column has a grid if none of its training values has more than four decimals.
    """
    outside, beside = [], []
    for name in numeric(train):
        x = drawn[name].dropna().to_numpy()
        outside.append((x < train[name].min()) | (x > train[name].max()))
        n_decimals = decimals(train[name])
        if n_decimals is not None:
            beside.append(~on_grid(x, n_decimals))
    shares = [np.concatenate(each).mean() if each else 0.0 for each in (outside, beside)]
    return float(shares[0]), float(shares[1])
