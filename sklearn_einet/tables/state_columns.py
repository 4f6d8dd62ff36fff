"""Columns that consist of a state and, perhaps, a number."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import cached_property

import numpy as np

from sklearn_einet.tables.column_forms import ColumnForm
from sklearn_einet.tables.column_maps import ColumnMap
from sklearn_einet.tables.cut_out import CutOut
from sklearn_einet.tables.derived import KeepsDerived
from sklearn_einet.tables.half_line import HalfLine

__all__ = ["StateColumns"]

# The distance from a bound at which numbers begin to be moved away from it, in their standard
# deviations.
BEND = 0.1

# How far a value may be from an atom, as a share of the atom, to count as it; by type.
ROUNDING = {4: 2.0**-21, 8: 2.0**-50}


class StateColumns(KeepsDerived):
    """Conversion of the columns of a table to those of a circuit, and back.

    A column with atoms and other numbers is split. In the column's own place, the circuit has the
    number, which is missing where the value is an atom. After all columns of the table, it has the
    column's state: the code of an atom, or of "a number". A column of nothing but atoms has their
    codes in its own place.

    Parameters
    ----------
    n_columns : int
        Of the table.
    forms : dict of int to ColumnForm
        The forms of columns; all others are plain numbers or categories.
    gaps : sequence of int, default=()
        The columns for which the circuit models whether a cell is missing: after all states, it
        has 1 for a missing cell and 0 for an observed one.

    Attributes
    ----------
    split : list of int
        The columns that are split, in the order of their states in the circuit.
    complete : list of int
        The columns of nothing but states.
    """

    def __init__(
        self, n_columns: int, forms: dict[int, ColumnForm], gaps: Iterable[int] = ()
    ) -> None:
        self.n_columns = n_columns
        self.forms = forms
        self.gaps = list(gaps)
        self.split = [column for column in sorted(forms) if forms[column].is_split]
        self.complete = [column for column in sorted(forms) if forms[column].is_complete]

    @property
    def n_features(self) -> int:
        """Number of columns of the circuit."""
        return self.n_columns + len(self.split) + len(self.gaps)

    @property
    def log_units(self) -> np.ndarray:
        """Logarithms of the units that probabilities of unseen values are divided by,
        (n_columns,): a column's unit of atoms, or its standard deviation of numbers."""
        result = np.zeros(self.n_columns)
        for column, form in self.forms.items():
            result[column] = form.log_unit if form.is_complete else np.log(form.scale)
        return result

    @property
    def halves(self) -> list[int]:
        """Columns in half precision."""
        return [column for column, form in self.forms.items() if form.precision == "float16"]

    def state_of(self, column: int) -> int:
        """Return the circuit's column for the state of a column."""
        return self.n_columns + self.split.index(column) if column in self.split else column

    def scopes(self, columns: Iterable[int]) -> list[list[int]]:
        """Return the circuit's columns that make up each of some columns."""
        return [
            [c, *([self.state_of(c)] if c in self.split else []), *self.gap_of(c)] for c in columns
        ]

    def gap_of(self, column: int) -> list[int]:
        """Return the circuit's column that tells where a column is missing, or None."""
        if column not in self.gaps:
            return []
        return [self.n_columns + len(self.split) + self.gaps.index(column)]

    def features(self, columns: Sequence[int]) -> np.ndarray:
        """Return the circuit's columns that make up some columns: first these in their order,
        then their states, then their gaps."""
        states = [self.state_of(column) for column in columns if column in self.split]
        gaps = [gap for column in columns for gap in self.gap_of(column)]
        return np.array([*columns, *states, *gaps], dtype=np.int64)

    def restricted(self, columns: Sequence[int]) -> StateColumns:
        """Return the state columns of some of the columns, in the order given."""
        forms = {i: self.forms[c] for i, c in enumerate(columns) if c in self.forms}
        gaps = [i for i, c in enumerate(columns) if c in self.gaps]
        result = StateColumns(len(columns), forms, gaps)
        result.split = [i for i, c in enumerate(columns) if c in self.split]
        return result

    def numbers(self, X: np.ndarray) -> np.ndarray:
        """Return rows with NaN in place of atoms; X itself if no column is split."""
        if not self.split:
            return X
        result = np.array(X, dtype=np.float64 if X.dtype.kind != "f" else X.dtype, order="K")
        for column in self.split:
            result[_is_atom(X[:, column], self.forms[column]), column] = np.nan
        return result

    def without_atoms(self, x: np.ndarray, columns: Sequence[int]) -> np.ndarray:
        """Return cells of some columns with NaN in place of atoms, (n_samples, n_columns);
        changed in place."""
        for place, column in enumerate(columns):
            if column in self.split:
                x[_is_atom(x[:, place], self.forms[column]), place] = np.nan
        return x

    def number_cells(self, x: np.ndarray, columns: Sequence[int]) -> np.ndarray:
        """Return cells of some columns with NaN in place of atoms, mapped as by `map_of`,
        (n_samples, n_columns); changed in place."""
        x = self.without_atoms(x, columns)
        for place, column in enumerate(columns):
            first = self.map_of(column, 0.0, 1.0, None)
            if first is not None:
                x[:, place] = first.forward(x[:, place])
        return x

    def map_of(
        self, column: int, location: float, scale: float, inner: ColumnMap | None
    ) -> ColumnMap | None:
        """Return the map of a column's numbers that cuts out the cells of its atoms on a grid,
        and moves its bounds infinitely far away.

        Parameters
        ----------
        column : int
        location, scale : float
            The unit of the circuit.
        inner : ColumnMap or None
            The map that follows; it is returned itself if there is nothing to do.
        """
        form = self.forms.get(column)
        if form is None or form.is_complete:
            return inner
        starts = (form.holes - location) / scale
        has_cells = len(starts) > 0
        width, bend = form.step / scale, BEND * form.scale / scale
        low, high = (np.array(form.ends) - location) / scale
        if has_cells:
            low, high = CutOut(starts, width, None).forward(np.array([low, high]))
        if form.near_low:
            high = float(HalfLine(low, False, bend, None).forward(np.array(high)))
        if form.near_high:
            inner = HalfLine(high, True, bend, inner)
        if form.near_low:
            inner = HalfLine(low, False, bend, inner)
        return CutOut(starts, width, inner) if has_cells else inner

    def states(self, X: np.ndarray) -> np.ndarray:
        """Return the states of the split columns, NaN where missing, (n_samples, n_split)."""
        result = np.empty((len(X), len(self.split)))
        for place, column in enumerate(self.split):
            result[:, place], _ = self.codes(X[:, column], column)
        return result

    def codes(self, x: np.ndarray, column: int) -> tuple[np.ndarray, int]:
        """Return the states of cells of a column, NaN where missing, and the number of states.

        In a column of nothing but states, other numbers count as the nearest state.
        """
        form = self.forms[column]
        if form.is_complete:
            nearest = _nearest(np.asarray(x, dtype=np.float64), form.atoms)
            return np.where(np.isnan(x), np.nan, nearest), len(form.atoms)
        return _codes(x, form), len(form.atoms) + 1

    def unseen(self, X: np.ndarray) -> np.ndarray:
        """Return which cells of columns of nothing but states hold other values, and which numbers
        are beyond bounds, (n_samples, n_columns)."""
        result = self._out_of_bounds(X)
        for column in self.complete:
            form = self.forms[column]
            result[:, column] = _codes(X[:, column], form) == len(form.atoms)
        return result

    def _out_of_bounds(self, X: np.ndarray) -> np.ndarray:
        """Return which numbers are beyond bounds, (n_samples, n_columns)."""
        # In the type of the numbers, which may have been rounded to it.
        low, high = self._near_ends.astype(X.dtype if X.dtype.kind == "f" else np.float64)
        result = np.less_equal(X, low) | np.greater_equal(X, high)
        for column, form in self._bounded:
            if form.is_given:
                result[:, column] |= _is_beyond(X[:, column], form)
            if form.is_split and result[:, column].any():
                result[:, column] &= _codes(X[:, column], form) == len(form.atoms)
        return result

    @cached_property
    def _near_ends(self) -> np.ndarray:
        """The ends of numbers that come near bounds, NaN for others, (2, n_columns)."""
        result = np.full((2, self.n_columns), np.nan)
        for column, form in self._bounded:
            near = [form.near_low, form.near_high]
            result[near, column] = np.array(form.ends)[near]
        return result

    @cached_property
    def _bounded(self) -> list[tuple[int, ColumnForm]]:
        """The columns in which numbers may be beyond bounds."""
        return [
            (column, form)
            for column, form in self.forms.items()
            if form.near_low or form.near_high or form.is_given
        ]

    def beyond(self, X: np.ndarray) -> np.ndarray:
        """Return how far numbers are beyond bounds, (n_samples, n_columns), in standard deviations:
        0 for numbers within bounds, infinity for those beyond given bounds."""
        result = np.zeros(X.shape)
        for column, form in self.forms.items():
            low, high = form.ends
            with np.errstate(invalid="ignore", over="ignore"):
                if form.near_low:
                    result[:, column] = np.fmax(low - X[:, column], 0) / form.scale
                if form.near_high:
                    above = np.fmax(X[:, column] - high, 0) / form.scale
                    result[:, column] = np.maximum(result[:, column], above)
                if form.is_given:
                    result[_is_beyond(X[:, column], form), column] = np.inf
        return np.where(np.isnan(X), 0.0, result)

    def is_atom(self, X: np.ndarray) -> np.ndarray:
        """Return which cells hold atoms, (n_samples, n_columns)."""
        result = np.zeros(X.shape, dtype=bool)
        for column in (*self.split, *self.complete):
            result[:, column] = _is_atom(X[:, column], self.forms[column])
        return result

    def spread(self, mask: np.ndarray) -> np.ndarray:
        """Return a mask of the circuit's cells, given one of the table's, (n_samples,
        n_features)."""
        of_gaps = np.zeros((len(mask), len(self.gaps)), dtype=bool)
        return np.concatenate([mask, mask[:, self.split], of_gaps], axis=1)

    def has_atom(self, Z: np.ndarray) -> np.ndarray:
        """Return which split columns have an atom in rows of the circuit, (n_samples, n_split)."""
        n_atoms = [len(self.forms[column].atoms) for column in self.split]
        states = Z[:, self.n_columns : self.n_columns + len(self.split)]
        return np.asarray(states < np.array(n_atoms))

    def missing(self, Z: np.ndarray) -> np.ndarray | None:
        """Return which cells of the table are missing in rows of the circuit, (n_samples,
        n_columns); None if the circuit does not model this."""
        if not self.gaps:
            return None
        result = np.zeros((len(Z), self.n_columns), dtype=bool)
        result[:, self.gaps] = Z[:, self.n_features - len(self.gaps) :] == 1
        return result

    def with_gaps(self, X: np.ndarray, Z: np.ndarray) -> np.ndarray:
        """Return rows of the circuit, (n_samples, n_features), with known gaps of the table;
        changed in place."""
        if self.gaps:
            Z[:, self.n_features - len(self.gaps) :] = np.isnan(X[:, self.gaps])
        return Z

    def usable(self, X: np.ndarray, features: np.ndarray) -> np.ndarray:
        """Return which cells can be conditioned on, given which of their parts can, (n_samples,
        n_columns)."""
        result = features[:, : self.n_columns].copy()
        for column in self.split:
            is_atom = _is_atom(X[:, column], self.forms[column])
            result[:, column] = (result[:, column] | is_atom) & features[:, self.state_of(column)]
        return result

    def encode(self, X: np.ndarray, Z: np.ndarray) -> np.ndarray:
        """Return rows in the columns of the circuit.

        Parameters
        ----------
        X : ndarray of shape (n_samples, n_columns)
        Z : ndarray of shape (n_samples, n_columns)
            The numbers in the units of the circuit; changed in place.
        """
        for column in self.complete:
            Z[:, column], _ = self.codes(X[:, column], column)
        Z[self._out_of_bounds(X)] = np.nan
        if self.n_features == self.n_columns:
            return Z
        unknown = np.full((len(self.gaps), len(Z)), np.nan)
        # Column-major: the order in which circuits read them.
        return np.concatenate([Z.T, self.states(X).T, unknown]).T

    def decode(self, Z: np.ndarray, X: np.ndarray) -> np.ndarray:
        """Return values that the columns can have.

        Parameters
        ----------
        Z : ndarray of shape (n_samples, n_features)
            Rows of the circuit.
        X : ndarray of shape (n_samples, n_columns)
            Their numbers in the units of the table; changed in place.
        """
        for column, form in self.forms.items():
            codes = Z[:, self.state_of(column)] if len(form.atoms) else None
            if form.is_complete:
                X[:, column] = _values(codes, form.atoms)
                continue
            values = self.possible(X[:, column], column)
            if codes is not None:
                is_atom = codes < len(form.atoms)
                values = np.where(is_atom, _values(codes, form.atoms), values)
            X[:, column] = values
        return X

    def rounded(self, X: np.ndarray) -> np.ndarray:
        """Return float64 rows with numbers rounded to the types of their columns; changed in
        place."""
        for column, form in self.forms.items():
            X[:, column] = form.rounded(X[:, column])
        return X

    def possible(self, values: np.ndarray, column: int) -> np.ndarray:
        """Return the nearest numbers on the grid of a column and within its bounds."""
        form = self.forms[column]
        if form.step:
            values = form.on_grid(values)
        return np.asarray(np.clip(values, form.low, form.high))


