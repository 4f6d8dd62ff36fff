"""scikit-learn's callbacks, and verbose."""

import re

import numpy as np
import pytest
from sklearn.callback import ProgressBar, ScoringMonitor
from sklearn.datasets import load_iris
from sklearn.model_selection import GridSearchCV

from sklearn_einet import EinetDensity, EinetMixture, EinetOutlierDetector

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
X = load_iris().data


def small(**parameters):
    fast = {"replicas": 2, "K": 3, "max_iter": 5, "early_stopping": False, "random_state": 0}
    return EinetDensity(**(fast | parameters))


class Recorder:
    """Keeps the score of the estimator as it is after every task, and stops on request."""

    def __init__(self, stop_after=np.inf):
        self.stop_after = stop_after
        self.tasks, self.scores = [], []

    def setup(self, estimator, context):
        pass

    def teardown(self, estimator, context):
        pass

    def on_fit_task_begin(self, estimator, context):
        pass

    def on_fit_task_end(self, estimator, context, *, X, fitted_estimator):
        self.tasks.append(context.task_name)
        self.scores.append(fitted_estimator.score(X))
        return len(self.tasks) >= self.stop_after


@pytest.mark.parametrize("solver", ["sem", "em", "adam"])
def test_epochs_are_told_with_a_fitted_estimator(solver):
    recorder = Recorder()
    model = small(solver=solver, tol=0).set_callbacks(recorder).fit(X)
    assert recorder.tasks == ["epoch"] * 5 + ["fit"]
    assert recorder.scores[-1] == pytest.approx(model.score(X), abs=1e-12)
    # The estimator of each epoch is one that had been fitted for so long.
    early = small(solver=solver, tol=0, max_iter=2).fit(X)
    assert recorder.scores[1] == pytest.approx(early.score(X), abs=1e-12)
    assert not hasattr(model, "_callback_fit_ctx")


def test_a_callback_can_stop_the_fit():
    recorder = Recorder(stop_after=3)
    model = small(max_iter=50, tol=0).set_callbacks(recorder).fit(X)
    assert model.n_iter_ == 3
    assert not model.converged_
    # It ends as any other, with the last step.
    np.testing.assert_array_equal(
        model.score_samples(X), small(max_iter=3, tol=0).fit(X).score_samples(X)
    )


def test_scoring_monitor():
    monitor = ScoringMonitor(scoring=lambda estimator, X, y: {"nats": estimator.score(X)})
    # This callback of scikit-learn passes over tasks without a target: any will do.
    tree = small(structure="chow-liu", tol=0)
    model = tree.set_callbacks(monitor).fit(X, np.zeros(len(X)))
    log = [row["nats"] for row in monitor.get_logs().data if row["task_name"] == "epoch"]
    assert len(log) == 5
    assert log[-1] == pytest.approx(model.score(X), abs=1e-12)
    assert log[-1] > log[0]


def test_progress_bar(capsys):
    small().set_callbacks(ProgressBar()).fit(X)
    assert "EinetDensity - fit" in capsys.readouterr().out


def test_progress_bar_of_a_search(capsys):
    search = GridSearchCV(small(), {"K": [2, 3]}, cv=2)
    search.set_callbacks(ProgressBar(max_propagation_depth=None)).fit(X)
    out = capsys.readouterr().out
    assert "GridSearchCV" in out
    assert "EinetDensity" in out


def test_verbose(capsys):
    small(verbose=2, tol=0, early_stopping=True).fit(X)
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 2
    assert lines[0].startswith("[EinetDensity] epoch 2: log-likelihood -")
    assert "held out" in lines[0]
    small().fit(X)
    assert capsys.readouterr().out == ""


def printed(capsys, name):
    """The log-likelihoods that were printed by estimators of a name, one line for every epoch."""
    pattern = rf"\[{name}\] epoch (\d+): log-likelihood (\S+?)(?:, held out (\S+))?$"
    found = re.findall(pattern, capsys.readouterr().out, re.MULTILINE)
    columns = [np.array(column, dtype=float) for column in zip(*found, strict=True) if column[0]]
    return columns[0].astype(int), *columns[1:]


@pytest.mark.parametrize("kind", [EinetDensity, EinetOutlierDetector])
@pytest.mark.parametrize("early_stopping", [False, True])
def test_verbose_prints_what_the_attributes_say(kind, early_stopping, capsys):
    """In the units of the columns, with weights and missing cells, and of the model alone."""
    gaps = X * [1, 1e3, 1e-5, 1]
    gaps[::4, 1] = np.nan
    model = kind(K=3, max_iter=4, early_stopping=early_stopping, random_state=0, verbose=1)
    model.fit(gaps, sample_weight=1 + np.arange(len(X)) % 3)
    epochs, *log_likelihoods = printed(capsys, kind.__name__)
    np.testing.assert_array_equal(epochs, np.arange(1, model.n_iter_ + 1))
    expected = [model.log_likelihoods_]
    if early_stopping:
        expected.append(model.validation_log_likelihoods_)
    np.testing.assert_allclose(log_likelihoods, expected, atol=6e-5)


def test_verbose_of_a_mixture(capsys):
    gaps = X * [1, 1e3, 1e-5, 1]
    gaps[::4, 1] = np.nan
    model = EinetMixture(2, K=3, max_iter=4, refine_iter=3, random_state=0, verbose=1).fit(gaps)
    out = capsys.readouterr().out
    for name, attribute in (
        ("EinetDensity", [each.log_likelihoods_ for each in model.estimators_]),
        ("EinetMixture", [model.log_likelihoods_]),
    ):
        found = re.findall(rf"\[{name}\] epoch \d+: log-likelihood (\S+?),", out)
        expected = np.concatenate(attribute)
        # Components are fitted in the order of their size.
        np.testing.assert_allclose(np.sort(np.array(found, float)), np.sort(expected), atol=6e-5)
