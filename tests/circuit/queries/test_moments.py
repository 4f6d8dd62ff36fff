import numpy as np
import pytest
import torch

from sklearn_einet.circuit.queries.moments import Moments, covariance, expected, posterior
from sklearn_einet.families import Categorical, LogNormal, Normal
from tests.helpers.circuits import (
    FAMILY_TABLES,
    GRAPHS,
    completions,
    family_of,
    grid,
    random_circuit,
    rows_with_gaps,
    table_id,
    tree_graph,
)


def posteriors(circuit, rows):
    leaves, _ = circuit.leaf_log_densities(rows.T.contiguous(), circuit.parameters())
    return posterior(circuit, circuit.propagate(leaves))


@pytest.mark.parametrize("graph", GRAPHS, ids=str)
@pytest.mark.parametrize("families", FAMILY_TABLES, ids=table_id)
def test_conditional_moments_by_integration(graph, families):
    circuit = random_circuit(graph, families)
    rows = rows_with_gaps(circuit, 6)
    rows[0] = torch.nan
    mean, variance = Moments(circuit)(posteriors(circuit, rows))
    for row, column in torch.nonzero(torch.isnan(rows)).tolist():
        filled, weights = completions(circuit, rows[row], column)
        p = weights * (circuit.log_prob(filled) - circuit.log_prob(rows[row : row + 1])).exp()
        assert p.sum() == pytest.approx(1, abs=1e-9)
        x = filled[:, column]
        first = (p * x).sum()
        second = (p * (x - first) ** 2).sum()
        assert mean[column, row] == pytest.approx(first.item(), rel=1e-6, abs=1e-9)
        assert variance[column, row] == pytest.approx(second.item(), rel=1e-6, abs=1e-9)


@pytest.mark.parametrize("graph", GRAPHS, ids=str)
def test_conditional_probabilities_of_categories(graph):
    circuit = random_circuit(graph, {Categorical(3): [0, 2], Normal(): [1, 3]})
    rows = rows_with_gaps(circuit, 10)
    group = circuit.leaf_groups[0]
    found = expected(group, posteriors(circuit, rows), group.phi)
    for row, column in torch.nonzero(torch.isnan(rows[:, [0, 2]])).tolist():
        filled, _ = completions(circuit, rows[row], 2 * column)
        p = (circuit.log_prob(filled) - circuit.log_prob(rows[row : row + 1])).exp()
        np.testing.assert_allclose(found[column, :, row], p, rtol=1e-9)


@pytest.mark.parametrize("graph", GRAPHS, ids=str)
@pytest.mark.parametrize("families", FAMILY_TABLES, ids=table_id)
def test_covariance_by_integration(graph, families):
    circuit = random_circuit(graph, families)
    found = covariance(circuit)
    np.testing.assert_array_equal(found, found.T)
    mean, variance = Moments(circuit)(posterior(circuit, circuit.propagate(circuit.nothing)))
    np.testing.assert_array_equal(found.diagonal(), variance[:, 0])
    n = 260
    for i, j in ((0, 1), (1, 3), (0, 2), (2, 3)):
        (x, wx), (y, wy) = (grid(family_of(circuit, column), n) for column in (i, j))
        rows = torch.full((len(x) * len(y), 4), torch.nan, dtype=torch.float64)
        rows[:, i], rows[:, j] = x.repeat_interleave(len(y)), y.repeat(len(x))
        p = (wx.unsqueeze(1) * wy).view(-1) * circuit.log_prob(rows).exp()
        assert p.sum() == pytest.approx(1, abs=1e-8)
        exact = (p * (rows[:, i] - mean[i]) * (rows[:, j] - mean[j])).sum()
        scale = (variance[i] * variance[j]).sqrt().item()
        assert found[i, j] == pytest.approx(exact.item(), abs=1e-7 * scale)


def test_covariance_of_a_single_column_and_in_blocks(monkeypatch):
    circuit = random_circuit(tree_graph(1, 0, 1), {Normal(): [0]})
    assert covariance(circuit).shape == (1, 1)
    circuit = random_circuit(tree_graph(8, 2, 3), {Normal(): range(8)})
    whole = covariance(circuit)
    monkeypatch.setattr(type(circuit), "block_rows", 3)
    np.testing.assert_allclose(covariance(circuit), whole, rtol=1e-12, atol=1e-14)


def test_a_column_without_spread():
    circuit = random_circuit(tree_graph(3, 1, 2), {Normal(): [0, 1], Categorical(1): [2]})
    found = covariance(circuit)
    np.testing.assert_array_equal(found[2], 0)
    assert torch.isfinite(found).all()


def test_means_beyond_all_numbers():
    """Log-normal densities whose means overflow: cut, not NaN."""
    circuit = random_circuit(tree_graph(2, 1, 2), {LogNormal(): [0, 1]})
    (group,) = circuit.leaf_groups
    group.phi[..., 1, :] = group.phi[..., 0, :] ** 2 + 2000
    mean, variance = Moments(circuit)(posterior(circuit, circuit.propagate(circuit.nothing)))
    assert torch.isfinite(mean).all()
    assert torch.isfinite(variance).all()
    assert (mean > 1e140).all()
