"""Test log-likelihoods on binary data sets, beside Table 1 of the paper.

    python benchmarks/table1.py [--sets nltcs plants ...] [--seed 0]

Every configuration of a small grid is fitted to the training rows (stochastic EM, early stopping
on a tenth of them), the one with the best log-likelihood of the validation rows is kept, and its
test log-likelihood is printed. Every finished fit is one row of benchmarks/table1.csv, and is not
run again: remove the file to start anew.
"""

from __future__ import annotations

import argparse
import csv
import time
from pathlib import Path

from _data import binary_set

from sklearn_einet import EinetDensity

# Columns of Table 1 (R. Peharz et al., ICML 2020), in nats: EiNet trained by stochastic EM.
PAPER = {
    "nltcs": -6.02,
    "plants": -13.68,
    "jester": -52.56,
    "dna": -96.09,
    "msweb": -10.03,
    "book": -34.74,
}
GRID = [
    {"depth": 1, "replicas": 20, "K": 20, "step_size": 0.02},
    {"depth": 1, "replicas": 50, "K": 10, "step_size": 0.02},
    {"depth": 1, "replicas": 40, "K": 40, "step_size": 0.02},
    {"depth": 2, "replicas": 20, "K": 10, "step_size": 0.05},
    {"depth": 4, "replicas": 10, "K": 10, "step_size": 0.05},
    {"depth": 4, "replicas": 20, "K": 10, "step_size": 0.05},
]
FIELDS = ["set", "depth", "replicas", "K", "step_size", "seed", "epochs", "seconds", "parameters"]
FIELDS += ["train", "valid", "test", "test_standard_error"]
RESULTS = Path(__file__).with_suffix(".csv")


def fit(name: str, parameters: dict[str, float], seed: int) -> dict[str, object]:
    """One row of the results."""
    train, valid, test = binary_set(name)
    start = time.perf_counter()
    model = EinetDensity(**parameters, leaf="bernoulli", early_stopping=True, random_state=seed)
    model.fit(train)
    seconds = time.perf_counter() - start
    scores = model.score_samples(test)
    return {
        "set": name,
        **parameters,
        "seed": seed,
        "epochs": model.n_iter_,
        "seconds": round(seconds, 1),
        "parameters": model.circuit_.n_parameters,
        "train": round(model.score(train), 4),
        "valid": round(model.score(valid), 4),
        "test": round(float(scores.mean()), 4),
        "test_standard_error": round(float(scores.std(ddof=1)) / len(scores) ** 0.5, 4),
    }


def finished() -> list[dict[str, str]]:
    """The rows of the results file."""
    if not RESULTS.exists():
        return []
    with RESULTS.open() as file:
        return list(csv.DictReader(file))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--sets", nargs="+", default=list(PAPER), choices=list(PAPER))
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    for name in arguments.sets:
        for parameters in GRID:
            key = {"set": name, **parameters, "seed": arguments.seed}
            if any(all(row[k] == str(v) for k, v in key.items()) for row in finished()):
                continue
            row = fit(name, parameters, arguments.seed)
            print(row, flush=True)
            is_new = not RESULTS.exists()
            with RESULTS.open("a", newline="") as file:
                writer = csv.DictWriter(file, FIELDS)
                if is_new:
                    writer.writeheader()
                writer.writerow(row)
    print_table(arguments.sets, arguments.seed)


def print_table(sets: list[str], seed: int) -> None:
    """The chosen configuration of every set, beside the paper's figure."""
    print("| set | D, R, K | step size | epochs | seconds | test (s.e.) | paper's EiNet | gain |")
    print("|---|---|---|---|---|---|---|---|")
    for name in sets:
        rows = [r for r in finished() if r["set"] == name and r["seed"] == str(seed)]
        best = max(rows, key=lambda r: float(r["valid"]))
        test = float(best["test"])
        error = float(best["test_standard_error"])
        print(
            f"| {name} | {best['depth']}, {best['replicas']}, {best['K']} | {best['step_size']} "
            f"| {best['epochs']} | {float(best['seconds']):.0f} | {test:.2f} ({error:.2f}) "
            f"| {PAPER[name]:.2f} | {100 * (1 - test / PAPER[name]):+.2f}% |"
        )


if __name__ == "__main__":
    main()
