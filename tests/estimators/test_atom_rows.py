"""Columns with atoms, grids and bounds: draws, moments and filled cells."""

import itertools

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from sklearn_einet import EinetImputer
from tests.helpers.atoms import HOURS, NAMES, STRUCTURES, new, probabilities, rows_of, table, units

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

FRAME = table()
NUMBERS = NAMES[:4]
N_DRAWS = 40_000


@pytest.fixture(scope="module", params=[*STRUCTURES, "mixture"])
def model(request):
    return new(request.param).fit(FRAME)


@pytest.fixture(scope="module")
def drawn(model):
    return model.sample(N_DRAWS, random_state=1)


def patterns():
    """A row with each pattern of gaps, in which gain is 0 or more and hours are 40 or others."""
    rows = []
    for gaps in itertools.product([False, True], repeat=5):
        for gain, hours in ((0.0, 40.0), (6.0, 51.0)):
            row = {"gain": gain, "hours": hours, "rooms": 3.0, "size": 1.2, "kind": "b"}
            rows.append(
                [None if gap else cell for cell, gap in zip(row.values(), gaps, strict=True)]
            )
    frame = pd.DataFrame(rows, columns=NAMES).drop_duplicates(ignore_index=True)
    return frame.astype(dict.fromkeys(NUMBERS, float))


PATTERNS = patterns()


def assert_possible(rows):
    """Numbers are on their grids and within bounds, categories known."""
    assert (rows["gain"] >= 0).all()
    assert (rows["hours"] >= 0).all()
    np.testing.assert_array_equal(rows["hours"], rows["hours"].round())
    assert rows["rooms"].isin([1, 2, 3, 4, 5]).all()
    assert rows["kind"].isin(["a", "b", "c"]).all()


def assert_share(found, p, n=N_DRAWS):
    assert found == pytest.approx(p, abs=4.5 * np.sqrt(p * (1 - p) / n) + 1e-9)


# --- draws


def test_draws_are_values_that_the_columns_can_have(model, drawn):
    assert_possible(drawn)
    assert_share((drawn["gain"] == 0).mean(), probabilities(model, gain=0.0)[0])
    for hours in (39.0, 40.0, 41.0, 55.0):
        p = probabilities(model, hours=hours)[0]
        assert_share((drawn["hours"] == hours).mean(), p)
    both = probabilities(model, gain=0.0, hours=40.0)[0]
    assert_share(((drawn["gain"] == 0) & (drawn["hours"] == 40)).mean(), both)
    assert_possible(model.sample(300, random_state=0, noise=False))


def test_shares_are_those_of_the_table(drawn):
    for name, atom in (("gain", 0), ("hours", 40), ("rooms", 2)):
        seen = FRAME[name].dropna()
        assert (drawn[name] == atom).mean() == pytest.approx((seen == atom).mean(), abs=0.05)


def test_boxes_by_draws(model, drawn):
    for low, high in (
        ({"gain": 0, "hours": 41}, {"gain": 2}),
        ({"gain": 1, "hours": 30}, {"gain": 8, "hours": 52}),
        ({"gain": 0, "hours": 40, "size": 0}, {"gain": 0, "hours": 40, "size": 3}),
    ):
        inside = np.ones(len(drawn), dtype=bool)
        for name in low.keys() | high.keys():
            inside &= drawn[name].between(low.get(name, -np.inf), high.get(name, np.inf))
        p = np.exp(model.interval_log_proba(low, high))[0]
        assert_share(inside.mean(), p)


@pytest.mark.parametrize("given", [{"gain": 0}, {"gain": (1, 5)}, {"hours": [40, 50], "rooms": 2}])
def test_draws_given_conditions_by_rejection(model, drawn, given):
    found = model.sample(4000, random_state=0, given=given)
    assert_possible(found)
    kept = np.ones(len(drawn), dtype=bool)
    for name, asked in given.items():
        if isinstance(asked, tuple):
            assert found[name].between(*asked).all()
            kept &= drawn[name].between(*asked)
        else:
            assert found[name].isin(np.atleast_1d(asked)).all()
            kept &= drawn[name].isin(np.atleast_1d(asked))
    for name in NUMBERS:
        if name not in given:
            assert stats.ks_2samp(found[name], drawn[name][kept]).pvalue > 1e-5, name


