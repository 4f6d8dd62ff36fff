"""Rows with some of the columns, as dicts and DataFrames; DataFrames returned for DataFrames."""

import numpy as np
import pandas as pd
import polars as pl
import pytest
import sklearn

from sklearn_einet import EinetDensity, EinetImputer
from tests.helpers.people import FRAME, LEAF, NAMES, SMALL


@pytest.fixture(scope="module")
def model():
    transform = {"quantile-spline": ["age"]}
    return EinetDensity(leaf=LEAF, numeric_transform=transform, **SMALL).fit(FRAME)


@pytest.fixture(scope="module")
def polars_model():
    return EinetDensity(leaf=LEAF, structure="chow-liu", **SMALL).fit(pl.from_pandas(FRAME))


@pytest.fixture(params=["pandas", "polars"])
def fitted(request, model, polars_model):
    return model if request.param == "pandas" else polars_model


def test_dicts_are_rows(fitted):
    kind = type(fitted.sample(1))
    given = {"age": 40, "city": ["Rome", "Oslo", "Rome"], "visits": [3, None, 5]}
    drawn = fitted.sample_conditional(given, random_state=0)
    assert type(drawn) is kind
    assert list(drawn.columns) == NAMES
    assert drawn["age"].to_list() == [40] * 3
    assert drawn["city"].to_list() == given["city"]
    assert [drawn["visits"].to_list()[i] for i in (0, 2)] == [3, 5]
    usual = fitted.sample(3, random_state=0)
    assert [type(drawn[c].dtype) for c in NAMES] == [type(usual[c].dtype) for c in NAMES]
    several = fitted.sample_conditional(given, n_draws=4, random_state=0)
    assert len(several) == 4
    assert all(type(each) is kind and each.shape == (3, len(NAMES)) for each in several)
    for strategy in ("mean", "mpe", "sample"):
        filled = fitted.impute(given, strategy, random_state=0)
        assert filled["city"].to_list() == given["city"]
        assert type(filled) is kind
    mean, variance = fitted.mean(given), fitted.variance(given)
    assert type(mean) is type(variance) is kind
    assert mean["age"].to_list() == [40] * 3
    assert variance["age"].to_list() == [0] * 3
    assert variance["visits"].to_list()[1] > 0
    assert fitted.impute({}, random_state=0).shape == (1, len(NAMES))


def test_dicts_are_the_same_as_rows_with_gaps(model):
    some = FRAME[["age", "sex", "wins"]][:5]
    whole = some.reindex(columns=NAMES).astype({"city": FRAME["city"].dtype})
    expected = model.mean(whole)
    for given in (some, some.to_dict("list"), some[["wins", "sex", "age"]]):
        np.testing.assert_allclose(model.mean(given), expected)
        np.testing.assert_allclose(
            model.conditional_score_samples(given, ["sex"]),
            model.conditional_score_samples(whole, ["sex"]),
        )


def test_frames_of_some_columns_keep_kind_and_index(model):
    some = FRAME[["sex", "age"]][7:10].set_axis(["x", "y", "z"])
    for filled in (model.impute(some), *model.sample_conditional(some, 2, random_state=0)):
        assert list(filled.index) == ["x", "y", "z"]
        assert list(filled.columns) == NAMES
        assert filled["age"].tolist() == some["age"].tolist()
    assert list(model.variance(some).index) == ["x", "y", "z"]
    other = model.impute(pl.from_pandas(some))
    assert isinstance(other, pl.DataFrame)
    assert other.columns == NAMES
    assert isinstance(model.sample_conditional(pl.from_pandas(some), 2)[1], pl.DataFrame)
    mean = model.mean(pl.from_pandas(some))
    assert isinstance(mean, pl.DataFrame)
    assert mean.columns == NAMES
    with sklearn.config_context(transform_output="polars"):
        assert isinstance(model.impute(some), pl.DataFrame)


