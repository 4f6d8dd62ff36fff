import numpy as np
import pytest
import torch

from sklearn_einet.circuit.queries.cells import conditional_scores, marginal_scores
from sklearn_einet.circuit.queries.flows import leaf_log_flows
from sklearn_einet.families import Bernoulli, Categorical, Normal
from tests.helpers.circuits import (
    FAMILY_TABLES,
    GRAPHS,
    irregular_graph,
    random_circuit,
    rows_with_gaps,
    table_id,
    tree_graph,
)


def without(rows, column):
    rows = rows.clone()
    rows[:, column] = torch.nan
    return rows


def only(rows, column):
    alone = torch.full_like(rows, torch.nan)
    alone[:, column] = rows[:, column]
    return alone


def scores(circuit, rows, method=conditional_scores):
    arguments = [circuit, rows.T.contiguous(), circuit.parameters()]
    if method is marginal_scores:
        arguments.append(leaf_log_flows(circuit, circuit.propagate(circuit.nothing)))
    return method(*arguments).T


@pytest.mark.parametrize("graph", GRAPHS, ids=str)
@pytest.mark.parametrize("families", FAMILY_TABLES, ids=table_id)
def test_one_pass_equals_one_pass_for_every_column(graph, families):
    circuit = random_circuit(graph, families)
    rows = rows_with_gaps(circuit, 30, share=0.3)
    rows[0] = torch.nan
    conditional, marginal = scores(circuit, rows), scores(circuit, rows, marginal_scores)
    for column in range(4):
        expected = circuit.log_prob(without(rows, column)) - circuit.log_prob(rows)
        expected = torch.where(torch.isnan(rows[:, column]), torch.nan, expected)
        np.testing.assert_allclose(conditional[:, column], expected, rtol=1e-9, atol=1e-9)
        expected = -circuit.log_prob(only(rows, column))
        expected = torch.where(torch.isnan(rows[:, column]), torch.nan, expected)
        np.testing.assert_allclose(marginal[:, column], expected, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("size", [10.0, 1e3, 1e5])
def test_extreme_cells(size):
    """The derivatives underflow here, their logarithms do not."""
    circuit = random_circuit(tree_graph(4, 2, 3), {Normal(): range(4)})
    rows = rows_with_gaps(circuit, 5, share=0)
    rows[:, 1] = size
    found = scores(circuit, rows)
    for column in range(4):
        expected = circuit.log_prob(without(rows, column)) - circuit.log_prob(rows)
        np.testing.assert_allclose(found[:, column], expected, rtol=1e-9, atol=1e-15 * size**2)


@pytest.mark.parametrize("size", [1e8, 1e100])
def test_absurd_cells_do_not_judge_the_others(size):
    circuit = random_circuit(tree_graph(4, 2, 3), {Normal(): range(4)})
    rows = rows_with_gaps(circuit, 5, share=0)
    rows[:, 1] = size
    found, others = scores(circuit, rows), scores(circuit, without(rows, 1))
    np.testing.assert_array_equal(found[:, [0, 2, 3]], others[:, [0, 2, 3]])
    expected = circuit.log_prob(without(rows, 1)) - circuit.log_prob(rows)
    np.testing.assert_allclose(found[:, 1], expected, rtol=1e-6)


def test_overflowing_and_impossible_cells():
    circuit = random_circuit(
        irregular_graph(), {Normal(): [0, 1], Categorical(3): [2], Bernoulli(): [3]}
    )
    rows = rows_with_gaps(circuit, 4, share=0)
    rows[0, 0], rows[1, 2], rows[2, 3], rows[3, 2] = 1e200, 7, 0.5, torch.nan
    found = scores(circuit, rows)
    assert torch.isposinf(found[[0, 1, 2], [0, 2, 3]]).all()
    assert torch.isnan(found[3, 2])
    assert torch.isfinite(found).sum() == 12
    np.testing.assert_array_equal(
        found[1, [0, 1, 3]], scores(circuit, without(rows, 2))[1, [0, 1, 3]]
    )
    marginal = scores(circuit, rows, marginal_scores)
    assert torch.isposinf(marginal[[0, 1, 2], [0, 2, 3]]).all()
    assert torch.isfinite(marginal).sum() == 12


def test_single_column():
    circuit = random_circuit(tree_graph(1, 0, 1), {Normal(): [0]})
    rows = torch.tensor([[0.5], [1e7], [torch.nan]], dtype=torch.float64)
    found = scores(circuit, rows)
    np.testing.assert_allclose(found[:2, 0], -circuit.log_prob(rows[:2]), rtol=1e-9)
    assert torch.isnan(found[2, 0])
