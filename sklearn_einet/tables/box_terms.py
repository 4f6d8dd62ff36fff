"""Boxes of a table as unions of boxes of the circuit's columns."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import product

import numpy as np

from sklearn_einet.tables.column_forms import ColumnForm
from sklearn_einet.tables.grid_cells import cells_inside
from sklearn_einet.tables.schema import Schema

__all__ = ["box_terms", "codes_inside"]

# The largest number of columns whose bounds hold both atoms and numbers: each doubles the terms.
MOST_SPLIT = 12


def box_terms(
    schema: Schema, low: np.ndarray, high: np.ndarray
) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """Yield disjoint boxes of the circuit's columns whose union is a box of the table.

    In a column that has atoms and numbers, an atom is inside or a number is: two events, whose
    combinations in all such columns are the terms.

    Parameters
    ----------
    schema : Schema
    low, high : ndarray of shape (n_boxes, n_columns)
        The bounds, both inclusive; infinite without a bound.

    Yields
    ------
    possible : ndarray of bool of shape (n_boxes,)
        Which of the boxes have this term.
    low, high : ndarray of shape (n_boxes, n_features)
        In the units of the circuit.

    Raises
    ------
    ValueError
        If the bounds of more than 12 columns hold both atoms and numbers.
    """
    states = schema.states
    low, high = low.copy(), high.copy()
    possible = np.ones(len(low), dtype=bool)
    codes = {}
    for column, form in states.forms.items():
        ends = low[:, column], high[:, column]
        if len(form.atoms):
            codes[column] = codes_inside(*ends, form.atoms)
        low[:, column], high[:, column] = cells_inside(*ends, form)
    free = (low == -np.inf) & (high == np.inf)
    bounded = [c for c in states.split if not free[:, c].all()]
    bounded += [
        c for c in states.split if c not in bounded and _excludes(codes[c], states.forms[c])
    ]
    empty = low > high
    has_atom = {column: codes[column][0] <= codes[column][1] for column in bounded}
    choices = [_choices(has_atom[column], ~empty[:, column]) for column in bounded]
    n_both = sum(len(each) == 2 for each in choices)
    if n_both > MOST_SPLIT:
        raise ValueError(
            f"The bounds of {n_both} columns hold both atoms and other numbers, but those of at "
            f"most {MOST_SPLIT} can: fit with atoms=None, or bound fewer columns."
        )
    z = schema.standardize(low), schema.standardize(high)
    no_ends = np.full((len(low), states.n_features - states.n_columns), np.inf)
    z_low, z_high = np.hstack([z[0], -no_ends]), np.hstack([z[1], no_ends])
    for column in states.complete:
        z_low[:, column], z_high[:, column] = codes[column]
        possible &= codes[column][0] <= codes[column][1]
        empty[:, column] = False
    others = np.delete(empty, states.split, axis=1)
    possible &= ~others.any(axis=1)
    for choice in product(*choices):
        here, ends = possible.copy(), (z_low.copy(), z_high.copy())
        for column, is_number in zip(bounded, choice, strict=True):
            state, n_atoms = states.state_of(column), len(states.forms[column].atoms)
            if is_number:
                ends[0][:, state] = ends[1][:, state] = n_atoms
                here &= ~empty[:, column]
            else:
                ends[0][:, state], ends[1][:, state] = codes[column]
                ends[0][:, column], ends[1][:, column] = -np.inf, np.inf
                here &= has_atom[column]
        if here.any():
            yield here, *ends


def _choices(has_atom: np.ndarray, has_number: np.ndarray) -> list[bool]:
    """Return whether a column may be an atom (False) and a number (True), in some box."""
    return [is_number for is_number, some in ((False, has_atom), (True, has_number)) if some.any()]


def _excludes(codes: tuple[np.ndarray, np.ndarray], form: ColumnForm) -> bool:
    """Return whether some box leaves out an atom."""
    return bool(((codes[0] > 0) | (codes[1] < len(form.atoms) - 1)).any())


def codes_inside(
    low: np.ndarray, high: np.ndarray, atoms: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Return the first and the last atom between bounds; the first is larger if no atom lies
    between."""
    first = np.searchsorted(atoms, low).astype(np.float64)
    return first, np.searchsorted(atoms, high, side="right") - 1.0
