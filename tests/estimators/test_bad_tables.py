"""Errors and warnings about strings that cannot be used, and requests that do not suit them."""

import datetime
import io
import warnings

import dask.dataframe as dd
import numpy as np
import pandas as pd
import polars as pl
import pytest
from scipy import sparse
from sklearn.exceptions import ConvergenceWarning

from sklearn_einet import EinetDensity, EinetImputer, EinetMixture, EinetOutlierDetector

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

N_ROWS = 60
SIZE = np.linspace(-1, 1, N_ROWS).tolist()
CITY = ["Bern", "Oslo", "Rome"] * 20
ESTIMATORS = pytest.mark.parametrize("kind", [EinetDensity, EinetMixture])
MAKERS = pytest.mark.parametrize("make", [pd.DataFrame, pl.DataFrame])


def small(kind=EinetDensity, **parameters):
    fast = {"K": 2, "max_iter": 3, "random_state": 0}
    if kind is EinetMixture:
        fast["n_components"] = 2
    return kind(**(fast | parameters))


def table(make=pd.DataFrame, **columns):
    return make({"city": CITY, "size": SIZE, **columns})


# --- cells


DAYS = [datetime.datetime(2020, 1, 1) + datetime.timedelta(days=i) for i in range(N_ROWS)]
TIMES_FOR_NUMBERS = "^Column {} cannot be used: it holds dates or other times, but had numbers"
TIMES = {
    "datetime": pd.Series(DAYS),
    "datetime in a zone": pd.Series(DAYS).dt.tz_localize("UTC"),
    "timedelta": pd.Series(DAYS) - DAYS[0],
    "objects": pd.Series(DAYS, dtype=object),
    "dates": pd.Series([day.date() for day in DAYS], dtype=object),
    "numpy's times": pd.Series([np.datetime64(day) for day in DAYS], dtype=object),
    "periods": pd.Series(pd.period_range("2020", periods=N_ROWS)),
    "a time among numbers": pd.Series([DAYS[0], *SIZE[1:]], dtype=object),
    "polars Datetime": pl.Series(DAYS),
    "polars Date": pl.Series(DAYS).cast(pl.Date),
    "polars Time": pl.Series(DAYS).cast(pl.Time),
    "polars Duration": pl.Series(DAYS) - DAYS[0],
}


def with_column(X, column):
    if isinstance(X, pl.DataFrame):
        return X.with_columns(pl.Series("day", column))
    return X.assign(day=column)


@ESTIMATORS
@pytest.mark.parametrize("case", TIMES)
def test_times_for_numbers(case, kind):
    """Beside strings and without; and numbers or strings for times."""
    make = pl.DataFrame if isinstance(TIMES[case], pl.Series) else pd.DataFrame
    for X in (table(make, day=SIZE), make({"size": SIZE, "day": SIZE})):
        fitted = small(kind).fit(X)
        times = with_column(X, TIMES[case])
        with pytest.raises(TypeError, match=TIMES_FOR_NUMBERS.format("'day'")):
            fitted.score_samples(times)
        if case == "a time among numbers":
            continue
        fitted = small(kind).fit(times)
        for other in (SIZE, CITY):
            with pytest.raises(TypeError, match=r"^Column 'day' cannot be used: it had \w+"):
                fitted.score_samples(with_column(X, other))


MIXTURES = {
    "times and numbers": [DAYS[0], *SIZE[1:]],
    "times and strings": [DAYS[0], *CITY[1:]],
    "dates and times": [DAYS[0].date(), *DAYS[1:]],
    "times and durations": [DAYS[1] - DAYS[0], *DAYS[1:]],
    "zones and none": [DAYS[0].replace(tzinfo=datetime.UTC), *DAYS[1:]],
    "periods of two lengths": [pd.Period("2020", "M"), *pd.period_range("2020", periods=59)],
}


