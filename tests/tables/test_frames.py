"""Tables come back as they came: DataFrames and arrays, their columns' types, names and rows."""

import warnings

import numpy as np
import pandas as pd
import polars as pl
import pytest
from sklearn import config_context
from sklearn.base import clone
from sklearn.frozen import FrozenEstimator

from sklearn_einet import EinetDensity, EinetImputer, EinetMixture
from sklearn_einet.tables.encoding import Encoding
from sklearn_einet.tables.frames import cells, native_columns, types

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

N_ROWS = 60
rng = np.random.RandomState(0)
SIZE = rng.randn(N_ROWS)
CODES = rng.randint(3, size=N_ROWS)
CITY = [["Bern", "Oslo", "Rome"][code] for code in CODES]
FLAG = [bool(size > 0) for size in SIZE]
STRATEGIES = ["mean", "mpe", "sample"]


def holes(values, missing=None):
    return [missing if i % 4 == 0 else value for i, value in enumerate(values)]


def small(kind=EinetDensity, **parameters):
    fast = {"K": 3, "max_iter": 2, "random_state": 0}
    if kind is EinetMixture:
        fast["n_components"] = 2
    return kind(**(fast | parameters))


def with_sizes(column):
    """A DataFrame of a column of numbers, some missing, and the one that a test is about."""
    sizes = holes(SIZE[::-1].tolist())[::-1]
    if isinstance(column, pl.Series):
        return pl.DataFrame({"size": sizes, "it": column})
    return pd.DataFrame({"size": pd.Series(sizes, dtype=float), "it": column})


def is_missing(series):
    if isinstance(series, pl.Series):
        return series.is_null().to_numpy()
    return series.isna().to_numpy()


def completed(X, **parameters):
    """All the ways to fill a DataFrame, and the model."""
    model = small(**parameters).fit(X)
    tables = [model.impute(X, strategy, random_state=0) for strategy in STRATEGIES]
    return model, [*tables, *model.sample_conditional(X, n_draws=2, random_state=0)]


def assert_observed_cells_are_kept(table, X):
    assert isinstance(table, type(X))
    assert list(table.columns) == list(X.columns)
    for name in X.columns:
        seen = ~is_missing(X[name])
        old, new = (
            [c for c, s in zip(f[name].to_list(), seen, strict=True) if s] for f in (X, table)
        )
        assert old == new
        assert not is_missing(table[name]).any()


# --- types

ENUM = pl.Enum(["Rome", "Bern", "Oslo", "Paris"])
TEXTS = {
    "str": pd.Series(holes(CITY), dtype="str"),
    "string": pd.Series(holes(CITY), dtype="string"),
    "object with None": pd.Series(holes(CITY), dtype=object),
    "object with NaN": pd.Series(holes(CITY, np.nan), dtype=object),
    "object with NA": pd.Series(holes(CITY, pd.NA), dtype=object),
    "category": pd.Series(pd.Categorical(holes(CITY), ["Rome", "Bern", "Oslo", "Paris"])),
    "ordered category": pd.Series(pd.Categorical(holes(CITY), ENUM.categories, ordered=True)),
    "polars String": pl.Series(holes(CITY)),
    "polars Categorical": pl.Series(holes(CITY), dtype=pl.Categorical),
    "polars Enum": pl.Series(holes(CITY), dtype=ENUM),
}
BOOLEANS = {
    "boolean": pd.Series(holes(FLAG), dtype="boolean"),
    "object with None": pd.Series(holes(FLAG), dtype=object),
    "object of numpy's": pd.Series(holes(list(np.array(FLAG)), np.nan), dtype=object),
    "polars Boolean": pl.Series(holes(FLAG)),
}
NUMBERS = {
    "Int64": pd.Series(holes(CODES.tolist()), dtype="Int64"),
    "UInt8": pd.Series(holes(CODES.tolist()), dtype="UInt8"),
    "polars Int64": pl.Series(holes(CODES.tolist())),
    "polars UInt8": pl.Series(holes(CODES.tolist()), dtype=pl.UInt8),
}
OTHER_CATEGORIES = {
    "numbers": pd.Series(holes([[5, 1, 7][code] for code in CODES])).astype("category"),
    "booleans": pd.Series(holes(FLAG), dtype=object).astype("category"),
    "intervals": pd.Series(pd.cut(pd.Series(holes(SIZE.tolist()), dtype=float), 3)),
    "times": pd.Series(pd.Series(holes(CODES.tolist())).astype("datetime64[s]")).astype("category"),
    "strings and numbers": pd.Series(holes([[1, "a", "1"][c] for c in CODES])).astype("category"),
}


