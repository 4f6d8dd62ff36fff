import numpy as np
import pytest
import torch
from scipy import stats

from sklearn_einet.circuit.sampling import sample
from sklearn_einet.families import Bernoulli, Categorical, Normal
from tests.helpers import irregular_graph, random_circuit, states, tree_graph

N = 100_000


@pytest.mark.parametrize(
    "graph", [tree_graph(4, 2, 3), tree_graph(4, 0, 1), irregular_graph()], ids=str
)
def test_frequencies_of_all_states(graph):
    circuit = random_circuit(graph, {Bernoulli(): [0, 2], Categorical(3): [1], Categorical(2): [3]})
    expected = N * circuit.log_prob(states(2, 3, 2, 2)).exp().numpy()
    draws = sample(circuit, N, np.random.RandomState(0))
    codes = draws @ [12, 4, 2, 1]
    observed = np.bincount(codes.astype(int), minlength=24)
    assert stats.chisquare(observed, expected, sum_check=False).pvalue > 1e-3


def test_continuous_samples_have_the_density_they_are_given():
    """The probability integral transform of each column, exact from the circuit's leaves."""
    circuit = random_circuit(tree_graph(3, 1, 2), {Normal(): [0, 1, 2]})
    draws = sample(circuit, N, np.random.RandomState(0))
    grid = np.linspace(-8, 8, 801)
    for column in range(3):
        rows = torch.full((len(grid), 3), torch.nan, dtype=torch.float64)
        rows[:, column] = torch.as_tensor(grid)
        density = circuit.log_prob(rows).exp().numpy()
        cdf = np.cumsum(density) * (grid[1] - grid[0])
        distance = stats.ks_1samp(draws[:, column], lambda x, c=cdf: np.interp(x, grid, c))
        assert distance.statistic < 0.01


def test_dependence_survives():
    """Sample covariance against the exact one, by numeric integration over a grid."""
    circuit = random_circuit(tree_graph(2, 1, 2), {Normal(): [0, 1]}, K=4, seed=3)
    grid = np.linspace(-9, 9, 300)
    rows = np.stack(np.meshgrid(grid, grid, indexing="ij"), -1).reshape(-1, 2)
    p = circuit.log_prob(torch.as_tensor(rows)).exp().numpy()
    exact = np.cov(rows.T, aweights=p / p.sum(), ddof=0)
    draws = sample(circuit, N, np.random.RandomState(0))
    np.testing.assert_allclose(np.cov(draws.T), exact, atol=0.05)


def test_seed_determines_the_rows():
    circuit = random_circuit(tree_graph(4, 2, 3), {Normal(): range(4)})
    first, again, other = (sample(circuit, 50, np.random.RandomState(s)) for s in (0, 0, 1))
    np.testing.assert_array_equal(first, again)
    assert not np.array_equal(first, other)


def test_one_row_and_float32():
    circuit = random_circuit(irregular_graph(), {Normal(): range(4)}, dtype=torch.float32)
    assert sample(circuit, 1, np.random.RandomState(0)).shape == (1, 4)
