import numpy as np
import pytest
import torch
from scipy import stats

from sklearn_einet.circuit.queries.sampling import PosteriorChoices, Values, fill, sample, walk
from sklearn_einet.families import Bernoulli, Categorical, Normal
from tests.helpers.chi_square import chi_square_p
from tests.helpers.circuits import (
    FAMILY_TABLES,
    GRAPHS,
    completions,
    family_of,
    irregular_graph,
    random_circuit,
    states,
    table_id,
    tree_graph,
)

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
    assert chi_square_p(observed, expected) > 1e-3


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


def drawn_given(circuit, row, n, seed=0):
    """Draws of a row's missing cells."""
    leaves, _ = circuit.leaf_log_densities(row.unsqueeze(1), circuit.parameters())
    rng = np.random.RandomState(seed)
    choices = PosteriorChoices(circuit.propagate(leaves), rng)
    draws = row.repeat(n, 1).numpy()
    fill(circuit, walk(circuit, n, choices), draws, Values(rng))
    return draws


@pytest.mark.parametrize("graph", GRAPHS, ids=str)
@pytest.mark.parametrize("missing", [[0, 1, 2, 3], [0, 1], [1, 3], [2]], ids=str)
def test_conditional_frequencies(graph, missing):
    circuit = random_circuit(graph, {Bernoulli(): [0, 2], Categorical(3): [1], Categorical(2): [3]})
    row = torch.ones(4, dtype=torch.float64)
    row[missing] = torch.nan
    draws = drawn_given(circuit, row, 20_000)
    possible = states(2, 3, 2, 2)
    possible = possible[(torch.isnan(row) | (possible == row)).all(1)]
    p = (circuit.log_prob(possible) - circuit.log_prob(row.unsqueeze(0))).exp().numpy()
    assert p.sum() == pytest.approx(1)
    codes = {tuple(state): i for i, state in enumerate(possible.tolist())}
    observed = np.bincount([codes[tuple(draw)] for draw in draws.tolist()], minlength=len(p))
    assert stats.chisquare(observed, 20_000 * p).pvalue > 1e-3


@pytest.mark.parametrize("graph", GRAPHS, ids=str)
@pytest.mark.parametrize("families", FAMILY_TABLES, ids=table_id)
def test_conditional_draws_of_every_family(graph, families):
    """Of all columns given one, exactly: by frequencies or by the cumulative distribution."""
    circuit = random_circuit(graph, families)
    row = torch.as_tensor(sample(circuit, 1, np.random.RandomState(1))[0])
    row[[0, 1, 3]] = torch.nan
    draws = drawn_given(circuit, row, 4000)
    assert (draws[:, 2] == row[2].item()).all()
    for column in (0, 1, 3):
        rows, weights = completions(circuit, row, column)
        x = rows[:, column].numpy()
        p = (weights * (circuit.log_prob(rows) - circuit.log_prob(row.unsqueeze(0))).exp()).numpy()
        if family_of(circuit, column).is_discrete:
            observed = np.bincount(draws[:, column].astype(int), minlength=len(x))
            usual = 4000 * p > 5
            observed = np.append(observed[usual], observed[~usual].sum() + 1e-9)
            expected = np.append(4000 * p[usual], 4000 * p[~usual].sum() + 1e-9)
            assert chi_square_p(observed, expected) > 1e-3
        else:
            cdf = np.cumsum(p) - 0.5 * p
            distance = stats.ks_1samp(draws[:, column], lambda v, x=x, c=cdf: np.interp(v, x, c))
            assert distance.pvalue > 1e-3


def test_missing_cells_are_drawn_together():
    """The second column's draws, given the first's: uniform after the conditional cdf."""
    circuit = random_circuit(tree_graph(3, 1, 2), {Normal(): [0, 1, 2]}, K=4, seed=2)
    row = torch.tensor([torch.nan, torch.nan, 0.7], dtype=torch.float64)
    draws = torch.as_tensor(drawn_given(circuit, row, 1000))
    grid = torch.linspace(-9, 9, 601, dtype=torch.float64)
    rows = draws.repeat_interleave(len(grid), 0)
    rows[:, 1] = grid.repeat(len(draws))
    density = circuit.log_prob(rows).exp().view(len(draws), len(grid))
    cdf = (density.cumsum(1) - 0.5 * density) / density.sum(1, keepdim=True)
    u = [np.interp(x, grid, c) for x, c in zip(draws[:, 1].numpy(), cdf.numpy(), strict=True)]
    assert stats.kstest(u, "uniform").pvalue > 1e-3
    assert stats.spearmanr(u, draws[:, 0]).pvalue > 1e-3


def test_terms_of_probability_zero_are_never_drawn():
    circuit = random_circuit(tree_graph(1, 0, 1), {Categorical(2): [0]}, K=3)
    circuit.weights[0][0, :, 0] = torch.tensor([0.0, 1.0, 0.0])

    class Ones:
        def random_sample(self, n):
            return np.full(n, 1 - 2.0**-53)

    activations = circuit.propagate(circuit.nothing)
    visits = walk(circuit, 100, PosteriorChoices(activations, Ones()))
    assert (visits[2] == 1).all()
