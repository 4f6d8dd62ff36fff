"""The circuit of some of the columns, the others integrated out."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from sklearn_einet.circuit.circuit import Circuit, LeafColumns
from sklearn_einet.structure import Partition, Region, RegionGraph

__all__ = ["marginal_circuit"]


def marginal_circuit(circuit: Circuit, columns: np.ndarray) -> Circuit:
    """The exact marginal density of some columns, as a circuit of its own.

    What a region without any of these columns adds up to is 1: all of them become one leaf region
    of empty scope, and everything below them goes.

    Parameters
    ----------
    circuit : Circuit
    columns : ndarray of int
        The columns to keep, in the order that they are to have.

    Returns
    -------
    circuit : Circuit
        It shares no tensors with the original.
    """
    position = {int(column): i for i, column in enumerate(columns)}
    old_graph = circuit.region_graph.binarized()
    kept = _restricted_regions(old_graph, position)
    leaf_columns = []
    for group in circuit.leaf_columns:
        here = np.isin(group.columns, columns)
        if here.any():
            renamed = np.array([position[int(c)] for c in group.columns[here]])
            leaf_columns.append(LeafColumns(group.family, renamed, group.reference[here]))
    result = Circuit(
        RegionGraph(kept[old_graph.root]),
        leaf_columns,
        circuit.K,
        min_variance=circuit.leaf_groups[0].min_variance,
        dtype=circuit.dtype,
        device=circuit.device,
    )
    source = {new: old for old, new in kept.items() if new.scope}
    _copy_sums(circuit, old_graph, result, source)
    _copy_leaves(circuit, old_graph, result, source, columns)
    return result


def _restricted_regions(graph: RegionGraph, position: dict[int, int]) -> dict[Region, Region]:
    """What each region becomes; regions that a restricted graph no longer reaches included."""
    empty = Region(())
    kept: dict[Region, Region] = {}
    for region in reversed(graph.regions):
        scope = [position[feature] for feature in region.scope if feature in position]
        if scope:
            partitions = [Partition([kept[c] for c in p.children]) for p in region.partitions]
            kept[region] = Region(scope, partitions)
        else:
            kept[region] = empty
    return kept


def _copy_sums(
    old: Circuit, old_graph: RegionGraph, new: Circuit, source: dict[Region, Region]
) -> None:
    """Copy the weights of the partitions and regions that remain; `source` maps new to old ones.

    What remains of a region is as far from the root as the region was.
    """
    old_weights, new_weights = _from_the_root(old), _from_the_root(new)
    old_layers, new_layers = old_graph.layers(), new.region_graph.layers()
    for depth, (einsum, mixing) in enumerate(new_weights):
        old_einsum, old_mixing = old_weights[depth]
        row = {region: i for i, region in enumerate(old_layers[depth])}
        rows = [row[source[region]] for region in new_layers[depth]]
        if mixing is not None and old_mixing is not None:
            mixing.copy_(old_mixing[rows, : mixing.shape[1]])
        if einsum is not None and old_einsum is not None:
            n_partitions = [len(region.partitions) for region in old_layers[depth]]
            after = np.cumsum(n_partitions)
            taken = [np.arange(after[i] - n_partitions[i], after[i]) for i in rows]
            einsum.copy_(old_einsum[torch.as_tensor(np.concatenate(taken))])


def _from_the_root(circuit: Circuit) -> list[tuple[Tensor | None, Tensor | None]]:
    """Weights of the einsum layer and of the mixing layer of every level, where it has them."""
    weights = iter(circuit.weights)
    return [
        (
            None if level.children is None else next(weights),
            None if level.mixing is None else next(weights),
        )
        for level in circuit.levels
    ][::-1]


def _copy_leaves(
    old: Circuit,
    old_graph: RegionGraph,
    new: Circuit,
    source: dict[Region, Region],
    columns: np.ndarray,
) -> None:
    """Copy the parameters of the univariate densities that remain."""
    row = {region: i for i, region in enumerate(old_graph.layers()[-1])}
    old_row = torch.tensor(
        [row[source[leaf]] if leaf.scope else -1 for leaf in new.region_graph.layers()[-1]],
        device=old.device,
    )
    old_column = torch.as_tensor(columns, device=old.device)
    groups = {int(c): group for group in old.leaf_groups for c in group.columns}
    for group in new.leaf_groups:
        origin = groups[int(old_column[group.columns[0]])]
        slots = torch.full((len(row), old_graph.n_features), -1, device=old.device)
        slots[origin.terms.region, origin.columns[origin.terms.column]] = origin.terms.slot
        terms = group.terms
        there = slots[old_row[terms.region], old_column[group.columns[terms.column]]]
        group.phi.flatten(0, 1)[terms.slot] = origin.phi.flatten(0, 1)[there]
