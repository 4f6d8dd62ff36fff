"""The share of new rows that are flagged, by how many of their cells are missing.

    python benchmarks/gaps.py [--seeds 5]

Half of a table is fitted, the other half is new. In both, a third of the rows is complete, and a
tenth, or half, of the cells of the others is missing at random. A column is in units a thousand
times as small as in the table.
"""

from __future__ import annotations

import argparse
import time
import warnings
from typing import Any

import numpy as np
from sklearn.datasets import load_breast_cancer, load_diabetes, load_digits, load_wine
from sklearn.model_selection import train_test_split

from sklearn_einet import EinetDensity, EinetOutlierDetector

GROUPS = (0.0, 0.1, 0.5)
TABLES = {
    "wine": load_wine().data,
    "breast cancer": load_breast_cancer().data,
    "diabetes": load_diabetes().data,
    "digits": load_digits().data[:, 20:44],
    "normal": np.random.RandomState(0).randn(4000, 5),
}


def shares(model: Any, X: np.ndarray, seed: int) -> tuple[list[float], list[float]]:
    """By plain log-densities and by comparable ones, the shares flagged in each group of rows; and
    CPU seconds of `score_samples` and `predict`."""
    rng = np.random.RandomState(seed)
    group = rng.randint(len(GROUPS), size=len(X))
    X = np.where(rng.rand(*X.shape) < np.array(GROUPS)[group, None], np.nan, X)
    X[:, 0] /= 1000
    train, new, _, group = train_test_split(X, group, test_size=0.5, random_state=seed)
    model.set_params(random_state=seed).fit(train)
    start = time.process_time()
    plain = model.score_samples(new)
    scored = time.process_time()
    flagged = model.predict(new) == -1
    end = time.process_time()
    # As many rows are flagged in all, to compare the groups.
    by_plain = plain < np.quantile(plain, flagged.mean())
    rows = [group == number for number in range(len(GROUPS))]
    found = [labels[some].mean() for labels in (by_plain, flagged) for some in rows]
    return found, [scored - start, end - scored]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=5)
    seeds = range(parser.parse_args().seeds)
    warnings.simplefilter("ignore")
    by_both = ["log-density: 0", "10%", "50%", "predict: 0", "10%", "50%", "CPU s"]
    print("| table | columns | model |", " | ".join(by_both), "|")
    print("|---" * (3 + len(by_both)) + "|")
    for name, X in TABLES.items():
        for model in (EinetDensity(), EinetOutlierDetector()):
            runs = [shares(model, X, seed) for seed in seeds]
            found, seconds = (np.mean([run[i] for run in runs], axis=0) for i in range(2))
            cells = [f"{share:.3f}" for share in found] + [" / ".join(f"{s:.2f}" for s in seconds)]
            print(f"| {name} | {X.shape[1]} | {type(model).__name__} |", " | ".join(cells), "|")


if __name__ == "__main__":
    main()
