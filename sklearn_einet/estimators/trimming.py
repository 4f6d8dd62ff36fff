"""Learning from the most typical rows only, for tables with outliers."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial

import numpy as np
import torch

from sklearn_einet.circuit import Circuit
from sklearn_einet.circuit.block_rows import slices
from sklearn_einet.circuit.leaves.joint_normal import JointGroup, joint_groups
from sklearn_einet.circuit.transforms.copying import restructured
from sklearn_einet.circuit.transforms.mixture import mixture_circuit
from sklearn_einet.estimators.joint_part import CPU, MAX_AUTO_COLUMNS, joint_columns, some_rows
from sklearn_einet.estimators.settings import Settings, auto_layer
from sklearn_einet.families import Normal
from sklearn_einet.learning.joint_start import ladder_rows
from sklearn_einet.learning.robust_normal import RobustNormal
from sklearn_einet.model.score_distribution import threshold
from sklearn_einet.structure import Partition, Region, RegionGraph
from sklearn_einet.structure.image_regions import IMAGE_STRUCTURES
from sklearn_einet.tables.schema import Schema
from sklearn_einet.tables.split import Split
from sklearn_einet.tables.table import CELLS_AT_A_TIME, Table

__all__ = [
    "CORE_TRIM",
    "LATER_TRIM",
    "MAX_ROBUST_ROWS",
    "OUTER_BANDWIDTH",
    "OUTER_TRIM",
    "coarse_rows",
    "coarse_settings",
    "has_robust_normal",
    "robust_scores",
    "typical_weight",
    "with_core",
    "with_partitions",
    "with_tail",
]

# trim="auto": shares of the rows left out of the core and of the outer density; the outer density's
# share of the mixture, and its bandwidth relative to the core's: in many columns, a close group of
# outliers could be denser than the core.
CORE_TRIM, OUTER_TRIM, OUTER_SHARE, OUTER_BANDWIDTH = 0.3, 0.02, 0.01, 2.0

# trim="auto": the share of the rows left out of a fit that continues from a model, by its scores. A
# larger share would make the model narrower with every fit.
LATER_TRIM = 0.1

# Rows that a robust normal density is learned from.
MAX_ROBUST_ROWS = 5000

# Rows that a coarse model of a larger table is learned from.
MAX_COARSE_ROWS = 2000

# Standard deviations of the tail, in those of the columns.
TAIL_SPREAD = 3.0


def coarse_settings(settings: Settings) -> Settings:
    """Return the settings of a model that is too coarse to describe groups of outliers."""
    structure = settings.structure if settings.structure in IMAGE_STRUCTURES else "chow-liu"
    return replace(
        settings,
        K=4,
        replicas=1,
        depth=None,
        structure=structure,
        layer=auto_layer(structure),
        min_variance=0.1,
        pseudocount=10.0,
        max_iter=None if settings.solver == "sem" else settings.max_iter,
    )


def coarse_rows(
    settings: Settings,
    table: Table,
    split: Split,
    random_state: np.random.RandomState,
    most: int | None = None,
) -> tuple[Table, Split]:
    """Return the rows that a coarse model learns from, and their split.

    A coarse model has few parameters, so a few thousand rows are enough, provided that each column
    with observed cells has some among these rows.
    """
    most = MAX_COARSE_ROWS if most is None else most
    train = np.arange(len(table)) if split.train is None else split.train
    if settings.solver != "sem" or len(train) <= most:
        return table, split
    drawn = np.sort(random_state.choice(train, most, replace=False))
    is_drawn = np.zeros(len(table), dtype=bool)
    is_drawn[drawn] = True
    ever, in_drawn = np.any(table.by_block(_observed_columns, is_drawn), axis=0)
    return (table, split) if (ever & ~in_drawn).any() else (table.selected(drawn), Split())


def has_robust_normal(settings: Settings, schema: Schema) -> bool:
    """Return whether to measure how typical rows are by a normal density of the numeric columns:
    if at least half of the columns are numeric."""
    n_joint = len(joint_columns(settings, schema))
    return 2 <= n_joint <= MAX_AUTO_COLUMNS and 2 * n_joint >= len(schema.names)


@dataclass(frozen=True)
class RobustScores:
    """How typical the rows of a block are under a robust normal density."""

    schema: Schema
    group: JointGroup
    robust: RobustNormal

    def __call__(self, X: np.ndarray) -> np.ndarray:
        """Return the typicality of each row, (n_samples,)."""
        result = np.empty(len(X))
        for rows in slices(len(X), max(1, CELLS_AT_A_TIME // X.shape[1])):
            encoded = torch.from_numpy(self.schema.encode_for_fit(np.asarray(X[rows], np.float64)))
            result[rows] = self.robust.typicality(self.group.axis(encoded.T))
        return result


def robust_scores(
    settings: Settings, schema: Schema, table: Table, some: Table, train: np.ndarray | None
) -> np.ndarray:
    """Return how typical the rows of a table are under a normal density.

    It is fitted to the most typical half of some rows, or of those among them to train on.
    """
    region = Region(joint_columns(settings, schema), joint=True)
    (group,) = joint_groups(schema.leaf_columns, [region], 1, CPU)
    rows = some_rows(some, schema, CPU, np.random.RandomState(0), train, MAX_ROBUST_ROWS)
    score = RobustScores(schema, group, RobustNormal.fit(ladder_rows(group, *rows)))
    return np.concatenate(table.by_block(score))


def typical_weight(scores: np.ndarray, share: float, table: Table) -> np.ndarray:
    """Return weights of the rows, 0 for the share of rows with the lowest scores.

    Rows are kept if no other rows have observed cells in some column.

    Parameters
    ----------
    scores : ndarray of shape (n_samples,)
    share : float
    table : Table
    """
    weight = np.ones(len(table)) if table.weight is None else table.weight
    kept = scores >= threshold(scores, weight, share)
    observed, observed_in_kept = np.any(table.by_block(_observed_columns, kept), axis=0)
    lost = observed & ~observed_in_kept
    if lost.any():
        kept |= np.concatenate(table.by_block(partial(_observes, lost)))
    return np.where(kept, weight, 0.0)


def _observed_columns(X: np.ndarray, kept: np.ndarray) -> np.ndarray:
    """Return which columns have observed cells: among all rows, and among kept ones, (2, d)."""
    ever, still = result = np.zeros((2, X.shape[1]), dtype=bool)
    for rows in slices(len(X), max(1, CELLS_AT_A_TIME // X.shape[1])):
        observed = ~np.isnan(X[rows])
        ever |= observed.any(axis=0)
        still |= observed[kept[rows]].any(axis=0)
    return result


def _observes(columns: np.ndarray, X: np.ndarray) -> np.ndarray:
    """Return which rows have an observed cell in any of some columns."""
    result = np.zeros(len(X), dtype=bool)
    for rows in slices(len(X), max(1, CELLS_AT_A_TIME // X.shape[1])):
        result[rows] = ~np.isnan(X[rows][:, columns]).all(axis=1)
    return result


def with_tail(circuit: Circuit, share: float) -> Circuit:
    """Return the mixture of a circuit and a wide density of independent columns.

    It ranks rows unlike those that the circuit has learned from by how far out they are.

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


def with_core(core: Circuit, outer: Circuit) -> Circuit:
    """Return the mixture of the density of typical rows and that of nearly all rows."""
    return mixture_circuit([core, outer], np.array([1 - OUTER_SHARE, OUTER_SHARE]))


def with_partitions(graph: RegionGraph) -> RegionGraph:
    """Return the graph; a single leaf region becomes the child of a root, beside a constant 1."""
    if not graph.root.is_leaf:
        return graph
    scope = graph.root.scope
    return RegionGraph(Region(scope, [Partition([graph.root, Region(())])]))
