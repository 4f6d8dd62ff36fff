"""Sources of randomness."""

from __future__ import annotations

from typing import Any

import numpy as np
from sklearn.utils import check_random_state

__all__ = ["new_random_state"]


def new_random_state(seed: Any) -> np.random.RandomState:
    """Return a RandomState; None never means numpy's global one, unlike in scikit-learn."""
    return np.random.RandomState() if seed is None else check_random_state(seed)
