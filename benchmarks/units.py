"""The evidence for K=None: default fits with 32 and with 64 densities in every part.

    OMP_NUM_THREADS=1 python benchmarks/units.py

Mean log-density of test rows in nats, and seconds of CPU time of the fit. Binary sets come with
their test rows; a fifth of the rows of the others is held out. Needs the benchmark data.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import numpy as np
from _data import binary_set
from _frames import frame_of
from _timing import timed
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


def print_fits(
    tables: Mapping[str, tuple[Any, Any]], fits: Mapping[str, Callable[[Any], Any]]
) -> None:
    """Print what fits of training rows make of new ones, and their seconds, table by table."""
    columns = [f"{what}, {name}" for what in ("nats", "s") for name in fits]
    print(f"| table | rows | columns | {' | '.join(columns)} |")
    print("|" + "---|" * (3 + len(columns)))
    for name, (train, new) in tables.items():
        scores, seconds = [], []
        for fit in fits.values():
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", ConvergenceWarning)
                warnings.simplefilter("ignore", UserWarning)
                model, taken = timed(partial(fit, train))
            seconds.append(f"{taken:.1f}")
            scores.append(f"{model.score(new):.3f}")
        shape = len(train), train.shape[1]
        print("| " + " | ".join(map(str, [name, *shape, *scores, *seconds])) + " |", flush=True)


def fitted(K: int, train: Any) -> EinetDensity:
    """A default fit except for K."""
    return EinetDensity(K=K, random_state=0).fit(train)


def main() -> None:
    tables = {name: parts(name) for name in [*BINARY, *MIXED]}
    print_fits(tables, {f"K={K}": partial(fitted, K) for K in UNITS})


if __name__ == "__main__":
    main()
