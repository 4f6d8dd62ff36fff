"""A picture of mean ranks, with bars over what Nemenyi's test does not tell apart."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from scipy.stats import friedmanchisquare, studentized_range


def critical_difference(n_detectors: int, n_sets: int) -> float:
    """Mean ranks that are further apart differ at 0.05 (Nemenyi's test)."""
    q = studentized_range.ppf(0.95, n_detectors, np.inf) / np.sqrt(2)
    return float(q * np.sqrt(n_detectors * (n_detectors + 1) / (6 * n_sets)))


def undecided(ranks: np.ndarray, difference: float) -> list[tuple[float, float]]:
    """First and last of the longest runs of sorted ranks that are not further apart."""
    ends = np.searchsorted(ranks, ranks + difference, side="right") - 1
    starts = [i for i, end in enumerate(ends) if end > i and (i == 0 or end > ends[i - 1])]
    return [(ranks[i], ranks[ends[i]]) for i in starts]


def draw_axis(ax: Axes, n_detectors: int, difference: float) -> None:
    """The scale of ranks, and above it how far is far."""
    ax.plot([1, n_detectors], [0, 0], color="black", lw=1.2)
    for rank in range(1, n_detectors + 1):
        ax.plot([rank, rank], [0, -0.18], color="black", lw=1)
        ax.text(rank, -0.3, str(rank), ha="center", va="bottom", fontsize=8)
    left, right = n_detectors - difference, n_detectors
    ax.plot([left, right], [-1.6, -1.6], color="black", lw=1.2, marker="|", ms=6)
    text = f"critical difference {difference:.2f}  "
    ax.text(left, -1.6, text, ha="right", va="center", fontsize=8)


def draw_ranks(ax: Axes, auroc: pd.DataFrame, title: str, ours: Collection[str]) -> None:
    """Mean ranks of the columns, the best on the left; rows are counted downwards."""
    n_sets, n_detectors = auroc.shape
    ranks = auroc.rank(axis=1, ascending=False).mean().sort_values()
    difference = critical_difference(n_detectors, n_sets)
    p = friedmanchisquare(*auroc.to_numpy().T).pvalue
    values = ranks.to_numpy()
    # Where Friedman's test finds nothing, none of the pairs is told apart.
    bars = undecided(values, difference) if p < 0.05 else [(values[0], values[-1])]
    draw_axis(ax, n_detectors, difference)
    for i, (first, last) in enumerate(bars):
        y = 0.5 + 0.4 * i
        ax.plot([first - 0.06, last + 0.06], [y, y], color="0.25", lw=3.5, zorder=3)
    below, half = 0.7 + 0.4 * len(bars), (n_detectors + 1) // 2
    for i, (which, rank) in enumerate(ranks.items()):
        on_left = i < half
        y = below + 0.85 * (i if on_left else n_detectors - 1 - i)
        edge = 0.6 if on_left else n_detectors + 0.4
        color, weight = ("#c8321e", "bold") if which in ours else ("0.35", "normal")
        ax.plot([rank, rank, edge], [0, y, y], color=color, lw=1, zorder=2 + (which in ours))
        ax.plot(rank, 0, "o", color=color, ms=4.5, zorder=4 + (which in ours))
        name = f"{which}  {rank:.1f}" if on_left else f"{rank:.1f}  {which}"
        style = {"color": color if which in ours else "black", "weight": weight, "fontsize": 9}
        side = "right" if on_left else "left"
        ax.text(edge - 0.1 if on_left else edge + 0.1, y, name, ha=side, va="center", **style)
    ax.set_xlim(1 - 0.29 * n_detectors, n_detectors * 1.29)
    ax.set_ylim(below + 0.85 * half, -2.0)
    text = f"{title}: mean rank of AUROC on {n_sets} sets, 1 is best (Friedman's p = {p:.1g})"
    ax.set_title(text, fontsize=10)
    ax.axis("off")


def plot_ranks(panels: dict[str, pd.DataFrame], ours: Collection[str], file: Path) -> None:
    """A panel for each table of AUROC: a row for each set, a column for each detector."""
    size = (9, 3 * len(panels))
    figure, axes = plt.subplots(len(panels), figsize=size, squeeze=False, layout="constrained")
    for ax, (title, auroc) in zip(axes[:, 0], panels.items(), strict=True):
        draw_ranks(ax, auroc, title, ours)
    bottom = max(ax.get_ylim()[0] for ax in axes[:, 0])
    for ax in axes[:, 0]:
        ax.set_ylim(bottom=bottom)
    figure.savefig(file, dpi=150)
