import builtins

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import polars as pl
import pytest
from matplotlib.colors import LogNorm
from sklearn.datasets import load_iris
from sklearn.exceptions import NotFittedError

from sklearn_einet import EinetDensity
from sklearn_einet.inspection import ConditionalDensityDisplay, FeatureScoresDisplay
from tests.helpers.densities import LEAVES, mixed_frame, small

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

NAMES = list("abcd")
IRIS = pd.DataFrame(load_iris().data, columns=NAMES)


@pytest.fixture(scope="module")
def model():
    return small(max_iter=30).fit(IRIS)


@pytest.fixture(scope="module")
def mixed():
    return small(leaf=LEAVES).fit(mixed_frame())


@pytest.fixture(autouse=True)
def close_figures():
    yield
    plt.close("all")


def test_bars_are_scores_above_the_usual(model):
    row = IRIS.iloc[[41]].assign(c=6.0)
    display = FeatureScoresDisplay.from_estimator(model, row, reference=IRIS)
    usual = model.feature_scores(IRIS).to_numpy().mean(axis=0)
    np.testing.assert_allclose(display.excess, model.feature_scores(row) - usual)
    lengths = [bar.get_width() for bar in display.ax_.patches]
    np.testing.assert_allclose(lengths, np.sort(display.excess[0])[::-1])
    labels = [label.get_text() for label in display.ax_.get_yticklabels()]
    assert labels[0] == "c = 6"
    assert display.ax_.get_title() == "Row 41"
    assert display.figure_ is display.ax_.figure


@pytest.mark.parametrize("make", [pd.DataFrame, pl.DataFrame])
def test_usual_scores_are_those_of_draws(model, make):
    rows = make(IRIS.iloc[:3].to_dict("list"))
    display = FeatureScoresDisplay.from_estimator(model, rows)
    given = FeatureScoresDisplay.from_estimator(model, rows, reference=IRIS)
    np.testing.assert_allclose(display.excess, given.excess, atol=0.6)


def test_missing_and_impossible_cells(mixed):
    row = mixed_frame().astype(float).iloc[[0]].assign(age=np.nan, passed=-7.0)
    display = FeatureScoresDisplay.from_estimator(mixed, row, max_features=3)
    labels = [label.get_text() for label in display.ax_.get_yticklabels()]
    assert len(labels) == 3
    assert labels[0] == "passed = -7"
    assert [text.get_text() for text in display.ax_.texts] == ["impossible"]
    everything = FeatureScoresDisplay.from_estimator(mixed, row, max_features=None)
    labels = [label.get_text() for label in everything.ax_.get_yticklabels()]
    assert labels[-1] == "age missing"


def test_heatmap(model):
    _, ax = plt.subplots()
    display = FeatureScoresDisplay.from_estimator(model, IRIS[:10], ax=ax, cmap="magma")
    assert display.ax_ is ax
    (image,) = ax.get_images()
    np.testing.assert_allclose(image.get_array(), display.excess)
    assert [label.get_text() for label in ax.get_xticklabels()] == NAMES
    assert display.plot(kind="heatmap", max_features=2).ax_ is not ax
    array = FeatureScoresDisplay.from_estimator(small().fit(IRIS.values), IRIS.values[:3])
    assert array.feature_names == ["0", "1", "2", "3"]


def test_lists_colors_and_scales(model):
    array_model = small().fit(IRIS.to_numpy())
    rows = IRIS[:3].to_numpy().tolist()
    display = FeatureScoresDisplay.from_estimator(array_model, rows, cmap=plt.get_cmap("magma"))
    assert display.row_names == ["0", "1", "2"]
    display.plot(vmax=None)
    (image,) = display.plot(norm=LogNorm(0.1, 5)).ax_.get_images()
    assert isinstance(image.norm, LogNorm)
    reference = IRIS.assign(a=np.nan)
    display = FeatureScoresDisplay.from_estimator(model, IRIS[:1], reference=reference)
    labels = [label.get_text() for label in display.ax_.get_yticklabels()]
    assert "a = 5.1" in labels


@pytest.mark.parametrize("value", [1e4, -1e6, 1e300])
def test_values_far_away_leave_room_for_the_curves(model, value):
    display = ConditionalDensityDisplay.from_estimator(model, IRIS[:1].assign(c=value), "c")
    assert display.conditional.sum() == pytest.approx(1, abs=5e-3)
    labels = [line.get_label() for line in display.ax_.get_lines()]
    assert f"value in the row, at {value:.6g}" in labels


def test_counts_with_many_values():
    counts = np.random.RandomState(0).poisson(1e5, size=(200, 1)) * np.array([[1, 3]])
    fitted = small(leaf="poisson").fit(counts)
    display = ConditionalDensityDisplay.from_estimator(fitted, [[1e5, np.nan]], 1)
    assert len(display.grid) <= 400
    assert len(display.ax_.get_lines()) == 2


