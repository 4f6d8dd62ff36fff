"""House numbers and faces in colour: bits a number, draws, and covered halves completed.

python benchmarks/images/photographs.py
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
import warnings
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
from _images import faces, svhn
from _pictures import save_pictures
from efficiency import peak_mb
from sklearn.exceptions import ConvergenceWarning

from sklearn_einet import EinetDensity

# Images, and their height, width and channels.
SETS: dict[str, tuple[Any, tuple[int, int, int]]] = {
    "svhn": (svhn, (32, 32, 3)),
    "faces": (faces, (64, 64, 3)),
}

# Strips are those of the paper, section 4.2.
MODELS: dict[str, dict[str, Any]] = {
    "quad-tree": {"structure": "quad-tree", "K": 32},
    "quad-graph": {"structure": "quad-graph", "K": 16},
    "rectangles": {"structure": "poon-domingos", "K": 8, "layer": "cp", "delta": [4, 32]},
    "strips": {"structure": "poon-domingos", "K": 40, "delta": 4, "split_axes": "vertical"},
}

PICTURED = "quad-tree", "strips"


def child(name: str, kind: str, epochs: int, folder: Path) -> None:
    """Measure in this process and print the result."""
    mpl.use("agg")
    warnings.simplefilter("ignore", ConvergenceWarning)
    load, shape = SETS[name]
    train, test = load()
    model = EinetDensity(
        image_shape=shape,
        leaf="normal",
        max_iter=epochs,
        tol=1.0,
        random_state=0,
        **MODELS[kind],
    )
    start = time.perf_counter()
    model.fit(train)
    minutes = (time.perf_counter() - start) / 60
    peak = peak_mb() / 1024
    bits = [-model.score(rows) / rows.shape[1] / np.log(2) for rows in (train, test)]
    size = model.circuit_.n_parameters / 1e6
    print(json.dumps([*train.shape, size, model.n_iter_, minutes, peak, *bits]))
    if kind in PICTURED:
        save_pictures(model, test, f"{name}_{kind}", folder)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--child", nargs=2, help=argparse.SUPPRESS)
    parser.add_argument("--sets", nargs="+", default=list(SETS), choices=SETS)
    parser.add_argument("--models", nargs="+", default=list(MODELS), choices=MODELS)
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--folder", type=Path, default=Path(__file__).parent)
    arguments = parser.parse_args()
    if arguments.child:
        child(*arguments.child, arguments.epochs, arguments.folder)
        return
    print("| images | model | rows x columns | parameters | epochs | minutes | peak GiB ", end="")
    print("| bits, train | bits, test |\n|---|---|---|---|---|---|---|---|---|")
    for name in arguments.sets:
        for kind in arguments.models:
            own = "--epochs", str(arguments.epochs), "--folder", str(arguments.folder)
            command = [sys.executable, __file__, "--child", name, kind, *own]
            done = subprocess.run(command, capture_output=True, text=True, check=True)
            rows, columns, size, epochs, minutes, peak, *bits = json.loads(
                done.stdout.splitlines()[-1]
            )
            print(
                f"| {name} | {kind}, K={MODELS[kind]['K']} | {rows} x {columns} | {size:.1f} M "
                f"| {epochs} | {minutes:.1f} | {peak:.2f} | {bits[0]:.3f} | {bits[1]:.3f} |",
                flush=True,
            )


if __name__ == "__main__":
    main()
