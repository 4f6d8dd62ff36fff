"""Grids from which the cells of some values are cut out."""

from __future__ import annotations

import numpy as np

from sklearn_einet.tables.chained_map import ChainedMap
from sklearn_einet.tables.column_maps import ColumnMap

__all__ = ["CutOut"]

# Values that rounding has moved up to this many spacings of floats above a cell's place, for
# example at a bound there, count as below the cell.
ROUNDING = 16.0


class CutOut(ChainedMap):
    """A map that cuts cells out of a grid and closes the gaps, before another map.

    It is constant within these cells. Its inverse jumps over them.

    Parameters
    ----------
    starts : ndarray of shape (n_cells,)
        Their lower ends, in ascending order.
    width : float
        Their common width.
    inner : ColumnMap or None
        The map that follows.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn_einet.tables.cut_out import CutOut
    >>> cut = CutOut(np.array([-0.5]), 1.0, None)
    >>> cut.forward(np.array([-1.0, 1.0, 2.0])), cut.inverse(np.array([-1.0, 0.0]))
    (array([-1.,  0.,  1.]), array([-1.,  1.]))
    """

    name = "cut-out"

    def __init__(self, starts: np.ndarray, width: float, inner: ColumnMap | None) -> None:
        self.starts = np.array(starts, dtype=np.float64)
        self.width = float(width)
        self.inner = inner

    @property
    def bends(self) -> np.ndarray:
        """The places of the cells after they are cut out."""
        return np.asarray(self.starts - self.width * np.arange(len(self.starts)))

    def first(self, z: np.ndarray) -> np.ndarray:
        z = np.asarray(z, dtype=np.float64)
        before = np.searchsorted(self.starts, z)
        last = self.starts[(before - 1).clip(min=0)]
        with np.errstate(invalid="ignore"):
            within = np.where(before > 0, np.clip(last + self.width - z, 0, self.width), 0.0)
        return np.asarray(z - self.width * before + within)

    def first_inverse(self, moved: np.ndarray) -> np.ndarray:
        bends = self.bends
        ends = bends + ROUNDING * np.spacing(np.maximum(np.abs(bends), 1.0))
        return np.asarray(moved + self.width * np.searchsorted(ends, moved))

    def first_log_slope(self, z: np.ndarray) -> np.ndarray:
        return np.zeros(np.shape(z))
