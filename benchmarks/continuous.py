"""Continuous tables: test log-likelihood beside scikit-learn's densities.

    python benchmarks/continuous.py [--tables abalone ...] [--models KernelDensity ...] [--seeds 0]
                                    [--dequantized]

The numeric columns of UCI tables and the normal rows of ADBench's, without duplicate rows, 10,000
rows at most. A fifth of the rows, at random, is for testing. All models see the same rows,
standardised by the training rows; log-densities are in those units. Each model's parameters are
those of its grid below with the best mean log-density in three-fold cross-validation on the
training rows, to which it is then fitted once more; seconds are for all of that. These have no
grid and are fitted once:

- "default": EinetDensity with its defaults.
- "GaussianMixture, BIC": 1 to 32 components and all covariance types, by BIC, with
  reg_covar=1e-6. A covariance type ends where eight more components have not lowered its BIC.
- "spline flow": zuko's neural spline flow, two hidden layers of 64; Adam for 3,000 steps at most,
  in float32, and a tenth of the rows held out to stop early.
- "arf": arfpy's adversarial random forest, 30 trees. A tenth of the rows is held out and chooses
  the least deviation in a leaf.

"vine copula" is pyvinecopulib's, with kernel margins; cross-validation chooses between kernel pair
copulas and parametric ones beside them. Student's and the families of two parameters are left out:
they take 20 times as long. Models whose libraries are not installed are skipped.

What makes the comparison fair, and where it is not:

- Values that repeat have no density: a model gains without limit by narrow peaks on them, so that
  only the lower bounds on variances would be compared. Columns with fewer than 20 values, or of
  which one value has more than a tenth of the rows, are left out, and so are whole sets of which
  little is left (shuttle, mnist, breastw). Still, most columns are rounded: `values` in the table
  is the number of distinct values of the column that has the fewest. No noise is added, unless
  --dequantized asks for the same table with it: columns whose values are multiples of a step (the
  smallest distance, or else the largest of which nine tenths of the rows are multiples) get uniform
  noise of half that step to both sides, and thereby a density. Other columns, ratios for example,
  stay.
- The same goes for columns that are linear functions of columns before them (residual below 0.01
  standard deviations): they are left out, and bike's apparent temperature, a rounded function of
  the weather. Rows enter once, so that no test row is a training row.
- GaussianMixture and EinetDensity have floors of variances of the same kind: reg_covar and
  min_variance are shares of a column's variance here. KernelDensity has no use for bandwidths as
  narrow. `spread` in the second table: a tenth of GaussianMixture has components with at most
  that standard deviation in some direction; the bandwidth; the floor of EinetDensity. Where it is
  far below the distance of rounded values, the gain comes from ties.
- GaussianMixture and KernelDensity use all training rows; EinetDensity holds out a tenth of them
  to stop early. A fit that fails counts as -inf.
- The margins of vine copulas and the leaves of forests can end where test rows are: both are mixed
  with a thousandth of a wide density.
- Few test rows far from all training rows can rule the mean and its error: hence the median, too.

Of several tables from the same images or records only one is used. Finished runs are kept in
continuous.csv and not repeated. Needs the benchmark data.
"""

from __future__ import annotations

import argparse
import json
import time
import warnings
from collections.abc import Iterator
from importlib.util import find_spec
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from _data import data_folder
from _results import finished_and_missing
from _rivals import AdversarialForest, BICMixture, SplineFlow, VineCopula
from _short import Figure
from sklearn.base import clone
from sklearn.decomposition import PCA
from sklearn.mixture import GaussianMixture
from sklearn.model_selection import GridSearchCV, KFold, train_test_split
from sklearn.neighbors import KernelDensity
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import StandardScaler

from sklearn_einet import EinetDensity

