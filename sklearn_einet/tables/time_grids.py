"""Conversion of ticks to whole numbers of days, hours or seconds."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import reduce

import numpy as np

__all__ = ["Grid"]

# Whole numbers up to this are exact in float64.
LARGEST_EXACT = 2**53


@dataclass(frozen=True)
class Grid:
    """Evenly spaced points on a line of ticks.

    Attributes
    ----------
    origin : int
        The point with the number 0.
    step : int
    first, last : int
        The ends of the values seen in fit.
    """

    origin: int
    step: int
    first: int
    last: int

    @classmethod
    def of(cls, values: np.ndarray, steps: Sequence[int], from_zero: bool) -> Grid:
        """Return the coarsest grid that has all values, with numbers that are exact in float64.

        Parameters
        ----------
        values : ndarray of int64
            At least one.
        steps : sequence of int
            The possible steps; each is a multiple of all smaller ones.
        from_zero : bool
            Whether the origin is 0, if the numbers are then small enough, instead of the first
            value.
        """
        first, last = int(values.min()), int(values.max())
        # Differences of int64 numbers may need uint64: here, all are positive.
        differences = values.view(np.uint64) - np.uint64(first % 2**64)
        return cls._spanning(first, last, int(np.gcd.reduce(differences)), steps, from_zero)

    @classmethod
    def _spanning(
        cls, first: int, last: int, divisor: int, steps: Sequence[int], from_zero: bool
    ) -> Grid:
        """Return the grid of values whose differences are multiples of a divisor."""
        if from_zero:
            step = max(s for s in steps if math.gcd(divisor, first) % s == 0)
            if max(abs(first), abs(last)) <= step * LARGEST_EXACT:
                return cls(0, step, first, last)
        step = max(s for s in steps if divisor % s == 0)
        enough = [s for s in steps if last - first <= s * LARGEST_EXACT]
        return cls(first, max(step, min(enough)), first, last)

    @classmethod
    def merged(cls, grids: Sequence[Grid], steps: Sequence[int], from_zero: bool) -> Grid:
        """Return the coarsest grid that has the values of all grids."""
        first = min(grid.first for grid in grids)
        last = max(grid.last for grid in grids)
        distances = [number for grid in grids for number in (grid.step, grid.first - first)]
        return cls._spanning(first, last, reduce(math.gcd, distances), steps, from_zero)

    def rescaled(self, factor: int) -> Grid:
        """Return the same grid in a unit that divides this one's."""
        return Grid(*(factor * each for each in (self.origin, self.step, self.first, self.last)))

    def numbers(self, values: np.ndarray) -> np.ndarray:
        """Return the numbers of ticks, with fractions between the points of the grid."""
        origin = np.int64(self.origin)
        below = values < origin
        origin, all_values = origin.view(np.uint64), values.view(np.uint64)
        # The absolute difference of int64 numbers fits in uint64.
        distance = np.where(below, origin - all_values, all_values - origin)
        whole, rest = np.divmod(distance, np.uint64(self.step))
        numbers = whole.astype(np.float64) + rest / self.step
        return np.where(below, -numbers, numbers)

    def values(self, numbers: np.ndarray, low: int, high: int) -> np.ndarray:
        """Return the ticks of numbers, rounded to the grid and clipped to two ends."""
        low, high = min(low, self.first), max(high, self.last)
        least = max(-((self.origin - low) // self.step), -LARGEST_EXACT)
        most = min((high - self.origin) // self.step, LARGEST_EXACT)
        steps = np.clip(np.rint(numbers), least, most).astype(np.int64)
        # Overflow on the way is undone: the results fit in 64 bits.
        return np.asarray(steps * np.int64(self.step) + np.int64(self.origin))
