"""Monotone maps that make single columns more like normal ones."""

from __future__ import annotations

from abc import ABC, abstractmethod
from functools import cached_property
from typing import ClassVar

import numpy as np
from scipy.special import boxcox1p, inv_boxcox1p

from sklearn_einet.tables.derived import KeepsDerived

__all__ = [
    "LARGEST",
    "ColumnMap",
    "QuantileSpline",
    "YeoJohnson",
    "signed_log",
    "transformed",
]

# Finite values are mapped to numbers up to this, whose squares do not overflow.
LARGEST = 1e150

# Least distance of singularities from the middle of an interval between knots, in half-widths,
# and the share of a spline's piece below which it is not cut again.
FAR_AWAY, LEAST_PART = 2.0, 1e-3


class ColumnMap(KeepsDerived, ABC):
    """A smooth, increasing map of the real line onto itself.

    It maps between two scales without the column's unit: z, in which typical cells have mean 0
    and variance 1, and y, in which the mapped cells do. Infinities are mapped to themselves, and
    NaN to NaN. Maps are equal if their parameters are.

    Attributes
    ----------
    name : str
        The kind of map, in words.
    growth : float
        A bound on the rate at which the inverse grows exponentially far out; 0 if it does not.
    """

    name: ClassVar[str]
    growth: float = 0.0

    @abstractmethod
    def forward(self, z: np.ndarray) -> np.ndarray:
        """Return y for z, of any shape."""

    @abstractmethod
    def inverse(self, y: np.ndarray) -> np.ndarray:
        """Return z for y, of any shape."""

    @abstractmethod
    def log_slope(self, z: np.ndarray) -> np.ndarray:
        """Return log(dy/dz) at finite z, of any shape."""

    @property
    @abstractmethod
    def knots(self) -> np.ndarray:
        """Values of y, in ascending order; polynomials between them approximate the inverse."""

    def __eq__(self, other: object) -> bool:
        if type(self) is not type(other):
            return NotImplemented
        mine, others = self.__getstate__(), other.__getstate__()
        return all(np.array_equal(mine[name], others[name]) for name in mine)

    def __hash__(self) -> int:
        # Maps may contain other maps; everything else is numbers.
        state = self.__getstate__().values()
        parts = (v if isinstance(v, ColumnMap) else np.asarray(v).tobytes() for v in state)
        return hash((type(self), *parts))

    def __repr__(self) -> str:
        settings = ", ".join(f"{k}={v!r}" for k, v in self.__getstate__().items())
        return f"{type(self).__name__}({settings})"


