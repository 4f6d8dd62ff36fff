"""Imputation beside scikit-learn's imputers, on the UCI tables.

    python benchmarks/imputation.py [--tables abalone ...] [--imputers missForest ...]

Of each table (4000 rows at most, a quarter of them for testing) a share of all observed cells is
removed at random. The imputers are fitted to the training rows and fill the test rows; what counts
are the cells that were removed from the latter. Three random removals for each share.

Columns: the root mean squared error of numeric cells in units of their column's standard
deviation; the accuracy in categorical cells; the mean log-score of all removed cells, which is the
log-density (numeric cells, per standard deviation) or log-probability (categorical cells) that an
imputer gives to the true value.

EinetImputer has its default parameters, but is told which columns are categorical. Its
log-score is that of the exact conditional density of each cell given the observed cells of its row.
The others impute a value; categories enter them one-hot coded, numbers standardised, and the
category with the highest value is chosen. To have a log-score, they are given a normal density
around the imputed value, whose spread is the root mean squared error in the cells removed from the
training rows (to which they have had no access otherwise), and for categories the imputed
indicators, cut to [0, 1], normalised and mixed with 5% of the column's frequencies. SimpleImputer
has the columns' means and frequencies.

missForest is IterativeImputer with forests of 30 trees, for four rounds: the original has 100 trees
and up to ten rounds. Its categories are predicted as such, and scored by the votes of the trees.
The package missforest 4.2.3 was left out: its trees learn from cells that were filled before, and
on titanic it took twenty times as long and was far behind. So was hyperimpute 0.1.17: it can be
installed beside the tested versions, but its classifiers fail with scikit-learn 1.9, and what it
imputes is lost with pandas 3.

Finished runs are kept in imputation.csv and not repeated. Needs the benchmark data.
"""

from __future__ import annotations

import argparse
import time
import warnings
from collections.abc import Iterator
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
from _forests import Filled, MissForest
from _results import finished_and_missing
from _short import Figure
from _tables import SOURCES, Table, uci_table
from sklearn.exceptions import ConvergenceWarning
from sklearn.experimental import enable_iterative_imputer  # noqa: F401
from sklearn.impute import IterativeImputer, KNNImputer, SimpleImputer
from sklearn.preprocessing import StandardScaler

from sklearn_einet import EinetDensity, EinetImputer
from sklearn_einet.families import Categorical

RESULTS = Path(__file__).with_suffix(".csv")
SHARES = [0.1, 0.3, 0.5]
SEEDS = [0, 1, 2]
MAX_ROWS = 4000
SMOOTHING = 0.05
FIELDS = ["table", "share", "seed", "imputer", "rmse", "accuracy", "log_score", "seconds"]
RIVALS = {
    "SimpleImputer": lambda seed: SimpleImputer(),
    "KNNImputer": lambda seed: KNNImputer(),
    "IterativeImputer": lambda seed: IterativeImputer(random_state=seed),
}
Answer = tuple[np.ndarray, np.ndarray]  # imputed values, log-scores of the true values


def removed_cells(X: np.ndarray, share: float, random_state: np.random.RandomState) -> np.ndarray:
    """A mask of observed cells to remove."""
    return (random_state.random_sample(X.shape) < share) & ~np.isnan(X)


def by_einet(
    table: Table, gaps: tuple[np.ndarray, np.ndarray], truth: np.ndarray, seed: int
) -> Answer:
    """Impute and score by EinetImputer."""
    train, test = gaps
    # Told how many categories there are, as some may be in test rows only.
    n_states = np.nanmax(table.X, axis=0) + 1
    leaf = {
        Categorical(int(n)): np.flatnonzero(table.is_categorical & (n_states == n))
        for n in np.unique(n_states[table.is_categorical])
    }
    imputer = EinetImputer(EinetDensity(leaf=leaf, random_state=seed)).fit(train)
    filled = imputer.transform(test)
    density = imputer.density_
    log_scores = np.full(test.shape, np.nan)
    of_evidence = density.score_samples(test)
    for column in range(test.shape[1]):
        rows = np.flatnonzero(np.isnan(test[:, column]) & ~np.isnan(truth[:, column]))
        if len(rows):
            one_more = test[rows].copy()
            one_more[:, column] = truth[rows, column]
            log_scores[rows, column] = density.score_samples(one_more) - of_evidence[rows]
    return filled, log_scores


