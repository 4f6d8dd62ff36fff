"""Time to fit the ten components of a mixture one after the other, and two at a time.

    python benchmarks/jobs.py [--rounds 2]

The binary set baudio (15,000 x 100), default structure; both take turns. With n_jobs=1 torch has
all cores to itself, with n_jobs=2 each of two processes has half of them. Starting the processes
counts.
"""

from __future__ import annotations

import argparse
import time
import warnings
from collections.abc import Iterator

import numpy as np
from _data import binary_set
from _short import Figure
from sklearn.exceptions import ConvergenceWarning

from sklearn_einet import EinetMixture


def fitted(train: np.ndarray, n_jobs: int, epochs: int) -> tuple[float, EinetMixture]:
    """Seconds of a fit, and the model."""
    model = EinetMixture(
        10,
        structure="binary-trees",
        layer="tucker",
        n_jobs=n_jobs,
        max_iter=epochs,
        tol=0.0,
        random_state=0,
    )
    start = time.perf_counter()
    model.fit(train)
    return time.perf_counter() - start, model


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--epochs", type=int, default=20)
    arguments = parser.parse_args()
    warnings.simplefilter("ignore", ConvergenceWarning)
    train, _, _ = binary_set("baudio")
    print("| round | n_jobs=1, seconds | n_jobs=2, seconds | ratio |\n|---|---|---|---|")
    for number in range(arguments.rounds):
        one, two = (fitted(train, n_jobs, arguments.epochs)[0] for n_jobs in (1, 2))
        print(f"| {number} | {one:.1f} | {two:.1f} | {two / one:.2f} |", flush=True)


def short() -> Iterator[Figure]:
    """Cases for short.py."""
    train, valid, _ = binary_set("baudio")
    rows = train[:3000]
    # The first fit with two jobs starts the processes.
    (one, alone), _, (two, shared) = (fitted(rows, n_jobs, 3) for n_jobs in (1, 2, 2))
    score = alone.score(valid)
    yield Figure("baudio, 3000 rows", "validation log-likelihood", "nats", score)
    difference = shared.score(valid) - score
    yield Figure("baudio, 3000 rows", "more with n_jobs=2", "nats", difference)
    yield Figure("baudio, 3000 rows", "n_jobs=2 against n_jobs=1", "times", two / one)


if __name__ == "__main__":
    main()