@ESTIMATORS
@pytest.mark.parametrize("case", MIXTURES)
def test_times_and_others(case, kind):
    column = np.empty(N_ROWS, dtype=object)
    column[:] = MIXTURES[case]
    message = "^Column {} cannot be used: it holds .* and .*: convert them to one"
    for X in (table(day=column), pd.DataFrame({"size": SIZE, "day": column})):
        with pytest.raises(TypeError, match=message.format("'day'")):
            small(kind).fit(X)
    array = np.array([SIZE, column], dtype=object).T
    for X in (array, array.tolist()):
        with pytest.raises(TypeError, match=message.format(1)):
            small(kind).fit(X)


@ESTIMATORS
def test_arrays_of_times_for_numbers(kind):
    """Also those whose type numpy turns into numbers: days since 1970, and -2**63 for NaT."""
    days = np.array(DAYS, dtype="datetime64[D]")
    days[3] = "NaT"
    objects = np.array([SIZE, DAYS], dtype=object).T
    fitted = small(kind).fit(np.array([SIZE, SIZE]).T)
    for X, column in (
        (np.array([days, days]).T, 0),
        (np.array([days - days[0]] * 2).T, 0),
        (objects, 1),
        (objects.tolist(), 1),
        (np.array([SIZE, pd.period_range("2020", periods=N_ROWS)], dtype=object).T, 1),
    ):
        for method in (fitted.score_samples, fitted.impute):
            with pytest.raises(TypeError, match=TIMES_FOR_NUMBERS.format(column)):
                method(X)


@pytest.mark.parametrize(
    ("X", "hint"),
    [
        (np.array([["a", "1"]] * 9), ", or pass a DataFrame"),
        (np.array([["a", 1]] * 9, dtype=object), ", or pass a DataFrame"),
        ([["a", 1]] * 9, ", or pass a DataFrame"),
        (pd.DataFrame([["a", 1]] * 9), ""),
        (pl.DataFrame([["a", 1]] * 9, orient="row"), ""),
        (pd.DataFrame([["a", 1], [2, 1]] * 9), ""),
    ],
    ids=["texts", "objects", "lists", "pandas", "polars", "strings and numbers"],
)
def test_hint_about_texts(X, hint):
    """Users who passed a DataFrame are not told to pass one."""
    end = rf"could not convert string.*NaN; name categorical columns in categorical_features{hint}$"
    with pytest.raises(ValueError, match=end):
        small(categorical_features=None).fit(X)


@pytest.mark.parametrize("cell", [{"a": 1}, object(), [1], pd.Interval(0, 1)], ids=type)
def test_no_hint_about_texts(cell):
    """The message about other objects speaks of strings, too."""
    column = pd.Series([cell] * N_ROWS, dtype=object)
    for X in (table(it=column), pd.DataFrame({"size": SIZE, "it": column})):
        with pytest.raises(
            (TypeError, ValueError), match=r"^Column 'it' cannot be used: (?!.*NaN)"
        ):
            small().fit(X)


CELLS = {
    "infinity": [np.inf] + SIZE[1:],
    "lists": [[1, 2]] * N_ROWS,
    "lists of one": [[1]] * N_ROWS,
    "uneven lists": [[1], [1, 2]] * 30,
    "dicts": [{"a": 1}] * N_ROWS,
    "bytes": [b"a", b"b"] * 30,
}


@MAKERS
@pytest.mark.parametrize("case", CELLS)
def test_cells(make, case):
    """The column is named, and no other."""
    for X in (table(make, it=CELLS[case]), make({"size": SIZE, "it": CELLS[case]})):
        with pytest.raises((TypeError, ValueError), match=r"^Column 'it' cannot be used: (?!Col)"):
            small().fit(X)
    fitted = small().fit(table(make, it=SIZE))
    with pytest.raises((TypeError, ValueError), match=r"^Column 'it' cannot be used: (?!Col)"):
        fitted.score_samples(table(make, it=CELLS[case]))


