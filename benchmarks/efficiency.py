"""Time and memory beside public implementations: the protocol of Fig. 4 of the paper.

    python benchmarks/efficiency.py [--rounds 1] [--quick | --only D,R,K ...]

Gaussian noise, 2000 x 512, batches of 100, float32, this machine's cores. Depth D, replicas R and
vector length K vary around D=4, R=10, K=10. Every measurement runs in a process of its own; the
libraries take turns within a configuration, and every round repeats them all. Needs the extra
"benchmarks". The results go to benchmarks/efficiency.csv and, as a table, to the output.

Columns: the fastest training epoch in seconds (stochastic EM here; gradients and Adam for the
others), the fastest pass of inference over all rows (in batches of 100, of 500 or of all rows,
whichever is fastest for the library), and the peak of the resident memory above that after the
imports, in batches of 100. "sklearn-einet (float64)" is `score_samples`, which is what users call:
it computes in float64 and in batches of its own choice. With --only, the other results stay.
"""

from __future__ import annotations

import argparse
import csv
import json
import resource
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from _short import Figure, in_products, skipped

N, D_FEATURES, BATCH = 2000, 512, 100
DEFAULT = {"D": 4, "R": 10, "K": 10}
SWEEP = {"D": [1, 2, 4, 6, 8, 9], "R": [1, 5, 10, 20, 40], "K": [1, 5, 10, 20, 40]}
LIBRARIES = ["sklearn-einet", "libcirkit", "spflow", "deeprob-kit"]
RESULTS = Path(__file__).with_suffix(".csv")
SECONDS = 4.0

# A measurement that takes longer, in seconds, is left out.
TIMEOUT = 120

# For inference every library may choose the batch that suits it best.
INFERENCE_BATCHES = (100, 500, N)


def repeat(
    function: Callable[[], Any],
    at_least: int = 1,
    at_most: int = 5,
    now: Callable[[], float] = time.perf_counter,
) -> float:
    """The fastest of several calls, in seconds."""
    times: list[float] = []
    while len(times) < at_least or (len(times) < at_most and sum(times) < SECONDS):
        start = now()
        function()
        times.append(now() - start)
    return min(times)


def resident_mb() -> float:
    """Resident memory now."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * resource.getpagesize() / 2**20


def peak_mb() -> float:
    """The largest resident memory so far."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def measure_ours(X: np.ndarray, D: int, R: int, K: int) -> dict[str, float]:
    return measure_estimator(X, depth=D, replicas=R, K=K)


def measure_estimator(
    X: np.ndarray, now: Callable[[], float] = time.perf_counter, **parameters: Any
) -> dict[str, float]:
    """An EinetDensity with some parameters."""
    import torch
    from _timing import Clock

    from sklearn_einet import EinetDensity

    before = resident_mb()

    clock = Clock(now)
    model = EinetDensity(
        **{"structure": "binary-trees", "layer": "tucker"} | parameters,
        batch_size=BATCH,
        max_iter=4,
        tol=0,
        early_stopping=False,
        random_state=0,
    )
    model.set_callbacks(clock).fit(X)
    rows = torch.from_numpy(X)
    circuit = model.circuit_
    learned = circuit.parameters()

    def infer(batch: int) -> None:
        with torch.no_grad():
            for i in range(0, len(X), batch):
                circuit.log_prob(rows[i : i + batch], learned)

    infer(BATCH)
    memory = peak_mb() - before
    return {
        "train": clock.fastest_epoch(),
        "infer": min(repeat(lambda b=b: infer(b), now=now) for b in INFERENCE_BATCHES),
        "infer_float64": repeat(lambda: model.score_samples(X), now=now),
        "memory": memory,
        "parameters": circuit.n_parameters,
    }


