"""Which rows the outlier threshold is computed from, and when."""

import copy
import pickle

import numpy as np
import pytest
from sklearn.base import clone

from sklearn_einet import EinetDensity, EinetOutlierDetector
from sklearn_einet.estimators import thresholds
from sklearn_einet.estimators.thresholds import LATER, outlier_attributes

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
FAST = {"K": 3, "max_iter": 3, "random_state": 0}


def rows(n=200, seed=0, gaps=0.0):
    rng = np.random.RandomState(seed)
    X = rng.randn(n, 3) @ [[1, 2, 0], [0, 1, 1], [0, 0, 1]]
    X[rng.rand(*X.shape) < gaps] = np.nan
    return X


def repeated(n=200):
    """Three different rows."""
    return rows(3)[np.random.RandomState(0).randint(3, size=n)]


# --- after fit


@pytest.mark.parametrize("make", [EinetDensity, EinetOutlierDetector])
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize(
    "X", [rows(), rows(60), rows(gaps=0.2), rows(3000, gaps=0.1), repeated(), (rows() > 2) * 1.0]
)
def test_held_out_rows_tell_what_all_rows_would(make, weighted, X, monkeypatch):
    weight = np.random.RandomState(1).rand(len(X)) + 0.5 if weighted else None
    fitted = make(**FAST).fit(X, sample_weight=weight)
    monkeypatch.setattr(thresholds, "_threshold_of_held_out", lambda *args: None)
    expected = make(**FAST).fit(X, sample_weight=weight)
    # To the last digit by compiled loops; torch's depend on how many rows there are.
    assert fitted.offset_ == pytest.approx(expected.offset_, rel=1e-12)
    np.testing.assert_allclose(fitted.p_values(X), expected.p_values(X), rtol=1e-12)
    assert set(fitted.predict(X)) == {-1, 1}


def test_other_rows_are_scored_only_where_they_matter(monkeypatch):
    n_scored = []

    def counting(scores, *args, **kwargs):
        n_scored.append(len(scores))
        return outlier_attributes(scores, *args, **kwargs)

    monkeypatch.setattr(thresholds, "outlier_attributes", counting)
    EinetDensity(**FAST).fit(rows())
    assert n_scored == [20]
    EinetDensity(contamination=0.1, **FAST).fit(rows())
    assert n_scored == [20, 200]
    rare = np.zeros((200, 2))
    rare[:3, 0] = 1  # none of these is held out: the threshold is between them and the others
    model = EinetDensity(**FAST).fit(rare)
    assert n_scored[2:] == [20, 200]
    assert model.predict(rare).tolist() == [-1] * 3 + [1] * 197


# --- after partial_fit


def new():
    return EinetDensity(**FAST)


def read(model):
    """What depends on the threshold."""
    X = rows(50, seed=9)
    return [np.array(model.offset_), model.predict(X), model.predict_proba(X), model.p_values(X)]


def assert_same(model, expected):
    for found, wanted in zip(read(model), read(expected), strict=True):
        np.testing.assert_array_equal(found, wanted)


@pytest.mark.parametrize("contamination", ["auto", 0.2])
@pytest.mark.parametrize("weight", [None, np.arange(200.0)])
@pytest.mark.parametrize("gaps", [0.0, 0.2])
def test_later_thresholds_are_those_of_the_last_rows(contamination, weight, gaps):
    model = new().set_params(contamination=contamination)
    for seed in range(3):
        X = rows(seed=seed, gaps=gaps)
        model.partial_fit(X, sample_weight=weight)
        if seed == 1:
            read(model)
    counted = slice(None) if weight is None else weight > 0
    own = model.table_density_.comparable_scores(X[counted])
    expected = outlier_attributes(
        own, None if weight is None else weight[counted], contamination, None
    )
    assert model.offset_ == expected["offset_"]
    usual = model._score_distribution
    np.testing.assert_array_equal(usual.p_to, expected["_score_distribution"].p_to)
    np.testing.assert_array_equal(usual.scores, expected["_score_distribution"].scores)


def test_rows_are_scored_when_asked_for(monkeypatch):
    calls = []

    def counting(*args, **kwargs):
        calls.append(args)
        return outlier_attributes(*args, **kwargs)

    monkeypatch.setattr(thresholds, "outlier_attributes", counting)
    model = new().partial_fit(rows()).partial_fit(rows(seed=1))
    model.score_samples(rows())
    assert not calls
    assert hasattr(model, "offset_")
    read(model)
    assert len(calls) == 1


def test_the_callers_array_may_change():
    X = rows()
    model, expected = new().partial_fit(X), new().partial_fit(X.copy())
    X[:] = 1000
    assert_same(model, expected)


@pytest.mark.parametrize(
    "copied", [copy.copy, copy.deepcopy, lambda m: pickle.loads(pickle.dumps(m))]
)
def test_copies_have_the_threshold_and_not_the_rows(copied):
    model, expected = new().partial_fit(rows()), new().partial_fit(rows())
    read(expected)
    again = copied(model)
    assert set(vars(again)) == set(vars(model)) == set(vars(expected))
    assert set(LATER) < set(vars(again))
    assert_same(again, expected)
    assert len(pickle.dumps(new().partial_fit(rows()))) == len(pickle.dumps(expected))


def test_fits_replace_what_was_left_for_later():
    model = new().partial_fit(rows(seed=5)).fit(rows())
    assert_same(model, new().fit(rows()))
    assert set(vars(model)) == set(vars(new().fit(rows())))
    model.offset_ = -3.0
    assert model.offset_ == -3
    model.partial_fit(rows())
    assert model.offset_ != -3


def test_a_failed_call_leaves_the_threshold():
    model = new().partial_fit(rows())
    with pytest.raises(ValueError, match="features"):
        model.partial_fit(rows()[:, :2])
    assert_same(model, new().partial_fit(rows()))


def test_no_threshold_before_fit():
    assert not hasattr(new(), "offset_")
    assert not hasattr(clone(new().partial_fit(rows())), "offset_")
    with pytest.raises(AttributeError, match="EinetDensity has no offset_ before fit"):
        new().offset_  # noqa: B018