@pytest.mark.parametrize(
    "column",
    [
        pd.Series([1, "a"] * 30, dtype=object),
        pd.Series([True, "a"] * 30, dtype=object),
        pd.Series(np.ones(N_ROWS) * 1j),
        pd.Series([object()] * N_ROWS),
    ],
    ids=["numbers and strings", "booleans and strings", "complex", "objects"],
)
def test_columns_of_pandas(column):
    with pytest.raises((TypeError, ValueError), match=r"^Column 'it' cannot be used: (?!Col)"):
        small().fit(table(it=column))


@MAKERS
def test_lists_are_no_categories(make):
    X = table(make, it=[[1], [2]] * 30)
    with pytest.raises((TypeError, ValueError), match="Column 'it' cannot be used"):
        small(categorical_features=["city", "it"]).fit(X)
    fitted = small(categorical_features=["city", "it"]).fit(table(make, it=[1, 2] * 30))
    with pytest.raises((TypeError, ValueError), match="Column 'it' cannot be used"):
        fitted.score_samples(X)


@MAKERS
def test_columns_without_cells(make):
    for missing in ([None] * N_ROWS, pl.Series([None] * N_ROWS, dtype=pl.String)):
        if make is pd.DataFrame and isinstance(missing, pl.Series):
            missing = pd.Series([None] * N_ROWS, dtype="str")
        with pytest.raises(ValueError, match="Column 'it' has no observed value"):
            small().fit(table(make, it=missing))


@pytest.mark.parametrize(
    "X", [None, [1, 2, 3], [], np.zeros(3), np.zeros((0, 2)), sparse.csr_array(np.eye(3))], ids=str
)
def test_tables_that_are_none(X):
    """The message is about the table, not about the parameter."""
    with pytest.raises((TypeError, ValueError), match=r"2D|0 sample|[Ss]parse"):
        small(categorical_features=[0]).fit(X)


# --- columns of queries


@ESTIMATORS
@MAKERS
def test_feature_names(kind, make):
    """Messages are scikit-learn's, about the names and not about cells."""
    fitted = small(kind).fit(table(make))
    X = table(make)
    for wrong, message in (
        (X[["size", "city"]], "must be in the same order"),
        (X[["size"]], "now missing:\n- city"),
        (make({"town": CITY, "size": SIZE}), "unseen at fit time:\n- town"),
        (table(make, more=SIZE), "unseen at fit time:\n- more"),
    ):
        is_part = set(wrong.columns) < set(X.columns)  # which conditional queries take
        queries = [fitted.score_samples, fitted.feature_scores]
        for query in queries if is_part else [*queries, fitted.impute]:
            with pytest.raises(ValueError, match=rf"^The feature names should match[^$]*{message}"):
                query(wrong)
    with pytest.warns(UserWarning, match="does not have valid feature names"):
        fitted.score_samples(X.to_numpy())
    with (
        pytest.warns(UserWarning, match="does not have valid feature names"),
        pytest.raises(ValueError, match=r"^X has 1 features, but \w+ is expecting 2"),
    ):
        fitted.score_samples(X.to_numpy()[:, :1])


@pytest.mark.parametrize("X", [[["Oslo"]], np.zeros((1, 3)), np.zeros(2), sparse.eye_array(2)])
def test_queries_of_another_shape(X):
    fitted = small(categorical_features=[0]).fit(table().to_numpy())
    with pytest.raises((TypeError, ValueError), match=r"expecting 2|2D|[Ss]parse"):
        fitted.score_samples(X)
    with pytest.raises(ValueError, match="0 sample"):
        fitted.score_samples(table().to_numpy()[:0])


def test_texts_in_a_column_of_numbers():
    fitted = small().fit(table())
    with pytest.raises(ValueError, match=r"^Column 'size' cannot be used: could not convert"):
        fitted.score_samples(table().assign(size="large"))


# --- parameters


