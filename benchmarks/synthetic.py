"""Drawn rows compared with real ones: how similar, how useful, how private.

    python benchmarks/synthetic.py [--tables adult ...] [--models einet ...] [--rows 2000]

A table is read as a user would read it: categories by type, whole numbers as int, gaps left in.
Half of its rows are learned from, the others held out, and as many are drawn. `einet` is
EinetDensity with its defaults, and gaps learned, whose draws are taken as they come, `einet K=...`
the same with more densities of each group of columns. The rivals:

- ARF: an adversarial random forest (arfpy), 30 trees.
- TVAE, CTGAN: networks of `ctgan`, 300 epochs.
- Gaussian copula: `copulas`, beta margins.
- independent columns: the training rows, each column shuffled by itself.
- training rows: the training rows themselves, which no model beats except in privacy.

They know neither gaps nor grids. As SDV does, gaps of numbers are filled with the mean and put back
at random, a missing category is a category, and the numbers that they draw are cut to the range of
their column and rounded to its decimals.

Measures, of drawn rows beside held-out ones:

- shapes, pairs: likeness of columns and of pairs of them, means, as of sdmetrics: 1 minus the
  Kolmogorov-Smirnov distance of numbers, 1 minus the total variation of categories; of pairs of
  numbers 1 minus half the difference of their correlations, of other pairs 1 minus the total
  variation (numbers in ten bins). Missing cells do not count in columns.
- worst KS: the largest Kolmogorov-Smirnov distance of a column of numbers.
- HistGB, XGBoost: 1 - 2 max(0, AUROC - 1/2) of classifiers that tell drawn rows from held-out ones,
  in five-fold cross-validation. 1: they cannot.
- useful, useful: real: AUROC of income and survival, R2 of house values, rented bikes and quality,
  of HistGradientBoosting on held-out rows, having learned from drawn and from training rows.
- copies, copies: real: the share of drawn rows that are exact copies of training rows, and the
  share of held-out rows that are.
- outside, beside: the share of drawn numbers outside of the range of the training rows, and beside
  the grid of columns with at most four decimals.
- fit, draw: seconds of CPU time.

Finished runs are kept in synthetic.csv and not repeated. Needs the benchmark data. Models whose
library is missing are skipped, and so is XGBoost. Give it one thread by OMP_NUM_THREADS=1, as
seconds of all threads add up.
"""

from __future__ import annotations

import argparse
import csv
import time
import warnings
from collections.abc import Sequence
from itertools import product
from pathlib import Path
from typing import Any

import pandas as pd
from _frames import TARGETS, frame_of, halves, typed_like
from _generators import MODELS, why_skipped
from _likeness import (
    column_shapes,
    hist_gradient_boosting,
    impossible_values,
    not_told_apart,
    numeric,
    pair_trends,
    share_of_copies,
    usefulness,
    xgboost,
)
from _results import finished_and_missing

RESULTS = Path(__file__).with_suffix(".csv")
KEY = ["table", "rows", "model"]
MEASURES = {
    "shapes": "shapes",
    "pairs": "pairs",
    "worst_ks": "worst KS",
    "hist_gradient_boosting": "HistGB",
    "xgboost": "XGBoost",
    "useful": "useful",
    "useful_real": "useful: real",
    "copies": "copies",
    "copies_real": "copies: real",
    "outside": "outside",
    "beside": "beside",
    "fit_seconds": "fit",
    "draw_seconds": "draw",
}
FIELDS = [*KEY, *MEASURES, "note"]


def measures(
    train: pd.DataFrame,
    held_out: pd.DataFrame,
    drawn: pd.DataFrame,
    target: str,
    unfair: list[str],
) -> dict[str, float]:
    """All measures but the seconds."""
    train, held_out, drawn = (typed_like(frame, train) for frame in (train, held_out, drawn))
    shapes = column_shapes(held_out, drawn)
    outside, beside = impossible_values(drawn, train)
    other = xgboost()
    return {
        "shapes": sum(shapes.values()) / len(shapes),
        "pairs": pair_trends(held_out, drawn),
        "worst_ks": 1 - min(shapes[name] for name in numeric(train)),
        "hist_gradient_boosting": not_told_apart(held_out, drawn, hist_gradient_boosting()),
        "xgboost": float("nan") if other is None else not_told_apart(held_out, drawn, other),
        "useful": usefulness(drawn, held_out, target, unfair),
        "useful_real": usefulness(train, held_out, target, unfair),
        "copies": share_of_copies(drawn, train),
        "copies_real": share_of_copies(held_out, train),
        "outside": outside,
        "beside": beside,
    }


def run(table: str, rows: str, model: str) -> dict[str, str]:
    """One model on one table, as it stands in the file."""
    train, held_out = halves(frame_of(table, None if rows == "all" else int(rows)))
    generator = MODELS[model]()
    start = time.process_time()
    generator.fit(train)
    fitted = time.process_time()
    drawn = generator.sample(len(held_out))
    found = {"fit_seconds": fitted - start, "draw_seconds": time.process_time() - fitted}
    found |= measures(train, held_out, drawn, *TARGETS[table])
    row = {"table": table, "rows": rows, "model": model, "note": generator.note_}
    row |= {name: f"{found[name]:.4g}" for name in MEASURES}
    print("finished:", table, model, flush=True)
    return row


def print_table(rows: Sequence[dict[str, Any]]) -> None:
    """Print the results, table by table, in the order of the models."""
    order = list(MODELS)
    print("| table | rows | model |", " | ".join(MEASURES.values()), "|")
    print("|" + "---|" * (3 + len(MEASURES)))
    tables = list(TARGETS)
    place = {id(row): (tables.index(row["table"]), row["rows"]) for row in rows}
    for row in sorted(rows, key=lambda row: (*place[id(row)], order.index(row["model"]))):
        cells = [row[name] for name in KEY] + [shown(name, row[name]) for name in MEASURES]
        print("|", " | ".join(cells), "|")


def shown(name: str, value: str) -> str:
    """A measure as it stands in the printed table."""
    if "seconds" in name:
        return f"{float(value):.3g}"
    return "-" if value == "nan" else f"{float(value):.3f}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--tables", nargs="+", default=list(TARGETS), choices=list(TARGETS))
    parser.add_argument("--models", nargs="+", default=list(MODELS), choices=list(MODELS))
    parser.add_argument("--rows", type=int, help="at most so many rows of a table; default: all")
    arguments = parser.parse_args()
    warnings.simplefilter("ignore")
    reasons = [why_skipped(name) for name in arguments.models]
    print(*filter(None, reasons), sep="\n")
    models = [m for m, why in zip(arguments.models, reasons, strict=True) if why is None]
    n_rows = "all" if arguments.rows is None else str(arguments.rows)
    tasks = product(arguments.tables, [n_rows], models)
    finished_and_missing(RESULTS, FIELDS, KEY, tasks, run)
    # Other processes may have added rows.
    with RESULTS.open() as file:
        print_table(list(csv.DictReader(file)))


if __name__ == "__main__":
    main()