def measure_gradient(
    X: np.ndarray, build: Callable[[], tuple[Any, Callable[[Any], Any]]]
) -> dict[str, float]:
    """Any torch module and the function that gives its log-likelihoods."""
    import torch

    before = resident_mb()
    model, log_likelihood = build()
    rows = torch.from_numpy(X)
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01)

    def step(i: int) -> None:
        optimizer.zero_grad()
        (-log_likelihood(rows[i : i + BATCH]).mean()).backward()
        optimizer.step()

    def epoch() -> None:
        for i in range(0, len(X), BATCH):
            step(i)

    def infer(batch: int) -> None:
        with torch.no_grad():
            for i in range(0, len(X), batch):
                log_likelihood(rows[i : i + batch])

    step(0)
    train = repeat(epoch)
    infer(BATCH)
    memory = peak_mb() - before
    return {
        "train": train,
        "infer": min(repeat(lambda b=b: infer(b)) for b in INFERENCE_BATCHES),
        "memory": memory,
        "parameters": sum(p.numel() for p in model.parameters()),
    }


def measure_cirkit(X: np.ndarray, D: int, R: int, K: int) -> dict[str, float]:
    from cirkit.templates.region_graph import RandomBinaryTree

    return measure_gradient(
        X, lambda: cirkit_circuit(RandomBinaryTree(D_FEATURES, depth=D, num_repetitions=R), K)
    )


def cirkit_circuit(graph: Any, K: int) -> tuple[Any, Callable[[Any], Any]]:
    """A compiled circuit of libcirkit with normal leaves and einsum layers."""
    from cirkit.pipeline import PipelineContext
    from cirkit.templates.utils import (
        Parameterization,
        name_to_input_layer_factory,
        parameterization_to_factory,
    )

    weights = parameterization_to_factory(
        Parameterization(activation="softmax", initialization="normal")
    )
    symbolic = graph.build_circuit(
        input_factory=name_to_input_layer_factory("gaussian"),
        sum_product="tucker",
        sum_weight_factory=weights,
        num_input_units=K,
        num_sum_units=K,
    )
    context = PipelineContext(backend="torch", semiring="lse-sum", fold=True, optimize=True)
    circuit = context.compile(symbolic)
    return circuit, circuit


def measure_spflow(X: np.ndarray, D: int, R: int, K: int) -> dict[str, float]:
    from spflow.modules.leaves import Normal
    from spflow.zoo.einet import Einet

    def build() -> tuple[Any, Callable[[Any], Any]]:
        leaf = Normal(scope=list(range(D_FEATURES)), out_channels=K, num_repetitions=R)
        model = Einet([leaf], 1, K, K, D, R, layer_type="einsum")
        return model, model.log_likelihood

    return measure_gradient(X, build)


def measure_deeprob(X: np.ndarray, D: int, R: int, K: int) -> dict[str, float]:
    from deeprob.spn.models.ratspn import GaussianRatSpn

    def build() -> tuple[Any, Callable[[Any], Any]]:
        model = GaussianRatSpn(
            D_FEATURES,
            rg_depth=D,
            rg_repetitions=R,
            rg_batch=K,
            rg_sum=K,
            random_state=0,
            optimize_scale=True,
        )
        return model.train(), model

    return measure_gradient(X, build)


MEASURE = {
    "sklearn-einet": measure_ours,
    "libcirkit": measure_cirkit,
    "spflow": measure_spflow,
    "deeprob-kit": measure_deeprob,
}


def child(library: str, D: int, R: int, K: int) -> None:
    """Measure in this process and print the result."""
    import warnings

    warnings.simplefilter("ignore")
    X = np.random.RandomState(0).randn(N, D_FEATURES).astype(np.float32)
    result = MEASURE[library](X, D, R, K)
    print(json.dumps(result))


