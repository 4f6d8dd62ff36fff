"""Trees of columns that are learned from rows, as circuits have them."""

from __future__ import annotations

from typing import Any

import numpy as np

from sklearn_einet.structure import RegionGraph, chow_liu

__all__ = ["learned_trees"]


def learned_trees(
    X: Any,
    weight: np.ndarray | None,
    n_states: np.ndarray,
    replicas: int,
    random_state: np.random.RandomState,
) -> RegionGraph:
    """Return Chow-Liu trees of rows; the parameters are those of `chow_liu`."""
    # A mixture of distributions over states is one itself; one of numeric densities is more.
    mixed = n_states == 0
    return chow_liu(
        X, n_states, replicas, random_state=random_state, weight=weight, mixed_leaves=mixed
    )
