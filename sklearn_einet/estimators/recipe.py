"""From an estimator's parameters to a circuit, a solver and rows; and back to log-densities."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from sklearn_einet.circuit import Circuit
from sklearn_einet.families import Normal
from sklearn_einet.learning import (
    FullEM,
    GradientAscent,
    Solver,
    StochasticEM,
    initialize,
    rows_to_look_at,
)
from sklearn_einet.structure import RegionGraph, chow_liu, poon_domingos, random_binary_trees
from sklearn_einet.tables.column_warnings import warn_of_far_values, warn_of_unseen_values
from sklearn_einet.tables.columns import rows_with_weight
from sklearn_einet.tables.rows import Rows
from sklearn_einet.tables.schema import Schema
from sklearn_einet.tables.stored import StoredTable
from sklearn_einet.tables.table import rows_of

__all__ = [
    "batch_size_of",
    "continued_circuit",
    "make_solver",
    "new_circuit",
    "new_region_graph",
    "new_schema",
    "pseudocount_of",
    "resolve_device",
    "split_rows",
    "stochastic_em",
    "training_rows",
]

# Deepest split that depth=None makes.
MAX_AUTO_DEPTH = 4

# Number of trees that replicas=None makes, by structure, and of densities of every region that
# K=None gives, by layer. Both layers cost about the same then: 10**3 is nearly 32**2.
AUTO_REPLICAS = {"binary-trees": 10, "chow-liu": 1}
AUTO_K = {"tucker": 10, "cp": 32}

# The first step of stochastic EM, and the learning rate of the gradient methods, of "auto".
AUTO_STEP_SIZE = {"sem": 0.3, "adam": 0.05, "sgd": 0.05}

# Variances of min_variance="auto": inversely proportional to the number of rows, within bounds.
ROWS_OF_A_NORMAL = 20
AUTO_MIN_VARIANCE = (1e-3, 0.1)

# What pseudocount="auto" is; more smoothing where outliers may be left among the rows.
AUTO_PSEUDOCOUNT, TRIMMED_PSEUDOCOUNT = 0.01, 1.0

# Rows up to which full EM reads its initial parameters off all of them.
MAX_ROWS_OF_EXACT_START = 5000

# How many cells of a stored table a structure is learned from, and how many rows in any case; and
# how many cells initial parameters are read off.
CELLS_OF_STRUCTURE, MIN_ROWS_OF_STRUCTURE = 2**24, 2000
CELLS_OF_START = 2**21

# Least number of rows of which early_stopping="auto" holds some out.
MIN_ROWS_TO_HOLD_OUT = 50


def new_schema(
    estimator: Any,
    X: np.ndarray,
    weight: np.ndarray | None,
    random_state: np.random.RandomState,
) -> Schema:
    """Families and units read off the rows."""
    columns = getattr(estimator, "feature_names_in_", range(X.shape[1]))
    schema = Schema.fit(
        X,
        weight,
        estimator.leaf,
        list(columns),
        estimator._encoding,
        random_state,
        variance_bounds=estimator.variance_bounds,
        handle_unknown=estimator.handle_unknown,
    )
    warn_of_far_values(schema)
    return schema


def new_circuit(
    estimator: Any,
    schema: Schema,
    graph: RegionGraph,
    X: np.ndarray,
    weight: np.ndarray | None,
    random_state: np.random.RandomState,
) -> Circuit:
    """A circuit with initial parameters, which are read off the rows."""
    device = resolve_device(estimator.device, required=True)
    circuit = Circuit(
        graph,
        schema.leaf_columns,
        _n_entries(estimator),
        layer=_layer(estimator),
        min_variance=_min_variance(estimator, len(X) if weight is None else weight.sum()),
        dtype=_training_dtype(estimator),
        device=device,
    )
    n_rows = rows_to_look_at(circuit)
    if estimator.solver == "em":
        # Only from all rows is the start the same for weighted and for repeated ones.
        n_rows = max(n_rows, MAX_ROWS_OF_EXACT_START)
    if isinstance(X, StoredTable):
        n_rows = min(n_rows, max(MAX_ROWS_OF_EXACT_START, CELLS_OF_START // X.shape[1]))
    some = rows_with_weight(weight)
    n_usable = len(X) if some is None else len(some)
    if n_usable > n_rows:
        chosen = random_state.choice(n_usable, n_rows, replace=False)
        some = chosen if some is None else some[chosen]
    rows = rows_of(X, schema.encode, weight, device, random_state, some)
    initialize(circuit, *rows.select(slice(None)), random_state)
    return circuit


def new_region_graph(
    estimator: Any,
    schema: Schema,
    X: np.ndarray,
    weight: np.ndarray | None,
    parts: tuple[np.ndarray | None, np.ndarray | None],
    random_state: np.random.RandomState,
) -> RegionGraph:
    """What the parameter structure asks for. Learned structures look at the training rows, with
    `parts` as from `split_rows`."""
    n_features = len(schema.names)
    if estimator.structure == "poon-domingos":
        for parameter in ("image_shape", "delta"):
            if getattr(estimator, parameter) is None:
                raise ValueError(f"structure='poon-domingos' needs {parameter}.")
        graph = poon_domingos(estimator.image_shape, estimator.delta, estimator.split_axes)
        if graph.n_features != n_features:
            raise ValueError(
                f"image_shape={estimator.image_shape!r} has {graph.n_features} features, X has "
                f"{n_features}."
            )
        return graph
    replicas = estimator.replicas
    if replicas is None:
        replicas = AUTO_REPLICAS[estimator.structure]
    if estimator.structure == "chow-liu":
        if isinstance(X, StoredTable):
            X, weight, parts = _some_in_memory(X, weight, parts, random_state)
        _, held_out = parts
        if held_out is not None:
            weight = np.ones(len(X)) if weight is None else weight.copy()
            weight[held_out] = 0
        n_states = schema.n_states()
        # A mixture of distributions over states is one itself; one of numeric densities is more.
        return chow_liu(
            X,
            n_states,
            replicas,
            random_state=random_state,
            weight=weight,
            mixed_leaves=n_states == 0,
        )
    depth = estimator.depth
    if depth is None:
        depth = min(n_features.bit_length() - 1, MAX_AUTO_DEPTH)
    return random_binary_trees(n_features, depth, replicas, random_state)


def _some_in_memory(
    X: StoredTable,
    weight: np.ndarray | None,
    parts: tuple[np.ndarray | None, np.ndarray | None],
    random_state: np.random.RandomState,
) -> tuple[np.ndarray, np.ndarray | None, tuple[np.ndarray | None, np.ndarray | None]]:
    """All rows of a small table, and of a large one training rows chosen at random.

    A structure looks at them column by column, for which they would have to be read many times.
    """
    n_rows = max(MIN_ROWS_OF_STRUCTURE, CELLS_OF_STRUCTURE // X.shape[1])
    training, _ = parts
    if n_rows >= len(X):
        return X[:], weight, parts
    n_training = len(X) if training is None else len(training)
    chosen = random_state.choice(n_training, min(n_rows, n_training), replace=False)
    chosen = np.sort(chosen if training is None else training[chosen])
    return X[chosen], None if weight is None else weight[chosen], (None, None)


def _layer(estimator: Any) -> str:
    """The kind of layer that the parameters ask for."""
    if estimator.layer == "auto":
        return "tucker" if estimator.structure == "poon-domingos" else "cp"
    return str(estimator.layer)


def _n_entries(estimator: Any) -> int:
    """The number of densities of every region that the parameters ask for."""
    return AUTO_K[_layer(estimator)] if estimator.K is None else int(estimator.K)


def continued_circuit(estimator: Any, X: np.ndarray) -> tuple[Schema, Circuit]:
    """The fitted families and circuit, ready to learn from more rows."""
    device = resolve_device(estimator.device, required=True)
    fitted = estimator.circuit_
    for name, asked in {"layer": _layer(estimator), "K": _n_entries(estimator)}.items():
        if getattr(fitted, name) != asked:
            raise ValueError(
                f"The fitted model has {name}={getattr(fitted, name)!r} and cannot go on with "
                f"{name}={asked!r}: fit anew with warm_start=False."
            )
    bounds = estimator.variance_bounds
    families = [group.family for group in fitted.leaf_groups]
    if bounds is not None and Normal(bounds) not in families:
        raise ValueError(
            f"The fitted model has other variance_bounds than {bounds} and cannot go on with "
            "these: fit anew with warm_start=False."
        )
    estimator._schema.check(X)
    warn_of_unseen_values(estimator._schema, X)
    circuit = fitted.to(device, _training_dtype(estimator))
    if estimator.min_variance != "auto":
        for group in circuit.leaf_groups:
            group.min_variance = estimator.min_variance
    return estimator._schema, circuit


def _min_variance(estimator: Any, n_rows: float) -> float:
    """The least variance of normal densities that the parameters ask for."""
    if isinstance(estimator.min_variance, str):
        return float(np.clip(ROWS_OF_A_NORMAL / n_rows, *AUTO_MIN_VARIANCE))
    return float(estimator.min_variance)


def pseudocount_of(estimator: Any) -> float:
    """The mass of the priors that the parameters ask for."""
    if isinstance(estimator.pseudocount, str):
        return TRIMMED_PSEUDOCOUNT if getattr(estimator, "trim", 0) else AUTO_PSEUDOCOUNT
    return float(estimator.pseudocount)


def _training_dtype(estimator: Any) -> torch.dtype:
    if estimator.dtype == "auto":
        return torch.float64 if estimator.solver == "em" else torch.float32
    return {"float32": torch.float32, "float64": torch.float64}[estimator.dtype]


def split_rows(
    estimator: Any, n_rows: int, random_state: np.random.RandomState
) -> tuple[np.ndarray | None, np.ndarray | None]:
    """Which rows to train on (None: all) and which to hold out for early stopping, if any."""
    hold_out = estimator.early_stopping
    if isinstance(hold_out, str):
        hold_out = estimator.solver != "em" and n_rows >= MIN_ROWS_TO_HOLD_OUT
    if not hold_out:
        return None, None
    n_held_out = int(np.ceil(estimator.validation_fraction * n_rows))
    if n_held_out >= n_rows:
        raise ValueError(
            f"validation_fraction={estimator.validation_fraction} leaves none of "
            f"n_samples={n_rows} for training; set early_stopping=False."
        )
    order = random_state.permutation(n_rows)
    return np.sort(order[n_held_out:]), np.sort(order[:n_held_out])


def training_rows(
    schema: Schema,
    circuit: Circuit,
    X: np.ndarray,
    weight: np.ndarray | None,
    random_state: np.random.RandomState,
    parts: tuple[np.ndarray | None, np.ndarray | None],
) -> tuple[Rows, Rows | None]:
    """The rows to train on and those held out, if any; `parts` as from `split_rows`."""
    training, held_out = parts
    rows = rows_of(X, schema.encode, weight, circuit.device, random_state, training)
    if held_out is None:
        return rows, None
    return rows, rows_of(X, schema.encode, weight, circuit.device, random_state, held_out)


def make_solver(estimator: Any, rows: Rows, n_epochs: int = 0) -> Solver:
    """What the parameter solver asks for, after some epochs already."""
    if estimator.solver == "em":
        return FullEM(pseudocount_of(estimator))
    if estimator.solver == "sem":
        return stochastic_em(estimator, len(rows), rows.total_weight, n_epochs)
    return GradientAscent(
        estimator.solver,
        pseudocount_of(estimator),
        _step_size(estimator, estimator.solver),
        batch_size_of(estimator, len(rows)),
        rows.total_weight,
    )


def stochastic_em(
    estimator: Any, n_rows: int, total_weight: float, n_epochs: int = 0
) -> StochasticEM:
    """Stochastic EM over rows of which `total_weight` has been seen in all, in so many epochs."""
    step_size = _step_size(estimator, "sem")
    if step_size > 1:
        raise ValueError(f"step_size must be 1 at most in EM, got {step_size}.")
    return StochasticEM(
        pseudocount_of(estimator),
        step_size,
        batch_size_of(estimator, n_rows),
        total_weight,
        float(estimator.step_decay),
        n_epochs,
    )


def _step_size(estimator: Any, solver: str) -> float:
    if isinstance(estimator.step_size, str):
        return AUTO_STEP_SIZE[solver]
    return float(estimator.step_size)


def batch_size_of(estimator: Any, n_rows: int) -> int:
    """The number of rows of a mini-batch that the parameters ask for."""
    if isinstance(estimator.batch_size, str):
        # A hundred batches an epoch while they are small; 250 rows suffice until there are a
        # thousand batches.
        smallest = int(np.clip(n_rows // 100, 20, 100))
        return max(smallest, min(n_rows // 160, 250), n_rows // 1000)
    return int(estimator.batch_size)


def resolve_device(device: str | torch.device, required: bool) -> torch.device:
    """Where to compute; the CPU if the device is not required and not there."""
    if device == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        found = torch.device(device)
        torch.empty(0, device=found, dtype=torch.float64)
    except (RuntimeError, AssertionError, TypeError) as error:
        if not required:
            return torch.device("cpu")
        raise ValueError(f"device={device!r} cannot be used: {error}") from error
    return found
