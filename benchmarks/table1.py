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
from pathlib import Path
from typing import Any

import torch
from _data import binary_set

from sklearn_einet import EinetDensity

# Mean test log-likelihoods in nats, from the literature: oBMM (Rashwan et al., AISTATS 2016), CCCP
# (Zhao et al., NIPS 2016), LearnSPN (Gens and Domingos, ICML 2013), ID-SPN (Rooshenas and Lowd,
# ICML 2014), RAT-SPN (Peharz et al., UAI 2019), EiNet by stochastic EM (Peharz et al., ICML 2020).
LITERATURE_COLUMNS = ["oBMM", "CCCP", "LearnSPN", "ID-SPN", "RAT-SPN", "EiNet"]
LITERATURE = {
    "nltcs": (-6.07, -6.03, -6.11, -6.02, -6.01, -6.02),
    "msnbc": (-6.03, -6.05, -6.11, -6.04, -6.04, -6.12),
    "kdd": (-2.14, -2.13, -2.18, -2.13, -2.13, -2.18),
    "plants": (-15.14, -12.87, -12.98, -12.54, -13.44, -13.68),
    "baudio": (-40.70, -40.02, -40.50, -39.79, -39.96, -39.88),
    "jester": (-53.86, -52.88, -53.48, -52.86, -52.97, -52.56),
    "bnetflix": (-57.99, -56.78, -57.33, -56.36, -56.85, -56.54),
    "accidents": (-42.66, -27.70, -30.04, -26.98, -35.49, -35.59),
    "tretail": (-11.42, -10.92, -11.04, -10.85, -10.91, -10.92),
    "pumsb_star": (-45.27, -24.23, -24.78, -22.41, -32.53, -31.95),
    "dna": (-99.61, -84.92, -82.52, -81.21, -97.23, -96.09),
    "kosarek": (-11.22, -10.88, -10.99, -10.60, -10.89, -11.03),
    "msweb": (-11.33, -9.97, -10.25, -9.73, -10.12, -10.03),
    "book": (-35.55, -35.01, -35.89, -34.14, -34.68, -34.74),
    "tmovie": (-59.50, -52.56, -52.49, -51.51, -53.63, -51.70),
    "cwebkb": (-165.57, -157.49, -158.20, -151.84, -157.53, -157.28),
    "cr52": (-108.01, -84.63, -85.07, -83.35, -87.37, -87.37),
    "c20ng": (-158.01, -153.21, -155.93, -151.47, -152.06, -153.94),
    "bbc": (-275.43, -248.60, -250.69, -248.93, -252.14, -248.33),
    "ad": (-63.81, -27.20, -19.73, -19.05, -48.47, -26.27),
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
    model = EinetDensity(**CONFIGS[config], leaf="bernoulli", random_state=seed).fit(train)
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


if __name__ == "__main__":
    main()
