"""Outlier detection on the sets of ADBench: detectors with their default parameters.

    python benchmarks/outliers.py [--sets glass ...] [--protocols one-class] [--detectors KNN ...]
                                  [--seeds 0 ...] [--only-table] [--plot FILE]

Two protocols. "unsupervised": a detector is fitted to all rows, anomalies among them, and scores
the same rows. "one-class": it is fitted to a random half of the normal rows, and scores the other
half and all anomalies. Labels are for the AUROC and the average precision alone. The seed draws
the rows, the half, and is the random_state of detectors that have one.

Sets of more than 10,000 rows are cut down to 10,000 by a stratified draw. smtp, which has 30
anomalies in 95,156 rows, keeps them all: they are ten times as frequent here.

What makes the comparison fair, and where it is not:

- No detector is tuned to a set: all have their defaults, of which two would mean nothing here.
  KernelDensity has Scott's bandwidth, not 1, and GaussianMixture, one Gaussian by default, comes
  a second time with five components. Users who can tune will rank them otherwise.
- The defaults of EinetOutlierDetector were chosen, among some dozens of candidates, by their mean
  AUROC on half of these sets (CHOICE below) with seed 0. The other half is reported apart; but
  earlier defaults had been chosen on all sets, and what was learned then was known. The other
  detectors' defaults are older than this collection. Our second line, trim=0, is for training rows
  that are known to be clean; LocalOutlierFactor gets novelty=True there.
- All detectors get the same columns, standardised by the rows to which they are fitted.
- ADBench leaves duplicate rows in (breastw, skin, smtp), and so does this. LocalOutlierFactor, for
  which they have no distance and a density without bound, suffers most.
- ECOD and COPOD rank new rows among the training rows and each other: under "one-class" they see,
  without labels, the anomalies that they score. The others score row by row.
- A fit that fails, or scores that are not finite, count as AUROC 0.5 and as the average precision
  of random scores; the table says how many there were.
- LocalOutlierFactor and those of pyod have scored the training rows when "unsupervised" fits end,
  so that their scoring takes no time. Seconds are of one process; the first fit of HBOS compiles.
- The 25 sets are not independent: satellite, satimage-2 and landsat come from the same images,
  annthyroid and thyroid from the same records. One row of the table counts them as one each; the
  test of the plot does not. Where rows and detector are not random, all seeds are the same.

--only-table runs nothing. --plot draws mean ranks over the sets, and bars over the detectors that
Nemenyi's test at 0.05 does not tell apart. Both show what --sets, --detectors, ... select.

Finished runs are kept in outliers.csv and not repeated. Needs the benchmark data.
"""

from __future__ import annotations

import argparse
import time
import warnings
from collections.abc import Callable, Iterator
from functools import lru_cache
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from _data import data_folder
from _ranks import plot_ranks
from _results import finished_and_missing
from _short import Figure
from isotree import IsolationForest as IsoTree
from pyod.models.base import BaseDetector
from pyod.models.copod import COPOD
from pyod.models.ecod import ECOD
from pyod.models.hbos import HBOS
from pyod.models.knn import KNN
from sklearn.base import BaseEstimator
from sklearn.covariance import EllipticEnvelope
from sklearn.ensemble import IsolationForest
from sklearn.metrics import average_precision_score, roc_auc_score
from sklearn.mixture import GaussianMixture
from sklearn.model_selection import train_test_split
from sklearn.neighbors import KernelDensity, LocalOutlierFactor, NearestNeighbors
from sklearn.preprocessing import StandardScaler
from sklearn.svm import OneClassSVM

from sklearn_einet import EinetDensity, EinetMixture, EinetOutlierDetector

