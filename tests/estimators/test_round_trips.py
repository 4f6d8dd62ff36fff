"""Tables of all types of columns come back as they were given: types, names, index, values."""

from importlib.util import find_spec

import numpy as np
import pandas as pd
import polars as pl
import pytest

from sklearn_einet import EinetDensity, EinetMixture

pytestmark = [
    pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning"),
    pytest.mark.filterwarnings("ignore:Column.*beyond the values seen in fit"),
]

N_ROWS = 60
WHOLE = ["i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8"]
FRACTIONS = ["f4", "f8"]
NULLABLE_WHOLE = ["Int8", "Int16", "Int32", "Int64", "UInt8", "UInt16", "UInt32", "UInt64"]
STRATEGIES = ["mean", "mpe", "sample"]
WORDS = ["red", "green", "blue"]
SEEDS = range(6)
ARROW = {"fractions": [], "whole": []}
if HAS_ARROW := find_spec("pyarrow") is not None:
    ARROW["fractions"] = ["float[pyarrow]", "double[pyarrow]"]
    ARROW["whole"] = ["int8[pyarrow]", "uint16[pyarrow]", "int64[pyarrow]"]


def whole(rng):
    """Whole numbers of one of several kinds, far from the ends of all types except for 0."""
    kind = rng.randint(4)
    if kind == 0:
        return rng.poisson(4, N_ROWS)
    if kind == 1:
        return np.where(rng.rand(N_ROWS) < 0.5, 0, rng.randint(1, 60, N_ROWS))
    return rng.randint(0, 3 if kind == 2 else 60, N_ROWS)


def fractions(rng):
    x = rng.standard_normal(N_ROWS)
    return np.where(rng.rand(N_ROWS) < 0.3, 0.0, np.exp(x)) if rng.rand() < 0.5 else x


def days(rng):
    return pd.Timestamp("2024-01-01") + pd.to_timedelta(rng.randint(0, 500, N_ROWS), "D")


def pandas_columns(rng):
    """Columns of all types of pandas, without gaps, and whether they may have some."""
    day = pd.Series(days(rng))
    words = rng.choice(WORDS, N_ROWS)
    flags = rng.rand(N_ROWS) < 0.4
    columns = {name: (pd.Series(whole(rng)).astype(name), False) for name in WHOLE}
    columns |= {name: (pd.Series(fractions(rng)).astype(name), True) for name in FRACTIONS}
    columns |= {name: (pd.Series(whole(rng)).astype(name), True) for name in NULLABLE_WHOLE}
    for name in ["Float32", "Float64", *ARROW["fractions"]]:
        columns[name] = pd.Series(fractions(rng)).astype(name), True
    for name in ARROW["whole"]:
        columns[name] = pd.Series(whole(rng)).astype(name), True
    columns |= {
        "bool": (pd.Series(flags), False),
        "boolean": (pd.Series(flags).astype("boolean"), True),
        "category": (pd.Series(pd.Categorical(words, categories=[*WORDS[::-1], "grey"])), True),
        "ordered": (pd.Series(pd.Categorical(words, categories=WORDS, ordered=True)), True),
        "numbered": (pd.Series(pd.Categorical(rng.choice([3, 5, 8], N_ROWS))), True),
        "str": (pd.Series(words, dtype="str"), True),
        "string": (pd.Series(words, dtype="string"), True),
        "object": (pd.Series(words, dtype=object), True),
        "ns": (day.astype("M8[ns]"), True),
        "s": (day.astype("M8[s]"), True),
        "zone": (day.dt.tz_localize("Europe/Berlin"), True),
        "utc": (day.dt.tz_localize("UTC").astype("M8[ms, UTC]"), True),
        "wait": (pd.Series(pd.to_timedelta(rng.randint(0, 900, N_ROWS), "min")), True),
        "month": (day.dt.to_period("M"), True),
    }
    if HAS_ARROW:
        columns |= {
            "bool[pyarrow]": (pd.Series(flags).astype("bool[pyarrow]"), True),
            "string[pyarrow]": (pd.Series(words, dtype="string[pyarrow]"), True),
            "timestamp[pyarrow]": (day.astype("timestamp[us][pyarrow]"), True),
        }
    return columns


