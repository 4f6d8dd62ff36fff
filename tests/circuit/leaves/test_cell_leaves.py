"""Leaves of columns on a grid: probabilities of cells, against enumeration and autograd."""

import itertools
import pickle

import numpy as np
import pytest
import torch
from scipy.stats import norm

from sklearn_einet.circuit import Circuit, LeafColumns
from sklearn_einet.circuit.leaves import cells as cell_leaves
from sklearn_einet.circuit.queries.cells import conditional_scores
from sklearn_einet.circuit.queries.intervals import interval_log_values
from sklearn_einet.circuit.queries.maxima import peak_log_densities
from sklearn_einet.circuit.transforms.marginal import marginal_circuit
from sklearn_einet.circuit.transforms.mixture import component_circuits, mixture_circuit
from sklearn_einet.families import Categorical, Normal
from sklearn_einet.learning import FullEM
from sklearn_einet.learning.expectation_maximization import penalty
from sklearn_einet.learning.statistics import expected_statistics
from sklearn_einet.structure import Region, RegionGraph
from tests.helpers.cells import FIRST, LAST, grid_of, rounded_circuit, rounded_rows
from tests.helpers.circuits import (
    Structure,
    hidden_trees,
    induced_trees,
    irregular_graph,
    tree_graph,
)
from tests.helpers.rows import as_rows

pytestmark = pytest.mark.usefixtures("backend")

GRAPHS = [irregular_graph(), Structure(hidden_trees(), "cp"), Structure(tree_graph(4, 1, 2), "cp")]
ALL = np.arange(FIRST, LAST + 1.0)
EVEN = np.arange(FIRST, LAST + 1.0, 2)


def log_leaf(group, slot, unit, column, value):
    """The logarithm of a leaf's probability of the cell of a value, divided by its width."""
    mean, square = group.phi.flatten(0, 1)[slot, :, unit].tolist()
    edges, widths = group.grid.edges[column], group.grid.log_width[column]
    number = np.searchsorted(edges, value, side="right") - 1
    low, high = edges[number : number + 2]
    z = (np.array([low, high]) - mean) / np.sqrt(square - mean**2)
    p = norm.cdf(z[1]) - norm.cdf(z[0]) if z[0] < 0 else norm.sf(z[0]) - norm.sf(z[1])
    with np.errstate(divide="ignore"):
        return np.log(p) - widths[number]


def by_enumeration(circuit, row):
    """The log-density of a row, as a sum over all induced trees."""
    (group,) = circuit.leaf_groups
    total = 0.0
    for weight, _, chosen in induced_trees(circuit):
        product = weight
        for region, unit in chosen:
            for slot, column in enumerate(group.index[region].tolist()):
                if column < len(group.columns) and not np.isnan(row[column]):
                    place = region * group.index.shape[1] + slot
                    product *= np.exp(log_leaf(group, place, unit, column, row[column]))
        total += product
    return np.log(total)


@pytest.mark.parametrize("graph", GRAPHS, ids=str)
def test_log_densities_by_enumeration(graph):
    circuit, X = rounded_circuit(graph, K=2), rounded_rows(12)
    X[0] = np.nan
    found = circuit.log_prob(torch.tensor(X))
    np.testing.assert_allclose(found, [by_enumeration(circuit, row) for row in X], 1e-9, 1e-14)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_mass_over_the_grid(dtype):
    circuit = rounded_circuit(Structure(tree_graph(4, 2, 2), "cp"), dtype=dtype)
    for columns in ([0], [3], [0, 3]):
        values = [EVEN if column == 3 else ALL for column in columns]
        rows = np.full((np.prod([len(v) for v in values]), 4), np.nan)
        rows[:, columns] = list(itertools.product(*values))
        scores = circuit.log_prob(torch.tensor(rows))
        unit = 2.0 if 3 in columns else 1.0
        inside = float(scores.exp().sum()) * unit
        low, high = torch.full((4, 1), -torch.inf), torch.full((4, 1), torch.inf)
        if 3 in columns:  # its cells have ends, beyond which the rest of the mass is
            low[3], high[3] = FIRST - 0.5, EVEN[-1] + 1.5
        exact = circuit.to("cpu", torch.float64)
        leaves, _ = interval_log_values(exact, low.double(), high.double())
        expected = float(exact.propagate(leaves).root.exp())
        assert inside == pytest.approx(expected, rel=1e-9 if dtype == torch.float64 else 1e-5)
        assert expected == pytest.approx(1.0, abs=1e-12 if columns == [0] else 0.3)