RESULTS = Path(__file__).with_suffix(".csv")
FOLDS = 3
MAX_ROWS = 10_000
MIN_VALUES = 20
MAX_SHARE = 0.1
MIN_RESIDUAL = 0.01
MIN_ON_GRID = 0.9
# Files of the folder uci, and columns that are row numbers, codes, or functions of others.
UCI = {
    "abalone": ("abalone.csv", []),
    "bike": ("bike_sharing_hour.csv.gz", ["instant", "mnth", "hr", "atemp", "cnt"]),
    "california": ("california_housing.csv.gz", []),
    "wine": ("winequality.csv", []),
}
ADBENCH = [
    *["annthyroid", "cardio", "glass", "Ionosphere", "landsat", "PageBlocks", "pendigits", "Pima"],
    *["skin", "vertebral", "Waveform", "WDBC", "Wilt", "WPBC", "yeast"],
]
TABLES = [*UCI, *ADBENCH]
# Each model with the grid from which cross-validation chooses, if any. Those of EinetDensity are
# searched apart, so that the table shows what the structure does; "EinetDensity" is, for each
# split, the winner with the best score in cross-validation.
FLOORS = [1e-6, 1e-4, 1e-2, 1e-1]
MODELS: dict[str, tuple[Any, Any]] = {
    "GaussianMixture": (
        GaussianMixture(),
        {
            "n_components": [1, 2, 4, 8, 16, 32],
            "covariance_type": ["full", "diag", "tied"],
            "reg_covar": FLOORS,
        },
    ),
    "GaussianMixture, BIC": (BICMixture(), None),
    "KernelDensity": (KernelDensity(), {"bandwidth": list(np.geomspace(0.03, 3, 15).round(4))}),
    "vine copula": (VineCopula(), {"pairs": ["kernel, constant", "kernel, quadratic", "all"]}),
    "spline flow": (SplineFlow(), None),
    "arf": (AdversarialForest(), None),
    "default": (EinetDensity(), None),
    "normals and tree": (
        EinetDensity(),
        [
            {"K": [32], "covariance_shrinkage": [0.5, 5.0]},
            {"K": [64], "min_variance": [1e-4]},
        ],
    ),
    "random trees": (
        EinetDensity(structure="binary-trees", numeric_transform=None),
        {"K": [32], "min_variance": [1e-4, 1e-2]},
    ),
    "learned trees": (
        EinetDensity(structure="chow-liu", numeric_transform=None),
        [
            {"K": [64], "min_variance": [1e-4, 1e-2]},
            {"K": [32], "replicas": [5], "min_variance": [1e-4, 1e-2]},
        ],
    ),
    # Rotation keeps volumes: the density is one of the same columns.
    "rotated": (
        Pipeline(
            [
                ("pca", PCA()),
                (
                    "density",
                    EinetDensity(replicas=5, structure="chow-liu", numeric_transform=None),
                ),
            ]
        ),
        {"density__min_variance": [1e-4, 1e-2]},
    ),
}
OURS = ["normals and tree", "random trees", "learned trees", "rotated"]
LIBRARIES = {"vine copula": "pyvinecopulib", "spline flow": "zuko", "arf": "arfpy"}
KEY = ["table", "noise", "model", "seed"]
NUMBERS = ["rows", "columns", "values", "cv", "test", "error", "median", "spread", "seconds"]
FIELDS = [*KEY, *NUMBERS, "parameters"]


def continuous_table(name: str) -> np.ndarray:
    """The rows and columns that the module's docstring says."""
    if name in UCI:
        file, dropped = UCI[name]
        frame = pd.read_csv(data_folder() / "uci" / file).drop(columns=dropped)
        X = frame.select_dtypes("number").dropna().to_numpy(np.float64)
    else:
        with np.load(data_folder() / "adbench" / f"{name}.npz") as arrays:
            X = arrays["X"][arrays["y"] == 0].astype(np.float64)
    X = np.unique(X, axis=0)
    counts = [np.unique(column, return_counts=True)[1] for column in X.T]
    X = X[:, [len(c) >= MIN_VALUES and c.max() <= MAX_SHARE * len(X) for c in counts]]
    R = np.linalg.qr(StandardScaler().fit_transform(X), mode="r")
    X = X[:, np.abs(np.diag(R)) >= MIN_RESIDUAL * np.sqrt(len(X))]
    # Again, for rows may have differed in the columns that are gone.
    X = np.unique(X, axis=0)
    return np.random.RandomState(0).permutation(X)[:MAX_ROWS]


def grid_step(column: np.ndarray) -> float:
    """The step of which values are multiples, as the module's docstring says, or 0."""
    values, counts = np.unique(column, return_counts=True)
    gaps = np.diff(values)
    rounded, times = np.unique([float(f"{gap:.6g}") for gap in gaps], return_counts=True)
    frequent = np.sort(rounded[np.argsort(-times)[:100]])[::-1]
    for step, share in [(gaps.min(), 1.0), *((gap, MIN_ON_GRID) for gap in frequent)]:
        # The mean of gaps that differ by rounding only.
        step = gaps[np.abs(gaps / step - 1) < 1e-4].mean()
        multiples = (values - values[counts.argmax()]) / step
        if counts[np.abs(multiples - np.round(multiples)) < 0.01].sum() >= share * len(column):
            return float(step)
    return 0.0


