"""Densities, probabilities and draws given conditions on columns."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from itertools import product
from typing import Any

import numpy as np
from scipy.special import logsumexp

from sklearn_einet.circuit import Circuit
from sklearn_einet.circuit.block_rows import slices
from sklearn_einet.circuit.queries.event_sampling import sample_given
from sklearn_einet.circuit.queries.events import Event, event_log_densities
from sklearn_einet.model.evidence import Evidence, usable_evidence
from sklearn_einet.model.log_density import columns_of
from sklearn_einet.model.numerical_errors import warn_of_large_errors
from sklearn_einet.tables.column_forms import ColumnForm
from sklearn_einet.tables.conditions import Condition, Conditions
from sklearn_einet.tables.grid_cells import cells_inside
from sklearn_einet.tables.schema import Schema
from sklearn_einet.tables.table import ROWS_AT_A_TIME

__all__ = ["draws_given", "event_log_probability", "log_density_given_event", "product_events"]

# The largest number of combinations of values of continuous columns, each a product event.
MOST_COMBINATIONS = 10_000


@dataclass(frozen=True)
class ProductEvent:
    """Conditions that are independent of each other: a value, a range or a set for each column.

    Attributes
    ----------
    row : ndarray of shape (n_features,)
        Values in the units of the columns, NaN where none is given.
    event : Event
        Ranges and sets in the units of the circuit, of its columns.
    """

    row: np.ndarray
    event: Event


def product_events(schema: Schema, conditions: Conditions) -> list[ProductEvent]:
    """Translate conditions on a user's columns to events that are tractable in a circuit.

    Parameters
    ----------
    schema : Schema
    conditions : Conditions

    Returns
    -------
    events : list of ProductEvent
        Disjoint: the density of the conditions is the sum of theirs. There are several if a
        continuous column may have one of several values, or an atom or a number. The list is empty
        if the conditions are impossible.
    """
    choices = [
        list(_with_gaps(schema, column, condition))
        for column, condition in conditions.of_columns.items()
    ]
    if np.prod([float(len(each)) for each in choices]) > MOST_COMBINATIONS:
        pairs = zip(conditions.of_columns, choices, strict=True)
        names = ", ".join(repr(schema.names[column]) for column, each in pairs if each[1:])
        raise ValueError(
            f"There are too many combinations of single values, or of atoms and other numbers, in "
            f"the columns {names}: give ranges instead."
        )
    n, n_features = len(schema.names), schema.states.n_features
    events = []
    for chosen in product(*choices):
        row = np.full(n, np.nan)
        ends = np.repeat([[-np.inf], [np.inf]], n, axis=1)
        sets: dict[int, np.ndarray] = {}
        for column, each in zip(conditions.of_columns, chosen, strict=True):
            row[column] = each.value
            ends[:, column] = each.low, each.high
            sets |= each.sets
        low, high = np.repeat([[-np.inf], [np.inf]], n_features, axis=1)
        low[:n], high[:n] = schema.standardize(ends)
        events.append(ProductEvent(row, Event(low, high, sets)))
    return events


@dataclass(frozen=True)
class Alternative:
    """The condition on a column in a product event.

    Attributes
    ----------
    value : float
        A value; NaN without one.
    low, high : float
        Ends of a range of numbers in the units of the column.
    sets : dict of int to ndarray
        For columns of the circuit, the allowed values in its units.
    """

    value: float = np.nan
    low: float = -np.inf
    high: float = np.inf
    sets: Mapping[int, np.ndarray] = field(default_factory=dict)


def _with_gaps(schema: Schema, column: int, condition: Condition) -> Iterator[Alternative]:
    """Yield disjoint events that make up a condition, for cells that may be missing."""
    gap = schema.states.gap_of(column)
    if condition.is_missing:
        yield Alternative(sets=dict.fromkeys(gap, np.ones(1)))
        return
    for each in _alternatives(schema, column, condition):
        yield replace(each, sets={**each.sets, **dict.fromkeys(gap, np.zeros(1))})


def _alternatives(schema: Schema, column: int, condition: Condition) -> Iterator[Alternative]:
    """Yield disjoint events that make up a condition; none if it is impossible."""
    values, form = condition.values, schema.states.forms.get(column)
    n_states = int(schema.n_states()[column])
    if form is not None and len(form.atoms):
        yield from _with_atoms(schema, column, condition, form)
        return
    if values is None and n_states:
        values = np.arange(float(n_states))
        values = values[condition.contains(values)]
    if values is None:
        low, high = condition.low, condition.high
        if form is not None:
            low, high = _cells(low, high, form)
        if low <= high:
            yield Alternative(low=low, high=high)
    elif len(values) > 1 and not _is_continuous(schema)[column]:
        codes = (values - schema.location[column]) / schema.scale[column]
        yield Alternative(sets={column: codes})
    else:
        yield from (Alternative(value=float(value)) for value in values)


def _with_atoms(
    schema: Schema, column: int, condition: Condition, form: ColumnForm
) -> Iterator[Alternative]:
    """Yield the atoms that meet a condition, then the numbers."""
    state, values = schema.states.state_of(column), condition.values
    codes = np.flatnonzero(condition.contains(form.atoms)).astype(np.float64)
    if len(codes):
        yield Alternative(sets={state: codes})
    if form.is_complete:
        return
    ranges = [(condition.low, condition.high)]
    if values is not None:
        ranges = [(value, value) for value in values[~np.isin(values, form.atoms)]]
        if not len(codes):
            yield from (Alternative(value=float(value)) for value, _ in ranges)
        if not (len(codes) and form.step):  # besides atoms, single values have no probability
            return
    for ends in ranges:
        low, high = _cells(*ends, form)
        if low <= high:
            yield Alternative(low=low, high=high, sets={state: np.array([float(len(form.atoms))])})


def _cells(low: float, high: float, form: ColumnForm) -> tuple[float, float]:
    """Return the ends of a range of numbers, extended to whole cells of a grid."""
    start, stop = cells_inside(np.array([low]), np.array([high]), form)
    return float(start[0]), float(stop[0])


def _is_continuous(schema: Schema) -> np.ndarray:
    """Return which columns have densities per unit of length, (n_columns,)."""
    result = np.zeros(len(schema.names), dtype=bool)
    for group in schema.leaf_columns:
        own = group.columns[group.columns < len(result)]
        result[own] = not group.family.is_discrete
    return result


def event_log_density(
    circuit: Circuit, schema: Schema, X: np.ndarray, conditions: Conditions
) -> np.ndarray:
    """Return log-densities of rows, times the probability that missing cells meet conditions.

    Parameters
    ----------
    circuit : Circuit
    schema : Schema
    X : ndarray of shape (n_samples, n_features)
        Rows that conditions `contain`.
    conditions : Conditions
        In continuous columns, values contribute densities and ranges probabilities.

    Returns
    -------
    log_density : ndarray of shape (n_samples,)
    """
    result, largest_error = np.empty(len(X)), 0.0
    columns = list(conditions.of_columns)
    patterns, pattern = np.unique(np.isnan(X[:, columns]), axis=0, return_inverse=True)
    for number, missing in enumerate(patterns):
        rows = np.flatnonzero(pattern.reshape(-1) == number)
        left = conditions.of([columns[place] for place in np.flatnonzero(missing)])
        terms = [np.full(len(rows), -np.inf)]
        for each in product_events(schema, left):
            known = np.where(np.isnan(each.row), X[rows], each.row)
            values, error = _log_density(circuit, schema, known, each.event)
            terms.append(values)
            largest_error = max(largest_error, error)
        result[rows] = logsumexp(terms, axis=0)
    warn_of_large_errors("ranges", largest_error)
    return result


def _log_density(
    circuit: Circuit, schema: Schema, X: np.ndarray, event: Event
) -> tuple[np.ndarray, float]:
    """Return log-densities of rows with one product event, and the error of probabilities."""
    result, largest_error = np.empty(len(X)), 0.0
    for rows in slices(len(X), circuit.block_rows):
        known, of_unknown = schema.without_unknown(X[rows])
        columns = columns_of(circuit, schema, known)
        leaves, base, error = event_log_densities(circuit, columns, event)
        values = (circuit.propagate(leaves).root + base).cpu().numpy()
        values = np.where(np.isnan(values), -np.inf, values)
        result[rows] = values + schema.log_jacobian(known) + of_unknown
        largest_error = max(largest_error, error)
    return result, largest_error


def _of_conditions(
    circuit: Circuit, schema: Schema, conditions: Conditions, parameter: str
) -> float:
    """Return the log-density of conditions.

    Raises
    ------
    ValueError
        If they are impossible; the message tells which.
    """
    nothing = np.full((1, len(schema.names)), np.nan)
    row = _most_usual(schema, conditions)
    usable = Evidence(circuit, schema, warn=False).usable(row)
    for column, condition in conditions.of_columns.items():
        if condition.values is not None and np.isnan(usable[0, column]):
            raise ValueError(_impossible(parameter, conditions.words[column]))
    usable_evidence(circuit, schema, usable)  # warns about extrapolation
    value = float(event_log_density(circuit, schema, nothing, conditions)[0])
    if value > -np.inf:
        return value
    for column in conditions.of_columns:
        if np.isneginf(event_log_density(circuit, schema, nothing, conditions.of([column]))).all():
            raise ValueError(_impossible(parameter, conditions.words[column]))
    raise ValueError(
        f"Together, the conditions in {parameter} have probability 0 under the fitted model. Fit "
        "with pseudocount > 0, or remove some of them."
    )


def _most_usual(schema: Schema, conditions: Conditions) -> np.ndarray:
    """Return a row, (1, n_features), of the allowed values nearest to the middle of the values in
    fit."""
    row = np.full((1, len(schema.names)), np.nan)
    for column, condition in conditions.of_columns.items():
        smallest, largest = schema.seen[:, column]
        is_known = np.isfinite(largest - smallest)  # not for codes, and columns with one value
        middle = 0.5 * smallest + 0.5 * largest if is_known else 0.0
        if condition.is_missing:
            continue
        if condition.values is not None:
            row[0, column] = condition.values[np.abs(condition.values - middle).argmin()]
        elif is_known:
            row[0, column] = np.clip(middle, condition.low, condition.high)
    return row


def _impossible(parameter: str, words: str) -> str:
    return (
        f"The condition {{{words}}} in {parameter} has probability 0 under the fitted model: give "
        "another value or a wider range."
    )


def log_density_given_event(
    circuit: Circuit, schema: Schema, X: Any, conditions: Conditions
) -> np.ndarray:
    """Return log-densities of rows of an array or a table given conditions; see `TableDensity`."""
    of_conditions = _of_conditions(circuit, schema, conditions, "given")
    result = np.full(len(X), -np.inf)
    # Conditions on values are densities, like those of rows, even if the values are atoms.
    forms = schema.states.forms
    units = np.zeros(len(schema.names))
    for column, each in conditions.of_columns.items():
        if column in forms and each.values is not None:
            units[column] = forms[column].log_unit * np.isin(each.values, forms[column].atoms).any()
    for rows in slices(len(X), ROWS_AT_A_TIME):
        block = schema.states.rounded(X[rows].astype(np.float64))
        inside = conditions.contain(block)
        if inside.any():
            found = event_log_density(circuit, schema, block[inside], conditions)
            seen = ~np.isnan(block[inside])
            result[rows][inside] = found - of_conditions + seen @ units
    return result


def event_log_probability(
    circuit: Circuit, schema: Schema, event: Conditions, given: Conditions
) -> float:
    """Return the log-probability of conditions given others; see `TableDensity`."""
    of_given = _of_conditions(circuit, schema, given, "given") if given.of_columns else 0.0
    both = event.both(given)
    if any(each.is_empty for each in both.of_columns.values()):
        return -np.inf
    is_point = {column for column, each in given.of_columns.items() if each.values is not None}
    is_length = _is_continuous(schema)
    for column, asked in event.of_columns.items():
        if asked.values is None or not is_length[column] or column in is_point:
            continue
        form = schema.states.forms.get(column)
        atoms = np.empty(0) if form is None else form.atoms
        if np.isin(asked.values, atoms).any():
            continue
        if form is None or not form.step:
            return -np.inf  # a single number in a continuous column
        cells = [Condition(value, value) for value in asked.values.tolist()]
        events = [Conditions({**event.of_columns, column: cell}, event.words) for cell in cells]
        each = [event_log_probability(circuit, schema, part, given) for part in events]
        return float(logsumexp(each))
    nothing = np.full((1, len(schema.names)), np.nan)
    value = float(event_log_density(circuit, schema, nothing, both)[0])
    return min(value - of_given, 0.0)


def draws_given(
    circuit: Circuit,
    schema: Schema,
    conditions: Conditions,
    n_samples: int,
    random_state: np.random.RandomState,
    noise: bool,
) -> tuple[np.ndarray, np.ndarray | None]:
    """Draw rows given conditions; see `TableDensity.draws_given`."""
    _of_conditions(circuit, schema, conditions, "given")
    terms = product_events(schema, conditions)
    chosen = np.zeros(n_samples, dtype=np.int64)
    if len(terms) > 1:
        log_weight = np.array(
            [_log_density(circuit, schema, each.row[None], each.event)[0][0] for each in terms]
        )
        weight = np.exp(log_weight - log_weight.max())
        chosen = random_state.choice(len(terms), n_samples, p=weight / weight.sum())
    result, missing = np.empty((n_samples, len(schema.names))), None
    if schema.states.gaps:
        missing = np.zeros(result.shape, dtype=bool)
    for number in np.unique(chosen).tolist():
        here, term = np.flatnonzero(chosen == number), terms[number]
        known = columns_of(circuit, schema, term.row[None])[:, 0]
        drawn = sample_given(circuit, known, term.event, len(here), random_state, noise)
        rows = schema.decode(drawn)
        result[here] = np.where(np.isnan(term.row), rows, term.row)
        if missing is not None:
            missing[here] = schema.states.missing(drawn)
    for column, condition in conditions.of_columns.items():
        # Rounding by a change of units must not move values outside.
        result[:, column] = result[:, column].clip(condition.low, condition.high)
    return result, missing
