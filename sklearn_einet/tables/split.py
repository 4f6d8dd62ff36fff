"""The rows to train on, and those to hold out."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

__all__ = ["Split"]


@dataclass(frozen=True)
class Split:
    """The training rows and the held-out rows of a table.

    Attributes
    ----------
    train : ndarray of int or None
        In ascending order; None for all. Some rows may be neither.
    held_out : ndarray of int or None
        None if there are none.
    """

    train: np.ndarray | None = None
    held_out: np.ndarray | None = None

    @classmethod
    def at_random(
        cls,
        n_rows: int,
        n_held_out: int,
        random_state: np.random.RandomState,
        n_used: int | None = None,
    ) -> Split:
        """Draw the rows to hold out and to train on: `n_used` rows in all; None: every row."""
        order = random_state.permutation(n_rows)
        train, held_out = np.sort(order[n_held_out:n_used]), np.sort(order[:n_held_out])
        return cls(train, held_out if n_held_out else None)

    def is_held_out(self, n_rows: int) -> np.ndarray:
        """Return which of all rows are held out."""
        result = np.zeros(n_rows, dtype=bool)
        result[[] if self.held_out is None else self.held_out] = True
        return result

    def within(self, own: np.ndarray) -> Split:
        """Return the split of some of the rows, numbered among these; no row is held out if one
        side would be empty."""
        if self.train is None or self.held_out is None:
            return Split()
        train, held_out = (
            np.flatnonzero(np.isin(own, rows)) for rows in (self.train, self.held_out)
        )
        return Split(train, held_out) if len(train) and len(held_out) else Split()

    def with_weight(self, weight: np.ndarray) -> Split:
        """Return the rows of both parts that have weight."""
        train = np.arange(len(weight)) if self.train is None else self.train
        train = train[weight[train] > 0]
        if self.held_out is None or not (weight[self.held_out] > 0).any():
            return Split(train)
        return Split(train, self.held_out[weight[self.held_out] > 0])