RESULTS = Path(__file__).with_suffix(".csv")
MAX_ROWS = 10_000
# Sets with fewer anomalies keep them all when they are cut down.
MIN_ANOMALIES = 50
SETS = [
    *["annthyroid", "breastw", "cardio", "glass", "Hepatitis", "Ionosphere", "landsat"],
    *["Lymphography", "mnist", "PageBlocks", "pendigits", "Pima", "satellite", "satimage-2"],
    *["shuttle", "skin", "smtp", "thyroid", "vertebral", "Waveform", "WDBC", "Wilt", "wine"],
    *["WPBC", "yeast"],
]
# The defaults of EinetOutlierDetector were chosen on this half of the sets, drawn at random with
# related ones together (numpy's RandomState(0)), and seed 0.
CHOICE = [
    *["Ionosphere", "landsat", "mnist", "pendigits", "Pima", "satellite", "satimage-2", "skin"],
    *["smtp", "Waveform", "wine", "WPBC", "yeast"],
]
RELATED = {"satellite": "landsat", "satimage-2": "landsat", "thyroid": "annthyroid"}
PROTOCOLS = ["unsupervised", "one-class"]
OURS = [
    *["EinetOutlierDetector", "EinetOutlierDetector(trim=0)", "EinetDensity", "EinetMixture"],
]


class MeanDistance(BaseEstimator):
    """The mean distance to the nearest training rows: DTE-NP of V. Livernoche et al., "On Diffusion
    Modeling for Anomaly Detection", ICLR 2024."""

    def __init__(self, n_neighbors: int = 5) -> None:
        self.n_neighbors = n_neighbors

    def fit(self, X: np.ndarray, y: None = None) -> MeanDistance:
        """Keep the rows."""
        self.neighbors_ = NearestNeighbors(n_neighbors=min(self.n_neighbors, len(X))).fit(X)
        return self

    def score_samples(self, X: np.ndarray) -> np.ndarray:
        """Minus the mean distances; rows are neighbours of themselves, as in the paper's code."""
        mean: np.ndarray = self.neighbors_.kneighbors(X)[0].mean(axis=1)
        return -mean


DETECTORS: dict[str, Callable[[], Any]] = {
    "EinetOutlierDetector": EinetOutlierDetector,
    "EinetOutlierDetector(trim=0)": lambda: EinetOutlierDetector(trim=0),
    "EinetDensity": EinetDensity,
    "EinetMixture": EinetMixture,
    "IsolationForest": IsolationForest,
    "LocalOutlierFactor": LocalOutlierFactor,
    "OneClassSVM": OneClassSVM,
    "EllipticEnvelope": EllipticEnvelope,
    "GaussianMixture": GaussianMixture,
    "GaussianMixture(5)": lambda: GaussianMixture(5),
    "KernelDensity": lambda: KernelDensity(bandwidth="scott"),
    "ECOD": ECOD,
    "COPOD": COPOD,
    "HBOS": HBOS,
    "KNN": KNN,
    "DTE-NP": MeanDistance,
    "isotree": lambda: IsoTree(nthreads=1),
}
KEY = ["set", "protocol", "seed", "detector"]
SIZES = ["fitted", "scored", "columns"]
NUMBERS = ["auroc", "average_precision", "fit_seconds", "score_seconds"]
FIELDS = [*KEY, *SIZES, *NUMBERS, "error"]


