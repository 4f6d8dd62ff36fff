"""Which values of a column of numbers are atoms."""

from __future__ import annotations

import numpy as np

__all__ = ["MIN_ROWS", "completed_atoms", "frequent_values"]

# The least number of rows that a repeated value must have to be an atom, whatever its share.
MIN_ROWS = 10.0

# An atom on a grid has so many times as many rows as each of the two nearest values on either side.
TIMES_NEIGHBOURS = 5.0

# What states must gain over a density, in nats: a density knows that nearby numbers are alike.
LEAST_GAIN = 0.02

# If a column depends on others by more nats than this, rounded values are not taken for atoms:
# those with less than a given share of the rows, or with too few rows compared with the others
# that repeat.
FREE, SHARE_BESIDE_ROUNDED, TIMES_ROUNDED = 0.1, 0.01, 5.0

# The largest number of atoms of a column; the most frequent values are taken.
MAX_ATOMS = 255

# Columns with so few distinct values are states, if there are so many rows for each.
FEW_VALUES, ROWS_OF_VALUE = 10, 5.0

# The largest number of values of a column that may be states.
MAX_STATES = 256

# Bandwidths of densities that states are compared with, in distances between values.
BANDWIDTHS = (1.0, 1.5, 2.0, 3.0, 5.0, 8.0, 13.0, 21.0, 34.0)

# The share of a uniform density in these.
UNIFORM_SHARE = 0.01


def frequent_values(
    values: np.ndarray,
    counts: np.ndarray,
    on: np.ndarray,
    step: float,
    least_share: float,
    dependence: float,
) -> np.ndarray:
    """Return which values are so frequent that they are atoms.

    Parameters
    ----------
    values, counts, least_share, dependence
        As in `sklearn_einet.tables.column_forms.column_form`.
    on : ndarray of bool of shape (n_values,)
        Which values are on the grid.
    step : float
        The step of the grid, 0 without a grid.
    """
    if least_share > 1:
        return np.zeros(len(values), dtype=bool)
    atoms = counts >= max(MIN_ROWS, least_share * counts.sum())
    if step:
        atoms[on] &= _stands_alone(values[on], counts[on], step)
    atoms = _most_frequent(counts, atoms)
    return atoms & _stands_out(counts, atoms) if dependence > FREE else atoms


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
    """Return which candidates are among the most frequent, up to the largest number of atoms."""
    if candidates.sum() > MAX_ATOMS:
        ranked = np.argsort(np.where(candidates, -counts, 1.0), kind="stable")
        candidates = np.zeros_like(candidates)
        candidates[ranked[:MAX_ATOMS]] = True
    return candidates


def _stands_out(counts: np.ndarray, atoms: np.ndarray) -> np.ndarray:
    """Return which values are too frequent to be values that others were rounded to."""
    frequent = counts >= SHARE_BESIDE_ROUNDED * counts.sum()
    if atoms.sum() < 4:
        return frequent
    return np.asarray(frequent & (counts > TIMES_ROUNDED * np.median(counts[atoms])))


def completed_atoms(
    values: np.ndarray,
    counts: np.ndarray,
    atoms: np.ndarray,
    on: np.ndarray,
    cell: float,
    dependence: float,
) -> tuple[np.ndarray, str]:
    """Return the atoms and the reason; all values if the column is better modelled by states.

    Parameters
    ----------
    values, counts, dependence
        As in `sklearn_einet.tables.column_forms.column_form`.
    atoms, on : ndarray of bool of shape (n_values,)
        Which values are frequent, and which are on the grid.
    cell : float
        The step of the grid, 0 if it is not a grid of cells.
    """
    n, d = counts.sum(), len(values)
    share = counts[atoms].sum() / n
    repeat = "1 value repeats" if atoms.sum() == 1 else f"{atoms.sum()} values repeat"
    reason = f"{repeat}, in {share:.1%} of the rows" if atoms.any() else ""
    rest = ~atoms
    if atoms.any() and (rest.sum() < 2 or counts[rest].sum() < MIN_ROWS):
        return np.ones(d, dtype=bool), f"nearly all rows have one of {atoms.sum()} values"
    if d > MAX_STATES or n < ROWS_OF_VALUE * d:
        return atoms, reason
    if d <= FEW_VALUES:
        return np.ones(d, dtype=bool), f"{d} distinct values"
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
    if cell:  # no cells are left besides the atoms
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