@pytest.mark.parametrize("case", TEXTS)
def test_texts_and_categories(case):
    X = with_sizes(TEXTS[case])
    model, tables = completed(X)
    assert list(model.categories_) == ["it"]
    for table in (*tables, model.sample(20, random_state=0)):
        assert table["it"].dtype == X["it"].dtype
        assert set(table["it"].to_list()) <= {"Bern", "Oslo", "Rome", "Paris"}
    for table in tables:
        assert_observed_cells_are_kept(table, X)


@pytest.mark.parametrize("case", BOOLEANS)
def test_booleans(case):
    X = with_sizes(BOOLEANS[case])
    model, tables = completed(X)
    (family,) = (g.family.name for g in model.circuit_.leaf_groups if 1 in g.columns)
    assert family == "bernoulli"
    assert model.categories_ == {}
    for table in (*tables, model.sample(20, random_state=0)):
        assert table["it"].dtype == X["it"].dtype
        assert {type(cell) for cell in table["it"].to_list()} <= {bool, np.bool_}
    for table in tables:
        assert_observed_cells_are_kept(table, X)


@pytest.mark.parametrize("case", OTHER_CATEGORIES)
def test_categories_that_are_no_texts(case):
    X = with_sizes(OTHER_CATEGORIES[case])
    model, tables = completed(X)
    known = set(X["it"].cat.categories)
    assert set(model.categories_["it"].tolist()) == known
    for table in (*tables, model.sample(20, random_state=0)):
        assert table["it"].dtype == X["it"].dtype
        assert set(table["it"]) <= known
    for table in tables:
        assert_observed_cells_are_kept(table, X)


@pytest.mark.parametrize("case", NUMBERS)
def test_whole_numbers_stay_whole_if_they_are(case):
    X = with_sizes(NUMBERS[case])
    counts, tables = completed(X, leaf={"poisson": ["it"]})
    is_float = pl.Float64 if isinstance(X, pl.DataFrame) else np.float64
    for table in (*tables, counts.sample(20, random_state=0)):
        assert table["it"].dtype == X["it"].dtype
    for table in tables:
        assert_observed_cells_are_kept(table, X)
    model, tables = completed(X)
    for table in (*tables, model.sample(20, random_state=0)):
        assert table["it"].dtype == X["it"].dtype
    plain = small(atoms=None).fit(X)  # a density of numbers that are not whole
    assert plain.sample(20, random_state=0)["it"].dtype == is_float
    complete = X.drop_nulls() if isinstance(X, pl.DataFrame) else X.dropna()
    assert model.impute(complete)["it"].dtype == X["it"].dtype


@pytest.mark.parametrize("make", [pd.Series, pl.Series])
def test_draws_too_large_for_their_type(make):
    largest = make((254 + np.arange(N_ROWS) % 2).astype(np.uint8))
    model = small(leaf={"poisson": ["it"]}).fit(with_sizes(largest))
    drawn = model.sample(50, random_state=0)["it"].to_numpy()
    assert drawn.max() > 255
    assert abs(drawn.mean() - 255) < 10


