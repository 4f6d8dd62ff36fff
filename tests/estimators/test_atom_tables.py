"""Tables with atoms of all kinds and sizes, and the parameter `atoms`."""

import pickle
import warnings

import dask.array as da
import numpy as np
import pandas as pd
import pytest
import scipy.special
from sklearn.base import clone

from sklearn_einet import EinetDensity, EinetMixture
from tests.helpers.atoms import FAST, STRUCTURES, new, table

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

GAPS = table(600)[["gain", "hours", "rooms", "size"]].to_numpy()
FULL = table(600, gaps=0)[["gain", "hours", "rooms", "size"]].to_numpy()
EVERY = pytest.mark.parametrize("structure", [*STRUCTURES, "mixture"])


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_memory_maps(tmp_path, dtype):
    X = GAPS.astype(dtype)
    np.save(tmp_path / "table.npy", X)
    mapped = np.load(tmp_path / "table.npy", mmap_mode="r")
    model, other = new(solver="em").fit(X), new(solver="em").fit(mapped)
    pd.testing.assert_frame_equal(model.leaf_report_, other.leaf_report_)
    for query in ("score_samples", "p_values", "predict", "feature_scores", "impute"):
        np.testing.assert_array_equal(getattr(model, query)(X), getattr(other, query)(mapped))


def test_single_precision_has_the_same_atoms():
    model, other = new().fit(GAPS), new().fit(GAPS.astype(np.float32))
    kinds = ["leaf", "n_atoms", "step", "low"]
    pd.testing.assert_frame_equal(model.leaf_report_[kinds], other.leaf_report_[kinds])
    atoms = GAPS[:, 0] == 0
    np.testing.assert_allclose(
        other.score_samples(GAPS[atoms]), model.score_samples(GAPS[atoms]), atol=0.5
    )


def test_decimal_atoms_in_single_precision():
    x = np.random.RandomState(0).standard_normal((500, 1))
    x[::3] = 0.1
    model = new("binary-trees").fit(x.astype(np.float32))
    assert model.leaf_report_["n_atoms"].tolist() == [1]
    form = model.table_density_.schema.states.forms[0]
    found = form.unit * np.exp(model.score_samples(np.array([[0.1]], dtype=np.float32)))
    assert found[0] == pytest.approx(1 / 3, abs=0.05)


def test_dask_arrays():
    chunked = da.from_array(GAPS, chunks=(200, 4))
    model, other = new(solver="em").fit(GAPS), new(solver="em").fit(chunked)
    pd.testing.assert_frame_equal(model.leaf_report_, other.leaf_report_)
    lazy = other.score_samples(chunked).compute()
    np.testing.assert_allclose(lazy, model.score_samples(GAPS), rtol=1e-9)


def by_pickle(model):
    return pickle.loads(pickle.dumps(model))


def by_skops(model):
    io = pytest.importorskip("skops.io", reason="skops is not installed (extra 'test')")
    from sklearn_einet import TRUSTED_TYPES

    return io.loads(io.dumps(model), trusted=TRUSTED_TYPES)


@EVERY
@pytest.mark.parametrize("saved", [by_pickle, by_skops])
def test_saved_models_answer_as_before(structure, saved):
    model = new(structure).fit(GAPS)
    loaded = saved(model)
    for query in ("score_samples", "p_values", "predict", "feature_scores", "impute", "variance"):
        np.testing.assert_array_equal(getattr(loaded, query)(GAPS), getattr(model, query)(GAPS))
    np.testing.assert_array_equal(loaded.sample(50, 0), model.sample(50, 0))
    box = {0: 0, 1: 30}, {0: 5, 1: 40}, "neither"
    np.testing.assert_array_equal(loaded.interval_log_proba(*box), model.interval_log_proba(*box))
    pd.testing.assert_frame_equal(loaded.leaf_report_, model.leaf_report_)
    part = saved(model.marginal([1, 0]))
    np.testing.assert_array_equal(
        part.score_samples(GAPS[:, [1, 0]]), model.marginal([1, 0]).score_samples(GAPS[:, [1, 0]])
    )