def dequantized(X: np.ndarray) -> np.ndarray:
    """The table with uniform noise of a step in width."""
    noise = np.random.RandomState(0).uniform(-0.5, 0.5, X.shape)
    return X + noise * np.array([grid_step(column) for column in X.T])


def mean_log_density(model: Any, X: np.ndarray, y: None = None) -> float:
    """`KernelDensity.score` is a sum, which folds of different sizes would weigh."""
    return float(model.score_samples(X).mean())


def spread(model: Any) -> float:
    """A low standard deviation in the model, see the module's docstring; NaN without one."""
    if isinstance(model, Pipeline):
        model = model[-1]
    if isinstance(model, (VineCopula, SplineFlow)):
        return np.nan
    if isinstance(model, AdversarialForest):
        return model.floor_
    if isinstance(model, BICMixture):
        model = model.mixture_
    if isinstance(model, KernelDensity):
        return float(model.bandwidth_)
    if isinstance(model, EinetDensity):
        floor = model.min_variance
        return np.nan if isinstance(floor, str) else float(np.sqrt(floor))
    if model.covariance_type == "tied":
        return float(np.sqrt(np.linalg.eigvalsh(model.covariances_)[0]))
    variances = model.covariances_
    if model.covariance_type == "full":
        variances = np.linalg.eigvalsh(variances)
    least = variances if variances.ndim == 1 else variances.min(axis=1)
    # Not the least of all: nearly every mixture has a component of a few outliers.
    order = np.argsort(least)
    return float(np.sqrt(least[order[np.cumsum(model.weights_[order]) >= 0.1][0]]))


def fitted(estimator: Any, grid: Any, X: np.ndarray, seed: int) -> tuple[Any, float, Any]:
    """The model, its score in cross-validation (NaN without one), and what was chosen."""
    seeds = [key for key in estimator.get_params() if key.endswith("random_state")]
    estimator = clone(estimator).set_params(**dict.fromkeys(seeds, seed))
    if grid is None:
        model = estimator.fit(X)
        return model, np.nan, getattr(model, "chosen_", {})
    search = GridSearchCV(
        estimator,
        grid,
        scoring=mean_log_density,
        cv=KFold(FOLDS, shuffle=True, random_state=seed),
        error_score=-np.inf,
    ).fit(X)
    return search.best_estimator_, search.best_score_, search.best_params_


def run(name: str, noise: str, which: str, seed: int) -> dict[str, Any]:
    """One model on one random split of one table."""
    X = continuous_table(name)
    values = min(len(np.unique(column)) for column in X.T)
    if noise == "uniform":
        X = dequantized(X)
    train, test = train_test_split(X, test_size=0.2, random_state=seed)
    scaler = StandardScaler().fit(train)
    train, test = scaler.transform(train), scaler.transform(test)
    start = time.perf_counter()
    model, cv, chosen = fitted(*MODELS[which], train, seed)
    seconds = time.perf_counter() - start
    scores = model.score_samples(test)
    numbers = {
        "rows": len(X),
        "columns": X.shape[1],
        "values": values,
        "cv": cv,
        "test": scores.mean(),
        "error": scores.std(ddof=1) / np.sqrt(len(scores)),
        "median": np.median(scores),
        "spread": spread(model),
        "seconds": seconds,
    }
    row = {"table": name, "noise": noise, "model": which, "seed": str(seed)}
    row |= {k: f"{v:.6g}" for k, v in numbers.items()}
    return row | {"parameters": json.dumps(chosen)}


def with_chosen(rows: list[dict[str, str]]) -> list[dict[str, str]]:
    """The runs, and "EinetDensity": the better of ours in cross-validation."""
    ours: dict[tuple[str, str], list[dict[str, str]]] = {}
    for row in rows:
        if row["model"] in OURS:
            ours.setdefault((row["table"], row["seed"]), []).append(row)
    pairs = [pair for pair in ours.values() if len(pair) == len(OURS)]
    best = [max(pair, key=lambda row: float(row["cv"])) for pair in pairs]
    return [*rows, *({**row, "model": "EinetDensity"} for row in best)]


