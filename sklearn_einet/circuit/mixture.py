"""Several circuits mixed into one, and taken apart again.

A mixture of circuits over the same columns is a circuit: its root has the partitions of all their
roots. Whatever can be asked of one circuit can thus be asked of a mixture.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from sklearn_einet.circuit.circuit import Activations, Circuit
from sklearn_einet.circuit.copying import copy_leaves, copy_sums, weights_from_the_root
from sklearn_einet.structure import Region, RegionGraph

__all__ = ["component_circuits", "component_log_values", "component_weights", "mixture_circuit"]

# Smaller numbers are 0 in float32.
MIN_WEIGHT = 1e-30


def mixture_circuit(components: Sequence[Circuit], weights: np.ndarray) -> Circuit:
    """The mixture of circuits as one circuit.

    Parameters
    ----------
    components : sequence of Circuit
        Circuits over the same columns, in the same units, with the same K and with regions of
        their own. None may be a lone leaf region.
    weights : ndarray of shape (n_components,)
        Positive, with sum 1.

    Returns
    -------
    circuit : Circuit
        Its root has the partitions of the first component's root, then the second one's, and so
        on. It shares no tensors with the components.
    """
    graphs = [circuit.region_graph.binarized() for circuit in components]
    first = components[0]
    result = Circuit(
        RegionGraph(Region(graphs[0].root.scope, [p for g in graphs for p in g.root.partitions])),
        first.leaf_columns,
        first.K,
        min_variance=first.leaf_groups[0].min_variance,
        dtype=first.dtype,
        device=first.device,
    )
    columns = np.arange(result.region_graph.n_features)
    einsum, mixing = weights_from_the_root(result)[0]
    assert einsum is not None
    start = 0
    for circuit, graph, weight in zip(components, graphs, weights, strict=True):
        source = _below(graph.root)
        copy_sums(circuit, graph, result, source)
        copy_leaves(circuit, graph, result, source, columns)
        here = slice(start, start + len(graph.root.partitions))
        root_einsum, root_mixing = weights_from_the_root(circuit)[0]
        assert root_einsum is not None
        einsum[here] = root_einsum
        if mixing is not None:
            mixing[0, here] = max(float(weight), MIN_WEIGHT) * (
                1.0 if root_mixing is None else root_mixing[0]
            )
        start = here.stop
    return result


def component_circuits(mixture: Circuit, component: np.ndarray) -> list[Circuit]:
    """The inverse of `mixture_circuit`.

    Parameters
    ----------
    mixture : Circuit
    component : ndarray of int of shape (n_root_partitions,)
        The component that each partition of the root belongs to, in ascending order.
    """
    graph = mixture.region_graph.binarized()
    columns = np.arange(graph.n_features)
    einsum, mixing = weights_from_the_root(mixture)[0]
    assert einsum is not None
    result = []
    for number in range(component[-1] + 1):
        here = np.flatnonzero(component == number)
        root = Region(graph.root.scope, [graph.root.partitions[i] for i in here])
        circuit = Circuit(
            RegionGraph(root),
            mixture.leaf_columns,
            mixture.K,
            min_variance=mixture.leaf_groups[0].min_variance,
            dtype=mixture.dtype,
            device=mixture.device,
        )
        source = _below(root)
        copy_sums(mixture, graph, circuit, source)
        copy_leaves(mixture, graph, circuit, source, columns)
        root_einsum, root_mixing = weights_from_the_root(circuit)[0]
        assert root_einsum is not None
        root_einsum.copy_(einsum[here])
        if mixing is not None and root_mixing is not None:
            root_mixing.copy_(mixing[:, here] / mixing[:, here].sum())
        result.append(circuit)
    return result


def _below(root: Region) -> dict[Region, Region]:
    """Every region below a root, mapped to itself."""
    return {region: region for region in RegionGraph(root).regions[1:]}


def component_weights(mixture: Circuit, component: np.ndarray) -> np.ndarray:
    """The weight of every component, float64 of shape (n_components,)."""
    weights = np.bincount(component, _root_weights(mixture).cpu().numpy())
    return weights / weights.sum()


def component_log_values(
    mixture: Circuit, activations: Activations, component: np.ndarray
) -> Tensor:
    """Logarithms of every component's share of the root's value, (n_components, batch).

    Parameters
    ----------
    mixture : Circuit
    activations : Activations
        What `Circuit.propagate` returned.
    component : ndarray of int of shape (n_root_partitions,)
        As of `component_circuits`.
    """
    einsum, _ = weights_from_the_root(mixture)[0]
    assert einsum is not None
    partitions = mixture.levels[-1].partition_values(activations.regions, iter([einsum]))
    values = _root_weights(mixture).log().unsqueeze(1) + partitions[:, 0]
    number = torch.as_tensor(component)
    return torch.stack([values[number == i].logsumexp(0) for i in range(int(component[-1]) + 1)])


def _root_weights(mixture: Circuit) -> Tensor:
    """The weight of every partition of the root."""
    _, mixing = weights_from_the_root(mixture)[0]
    return mixture.weights[-1].new_ones(1) if mixing is None else mixing[0, :, 0]
