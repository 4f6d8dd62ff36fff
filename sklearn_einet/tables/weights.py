"""Weights of rows."""

from __future__ import annotations

from typing import Any

import numpy as np
from sklearn.utils.validation import _check_sample_weight

from sklearn_einet.tables.frames import without_mask

__all__ = ["checked_weight", "rows_with_weight"]

# The range of the total weight: float32 can hold it and parts of it.
SMALLEST_WEIGHT, LARGEST_WEIGHT = 1e-30, 1e35


def checked_weight(sample_weight: Any, X: Any) -> np.ndarray:
    """Return the weights of the rows of X in float64.

    Raises
    ------
    ValueError
        If they are negative or not numbers, or all so small or large that a prior that counts in
        rows would lose its meaning.
    """
    weight: np.ndarray = _check_sample_weight(
        without_mask(sample_weight), X, dtype=np.float64, ensure_non_negative=True
    )
    with np.errstate(over="ignore"):
        total = weight.sum()
    if total > 0 and not SMALLEST_WEIGHT <= total <= LARGEST_WEIGHT:
        raise ValueError(
            f"sample_weight sums to {total:g}. Weights count as numbers of rows: rescale them to a "
            f"sum between {SMALLEST_WEIGHT:g} and {LARGEST_WEIGHT:g}."
        )
    return weight


def rows_with_weight(weight: np.ndarray | None) -> np.ndarray | None:
    """Return the rows that count, or None for all: the others may hold values that overflow."""
    return None if weight is None or (weight > 0).all() else np.flatnonzero(weight)