def configurations(quick: bool, only: list[str]) -> list[dict[str, int]]:
    """The sweep; the default configuration comes again before every parameter."""
    if quick:
        return [DEFAULT]
    if only:
        return [dict(zip("DRK", map(int, wanted.split(",")), strict=True)) for wanted in only]
    return [
        DEFAULT | {name: value}
        for name, values in SWEEP.items()
        for value in [DEFAULT[name], *(v for v in values if v != DEFAULT[name])]
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--quick", action="store_true", help="the default configuration only")
    parser.add_argument(
        "--only", nargs="+", default=[], help="some configurations; the others are kept"
    )
    parser.add_argument("--child", nargs=4, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.child:
        library, *numbers = arguments.child
        child(library, *map(int, numbers))
        return
    results = {} if not arguments.only else kept_results(arguments.only)
    for _ in range(arguments.rounds):
        for c in configurations(arguments.quick, arguments.only):
            for library in LIBRARIES:
                key = (library, *(str(c[k]) for k in "DRK"))
                command = [sys.executable, __file__, "--child", *key]
                try:
                    run = subprocess.run(
                        command, capture_output=True, text=True, check=True, timeout=TIMEOUT
                    )
                except subprocess.SubprocessError as error:
                    print(f"{key}: {error}", file=sys.stderr)
                    continue
                new = json.loads(run.stdout.splitlines()[-1])
                old = results.get(key, new)
                results[key] = {k: min(old[k], v) for k, v in new.items()}
                print(key, new, file=sys.stderr, flush=True)
    write(results)


def kept_results(only: list[str]) -> dict[tuple[str, ...], dict[str, float]]:
    """What the file has of other configurations."""
    kept = {}
    with RESULTS.open() as file:
        for row in csv.DictReader(file):
            key = tuple(row.pop(name) for name in ("library", "D", "R", "K"))
            if ",".join(key[1:]) not in only:
                kept[key] = {name: float(value) for name, value in row.items() if value}
    return kept


def write(results: dict[tuple[str, ...], dict[str, float]]) -> None:
    """Save all results, and print a table with the ratio to the best other library."""
    with RESULTS.open("w", newline="") as file:
        fields = ["library", "D", "R", "K", "train", "infer", "infer_float64", "memory"]
        writer = csv.writer(file)
        writer.writerow([*fields, "parameters"])
        for key, value in results.items():
            row = [f"{value[f]:.4g}" if f in value else "" for f in fields[4:]]
            writer.writerow([*key, *row, int(value["parameters"])])
    print("| D, R, K | library | train s/epoch | inference s | peak MB | times ours |")
    print("|---|---|---|---|---|---|")
    for key, value in results.items():
        ours = results.get(("sklearn-einet", *key[1:]))
        if ours is None:
            continue
        ratios = " / ".join(f"{value[f] / ours[f]:.1f}" for f in ("train", "infer", "memory"))
        cells = f"{value['train']:.3g} | {value['infer']:.3g} | {value['memory']:.0f}"
        print(f"| {', '.join(key[1:])} | {key[0]} | {cells} | {ratios} |")
        if "infer_float64" in value:
            double = value["infer_float64"]
            ratio = f"/ {double / ours['infer']:.1f} /"
            print(
                f"| {', '.join(key[1:])} | sklearn-einet (float64) | | {double:.3g} | | {ratio} |"
            )


def short_estimator(
    case: str, X: np.ndarray, is_first: bool = True, **parameters: Any
) -> Iterator[Figure]:
    """Time and memory of an EinetDensity, for short.py."""
    memory: list[float] = []

    def seconds() -> list[float]:
        result = measure_estimator(X, time.process_time, **parameters)
        memory.append(result["memory"])
        return [result[key] for key in ("train", "infer", "infer_float64")]

    train, infer, infer_float64 = in_products(seconds)
    yield Figure(case, "training epoch", "products", train)
    yield Figure(case, "inference", "products", infer)
    yield Figure(case, "score_samples", "products", infer_float64)
    # Later rounds, and later cases of the process, begin with what the first one left.
    if is_first:
        yield Figure(case, "peak memory", "MB", memory[0])


def short() -> Iterator[Figure]:
    """Cases for short.py."""
    X = np.random.RandomState(0).randn(500, D_FEATURES).astype(np.float32)
    yield from short_estimator("500 x 512, D=4, R=10, K=10", X, depth=4, replicas=10, K=10)
    X = X[:200]
    for library in LIBRARIES[1:]:
        case = f"200 x 512, beside {library}"
        try:
            theirs, ours = MEASURE[library](X, **DEFAULT), measure_ours(X, **DEFAULT)
        except ModuleNotFoundError as error:
            yield skipped(case, error)
            continue
        yield Figure(case, "ours / theirs, training", "times", ours["train"] / theirs["train"])
        yield Figure(case, "ours / theirs, inference", "times", ours["infer"] / theirs["infer"])


if __name__ == "__main__":
    main()
