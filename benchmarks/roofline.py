"""Share of this machine's matrix rate that a whole training epoch and an inference pass reach.

    python benchmarks/roofline.py [--quick] [--profile]

Gaussian noise, 2048 x 512, random binary trees with D=4 and R=10, float32, all cores. Measured
right before every configuration, in the same process: the rate of a large matrix product by torch
(2048 x 2048), and the bandwidth of a copy. Two roofs are compared with the fastest of several
epochs of stochastic EM, and passes of inference:

- share of matrix rate: the multiplications and additions of the weights alone (in training three
  times those of inference in the sums and twice in the leaves, as gradients are products, too),
  divided by the time and by the matrix rate. Everything else (exponentials, logarithms, M-steps,
    copies and Python) counts as loss.
- share of roof: the larger of the time that these operations take at the matrix rate, and of the
  time that it takes to move every activation and parameter through memory as often as a step must,
  divided by the time that was needed. Layers with few operations for each number (CP) are limited
  by the second. Above 1, data stay in the cache.

The products are loops of this package's own, and can exceed the rate of torch's product on
processors for which its library is not at its best. With --profile, where the time goes.
"""

from __future__ import annotations

import argparse
import cProfile
import re
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import torch
from _short import Figure, cpu_seconds, in_products

from sklearn_einet.circuit import Circuit, LeafColumns
from sklearn_einet.families import Normal
from sklearn_einet.learning import StochasticEM, initialize
from sklearn_einet.structure import random_binary_trees
from sklearn_einet.tables.rows import Rows

N, D_FEATURES, DEPTH, REPLICAS = 2048, 512, 4, 10
ENTRIES, LAYERS, BATCHES = (10, 20, 40, 64), ("tucker", "cp"), (100, 512, 2048)
SECONDS = 2.0

# How often a step moves a number of 4 bytes through memory. Activations: written and read on the
# way up, read again on the way down, where their gradients are written and read. Parameters: read
# twice; gradients written, and multiplied with the parameters in place; averages read and written,
# and parameters written.
ACTIVATION_MOVES, PARAMETER_MOVES = {"train": 5, "infer": 2}, {"train": 8, "infer": 1}


# What the compiled functions are for.
COMPILED = {
    "run": "passes through the levels",
    "em_update_": "M-step of sums",
    "gathered": "leaves",
    "gathered_gradients": "leaves",
    "read_normal": "leaves",
    "natural_normal": "leaves",
    "maximize_normal": "leaves",
}


def fastest(function: Callable[[], Any], seconds: float = SECONDS) -> float:
    """Seconds of the fastest of several calls, three at least, after one more."""
    function()
    times: list[float] = []
    while len(times) < 3 or sum(times) < seconds:
        start = time.perf_counter()
        function()
        times.append(time.perf_counter() - start)
    return min(times)


def machine() -> tuple[float, float]:
    """Operations a second of a large matrix product, and bytes a second of a copy, both ways."""
    a, b, out = (torch.rand(2048, 2048) for _ in range(3))
    source = torch.rand(2**26)
    target = torch.empty_like(source)
    product = fastest(lambda: torch.mm(a, b, out=out), 0.3)
    copy = fastest(lambda: target.copy_(source), 0.3)
    return 2 * 2048**3 / product, 2 * 4 * 2**26 / copy


def new_circuit(K: int, layer: str) -> tuple[Circuit, Rows]:
    """A circuit with initial parameters, and the rows."""
    random_state = np.random.RandomState(0)
    X = random_state.randn(N, D_FEATURES)
    graph = random_binary_trees(D_FEATURES, DEPTH, REPLICAS, random_state)
    reference = np.tile([[0.0, 1.0]], (D_FEATURES, 1))
    columns = LeafColumns(Normal(), np.arange(D_FEATURES), reference)
    circuit = Circuit(graph, [columns], K, layer=layer, min_variance=1e-3)
    initialize(circuit, torch.from_numpy(X[:200]), None, random_state)
    return circuit, Rows(X, np.asarray, None, torch.device("cpu"), random_state)


def operations(circuit: Circuit, n_rows: int) -> dict[str, float]:
    """Multiplications and additions of the weights in an epoch, and in a pass of inference."""
    everything = 2.0 * n_rows * circuit.n_parameters
    sums = 2.0 * n_rows * sum(w.numel() for w in circuit.weights)
    return {"train": 2 * everything + sums, "infer": everything}


