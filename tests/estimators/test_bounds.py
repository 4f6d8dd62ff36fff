"""Given bounds of columns."""

import datetime

import narwhals.stable.v2 as nw
import numpy as np
import pandas as pd
import polars as pl
import pytest
from sklearn.base import clone
from sklearn.model_selection import GridSearchCV

from sklearn_einet import EinetDensity, EinetMixture, EinetOutlierDetector
from tests.helpers.atoms import FAST, STRUCTURES, new

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

BOUNDS = {"rate": (-1, 1), "load": (None, 10.0), "age": (15.5, 99), "gain": (0, np.inf)}
LIMITS = {"rate": (-1, 1), "load": (-np.inf, 10), "age": (16, 99), "gain": (0, np.inf)}
INSIDE = {"rate": (-0.999, 0.999), "load": (-40, 9.999)}

HALF = pytest.mark.skipif(not hasattr(nw, "Float16"), reason="narwhals knows no half precision")


def table(n=800, seed=0, gaps=0.1):
    """Numbers near two bounds and near one, whole numbers, zeros, and numbers without bounds."""
    rng = np.random.RandomState(seed)
    cluster = rng.randint(2, size=n)
    frame = pd.DataFrame(
        {
            "rate": 2 * rng.beta(1 + cluster, 1.5, n) - 1,
            "load": 10 - rng.gamma(1 + cluster, 2, n),
            "age": rng.normal(30 + 20 * cluster, 15, n).round().clip(17, 98),
            "gain": np.where(rng.rand(n) < 0.4, 0, rng.lognormal(cluster, 1, n)),
            "size": rng.normal(cluster, 1, n),
        }
    )
    return frame.mask(rng.rand(n, 5) < gaps)


FRAME = table()


@pytest.fixture(scope="module", params=[*STRUCTURES, "mixture", "no atoms", "detector"])
def model(request):
    if request.param == "no atoms":
        return new("chow-liu", atoms=None, bounds=BOUNDS).fit(FRAME)
    if request.param == "detector":
        return EinetOutlierDetector(**FAST, bounds=BOUNDS).fit(FRAME)
    return new(request.param, bounds=BOUNDS).fit(FRAME)


def probability(model, low, high, closed="both"):
    return np.exp(model.interval_log_proba(low, high, closed))[0]


def rows_of(**cells):
    n = max(np.size(each) for each in cells.values())
    return pd.DataFrame({name: np.full(n, np.nan) for name in FRAME}).assign(**cells)


def limits(model, name):
    """The ends of the range of a column: points of its grid, if it has one."""
    low, high = BOUNDS[name] if model.atoms is None else LIMITS[name]
    return -np.inf if low is None else low, high


def assert_within(model, frame):
    for name in BOUNDS:
        assert frame[name].between(*limits(model, name)).all(), name


# --- given bounds are kept


def test_the_report_has_them(model):
    report = model.leaf_report_.set_index("column")
    for name in BOUNDS:
        assert (report.loc[name, "low"], report.loc[name, "high"]) == limits(model, name)
        assert report.loc[name, "reason"].endswith(", bounds as given")
    assert (report.loc["size", "low"], report.loc["size", "high"]) == (-np.inf, np.inf)
    assert not report.loc["size", "reason"].endswith("given")


def test_draws_are_within(model):
    drawn = model.sample(20_000, random_state=0)
    assert_within(model, drawn)
    # Draws are not moved to the bounds, unless they are nearer than float64 can resolve.
    assert drawn[["rate", "load"]].isin([-1, 1, 10]).mean().max() < 0.02
    assert drawn["rate"].min() < -0.95
    assert drawn["load"].max() > 9.8
    assert_within(model, model.sample(200, random_state=0, noise=False))
    given = model.sample(500, random_state=0, given={"rate": (0.9, None), "size": (1, 2)})
    assert_within(model, given)


def test_filled_cells_are_within(model):
    rows = table(80, seed=3, gaps=0.5)
    for method in ("mean", "mpe", "sample"):
        filled = model.impute(rows, method, random_state=0)
        assert_within(model, filled)
        np.testing.assert_array_equal(filled[rows.notna()], rows[rows.notna()])


