"""Time per epoch of fits to a dask array, on one and two workers, against that in memory.

    python benchmarks/scaling_out.py [--rows 200000] [--columns 100] [--K 32] [--rounds 3]

Default structure, a learned tree. Every worker is a process with one thread, and so is the fit in
memory. All cases take turns, and the fastest epoch of all rounds counts. Efficiency is the time in
memory, divided by that of n workers and by n; 1 is perfect. Where other processes share the cores,
look at the efficiency by processor time: that in memory, divided by that of all workers plus n
times what is done here while they wait. It leaves out the time in which messages travel.
"""

from __future__ import annotations

import argparse
import os
import sys
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

SIZES = {"rows": 200_000, "columns": 100, "K": 32, "blocks": 8, "epochs": 4, "rounds": 3}

CASES: dict[str, dict[str, Any]] = {
    "em": {"solver": "em"},
    "sem, batches of 20,000": {"solver": "sem", "batch_size": 20_000},
    "sem, batches of 5,000": {"solver": "sem", "batch_size": 5_000},
    "sem, batches of 1,000": {"solver": "sem", "batch_size": 1_000},
}


def rows(seed: int, n_rows: int, n_columns: int) -> np.ndarray:
    """A block of random walks."""
    return np.random.RandomState(seed).standard_normal((n_rows, n_columns)).cumsum(1)


class Meter(Clock):
    """Notes the processors' time after every epoch, too: here, and of all workers together."""

    def __init__(self, client: Client | None) -> None:
        super().__init__()
        self.client = client
        self.busy: list[tuple[float, float]] = []

    def on_fit_task_end(self, estimator: Any, context: Any) -> None:
        super().on_fit_task_end(estimator, context)
        if context.task_name == "epoch":
            workers = self.client.run(time.process_time) if self.client else {}
            self.busy.append((time.process_time(), sum(workers.values())))


def measured(
    X: Any, parameters: dict[str, Any], client: Client | None
) -> tuple[np.ndarray, EinetDensity]:
    """Seconds of the fastest epoch, the mean processor time here and of the workers, the model."""
    meter = Meter(client)
    model = EinetDensity(tol=0, early_stopping=False, random_state=0, **parameters)
    model.set_callbacks(meter).fit(X)
    result = np.array([meter.fastest_epoch(), *np.diff(meter.busy, axis=0).mean(axis=0)])
    print(f"# {parameters}: {result.round(3).tolist()}", file=sys.stderr, flush=True)
    return result, model


def megabytes(model: EinetDensity) -> float:
    """Size of the statistics of one step."""
    statistics = prior_statistics(model.circuit_)
    tensors = [*statistics.counts, *(each for pair in statistics.leaves for each in pair)]
    return sum(each.numel() * each.element_size() for each in tensors) / 1e6


def tables(n_blocks: int, shape: tuple[int, int]) -> tuple[np.ndarray, Any]:
    """The same rows as an array and as a dask array."""
    X = np.concatenate([rows(seed, *shape) for seed in range(n_blocks)])
    lazy = [da.from_delayed(delayed(rows)(seed, *shape), shape, float) for seed in range(n_blocks)]
    return X, da.concatenate(lazy)


def cluster_of(n_workers: int) -> LocalCluster:
    """Processes of one thread each."""
    # dask makes its workers give memory back at every chance, which costs a third of their time.
    os.environ.setdefault("MALLOC_TRIM_THRESHOLD_", str(2**30))
    return LocalCluster(n_workers=n_workers, threads_per_worker=1, dashboard_address=":0")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    for name, default in SIZES.items():
        parser.add_argument(f"--{name}", type=int, default=default)
    parser.add_argument("--cases", nargs="*", default=list(CASES), choices=list(CASES))
    arguments = parser.parse_args()
    warnings.simplefilter("ignore", ConvergenceWarning)
    torch.set_num_threads(1)
    size = arguments.rows // arguments.blocks
    X, lazy = tables(arguments.blocks, (size, arguments.columns))
    results: dict[tuple[str, int], list[np.ndarray]] = {}
    sizes: dict[str, float] = {}
    shared = {"max_iter": arguments.epochs, "K": arguments.K}
    for _ in range(arguments.rounds):
        for case in arguments.cases:
            result, model = measured(X, CASES[case] | shared, None)
            results.setdefault((case, 0), []).append(result)
            sizes[case] = megabytes(model)
        for n_workers in (1, 2):
            with cluster_of(n_workers) as cluster, Client(cluster) as client:
                client.wait_for_workers(n_workers)
                for case in arguments.cases:
                    result, _ = measured(lazy, CASES[case] | shared, client)
                    results.setdefault((case, n_workers), []).append(result)
    print(
        "| solver | steps an epoch | MB a step | workers | s an epoch | efficiency "
        "| processor time of workers, s | here, s | efficiency by processor time |\n|" + "---|" * 9
    )
    for case in arguments.cases:
        steps = -(-size * arguments.blocks // CASES[case].get("batch_size", arguments.rows))
        fastest, busy, _ = np.min(results[case, 0], axis=0)
        row = f"| {case} | {steps} | {sizes[case]:.2f} "
        print(f"{row}| in memory | {fastest:.2f} | 1 | | {busy:.2f} | 1 |")
        for n in (1, 2):
            wall, here, workers = np.min(results[case, n], axis=0)
            print(
                f"{row}| {n} | {wall:.2f} | {fastest / wall / n:.2f} | {workers:.2f} | {here:.3f} "
                f"| {busy / (workers + n * here):.2f} |"
            )


def short() -> Iterator[Figure]:
    """Cases for short.py."""
    X, lazy = tables(4, (5000, 50))
    with cluster_of(1) as cluster, Client(cluster) as client:
        client.wait_for_workers(1)
        for case in ("em", "sem, batches of 5,000"):
            parameters = CASES[case] | {"max_iter": 4}
            (_, busy, _), model = measured(X, parameters, None)
            (_, here, worker), spread = measured(lazy, parameters, client)
            case = f"20,000 x 50, {case}"
            cost = (worker + here) / busy
            yield Figure(case, "processor time, 1 worker against memory", "times", cost)
            difference = spread.score(X[:1000]) - model.score(X[:1000])
            yield Figure(case, "more with 1 worker", "nats", difference)


if __name__ == "__main__":
    main()
