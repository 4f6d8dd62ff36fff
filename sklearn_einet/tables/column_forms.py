"""The visible form of a column of numbers: repeated values, a grid, bounds."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch

from sklearn_einet.families import ExponentialFamily
from sklearn_einet.tables.atom_choice import MIN_ROWS, completed_atoms, frequent_values
from sklearn_einet.tables.grids import BESIDE_POINT, is_dense, nearest_on_grid, usual_step

__all__ = ["FLOAT64", "ColumnForm", "column_form", "named_form"]

FLOAT64 = np.dtype(np.float64)

# Densities end at a bound if numbers come closer to it than so many standard deviations.
NEAR = 4.0

# The same for given bounds; bounds farther away would cost digits of the numbers.
NEAR_GIVEN = 1e6

# How far a density reaches beyond a bound at which there are numbers, in standard deviations.
RIM = 0.01

# A possible upper bound counts if it is within this share of the range of the largest value.
NEAR_BOUND = 0.02


@dataclass(frozen=True)
class ColumnForm:
    """The form of a column of numbers.

    Attributes
    ----------
    atoms : ndarray of shape (n_atoms,)
        Values that are probability masses, in ascending order.
    is_complete : bool
        Whether the column has nothing but atoms.
    step, origin : float
        The grid that the values, or nearly all of them, lie on; a step of 0 without a grid.
    unit : float
        Probabilities of atoms are divided by it, to be densities like those of the numbers beside
        them: the step of a grid, or the standard deviation divided by the number of atoms.
    low, high : float
        The bounds that no value is below or above.
    scale : float
        Standard deviation of the numbers that are not atoms; of all values if there are only atoms.
    number_share : float
        Share of the rows whose value is not an atom.
    near_low, near_high : bool
        Whether numbers come so near to a bound that a density would extend beyond it.
    at_low, at_high : bool
        Whether there are numbers at a bound that are not atoms.
    given_low, given_high : float
        Bounds given by the user: values beyond them are impossible, not just unseen.
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
    given_low: float = -np.inf
    given_high: float = np.inf
    precision: str = "float64"
    reason: str = ""

    @property
    def is_given(self) -> bool:
        """Whether the user has given a bound."""
        return self.given_low > -np.inf or self.given_high < np.inf

    @property
    def is_split(self) -> bool:
        """Whether the column has both atoms and other numbers."""
        return len(self.atoms) > 0 and not self.is_complete

    @property
    def is_plain(self) -> bool:
        """Whether the column is nothing but a number, without grid or bounds."""
        return not (len(self.atoms) or self.step or self.low > -np.inf or self.high < np.inf)

    def without_sign(self) -> ColumnForm:
        """Return the form of a column in which 0, 1 and 100 are not bounds unless they are
        atoms."""
        low = self.low if self.low in self.atoms else -np.inf
        high = self.high if self.high in self.atoms else np.inf
        near_low, near_high = self.near_low and low > -np.inf, self.near_high and high < np.inf
        return replace(self, low=low, high=high, near_low=near_low, near_high=near_high)

    @property
    def ends(self) -> tuple[float, float]:
        """The ends of the cells of numbers at the bounds."""
        rims = [RIM * self.scale * is_at for is_at in (self.at_low, self.at_high)]
        low, high = self.low - rims[0], self.high + rims[1]
        if not self.step:
            return low, high
        first = self._within(self.low, np.ceil) - 0.5 * self.step
        last = self._within(self.high, np.floor) + 0.5 * self.step
        # Numbers at bounds may be off the grid.
        return (
            low if self.at_low and self.low <= first else first,
            high if self.at_high and self.high >= last else last,
        )

    def _within(self, bound: float, to_whole: Callable[[float], float]) -> float:
        """Return a bound, or the point of the grid beside it if it is not on the grid."""
        n_steps = (bound - self.origin) / self.step
        if not np.isfinite(bound) or abs(n_steps - np.round(n_steps)) <= BESIDE_POINT:
            return bound
        return float(self.origin + self.step * to_whole(n_steps))

    def rounded(self, x: np.ndarray) -> np.ndarray:
        """Return numbers rounded to the type of the column, in float64."""
        return _rounded(x, self.precision)

    def neighbour(self, x: np.ndarray, towards: float) -> np.ndarray:
        """Return the next numbers of the type of the column, in float64."""
        here, there = x.astype(self.precision), np.dtype(self.precision).type(towards)
        return np.asarray(np.nextafter(here, there).astype(np.float64))

    def on_grid(self, x: np.ndarray) -> np.ndarray:
        """Return the nearest numbers on the grid, rounded to the type of the column."""
        return self.rounded(nearest_on_grid(x, self.origin, self.step))

    def unrounded(self, x: np.ndarray) -> np.ndarray:
        """Return numbers with those on the grid as they were before rounding to the column's
        type."""
        if self.precision == "float64" or not self.step:
            return x
        with np.errstate(invalid="ignore"):
            exact = nearest_on_grid(x, self.origin, self.step)
        return np.where(self.rounded(exact) == x, exact, x)

    @property
    def holes(self) -> np.ndarray:
        """Where the cells of atoms on the grid begin; other numbers do not share these cells."""
        if not self.step:
            return np.empty(0)
        atoms = self.unrounded(self.atoms)
        n_steps = (atoms - self.origin) / self.step
        is_point = np.abs(n_steps - np.round(n_steps)) <= BESIDE_POINT
        return np.asarray(atoms[is_point] - 0.5 * self.step)

    @property
    def log_unit(self) -> float:
        """Logarithm of the unit that probabilities of atoms are divided by."""
        return float(np.log(self.unit))


