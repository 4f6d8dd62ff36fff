import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits

from sklearn_einet import EinetDensity
from sklearn_einet.circuit import Circuit, LeafColumns
from sklearn_einet.families import Bernoulli, Normal
from sklearn_einet.structure import poon_domingos
from tests.helpers.circuits import random_circuit, states


def counts(*arguments):
    graph = poon_domingos(*arguments)
    n_partitions = sum(len(region.partitions) for region in graph.regions)
    return len(graph.regions), n_partitions, len(graph.leaves)


def rectangles(n):
    """Rectangles of an n x n grid, and the cuts of all of them."""
    intervals = n * (n + 1) // 2
    cuts = sum((n - length + 1) * (length - 1) for length in range(1, n + 1))
    return intervals**2, 2 * intervals * cuts


# Regions, partitions, leaf regions.
KNOWN = {
    ((2, 2), 2): (9, 6, 4),
    ((4, 4), 4): (100, 200, 16),
    ((4, 4), (2, 4)): (9 + 4 * 8, 6 + 4 * 6, 16),
    ((28, 28), 4): (100, 200, 16),
    ((28, 28), 7): (784, 3136, 49),
    ((28, 28), (7, 28)): (784 + 49 * 99, 3136 + 49 * 200, 784),
    ((1, 5), 5): (15, 20, 5),
    ((6, 4), 2, "vertical"): (3, 1, 2),
    ((6, 4), 3, "horizontal"): (6, 4, 3),
    ((3, 3), (2, 99)): (9 + 2 + 2 + 8, 6 + 1 + 1 + 6, 9),
}


@pytest.mark.parametrize("arguments", KNOWN, ids=str)
def test_known_counts(arguments):
    assert counts(*arguments) == KNOWN[arguments]


@pytest.mark.parametrize("n", [2, 3, 5])
def test_counts_by_formula(n):
    regions, partitions = rectangles(n)
    assert counts((n, n), n) == (regions, partitions, n * n)


def test_parameters():
    graph = poon_domingos((4, 4), 2)
    columns = LeafColumns(Bernoulli(), np.arange(16), np.full((16, 1), 0.5))
    circuit = Circuit(graph, [columns], K=3)
    # Four halves have one partition of K sums each, the root two of one; leaves have 4 pixels each.
    assert circuit.n_parameters == 4 * 3 * 9 + 2 * 9 + 2 + 16 * 3


def test_every_rectangle_occurs_once_and_is_cut_along_all_lines():
    graph = poon_domingos((4, 6), 2)
    scopes = [region.scope for region in graph.regions]
    assert len(set(scopes)) == len(scopes)
    image = np.arange(24).reshape(4, 6)
    halves = {frozenset(c.scope) for p in graph.root.partitions for c in p.children}
    assert halves == {
        frozenset(part.ravel().tolist())
        for part in (image[:2], image[2:], image[:, :3], image[:, 3:])
    }


def test_channels_stay_together():
    graph = poon_domingos((2, 2, 3), 2)
    leaves = {tuple(sorted(leaf.scope)) for leaf in graph.leaves}
    assert leaves == {(0, 1, 2), (3, 4, 5), (6, 7, 8), (9, 10, 11)}


def test_axes():
    image = np.arange(16).reshape(4, 4)
    graph = poon_domingos((4, 4), 4, split_axes="vertical")
    leaves = {tuple(sorted(leaf.scope)) for leaf in graph.leaves}
    assert leaves == {tuple(column.tolist()) for column in image.T}


def test_density_sums_to_one():
    circuit = random_circuit(poon_domingos((2, 4), [2, 4]), {Bernoulli(): range(8)}, K=2)
    total = circuit.log_prob(states(*[2] * 8)).exp().sum()
    assert total.item() == pytest.approx(1, abs=1e-12)


def test_shared_regions_are_marginalised_once():
    """The marginal of a pixel, whichever way the root is cut."""
    circuit = random_circuit(poon_domingos((2, 2), 2), {Normal(): range(4)}, K=2)
    rows = torch.full((3, 4), torch.nan, dtype=torch.float64)
    np.testing.assert_allclose(circuit.log_prob(rows), 0, atol=1e-12)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (((4,), 2), "image_shape must be"),
        (((4, 0), 2), "image_shape must be"),
        (((4, 4.0), 2), "image_shape must be"),
        (((4, 4, 3, 1), 2), "image_shape must be"),
        (((4, 4), 0), "delta must be a positive integer"),
        (((4, 4), 2.0), "delta must be"),
        (((4, 4), [4, 2]), "increasing list of these"),
        (((4, 4), []), "delta must be"),
        (((4, 4), 1), "delta=1 does not split an image of 4 x 4"),
        (((4, 1), 4, "vertical"), "does not split"),
        (((4, 4), 2, "diagonal"), "split_axes must be one of"),
    ],
    ids=str,
)
def test_bad_input(arguments, message):
    with pytest.raises(ValueError, match=message):
        poon_domingos(*arguments)


# --- in the estimator


def of_images(**parameters):
    fast = {"K": 3, "delta": 4, "image_shape": (8, 8), "max_iter": 5, "random_state": 0}
    return EinetDensity(structure="poon-domingos", **(fast | parameters))


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_learns_images():
    X = (load_digits().data > 7).astype(float)
    train, test = X[:1200], X[1200:]
    model = of_images(max_iter=20).fit(train)
    assert len(model.region_graph_.regions) == 100
    trees = EinetDensity(1, 1, 3, structure="binary-trees", max_iter=20, random_state=0).fit(train)
    assert model.score(test) > trees.score(test) + 1
    covered = np.where(np.arange(64) < 32, np.nan, test)
    squared = (model.impute(covered) - test)[:, :32] ** 2
    assert squared.mean() < 0.9 * ((train.mean(0) - test)[:, :32] ** 2).mean()
    scores = model.feature_scores(test[:5])
    lacking = test[:5].copy()
    lacking[:, 20] = np.nan
    expected = model.score_samples(lacking) - model.score_samples(test[:5])
    np.testing.assert_allclose(scores[:, 20], expected, rtol=1e-9, atol=1e-9)
    upper = model.marginal(range(32))
    np.testing.assert_allclose(
        upper.score_samples(test[:5, :32]),
        model.score_samples(np.where(np.arange(64) < 32, test[:5], np.nan)),
    )
    assert upper.fit(train[:200, :32]).n_features_in_ == 32


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_full_em_is_monotone_on_shared_regions():
    X = load_digits().data[:200]
    model = of_images(solver="em", max_iter=15, tol=0, delta=[2, 4], pseudocount=0.0).fit(X)
    gains = np.diff(model.log_likelihoods_)
    assert (gains > -1e-6 * np.abs(model.log_likelihoods_[1:])).all()


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"image_shape": None}, "structure='poon-domingos' needs the parameter image_shape"),
        ({"delta": None}, "structure='poon-domingos' needs the parameter delta"),
        ({"image_shape": (8, 7)}, r"image_shape=\(8, 7\) has 56 features, but X has 64"),
        ({"delta": 1}, "delta=1 does not split"),
        ({"structure": "fractal"}, "'structure' parameter"),
        ({"split_axes": "diagonal"}, "'split_axes' parameter"),
        ({"delta": 0}, "'delta' parameter"),
    ],
    ids=str,
)
def test_bad_parameters(parameters, message):
    with pytest.raises(ValueError, match=message):
        of_images().set_params(**parameters).fit(load_digits().data)
