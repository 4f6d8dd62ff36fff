"""Epochs and scores of single circuits, beside the paper's layer: what gpu.py measures."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from functools import partial
from typing import NamedTuple

import numpy as np
import torch
from _gpu_device import Card, attempt, free, peak_mb, wait
from _gpu_paper import PaperNetwork
from _gpu_paper import epoch as paper_epoch
from _gpu_paper import score as paper_score
from efficiency import D_FEATURES, DEFAULT, N
from roofline import fastest, infer, operations

from sklearn_einet.circuit import Circuit, LeafColumns
from sklearn_einet.families import Bernoulli, Normal
from sklearn_einet.learning import StochasticEM, initialize
from sklearn_einet.structure import RegionGraph, quad_tree, random_binary_trees
from sklearn_einet.structure.tree_regions import tree_regions
from sklearn_einet.tables.rows import Rows

STEP_SIZE = 0.3
OURS, PAPER = "sklearn-einet", "the paper's layer, plain torch"
ON_CPU = "sklearn-einet, on the CPU"
# A table as most are: does a GPU pay for it?
SMALL_COLUMNS, SMALL_K = 10, 32
COLUMNS = (
    *("case", "by", "million parameters", "rows", "batch", "epoch s", "score s", "peak MB"),
    *("of float32 rate", "of TF32 rate", "times ours: epoch / score / memory"),
)


class Sizes(NamedTuple):
    """How large the cases are, and how long each is repeated, in seconds."""

    n_rows: int
    n_columns: int
    depth: int
    replicas: int
    K: tuple[int, ...]
    batch: int
    side: int
    tree_K: int
    quad_K: int
    large_rows: int
    large_batch: int
    seconds: float


# 10 and 100 million parameters in the large ones.
FULL = Sizes(
    *(N, D_FEATURES, DEFAULT["D"], DEFAULT["R"], (DEFAULT["K"], 40), 100),
    *(28, 130, 300, 4096, 512, 1.0),
)
TINY = Sizes(60, 16, 2, 2, (2, 3), 20, 4, 3, 3, 40, 20, 0.0)


class Case(NamedTuple):
    """A circuit, and how many rows it is given in batches of how many."""

    name: str
    graph: RegionGraph
    layer: str
    K: int
    n_rows: int
    batch: int
    is_binary: bool = False
    is_small: bool = False


class Measured(NamedTuple):
    """Seconds of an epoch and of scoring, and the peak of the device's memory in MB."""

    n_parameters: int
    operations: float
    epoch: float
    score: float
    peak: float | None


