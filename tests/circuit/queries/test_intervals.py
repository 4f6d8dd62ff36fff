import numpy as np
import pytest
import torch

from sklearn_einet.circuit.queries.intervals import interval_log_values
from sklearn_einet.families import Bernoulli, Binomial, Categorical, Normal, Poisson
from tests.helpers.circuits import (
    FAMILY_TABLES,
    GRAPHS,
    family_of,
    irregular_graph,
    random_circuit,
    states,
    table_id,
    tree_graph,
)


def log_probability(circuit, low, high):
    low, high = (
        torch.as_tensor(np.asarray(side), dtype=torch.float64).T.contiguous()
        for side in (low, high)
    )
    return circuit.propagate(interval_log_values(circuit, low, high)[0]).root


@pytest.mark.parametrize("graph", GRAPHS, ids=str)
def test_boxes_of_discrete_columns_by_enumeration(graph):
    circuit = random_circuit(
        graph, {Bernoulli(): [0], Categorical(3): [1], Poisson(): [2], Binomial(5): [3]}
    )
    x = states(2, 3, 60, 6).numpy()
    p = circuit.log_prob(torch.as_tensor(x)).exp().numpy()
    rng = np.random.RandomState(0)
    low = rng.choice([-np.inf, -1, 0, 0.5, 1, 2], (40, 4))
    high = np.where(np.isneginf(low), 0, low) + rng.choice([0, 0.7, 1, 2, np.inf], (40, 4))
    found = log_probability(circuit, low, high).exp()
    for i in range(40):
        inside = ((x >= low[i]) & (x <= high[i])).all(1)
        assert found[i] == pytest.approx(p[inside].sum(), abs=1e-9)


@pytest.mark.parametrize("graph", GRAPHS, ids=str)
@pytest.mark.parametrize("families", FAMILY_TABLES, ids=table_id)
def test_boxes_by_integration(graph, families):
    """Two columns bounded, by Gauss-Legendre quadrature over the box or by summation."""
    circuit = random_circuit(graph, families)
    nodes, weights = np.polynomial.legendre.leggauss(80)
    for i, j in ((0, 1), (2, 3)):
        low, high = np.full(4, -np.inf), np.full(4, np.inf)
        axes = []
        for column in (i, j):
            family = family_of(circuit, column)
            a, b = (0.3, 0.8) if family.name == "beta" else (0.5, 2.5)
            low[column], high[column] = a, b
            if family.is_discrete:
                axes.append((np.arange(np.ceil(a), np.floor(b) + 1), np.ones(int(b))))
            else:
                axes.append((a + (b - a) * (nodes + 1) / 2, weights * (b - a) / 2))
        (x, wx), (y, wy) = axes
        rows = np.full((len(x) * len(y), 4), np.nan)
        rows[:, i], rows[:, j] = np.repeat(x, len(y)), np.tile(y, len(x))
        p = np.outer(wx, wy).ravel() * circuit.log_prob(torch.as_tensor(rows)).exp().numpy()
        found = log_probability(circuit, [low], [high]).exp()
        assert found.item() == pytest.approx(p.sum(), abs=1e-8)


def test_no_bounds_and_empty_boxes():
    circuit = random_circuit(irregular_graph(), {Normal(): [0, 1], Bernoulli(): [2, 3]})
    everything = np.full(4, np.inf)
    assert abs(log_probability(circuit, [-everything], [everything])) < 1e-15
    point, gap = everything.copy(), everything.copy()
    point[0], gap[2] = 0.3, 0.3
    low = np.array([np.where(point == 0.3, 0.3, -np.inf), np.where(gap == 0.3, 0.3, -np.inf)])
    high = np.array([point, np.where(gap == 0.3, 0.8, np.inf)])
    assert torch.isneginf(log_probability(circuit, low, high)).all()


def test_far_tails():
    """Forty standard deviations out, where a difference of cdf values is 0."""
    circuit = random_circuit(tree_graph(1, 0, 1), {Normal(): [0]}, K=1)
    mean, square = circuit.leaf_groups[0].phi[0, 0, :, 0]
    sd = (square - mean**2).sqrt()
    tail = torch.special.log_ndtr(torch.tensor(-40.0, dtype=torch.float64))
    infinity = torch.full((1, 1), torch.inf, dtype=torch.float64)
    for sign in (1, -1):
        bound = (mean + sign * 40 * sd).view(1, 1)
        low, high = (bound, infinity) if sign > 0 else (-infinity, bound)
        assert log_probability(circuit, low, high).item() == pytest.approx(tail.item(), rel=1e-9)
