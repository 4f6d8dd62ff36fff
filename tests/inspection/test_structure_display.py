"""The display of Chow-Liu trees, and the places of their nodes."""

import matplotlib.pyplot as plt
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from matplotlib.collections import LineCollection
from sklearn.exceptions import NotFittedError
from sklearn.pipeline import make_pipeline

from sklearn_einet import EinetDensity
from sklearn_einet.families import Categorical
from sklearn_einet.inspection.structure import StructureDisplay
from sklearn_einet.inspection.tree_layout import tree_layout
from sklearn_einet.model.table_density import TableDensity
from sklearn_einet.structure.tree_regions import tree_regions

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

NAMES = list("abcd")
TREES = [np.array([1, -1, 1, 2]), np.array([-1, 0, 1, 2])]
rng = np.random.RandomState(0)
WALK = rng.standard_normal((400, 4)).cumsum(axis=1)


@pytest.fixture
def model():
    """Any model of four columns, as if its structure were known trees."""
    model = EinetDensity(replicas=1, K=3, max_iter=20, random_state=0).fit(WALK)
    model.structure, model.region_graph_ = "chow-liu", tree_regions(TREES)
    return model


@pytest.fixture(autouse=True)
def close_figures():
    yield
    plt.close("all")


def random_tree(n, seed):
    """Parents of n nodes, whose numbers are shuffled; deep trees as well as flat ones."""
    random_state = np.random.RandomState(seed)
    reach = random_state.randint(1, n + 1)
    new = random_state.permutation(n)
    parents = np.full(n, -1)
    for node in range(1, n):
        parents[new[node]] = new[random_state.randint(max(0, node - reach), node)]
    return parents


def boxes(display):
    renderer = display.figure_.canvas.get_renderer()
    return [text.get_bbox_patch().get_window_extent(renderer) for text in display.ax_.texts]


def edges_of(display):
    return next(c for c in display.ax_.collections if isinstance(c, LineCollection))


def assert_apart(display):
    display.figure_.canvas.draw()
    found = boxes(display)
    for i, box in enumerate(found):
        assert not any(box.overlaps(other) for other in found[:i])
        assert display.figure_.bbox.count_contains(box.corners()) == 4


# --- places


@given(n=st.integers(1, 40), seed=st.integers(0, 1000))
@settings(deadline=None, max_examples=60)
def test_places(n, seed):
    parents = random_tree(n, seed)
    depth, row = tree_layout(parents)
    inner = np.flatnonzero(parents >= 0)
    np.testing.assert_array_equal(depth[inner], depth[parents[inner]] + 1)
    assert row.min() == 0
    for level in range(depth.max() + 1):
        nodes = np.flatnonzero(depth == level)
        nodes = nodes[np.argsort(row[nodes])]
        assert (np.diff(row[nodes]) > 1 - 1e-9).all()
        # Edges do not cross: children are in the order of their parents.
        if level:
            assert (np.diff(row[parents[nodes]]) >= 0).all()
    for node in range(n):
        below = row[parents == node]
        if len(below):
            assert row[node] == pytest.approx((below.min() + below.max()) / 2)


def test_long_chains():
    depth, row = tree_layout(np.arange(-1, 3000))
    np.testing.assert_array_equal(depth, np.arange(3001))
    assert not row.any()


@pytest.mark.parametrize("parents", [[1, 0], [-1, -1], [-1, 2, 1], [-1, 5], [-1, -2], []])
def test_no_trees(parents):
    with pytest.raises(ValueError, match="parents"):
        tree_layout(np.array(parents, dtype=int))


# --- pictures


@pytest.mark.parametrize("n", [2, 13, 30, 100])
def test_boxes_do_not_overlap(n):
    names = [f"column {'m' * (i % 13)} {i}" for i in range(n)]
    strengths = np.linspace(0, 1, n)
    assert_apart(StructureDisplay(random_tree(n, n), names=names, strengths=strengths).plot())


@pytest.mark.parametrize("size", [(3, 6), (8, 2), (14, 9)])
def test_boxes_do_not_overlap_in_given_axes(size):
    _, ax = plt.subplots(figsize=size)
    names = [f"column number {i}" for i in range(30)]
    display = StructureDisplay(random_tree(30, 1), names=names, strengths=np.ones(30))
    assert display.plot(ax=ax).ax_ is ax
    assert_apart(display)
    sizes = {text.get_fontsize() for text in ax.texts}
    assert len(sizes) == 1
    assert max(sizes) <= 9


def test_a_single_column():
    display = StructureDisplay([-1], names=["only"], strengths=[0.0]).plot()
    assert [text.get_text() for text in display.ax_.texts] == ["only"]
    assert len(edges_of(display).get_segments()) == 0
    assert_apart(display)


