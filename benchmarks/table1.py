"""Test log-likelihoods on the twenty binary data sets, beside Table 1 of the paper.

    python benchmarks/table1.py [--sets nltcs plants ...] [--configs K=32 ...] [--seed 0]

Every configuration is fitted to the training rows; the one with the best log-likelihood of the
validation rows is kept, and its test log-likelihood is printed, beside that of one configuration
for all sets. Early stopping holds out some of the training rows, never the validation rows. Every
finished fit is one row of benchmarks/table1.csv, and is not run again: remove the row to repeat it.
With the same versions, the same seed gives the same figures. One thread, so that runs can be
started side by side for different sets.
"""

from __future__ import annotations

import argparse
import csv
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from _data import binary_set
from _short import Figure

from sklearn_einet import EinetDensity

# Mean test log-likelihoods in nats, from the literature: oBMM (Rashwan et al., AISTATS 2016), CCCP
# (Zhao et al., NIPS 2016), LearnSPN (Gens and Domingos, ICML 2013), ID-SPN (Rooshenas and Lowd,
# ICML 2014), RAT-SPN (Peharz et al., UAI 2019), EiNet by stochastic EM (Peharz et al., ICML 2020).
LITERATURE_COLUMNS = ["oBMM", "CCCP", "LearnSPN", "ID-SPN", "RAT-SPN", "EiNet"]
LITERATURE = {
    "nltcs": (-6.07, -6.029, -6.110, -6.020, -6.011, -6.02),
    "msnbc": (-6.03, -6.045, -6.113, -6.046, -6.039, -6.119),
    "kdd": (-2.14, -2.134, -2.182, -2.134, -2.128, -2.183),
    "plants": (-15.14, -12.872, -12.977, -12.537, -13.439, -13.676),
    "baudio": (-40.70, -40.020, -40.503, -39.794, -39.958, -39.879),
    "jester": (-53.86, -52.880, -53.480, -52.858, -52.970, -52.563),
    "bnetflix": (-57.99, -56.782, -57.328, -56.355, -56.850, -56.544),
    "accidents": (-42.66, -27.700, -30.038, -26.983, -35.487, -35.594),
    "tretail": (-11.42, -10.919, -11.043, -10.847, -10.911, -10.916),
    "pumsb_star": (-45.27, -24.229, -24.781, -22.405, -32.530, -31.954),
    "dna": (-99.61, -84.921, -82.523, -81.211, -97.232, -96.086),
    "kosarek": (-11.22, -10.880, -10.989, -10.599, -10.888, -11.029),
    "msweb": (-11.33, -9.970, -10.252, -9.726, -10.116, -10.026),
    "book": (-35.55, -35.009, -35.886, -34.136, -34.684, -34.739),
    "tmovie": (-59.50, -52.557, -52.485, -51.512, -53.632, -51.705),
    "cwebkb": (-165.57, -157.492, -158.204, -151.838, -157.530, -157.282),
    "cr52": (-108.01, -84.628, -85.067, -83.346, -87.367, -87.368),
    "c20ng": (-158.01, -153.205, -155.925, -151.468, -152.062, -153.938),
    "bbc": (-275.43, -248.602, -250.687, -248.929, -252.138, -248.332),
    "ad": (-63.81, -27.202, -19.733, -19.053, -48.472, -26.273),
}

# The first is the one setting for all sets; among all of them the validation rows choose. Binary
# columns bear ten times the default pseudocount.
TREE = {"structure": "chow-liu", "pseudocount": 0.1}
CONFIGS: dict[str, dict[str, Any]] = {
    "K=32": TREE,
    "K=64": TREE | {"K": 64},
    "K=128": TREE | {"K": 128},
    "4 trees": TREE | {"replicas": 4, "pseudocount": 1.0},
    # Without held-out rows: where rows are few, they are worth more for training.
    "all rows": TREE | {"pseudocount": 1.0, "early_stopping": False, "max_iter": 12, "tol": 0.0},
    "4 trees, all rows": TREE
    | {"replicas": 4, "pseudocount": 1.0, "early_stopping": False, "max_iter": 12, "tol": 0.0},
    "10 trees, K=16": TREE | {"replicas": 10, "K": 16, "pseudocount": 1.0},
    "random, CP": {"structure": "binary-trees", "layer": "cp", "pseudocount": 0.1},
    "random, Tucker": {"structure": "binary-trees", "layer": "tucker", "pseudocount": 0.1},
}
FIELDS = ["set", "config", "seed", "epochs", "seconds", "parameters", "valid", "test"]
FIELDS += ["test_standard_error"]
RESULTS = Path(__file__).with_suffix(".csv")


