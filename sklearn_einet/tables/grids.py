"""The grid that the values of a column lie on."""

from __future__ import annotations

import numpy as np

__all__ = ["BESIDE_POINT", "grid_step", "is_dense", "nearest_on_grid", "usual_step"]

# A grid with more steps over the range of the values does not come from rounding.
MOST_STEPS = 2.0**31

# Numbers of decimal places that are tried.
MOST_PLACES = 9

# A grid counts as one of cells, not of single values, if this share of its points occurs.
DENSE = 0.25

# The share of the rows that may be off the grid, and the shares of the rows, those with the
# rarest values, that are left out to find it.
MOST_BESIDE, RAREST = 0.05, (0.02, 0.1, 0.3, 0.6)

# How far values may be from the points of a known grid, in steps.
BESIDE_POINT = 0.01

# How far values may be off a grid, in units in the last place: values of narrow types are as
# close to it as possible.
ULPS, ULPS_OF_NARROW = 8, 1

# Steps found by chance: wider than the allowed deviation by less than this factor.
LEAST_STEP = 10


def grid_step(values: np.ndarray, precision: str = "float64") -> float:
    """Return the widest step such that all distances between values are its multiples, or 0.

    It depends on the values, not on their unit: whole numbers in any unit have a step if two of
    them are neighbours.

    Parameters
    ----------
    values : ndarray of shape (n_values,)
        Finite, distinct and in ascending order.
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
    """Return the step of the grid that nearly all rows lie on, and which values lie on it.

    This is the grid of all values if a quarter of its points occur. Otherwise, it is the widest
    grid of which a quarter of the points occur and on which 95% of the rows and half of the
    distinct values lie: ages may be whole years, except for babies' months. If there is no such
    grid, it is that of all values.

    Parameters
    ----------
    values : ndarray of shape (n_values,)
        Finite, distinct and in ascending order; at least two.
    counts : ndarray of shape (n_values,)
        How many rows have each.
    precision : str, default="float64"
        As in `grid_step`.

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
    """Return whether enough points of a grid occur to make it a grid of cells; False for a step of
    0."""
    n_steps = (values[-1] - values[0]) / step if step else np.inf
    return bool(len(values) >= DENSE * (n_steps + 1))


def nearest_on_grid(x: np.ndarray, origin: float, step: float) -> np.ndarray:
    """Return the nearest values of a grid.

    Steps are counted from `origin`; decimal numbers come out as they are written.
    """
    n_steps = np.round((x - origin) / step)
    for unit in (np.round(1 / step), *10.0 ** np.arange(1, MOST_PLACES + 1)):
        with np.errstate(over="ignore"):
            scaled = step * unit, origin * unit
        if unit >= 2 and _is_whole(scaled[0]) and _is_whole(scaled[1]):
            return np.asarray((n_steps * np.round(scaled[0]) + np.round(scaled[1])) / unit)
    return np.asarray(origin + n_steps * step)


def _is_whole(number: float) -> bool:
    """Return whether a number is whole up to rounding."""
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
    # A few steps give a rough value, more steps refine it.
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
    """Return the shortest decimal number that serves equally well as the step."""
    n_steps = np.round(span / step)
    for digits in range(1, 16):
        short = float(f"{step:.{digits}g}")
        if abs(short - step) * n_steps <= error:
            return short
    return step
