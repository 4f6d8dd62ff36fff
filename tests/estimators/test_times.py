"""Columns of dates and durations through the estimators: numbers inside, dates outside."""

import datetime
import subprocess
import sys
import warnings

import dask.array as da
import dask.dataframe as dd
import numpy as np
import pandas as pd
import polars as pl
import pytest
from sklearn import config_context

from sklearn_einet import EinetDensity, EinetImputer, EinetMixture, EinetOutlierDetector

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

N_ROWS = 80
START = datetime.datetime(2024, 1, 1)
DAYS = [START + datetime.timedelta(days=i) for i in range(N_ROWS)]
WAITS = [datetime.timedelta(hours=5 + i % 7) for i in range(N_ROWS)]
KIND = ["a", "b"] * (N_ROWS // 2)
SIZE = np.random.RandomState(0).randn(N_ROWS) + np.linspace(0, 3, N_ROWS)
ESTIMATORS = pytest.mark.parametrize("kind", [EinetDensity, EinetMixture, EinetOutlierDetector])


def small(kind=EinetDensity, **parameters):
    fast = {"K": 2, "max_iter": 3, "random_state": 0}
    if kind is EinetMixture:
        fast["n_components"] = 2
    return kind(**(fast | parameters))


def pandas_table():
    day = pd.Series(DAYS)
    return pd.DataFrame(
        {
            "size": SIZE,
            "day": day,
            "local": day.dt.tz_localize("Europe/Berlin"),
            "stamp": day.astype("M8[ns]") + pd.to_timedelta(SIZE.astype(int), "ns"),
            "wait": pd.Series(WAITS),
            "month": day.dt.to_period("M"),
            "date": pd.Series([each.date() for each in DAYS], dtype=object),
            "kind": KIND,
        }
    )


def polars_table():
    day = pl.Series(DAYS)
    return pl.DataFrame(
        {
            "size": SIZE,
            "day": day.cast(pl.Date),
            "local": day.dt.replace_time_zone("Europe/Berlin"),
            "stamp": day.cast(pl.Datetime("ns")),
            "wait": pl.Series(WAITS).cast(pl.Duration("ms")),
            "hour": pl.Series([datetime.time(i % 24) for i in range(N_ROWS)]),
            "kind": KIND,
        }
    )


def holes(X, seed=0):
    gone = np.random.RandomState(seed).rand(*X.shape) < 0.2
    gone[0] = False
    if isinstance(X, pd.DataFrame):
        return X.mask(gone)
    return X.with_columns(
        pl.when(~pl.Series(gone[:, j])).then(pl.col(name)).alias(name)
        for j, name in enumerate(X.columns)
    )


def types_of(X):
    return list(X.dtypes)


def assert_filled(filled, X):
    """No gap is left, nothing else has changed, types least of all."""
    assert types_of(filled) == types_of(X)
    assert list(filled.columns) == list(X.columns)
    if isinstance(X, pd.DataFrame):
        assert filled.notna().all(axis=None)
        pd.testing.assert_frame_equal(filled.where(X.notna()), X)
        if "date" in X:
            assert {type(cell) for cell in filled["date"]} == {datetime.date}
    else:
        assert sum(filled.null_count().row(0)) == 0
        masks = [
            pl.when(X[name].is_not_null()).then(pl.col(name)).alias(name) for name in X.columns
        ]
        assert filled.select(masks).equals(X)


TABLES = pytest.mark.parametrize("table", [pandas_table, polars_table])


@ESTIMATORS
@TABLES
def test_queries(table, kind):
    X = holes(table())
    if table is pandas_table:
        X.index = X.index[::-1] + 5
    model = small(kind).fit(X)
    drawn = model.sample(20, random_state=0)
    assert types_of(drawn) == types_of(X)
    for strategy in ("mean", "mpe", "sample"):
        assert_filled(model.impute(X, strategy, random_state=0), X)
    assert_filled(model.sample_conditional(X, random_state=0), X)
    for each in model.sample_conditional(X, n_draws=3, random_state=0):
        assert_filled(each, X)
    assert np.isfinite(model.score_samples(X)).all()
    scores = np.asarray(model.feature_scores(X))
    assert np.isfinite(scores).sum() == (~np.isnan(model.as_numbers(X))).sum()
    some = model.marginal(["local", "kind"])
    assert types_of(some.sample(3)) == [X["local"].dtype, X["kind"].dtype]
    assert np.isfinite(some.score_samples(X[["local", "kind"]])).all()


@TABLES
def test_numbers_are_days(table):
    """The density is that of whole days since the first one."""
    X = table()
    if table is pandas_table:
        plain = X[["size", "kind"]].assign(day=np.arange(N_ROWS, dtype=float))
    else:
        plain = X.select("size", "kind").with_columns(day=pl.Series(np.arange(N_ROWS, dtype=float)))
    dated = plain.assign(day=X["day"]) if table is pandas_table else plain.with_columns(X["day"])
    expected, found = small(atoms=None).fit(plain), small(atoms=None).fit(dated)
    np.testing.assert_array_equal(found.as_numbers(dated), expected.as_numbers(plain))
    np.testing.assert_array_equal(found.score_samples(dated), expected.score_samples(plain))
    np.testing.assert_array_equal(found.mean(), expected.mean())
    drawn, numbers = found.sample(50, random_state=0), expected.sample(50, random_state=0)
    since = [(pd.Timestamp(day) - START) / pd.Timedelta("1D") for day in drawn["day"]]
    assert since == np.rint(numbers["day"].to_numpy()).tolist()


def test_midnights_in_a_zone():
    """They stay midnights, though the clocks change among them."""
    for first in ("2024-01-10", "2024-03-01"):  # the clocks change on March 31st
        days = pd.date_range(first, periods=N_ROWS, tz="Europe/Berlin")
        X = pd.DataFrame({"size": SIZE, "local": days})
        drawn = small().fit(X).sample(200, random_state=0)["local"]
        assert len(set(drawn.dt.strftime("%z"))) == 2
        assert (drawn.dt.hour == 0).all()


def test_later_times():
    """Those of a query need not be on the grid, nor within what fit has seen."""
    X = pandas_table()[["size", "day"]]
    model = small().fit(X)
    noon = X.assign(day=X["day"] + pd.Timedelta("12h"))
    assert model.as_numbers(noon)[:2, 1].tolist() == [0.5, 1.5]
    gaps = noon.assign(size=noon["size"].where(np.arange(N_ROWS) != 3))
    assert model.impute(gaps)["day"].tolist() == noon["day"].tolist()
    far = pd.DataFrame({"size": [np.nan], "day": pd.to_datetime(["2050-01-01"])})
    with pytest.warns(UserWarning, match=r"'day' holds 2050-01-01, .* in fit \(2024-03-20\)"):
        model.impute(far)


BOUNDS = [
    ("day", "2024-01-11", START + datetime.timedelta(days=10), 10),
    ("day", pd.Timestamp("2024-01-11"), np.datetime64("2024-01-11"), 10),
    ("day", datetime.date(2024, 1, 11), pd.Period("2024-01-11", "D"), 10),
    ("local", "2024-01-11", pd.Timestamp("2024-01-10 23:00", tz="UTC"), 10),
    ("wait", "7h", datetime.timedelta(hours=7), 7),
    ("wait", np.timedelta64(7, "h"), pd.Timedelta("7h"), 7),
    ("month", "2024-02", pd.Timestamp("2024-02-15"), 1),
    ("date", "2024-01-11", datetime.date(2024, 1, 11), 10),
]


@pytest.mark.parametrize(("name", "first", "second", "number"), BOUNDS)
def test_bounds(name, first, second, number):
    X = pandas_table()
    model = small(atoms=None).fit(X)
    numbers = pd.DataFrame(model.as_numbers(X), columns=X.columns)
    plain = small(atoms=None, leaf={"categorical": ["kind"]}).fit(numbers)
    column = X.columns.get_loc(name)
    assert model.table_density_.encoding.times[column].grid.step > 0
    expected = plain.interval_log_proba({name: number})
    np.testing.assert_allclose(model.interval_log_proba({name: first}), expected, atol=1e-9)
    np.testing.assert_allclose(model.interval_log_proba({name: second}), expected, atol=1e-9)
    np.testing.assert_allclose(
        model.interval_log_proba({name: [first, None]}, {name: [np.inf, pd.NaT]}),
        [expected[0], 0],
        atol=1e-9,
    )


def test_bounds_by_periods():
    """A month begins at its start and ends at its end; other months are beside it."""
    model = small().fit(pandas_table())
    february = pd.Period("2024-02", "M")
    found = model.interval_log_proba({"day": february}, {"day": february})
    expected = model.interval_log_proba(
        {"day": "2024-02-01"}, {"day": pd.Timestamp("2024-03-01") - pd.Timedelta(1, "ns")}
    )
    np.testing.assert_allclose(found, expected, atol=1e-9)
    months = model.interval_log_proba({"month": pd.Period("2024", "Y")}, {"month": "2024"})
    np.testing.assert_array_equal(
        months, model.interval_log_proba({"month": "2024-01"}, {"month": "2024-12"})
    )


def test_bounds_without_a_zone():
    """They are what the clocks of the column's zone show, across a change of clocks, too."""
    days = pd.date_range("2024-03-20", periods=N_ROWS, tz="Europe/Berlin")
    hours = pd.date_range("2024-03-30", periods=N_ROWS, tz="Europe/Berlin", freq="h")
    model = small().fit(pd.DataFrame({"size": SIZE, "day": days, "hour": hours}))
    for name, column in (("day", days), ("hour", hours)):
        some = column[::7]
        naive = some.tz_localize(None).to_numpy()
        expected = model.interval_log_proba({name: some.to_series()})
        assert len(np.unique(expected)) == len(some)
        for bounds in (naive, list(naive), pd.Series(naive), [str(each) for each in naive]):
            found = model.interval_log_proba({name: bounds})
            np.testing.assert_array_equal(found, expected)
        with_gap = model.interval_log_proba({name: np.array([naive[3], "NaT"], "M8[us]")})
        np.testing.assert_allclose(with_gap, [expected[3], 0], atol=1e-9)


def test_frames_of_bounds():
    for table in (pandas_table, polars_table):
        X = table()
        model = small().fit(X)
        low = X[:5] if table is polars_table else X.iloc[:5]
        low = low[["day", "local", "wait"]]
        assert np.isfinite(model.interval_log_proba(low)).all()
        with pytest.raises(ValueError, match=r"low exceeds high in column 'day' of row 1: 2024-01"):
            model.interval_log_proba(low[["day"]], low[["day"]][:1])


@pytest.mark.parametrize(
    ("low", "message"),
    [
        ({"day": 5}, "low must have timestamps, such as '2024-01-31 12:00', in column 'day'"),
        ({"day": "one day"}, "low must have timestamps.*in column 'day'"),
        ({"day": pd.Timedelta("1D")}, "in column 'day'.*timestamps in fit, but has durations"),
        ({"day": pd.Timestamp("2024", tz="UTC")}, "in column 'day'.*no time zone in fit"),
        ({"wait": "2024-01-01"}, "low must have durations.*in column 'wait'"),
        ({"day": "June"}, "low must have timestamps.*in column 'day': 'June' has no year"),
        ({"day": "12:30"}, "in column 'day': '12:30' has no year"),
        ({"month": "June 5"}, "in column 'month': 'June 5' has no year"),
        ({"wait": "1.5"}, "low must have durations.*'wait': '1.5' has no unit"),
        ({"month": 3}, "low must have periods, such as '2024-01', in column 'month'"),
        ({"date": [datetime.date(2024, 1, 1), 3.5]}, "low must have dates.*'date'.*3.5"),
    ],
)
def test_bounds_that_are_none(low, message):
    with pytest.raises((TypeError, ValueError), match=message):
        small().fit(pandas_table()).interval_log_proba(low)


def test_arrays_of_days():
    days = np.array(DAYS, dtype="M8[D]")
    X = np.array([days, days[::-1]]).T
    X[3, 0] = "NaT"
    model = small().fit(X)
    assert model.sample(5).dtype == X.dtype
    filled = model.impute(X)
    assert filled.dtype == X.dtype
    assert not np.isnat(filled[3, 0])
    assert (filled[~np.isnat(X)] == X[~np.isnat(X)]).all()
    assert model.sample_conditional(X, n_draws=3).shape == (3, *X.shape)
    low = [["2024-01-11", None]]
    bounds = np.array([["2024-01-11", "NaT"]], "M8[D]")
    assert model.interval_log_proba(low) == model.interval_log_proba(bounds)


@pytest.mark.parametrize("unit", ["D", "us", "ns"])
def test_masked_arrays(unit):
    days = np.array(DAYS, dtype=f"M8[{unit}]")
    gaps = np.array([days, days[::-1]]).T
    masked = np.ma.array(gaps, mask=np.random.RandomState(0).rand(*gaps.shape) < 0.2)
    gaps = gaps.copy()
    gaps[masked.mask] = "NaT"
    model = small().fit(masked)
    np.testing.assert_array_equal(model.as_numbers(masked), small().fit(gaps).as_numbers(gaps))
    assert model.impute(masked).dtype == days.dtype


def test_arrays_of_objects():
    X = np.array([SIZE, DAYS], dtype=object).T
    X[3, 1] = None
    for given in (X, X.tolist()):
        model = small().fit(given)
        for table in (model.sample(5), model.impute(given)):
            assert {type(cell) for cell in table[:, 1]} == {datetime.datetime}
            assert {type(cell) for cell in table[:, 0]} == {float}
    assert (model.impute(X)[4:] == X[4:]).all()


def test_stored_arrays(tmp_path):
    days = np.array(DAYS, dtype="M8[s]")
    X = np.array([days, days[::-1]]).T
    np.save(tmp_path / "days.npy", X)
    stored = np.load(tmp_path / "days.npy", mmap_mode="r")
    model, expected = small().fit(stored), small().fit(X)
    np.testing.assert_array_equal(model.score_samples(stored), expected.score_samples(X))


@TABLES
def test_imputer(table):
    X = holes(table())
    imputer = EinetImputer(small()).fit(X)
    array = imputer.transform(X)
    assert array.shape == X.shape
    assert isinstance(array[1, 2], datetime.datetime)
    kind = "pandas" if table is pandas_table else "polars"
    imputer.set_output(transform=kind)
    assert_filled(imputer.transform(X), X)
    for filled in imputer.transform_multiple(X):
        assert_filled(filled, X)


def test_queries_of_another_kind():
    """DataFrames of another library, and arrays of objects, in a model of a DataFrame."""
    pandas = pandas_table()[["size", "day"]].astype({"day": "M8[us]"})
    polars = pl.DataFrame({"size": SIZE, "day": DAYS})
    model, other = small().fit(pandas), small().fit(polars)
    np.testing.assert_array_equal(model.score_samples(polars), other.score_samples(pandas))
    gaps = polars.with_columns(day=pl.lit(None).cast(pl.Datetime("ms")))
    assert model.impute(gaps).schema == gaps.schema
    untyped = polars.with_columns(day=pl.lit(None))
    assert model.impute(untyped)["day"].dtype == pl.Datetime("us")
    gaps = pandas.assign(day=np.nan)
    assert other.impute(gaps)["day"].dtype == "M8[us]"
    assert model.impute(gaps)["day"].dtype == pandas["day"].dtype
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # arrays have no names
        filled = model.impute(np.array([[0.5, None], [0.5, DAYS[0]]], dtype=object))
    assert isinstance(filled[0, 1], datetime.datetime)
    assert filled[1].tolist() == [0.5, DAYS[0]]


def test_frames_by_option():
    """Digits are not lost between libraries, nor are zones."""
    X = pandas_table()[["size", "local", "stamp", "wait"]]
    gaps = X.astype({"stamp": "M8[ns]"})
    gaps = gaps.mask(np.tile(np.arange(N_ROWS) == 3, (4, 1)).T)
    gaps["date"] = [day.date() for day in DAYS]
    model = small().fit(gaps)
    with config_context(transform_output="polars"):
        filled = model.impute(gaps)
    assert filled["stamp"].dtype == pl.Datetime("ns")
    assert filled["date"].dtype == pl.Date
    assert filled["local"].dtype.time_zone == "Europe/Berlin"
    there = np.flatnonzero(np.arange(N_ROWS) != 3)
    for name in ("local", "wait"):
        assert filled[there][name].to_list() == X[name].iloc[there].tolist()
    known = gaps["stamp"].astype("int64").to_numpy()
    assert (filled["stamp"].to_physical().to_numpy() == known)[there].all()
    other = small().fit(filled)
    with config_context(transform_output="pandas"):
        again = other.impute(filled.with_columns(size=pl.lit(None, pl.Float64)))
    assert again["stamp"].dtype == "M8[ns]"
    assert (again["stamp"].astype("int64").to_numpy() == known)[there].all()
    assert (again["local"] == X["local"])[there].all()
    assert str(again["local"].dtype.tz) == "Europe/Berlin"
    assert again["date"].tolist() == DAYS


def test_zeros_and_ones():
    """Two days are no two states: other days are possible."""
    X = pd.DataFrame(
        {"flag": [0, 1] * 20, "day": pd.to_datetime(["2024-01-01", "2024-01-02"] * 20)}
    )
    model = small().fit(X)
    later = pd.DataFrame({"flag": [1], "day": pd.to_datetime(["2024-01-03"])})
    assert np.isfinite(model.score_samples(later)).all()
    assert set(model.sample(50, random_state=0)["flag"]) == {0, 1}


def test_one_day():
    X = pandas_table().assign(day=DAYS[0])
    drawn = small().fit(X).sample(3)
    assert drawn["day"].tolist() == [DAYS[0]] * 3


def test_without_a_day():
    with pytest.raises(ValueError, match="Column 'day' has no observed value"):
        small().fit(pandas_table().assign(day=pd.Series([pd.NaT] * N_ROWS, dtype="M8[ns]")))


def test_leaves():
    """Durations are counted from 0, and may be log-normal; dates have no 0."""
    X = pandas_table()
    waits = small(leaf={"log-normal": ["wait"]}).fit(X).sample(30, random_state=0)["wait"]
    assert (waits > pd.Timedelta(0)).all() or (waits >= pd.Timedelta(0)).all()
    with pytest.raises(ValueError, match=r"'day' holds 2024-01-01, but its leaf family"):
        small(leaf={"log-normal": ["day"]}).fit(X)


def test_days_as_categories():
    X = pandas_table().assign(day=[START, DAYS[1]] * (N_ROWS // 2))
    model = small(categorical_features=["day", "kind"]).fit(X)
    assert set(model.sample(20, random_state=0)["day"]) <= {START, DAYS[1]}


def test_partial_fit():
    """Later blocks are counted from the first day of the first one."""
    X = pandas_table()
    model = small().partial_fit(X.iloc[40:]).partial_fit(X.iloc[:40])
    assert model.as_numbers(X)[[0, 40], 1].tolist() == [-40, 0]


def test_dask():
    X = pandas_table().drop(columns=["date"]).reset_index(drop=True)
    expected = small().fit(X)
    model = small().fit(dd.from_pandas(X, npartitions=3))
    assert model.table_density_.encoding.times == expected.table_density_.encoding.times
    drawn = model.sample(5)
    assert types_of(drawn)[:-1] == types_of(X)[:-1]  # dask has strings of its own
    lazy = model.score_samples(dd.from_pandas(X, npartitions=2))
    np.testing.assert_allclose(lazy.compute(), model.score_samples(X))
    days = np.array(DAYS, dtype="M8[s]")
    array = np.array([days, days[::-1]]).T
    fitted = small().fit(da.from_array(array, chunks=(30, 2)))
    assert fitted.sample(3).dtype == array.dtype
    np.testing.assert_array_equal(fitted.as_numbers(array), small().fit(array).as_numbers(array))


def test_without_frames():
    """Neither pandas nor polars is needed for arrays and bounds as strings."""
    program = """
import sys
sys.modules["pandas"] = sys.modules["polars"] = sys.modules["pyarrow"] = None
import warnings
import numpy as np
from sklearn_einet import EinetDensity
warnings.simplefilter("ignore")
days = np.arange("2024-01-01", "2024-02-10", dtype="M8[D]")
waits = (days - days[0]) * 3
for X in (np.array([days, days[::-1]]).T, np.array([list(days), list(waits)], dtype=object).T):
    model = EinetDensity(K=2, max_iter=3, random_state=0).fit(X)
    X[3, 0] = np.datetime64("NaT")
    assert not np.isnat(model.impute(X)[3, 0])
    print(model.interval_log_proba([["2024-01-11", None]])[0] < 0)
try:
    model.interval_log_proba([[None, "1 day"]])
except TypeError as error:
    print(error)
"""
    done = subprocess.run(
        [sys.executable, "-c", program], check=True, capture_output=True, text=True
    )
    lines = done.stdout.splitlines()
    assert lines[:2] == ["True", "True"]
    assert lines[2].startswith("low must have durations, such as datetime.timedelta(days=1), in")
