"""Time and memory of learning Chow-Liu trees.

    python benchmarks/chow_liu.py

A walk over 2,000 columns whose neighbours have correlation 0.7, in 100,000 rows, each kind of table
in a process of its own. Columns of the printed table:

rows used      of which mutual information was computed
s              of chow_liu, for one tree and for ten
CPU s          of all threads, for one tree: what s depends on if the cores are shared
extra MB       growth of the peak resident memory (getrusage) while ten trees are learned
edges          of the true tree that the first one has
"""

from __future__ import annotations

import argparse
import resource
import subprocess
import sys
import time

import numpy as np

from sklearn_einet.structure.chow_liu import MAX_PRODUCTS, chow_liu
from sklearn_einet.structure.tree_regions import tree_of

CASES = ["binary", "binary, 10% missing", "continuous"]


def table(case: str, n_rows: int, n_columns: int) -> np.ndarray:
    """The table, made in pieces so that making it does not raise the peak of memory."""
    random_state = np.random.RandomState(0)
    X = np.empty((n_rows, n_columns))
    for start in range(0, n_rows, 2000):
        part = X[start : start + 2000]
        part[:] = random_state.standard_normal(part.shape)
        for j in range(1, n_columns):
            part[:, j] = 0.7 * part[:, j - 1] + (1 - 0.7**2) ** 0.5 * part[:, j]
        if case != "continuous":
            part[:] = part > 0
        if "missing" in case:
            part[random_state.random_sample(part.shape) < 0.1] = np.nan
    return X


def peak() -> float:
    """Largest resident memory so far, in MB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def child(case: str, n_rows: int, n_columns: int) -> None:
    """Measure in this process and print the result."""
    X = table(case, n_rows, n_columns)
    n_states = np.full(n_columns, 0 if case == "continuous" else 2)
    before, seconds, cpu = peak(), {}, {}
    for replicas in (1, 10):
        start, cpu_start = time.perf_counter(), time.process_time()
        graph = chow_liu(X, n_states, replicas, random_state=np.random.RandomState(0))
        seconds[replicas] = time.perf_counter() - start
        cpu[replicas] = time.process_time() - cpu_start
    tree = tree_of(graph)[0]
    edges = int((np.abs(tree - np.arange(n_columns)) == 1)[tree >= 0].sum())
    states = 5 if case == "continuous" else 2
    used = min(n_rows, 2 * MAX_PRODUCTS // (states * n_columns) ** 2)
    print(
        f"| {case} | {used} | {seconds[1]:.1f} | {seconds[10]:.1f} | {cpu[1]:.1f} "
        f"| {peak() - before:.0f} | {edges} of {n_columns - 1} |"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, default=100_000)
    parser.add_argument("--columns", type=int, default=2000)
    parser.add_argument("--child", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.child:
        child(arguments.child, arguments.rows, arguments.columns)
        return
    print("| table | rows used | s, 1 tree | s, 10 trees | CPU s, 1 tree | extra MB | edges |")
    print("|---|---|---|---|---|---|---|", flush=True)
    for case in CASES:
        command = [sys.executable, __file__, "--child", case]
        command += ["--rows", str(arguments.rows), "--columns", str(arguments.columns)]
        run = subprocess.run(command, capture_output=True, text=True, check=True)
        print(run.stdout.splitlines()[-1], flush=True)


if __name__ == "__main__":
    main()
