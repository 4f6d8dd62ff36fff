import numpy as np
import pytest
import torch

from sklearn_einet.circuit.queries.flows import leaf_log_flows
from sklearn_einet.families import Normal
from tests.helpers.circuits import (
    FAMILY_TABLES,
    GRAPHS,
    irregular_graph,
    random_circuit,
    rows_with_gaps,
    table_id,
    tree_graph,
)


@pytest.mark.parametrize("graph", GRAPHS, ids=str)
@pytest.mark.parametrize("families", FAMILY_TABLES, ids=table_id)
def test_flows_are_derivatives_of_the_log_density(graph, families):
    """The flow through a leaf entry is d log p(x) / d log of its density, by autodiff."""
    circuit = random_circuit(graph, families)
    rows = rows_with_gaps(circuit, 20)
    leaves, _ = circuit.leaf_log_densities(rows.T.contiguous(), circuit.parameters())
    flows = leaf_log_flows(circuit, circuit.propagate(leaves)).exp()
    leaves.requires_grad_()
    (gradient,) = torch.autograd.grad(circuit.log_root(leaves).sum(), leaves)
    np.testing.assert_allclose(flows, gradient, rtol=1e-9, atol=1e-12)


def test_flows_of_every_column_sum_to_one():
    circuit = random_circuit(irregular_graph(), {Normal(): range(4)})
    flows = leaf_log_flows(circuit, circuit.propagate(circuit.nothing)).exp()
    (group,) = circuit.leaf_groups
    total = torch.zeros(4, dtype=torch.float64)
    total.index_add_(0, group.terms.column, flows[group.terms.region, :, 0].sum(1))
    np.testing.assert_allclose(total, 1, rtol=1e-12)


def test_nothing_underflows():
    """Entries 2000 nats apart still have flows that are right relative to each other."""
    circuit = random_circuit(tree_graph(2, 1, 1), {Normal(): [0, 1]}, K=2)
    leaves = torch.tensor([[[0.0], [-2000.0]], [[0.0], [-3000.0]]], dtype=torch.float64)
    flows = leaf_log_flows(circuit, circuit.propagate(leaves))[:, :, 0]
    weights = circuit.weights[0][0, 0].log()
    np.testing.assert_allclose(flows[0, 1], weights[1, 0] - weights[0, 0] - 2000, rtol=1e-12)
    np.testing.assert_allclose(flows[1, 1], weights[0, 1] - weights[0, 0] - 3000, rtol=1e-12)
