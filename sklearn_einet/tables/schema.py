"""Columns of a table and the families that model them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from copy import copy
from functools import cached_property
from typing import Any

import numpy as np
import torch

from sklearn_einet.circuit import LeafColumns
from sklearn_einet.families import Bernoulli, Categorical, Constant, ExponentialFamily, Normal
from sklearn_einet.tables.column_axes import ColumnAxes
from sklearn_einet.tables.column_maps import ColumnMap
from sklearn_einet.tables.columns import Extremes, SampledColumns, column_extremes, row_blocks
from sklearn_einet.tables.encoding import Encoding
from sklearn_einet.tables.form_fitting import (
    NumberCells,
    found_states,
    gappy_columns,
    state_leaves,
    with_numbers,
)
from sklearn_einet.tables.form_requests import check_within, requested_bounds
from sklearn_einet.tables.frames import number_types
from sklearn_einet.tables.grid_cells import by_grid
from sklearn_einet.tables.leaf_choice import (
    automatic,
    check_codes,
    named_continuous,
    requested_families,
)
from sklearn_einet.tables.numeric_transform import requested_maps
from sklearn_einet.tables.positions import positions
from sklearn_einet.tables.state_columns import StateColumns
from sklearn_einet.tables.support import check_support
from sklearn_einet.tables.table import Table
from sklearn_einet.tables.times import TimeAxis
from sklearn_einet.tables.units import FarOut, Units, all_typical, column_units, on_circuit_axis

__all__ = ["Schema"]

# Columns with more states than this are compared with other columns in bins.
MOST_COMPARED_STATES = 32


class Schema(ColumnAxes):
    """How each column is modelled, and its unit in the circuit.

    Attributes
    ----------
    leaf_columns : list of LeafColumns
        The columns of each family.
    location, scale : ndarray of shape (n_features,)
        The circuit sees ``(X - location) / scale``, mapped by `maps`.
    maps : dict of int to ColumnMap
        The columns that are mapped.
    names : list of str or int
        Names of the columns, or their numbers.
    handle_unknown : {"smooth", "ignore", "error"}
        How to treat categories not seen in fit.
    log_unknown : ndarray of shape (n_features,)
        Log-probability of a possible value of a column that did not occur in fit.
    definition : dict of int to ExponentialFamily
        For columns whose values in fit bound those of their leaves (constants, numbers of trials
        that were not given), the families that define which other values are possible.
    typical : ndarray of shape (2, n_features)
        The ends of the values that are not far out; infinite if none are.
    seen : ndarray of shape (2, n_features)
        The least and the largest value in fit; infinite for columns of codes or a single value.
    spread : ndarray of shape (n_features,)
        Standard deviations of the typical values, on the axis of `on_circuit_axis`.
    encoded : frozenset of int
        The columns whose categories were not given as codes.
    by_axis : bool
        Whether densities are per unit of the families' axes instead of the columns'.
    far_out : dict of int to FarOut
        Columns whose variance is mostly due to far-out values.
    states : StateColumns
        The columns with atoms, grids and bounds, and their counterparts in the circuit.
    times : dict of int to TimeAxis
        Columns whose numbers represent times.
    """

    def __init__(self, names: list[Any], handle_unknown: str) -> None:
        self.names = names
        self.handle_unknown = handle_unknown
        self.encoded: frozenset[int] = frozenset()
        self.leaf_columns: list[LeafColumns] = []
        self.location = np.zeros(len(names))
        self.scale = np.ones(len(names))
        self.maps: dict[int, ColumnMap] = {}
        self.log_unknown = np.zeros(len(names))
        self.definition: dict[int, ExponentialFamily] = {}
        self.typical = all_typical(len(names))
        self.seen = all_typical(len(names))
        self.spread = np.ones(len(names))
        self.by_axis = False
        self.far_out: dict[int, FarOut] = {}
        self.states = StateColumns(len(names), {})
        self.times: dict[int, TimeAxis] = {}

    @classmethod
    def fit(
        cls,
        table: Table,
        leaf: Any,
        names: list[Any],
        encoding: Encoding,
        random_state: np.random.RandomState,
        *,
        variance_bounds: Sequence[float] | None = None,
        numeric_transform: Any = None,
        handle_unknown: str = "smooth",
        atoms: Any = None,
        bounds: Any = "auto",
        learn_gaps: Any = False,
    ) -> Schema:
        """Choose families and units from data.

        Parameters
        ----------
        table : Table of shape (n_samples, n_features)
        leaf : "auto", family name, ExponentialFamily or dict of those to columns
        names : list of str or int
        encoding : Encoding
            Knows the columns of categories, booleans and times.
        random_state : RandomState
            Chooses the rows from which units are computed, if there are very many.
        variance_bounds : (float, float) or None, default=None
            For columns with normal densities, except those given as objects in leaf.
        numeric_transform : str, dict of str to columns, or None, default=None
            Maps in front of normal densities; see `requested_maps`.
        handle_unknown : {"smooth", "ignore", "error"}, default="smooth"
        atoms : "auto", float, dict or None, default=None
        bounds : "auto", dict or None, default="auto"
            As in `EinetDensity`.
        learn_gaps : bool or columns, default=False
            As in `EinetDensity`.

        Raises
        ------
        ValueError, TypeError
            Naming the column or the parameter at fault.
        """
        schema = cls(names, handle_unknown)
        schema.encoded = frozenset(encoding.categories)
        schema.times = dict(encoding.times)
        is_number = np.ones(len(names), dtype=bool)
        is_number[[*schema.encoded, *encoding.times]] = False
        extremes = column_extremes(table, is_number)
        for column in np.flatnonzero(np.isnan(extremes.largest)):
            raise ValueError(f"Column {names[column]!r} has no observed value: drop it or fill it.")
        sample = SampledColumns(table, random_state)
        normal = Normal(variance_bounds)
        requests = list(requested_families(names, leaf, encoding, extremes.all_binary, normal))
        if variance_bounds is not None and all(family is not normal for family, _ in requests):
            raise ValueError(
                "variance_bounds is for columns with the leaf family 'normal', but X has none."
            )
        kinds = requested_maps(names, numeric_transform, requests, variance_bounds)
        if variance_bounds is None:
            numbers = automatic(names, leaf, requests, normal)
            named = named_continuous(requests, numbers)
            dtypes = number_types(encoding.template, table.dtype, len(names))
            schema.states = found_states(
                names, atoms, bounds, numbers, named, sample, extremes, schema.times, dtypes
            )
            schema.log_unknown -= schema.states.log_units
            for place in schema.states.complete:
                form = schema.states.forms[place]
                schema.seen[:, place] = form.atoms[[0, -1]]
                schema.spread[place] = form.scale
        elif isinstance(bounds, Mapping):
            raise ValueError(
                "bounds cannot be combined with variance_bounds, which are in the units of the "
                "columns: set only one of the two."
            )
        # As if one more row had been seen; weights may have been normalised.
        schema.log_unknown -= np.log1p(max(len(table), table.total_weight))
        cells = NumberCells(sample, schema.states) if schema.states.forms else sample
        ends = with_numbers(extremes, cells, schema.states)
        for requested, columns in requests:
            columns = columns[~np.isin(columns, schema.states.complete)]
            check_support(schema, requested, columns, table)
            check_codes(requested, columns, extremes.largest, names)
            for units in column_units(requested, columns, ends, cells, kinds):
                schema._add(units, requested, extremes, ends)
        schema.states.gaps = gappy_columns(names, learn_gaps, table)
        schema.leaf_columns += state_leaves(schema.states, sample)
        return schema

    def _add(
        self, units: Units, requested: ExponentialFamily, extremes: Extremes, numbers: Extremes
    ) -> None:
        """Add the columns of one family; `requested` is the family that was asked for, and numbers
        are ends as from `with_numbers`."""
        columns, family = units.columns, units.family
        self.location[columns], self.scale[columns] = units.location, units.scale
        self.typical[:, columns] = units.typical
        if not isinstance(family, Bernoulli | Categorical | Constant):
            self.seen[:, columns] = extremes.smallest[columns], extremes.largest[columns]
            self.spread[columns] = units.spread
        if isinstance(family, Categorical):
            if self.handle_unknown != "smooth":
                self.log_unknown[columns] = 0.0
        elif units.bounds_support:
            self.definition |= dict.fromkeys(columns.tolist(), requested)
        self.far_out |= units.far_out
        for place, column in enumerate(columns.tolist()):
            unit = float(units.location[place]), float(units.scale[place])
            found = self.states.map_of(column, *unit, units.maps.get(column))
            if found is not None:
                self.maps[column] = found
        leaves = LeafColumns(family, columns, units.reference, units.least_variance)
        self.leaf_columns += by_grid(
            leaves, self.states, self.location, self.scale, self.maps, numbers
        )

    def n_states(self) -> np.ndarray:
        """Return the number of states of every column of codes; 0 for columns of numbers."""
        result = np.zeros(len(self.names), dtype=np.int64)
        for group in self.own_groups:
            if isinstance(group.family, Bernoulli):
                result[group.columns] = 2
            elif isinstance(group.family, Categorical) and group.family.n_states is not None:
                result[group.columns] = group.family.n_states
        return result

    def compared_states(self) -> np.ndarray:
        """Return the same for comparisons of columns. Very many ordered states, such as grey
        values, count as numbers: a few bins tell as much, and are faster."""
        result = self.n_states()
        ordered = result > MOST_COMPARED_STATES
        ordered[list(self.encoded)] = False
        return np.where(ordered, 0, result)

    def is_mixed(self) -> np.ndarray:
        """Return for which columns a mixture of leaves is more than a leaf: columns of numbers."""
        result = self.n_states() == 0
        result[self.states.complete] = False
        return result

    def encode(self, X: np.ndarray) -> np.ndarray:
        """Return rows in the units of the circuit, a new float64 array with NaN where missing.

        Numbers beyond the values in fit are missing, too, where these are bounds. The array is
        column-major, which is the order in which circuits read it.
        """
        encoded = self.standardize(self.states.numbers(X))
        for group in self.own_groups:
            if np.isfinite(group.family.largest):
                cells = encoded[:, group.columns]
                encoded[:, group.columns] = np.minimum(cells, group.family.largest)
        if self.definition:
            columns = list(self.definition)
            unseen = self._unseen_numbers(X)[:, columns]
            encoded[:, columns] = np.where(unseen, np.nan, encoded[:, columns])
        return self.states.encode(X, encoded)

    def encode_for_fit(self, X: np.ndarray) -> np.ndarray:
        """Return rows to learn from, as `encode` does, with known missingness where it is to be
        learned."""
        return self.states.with_gaps(X, self.encode(X))

    @cached_property
    def own_groups(self) -> list[LeafColumns]:
        """The columns of each family, without the states of split columns, and without columns
        that are nothing but states."""
        groups = []
        for group in self.leaf_columns:
            own = (group.columns < len(self.names)) & ~np.isin(group.columns, self.states.complete)
            if own.any():
                groups.append(group if own.all() else group.of(own))
        return groups

    def unknown_categories(self, X: np.ndarray) -> np.ndarray:
        """Return which cells hold categories that fit has not seen, (n_samples, n_features)."""
        result = np.zeros(X.shape, dtype=bool)
        for group in self.own_groups:
            if isinstance(group.family, Categorical):
                x = torch.from_numpy(np.asarray(X[:, group.columns], dtype=np.float64))
                result[:, group.columns] = ~(group.family.in_support(x) | torch.isnan(x)).numpy()
        return result

    def unknown_cells(self, X: np.ndarray) -> np.ndarray:
        """Return which cells hold values that are possible in their columns, but in none of the
        leaves.

        `log_unknown` is their density.
        """
        unknown = self.unknown_categories(X) | self.states.unseen(X)
        return unknown | self._unseen_numbers(X) if self.definition else unknown

    def unseen_columns(self, table: Table) -> np.ndarray:
        """Return columns with numbers beyond the values in fit, where these are bounds."""
        if not self.definition:
            return np.empty(0, dtype=np.int64)
        found = np.any(table.by_block(self._block_unseen_columns), axis=0)
        return np.flatnonzero(found)

    def _block_unseen_columns(self, X: np.ndarray) -> np.ndarray:
        blocks = [self._unseen_numbers(block).any(axis=0) for block in row_blocks(X)]
        return np.asarray(np.any(blocks, axis=0))

    def _unseen_numbers(self, X: np.ndarray) -> np.ndarray:
        """Return which cells hold numbers beyond the values in fit, where these are bounds."""
        result = np.zeros(X.shape, dtype=bool)
        for group in self.own_groups:
            columns = [c for c in group.columns.tolist() if c in self.definition]
            if not columns:
                continue
            x = np.asarray(X[:, columns], dtype=np.float64)
            with np.errstate(over="ignore"):
                z = torch.from_numpy((x - self.location[columns]) / self.scale[columns])
            outside = ~(group.family.in_support(z) | torch.isnan(z))
            for j in torch.nonzero(outside.any(0)).view(-1).tolist():  # hardly ever any
                possible = self.definition[columns[j]].in_support(torch.from_numpy(x[:, j]))
                result[:, columns[j]] = (possible & outside[:, j]).numpy()
        return result

    def deviations_beyond(self, X: np.ndarray) -> np.ndarray:
        """Return how far cells are beyond the values in fit, in standard deviations, and 0 for the
        others, (n_samples, n_features)."""
        smallest, largest = self.seen
        outside = (smallest > X) | (largest < X)
        some_outside, result = outside.any(axis=0), np.zeros(X.shape)
        for group in self.own_groups:
            columns = group.columns[some_outside[group.columns]]  # hardly ever any
            if len(columns):
                with np.errstate(over="ignore", divide="ignore", invalid="ignore"):
                    both = np.vstack([self.seen[:, columns], X[:, columns]])
                    z = (both - self.location[columns]) / self.scale[columns]
                    (low, high), x = np.split(on_circuit_axis(group.family, z), [2])
                    result[:, columns] = np.maximum(low - x, x - high) / self.spread[columns]
        for column in np.intersect1d(self.states.complete, np.flatnonzero(some_outside)):
            x, (low, high) = X[:, column], self.seen[:, column]
            result[:, column] = np.maximum(low - x, x - high) / self.spread[column]
        return np.where(outside, result, 0.0)

    def widened(self, table: Table) -> Schema:
        """Return the schema for a fit that continues with other rows, whose values it then
        knows."""
        extremes = column_extremes(table, np.isfinite(self.seen).all(axis=0))
        result = copy(self)
        smallest = np.fmin(self.seen[0], extremes.smallest)
        result.seen = np.array([smallest, np.fmax(self.seen[1], extremes.largest)])
        return result

    def without_unknown(self, X: np.ndarray) -> tuple[np.ndarray, np.ndarray | float]:
        """Return rows without unknown values, and the log-probabilities of these."""
        unknown = self.unknown_cells(X)
        if not unknown.any():
            return X, 0.0
        log_density = np.where(unknown, self.log_density_of_unknown(X), 0.0)
        return np.where(unknown, np.nan, X), log_density.sum(axis=1)

    def check(self, table: Table, bounds: Any) -> None:
        """Raise a ValueError if a column has a value that its family cannot have, or beyond its
        bounds (given as in `EinetDensity`); it names the column."""
        _, given = requested_bounds(self.names, bounds, self.times)
        if given:
            extremes = column_extremes(table, np.zeros(len(self.names), dtype=bool))
            check_within(self.names, given, extremes, self.times, self.states.halves)
        for group in self.own_groups:
            bounded = np.isin(group.columns, list(self.definition))
            check_support(self, group.family, group.columns[~bounded], table)
            for column in group.columns[bounded]:
                check_support(self, self.definition[int(column)], np.array([column]), table)

    def positions(self, wanted: Any, parameter: str) -> np.ndarray:
        """Return indices of columns; see `sklearn_einet.tables.positions.positions`."""
        return positions(self.names, wanted, parameter)

    def restricted(self, columns: np.ndarray, leaf_columns: list[LeafColumns]) -> Schema:
        """Return the schema of some of the columns, in the order given."""
        schema = Schema([self.names[column] for column in columns], self.handle_unknown)
        schema.log_unknown = self.log_unknown[columns]
        schema.definition = {
            i: self.definition[int(c)] for i, c in enumerate(columns) if int(c) in self.definition
        }
        schema.typical = self.typical[:, columns]
        schema.seen, schema.spread = self.seen[:, columns], self.spread[columns]
        schema.encoded = frozenset(i for i, c in enumerate(columns) if int(c) in self.encoded)
        schema.times = {
            i: self.times[int(c)] for i, c in enumerate(columns) if int(c) in self.times
        }
        if not isinstance(schema.names[0], str):
            schema.names = list(range(len(columns)))
        schema.leaf_columns = leaf_columns
        schema.location, schema.scale = self.location[columns], self.scale[columns]
        schema.maps = {i: self.maps[int(c)] for i, c in enumerate(columns) if int(c) in self.maps}
        schema.states = self.states.restricted(columns.tolist())
        return schema
