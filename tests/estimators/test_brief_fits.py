"""Fits that end when rows are ranked: max_iter="auto"."""

import warnings

import numpy as np
import pytest
from sklearn.exceptions import ConvergenceWarning
from sklearn.metrics import roc_auc_score
from sklearn.utils._param_validation import InvalidParameterError

from sklearn_einet import EinetDensity, EinetMixture, EinetOutlierDetector
from sklearn_einet.estimators import settings as settings_module
from sklearn_einet.estimators import trimming
from sklearn_einet.estimators.recipe import split_rows
from sklearn_einet.estimators.settings import (
    BRIEF_BATCHES,
    BRIEF_ROWS,
    UNTRIMMED_BATCHES,
    Settings,
)
from sklearn_einet.estimators.trimming import coarse_rows
from sklearn_einet.learning import StochasticEM
from sklearn_einet.tables.in_memory import InMemoryTable
from sklearn_einet.tables.split import Split

FAST = {"replicas": 2, "K": 3, "random_state": 0}
TREES = {"structure": "binary-trees"} | FAST
BRIEF = Settings.of(EinetOutlierDetector())


def labelled(n=600, n_columns=3, seed=0):
    """Rows of correlated columns, and which of them are outliers: the last tenth."""
    rng = np.random.RandomState(seed)
    X = rng.randn(n, n_columns) @ rng.randn(n_columns, n_columns)
    is_outlier = np.arange(n) >= 0.9 * n
    X[is_outlier] = 3 * X.std(axis=0) * rng.randn(is_outlier.sum(), n_columns)
    return X, is_outlier


# --- how long


@pytest.mark.parametrize("n_rows", [1, 7, 45, 500, 1999, 2000, 9000, 20_000, 10**6])
@pytest.mark.parametrize("batch_size", ["auto", 1, 64])
@pytest.mark.parametrize(("trim", "wanted"), [(0.1, BRIEF_BATCHES), (0, UNTRIMMED_BATCHES)])
def test_epochs_make_enough_minibatches(n_rows, batch_size, trim, wanted):
    brief = Settings.of(EinetOutlierDetector(batch_size=batch_size, trim=trim))
    epochs = brief.max_iter_of(n_rows)
    assert epochs >= 1
    assert epochs * n_rows / brief.batch_size_of(n_rows) >= wanted
    assert (epochs - 1) * n_rows / brief.batch_size_of(n_rows) < wanted


def test_a_pass_over_larger_tables():
    learned_from = [int(0.9 * 0.85 * n) for n in (3000, 5000, 10_000, 20_000)]
    assert [BRIEF.max_iter_of(n) for n in learned_from] == [1, 1, 1, 1]


def test_other_solvers_and_numbers_are_as_they_were():
    assert Settings.of(EinetOutlierDetector(solver="em")).max_iter_of(10**6) == 100
    assert Settings.of(EinetOutlierDetector(solver="adam")).max_iter_of(10) == 100
    asked = Settings.of(EinetOutlierDetector(max_iter=7))
    assert not asked.is_brief
    assert asked.max_iter_of(10) == 7
    assert asked.n_to_learn_from(10**6) == 10**6


def test_defaults_do_not_warn_and_numbers_do():
    X, _ = labelled(200)
    with warnings.catch_warnings():
        warnings.simplefilter("error", ConvergenceWarning)
        model = EinetOutlierDetector(**TREES).fit(X)
        normals = EinetOutlierDetector(**FAST).fit(X)
    assert model.n_iter_ == BRIEF.max_iter_of(176)
    assert normals.n_iter_ == 1  # joint densities have been learned before
    with pytest.warns(ConvergenceWarning, match="max_iter=2 epochs"):
        EinetOutlierDetector(max_iter=2, **TREES).fit(X)


def test_there_is_one_step_of_full_em(monkeypatch):
    calls = []
    original = StochasticEM.last_step

    def counting(self, circuit, *parts):
        calls.append(len(parts))
        return original(self, circuit, *parts)

    monkeypatch.setattr(StochasticEM, "last_step", counting)
    X, _ = labelled(200)
    EinetOutlierDetector(trim=0, **FAST).fit(X)
    assert calls == [2]
    EinetOutlierDetector(**FAST).fit(X)
    assert calls == [2, 2, 2]  # of both densities
    calls.clear()
    EinetOutlierDetector(trim=0.1, leaf="log-normal", **TREES).fit(np.exp(X))
    assert calls == [2]


def test_densities_may_be_brief_and_mixtures_not():
    X, _ = labelled(200)
    model = EinetDensity(max_iter="auto", K=3, random_state=0).fit(X)
    assert np.isfinite(model.score_samples(X)).all()
    with pytest.raises(InvalidParameterError, match="max_iter"):
        EinetMixture(2, max_iter="auto").fit(X)


class Subtasks:
    """A callback that notes how many epochs are announced."""

    def setup(self, estimator, context): ...
    def teardown(self, estimator, context): ...
    def on_fit_task_begin(self, estimator, context):
        if context.task_name != "epoch":
            self.announced = context.max_subtasks

    def on_fit_task_end(self, estimator, context): ...