@pytest.mark.parametrize("name", INSIDE)
def test_masses_within_are_1(model, name):
    low, high = INSIDE[name]
    x = 0.5 * (low + high) + 0.5 * (high - low) * np.sin(np.linspace(-1, 1, 8001) * np.pi / 2)
    density = np.exp(model.score_samples(rows_of(**{name: x})))
    middle = np.trapezoid(density, x)
    ends = probability(model, None, {name: low}) + probability(model, {name: high}, None)
    assert middle + ends == pytest.approx(1, abs=1e-4)
    assert ends < 0.1
    assert probability(model, *({name: end} for end in limits(model, name))) == pytest.approx(1)
    half = x <= x[4000]
    expected = np.trapezoid(density[half], x[half]) + probability(model, None, {name: low})
    assert probability(model, None, {name: x[4000]}) == pytest.approx(expected, abs=1e-4)


def test_values_beyond_are_impossible(model):
    beyond = rows_of(rate=[-1.1, 1.1, 0, 0, 0], load=[1, 1, 10.1, 1, 1])
    beyond = beyond.assign(age=[20, 20, 20, 14, 100], size=0.0)
    assert np.isneginf(model.score_samples(beyond)).all()
    assert (model.predict(beyond) == -1).all()
    assert np.isfinite(model.decision_function(beyond)).all()
    assert (model.p_values(rows_of(rate=[1.5, -2], size=[0.0, np.nan])) < 0.01).all()
    inside = beyond.assign(rate=0.5, load=9.0, age=[16, 17, 30, 98, 99])
    assert np.isfinite(model.score_samples(inside)).all()
    found = model.feature_scores(beyond)
    where = [("rate", 0), ("rate", 1), ("load", 2), ("age", 3), ("age", 4)]
    assert all(np.isposinf(found.loc[row, name]) for name, row in where)
    assert probability(model, {"rate": 1.001}, None) == 0
    assert probability(model, None, {"rate": -1}, "neither") == 0
    with pytest.warns(UserWarning, match=r"'rate' holds 1\.5, beyond the bounds"):
        filled = model.impute(rows_of(rate=1.5))
    np.testing.assert_allclose(filled["size"], model.impute(rows_of(rate=np.nan))["size"])
    with pytest.raises(ValueError, match="rate"):
        model.sample(5, given={"rate": 1.5})


def test_conditional_densities_are_differences(model):
    rows, alone = table(40, seed=5, gaps=0), ["load", "age", "gain", "size"]
    expected = model.score_samples(rows) - model.score_samples(rows.assign(rate=np.nan))
    np.testing.assert_allclose(model.conditional_score_samples(rows, alone), expected, atol=1e-7)


def test_marginal_models_keep_them(model):
    part = model.marginal(["size", "load"])
    assert part.bounds == {1: (None, 10.0)}
    assert (part.sample(2000, random_state=0)["load"] <= 10).all()
    again = clone(part).fit(FRAME[["size", "load"]])
    assert again.leaf_report_["high"].tolist() == [np.inf, 10]
    with pytest.raises(ValueError, match="'load' holds 12, above its upper bound 10"):
        clone(part).fit(FRAME[["size", "load"]].assign(load=FRAME["load"].fillna(12)))


# --- far and near bounds, values at bounds, states


def test_bounds_that_are_far_away_change_nothing():
    X = FRAME[["rate", "size"]].to_numpy()
    plain = new("joint-normal", bounds=None).fit(X)
    for bound in (1e4, 1e9, 1e300):
        far = new("joint-normal", bounds={1: (-bound, bound)}).fit(X)
        assert far.leaf_report_["high"].tolist()[1] == bound
        reference = new("joint-normal", bounds={1: (None, None)}).fit(X)
        np.testing.assert_allclose(far.score_samples(X), reference.score_samples(X), atol=1e-5)
        np.testing.assert_allclose(
            far.interval_log_proba({1: 0.5}), reference.interval_log_proba({1: 0.5}), atol=1e-5
        )
    assert plain.leaf_report_["low"].tolist() == [-np.inf, -np.inf]


