"""One network against a mixture of as many parameters, trained on MNIST for as long.

python benchmarks/images/mixture.py
"""

from __future__ import annotations

import argparse
import time
import warnings
from collections.abc import Iterator

import numpy as np
import torch
from _images import mnist
from _short import Figure, cpu_seconds, in_products
from sklearn.exceptions import ConvergenceWarning

from sklearn_einet import EinetDensity, EinetMixture
from sklearn_einet.families import Categorical

COMMON = {
    "structure": "poon-domingos",
    "image_shape": (28, 28),
    "batch_size": 200,
    "step_size": 0.1,
    "step_decay": 0.0,
    "tol": 0.0,
    "n_iter_no_change": 100,
    "random_state": 0,
}
STATES = {"leaf": Categorical(256), "delta": [7, 14, 28], "pseudocount": 1.0}
BITS = {"leaf": "bernoulli", "delta": [7, 14, 28], "pseudocount": 0.1}
STRIPS = {
    "leaf": "normal",
    "delta": 7,
    "split_axes": "vertical",
    "variance_bounds": (1e-6, 1e-2),
    "pseudocount": 0.1,
}

# Pixels, parameters, and K and epochs of one network and of each of ten components: about as many
# parameters and about as much time.
CASES = {
    "256 states": (STATES, (10, 3), (3, 16)),
    "black or white": (BITS, (10, 3), (4, 12)),
    "normal, strips": (STRIPS, (40, 20), (12, 40)),
}


def prepared(images: np.ndarray, case: str) -> np.ndarray:
    """Pixels as a case has them."""
    if case == "256 states":
        return images
    return images > 127 if case == "black or white" else images / np.float32(255)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=20_000)
    parser.add_argument("--cases", nargs="+", default=list(CASES), choices=CASES)
    arguments = parser.parse_args()
    warnings.simplefilter("ignore", ConvergenceWarning)
    train, test = mnist()
    print(f"MNIST, {arguments.rows} training rows, {torch.get_num_threads()} threads\n")
    print("| pixels | model | parameters | epochs | seconds | train | test | standard error |")
    print("|---|---|---|---|---|---|---|---|")
    for case in arguments.cases:
        own, (K, epochs), (small_K, more_epochs) = CASES[case]
        X, Y = prepared(train[: arguments.rows], case), prepared(test, case)
        for model in (
            EinetDensity(K=K, max_iter=epochs, **own, **COMMON),
            EinetMixture(10, K=small_K, max_iter=more_epochs, **own, **COMMON),
        ):
            start = time.perf_counter()
            model.fit(X)
            seconds = time.perf_counter() - start
            scores = model.score_samples(Y)
            name = "one network" if isinstance(model, EinetDensity) else "10 clusters"
            print(
                f"| {case} | {name}, K={model.K} | {model.circuit_.n_parameters / 1e6:.1f} M "
                f"| {model.n_iter_} | {seconds:.0f} | {model.score(X[:5000]):.1f} "
                f"| {scores.mean():.1f} | {scores.std() / np.sqrt(len(scores)):.1f} |",
                flush=True,
            )


def short() -> Iterator[Figure]:
    """Cases for short.py."""
    train, test = mnist()
    for case, (own, *_) in CASES.items():
        X, Y = prepared(train[:400], case), prepared(test[:400], case)
        model = EinetDensity(K=4, max_iter=2, early_stopping=False, **own, **COMMON)
        fit = in_products(lambda m=model, X=X: cpu_seconds(lambda: m.fit(X)), rounds=2)
        yield Figure(f"MNIST, {case}", "two epochs of 400 images", "products", fit)
        score = model.score(Y) / Y.shape[1]
        yield Figure(f"MNIST, {case}", "test log-likelihood per pixel", "nats", score)


if __name__ == "__main__":
    main()
