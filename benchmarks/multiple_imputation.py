"""Multiple imputation of a number that is missing at random: bias, and coverage of intervals.

    python benchmarks/multiple_imputation.py [--rows 400 2000] [--seeds 20]

y = 0.6 x + 0.8 e + 1 with independent standard normal x and e; y is missing with probability
sigmoid(1.5 x), in half of the rows and most often where x is large. Of each table ten completed
copies are made, the slope of y on x is estimated by least squares in each, and the ten estimates
are combined by Rubin's rules, with a t distribution, into one and its 95% interval. Columns: the
mean over the seeds of the combined slope minus 0.6, with its standard error; the share of the
intervals that hold 0.6; their mean length.

"complete rows" leaves the others out: that slope is unbiased here, as x alone decides which y are
missing. EinetImputer has its defaults. IterativeImputer(sample_posterior=True), which is fitted
anew for every copy, assumes the very model that the rows come from.
"""

from __future__ import annotations

import argparse
import warnings
from collections.abc import Callable

import numpy as np
import torch
from scipy.special import expit
from scipy.stats import t as student
from sklearn.exceptions import ConvergenceWarning
from sklearn.experimental import enable_iterative_imputer  # noqa: F401
from sklearn.impute import IterativeImputer

from sklearn_einet import EinetImputer

SLOPE, N_COPIES = 0.6, 10


def table(n_rows: int, seed: int) -> np.ndarray:
    """Columns x and y, the latter with gaps."""
    rng = np.random.default_rng(seed)
    x, e = rng.normal(size=(2, n_rows))
    y = SLOPE * x + 0.8 * e + 1
    y[rng.random(n_rows) < expit(1.5 * x)] = np.nan
    return np.column_stack([x, y])


def by_einet(X: np.ndarray, seed: int) -> list[np.ndarray]:
    """Completed copies, drawn from one density."""
    imputer = EinetImputer(n_draws=N_COPIES, random_state=seed).fit(X)
    return list(imputer.transform_multiple(X))


def by_chained_equations(X: np.ndarray, seed: int) -> list[np.ndarray]:
    """Completed copies, each by an imputer of its own."""
    seeds = range(N_COPIES * seed, N_COPIES * (seed + 1))
    return [IterativeImputer(sample_posterior=True, random_state=s).fit_transform(X) for s in seeds]


def by_complete_rows(X: np.ndarray, seed: int) -> list[np.ndarray]:
    """The rows without a gap."""
    return [X[~np.isnan(X).any(axis=1)]]


IMPUTERS: dict[str, Callable[[np.ndarray, int], list[np.ndarray]]] = {
    "EinetImputer": by_einet,
    "IterativeImputer, sample_posterior": by_chained_equations,
    "complete rows": by_complete_rows,
}


def slope(X: np.ndarray) -> tuple[float, float]:
    """Slope of y on x by least squares, and its variance."""
    x, y = (X - X.mean(axis=0)).T
    estimate = x @ y / (x @ x)
    residual = y - estimate * x
    return float(estimate), float(residual @ residual / (len(X) - 2) / (x @ x))


def combined(copies: list[np.ndarray]) -> tuple[float, float]:
    """The slope by Rubin's rules, and half the length of its 95% interval."""
    estimates, variances = np.array([slope(copy) for copy in copies]).T
    m, within = len(copies), variances.mean()
    between = (1 + 1 / m) * estimates.var(ddof=1) if m > 1 else 0.0
    freedom = (m - 1) * (1 + within / between) ** 2 if m > 1 else len(copies[0]) - 2
    half = student.ppf(0.975, freedom) * np.sqrt(within + between)
    return float(estimates.mean()), float(half)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", nargs="+", type=int, default=[400, 2000])
    parser.add_argument("--seeds", type=int, default=20)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    warnings.simplefilter("ignore", ConvergenceWarning)
    print("| rows | copies by | bias of the slope (s.e.) | coverage | length |")
    print("|---|---|---|---|---|")
    for n_rows in arguments.rows:
        for name, copies_by in IMPUTERS.items():
            seeds = range(arguments.seeds)
            results = [combined(copies_by(table(n_rows, seed), seed)) for seed in seeds]
            error, half = np.array(results).T - [[SLOPE], [0]]
            spread = error.std(ddof=1) / np.sqrt(len(error))
            print(f"| {n_rows} | {name} | {error.mean():.3f} ({spread:.3f}) ", end="")
            print(f"| {np.mean(np.abs(error) <= half):.2f} | {2 * half.mean():.3f} |", flush=True)


if __name__ == "__main__":
    main()
