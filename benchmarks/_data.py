"""The benchmark data, which users do not have; see the README of the folder."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np


class NoData(SystemExit):
    """There is no benchmark data."""


def data_folder() -> Path:
    """The folder in SKLEARN_EINET_DATA, or the one beside the checkout."""
    default = Path(__file__).parents[2] / "shared" / "data"
    folder = Path(os.environ.get("SKLEARN_EINET_DATA", default))
    if not folder.is_dir():
        raise NoData(f"There is no folder {folder}: set SKLEARN_EINET_DATA to the benchmark data.")
    return folder


def binary_set(name: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Training, validation and test rows of one of the twenty binary sets."""
    with np.load(data_folder() / "debd" / f"{name}.npz") as arrays:
        return arrays["train"], arrays["valid"], arrays["test"]
