"""What the default of n_iter_no_change rests on: fits that wait 5, 3 and 2 epochs for a gain.

    OMP_NUM_THREADS=1 python benchmarks/stopping.py [NAMES]

Mean log-density of test rows in nats, and seconds of CPU time of the fit. Binary sets come with
their test rows; a fifth of the rows of the others is held out. Needs the benchmark data.
"""

from __future__ import annotations

import sys
import time
import warnings

from sklearn.exceptions import ConvergenceWarning
from units import BINARY, MIXED, parts

from sklearn_einet import EinetDensity

EPOCHS = [5, 3, 2]


def main() -> None:
    columns = [f"{what}, {n} epochs" for what in ("nats", "s") for n in EPOCHS]
    print(f"| table | rows | columns | {' | '.join(columns)} |")
    print("|" + "---|" * (3 + len(columns)))
    for name in sys.argv[1:] or [*BINARY, "abalone", *MIXED]:
        train, test = parts(name)
        scores, seconds = [], []
        for n_epochs in EPOCHS:
            start = time.process_time()
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", ConvergenceWarning)
                warnings.simplefilter("ignore", UserWarning)
                model = EinetDensity(n_iter_no_change=n_epochs, random_state=0).fit(train)
            seconds.append(f"{time.process_time() - start:.1f}")
            scores.append(f"{model.score(test):.3f}")
        shape = len(train), train.shape[1]
        print("| " + " | ".join(map(str, [name, *shape, *scores, *seconds])) + " |", flush=True)


if __name__ == "__main__":
    main()
