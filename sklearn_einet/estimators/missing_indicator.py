"""Which cells and columns of a table are missing, for the imputer."""

from __future__ import annotations

from typing import Any

import numpy as np
from sklearn.impute import MissingIndicator

from sklearn_einet.tables.missing_cells import missing_cells

__all__ = ["empty_columns", "fitted_indicator", "only_gaps"]


def empty_columns(X: Any) -> np.ndarray:
    """Return the columns without an observed value; none if all are empty: a density refuses it."""
    missing = missing_cells(X)
    if missing is None or missing.all():
        return np.empty(0, dtype=np.intp)
    return np.flatnonzero(missing.all(axis=0))


def fitted_indicator(X: Any) -> MissingIndicator:
    """Return an indicator of the columns of a table that have missing cells."""
    indicator = MissingIndicator(error_on_new=False).set_output(transform="default")
    return indicator.fit(only_gaps(X))


def only_gaps(X: Any) -> np.ndarray:
    """Return an array with the missing cells of a table, and 0 elsewhere."""
    missing = missing_cells(X)
    if missing is None:
        raise ValueError("add_indicator=True needs a table in memory: load X first.")
    return np.where(missing, np.nan, 0.0)
