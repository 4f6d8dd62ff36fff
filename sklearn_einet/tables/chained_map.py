"""Maps that are followed by other maps."""

from __future__ import annotations

from abc import abstractmethod
from functools import cached_property

import numpy as np

from sklearn_einet.tables.column_maps import ColumnMap

__all__ = ["ChainedMap"]


class ChainedMap(ColumnMap):
    """A map in two steps: a step of its own, then another map.

    Attributes
    ----------
    inner : ColumnMap or None
        The map that follows.
    """

    inner: ColumnMap | None

    @abstractmethod
    def first(self, z: np.ndarray) -> np.ndarray:
        """Return z after the map's own step."""

    @abstractmethod
    def first_inverse(self, moved: np.ndarray) -> np.ndarray:
        """Return the inverse of `first`."""

    @abstractmethod
    def first_log_slope(self, z: np.ndarray) -> np.ndarray:
        """Return the logarithm of the slope of `first`."""

    @property
    @abstractmethod
    def bends(self) -> np.ndarray:
        """Values after the own step, in ascending order; its inverse is smooth between them."""

    @property
    def growth(self) -> float:  # type: ignore[override]
        """The name of the map that follows."""
        return 0.0 if self.inner is None else self.inner.growth

    def forward(self, z: np.ndarray) -> np.ndarray:
        moved = self.first(z)
        return moved if self.inner is None else self.inner.forward(moved)

    def inverse(self, y: np.ndarray) -> np.ndarray:
        moved = np.asarray(y, dtype=np.float64) if self.inner is None else self.inner.inverse(y)
        return self.first_inverse(moved)

    def log_slope(self, z: np.ndarray) -> np.ndarray:
        slope = self.first_log_slope(z)
        return slope if self.inner is None else slope + self.inner.log_slope(self.first(z))

    @cached_property
    def knots(self) -> np.ndarray:
        if self.inner is None:
            return np.unique(self.bends)
        return np.unique(np.concatenate([self.inner.forward(self.bends), self.inner.knots]))
