import copy
import itertools
import pickle

import numpy as np
import pytest
import torch
from scipy import integrate

from sklearn_einet.circuit import Circuit, LeafColumns
from sklearn_einet.circuit.queries.sampling import sample
from sklearn_einet.families import Bernoulli, Categorical, Constant, Normal, Poisson
from sklearn_einet.structure import Region, RegionGraph
from tests.helpers.circuits import (
    FAMILY_EXAMPLES,
    Structure,
    hidden_trees,
    irregular_graph,
    random_circuit,
    states,
    tree_graph,
    with_other_layers,
)

GRAPHS = {
    "tree": tree_graph(4, 2, 3),
    "shallow": tree_graph(4, 1, 1),
    "depth 0": tree_graph(4, 0, 5),
    "irregular": irregular_graph(),
    "cp tree": Structure(tree_graph(4, 2, 3), "cp"),
    "cp irregular": Structure(irregular_graph(), "cp"),
    "cp depth 0": Structure(tree_graph(4, 0, 1), "cp"),
    "hidden trees": Structure(hidden_trees(), "cp"),
    "hidden trees, tucker": Structure(hidden_trees(), "tucker"),
    **{str(each): each for each in with_other_layers(irregular_graph(), hidden_trees())},
}
DISCRETE = {Bernoulli(): [0, 2], Categorical(3): [1], Categorical(2): [3]}
SIZES = (2, 3, 2, 2)


@pytest.fixture(params=GRAPHS, ids=str)
def graph(request):
    return GRAPHS[request.param]


def reference_log_prob(circuit, row):
    """The log-density of one row by recursion over the region graph, in plain numpy."""
    *inner, leaves = circuit.graph.layers()
    values = {}
    for i, leaf in enumerate(leaves):
        value = np.zeros(circuit.K)
        for group in circuit.leaf_groups:
            for slot, position in enumerate(group.index[i].tolist()):
                if position < len(group.columns):
                    x = torch.tensor(row[int(group.columns[position])])
                    if not torch.isnan(x):
                        value += group.family.log_prob(x[None], group.phi[i, slot]).numpy()
        values[leaf] = value
    weights = iter([w.numpy() for w in circuit.weights])
    if not inner:
        return np.log(next(weights)[0, :, 0] @ np.exp(values[leaves[0]]))
    for regions in reversed(inner):
        sums, row = next(weights), 0
        n_partitions = max(len(r.partitions) for r in regions)
        last = regions is inner[0] and circuit.layer == "cp"
        mixing = next(weights) if n_partitions > 1 and not last else None
        if last:
            mixing = next(weights).reshape(1, n_partitions, circuit.K)
        for r, region in enumerate(regions):
            total = 0
            for p, product in enumerate(region.partitions):
                if circuit.layer == "tucker":
                    left, right = (np.exp(values[c]) for c in product.children)
                    value, row = np.einsum("oij,i,j->o", sums[row], left, right), row + 1
                else:
                    value = 1
                    for child in product.children:
                        factor = np.exp(values[child])
                        if child.mixed:
                            factor, row = sums[row] @ factor, row + 1
                        value = value * factor
                total = total + value * (1 if mixing is None else mixing[r, p])
            values[region] = np.log(total)
    root = values[inner[0][0]]
    return root[0] if circuit.layer == "tucker" else np.log(np.exp(root).sum())


def test_agrees_with_recursion(graph):
    circuit = random_circuit(graph, {Normal(): [0, 3], Bernoulli(): [1], Categorical(3): [2]})
    rng = np.random.RandomState(0)
    X = np.column_stack(
        [rng.randn(20), rng.randint(2, size=20), rng.randint(3, size=20), rng.randn(20)]
    )
    X[rng.rand(*X.shape) < 0.3] = np.nan
    X[0] = np.nan
    expected = [reference_log_prob(circuit, row) for row in X]
    np.testing.assert_allclose(circuit.log_prob(torch.as_tensor(X)), expected, atol=1e-10)


def test_probabilities_sum_to_one(graph):
    circuit = random_circuit(graph, DISCRETE)
    assert abs(circuit.log_prob(states(*SIZES)).exp().sum() - 1) < 1e-12
    single = circuit.to("cpu", torch.float32)
    assert abs(single.log_prob(states(*SIZES)).exp().sum() - 1) < 1e-6


