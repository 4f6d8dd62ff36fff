"""CPU time of an epoch of stochastic EM: compiled as a whole, and in single steps.

    OMP_NUM_THREADS=1 python benchmarks/epochs.py

A learned tree with K=32 and the rows of each table, in batches of 33 rows, of 250, and of all. The
figures are milliseconds of CPU time of the fastest epoch but the first, out of three fits in turns.
Without the compiled part both ways are the same.
"""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable
from unittest.mock import patch

import numpy as np
import pandas as pd
from _timing import Clock
from sklearn.exceptions import ConvergenceWarning

from sklearn_einet import EinetDensity
from sklearn_einet.learning.compiled_steps import CompiledSteps

ROUNDS, EPOCHS = 3, 4


def numbers(n_rows: int, n_columns: int) -> np.ndarray:
    """A walk from column to column."""
    random_state = np.random.RandomState(0)
    return random_state.standard_normal((n_rows, n_columns)).cumsum(1)


def mixed(n_rows: int) -> pd.DataFrame:
    """Four columns each of numbers, of categories and of booleans, with gaps."""
    walk = numbers(n_rows, 12)
    columns = {}
    for j in range(4):
        columns[f"number {j}"] = walk[:, 3 * j]
        n_states = [3, 8, 15, 30][j]
        ranks = walk[:, 3 * j + 1].argsort().argsort()
        columns[f"category {j}"] = (ranks * n_states // n_rows).astype(float)
        columns[f"binary {j}"] = (walk[:, 3 * j + 2] > 0).astype(float)
    frame = pd.DataFrame(columns)
    frame = frame.mask(np.random.RandomState(1).rand(*frame.shape) < 0.05)
    categories = {name: "category" for name in frame if not name.startswith("number")}
    return frame.astype(categories)


TABLES: dict[str, Callable[[], np.ndarray | pd.DataFrame]] = {
    "3,300 x 7 numbers": lambda: numbers(3_300, 7),
    "5,000 x 12 mixed": lambda: mixed(5_000),
    "5,000 x 50 binary": lambda: (numbers(5_000, 50) > 0).astype(float),
}


def epoch(X: np.ndarray | pd.DataFrame, batch_size: int) -> float:
    """Milliseconds of CPU time of the fastest epoch."""
    clock = Clock(time.process_time)
    model = EinetDensity(
        structure="chow-liu",
        K=32,
        batch_size=batch_size,
        max_iter=EPOCHS,
        tol=0,
        early_stopping=False,
        random_state=0,
    )
    model.set_callbacks(clock)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        model.fit(X)
    return 1e3 * clock.fastest_epoch()


def main() -> None:
    single = patch.object(CompiledSteps, "of", classmethod(lambda *arguments: None))
    print("| table | rows in a batch | compiled, ms | single steps, ms | ratio |")
    print("|---|---|---|---|---|")
    for name, make in TABLES.items():
        X = make()
        for batch_size in (33, 250, len(X)):
            times: list[list[float]] = [[], []]
            for _ in range(ROUNDS):
                times[0].append(epoch(X, batch_size))
                with single:
                    times[1].append(epoch(X, batch_size))
            compiled, by_steps = map(min, times)
            ratio = compiled / by_steps
            print(f"| {name} | {batch_size} | {compiled:.1f} | {by_steps:.1f} | {ratio:.2f} |")


if __name__ == "__main__":
    main()
