"""A warning about probabilities that numerical integration leaves uncertain."""

from __future__ import annotations

import warnings

from sklearn_einet.families.normal_boxes import LARGE_ERROR
from sklearn_einet.tables.callers import levels_to_caller

__all__ = ["warn_of_large_errors"]


def warn_of_large_errors(what: str, largest_error: float) -> None:
    """Warn if the largest standard error of probabilities, of boxes or of ranges, is large."""
    if largest_error > LARGE_ERROR:
        warnings.warn(
            f"Probabilities of {what} have standard errors of up to {largest_error:.1g}, because "
            "three or more bounded columns depend closely on each other.",
            UserWarning,
            stacklevel=levels_to_caller(),
        )