def moved(circuit: Circuit, batch: int) -> dict[str, float]:
    """Bytes that an epoch and a pass of inference must move through memory."""
    activations = 4.0 * N * sum(rows * k for rows, k in circuit.output_shapes)
    parameters = 4.0 * circuit.n_parameters * -(-N // batch)
    return {
        kind: ACTIVATION_MOVES[kind] * activations + PARAMETER_MOVES[kind] * parameters
        for kind in ("train", "infer")
    }


def infer(circuit: Circuit, rows: Rows, batch: int) -> None:
    parameters = circuit.parameters()
    with torch.no_grad():
        for block in rows.blocks(batch):
            circuit.log_prob(rows.select(block)[0], parameters)


def measure(K: int, layer: str, batch: int) -> None:
    """Print the two rows of a configuration."""
    rate, bandwidth = machine()
    circuit, rows = new_circuit(K, layer)
    solver = StochasticEM(0.01, 0.3, batch, N, 0.75)
    seconds = {
        "train": fastest(lambda: solver.epoch(circuit, rows)),
        "infer": fastest(lambda: infer(circuit, rows, batch), SECONDS / 2),
    }
    n_bytes = moved(circuit, batch)
    for kind, done in operations(circuit, N).items():
        of_rate = done / seconds[kind] / rate
        of_roof = max(done / rate, n_bytes[kind] / bandwidth) / seconds[kind]
        cells = f"{done / 1e9:.2f} | {1e3 * seconds[kind]:.1f} | {of_rate:.0%} | {of_roof:.0%}"
        print(
            f"| {layer} | {K} | {batch} | {kind} | {rate / 1e9:.0f} | {bandwidth / 1e9:.0f} | "
            f"{cells} |",
            flush=True,
        )


def profile(K: int, layer: str, batch: int) -> None:
    """Print where the time of an epoch goes, as a profiler sees it that makes Python slower."""
    circuit, rows = new_circuit(K, layer)
    solver = StochasticEM(0.01, 0.3, batch, N, 0.75)
    fastest(lambda: solver.epoch(circuit, rows))
    recorded = cProfile.Profile()
    recorded.runcall(solver.epoch, circuit, rows)
    groups: dict[str, float] = defaultdict(float)
    for entry in recorded.getstats():
        name = str(entry.code)  # of a function in C its description
        compiled = re.search(r"_native\.(\w+)", name)
        is_torch = "torch" in name or "TensorBase" in name
        key = "torch" if is_torch else "everything else"
        if compiled:
            key = COMPILED.get(compiled[1], "other loops")
        groups[key] += entry.inlinetime
    total = sum(groups.values())
    shares = ", ".join(f"{key} {groups[key] / total:.0%}" for key in sorted(groups))
    print(
        f"{layer}, K={K}, batches of {batch}: {1e3 * total:.0f} ms an epoch: {shares}", flush=True
    )


def short() -> Iterator[Figure]:
    """Cases for short.py."""
    for layer, K in (("tucker", 10), ("tucker", 40), ("cp", 32)):
        circuit, rows = new_circuit(K, layer)
        solver = StochasticEM(0.01, 0.3, 512, N, 0.75)
        solver.epoch(circuit, rows)

        def seconds(solver: Any = solver, circuit: Any = circuit, rows: Any = rows) -> list[float]:
            return [
                cpu_seconds(lambda: solver.epoch(circuit, rows)),
                cpu_seconds(lambda: infer(circuit, rows, 512)),
            ]

        train, inference = in_products(seconds)
        case = f"2048 x 512, {layer}, K={K}"
        yield Figure(case, "training epoch", "products", train)
        yield Figure(case, "inference", "products", inference)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="K=10 and 40, batches of 512 only")
    parser.add_argument("--profile", action="store_true", help="where the time goes, instead")
    arguments = parser.parse_args()
    entries = (10, 40) if arguments.quick else ENTRIES
    batches = (512,) if arguments.quick else BATCHES
    configurations = [(K, layer, b) for layer in LAYERS for K in entries for b in batches]
    if arguments.profile:
        for configuration in configurations:
            profile(*configuration)
        return
    names = ["layer", "K", "batch", "pass", "product GFLOP/s", "copy GB/s", "GFLOP", "ms"]
    names += ["share of matrix rate", "share of roof"]
    print("| " + " | ".join(names) + " |")
    print("|---" * len(names) + "|")
    for configuration in configurations:
        measure(*configuration)


if __name__ == "__main__":
    main()