# --- tables of few rows or columns


@EVERY
@pytest.mark.parametrize("column", range(4))
def test_a_single_column(structure, column):
    X = GAPS[:, [column]]
    model = new(structure).fit(X)
    assert np.isfinite(model.score_samples(X)).all()
    assert model.sample(5, random_state=0).shape == (5, 1)
    some = X[~np.isnan(X[:, 0])]
    np.testing.assert_allclose(model.feature_scores(some)[:, 0], -model.score_samples(some))
    assert model.covariance()[0, 0] == pytest.approx(model.variance()[0])


@EVERY
def test_a_column_that_is_constant_but_for_a_few_rows(structure):
    for values in ([7.0], [7.0, 8.5], np.linspace(7, 9, 9), np.pi + np.arange(15) ** 0.5):
        X = FULL.copy()
        X[:, 0] = 3.0
        X[: len(values), 0] = values
        model = new(structure).fit(X)
        assert np.isfinite(model.score_samples(X)).all()
        drawn = model.sample(400, random_state=0)
        assert (drawn[:, 0] == 3).mean() > 0.9
        assert np.exp(model.interval_log_proba({0: 3}, {0: 3}))[0] > 0.9


@pytest.mark.filterwarnings("ignore:.*(beyond the values seen in fit|clusters)")
@EVERY
@pytest.mark.parametrize("n", [1, 2, 3, 12])
def test_tables_of_few_rows(structure, n):
    model = new(structure, K=2, **({"n_components": 1} if structure == "mixture" else {})).fit(
        FULL[:n]
    )
    assert np.isfinite(model.score_samples(FULL[:n])).all()
    assert np.isfinite(model.score_samples(FULL)).all()
    drawn = model.sample(20, random_state=0)
    assert np.isfinite(drawn).all()
    assert np.isfinite(model.impute(GAPS[:20])).all()


@EVERY
@pytest.mark.parametrize("values", [[0.0] * 3, [0.0] * 9, [0.0, 0.0, 1.0]], ids=str)
def test_numbers_at_bounds_that_are_no_atoms(structure, values):
    """A few zeros among other numbers are numbers, with densities that are bounded by them."""
    X = FULL.copy()
    X[:, 0] = np.random.RandomState(0).uniform(0, 0.999, len(X))
    X[: len(values), 0] = values
    model = new(structure).fit(X)
    report = model.leaf_report_
    assert report[["n_atoms", "low", "high"]].iloc[0].tolist() == [0, 0, 1]
    scores = model.score_samples(X)
    assert np.abs(scores).max() < 50
    drawn = model.sample(5000, random_state=0)[:, 0]
    assert ((drawn >= 0) & (drawn <= 1)).all()
    assert (drawn == 0).mean() < 0.05
    assert model.mean()[0] == pytest.approx(0.5, abs=0.05)


# --- the parameter


def test_no_atoms_is_as_leaf_normal():
    for kind in (EinetDensity, EinetMixture):
        model = kind(**FAST, atoms=None).fit(GAPS)
        report = model.leaf_report_
        assert (report[["n_atoms", "step"]] == 0).all(axis=None)
        assert (report["low"] == -np.inf).all()
        drawn = model.sample(200, random_state=0)
        assert (drawn[:, 1] != drawn[:, 1].round()).any()


def test_atoms_of_a_dict():
    frame = pd.DataFrame(GAPS, columns=list("abcd"))
    model = new(atoms={"a": [0, 5.5], "b": 40, "d": []}).fit(frame)
    report = model.leaf_report_.set_index("column")
    assert report["n_atoms"].tolist() == [1, 1, 5, 0]  # 5.5 does not occur
    assert report.loc["a", "reason"] == "atoms as given"
    seen = GAPS[~np.isnan(GAPS[:, 3]), 3][:2]
    model = new(atoms={3: seen, 1: []}).fit(GAPS)
    assert model.leaf_report_["n_atoms"].tolist() == [1, 0, 5, 2]
    assert np.exp(model.interval_log_proba({3: seen[0]}, {3: seen[0]}))[0] > 0


