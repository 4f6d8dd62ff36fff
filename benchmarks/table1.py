"""Test log-likelihoods on the twenty binary data sets, beside Table 1 of the paper.

    python benchmarks/table1.py [--sets nltcs plants ...] [--configs K=32 ...] [--seed 0]
                                [--only-table] [--plot FILE]

Fits every configuration to the training rows and keeps the one with the best log-likelihood of the
validation rows ("best on valid"). Prints its test log-likelihood beside that of one configuration
for all sets ("one setting") and the published ones. Early stopping holds out some of the training
rows, never the validation rows.

Every finished fit is a row of benchmarks/table1.csv and is not run again: remove the row to repeat
it. With the same versions, the same seed gives the same figures. One thread, so that runs can be
started side by side for different sets. --only-table runs nothing. --plot draws the differences to
the paper's EiNet and to the best published result.
"""

from __future__ import annotations

import argparse
import csv
import time
from collections.abc import Iterator
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import torch
from _data import binary_set
from _short import Figure

from sklearn_einet import EinetDensity

# Published mean test log-likelihoods in nats. Table 1 of the paper (Peharz et al., ICML 2020): oBMM
# (Rashwan et al., AISTATS 2016), CCCP (Zhao et al., NIPS 2016), LearnSPN (Gens and Domingos, ICML
# 2013), ID-SPN (Rooshenas and Lowd, ICML 2014), RAT-SPN (Peharz et al., UAI 2019), and EiNets that
# stochastic EM, Adam and SGD trained. Last, the best hidden Chow-Liu tree (HCLT) published since.
LITERATURE_COLUMNS = ["oBMM", "CCCP", "LearnSPN", "ID-SPN", "RAT-SPN"]
LITERATURE_COLUMNS += ["EiNet, sEM", "EiNet, Adam", "EiNet, SGD", "best HCLT"]
EINET, EINETS, PAPER, HCLT = slice(5, 6), slice(5, 8), slice(0, 8), slice(8, 9)
LITERATURE = {
    "nltcs": (-6.07, -6.03, -6.11, -6.02, -6.01, -6.02, -6.04, -6.17, -5.999),
    "msnbc": (-6.03, -6.04, -6.11, -6.04, -6.04, -6.12, -6.03, -6.41, -6.058),
    "kdd": (-2.14, -2.13, -2.18, -2.13, -2.13, -2.18, -2.15, -2.16, -2.141),
    "plants": (-15.14, -12.87, -12.98, -12.54, -13.44, -13.68, -13.74, -17.90, -12.67),
    "jester": (-53.86, -52.88, -53.48, -52.86, -52.97, -52.56, -53.10, -54.34, -52.376),
    "baudio": (-40.70, -40.02, -40.50, -39.79, -39.96, -39.88, -40.22, -42.09, -39.62),
    "bnetflix": (-57.99, -56.78, -57.33, -56.36, -56.85, -56.54, -57.10, -59.19, -56.21),
    "accidents": (-42.66, -27.70, -30.04, -26.98, -35.49, -35.59, -37.45, -42.10, -26.55),
    "tretail": (-11.42, -10.92, -11.04, -10.85, -10.91, -10.92, -10.97, -11.40, -10.84),
    "pumsb_star": (-45.27, -24.23, -24.78, -22.40, -32.53, -31.95, -39.23, -48.33, -22.75),
    "dna": (-99.61, -84.92, -82.52, -81.21, -97.23, -96.09, -97.68, -100.38, -79.051),
    "kosarek": (-11.22, -10.88, -10.99, -10.60, -10.89, -11.03, -10.92, -11.36, -10.59),
    "msweb": (-11.33, -9.97, -10.25, -9.73, -10.12, -10.03, -10.26, -11.30, -9.73),
    "book": (-35.55, -35.01, -35.89, -34.14, -34.68, -34.74, -35.15, -36.10, -33.534),
    "tmovie": (-59.50, -52.56, -52.49, -51.51, -53.63, -51.70, -55.49, -65.17, -50.538),
    "cwebkb": (-165.57, -157.49, -158.20, -151.84, -157.53, -157.28, -160.51, -173.21, -150.838),
    "cr52": (-108.01, -84.63, -85.07, -83.35, -87.37, -87.37, -92.76, -103.45, -85.949),
    "c20ng": (-158.01, -153.21, -155.93, -151.47, -152.06, -153.94, -154.41, -160.05, -151.99),
    "bbc": (-275.43, -248.60, -250.69, -248.93, -252.14, -248.33, -267.86, -275.72, -249.049),
    "ad": (-63.81, -27.20, -19.73, -19.05, -48.47, -26.27, -63.82, -64.31, -16.064),
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
    parser.add_argument("--only-table", action="store_true")
    parser.add_argument("--plot", type=Path, metavar="FILE")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    for config, name in product(arguments.configs, arguments.sets):
        done = {(row["set"], row["config"]) for row in finished(arguments.seed)}
        if (name, config) not in done and not arguments.only_table:
            row = fit(name, config, arguments.seed)
            print(row, flush=True)
            is_new = not RESULTS.exists()
            with RESULTS.open("a", newline="") as file:
                writer = csv.DictWriter(file, FIELDS)
                if is_new:
                    writer.writeheader()
                writer.writerow(row)
    results = chosen(finished(arguments.seed))
    print_table(results)
    if arguments.plot:
        plot_differences(results, arguments.plot)


def chosen(rows: list[dict[str, str]]) -> dict[str, tuple[dict[str, str], dict[str, str]]]:
    """For every set, the result of the one setting and that of the best on validation rows."""
    own = {name: {row["config"]: row for row in rows if row["set"] == name} for name in LITERATURE}
    return {
        name: (fits[next(iter(CONFIGS))], max(fits.values(), key=lambda row: float(row["valid"])))
        for name, fits in own.items()
        if fits
    }


def hundredths(value: float | str) -> float:
    """A log-likelihood with two decimals, as the paper has them."""
    return round(float(value), 2)


def print_table(results: dict[str, tuple[dict[str, str], dict[str, str]]]) -> None:
    """Our results beside the published ones, then on how many sets ours are better or equal."""
    columns = ["set", "one setting", "best on valid (s.e.)", "configuration", "seconds"]
    columns += ["parameters", *LITERATURE_COLUMNS]
    print("| " + " | ".join(columns) + " |")
    print("|" + "---|" * len(columns))
    for name, (default, best) in results.items():
        published = [hundredths(value) for value in LITERATURE[name]]
        values = [hundredths(default["test"]), hundredths(best["test"]), *published]
        texts = [f"{value:.2f}" for value in values]
        texts[1] += f" ({float(best['test_standard_error']):.2f})"
        pairs = zip(texts, values, strict=True)
        texts = [f"**{text}**" if value == max(values) else text for text, value in pairs]
        fitted = [best["config"], f"{float(best['seconds']):.0f}", best["parameters"]]
        print(f"| {name} | " + " | ".join(texts[:2] + fitted + texts[2:]) + " |")
    print("\nSets on which ours is better / equal / worse, with two decimals:\n")
    print("| beside | one setting | best on valid |\n|---|---|---|")
    everything = slice(None)
    others = {"EiNet, sEM": EINET, "all three EiNets": EINETS, "all of the paper": PAPER}
    for which, part in (others | {"best HCLT": HCLT, "everything published": everything}).items():
        counts = []
        for i in range(2):
            signs = [
                np.sign(hundredths(pair[i]["test"]) - max(map(hundredths, LITERATURE[name][part])))
                for name, pair in results.items()
            ]
            counts.append(" / ".join(str(signs.count(sign)) for sign in (1, 0, -1)))
        print(f"| {which} | " + " | ".join(counts) + " |")


def plot_differences(results: dict[str, tuple[dict[str, str], dict[str, str]]], file: Path) -> None:
    """Draw our log-likelihoods less the paper's, and less the best published ones."""
    import matplotlib.pyplot as plt

    def difference(name: str, row: dict[str, str], part: slice) -> float:
        return float(row["test"]) - max(LITERATURE[name][part])

    panels = {"to the paper's EiNet (stochastic EM)": EINET, "to the best published": slice(None)}
    names = sorted(results, key=lambda name: difference(name, results[name][1], slice(None)))
    figure, axes = plt.subplots(1, 2, figsize=(9, 5.6), sharey=True, layout="constrained")
    for ax, (title, part) in zip(axes, panels.items(), strict=True):
        one, best = ([difference(name, results[name][i], part) for name in names] for i in range(2))
        ax.axvspan(-30, 0, color="0.93", zorder=0)
        ax.axvline(0, color="0.4", lw=1)
        ax.hlines(names, one, best, color="0.7", lw=1.5)
        ax.plot(one, names, "o", mfc="white", mec="tab:blue", label="one setting for all sets")
        ax.plot(best, names, "o", color="tab:blue", label="chosen by the validation rows")
        ax.set_xscale("symlog", linthresh=0.1, linscale=0.6)
        ax.set(title=f"Difference {title}", xlim=(-30, 30), xticks=[-10, -1, -0.1, 0, 0.1, 1, 10])
        ax.xaxis.set_major_formatter("{x:g}")
        ax.set_xlabel("\u2190 we are worse        nats        we are better \u2192")
        ax.grid(axis="x", color="0.9", lw=0.6)
    axes[0].legend(loc="lower left", fontsize=9)
    figure.savefig(file, dpi=150)


def short() -> Iterator[Figure]:
    """Cases for short.py."""
    for name in ("nltcs", "dna"):
        test = fit(name, "K=32", 0)["test"]
        yield Figure(f"{name}, K=32", "test log-likelihood", "nats", test)


if __name__ == "__main__":
    main()
