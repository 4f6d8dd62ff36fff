"""What K=None rests on: default fits with 32 and with 64 densities in every part.

    OMP_NUM_THREADS=1 python benchmarks/units.py

Mean log-density of test rows in nats, and seconds of CPU time of the fit. Binary sets come with
their test rows; a fifth of the rows of the others is held out. Needs the benchmark data.
"""

from __future__ import annotations

import time
import warnings
from typing import Any

import numpy as np
from _data import binary_set
from _frames import frame_of
from sklearn.exceptions import ConvergenceWarning

from sklearn_einet import EinetDensity

BINARY = ["nltcs", "plants", "jester", "baudio", "tretail", "dna"]
MIXED = ["titanic", "wine", "bike", "california", "adult"]
UNITS = [32, 64]


def parts(name: str) -> tuple[Any, Any]:
    """Training and test rows."""
    if name in BINARY:
        train, validation, test = binary_set(name)
        return np.concatenate([train, validation]), test
    frame = frame_of(name)
    order = np.random.RandomState(0).permutation(len(frame))
    n = len(frame) * 4 // 5
    return frame.iloc[order[:n]], frame.iloc[order[n:]]


def main() -> None:
    columns = [f"{what}, K={K}" for what in ("nats", "s") for K in UNITS]
    print(f"| table | rows | columns | {' | '.join(columns)} |")
    print("|" + "---|" * (3 + len(columns)))
    for name in [*BINARY, *MIXED]:
        train, test = parts(name)
        scores, seconds = [], []
        for K in UNITS:
            start = time.process_time()
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", ConvergenceWarning)
                warnings.simplefilter("ignore", UserWarning)
                model = EinetDensity(K=K, random_state=0).fit(train)
            seconds.append(f"{time.process_time() - start:.1f}")
            scores.append(f"{model.score(test):.3f}")
        shape = len(train), train.shape[1]
        print("| " + " | ".join(map(str, [name, *shape, *scores, *seconds])) + " |", flush=True)


if __name__ == "__main__":
    main()
