"""Tables and circuits with all kinds of leaves that have compiled loops."""

import numpy as np
import torch

from sklearn_einet.circuit import Circuit, LeafColumns
from sklearn_einet.families import (
    Bernoulli,
    Categorical,
    Constant,
    LogNormal,
    Normal,
    SymlogNormal,
)
from sklearn_einet.structure import Region
from sklearn_einet.structure.joint_regions import joint_regions
from sklearn_einet.structure.tree_regions import tree_regions
from tests.helpers.cells import grid_of
from tests.helpers.circuits import Structure, tree_graph

# Normal columns on the grid of whole numbers, some of whose leaves are narrower than its cells.
GRID = Normal()

KINDS = {
    "normal": (Normal(),) * 4,
    "bounded": (Normal((0.5, 2.0)),) * 4,
    "positive": (LogNormal(),) * 4,
    "far out": (SymlogNormal(2.5), Normal(), SymlogNormal(4.0), LogNormal()),
    "binary": (Bernoulli(),) * 4,
    "states": (Categorical(3), Categorical(70), Categorical(3), Categorical(2)),
    "grid": (GRID,) * 4,
    "mixed": (Normal(), Bernoulli(), Categorical(5), Constant()),
    "grid and others": (Normal(), GRID, Categorical(5), GRID),
}
GRAPHS = [
    Structure(tree_graph(4, 2, 3), "cp"),
    Structure(tree_graph(4, 1, 2), "tucker"),
    Structure(tree_graph(4, 0, 1), "cp"),
    Structure(tree_regions([[-1, 0, 1, 2], [3, 3, 3, -1]]), "cp"),
]


def cells(families, n_rows, gaps, seed=0):
    """Rows in three clusters."""
    rng = np.random.RandomState(seed)
    cluster = rng.randint(3, size=n_rows)
    columns = []
    for family in families:
        if isinstance(family, Normal):
            column = 2 + cluster + 0.5 * rng.randn(n_rows)
            column = np.abs(column) + 0.1 if isinstance(family, LogNormal) else column
            columns.append(column.round() if family is GRID else column)
        elif isinstance(family, Constant):
            columns.append(np.zeros(n_rows))
        else:
            n = 2 if isinstance(family, Bernoulli) else family.n_states
            columns.append((cluster + rng.randint(2, size=n_rows)) * (n // 2) % n)
    X = np.column_stack(columns).astype(np.float64)
    X[rng.rand(*X.shape) < gaps] = np.nan
    return X


def circuit_of(structure, families, X, K=3, dtype=torch.float64, seed=0):
    """A circuit with random parameters, whose leaves' references come from the rows."""
    graph, layer = structure if isinstance(structure, Structure) else (structure, "cp")
    leaves = []
    for i, family in enumerate(families):
        x = torch.tensor(X[:, i][~np.isnan(X[:, i])])
        mean = family.statistics(x).mean(-1).unsqueeze(0).numpy()
        if not isinstance(family, Normal | Constant):
            mean = family.interior(mean, len(x))
        grid = grid_of(1, [1]) if family is GRID else None
        leaves.append(LeafColumns(family, np.array([i]), mean, np.full(1, 0.01), grid))
    circuit = Circuit(graph, leaves, K, layer=layer, min_variance=0.001, dtype=dtype)
    torch_state = torch.Generator().manual_seed(seed)
    for weights, axes in zip(circuit.weights, circuit.summed_axes, strict=True):
        weights.mul_(torch.rand(weights.shape, generator=torch_state, dtype=dtype) + 0.1)
        weights.div_(weights.sum(axes, keepdim=True))
    for group in circuit.leaf_groups:
        spread = group.slot_reference.abs() * 0.3
        noise = torch.rand(group.phi.shape, generator=torch_state, dtype=torch.float64)
        group.phi = group.projected(group.phi + spread * (noise - 0.5))
    return circuit


def joint_circuit(X):
    """Frozen joint densities of two columns beside a leaf of the others."""
    graph = joint_regions(4, [0, 1], 2, Region([2, 3]))
    families = [Normal(), Normal(), Bernoulli(), Categorical(5)]
    circuit = circuit_of(graph, families, X)
    (group,) = circuit.joint_groups
    mean = group.normals.mean + torch.linspace(-1, 1, len(group.normals)).unsqueeze(1)
    group.normals = type(group.normals)(mean, group.normals.covariance)
    group.frozen = True
    return circuit
