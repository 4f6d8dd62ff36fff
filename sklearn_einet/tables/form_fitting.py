"""The forms of a table's columns, found from their cells."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from scipy.special import ndtri

from sklearn_einet.circuit import LeafColumns
from sklearn_einet.families import Categorical, ExponentialFamily
from sklearn_einet.tables.column_forms import ColumnForm, column_form, named_form
from sklearn_einet.tables.columns import Extremes, SampledColumns, different_values, row_blocks
from sklearn_einet.tables.form_requests import (
    NONE,
    FormRequests,
    check_within,
    requested_atoms,
    requested_bounds,
)
from sklearn_einet.tables.positions import positions
from sklearn_einet.tables.state_columns import StateColumns
from sklearn_einet.tables.table import Table
from sklearn_einet.tables.times import TimeAxis

__all__ = [
    "NumberCells",
    "fit_forms",
    "found_states",
    "gappy_columns",
    "state_leaves",
    "with_numbers",
]

# The number of rows from which the columns' dependence on each other is computed.
MAX_ROWS = 5000


def found_states(
    names: list[Any],
    atoms: Any,
    bounds: Any,
    numbers: np.ndarray,
    families: Mapping[int, ExponentialFamily],
    sample: SampledColumns,
    extremes: Extremes,
    times: Mapping[int, TimeAxis],
    dtypes: Sequence[np.dtype[Any]],
) -> StateColumns:
    """Return the forms of columns.

    Parameters
    ----------
    names : list of str or int
        Of all columns.
    atoms, bounds
        As in `EinetDensity`.
    numbers : ndarray of int
        The columns of numbers whose family the user has not named.
    families : mapping of int to ExponentialFamily
        The columns whose continuous family the user has named.
    sample : SampledColumns
    extremes : Extremes
        Of all columns.
    times : mapping of int to TimeAxis
        Columns of times.
    dtypes : sequence of dtype
        Of all columns.

    Raises
    ------
    ValueError, TypeError
        Naming the parameter or the column at fault.
    """
    least_share, given = requested_atoms(names, atoms)
    other_bounds, given_bounds = requested_bounds(names, bounds, times)
    for column in given_bounds.keys() - set(numbers.tolist()):
        raise ValueError(
            f"Column {names[column]!r} cannot have bounds: it has categories, or a leaf family "
            "named in the parameter leaf. Leave it out of bounds."
        )
    halves = [column for column, dtype in enumerate(dtypes) if dtype == np.float16]
    check_within(names, given_bounds, extremes, times, halves)
    columns = np.union1d(numbers, list(families)).astype(np.int64)
    columns = columns[~extremes.constant[columns]]
    for column in given.keys() - set(columns.tolist()):
        raise ValueError(
            f"Column {names[column]!r} cannot have atoms: it has categories, a single value or a "
            "leaf family of counts or codes. Leave it out of atoms."
        )
    if atoms is None:
        other_bounds = NONE
        columns = np.intersect1d(columns, list(given_bounds)).astype(np.int64)
    dates = frozenset(c for c, axis in times.items() if axis.kind in ("datetime", "date"))
    ends = {
        column: [] if column in dates else _seen_ends(family, column, extremes, given.get(column))
        for column, family in families.items()
    }
    asked = FormRequests(
        least_share, given, given_bounds, other_bounds, families, ends, dates, dtypes
    )
    return StateColumns(len(names), fit_forms(sample, columns, asked))


def _seen_ends(
    family: ExponentialFamily, column: int, extremes: Extremes, given: np.ndarray | None
) -> list[float]:
    """Return the open ends of a family's support that occur in a column, or are given as atoms."""
    if given is not None:
        return [end for end in family.open_ends if end in given]
    low, high = extremes.smallest[column], extremes.largest[column]
    return [end for end in family.open_ends if low <= end <= high]


def fit_forms(
    sample: SampledColumns, columns: np.ndarray, asked: FormRequests
) -> dict[int, ColumnForm]:
    """Return the forms of columns of numbers; plain columns are left out.

    Parameters
    ----------
    sample : SampledColumns
    columns : ndarray of int
        Not constant.
    asked : FormRequests
    """
    dependence = dict(zip(columns.tolist(), _dependence(sample, columns), strict=True))
    # Weights may have been normalised.
    weight = sample.weight * max(1.0, len(sample.weight) / sample.weight.sum())
    result = {}
    for column, x in _each(sample, columns):
        values, counts = different_values(x, weight)
        if len(values) < 2:
            continue
        about = asked.least_share, dependence[column], asked.atoms.get(column)
        dtype = asked.dtype_of(column)
        if column in asked.families:
            ends = asked.open_ends[column]
            # Few rows may have them, or none of the sample, or none so far.
            values, counts = _with_values(values, counts, ends)
            form = named_form(asked.families[column], ends, values, counts, *about, dtype)
        else:
            bounds = asked.bounds_of(column)
            form = column_form(values, counts, *about, bounds, dtype)
            if column in asked.without_sign and bounds is None:
                form = form.without_sign()
        if not form.is_plain:
            result[column] = form
    return result


def _with_values(
    values: np.ndarray, counts: np.ndarray, others: list[float]
) -> tuple[np.ndarray, np.ndarray]:
    """Return distinct values and their counts, with other values added."""
    both = np.union1d(values, others)
    result = np.zeros(len(both))
    result[np.searchsorted(both, values)] = counts
    return both, result