@pytest.mark.parametrize("atoms", ["auto", None])
def test_single_values_at_bounds(atoms):
    x = np.random.RandomState(0).uniform(0.01, 0.99, (500, 1))
    x[:3, 0] = 0, 1, 1
    model = new("binary-trees", atoms=atoms, bounds={0: (0, 1)}).fit(x)
    assert model.leaf_report_["n_atoms"].tolist() == [0]
    assert np.abs(model.score_samples(x)).max() < 20
    assert np.isneginf(model.score_samples([[-1e-9], [1 + 1e-9]])).all()
    drawn = model.sample(5000, random_state=0)
    assert ((drawn >= 0) & (drawn <= 1)).all()
    assert np.exp(model.interval_log_proba([[0.0]], [[1.0]]))[0] == pytest.approx(1)
    assert np.exp(model.interval_log_proba([[0.0]], [[0.5]]))[0] == pytest.approx(0.5, abs=0.05)


def test_states_within_bounds():
    x = np.random.RandomState(0).choice([1.0, 2.0, 4.0], (300, 1))
    model = new("binary-trees", bounds={0: (0, 5)}).fit(x)
    assert model.leaf_report_[["leaf", "low", "high"]].iloc[0].tolist() == ["states", 0, 5]
    scores = model.score_samples([[4.0], [3.0], [-1.0], [6.0]])
    assert np.isfinite(scores[:2]).all()
    assert np.isneginf(scores[2:]).all()


def test_single_precision_rounds_bounds():
    x = np.random.RandomState(0).uniform(-0.1, 0.1, (300, 1)).astype(np.float32)
    x[:20] = np.float32(0.1)  # above 0.1
    model = new("binary-trees", bounds={0: (-0.1, 0.1)}).fit(x)
    assert np.isfinite(model.score_samples(x)).all()


def test_grids_round_bounds():
    """The sum of three tenths is more than 0.3."""
    x = 0.1 * np.random.RandomState(0).randint(-60, 4, (2000, 1))
    assert x.max() > 0.3
    model = new("binary-trees", bounds={0: (-6.05, 0.3)}).fit(x)
    assert np.isfinite(model.score_samples(x)).all()
    assert np.isfinite(model.score_samples([[0.3], [0.1 * 3]])).all()
    assert np.isneginf(model.score_samples([[0.4], [-6.1]])).all()
    report = model.leaf_report_.iloc[0]
    assert [report["step"], report["low"]] == [pytest.approx(0.1), -6.0]
    assert set(model.sample(5000, random_state=0)[:, 0].round(1)) <= set(np.arange(-60, 4) / 10)


def test_no_bounds():
    frame = FRAME[["gain", "age", "size"]].assign(size=FRAME["size"].abs())
    report = new(bounds=None).fit(frame).leaf_report_
    assert (report["low"] == -np.inf).all()
    assert report["n_atoms"].tolist()[0] == 1
    assert (new("chow-liu", bounds=None).fit(frame).sample(3000, random_state=0)["size"] < 0).any()
    auto = new(bounds="auto").fit(frame).leaf_report_
    pd.testing.assert_frame_equal(auto, new().fit(frame).leaf_report_)
    assert auto["low"].tolist() == [0, 17, 0]  # many have 17, an atom
    # Of other columns than those in a dict, bounds are found.
    mixed = new(bounds={"size": (-5, None)}).fit(frame).leaf_report_
    assert mixed["low"].tolist() == [0, 17, -5]
    assert new(bounds={}, atoms=None).fit(frame).leaf_report_["low"].tolist() == [-np.inf] * 3


def near_ends(name, seed=0):
    """Whole numbers near both ends of a type, or only near the upper one."""
    limits, rng = np.iinfo(name), np.random.RandomState(seed)
    whole = rng.randint(limits.min + 2, limits.max - 1, 400)
    return whole.astype(name), np.sort(limits.max - rng.poisson(8, 400).clip(2)).astype(name)


