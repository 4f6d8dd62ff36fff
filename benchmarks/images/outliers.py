"""Digits against images that are none: the paper's Figure 6, and its test log-likelihood.

A circuit over rectangles of pixels, with 256 states each, learns MNIST. How likely does it find
MNIST's test images, SEMEION's digits and house numbers?

python benchmarks/images/outliers.py
"""

from __future__ import annotations

import argparse
import resource
import time
import warnings
from pathlib import Path

import matplotlib as mpl
import numpy as np
import torch
from _images import mnist, mnist_like_semeion, semeion, svhn_grey
from sklearn.exceptions import ConvergenceWarning
from sklearn.metrics import roc_auc_score

from sklearn_einet import EinetDensity
from sklearn_einet.families import Categorical
from sklearn_einet.inspection import LogDensityDisplay

PAPER = -686.20


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=60_000)
    parser.add_argument("--epochs", type=int, default=5)
    parser.add_argument("--K", type=int, default=10)
    parser.add_argument("--device", default="auto")
    parser.add_argument("--picture", type=Path, default=Path(__file__).parent / "outliers.png")
    arguments = parser.parse_args()
    mpl.use("agg")
    warnings.simplefilter("ignore", ConvergenceWarning)
    train, test = mnist()
    before = _peak_memory()
    model = EinetDensity(
        K=arguments.K,
        leaf=Categorical(256),
        structure="poon-domingos",
        image_shape=(28, 28),
        delta=[7, 14, 28],
        batch_size=200,
        step_size=0.1,
        step_decay=0.0,
        pseudocount=1.0,
        max_iter=arguments.epochs,
        tol=0.0,
        device=arguments.device,
        random_state=0,
    )
    start = time.perf_counter()
    model.fit(train[: arguments.rows])
    seconds = time.perf_counter() - start
    print(
        f"{torch.get_num_threads()} threads, {model.circuit_.device}: {model.n_iter_} epochs "
        f"of {min(arguments.rows, len(train))} images in {seconds / 60:.1f} minutes; "
        f"{model.circuit_.n_parameters / 1e6:.1f} M parameters; memory at its peak "
        f"{_peak_memory():.2f} GiB, {before:.2f} of them before it\n"
    )
    sets = {
        "MNIST, test": test,
        "SEMEION, enlarged by interpolation": semeion(order=1),
        "SEMEION, enlarged by repeating pixels": semeion(order=0),
        "SVHN, grey": svhn_grey(),
        "(SEMEION, made to look like MNIST)": mnist_like_semeion(),
    }
    scores = {name: model.score_samples(images) for name, images in sets.items()}
    own = scores["MNIST, test"]
    print("| images | number | mean log-density | least | largest | AUROC against MNIST, test |")
    print("|---|---|---|---|---|---|")
    for name, s in scores.items():
        auroc = roc_auc_score(np.repeat([1, 0], [len(own), len(s)]), np.append(own, s))
        shown = "" if s is own else f"{auroc:.5f}"
        print(f"| {name} | {len(s)} | {s.mean():.1f} | {s.min():.0f} | {s.max():.0f} | {shown} |")
    error = own.std() / np.sqrt(len(own))
    print(f"\nMNIST, test: {own.mean():.2f} +- {error:.2f} nats; the paper's: {PAPER} nats")
    shown_sets = {name: s for name, s in scores.items() if "repeating" not in name}
    display = LogDensityDisplay(shown_sets, threshold=model.offset_)
    display.plot(bins=150)
    display.ax_.set_yscale("log")
    display.figure_.savefig(arguments.picture, dpi=130)


def _peak_memory() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20


if __name__ == "__main__":
    main()
