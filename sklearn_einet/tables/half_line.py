"""Maps of one side of a bound to the whole line."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence

import numpy as np

from sklearn_einet.tables.chained_map import ChainedMap
from sklearn_einet.tables.column_maps import LARGEST, ColumnMap

__all__ = ["HalfLine", "joined_maps"]

# Places at which the inverse bends, in widths of the bend.
BENDS = np.arange(-8.0, 9.0, 2.0)


class HalfLine(ChainedMap):
    """A map that moves a bound infinitely far away, and hardly changes values far from it.

    It is the inverse of the softplus function, before another map. Values beyond the bound have no
    image.

    Parameters
    ----------
    bound : float
    is_upper : bool
        Whether values lie below the bound instead of above it.
    width : float
        The distance from the bound at which values begin to be moved.
    inner : ColumnMap or None
        The map that follows.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn_einet.tables.half_line import HalfLine
    >>> positive = HalfLine(0.0, False, 0.1, None)
    >>> y = positive.forward(np.array([0.0, 0.01, 0.1, 1.0]))
    >>> y.round(3), positive.inverse(y).round(3)
    (array([-1.00e+150, -2.25e-001,  5.40e-002,  1.00e+000]), array([0.  , 0.01, 0.1 , 1.  ]))
    """

    name = "half-line"

    def __init__(self, bound: float, is_upper: bool, width: float, inner: ColumnMap | None) -> None:
        self.bound, self.is_upper, self.width = float(bound), bool(is_upper), float(width)
        self.inner = inner

    @property
    def _sign(self) -> float:
        return 1.0 - 2.0 * self.is_upper

    def _distance(self, z: np.ndarray) -> np.ndarray:
        """Return the distances of values from the bound, in widths; infinite values stay
        infinite."""
        return np.asarray(self._sign * (np.asarray(z, dtype=np.float64) - self.bound) / self.width)

    def first(self, z: np.ndarray) -> np.ndarray:
        distance = self._distance(z)
        with np.errstate(divide="ignore", invalid="ignore"):
            moved = distance + np.log(-np.expm1(-distance.clip(min=0)))
        moved = np.where(distance > 0, moved, np.where(np.isnan(distance), np.nan, -np.inf))
        y = self.bound + self._sign * self.width * moved
        return np.asarray(np.where(np.isinf(z), z, np.clip(y, -LARGEST, LARGEST)))

    def first_inverse(self, moved: np.ndarray) -> np.ndarray:
        with np.errstate(invalid="ignore"):
            distance = np.logaddexp(0.0, self._distance(moved))
        z = self.bound + self._sign * self.width * distance
        return np.asarray(np.where(np.isinf(moved), moved, z))

    def first_log_slope(self, z: np.ndarray) -> np.ndarray:
        distance = self._distance(z)
        with np.errstate(divide="ignore", invalid="ignore"):
            slope = np.where(distance > 0, -np.log(-np.expm1(-distance)), 0.0)
        return np.where(np.isnan(distance), np.nan, slope)

    @property
    def bends(self) -> np.ndarray:
        return np.asarray(self.bound + self.width * BENDS)


def joined_maps(maps: Mapping[int, ColumnMap]) -> list[tuple[int | np.ndarray, ColumnMap]]:
    """Return maps of columns, with maps of the same kind joined, which cost no more than one.

    Parameters
    ----------
    maps : mapping of int to ColumnMap

    Returns
    -------
    joined : list of (int or ndarray of int, ColumnMap)
        The columns of each map, as rows of the arrays that it maps.
    """
    single: list[tuple[int | np.ndarray, ColumnMap]] = []
    chains: dict[int, dict[int, HalfLine]] = defaultdict(dict)
    for column, each in maps.items():
        length = _chain_length(each)
        if length and isinstance(each, HalfLine):
            chains[length][column] = each
        else:
            single.append((column, each))
    several = [(np.array(list(same)), _rows_of(list(same.values()))) for same in chains.values()]
    return [*several, *single]


def _chain_length(column_map: ColumnMap | None) -> int:
    """Return how many half-lines follow each other; 0 if there is any other map."""
    length = 0
    while isinstance(column_map, HalfLine):
        column_map, length = column_map.inner, length + 1
    return length if column_map is None else 0


def _rows_of(lines: Sequence[HalfLine]) -> HalfLine:
    """Return the map of arrays in which each row belongs to one half-line and those that follow."""
    result = HalfLine.__new__(HalfLine)
    for name in ("bound", "is_upper", "width"):
        setattr(result, name, np.array([[getattr(each, name)] for each in lines]))
    inner = [each.inner for each in lines if isinstance(each.inner, HalfLine)]
    result.inner = _rows_of(inner) if inner else None
    return result
