"""Time per epoch, memory and share of the matrix rate on a GPU.

    python benchmarks/gpu.py [--device cuda] [--quick]

Noise, stochastic EM, float32 but for the leaves, the rows on the device:

- the sweep over depth D, replicas R and densities K of efficiency.py: 2000 x 512, random binary
  trees, Tucker layers, normal leaves, in the paper's batches of 100 and in one of all rows
- rectangles of 28 x 28 pixels (Poon and Domingos, 4 x 4 pieces), Tucker layers, normal leaves
- a hidden tree of 784 binary columns, CP layers, as a Chow-Liu tree has them

the latter two with about 0.5, 10, 30 and 100 million parameters, 4096 rows and batches of 512.
Columns:

epoch s        the fastest of several, after one more
score s        log-densities of all rows, likewise
peak MB        of the device's memory that torch has given out, parameters and rows included; on a
               CPU it is not measured
matrix rate    multiplications and additions of the weights alone, as in roofline.py, a second of an
               epoch, as a share of the rate of a 4096 x 4096 product in float32 (without TF32)

With --device cpu the script can be tried without a GPU; --quick takes the smallest of each kind.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import torch
from efficiency import D_FEATURES, DEFAULT, N, configurations
from roofline import fastest, infer, operations

from sklearn_einet.circuit import Circuit, LeafColumns
from sklearn_einet.families import Bernoulli, Normal
from sklearn_einet.learning import StochasticEM, initialize
from sklearn_einet.structure import RegionGraph, poon_domingos, random_binary_trees
from sklearn_einet.structure.tree_regions import tree_regions
from sklearn_einet.tables.rows import Rows

SIDE = 28
LARGE_ROWS, LARGE_BATCH = 4096, 512
RECTANGLES_K, TREE_K = (10, 40, 56, 80), (32, 132, 232, 408)
PRODUCT = 4096


class Case(NamedTuple):
    """A circuit, and how many rows it is given in batches of how many."""

    name: str
    graph: RegionGraph
    layer: str
    K: int
    n_rows: int
    batch: int
    is_binary: bool = False


def cases(quick: bool) -> Iterator[Case]:
    """All cases, or the smallest of each kind."""
    for number, c in enumerate(configurations(quick, [])):
        if number and c == DEFAULT:
            continue
        graph = random_binary_trees(D_FEATURES, c["D"], c["R"], np.random.RandomState(0))
        name = f"D={c['D']}, R={c['R']}, K={c['K']}"
        for batch in (100, N):
            yield Case(name, graph, "tucker", c["K"], N, batch)
    rectangles = poon_domingos((SIDE, SIDE), 4)
    for K in RECTANGLES_K[: 1 if quick else None]:
        yield Case(f"rectangles, K={K}", rectangles, "tucker", K, LARGE_ROWS, LARGE_BATCH)
    tree = tree_regions([neighbours(np.random.RandomState(0))])
    for K in TREE_K[: 1 if quick else None]:
        yield Case(f"hidden tree, K={K}", tree, "cp", K, LARGE_ROWS, LARGE_BATCH, True)


def neighbours(random_state: np.random.RandomState) -> np.ndarray:
    """A tree over pixels, as Chow-Liu trees of images are: parents are to the left, or above."""
    to_the_left = random_state.random_sample((SIDE, SIDE)) < 0.5
    to_the_left[0], to_the_left[:, 0] = True, False
    number = np.arange(SIDE * SIDE).reshape(SIDE, SIDE)
    parents = np.where(to_the_left, number - 1, number - SIDE)
    parents[0, 0] = -1
    return parents.ravel()


def set_up(case: Case, device: torch.device) -> tuple[Circuit, Rows]:
    """A circuit with initial parameters, and the rows."""
    random_state = np.random.RandomState(0)
    d = case.graph.n_features
    X = random_state.standard_normal((case.n_rows, d)).astype(np.float32)
    if case.is_binary:
        X = (X > 0).astype(np.float32)
        columns = LeafColumns(Bernoulli(), np.arange(d), np.full((d, 1), 0.5))
    else:
        columns = LeafColumns(Normal(), np.arange(d), np.tile([[0.0, 1.0]], (d, 1)))
    circuit = Circuit(case.graph, [columns], case.K, layer=case.layer, min_variance=1e-3)
    initialize(circuit, torch.from_numpy(X[:200].astype(np.float64)), None, random_state)
    rows = Rows(X, lambda part: part.astype(np.float64), None, device, random_state)
    return circuit.to(device), rows


def wait(device: torch.device) -> None:
    """Until the device has done what it was told."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def matrix_rate(device: torch.device) -> float:
    """Operations a second of a large product."""
    a, b = torch.rand(2, PRODUCT, PRODUCT, device=device)

    def product() -> None:
        torch.mm(a, b)
        wait(device)

    return 2 * PRODUCT**3 / fastest(product, 1.0)


def measure(case: Case, device: torch.device, rate: float) -> None:
    """Print the row of a case."""
    circuit, rows = set_up(case, device)
    solver = StochasticEM(0.01, 0.3, case.batch, case.n_rows, 0.75)

    def epoch() -> None:
        solver.epoch(circuit, rows)
        wait(device)

    def score() -> None:
        infer(circuit, rows, circuit.block_rows)
        wait(device)

    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
    epoch_seconds, score_seconds = fastest(epoch), fastest(score)
    peak = "-"
    if device.type == "cuda":
        peak = f"{torch.cuda.max_memory_allocated(device) / 2**20:.0f}"
    share = operations(circuit, case.n_rows)["train"] / epoch_seconds / rate
    print(
        f"| {case.name} | {circuit.n_parameters / 1e6:.2f} | {case.n_rows} | {case.batch} "
        f"| {epoch_seconds:.3g} | {score_seconds:.3g} | {peak} | {share:.1%} |",
        flush=True,
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--quick", action="store_true", help="the smallest case of each kind")
    arguments = parser.parse_args()
    device = torch.device(arguments.device)
    if device.type == "cuda" and not torch.cuda.is_available():
        parser.error("there is no GPU; --device cpu shows what would be measured")
    rate = matrix_rate(device)
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else "CPU"
    print(f"{name}, torch {torch.__version__}, {rate / 1e12:.2f} TFLOP/s of a float32 product\n")
    names = ["case", "million parameters", "rows", "batch", "epoch s", "score s", "peak MB"]
    print("| " + " | ".join([*names, "matrix rate"]) + " |")
    print("|---" * (len(names) + 1) + "|")
    for case in cases(arguments.quick):
        measure(case, device, rate)


if __name__ == "__main__":
    main()