@pytest.mark.parametrize("cell", [2.0, 0.3])
@pytest.mark.parametrize("make", [pd.DataFrame, pl.DataFrame])
def test_numbers_in_place_of_booleans_are_kept(make, cell):
    model = small().fit(make({"size": SIZE.tolist(), "flag": FLAG}))
    X = make({"size": [np.nan, 1.0], "flag": [cell, np.nan]})
    with pytest.warns(UserWarning, match="impossible"):
        filled = model.impute(X)["flag"].to_list()
    assert filled[0] == cell
    assert filled[1] in (0.0, 1.0)


@pytest.mark.parametrize("make", [pd.DataFrame, pl.DataFrame])
def test_columns_without_missing_cells_are_kept_to_the_bit(make):
    """Also whole numbers that float64 does not have."""
    large = [2**60 + i for i in range(N_ROWS)]
    X = make({"size": holes(SIZE, np.nan), "large": large, "city": holes(CITY)})
    _, tables = completed(X)
    for table in tables:
        assert table["large"].to_list() == large
        assert table["large"].dtype == X["large"].dtype


def test_large_whole_numbers_as_categories():
    numbers = 2**53 + 1 + 2 * CODES
    X = pd.DataFrame({"size": SIZE, "it": numbers})
    model = small(categorical_features=["it"]).fit(X)
    assert model.categories_["it"].tolist() == np.unique(numbers).tolist()
    assert set(model.sample(50, random_state=0)["it"]) == set(numbers)


@pytest.mark.parametrize("make", [pd.DataFrame, pl.DataFrame])
def test_filled_with_a_category_that_the_type_lacks(make):
    """A part of a table may have a type with fewer categories."""

    def category(values):
        if make is pl.DataFrame:
            return pl.Series(values, dtype=pl.Enum(sorted({v for v in values if v})))
        return pd.Categorical(values)

    model = small().fit(make({"size": SIZE, "city": category(CITY)}))
    X = make({"size": SIZE[:30], "city": category(["Oslo", None] * 15)})
    filled = model.impute(X, "sample", random_state=0)["city"].to_list()
    assert filled[::2] == ["Oslo"] * 15
    assert {"Bern", "Rome"} <= set(filled)


# --- names and rows


INDEXES = {
    "reversed": np.arange(N_ROWS)[::-1],
    "duplicated": np.arange(N_ROWS) // 2,
    "texts": [f"row {i}" for i in range(N_ROWS)],
    "two levels": pd.MultiIndex.from_product([range(6), range(10)]),
    "times": pd.date_range("2020-01-01", periods=N_ROWS, name="day"),
}


@pytest.mark.parametrize(
    ("case", "kind"), [(case, EinetDensity) for case in INDEXES] + [("two levels", EinetMixture)]
)
def test_index(case, kind):
    X = pd.DataFrame(
        {"size": holes(SIZE, np.nan), "city": holes(CITY), "flag": holes(FLAG)},
        index=INDEXES[case],
    ).rename_axis(columns="what")
    before = X.copy()
    model, tables = completed(X, kind=kind)
    for table in tables:
        pd.testing.assert_index_equal(table.index, X.index)
        pd.testing.assert_index_equal(table.columns, X.columns)
        assert_observed_cells_are_kept(table, X)
    pd.testing.assert_index_equal(model.sample(N_ROWS).index, pd.RangeIndex(N_ROWS))
    pd.testing.assert_frame_equal(X, before)


@pytest.mark.parametrize(
    "names", [[0, 1, 2], [20, 10, 30], [("a", "x"), ("a", "y"), ("b", "x")]], ids=str
)
def test_names_that_are_no_texts(names):
    X = pd.DataFrame(dict(zip(names, [SIZE, holes(CITY), FLAG], strict=True)))
    model, tables = completed(X)
    for table in (*tables, model.sample(3)):
        pd.testing.assert_index_equal(table.columns, X.columns)
        assert table.dtypes.tolist() == X.dtypes.tolist()
    assert list(model.categories_) == [names[1]]
    marginal = model.marginal([1, 0])
    assert marginal.sample(3).columns.tolist() == [names[1], names[0]]
    np.testing.assert_allclose(
        marginal.score_samples(X[[names[1], names[0]]]),
        model.score_samples(X.mask([[False, False, True]] * N_ROWS)),
        atol=1e-9,
    )