def numbers_of_states(table: Table) -> list[int]:
    """How many categories each column has; 0: its values are numbers."""
    columns = zip(table.X.T, table.is_categorical, strict=True)
    return [int(np.nanmax(column)) + 1 if flag else 0 for column, flag in columns]


class OneHot:
    """Categories as indicators, numbers standardised; missing cells are NaN in both.

    For regressions the last category goes without an indicator. All indicators of a column are
    missing together and sum to 1: regressed on each other, they would stay at their means.
    """

    def __init__(self, table: Table, train: np.ndarray, drop_last: bool) -> None:
        self.is_categorical = table.is_categorical
        self.drop_last = drop_last
        self.n_states = numbers_of_states(table)
        self.scaler = StandardScaler().fit(train)

    def encode(self, X: np.ndarray) -> np.ndarray:
        """The wide table."""
        scaled, parts = self.scaler.transform(X), []
        for j, n in enumerate(self.n_states):
            if n:
                indicators = (X[:, [j]] == np.arange(n)).astype(float)
                indicators = np.where(np.isnan(X[:, [j]]), np.nan, indicators)
                parts.append(indicators[:, : n - self.drop_last])
            else:
                parts.append(scaled[:, [j]])
        return np.hstack(parts)

    def decode(self, wide: np.ndarray) -> Filled:
        """The table, and the scores of the categories of each column."""
        n_columns = len(self.n_states)
        values, scores, start = np.empty((len(wide), n_columns)), [], 0
        for j, n in enumerate(self.n_states):
            width = n - self.drop_last if n else 1
            part = wide[:, start : start + width]
            if n and self.drop_last:
                part = np.column_stack([part, 1 - part.sum(1)])
            values[:, j] = part.argmax(1) if n else part[:, 0]
            scores.append(part)
            start += width
        decoded = self.scaler.inverse_transform(values)
        return np.where(self.is_categorical, values, decoded), scores


class OneHotImputer:
    """One of scikit-learn's imputers behind a `OneHot`, with `fit` and `fill` as in _forests.py."""

    def __init__(self, imputer: Any, table: Table, train: np.ndarray) -> None:
        self.code = OneHot(table, train, drop_last=isinstance(imputer, IterativeImputer))
        # A category that no training row has would be a column of zeros: harmless, and kept.
        if hasattr(imputer, "keep_empty_features"):
            imputer.set_params(keep_empty_features=True)
        self.imputer = imputer

    def fit(self, X: np.ndarray) -> OneHotImputer:
        """Fit the imputer to the wide table."""
        self.imputer.fit(self.code.encode(X))
        return self

    def fill(self, X: np.ndarray) -> Filled:
        """Filled rows, and the scores of the categories."""
        return self.code.decode(self.imputer.transform(self.code.encode(X)))


def by_rival(
    imputer: Any,
    table: Table,
    gaps: tuple[np.ndarray, np.ndarray],
    truths: tuple[np.ndarray, np.ndarray],
) -> Answer:
    """Impute by another than ours, and score as the module's docstring says."""
    train, test = gaps
    imputer.fit(train)
    filled_train, _ = imputer.fill(train)
    filled, scores = imputer.fill(test)
    log_scores = np.full(test.shape, np.nan)
    for j, is_categorical in enumerate(table.is_categorical):
        rows = np.isnan(test[:, j]) & ~np.isnan(truths[1][:, j])
        true = truths[1][rows, j]
        if is_categorical:
            n = scores[j].shape[1]
            counts = np.bincount(train[~np.isnan(train[:, j]), j].astype(int), minlength=n)
            frequencies = (counts + 1) / (counts.sum() + n)
            p = np.clip(scores[j][rows], 1e-12, 1)
            p = (1 - SMOOTHING) * p / p.sum(1, keepdims=True) + SMOOTHING * frequencies
            log_scores[rows, j] = np.log(p[np.arange(len(p)), true.astype(int)])
        else:
            hidden = np.isnan(train[:, j]) & ~np.isnan(truths[0][:, j])
            error = filled_train[hidden, j] - truths[0][hidden, j]
            spread = max(np.sqrt(np.mean(error**2)), 1e-9)
            z = (true - filled[rows, j]) / spread
            log_scores[rows, j] = -0.5 * z**2 - 0.5 * np.log(2 * np.pi) - np.log(spread)
    return filled, log_scores


