"""Time and memory on the structure of Poon and Domingos, beside libcirkit.

    python benchmarks/poon_domingos.py

Gaussian noise, 1000 images, batches of 100, normal leaves, the same rectangles and cuts in both
libraries. Every measurement runs in a process of its own, and the libraries take turns. Columns as
in efficiency.py. Needs the extra "benchmarks".
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import warnings
from collections.abc import Iterator

import numpy as np
from _short import Figure
from efficiency import cirkit_circuit, measure_estimator, measure_gradient, short_estimator

N = 1000

# Pixels and pieces a side, K.
CASES = [(8, 8, 4), (8, 8, 10), (28, 4, 10), (28, 4, 20), (28, 7, 4), (28, 7, 10)]


def child(library: str, side: int, pieces: int, K: int) -> None:
    """Measure in this process and print the result."""
    warnings.simplefilter("ignore")
    X = np.random.RandomState(0).randn(N, side * side).astype(np.float32)
    if library == "libcirkit":
        from cirkit.templates.region_graph import PoonDomingos

        graph = PoonDomingos((1, side, side), delta=side / pieces)
        size = len(list(graph.region_nodes)), len(list(graph.partition_nodes))
        result = measure_gradient(X, lambda: cirkit_circuit(graph, K))
    else:
        from sklearn_einet.structure import poon_domingos

        regions = poon_domingos((side, side), pieces).regions
        size = len(regions), sum(len(region.partitions) for region in regions)
        result = measure_estimator(
            X, structure="poon-domingos", image_shape=(side, side), delta=pieces, K=K
        )
    print(json.dumps(result | {"regions": size[0], "partitions": size[1]}))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--child", nargs=4, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.child:
        library, *numbers = arguments.child
        child(library, *map(int, numbers))
        return
    print(
        "| image, pieces, K | regions, partitions | library | train s/epoch | inference s |", end=""
    )
    print(" peak MB | times ours |\n|---|---|---|---|---|---|---|")
    for case in CASES:
        ours: dict[str, float] = {}
        for library in ("sklearn-einet", "libcirkit"):
            command = [sys.executable, __file__, "--child", library, *map(str, case)]
            run = subprocess.run(command, capture_output=True, text=True, check=True)
            result = json.loads(run.stdout.splitlines()[-1])
            ours = ours or result
            ratios = " / ".join(f"{result[f] / ours[f]:.1f}" for f in ("train", "infer", "memory"))
            print(
                f"| {case[0]} x {case[0]}, {case[1]} x {case[1]}, {case[2]} "
                f"| {result['regions']}, {result['partitions']} | {library} "
                f"| {result['train']:.3g} | {result['infer']:.3g} | {result['memory']:.0f} "
                f"| {ratios} |",
                flush=True,
            )


def short() -> Iterator[Figure]:
    """Cases for short.py."""
    for number, (side, pieces, K) in enumerate((CASES[0], CASES[2])):
        X = np.random.RandomState(0).randn(200, side * side).astype(np.float32)
        yield from short_estimator(
            f"200 x {side} x {side}, {pieces} x {pieces} pieces, K={K}",
            X,
            is_first=number == 0,
            structure="poon-domingos",
            image_shape=(side, side),
            delta=pieces,
            K=K,
        )


if __name__ == "__main__":
    main()
