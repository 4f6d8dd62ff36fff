"""MNIST in 256 states a pixel: test log-likelihood, draws, completions, the paper's Figure 6.

A quad tree learns the training images. How likely does it find MNIST's test images, SEMEION's
digits and house numbers? What does it draw, and what is behind covered halves?

python benchmarks/images/mnist.py
"""

from __future__ import annotations

import argparse
import time
import warnings
from pathlib import Path

import matplotlib as mpl
import numpy as np
import torch
from _images import mnist, mnist_like_semeion, semeion, svhn_grey
from _model import mnist_model
from _pictures import save_pictures
from efficiency import peak_mb
from sklearn.exceptions import ConvergenceWarning
from sklearn.metrics import roc_auc_score

from sklearn_einet import EinetDensity
from sklearn_einet.inspection import LogDensityDisplay

# Mean log-density of the test images in the paper, in nats.
PAPER = -686.20


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=60_000)
    parser.add_argument("--structure", default="quad-tree")
    parser.add_argument("--epochs", type=int, default=6)
    parser.add_argument("--K", type=int, default=128)
    parser.add_argument("--device", default="auto")
    parser.add_argument("--folder", type=Path, default=Path(__file__).parent)
    arguments = parser.parse_args()
    mpl.use("agg")
    warnings.simplefilter("ignore", ConvergenceWarning)
    train, test = mnist()
    before = peak_mb()
    model = mnist_model(
        arguments.K, arguments.epochs, structure=arguments.structure, device=arguments.device
    )
    start, cpu = time.perf_counter(), time.process_time()
    model.fit(train[: arguments.rows])
    seconds, cpu = time.perf_counter() - start, time.process_time() - cpu
    print(
        f"{torch.get_num_threads()} threads, {model.circuit_.device}: {model.n_iter_} epochs "
        f"of {min(arguments.rows, len(train))} images in {seconds / 60:.1f} minutes, "
        f"{cpu / 60:.1f} of CPU time; {model.circuit_.n_parameters / 1e6:.1f} M parameters; "
        f"memory at its peak {peak_mb() / 1024:.2f} GiB, {before / 1024:.2f} of them before it\n",
        flush=True,
    )
    _print_scores(model, test, arguments.folder)
    save_pictures(model, test, "mnist", arguments.folder)


def _print_scores(model: EinetDensity, test: np.ndarray, folder: Path) -> None:
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
    bits = -own.mean() / test.shape[1] / np.log(2)
    print(
        f"\nMNIST, test: {own.mean():.2f} +- {error:.2f} nats, {bits:.4f} bits a pixel; the "
        f"paper's: {PAPER} nats, {-PAPER / test.shape[1] / np.log(2):.4f}"
    )
    shown_sets = {name: s for name, s in scores.items() if "repeating" not in name}
    display = LogDensityDisplay(shown_sets, threshold=model.offset_)
    display.plot(bins=150)
    display.ax_.set_yscale("log")
    display.figure_.savefig(folder / "outliers.png", dpi=130)


if __name__ == "__main__":
    main()
