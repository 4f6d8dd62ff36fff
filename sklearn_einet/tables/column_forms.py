"""What a column of numbers visibly is: values that repeat, a grid, bounds."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from sklearn_einet.tables.grids import BESIDE_POINT, is_dense, nearest_on_grid, usual_step

__all__ = ["FLOAT64", "ColumnForm", "column_form"]

# Least number of rows of a value that repeats, whatever its share.
MIN_ROWS = 10.0

# How many times as many rows as either of the two next values on both sides an atom on a grid has.
TIMES_NEIGHBOURS = 5.0

# What states must gain over a density, in nats: numbers that are near each other are alike.
LEAST_GAIN = 0.02

# Of a column that hangs on others by more nats, rounded values are not taken for atoms: those
# that have less than a share of the rows, or not so many times as many as the others that repeat.
FREE, SHARE_BESIDE_ROUNDED, TIMES_ROUNDED = 0.1, 0.01, 5.0

# The most atoms of a column; the most frequent ones are taken.
MAX_ATOMS = 255

# Columns of so few different values are states, if there are so many rows for each.
FEW_VALUES, ROWS_OF_VALUE = 10, 5.0

# The most values of a column that may be states.
MAX_STATES = 256

# Bandwidths of densities that states are compared with, in distances between values.
BANDWIDTHS = (1.0, 1.5, 2.0, 3.0, 5.0, 8.0, 13.0, 21.0, 34.0)

# The share of a uniform density among these.
UNIFORM_SHARE = 0.01

# Standard deviations from a bound within which a density is kept from going beyond it.
NEAR = 4.0

FLOAT64 = np.dtype(np.float64)

# How far beyond a bound a density reaches where there are numbers at it, in standard deviations.
RIM = 0.01

# A bound that is as near to the largest value as this share of the range is one.
NEAR_BOUND = 0.02


@dataclass(frozen=True)
class ColumnForm:
    """What a column of numbers is taken for.

    Attributes
    ----------
    atoms : ndarray of shape (n_atoms,)
        Values that are probability masses, in ascending order.
    is_complete : bool
        Whether there is nothing but atoms.
    step, origin : float
        The grid that the values, or nearly all of them, lie on; a step of 0 if there is none.
    unit : float
        What probabilities of atoms are divided by, to be densities like those of numbers beside
        them: the step of a grid, or else the standard deviation by the number of atoms.
    low, high : float
        What no value is below, or above.
    scale : float
        Standard deviation of the numbers beside atoms; of all values, if there are no others.
    number_share : float
        Share of the rows that have no atom.
    near_low, near_high : bool
        Whether numbers come so near to a bound that a density would go beyond it.
    at_low, at_high : bool
        Whether there are numbers at a bound that are no atoms.
    precision : str
        The type of floats that the column's numbers are rounded to.
    reason : str
        Why, in words.
    """

    atoms: np.ndarray
    is_complete: bool = False
    step: float = 0.0
    origin: float = 0.0
    unit: float = 1.0
    low: float = -np.inf
    high: float = np.inf
    scale: float = 1.0
    number_share: float = 1.0
    near_low: bool = False
    near_high: bool = False
    at_low: bool = False
    at_high: bool = False
    precision: str = "float64"
    reason: str = ""

    @property
    def is_split(self) -> bool:
        """Whether the column has atoms, and numbers beside them."""
        return len(self.atoms) > 0 and not self.is_complete

    @property
    def is_plain(self) -> bool:
        """Whether the column is nothing but a number, without grid or bounds."""
        return not (len(self.atoms) or self.step or self.low > -np.inf or self.high < np.inf)

    def without_sign(self) -> ColumnForm:
        """Return the form of a column whose 0 is no bound, nor 1 and 100, but for atoms."""
        low = self.low if self.low in self.atoms else -np.inf
        high = self.high if self.high in self.atoms else np.inf
        near_low, near_high = self.near_low and low > -np.inf, self.near_high and high < np.inf
        return replace(self, low=low, high=high, near_low=near_low, near_high=near_high)

    @property
    def ends(self) -> tuple[float, float]:
        """The ends of the cells of numbers at the bounds."""
        if self.step:
            first, last = self._within(self.low, np.ceil), self._within(self.high, np.floor)
            return first - 0.5 * self.step, last + 0.5 * self.step
        rims = [RIM * self.scale * is_at for is_at in (self.at_low, self.at_high)]
        return self.low - rims[0], self.high + rims[1]

    def _within(self, bound: float, to_whole: Callable[[float], float]) -> float:
        """Return a bound, or the point of the grid beside it if it is not on the grid."""
        n_steps = (bound - self.origin) / self.step
        if not np.isfinite(bound) or abs(n_steps - np.round(n_steps)) <= BESIDE_POINT:
            return bound
        return float(self.origin + self.step * to_whole(n_steps))

    def rounded(self, x: np.ndarray) -> np.ndarray:
        """Return numbers as the type of the column has them, in float64."""
        if self.precision == "float64":
            return x
        with np.errstate(over="ignore"):
            return np.asarray(x.astype(self.precision).astype(np.float64))

    def neighbour(self, x: np.ndarray, towards: float) -> np.ndarray:
        """Return the next numbers of the type of the column, in float64."""
        here, there = x.astype(self.precision), np.dtype(self.precision).type(towards)
        return np.asarray(np.nextafter(here, there).astype(np.float64))

    def on_grid(self, x: np.ndarray) -> np.ndarray:
        """Return the nearest numbers on the grid, as the type of the column has them."""
        return self.rounded(nearest_on_grid(x, self.origin, self.step))

    def unrounded(self, x: np.ndarray) -> np.ndarray:
        """Return numbers in which those of the grid are as they were before they were rounded to
        the type of the column."""
        if self.precision == "float64" or not self.step:
            return x
        with np.errstate(invalid="ignore"):
            exact = nearest_on_grid(x, self.origin, self.step)
        return np.where(self.rounded(exact) == x, exact, x)

    @property
    def holes(self) -> np.ndarray:
        """Where the cells of atoms on the grid begin, which numbers have no part of."""
        if not self.step:
            return np.empty(0)
        atoms = self.unrounded(self.atoms)
        n_steps = (atoms - self.origin) / self.step
        is_point = np.abs(n_steps - np.round(n_steps)) <= BESIDE_POINT
        return np.asarray(atoms[is_point] - 0.5 * self.step)

    @property
    def log_unit(self) -> float:
        """Logarithm of what probabilities of atoms are divided by."""
        return float(np.log(self.unit))


def column_form(
    values: np.ndarray,
    counts: np.ndarray,
    least_share: float,
    dependence: float,
    given: np.ndarray | None = None,
    dtype: np.dtype[Any] = FLOAT64,
) -> ColumnForm:
    """Return what a column is taken for.

    Parameters
    ----------
    values : ndarray of shape (n_values,)
        Different and in ascending order; two at least.
    counts : ndarray of shape (n_values,)
        How many rows have each.
    least_share : float
        Share of the rows from which a value that repeats is an atom; above 1: none is.
    dependence : float
        What the other columns tell about this one as a number, in nats.
    given : ndarray of shape (n_atoms,) or None, default=None
        The atoms, in ascending order; None: to be found.
    dtype : dtype, default=float64
        The type of the column, whose range bounds it.
    """
    is_narrow = dtype.kind == "f" and dtype.itemsize < 8
    precision = dtype.name if is_narrow else "float64"
    step, on = usual_step(values, counts, precision)
    n, d = counts.sum(), len(values)
    cell = step if is_dense(values[on], step) else 0.0
    atoms, reason = np.zeros(d, dtype=bool), ""
    if given is not None:
        atoms, reason = np.isin(values, given), "atoms as given"
        if counts[~atoms].sum() == 0 or (~atoms).sum() < 2:
            atoms[:] = True
    elif least_share <= 1:
        atoms = counts >= max(MIN_ROWS, least_share * n)
        if step:
            atoms[on] &= _stands_alone(values[on], counts[on], step)
        atoms = _most_frequent(counts, atoms)
        if dependence > FREE:
            atoms &= _stands_out(counts, atoms)
        atoms, reason = _completed(values, counts, atoms, on, cell, dependence)
    numbers = ~atoms
    low, high = _bounds(values, atoms, dtype)
    whole = _deviation(values, counts)
    scale = _deviation(values[numbers], counts[numbers]) if numbers.any() else whole
    z, reach = values[numbers], NEAR * scale
    near_low = len(z) > 0 and bool(z[0] - low < reach)
    near_high = len(z) > 0 and bool(high - z[-1] < reach)
    return ColumnForm(
        values[atoms],
        bool(atoms.all()),
        step,
        float(str(values[on][0].astype(precision))),  # without what it was rounded by
        step or whole / max(1, atoms.sum()),
        low,
        high,
        scale,
        float(counts[numbers].sum() / n),
        near_low,
        near_high,
        len(z) > 0 and bool(z[0] == low),
        len(z) > 0 and bool(z[-1] == high),
        precision,
        reason or _description(step, bool(on.all())),
    )


def _stands_alone(values: np.ndarray, counts: np.ndarray, step: float) -> np.ndarray:
    """Return which values are far more frequent than their neighbours on the grid."""
    position = np.round((values - values[0]) / step).astype(np.int64)
    beside = np.zeros(len(values))
    for distance in (-2, -1, 1, 2):
        there = np.searchsorted(position, position + distance).clip(max=len(values) - 1)
        found = position[there] == position + distance
        beside = np.maximum(beside, np.where(found, counts[there], 0.0))
    return np.asarray(counts > TIMES_NEIGHBOURS * beside)


def _most_frequent(counts: np.ndarray, candidates: np.ndarray) -> np.ndarray:
    """Return which candidates are among the most frequent ones, as many as there may be."""
    if candidates.sum() > MAX_ATOMS:
        ranked = np.argsort(np.where(candidates, -counts, 1.0), kind="stable")
        candidates = np.zeros_like(candidates)
        candidates[ranked[:MAX_ATOMS]] = True
    return candidates


def _stands_out(counts: np.ndarray, atoms: np.ndarray) -> np.ndarray:
    """Return which values are so frequent that they are none that others were rounded to."""
    frequent = counts >= SHARE_BESIDE_ROUNDED * counts.sum()
    if atoms.sum() < 4:
        return frequent
    return np.asarray(frequent & (counts > TIMES_ROUNDED * np.median(counts[atoms])))


def _completed(
    values: np.ndarray,
    counts: np.ndarray,
    atoms: np.ndarray,
    on: np.ndarray,
    cell: float,
    dependence: float,
) -> tuple[np.ndarray, str]:
    """Return the atoms, all values if the column is better taken for states; and why."""
    n, d = counts.sum(), len(values)
    share = counts[atoms].sum() / n
    repeat = "1 value repeats" if atoms.sum() == 1 else f"{atoms.sum()} values repeat"
    reason = f"{repeat}, in {share:.1%} of the rows" if atoms.any() else ""
    rest = ~atoms
    if atoms.any() and (rest.sum() < 2 or counts[rest].sum() < MIN_ROWS):
        return np.ones(d, dtype=bool), f"hardly any other than {atoms.sum()} values"
    if d > MAX_STATES or n < ROWS_OF_VALUE * d:
        return atoms, reason
    if d <= FEW_VALUES:
        return np.ones(d, dtype=bool), f"{d} different values"
    gain = _gain_of_states(values, counts, atoms, on, cell)
    if gain > max(LEAST_GAIN, dependence):
        reason = f"{d} values; as states {gain:.2g} nats better than a density"
        return np.ones(d, dtype=bool), reason
    return atoms, reason


def _gain_of_states(
    values: np.ndarray, counts: np.ndarray, atoms: np.ndarray, on: np.ndarray, cell: float
) -> float:
    """Return what states gain over atoms and a smooth density, in nats per row left out."""
    n, d = counts.sum(), len(values)
    share = np.maximum(counts - 0.5, 0.5) / (n - 1 + 0.5 * d)
    states = counts @ np.log(share) / n
    rest = ~atoms
    z, mass = values[rest], counts[rest]
    total = mass.sum()
    if cell:  # atoms leave none behind
        width = np.full(len(z), cell)
        z = z - cell * np.searchsorted(values[atoms & on], z)
    else:
        width = np.gradient(values)[rest]
    of_atoms = counts[atoms] @ np.log(counts[atoms] / n) / n
    best = -np.inf
    distance = z[:, None] - z
    for factor in BANDWIDTHS:
        bandwidth = factor * np.median(width)
        kernel = np.exp(-0.5 * (distance / bandwidth) ** 2) / (bandwidth * np.sqrt(2 * np.pi))
        density = (kernel @ mass - kernel.diagonal()) / max(total - 1, 1)
        smooth = (1 - UNIFORM_SHARE) * density * width + UNIFORM_SHARE * width / width.sum()
        best = max(best, float(mass @ np.log(total / n * smooth) / n))
    return float(states - of_atoms - best)


def _bounds(values: np.ndarray, atoms: np.ndarray, dtype: np.dtype[Any]) -> tuple[float, float]:
    """Return bounds: the sign of the values, 1 or 100 for shares, the range of the type, and atoms
    at the ends."""
    smallest, largest = float(values[0]), float(values[-1])
    least, most = _range_of(dtype)
    low = 0.0 if smallest >= 0 else least
    high = 0.0 if largest <= 0 else most
    for end in (1.0, 100.0):
        if smallest >= 0 and 0 <= end - largest <= NEAR_BOUND * (largest - smallest):
            high = end
    if atoms[0]:
        low = smallest
    if atoms[-1]:
        high = largest
    return low, high


def _range_of(dtype: np.dtype[Any]) -> tuple[float, float]:
    """Return the ends of an integer type, infinite for those of 64 bits, which no column reaches,
    and for other types."""
    if dtype.kind not in "iu" or dtype.itemsize == 8:
        return -np.inf, np.inf
    limits = np.iinfo(dtype)
    return float(limits.min), float(limits.max)


def _deviation(values: np.ndarray, counts: np.ndarray) -> float:
    """Return the standard deviation, 1 where there is none."""
    if len(values) < 2:
        return 1.0
    unit = np.abs(values).max()
    z = values / unit
    mean = np.average(z, weights=counts)
    return float(unit * np.sqrt(np.average((z - mean) ** 2, weights=counts))) or 1.0


def _description(step: float, is_strict: bool) -> str:
    if not step:
        return "different values"
    return f"multiples of {step:g}" if is_strict else f"nearly all multiples of {step:g}"
