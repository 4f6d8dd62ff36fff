"""Families, structure, circuit and solver of a fit, from settings and a table."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from sklearn_einet.circuit import Circuit
from sklearn_einet.estimators.joint_part import (
    joint_graph,
    learns_jointly,
    unseen_log_likelihood,
)
from sklearn_einet.estimators.settings import Settings
from sklearn_einet.families import Normal
from sklearn_einet.learning import (
    FullEM,
    GradientAscent,
    Solver,
    StochasticEM,
    initialize,
    n_initial_rows,
)
from sklearn_einet.model.table_density import TableDensity
from sklearn_einet.structure import RegionGraph, chow_liu, random_binary_trees
from sklearn_einet.structure.image_regions import IMAGE_STRUCTURES, image_regions
from sklearn_einet.structure.joint_regions import renamed
from sklearn_einet.tables.column_warnings import (
    warn_of_far_values,
    warn_of_narrow_counts,
    warn_of_unseen_values,
)
from sklearn_einet.tables.encoding import Encoding
from sklearn_einet.tables.missing_markers import warn_of_missing_markers
from sklearn_einet.tables.rows import Rows
from sklearn_einet.tables.schema import Schema
from sklearn_einet.tables.split import Split
from sklearn_einet.tables.table import Table
from sklearn_einet.tables.weights import rows_with_weight

__all__ = [
    "continued_circuit",
    "make_solver",
    "new_circuit",
    "new_region_graph",
    "new_schema",
    "said_of",
    "split_rows",
    "stochastic_em",
    "training_rows",
]

# Full EM computes its initial parameters from all rows if there are no more than this.
MAX_ROWS_OF_EXACT_START = 5000


def split_rows(settings: Settings, n_rows: int, random_state: np.random.RandomState) -> Split:
    """Choose the rows to learn from, and those that early stopping holds out, if any."""
    n_used = settings.n_to_learn_from(n_rows)
    n_held_out = settings.n_held_out(n_used)
    if n_held_out == 0 and n_used == n_rows:
        return Split()
    return Split.at_random(n_rows, n_held_out, random_state, n_used)


def said_of(settings: Settings, table: Table, split: Split | None = None) -> str:
    """Return what a fit says first: which table it learns from, and how."""
    n_held_out = 0 if split is None or split.held_out is None else len(split.held_out)
    rows = f"{len(table)} rows" + (f" ({n_held_out} held out)" if n_held_out else "")
    how = f"structure {settings.structure!r}, solver {settings.solver!r}"
    return f"{rows}, {table.shape[1]} columns, {how}"


def new_schema(
    settings: Settings,
    table: Table,
    encoding: Encoding,
    names: list[Any],
    random_state: np.random.RandomState,
    split: Split | None = None,
) -> Schema:
    """Find families and units from the rows.

    Maps of columns found by numeric_transform="auto" are dropped if unseen rows are more likely
    under joint densities without them. They are kept if the split is None.
    """

    def read(numeric_transform: Any) -> Schema:
        return Schema.fit(
            table,
            settings.leaf,
            names,
            encoding,
            random_state,
            variance_bounds=settings.variance_bounds,
            numeric_transform=numeric_transform,
            # Pixels have a common unit and are learned as numbers.
            atoms=None if settings.structure in IMAGE_STRUCTURES else settings.atoms,
            bounds=settings.bounds,
            handle_unknown=settings.handle_unknown,
            learn_gaps=settings.learn_gaps,
        )

    with settings.report.timed(f"choosing the distributions of {len(names)} columns"):
        schema = read(settings.numeric_transform)
    is_auto = isinstance(settings.numeric_transform, str) and settings.numeric_transform == "auto"
    if split is not None and is_auto and schema.maps and learns_jointly(settings, schema):
        plain, seed = read(None), random_state.randint(2**31)
        if plain.maps != schema.maps:
            settings.report.say("comparing columns with and without numeric_transform")
            with_maps, without = (
                unseen_log_likelihood(settings, each, table, split, seed)
                for each in (schema, plain)
            )
            schema = schema if with_maps >= without else plain
    warn_of_far_values(schema)
    warn_of_missing_markers(schema, table)
    warn_of_narrow_counts(schema, len(table))
    return schema


def new_region_graph(
    settings: Settings,
    schema: Schema,
    table: Table,
    split: Split,
    random_state: np.random.RandomState,
) -> RegionGraph:
    """Make the region graph for the parameter structure; some are learned from training rows."""
    n_columns = len(schema.names)
    with settings.report.timed(f"building the structure of {n_columns} columns"):
        if settings.structure in IMAGE_STRUCTURES:
            grid = settings.image_shape, settings.delta, settings.split_axes
            return image_regions(settings.structure, *grid, n_columns)
        if settings.structure == "joint-normal":
            return joint_graph(settings, schema, table, split, random_state)
        if settings.structure == "binary-trees":
            depth = settings.depth_of(n_columns)
            graph = random_binary_trees(n_columns, depth, settings.replicas, random_state)
        else:
            X, weight = table.training_sample(split, random_state)
            n_states, mixed = schema.compared_states(), schema.is_mixed()
            graph = chow_liu(
                X,
                n_states,
                settings.replicas,
                random_state=random_state,
                weight=weight,
                mixed_leaves=mixed,
            )
        # A column and its state stay together.
        return RegionGraph(renamed(graph.root, schema.states.scopes(range(n_columns))))


def new_circuit(
    settings: Settings,
    schema: Schema,
    graph: RegionGraph,
    table: Table,
    random_state: np.random.RandomState,
) -> Circuit:
    """Make a circuit with initial parameters, computed from the rows."""
    circuit = Circuit(
        graph,
        schema.leaf_columns,
        settings.K,
        layer=settings.layer,
        min_variance=settings.min_variance_of(table.total_weight),
        dtype=settings.dtype,
        device=settings.device,
    )
    n_rows = n_initial_rows(circuit)
    if settings.solver == "em":
        # Weighted and repeated rows have the same start only if all rows are used.
        n_rows = max(n_rows, MAX_ROWS_OF_EXACT_START)
    n_rows = min(n_rows, table.most_scattered_rows)
    some = rows_with_weight(table.weight)
    n_usable = len(table) if some is None else len(some)
    if n_usable > n_rows:
        chosen = random_state.choice(n_usable, n_rows, replace=False)
        some = chosen if some is None else some[chosen]
    rows = table.rows(schema.encode_for_fit, settings.device, random_state, some)
    initialize(circuit, *rows.select(slice(None)), random_state)
    return circuit


def continued_circuit(settings: Settings, density: TableDensity, table: Table) -> Circuit:
    """Return the circuit of a fitted density, ready to learn from more rows."""
    fitted = density.circuit
    for name in ("layer", "K"):
        asked = getattr(settings, name)
        if getattr(fitted, name) != asked:
            raise ValueError(
                f"The fitted model has {name}={getattr(fitted, name)!r} and cannot continue with "
                f"{name}={asked!r}. Set warm_start=False to fit a new model."
            )
    bounds = settings.variance_bounds
    families = [group.family for group in fitted.leaf_groups]
    if bounds is not None and Normal(bounds) not in families:
        raise ValueError(
            f"The fitted model has other variance_bounds than {bounds} and cannot continue with "
            "these. Set warm_start=False to fit a new model."
        )
    density.schema.check(table, settings.bounds)
    warn_of_unseen_values(density.schema, table)
    circuit = fitted.to(settings.device, settings.dtype)
    if settings.min_variance is not None:
        for group in circuit.leaf_groups:
            group.min_variance = settings.min_variance
    rows, floor = settings.covariance_shrinkage, settings.covariance_floor
    for joint in circuit.joint_groups:
        joint.prior = replace(joint.prior, rows=rows, floor=floor)
    return circuit


def training_rows(
    schema: Schema,
    circuit: Circuit,
    table: Table,
    split: Split,
    random_state: np.random.RandomState,
) -> tuple[Rows, Rows | None]:
    """Return the rows to train on, and those held out, if any."""
    rows = table.rows(schema.encode_for_fit, circuit.device, random_state, split.train)
    if split.held_out is None:
        return rows, None
    return rows, table.rows(schema.encode_for_fit, circuit.device, random_state, split.held_out)


def make_solver(settings: Settings, rows: Rows, n_epochs: int = 0) -> Solver:
    """Make the solver that the settings ask for, in its state after some epochs."""
    if settings.solver == "em":
        return FullEM(settings.pseudocount)
    if settings.solver == "sem":
        return stochastic_em(settings, len(rows), rows.total_weight, n_epochs)
    return GradientAscent(
        settings.solver,
        settings.pseudocount,
        settings.step_size,
        settings.batch_size_of(len(rows)),
        rows.total_weight,
    )


def stochastic_em(
    settings: Settings, n_rows: int, total_weight: float, n_epochs: int = 0
) -> StochasticEM:
    """Make the solver of stochastic EM for rows of a total weight, after some epochs.

    Raises
    ------
    ValueError
        If the step size is above 1.
    """
    if settings.step_size > 1:
        raise ValueError(f"step_size must be at most 1 for EM, got {settings.step_size}.")
    return StochasticEM(
        settings.pseudocount,
        settings.step_size,
        settings.batch_size_of(n_rows),
        total_weight,
        float(settings.step_decay),
        n_epochs,
    )
