"""Fits of tables with atoms: units, weights, solvers, and what a table may be."""

import pickle

import dask.array as da
import numpy as np
import pandas as pd
import pytest
import scipy.special
from sklearn.base import clone

from sklearn_einet import EinetDensity, EinetMixture, EinetOutlierDetector
from tests.helpers.atoms import FAST, STRUCTURES, new, table

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

GAPS = table(600)[["gain", "hours", "rooms", "size"]].to_numpy()
FULL = table(600, gaps=0)[["gain", "hours", "rooms", "size"]].to_numpy()
EVERY = pytest.mark.parametrize("structure", [*STRUCTURES, "mixture"])


def is_atom(X):
    return (X[:, 0] == 0).astype(float) + (X[:, 1] == 40)


# --- units


@EVERY
@pytest.mark.parametrize("X", [GAPS, FULL], ids=["gaps", "full"])
@pytest.mark.parametrize("unit", [[1024, 64, 16, 4], [0.3048, 60, 100, 1e-3]])
def test_labels_do_not_tie_to_units(structure, X, unit):
    exact = unit[0] == 1024  # no rounding
    model, other = new(structure).fit(X), new(structure).fit(X * unit)
    kinds = ["n_atoms", "share_of_atoms"]
    pd.testing.assert_frame_equal(model.leaf_report_[kinds], other.leaf_report_[kinds])
    atol = 1e-9 if exact else 1e-3
    np.testing.assert_allclose(other.p_values(X * unit), model.p_values(X), atol=atol)
    assert np.mean(other.predict(X * unit) == model.predict(X)) > (0.999 if exact else 0.99)
    # Probabilities of atoms have no unit, but for those on a grid of numbers.
    is_density = ~np.isnan(X)
    is_density[:, 0] &= X[:, 0] != 0
    expected = model.score_samples(X) - is_density @ np.log(unit)
    np.testing.assert_allclose(other.score_samples(X * unit), expected, atol=100 * atol)


def test_explanations_and_draws_do_not_tie_to_units():
    unit = np.array([1024, 64, 16, 4])
    model, other = new().fit(GAPS), new().fit(GAPS * unit)
    drawn = model.sample(500, random_state=0)
    np.testing.assert_allclose(other.sample(500, random_state=0), drawn * unit, rtol=1e-9)
    found, expected = (m.mean(x) for m, x in ((other, GAPS * unit), (model, GAPS)))
    np.testing.assert_allclose(found, expected * unit, rtol=1e-7, atol=1e-9)
    np.testing.assert_allclose(other.covariance(), model.covariance() * np.outer(unit, unit))


@pytest.mark.parametrize("contamination", ["auto", 0.1])
def test_outlier_detectors_with_atoms(contamination):
    settings = {"atoms": "auto", "contamination": contamination, **FAST}
    unit = np.array([1024, 64, 16, 4])
    model = EinetOutlierDetector(**settings).fit(GAPS)
    other = EinetOutlierDetector(**settings).fit(GAPS * unit)
    np.testing.assert_array_equal(model.predict(GAPS), other.predict(GAPS * unit))
    assert set(model.predict(GAPS)) == {-1, 1}


# --- solvers and weights


@pytest.mark.parametrize("structure", ["chow-liu", "binary-trees", "joint-normal"])
@pytest.mark.parametrize("X", [GAPS, FULL], ids=["gaps", "full"])
def test_full_em_never_lowers_the_likelihood(structure, X):
    # Without pseudo-rows and floors, the penalised likelihood is the likelihood.
    free = {"pseudocount": 0, "min_variance": 1e-9, "covariance_shrinkage": 1e-9}
    model = new(structure, solver="em", max_iter=30, tol=0, early_stopping=False, **free).fit(X)
    gains = np.diff(model.log_likelihoods_)
    assert len(gains) > 5
    assert (gains > -1e-6 * np.abs(model.log_likelihoods_[1:])).all()
    assert gains.max() > 1e-3


@pytest.mark.parametrize("structure", STRUCTURES)
def test_weights_are_repeated_rows(structure):
    weight = np.random.RandomState(0).randint(0, 4, len(GAPS))
    weighted = new(structure, solver="em").fit(GAPS, sample_weight=weight)
    repeated = new(structure, solver="em").fit(np.repeat(GAPS, weight, axis=0))
    pd.testing.assert_frame_equal(weighted.leaf_report_, repeated.leaf_report_)
    np.testing.assert_allclose(
        weighted.score_samples(GAPS), repeated.score_samples(GAPS), rtol=1e-6, atol=1e-6
    )


def test_fits_that_go_on_with_other_values():
    rows = GAPS.copy()
    rows[:40, 2] = 7.0  # no state of the first fit
    rows[40:80, 0] = -3.0
    model = new("chow-liu").fit(GAPS)
    before = model.leaf_report_
    for again in (clone(model).set_params(warm_start=True).fit(GAPS).fit(rows), None):
        found = again if again is not None else model.partial_fit(rows)
        pd.testing.assert_frame_equal(found.leaf_report_, before)
        assert np.isfinite(found.score_samples(rows)).all()
        assert set(found.predict(rows)) <= {-1, 1}
        drawn = found.sample(500, random_state=0)
        assert set(drawn[:, 2]) <= {1, 2, 3, 4, 5}
        assert (drawn[:, 0] == 0).mean() == pytest.approx(np.nanmean(GAPS[:, 0] == 0), abs=0.15)


def test_partial_fits_alone():
    model = new("chow-liu")
    for part in np.array_split(FULL, 3):
        model.partial_fit(part)
    assert model.leaf_report_["n_atoms"].tolist()[0] == 1
    assert np.isfinite(model.score_samples(GAPS)).all()


# --- kinds of tables


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
    found = np.exp(model.score_samples(np.array([[0.1]], dtype=np.float32)))
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


@pytest.mark.parametrize("leaf", [{"poisson": ["hours"]}, {"normal": ["hours"]}])
def test_columns_with_a_leaf_have_no_atoms(leaf):
    frame = table(300)
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