def run(name: str, share: float, seed: int, which: str) -> dict[str, Any]:
    """One imputer on one table with one random removal."""
    table = uci_table(name, MAX_ROWS)
    rng = np.random.RandomState(seed)
    X = table.X[rng.permutation(len(table.X))]
    n_train = 3 * len(X) // 4
    removed = removed_cells(X, share, rng)
    gaps = np.where(removed, np.nan, X)
    train, test = gaps[:n_train], gaps[n_train:]
    start = time.perf_counter()
    if which == "EinetImputer":
        filled, log_scores = by_einet(table, (train, test), X[n_train:], seed)
    else:
        if which == "missForest":
            imputer = MissForest(table.is_categorical, numbers_of_states(table), seed)
        else:
            imputer = OneHotImputer(RIVALS[which](seed), table, train)
        filled, log_scores = by_rival(imputer, table, (train, test), (X[:n_train], X[n_train:]))
    seconds = time.perf_counter() - start
    here, truth = removed[n_train:], X[n_train:]
    scale = np.nanstd(X[:n_train], axis=0)
    numeric, category = here & ~table.is_categorical, here & table.is_categorical
    log_scores = log_scores + np.where(table.is_categorical, 0.0, np.log(scale))
    return {
        "table": name,
        "share": share,
        "seed": seed,
        "imputer": which,
        "rmse": np.sqrt(np.mean((((filled - truth) / scale)[numeric]) ** 2)),
        "accuracy": np.mean((filled == truth)[category]) if category.any() else np.nan,
        "log_score": np.mean(log_scores[here]),
        "seconds": seconds,
    }


def print_table(rows: list[dict[str, str]]) -> None:
    """Means over the removals, the best of each line in bold."""
    imputers = ["EinetImputer", "missForest", "IterativeImputer", "KNNImputer", "SimpleImputer"]
    imputers = [i for i in imputers if any(r["imputer"] == i for r in rows)]
    wins = dict.fromkeys(["rmse", "accuracy", "log_score"], 0)
    totals = dict(wins)
    print("| table | removed | measure |", " | ".join(imputers), "|")
    print("|" + "---|" * (3 + len(imputers)))
    for name in SOURCES:
        for share in SHARES:
            for measure in wins:
                here = [r for r in rows if r["table"] == name and float(r["share"]) == share]
                means = np.array(
                    [
                        np.mean([float(r[measure]) for r in here if r["imputer"] == i] or [np.nan])
                        for i in imputers
                    ]
                )
                # No category, or no run of ours; others that have not run are no rivals.
                if np.isnan(means[0]):
                    continue
                best = np.nanmin(means) if measure == "rmse" else np.nanmax(means)
                # A tie is a difference of less than 1%, or a hundredth of a nat.
                margin = 0.01 if measure == "log_score" else 0.01 * best
                first = np.abs(means - best) <= margin
                wins[measure] += bool(first[0])
                totals[measure] += 1
                cells = ["" if np.isnan(m) else f"{m:.3f}" for m in means]
                cells = [f"**{c}**" if f else c for c, f in zip(cells, first, strict=True)]
                print(f"| {name} | {share:.0%} | {measure} |", " | ".join(cells), "|")
    for measure, n in wins.items():
        print(f"\nEinetImputer is best or tied in {measure} on {n} of {totals[measure]} lines.")


def formatted_run(*task: Any) -> dict[str, str]:
    """A run as it stands in the file."""
    row = run(*task)
    numbers = {k: f"{row[k]:.5g}" for k in FIELDS[4:]}
    return {k: str(v) for k, v in (row | numbers).items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--tables", nargs="+", default=list(SOURCES), choices=list(SOURCES))
    imputers = ["EinetImputer", "missForest", *RIVALS]
    parser.add_argument("--imputers", nargs="+", default=imputers, choices=imputers)
    arguments = parser.parse_args()
    warnings.simplefilter("ignore", ConvergenceWarning)
    tasks = product(arguments.tables, SHARES, SEEDS, arguments.imputers)
    done = finished_and_missing(RESULTS, FIELDS, FIELDS[:4], tasks, formatted_run)
    print_table(done)


def short() -> Iterator[Figure]:
    """Cases for short.py."""
    units = {"rmse": "deviations", "accuracy": "share", "log_score": "nats"}
    for name in ("titanic", "horse_colic"):
        row = run(name, 0.3, 0, "EinetImputer")
        for measure, unit in units.items():
            yield Figure(f"{name}, 30% removed", measure.replace("_", "-"), unit, row[measure])


if __name__ == "__main__":
    main()