@ESTIMATORS
@MAKERS
def test_texts_that_are_to_be_no_categories(kind, make):
    for asked in (None, [], ["size"], [False, True]):
        with pytest.raises(
            ValueError, match=r"^Column 'city' cannot be used.*categorical_features"
        ):
            small(kind, categorical_features=asked).fit(table(make))


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        (["town"], "'town'.*not a valid feature name"),
        (["city", "town"], "'town'.*not a valid feature name"),
        ([2], r"must be in \[0, n_features - 1\]"),
        ([-1], r"must be in \[0, n_features - 1\]"),
        ([True], r"mask must have shape \(n_features,\)"),
        ([True, False, True], r"mask must have shape \(n_features,\)"),
        ([0.5], "array-like of bool, int or str"),
        ("city", "'categorical_features' parameter"),
        (0, "'categorical_features' parameter"),
    ],
)
def test_categorical_features(asked, message):
    with pytest.raises(ValueError, match=rf"categorical_features.*{message}|{message}"):
        small(categorical_features=asked).fit(table())


def test_names_without_names():
    with pytest.raises(ValueError, match=r"categorical_features.*without feature names"):
        small(categorical_features=["city"]).fit(table().to_numpy())


def test_handle_unknown():
    with pytest.raises(ValueError, match="'handle_unknown' parameter"):
        small(handle_unknown="use_encoded_value").fit(table())


@MAKERS
@pytest.mark.parametrize("leaf", ["normal", "poisson", "bernoulli"])
def test_leaves_of_texts(make, leaf):
    with pytest.raises(ValueError, match=r"^Column 'city' has categories, which leaf=.* cannot"):
        small(leaf={leaf: ["city"]}).fit(table(make))
    assert list(small(leaf={"categorical": ["city"]}).fit(table(make)).categories_) == ["city"]


# --- bounds


GRADES = ["low", "mid", "high"]


@pytest.fixture(scope="module", params=["pandas", "polars"])
def fitted(request):
    if request.param == "pandas":
        grade = pd.Categorical(GRADES * 20, GRADES, ordered=True)
        town = pd.Categorical(CITY)
        return small().fit(table(grade=grade, town=town))
    grade = pl.Series(GRADES * 20, dtype=pl.Enum(GRADES))
    return small().fit(table(pl.DataFrame, grade=grade, town=pl.Series(CITY, dtype=pl.Categorical)))


@pytest.mark.parametrize(
    ("low", "high", "message"),
    [
        ({"city": "Paris"}, None, "low has the category 'Paris' in column 'city'"),
        (None, {"city": "Paris"}, "high has the category 'Paris' in column 'city'"),
        ({"grade": "best"}, None, "low has the category 'best' in column 'grade'"),
        ({"grade": 1}, None, "low has the category 1 in column 'grade'"),
        ({"city": ["Oslo", "Paris"]}, None, "low has the category 'Paris' in column 'city'"),
        ({"city": "Bern"}, {"city": "Oslo"}, "Column 'city' has categories without an order"),
        ({"town": "Bern"}, {"town": "Oslo"}, "Column 'town' has categories without an order"),
        ({"city": "Bern"}, None, "Column 'city' has categories without an order"),
        (None, {"city": "Bern"}, "Column 'city' has categories without an order"),
        ({"city": "Rome"}, {"city": "Oslo"}, "'city'"),
        ({"grade": "high"}, {"grade": "low"}, "low exceeds high in column 'grade' of row 0"),
        ({"size": "Bern"}, None, "low must have a number.*'size'"),
        ({"City": "Bern"}, None, "low names the column 'City', which X does not have"),
    ],
)
def test_bounds(fitted, low, high, message):
    with pytest.raises(ValueError, match=message):
        fitted.interval_log_proba(low, high)


