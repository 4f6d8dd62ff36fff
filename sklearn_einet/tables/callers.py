"""The place of the code that called the package, for warnings."""

from __future__ import annotations

import sys

__all__ = ["levels_to_caller"]


def levels_to_caller() -> int:
    """Return the stacklevel that makes a warning point to the code that called the package."""
    level, frame = 1, sys._getframe(1)
    ours = ("sklearn_einet", "sklearn.")  # scikit-learn's decorators stand around fit
    while frame.f_back is not None and frame.f_globals["__name__"].startswith(ours):
        level, frame = level + 1, frame.f_back
    return level
