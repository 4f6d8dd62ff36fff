"""Time and memory of learning Chow-Liu trees, and how numbers are best judged.

    python benchmarks/chow_liu.py

First the share of the edges of random trees of 40 columns that are found again, mean over six
tables: numbers cut into bins, or taken for jointly normal. In "linear" tables every column is a
linear function of another one and noise; in the others, about half of them are quadratic ones.
Then, time and memory.

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
import subprocess
import sys
import time
from collections.abc import Iterator

import numpy as np
from _short import Figure, cpu_seconds, in_products
from efficiency import peak_mb

from sklearn_einet.structure import RegionGraph
from sklearn_einet.structure.chow_liu import (
    MAX_PRODUCTS,
    chow_liu,
    chow_liu_trees,
    spanning_trees,
)
from sklearn_einet.structure.tree_regions import tree_of

CASES = ["binary", "binary, 10% missing", "continuous"]
BINS = [3, 5, 8, 10]


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


def learned(X: np.ndarray, n_states: np.ndarray, replicas: int) -> RegionGraph:
    """Trees of the same seed."""
    return chow_liu(X, n_states, replicas, random_state=np.random.RandomState(0))


def child(case: str, n_rows: int, n_columns: int) -> None:
    """Measure in this process and print the result."""
    X = table(case, n_rows, n_columns)
    n_states = np.full(n_columns, 0 if case == "continuous" else 2)
    before, seconds, cpu = peak_mb(), {}, {}
    for replicas in (1, 10):
        start, cpu_start = time.perf_counter(), time.process_time()
        graph = learned(X, n_states, replicas)
        seconds[replicas] = time.perf_counter() - start
        cpu[replicas] = time.process_time() - cpu_start
    tree = tree_of(graph)[0]
    edges = int((np.abs(tree - np.arange(n_columns)) == 1)[tree >= 0].sum())
    states = 5 if case == "continuous" else 2
    used = min(n_rows, 2 * MAX_PRODUCTS // (states * n_columns) ** 2)
    print(
        f"| {case} | {used} | {seconds[1]:.1f} | {seconds[10]:.1f} | {cpu[1]:.1f} "
        f"| {peak_mb() - before:.0f} | {edges} of {n_columns - 1} |"
    )


def random_tree(n_rows: int, linear: bool, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """A table of 40 standardised columns, and the parents of its columns."""
    random_state = np.random.RandomState(seed)
    X, parents = random_state.standard_normal((n_rows, 40)), np.full(40, -1)
    for j in range(1, 40):
        parents[j] = random_state.randint(j)
        x = X[:, parents[j]]
        if not linear and random_state.randint(2):
            x = (x**2 - 1) / 2**0.5
        X[:, j] = 0.5 * x + 0.75**0.5 * X[:, j]
        X[:, j] /= X[:, j].std()
    return X, parents


def found(tree: np.ndarray, truth: np.ndarray) -> float:
    """The share of the true edges in a tree."""
    edges, true = (
        {frozenset(pair) for pair in enumerate(parents.tolist()) if pair[1] >= 0}
        for parents in (tree, truth)
    )
    return len(edges & true) / len(true)


def edge_shares(n_rows: int, linear: bool) -> np.ndarray:
    """The shares of edges found with each number of bins, and as if all were normal."""
    shares = []
    for seed in range(6):
        X, truth = random_tree(n_rows, linear, seed)
        seed_of = {"random_state": np.random.RandomState(0)}
        numbers = np.zeros(40, dtype=int)
        trees = [chow_liu_trees(X, numbers, n_bins=b, **seed_of)[0] for b in BINS]
        r = np.corrcoef(X.T)
        normal = -0.5 * np.log1p(-np.minimum(r**2, 1 - 1e-9))
        trees += spanning_trees(normal, 0 * normal, 1, seed_of["random_state"])
        shares.append([found(tree, truth) for tree in trees])
    return np.mean(shares, axis=0)


def print_edges() -> None:
    """How many edges are found with bins, and as if all were normal."""
    print("| table | rows | " + " | ".join(f"{b} bins" for b in BINS) + " | normal |")
    print("|" + "---|" * (len(BINS) + 3))
    for linear in (True, False):
        for n_rows in (300, 1000, 4000):
            cells = " | ".join(f"{share:.2f}" for share in edge_shares(n_rows, linear))
            print(
                f"| {'linear' if linear else 'half quadratic'} | {n_rows} | {cells} |", flush=True
            )
    print()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, default=100_000)
    parser.add_argument("--columns", type=int, default=2000)
    parser.add_argument("--child", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.child:
        child(arguments.child, arguments.rows, arguments.columns)
        return
    print_edges()
    print("| table | rows used | s, 1 tree | s, 10 trees | CPU s, 1 tree | extra MB | edges |")
    print("|---|---|---|---|---|---|---|", flush=True)
    for case in CASES:
        command = [sys.executable, __file__, "--child", case]
        command += ["--rows", str(arguments.rows), "--columns", str(arguments.columns)]
        run = subprocess.run(command, capture_output=True, text=True, check=True)
        print(run.stdout.splitlines()[-1], flush=True)


def short() -> Iterator[Figure]:
    """Cases for short.py."""
    shares = dict(zip(BINS, edge_shares(300, linear=False), strict=False))
    yield Figure("half quadratic, 300 rows", "edges found, 5 bins", "share", shares[5])
    for case in CASES[1:]:
        X = table(case, 5000, 300)
        n_states = np.full(300, 0 if case == "continuous" else 2)
        own = in_products(lambda X=X, n=n_states: cpu_seconds(lambda: learned(X, n, 1)))
        yield Figure(f"{case}, 5000 x 300", "1 tree", "products", own)


if __name__ == "__main__":
    main()
