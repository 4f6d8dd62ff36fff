"""Cost of an epoch as rows and replicas grow: both should be linear.

    python benchmarks/scaling.py

Gaussian noise with 100 columns, D=4, K=10, batches of 100, float32. Prints the fastest of three
epochs of stochastic EM, and the same per row and replica.
"""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable, Iterator

import numpy as np
from _short import Figure, in_products
from _timing import Clock

from sklearn_einet import EinetDensity

ROWS = [1000, 4000, 16_000, 64_000]
REPLICAS = [1, 4, 16, 64]


def seconds_per_epoch(
    X: np.ndarray, replicas: int, now: Callable[[], float] = time.perf_counter
) -> float:
    """The fastest of three epochs after the first."""
    clock = Clock(now)
    model = EinetDensity(
        4,
        replicas,
        structure="binary-trees",
        layer="tucker",
        batch_size=100,
        max_iter=4,
        tol=0,
        early_stopping=False,
        random_state=0,
    )
    model.set_callbacks(clock).fit(X)
    return clock.fastest_epoch()


def main() -> None:
    warnings.simplefilter("ignore")
    X = np.random.RandomState(0).randn(max(ROWS), 100).astype(np.float32)
    print("| rows | replicas | s/epoch | microseconds per row and replica |")
    print("|---|---|---|---|")
    for n_rows, replicas in [(n, 10) for n in ROWS] + [(4000, r) for r in REPLICAS]:
        seconds = seconds_per_epoch(X[:n_rows], replicas)
        per_unit = 1e6 * seconds / (n_rows * replicas)
        print(f"| {n_rows} | {replicas} | {seconds:.3f} | {per_unit:.2f} |", flush=True)


def short() -> Iterator[Figure]:
    """Cases for short.py."""
    X = np.random.RandomState(0).randn(2000, 100).astype(np.float32)
    for n_rows, replicas in ((500, 10), (2000, 10), (500, 40)):
        rows = X[:n_rows]
        epoch = in_products(lambda x=rows, r=replicas: seconds_per_epoch(x, r, time.process_time))
        yield Figure(f"{n_rows} rows, {replicas} replicas", "epoch", "products", epoch)


if __name__ == "__main__":
    main()
