"""The grid that the values of a column lie on."""

from __future__ import annotations

import numpy as np

__all__ = ["BESIDE_POINT", "grid_step", "is_dense", "nearest_on_grid", "usual_step"]

# A finer grid, in steps over the range of the values, is none that anybody has rounded to.
MOST_STEPS = 2.0**31

# Decimal places that are looked for.
MOST_PLACES = 9

# A grid is one of cells, and not of single values, if so many of its points are taken.
DENSE = 0.25

# The share of the rows that may be off the usual grid, and the shares of the rows, those of the
# rarest values, that are left out to find it.
MOST_BESIDE, RAREST = 0.05, (0.02, 0.1, 0.3, 0.6)

# How far values may be off a grid, in steps, for being on it, once it is known.
BESIDE_POINT = 0.01

# How far values may be off a grid, in units in the last place: of narrow types, values are as near
# to it as can be.
ULPS, ULPS_OF_NARROW = 8, 1

# Steps that are wider by less than this factor than values may be off are found by chance.
LEAST_STEP = 10


def grid_step(values: np.ndarray, precision: str = "float64") -> float:
    """Return the widest step of which all distances between values are multiples, or 0.

    It ties to the values and not to their unit: whole numbers of any unit have one, if two of them
    are neighbours.

    Parameters
    ----------
    values : ndarray of shape (n_values,)
        Finite, different and in ascending order.
    precision : str, default="float64"
        The type of floats that the values were rounded to.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn_einet.tables.grids import grid_step
    >>> grid_step(np.array([3.0, 4.0, 8.0])), grid_step(np.array([0.0, 0.1, 0.25]))
    (1.0, 0.05)
    >>> grid_step(2.54 * np.array([3.0, 4.0, 8.0])), grid_step(np.sqrt(np.arange(5)))
    (2.54, 0.0)
    """
    with np.errstate(over="ignore"):
        span = values[-1] - values[0] if len(values) > 1 else 0.0
    if not 0 < span < np.inf:
        return 0.0
    largest = np.abs(values[[0, -1]]).max().astype(precision)
    error = (ULPS if precision == "float64" else ULPS_OF_NARROW) * float(np.spacing(largest))
    step = _decimal_step(values, error) or _least_distance(values, error)
    return step if step * MOST_STEPS > span else 0.0


def usual_step(
    values: np.ndarray, counts: np.ndarray, precision: str = "float64"
) -> tuple[float, np.ndarray]:
    """Return the step of the grid that nearly all rows lie on, and which values do.

    That is the grid of all values, if a quarter of its points are taken. Else it is the widest one
    of which that is true, and that all but 5% of the rows and half of the different values lie on:
    ages may be whole years, but for some months of babies. Without such a one, it is that of all
    values.

    Parameters
    ----------
    values : ndarray of shape (n_values,)
        Finite, different and in ascending order; two at least.
    counts : ndarray of shape (n_values,)
        How many rows have each.
    precision : str, default="float64"
        As of `grid_step`.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn_einet.tables.grids import usual_step
    >>> usual_step(np.array([0.42, 1.0, 2.0, 3.0]), np.array([1.0, 20.0, 30.0, 20.0]))
    (1.0, array([False,  True,  True,  True]))
    """
    step, on = grid_step(values, precision), np.ones(len(values), dtype=bool)
    if is_dense(values, step):
        return step, on
    rarest = np.argsort(counts, kind="stable")
    until = counts[rarest].cumsum() / counts.sum()
    for share in RAREST:
        usual = np.sort(rarest[until > share])
        wide = grid_step(values[usual], precision)
        if wide > step + BESIDE_POINT * wide:
            n_steps = (values - values[usual[0]]) / wide
            found = np.abs(n_steps - np.round(n_steps)) <= BESIDE_POINT
            few = counts[~found].sum() <= MOST_BESIDE * counts.sum()
            if few and 2 * found.sum() >= len(values) and is_dense(values[found], wide):
                step, on = wide, found
    return step, on


def is_dense(values: np.ndarray, step: float) -> bool:
    """Return whether so many points of a grid are taken that it is one of cells; a step of 0 is of
    none."""
    n_steps = (values[-1] - values[0]) / step if step else np.inf
    return bool(len(values) >= DENSE * (n_steps + 1))


def nearest_on_grid(x: np.ndarray, origin: float, step: float) -> np.ndarray:
    """Return the nearest values of a grid.

    Numbers of steps are counted from `origin`; decimal numbers come out as they are written.
    """
    n_steps = np.round((x - origin) / step)
    for unit in (np.round(1 / step), *10.0 ** np.arange(1, MOST_PLACES + 1)):
        with np.errstate(over="ignore"):
            scaled = step * unit, origin * unit
        if unit >= 2 and _is_whole(scaled[0]) and _is_whole(scaled[1]):
            return np.asarray((n_steps * np.round(scaled[0]) + np.round(scaled[1])) / unit)
    return np.asarray(origin + n_steps * step)


def _is_whole(number: float) -> bool:
    """Return whether a number is whole but for rounding."""
    return abs(number) < 2.0**52 and abs(number - np.round(number)) <= 1e-12 * max(1, abs(number))


def _decimal_step(values: np.ndarray, error: float) -> float:
    """Return the step of numbers with few decimal places, or 0."""
    for places in range(MOST_PLACES + 1):
        unit = 10.0**places
        scaled = values * unit
        whole = np.round(scaled)
        if LEAST_STEP * error * unit > 1:
            return 0.0
        if (np.abs(scaled - whole) <= error * unit).all():
            return float(np.gcd.reduce(np.diff(whole).astype(np.int64)) / unit)
    return 0.0


def _least_distance(values: np.ndarray, error: float) -> float:
    """Return the least distance between two values if the others are multiples of it, or 0."""
    distance = values - values[0]
    step = float(np.diff(values).min())
    # Few steps tell it roughly, and then ever more exactly.
    for most in 8.0 ** np.arange(1, 13):
        if step <= LEAST_STEP * error or step * MOST_STEPS < distance[-1]:
            return 0.0
        n_steps = np.round(distance / step)
        some = (n_steps <= most) & (n_steps > 0)
        if some.any():
            step = float(distance[some].sum() / n_steps[some].sum())
    fits = np.abs(distance - step * np.round(distance / step)) <= 2 * error
    return _shortest(step, distance[-1], error) if fits.all() else 0.0


def _shortest(step: float, span: float, error: float) -> float:
    """Return the shortest decimal number that is as good a step."""
    n_steps = np.round(span / step)
    for digits in range(1, 16):
        short = float(f"{step:.{digits}g}")
        if abs(short - step) * n_steps <= error:
            return short
    return step