def cases(sizes: Sizes) -> Iterator[Case]:
    """Yield all cases, the largest last."""
    n, d, depth, replicas = sizes[:4]
    trees = random_binary_trees(d, depth, replicas, np.random.RandomState(0))
    for K in sizes.K:
        for batch in (sizes.batch, n):
            yield Case(f"Fig. 4: D={depth}, R={replicas}, K={K}", trees, "tucker", K, n, batch)
    small = tree_regions([(np.arange(SMALL_COLUMNS) + 1) // 2 - 1])
    for batch in (sizes.batch // 5, sizes.batch):
        name = f"{SMALL_COLUMNS} columns, K={SMALL_K}"
        yield Case(name, small, "cp", SMALL_K, n, batch, is_small=True)
    rows = sizes.large_rows, sizes.large_batch, True
    tree = tree_regions([neighbours(sizes.side, np.random.RandomState(0))])
    yield Case(f"hidden tree, K={sizes.tree_K}", tree, "cp", sizes.tree_K, *rows)
    quarters = quad_tree((sizes.side, sizes.side))
    yield Case(f"quad tree, K={sizes.quad_K}", quarters, "cp", sizes.quad_K, *rows)


def neighbours(side: int, random_state: np.random.RandomState) -> np.ndarray:
    """Make a tree over pixels, as Chow-Liu trees of images are: parents are to the left, or above.

    Returns
    -------
    parents : ndarray of int of shape (side * side,)
        -1 for the root.
    """
    to_the_left = random_state.random_sample((side, side)) < 0.5
    to_the_left[0], to_the_left[:, 0] = True, False
    number = np.arange(side * side).reshape(side, side)
    parents = np.where(to_the_left, number - 1, number - side)
    parents[0, 0] = -1
    return parents.ravel()


def set_up(case: Case) -> tuple[Circuit, np.ndarray]:
    """Return a circuit with initial parameters, on the CPU, and the rows."""
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
    return circuit, X


def measure_ours(case: Case, device: torch.device, seconds: float) -> Measured:
    """Measure stochastic EM and scores by this package."""
    circuit, X = set_up(case)
    free(device)
    circuit = circuit.to(device)
    encode, random_state = lambda part: part.astype(np.float64), np.random.RandomState(0)
    rows = Rows(X, encode, None, device, random_state)
    solver = StochasticEM(0.01, STEP_SIZE, case.batch, case.n_rows, 0.75)
    return _measured(
        circuit,
        lambda: solver.epoch(circuit, rows),
        lambda: infer(circuit, rows, circuit.block_rows),
        (case.n_rows, device, seconds),
    )


def _measure_on_cpu(case: Case, device: torch.device, seconds: float) -> Measured:
    return measure_ours(case, torch.device("cpu"), seconds)


def measure_paper(case: Case, device: torch.device, seconds: float) -> Measured:
    """Measure the same by the paper's layer, from the same parameters."""
    circuit, X = set_up(case)
    block_rows = circuit.to(device).block_rows
    free(device)
    network, x = PaperNetwork.of(circuit, device), torch.from_numpy(X).to(device)
    return _measured(
        circuit,
        lambda: paper_epoch(network, x, case.batch, STEP_SIZE),
        lambda: paper_score(network, x, block_rows),
        (case.n_rows, device, seconds),
    )


def _measured(
    circuit: Circuit,
    epoch: Callable[[], object],
    score: Callable[[], object],
    setting: tuple[int, torch.device, float],
) -> Measured:
    n_rows, device, seconds = setting

    def timed(work: Callable[[], object]) -> float:
        def finished() -> None:
            work()
            wait(device)

        return fastest(finished, seconds)

    done = operations(circuit, n_rows)["train"]
    return Measured(circuit.n_parameters, done, timed(epoch), timed(score), peak_mb(device))


def speed(sizes: Sizes, card: Card, deadline: float) -> bool:
    """Print the table, row by row; return whether nothing failed except by lack of memory."""
    print("| " + " | ".join(COLUMNS) + " |\n" + "|---" * len(COLUMNS) + "|", flush=True)
    fine = True
    for case in cases(sizes):
        implementations = {OURS: measure_ours}
        if case.is_small:
            implementations[ON_CPU] = _measure_on_cpu
        elif not case.is_binary:
            implementations[PAPER] = measure_paper
        first: Measured | None = None
        for by, measure in implementations.items():
            if time.perf_counter() > deadline:
                found: Measured | str = "not run: the time is over"
            else:
                found = attempt(partial(measure, case, card.device, sizes.seconds))
            fine &= not (isinstance(found, str) and found.startswith("failed"))
            print(_row(case, by, found, first, card), flush=True)
            if by == OURS and isinstance(found, Measured):
                first = found
    free(card.device)
    return fine


def _row(case: Case, by: str, found: Measured | str, first: Measured | None, card: Card) -> str:
    """Return a row of the table; `first` is what the others are compared with."""
    if isinstance(found, str):
        size, cells = "", [found, "", "", "", "", ""]
    else:
        size = f"{found.n_parameters / 1e6:.4g}"
        shares = [_share(found, rate) for rate in (card.float32, card.tf32)]
        peak = "-" if found.peak is None else f"{found.peak:.0f}"
        times = _times(found, first)
        cells = [f"{found.epoch:.3g}", f"{found.score:.3g}", peak, *shares, times]
    head = [case.name, by, size, str(case.n_rows), str(case.batch)]
    return "| " + " | ".join([*head, *cells]) + " |"


def _share(found: Measured, rate: float | None) -> str:
    return "-" if rate is None else f"{found.operations / found.epoch / rate:.2%}"


def _times(found: Measured, first: Measured | None) -> str:
    """Return a measurement as multiples of the first one."""
    if first is None:
        return ""
    pairs = zip(found[2:], first[2:], strict=True)
    return " / ".join("-" if a is None or not b else f"{a / b:.2f}" for a, b in pairs)
