"""Structures and layers on MNIST with 256 states a pixel, every one for the same CPU time.

python benchmarks/images/structures.py
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
from _timing import Deadline
from efficiency import peak_mb
from sklearn.exceptions import ConvergenceWarning

from sklearn_einet import EinetDensity
from sklearn_einet.families import Categorical

STRUCTURES: dict[str, dict[str, Any]] = {
    "chow-liu": {},
    "quad-tree": {"image_shape": (28, 28)},
    "quad-graph": {"image_shape": (28, 28)},
    "poon-domingos": {"image_shape": (28, 28), "delta": [7, 28]},
}


def child(structure: str, layer: str, K: int, seconds: float, n_rows: int) -> None:
    """Measure in this process and print the result."""
    warnings.simplefilter("ignore", ConvergenceWarning)
    train, test = mnist()
    rows = np.random.RandomState(0).permutation(len(train))[:n_rows]
    model = EinetDensity(
        structure=structure,
        layer=layer,
        K=K,
        leaf=Categorical(256),
        pseudocount=1.0,
        max_iter=1000,
        tol=0.0,
        n_iter_no_change=1000,
        random_state=0,
        **STRUCTURES[structure],
    )
    # What follows the epochs is about two more passes over the rows.
    model.set_callbacks(Deadline(seconds, 2, time.process_time))
    start = time.process_time()
    model.fit(train[rows])
    result = {
        "seconds": time.process_time() - start,
        "epochs": model.n_iter_,
        "parameters": model.circuit_.n_parameters,
        "bits": -model.score(test) / test.shape[1] / np.log(2),
        "GiB": peak_mb() / 1024,
    }
    print(json.dumps(result))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--child", nargs=5, help=argparse.SUPPRESS)
    parser.add_argument("--structures", nargs="+", default=list(STRUCTURES), choices=STRUCTURES)
    parser.add_argument("--layers", nargs="+", default=["cp", "tucker"])
    parser.add_argument("--K", nargs="+", type=int, default=[16, 32, 64, 128])
    parser.add_argument("--seconds", type=float, default=120.0)
    parser.add_argument("--rows", type=int, default=20_000)
    arguments = parser.parse_args()
    if arguments.child:
        structure, layer, K, seconds, rows = arguments.child
        child(structure, layer, int(K), float(seconds), int(rows))
        return
    print(f"{arguments.rows} images, {torch.get_num_threads()} threads\n")
    print("| structure | layer | K | parameters | epochs | CPU s | peak GiB | bits a pixel |")
    print("|---|---|---|---|---|---|---|---|")
    for structure in arguments.structures:
        for layer in arguments.layers:
            for K in arguments.K:
                if K > 16 and (structure == "poon-domingos" or layer == "tucker"):
                    continue  # 13,000 cuts, or K^3 weights a join
                case = structure, layer, K, arguments.seconds, arguments.rows
                print(_line(case), flush=True)


def _line(case: tuple[Any, ...]) -> str:
    command = [sys.executable, __file__, "--child", *map(str, case)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    found = json.loads(done.stdout.splitlines()[-1])
    return (
        f"| {case[0]} | {case[1]} | {case[2]} | {found['parameters'] / 1e6:.1f} M "
        f"| {found['epochs']} | {found['seconds']:.0f} | {found['GiB']:.2f} | {found['bits']:.3f} |"
    )


if __name__ == "__main__":
    main()
