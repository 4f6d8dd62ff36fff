"""What EinetImputer promises to a scikit-learn user."""

import numpy as np
import pandas as pd
import polars as pl
import pytest
from sklearn.base import clone
from sklearn.datasets import load_diabetes, load_iris
from sklearn.ensemble import GradientBoostingRegressor
from sklearn.exceptions import NotFittedError
from sklearn.frozen import FrozenEstimator
from sklearn.impute import KNNImputer, SimpleImputer
from sklearn.linear_model import LinearRegression
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.pipeline import make_pipeline

from sklearn_einet import EinetDensity, EinetImputer
from tests.helpers.densities import small, with_gaps

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

IRIS = load_iris()
GAPS = with_gaps(IRIS.data, 0.3)
NAMES = [name.removesuffix(" (cm)") for name in IRIS.feature_names]


def imputer(**parameters):
    return EinetImputer(small(), random_state=0, **parameters)


@pytest.mark.parametrize("strategy", ["mean", "mpe", "sample"])
def test_is_the_density_that_it_holds(strategy):
    fitted = imputer(strategy=strategy).fit(GAPS)
    expected = fitted.density_.impute(GAPS, strategy=strategy, random_state=0)
    np.testing.assert_array_equal(fitted.transform(GAPS), expected)
    np.testing.assert_array_equal(imputer(strategy=strategy).fit_transform(GAPS), expected)
    assert not hasattr(fitted.density, "circuit_")


def test_default_density():
    fitted = EinetImputer(random_state=3).fit(IRIS.data[:40])
    assert isinstance(fitted.density_, EinetDensity)
    assert fitted.density_.random_state == 3


def test_beats_simple_means_and_neighbours():
    """Also on rows that were not in fit."""
    rng = np.random.RandomState(0)
    latent = rng.randn(1500, 2)
    X = latent @ rng.randn(2, 8) + 0.3 * rng.randn(1500, 8)
    gaps = with_gaps(X, 0.3)
    missing = np.isnan(gaps[1000:])

    def error(imputer):
        filled = imputer.fit(gaps[:1000]).transform(gaps[1000:])
        return np.sqrt(np.mean((filled - X[1000:])[missing] ** 2))

    mine = error(EinetImputer(random_state=0))
    assert mine < 0.6 * error(SimpleImputer())
    assert mine < error(KNNImputer())


def test_multiple_imputation():
    fitted = imputer(n_draws=200).fit(GAPS)
    tables = fitted.transform_multiple(GAPS)
    assert len(tables) == 200
    missing = np.isnan(GAPS)
    for table in tables:
        np.testing.assert_array_equal(table[~missing], GAPS[~missing])
    spread, mean = np.std(tables, axis=0), np.mean(tables, axis=0)
    assert (spread[missing] > 0).all()
    difference = np.abs(mean - fitted.density_.impute(GAPS))[missing]
    assert (difference < 5 * spread[missing] / np.sqrt(200)).all()


def test_seeds():
    fitted = imputer(strategy="sample").fit(GAPS)
    np.testing.assert_array_equal(fitted.transform(GAPS), fitted.transform(GAPS))
    np.testing.assert_array_equal(fitted.transform_multiple(GAPS), fitted.transform_multiple(GAPS))
    fitted.set_params(random_state=None)
    assert not np.array_equal(fitted.transform(GAPS), fitted.transform(GAPS))


@pytest.mark.parametrize(("output", "make"), [("pandas", pd.DataFrame), ("polars", pl.DataFrame)])
def test_set_output(output, make):
    frame = make(dict(zip(NAMES, GAPS.T, strict=True)))
    fitted = imputer(n_draws=2).set_output(transform=output).fit(frame)
    assert fitted.get_feature_names_out().tolist() == NAMES
    for table in (fitted.transform(frame), *fitted.transform_multiple(frame)):
        assert isinstance(table, make)
        assert list(table.columns) == NAMES
    if output == "pandas":
        shuffled = frame.set_index(np.arange(150)[::-1])
        assert fitted.transform(shuffled).index.equals(shuffled.index)


def test_before_a_regressor():
    X, y = load_diabetes(return_X_y=True)
    gaps = with_gaps(X, 0.2)
    model = make_pipeline(EinetImputer(small(), random_state=0), LinearRegression())
    assert cross_val_score(model, gaps, y, cv=3).mean() > 0.2
    model = make_pipeline(imputer(), GradientBoostingRegressor(random_state=0)).fit(gaps, y)
    assert model.predict(gaps).shape == (442,)


def test_in_a_grid_search():
    search = GridSearchCV(
        make_pipeline(imputer(), LinearRegression()),
        {"einetimputer__density__K": [2, 4], "einetimputer__strategy": ["mean", "mpe"]},
        cv=2,
    ).fit(GAPS[:, :3], IRIS.data[:, 3])
    assert np.isfinite(search.cv_results_["mean_test_score"]).all()


def test_a_fitted_density_can_be_used_again():
    density = small().fit(GAPS)
    frozen = EinetImputer(FrozenEstimator(density)).fit(GAPS[:5])
    np.testing.assert_array_equal(frozen.transform(GAPS), density.impute(GAPS))
    before = vars(frozen).copy()
    with pytest.raises(ValueError, match=r"density is fitted to the columns \[0, 1, 2, 3\]"):
        frozen.fit(GAPS[:5, :2])
    assert vars(frozen) == before


def test_categories():
    frame = pd.DataFrame(IRIS.data, columns=NAMES).assign(kind=IRIS.target.astype(float))
    frame.loc[::4, "kind"] = np.nan
    filled = EinetImputer(small(leaf={"categorical": ["kind"]}, max_iter=30)).fit_transform(frame)
    assert np.mean(filled[::4, 4] == IRIS.target[::4]) > 0.85


def test_sample_weight():
    weight = np.where(IRIS.target == 0, 100.0, 1.0)
    row = np.full((1, 4), np.nan)
    plain, weighted = imputer().fit(IRIS.data), imputer().fit(IRIS.data, sample_weight=weight)
    first = IRIS.data[:50].mean(0)
    assert (
        np.abs(weighted.transform(row) - first).max() < np.abs(plain.transform(row) - first).max()
    )


def test_errors():
    with pytest.raises(NotFittedError):
        imputer().transform(GAPS)
    with pytest.raises(NotFittedError):
        imputer().transform_multiple(GAPS)
    with pytest.raises(ValueError, match="'strategy' parameter"):
        imputer(strategy="median").fit(GAPS)
    with pytest.raises(ValueError, match="'n_draws' parameter"):
        imputer(n_draws=0).fit(GAPS)
    with pytest.raises(ValueError, match="'density' parameter"):
        EinetImputer(LinearRegression()).fit(GAPS)
    with pytest.raises(ValueError, match="Column 0 has no observed value"):
        imputer().fit(np.full((5, 2), np.nan))
    fitted = imputer().fit(GAPS)
    with pytest.raises(ValueError, match="3 features"):
        fitted.transform(GAPS[:, :3])


def test_a_failed_fit_leaves_the_imputer_as_it_was():
    fitted = imputer().fit(GAPS)
    before = fitted.transform(GAPS)
    with pytest.raises(ValueError, match="infinity"):
        fitted.fit(np.full((5, 2), np.inf))
    np.testing.assert_array_equal(fitted.transform(GAPS), before)
    assert clone(fitted).get_params()["density"].K == 4