def test_queries_of_another_kind():
    """The table that a query is about decides, not the one that fit has seen."""
    cells = {"size": holes(SIZE.tolist()), "city": holes(CITY), "flag": holes(FLAG)}
    pandas = pd.DataFrame(cells).astype({"size": float, "flag": "boolean"})
    polars = pl.DataFrame(cells)
    array = pandas.astype(object).to_numpy()
    model = small().fit(pandas)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # arrays have no names
        tables = [model.impute(X) for X in (pandas, polars, array, array.tolist())]
    assert tables[1].schema == polars.schema
    assert (tables[0].dtypes == pandas.dtypes).all()
    for table in tables[2:]:
        assert table.dtype == object
    expected = tables[0].to_numpy().tolist()
    assert [
        table.to_numpy().tolist() if hasattr(table, "to_numpy") else table.tolist()
        for table in tables
    ] == [expected] * 4


# --- arrays


def test_arrays_of_objects():
    X = np.array([holes(SIZE.tolist()), holes(CITY, np.nan)], dtype=object).T
    model, tables = completed(X, categorical_features=[1])
    assert model.categories_[1].tolist() == ["Bern", "Oslo", "Rome"]
    for table in (*tables, model.sample(5, random_state=0)):
        assert table.dtype == object
        assert {type(cell) for cell in table[:, 0]} == {float}
        assert set(table[:, 1]) <= set(CITY)
    seen = np.array([cell is not None and cell == cell for cell in X.ravel()]).reshape(X.shape)
    for table in tables:
        assert (table[seen] == X[seen]).all()
    assert model.sample_conditional(X, n_draws=3).shape == (3, N_ROWS, 2)


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_arrays_of_numbers_with_categories(dtype):
    values = np.array([1, 5, 7])
    X = np.column_stack([SIZE, values[CODES]]).astype(dtype)
    X[::4, 1] = np.nan
    model, tables = completed(X, categorical_features=[False, True])
    for table in (*tables, model.sample(30, random_state=0)):
        assert table.dtype.kind == "f"
        assert set(table[:, 1]) == {1.0, 5.0, 7.0}
    seen = ~np.isnan(X)
    for table in tables:
        np.testing.assert_array_equal(table[seen], X[seen])
    # They have an order.
    three = np.exp(model.score_samples([[np.nan, value] for value in values]))
    assert three.sum() == pytest.approx(1, abs=1e-12)
    found = model.interval_log_proba([[np.nan, 5]], [[np.nan, 7]])
    assert np.exp(found) == pytest.approx(three[1:].sum(), abs=1e-9)


# --- scikit-learn's option


OUTPUTS = {"pandas": pd.DataFrame, "polars": pl.DataFrame}
INPUTS = {
    "numbers": np.column_stack([SIZE, holes(SIZE**2, np.nan)]),
    "objects": np.array([SIZE.tolist(), holes(CITY), FLAG], dtype=object).T,
    "pandas": pd.DataFrame({"size": SIZE, "city": holes(CITY), "flag": holes(FLAG)}),
    "polars": pl.DataFrame({"size": SIZE, "city": holes(CITY), "flag": holes(FLAG)}),
}


@pytest.mark.parametrize("output", OUTPUTS)
@pytest.mark.parametrize("case", INPUTS)
def test_transform_output(case, output):
    X = INPUTS[case]
    is_frame = case in OUTPUTS
    model = small(categorical_features=[1] if case == "objects" else "from_dtype").fit(X)
    with config_context(transform_output=output):
        tables = [model.impute(X), *model.sample_conditional(X, n_draws=2, random_state=0)]
        tables.append(model.sample(N_ROWS, random_state=0))
    plain = [model.impute(X), *model.sample_conditional(X, n_draws=2, random_state=0)]
    plain.append(model.sample(N_ROWS, random_state=0))
    for table, same in zip(tables, plain, strict=True):
        assert type(table) is OUTPUTS[output]
        assert list(table.columns) == (
            list(X.columns) if is_frame else [f"x{i}" for i in range(X.shape[1])]
        )
        as_array = same.to_numpy() if is_frame else same
        assert table.to_numpy().tolist() == as_array.tolist()
        if case != "numbers":
            city = table[table.columns[1]]
            texts = pl.String if output == "polars" else pd.Series(["Rome"]).dtype
            assert city.dtype == texts


