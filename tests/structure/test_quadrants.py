import itertools

import numpy as np
import pytest

from sklearn_einet import EinetDensity, EinetMixture, EinetOutlierDetector
from sklearn_einet.families import Bernoulli, Categorical
from sklearn_einet.structure import poon_domingos, quad_graph, quad_tree
from tests.helpers.chi_square import chi_square_p
from tests.helpers.circuits import random_circuit, states

MAKERS = {"quad-tree": quad_tree, "quad-graph": quad_graph}


def n_partitions(graph):
    return sum(len(region.partitions) for region in graph.regions)


def scopes(graph):
    return [region.scope for region in graph.regions]


# Regions, partitions.
KNOWN_TREES = {
    (1, 1): (1, 0),
    (1, 2): (3, 1),
    (2, 2): (5, 1),
    (3, 3): (1 + 4 + 4 + 2 + 2, 1 + 1 + 1 + 1),
    (4, 4): (21, 5),
    (8, 8): (85, 21),
    (4, 1): (7, 3),
    (2, 3, 3): (1 + 4 + 4, 1 + 2),
}
KNOWN_GRAPHS = {
    (1, 1): (1, 0),
    (1, 2): (3, 1),
    (2, 2): (9, 6),
    (4, 4): (9 + 4 * 8, 6 * 5),
    (4, 1): (7, 3),
    (2, 3, 3): (9 + 4, 6 + 2),
}


@pytest.mark.parametrize("shape", KNOWN_TREES, ids=str)
def test_known_trees(shape):
    graph = quad_tree(shape)
    assert (len(graph.regions), n_partitions(graph)) == KNOWN_TREES[shape]
    assert all(len(region.partitions) <= 1 for region in graph.regions)


@pytest.mark.parametrize("shape", KNOWN_GRAPHS, ids=str)
def test_known_graphs(shape):
    graph = quad_graph(shape)
    assert (len(graph.regions), n_partitions(graph)) == KNOWN_GRAPHS[shape]


@pytest.mark.parametrize("shape", [(1, 7), (5, 3), (6, 7, 2), (28, 28), (64, 64, 3)], ids=str)
@pytest.mark.parametrize("make", [quad_tree, quad_graph])
def test_every_pixel_is_one_leaf_and_every_rectangle_one_region(make, shape):
    graph = make(shape)
    assert len(set(scopes(graph))) == len(scopes(graph))
    channels = shape[2] if len(shape) == 3 else 1
    pixels = np.arange(np.prod(shape)).reshape(-1, channels)
    assert {leaf.scope for leaf in graph.leaves} == {frozenset(p.tolist()) for p in pixels}


def test_quarters():
    image = np.arange(20).reshape(4, 5)
    expected = {
        frozenset(part.ravel().tolist())
        for part in (image[:2, :3], image[:2, 3:], image[2:, :3], image[2:, 3:])
    }
    (partition,) = quad_tree((4, 5)).root.partitions
    assert {child.scope for child in partition.children} == expected
    halves = [p.children for p in quad_graph((4, 5)).root.partitions]
    below = [[c for half in pair for c in half.partitions[0].children] for pair in halves]
    assert [{child.scope for child in children} for children in below] == [expected] * 2
    assert {id(child) for child in below[0]} == {id(child) for child in below[1]}


def test_a_graph_of_two_pixels_a_side_has_the_cuts_of_all_rectangles():
    assert set(scopes(quad_graph((2, 2)))) == set(scopes(poon_domingos((2, 2), 2)))


@pytest.mark.parametrize("make", [quad_tree, quad_graph])
@pytest.mark.parametrize("shape", [(0, 3), (2,), (2, 2, 2, 2), "ab", 4, (2.5, 2), None])
def test_bad_shapes(make, shape):
    with pytest.raises(ValueError, match="image_shape must be"):
        make(shape)


# --- exactness


@pytest.mark.parametrize("layer", ["cp", "tucker"])
@pytest.mark.parametrize("shape", [(2, 3), (3, 3), (2, 2, 2)], ids=str)
@pytest.mark.parametrize("make", [quad_tree, quad_graph])
def test_probabilities_sum_to_one(make, shape, layer):
    n = int(np.prod(shape))
    circuit = random_circuit(make(shape), {Bernoulli(): list(range(n))}, layer=layer)
    assert circuit.log_prob(states(*[2] * n)).exp().sum().item() == pytest.approx(1)


