"""How long fits wait for a gain: 5 epochs or 3, and 2 of the part of joint densities.

    OMP_NUM_THREADS=1 python benchmarks/stopping.py [NAMES]

Mean log-density of new rows in nats, and seconds of CPU time of the fit: by default, where the part
of joint densities waits 2 epochs and the whole 5; where both wait 5; and where the whole waits 3.
Binary sets come with their test rows; a fifth of the mixed tables is held out, and a fourth of the
tables of `first_minute.py`, which have numbers only. Needs the benchmark data.
"""

from __future__ import annotations

import sys
import time
import warnings
from typing import Any
from unittest import mock

import first_minute
from sklearn.exceptions import ConvergenceWarning
from units import BINARY, MIXED, parts

from sklearn_einet import EinetDensity

NUMBERS = ["abalone", "wine", "bike", "california", *first_minute.ADBENCH]

# What is waited for: the epochs of the part of joint densities, and those of the whole.
WAITS = {"2 and 5": (2, 5), "5 and 5": (5, 5), "2 and 3": (2, 3)}
PART = "sklearn_einet.estimators.training.IDLE_EPOCHS_OF_PART"


def tables(names: list[str]) -> dict[str, tuple[Any, Any]]:
    """Training and new rows."""
    found = {name: parts(name) for name in [*BINARY, *MIXED]}
    for name in NUMBERS:
        numbers = first_minute.table(name)
        found[f"{name}, numbers"] = numbers.train, numbers.new
    return {name: rows for name, rows in found.items() if not names or name in names}


def main() -> None:
    columns = [f"{what}, {waits}" for what in ("nats", "s") for waits in WAITS]
    print(f"| table | rows | columns | {' | '.join(columns)} |")
    print("|" + "---|" * (3 + len(columns)))
    for name, (train, new) in tables(sys.argv[1:]).items():
        scores, seconds = [], []
        for of_part, of_whole in WAITS.values():
            start = time.process_time()
            with warnings.catch_warnings(), mock.patch(PART, of_part):
                warnings.simplefilter("ignore", ConvergenceWarning)
                warnings.simplefilter("ignore", UserWarning)
                model = EinetDensity(n_iter_no_change=of_whole, random_state=0).fit(train)
            seconds.append(f"{time.process_time() - start:.1f}")
            scores.append(f"{model.score(new):.3f}")
        shape = len(train), train.shape[1]
        print("| " + " | ".join(map(str, [name, *shape, *scores, *seconds])) + " |", flush=True)


if __name__ == "__main__":
    main()
