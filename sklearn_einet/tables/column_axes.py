"""Conversion of columns' numbers to those of the circuit, and back."""

from __future__ import annotations

from copy import copy
from functools import cached_property
from typing import Any, Self

import numpy as np
import torch

from sklearn_einet.circuit import LeafColumns
from sklearn_einet.families import ExponentialFamily
from sklearn_einet.tables.column_forms import ColumnForm
from sklearn_einet.tables.column_maps import ColumnMap
from sklearn_einet.tables.columns import COLUMN_CELLS
from sklearn_einet.tables.derived import KeepsDerived
from sklearn_einet.tables.half_line import joined_maps
from sklearn_einet.tables.rows import Rows
from sklearn_einet.tables.state_columns import StateColumns
from sklearn_einet.tables.times import TimeAxis

__all__ = ["ColumnAxes"]


class ColumnAxes(KeepsDerived):
    """The units of columns in the circuit, and the maps in front of their leaves.

    The attributes are those of `Schema`.
    """

    names: list[Any]
    leaf_columns: list[LeafColumns]
    location: np.ndarray
    scale: np.ndarray
    definition: dict[int, ExponentialFamily]
    maps: dict[int, ColumnMap]
    by_axis: bool
    states: StateColumns
    log_unknown: np.ndarray
    encoded: frozenset[int]
    times: dict[int, TimeAxis]

    def shown(self, column: int, value: float) -> str:
        """Return a value of a column as messages show it."""
        axis = self.times.get(int(column))
        return f"{value:g}" if axis is None else axis.shown(value)

    def standardize(self, X: np.ndarray) -> np.ndarray:
        """Return numbers, such as bounds, in the units of the circuit, (n_rows, n_columns)."""
        X = np.asarray(X)
        _, is_read_only = X.__array_interface__["data"]  # X.flags warns of broadcast arrays
        is_plain = X.dtype in (np.float32, np.float64) and X.flags.aligned and min(X.strides) >= 0
        if is_read_only or not is_plain:
            X = np.array(X, dtype=np.float64)
        x = torch.from_numpy(X).T
        encoded = torch.empty(x.shape, dtype=torch.float64)
        # Change type and order in one copy: only a plain copy is fast.
        location, scale = self._units
        columns = encoded.copy_(x).sub_(location).div_(scale).numpy()
        for some, column_map in self._joined_maps:
            columns[some] = column_map.forward(columns[some])
        return columns.T

    @cached_property
    def _units(self) -> tuple[torch.Tensor, torch.Tensor]:
        return torch.tensor(self.location).unsqueeze(1), torch.tensor(self.scale).unsqueeze(1)

    @cached_property
    def _joined_maps(self) -> list[tuple[int | np.ndarray, ColumnMap]]:
        """The maps in the form in which they are applied."""
        return joined_maps(self.maps)

    def decode(self, Z: np.ndarray) -> np.ndarray:
        """Return rows of the circuit, (n_samples, n_features), as values of the columns."""
        numbers = Z[:, : len(self.names)]
        if self.maps:
            numbers = numbers.copy()
            for column, column_map in self.maps.items():
                numbers[:, column] = column_map.inverse(numbers[:, column])
        return self.states.decode(Z, self.decode_mean(numbers))

    def decode_mean(self, mean: np.ndarray) -> np.ndarray:
        """Return means, of columns before they are mapped, in the units of the columns."""
        return mean * self.scale + self.location

    def decode_square(self, square: np.ndarray) -> np.ndarray:
        """Return variances, of columns before they are mapped, in the units of the columns.

        They are infinite where float64 overflows.
        """
        with np.errstate(over="ignore"):
            return square * self.scale * self.scale

    def log_jacobian(self, X: np.ndarray) -> np.ndarray:
        """Return what to add to log-densities of the circuit to get densities per unit of the
        columns."""
        if not self.states.split:
            return self._log_jacobian(X)
        atoms = np.array([form.log_unit for form in self._split_forms])
        of_atoms = self.states.is_atom(X)[:, self.states.split] @ atoms
        return self._log_jacobian(self.states.numbers(X)) - of_atoms

    @property
    def _split_forms(self) -> list[ColumnForm]:
        return [self.states.forms[column] for column in self.states.split]

    def _log_jacobian(self, X: np.ndarray) -> np.ndarray:
        """Return `log_jacobian` of rows in which atoms are missing."""
        with np.errstate(all="ignore"):
            complete = np.isfinite(X.sum())
        log_unit = self.log_unit
        result = np.full(len(X), -log_unit.sum())
        if not complete:  # complete rows get the same number as if they were alone
            seen = ~np.isnan(X)
            some = ~seen.all(1)
            result[some] = -(seen[some] @ log_unit)
        if self.by_axis:
            return result - self.log_axis_slopes(X)
        slopes = self._log_slopes(X)
        for column in self.maps:
            own = slopes[column]
            result += own if complete else np.where(seen[:, column], own, 0.0)
        return result

    def log_density_of_unknown(self, X: np.ndarray) -> np.ndarray:
        """Return log-densities of cells with unknown values, (n_samples, n_features): the
        probability of unknown values, with an exponential tail beyond bounds."""
        return self.log_unknown - self.states.beyond(X)

    def cell_log_jacobian(self, X: np.ndarray) -> np.ndarray:
        """Return what to add to log-densities of single cells, of the shape of X."""
        result = np.broadcast_to(-self.log_unit, X.shape)
        if self.maps or self.states.split:
            result = result.copy()
            slopes = self._log_slopes(X)
            for column in self.maps:
                result[:, column] += slopes[column]
            is_atom = self.states.is_atom(X)
            for column in self.states.split:
                unit = self.states.forms[column].log_unit
                result[:, column] = np.where(is_atom[:, column], -unit, result[:, column])
        return result

    def _log_slopes(self, X: np.ndarray) -> np.ndarray:
        """Return the log-slopes of the maps, (n_columns, n_samples); those of columns without a map
        have no meaning."""
        result = np.empty(X.shape[::-1])
        for some, column_map in self._joined_maps:
            # One column after the other in memory.
            x = np.array(X[:, some].T, dtype=np.float64, order="C")
            with np.errstate(over="ignore"):
                z = (x - self.location[some, None]) / self.scale[some, None]
            result[some] = column_map.log_slope(np.nan_to_num(z, nan=np.nan))
        return result

    def on_axes(self) -> Self:
        """Return the schema whose log-densities are per unit of the families' axes.

        These tell which rows are atypical whatever the axis. Densities per unit of amounts that
        span many orders of magnitude differ mostly by the amounts. Mapped columns are included.
        """
        result = copy(self)
        result.by_axis = True
        return result

    def log_axis_slopes(self, X: np.ndarray) -> np.ndarray:
        """Return log-slopes of the families' axes, summed over the observed cells of each row."""
        result = np.zeros(len(X))
        for group in self.leaf_columns:
            if type(group.family).log_axis_slope is ExponentialFamily.log_axis_slope:
                continue  # it is 0 everywhere
            columns = group.columns
            z = torch.from_numpy((X[:, columns] - self.location[columns]) / self.scale[columns])
            seen = group.family.in_support(z)
            slopes = group.family.log_axis_slope(torch.where(seen, z, group.family.fill_value))
            result += torch.where(seen, slopes, 0).sum(1).numpy()
        return result

    def mean_log_jacobian(self, rows: Rows) -> float:
        """Return the weighted mean of `log_jacobian` over rows."""
        return rows.total(self._total_log_jacobian) / rows.total_weight

    def _total_log_jacobian(self, rows: Rows, which: np.ndarray | None) -> float:
        total = 0.0
        for block in rows.blocks(max(1, COLUMN_CELLS // len(self.names)), which):
            x, weight = rows.raw(block)
            total += float(self.log_jacobian(x) @ (np.ones(len(x)) if weight is None else weight))
        return total

    @cached_property
    def log_unit(self) -> np.ndarray:
        """Logarithms of the columns' units; 0 where values have probabilities, not densities."""
        is_value = np.zeros(len(self.names), dtype=bool)
        is_value[list(self.definition)] = True
        result = np.where(is_value, 0.0, np.log(self.scale))
        for column in self.states.complete:
            result[column] = self.states.forms[column].log_unit
        return result
