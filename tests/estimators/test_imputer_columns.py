"""Columns that EinetImputer adds, leaves out and reads, beside those of scikit-learn's imputers."""

import warnings

import numpy as np
import pandas as pd
import polars as pl
import pytest
from sklearn.exceptions import ConvergenceWarning
from sklearn.experimental import enable_iterative_imputer  # noqa: F401
from sklearn.frozen import FrozenEstimator
from sklearn.impute import IterativeImputer, KNNImputer, SimpleImputer

from sklearn_einet import EinetImputer
from tests.helpers.densities import small

pytestmark = pytest.mark.filterwarnings(
    "ignore::sklearn.exceptions.ConvergenceWarning", "ignore:Skipping features:UserWarning"
)

LEFT_OUT = "ignore:Columns .* left out:UserWarning"
NAMES = ["size", "none", "age", "rank"]
ROWS = 60


def numbers():
    """Four columns: gaps in the first and the last, nothing but gaps in the second."""
    X = np.random.RandomState(0).randn(ROWS, 4)
    X[::5, 0] = X[1::7, 3] = X[:, 1] = np.nan
    return X


MAKERS = {
    "array": lambda X: X,
    "list": lambda X: X.tolist(),
    "pandas": lambda X: pd.DataFrame(X, columns=NAMES, index=range(100, 100 + ROWS)),
    "polars": lambda X: pl.DataFrame(X, schema=NAMES),
}


def imputer(**parameters):
    return EinetImputer(small(max_iter=2, K=2), random_state=0, n_draws=2, **parameters)


def same_form(found, expected):
    """Assert that two tables agree in all but their values."""
    assert type(found) is type(expected)
    assert found.shape == expected.shape
    if isinstance(expected, np.ndarray):
        assert found.dtype == expected.dtype
        return
    assert list(found.columns) == list(expected.columns)
    assert list(found.dtypes) == list(expected.dtypes)
    if isinstance(expected, pd.DataFrame):
        assert found.index.equals(expected.index)


@pytest.mark.filterwarnings(LEFT_OUT)
@pytest.mark.parametrize("output", ["default", "pandas", "polars"])
@pytest.mark.parametrize("kind", MAKERS)
@pytest.mark.parametrize("keep", [False, True])
@pytest.mark.parametrize("add", [False, True])
def test_same_columns_as_of_scikit_learns_imputers(kind, output, keep, add):
    X = MAKERS[kind](numbers())
    options = {"add_indicator": add, "keep_empty_features": keep}
    mine = imputer(**options).set_output(transform=output)
    other = SimpleImputer(**options).set_output(transform=output)
    found, expected = mine.fit_transform(X), other.fit_transform(X)
    same_form(found, expected)
    assert mine.get_feature_names_out().tolist() == other.get_feature_names_out().tolist()
    values, reference = np.asarray(found), np.asarray(expected)
    known = ~np.isnan(numbers())
    known[:, 1] = True  # 0 in both, or in neither
    known = known if keep else np.delete(known, 1, axis=1)
    known = np.hstack([known, np.ones((ROWS, values.shape[1] - known.shape[1]), dtype=bool)])
    np.testing.assert_array_equal(values[known], reference[known])
    assert not np.isnan(values).any()
    for table in mine.transform_multiple(X):
        same_form(table, expected)
        np.testing.assert_array_equal(np.asarray(table)[known], reference[known])


@pytest.mark.filterwarnings(LEFT_OUT)
@pytest.mark.parametrize(
    "other", [KNNImputer(add_indicator=True), IterativeImputer(max_iter=1, add_indicator=True)]
)
@pytest.mark.parametrize("kind", ["array", "pandas"])
def test_same_columns_where_new_rows_miss_others(kind, other):
    X, new = numbers(), numbers()[:20]
    new[:3, 2], new[:4, 1] = np.nan, 5.0
    X, new = MAKERS[kind](X), (new if kind == "array" else pd.DataFrame(new, columns=NAMES))
    mine = imputer(add_indicator=True).set_output(transform="pandas").fit(X)
    other = other.set_output(transform="pandas").fit(X)
    found, expected = mine.transform(new), other.transform(new)
    same_form(found, expected)
    names = [name for name in expected if name.startswith("missingindicator_")]
    assert len(names) == 3
    pd.testing.assert_frame_equal(found[names], expected[names])
    assert mine.get_feature_names_out().tolist() == other.get_feature_names_out().tolist()


