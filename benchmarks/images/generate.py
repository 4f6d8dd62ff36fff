"""Pictures: draws of mixtures of networks, and covered images completed by them.

python benchmarks/images/generate.py mnist svhn faces
"""

from __future__ import annotations

import argparse
import time
import warnings
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
from _images import faces, mnist, svhn
from sklearn.exceptions import ConvergenceWarning

from sklearn_einet import EinetMixture
from sklearn_einet.families import Categorical
from sklearn_einet.inspection import ImageGridDisplay

SEEN = 6
DRAWS = 10

DIGITS = {
    "n_components": 20,
    "K": 4,
    "leaf": Categorical(256),
    "image_shape": (28, 28),
    "delta": [7, 14, 28],
    "batch_size": 100,
    "step_size": 0.1,
    "pseudocount": 1.0,
    "max_iter": 4,
}

# The paper's section 4.2: values in [0, 1], four vertical strips, bounds on the variances.
PHOTOGRAPHS = {
    "n_components": 12,
    "K": 16,
    "leaf": "normal",
    "image_shape": (32, 32, 3),
    "delta": 4,
    "split_axes": "vertical",
    "variance_bounds": (1e-6, 1e-2),
    "pseudocount": 0.1,
    "max_iter": 30,
}

SETS = {"mnist": (mnist, DIGITS), "svhn": (svhn, PHOTOGRAPHS), "faces": (faces, PHOTOGRAPHS)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("sets", nargs="+", choices=SETS)
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--rows", type=int, help="learn from so many images only")
    parser.add_argument("--folder", type=Path, default=Path(__file__).parent)
    arguments = parser.parse_args()
    mpl.use("agg")
    warnings.simplefilter("ignore", ConvergenceWarning)
    print("| images | rows | features | components | minutes | test, nats per feature |")
    print("|---|---|---|---|---|---|")
    for name in arguments.sets:
        load, parameters = SETS[name]
        train, test = load()
        _run(name, train[: arguments.rows], test, parameters, arguments)


def _run(
    name: str,
    train: np.ndarray,
    test: np.ndarray,
    parameters: dict[str, Any],
    arguments: argparse.Namespace,
) -> None:
    if parameters["leaf"] == "normal":
        train, test = train / np.float32(255), test / np.float32(255)
    model = EinetMixture(
        structure="poon-domingos",
        step_decay=0.0,
        n_jobs=arguments.jobs,
        random_state=0,
        **parameters,
    )
    start = time.perf_counter()
    model.fit(train)
    minutes = (time.perf_counter() - start) / 60
    print(
        f"| {name} | {len(train)} | {train.shape[1]} | {len(model.weights_)} | {minutes:.1f} "
        f"| {model.score(test[:1000]) / test.shape[1]:.3f} |",
        flush=True,
    )
    value_range = (0.0, float(train.max()))
    drawn = ImageGridDisplay.from_estimator(
        model, n_samples=60, n_columns=15, value_range=value_range, noise=False, random_state=0
    )
    drawn.figure_.savefig(arguments.folder / f"{name}_drawn.png", dpi=130)
    shown = np.random.RandomState(1).choice(len(test), SEEN, replace=False)
    for part in ("upper", "left"):
        display = ImageGridDisplay.from_estimator(
            model,
            _covered(test[shown], parameters["image_shape"], part),
            original=test[shown],
            n_draws=DRAWS,
            value_range=value_range,
            noise=False,
            random_state=0,
        )
        display.figure_.savefig(arguments.folder / f"{name}_{part}_half.png", dpi=130)


def _covered(images: np.ndarray, shape: tuple[int, ...], part: str) -> np.ndarray:
    """Images of which one half is missing."""
    covered = images.reshape(-1, *shape).astype(np.float64)
    if part == "upper":
        covered[:, : shape[0] // 2] = np.nan
    else:
        covered[:, :, : shape[1] // 2] = np.nan
    return covered.reshape(images.shape)


if __name__ == "__main__":
    main()