class YeoJohnson(ColumnMap):
    """The power transformation of Yeo and Johnson [1]_, shifted and scaled.

    Parameters
    ----------
    power : float
        lambda, between 0 (a logarithm above 0) and 2 (a logarithm below 0): these map onto the
        whole line.
    shift, unit : float
        What is subtracted from the transformed values, and what they are then divided by.
    low, high : float, default=-inf, inf
        Beyond these, the map continues linearly. Otherwise the inverse, and means with it, would
        grow exponentially where there were no data.

    References
    ----------
    .. [1] I.-K. Yeo and R. A. Johnson, "A New Family of Power Transformations to Improve Normality
       or Symmetry", Biometrika 87, 2000.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn_einet.tables.column_maps import YeoJohnson
    >>> YeoJohnson(0.0, 0.0, 1.0).forward(np.array([-1.0, 0.0, np.e - 1]))
    array([-1.5,  0. ,  1. ])
    """

    name = "yeo-johnson"

    def __init__(
        self,
        power: float,
        shift: float,
        unit: float,
        low: float = -np.inf,
        high: float = np.inf,
    ) -> None:
        if not 0 <= power <= 2:
            raise ValueError(f"power must be between 0 and 2, got {power!r}.")
        self.power, self.shift, self.unit = float(power), float(shift), float(unit)
        self.low, self.high = float(low), float(high)

    @property
    def growth(self) -> float:  # type: ignore[override]
        """A bound on the rate at which the inverse grows; 1 / unit for a logarithm."""
        return self.unit

    def forward(self, z: np.ndarray) -> np.ndarray:
        inside = np.clip(z, self.low, self.high)
        y = (transformed(inside, self.power) - self.shift) / self.unit
        return _bounded(y + _beyond(z, inside, self.log_slope(inside)), z)

    def inverse(self, y: np.ndarray) -> np.ndarray:
        y = np.asarray(y, dtype=np.float64)
        inside = np.clip(y, *self._ends)
        u = inside * self.unit + self.shift
        with np.errstate(over="ignore"):
            size = inv_boxcox1p(np.abs(u), self._powers(u))
        z = np.copysign(size, u)
        return _bounded(z + _beyond(y, inside, -self.log_slope(z)), y)

    def log_slope(self, z: np.ndarray) -> np.ndarray:
        inside = np.clip(z, self.low, self.high)
        with np.errstate(invalid="ignore"):  # infinite values with a power of 1
            return (self.power - 1) * signed_log(inside) - np.log(self.unit)

    @property
    def _ends(self) -> np.ndarray:
        """The images of low and high."""
        ends = np.array([self.low, self.high])
        return (transformed(ends, self.power) - self.shift) / self.unit

    @property
    def knots(self) -> np.ndarray:
        # The third derivative jumps at 0; beyond, powers have a singularity at -0.5 or less.
        inner = (np.array([-4.0, -1.0, 0.0, 1.0, 4.0]) - self.shift) / self.unit
        return np.sort(np.concatenate([inner, self._ends[np.isfinite(self._ends)]]))

    def _powers(self, z: np.ndarray) -> np.ndarray:
        return np.where(z < 0, 2 - self.power, self.power)


def _beyond(z: np.ndarray, inside: np.ndarray, log_slope: np.ndarray) -> np.ndarray:
    """Return slopes times the distances of values from the nearest values inside."""
    with np.errstate(invalid="ignore", over="ignore"):
        return np.where(z == inside, 0.0, (z - inside) * np.exp(log_slope))


def transformed(z: np.ndarray, power: float | np.ndarray) -> np.ndarray:
    """Return values as Yeo and Johnson transform them, by powers that broadcast with them."""
    z = np.asarray(z, dtype=np.float64)
    with np.errstate(over="ignore"):
        return np.copysign(boxcox1p(np.abs(z), np.where(z < 0, 2 - power, power)), z)


def signed_log(z: np.ndarray) -> np.ndarray:
    """Return sign(z) log(1 + abs(z)), the logarithm of the transformation's slope by power - 1."""
    return np.copysign(np.log1p(np.abs(z)), z)


