"""The grid cells of columns, converted from the table's units to the circuit's."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

import numpy as np

from sklearn_einet.circuit import GridCells, LeafColumns
from sklearn_einet.families import Normal
from sklearn_einet.tables.column_forms import ColumnForm
from sklearn_einet.tables.column_maps import ColumnMap
from sklearn_einet.tables.columns import Extremes
from sklearn_einet.tables.state_columns import StateColumns

__all__ = ["by_grid", "cells_inside"]

# The most cells of a column whose probabilities are computed. In a column with more cells, even
# the narrowest leaf is several cells wide, and the density in the middle of a cell will do.
MOST_CELLS = 1024

# Cells beyond the smallest and the largest number, in which narrow leaves at the ends have mass.
MARGIN = 8


def by_grid(
    leaves: LeafColumns,
    states: StateColumns,
    location: np.ndarray,
    scale: np.ndarray,
    maps: Mapping[int, ColumnMap],
    numbers: Extremes,
) -> Iterator[LeafColumns]:
    """Yield the columns of a family without a grid, and those with a grid with their cells.

    Parameters
    ----------
    leaves : LeafColumns
    states : StateColumns
    location, scale : ndarray of shape (n_features,)
        The units of the circuit.
    maps : mapping of int to ColumnMap
        The maps that follow.
    numbers : Extremes
        The ends of the numbers that are not atoms, mapped as by `StateColumns.number_cells`.
    """
    found = {}
    for place, column in enumerate(leaves.columns.tolist()):
        form = states.forms.get(column)
        if form is None or not form.step or type(leaves.family) is not Normal:
            continue
        ends = np.array([numbers.smallest[column], numbers.largest[column]])
        first = states.map_of(column, 0.0, 1.0, None)
        values = _values(form, *(ends if first is None else first.inverse(ends)))
        if values is not None:
            unit = location[column], scale[column]
            found[place] = _cells(form, values, *unit, maps.get(column))
    has_grid = np.isin(np.arange(len(leaves.columns)), list(found))
    if not has_grid.all():
        yield leaves.of(~has_grid)
    if found:
        yield replace(leaves.of(has_grid), grid=_padded(list(found.values())))


def _values(form: ColumnForm, smallest: float, largest: float) -> np.ndarray | None:
    """Return the grid values of a column that have cells, given the ends of the values that are not
    atoms; None if there are too many."""
    first, last = (round((end - form.origin) / form.step) for end in (smallest, largest))
    if last - first >= MOST_CELLS:
        return None
    steps = np.arange(first - MARGIN, last + MARGIN + 1)
    atoms = np.round((form.atoms - form.origin) / form.step)
    values = form.origin + form.step * steps[~np.isin(steps, atoms)]
    error = 1e-9 * form.step
    return np.asarray(values[(values > form.low - error) & (values < form.high + error)])


def _cells(
    form: ColumnForm,
    values: np.ndarray,
    location: float,
    scale: float,
    column_map: ColumnMap | None,
) -> tuple[np.ndarray, np.ndarray]:
    """Return the ends of cells and the logarithms of their widths, as in `GridCells`:
    log-probabilities minus these are log-densities at the values, per unit of the circuit."""
    low, high = cells_inside(values, values, form)
    ends, z = (np.append(low, high[-1]) - location) / scale, (values - location) / scale
    log_width = np.full(len(values), np.log(form.step / scale))
    if column_map is None:
        return ends, log_width
    return column_map.forward(ends), log_width + column_map.log_slope(z)


def _padded(columns: Sequence[tuple[np.ndarray, np.ndarray]]) -> GridCells:
    """Return the cells of several columns, combined."""
    most = max(len(log_width) for _, log_width in columns)
    edges, widths = np.full((len(columns), most + 1), np.inf), np.full((len(columns), most), np.nan)
    for place, (ends, log_width) in enumerate(columns):
        edges[place, : len(ends)], widths[place, : len(log_width)] = ends, log_width
    return GridCells(edges, widths)


def cells_inside(
    low: np.ndarray, high: np.ndarray, form: ColumnForm
) -> tuple[np.ndarray, np.ndarray]:
    """Return bounds of numbers: on a grid, those of whole cells; infinite beyond bounds of the
    column, so that the mass of a density beyond counts for the values next to a bound."""
    first, last = low, high
    if form.step:
        with np.errstate(invalid="ignore"):
            first = np.ceil((form.unrounded(low) - form.origin) / form.step - 1e-9) - 0.5
            last = np.floor((form.unrounded(high) - form.origin) / form.step + 1e-9) + 0.5
        first, last = form.origin + form.step * first, form.origin + form.step * last
    start = np.where(low <= form.low, -np.inf, first)
    stop = np.where(high >= form.high, np.inf, last)
    outside = (high < form.low) | (low > form.high)
    # An atom at a bound leaves no number there.
    outside |= (high <= form.low) & np.isin(form.low, form.atoms)
    outside |= (low >= form.high) & np.isin(form.high, form.atoms)
    return np.where(outside, np.inf, start), np.where(outside, -np.inf, stop)