def _rounding(x: np.ndarray) -> float:
    """Return the largest rounding error of values, as a share of them."""
    return ROUNDING.get(x.dtype.itemsize if x.dtype.kind == "f" else 8, 0.0)


def _is_beyond(x: np.ndarray, form: ColumnForm) -> np.ndarray:
    """Return which values are beyond given bounds of a column, by more than rounding."""
    values = form.rounded(np.asarray(x, dtype=np.float64))
    error = _rounding(x) * np.abs(values)
    return np.asarray((values + error < form.given_low) | (values - error > form.given_high))


def _codes(x: np.ndarray, form: ColumnForm) -> np.ndarray:
    """Return the codes of values: the index of an atom, the number of atoms for other values,
    NaN where missing."""
    values, atoms = form.rounded(np.asarray(x, dtype=np.float64)), form.atoms
    place = _nearest(values, atoms)
    error = _rounding(x)
    is_atom = np.abs(values - atoms[place]) <= error * np.abs(atoms[place])
    codes = np.where(is_atom, place, len(atoms)).astype(np.float64)
    return np.where(np.isnan(values), np.nan, codes)


def _is_atom(x: np.ndarray, form: ColumnForm) -> np.ndarray:
    """Return which values are atoms."""
    return np.asarray(_codes(x, form) < len(form.atoms))


def _nearest(values: np.ndarray, atoms: np.ndarray) -> np.ndarray:
    """Return the places of the nearest atoms."""
    place = np.searchsorted(atoms, values).clip(max=len(atoms) - 1)
    below = (place - 1).clip(min=0)
    nearer = np.abs(values - atoms[below]) < np.abs(values - atoms[place])
    return np.where(nearer, below, place)


def _values(codes: np.ndarray | None, atoms: np.ndarray) -> np.ndarray:
    """Return the atoms of codes; any atom for other codes."""
    assert codes is not None
    return np.asarray(atoms[np.nan_to_num(codes).astype(np.int64).clip(0, len(atoms) - 1)])
