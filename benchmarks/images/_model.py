"""The model of MNIST in 256 states a pixel."""

from __future__ import annotations

from typing import Any

from sklearn_einet import EinetDensity
from sklearn_einet.families import Categorical

__all__ = ["mnist_model"]


def mnist_model(K: int, epochs: int, **others: Any) -> EinetDensity:
    """Return the model with so many units and epochs at most, and other parameters as they are
    given."""
    settings = {"structure": "quad-tree", "image_shape": (28, 28), "leaf": Categorical(256)}
    settings |= {"pseudocount": 1.0, "tol": 1.0, "random_state": 0}
    return EinetDensity(K=K, max_iter=epochs, **(settings | others))