@pytest.mark.parametrize(("share", "n_atoms"), [(0.01, [1, 1]), (0.3, [1, 0]), (0.99, [0, 0])])
def test_atoms_of_a_share(share, n_atoms):
    x = FULL[:, [0, 3]].copy()
    x[::5, 1] = 0.25
    assert (x[:, 0] == 0).mean() > 0.44
    assert new(atoms=share).fit(x).leaf_report_["n_atoms"].tolist() == n_atoms


def test_a_marginal_model_can_be_fitted_anew():
    frame = pd.DataFrame(FULL, columns=list("abcd"))
    part = new("chow-liu", atoms={"a": [0], "b": [40]}).fit(frame).marginal(["b", "d"])
    again = clone(part).fit(frame[["b", "d"]])
    assert again.leaf_report_["n_atoms"].tolist() == [1, 0]
    assert part.score(frame[["b", "d"]]) == pytest.approx(again.score(frame[["b", "d"]]), abs=0.5)


@pytest.mark.parametrize(
    ("atoms", "error", "words"),
    [
        ("none", ValueError, "atoms"),
        (0, ValueError, "atoms"),
        (-0.1, ValueError, "atoms"),
        (1.5, ValueError, "atoms"),
        (np.nan, ValueError, "atoms"),
        ([0], ValueError, "atoms"),
        ({"gain": "zero"}, TypeError, "'gain'"),
        ({"gain": [np.inf]}, ValueError, "'gain'"),
        ({"gain": [np.nan, 0]}, ValueError, "'gain'"),
        ({"income": [0]}, ValueError, "'income'"),
        ({"kind": [0]}, ValueError, "'kind'"),
        ({"gain": {}}, TypeError, "'gain'"),
    ],
    ids=str,
)
@pytest.mark.parametrize("kind", [EinetDensity, EinetMixture])
def test_what_atoms_cannot_be(kind, atoms, error, words):
    with pytest.raises(error, match=words):
        kind(**FAST, atoms=atoms).fit(table(100))


def test_columns_of_counts_have_no_atoms():
    frame, leaf = table(300), {"poisson": ["hours"]}
    model = new("chow-liu", leaf=leaf).fit(frame)
    assert model.leaf_report_.set_index("column").loc["hours", "n_atoms"] == 0
    with pytest.raises(ValueError, match="'hours'"):
        new("chow-liu", leaf=leaf, atoms={"hours": [40]}).fit(frame)


def test_the_sum_of_all_values_of_a_lone_column_with_few():
    model = new("binary-trees").fit(FULL[:, [2]])
    scores = model.score_samples(np.arange(1.0, 6.0)[:, None])
    assert scipy.special.logsumexp(scores) == pytest.approx(0, abs=1e-9)
    counts = np.bincount(FULL[:, 2].astype(int))[1:6] / len(FULL)
    np.testing.assert_allclose(np.exp(scores), counts, atol=0.05)


# --- other columns with atoms