def means(rows: list[dict[str, str]], quantity: str) -> dict[tuple[str, str], float]:
    """Means over the seeds, by table and model."""
    found: dict[tuple[str, str], list[float]] = {}
    for row in rows:
        found.setdefault((row["table"], row["model"]), []).append(float(row[quantity]))
    return {key: float(np.mean(numbers)) for key, numbers in found.items()}


def print_scores(rows: list[dict[str, str]], models: list[str]) -> None:
    """Means ± standard errors / medians, each in bold within 0.01 of the best."""
    test, median = means(rows, "test"), means(rows, "median")
    # Test rows of different seeds overlap: more seeds do not make it smaller.
    error = means(rows, "error")
    print("| table | rows | columns | values |", " | ".join(models), "|")
    print("|" + "---|" * (4 + len(models)))
    for name in TABLES:
        here = [r for r in rows if r["table"] == name]
        if not here:
            continue
        cells = [here[0][k] for k in ["rows", "columns", "values"]]
        best = [max(x[name, m] for m in models if (name, m) in x) for x in (test, median)]
        for key in [(name, m) for m in models]:
            if key not in test:
                cells.append("")
                continue
            shown = [f"{test[key]:.2f} ± {error[key]:.2f}", f"{median[key]:.2f}"]
            bold = [x[key] >= top - 0.01 for x, top in zip((test, median), best, strict=True)]
            cells.append(
                " / ".join(f"**{s}**" if b else s for s, b in zip(shown, bold, strict=True))
            )
        print(f"| {name} |", " | ".join(cells), "|")


def print_counts(rows: list[dict[str, str]], models: list[str]) -> None:
    """How often each model is better than the mixture of cross-validation, and its seconds."""
    test, median, seconds = (means(rows, k) for k in ["test", "median", "seconds"])
    other = "GaussianMixture"
    for model in models:
        both = [t for t in TABLES if (t, model) in test and (t, other) in test]
        if model != other and both:
            wins = [sum(x[t, model] > x[t, other] for t in both) for x in (test, median)]
            total = sum(seconds[t, model] for t in both)
            print(f"\n{model}: better than {other} (CV) on {wins[0]} of {len(both)}", end=" ")
            print(f"in the mean, {wins[1]} in the median; {total:.0f} s in all.")


def print_tables(rows: list[dict[str, str]]) -> None:
    """Scores, and how often each model wins; then what was chosen."""
    rows = with_chosen(rows)
    models = [m for m in [*MODELS, "EinetDensity"] if any(r["model"] == m for r in rows)]
    print_scores(rows, models)
    print_counts(rows, models)
    print("\n| table | seed | model | spread | seconds | parameters |")
    print("|" + "---|" * 6)
    for row in sorted(rows, key=lambda r: (TABLES.index(r["table"]), r["seed"])):
        if row["model"] in MODELS:
            chosen = ", ".join(f"{k}={v}" for k, v in json.loads(row["parameters"]).items())
            least, seconds = (float(row[k]) for k in ["spread", "seconds"])
            print(f"| {row['table']} | {row['seed']} | {row['model']} ", end="")
            print(f"| {least:.2g} | {seconds:.0f} | {chosen} |")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--tables", nargs="+", default=TABLES, choices=TABLES)
    parser.add_argument("--models", nargs="+", default=list(MODELS), choices=list(MODELS))
    parser.add_argument("--seeds", nargs="+", type=int, default=[0])
    parser.add_argument("--dequantized", action="store_true", help="add noise to rounded values")
    arguments = parser.parse_args()
    # Of failed fits, of mixtures that stop after 100 iterations, and of means of -inf.
    warnings.simplefilter("ignore")
    noise = "uniform" if arguments.dequantized else "none"
    missing = {m: name for m, name in LIBRARIES.items() if find_spec(name) is None}
    for model in sorted(missing.keys() & set(arguments.models)):
        print(f"{model}: skipped, no module {missing[model]}")
    models = [m for m in arguments.models if m not in missing]
    asked = product(arguments.seeds, arguments.tables, models)
    tasks = ((name, noise, which, seed) for seed, name, which in asked)
    done = finished_and_missing(RESULTS, FIELDS, KEY, tasks, run)
    print_tables([row for row in done if row["noise"] == noise])


def short() -> Iterator[Figure]:
    """Cases for short.py."""
    for which in OURS:
        row = run("glass", "none", which, 0)
        yield Figure(f"glass, {which}", "test log-likelihood", "nats", float(row["test"]))


if __name__ == "__main__":
    main()
