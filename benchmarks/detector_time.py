"""CPU time of a default EinetOutlierDetector beside IsolationForest.

    OMP_NUM_THREADS=1 python benchmarks/detector_time.py [--rounds 5]

Correlated normal columns; a twentieth of the rows are anomalies, which have independent columns
with nearly twice the spread. Seconds of CPU time are medians of rounds in which both take turns:
the fit of the detector, which has all that later queries need, and the fit and the scores of the
forest, both with their defaults. AUROC is that of the training rows, of the last round.
"""

from __future__ import annotations

import argparse
import warnings
from functools import partial
from itertools import product

import numpy as np
import torch
from _timing import timed
from sklearn.ensemble import IsolationForest
from sklearn.metrics import roc_auc_score

from sklearn_einet import EinetOutlierDetector

ROWS, COLUMNS = [1_000, 10_000, 50_000], [5, 20, 50]


def labelled_rows(n_rows: int, n_columns: int) -> tuple[np.ndarray, np.ndarray]:
    """Rows, and which of them are anomalies."""
    random_state = np.random.RandomState(0)
    loadings = random_state.standard_normal((n_columns, n_columns)) / np.sqrt(n_columns)
    X = random_state.standard_normal((n_rows, n_columns)) @ loadings
    X += 0.3 * random_state.standard_normal(X.shape)
    y = np.arange(n_rows) < n_rows // 20
    X[y] = 1.8 * X.std(axis=0) * random_state.standard_normal((y.sum(), n_columns))
    return X, y


def fitted_forest(X: np.ndarray, seed: int) -> IsolationForest:
    """A forest that has scored its rows."""
    forest = IsolationForest(random_state=seed).fit(X)
    forest.score_samples(X)
    return forest


def fitted_detector(X: np.ndarray, seed: int) -> EinetOutlierDetector:
    """A detector with its threshold."""
    return EinetOutlierDetector(random_state=seed).fit(X)


def compare(n_rows: int, n_columns: int, rounds: int) -> str:
    """A row of the table."""
    X, y = labelled_rows(n_rows, n_columns)
    seconds, auroc = [], []
    for seed in range(rounds):
        fits = [timed(partial(fit, X, seed)) for fit in (fitted_detector, fitted_forest)]
        seconds.append([each for _, each in fits])
        auroc = [f"{roc_auc_score(y, -model.score_samples(X)):.3f}" for model, _ in fits]
    ours, forest = np.median(seconds, axis=0)
    cells = [n_rows, n_columns, f"{ours:.2f}", f"{forest:.2f}", f"{ours / forest:.1f}", *auroc]
    return " | ".join(map(str, ["", *cells, ""])).strip()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5)
    rounds = parser.parse_args().rounds
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    fitted_detector(labelled_rows(200, 3)[0], 0)  # the first of a process loads what it needs
    print(
        "| rows | columns | EinetOutlierDetector, s | IsolationForest, s | ratio "
        "| AUROC of the detector | of the forest |"
    )
    print("|---|---|---|---|---|---|---|")
    for n_rows, n_columns in product(ROWS, COLUMNS):
        print(compare(n_rows, n_columns, rounds), flush=True)


if __name__ == "__main__":
    main()