def test_dates_and_durations():
    rng = np.random.RandomState(0)
    start, zero = pd.Timestamp("2024-03-01"), pd.Timedelta(0)
    days = np.where(rng.rand(600) < 0.3, 100, rng.randint(0, 3000, 600))
    waits = np.where(rng.rand(600) < 0.4, 0, rng.exponential(5000, 600).round())
    X = pd.DataFrame(
        {"day": start + pd.to_timedelta(days, "D"), "wait": pd.to_timedelta(waits, "s")}
    )
    X.loc[::6, "wait"] = pd.NaT
    model = new("chow-liu").fit(X)
    assert model.leaf_report_["n_atoms"].tolist() == [1, 1]
    drawn = model.sample(3000, random_state=0)
    assert (drawn["wait"] >= zero).all()
    assert (drawn["wait"] == zero).mean() == pytest.approx((waits == 0).mean(), abs=0.05)
    heap = start + pd.Timedelta(100, "D")
    assert (drawn["day"] == heap).mean() == pytest.approx((days == 100).mean(), abs=0.05)
    assert (drawn["day"] == drawn["day"].dt.normalize()).all()
    for name, atom in (("wait", zero), ("day", heap)):
        here, above, below = (
            np.exp(model.interval_log_proba(*bounds))[0]
            for bounds in (
                ({name: atom}, {name: atom}),
                ({name: atom}, None, "neither"),
                (None, {name: atom}, "neither"),
            )
        )
        assert here == pytest.approx((drawn[name] == atom).mean(), abs=0.05)
        assert here + above + below == pytest.approx(1)
    assert model.impute(X, "mpe").dtypes.equals(X.dtypes)


def test_prices():
    """A grid so fine that most of its points are free."""
    rng = np.random.RandomState(0)
    x = np.where(rng.rand(600) < 0.3, 9.99, rng.lognormal(3, 1, 600).round(2))[:, None]
    model = new("binary-trees").fit(x)
    assert model.leaf_report_[["n_atoms", "step"]].iloc[0].tolist() == [1, 0.01]
    drawn = model.sample(1000, random_state=0)[:, 0]
    np.testing.assert_array_equal(drawn, [float(f"{each:.2f}") for each in drawn])
    bounds = {0: 9.99}, {0: 9.99}
    here = np.exp(model.interval_log_proba(*bounds))[0]
    assert here == pytest.approx(0.01 * np.exp(model.score_samples([[9.99]]))[0])
    for low, high in (("both", "left"), ("right", "both")):
        rest = (
            model.interval_log_proba(bounds[0], None, low),
            model.interval_log_proba(None, bounds[1], high),
        )
        assert np.exp(rest).sum() == pytest.approx(1)


def test_bounds_of_many_columns_with_atoms():
    rng = np.random.RandomState(0)
    X = np.where(rng.rand(300, 13) < 0.3, 0, rng.lognormal(size=(300, 13)))
    model = new("chow-liu").fit(X)
    assert (model.leaf_report_["n_atoms"] == 1).all()
    high = dict.fromkeys(range(12), 0.5)
    assert np.isfinite(model.interval_log_proba(None, high)).all()
    with pytest.raises(ValueError, match=r"bounds of 13 columns hold both .* at most 12"):
        model.interval_log_proba(None, high | {12: 0.5})
    with_all = model.interval_log_proba({12: 0}, high)[0]
    assert with_all == model.interval_log_proba(None, high)[0]


@pytest.mark.parametrize(("structure", "rtol"), [("chow-liu", 1e-6), ("auto", 1e-3)])
def test_bounds_of_many_columns_beside_their_atoms(structure, rtol):
    """Only numbers, or only atoms, are inside: there is a single term for any number of columns.

    Joint densities integrate boxes of 30 columns by rules, with an error.
    """
    rng = np.random.RandomState(0)
    X = np.where(rng.rand(300, 30) < 0.3, 0, rng.lognormal(size=(300, 30)))
    model = new(structure).fit(X)
    assert (model.leaf_report_["n_atoms"] == 1).all()
    zeros, tiny = dict.fromkeys(range(30), 0.0), 1e-9
    none = model.interval_log_proba(zeros, zeros)
    np.testing.assert_allclose(none, model.event_log_proba(zeros))
    positive = np.exp(model.interval_log_proba(zeros, closed="neither"))
    event = model.event_log_proba(dict.fromkeys(zeros, (tiny, None)))
    np.testing.assert_allclose(positive, np.exp(event), rtol=rtol)
    few, one = dict.fromkeys(range(29), 0.0), {29: 0.0}
    rest = model.interval_log_proba(few | {29: tiny}, few)
    np.testing.assert_allclose(np.logaddexp(none, rest), model.interval_log_proba(few, few))
    above = np.exp(model.interval_log_proba(few, closed="neither"))
    rest = np.exp(model.event_log_proba(dict.fromkeys(few, (tiny, None)) | one))
    np.testing.assert_allclose(positive + rest, above, rtol=rtol)