@pytest.mark.parametrize("name", ["int8", "uint8", "int16"])
@pytest.mark.parametrize("bounds", [None, {"x": (None, None)}, {"x": (-1e6, 1e6)}, "auto"], ids=str)
def test_types_hold_beside_them(name, bounds):
    limits = np.iinfo(name)
    for x in near_ends(name):
        X = pd.DataFrame({"x": x, "size": np.linspace(0, 1, 400)})
        model = new("chow-liu", bounds=bounds, numeric_transform=None).fit(X)
        drawn = model.sample(3000, random_state=0)["x"]
        assert drawn.dtype == name
        gaps = X.assign(x=X["x"].where(X.index % 2 == 0))
        assert model.impute(gaps, "sample", random_state=0)["x"].between(*limits_of(name)).all()
        report = model.leaf_report_.iloc[0]
        assert report["high"] == limits.max
        assert report["reason"].endswith("given") == (bounds == {"x": (-1e6, 1e6)})
        # What a density has beyond the last number is that one's.
        top = limits.max - 3
        single = [{"x": value} for value in (top, top + 1, top + 2, limits.max)]
        parts = np.exp([model.interval_log_proba(each, each)[0] for each in single])
        assert probability(model, {"x": top}, None) == pytest.approx(parts.sum())
        assert (drawn == limits.max).mean() == pytest.approx(parts[-1], abs=0.02)
        assert probability(model, None, {"x": top}, "left") + parts.sum() == pytest.approx(1)
        assert probability(model, {"x": limits.max + 1}, None) == 0
        far = pd.DataFrame({"x": [1e5, 2e6], "size": 0.5})
        impossible = np.isneginf(model.score_samples(far))
        assert impossible[0] == 0
        assert impossible[1] == (bounds == {"x": (-1e6, 1e6)})


def limits_of(name):
    return np.iinfo(name).min, np.iinfo(name).max


def test_types_narrow_them():
    x = near_ends("int8")[0]
    X = pd.DataFrame({"x": np.abs(x.clip(-127)), "size": np.linspace(0, 1, 400)})
    model = new("chow-liu", bounds={"x": (-3, 1000)}).fit(X)
    assert model.leaf_report_[["low", "high"]].iloc[0].tolist() == [-3, 127]
    drawn = model.sample(3000, random_state=0)["x"]
    assert drawn.dtype == np.int8
    assert drawn.min() >= -3
    every = np.arange(-3.0, 128.0)
    marginal = model.marginal(["x"])
    single = np.exp(marginal.interval_log_proba({"x": every}, {"x": every}))
    assert single.sum() == pytest.approx(1)
    queries = pd.DataFrame({"x": [-4, 500, 1001], "size": 0.5})
    assert np.isneginf(model.score_samples(queries)).tolist() == [True, False, True]


@pytest.mark.parametrize("dtype", [np.float32, pytest.param(np.float16, marks=HALF)])
@pytest.mark.parametrize("bound", [0.7, 0.1, 6.3])
def test_narrow_floats_round_bounds(dtype, bound):
    rng = np.random.RandomState(0)
    x = (bound - 0.1 * rng.poisson(9, 600)).round(1)
    X = pd.DataFrame({"x": x.astype(dtype), "size": rng.standard_normal(600)})
    assert (X["x"] == dtype(bound)).any()
    model = new("chow-liu", bounds={"x": (-9.95, bound)}).fit(X)
    report = model.leaf_report_.iloc[0]
    assert (report["step"], report["high"]) == (0.1, float(dtype(bound)))
    assert report["low"] == pytest.approx(-9.9, abs=0.01)
    drawn = model.sample(3000, random_state=0)["x"]
    assert drawn.dtype == dtype
    assert (drawn <= dtype(bound)).all()
    np.testing.assert_array_equal(drawn, drawn.astype(float).round(1).astype(dtype))
    double = X.astype({"x": float}).assign(x=x)
    np.testing.assert_allclose(model.score_samples(double), model.score_samples(X), atol=0.03)
    above = pd.DataFrame({"x": [bound + 0.1, -10.0], "size": 0.0})
    assert np.isneginf(model.score_samples(above)).all()
    model.partial_fit(X)


