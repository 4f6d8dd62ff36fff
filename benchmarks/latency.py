"""CPU time of queries of one row and of ten, as a served model answers them.

    OMP_NUM_THREADS=1 python benchmarks/latency.py

Models of the 4,177 rows of abalone (benchmark data), from a DataFrame with its column of
categories, and from an array of its 8 other columns; scikit-learn's have the array, or a DataFrame
of those. Every query of every table takes its turn in each of 30 rounds, and is called three times
then, of which the last one counts; the figures are medians, milliseconds of CPU time. Rows to be
imputed have two gaps.

For the second table, a new process loads a pickled model and queries it with one row, twice;
medians of three processes.
"""

from __future__ import annotations

import pickle
import warnings
from collections.abc import Callable
from functools import partial
from multiprocessing import get_context
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from _frames import frame_of, numeric
from _timing import timed
from sklearn.ensemble import IsolationForest
from sklearn.experimental import enable_iterative_imputer  # noqa: F401
from sklearn.impute import IterativeImputer, KNNImputer
from sklearn.mixture import GaussianMixture

from sklearn_einet import EinetDensity, EinetImputer

ROUNDS, CALLS, PROCESSES = 30, 3, 3
SIZES = {"one row": 1, "ten rows": 10}
KINDS = ["array", "frame"]

# Whose first calls are measured.
SERVED = [
    "EinetDensity.score_samples",
    "EinetDensity.feature_scores",
    "EinetImputer.transform",
    "IsolationForest.score_samples",
    "GaussianMixture.score_samples",
]


class Query(NamedTuple):
    """A model, fitted to a table of each kind, and what it is asked."""

    models: dict[str, Any]
    method: str
    rows: dict[str, Any]

    def of(self, kind: str, n_rows: int) -> tuple[Any, str, Any]:
        """The model, the method, and the rows."""
        return self.models[kind], self.method, self.rows[kind][:n_rows]


def with_gaps(rows: Any) -> Any:
    """Ten rows without two of their numbers."""
    result = rows[:10].copy()
    if isinstance(result, pd.DataFrame):
        result.iloc[:, 1:3] = np.nan
    else:
        result[:, 1:3] = np.nan
    return result


def queries() -> dict[str, Query]:
    """All queries by name."""
    frame = frame_of("abalone")
    numbers = frame[numeric(frame)]
    ours = {"array": numbers.to_numpy(float), "frame": frame}
    theirs = {"array": ours["array"], "frame": numbers.astype(float)}
    density = {kind: EinetDensity(random_state=0).fit(X) for kind, X in ours.items()}
    imputer = {kind: EinetImputer(random_state=0).fit(X) for kind, X in ours.items()}
    methods = ["score_samples", "predict", "predict_proba", "feature_scores"]
    result = {f"EinetDensity.{method}": Query(density, method, ours) for method in methods}
    gaps = {kind: with_gaps(X) for kind, X in ours.items()}
    result["EinetImputer.transform"] = Query(imputer, "transform", gaps)
    gaps = {kind: with_gaps(X) for kind, X in theirs.items()}
    for model, asked, rows in (
        (IsolationForest(random_state=0), ["score_samples", "predict"], theirs),
        (GaussianMixture(8, random_state=0), ["score_samples", "predict_proba"], theirs),
        (KNNImputer(), ["transform"], gaps),
        (IterativeImputer(random_state=0), ["transform"], gaps),
    ):
        models = {kind: pickle.loads(pickle.dumps(model)).fit(X) for kind, X in theirs.items()}
        for method in asked:
            result[f"{type(model).__name__}.{method}"] = Query(models, method, rows)
    return result


def cpu_ms(function: Callable[[Any], Any], rows: Any) -> float:
    """Milliseconds of CPU time of a call."""
    return 1e3 * timed(partial(function, rows))[1]


def first_calls(pickled: bytes) -> tuple[float, float]:
    """Milliseconds of the first and the second call of a model."""
    warnings.simplefilter("ignore")
    model, method, rows = pickle.loads(pickled)
    first, second = (cpu_ms(getattr(model, method), rows) for _ in range(2))
    return first, second


def warm_table(asked: dict[str, Query]) -> None:
    """Print what calls cost that are not the first."""
    calls = [
        (getattr(model, method), rows)
        for query in asked.values()
        for kind in KINDS
        for n_rows in SIZES.values()
        for model, method, rows in [query.of(kind, n_rows)]
    ]
    found = [[[cpu_ms(*call) for _ in range(CALLS)][-1] for call in calls] for _ in range(ROUNDS)]
    columns = [f"{size}, {kind}" for kind in KINDS for size in SIZES]
    print(f"| ms | {' | '.join(columns)} |")
    print("|" + "---|" * (1 + len(columns)))
    medians = np.median(found, axis=0).reshape(len(asked), -1)
    for name, line in zip(asked, medians, strict=True):
        print(f"| {name} | {' | '.join(f'{each:.2f}' for each in line)} |", flush=True)


def cold_table(asked: dict[str, Query]) -> None:
    """Print what the first calls in other processes cost."""
    columns = [f"{call} call, {kind}" for kind in KINDS for call in ("first", "second")]
    print(f"\n| ms | {' | '.join(columns)} |")
    print("|" + "---|" * (1 + len(columns)))
    with get_context("spawn").Pool(1, maxtasksperchild=1) as pool:
        for name in SERVED:
            query = asked[name]
            line: list[float] = []
            for kind in KINDS:
                pickled = pickle.dumps(query.of(kind, 1))
                found = [pool.apply(first_calls, (pickled,)) for _ in range(PROCESSES)]
                line += np.median(found, axis=0).tolist()
            print(f"| {name} | {' | '.join(f'{each:.1f}' for each in line)} |", flush=True)


def main() -> None:
    warnings.simplefilter("ignore")
    asked = queries()
    warm_table(asked)
    cold_table(asked)


if __name__ == "__main__":
    main()