@pytest.mark.parametrize("order", [[1, 5, 7], [5, 1, 7]])
def test_ranges_of_numbers_as_categories(order):
    """They are ordered by their values, if codes are."""
    X = table(code=pd.Categorical([1, 5, 7] * 20, order))
    model = small().fit(X)
    bounds = {"code": 1}, {"code": 5}
    if order == [1, 5, 7]:
        nothing = pd.DataFrame({"city": [None] * 2, "size": np.nan, "code": [1, 5]})
        expected = np.logaddexp.reduce(model.score_samples(nothing))
        assert model.interval_log_proba(*bounds) == pytest.approx(expected, abs=1e-9)
    else:
        with pytest.raises(ValueError, match="'code'"):
            model.interval_log_proba(*bounds)
        with pytest.raises(ValueError, match="Column 'code' has categories without an order"):
            model.interval_log_proba({"code": 5}, {"code": 7})


# --- warnings


@MAKERS
@ESTIMATORS
def test_columns_that_name_the_rows(make, kind):
    names = [f"person {i}" for i in range(N_ROWS)]
    with pytest.warns(
        UserWarning, match="Column 'it' has 60 different strings in 60 rows"
    ) as caught:
        small(kind).fit(table(make, it=names))
    assert [w.filename for w in caught if "strings" in str(w.message)] == [__file__]


@MAKERS
def test_numbers_as_texts(make):
    with pytest.warns(UserWarning, match="Column 'it' has numbers as strings") as caught:
        small().fit(table(make, it=["1", "2.5", "-3e4"] * 20))
    assert [w.filename for w in caught if "strings" in str(w.message)] == [__file__]


EACH_ONCE = [f"2026-{month:02d}-{day:02d}" for month in range(1, 7) for day in range(1, 11)]


@MAKERS
@pytest.mark.parametrize(
    "texts",
    [
        EACH_ONCE,
        ["1970-01-01", "1971-01-01", "1972-01-01"] * 20,
        ["31/12/2025", "1/2/2026"] * 30,
        ["2026-01-31 12:00", "2026-01-31T13:00:00Z"] * 30,
        ["2025-11", "2025-12", "2026-01"] * 20,
    ],
    ids=["each once", "few", "day first", "times", "months"],
)
def test_dates_as_strings(make, texts):
    """The advice is to convert dates, not to drop them."""
    with pytest.warns(UserWarning, match="Column 'it' has dates as strings.*to_datetime") as caught:
        small().fit(table(make, it=texts))
    assert [w.filename for w in caught if "string" in str(w.message)] == [__file__]


@MAKERS
@pytest.mark.parametrize(
    "texts",
    [
        ["2012-13", "2013-14", "2014-15"] * 20,
        ["1.2.3", "1.2.4"] * 30,
        ["010-1234-5678", "020-12-3456"] * 30,
        ["a-b-2020", "2020"] * 30,
        ["2020-01-01", "never", "unknown"] * 20,
    ],
    ids=["seasons", "versions", "telephones", "other", "few of them"],
)
def test_strings_that_are_no_dates(make, texts):
    assert told_of(small().fit, table(make, it=texts)) == []


CSV = """pulse,surgery,temperature,city,comment,price
66,yes,38.5,Bern,none,"1,250"
?,no,39.2,Oslo,mild,"980"
88,?,-,Rome,severe,"2,040"
""" + "".join(f"{n},yes,{n / 2},Bern,none,{n}\n" for n in range(40, 90))


def read(kind, **options):
    buffer = io.StringIO(CSV)
    if kind == "polars":
        marks = {"null_values": options["na_values"]} if options else {}
        return pl.read_csv(buffer, infer_schema_length=None, **marks)
    return pd.read_csv(buffer, **options)