def column_form(
    values: np.ndarray,
    counts: np.ndarray,
    least_share: float,
    dependence: float,
    given: np.ndarray | None = None,
    bounds: tuple[float, float] | None = None,
    dtype: np.dtype[Any] = FLOAT64,
) -> ColumnForm:
    """Return the form of a column.

    Parameters
    ----------
    values : ndarray of shape (n_values,)
        Distinct and in ascending order; at least two.
    counts : ndarray of shape (n_values,)
        How many rows have each.
    least_share : float
        The share of the rows from which a repeated value is an atom. Above 1, there are no atoms
        and no grid.
    dependence : float
        How much the other columns tell about this one as a number, in nats.
    given : ndarray of shape (n_atoms,) or None, default=None
        The atoms, in ascending order. None: find them.
    bounds : (float, float) or None, default=None
        Bounds that contain all values up to rounding. None: find them.
    dtype : dtype, default=float64
        The type of the column, whose range bounds it.
    """
    precision, on, step = _precision(dtype), np.ones(len(values), dtype=bool), 0.0
    if least_share <= 1:
        step, on = usual_step(values, counts, precision)
    atoms, reason = np.zeros(len(values), dtype=bool), ""
    if given is not None:
        atoms, reason = np.isin(values, _rounded(given, precision)), "atoms as given"
        if counts[~atoms].sum() == 0 or (~atoms).sum() < 2:
            atoms[:] = True
    elif least_share <= 1:
        atoms = frequent_values(values, counts, on, step, least_share, dependence)
        cell = step if is_dense(values[on], step) else 0.0
        atoms, reason = completed_atoms(values, counts, atoms, on, cell, dependence)
    reason = reason or _description(step, bool(on.all()))
    form = replace(_with_atoms(values, counts, atoms), precision=precision, reason=reason)
    if step:
        origin = float(str(values[on][0].astype(precision)))  # without its rounding error
        form = replace(form, step=step, origin=origin, unit=step)
    if bounds is None:
        return _bounded(form, values[~atoms], _bounds(values, atoms, dtype), (NEAR, NEAR))
    return _within_given(form, values[~atoms], bounds, dtype)


def named_form(
    family: ExponentialFamily,
    ends: list[float],
    values: np.ndarray,
    counts: np.ndarray,
    least_share: float,
    dependence: float,
    given: np.ndarray | None = None,
    dtype: np.dtype[Any] = FLOAT64,
) -> ColumnForm:
    """Return the form of a column of numbers whose family the user has named.

    It may have atoms, but no grid, and no bounds other than the family's.

    Parameters
    ----------
    family : ExponentialFamily
        A continuous family.
    ends : list of float
        Open ends of its support that are values: atoms, however few rows have them.
    values, counts, least_share, dependence, given, dtype
        As in `column_form`.
    """
    precision = _precision(dtype)
    is_possible = family.in_support(torch.from_numpy(values)).numpy()
    is_end = np.isin(values, ends)
    atoms, reason = is_end, ""
    if given is not None:
        atoms, reason = np.isin(values, _rounded(given, precision)), "atoms as given"
    else:
        step, on = usual_step(values, counts, precision)
        frequent = frequent_values(values, counts, on, step, least_share, dependence)
        rest = ~(is_end | frequent & is_possible)
        if rest.sum() >= 2 and counts[rest].sum() >= MIN_ROWS:
            atoms = ~rest
        share = counts[atoms].sum() / counts.sum()
        what = "1 value" if atoms.sum() == 1 else f"{atoms.sum()} values"
        reason = f"{what} beside {family.name!r}, in {share:.1%} of the rows"
    if (~atoms).sum() < 2 and is_possible[~atoms].all():
        atoms = np.ones(len(values), dtype=bool)
        reason = f"nearly all rows have one of {len(values)} values" if given is None else reason
    is_end &= atoms
    return replace(
        _with_atoms(values, counts, atoms),
        low=float(values[0]) if is_end[0] else -np.inf,
        high=float(values[-1]) if is_end[-1] else np.inf,
        precision=precision,
        reason=reason,
    )


