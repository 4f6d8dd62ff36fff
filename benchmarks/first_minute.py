"""A user's first tasks on ten tables, compared with what they use now: seconds and quality.

    OMP_NUM_THREADS=1 python benchmarks/first_minute.py [--tables diabetes ...]

Of up to 6,000 rows of every table a quarter is new, the others are learned from. Only rows without
gaps are taken, and columns of numbers in which no value has a twentieth of the rows, as the other
models are made for these only; they get them in units of standard deviations. All have their
defaults, except for the parameters that are searched:

- density: mean log-density of new rows in nats, by EinetDensity; by GaussianMixture with full
  covariances, of 1, 2, 4, ..., 32 components the number with the least BIC; by KernelDensity, the
  best of ten bandwidths in three-fold cross-validation. Of values on a grid, EinetDensity has the
  probability of a cell, divided by its width; densities of the others may exceed what is possible.
- sample: 1 - 2 max(0, AUROC - 1/2) of HistGradientBoostingClassifier that tells drawn from new rows
  in five-fold cross-validation (1: it cannot), for EinetDensity, GaussianMixture, KernelDensity.
  Seconds are those of drawing.
- outliers: a tenth of the rows of a table have cells of other rows in half of their columns, and
  are to be found among the rest: AUROC of EinetOutlierDetector and IsolationForest. Seconds are
  those of fitting and scoring the same rows.
- impute: a tenth of the cells of new rows are taken away: root mean square error in standard
  deviations, by EinetImputer, KNNImputer and IterativeImputer. Seconds are those of fitting and
  filling.
- explain: seconds of `feature_scores` for 100 rows, which the others do not offer.

Seconds are CPU time of one thread. The first three tables come with scikit-learn;
the others need the benchmark data, and are skipped without it.
"""

from __future__ import annotations

import argparse
import warnings
from functools import partial

import numpy as np
import pandas as pd
from _data import NoData, data_folder
from _likeness import hist_gradient_boosting, not_told_apart
from _tables import uci_table
from _timing import timed
from sklearn.datasets import load_breast_cancer, load_diabetes, load_wine
from sklearn.ensemble import IsolationForest
from sklearn.experimental import enable_iterative_imputer  # noqa: F401
from sklearn.impute import IterativeImputer, KNNImputer
from sklearn.metrics import roc_auc_score
from sklearn.mixture import GaussianMixture
from sklearn.model_selection import GridSearchCV
from sklearn.neighbors import KernelDensity

from sklearn_einet import EinetDensity, EinetImputer, EinetOutlierDetector

MOST_ROWS, MOST_SHARE = 6000, 0.05
BUNDLED = {
    "wine, bundled": load_wine,
    "diabetes": load_diabetes,
    "breast_cancer": load_breast_cancer,
}
UCI = ["abalone", "wine", "bike", "california"]
ADBENCH = ["Waveform", "PageBlocks", "satimage-2"]


class Parts:
    """Rows to learn from and new ones, in their own units; deviations are those of the former."""

    def __init__(self, X: np.ndarray) -> None:
        X = X[np.random.RandomState(0).permutation(len(X))][:MOST_ROWS]
        n_new = len(X) // 4
        self.train, self.new = X[n_new:], X[:n_new]
        self.mean, self.deviation = self.train.mean(0), self.train.std(0)

    def scaled(self, X: np.ndarray) -> np.ndarray:
        """Rows in units of standard deviations."""
        return (X - self.mean) / self.deviation


def table(name: str) -> Parts:
    """The columns that all models are made for."""
    X = BUNDLED[name]().data if name in BUNDLED else numbers(name)
    shares = [np.unique(x, return_counts=True)[1].max() / len(x) for x in X.T]
    return Parts(X[:, np.array(shares) < MOST_SHARE])


def numbers(name: str) -> np.ndarray:
    """The columns of numbers of a table of the benchmark data."""
    if name in ADBENCH:
        return np.load(data_folder() / "adbench" / f"{name}.npz")["X"]
    found = uci_table(name, 10**6)
    X = found.X[:, ~found.is_categorical]
    return X[~np.isnan(X).any(1)]


def best_mixture(Z: np.ndarray) -> GaussianMixture:
    """The mixture that BIC chooses."""
    sizes = [n for n in (1, 2, 4, 8, 16, 32) if n < len(Z)]
    mixtures = [GaussianMixture(n, random_state=0).fit(Z) for n in sizes]
    return min(mixtures, key=lambda mixture: mixture.bic(Z))


