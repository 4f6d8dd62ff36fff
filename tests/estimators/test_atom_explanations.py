"""Columns with atoms, grids and bounds: conditions, parts and explanations."""

import numpy as np
import pandas as pd
import pytest

from tests.helpers.atoms import NAMES, STRUCTURES, new, rows_of, table

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

FRAME = table()
QUERY = table(60, seed=5, gaps=0.25)


@pytest.fixture(scope="module", params=[*STRUCTURES, "mixture"])
def model(request):
    return new(request.param).fit(FRAME)


def box(model, low, high, closed="both"):
    return np.exp(model.interval_log_proba(low, high, closed))[0]


def without(frame, names):
    return frame.assign(**{name: None if name == "kind" else np.nan for name in names})


@pytest.mark.parametrize(
    "given", [["gain"], ["hours", "kind"], ["rooms"], ["gain", "hours", "size"]]
)
def test_conditional_densities_are_differences(model, given):
    others = [name for name in NAMES if name not in given]
    expected = model.score_samples(QUERY) - model.score_samples(without(QUERY, others))
    found = model.conditional_score_samples(QUERY, given)
    np.testing.assert_allclose(found, expected, rtol=1e-7, atol=1e-9)


def test_densities_given_zero(model):
    rows = QUERY.assign(gain=0.0)
    expected = model.score_samples(rows) - model.score_samples(rows_of(gain=0.0))
    found = model.conditional_score_samples(rows, {"gain": 0})
    np.testing.assert_allclose(found, expected, rtol=1e-7, atol=1e-9)
    without_gain = model.conditional_score_samples(rows.assign(gain=np.nan), {"gain": 0})
    np.testing.assert_allclose(without_gain, expected, rtol=1e-7, atol=1e-9)
    positive = model.conditional_score_samples(rows.assign(gain=1.0), {"gain": 0})
    assert np.isneginf(positive).all()


def test_events_of_atoms_and_other_values(model):
    """On a grid, values have the probabilities of their cells; others have none beside atoms."""
    expected = sum(box(model, {"hours": each}, {"hours": each}) for each in (40, 45, 50))
    found = np.exp(model.event_log_proba({"hours": [40, 45, 50, 50.5]}))
    assert found == pytest.approx(expected)
    zero = box(model, {"gain": 0}, {"gain": 0})
    assert np.exp(model.event_log_proba({"gain": [0, 1.5, 2.5]})) == pytest.approx(zero)
    drawn = model.sample(50, random_state=0, given={"gain": [0, 1.5]})
    assert (drawn["gain"] == 0).all()
    drawn = model.sample(2000, random_state=0, given={"hours": [40, 45]})["hours"]
    share = box(model, {"hours": 40}, {"hours": 40}) / sum(
        box(model, {"hours": each}, {"hours": each}) for each in (40, 45)
    )
    assert (drawn == 40).mean() == pytest.approx(share, abs=0.03)


@pytest.mark.parametrize("columns", [["gain"], ["kind", "hours"], ["rooms", "gain", "hours"]])
def test_marginals(model, columns):
    part = model.marginal(columns)
    others = [name for name in NAMES if name not in columns]
    expected = model.score_samples(without(QUERY, others))
    np.testing.assert_allclose(part.score_samples(QUERY[columns]), expected, atol=1e-9)
    found = part.feature_scores(QUERY[columns], "marginal")
    pd.testing.assert_frame_equal(found, model.feature_scores(QUERY, "marginal")[columns])
    np.testing.assert_allclose(
        np.asarray(part.mean()), model.mean()[[NAMES.index(name) for name in columns]]
    )
    if "gain" in columns:
        both = {"gain": 0}, {"gain": 3}
        assert box(part, *both) == pytest.approx(box(model, *both))


@pytest.mark.parametrize("method", ["conditional", "marginal"])
def test_explanations_are_differences(model, method):
    rows = QUERY.copy()
    rows.iloc[0] = [0.0, 40.0, 9.0, 0.5, "a"]  # a number of rooms that has not been seen
    rows.iloc[1] = [0.0, 40.0, 2.0, 0.5, "d"]
    rows.iloc[2] = [-1.0, -2.0, 2.0, 0.5, "a"]  # beyond bounds
    found = model.feature_scores(rows, method)
    for name in NAMES:
        rest = [each for each in NAMES if each != name]
        if method == "conditional":
            expected = model.score_samples(without(rows, [name])) - model.score_samples(rows)
        else:
            expected = -model.score_samples(without(rows, rest))
        expected = np.where(rows[name].isna(), np.nan, expected)
        np.testing.assert_allclose(found[name], expected, rtol=1e-6, atol=1e-8, err_msg=name)


def test_values_that_have_not_been_seen(model):
    rows = rows_of(rooms=[9.0, 2.5], kind=["d", "a"], hours=[40.5, -900.0], gain=[1e9, -5.0])
    assert np.isfinite(model.score_samples(rows)).all()
    assert set(model.predict(rows)) <= {-1, 1}
    unseen = model.score_samples(rows_of(rooms=[9.0, 1e6]))
    np.testing.assert_allclose(unseen, -np.log1p(len(FRAME)))
    scale = FRAME["gain"][FRAME["gain"] != 0].std(ddof=0)
    unseen = model.score_samples(rows_of(gain=[-5.0, -1e9]))
    low, _ = model.table_density_.schema.states.forms[list(FRAME).index("gain")].ends
    tail = (low - np.array([-5.0, -1e9])) / scale  # densities fall off exponentially
    np.testing.assert_allclose(unseen, -np.log1p(len(FRAME)) - np.log(scale) - tail)
    assert np.isfinite(model.p_values(rows)).all()


def test_impossible_values_are_refused(model):
    for value in (np.inf, -np.inf):
        with pytest.raises(ValueError, match="gain"):
            model.score_samples(rows_of(gain=value))
