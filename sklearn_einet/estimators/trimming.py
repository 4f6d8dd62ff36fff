"""Learning from the most typical rows only, for data with outliers in it."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

import numpy as np

from sklearn_einet.circuit import Circuit
from sklearn_einet.circuit.block_rows import slices
from sklearn_einet.circuit.transforms.copying import restructured
from sklearn_einet.circuit.transforms.mixture import mixture_circuit
from sklearn_einet.estimators.settings import Settings
from sklearn_einet.families import Normal
from sklearn_einet.model.score_distribution import threshold
from sklearn_einet.model.table_density import TableDensity
from sklearn_einet.structure import Partition, Region, RegionGraph
from sklearn_einet.tables.split import Split
from sklearn_einet.tables.table import CELLS_AT_A_TIME, Table

__all__ = ["coarse_rows", "coarse_settings", "typical_weight", "with_partitions", "with_tail"]

# Rows that a coarse model of a larger table is learned from.
MAX_COARSE_ROWS = 2000

# Standard deviations of the tail, in those of the columns.
TAIL_SPREAD = 3.0


def coarse_settings(settings: Settings) -> Settings:
    """Return settings of a model that is too coarse to have densities for groups of outliers."""
    is_image = settings.structure == "poon-domingos"
    return replace(
        settings,
        K=4,
        replicas=1,
        depth=None,
        structure="poon-domingos" if is_image else "chow-liu",
        layer="tucker" if is_image else "cp",
        min_variance=0.1,
        pseudocount=10.0,
        verbose=0,
        max_iter=None if settings.solver == "sem" else settings.max_iter,
    )


def coarse_rows(
    settings: Settings, table: Table, split: Split, random_state: np.random.RandomState
) -> tuple[Table, Split]:
    """Return the rows that a coarse model learns from, and their split.

    A coarse model has few parameters, so that some thousand rows tell them. They do if they have
    observed all columns that have been observed at all.
    """
    train = np.arange(len(table)) if split.train is None else split.train
    if settings.solver != "sem" or len(train) <= MAX_COARSE_ROWS:
        return table, split
    drawn = np.sort(random_state.choice(train, MAX_COARSE_ROWS, replace=False))
    is_drawn = np.zeros(len(table), dtype=bool)
    is_drawn[drawn] = True
    ever, in_drawn = np.any(table.by_block(_observed_columns, is_drawn), axis=0)
    return (table, split) if (ever & ~in_drawn).any() else (table.selected(drawn), Split())


def typical_weight(coarse: TableDensity, share: float, table: Table) -> np.ndarray:
    """Return weights of the rows, 0 for the share that a coarse model finds least likely.

    Rows stay that are the only ones to have observed some column.

    Parameters
    ----------
    coarse : TableDensity
    share : float
    table : Table
    """
    scores = coarse.comparable_scores(table)
    weight = np.ones(len(table)) if table.weight is None else table.weight
    kept = scores >= threshold(scores, weight, share)
    observed, observed_in_kept = np.any(table.by_block(_observed_columns, kept), axis=0)
    lost = observed & ~observed_in_kept
    if lost.any():
        kept |= np.concatenate(table.by_block(partial(_observes, lost)))
    return np.where(kept, weight, 0.0)


def _observed_columns(X: np.ndarray, kept: np.ndarray) -> np.ndarray:
    """Return which columns have observed cells in all rows and in those kept, (2, n_features)."""
    ever, still = result = np.zeros((2, X.shape[1]), dtype=bool)
    for rows in slices(len(X), max(1, CELLS_AT_A_TIME // X.shape[1])):
        observed = ~np.isnan(X[rows])
        ever |= observed.any(axis=0)
        still |= observed[kept[rows]].any(axis=0)
    return result


def _observes(columns: np.ndarray, X: np.ndarray) -> np.ndarray:
    """Return which rows have an observed cell in some columns."""
    result = np.zeros(len(X), dtype=bool)
    for rows in slices(len(X), max(1, CELLS_AT_A_TIME // X.shape[1])):
        result[rows] = ~np.isnan(X[rows][:, columns]).all(axis=1)
    return result


def with_tail(circuit: Circuit, share: float) -> Circuit:
    """Return the mixture of a circuit and a wide density of independent columns.

    Rows that are unlike those that the circuit has learned from are thus told apart by how far out
    they are.

    Parameters
    ----------
    circuit : Circuit
        With a root that has partitions.
    share : float
        Between 0 and 1.
    """
    leaf = RegionGraph(Region(range(circuit.region_graph.n_features)))
    tail = restructured(circuit, with_partitions(leaf))
    for group in tail.leaf_groups:
        if isinstance(group.family, Normal):
            mean = group.phi[:, :, :1]
            spread = group.phi[:, :, 1:] - mean**2
            group.phi[:, :, 1:] = mean**2 + TAIL_SPREAD**2 * spread
    return mixture_circuit([circuit, tail], np.array([1 - share, share]))


def with_partitions(graph: RegionGraph) -> RegionGraph:
    """Return the graph; a lone leaf region gets a root with it as a child, beside a constant 1."""
    if not graph.root.is_leaf:
        return graph
    scope = graph.root.scope
    return RegionGraph(Region(scope, [Partition([graph.root, Region(())])]))