def test_values_beyond_the_cells_have_densities():
    circuit = rounded_circuit(RegionGraph(Region([0, 1])), n_columns=2, K=1)
    (group,) = circuit.leaf_groups
    group.phi = torch.tensor([1.0, 26.0, 2.0, 20.0]).double().view(1, 2, 2, 1)
    rows = np.array([[3.0, 40.0], [np.nan, -30.0], [3.0, 2.0], [np.nan, np.nan]])
    expected = [
        log_leaf(group, 0, 0, 0, 3.0) + norm.logpdf(40, 2, 4),
        norm.logpdf(-30, 2, 4),
        log_leaf(group, 0, 0, 0, 3.0) + log_leaf(group, 1, 0, 1, 2.0),
        0.0,
    ]
    found = circuit.log_prob(torch.tensor(rows))
    np.testing.assert_allclose(found, expected, rtol=1e-10, atol=1e-14)
    statistics = expected_statistics(circuit, torch.tensor(rows))
    weighted, mass = statistics.leaves[0]
    np.testing.assert_allclose(mass.flatten(), [2.0, 3.0], rtol=1e-12)
    z = (np.array([1.0, 3.0]) - 0.5 - 2) / 4  # the cell of 2 is 1.5 to 3.5
    assert float(weighted[0, 1, 0, 0]) == pytest.approx(40 - 30 + 2 + 4 * between(z), rel=1e-3)


def between(z):
    """The approximate mean of a standard normal variable between two numbers."""
    x = np.linspace(*z, 10001) + 0.25
    return np.average(x, weights=norm.pdf(x))


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("graph", GRAPHS, ids=str)
def test_expected_statistics_are_gradients(graph, weighted):
    circuit, X = rounded_circuit(graph), torch.tensor(rounded_rows(50))
    X[:, 3][::7] = 30.0  # beyond the cells
    weight = torch.rand(50, dtype=torch.float64) if weighted else None
    (group,) = circuit.leaf_groups
    theta = group.family.natural(group.phi).requires_grad_()
    parameters = circuit.parameters()
    parameters.leaves = [group.at(theta)]
    score = circuit.log_prob(X, parameters)
    (score.sum() if weight is None else score @ weight).backward()
    statistics, mass = expected_statistics(circuit, X, weight).leaves[0]
    expected = statistics - group.phi * mass.unsqueeze(2)
    here = group.present.unsqueeze(-1).expand_as(expected)
    torch.testing.assert_close(theta.grad[here], expected[here], rtol=1e-8, atol=1e-9)


@pytest.mark.parametrize("pseudocount", [0.0, 0.5])
@pytest.mark.parametrize("graph", GRAPHS, ids=str)
def test_full_em_is_monotone(graph, pseudocount):
    circuit, rows = rounded_circuit(graph, seed=1), as_rows(rounded_rows(120))
    solver = FullEM(pseudocount)
    objective = []
    for _ in range(25):
        before = float(penalty(circuit, pseudocount))
        objective.append(solver.epoch(circuit, rows) * 120 + before)
    gains = np.diff(objective)
    assert (gains > -1e-8 * np.abs(objective[-1])).all()
    assert gains[0] > 1


