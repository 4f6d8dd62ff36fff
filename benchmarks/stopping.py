"""How long fits wait for a gain: 5 epochs or 3, and 2 of the part of joint densities.

    OMP_NUM_THREADS=1 python benchmarks/stopping.py [NAMES]

Mean log-density of new rows in nats, and seconds of CPU time of the fit: by default, where the part
of joint densities waits 2 epochs and the whole 5; where both wait 5; and where the whole waits 3.
Binary sets come with their test rows; a fifth of the mixed tables is held out, and a fourth of the
tables of `first_minute.py`, which have numbers only. Needs the benchmark data.
"""

from __future__ import annotations

import sys
from functools import partial
from typing import Any
from unittest import mock

import first_minute
from units import BINARY, MIXED, parts, print_fits

from sklearn_einet import EinetDensity

NUMBERS = ["abalone", "wine", "bike", "california", *first_minute.ADBENCH]

# How many epochs to wait for a gain: in the part of joint densities, and in the whole.
WAITS = {"2 and 5": (2, 5), "5 and 5": (5, 5), "2 and 3": (2, 3)}
PART = "sklearn_einet.estimators.training.IDLE_EPOCHS_OF_PART"


def tables(names: list[str]) -> dict[str, tuple[Any, Any]]:
    """Training and new rows."""
    found = {name: parts(name) for name in [*BINARY, *MIXED]}
    for name in NUMBERS:
        numbers = first_minute.table(name)
        found[f"{name}, numbers"] = numbers.train, numbers.new
    return {name: rows for name, rows in found.items() if not names or name in names}


def fitted(epochs: tuple[int, int], train: Any) -> EinetDensity:
    """A default fit except for the numbers of epochs to wait for."""
    of_part, of_whole = epochs
    with mock.patch(PART, of_part):
        return EinetDensity(n_iter_no_change=of_whole, random_state=0).fit(train)


def main() -> None:
    fits = {name: partial(fitted, epochs) for name, epochs in WAITS.items()}
    print_fits(tables(sys.argv[1:]), fits)


if __name__ == "__main__":
    main()