def fit(name: str, config: str, seed: int) -> dict[str, Any]:
    """One row of the results."""
    train, valid, test = binary_set(name)
    start = time.perf_counter()
    # What "auto" was when the table was made.
    held_out = -(-len(train) // 10) if CONFIGS[config].get("early_stopping", True) else 0
    n_rows = len(train) - held_out
    batch_size = max(int(np.clip(n_rows // 100, 20, 100)), n_rows // 1000)
    parameters = {"leaf": "bernoulli", "batch_size": batch_size, "random_state": seed}
    model = EinetDensity(**CONFIGS[config], **parameters).fit(train)
    seconds = time.perf_counter() - start
    scores = model.score_samples(test)
    return {
        "set": name,
        "config": config,
        "seed": seed,
        "epochs": model.n_iter_,
        "seconds": round(seconds, 1),
        "parameters": model.circuit_.n_parameters,
        "valid": round(model.score(valid), 4),
        "test": round(float(scores.mean()), 4),
        "test_standard_error": round(float(scores.std(ddof=1)) / len(scores) ** 0.5, 4),
    }


def finished(seed: int) -> list[dict[str, str]]:
    """The rows of the results file."""
    if not RESULTS.exists():
        return []
    with RESULTS.open() as file:
        return [row for row in csv.DictReader(file) if row["seed"] == str(seed)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--sets", nargs="*", default=list(LITERATURE), choices=list(LITERATURE))
    parser.add_argument("--configs", nargs="+", default=list(CONFIGS), choices=list(CONFIGS))
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    for config in arguments.configs:
        for name in arguments.sets:
            done = {(row["set"], row["config"]) for row in finished(arguments.seed)}
            if (name, config) in done:
                continue
            row = fit(name, config, arguments.seed)
            print(row, flush=True)
            is_new = not RESULTS.exists()
            with RESULTS.open("a", newline="") as file:
                writer = csv.DictWriter(file, FIELDS)
                if is_new:
                    writer.writeheader()
                writer.writerow(row)
    print_table(finished(arguments.seed))


def print_table(rows: list[dict[str, str]]) -> None:
    """The chosen configuration of every set and the default one, beside the literature."""
    columns = ["set", "one setting", "best on valid (s.e.)", "configuration", "seconds"]
    columns += ["parameters", *LITERATURE_COLUMNS]
    print("| " + " | ".join(columns) + " |")
    print("|" + "---|" * len(columns))
    beaten = {"EiNet, one setting": 0, "EiNet": 0, "best of the others": 0}
    for name, literature in LITERATURE.items():
        own = {row["config"]: row for row in rows if row["set"] == name}
        if not own:
            continue
        best = max(own.values(), key=lambda row: float(row["valid"]))
        test, default = float(best["test"]), float(own[next(iter(CONFIGS))]["test"])
        beaten["EiNet, one setting"] += default > literature[-1]
        beaten["EiNet"] += test > literature[-1]
        beaten["best of the others"] += test > max(literature)
        cells = [f"{default:.2f}", f"{test:.2f} ({float(best['test_standard_error']):.2f})"]
        cells = [
            f"**{cell}**" if test > max(literature) and cell is cells[1] else cell for cell in cells
        ]
        cells += [best["config"], f"{float(best['seconds']):.0f}", best["parameters"]]
        cells += [
            f"**{v:.2f}**" if v == max(literature) and v >= test else f"{v:.2f}" for v in literature
        ]
        print(f"| {name} | " + " | ".join(cells) + " |")
    print("\nSets on which ours is better: " + ", ".join(f"{k} {v}" for k, v in beaten.items()))


def short() -> Iterator[Figure]:
    """Cases for short.py."""
    for name in ("nltcs", "dna"):
        test = fit(name, "K=32", 0)["test"]
        yield Figure(f"{name}, K=32", "test log-likelihood", "nats", test)


if __name__ == "__main__":
    main()
