"""The part of a model with joint densities of the numeric columns."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from torch import Tensor

from sklearn_einet.circuit import Circuit
from sklearn_einet.circuit.layers.cp import CPLayer
from sklearn_einet.circuit.leaves.joint_normal import JointGroup, joint_groups
from sklearn_einet.circuit.transforms.mixture import mixture_circuit
from sklearn_einet.estimators.progress import Report
from sklearn_einet.estimators.settings import Settings
from sklearn_einet.families import Constant
from sklearn_einet.learning.joint_start import (
    MIN_STACKING_ROWS,
    Ladder,
    ladder_rows,
    ladder_sizes,
    restacked,
    set_joint_densities,
    stacked_log_likelihood,
)
from sklearn_einet.learning.normal_ladder import MAX_STEPS, stacking_weights
from sklearn_einet.structure import Region, RegionGraph, chow_liu
from sklearn_einet.structure.joint_regions import joint_regions, renamed
from sklearn_einet.tables.schema import Schema
from sklearn_einet.tables.split import Split
from sklearn_einet.tables.table import Table

__all__ = [
    "CPU",
    "MAX_AUTO_COLUMNS",
    "JointStart",
    "has_joint_part",
    "joined",
    "joint_columns",
    "joint_graph",
    "learns_jointly",
    "some_rows",
    "unseen_log_likelihood",
]

# The most columns that "auto" models jointly: covariances grow with their square.
MAX_AUTO_COLUMNS = 256

# Most partitions of the root with joint densities if replicas is None; more of them are possible
# from so many rows and columns on.
MAX_AUTO_PARTITIONS = 4
MANY_ROWS, MANY_COLUMNS, MAX_PARTITIONS_OF_MANY = 9_000, 4, 16

# Most rows that the mixtures of normal densities are learned from, and that decide about them.
MAX_ROWS, MAX_HELD_OUT = 20_000, 5_000

# The same for detectors, whose densities should be smooth; and steps of EM for each mixture.
MAX_ROWS_OF_DETECTOR, STEPS_OF_DETECTOR = 5_000, 10

# Most rows that maps of columns are judged by.
MAX_COMPARED = 3_000

CPU = torch.device("cpu")

# Columns with joint densities: the largest floor of their variance because of ties, as a share of
# it, and the least share of their cells that are not atoms.
MOST_TIES, LEAST_NUMBERS = 0.01, 0.5

# Most rows that a tree of the other columns is learned from.
MAX_ROWS_OF_TREE = 50_000

# Prior rows of the joint densities and of the other part, for their shares: if held-out rows do not
# decide, the simpler part gets nearly all.
PARTS_ROWS = 5.0, 0.05


def joint_columns(settings: Settings, schema: Schema) -> np.ndarray:
    """Return the columns that can have joint densities.

    These are numeric columns with numbers other than atoms in most rows, and without many ties, on
    which densities would become ever narrower peaks, unless all densities are smoothed later.
    """
    has_peaks = not settings.bandwidth
    groups = [
        group.columns[group.least_variance <= MOST_TIES]
        if has_peaks and group.least_variance is not None
        else group.columns
        for group in schema.leaf_columns
        if group.can_be_joint
    ]
    columns = np.sort(np.concatenate([np.empty(0, dtype=np.int64), *groups]))
    forms = schema.states.forms
    rare = [c for c in schema.states.split if forms[c].number_share < LEAST_NUMBERS]
    return columns[~np.isin(columns, rare)]


def has_joint_part(settings: Settings, schema: Schema) -> bool:
    """Return whether structure="auto" has joint densities of the numeric columns."""
    n_columns = len(joint_columns(settings, schema))
    is_possible = settings.solver == "sem" and settings.layer == "cp"
    is_asked = settings.structure == "auto"
    return is_asked and is_possible and 2 <= n_columns <= MAX_AUTO_COLUMNS


def learns_jointly(settings: Settings, schema: Schema) -> bool:
    """Return whether the numeric columns have joint densities."""
    is_asked = settings.structure == "joint-normal" and len(joint_columns(settings, schema)) > 0
    return is_asked or has_joint_part(settings, schema)


def joint_graph(
    settings: Settings,
    schema: Schema,
    table: Table,
    split: Split,
    random_state: np.random.RandomState,
) -> RegionGraph:
    """Return the structure of joint densities of the numeric columns, beside a learned tree of the
    other columns."""
    joint = joint_columns(settings, schema)
    numbers = [g for g in schema.leaf_columns if g.can_be_joint or isinstance(g.family, Constant)]
    if not len(joint) and (numbers or schema.states.complete):
        # Columns with few numbers each, such as the columns of a single row.
        region = _others(schema, joint, table, split, random_state)
        assert region is not None
        return RegionGraph(region)
    if not len(joint):
        raise ValueError(
            "structure='joint-normal' needs columns of numbers with the leaf family 'normal' and "
            "without variance_bounds, but X has none. Choose another structure, such as 'auto'."
        )
    n_rows = len(table) if split.train is None else len(split.train)
    sizes = _sizes(settings, n_rows, len(joint))
    n_units = settings.K if sizes is None else sum(sizes) + 1
    replicas = -(-n_units // settings.K)
    region = _others(schema, joint, table, split, random_state)
    return joint_regions(schema.states.n_features, joint.tolist(), replicas, region)


def _sizes(settings: Settings, n_rows: int, n_columns: int) -> list[int] | None:
    """Return the sizes of the mixtures of normal densities; None: a single one of size K."""
    if settings.joint_replicas == 1:
        return None
    is_large = n_rows >= MANY_ROWS and n_columns >= MANY_COLUMNS
    most = MAX_PARTITIONS_OF_MANY if is_large else MAX_AUTO_PARTITIONS
    n_densities = settings.K * (settings.joint_replicas or most)
    if settings.has_auto_K and settings.joint_replicas is None:
        n_densities = most * CPLayer.auto_K  # also where K is larger, of large tables
    return ladder_sizes(n_densities, n_rows, n_columns)


def _others(
    schema: Schema,
    joint: np.ndarray,
    table: Table,
    split: Split,
    random_state: np.random.RandomState,
) -> Region | None:
    """Return the region of the columns that are not joint, and of the states of joint columns: a
    tree learned from both."""
    columns = np.setdiff1d(np.arange(len(schema.names)), joint)
    split_off = [column for column in schema.states.split if column in joint]
    gaps = [column for column in schema.states.gaps if column in joint]
    if not len(columns) and not split_off and not gaps:
        return None
    X, weight = table.training_sample(split, random_state)
    some = np.arange(len(X)) if weight is None else np.flatnonzero(weight)
    if len(some) > MAX_ROWS_OF_TREE:
        some = np.sort(random_state.choice(some, MAX_ROWS_OF_TREE, replace=False))
    own_weight = None if weight is None else weight[some]
    rows = np.asarray(X[some], dtype=np.float64)
    coded = [schema.states.codes(rows[:, column], column) for column in split_off]
    coded += [(np.isnan(rows[:, column]).astype(np.float64), 2) for column in gaps]
    n_states = np.array(
        [*schema.compared_states()[columns], *(n for _, n in coded)], dtype=np.int64
    )
    graph = chow_liu(
        np.column_stack([rows[:, columns], *(codes for codes, _ in coded)]),
        n_states,
        random_state=random_state,
        weight=own_weight,
        mixed_leaves=np.array([*schema.is_mixed()[columns], *(False for _ in coded)]),
    )
    states = [[schema.states.state_of(column)] for column in split_off]
    states += [schema.states.gap_of(column) for column in gaps]
    return renamed(graph.root, [*schema.states.scopes(columns.tolist()), *states])


@dataclass(frozen=True)
class JointStart:
    """The initial circuit of joint densities, and the weights of its mixtures.

    Attributes
    ----------
    circuit : Circuit
    ladder : Ladder
    """

    circuit: Circuit
    ladder: Ladder

    @classmethod
    def of(
        cls,
        settings: Settings,
        schema: Schema,
        circuit: Circuit,
        table: Table,
        split: Split,
        random_state: np.random.RandomState,
    ) -> JointStart:
        """Set the joint densities of a circuit, learned from training rows.

        This is done on the CPU, because steps for rows with missing cells read many numbers back.
        """
        group = circuit.joint_groups[0].to(CPU)
        some = partial(some_rows, table, schema, CPU, random_state)
        most = MAX_ROWS_OF_DETECTOR if settings.is_detector else MAX_ROWS
        train = ladder_rows(group, *some(split.train, most))
        prior = settings.covariance_shrinkage, settings.covariance_floor
        sizes = _sizes(settings, len(train.weight), len(group.columns))
        told = _reported(settings.report, sizes or [settings.K], len(train.weight))
        if sizes is None:
            steps = STEPS_OF_DETECTOR if settings.is_detector else MAX_STEPS
            ladder = Ladder.flat(train, settings.K, *prior, steps, told)
        else:
            held_out = None
            if split.held_out is not None:
                held_out = ladder_rows(group, *some(split.held_out, MAX_HELD_OUT))
            ladder = Ladder.fit(train, sizes, *prior, held_out, random_state, told)
        set_joint_densities(circuit, ladder)
        return cls(circuit, ladder)

    @property
    def group(self) -> JointGroup:
        """The joint densities."""
        return self.circuit.joint_groups[0]

    def restored(self, circuit: Circuit) -> Circuit:
        """Return a trained circuit with the original shares of the mixtures."""
        return restacked(circuit, self.ladder)


def _reported(report: Report, sizes: list[int], n_rows: int) -> Callable[[int], None]:
    """Say which mixtures are to be learned, and return what to do after each of them."""
    which = "a mixture" if len(sizes) == 1 else "mixtures"
    listed = ", ".join(map(str, sizes))
    report.say(f"learning {which} of {listed} normal distributions from {n_rows} rows")
    return lambda size: report.say_rarely(f"learned a mixture of {size} normal distributions")


def unseen_log_likelihood(
    settings: Settings, schema: Schema, table: Table, split: Split, seed: int
) -> float:
    """Return how likely unseen rows are under joint densities of the numeric columns.

    This is the mean log-density in nats, per unit of the columns, up to a term that does not depend
    on maps. It can be compared between schemas with different maps.
    """
    random_state = np.random.RandomState(seed)
    columns = joint_columns(settings, schema)
    (group,) = joint_groups(schema.leaf_columns, [Region(columns, joint=True)], 1, CPU)
    unseen = _chosen(table, random_state, split.train, MAX_COMPARED)
    train, held_out = ladder_rows(group, *_read(table, schema, CPU, unseen)), None
    if split.held_out is not None:
        more = _chosen(table, random_state, split.held_out, MAX_COMPARED)
        if len(more) >= MIN_STACKING_ROWS:
            unseen, held_out = more, ladder_rows(group, *_read(table, schema, CPU, more))
    K = CPLayer.auto_K if settings.has_auto_K else settings.K
    sizes = ladder_sizes(MAX_AUTO_PARTITIONS * K, len(train.weight), len(group.columns))
    prior = settings.covariance_shrinkage, settings.covariance_floor
    told = _reported(settings.report, sizes, len(train.weight))
    found = stacked_log_likelihood(train, sizes, *prior, held_out, random_state, told)
    rows, where = table.in_memory(unseen)
    X = rows[where].astype(np.float64)
    slopes = schema.log_jacobian(X) + schema.log_axis_slopes(X)
    weight = None if table.weight is None else table.weight[unseen]
    return found + float(np.average(slopes, weights=weight))


def some_rows(
    table: Table,
    schema: Schema,
    device: torch.device,
    random_state: np.random.RandomState,
    which: np.ndarray | None,
    most: int,
) -> tuple[Tensor, Tensor | None]:
    """Return some of the rows (None: of all) as columns, (n_features, batch), and their weights."""
    return _read(table, schema, device, _chosen(table, random_state, which, most))


def _read(
    table: Table, schema: Schema, device: torch.device, which: np.ndarray
) -> tuple[Tensor, Tensor | None]:
    """Return rows as columns, (n_features, batch), and their weights."""
    # There are no minibatches, so their order does not matter.
    rows = table.rows(schema.encode_for_fit, device, np.random.RandomState(0), which)
    x, weight = rows.select(slice(None))
    return x.T.contiguous(), weight


def _chosen(
    table: Table, random_state: np.random.RandomState, which: np.ndarray | None, most: int
) -> np.ndarray:
    """Return the numbers of some rows with weight (which=None: of all), in ascending order."""
    which = np.arange(len(table)) if which is None else which
    if table.weight is not None:
        which = which[table.weight[which] > 0]
    most = min(most, table.most_scattered_rows)
    if len(which) > most:
        which = np.sort(random_state.choice(which, most, replace=False))
    return which


def joined(
    joint: Circuit, other: Circuit, schema: Schema, table: Table, held_out: np.ndarray | None
) -> Circuit:
    """Return the mixture of both parts of a model, with shares from held-out rows."""
    prior = torch.tensor(PARTS_ROWS, dtype=torch.float64)
    shares = prior / prior.sum()
    if held_out is not None:
        random_state = np.random.RandomState(0)
        x, weight = some_rows(table, schema, joint.device, random_state, held_out, MAX_HELD_OUT)
        with torch.no_grad():
            values = torch.stack([part.log_prob(x.T) for part in (joint, other)])
        possible = torch.isfinite(values).any(0)
        own = torch.ones_like(values[0]) if weight is None else weight.to(values.dtype)
        if bool(possible.any()):
            values, own = values[:, possible].double(), own[possible].double()
            shares = stacking_weights(values.cpu(), own.cpu(), prior)
    return mixture_circuit([joint, other], shares.cpu().numpy())
