"""What the short cases of the benchmarks share; see short.py."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from _timing import timed

SIDE = 512


class Figure(NamedTuple):
    """One quantity of one case.

    Attributes
    ----------
    case, quantity : str
    unit : str
        One of `UNITS`, or nothing if there is no number.
    value : float or str
        A number, or why it is missing.
    """

    case: str
    quantity: str
    unit: str
    value: float | str


class Unit(NamedTuple):
    """How a number is written, and how far it may be from that of another commit.

    Attributes
    ----------
    shown : str
        A format.
    limit : float
        A cost may grow by this factor. 0: it is no cost.
    absolute, relative : float
        Other figures may differ by so much, whichever allows more.
    """

    shown: str
    limit: float = 0.0
    absolute: float = 0.0
    relative: float = 0.0

    def mark(self, old: float, new: float) -> str:
        """The reason why the new value is marked, or nothing."""
        if self.limit:
            return "worse" if new > self.limit * old else ""
        allowed = max(self.absolute, self.relative * abs(old))
        # Written so that NaN is marked.
        return "" if abs(new - old) <= allowed else "changed"


# "times" are ratios of wall-clock times of several processes, which depend on what else runs.
UNITS = {
    "products": Unit(".4g", limit=1.2),
    "MB": Unit(".0f", limit=1.2),
    "times": Unit(".3g", limit=1.5),
    "nats": Unit("z.4f", absolute=0.02, relative=1e-3),
    "AUROC": Unit(".4f", absolute=0.005),
    "share": Unit(".4f", absolute=0.01),
    "deviations": Unit(".4f", absolute=0.005),
}


# Modules of the extras, without which a benchmark is skipped.
EXTRAS = ["arfpy", "cirkit", "dask", "deeprob", "distributed", "matplotlib", "pandas", "polars"]
EXTRAS += ["pyod", "pyvinecopulib", "spflow", "zuko"]


def skipped(case: str, error: ModuleNotFoundError) -> Figure:
    """Says which library is missing; raises if it is not one of the extras."""
    module = (error.name or "").partition(".")[0]
    if module not in EXTRAS:
        raise error
    return Figure(case, "", "", f"skipped: no module {module}")


def cpu_seconds(work: Callable[[], Any]) -> float:
    """CPU time of a call."""
    return timed(work)[1]


def in_products(measure: Callable[[], Any], rounds: int = 3) -> np.ndarray:
    """CPU times in matrix products, the fastest of several rounds.

    A product is of two float32 matrices of 512 x 512, by torch. Products take turns with what is
    measured, so that both see the same machine. CPU time does not run while others have the core.

    Parameters
    ----------
    measure : callable
        Returns CPU seconds: a number or a list of them.
    rounds : int
    """
    import torch

    matrix = torch.rand(SIDE, SIDE)

    def products() -> list[float]:
        return [cpu_seconds(lambda: torch.mm(matrix, matrix)) for _ in range(10)]

    reference, measured = products(), []
    for _ in range(rounds):
        measured.append(measure())
        reference += products()
    return np.min(measured, axis=0) / min(reference)
