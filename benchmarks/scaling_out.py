"""Time per epoch of fits to a dask array, on one and two workers, against that in memory.

    python benchmarks/scaling_out.py [--rows 200000] [--columns 100] [--epochs 4] [--rounds 3]

Default structure (a learned tree with K=32). Every worker is a process with one thread, and so is
the fit in memory. All cases take turns, and the fastest epoch of all rounds counts. Efficiency is
the time in memory, divided by that of n workers and by n; 1 is perfect.
"""

from __future__ import annotations

import argparse
import time
import warnings
from collections.abc import Iterator
from typing import Any

import dask.array as da
import numpy as np
import torch
from _short import Figure
from _timing import Clock
from dask.delayed import delayed
from distributed import Client, LocalCluster
from sklearn.exceptions import ConvergenceWarning

from sklearn_einet import EinetDensity
from sklearn_einet.learning.statistics import prior_statistics

CASES: dict[str, dict[str, Any]] = {
    "em": {"solver": "em"},
    "sem, batches of 20,000": {"solver": "sem", "batch_size": 20_000},
    "sem, batches of 5,000": {"solver": "sem", "batch_size": 5_000},
    "sem, batches of 1,000": {"solver": "sem", "batch_size": 1_000},
}


def rows(seed: int, n_rows: int, n_columns: int) -> np.ndarray:
    """A block of random walks."""
    return np.random.RandomState(seed).standard_normal((n_rows, n_columns)).cumsum(1)


def seconds(X: Any, parameters: dict[str, Any], n_epochs: int) -> tuple[float, EinetDensity]:
    """Seconds of the fastest epoch, and the model."""
    clock = Clock()
    model = EinetDensity(
        max_iter=n_epochs, tol=0, early_stopping=False, random_state=0, **parameters
    )
    model.set_callbacks(clock).fit(X)
    return clock.fastest_epoch(), model


def megabytes(model: EinetDensity) -> float:
    """Size of the statistics of one step."""
    circuit = model.circuit_
    return (
        sum(each.numel() * each.element_size() for each in prior_statistics(circuit)._tensors())
        / 1e6
    )


def tables(n_blocks: int, shape: tuple[int, int]) -> tuple[np.ndarray, Any]:
    """The same rows as an array and as a dask array."""
    X = np.concatenate([rows(seed, *shape) for seed in range(n_blocks)])
    lazy = [da.from_delayed(delayed(rows)(seed, *shape), shape, float) for seed in range(n_blocks)]
    return X, da.concatenate(lazy)


def cluster_of(n_workers: int) -> LocalCluster:
    """Processes of one thread each."""
    return LocalCluster(n_workers=n_workers, threads_per_worker=1, dashboard_address=":0")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    for name, default in (("rows", 200_000), ("columns", 100), ("epochs", 4), ("rounds", 3)):
        parser.add_argument(f"--{name}", type=int, default=default)
    parser.add_argument("--blocks", type=int, default=8)
    parser.add_argument("--cases", nargs="*", default=list(CASES), choices=list(CASES))
    arguments = parser.parse_args()
    warnings.simplefilter("ignore", ConvergenceWarning)
    torch.set_num_threads(1)
    size = arguments.rows // arguments.blocks
    X, lazy = tables(arguments.blocks, (size, arguments.columns))
    times: dict[tuple[str, int], list[float]] = {}
    sizes: dict[str, float] = {}
    start = time.perf_counter()
    for _ in range(arguments.rounds):
        for case in arguments.cases:
            fastest, model = seconds(X, CASES[case], arguments.epochs)
            times.setdefault((case, 0), []).append(fastest)
            sizes[case] = megabytes(model)
        for n_workers in (1, 2):
            with cluster_of(n_workers) as cluster, Client(cluster) as client:
                client.wait_for_workers(n_workers)
                for case in arguments.cases:
                    fastest, spread = seconds(lazy, CASES[case], arguments.epochs)
                    times.setdefault((case, n_workers), []).append(fastest)
        print(f"# {time.perf_counter() - start:.0f} s: {times}", flush=True)
    difference = abs(spread.score(X[:1000]) - model.score(X[:1000]))
    print(f"# mean log-densities of the last two models differ by {difference:.1e}\n")
    print(
        "| solver | steps an epoch | MB a step | in memory, s | 1 worker, s | efficiency "
        "| 2 workers, s | efficiency |\n|" + "---|" * 8
    )
    for case in arguments.cases:
        alone, one, two = (min(times[case, n]) for n in (0, 1, 2))
        steps = -(-size * arguments.blocks // CASES[case].get("batch_size", arguments.rows))
        print(
            f"| {case} | {steps} | {sizes[case]:.1f} | {alone:.2f} | {one:.2f} "
            f"| {alone / one:.2f} | {two:.2f} | {alone / two / 2:.2f} |"
        )


def short() -> Iterator[Figure]:
    """Cases for short.py."""
    X, lazy = tables(4, (5000, 50))
    with cluster_of(1) as cluster, Client(cluster) as client:
        client.wait_for_workers(1)
        for case in ("em", "sem, batches of 5,000"):
            alone, model = seconds(X, CASES[case], 4)
            one, spread = seconds(lazy, CASES[case], 4)
            yield Figure(f"20,000 x 50, {case}", "1 worker against memory", "times", one / alone)
            difference = spread.score(X[:1000]) - model.score(X[:1000])
            yield Figure(f"20,000 x 50, {case}", "more with 1 worker", "nats", difference)


if __name__ == "__main__":
    main()