@pytest.mark.parametrize("handle_unknown", ["smooth", "ignore", "error"])
def test_states_that_have_not_been_seen_are_evidence_as_the_nearest(handle_unknown):
    model = new(handle_unknown=handle_unknown).fit(GAPS)
    rest = [[0.0, 40.0, np.nan, np.nan]]
    for value, nearest in ((9.0, 5.0), (-2.0, 1.0), (2.9, 3.0)):
        row, near = [[0.0, 40.0, value, np.nan]], [[0.0, 40.0, nearest, np.nan]]
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            found = model.impute(row)
        assert found[0, 3] == model.impute(near)[0, 3] != model.impute(rest)[0, 3]
        assert found[0, 2] == value
    row = [[0.0, 40.0, 9.0, np.nan]]
    assert model.score_samples(row)[0] == pytest.approx(
        model.score_samples(rest)[0] - np.log1p(len(GAPS))
    )


def test_single_numbers_of_a_grid_have_the_probability_of_their_cells():
    rng = np.random.default_rng(0)
    X = np.column_stack([rng.poisson(30, 500), rng.normal(size=500)])
    model = new("binary-trees").fit(X)
    cell = np.exp(model.interval_log_proba([[30, -np.inf]], [[30, np.inf]]))[0]
    next_cell = np.exp(model.interval_log_proba([[31, -np.inf]], [[31, np.inf]]))[0]
    assert np.exp(model.event_log_proba({0: 30})) == pytest.approx(cell)
    assert np.exp(model.event_log_proba({0: [30, 31]})) == pytest.approx(cell + next_cell)
    assert model.event_log_proba({0: 30.5}) == -np.inf
    assert model.event_log_proba({1: 0.25}) == -np.inf


@pytest.mark.parametrize("structure", ["binary-trees", "joint-normal"])
def test_whole_numbers_with_a_few_fractions(structure):
    """Ages in years, a few of them with months, of which one repeats."""
    rng = np.random.RandomState(0)
    size = rng.normal(size=800)
    ages = (35 + 12 * size + 6 * rng.normal(size=800)).round().clip(1)
    ages[:15] += rng.choice([0.5, 0.4167], 15)
    ages[15:35] = 0.75
    X = pd.DataFrame({"age": ages, "size": size})
    model = new(structure).fit(X)
    report = model.leaf_report_.iloc[0]
    assert (report["step"], report["n_atoms"]) == (1, 1)
    drawn = model.sample(5000, random_state=0)["age"]
    assert set(drawn[drawn != drawn.round()]) == {0.75}
    probability = np.exp(model.event_log_proba({"age": 0.75}))
    assert probability == pytest.approx(20 / 800, abs=0.01)
    assert (drawn == 0.75).mean() == pytest.approx(probability, abs=0.01)
    every = np.append(np.arange(150.0), 0.75)
    single = np.exp(model.interval_log_proba({"age": every}, {"age": every}))
    assert single.sum() == pytest.approx(1, abs=1e-4)
    within = np.exp(model.interval_log_proba({"age": 0.5}, {"age": 1.5}))[0]
    assert within == pytest.approx(single[1] + single[-1])
    assert np.exp(model.event_log_proba({"age": 34})) == pytest.approx(single[34])
    assert single[30:40].sum() == pytest.approx(((ages >= 30) & (ages < 40)).mean(), abs=0.06)
    # The others have densities, as numbers between the points of any grid.
    rounded = X[:15].assign(age=X["age"][:15].round())
    assert np.abs(model.score_samples(X[:15]) - model.score_samples(rounded)).max() < 0.3
