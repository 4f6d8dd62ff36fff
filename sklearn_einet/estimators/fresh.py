"""The fit of a model from rows alone: from all rows, or from the typical ones."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from sklearn_einet.circuit import Circuit
from sklearn_einet.estimators.joint_part import has_joint_part, joint_columns
from sklearn_einet.estimators.recipe import new_region_graph, new_schema, said_of, split_rows
from sklearn_einet.estimators.settings import Settings
from sklearn_einet.estimators.training import Start, Training, begun
from sklearn_einet.estimators.trimming import (
    CORE_TRIM,
    MAX_ROBUST_ROWS,
    OUTER_TRIM,
    coarse_rows,
    coarse_settings,
    has_robust_normal,
    robust_scores,
    typical_weight,
    with_partitions,
)
from sklearn_einet.structure import RegionGraph
from sklearn_einet.structure.joint_regions import renamed
from sklearn_einet.tables.encoding import Encoding
from sklearn_einet.tables.split import Split
from sklearn_einet.tables.table import Table

__all__ = ["fresh_training"]


def fresh_training(
    settings: Settings,
    table: Table,
    encoding: Encoding,
    names: list[Any],
    random_state: np.random.RandomState,
) -> Training:
    """Choose families, structure and initial parameters; with trim, from the remaining rows."""
    settings = settings.of_table(*table.shape)
    split = split_rows(settings, len(table), random_state)
    settings.report.say(said_of(settings, table, split))
    kept, own = table, split
    if settings.trim:
        scores = _typicality(settings, table, encoding, names, split, random_state)
        weight = typical_weight(scores, settings.trimmed_share(OUTER_TRIM), table)
        kept, own = table.weighted(weight), split.with_weight(weight)
    # From the remaining rows: values of the others may not occur any more.
    schema = new_schema(settings, kept, encoding, names, random_state, own)
    n_joint = len(joint_columns(settings, schema)) if has_joint_part(settings, schema) else 0
    settings = settings.of_detector(n_joint, len(kept if own.train is None else own.train))
    graph = new_region_graph(settings, schema, kept, own, random_state)
    computed = with_partitions(graph) if settings.trim else graph
    start = begun(settings, schema, encoding, computed, kept, own, random_state)
    start = replace(start, graph=graph)
    if isinstance(settings.trim, str):
        weight = typical_weight(scores, CORE_TRIM, table)
        rows = table.weighted(weight), split.with_weight(weight)
        start = replace(start, core=_core(settings, start, *rows, random_state))
    elif settings.trim:
        start = replace(start, tail=settings.trim)
    return Training(settings, start, table, random_state, split.held_out)


def _core(
    settings: Settings,
    start: Start,
    table: Table,
    split: Split,
    random_state: np.random.RandomState,
) -> Circuit:
    """Return the density of the most typical rows, learned like that of the other rows."""
    settings = replace(settings, report=settings.report.of_part("typical rows"))
    seed = random_state.randint(2**31)
    columns = [[feature] for feature in range(start.graph.n_features)]
    root = with_partitions(RegionGraph(renamed(start.graph.root, columns)))  # regions of its own
    training = Training.of_part(settings, start.schema, start.encoding, root, table, split, seed)
    return training.run().circuit


def _typicality(
    settings: Settings,
    table: Table,
    encoding: Encoding,
    names: list[Any],
    split: Split,
    random_state: np.random.RandomState,
) -> np.ndarray:
    """Return how typical the rows are under a robust or a coarse model; higher is more typical."""
    settings = replace(settings, report=settings.report.of_part("trimming"))
    some, own = coarse_rows(settings, table, split, random_state, MAX_ROBUST_ROWS)
    plain = replace(settings, numeric_transform=None)
    schema = new_schema(plain, some, encoding, names, random_state)
    if has_robust_normal(settings, schema):
        with settings.report.timed("scoring all rows by a robust normal distribution"):
            return robust_scores(settings, schema, table, some, own.train)
    coarse = coarse_settings(settings)
    some, split = coarse_rows(settings, table, split, random_state)
    schema = new_schema(settings, some, encoding, names, random_state, split)
    seed = random_state.randint(2**31)
    graph = new_region_graph(coarse, schema, some, split, random_state)
    training = Training.of_part(coarse, schema, encoding, graph, some, split, seed)
    density = training.learned(training.run())["table_density_"]
    with settings.report.timed("scoring all rows"):
        return replace(density, schema=schema.on_axes()).comparable_scores(table)