def test_conditional_draws_have_the_densities_of_the_model(model):
    row = rows_of(size=1.0, kind="a")
    found = pd.concat(list(model.sample_conditional(row, n_draws=20_000, random_state=0)))
    assert_possible(found)
    of_row = np.exp(model.score_samples(row)[0])
    for cells in ({"gain": 0.0}, {"hours": 40.0}, {"gain": 0.0, "hours": 40.0, "rooms": 2.0}):
        rows = row.assign(**cells)
        p = (np.exp(model.score_samples(rows)) * units(model, rows))[0] / of_row
        inside = np.all([found[name] == value for name, value in cells.items()], axis=0)
        assert_share(inside.mean(), p, 20_000)


# --- moments


def test_moments_by_draws(model, drawn):
    numbers = drawn[NUMBERS].to_numpy()
    mean, variance = model.mean()[:4], model.variance()[:4]
    error = 5 * np.sqrt(variance / N_DRAWS)
    np.testing.assert_array_less(np.abs(mean - numbers.mean(0)), error)
    np.testing.assert_allclose(variance[1:], numbers.var(0)[1:], rtol=0.06)
    sizes = np.sqrt(np.outer(variance, variance))
    found = model.covariance()
    assert np.isnan(found[4]).all()
    np.testing.assert_allclose(np.diag(found)[:4], variance)
    centred = numbers - numbers.mean(0)
    for i, j in itertools.combinations(range(4), 2):
        product = centred[:, i] * centred[:, j]
        expected, deviation = product.mean(), product.std() / np.sqrt(N_DRAWS)
        assert abs(found[i, j] - expected) < 5 * deviation + 0.01 * sizes[i, j], (i, j)


def test_moments_by_sums(model):
    hours, cells = HOURS, pd.DataFrame({"hours": HOURS})
    p = np.exp(model.interval_log_proba(cells, cells))
    assert p.sum() == pytest.approx(1, abs=1e-6)
    mean = p @ hours
    # The mean in a cell is its middle, up to the slope of densities, which is steepest at a bound.
    assert model.mean()[1] == pytest.approx(mean, rel=1e-5)
    # Rounding adds to the variance what a step has, which atoms do not.
    variance = p @ (hours - mean) ** 2
    assert model.variance()[1] == pytest.approx(variance, rel=2e-3)
    rooms = np.arange(1.0, 6.0)
    p = np.exp(model.score_samples(rows_of(rooms=rooms)))
    assert model.mean()[2] == pytest.approx(p @ rooms)
    assert model.variance()[2] == pytest.approx(p @ rooms**2 - (p @ rooms) ** 2)


def test_covariance_by_sums(model):
    """Of whole numbers with states, and of these with the numbers beside zeros."""
    hours, rooms = np.arange(160.0), np.arange(1.0, 6.0)
    cells = np.array(list(itertools.product(hours, rooms)))
    p = np.exp(model.score_samples(rows_of(hours=cells[:, 0], rooms=cells[:, 1])))
    assert p.sum() == pytest.approx(1, abs=3e-4)
    expected = p @ cells.prod(1) - (p @ cells[:, 0]) * (p @ cells[:, 1])
    assert model.covariance()[1, 2] == pytest.approx(expected, abs=2e-2)
    # cov(gain, hours) = sum of p(hours) (hours - mean) E(gain | hours)
    p = np.exp(model.score_samples(rows_of(hours=hours)))
    gain = model.mean(rows_of(hours=hours))["gain"].to_numpy()
    expected = p @ ((hours - p @ hours) * gain)
    assert model.covariance()[0, 1] == pytest.approx(expected, rel=1e-3, abs=1e-3)


def test_conditional_moments_by_draws(model):
    n = 1500
    draws = model.sample_conditional(PATTERNS, n_draws=n, random_state=0)
    draws = np.array([each[NUMBERS].to_numpy(dtype=float) for each in draws])
    mean, variance = (
        np.asarray(each[NUMBERS], dtype=float)
        for each in (model.mean(PATTERNS), model.variance(PATTERNS))
    )
    missing = PATTERNS[NUMBERS].isna().to_numpy()
    error = np.abs(draws.mean(0) - mean)
    assert (draws[:, ~missing] == PATTERNS[NUMBERS].to_numpy()[~missing]).all()
    assert (error[~missing] < 1e-12).all()
    assert (variance[~missing] == 0).all()
    # Many comparisons, some of skewed columns.
    excess = error / np.sqrt(variance / n + 1e-9)
    assert excess[missing].max() < 6
    assert np.mean(excess[missing] < 2) > 0.9
    ratio = draws.var(0)[missing] / variance[missing]
    assert np.median(ratio) == pytest.approx(1, abs=0.03)
    whole = missing[:, 1]
    np.testing.assert_allclose(draws.var(0)[whole, 1], variance[whole, 1], rtol=0.25)


