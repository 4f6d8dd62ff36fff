"""Other libraries' densities, as the benchmark of continuous tables uses them."""

import importlib
from pathlib import Path

import numpy as np
import pytest

FOLDER = Path(__file__).parents[1] / "benchmarks"


@pytest.fixture
def rivals(monkeypatch):
    monkeypatch.syspath_prepend(FOLDER)
    return importlib.import_module("_rivals")


def correlated(n_rows, random_state):
    """Two columns, the first of which is skewed."""
    x = random_state.exponential(size=n_rows)
    X = np.column_stack([x, x + 0.5 * random_state.standard_normal(n_rows)])
    return (X - X.mean(axis=0)) / X.std(axis=0)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(
    ("name", "library"),
    [
        ("BICMixture", None),
        ("VineCopula", "pyvinecopulib"),
        ("SplineFlow", "zuko"),
        ("AdversarialForest", "arfpy"),
    ],
)
def test_densities_of_rivals_integrate_to_one(rivals, name, library):
    if library:
        pytest.importorskip(library)
    X = correlated(300, np.random.RandomState(0))
    model = getattr(rivals, name)().fit(X)
    edges = np.linspace(-8, 8, 201)
    points = (edges[1:] + edges[:-1]) / 2
    grid = np.stack(np.meshgrid(points, points), axis=-1).reshape(-1, 2)
    total = np.exp(model.score_samples(grid)).sum() * (points[1] - points[0]) ** 2
    assert total == pytest.approx(1, abs=0.04)
    fresh = correlated(300, np.random.RandomState(1))
    assert model.score_samples(fresh).mean() > -2.5


def test_mixture_of_the_lowest_bic(rivals):
    random_state = np.random.RandomState(0)
    X = np.concatenate([random_state.standard_normal((200, 2)) + c for c in (-4, 0, 4)])
    model = rivals.BICMixture(random_state=0).fit(X)
    assert model.chosen_["n_components"] == 3


def test_steps_of_rounded_columns(monkeypatch):
    monkeypatch.syspath_prepend(FOLDER)
    continuous = importlib.import_module("continuous")
    x = np.random.RandomState(0).standard_normal(1000)
    assert continuous.grid_step(x) == 0
    assert continuous.grid_step(np.round(x, 2)) == pytest.approx(0.01)
    assert continuous.grid_step(3 + 0.25 * np.round(20 * x)) == pytest.approx(0.25)
    some = np.where(np.arange(1000) % 50 == 0, x, np.round(x, 1))
    assert continuous.grid_step(some) == pytest.approx(0.1)
    X = np.column_stack([x, np.round(x, 1)])
    noisy = continuous.dequantized(X)
    np.testing.assert_array_equal(noisy[:, 0], x)
    assert np.abs(noisy - X).max() <= 0.05 + 1e-12
    np.testing.assert_array_equal(np.round(noisy[:, 1], 1), X[:, 1])


@pytest.mark.filterwarnings("ignore")
def test_forests_impute_numbers_and_categories(monkeypatch):
    monkeypatch.syspath_prepend(FOLDER)
    forests = importlib.import_module("_forests")
    random_state = np.random.RandomState(0)
    z = random_state.standard_normal(400)
    X = np.column_stack([z, 2 * z + 1, z > 0])
    gaps = np.where(random_state.random_sample(X.shape) < 0.2, np.nan, X)
    imputer = forests.MissForest(np.array([False, False, True]), [0, 0, 2], seed=0)
    filled, scores = imputer.fit(gaps).fill(gaps)
    known = ~np.isnan(gaps)
    np.testing.assert_allclose(filled[known], X[known])
    alone = known.sum(axis=1) == 2
    assert np.abs(filled - X)[alone & np.isnan(gaps[:, 1]), 1].mean() < 0.5
    assert (filled == X)[alone & np.isnan(gaps[:, 2]), 2].mean() > 0.9
    np.testing.assert_allclose(scores[2].sum(axis=1), 1)
