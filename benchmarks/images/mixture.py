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

COMMON = {"tol": 0.0, "n_iter_no_change": 100, "random_state": 0}
QUARTERS = {"structure": "quad-tree", "image_shape": (28, 28), "pseudocount": 1.0}
STRIPS = {
    "structure": "poon-domingos",
    "image_shape": (28, 28),
    "delta": 7,
    "split_axes": "vertical",
    "leaf": "normal",
    "variance_bounds": (1e-6, 1e-2),
    "pseudocount": 0.1,
}

# What pixels are, and the parameters of all models of a case.
KINDS = {
    "256 states": QUARTERS | {"leaf": Categorical(256)},
    "black or white": QUARTERS | {"leaf": "bernoulli"},
    "normal, strips": STRIPS,
}

# Of the cases that are compared: the number of components, their K, and epochs. The first is one
# network, the second has about as many parameters, the third takes about as much time.
CASES = {
    "256 states": [(1, 32, 4), (10, 4, 16), (10, 16, 6)],
    "black or white": [(1, 32, 8), (10, 10, 16), (10, 24, 8)],
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
    print("| pixels | networks | parameters | epochs | CPU s | train | test | standard error |")
    print("|---|---|---|---|---|---|---|---|")
    for case in arguments.cases:
        X, Y = prepared(train[: arguments.rows], case), prepared(test, case)
        for n_components, K, epochs in CASES[case]:
            parameters = KINDS[case] | COMMON | {"K": K, "max_iter": epochs}
            model = (
                EinetDensity(**parameters)
                if n_components == 1
                else EinetMixture(n_components, **parameters)
            )
            start = time.process_time()
            model.fit(X)
            seconds = time.process_time() - start
            scores = model.score_samples(Y)
            print(
                f"| {case} | {n_components} x K={K} | {model.circuit_.n_parameters / 1e6:.1f} M "
                f"| {model.n_iter_} | {seconds:.0f} | {model.score(X[:5000]):.1f} "
                f"| {scores.mean():.1f} | {scores.std() / np.sqrt(len(scores)):.1f} |",
                flush=True,
            )


def short() -> Iterator[Figure]:
    """Cases for short.py."""
    train, test = mnist()
    for case, own in KINDS.items():
        X, Y = prepared(train[:400], case), prepared(test[:400], case)
        model = EinetDensity(K=4, max_iter=2, early_stopping=False, **own, **COMMON)
        fit = in_products(lambda m=model, X=X: cpu_seconds(lambda: m.fit(X)), rounds=2)
        yield Figure(f"MNIST, {case}", "two epochs of 400 images", "products", fit)
        score = model.score(Y) / Y.shape[1]
        yield Figure(f"MNIST, {case}", "test log-likelihood per pixel", "nats", score)


if __name__ == "__main__":
    main()
