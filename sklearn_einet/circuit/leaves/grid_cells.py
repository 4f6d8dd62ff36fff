"""The cells of columns on a grid, in the units of a circuit."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

__all__ = ["GridCells"]


@dataclass(frozen=True)
class GridCells:
    """Contiguous cells of some columns.

    Attributes
    ----------
    edges : ndarray of shape (n_columns, n_cells + 1)
        Their ends, in ascending order; infinite after the last cell of a column with fewer cells.
    log_width : ndarray of shape (n_columns, n_cells)
        Logarithms of the widths by which probabilities of cells are divided to be densities; NaN
        after the last cell.
    """

    edges: np.ndarray
    log_width: np.ndarray

    def of(self, which: np.ndarray) -> GridCells:
        """Return the cells of some columns, given a mask."""
        return GridCells(self.edges[which], self.log_width[which])
