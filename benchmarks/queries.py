"""Cost of the queries, in passes of `score_samples` over the same rows.

    python benchmarks/queries.py

10,000 rows of Gaussian noise with 100 columns, D=4, R=10, K=10; half of the cells are missing where
cells are filled. Every query takes turns with `score_samples`, three times; the ratio is that of
the fastest calls.
"""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from _short import Figure, cpu_seconds, in_products

from sklearn_einet import EinetDensity

N_ROWS, N_COLUMNS = 10_000, 100


def seconds(function: Callable[[], Any]) -> float:
    """Time of a call."""
    start = time.perf_counter()
    function()
    return time.perf_counter() - start


def queries_of(n_rows: int) -> tuple[Callable[[], Any], dict[str, Callable[[], Any]]]:
    """A pass of `score_samples` of a model, and the queries by name."""
    rng = np.random.RandomState(0)
    X = rng.randn(n_rows, N_COLUMNS)
    gaps = np.where(rng.random_sample(X.shape) < 0.5, np.nan, X)
    two = np.where(np.arange(N_COLUMNS) < 2, X, np.nan)
    parameters = {"structure": "binary-trees", "layer": "tucker", "max_iter": 1}
    model = EinetDensity(4, 10, 10, **parameters, random_state=0).fit(X)
    queries: dict[str, Callable[[], Any]] = {
        "conditional_score_samples": lambda: model.conditional_score_samples(X, range(50)),
        'feature_scores, "conditional"': lambda: model.feature_scores(X),
        'feature_scores, "marginal"': lambda: model.feature_scores(X, method="marginal"),
        "sample_conditional": lambda: model.sample_conditional(gaps, random_state=0),
        "sample_conditional, 100 draws of 100 rows": lambda: model.sample_conditional(
            gaps[:100], n_draws=100, random_state=0
        ),
        'impute, "mean"': lambda: model.impute(gaps),
        'impute, "mpe"': lambda: model.impute(gaps, strategy="mpe"),
        "interval_log_proba, 2 bounded columns": lambda: model.interval_log_proba(two, two + 1),
        "interval_log_proba, 100 bounded columns": lambda: model.interval_log_proba(X, X + 1),
        "sample": lambda: model.sample(n_rows, random_state=0),
        "covariance": model.covariance,
        "marginal, 10 columns": lambda: model.marginal(range(10)),
    }
    return lambda: model.score_samples(X), queries


def main() -> None:
    warnings.simplefilter("ignore")
    one_pass, queries = queries_of(N_ROWS)
    print("| query | seconds | passes |")
    print("|---|---|---|")
    for name, query in queries.items():
        rounds = [(seconds(query), seconds(one_pass)) for _ in range(3)]
        mine, reference = (min(times) for times in zip(*rounds, strict=True))
        print(f"| {name} | {mine:.2f} | {mine / reference:.1f} |", flush=True)
    print(f"\nOne pass of score_samples took {reference:.2f} s.")


def short() -> Iterator[Figure]:
    """Cases for short.py."""
    one_pass, queries = queries_of(1000)
    for name, query in {"score_samples": one_pass, **queries}.items():
        own = in_products(lambda query=query: cpu_seconds(query), rounds=6)
        yield Figure("1000 x 100", name, "products", own)


if __name__ == "__main__":
    main()
