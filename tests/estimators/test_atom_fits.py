"""Fits of tables with atoms: units, weights, solvers, and continued fits."""

import numpy as np
import pandas as pd
import pytest
from sklearn.base import clone

from sklearn_einet import EinetOutlierDetector
from tests.helpers.atoms import FAST, STRUCTURES, new, table

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

GAPS = table(600)[["gain", "hours", "rooms", "size"]].to_numpy()
FULL = table(600, gaps=0)[["gain", "hours", "rooms", "size"]].to_numpy()
EVERY = pytest.mark.parametrize("structure", [*STRUCTURES, "mixture"])


# --- units


@EVERY
@pytest.mark.parametrize("X", [GAPS, FULL], ids=["gaps", "full"])
@pytest.mark.parametrize("unit", [[1024, 64, 16, 4], [0.3048, 60, 100, 1e-3]])
def test_labels_do_not_tie_to_units(structure, X, unit):
    exact = unit[0] == 1024  # no rounding
    model, other = new(structure).fit(X), new(structure).fit(X * unit)
    kinds = ["n_atoms", "share_of_atoms"]
    pd.testing.assert_frame_equal(model.leaf_report_[kinds], other.leaf_report_[kinds])
    atol = 1e-6 if exact else 1e-3
    np.testing.assert_allclose(other.p_values(X * unit), model.p_values(X), atol=atol)
    assert np.mean(other.predict(X * unit) == model.predict(X)) > (0.999 if exact else 0.99)
    expected = model.score_samples(X) - ~np.isnan(X) @ np.log(unit)
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
    # Whether maps are kept is decided by some of the rows, drawn at random.
    same = {"numeric_transform": None} if structure == "joint-normal" else {}
    weighted = new(structure, solver="em", **same).fit(GAPS, sample_weight=weight)
    repeated = new(structure, solver="em", **same).fit(np.repeat(GAPS, weight, axis=0))
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
