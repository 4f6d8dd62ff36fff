"""Hidden Chow-Liu trees of binary data compared with `sparc-pc`, which is also compiled for CPUs.

    OMP_NUM_THREADS=1 python benchmarks/hidden_trees.py [--rows 2000] [--K 8 16]

The first rows of binary sets, one tree, one thread. An epoch of sparc-pc is a step of its
MLETrainer over all rows (ascent of the gradient; its learning rate is 0.5, as in its
documentation); ours one of stochastic EM. Seconds of CPU time, the fastest of three epochs and of
three passes that score all rows, each compiled before; and the mean log-likelihood of the test rows
in nats after three epochs, which says how far these get. Needs the benchmark data, and `sparc-pc`.
"""

from __future__ import annotations

import argparse
import time
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
from _data import binary_set
from _timing import Clock, timed

from sklearn_einet import EinetDensity

SETS = ["nltcs", "plants"]
EPOCHS = 3


def fastest(work: Callable[[], Any]) -> float:
    """Seconds of CPU time of the fastest of three calls."""
    return min(timed(work)[1] for _ in range(3))


def theirs(train: np.ndarray, test: np.ndarray, K: int) -> tuple[float, float, float]:
    """Seconds of an epoch and of a pass, and the log-likelihood."""
    from sparc.optim import MLETrainer
    from sparc.structures import HCLT
    from sparc.structures.distributions import Bernoulli

    rows = train.astype(np.int32)
    circuit = HCLT(rows, K, num_bins=2, input_dist=Bernoulli(), seed=0)
    trainer = MLETrainer(circuit, lr=0.5)
    epoch = fastest(lambda: trainer.step(rows))
    scores = circuit.compile()
    one_pass = fastest(lambda: scores.log_likelihood(rows))
    found = scores.log_likelihood(test.astype(np.int32))
    return epoch, one_pass, float(np.mean(found))


def ours(train: np.ndarray, test: np.ndarray, K: int) -> tuple[float, float, float]:
    """The same."""
    clock = Clock(time.process_time)
    model = EinetDensity(
        K=K, structure="chow-liu", max_iter=EPOCHS, tol=0, early_stopping=False, random_state=0
    )
    model.set_callbacks(clock).fit(train.astype(bool))
    one_pass = fastest(lambda: model.score_samples(train.astype(bool)))
    return clock.fastest_epoch(), one_pass, model.score(test.astype(bool))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, default=2000)
    parser.add_argument("--K", nargs="+", type=int, default=[8, 16])
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    print("| set | K | model | epoch, s | pass, s | test, nats |")
    print("|---|---|---|---|---|---|")
    for name in SETS:
        train, _, test = binary_set(name)
        train = train[: options.rows]
        for K in options.K:
            for what, run in (("einet", ours), ("sparc-pc", theirs)):
                try:
                    epoch, one_pass, score = run(train, test, K)
                except ImportError as error:
                    print(f"{what} is skipped: {error}")
                    continue
                line = f"{epoch:.4f} | {one_pass:.4f} | {score:.3f}"
                print(f"| {name} | {K} | {what} | {line} |", flush=True)


if __name__ == "__main__":
    main()