def labelled_rows(name: str, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """The rows of a set, 10,000 at most, and which of them are anomalies."""
    with np.load(data_folder() / "adbench" / f"{name}.npz") as arrays:
        X, y = arrays["X"].astype(np.float64), arrays["y"]
    rows = np.arange(len(X))
    if len(X) <= MAX_ROWS:
        return X, y
    kept = rows[y == 1] if y.sum() < MIN_ANOMALIES else rows[:0]
    others = np.setdiff1d(rows, kept)
    size = MAX_ROWS - len(kept)
    drawn, _ = train_test_split(others, train_size=size, stratify=y[others], random_state=seed)
    rows = np.concatenate([drawn, kept])
    return X[rows], y[rows]


@lru_cache(maxsize=1)
def task(name: str, protocol: str, seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Standardised rows to fit, rows to score, and which of these are anomalies."""
    X, y = labelled_rows(name, seed)
    train, test = X, X
    if protocol == "one-class":
        train, normal = train_test_split(X[y == 0], train_size=0.5, random_state=seed)
        test = np.concatenate([normal, X[y == 1]])
        y = np.repeat([0, 1], [len(normal), len(test) - len(normal)])
    scaler = StandardScaler().fit(train)
    return scaler.transform(train), scaler.transform(test), y


def make_detector(which: str, protocol: str, seed: int) -> Any:
    """A detector that has not been fitted."""
    detector = DETECTORS[which]()
    parameters = {"random_state": seed, "random_seed": seed, "novelty": protocol == "one-class"}
    known = detector.get_params()
    return detector.set_params(**{k: v for k, v in parameters.items() if k in known})


def anomaly_scores(detector: Any, protocol: str, test: np.ndarray) -> np.ndarray:
    """Scores of the rows, higher for anomalies, as the detector's documentation has it."""
    if protocol == "unsupervised" and isinstance(detector, BaseDetector):
        return detector.decision_scores_
    if protocol == "unsupervised" and isinstance(detector, LocalOutlierFactor):
        return -detector.negative_outlier_factor_
    if isinstance(detector, BaseDetector | IsoTree):
        return detector.decision_function(test)
    return -detector.score_samples(test)


def run(name: str, protocol: str, seed: int, which: str) -> dict[str, Any]:
    """One detector on one set."""
    train, test, y = task(name, protocol, seed)
    detector, error = make_detector(which, protocol, seed), ""
    scores = np.zeros(len(y))
    times = [time.perf_counter()]
    try:
        detector.fit(train)
        times.append(time.perf_counter())
        scores = anomaly_scores(detector, protocol, test)
    except Exception as reason:  # whatever a detector raises counts as a failure
        error = " ".join(f"{type(reason).__name__}: {reason}".split())[:200]
    times.append(time.perf_counter())
    infinite = np.count_nonzero(~np.isfinite(scores))
    if infinite:
        error = f"{infinite} of {len(y)} scores are not finite"
        scores = np.zeros(len(y))
    numbers = {
        "auroc": roc_auc_score(y, scores),
        "average_precision": average_precision_score(y, scores),
        "fit_seconds": times[1] - times[0],
        "score_seconds": times[-1] - times[1],
    }
    row = {"set": name, "protocol": protocol, "seed": str(seed), "detector": which}
    row |= {"fitted": len(train), "scored": len(test), "columns": train.shape[1]}
    return row | {k: f"{v:.6g}" for k, v in numbers.items()} | {"error": error}


def run_missing(arguments: argparse.Namespace) -> None:
    """Append to the file the runs that it lacks."""
    asked = (arguments.seeds, arguments.sets, arguments.protocols, arguments.detectors)
    tasks = ((name, protocol, seed, which) for seed, name, protocol, which in product(*asked))
    finished_and_missing(RESULTS, FIELDS, KEY, tasks, run)


def per_set(runs: pd.DataFrame, number: str) -> pd.DataFrame:
    """Means over the seeds: a row for each set, a column for each detector."""
    table = runs.pivot_table(index="set", columns="detector", values=number)
    return table.reindex(
        index=[name for name in SETS if name in table.index],
        columns=[which for which in DETECTORS if which in table.columns],
    )


def line(title: str, values: pd.Series, digits: int = 3, best: float | None = None) -> str:
    """A row of a table, bold where what is shown is the best."""
    shown = ["" if np.isnan(v) else f"{v:.{digits}f}" for v in values]
    if best is not None:
        shown = [f"**{s}**" if s == f"{best:.{digits}f}" else s for s in shown]
    return " ".join([f"| {title} |", " | ".join(shown), "|"])


def print_table(runs: pd.DataFrame) -> None:
    """AUROC of one protocol, and summaries over the sets that all detectors have finished."""
    auroc = per_set(runs, "auroc")
    print("| set |", " | ".join(auroc.columns), "|")
    print("|" + "---|" * (1 + auroc.shape[1]))
    for name, values in auroc.iterrows():
        print(line(str(name), values, best=values.max()))
    auroc = auroc.dropna()
    if auroc.empty:
        return
    runs = runs[runs["set"].isin(auroc.index)]
    mean = auroc.mean()
    print(line(f"mean of {len(auroc)} sets", mean, best=mean.max()))
    groups = auroc.groupby([RELATED.get(name, name) for name in auroc.index]).mean()
    mean = groups.mean()
    print(line(f"mean, related sets as one ({len(groups)})", mean, best=mean.max()))
    rank = auroc.rank(axis=1, ascending=False).mean()
    print(line("mean rank", rank, 1, rank.min()))
    precision = per_set(runs, "average_precision").mean()
    print(line("mean average precision", precision, best=precision.max()))
    by_detector = runs.groupby("detector")
    for number in ["fit_seconds", "score_seconds"]:
        median = by_detector[number].median().reindex(auroc.columns)
        print(line(f"median {number.replace('_', ' ')}", median))
    for title, sets in (("sets of choice", CHOICE), ("other sets", sorted({*SETS} - {*CHOICE}))):
        own = runs[runs["set"].isin(sets)]
        for number in ["auroc", "average_precision"]:
            mean = per_set(own, number).mean()
            print(line(f"mean {number.replace('_', ' ')}, {title}", mean, best=mean.max()))
    failed = by_detector["error"].agg(lambda errors: (errors != "").sum()).reindex(auroc.columns)
    print(line("failed runs", failed, 0))


def print_published(runs: pd.DataFrame, protocol: str) -> None:
    """Means over the sets that both have, beside published ones of 26 methods, the best six.

    The published figures are from V. Livernoche et al., ICLR 2024: five seeds, whole sets, other
    splits and scaling, so that they compare in the mean at best.
    """
    if OURS[0] not in set(runs["detector"]):
        return
    kind = {"unsupervised": "unsup", "one-class": "semi"}[protocol]
    for number, name in (("auroc", "aucroc"), ("average_precision", "aucpr")):
        file = data_folder() / "published" / f"adbench_dte_{kind}_{name}.csv"
        published = pd.read_csv(file).set_index("dataset").drop(columns=["n", "d"]) / 100
        ours = per_set(runs, number)[OURS[0]].dropna()
        common = [s for s in ours.index if s.lower() in published.index]
        theirs = published.loc[[s.lower() for s in common]]
        best = theirs.mean().sort_values(ascending=False)[:6]
        cells = [f"{which} {value:.3f}" for which, value in best.items()]
        text = f"{OURS[0]} {ours[common].mean():.3f}; published: {', '.join(cells)}"
        print(f"\n{number.replace('_', ' ')} on the {len(common)} common sets: {text}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--sets", nargs="+", default=SETS, choices=SETS)
    parser.add_argument("--protocols", nargs="+", default=PROTOCOLS, choices=PROTOCOLS)
    parser.add_argument("--detectors", nargs="+", default=list(DETECTORS), choices=list(DETECTORS))
    parser.add_argument("--seeds", nargs="+", type=int, default=list(range(5)))
    parser.add_argument("--only-table", action="store_true")
    parser.add_argument("--plot", type=Path, metavar="FILE")
    arguments = parser.parse_args()
    # Of covariances that are singular, of training that stops early, and of divisions by zero.
    warnings.simplefilter("ignore")
    if not arguments.only_table:
        run_missing(arguments)
    runs = pd.read_csv(RESULTS, keep_default_na=False)
    for key in KEY:
        runs = runs[runs[key].isin(getattr(arguments, f"{key}s"))]
    asked = np.prod([len(getattr(arguments, f"{key}s")) for key in KEY])
    print(f"{len(runs)} of {asked} runs finished")
    for protocol, of_protocol in runs.groupby("protocol", sort=False):
        print(f"\n{protocol}\n")
        print_table(of_protocol)
        print_published(of_protocol, str(protocol))
    if arguments.plot:
        panels = {str(p): per_set(own, "auroc").dropna() for p, own in runs.groupby("protocol")}
        plot_ranks({p: panels[p] for p in PROTOCOLS if p in panels}, OURS, arguments.plot)


def short() -> Iterator[Figure]:
    """Cases for short.py."""
    for name, protocol in product(["glass", "WDBC"], PROTOCOLS):
        for which in OURS[:2]:
            row = run(name, protocol, 0, which)
            yield Figure(f"{name}, {protocol}", which, "AUROC", float(row["auroc"]))


if __name__ == "__main__":
    main()
