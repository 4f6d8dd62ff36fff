"""Where the cells of columns on a grid are, in the units of a circuit."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

__all__ = ["GridCells"]


@dataclass(frozen=True)
class GridCells:
    """Cells of some columns, each beginning where the one before ends.

    Attributes
    ----------
    edges : ndarray of shape (n_columns, n_cells + 1)
        Their ends, in ascending order; infinite behind the last cell of a column that has fewer.
    log_width : ndarray of shape (n_columns, n_cells)
        Logarithms of what probabilities of cells are divided by, to be densities at the values in
        them; NaN behind the last cell.
    """

    edges: np.ndarray
    log_width: np.ndarray

    def of(self, which: np.ndarray) -> GridCells:
        """Return those of some columns, given a mask."""
        return GridCells(self.edges[which], self.log_width[which])