def test_a_warning_names_columns_that_are_left_out():
    X = MAKERS["pandas"](numbers())
    with pytest.warns(UserWarning, match=r"Columns \['none'\].*keep_empty_features") as caught:
        fitted = imputer().fit(X)
    assert caught[0].filename == __file__
    assert fitted.empty_features_.tolist() == [1]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warnings.simplefilter("ignore", ConvergenceWarning)
        imputer(keep_empty_features=True).fit(X)


def test_kept_columns_keep_what_new_rows_have():
    fitted = imputer(keep_empty_features=True).fit(numbers())
    new = numbers()[:3]
    new[0, 1] = 7.0
    assert fitted.transform(new)[:, 1].tolist() == [7, 0, 0]


@pytest.mark.filterwarnings(LEFT_OUT)
def test_columns_keep_their_places_for_the_density():
    """Also if parameters name them by numbers, and one before them is left out."""
    X = np.column_stack([np.full(ROWS, np.nan), np.arange(ROWS) % 3.0, np.arange(ROWS)])
    X[::4, 1] = np.nan
    density = small(max_iter=2, categorical_features=[1])
    filled = EinetImputer(density).fit_transform(X)
    assert filled.shape == (ROWS, 2)
    assert set(filled[:, 0]) == {0, 1, 2}


def test_frozen_densities_fill_columns_that_they_have_seen():
    X = np.random.RandomState(0).randn(ROWS, 4)
    fitted = EinetImputer(FrozenEstimator(small().fit(X)), add_indicator=True).fit(numbers())
    assert fitted.transform(numbers()).shape == (ROWS, 4 + 3)


# --- marks of missing cells


def marked(X, mark):
    """A copy of rows with a mark in place of NaN."""
    return np.where(np.isnan(X), mark, X)


@pytest.mark.filterwarnings(LEFT_OUT)
@pytest.mark.parametrize("kind", MAKERS)
@pytest.mark.parametrize("mark", [-999, 0.5])
def test_numbers_as_marks(kind, mark):
    output = "default" if kind in ("array", "list") else kind
    expected = imputer(add_indicator=True).set_output(transform=output)
    expected = expected.fit_transform(MAKERS[kind](numbers()))
    X = MAKERS[kind](marked(numbers(), mark))
    fitted = imputer(missing_values=mark, add_indicator=True).set_output(transform=output)
    found = fitted.fit_transform(X)
    same_form(found, expected)
    np.testing.assert_array_equal(np.asarray(found), np.asarray(expected))
    np.testing.assert_array_equal(np.asarray(X), marked(numbers(), mark))


def test_marks_among_whole_numbers():
    X = np.random.RandomState(0).randint(5, size=(ROWS, 2))
    X[::3, 0] = -1
    filled = imputer(missing_values=-1).fit_transform(X)
    assert filled.dtype == np.float64
    seen = X != -1
    np.testing.assert_array_equal(filled[seen], X[seen])
    assert (filled[~seen] > -0.5).all()


CITIES, SIZES = ["Bern", "?", "Rome"] * 20, ["small", "large", "?"] * 20
FRAMES = {
    "pandas": pd.DataFrame(
        {"n": range(ROWS), "city": CITIES, "size": pd.Categorical(SIZES), "none": "?"}
    ),
    "polars": pl.DataFrame(
        {
            "n": range(ROWS),
            "city": CITIES,
            "size": pl.Series(SIZES, dtype=pl.Enum(["small", "?", "large"])),
            "none": ["?"] * ROWS,
        }
    ),
}