def test_callbacks_are_told_of_the_epochs():
    told = Subtasks()
    model = EinetOutlierDetector(**TREES).set_callbacks(told).fit(labelled(200)[0])
    assert told.announced == model.n_iter_


# --- which rows


@pytest.mark.parametrize("n_rows", [30, 5000, BRIEF_ROWS, BRIEF_ROWS + 1, 10**5])
@pytest.mark.parametrize("early_stopping", ["auto", False])
def test_so_many_rows_are_learned_from(n_rows, early_stopping):
    brief = Settings.of(EinetOutlierDetector(early_stopping=early_stopping))
    split = split_rows(brief, n_rows, np.random.RandomState(0))
    train = np.arange(n_rows) if split.train is None else split.train
    held_out = np.empty(0, int) if split.held_out is None else split.held_out
    used = np.concatenate([train, held_out])
    assert len(np.unique(used)) == len(used) == min(n_rows, BRIEF_ROWS)
    assert (np.diff(train) > 0).all()
    assert (np.diff(held_out) > 0).all()
    assert len(held_out) == (len(used) // 10 if early_stopping and n_rows > 49 else 0)
    assert used.max() < n_rows


@pytest.mark.parametrize("parameters", [{}, {"early_stopping": False}, {"trim": 0}])
def test_large_tables(monkeypatch, parameters):
    monkeypatch.setattr(settings_module, "BRIEF_ROWS", 200)
    monkeypatch.setattr(trimming, "MAX_COARSE_ROWS", 100)
    X, is_outlier = labelled()
    weight = np.ones(600)
    weight[:100] = 2
    model = EinetOutlierDetector(**TREES, **parameters)
    assert model.fit(X)._n_rows <= 200
    assert roc_auc_score(is_outlier, -model.score_samples(X)) > 0.8
    model.set_params(contamination=0.07).fit(X)
    assert (model.predict(X) == -1).sum() == 42  # of all rows
    heavy = model.set_params(contamination=0.5).fit(X, sample_weight=weight)
    assert weight[heavy.predict(X) == -1].sum() == pytest.approx(350, abs=2)
    with pytest.warns(ConvergenceWarning):
        assert model.set_params(max_iter=1).fit(X)._n_rows > 400
    # The rows of a stream are all learned from.
    stream = EinetOutlierDetector(**FAST).partial_fit(X)
    assert stream._n_rows == 600


def test_warm_starts_go_on(monkeypatch):
    monkeypatch.setattr(settings_module, "BRIEF_ROWS", 200)
    X, _ = labelled()
    model = EinetOutlierDetector(warm_start=True, **FAST).fit(X)
    first, epochs = model.score(X), model._n_epochs
    assert model.fit(X)._n_epochs > epochs
    assert model.score(X) > first - 0.1


# --- the coarse model


def drawn(X, split=None, **parameters):
    settings = Settings.of(EinetOutlierDetector(**parameters))
    rng = np.random.RandomState(0)
    return coarse_rows(settings, InMemoryTable(X, np.arange(len(X)) + 1.0), split or Split(), rng)


def test_a_coarse_model_learns_from_some_training_rows(monkeypatch):
    monkeypatch.setattr(trimming, "MAX_COARSE_ROWS", 50)
    X = np.arange(400.0).reshape(200, 2)
    split = Split(np.arange(0, 200, 2), np.arange(1, 20, 2))
    table, own = drawn(X, split)
    rows = table[:, 0] / 2
    assert own == Split()
    assert len(np.unique(rows)) == 50
    assert np.isin(rows, split.train).all()
    np.testing.assert_array_equal(table.weight, rows + 1)


def test_a_coarse_model_learns_from_all_rows_where_it_must(monkeypatch):
    monkeypatch.setattr(trimming, "MAX_COARSE_ROWS", 50)
    X = np.arange(400.0).reshape(200, 2)
    split = Split(np.arange(100), np.arange(100, 200))
    assert len(drawn(X, solver="em")[0]) == 200
    assert len(drawn(X[:50])[0]) == 50
    X[:199, 1] = np.nan  # a column that only one row has
    table, own = drawn(X, split)
    assert len(table) == 200
    assert own is split


def test_trimming_of_large_tables_finds_the_outliers(monkeypatch):
    X, is_outlier = labelled(1000)
    whole = EinetOutlierDetector(**FAST).fit(X)
    monkeypatch.setattr(trimming, "MAX_COARSE_ROWS", 100)
    some = EinetOutlierDetector(**FAST).fit(X)
    found = [roc_auc_score(is_outlier, -model.score_samples(X)) for model in (whole, some)]
    assert min(found) > max(found) - 0.05
    X[:, 2] = np.nan
    X[-3:, 2] = [1.0, 2.0, 3.0]
    assert np.isfinite(EinetOutlierDetector(**FAST).fit(X).score_samples(X)).all()