def test_names_are_no_formulas():
    display = StructureDisplay([-1, 0], names=["$x^", "a_$b$"]).plot()
    assert_apart(display)
    assert [text.get_text() for text in display.ax_.texts] == ["$x^", "a_$b$"]


def test_edges_join_parents_and_children():
    strengths = [0.5, np.nan, 0.25, 1.0]
    display = StructureDisplay(TREES[0], names=NAMES, strengths=strengths).plot()
    places = np.array([text.get_position() for text in display.ax_.texts])
    edges = edges_of(display)
    np.testing.assert_array_equal(edges.get_array(), [0.25, 0.5, 1.0])
    assert (np.diff(edges.get_linewidths()) > 0).all()
    for segment, child in zip(edges.get_segments(), [2, 0, 3], strict=True):
        np.testing.assert_allclose(segment[0], places[TREES[0][child]])
        np.testing.assert_allclose(segment[-1], places[child])
    (bar,) = display.ax_.child_axes
    assert bar.get_title(loc="left") == "mutual information (nats)"
    plain = display.plot(color="red")
    assert edges_of(plain).get_array() is None
    assert not plain.ax_.child_axes
    assert edges_of(display.plot(cmap="magma")).get_cmap().name == "magma"


def test_all_edges_of_strength_zero():
    assert_apart(StructureDisplay(TREES[0], names=NAMES, strengths=np.zeros(4)).plot())


# --- of estimators


def test_of_an_estimator(model):
    display = StructureDisplay.from_estimator(model)
    np.testing.assert_array_equal(display.parents, TREES[0])
    assert [text.get_text() for text in display.ax_.texts] == ["0", "1", "2", "3"]
    assert display.figure_ is display.ax_.figure
    again = StructureDisplay.from_estimator(model, replica=1, feature_names=NAMES, fontsize=5)
    np.testing.assert_array_equal(again.parents, TREES[1])
    assert [text.get_text() for text in again.ax_.texts] == NAMES
    assert again.ax_.texts[0].get_fontsize() == 5
    _, ax = plt.subplots()
    plain = StructureDisplay.from_estimator(model, n_draws=0, ax=ax, linestyles="dashed")
    assert plain.strengths is None
    assert plain.ax_ is ax
    assert edges_of(plain).get_array() is None


def test_strengths_are_mutual_information(model, monkeypatch):
    monkeypatch.setattr(TableDensity, "draws", lambda *_: WALK)  # whatever the model is like
    strengths = StructureDisplay.from_estimator(model, replica=1).strengths
    # A walk's neighbours have correlations (k / (k + 1)) ** 0.5; bins lose some of that.
    expected = 0.5 * np.log(np.arange(2, 5))
    assert strengths[0] == 0
    assert (strengths[1:] < expected + 0.05).all()
    assert (strengths[1:] > 0.6 * expected).all()


def test_strengths_of_categories(monkeypatch):
    codes = np.random.RandomState(0).randint(0, 12, 500)
    X = np.column_stack([codes, (5 * codes) % 12])
    model = EinetDensity(K=2, leaf=Categorical(12), max_iter=1, random_state=0)
    model.fit(X)
    model.structure, model.region_graph_ = "chow-liu", tree_regions([[-1, 0]])
    monkeypatch.setattr(TableDensity, "draws", lambda *_: X)
    # Codes in bins would lose information about such a permutation.
    assert StructureDisplay.from_estimator(model).strengths[1] == pytest.approx(np.log(12), 0.1)


def test_of_a_learned_structure():
    model = EinetDensity(structure="chow-liu", K=4, max_iter=20, random_state=0).fit(WALK)
    display = StructureDisplay.from_estimator(model)
    joined = {frozenset((child, int(p))) for child, p in enumerate(display.parents) if p >= 0}
    assert joined == {frozenset((0, 1)), frozenset((1, 2)), frozenset((2, 3))}
    assert (display.strengths[display.parents >= 0] > 0.1).all()


def test_errors(model):
    with pytest.raises(ValueError, match="replica must be below 2, got 2"):
        StructureDisplay.from_estimator(model, replica=2)
    with pytest.raises(ValueError, match="feature_names has 3 names, but the model has 4 columns"):
        StructureDisplay.from_estimator(model, feature_names=NAMES[:3])
    with pytest.raises(ValueError, match="'n_draws' parameter"):
        StructureDisplay.from_estimator(model, n_draws=-1)
    with pytest.raises(ValueError, match="or is the marginal of a model"):
        StructureDisplay.from_estimator(model.marginal([0, 1]))
    with pytest.raises(ValueError, match="in a Pipeline: pass the fitted EinetDensity itself"):
        StructureDisplay.from_estimator(make_pipeline(model))
    model.structure = "binary-trees"
    with pytest.raises(ValueError, match="fit an EinetDensity with structure='chow-liu'"):
        StructureDisplay.from_estimator(model)
    with pytest.raises(NotFittedError):
        StructureDisplay.from_estimator(EinetDensity())
