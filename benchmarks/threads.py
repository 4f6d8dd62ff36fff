"""Two threads against one: ratios of CPU time and of wall time.

    OMP_NUM_THREADS=2 python benchmarks/threads.py [--tables titanic ...] [--busy]

Default fits of EinetDensity and of EinetOutlierDetector on four fifths of the rows, 100,000 of
their rows scored, and fits at the default point of the paper's study of efficiency (2,000 x 512,
D=4, R=10, K=10, Tucker layers) and with K=40, five epochs each. All take turns, twice each; the
faster one counts. With --busy, as many other processes as there are cores compute meanwhile, and
only wall times mean anything. Needs two cores that nothing else uses, and the benchmark data.
"""

from __future__ import annotations

import argparse
import os
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from multiprocessing import Process
from typing import Any

import numpy as np
import torch
from _frames import frame_of

from sklearn_einet import EinetDensity, EinetOutlierDetector

TABLES = ["titanic", "abalone", "wine", "california", "adult"]
ROWS, ROUNDS = 100_000, 2


def cases(tables: list[str]) -> Iterator[tuple[str, Callable[[], Any]]]:
    """What is measured."""
    for name in tables:
        frame = frame_of(name).sample(frac=0.8, random_state=0)
        yield f"{name}, density", lambda frame=frame: EinetDensity(random_state=0).fit(frame)
        yield (
            f"{name}, detector",
            lambda frame=frame: EinetOutlierDetector(random_state=0).fit(frame),
        )
        model = EinetDensity(max_iter=2, random_state=0).fit(frame)
        many = frame.sample(ROWS, replace=True, random_state=0)
        yield f"{name}, scores", lambda model=model, many=many: model.score_samples(many)
    X = np.random.RandomState(0).randn(2000, 512)
    for K in (10, 40):
        study = EinetDensity(
            4, 10, K, structure="binary-trees", layer="tucker", leaf="normal", max_iter=5, tol=0
        )
        yield f"study, K={K}", lambda study=study: study.fit(X)


def seconds(work: Callable[[], Any], n_threads: int) -> tuple[float, float]:
    """CPU and wall time of a call on so many threads."""
    torch.set_num_threads(n_threads)
    start = time.process_time(), time.perf_counter()
    work()
    return time.process_time() - start[0], time.perf_counter() - start[1]


def spin() -> None:
    """Compute for ever."""
    while True:
        pass


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--busy", action="store_true")
    parser.add_argument("--tables", nargs="*", default=TABLES)
    options = parser.parse_args()
    is_busy = options.busy
    warnings.simplefilter("ignore")
    print("| case | CPU s, 1 thread | 2 threads / 1, CPU | 2 threads / 1, wall |")
    print("|---|---|---|---|")
    with ExitStack() as stack:
        for _ in range(os.cpu_count() or 1 if is_busy else 0):
            other = Process(target=spin, daemon=True)
            other.start()
            stack.callback(other.kill)
        for name, work in cases(options.tables):
            found = [[seconds(work, n) for n in (1, 2)] for _ in range(ROUNDS)]
            (cpu, wall), (cpu_of_two, wall_of_two) = np.min(found, axis=0)
            line = f"{cpu:.1f} | {cpu_of_two / cpu:.2f} | {wall_of_two / wall:.2f}"
            print(f"| {name} | {line} |", flush=True)


if __name__ == "__main__":
    main()