def test_numbers_beside_a_grid_within_bounds():
    """Ages in years, some of babies in months; a bound is on no point of the grid."""
    rng = np.random.RandomState(0)
    ages = rng.poisson(6, 1000).clip(1, 14) + 0.0
    ages[:24] = rng.randint(5, 12, 24) / 12
    ages[24:27] = 14.25, 14.3, 14.4
    X = pd.DataFrame({"age": ages, "size": rng.standard_normal(1000)})
    model = new("chow-liu", bounds={"age": (0.4, 14.5)}).fit(X)
    report = model.leaf_report_.iloc[0]
    assert (report["step"], report["n_atoms"]) == (1, 0)
    assert not model.table_density_.schema.unknown_cells(X.to_numpy()).any()
    assert np.isfinite(model.score_samples(X)).all()
    drawn = model.sample(5000, random_state=0)["age"]
    assert drawn.between(0.4, 14.5).all()
    beyond = pd.DataFrame({"age": [0.39, 14.51, 0.41, 14.49], "size": 0.0})
    assert np.isneginf(model.score_samples(beyond)).tolist() == [True, True, False, False]
    assert probability(model, {"age": 0.4}, {"age": 14.5}) == pytest.approx(1)
    below = probability(model, None, {"age": 1.5})
    assert (drawn < 1.5).mean() == pytest.approx(below, abs=0.02)


def test_constant_columns_may_have_them():
    frame = FRAME[["size"]].assign(rate=0.25)
    model = new("chow-liu", bounds={"rate": (-1, 1)}).fit(frame)
    assert (model.sample(20, random_state=0)["rate"] == 0.25).all()
    with pytest.raises(ValueError, match=r"'rate' holds 0\.25, below its lower bound 1 "):
        new("chow-liu", bounds={"rate": (1, 2)}).fit(frame)


def test_labels_do_not_tie_to_units():
    X = FRAME[["rate", "size"]].dropna().to_numpy()
    unit = np.array([1024.0, 0.25])
    one = new("chow-liu", bounds={0: (-1, 1), 1: (-9, 9)}).fit(X)
    other = new("chow-liu", bounds={0: (-1024, 1024), 1: (-2.25, 2.25)}).fit(X * unit)
    np.testing.assert_allclose(other.p_values(X * unit), one.p_values(X), atol=1e-6)


# --- dates


# Between 2024-01-10 and 2024-12-31, both of them included.
NUMBERS = np.append([0, 356], (357 * np.random.RandomState(0).beta(1, 1.2, 398)).astype(int))
DAYS = pd.Series(pd.Timestamp("2024-01-10") + pd.to_timedelta(NUMBERS, unit="D"))


@pytest.mark.parametrize("atoms", ["auto", None])
@pytest.mark.parametrize(
    ("low", "high"),
    [
        (pd.Timestamp("2024-01-09 18:00"), datetime.datetime(2024, 12, 31)),
        ("2024-01-10", np.datetime64("2024-12-31")),
        (datetime.date(2024, 1, 10), None),
        (pd.NaT, "2024-12-31"),
    ],
)
def test_bounds_of_dates(low, high, atoms):
    X = pd.DataFrame({"day": DAYS, "size": np.random.RandomState(0).standard_normal(400)})
    model = new("chow-liu", bounds={"day": (low, high)}, atoms=atoms).fit(X)
    drawn = model.sample(3000, random_state=0)["day"]
    assert low is pd.NaT or (drawn >= pd.Timestamp("2024-01-10")).all()
    assert high is None or (drawn <= pd.Timestamp("2024-12-31")).all()
    free = new("chow-liu", bounds=None, atoms=atoms, numeric_transform=None).fit(X)
    free = free.sample(3000, random_state=0)["day"]
    assert (free < pd.Timestamp("2024-01-10")).any()
    assert (free > pd.Timestamp("2024-12-31")).any()
    beyond = pd.DataFrame({"day": [pd.Timestamp("2025-01-02")], "size": [0.0]})
    assert np.isneginf(model.score_samples(beyond)).all() == (high is not None)


def test_bounds_of_dates_of_polars_and_durations():
    days = pl.Series([datetime.date(2024, 1, 1) + datetime.timedelta(int(d)) for d in range(300)])
    waits = pl.Series([datetime.timedelta(hours=int(h)) for h in np.arange(300) % 48])
    X = pl.DataFrame({"day": days, "wait": waits})
    bounds = {
        "day": (datetime.date(2023, 12, 31), datetime.date(2024, 10, 30)),
        "wait": (None, datetime.timedelta(days=2)),
    }
    drawn = new("chow-liu", bounds=bounds).fit(X).sample(2000, random_state=0)
    assert drawn["day"].is_between(*bounds["day"]).all()
    assert (drawn["wait"] <= datetime.timedelta(days=2)).all()
    with pytest.raises(ValueError, match=r"'day' holds 2024-10-26, above its upper bound 2024-06-"):
        new(bounds={"day": (None, datetime.date(2024, 6, 1))}).fit(X)


