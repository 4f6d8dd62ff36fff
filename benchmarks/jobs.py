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

from _data import binary_set
from sklearn.exceptions import ConvergenceWarning

from sklearn_einet import EinetMixture


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--epochs", type=int, default=20)
    arguments = parser.parse_args()
    warnings.simplefilter("ignore", ConvergenceWarning)
    train, _, _ = binary_set("baudio")
    print("| round | n_jobs=1, seconds | n_jobs=2, seconds | ratio |\n|---|---|---|---|")
    for number in range(arguments.rounds):
        seconds = []
        for n_jobs in (1, 2):
            model = EinetMixture(
                10,
                structure="binary-trees",
                layer="tucker",
                n_jobs=n_jobs,
                max_iter=arguments.epochs,
                tol=0.0,
                random_state=0,
            )
            start = time.perf_counter()
            model.fit(train)
            seconds.append(time.perf_counter() - start)
        one, two = seconds
        print(f"| {number} | {one:.1f} | {two:.1f} | {two / one:.2f} |", flush=True)


if __name__ == "__main__":
    main()