def polars_columns(rng):
    """The same of polars, where all may have gaps."""
    day = pl.Series(list(days(rng).to_pydatetime()))
    words, flags = rng.choice(WORDS, N_ROWS).tolist(), (rng.rand(N_ROWS) < 0.4).tolist()
    wholes = [pl.Int8, pl.Int16, pl.Int32, pl.Int64, pl.UInt8, pl.UInt16, pl.UInt32, pl.UInt64]
    columns = {str(dtype): pl.Series(whole(rng)).cast(dtype) for dtype in wholes}
    columns |= {
        str(dtype): pl.Series(fractions(rng)).cast(dtype) for dtype in (pl.Float32, pl.Float64)
    }
    waits = pl.Series(rng.randint(0, 900, N_ROWS)).cast(pl.Int64) * 60_000
    columns |= {
        "bool": pl.Series(flags),
        "text": pl.Series(words),
        "category": pl.Series(words, dtype=pl.Categorical),
        "enum": pl.Series(words, dtype=pl.Enum([*WORDS[::-1], "grey"])),
        "date": day.cast(pl.Date),
        "us": day.cast(pl.Datetime("us")),
        "ms": day.cast(pl.Datetime("ms")),
        "zone": day.dt.replace_time_zone("Europe/Berlin"),
        "wait": waits.cast(pl.Duration("ms")),
        "clock": (waits * 1_000_000).cast(pl.Time),
    }
    return {name: (column, True) for name, column in columns.items()}


def chosen(columns, rng, n):
    names = rng.permutation(sorted(columns))[:n]
    return {str(name): columns[name] for name in names}


def holes(rng):
    gone = rng.rand(N_ROWS) < 0.2
    gone[:5] = False
    return gone


def pandas_frame(seed, only=None):
    rng = np.random.RandomState(seed)
    columns = pandas_columns(rng)
    some = {only: columns[only]} if only else chosen(columns, rng, 7)
    some["size"] = pd.Series(rng.standard_normal(N_ROWS)), True
    frame = pd.DataFrame(
        {name: x.mask(holes(rng)) if may_miss else x for name, (x, may_miss) in some.items()}
    )
    kinds = [
        pd.RangeIndex(5, 5 + 3 * N_ROWS, 3),
        pd.Index([f"row {i}" for i in rng.permutation(N_ROWS)], name="key"),
        pd.date_range("2020-01-01", periods=N_ROWS),
        pd.Index(rng.randint(0, 9, N_ROWS)),  # the same labels several times
    ]
    return frame.set_axis(kinds[seed % len(kinds)], axis=0)


def polars_frame(seed, only=None):
    rng = np.random.RandomState(seed)
    columns = polars_columns(rng)
    some = {only: columns[only]} if only else chosen(columns, rng, 7)
    some["size"] = pl.Series(rng.standard_normal(N_ROWS)), True
    result = pl.DataFrame({name: x for name, (x, _) in some.items()})
    return result.with_columns(
        pl.when(~pl.Series(holes(rng))).then(pl.col(name)).alias(name) for name in result.columns
    )


def fitted(X, seed=0):
    fast = {"K": 2, "max_iter": 2, "tol": 1, "random_state": 0}
    if seed % 3 == 2:
        return EinetMixture(1, **fast).fit(X)
    return EinetDensity(**fast, structure=["auto", "chow-liu"][seed % 3]).fit(X)


def assert_pandas_types(found, X):
    assert isinstance(found, pd.DataFrame)
    assert list(found.columns) == list(X.columns)
    for name in X.columns:
        assert found[name].dtype == X[name].dtype, name
        if isinstance(X[name].dtype, pd.CategoricalDtype):
            assert found[name].cat.categories.equals(X[name].cat.categories)
            assert found[name].cat.ordered == X[name].cat.ordered


def assert_filled_pandas(filled, X):
    assert_pandas_types(filled, X)
    pd.testing.assert_index_equal(filled.index, X.index)
    assert filled.notna().all(axis=None)
    for name in X.columns:
        seen = X[name].notna().to_numpy()
        pd.testing.assert_series_equal(filled[name][seen], X[name][seen])


def assert_filled_polars(filled, X):
    assert isinstance(filled, pl.DataFrame)
    assert filled.columns == X.columns
    for name in X.columns:
        assert filled[name].null_count() == 0, name
        assert filled[name].dtype == X[name].dtype, name
        seen = X[name].is_not_null()
        assert filled[name].filter(seen).equals(X[name].filter(seen), null_equal=True), name