def test_bad_kinds(model):
    with pytest.raises(ValueError, match="kind='bars' needs a single row, got 2"):
        FeatureScoresDisplay.from_estimator(model, IRIS[:2], kind="bars")
    with pytest.raises(ValueError, match="'kind' parameter"):
        FeatureScoresDisplay.from_estimator(model, IRIS[:2], kind="pie")
    with pytest.raises(ValueError, match="'max_features' parameter"):
        FeatureScoresDisplay.from_estimator(model, IRIS[:2], max_features=0)
    with pytest.raises(ValueError, match="'grid_resolution' parameter"):
        ConditionalDensityDisplay.from_estimator(model, IRIS[:1], "a", grid_resolution=1)
    with pytest.raises(NotFittedError):
        FeatureScoresDisplay.from_estimator(EinetDensity(), IRIS[:2])


@pytest.mark.parametrize("feature", ["c", 2])
def test_conditional_density(model, feature):
    display = ConditionalDensityDisplay.from_estimator(model, IRIS[:1], feature)
    assert display.is_discrete  # measured in tenths
    assert display.conditional.sum() == pytest.approx(1, abs=5e-3)
    assert display.marginal.sum() == pytest.approx(1, abs=0.02)


def test_conditional_density_of_numbers():
    continuous = EinetDensity(K=3, max_iter=5, tol=1.0, random_state=0).fit(
        IRIS + np.random.default_rng(0).normal(0, 0.03, IRIS.shape)
    )
    display = ConditionalDensityDisplay.from_estimator(continuous, IRIS[:1], "c")
    assert not display.is_discrete
    assert np.trapezoid(display.conditional, display.grid) == pytest.approx(1, abs=5e-3)
    assert np.trapezoid(display.marginal, display.grid) == pytest.approx(1, abs=0.02)
    rows = pd.concat([IRIS[:1]] * 400).assign(c=display.grid)
    expected = np.exp(continuous.conditional_score_samples(rows, given=["a", "b", "d"]))
    np.testing.assert_allclose(display.conditional, expected, rtol=1e-9)
    assert display.ax_.get_xlabel() == "c"
    lines = display.ax_.get_lines()
    np.testing.assert_array_equal(lines[0].get_ydata(), display.conditional)
    assert lines[2].get_xdata()[0] == 1.4
    assert len(display.plot().ax_.get_lines()) == 3


@pytest.mark.parametrize("feature", ["city", "visits", "member"])
def test_probabilities_of_discrete_columns(mixed, feature):
    row = mixed_frame().astype(float).iloc[[0]].assign(**{feature: np.nan})
    display = ConditionalDensityDisplay.from_estimator(mixed, row, feature, color="green")
    assert display.is_discrete
    assert display.conditional.sum() == pytest.approx(1, abs=0.01)
    assert len(display.ax_.containers[0].patches) == len(display.grid)
    assert not display.ax_.get_lines()  # no mark for a missing value


def test_impossible_cells_are_not_conditioned_on(mixed):
    row = mixed_frame().astype(float).iloc[[0]].assign(city=7.0)
    with pytest.warns(UserWarning, match="Column 'city' holds 7"):
        display = ConditionalDensityDisplay.from_estimator(mixed, row, "age")
    missing = ConditionalDensityDisplay.from_estimator(mixed, row.assign(city=np.nan), "age")
    np.testing.assert_allclose(display.conditional, missing.conditional)
    shown = ConditionalDensityDisplay.from_estimator(mixed, row, "city")
    assert shown.conditional.sum() == pytest.approx(1)


def test_the_grid_stays_inside_the_support(mixed):
    row = mixed_frame().astype(float).iloc[[0]]
    display = ConditionalDensityDisplay.from_estimator(mixed, row, "income")
    assert display.grid.min() > 0
    assert (display.marginal > 0).all()


def test_names_of_many_rows(model):
    rows = IRIS.set_index(IRIS.index + 1000)
    ax = FeatureScoresDisplay.from_estimator(model, rows).ax_
    for tick, label in zip(ax.get_yticks(), ax.get_yticklabels(), strict=True):
        assert int(label.get_text()) == tick + 1000
    assert len(ax.get_yticks()) == 40


def test_bad_rows_and_columns(model):
    with pytest.raises(ValueError, match="single row, got 2"):
        ConditionalDensityDisplay.from_estimator(model, IRIS[:2], "a")
    with pytest.raises(ValueError, match="feature names the column 'x'"):
        ConditionalDensityDisplay.from_estimator(model, IRIS[:1], "x")
    with pytest.raises(ValueError, match="feature must be a single column"):
        ConditionalDensityDisplay.from_estimator(model, IRIS[:1], ["a", "b"])


def test_without_matplotlib(model, monkeypatch):
    original = builtins.__import__

    def no_matplotlib(name, *arguments, **options):
        if name.startswith("matplotlib"):
            raise ImportError(name)
        return original(name, *arguments, **options)

    monkeypatch.setattr(builtins, "__import__", no_matplotlib)
    with pytest.raises(ImportError, match="pip install matplotlib"):
        FeatureScoresDisplay.from_estimator(model, IRIS[:1])