@pytest.mark.parametrize("kind", FRAMES)
def test_texts_as_marks(kind):
    X = FRAMES[kind]
    fitted = imputer(missing_values="?", add_indicator=True, keep_empty_features=True)
    filled = fitted.set_output(transform=kind).fit_transform(X)
    assert type(filled) is type(X)
    assert fitted.density_.categories_["size"].tolist() == (
        ["large", "small"] if kind == "pandas" else ["small", "large"]
    )
    rows = {name: list(filled[name]) for name in filled.columns}
    assert rows["n"] == list(range(ROWS))
    assert set(rows["city"]) == {"Bern", "Rome"}
    assert set(rows["size"]) == {"small", "large"}
    assert set(rows["none"]) == {"missing_value"}
    assert rows["missingindicator_size"] == [0.0, 0.0, 1.0] * 20
    assert list(fitted.get_feature_names_out()) == list(filled.columns)
    array = fitted.set_output(transform="default").transform(X)
    assert array.dtype == object
    assert array[:3, -3].tolist() == [0, 1, 0]


def test_texts_as_marks_among_objects():
    X = FRAMES["pandas"][["n", "city"]].to_numpy()
    filled = EinetImputer(small(categorical_features=[1]), missing_values="?").fit_transform(X)
    assert set(filled[:, 1]) == {"Bern", "Rome"}
    assert filled[:, 0].tolist() == list(range(ROWS))


@pytest.mark.parametrize("mark", [np.nan, None, pd.NA])
def test_missing_cells_are_the_same_by_any_name(mark):
    nullable = pd.DataFrame(numbers()[:, [0, 2]]).convert_dtypes()
    expected = imputer().fit_transform(numbers()[:, [0, 2]])
    np.testing.assert_array_equal(imputer(missing_values=mark).fit_transform(nullable), expected)
    objects = numbers()[:, [0, 2]].astype(object)
    objects[np.isnan(numbers()[:, [0, 2]])] = None
    np.testing.assert_array_equal(imputer(missing_values=mark).fit_transform(objects), expected)


@pytest.mark.parametrize("kind", ["array", "pandas", "polars"])
def test_two_ways_to_mark_missing_cells_are_refused(kind):
    X = numbers()[:, [0, 2, 3]]
    other = marked(X, -999)
    other[2, 1] = np.nan
    names = ["a", "b", "c"]
    make = {"array": np.array}.get(kind) or (
        lambda rows: {"pandas": pd, "polars": pl}[kind].DataFrame(
            dict(zip(names, rows.T, strict=True))
        )
    )
    fitted = imputer(missing_values=-999).fit(make(marked(X, -999)))
    column = 1 if kind == "array" else "'b'"
    message = f"Column {column} contains NaN .* missing_values=-999: mark"
    with pytest.raises(ValueError, match=message):
        fitted.transform(make(other))
    with pytest.raises(ValueError, match=message):
        fitted.fit(make(other))
    with pytest.raises(ValueError, match=r"missing_values='\?' is a string"):
        imputer(missing_values="?").fit(make(marked(X, -999)))


def test_wrong_columns_and_parameters():
    fitted = imputer(missing_values=-999).fit(marked(numbers(), 1.0))
    with pytest.raises(ValueError, match="3 features, but EinetImputer"):
        fitted.transform(np.ones((2, 3)))
    with pytest.raises(ValueError, match="'missing_values' parameter"):
        imputer(missing_values=[1]).fit(numbers())
    with pytest.raises(ValueError, match="'add_indicator' parameter"):
        imputer(add_indicator="yes").fit(numbers())


def test_memory_maps(tmp_path):
    np.save(tmp_path / "X.npy", numbers()[:, [0, 2, 3]])
    X = np.load(tmp_path / "X.npy", mmap_mode="r")
    found = imputer(add_indicator=True).fit(X).transform(X)
    expected = imputer(add_indicator=True).fit_transform(np.array(X))
    np.testing.assert_array_equal(found, expected)
    assert found.shape == (ROWS, 5)
    np.save(tmp_path / "marked.npy", marked(np.array(X), -999))
    marks = np.load(tmp_path / "marked.npy", mmap_mode="r")
    found = imputer(missing_values=-999, add_indicator=True).fit(marks).transform(marks)
    np.testing.assert_array_equal(found, expected)


def test_dask():
    dask_array = pytest.importorskip("dask.array")
    X = dask_array.from_array(marked(numbers(), -999))
    with pytest.raises(ValueError, match="missing_values=-999 works only for tables in memory"):
        imputer(missing_values=-999).fit(X)