def images(shape, n=400, seed=0):
    """Images of three grey values with a bright side, and gaps."""
    rng = np.random.RandomState(seed)
    bright = np.broadcast_to(np.linspace(-1, 1, shape[1])[:, None], (*shape[:2], 1))
    side = rng.choice([-1, 1], size=(n, 1, 1, 1))
    noise = (
        rng.standard_normal((n, *shape)) if len(shape) == 3 else rng.standard_normal((n, *shape, 1))
    )
    return (side * bright + 0.5 * noise > 0.3).astype(float).reshape(n, -1) + (
        (side * bright + 0.5 * noise) > -0.3
    ).reshape(n, -1)


@pytest.fixture(params=list(itertools.product(MAKERS, ["cp", "tucker"], [(2, 3), (3, 3)])), ids=str)
def fitted(request):
    structure, layer, shape = request.param
    X = images(shape)
    X[::7, 1] = np.nan
    model = EinetDensity(
        structure=structure,
        layer=layer,
        image_shape=shape,
        leaf=Categorical(3),
        K=3,
        max_iter=3,
        tol=0,
        random_state=0,
    )
    return model.fit(X), shape


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_queries_against_enumeration(fitted):
    model, shape = fitted
    n = int(np.prod(shape))
    everything = np.array(list(itertools.product(range(3), repeat=n)), dtype=float)
    probability = np.exp(model.score_samples(everything))
    assert probability.sum() == pytest.approx(1, abs=1e-5)
    row = np.full(n, np.nan)
    row[[0, n - 1]] = 2, 0
    agrees = (everything[:, 0] == 2) & (everything[:, n - 1] == 0)
    assert model.score_samples(row[None])[0] == pytest.approx(
        np.log(probability[agrees].sum()), abs=1e-4
    )
    given = probability * agrees / probability[agrees].sum()
    mean = (given[:, None] * everything).sum(0)
    np.testing.assert_allclose(model.mean(row[None])[0], mean, atol=1e-4)
    draws = model.sample_conditional(np.tile(row, (2000, 1)), random_state=0)
    observed = np.bincount((draws[:, 1] * 3 + draws[:, n - 2]).astype(int), minlength=9)
    expected = np.bincount((everything[:, 1] * 3 + everything[:, n - 2]).astype(int), given, 9)
    assert chi_square_p(observed, 2000 * expected) > 1e-3


@pytest.mark.parametrize("structure", MAKERS)
def test_bad_parameters(structure):
    X = images((2, 3), 60)
    with pytest.raises(ValueError, match="needs the parameter image_shape"):
        EinetDensity(structure=structure).fit(X)
    with pytest.raises(ValueError, match="4 features, but X has 6"):
        EinetDensity(structure=structure, image_shape=(2, 2)).fit(X)


@pytest.mark.parametrize("structure", MAKERS)
def test_a_single_pixel(structure):
    X = images((2, 3), 60)[:, :1]
    model = EinetDensity(
        structure=structure, image_shape=(1, 1), leaf=Categorical(3), tol=1e3, random_state=0
    ).fit(X)
    everything = np.arange(3.0)[:, None]
    assert np.exp(model.score_samples(everything)).sum() == pytest.approx(1, abs=1e-5)


@pytest.mark.parametrize("structure", MAKERS)
def test_marginals_of_channels(structure):
    model = EinetDensity(
        structure=structure,
        image_shape=(2, 2, 2),
        leaf=Categorical(3),
        K=2,
        tol=1e3,
        random_state=0,
    ).fit(images((2, 2, 2)))
    rows = images((2, 2, 2), 20, seed=1)
    some = model.marginal([0, 3, 5])
    covered = np.full_like(rows, np.nan)
    covered[:, [0, 3, 5]] = rows[:, [0, 3, 5]]
    np.testing.assert_allclose(
        some.score_samples(rows[:, [0, 3, 5]]), model.score_samples(covered), atol=1e-4
    )


@pytest.mark.parametrize("structure", MAKERS)
def test_other_estimators_and_trimmed_rows(structure):
    X, rows = images((3, 3)), images((3, 3), 20, seed=1)
    parameters = {"structure": structure, "image_shape": (3, 3), "K": 2, "random_state": 0}
    far = np.tile([2.0, 0.0, 2.0], 3)[None]
    for model in (
        EinetOutlierDetector(trim=0.1, **parameters),
        EinetMixture(2, leaf=Categorical(3), max_iter=3, tol=1e3, **parameters),
    ):
        model.fit(X)
        assert np.isfinite(model.score_samples(rows)).all()
        assert model.score_samples(far)[0] < np.median(model.score_samples(rows))
    refitted = EinetDensity(tol=1e3, **parameters).fit(X).marginal([0, 1, 2, 5]).fit(X[:, :4])
    assert np.isfinite(refitted.score_samples(rows[:, :4])).all()