def test_dicts_of_numbers_for_models_of_arrays():
    X = FRAME[["age", "income", "wait"]].to_numpy()
    model = EinetDensity(**SMALL).fit(X)
    filled = model.impute({0: [30, 50], 2: 1.0})
    assert isinstance(filled, np.ndarray)
    np.testing.assert_array_equal(filled[:, [0, 2]], [[30, 1], [50, 1]])
    np.testing.assert_allclose(model.mean({0: [30, 50], 2: 1.0}), filled)
    assert model.sample_conditional({0: 30}, n_draws=3).shape == (3, 1, 3)
    coded = EinetDensity(categorical_features=[1], **SMALL).fit(
        FRAME[["age", "sex"]].to_numpy(object)
    )
    assert coded.sample_conditional({1: "male"}, random_state=0)[0, 1] == "male"
    assert (coded.sample(9, random_state=0, given={1: ["male", "other"]})[:, 1] != "female").all()


@pytest.mark.parametrize("query", ["impute", "sample_conditional", "mean", "variance"])
def test_bad_rows_name_the_column(model, query):
    ask = getattr(model, query)
    with pytest.raises(TypeError, match=r"tuple in column 'age'.*sample\(n_samples, given="):
        ask({"age": (40, None)})
    with pytest.raises(TypeError, match="set in column 'sex'"):
        ask({"sex": {"male", "other"}})
    with pytest.raises(ValueError, match="X names the column 'size', which X does not have"):
        ask({"size": 3})
    with pytest.raises(ValueError, match="X has the category 'ladies' in column 'sex'"):
        ask({"sex": "ladies"})
    with pytest.raises(ValueError, match="infinite value in column 'age'"):
        ask({"age": [3, np.inf]})
    with pytest.raises(ValueError, match="same number of values"):
        ask({"age": [3, 4], "income": [1, 2, 3]})
    with pytest.raises(ValueError, match="feature names"):
        ask(FRAME[["age"]].assign(size=3))
    with (
        pytest.warns(UserWarning, match="does not have valid feature names"),
        pytest.raises(ValueError, match="X has 0 features"),
    ):
        ask(FRAME[[]])


# --- DataFrames in, DataFrames out


def test_moments_and_scores_of_frames_are_frames(fitted):
    X = FRAME[:6].set_axis(list("abcdef")).astype({"income": float})
    X.loc["a", "income"] = np.nan
    plain = fitted.sample(1)
    X = X if isinstance(plain, pd.DataFrame) else pl.from_pandas(X)
    results = {
        "mean": fitted.mean(X),
        "variance": fitted.variance(X),
        "conditional": fitted.feature_scores(X),
        "marginal": fitted.feature_scores(X, "marginal"),
    }
    for result in results.values():
        assert type(result) is type(X)
        assert list(result.columns) == NAMES
        assert result.shape == X.shape
        if isinstance(X, pd.DataFrame):
            assert set(map(str, result.dtypes)) == {"float64"}
            assert list(result.index) == list("abcdef")
        else:
            assert set(result.dtypes) == {pl.Float64}
    assert results["mean"]["age"].to_list() == X["age"].to_list()
    assert results["variance"]["age"].to_list() == [0] * 6
    assert results["variance"]["income"].to_list()[0] > 0
    assert np.isnan(results["mean"]["city"].to_list()).all()
    assert np.isnan(results["conditional"]["income"].to_list()[0])
    assert isinstance(fitted.mean(), np.ndarray)
    assert isinstance(fitted.variance(), np.ndarray)


def test_arrays_for_arrays():
    X = FRAME[["age", "income"]]
    model = EinetDensity(**SMALL).fit(X.to_numpy())
    for query in (model.mean, model.variance, model.feature_scores):
        assert isinstance(query(X.to_numpy()), np.ndarray)
        with sklearn.config_context(transform_output="pandas"):
            assert isinstance(query(X.to_numpy()), np.ndarray)


def test_transformers_want_all_columns():
    imputer = EinetImputer(EinetDensity(leaf=LEAF, **SMALL)).fit(FRAME)
    for fill in (imputer.transform, imputer.transform_multiple):
        with pytest.raises(ValueError, match="feature names should match"):
            fill(FRAME[["age", "sex"]])
        with pytest.raises(TypeError, match="X must be a table, got dict"):
            fill({"age": 40})
