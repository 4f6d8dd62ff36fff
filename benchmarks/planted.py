"""Planted outliers: are they found, how many false alarms are there, and are the reasons right?

    python benchmarks/planted.py [--rows 3000] [--new 300] [--seeds 3]

Half of a table is for training, the rest are new rows.

First table: outliers are put among the training rows, as a share of all of them. "far" ones are
independent normal numbers of three times the columns' standard deviations, "group" ones lie close
to one point four standard deviations away. Shown are the AUROC of new rows against new outliers of
the kind, IsolationForest's, and how many of the clean new rows are labelled outliers by the default
contamination="auto", which should be a tenth. Means over the seeds.

Second table: one, two or three cells of a typical new row are replaced by those of other rows, each
of another one, and further away than one standard deviation (another category). Counted are rows
that are labelled outliers by it. `explain` names some cells; the other methods sort the cells, and
the first ones are taken, as many as were planted: `feature_scores`, as quantiles among the training
rows' in the column; the tail probabilities of ECOD; and the Shapley values of IsolationForest (by
shap). Shown is the share of the cells taken that were planted, of `explain` the share of the
planted that it names, too, and the share of rows of which it names none but planted ones. Libraries
that are missing are left out, and so are methods that take no categories.

Needs the benchmark data.
"""

from __future__ import annotations

import argparse
import warnings
from collections.abc import Callable
from itertools import product
from typing import Any

import numpy as np
import pandas as pd
from _frames import frame_of, numeric
from sklearn.ensemble import IsolationForest
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import train_test_split

from sklearn_einet import EinetOutlierDetector

TABLES = ["wine", "california", "adult"]
SHARES = [0.0, 0.01, 0.05, 0.1, 0.2]


def planted_rows(kind: str, n: int, usual: np.ndarray, rng: np.random.RandomState) -> np.ndarray:
    """Outliers of the given kind, for a table of numbers."""
    mean, spread = usual.mean(axis=0), usual.std(axis=0)
    if kind == "far":
        return mean + 3 * spread * rng.standard_normal((n, usual.shape[1]))
    # The same point for training and for new rows.
    direction = np.random.RandomState(0).standard_normal(usual.shape[1])
    center = mean + 4 * spread * direction / np.abs(direction).max()
    return center + 0.1 * spread * rng.standard_normal((n, usual.shape[1]))


def found(X: np.ndarray, kind: str, share: float, n_new: int, seed: int) -> list[float]:
    """AUROC of our detector and of IsolationForest, and our share of false alarms."""
    rng = np.random.RandomState(seed)
    train, new = train_test_split(X, test_size=0.5, random_state=seed)
    n_planted = round(share * len(train) / (1 - share))
    rows = np.r_[train, planted_rows(kind, n_planted, train, rng)]
    test = np.r_[new, planted_rows(kind, n_new, train, rng)]
    y = np.repeat([0, 1], [len(new), n_new])
    ours = EinetOutlierDetector(random_state=seed).fit(rows)
    forest = IsolationForest(random_state=seed).fit(rows)
    areas = [roc_auc_score(y, -model.score_samples(test)) for model in (ours, forest)]
    return [*areas, float((ours.predict(new) == -1).mean())]


def print_found(arguments: argparse.Namespace) -> None:
    """The first table."""
    print("| table | outliers | share | AUROC | IsolationForest | false alarms |")
    print("|---|---|---|---|---|---|")
    for name in ("wine", "california"):
        frame = frame_of(name, arguments.rows)
        X = frame[numeric(frame)].dropna().to_numpy(np.float64)
        for kind, share in product(("far", "group"), SHARES):
            runs = [found(X, kind, share, arguments.new, s) for s in range(arguments.seeds)]
            ours, forest, alarms = np.mean(runs, axis=0)
            print(f"| {name} | {kind} | {share:.0%} | {ours:.3f} | {forest:.3f} | {alarms:.3f} |")


def with_swapped_cells(
    rows: pd.DataFrame, source: pd.DataFrame, n_cells: int, rng: np.random.RandomState
) -> tuple[pd.DataFrame, np.ndarray]:
    """Rows with cells of others, and which cells these are."""
    rows = rows.reset_index(drop=True).copy()
    is_planted = np.zeros(rows.shape, dtype=bool)
    spread = source.std(numeric_only=True)
    for i in range(len(rows)):
        for j in rng.permutation(rows.shape[1])[:n_cells]:
            name, own = rows.columns[j], rows.iat[i, j]
            values = source[name]
            if name in spread:
                values = values[(values - own).abs() > spread[name]]
            else:
                values = values[values.notna() & (values != own)]
            if len(values):
                rows.iat[i, j] = values.iloc[rng.randint(len(values))]
                is_planted[i, j] = True
    return rows, is_planted


