"""What a column of numbers visibly is: values that repeat, a grid, bounds."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch

from sklearn_einet.families import ExponentialFamily
from sklearn_einet.tables.grids import grid_step, nearest_on_grid

__all__ = ["ColumnForm", "column_form", "named_form"]

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

# A grid is one of cells, and not of single values, if so many of its points are taken.
DENSE = 0.25

# Standard deviations from a bound within which a density is kept from going beyond it.
NEAR = 4.0

# The same of bounds that are given; farther ones would take digits from the numbers.
NEAR_GIVEN = 1e6

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
        The grid that the values lie on; a step of 0 if they lie on none.
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
    is_given : bool
        Whether the bounds are given: what is beyond is impossible, and not only unseen.
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
    is_given: bool = False
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
        rims = [
            0.5 * self.step or RIM * self.scale * is_at for is_at in (self.at_low, self.at_high)
        ]
        return self.low - rims[0], self.high + rims[1]

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
    bounds: tuple[float, float] | None = None,
) -> ColumnForm:
    """Return what a column is taken for.

    Parameters
    ----------
    values : ndarray of shape (n_values,)
        Different and in ascending order; two at least.
    counts : ndarray of shape (n_values,)
        How many rows have each.
    least_share : float
        Share of the rows from which a value that repeats is an atom; above 1: none is, and there
        is no grid.
    dependence : float
        What the other columns tell about this one as a number, in nats.
    given : ndarray of shape (n_atoms,) or None, default=None
        The atoms, in ascending order; None: to be found.
    bounds : (float, float) or None, default=None
        Bounds that all values are within but for rounding; None: to be found.
    """
    step = grid_step(values) if least_share <= 1 else 0.0
    d = len(values)
    n_cells = (values[-1] - values[0]) / step + 1 if step else np.inf
    cell = step if d >= DENSE * n_cells else 0.0
    atoms, reason = np.zeros(d, dtype=bool), ""
    if given is not None:
        atoms, reason = np.isin(values, given), "atoms as given"
        if counts[~atoms].sum() == 0 or (~atoms).sum() < 2:
            atoms[:] = True
    elif least_share <= 1:
        atoms = _frequent(values, counts, step, least_share, dependence)
        atoms, reason = _completed(values, counts, atoms, cell, dependence)
    form = _with_atoms(values, counts, atoms)
    if step:
        form = replace(form, step=step, unit=step)
    return _bounded(form, values[~atoms], _bounds(values, atoms), bounds, reason)


def named_form(
    family: ExponentialFamily,
    ends: list[float],
    values: np.ndarray,
    counts: np.ndarray,
    least_share: float,
    dependence: float,
    given: np.ndarray | None = None,
) -> ColumnForm:
    """Return what a column is taken for whose numbers have a family that somebody has named.

    It may have atoms, but neither a grid nor other bounds than the family's.

    Parameters
    ----------
    family : ExponentialFamily
        A continuous one.
    ends : list of float
        Open ends of its support that are values: atoms, however few rows have them.
    values, counts, least_share, dependence, given
        As of `column_form`.
    """
    is_possible = family.in_support(torch.from_numpy(values)).numpy()
    is_end = np.isin(values, ends)
    atoms, reason = is_end, ""
    if given is not None:
        atoms, reason = np.isin(values, given), "atoms as given"
    else:
        frequent = _frequent(values, counts, grid_step(values), least_share, dependence)
        rest = ~(is_end | frequent & is_possible)
        if rest.sum() >= 2 and counts[rest].sum() >= MIN_ROWS:
            atoms = ~rest
        share = counts[atoms].sum() / counts.sum()
        what = "1 value" if atoms.sum() == 1 else f"{atoms.sum()} values"
        reason = f"{what} beside {family.name!r}, in {share:.1%} of the rows"
    if (~atoms).sum() < 2 and is_possible[~atoms].all():
        atoms = np.ones(len(values), dtype=bool)
        reason = f"hardly any other than {len(values)} values" if given is None else reason
    is_end &= atoms
    return replace(
        _with_atoms(values, counts, atoms),
        low=float(values[0]) if is_end[0] else -np.inf,
        high=float(values[-1]) if is_end[-1] else np.inf,
        reason=reason,
    )


def _with_atoms(values: np.ndarray, counts: np.ndarray, atoms: np.ndarray) -> ColumnForm:
    """Return a form of a column with some of its values as atoms."""
    numbers = ~atoms
    whole = _deviation(values, counts)
    return ColumnForm(
        values[atoms],
        bool(atoms.all()),
        origin=float(values[0]),
        unit=whole / max(1, atoms.sum()),
        scale=_deviation(values[numbers], counts[numbers]) if numbers.any() else whole,
        number_share=float(counts[numbers].sum() / counts.sum()),
    )


def _bounded(
    form: ColumnForm,
    numbers: np.ndarray,
    found: tuple[float, float],
    given: tuple[float, float] | None,
    reason: str,
) -> ColumnForm:
    """Return a form with bounds, those that are given or those that have been found."""
    (low, high), reach = found, NEAR * form.scale
    reason = reason or ("different values" if not form.step else f"multiples of {form.step:g}")
    if given is not None:
        (low, high), reach = given, NEAR_GIVEN * form.scale
        if form.step:
            low, high = _grid_points_within(low, high, form)
        seen = np.concatenate([numbers, form.atoms])
        # Values may have been rounded.
        low, high = min(low, float(seen.min())), max(high, float(seen.max()))
        reason += ", bounds as given" if np.isfinite([low, high]).any() else ""
    any_number = len(numbers) > 0
    return replace(
        form,
        low=low,
        high=high,
        near_low=any_number and bool(numbers[0] - low < reach),
        near_high=any_number and bool(high - numbers[-1] < reach),
        at_low=any_number and bool(numbers[0] == low),
        at_high=any_number and bool(numbers[-1] == high),
        is_given=given is not None,
        reason=reason,
    )


def _grid_points_within(low: float, high: float, form: ColumnForm) -> tuple[float, float]:
    """Return the first and the last point of a grid within bounds, which may be infinite."""
    with np.errstate(over="ignore"):
        first, last = (np.array([low, high]) - form.origin) / form.step
        steps = np.array([np.ceil(first - 1e-9), np.floor(last + 1e-9)])
        points = nearest_on_grid(form.origin + form.step * steps, form.origin, form.step)
    return float(points[0]), float(points[1])


def _frequent(
    values: np.ndarray, counts: np.ndarray, step: float, least_share: float, dependence: float
) -> np.ndarray:
    """Return which values are so frequent that they are atoms."""
    if least_share > 1:
        return np.zeros(len(values), dtype=bool)
    atoms = _repeated(values, counts, step, max(MIN_ROWS, least_share * counts.sum()))
    return atoms & _stands_out(counts, atoms) if dependence > FREE else atoms


def _repeated(values: np.ndarray, counts: np.ndarray, step: float, least: float) -> np.ndarray:
    """Return which values repeat more often than their neighbours on the grid."""
    candidates = counts >= least
    if step:
        position = np.round((values - values[0]) / step).astype(np.int64)
        beside = np.zeros(len(values))
        for distance in (-2, -1, 1, 2):
            there = np.searchsorted(position, position + distance).clip(max=len(values) - 1)
            found = position[there] == position + distance
            beside = np.maximum(beside, np.where(found, counts[there], 0.0))
        candidates &= counts > TIMES_NEIGHBOURS * beside
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
    values: np.ndarray, counts: np.ndarray, atoms: np.ndarray, cell: float, dependence: float
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
    gain = _gain_of_states(values, counts, atoms, cell)
    if gain > max(LEAST_GAIN, dependence):
        reason = f"{d} values; as states {gain:.2g} nats better than a density"
        return np.ones(d, dtype=bool), reason
    return atoms, reason


def _gain_of_states(
    values: np.ndarray, counts: np.ndarray, atoms: np.ndarray, cell: float
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
        z = z - cell * np.searchsorted(values[atoms], z)
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


def _bounds(values: np.ndarray, atoms: np.ndarray) -> tuple[float, float]:
    """Return bounds: the sign of the values, 1 or 100 for shares, and atoms at the ends."""
    smallest, largest = float(values[0]), float(values[-1])
    low = 0.0 if smallest >= 0 else -np.inf
    high = 0.0 if largest <= 0 else np.inf
    for end in (1.0, 100.0):
        if smallest >= 0 and 0 <= end - largest <= NEAR_BOUND * (largest - smallest):
            high = end
    if atoms[0]:
        low = smallest
    if atoms[-1]:
        high = largest
    return low, high


def _deviation(values: np.ndarray, counts: np.ndarray) -> float:
    """Return the standard deviation, 1 where there is none."""
    if len(values) < 2:
        return 1.0
    unit = np.abs(values).max()
    z = values / unit
    mean = np.average(z, weights=counts)
    return float(unit * np.sqrt(np.average((z - mean) ** 2, weights=counts))) or 1.0