class QuantileSpline(ColumnMap):
    """A monotone rational-quadratic spline [1]_ with straight tails.

    Its first derivative is continuous. Its slope and its inverse have closed forms.

    Parameters
    ----------
    z, y : ndarray of shape (n_knots,)
        Where the pieces meet, both in ascending order; at least two.
    slope : ndarray of shape (n_knots,)
        dy/dz there, positive. Those at the ends are the slopes of the tails.

    References
    ----------
    .. [1] J. A. Gregory and R. Delbourgo, "Piecewise Rational Quadratic Interpolation to Monotonic
       Data", IMA Journal of Numerical Analysis 2, 1982.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn_einet.tables.column_maps import QuantileSpline
    >>> spline = QuantileSpline(np.array([-1.0, 1.0]), np.array([-1.0, 1.0]), np.array([1.0, 2.0]))
    >>> spline.forward(np.array([-3.0, -1.0, 1.0, 3.0]))
    array([-3., -1.,  1.,  5.])
    """

    name = "quantile-spline"

    def __init__(self, z: np.ndarray, y: np.ndarray, slope: np.ndarray) -> None:
        self.z, self.y, self.slope = (np.array(each, dtype=np.float64) for each in (z, y, slope))

    def forward(self, z: np.ndarray) -> np.ndarray:
        inner = np.clip(z, self.z[0], self.z[-1])
        piece, theta = self._at(inner)
        secant, left, right = self._slopes(piece)
        both = theta * (1 - theta)
        share = (secant * theta * theta + left * both) / (
            secant + (left + right - 2 * secant) * both
        )
        y = self.y[piece] + (self.y[piece + 1] - self.y[piece]) * share
        return _bounded(y + self._beyond(z, self.z, self.slope), z)

    def inverse(self, y: np.ndarray) -> np.ndarray:
        inner = np.clip(y, self.y[0], self.y[-1])
        piece = _piece(self.y, inner)
        share = (inner - self.y[piece]) / (self.y[piece + 1] - self.y[piece])
        secant, left, right = self._slopes(piece)
        bend = (left + right - 2 * secant) * share
        b = left - bend
        root = np.sqrt(np.maximum(b * b + 4 * (secant - b) * secant * share, 0))
        theta = 2 * secant * share / (b + root)
        z = self.z[piece] + (self.z[piece + 1] - self.z[piece]) * theta
        return _bounded(z + self._beyond(y, self.y, 1 / self.slope), y)

    def log_slope(self, z: np.ndarray) -> np.ndarray:
        piece, theta = self._at(np.clip(z, self.z[0], self.z[-1]))
        secant, left, right = self._slopes(piece)
        both = theta * (1 - theta)
        numerator = right * theta**2 + 2 * secant * both + left * (1 - theta) ** 2
        denominator = secant + (left + right - 2 * secant) * both
        return np.log(numerator) + 2 * np.log(secant / denominator)

    @cached_property
    def knots(self) -> np.ndarray:
        return np.unique(np.concatenate([self.y, *map(self._cuts, range(len(self.y) - 1))]))

    def _cuts(self, piece: int) -> np.ndarray:
        """Return where to cut a piece of y, so that singularities of the inverse are far away.

        They lie where the square root in the inverse is 0, as a function of complex y.
        """
        secant, left, right = self._slopes(np.array(piece))
        bend = left + right - 2 * secant
        linear = 4 * secant * (secant - left) - 2 * left * bend
        roots = np.roots([bend * (bend + 4 * secant), linear, left * left])
        cuts, parts = [], [(0.0, 1.0)]
        while parts:
            low, high = parts.pop()
            middle, half = 0.5 * (low + high), 0.5 * (high - low)
            if half > LEAST_PART and np.any(np.abs(roots - middle) < FAR_AWAY * half):
                cuts.append(middle)
                parts += [(low, middle), (middle, high)]
        return self.y[piece] + (self.y[piece + 1] - self.y[piece]) * np.array(cuts)

    def _at(self, z: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return the pieces that values lie in, and their relative positions in these, 0 to 1."""
        piece = _piece(self.z, z)
        return piece, (z - self.z[piece]) / (self.z[piece + 1] - self.z[piece])

    def _slopes(self, piece: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return the mean slopes of pieces, and those at their left and right ends."""
        return self._secant[piece], self.slope[piece], self.slope[piece + 1]

    @cached_property
    def _secant(self) -> np.ndarray:
        return np.diff(self.y) / np.diff(self.z)

    @staticmethod
    def _beyond(x: np.ndarray, ends: np.ndarray, slope: np.ndarray) -> np.ndarray:
        """Return the contribution of the straight tails."""
        below, above = np.minimum(x - ends[0], 0), np.maximum(x - ends[-1], 0)
        with np.errstate(over="ignore"):
            return np.asarray(slope[0] * below + slope[-1] * above)


def _piece(ends: np.ndarray, x: np.ndarray) -> np.ndarray:
    """Return the pieces that values lie in."""
    return np.searchsorted(ends[1:-1], x, side="right")


def _bounded(mapped: np.ndarray, x: np.ndarray) -> np.ndarray:
    """Return mapped values that are finite where the given ones are."""
    return np.where(np.isinf(x), x, np.clip(mapped, -LARGEST, LARGEST))