def quantiles(scores: np.ndarray, usual: np.ndarray) -> np.ndarray:
    """Of each score, its quantile among those of the same column."""
    columns = [
        np.searchsorted(np.sort(own[~np.isnan(own)]), column)
        / max(1, np.count_nonzero(~np.isnan(own)))
        for column, own in zip(scores.T, usual.T, strict=True)
    ]
    return np.where(np.isnan(scores), -1.0, np.column_stack(columns)) + 1e-9 * np.nan_to_num(scores)


def by_feature_scores(model: Any, train: pd.DataFrame, rows: pd.DataFrame) -> np.ndarray:
    """The cells' scores, comparable between columns."""
    return quantiles(*(model.feature_scores(each).to_numpy() for each in (rows, train)))


def by_ecod(model: Any, train: pd.DataFrame, rows: pd.DataFrame) -> np.ndarray:
    """The cells' tail probabilities."""
    from pyod.models.ecod import ECOD

    detector = ECOD().fit(train.to_numpy(np.float64))
    detector.decision_function(rows.to_numpy(np.float64))
    return detector.O[-len(rows) :]


def by_shap(model: Any, train: pd.DataFrame, rows: pd.DataFrame) -> np.ndarray:
    """The cells' contributions to the forest's score."""
    import shap

    forest = IsolationForest(random_state=0).fit(train.to_numpy(np.float64))
    return -shap.TreeExplainer(forest).shap_values(rows.to_numpy(np.float64))


SORTS: dict[str, Callable[[Any, pd.DataFrame, pd.DataFrame], np.ndarray]] = {
    "feature_scores": by_feature_scores,
    "ECOD": by_ecod,
    "shap": by_shap,
}


def share_of_first(scores: np.ndarray, is_planted: np.ndarray) -> float:
    """Of the highest cells of each row, as many as were planted, the share that was planted."""
    rank = np.argsort(np.argsort(-scores, axis=1), axis=1)
    taken = rank < is_planted.sum(axis=1, keepdims=True)
    return float(is_planted[taken].mean())


def print_reasons(arguments: argparse.Namespace) -> None:
    """The second table."""
    print(
        "| table | planted | outliers | explain | planted that it names | rows | "
        + " | ".join(SORTS)
        + " |"
    )
    print("|" + "---|" * (6 + len(SORTS)))
    for name in TABLES:
        frame = frame_of(name, arguments.rows)
        if name != "adult":  # numbers, for methods that take nothing else
            frame = frame[numeric(frame)]
        train, new = train_test_split(frame, test_size=0.5, random_state=0)
        model = EinetOutlierDetector(random_state=0).fit(train)
        usual = new[model.predict(new) == 1][: arguments.new]
        for n_cells in (1, 2, 3):
            rng = np.random.RandomState(n_cells)
            rows, is_planted = with_swapped_cells(usual, frame, n_cells, rng)
            outliers = np.flatnonzero(model.predict(rows) == -1)
            rows, is_planted = rows.iloc[outliers].reset_index(drop=True), is_planted[outliers]
            reasons = model.explain(rows)
            named = np.zeros_like(is_planted)
            named[reasons["row"], frame.columns.get_indexer(reasons["column"])] = True
            cells = [f"{is_planted[named].mean():.3f}", f"{named[is_planted].mean():.3f}"]
            cells.append(f"{(~named | is_planted).all(axis=1).mean():.3f}")
            cells += [sorted_share(sort, model, train, rows, is_planted) for sort in SORTS]
            n_new = len(usual)
            head = f"| {name} | {n_cells} | {len(rows)} of {n_new} | "
            print(head + " | ".join(cells) + " |")


def sorted_share(
    sort: str, model: Any, train: pd.DataFrame, rows: pd.DataFrame, is_planted: np.ndarray
) -> str:
    """The entry of the table for a method; empty where the method cannot be used."""
    if sort != "feature_scores":
        if len(numeric(train)) < train.shape[1]:
            return ""
        train, rows = (each.fillna(train.median()) for each in (train, rows))
    try:
        return f"{share_of_first(SORTS[sort](model, train, rows), is_planted):.3f}"
    except ModuleNotFoundError:
        return ""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, default=3000)
    parser.add_argument("--new", type=int, default=300)
    parser.add_argument("--seeds", type=int, default=3)
    arguments = parser.parse_args()
    warnings.simplefilter("ignore")
    print_found(arguments)
    print()
    print_reasons(arguments)


if __name__ == "__main__":
    main()
