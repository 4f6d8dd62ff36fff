"""Columns on a grid, and circuits of them."""

import numpy as np
import torch

from sklearn_einet.circuit import Circuit, GridCells, LeafColumns
from sklearn_einet.families import Normal
from tests.helpers.circuits import Structure

# Whole numbers that have cells: in all columns but the last, which has half as many, 2 wide.
FIRST, LAST = -6, 9


def grid_of(n_columns, widths=None):
    """Cells of some columns around whole numbers; those at the ends of the first one are infinite,
    unless it is the only one."""
    widths = [1] * (n_columns - 1) + [2] if widths is None else widths
    n = LAST - FIRST + 1
    edges, log_width = np.full((n_columns, n + 1), np.inf), np.full((n_columns, n), np.nan)
    for column, width in enumerate(widths):
        ends = np.arange(FIRST - 0.5, LAST + 1, width)
        edges[column, : len(ends)], log_width[column, : len(ends) - 1] = ends, np.log(width)
    if n_columns > 1:
        edges[0, [0, -1]] = -np.inf, np.inf
    return GridCells(edges, log_width)


def rounded_circuit(graph, n_columns=4, K=3, seed=0, dtype=torch.float64, others=()):
    """A circuit of columns on a grid, the first ones, some of its leaves narrower than a cell."""
    layer = "tucker"
    if isinstance(graph, Structure):
        graph, layer = graph
    rng = np.random.RandomState(seed)
    reference = np.tile([2.0, 4.0 + 9.0], (n_columns, 1))
    grids = LeafColumns(Normal(), np.arange(n_columns), reference, None, grid_of(n_columns))
    circuit = Circuit(graph, [grids, *others], K, layer=layer, min_variance=1e-4, dtype=dtype)
    for i, weights in enumerate(circuit.weights):
        noise = torch.as_tensor(rng.exponential(size=tuple(weights.shape))).to(dtype)
        noise = torch.where(weights > 0, noise, 0)
        circuit.weights[i] = noise / noise.sum(circuit.summed_axes[i], keepdim=True)
    for group in circuit.leaf_groups:
        shape = group.phi[:, :, 0].shape
        mean = torch.as_tensor(rng.uniform(FIRST, LAST, shape))
        deviation = torch.as_tensor(np.exp(rng.uniform(-1.6, 1.0, shape)))
        group.phi = torch.stack([mean, mean**2 + deviation**2], 2)
    return circuit


def rounded_rows(n, n_columns=4, gaps=0.2, seed=0):
    """Rows of whole numbers in three clusters, even ones in the last column."""
    rng = np.random.RandomState(seed)
    cluster = rng.randint(3, size=(n, 1))
    X = np.clip(np.round(4 * cluster - 3 + rng.randn(n, n_columns)), FIRST, LAST)
    X[:, -1] -= X[:, -1] % 2
    X[rng.random_sample(X.shape) < gaps] = np.nan
    return X