def test_a_missing_cell_is_the_sum_over_its_values(graph):
    circuit = random_circuit(graph, DISCRETE)
    everything = states(*SIZES)
    probability = circuit.log_prob(everything).exp()
    for n_missing in range(5):
        for missing in itertools.combinations(range(4), n_missing):
            marginal = everything.clone()
            marginal[:, list(missing)] = torch.nan
            kept = [i for i in range(4) if i not in missing]
            expected = [
                probability[(everything[:, kept] == row).all(1)].sum() for row in marginal[:, kept]
            ]
            np.testing.assert_allclose(circuit.log_prob(marginal).exp(), expected, atol=1e-12)


@pytest.mark.parametrize("family", FAMILY_EXAMPLES, ids=lambda f: f.name)
def test_a_missing_cell_is_the_integral_over_its_values(family):
    families = {family: [0, 1, 2]} if family == Normal() else {family: [0, 1], Normal(): [2]}
    circuit = random_circuit(tree_graph(3, 1, 2), families)
    observed = torch.tensor([[family.fill_value, torch.nan, 0.3]], dtype=torch.float64)

    def density(x):
        rows = observed.repeat(len(x), 1)
        rows[:, 1] = torch.as_tensor(x)
        return circuit.log_prob(rows).exp().numpy()

    if family.is_discrete:
        total = density(np.arange(200.0)).sum()
    else:
        low, high = {
            "normal": (-20, 20),
            "symlog-normal": (-np.inf, np.inf),
            "beta": (0, 1),
        }.get(family.name, (0, np.inf))
        total, _ = integrate.quad(
            lambda x: float(density(np.array([x]))[0]), low, high, limit=200, epsabs=1e-10
        )
    np.testing.assert_allclose(total, circuit.log_prob(observed).exp(), rtol=1e-6)


def test_density_integrates_to_one():
    circuit = random_circuit(tree_graph(2, 1, 2), {Normal(): [0, 1]})
    grid = np.linspace(-9, 9, 400)
    rows = torch.as_tensor(np.stack(np.meshgrid(grid, grid), -1).reshape(-1, 2))
    total = float(circuit.log_prob(rows).exp().sum()) * (grid[1] - grid[0]) ** 2
    assert abs(total - 1) < 1e-6


@pytest.mark.parametrize("family", FAMILY_EXAMPLES, ids=lambda f: f.name)
def test_single_feature(family):
    circuit = random_circuit(RegionGraph(Region([0])), {family: [0]}, K=4)
    group = circuit.leaf_groups[0]
    x = torch.full((1, 1), float(family.fill_value), dtype=torch.float64)
    expected = circuit.weights[0][0, :, 0] @ family.log_prob(x[0], group.phi[0, 0]).exp()
    np.testing.assert_allclose(circuit.log_prob(x).exp(), expected, rtol=1e-12)


def test_out_of_support_is_minus_infinity(graph):
    circuit = random_circuit(graph, DISCRETE)
    X = torch.tensor([[2.0, 0, 0, 0], [0, 0, 0, 0], [0, -1, torch.nan, 0], [0, 0, 0.5, 0]])
    found = circuit.log_prob(X)
    assert torch.isneginf(found).tolist() == [True, False, True, True]
    assert not torch.isnan(found).any()


def test_missing_everywhere_has_log_density_zero(graph):
    circuit = random_circuit(graph, {Normal(): [0, 1, 2, 3]})
    assert abs(float(circuit.log_prob(torch.full((1, 4), torch.nan)))) < 1e-12


@pytest.mark.parametrize("spread", [1.0, 1e-1, 1e-3])
def test_float32_agrees_with_float64(spread):
    """Also with components a thousand times narrower than their column."""
    n_features = 64
    circuit = random_circuit(tree_graph(n_features, 3, 4), {Normal(): range(n_features)}, K=8)
    (group,) = circuit.leaf_groups
    mean = group.phi[:, :, 0]
    group.phi = torch.stack([mean, mean**2 + spread**2], 2)
    # Typical rows: others would hide errors behind a large negative log-density.
    X = sample(circuit, 200, np.random.RandomState(0))
    exact = circuit.log_prob(torch.as_tensor(X))
    single = circuit.to("cpu", torch.float32).log_prob(torch.as_tensor(X))
    assert (exact - single).abs().max() < 1e-4 * n_features


