"""How many new rows are labelled outliers: thresholds from training rows, and from held-out ones.

    python benchmarks/p_values.py [--seeds 10]

Half of the rows of scikit-learn's tables, or of 40,000 draws from a mixture of normal densities,
are for training, the other half are new rows of the same kind. `contamination` is the share of the
training rows that are labelled outliers, so that of new rows too many are; "auto" labels those with
a p-value below 0.1, which is computed from held-out rows. Shown are the shares of new rows, which
should be 0.1, 0.1 and 0.02: means over random halves, in brackets standard deviations between them.
"""

from __future__ import annotations

import argparse
import warnings
from collections.abc import Iterator
from typing import Any

import numpy as np
from _short import Figure
from sklearn.datasets import load_breast_cancer, load_digits, load_wine, make_blobs
from sklearn.model_selection import train_test_split

from sklearn_einet import EinetDensity, EinetOutlierDetector

SHARE = 0.1
TABLES = {
    "wine": load_wine().data,
    "breast cancer": load_breast_cancer().data,
    "digits": load_digits().data,
    "blobs": make_blobs(40_000, 5, centers=8, random_state=0)[0],
}


def shares(model: Any, X: np.ndarray, seed: int) -> list[float]:
    """Of new rows, the shares labelled by contamination, by "auto", and with low p-values."""
    train, new = train_test_split(X, test_size=0.5, random_state=seed)
    model.set_params(random_state=seed, contamination=SHARE).fit(train)
    by_training_rows = (model.predict(new) == -1).mean()
    p = model.p_values(new)
    return [by_training_rows, (p < SHARE).mean(), (p < 0.02).mean()]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=10)
    seeds = range(parser.parse_args().seeds)
    warnings.simplefilter("ignore")
    print("| table | training rows | model | contamination=0.1 | p < 0.1 | p < 0.02 |")
    print("|---|---|---|---|---|---|")
    for name, X in TABLES.items():
        for model in (EinetDensity(), EinetOutlierDetector()):
            found = np.array([shares(model, X, seed) for seed in seeds])
            cells = [f"{m:.3f} ({s:.3f})" for m, s in zip(found.mean(0), found.std(0), strict=True)]
            print(f"| {name} | {len(X) // 2} | {type(model).__name__} |", " | ".join(cells), "|")


def short() -> Iterator[Figure]:
    """Cases for short.py."""
    names = ("contamination=0.1", "p < 0.1", "p < 0.02")
    for table in ("wine", "breast cancer"):
        found = np.mean([shares(EinetDensity(), TABLES[table], seed) for seed in range(2)], axis=0)
        for name, share in zip(names, found, strict=True):
            yield Figure(f"{table}, EinetDensity", name, "share", float(share))


if __name__ == "__main__":
    main()
