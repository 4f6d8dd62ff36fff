"""Displays of images and of log-densities."""

import matplotlib.pyplot as plt
import numpy as np
import pytest
from sklearn.datasets import load_digits
from sklearn.exceptions import NotFittedError

from sklearn_einet import EinetDensity, EinetMixture
from sklearn_einet.families import Binomial, Categorical
from sklearn_einet.inspection import ImageGridDisplay, LogDensityDisplay
from sklearn_einet.inspection.image_grid import COVER

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

X = load_digits().data[:300]
PIXELS = {"structure": "poon-domingos", "image_shape": (8, 8), "delta": 2}


@pytest.fixture(scope="module")
def model():
    return EinetMixture(2, K=3, leaf=Categorical(17), max_iter=3, random_state=0, **PIXELS).fit(X)


@pytest.fixture(scope="module")
def without_shape():
    return EinetDensity(replicas=1, K=2, leaf=Categorical(17), max_iter=2, random_state=0).fit(X)


@pytest.fixture(autouse=True)
def close_figures():
    yield
    plt.close("all")


def pixels(display):
    return np.asarray(display.ax_.images[0].get_array())


def test_new_images(model):
    display = ImageGridDisplay.from_estimator(model, n_samples=7, n_columns=4, random_state=0)
    drawn = model.sample(7, random_state=0)
    assert display.images.shape == (2, 4, 8, 8)
    np.testing.assert_array_equal(display.images.reshape(8, 64)[:7], drawn)
    assert display.value_range == (drawn.min(), drawn.max())
    image = pixels(display)
    assert image.shape == (2 * 9 - 1, 4 * 9 - 1, 3)
    first = (drawn[0].reshape(8, 8) - drawn.min()) / (drawn.max() - drawn.min())
    np.testing.assert_allclose(image[:8, :8, 0], first)
    np.testing.assert_array_equal(image[9:, 27:], 1)  # there is no eighth image
    assert display.figure_ is display.ax_.figure


def test_covered_images(model):
    covered = X[:3].copy()
    covered[:, :32] = np.nan
    display = ImageGridDisplay.from_estimator(
        model, covered, original=X[:3], n_draws=4, random_state=0
    )
    draws = model.sample_conditional(covered, n_draws=4, random_state=0)
    assert display.images.shape == (3, 6, 8, 8)
    np.testing.assert_array_equal(display.images[:, 0].reshape(3, 64), X[:3])
    np.testing.assert_array_equal(display.images[:, 1].reshape(3, 64), covered)
    np.testing.assert_array_equal(display.images[:, 2:].reshape(3, 4, 64), draws.swapaxes(0, 1))
    np.testing.assert_allclose(pixels(display)[:4, 9:17], np.broadcast_to(COVER, (4, 8, 3)))
    titles = [label.get_text() for label in display.ax_.get_xticklabels()]
    assert titles == ["original", "covered", "drawn"]
    alone = ImageGridDisplay.from_estimator(model, covered)
    assert alone.images.shape == (3, 2, 8, 8)


def test_wholly_covered_images(model):
    covered = np.full((2, 64), np.nan)
    display = ImageGridDisplay.from_estimator(model, covered, n_draws=2, random_state=0)
    assert np.isfinite(display.value_range).all()
    np.testing.assert_allclose(pixels(display)[:8, :8], np.broadcast_to(COVER, (8, 8, 3)))
    assert pixels(display)[:8, 9:17].std() > 0
    with pytest.raises(ValueError, match="value_range must be two numbers"):
        ImageGridDisplay.from_estimator(model, value_range=(5,))


def test_images_without_noise(model):
    display = ImageGridDisplay.from_estimator(model, n_samples=4, noise=False, random_state=0)
    drawn = model.sample(4, random_state=0, noise=False)
    np.testing.assert_array_equal(display.images.reshape(4, 64), drawn)


def test_colours_and_one_channel():
    rng = np.random.RandomState(0)
    colours = EinetDensity(replicas=1, K=2, max_iter=2, random_state=0).fit(rng.rand(60, 48))
    display = ImageGridDisplay.from_estimator(
        colours, n_samples=2, image_shape=(4, 4, 3), value_range=(0, 1)
    )
    assert display.images.shape == (1, 2, 4, 4, 3)
    expected = display.images[0, 1].clip(0, 1)
    np.testing.assert_allclose(pixels(display)[:, 5:], expected)
    grey = ImageGridDisplay.from_estimator(colours, n_samples=2, image_shape=(6, 8, 1))
    assert grey.images.shape == (1, 2, 6, 8)


def test_axes_and_arguments_are_passed_on(model):
    _, ax = plt.subplots()
    display = ImageGridDisplay.from_estimator(model, n_samples=2, ax=ax, alpha=0.5)
    assert display.ax_ is ax
    assert ax.images[0].get_alpha() == 0.5


@pytest.mark.parametrize(
    ("shape", "message"),
    [
        (None, "image_shape is not known"),
        ((8, 7), "has 56 features, but the model has 64"),
        ((4, 4, 4), "1 or 3 channels"),
        ((64,), r"must be \(height, width\)"),
        (5, r"must be \(height, width\)"),
        (("a", 8), r"must be \(height, width\)"),
        ((-8, -8), r"must be \(height, width\)"),
    ],
)
def test_bad_shapes(without_shape, shape, message):
    with pytest.raises(ValueError, match=message):
        ImageGridDisplay.from_estimator(without_shape, image_shape=shape)


def test_bad_originals_and_unfitted(model):
    with pytest.raises(ValueError, match="original has 2 images, X has 3"):
        ImageGridDisplay.from_estimator(model, X[:3], original=X[:2])
    with pytest.raises(NotFittedError):
        ImageGridDisplay.from_estimator(EinetMixture(**PIXELS))
    with pytest.raises(ValueError, match="n_draws"):
        ImageGridDisplay.from_estimator(model, X[:3], n_draws=0)


# --- histograms


def test_histograms_count_rows(model):
    noise = np.random.RandomState(0).randint(0, 17, (50, 64))
    display = LogDensityDisplay.from_estimator(model, {"digits": X, "noise": noise}, bins=20)
    np.testing.assert_array_equal(display.log_densities["noise"], model.score_samples(noise))
    digits, other = display.ax_.containers
    assert sum(bar.get_height() for bar in digits) == pytest.approx(1)
    assert sum(bar.get_height() for bar in other) == pytest.approx(1)
    assert [bar.get_x() for bar in digits] == [bar.get_x() for bar in other]
    assert len(digits) == 20
    labels = [text.get_text() for text in display.ax_.get_legend().get_texts()]
    assert sorted(labels) == ["digits", "noise", "outlier threshold"]


def test_impossible_rows_are_told():
    model = EinetDensity(K=2, leaf=Binomial(16), max_iter=2, random_state=0).fit(X)
    impossible = X[:4].copy()
    impossible[0, 0] = 99
    display = LogDensityDisplay.from_estimator(model, {"some": impossible, "none": impossible[:1]})
    labels = [text.get_text() for text in display.ax_.get_legend().get_texts()]
    assert "some (1 of 4 impossible)" in labels
    assert "none (1 of 1 impossible)" in labels
    assert sum(bar.get_height() for bar in display.ax_.containers[0]) == pytest.approx(0.75)


def test_sets_must_be_named(model):
    for sets in (X, [X]):
        with pytest.raises(TypeError, match="X must be a dict"):
            LogDensityDisplay.from_estimator(model, sets)
    with pytest.raises(ValueError, match="at least one table"):
        LogDensityDisplay.from_estimator(model, {})