@pytest.mark.parametrize("seed", SEEDS)
def test_pandas_frames(seed):
    X = pandas_frame(seed)
    model = fitted(X, seed)
    for strategy in STRATEGIES:
        assert_filled_pandas(model.impute(X, strategy, random_state=0), X)
    assert_filled_pandas(model.sample_conditional(X, random_state=0), X)
    for each in model.sample_conditional(X, n_draws=3, random_state=0):
        assert_filled_pandas(each, X)
    assert_pandas_types(model.sample(30, random_state=0), X)
    assert np.isfinite(model.score_samples(X)).all()


@pytest.mark.parametrize("seed", SEEDS)
def test_polars_frames(seed):
    X = polars_frame(seed)
    model = fitted(X, seed)
    for strategy in STRATEGIES:
        assert_filled_polars(model.impute(X, strategy, random_state=0), X)
    assert_filled_polars(model.sample_conditional(X, random_state=0), X)
    for each in model.sample_conditional(X, n_draws=3, random_state=0):
        assert_filled_polars(each, X)
    drawn = model.sample(30, random_state=0)
    assert drawn.schema == X.schema
    assert np.isfinite(model.score_samples(X)).all()


PANDAS_TYPES = sorted(pandas_columns(np.random.RandomState(0)))
POLARS_TYPES = sorted(polars_columns(np.random.RandomState(0)))


@pytest.mark.parametrize("name", PANDAS_TYPES)
def test_single_types_of_pandas(name):
    for seed in range(3):
        X = pandas_frame(seed, only=name)
        model = fitted(X, 1)
        assert_pandas_types(model.sample(30, random_state=0), X)
        assert_filled_pandas(model.impute(X, "mpe"), X)
        assert_filled_pandas(model.sample_conditional(X, random_state=0), X)
        assert_filled_pandas(model.impute(X), X)


@pytest.mark.parametrize("name", POLARS_TYPES)
def test_single_types_of_polars(name):
    for seed in range(3):
        X = polars_frame(seed, only=name)
        model = fitted(X, 1)
        assert model.sample(30, random_state=0).schema == X.schema
        assert_filled_polars(model.impute(X, "mpe"), X)
        assert_filled_polars(model.sample_conditional(X, random_state=0), X)
        assert_filled_polars(model.impute(X), X)


@pytest.mark.parametrize("frame", [pandas_frame, polars_frame])
def test_draws_are_given_back(frame):
    """What a model draws is a table for it, and for a fit."""
    X = frame(4)
    model = fitted(X, 1)
    drawn = model.sample(40, random_state=0)
    assert np.isfinite(model.score_samples(drawn)).all()
    again = fitted(drawn, 1).sample(5, random_state=0)
    assert list(again.dtypes) == list(drawn.dtypes)


# Columns near one end of a type, or both.
NEAR_ENDS = {
    "low": lambda rng, low, high: low + rng.randint(0, 40, 300),
    "high": lambda rng, low, high: high - rng.randint(0, 61, 300),
    "between": lambda rng, low, high: rng.randint(low + 2, high - 1, 300),
}


@pytest.mark.parametrize("where", NEAR_ENDS)
@pytest.mark.parametrize("name", ["int8", "Int8", "uint8", *ARROW["whole"][:1], "polars"])
def test_whole_numbers_near_the_ends_of_their_type(name, where):
    limits = np.iinfo("uint8" if name == "uint8" else "int8")
    rng = np.random.RandomState(0)
    whole = NEAR_ENDS[where](rng, limits.min, limits.max)
    if name == "polars":
        whole = pl.Series(np.where(rng.rand(300) < 0.2, None, whole).tolist(), dtype=pl.Int8)
        X = pl.DataFrame({"x": whole, "size": np.linspace(0, 1, 300)})
    else:
        x = pd.Series(whole).astype(name)
        X = pd.DataFrame({"x": x if isinstance(x.dtype, np.dtype) else x.mask(rng.rand(300) < 0.2)})
        X["size"] = np.linspace(0, 1, 300)
    model = fitted(X, 1)
    assert model.sample(3000, random_state=0)["x"].dtype == X["x"].dtype
    check = assert_filled_polars if name == "polars" else assert_filled_pandas
    for strategy in STRATEGIES:
        check(model.impute(X, strategy, random_state=0), X)
    every = np.arange(limits.min, limits.max + 1.0)
    inside = model.marginal(["x"]).interval_log_proba({"x": every}, {"x": every})
    assert np.exp(inside).sum() == pytest.approx(1)
    assert model.interval_log_proba({"x": limits.max + 1})[0] == -np.inf