def test_few_cells_of_large_tables(monkeypatch):
    X = torch.tensor(rounded_rows(3))
    results = []
    for size in (0, 2**60):
        monkeypatch.setattr(cell_leaves, "SMALL_TABLE", size)
        circuit = rounded_circuit(GRAPHS[0])
        statistics = expected_statistics(circuit, X)
        results.append([circuit.log_prob(X), *statistics.leaves[0]])
    for one, two in zip(*results, strict=True):
        torch.testing.assert_close(one, two, rtol=1e-12, atol=1e-14)


def test_conditional_scores_are_differences_of_densities():
    circuit, X = rounded_circuit(GRAPHS[1]), torch.tensor(rounded_rows(20))
    X[0, 3] = 30.0  # beyond the cells
    scores = conditional_scores(circuit, X.T.contiguous(), circuit.parameters())
    whole = circuit.log_prob(X)
    for column in range(4):
        without = X.clone()
        without[:, column] = torch.nan
        expected = circuit.log_prob(without) - whole
        seen = ~torch.isnan(X[:, column])
        torch.testing.assert_close(scores[column][seen], expected[seen], rtol=1e-9, atol=1e-9)


def test_peaks_are_the_most_probable_cells():
    circuit = rounded_circuit(RegionGraph(Region([0, 1])), n_columns=2)
    (group,) = circuit.leaf_groups
    (peaks,) = peak_log_densities(circuit)
    for column, values in ((0, ALL), (1, EVEN)):
        for unit in range(3):
            best = max(log_leaf(group, column, unit, column, value) for value in values)
            assert float(peaks[column, unit]) == pytest.approx(best, rel=1e-10)
    group.phi = torch.tensor([1.0, 26.0, 50.0, 2504.0]).double().view(1, 2, 2, 1)
    (peaks,) = peak_log_densities(circuit)
    assert float(peaks[1, 0]) == pytest.approx(norm.logpdf(0, scale=2), rel=1e-10)


def test_circuits_made_of_others_keep_the_cells():
    circuit = rounded_circuit(Structure(tree_graph(4, 2, 2), "cp"))
    X = torch.tensor(rounded_rows(20))
    score = circuit.log_prob(X)
    for other in (pickle.loads(pickle.dumps(circuit)), circuit.to("cpu")):
        torch.testing.assert_close(other.log_prob(X), score, rtol=1e-12, atol=0)
    columns = np.array([3, 1])
    some = X.clone()
    some[:, [0, 2]] = torch.nan
    marginal = marginal_circuit(circuit, columns)
    torch.testing.assert_close(marginal.log_prob(X[:, columns]), circuit.log_prob(some))
    both = mixture_circuit([circuit, circuit], np.array([0.25, 0.75]))
    torch.testing.assert_close(both.log_prob(X), score)
    n = len(circuit.graph.root.partitions)
    parts = component_circuits(both, np.repeat([0, 1], n))
    torch.testing.assert_close(parts[1].log_prob(X), score)


def test_columns_of_all_kinds():
    others = [
        LeafColumns(Normal(), np.array([2]), np.array([[0.0, 1.0]])),
        LeafColumns(Categorical(3), np.array([3]), np.full((1, 3), 1 / 3)),
    ]
    graph, layer = Structure(tree_graph(4, 2, 2), "cp")
    grids = LeafColumns(Normal(), np.arange(2), np.array([[2.0, 13.0]] * 2), None, grid_of(2))
    circuit = Circuit(graph, [grids, *others], 3, layer=layer, dtype=torch.float64)
    rows = np.full((len(ALL), 4), np.nan)
    rows[:, 0], rows[:, 2], rows[:, 3] = ALL, 0.5, 1
    rest = rows[:1].copy()
    rest[0, 0] = np.nan
    total = circuit.log_prob(torch.tensor(rows)).logsumexp(0)
    assert float(total) == pytest.approx(float(circuit.log_prob(torch.tensor(rest))), rel=1e-12)