def test_conditional_moments_by_densities(model):
    rooms = np.arange(1.0, 6.0)
    for _, row in PATTERNS[PATTERNS["rooms"].isna()].iterrows():
        rows = pd.DataFrame([row] * 5).assign(rooms=rooms)
        p = np.exp(model.score_samples(rows))
        p /= p.sum()
        some = pd.DataFrame([row]).astype(PATTERNS.dtypes)
        assert model.mean(some)["rooms"].iloc[0] == pytest.approx(p @ rooms)
        expected = p @ (rooms - p @ rooms) ** 2
        assert model.variance(some)["rooms"].iloc[0] == pytest.approx(expected)


# --- filled cells


def test_the_most_probable_cells(model):
    filled = model.impute(PATTERNS, "mpe")
    assert_possible(filled)
    pd.testing.assert_frame_equal(filled.where(PATTERNS.notna()), PATTERNS, check_dtype=False)


@pytest.mark.parametrize("name", ["gain", "hours", "rooms"])
def test_the_most_probable_state_of_a_lone_gap(name):
    """With a single hidden state, it is the state of the larger probability."""
    simple = new("binary-trees", K=1, replicas=1).fit(FRAME)
    rows = FRAME[FRAME.drop(columns=name).notna().all(axis=1)][:20].assign(**{name: np.nan})
    filled = simple.impute(rows, "mpe")[name].to_numpy()
    if name == "rooms":
        p = simple.score_samples(rows_of(rooms=np.arange(1.0, 6.0)))
        assert (filled == 1.0 + p.argmax()).all()
        return
    atom = {"gain": 0.0, "hours": 40.0}[name]
    holds = probabilities(simple, **{name: atom})[0]
    assert (filled == atom).all() == (holds > 0.5)


@pytest.mark.parametrize("strategy", ["mean", "mpe", "sample"])
def test_imputation(model, strategy):
    some = FRAME[::7]
    filled = model.impute(some, strategy, random_state=0)
    assert filled.notna().all(axis=None)
    assert filled.dtypes.equals(some.dtypes)
    pd.testing.assert_frame_equal(filled.where(some.notna()), some)
    if strategy != "mean":
        assert_possible(filled)
    else:
        expected = model.mean(some)[NUMBERS]
        np.testing.assert_allclose(filled[NUMBERS].astype(float), expected.astype(float))


def test_rows_that_miss_all_cells_of_split_columns(model):
    rows = FRAME[:50].assign(gain=np.nan, hours=np.nan)
    assert np.isfinite(model.score_samples(rows)).all()
    explained = model.feature_scores(rows)
    assert explained[["gain", "hours"]].isna().all(axis=None)
    nothing = rows_of(gain=np.nan)
    assert model.score_samples(nothing)[0] == pytest.approx(0, abs=1e-12)
    np.testing.assert_allclose(
        np.asarray(model.mean(nothing))[0, :4].astype(float), model.mean()[:4]
    )


def test_the_imputer():
    imputer = EinetImputer(new("chow-liu"), random_state=0, strategy="sample").fit(FRAME)
    assert_possible(imputer.set_output(transform="pandas").transform(FRAME))


def test_the_mean_of_numbers_beside_a_bound():
    x = np.abs(np.random.RandomState(0).standard_normal((500, 1)))
    half = new("binary-trees", numeric_transform=None).fit(x)
    assert half.leaf_report_["low"].tolist() == [0]
    drawn = half.sample(100_000, random_state=0)
    error = drawn.std() / np.sqrt(len(drawn))
    assert abs(half.mean()[0] - drawn.mean()) < 5 * error


def test_the_density_of_numbers_beside_a_bound():
    x = np.abs(np.random.RandomState(0).standard_normal((500, 1)))
    half = new("binary-trees", numeric_transform=None).fit(x)
    grid = 0.1 * np.logaddexp(0, np.linspace(-60, 90, 20_001))
    mass = np.trapezoid(np.exp(half.score_samples(grid[:, None])), grid)
    assert mass == pytest.approx(1, abs=1e-5)
