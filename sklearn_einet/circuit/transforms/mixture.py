"""Mixtures of several circuits as one circuit, and their decomposition.

A mixture of circuits over the same columns is a circuit: its root has the partitions of all their
roots. Every query to a circuit can therefore be answered by a mixture.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from sklearn_einet.circuit.circuit import Activations, Circuit
from sklearn_einet.circuit.layers.base import MIN_WEIGHT, ProductLayer
from sklearn_einet.circuit.transforms.copying import copy_leaves, copy_sums, restructured
from sklearn_einet.structure import Region, RegionGraph

__all__ = [
    "component_circuits",
    "component_log_values",
    "component_weights",
    "mixture_circuit",
    "root_terms",
    "set_root_terms",
]


def mixture_circuit(components: Sequence[Circuit], weights: np.ndarray) -> Circuit:
    """Return the mixture of circuits as one circuit.

    Parameters
    ----------
    components : sequence of Circuit
        Circuits over the same columns, in the same units, with the same K, and without shared
        regions. None may be a lone leaf region.
    weights : ndarray of shape (n_components,)
        Positive, with sum 1.

    Returns
    -------
    circuit : Circuit
        Its root has the partitions of the first component's root, then the second one's, and so
        on. It shares no tensors with the components.
    """
    graphs = [circuit.graph for circuit in components]
    root = Region(graphs[0].root.scope, [p for g in graphs for p in g.root.partitions])
    result = restructured(components[0], RegionGraph(root))
    columns = np.arange(result.region_graph.n_features)
    layer, sums = _root(result)
    terms, start = [], 0
    for circuit, graph, weight in zip(components, graphs, weights, strict=True):
        source = _below(graph.root)
        copy_sums(circuit, graph, result, source)
        copy_leaves(circuit, graph, result, source, columns)
        here = np.arange(start, start + len(graph.root.partitions))
        sums[layer.rows_of_weights(here)] = _root(circuit)[1]
        terms.append(max(float(weight), MIN_WEIGHT) * root_terms(circuit))
        start += len(here)
    set_root_terms(result, torch.cat(terms))
    return result


def component_circuits(mixture: Circuit, component: np.ndarray) -> list[Circuit]:
    """Decompose a mixture: the inverse of `mixture_circuit`.

    Parameters
    ----------
    mixture : Circuit
    component : ndarray of int of shape (n_root_partitions,)
        The component that each partition of the root belongs to, in ascending order.
    """
    graph = mixture.graph
    columns = np.arange(graph.n_features)
    layer, sums = _root(mixture)
    terms = root_terms(mixture)
    result = []
    for number in range(component[-1] + 1):
        here = np.flatnonzero(component == number)
        own = Region(graph.root.scope, [graph.root.partitions[i] for i in here])
        circuit = restructured(mixture, RegionGraph(own))
        source = _below(own)
        copy_sums(mixture, graph, circuit, source)
        copy_leaves(mixture, graph, circuit, source, columns)
        _root(circuit)[1].copy_(sums[layer.rows_of_weights(here)])
        set_root_terms(circuit, terms[torch.as_tensor(here)] / terms[here].sum())
        result.append(circuit)
    return result


def _below(root: Region) -> dict[Region, Region]:
    """Return every region below a root, mapped to itself."""
    return {region: region for region in RegionGraph(root).regions[1:]}


def component_weights(mixture: Circuit, component: np.ndarray) -> np.ndarray:
    """Return the weight of every component, float64 of shape (n_components,)."""
    of_partition = root_terms(mixture).to(torch.float64).sum(1)
    weights = np.bincount(component, of_partition.cpu().numpy())
    return weights / weights.sum()


def component_log_values(
    mixture: Circuit, activations: Activations, component: np.ndarray
) -> Tensor:
    """Compute logarithms of every component's share of the root's value, (n_components, batch).

    Parameters
    ----------
    mixture : Circuit
    activations : Activations
        What `Circuit.propagate` returned.
    component : ndarray of int of shape (n_root_partitions,)
        As in `component_circuits`.
    """
    partitions = activations.outputs[_root_number(mixture)]
    values = (root_terms(mixture).log().unsqueeze(-1) + partitions).logsumexp(1)
    number = torch.as_tensor(component)
    return torch.stack([values[number == i].logsumexp(0) for i in range(int(component[-1]) + 1)])


def _root_number(circuit: Circuit) -> int:
    """Return the number of the layer of the root's partitions, counted from the end."""
    return -1 if isinstance(circuit.layers[-1], ProductLayer) else -2


def _root(circuit: Circuit) -> tuple[ProductLayer, Tensor]:
    """Return the layer of the partitions of the graph's root, and its weights."""
    number = _root_number(circuit)
    layer = circuit.layers[number]
    assert isinstance(layer, ProductLayer)
    return layer, circuit.weights[number]


def root_terms(circuit: Circuit) -> Tensor:
    """Return the weight in the root's value of every unit of its partitions, (n_partitions,
    k_out)."""
    layer, sums = _root(circuit)
    if layer is circuit.layers[-1]:
        return sums.new_ones(1, 1)
    return circuit.weights[-1].view(layer.n_rows, layer.k_out)


def set_root_terms(circuit: Circuit, terms: Tensor) -> None:
    """Set the weights that `root_terms` returns."""
    if _root_number(circuit) == -2:
        circuit.weights[-1].view(terms.shape).copy_(terms)