def _precision(dtype: np.dtype[Any]) -> str:
    """Return the float type that numbers of a type are rounded to."""
    return dtype.name if dtype.kind == "f" and dtype.itemsize < 8 else "float64"


def _rounded(x: np.ndarray, precision: str) -> np.ndarray:
    """Return numbers rounded to a float type, in float64."""
    if precision == "float64":
        return x
    with np.errstate(over="ignore"):
        return np.asarray(x.astype(precision).astype(np.float64))


def _with_atoms(values: np.ndarray, counts: np.ndarray, atoms: np.ndarray) -> ColumnForm:
    """Return a form of a column with some of its values as atoms."""
    numbers = ~atoms
    whole = _deviation(values, counts)
    return ColumnForm(
        values[atoms],
        bool(atoms.all()),
        unit=whole / max(1, atoms.sum()),
        scale=_deviation(values[numbers], counts[numbers]) if numbers.any() else whole,
        number_share=float(counts[numbers].sum() / counts.sum()),
    )


def _within_given(
    form: ColumnForm, numbers: np.ndarray, given: tuple[float, float], dtype: np.dtype[Any]
) -> ColumnForm:
    """Return a form with given bounds, within the range of the type.

    At an open end, this range limits draws, but densities do not end there.
    """
    own, seen = _rounded(np.array(given), form.precision), np.concatenate([numbers, form.atoms])
    own = np.where(np.isfinite(own), own, given)
    ends = np.clip(own, *_range_of(dtype))
    if form.step:
        ends = _grid_points_within(ends, form)
    # Values may have been rounded, or lie off the grid.
    (low, high), (given_low, given_high) = (
        (min(float(first), float(seen.min())), max(float(last), float(seen.max())))
        for first, last in (ends, own)
    )
    is_given = np.isfinite(given)
    reason = form.reason + (", bounds as given" if is_given.any() else "")
    form = replace(form, given_low=given_low, given_high=given_high, reason=reason)
    return _bounded(form, numbers, (low, high), NEAR_GIVEN * is_given)


def _bounded(
    form: ColumnForm,
    numbers: np.ndarray,
    bounds: tuple[float, float],
    near: Sequence[float] | np.ndarray,
) -> ColumnForm:
    """Return a form with bounds; densities end at those that numbers come closer to than `near`
    standard deviations."""
    (low, high), reach = bounds, np.asarray(near) * form.scale
    any_number = len(numbers) > 0
    return replace(
        form,
        low=low,
        high=high,
        near_low=any_number and bool(numbers[0] - low < reach[0]),
        near_high=any_number and bool(high - numbers[-1] < reach[1]),
        at_low=any_number and bool(numbers[0] == low),
        at_high=any_number and bool(numbers[-1] == high),
    )


def _grid_points_within(ends: np.ndarray, form: ColumnForm) -> np.ndarray:
    """Return the first and the last point of a grid within bounds, which may be infinite."""
    with np.errstate(over="ignore"):
        first, last = (form.unrounded(ends) - form.origin) / form.step
        steps = np.array([np.ceil(first - 1e-9), np.floor(last + 1e-9)])
        return form.on_grid(form.origin + form.step * steps)


def _bounds(values: np.ndarray, atoms: np.ndarray, dtype: np.dtype[Any]) -> tuple[float, float]:
    """Return bounds: from the sign of the values, 1 or 100 for shares, the range of the type, and
    atoms at the ends."""
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
    """Return the ends of an integer type; infinite for 64 bits, which no column reaches, and for
    other types."""
    if dtype.kind not in "iu" or dtype.itemsize == 8:
        return -np.inf, np.inf
    limits = np.iinfo(dtype)
    return float(limits.min), float(limits.max)


def _deviation(values: np.ndarray, counts: np.ndarray) -> float:
    """Return the standard deviation, or 1 if it is 0."""
    if len(values) < 2:
        return 1.0
    unit = np.abs(values).max()
    z = values / unit
    mean = np.average(z, weights=counts)
    return float(unit * np.sqrt(np.average((z - mean) ** 2, weights=counts))) or 1.0


def _description(step: float, is_strict: bool) -> str:
    if not step:
        return "distinct values"
    return f"multiples of {step:g}" if is_strict else f"nearly all multiples of {step:g}"
