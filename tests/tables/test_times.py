"""Columns of times as numbers, and back: exact, whatever type holds them."""

import datetime
import pickle
from fractions import Fraction
from zoneinfo import ZoneInfo

import numpy as np
import pandas as pd
import polars as pl
import pytest

from sklearn_einet.tables.encoding import Encoding
from sklearn_einet.tables.times import TimeAxis, stacked

DAY = 86400 * 10**9
LENGTHS = {"D": DAY, "h": DAY // 24, "m": 60 * 10**9, "s": 10**9, "ms": 10**6, "us": 1000, "ns": 1}
ZONES = ["Europe/Berlin", "America/St_Johns", "Australia/Lord_Howe", "Asia/Kolkata", "UTC"]


def arrow(name):
    pytest.importorskip("pyarrow")
    return f"{name}[pyarrow]"


def as_pandas(dtype):
    return lambda ticks, unit: pd.Series(in_unit(ticks, unit, dtype)).astype(dtype)


def in_unit(ticks, unit, dtype):
    letter = "m" if "timedelta" in str(dtype) or "duration" in str(dtype) else "M"
    return (ticks // LENGTHS[unit]).astype(f"{letter}8[{unit}]").astype(f"{letter}8[{unit}]")


def as_polars(dtype):
    return lambda ticks, unit: pl.Series("it", ticks // LENGTHS[unit]).cast(dtype)


def periods(freq):
    return lambda ticks, unit: pd.Series(
        pd.PeriodIndex.from_ordinals(ticks // LENGTHS[unit], freq=freq)
    )


def objects(convert):
    def make(ticks, unit):
        result = np.empty(len(ticks), dtype=object)
        result[:] = [convert(int(tick)) for tick in ticks]
        return pd.Series(result, dtype=object)

    return make


def moment(tick, zone=None):
    naive = datetime.datetime(1970, 1, 1) + datetime.timedelta(microseconds=tick // 1000)
    return naive if zone is None else naive.replace(tzinfo=datetime.UTC).astimezone(zone)


def zoned(unit, zone):
    def make(ticks, _):
        naive = pd.Series((ticks // LENGTHS[unit]).astype(f"M8[{unit}]"))
        return naive.dt.tz_localize("UTC").dt.tz_convert(zone)

    return make


MAKERS = {
    **{f"pandas {u}": (as_pandas(f"datetime64[{u}]"), u) for u in ("s", "ms", "us", "ns")},
    **{f"pandas length {u}": (as_pandas(f"timedelta64[{u}]"), u) for u in ("s", "ms", "us", "ns")},
    **{f"pandas {u} {z}": (zoned(u, z), u) for u in ("s", "ns") for z in ZONES},
    "pandas fixed zone": (zoned("us", datetime.timezone(datetime.timedelta(hours=-3))), "us"),
    "periods of days": (periods("D"), "D"),
    "periods of seconds": (periods("s"), "s"),
    "polars Date": (as_polars(pl.Date), "D"),
    **{f"polars {u}": (as_polars(pl.Datetime(u)), u) for u in ("ms", "us", "ns")},
    **{f"polars us {z}": (as_polars(pl.Datetime("us", z)), "us") for z in ZONES},
    **{f"polars length {u}": (as_polars(pl.Duration(u)), u) for u in ("ms", "us", "ns")},
    "dates": (objects(lambda tick: moment(tick).date()), "D"),
    "datetimes": (objects(moment), "us"),
    "datetimes in a zone": (objects(lambda tick: moment(tick, ZoneInfo("Europe/Berlin"))), "us"),
    "timestamps": (objects(pd.Timestamp), "ns"),
    "timedeltas": (objects(lambda tick: datetime.timedelta(microseconds=tick // 1000)), "us"),
    "pandas' timedeltas": (objects(pd.Timedelta), "ns"),
    "numpy's days": (objects(lambda tick: np.datetime64(tick // DAY, "D")), "D"),
    "numpy's times": (objects(lambda tick: np.datetime64(tick, "ns")), "ns"),
    "numpy's lengths": (objects(lambda tick: np.timedelta64(tick, "ns")), "ns"),
}
ARROWS = {
    "date32[day]": "D",
    "date64[ms]": "D",
    "timestamp[s]": "s",
    "timestamp[ns, tz=Europe/Berlin]": "ns",
    "duration[us]": "us",
}


def made(case, ticks):
    """Return a column of a type, without what its unit is too coarse for."""
    if case in ARROWS:
        unit = ARROWS[case]
        values = pd.Series(ticks // LENGTHS[unit])
        if case == "date64[ms]":
            values *= 86400 * 1000
        width = 32 if case == "date32[day]" else 64
        return values.astype(arrow(f"int{width}")).astype(arrow(case))
    make, unit = MAKERS[case]
    return make(ticks, unit)


def with_gaps(column, where):
    if isinstance(column, pl.Series):
        return pl.select(pl.when(~pl.Series(where)).then(column)).to_series().alias("it")
    return column.where(~where, None if column.dtype == object else pd.NaT)


def assert_same(left, right):
    if isinstance(left, pl.Series):
        assert left.dtype == right.dtype
        assert left.equals(right, null_equal=True)
    else:
        pd.testing.assert_series_equal(left, right, check_names=False)
        if left.dtype == object:
            assert [type(cell) for cell in left] == [type(cell) for cell in right]


def empty(column):
    return column[:0] if isinstance(column, pl.Series) else column.iloc[:0]


CASES = pytest.mark.parametrize("case", [*MAKERS, *ARROWS])


@CASES
@pytest.mark.parametrize("seed", range(4))
def test_round_trips(case, seed):
    """Also before 1970, on all grids, with gaps, in shuffled order."""
    rng = np.random.RandomState(seed)
    for length in LENGTHS.values():
        # So that all numbers have 53 bits.
        span = min(rng.choice([1, 30, 20_000]) * DAY, 2**52 * length)
        low = rng.randint(-10 * 365, 10 * 365) * DAY
        ticks = low + rng.randint(0, span // length + 1, 50) * length
        gone = rng.rand(50) < 0.2
        gone[0] = False
        column = made(case, ticks)
        gaps = with_gaps(column, gone)
        axis = TimeAxis.fit(gaps)
        numbers = axis.to_numbers(gaps)
        np.testing.assert_array_equal(np.isnan(numbers), gone)
        seen = numbers[~gone]
        assert (seen == np.round(seen)).all()
        assert axis.kind in ("duration",) or seen.min() == 0
        # What is drawn has the type of the column; NaN is nothing that is drawn.
        drawn = axis.column(np.where(gone, seen[0], numbers), empty(column))
        again = axis.to_numbers(drawn)
        np.testing.assert_array_equal(again[~gone], seen)
        assert_same(with_gaps(drawn, gone), gaps)
        # What was there stays as it was.
        filled = axis.filled(gaps, np.where(gone, seen[0], 7.0), empty(column))
        assert_same(with_gaps(filled, gone), gaps)
        assert axis.to_numbers(filled)[gone].tolist() == [seen[0]] * gone.sum()
        assert pickle.loads(pickle.dumps(axis)) == axis


@pytest.mark.parametrize("seed", range(5))
def test_against_fractions(seed):
    """Ticks of any size and unit, and queries in other units, against exact arithmetic."""
    rng = np.random.RandomState(seed)
    for _ in range(100):
        unit, other = rng.choice(["s", "ms", "us", "ns"]), rng.choice(list(LENGTHS))
        letter = rng.choice(["M", "m"])
        most = 2 ** rng.randint(1, 62)
        grid = int(rng.choice([1, 60, 86400, 10**6]))
        seen = rng.randint(-most, most + 1, 5) // grid * grid
        axis = TimeAxis.fit(seen.view(f"{letter}8[{unit}]"))
        later = rng.randint(-(2**40), 2**40, 5)
        for ticks, ticks_unit in ((seen, unit), (later, other)):
            numbers = axis.to_numbers(ticks.view(f"{letter}8[{ticks_unit}]"))
            origin, step = (each * LENGTHS[unit] for each in (axis.grid.origin, axis.grid.step))
            exact = [Fraction(int(t) * LENGTHS[ticks_unit] - origin, step) for t in ticks]
            np.testing.assert_allclose(numbers, [float(each) for each in exact], rtol=4e-16)
            if ticks is seen and all(each.denominator == 1 for each in exact):
                assert numbers.tolist() == exact
                assert (axis.column(numbers).view(np.int64) == seen).all()


@pytest.mark.parametrize("unit", LENGTHS)
def test_step(unit):
    """It is the coarsest that all values lie on, from the first of them."""
    length = LENGTHS[unit]
    offset = 5 * 3600 * 10**9 + 7
    ticks = np.array([3, 4, 10, 3]) * length + offset
    axis = TimeAxis.fit(pd.Series(ticks.astype("M8[ns]")))
    assert (axis.grid.origin, axis.grid.step) == (3 * length + offset, length)
    assert axis.to_numbers(pd.Series(ticks.astype("M8[ns]"))).tolist() == [0, 1, 7, 0]
    # Durations have a natural origin, and so their own numbers.
    lengths = pd.Series((np.array([3, 4, -10]) * length).astype("m8[ns]"))
    assert TimeAxis.fit(lengths).to_numbers(lengths).tolist() == [3, 4, -10]


def test_off_the_grid():
    days = pd.Series(pd.to_datetime(["2024-02-28", "2024-03-01"]))
    axis = TimeAxis.fit(days)
    for later in (
        pd.Series(pd.to_datetime(["2024-02-28 12:00", "2024-02-27 18:00"])),
        pd.Series(pd.to_datetime(["2024-02-28 12:00", "2024-02-27 18:00"])).dt.as_unit("s"),
        pl.Series([datetime.datetime(2024, 2, 28, 12), datetime.datetime(2024, 2, 27, 18)]),
    ):
        assert axis.to_numbers(later).tolist() == [0.5, -0.25]
    # Python's dates and types of days go as well.
    date = pd.Series([datetime.date(2024, 2, 29), None], dtype=object)
    assert axis.to_numbers(date)[0] == 1
    assert axis.to_numbers(pl.Series([datetime.date(2024, 2, 27)])).tolist() == [-1]
    drawn = axis.column(np.array([0.4, 0.6, -1.5, 1e300, -1e300]), days)
    assert drawn[:3].dt.strftime("%m-%d").tolist() == ["02-28", "02-29", "02-26"]
    assert drawn.notna().all()
    assert drawn.iloc[3] > days.max()
    assert drawn.iloc[4] < days.min()


@pytest.mark.parametrize("make", [pd.Series, pl.Series])
@pytest.mark.parametrize("zone", ["Europe/Berlin", "America/New_York"])
def test_midnights_across_changes_of_clocks(make, zone):
    """They are days, and stay midnights."""
    days = pd.date_range("2023-12-30", "2025-01-02", tz=zone)
    column = make(pl.Series(days.tz_convert("UTC").tz_localize(None).as_unit("us").to_numpy()))
    if make is pl.Series:
        column = column.dt.replace_time_zone("UTC").dt.convert_time_zone(zone)
    else:
        column = pd.Series(days)
    axis = TimeAxis.fit(column)
    numbers = axis.to_numbers(column)
    assert numbers.tolist() == list(range(len(days)))
    assert_same(axis.column(numbers, column), column)
    later = axis.column(numbers[-1:] + 180, column)  # the clocks have changed in between
    hour = later.dt.hour()[0] if make is pl.Series else later.dt.hour[0]
    assert hour == 0
    # Parts of a year, none of which has a change.
    parts = [TimeAxis.fit(column[a : a + 30]) for a in range(0, len(days) - 10, 30)]
    merged = TimeAxis.merged(parts)
    assert merged.to_numbers(column).tolist() == list(range(len(days)))


def test_hours_of_a_change_of_clocks():
    """Both hours that the clocks show twice are there, and none that they leave out."""
    hours = pd.Series(pd.date_range("2024-03-30", "2024-11-01", freq="h", tz="Europe/Berlin"))
    axis = TimeAxis.fit(hours)
    assert axis.to_numbers(hours).tolist() == list(range(len(hours)))
    assert_same(axis.column(axis.to_numbers(hours), hours[:0]), hours)
    # Once a day at an hour that the clocks leave out once: the draw is an hour later.
    times = pd.Series(pd.date_range("2024-03-20 02:30", periods=8, tz="Europe/Berlin"))
    drawn = TimeAxis.fit(times).column(np.array([11.0]), times)
    assert str(drawn[0]) == "2024-03-31 03:30:00+02:00"


def test_other_zones():
    """A query's zone may be another one: it is the time that counts."""
    hours = pd.Series(pd.date_range("2024-03-30", "2024-04-02", freq="h", tz="Europe/Berlin"))
    days = pd.Series(pd.date_range("2024-03-20", "2024-04-20", tz="Europe/Berlin"))
    for column in (hours, days):
        axis = TimeAxis.fit(column)
        away = column.dt.tz_convert("Asia/Tokyo")
        np.testing.assert_array_equal(axis.to_numbers(away), axis.to_numbers(column))
        gaps = away.mask(away.index == 3)
        assert_same(axis.filled(gaps, axis.to_numbers(column)), away)


def test_nanoseconds_of_centuries():
    """Their numbers are too many for float64: the step is larger, and values keep 53 bits."""
    ticks = np.array([-(2**63) + 1, -5, 7, 2**63 - 1])
    column = pd.Series(ticks.astype("M8[ns]"))
    axis = TimeAxis.fit(column)
    assert axis.grid.step == 10**6  # microseconds would be 2**64 / 1000
    numbers = axis.to_numbers(column)
    exact = [(int(tick) + 2**63 - 1) / 10**6 for tick in ticks]
    np.testing.assert_allclose(numbers, exact, rtol=1e-15)
    drawn = axis.column(numbers, column)
    assert np.abs(drawn.astype("int64").to_numpy() / 1e6 - ticks / 1e6).max() < 1
    # A hundred days of nanoseconds are few enough.
    column = pd.Series((10**18 + np.array([0, 1, 100 * DAY + 1])).astype("M8[ns]"))
    axis = TimeAxis.fit(column)
    assert axis.grid.step == 1
    assert_same(axis.column(axis.to_numbers(column), column), column)


@CASES
def test_single_values(case):
    """A column of one row, or of one value."""
    for n in (1, 3):
        column = made(case, np.full(n, 12345 * DAY + DAY // 2))
        axis = TimeAxis.fit(column)
        numbers = axis.to_numbers(column)
        assert len(set(numbers.tolist())) == 1
        assert_same(axis.column(numbers, empty(column)), column)


@CASES
def test_without_values(case):
    """No value in fit, and in a query: the type is known all the same."""
    column = made(case, np.arange(3) * DAY)
    gone = with_gaps(column, np.array([True] * 3))
    axis = TimeAxis.fit(column)
    numbers = axis.to_numbers(column)
    assert np.isnan(axis.to_numbers(gone)).all()
    assert_same(axis.filled(gone, numbers, empty(column)), column)
    if column.dtype != object:
        blank = TimeAxis.fit(gone)
        assert np.isnan(blank.to_numbers(gone)).all()
        assert TimeAxis.merged([blank, axis, blank]) == axis
    # DataFrames that are read from rows have no type for a column without a value.
    if isinstance(column, pl.Series):
        nothing = pl.Series("it", [None] * 3)
        assert_same(axis.filled(nothing, numbers, empty(column)), column)
    else:
        nothing = pd.Series([None, np.nan, None], index=[5, 3, 4], dtype=object)
        assert np.isnan(axis.to_numbers(nothing)).all()
        filled = axis.filled(nothing, numbers, empty(column))
        assert_same(filled, column.set_axis([5, 3, 4]))


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("case", ["pandas us", "pandas length ns", "polars Date", "datetimes"])
def test_merged(seed, case):
    """The whole is on the grid of its parts' axis, and that is no finer than it has to be."""
    rng = np.random.RandomState(seed)
    length = LENGTHS[["D", "h", "s"][seed % 3]]
    column = made(case, rng.randint(-50, 5000, 60) * length)
    parts = [TimeAxis.fit(column[a : a + size]) for a, size in ((0, 1), (1, 29), (30, 30))]
    merged = TimeAxis.merged(parts)
    assert merged == TimeAxis.fit(column)


def test_merged_units():
    """Objects of Python and of pandas, in parts of their own."""
    first = pd.Series([pd.Timestamp("2024-01-05 00:00:00.000000001")], dtype=object)
    second = pd.Series([datetime.datetime(2024, 1, 3)], dtype=object)
    axis = TimeAxis.merged([TimeAxis.fit(first), TimeAxis.fit(second)])
    assert axis.to_numbers(second).tolist() == [0]
    assert axis.to_numbers(first).tolist() == [2 * DAY + 1]
    with pytest.raises(TypeError, match="timestamps in fit, but has durations in another part"):
        TimeAxis.merged([TimeAxis.fit(first), TimeAxis.fit(pd.Series([pd.Timedelta(1)]))])


def test_times_of_day():
    cells = [datetime.time(7, 30), None, datetime.time(23, 45)]
    for column in (
        pl.Series("it", cells),
        pd.Series(cells, dtype=object),
        pd.Series(cells, dtype=arrow("time64[us]")),
        pd.Series(cells, dtype=arrow("time32[s]")),
    ):
        axis = TimeAxis.fit(column)
        numbers = axis.to_numbers(column)
        assert numbers[[0, 2]].tolist() == [450, 1425]
        assert axis.shown(450) == "07:30:00"
        filled = axis.filled(column, np.array([0, 61, 0.0]))
        assert filled.dtype == column.dtype
        assert filled.to_list() == [cells[0], datetime.time(1, 1), cells[2]]
        # No draw leaves the day.
        drawn = axis.column(np.array([-5.0, 1e9]), empty(column)).to_list()
        assert drawn == [datetime.time(0), datetime.time(23, 59)]


def test_arrays():
    """Those of datetime64 and timedelta64 in any unit; months and weeks are read as days."""
    for dtype, step in (
        ("M8[D]", 1),
        (">M8[us]", DAY // 1000),
        ("M8[25s]", 86400),
        ("M8[W]", 1),
        ("M8[M]", 1),
        ("m8[h]", 24),
        ("m8[ms]", DAY // 10**6),
    ):
        wide = "M8[D]" if "M8" in dtype else "m8[D]"
        values = np.array([0, 31, 59, -365]).astype(wide).astype(dtype)
        values[2] = "NaT"
        axis = TimeAxis.fit(values)
        assert axis.grid.step == step
        numbers = axis.to_numbers(values)
        assert np.isnan(numbers[2])
        filled = axis.filled(values, np.where(np.isnan(numbers), numbers[0], numbers))
        assert filled.dtype == values.dtype
        assert (filled == values[[0, 1, 0, 3]]).all()
    short = np.array([0, 3 * 10**12, 5 * 10**12]).astype("m8[ps]")
    assert TimeAxis.fit(short).to_numbers(short).tolist() == [0, 3, 5]
    for dtype in ("m8[M]", "m8[Y]", "m8"):
        with pytest.raises(TypeError, match="have no fixed length: convert them to days"):
            TimeAxis.fit(np.array([1, 2]).astype(dtype))


def test_periods():
    months = pd.Series(pd.period_range("2019-11", periods=4, freq="M"))
    axis = TimeAxis.fit(months)
    assert axis.to_numbers(months).tolist() == [0, 1, 2, 3]
    assert axis.shown(2) == "2020-01"
    assert axis.column(np.array([13.2]), months).tolist() == [pd.Period("2020-12", "M")]
    with pytest.raises(TypeError, match="frequency 'M' in fit, but has 'D' in this table"):
        axis.to_numbers(pd.Series(pd.period_range("2020", periods=2, freq="D")))
    weeks = pd.Series(pd.period_range("2020", periods=4, freq="2D"))
    assert_same(TimeAxis.fit(weeks).column(TimeAxis.fit(weeks).to_numbers(weeks), weeks), weeks)


def test_shown():
    for value, text in (
        (pd.Timestamp("2024-02-29"), "2024-02-29"),
        (pd.Timestamp("1912-02-29 12:30"), "1912-02-29 12:30"),
        (pd.Timestamp("2024-07-01", tz="Europe/Berlin"), "2024-07-01 Europe/Berlin"),
        (pd.Timedelta("2 days 3 h"), "2 days, 3:00:00"),
    ):
        column = pd.Series([value])
        axis = TimeAxis.fit(column)
        assert axis.shown(axis.to_numbers(column)[0]) == text


OTHERS = {
    "numbers": pd.Series([1.0, 2.0]),
    "texts": pd.Series(["2024-01-01", "2024-01-02"]),
    "numbers and times": pd.Series([datetime.date(2024, 1, 1), 1.5], dtype=object),
    "strings and times": pd.Series([datetime.date(2024, 1, 1), "2024-01-02"], dtype=object),
    "dates and times": pd.Series([datetime.date(2024, 1, 1), pd.Timestamp(0)], dtype=object),
    "durations": pd.Series([pd.Timedelta(1)]),
    "periods": pd.Series([pd.Period("2024", "D")]),
    "times of day": pl.Series([datetime.time(5)]),
    "zones": pd.Series([pd.Timestamp("2024", tz="UTC")]),
    "zones and none": pd.Series([pd.Timestamp("2024", tz="UTC"), pd.Timestamp(0)], dtype=object),
}


@pytest.mark.parametrize("case", OTHERS)
def test_other_cells(case):
    axis = TimeAxis.fit(pd.Series([datetime.datetime(2024, 1, 1)]))
    with pytest.raises(TypeError, match=r"^it (had|holds) "):
        axis.to_numbers(OTHERS[case])
    if " and " in case:
        with pytest.raises(TypeError, match="convert them to one kind"):
            TimeAxis.fit(OTHERS[case])


def test_objects_of_several_zones():
    """They are the same times in UTC."""
    cells = [pd.Timestamp("2024-01-01", tz=zone) for zone in ("Asia/Tokyo", "UTC")]
    column = pd.Series(cells, dtype=object)
    axis = TimeAxis.fit(column)
    assert axis.zone == "UTC"
    assert axis.to_numbers(column).tolist() == [0, 9]
    assert axis.column(np.array([9.0]), column).tolist() == [cells[1]]


def test_stacked():
    days = np.array([1, 2]).astype("M8[D]")
    assert stacked([days, days]).dtype == days.dtype
    mixed = stacked([days, np.array([0.5, 1])])
    assert mixed.tolist() == [[days[0], 0.5], [days[1], 1.0]]
    assert isinstance(mixed[0, 0], np.datetime64)


# --- encodings


@CASES
def test_encodings(case):
    """Of DataFrames: fit, numbers, tables, some of the columns, saving."""
    column = made(case, np.arange(6) * DAY)
    make = pl.DataFrame if isinstance(column, pl.Series) else pd.DataFrame
    X = make({"size": np.arange(6.0), "day": column, "city": list("abcabc")})
    encoding, _ = Encoding.fit(X, "from_dtype")
    assert list(encoding.times) == [1]
    encoding = pickle.loads(pickle.dumps(encoding))
    numbers = encoding.to_numbers(X)
    assert_same(
        encoding.table(numbers)["day"], column.alias("day") if make is pl.DataFrame else column
    )
    some = encoding.restricted(np.array([2, 1]))
    assert list(some.times) == [1]
    drawn = some.table(numbers[:, [2, 1]])
    assert list(drawn.columns) == ["city", "day"]
    assert drawn["day"].dtype == column.dtype
    parts = [Encoding.fit(X[a:b], "from_dtype")[0] for a, b in ((0, 1), (1, 6))]
    assert Encoding.merged(parts).times == encoding.times