def _each(sample: SampledColumns, columns: np.ndarray) -> Iterator[tuple[int, np.ndarray]]:
    for part in sample.blocks(columns) if len(columns) else ():
        yield from zip(part.tolist(), sample.cells(part).T, strict=True)


def _dependence(sample: SampledColumns, columns: np.ndarray) -> np.ndarray:
    """Return how much a joint normal density tells about each column, given the others, in nats.

    The density is that of normal scores, so that the columns' distributions do not matter.
    """
    n_rows, d = len(sample.weight), len(columns)
    if d < 2:
        return np.zeros(d)
    rows = np.linspace(0, n_rows - 1, min(n_rows, MAX_ROWS)).astype(int)
    scores = np.zeros((len(rows), d))
    for place, (_, x) in enumerate(_each(sample, columns)):
        scores[:, place] = _normal_scores(x[rows])
    unit = np.sqrt((scores**2).mean(0))
    scores /= np.where(unit > 0, unit, 1.0)
    shrink = min(0.5, (d + 1) / len(rows))
    correlation = (1 - shrink) * (scores.T @ scores) / len(rows)
    correlation[np.diag_indices(d)] = 1.0
    return np.asarray(0.5 * np.log(np.linalg.inv(correlation).diagonal().clip(1)))


def _normal_scores(x: np.ndarray) -> np.ndarray:
    """Return standard normal quantiles of values by their ranks, 0 where missing."""
    seen = ~np.isnan(x)
    values, of, counts = np.unique(x[seen], return_inverse=True, return_counts=True)
    result = np.zeros(len(x))
    if len(values):
        middle = (counts.cumsum() - 0.5 * counts) / counts.sum()
        result[seen] = ndtri(middle)[of]
        result[seen] -= result[seen].mean()
    return result


class NumberCells(SampledColumns):
    """The sampled cells of columns that are numbers.

    Atoms are missing, and the other cells are mapped as by `StateColumns.map_of`.

    Parameters
    ----------
    sample : SampledColumns
    states : StateColumns
    """

    def __init__(self, sample: SampledColumns, states: StateColumns) -> None:
        vars(self).update(vars(sample))
        self._states = states

    def cells(self, columns: np.ndarray) -> np.ndarray:
        return self._states.number_cells(super().cells(columns), columns.tolist())


def state_leaves(states: StateColumns, sample: SampledColumns) -> list[LeafColumns]:
    """Return categorical families for the states of columns, by numbers of states, and for whether
    cells are missing."""
    columns = [*states.complete, *states.split]
    features: dict[int, list[int]] = {}
    shares: dict[int, list[np.ndarray]] = {}
    for column, x in _each(sample, np.array(columns, dtype=np.int64)):
        codes, n_states = states.codes(x, column)
        seen = ~np.isnan(codes)
        counts = np.bincount(codes[seen].astype(int), sample.weight[seen], minlength=n_states)
        features.setdefault(n_states, []).append(states.state_of(column))
        shares.setdefault(n_states, []).append(counts / counts.sum())
    return [
        LeafColumns(
            family := Categorical(n),
            np.array(features[n]),
            family.interior(np.array(shares[n]), float(sample.weight.sum())),
            np.zeros(len(features[n])),
        )
        for n in features
    ] + _gap_leaves(states, sample)


def gappy_columns(names: list[Any], learn_gaps: Any, table: Table) -> list[int]:
    """Return the columns whose missing cells are to be learned; complete columns are left out."""
    if isinstance(learn_gaps, bool | np.bool_):
        wanted = np.arange(len(names)) if learn_gaps else np.empty(0, dtype=np.int64)
    else:
        wanted = positions(names, learn_gaps, "learn_gaps")
    if not len(wanted):
        return []
    found = np.any(table.by_block(_missing_columns), axis=0)
    return np.unique(wanted[found[wanted]]).tolist()


def _missing_columns(X: np.ndarray) -> np.ndarray:
    return np.asarray(np.any([np.isnan(block).any(axis=0) for block in row_blocks(X)], axis=0))


def _gap_leaves(states: StateColumns, sample: SampledColumns) -> list[LeafColumns]:
    """Return the families for whether cells are missing."""
    if not states.gaps:
        return []
    total = sample.weight.sum()
    missing = [sample.weight @ np.isnan(x) / total for _, x in _each(sample, np.array(states.gaps))]
    family = Categorical(2)
    share = family.interior(np.column_stack([1 - np.array(missing), missing]), float(total))
    features = [gap for column in states.gaps for gap in states.gap_of(column)]
    return [LeafColumns(family, np.array(features), share, np.zeros(len(features)))]


def with_numbers(extremes: Extremes, numbers: SampledColumns, states: StateColumns) -> Extremes:
    """Return the ends of the columns' numbers, mapped as in `NumberCells`."""
    ends = np.array([extremes.smallest, extremes.largest])
    for column in states.forms:
        first = states.map_of(column, 0.0, 1.0, None)
        if column in states.split:
            x = numbers.cells(np.array([column]))
            ends[:, column] = np.nanmin(x), np.nanmax(x)
        elif first is not None:
            ends[:, column] = first.forward(ends[:, column])
    smallest, largest = ends
    return Extremes(smallest, largest, extremes.all_binary)