def best_kernels(Z: np.ndarray) -> KernelDensity:
    """The kernel density that cross-validation chooses."""
    search = GridSearchCV(KernelDensity(), {"bandwidth": np.geomspace(0.03, 2, 10)}, cv=3)
    return search.fit(Z).best_estimator_


def density_and_sample(parts: Parts) -> list[list[str]]:
    """The lines of the jobs "density" and "sample"."""
    Z, unit = parts.scaled(parts.train), np.log(parts.deviation).sum()
    density, sample = ["density, nats"], ["sample, likeness"]
    for fit, is_scaled in (
        (lambda: EinetDensity(random_state=0).fit(parts.train), False),
        (lambda: best_mixture(Z), True),
        (lambda: best_kernels(Z), True),
    ):
        model, seconds = timed(fit)
        new = parts.scaled(parts.new) if is_scaled else parts.new
        score = model.score_samples(new).mean() + (0 if is_scaled else unit)
        density.append(f"{score:.2f} ({seconds:.1f} s)")
        # A mixture draws by its own random_state.
        seed = {} if isinstance(model, GaussianMixture) else {"random_state": 0}
        drawn, seconds = timed(partial(model.sample, len(new), **seed))
        drawn = drawn[0] if isinstance(drawn, tuple) else drawn
        frames = pd.DataFrame(new), pd.DataFrame(drawn)
        likeness = not_told_apart(*frames, hist_gradient_boosting())
        sample.append(f"{likeness:.2f} ({seconds:.2f} s)")
    return [density, sample]


def outliers(parts: Parts) -> list[str]:
    """The line of the job "outliers"."""
    draws = np.random.RandomState(0)
    X, n = parts.train.copy(), len(parts.train)
    is_outlier = np.arange(n) < n // 10
    mixed = draws.rand(*X.shape).argsort(1) < max(1, X.shape[1] // 2)
    mixed &= is_outlier[:, None]
    others = np.array([draws.permutation(x) for x in X.T]).T
    X[mixed] = others[mixed]
    line = ["outliers, AUROC"]
    for model, rows in (
        (EinetOutlierDetector(random_state=0), X),
        (IsolationForest(random_state=0), X),
    ):
        score, seconds = timed(lambda model=model, rows=rows: model.fit(rows).score_samples(rows))
        line.append(f"{roc_auc_score(is_outlier, -score):.3f} ({seconds:.1f} s)")
    return line + [""]


def imputation(parts: Parts) -> list[str]:
    """The line of the job "impute"."""
    missing = np.random.RandomState(0).rand(*parts.new.shape) < 0.1
    line = ["impute, RMSE"]
    for model, is_scaled in (
        (EinetImputer(random_state=0), False),
        (KNNImputer(), True),
        (IterativeImputer(random_state=0), True),
    ):
        train, new = parts.train, np.where(missing, np.nan, parts.new)
        if is_scaled:
            train, new = parts.scaled(train), parts.scaled(new)
        filled, seconds = timed(
            lambda model=model, train=train, new=new: model.fit(train).transform(new)
        )
        error = (filled if is_scaled else parts.scaled(filled)) - parts.scaled(parts.new)
        rmse = np.sqrt((error[missing] ** 2).mean())
        line.append(f"{rmse:.3f} ({seconds:.1f} s)")
    return line


def explanation(parts: Parts) -> list[str]:
    """The line of the job "explain"."""
    model = EinetDensity(random_state=0).fit(parts.train)
    _, seconds = timed(lambda: model.feature_scores(parts.new[:100]))
    return ["explain 100 rows", f"({seconds:.2f} s)", "", ""]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--tables", nargs="+", default=[*BUNDLED, *UCI, *ADBENCH])
    warnings.simplefilter("ignore")
    print("| table | job | EiNet | mixture, forest, neighbours | kernels, regressions |")
    print("|---|---|---|---|---|")
    for name in parser.parse_args().tables:
        try:
            parts = table(name)
        except NoData as error:
            print(f"{name} is skipped: {error}")
            continue
        head = f"{name}, {len(parts.train)} x {parts.train.shape[1]}"
        lines = [
            *density_and_sample(parts),
            outliers(parts),
            imputation(parts),
            explanation(parts),
        ]
        for line in lines:
            print(f"| {head} | {' | '.join(line)} |", flush=True)


if __name__ == "__main__":
    main()
