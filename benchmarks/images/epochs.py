"""An epoch on MNIST's quad tree, beside libcirkit: CP layers, 256 states a pixel.

    python benchmarks/images/epochs.py

The same regions and the same K in both libraries, 10,000 images in batches of 250. Every
measurement runs in a process of its own, and the libraries take turns. libcirkit takes gradient
steps, this package steps of stochastic EM. Needs the extra "benchmarks".
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
import warnings
from typing import Any

import numpy as np
import torch
from _images import mnist
from efficiency import peak_mb, resident_mb

N, BATCH, EPOCHS = 10_000, 250, 2


def ours(X: np.ndarray, K: int) -> dict[str, float]:
    from _timing import Clock

    from sklearn_einet import EinetDensity
    from sklearn_einet.families import Categorical

    clock = Clock(time.perf_counter)
    before = resident_mb()
    model = EinetDensity(
        structure="quad-tree",
        image_shape=(28, 28),
        leaf=Categorical(256),
        K=K,
        batch_size=BATCH,
        max_iter=EPOCHS,
        tol=0,
        early_stopping=False,
        random_state=0,
    )
    model.set_callbacks(clock).fit(X)
    size = model.circuit_.n_parameters
    return {"train": clock.fastest_epoch(), "memory": peak_mb() - before, "parameters": size}


def libcirkit(X: np.ndarray, K: int) -> dict[str, float]:
    from cirkit.pipeline import PipelineContext
    from cirkit.templates import data_modalities
    from cirkit.templates.utils import Parameterization

    softmax = Parameterization(activation="softmax", initialization="normal")
    before = resident_mb()
    symbolic = data_modalities.image_data(
        (1, 28, 28),
        region_graph="quad-tree-4",
        input_layer="categorical",
        num_input_units=K,
        sum_product_layer="cp",
        num_sum_units=K,
        sum_weight_param=softmax,
    )
    context = PipelineContext(backend="torch", semiring="lse-sum", fold=True, optimize=True)
    circuit = context.compile(symbolic)
    optimizer = torch.optim.Adam(circuit.parameters(), lr=0.01)
    rows = torch.from_numpy(X.astype(np.int64))
    seconds = []
    for _ in range(EPOCHS):
        start = time.perf_counter()
        for part in rows.split(BATCH):
            optimizer.zero_grad()
            (-circuit(part).mean()).backward()
            optimizer.step()
        seconds.append(time.perf_counter() - start)
    size = sum(p.numel() for p in circuit.parameters())
    return {"train": min(seconds), "memory": peak_mb() - before, "parameters": size}


LIBRARIES = {"sklearn-einet": ours, "libcirkit": libcirkit}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--child", nargs=2, help=argparse.SUPPRESS)
    parser.add_argument("--K", nargs="+", type=int, default=[16, 32, 64])
    arguments = parser.parse_args()
    if arguments.child:
        warnings.simplefilter("ignore")
        library, K = arguments.child
        print(json.dumps(LIBRARIES[library](mnist()[0][:N], int(K))))
        return
    print(f"{N} images, batches of {BATCH}, {torch.get_num_threads()} threads\n")
    print("| K | library | parameters | s/epoch | peak MB | times ours, time and memory |")
    print("|---|---|---|---|---|---|")
    for K in arguments.K:
        first: dict[str, Any] = {}
        for library in LIBRARIES:
            command = [sys.executable, __file__, "--child", library, str(K)]
            done = subprocess.run(command, capture_output=True, text=True, check=True)
            found = json.loads(done.stdout.splitlines()[-1])
            first = first or found
            ratios = " / ".join(f"{found[name] / first[name]:.1f}" for name in ("train", "memory"))
            print(
                f"| {K} | {library} | {found['parameters'] / 1e6:.1f} M | {found['train']:.2f} "
                f"| {found['memory']:.0f} | {ratios} |",
                flush=True,
            )


if __name__ == "__main__":
    main()