def test_large_counts_in_float32():
    """Rates around 1e5, whose log-densities are differences of numbers around 1e6."""
    generator = torch.Generator().manual_seed(0)
    near = torch.full((8, 1), 1e5, dtype=torch.float64)
    columns = LeafColumns(Poisson(), np.arange(8), near.numpy())
    circuit = Circuit(tree_graph(8, 2, 2), [columns], K=3)
    group = circuit.leaf_groups[0]
    group.phi = 1e5 * (1 + 0.01 * torch.rand(group.phi.shape, generator=generator).double())
    X = 1e5 + (300 * torch.randn(50, 8, generator=generator)).round().double()
    exact = circuit.to("cpu", torch.float64).log_prob(X)
    assert (exact - circuit.log_prob(X)).abs().max() < 1e-4 * 8


def test_thousands_of_features_stay_finite():
    n_features = 5000
    circuit = random_circuit(
        tree_graph(n_features, 4, 2), {Normal(): range(n_features)}, dtype=torch.float32
    )
    X = 9 * torch.randn(20, n_features, generator=torch.Generator().manual_seed(0)).double()
    found = circuit.log_prob(X)
    assert torch.isfinite(found).all()
    assert found.min() < -1e5
    exact = circuit.to("cpu", torch.float64).log_prob(X)
    assert (exact - found).abs().max() < 1e-4 * n_features


def test_rows_do_not_depend_on_their_batch(graph):
    circuit = random_circuit(graph, {Normal(): [0, 1, 2, 3]})
    X = torch.randn(50, 4, generator=torch.Generator().manual_seed(0)).double()
    together = circuit.log_prob(X)
    alone = torch.cat([circuit.log_prob(row[None]) for row in X])
    torch.testing.assert_close(together, alone, rtol=1e-12, atol=1e-12)


def test_parameter_count():
    graph = tree_graph(4, 2, 3)  # 9 partitions, 12 leaf regions of one feature
    circuit = Circuit(graph, [LeafColumns(Normal(), np.arange(4), np.tile([0, 1.0], (4, 1)))], K=2)
    # Six partitions of 2 sums over 4 products, three of 1; 3 mixing weights; 12 x 2 normals.
    assert circuit.n_parameters == 6 * 2 * 4 + 3 * 4 + 3 + 12 * 2 * 2
    assert circuit.n_free_parameters == 6 * 2 * 3 + 3 * 3 + 2 + 12 * 2 * 2


def test_free_parameters_of_irregular_structures():
    # Of a, b, c and d alone, and of cd: 3 + 2 + 1 + 1 leaf slots; see `irregular_graph`.
    families = {Categorical(3): [0], Bernoulli(): [1], Normal(): [2], Constant(): [3]}
    leaves = 2 * ((3 - 1) + 1 + 2 * 2 + 2 * 0)
    # Units of a and b for ab, b and c for bc; ab and c, a and bc for abc. The root has three parts,
    # whose abc, d, ab, cd, a, b and cd are mixed; its one sum has two units of each.
    circuit = random_circuit(Structure(irregular_graph(), "cp"), families, K=2)
    assert circuit.n_free_parameters == leaves + (4 + 4 + 7) * 2 + 2 + 5
    # Two sums over four products for each of ab, bc, the two of abc, and half of a, b, cd; three
    # of the root. Its parts are mixed, and those of abc unit by unit.
    circuit = random_circuit(irregular_graph(), families, K=2)
    assert circuit.n_free_parameters == leaves + 5 * 2 * 3 + 2 + 3 * 3 + 2


def test_free_parameters_of_a_lone_leaf():
    circuit = random_circuit(tree_graph(4, 0, 1), {Bernoulli(): [0, 1, 2, 3]}, K=3)
    assert circuit.n_free_parameters == 2 + 3 * 4


@pytest.mark.parametrize("clone", [copy.deepcopy, lambda c: pickle.loads(pickle.dumps(c))])
def test_copies_are_independent(graph, clone):
    circuit = random_circuit(graph, DISCRETE)
    other = clone(circuit)
    before = circuit.log_prob(states(*SIZES))
    assert torch.equal(other.log_prob(states(*SIZES)), before)
    for weights in other.weights:
        weights.zero_()
    other.leaf_groups[0].phi.zero_()
    assert torch.equal(circuit.log_prob(states(*SIZES)), before)


def test_state_holds_no_tensors(graph):
    def leaves(value):
        if isinstance(value, dict):
            return leaves(list(value.values()))
        if isinstance(value, list | tuple):
            return [leaf for item in value for leaf in leaves(item)]
        return [value]

    state = random_circuit(graph, DISCRETE).__getstate__()
    assert not any(isinstance(value, torch.Tensor) for value in leaves(state))