@pytest.mark.parametrize("output", ["default", *OUTPUTS])
@pytest.mark.parametrize("case", ["pandas", "polars"])
def test_imputer(case, output):
    X = INPUTS[case]
    if case == "pandas":
        X = X.set_index(np.arange(N_ROWS) // 2)
    imputer = EinetImputer(small(), n_draws=2, random_state=0).set_output(transform=output)
    filled = imputer.fit_transform(X)
    expected = imputer.density_.impute(X)
    for table in (filled, *imputer.transform_multiple(X)):
        assert type(table) is OUTPUTS.get(output, np.ndarray)
        if output != "default":
            assert list(table.columns) == ["size", "city", "flag"]
        if output == case == "pandas":
            pd.testing.assert_index_equal(table.index, X.index)
    array = filled if output == "default" else filled.to_numpy()
    assert array.tolist() == expected.to_numpy().tolist()
    assert imputer.get_feature_names_out().tolist() == ["size", "city", "flag"]
    assert clone(imputer).fit(X).density_.categories_.keys() == {"city"}


# --- many draws


def rows_of_several_types(case):
    """Rows with gaps, of a DataFrame with another index or of an array."""
    X = pd.DataFrame(
        {
            "size": SIZE,
            "city": pd.Series(holes(CITY), dtype="str"),
            "flag": holes(FLAG),
            "count": pd.array(holes(CODES.tolist()), dtype="Int64"),
            "town": pd.Categorical(holes(CITY), categories=["Rome", "Bern", "Oslo", "Paris"]),
        },
        index=np.arange(N_ROWS)[::-1] // 2,
    )
    if case == "polars":
        return pl.from_pandas(X)
    return X if case == "pandas" else X.astype(object).where(X.notna(), None).to_numpy()


def with_leaves(case, X):
    if case == "objects":
        return small(categorical_features=[1, 4]).fit(X)
    return small(leaf={"poisson": ["count"]}).fit(X)


def assert_same_table(table, expected):
    assert type(table) is type(expected)
    if isinstance(table, pd.DataFrame):
        pd.testing.assert_frame_equal(table, expected)
    elif isinstance(table, pl.DataFrame):
        assert table.equals(expected)
        assert table.schema == expected.schema
    else:
        assert table.tolist() == expected.tolist()


@pytest.mark.parametrize("output", ["default", *OUTPUTS])
@pytest.mark.parametrize("case", ["pandas", "polars", "objects"])
def test_draws_are_one_long_table(case, output, monkeypatch):
    X = rows_of_several_types(case)
    model = with_leaves(case, X)
    rows = X[:9]
    density = model.table_density_
    draws = density.conditional_draws(model.as_numbers(rows), 7, np.random.RandomState(3))
    with config_context(transform_output=output):
        expected = [density.encoding.table(draw, rows) for draw in draws]
    imputer = EinetImputer(FrozenEstimator(model), n_draws=7, random_state=3).fit(X)
    imputer.set_output(transform=output)
    n_made = []
    table = Encoding.table
    monkeypatch.setattr(Encoding, "table", lambda *args: n_made.append(1) or table(*args))
    with config_context(transform_output=output):
        tables = model.sample_conditional(rows, n_draws=7, random_state=3)
    completed = imputer.transform_multiple(rows)
    assert len(n_made) == 2
    assert len(tables) == len(completed) == 7
    for found, other, one in zip(tables, completed, expected, strict=True):
        assert_same_table(found, one)
        as_array = output == "default" and case != "objects"
        assert_same_table(other, one.to_numpy().astype(object) if as_array else one)


@pytest.mark.parametrize("case", ["pandas", "polars"])
def test_draws_have_the_same_types(case):
    X = rows_of_several_types(case)
    model = small().fit(X)  # a normal density of counts draws whole numbers never
    if case == "pandas":
        row = X[:1].assign(town=pd.Categorical([None], categories=["Rome"]))
    else:
        row = X[:1].with_columns(town=pl.Series([None], dtype=pl.Enum(["Rome"])))
    assert is_missing(row["town"]).all()
    tables = model.sample_conditional(row, n_draws=50, random_state=0)
    types = [[str(dtype) for dtype in table.dtypes] for table in tables]
    assert all(each == types[0] for each in types)
    assert {t["town"].to_list()[0] for t in tables} >= {"Rome", "Bern", "Oslo"}


@pytest.mark.parametrize("case", ["pandas", "polars"])
def test_sequence_of_draws(case):
    X = rows_of_several_types(case)[:4]
    tables = with_leaves(case, rows_of_several_types(case)).sample_conditional(X, n_draws=5)
    assert tables[-1] is tables[4]
    assert [t is tables[i] for t, i in zip(tables[1:4:2], (1, 3), strict=True)] == [True, True]
    with pytest.raises(IndexError):
        tables[5]
    if case == "pandas":
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            tables[0]["size"] = 0.0  # without effect on the others, and without a warning
            tables[0].iloc[0, 0] = 7.0
        assert tables[0]["size"].tolist() == [7.0, 0.0, 0.0, 0.0]
        assert tables[1]["size"].tolist() == X["size"].tolist()


def test_types_of_columns_do_not_depend_on_what_was_seen_before():
    flags = pd.Series([True, None, False], dtype=object)
    columns = {
        "whole": [1, 2, 3],
        "small": np.array([1, 2, 3], dtype=np.float32),
        "swapped": np.array([1.0, 2.0, 3.0], dtype=">f8"),
        "flag": [True, False, True],
        "gappy flag": flags,
        "text": ["a", "b", "c"],
        "mixed": pd.Series([1, "b", None], dtype=object),
    }
    frame = pd.DataFrame(columns)
    for _ in range(2):
        found = dict(zip(frame, types(frame), strict=True))
        assert found["whole"].is_integer()
        assert (str(found["small"]), str(found["swapped"])) == ("Float32", "Unknown")
        assert (str(found["flag"]), str(found["gappy flag"])) == ("Boolean", "Boolean")
        assert str(found["text"]) == "String"
        assert str(found["mixed"]) == "Object"


@pytest.mark.parametrize("dtype", [None, object, "Int64", "string", "category", "datetime64[ns]"])
def test_cells_are_values_of_python_or_none(dtype):
    values = [3, None, 5]
    column = pd.Series(values, dtype=dtype if dtype != "string" else object)
    if dtype == "string":
        column = pd.Series(["3", None, "5"], dtype=dtype)
    found = cells(column)
    assert found[1] is None
    assert [type(found[0])] == [
        {"string": str, "datetime64[ns]": pd.Timestamp}.get(dtype, type(found[2]))
    ]
    assert (
        len(native_columns(pd.DataFrame({0: column, 1: column}).set_axis(["a", "a"], axis=1))) == 2
    )


@pytest.mark.parametrize(
    "values",
    [["b", None, "a", "b"], [3, None, 1, 3], [0.5, None, 2.5, 0.5], [True, None, False, True]],
    ids=lambda values: type(values[0]).__name__,
)
@pytest.mark.parametrize("ordered", [False, True])
def test_cells_of_categories_are_the_categories(values, ordered):
    listed = sorted({value for value in values if value is not None})
    column = pd.Series(values, dtype=pd.CategoricalDtype(listed, ordered))
    found = cells(column)
    assert found == values
    assert [type(cell) for cell in found] == [type(value) for value in values]
    assert str(types(column.to_frame())[0]).startswith("Enum" if ordered else "Categorical")
