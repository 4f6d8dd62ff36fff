"""Grids without the cells of some of their values."""

from __future__ import annotations

import numpy as np

from sklearn_einet.tables.column_maps import ColumnMap

__all__ = ["CutOut"]


class CutOut(ColumnMap):
    """A map that leaves out cells of a grid, which other values close up to, before another map.

    It is constant within these cells, and its inverse jumps over them.

    Parameters
    ----------
    starts : ndarray of shape (n_cells,)
        Their lower ends, in ascending order.
    width : float
        Their common width.
    inner : ColumnMap or None
        What follows.

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

    def __hash__(self) -> int:
        return hash((self.starts.tobytes(), self.width, self.inner))

    def __eq__(self, other: object) -> bool:
        return super().__eq__(other)

    @property
    def growth(self) -> float:  # type: ignore[override]
        """That of the other map."""
        return 0.0 if self.inner is None else self.inner.growth

    @property
    def _places(self) -> np.ndarray:
        """Where the cells have been, after they are cut out."""
        return np.asarray(self.starts - self.width * np.arange(len(self.starts)))

    def _cut(self, z: np.ndarray) -> np.ndarray:
        z = np.asarray(z, dtype=np.float64)
        before = np.searchsorted(self.starts, z)
        last = self.starts[(before - 1).clip(min=0)]
        with np.errstate(invalid="ignore"):
            within = np.where(before > 0, np.clip(last + self.width - z, 0, self.width), 0.0)
        return np.asarray(z - self.width * before + within)

    def forward(self, z: np.ndarray) -> np.ndarray:
        cut = self._cut(z)
        return cut if self.inner is None else self.inner.forward(cut)

    def inverse(self, y: np.ndarray) -> np.ndarray:
        z = np.asarray(y, dtype=np.float64) if self.inner is None else self.inner.inverse(y)
        return np.asarray(z + self.width * np.searchsorted(self._places, z))

    def log_slope(self, z: np.ndarray) -> np.ndarray:
        cut = self._cut(z)
        return np.zeros_like(cut) if self.inner is None else self.inner.log_slope(cut)

    @property
    def knots(self) -> np.ndarray:
        if self.inner is None:
            return np.unique(self._places)
        return np.unique(np.concatenate([self.inner.forward(self._places), self.inner.knots]))
