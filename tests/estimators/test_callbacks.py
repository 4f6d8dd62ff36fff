"""scikit-learn's callbacks."""

import numpy as np
import pytest
from sklearn.callback import ProgressBar, ScoringMonitor
from sklearn.datasets import load_iris
from sklearn.model_selection import GridSearchCV

from sklearn_einet import EinetDensity, EinetImputer, EinetOutlierDetector

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


@pytest.mark.parametrize("kind", [EinetDensity, EinetOutlierDetector])
@pytest.mark.parametrize("verbose", [0, 1])
def test_progress_bar(kind, verbose, capsys):
    kind(max_iter=5, K=3, verbose=verbose, random_state=0).set_callbacks(ProgressBar()).fit(X)
    assert f"{kind.__name__} - fit" in capsys.readouterr().out


def test_progress_bar_of_the_density_of_an_imputer(capsys):
    EinetImputer(small().set_callbacks(ProgressBar())).fit(X)
    assert "EinetDensity - fit" in capsys.readouterr().out


def test_progress_bar_of_a_search(capsys):
    search = GridSearchCV(small(), {"K": [2, 3]}, cv=2)
    search.set_callbacks(ProgressBar(max_propagation_depth=None)).fit(X)
    out = capsys.readouterr().out
    assert "GridSearchCV" in out
    assert "EinetDensity" in out
