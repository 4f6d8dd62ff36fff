"""One network against a mixture of as many parameters, trained on MNIST for as long.

python benchmarks/images/mixture.py
"""

from __future__ import annotations

import argparse
import time
import warnings

import numpy as np
import torch
from _images import mnist
from sklearn.base import clone
from sklearn.exceptions import ConvergenceWarning

from sklearn_einet import EinetDensity, EinetMixture
from sklearn_einet.families import Categorical

COMMON = {
    "leaf": Categorical(256),
    "structure": "poon-domingos",
    "image_shape": (28, 28),
    "delta": [7, 14, 28],
    "batch_size": 200,
    "step_size": 0.1,
    "pseudocount": 1.0,
    "tol": 0.0,
    "n_iter_no_change": 100,
    "random_state": 0,
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=60_000)
    parser.add_argument("--single-epochs", type=int, default=3)
    parser.add_argument("--mixture-epochs", type=int, default=16)
    parser.add_argument("--seeds", type=int, default=1)
    arguments = parser.parse_args()
    warnings.simplefilter("ignore", ConvergenceWarning)
    train, test = mnist()
    train = train[: arguments.rows]
    models = {
        "one, K=10": EinetDensity(K=10, max_iter=arguments.single_epochs, **COMMON),
        "10 clusters, K=3": EinetMixture(10, K=3, max_iter=arguments.mixture_epochs, **COMMON),
    }
    print(f"MNIST, {len(train)} training rows, {torch.get_num_threads()} threads\n")
    print("| model | seed | parameters | epochs | seconds | train | test | standard error |")
    print("|---|---|---|---|---|---|---|---|")
    for seed in range(arguments.seeds):
        for name, model in models.items():
            model = clone(model).set_params(random_state=seed)
            start = time.perf_counter()
            model.fit(train)
            seconds = time.perf_counter() - start
            scores = model.score_samples(test)
            print(
                f"| {name} | {seed} | {model.circuit_.n_parameters / 1e6:.1f} M | {model.n_iter_} "
                f"| {seconds:.0f} | {model.score(train[:5000]):.1f} | {scores.mean():.1f} "
                f"| {scores.std() / np.sqrt(len(scores)):.1f} |",
                flush=True,
            )


if __name__ == "__main__":
    main()