def told_of(fit, X):
    """The messages about numbers as strings, after a fit."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        fit(X)
    found = [w for w in caught if "as strings" in str(w.message)]
    assert {w.filename for w in found} <= {__file__}
    return [str(w.message) for w in found]


@pytest.mark.parametrize("source", ["pandas", "polars", "dask"])
@pytest.mark.parametrize("kind", [EinetDensity, EinetMixture, EinetOutlierDetector, EinetImputer])
def test_marks_of_missing_cells(source, kind):
    """One warning names all columns, and following it leaves nothing to warn of."""
    model = EinetImputer(small()) if kind is EinetImputer else small(kind)
    X = read(source)
    if source == "dask":
        if kind in (EinetMixture, EinetImputer):
            pytest.skip("takes tables in memory")
        X = dd.from_pandas(X, npartitions=2)
        model.set_params(batch_size=len(X))
    (message,) = told_of(model.fit, X)
    assert message.startswith("Columns 'pulse', 'surgery', 'temperature', 'price' have numbers or")
    assert "marks are drawn as values, not filled" in message
    assert "na_values=['-', '?'] (pandas.read_csv)" in message
    if source != "dask":
        read_well = read(source, na_values=["-", "?"])
        read_well = (
            read_well.drop(columns="price") if source == "pandas" else read_well.drop("price")
        )
        assert told_of(model.fit, read_well) == []


@MAKERS
@pytest.mark.parametrize(
    ("values", "doubtful"),
    [
        (["1", "2", "many"], True),
        (["1", "few", "many"], False),
        (["1", "many"], False),
        (["1.5", "-2e3", "1,000", "many", "few"], True),
        (["yes", "no", "?"], True),
        (["yes", "no", " ?"], True),
        (["yes", "no", "N/A"], True),
        (["yes", "no", "nan"], True),
        (["yes", "no", "."], True),
        (["yes", "no", ""], True),
        (["yes", "no", "-"], True),
        (["none", "mild", "unknown"], False),
        (["inf", "sup"], False),
    ],
    ids=str,
)
def test_what_looks_like_numbers_or_gaps(make, values, doubtful):
    cells = (values * N_ROWS)[:N_ROWS]
    X = table(make, it=cells)
    assert len(told_of(small().fit, X)) == doubtful
    named = small(categorical_features=["it", "city"])
    assert told_of(named.fit, X) == []
    if make is pd.DataFrame:
        X = X.astype({"it": "category"})
    else:
        X = X.with_columns(pl.col("it").cast(pl.Categorical))
    assert told_of(small().fit, X) == []
    assert told_of(small().fit(X).score_samples, X) == []


@MAKERS
@ESTIMATORS
def test_usual_columns_raise_no_warnings(make, kind):
    few = [f"kind {i}" for i in range(20)] * 3
    mixed = ["1", "few", "many"] * 20
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        warnings.simplefilter("ignore", ConvergenceWarning)
        X = table(make, few=few, mixed=mixed)
        model = small(kind).fit(X)
        for query in (model.score_samples, model.impute, model.feature_scores, model.mean):
            query(X)
        small(kind, categorical_features=["it", "city"]).fit(table(make, it=["1", "2", "3"] * 20))


# --- a failed fit changes nothing


@MAKERS
def test_failed_fits_leave_the_model_unchanged(make):
    model = small().fit(table(make))
    scores, state = model.score_samples(table(make)), vars(model).copy()
    for bad in (table(make, it=CELLS["lists"]), make({"city": SIZE, "size": CITY})):
        for method in ("fit", "partial_fit"):
            with pytest.raises((TypeError, ValueError)):
                getattr(model, method)(bad, sample_weight=[-1.0] * N_ROWS)
            assert vars(model) == state
    np.testing.assert_array_equal(model.score_samples(table(make)), scores)


@pytest.mark.parametrize("texts", [True, False])
def test_columns_of_the_same_name(texts):
    frame = pd.DataFrame({"a": [1.0, 2, 3], "b": ["x", "y", "x"] if texts else [4, 5, 6]})
    with pytest.raises(ValueError, match="Column 'a' is in X more than once"):
        EinetDensity().fit(pd.concat([frame, frame], axis=1))
