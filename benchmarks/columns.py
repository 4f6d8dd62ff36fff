"""Time per epoch of learned trees against columns and K, and of fits against states of a column.

    python benchmarks/columns.py [--threads 2]

Binary tables of 2,000 rows, each column a noisy copy of a random earlier one; then one
epoch on 10,000 rows x 500 columns with K=64. The structure is learned from the table; its time is
apart. Linear in columns means: the last column of the table is the same on lines with the same K.

Then fits of two epochs of three columns of numbers and one of categories that are drawn from so
many declared ones: CPU seconds, the least of three fits.
"""

from __future__ import annotations

import argparse
import time
import warnings
from collections.abc import Callable, Iterator

import numpy as np
import pandas as pd
import torch
from _short import Figure, in_products
from _timing import Clock

from sklearn_einet import EinetDensity

COLUMNS = [100, 500, 2000]
ENTRIES = [16, 32, 64]
STATES = [500, 20_000]


def table(n_rows: int, n_columns: int) -> np.ndarray:
    """Columns that depend on each other along a random tree."""
    random_state = np.random.RandomState(0)
    X = np.empty((n_rows, n_columns), dtype=np.uint8)
    X[:, 0] = random_state.randint(2, size=n_rows)
    for column in range(1, n_columns):
        parent = random_state.randint(max(0, column - 50), column)
        X[:, column] = X[:, parent] ^ (random_state.random_sample(n_rows) < 0.2)
    return X


def measured(
    X: np.ndarray, K: int, now: Callable[[], float] = time.perf_counter
) -> tuple[float, float, EinetDensity]:
    """Seconds of the fastest of three epochs after the first, and of all before the first."""
    clock = Clock(now)
    model = EinetDensity(K=K, max_iter=4, tol=0, early_stopping=False, random_state=0)
    start = now()
    model.set_callbacks(clock).fit(X)
    epoch = clock.fastest_epoch()
    return epoch, clock.times[0] - start - epoch, model


def with_categories(n_rows: int, n_states: int) -> pd.DataFrame:
    """Numbers beside categories, most of which do not occur if there are many."""
    random_state = np.random.RandomState(0)
    names = [f"c{i}" for i in range(n_states)]
    frame = pd.DataFrame(random_state.standard_normal((n_rows, 3)), columns=["a", "b", "c"])
    return frame.assign(where=pd.Categorical(random_state.choice(names, n_rows), categories=names))


def seconds_of_fit(X: pd.DataFrame) -> float:
    """CPU seconds of two epochs and what is before."""
    times = []
    for _ in range(3):
        start = time.process_time()
        EinetDensity(max_iter=2, random_state=0).fit(X)
        times.append(time.process_time() - start)
    return min(times)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    torch.set_num_threads(parser.parse_args().threads)
    warnings.simplefilter("ignore")
    print(f"{torch.get_num_threads()} threads\n")
    print("| rows | columns | K | parameters | s before | s/epoch | ns / (row column K^2) |")
    print("|---|---|---|---|---|---|---|")
    for n_rows, d, K in [(2000, d, K) for K in ENTRIES for d in COLUMNS] + [(10_000, 500, 64)]:
        epoch, before, model = measured(table(n_rows, d), K)
        print(
            f"| {n_rows} | {d} | {K} | {model.circuit_.n_parameters} | {before:.1f} | {epoch:.2f} "
            f"| {1e9 * epoch / (n_rows * d * K**2):.3f} |",
            flush=True,
        )
    print("\n| rows | " + " | ".join(f"{n} states" for n in STATES) + " |\n|---|---|---|")
    for n_rows in (2000, 5000):
        fits = [seconds_of_fit(with_categories(n_rows, n)) for n in STATES]
        cells = " | ".join(f"{seconds:.2f}" for seconds in fits)
        print(f"| {n_rows} | {cells} |", flush=True)


def short() -> Iterator[Figure]:
    """Cases for short.py."""
    for d, K in ((500, 16), (100, 64)):
        X = table(1000, d)
        epoch = in_products(lambda X=X, K=K: measured(X, K, time.process_time)[0])
        yield Figure(f"1000 x {d}, K={K}", "epoch", "products", epoch)


if __name__ == "__main__":
    main()