# --- the parameter


@pytest.mark.parametrize(
    ("bounds", "error", "words"),
    [
        ("none", ValueError, "bounds"),
        (3, ValueError, "bounds"),
        ([(0, 1)], ValueError, "bounds"),
        ({"rate": 1}, TypeError, "'rate'"),
        ({"rate": (0,)}, TypeError, "'rate'"),
        ({"rate": "01"}, TypeError, "'rate'"),
        ({"rate": ("a", 1)}, TypeError, "'rate'"),
        ({"rate": (1, -1)}, ValueError, "'rate'.*low must be below high"),
        ({"rate": (np.inf, None)}, ValueError, "'rate'.*low must be below high"),
        ({"income": (0, 1)}, ValueError, "'income'"),
        ({"kind": (0, 1)}, ValueError, "'kind' cannot have bounds"),
        ({"load": (0, 10)}, ValueError, r"'load' holds -\d.*, below its lower bound 0 in the par"),
        ({"load": (None, 5)}, ValueError, r"'load' holds 9\.\d+, above its upper bound 5 in"),
        ({"size": (100, 200)}, ValueError, "'size' holds .*, below its lower bound 100"),
        ({"day": (0, 1)}, TypeError, "bounds: low must have timestamps.*'day'"),
        ({"day": ("soon", None)}, ValueError, "bounds: low must have timestamps.*'day'"),
        ({"day": ("2024-02-01", None)}, ValueError, r"'day' holds 2024-01-10, below .* 2024-02-01"),
    ],
    ids=str,
)
@pytest.mark.parametrize("kind", [EinetDensity, EinetMixture])
def test_what_bounds_cannot_be(kind, bounds, error, words):
    frame = table(200).assign(kind=["a", "b"] * 100, day=DAYS[:200])
    with pytest.raises(error, match=words):
        kind(**FAST, bounds=bounds).fit(frame)


@pytest.mark.parametrize("leaf", ["beta", "normal", "poisson"])
def test_columns_with_a_leaf_have_no_others(leaf):
    frame = FRAME[["age", "size"]].assign(
        age=lambda x: x["age"] / 100 if leaf == "beta" else x["age"]
    )
    with pytest.raises(ValueError, match="'age' cannot have bounds"):
        new("chow-liu", leaf={leaf: ["age"]}, bounds={"age": (0, 1000)}).fit(frame)


def test_variance_bounds_leave_no_place_for_them():
    X = FRAME[["rate", "size"]]
    with pytest.raises(ValueError, match=r"bounds cannot be combined with variance_bounds"):
        new("chow-liu", variance_bounds=(0.01, 1), bounds={"rate": (-1, 1)}).fit(X)


@pytest.mark.parametrize("warm", [True, False])
def test_fits_that_go_on_keep_them(warm):
    model = new("chow-liu", bounds={"rate": (-1, 1)}, warm_start=warm).fit(FRAME)
    go_on = model.fit if warm else model.partial_fit
    with pytest.raises(ValueError, match=r"'rate' holds 1\.5, above its upper bound 1 "):
        go_on(table(100, seed=2).assign(rate=1.5))
    go_on(table(100, seed=2))
    assert model.sample(3000, random_state=0)["rate"].between(-1, 1).all()


def test_rows_without_weight_may_be_beyond():
    X, weight = FRAME[["rate", "size"]].to_numpy(copy=True), np.ones(len(FRAME))
    X[5, 0], weight[5] = 7.0, 0
    model = new("chow-liu", bounds={0: (-1, 1)}).fit(X, sample_weight=weight)
    assert np.isneginf(model.score_samples(X[[5]])).all()


def test_a_search_over_bounds():
    x = np.random.RandomState(0).uniform(0, 1, (300, 1)) ** 2
    grid = {"bounds": [None, {0: (0, 1)}]}
    search = GridSearchCV(EinetDensity(**FAST, numeric_transform=None), grid, cv=2).fit(x)
    assert search.best_params_ == {"bounds": {0: (0, 1)}}
    assert EinetMixture(bounds={0: (0, 1)}).get_params()["bounds"] == {0: (0, 1)}
