"""End to end on the benchmark data, where there is some."""

import os
from pathlib import Path

import numpy as np
import pytest
from sklearn.ensemble import IsolationForest
from sklearn.metrics import roc_auc_score

from sklearn_einet import EinetDensity

FOLDER = Path(os.environ.get("SKLEARN_EINET_DATA", Path(__file__).parents[2] / "shared" / "data"))
pytestmark = [
    pytest.mark.skipif(not FOLDER.is_dir(), reason="SKLEARN_EINET_DATA names no folder of data"),
    pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning"),
]


def test_nltcs_is_close_to_the_published_figure():
    """The paper's EiNet has -6.02 nats on the test rows."""
    with np.load(FOLDER / "debd" / "nltcs.npz") as arrays:
        model = EinetDensity(max_iter=6, random_state=0).fit(arrays["train"])
        assert model.score(arrays["test"]) > -6.10
        assert {group.family.name for group in model.circuit_.leaf_groups} == {"bernoulli"}


def test_a_learned_tree_beats_random_ones():
    """The paper's EiNet has -96.09 nats on these test rows, and random trees are close to that."""
    with np.load(FOLDER / "debd" / "dna.npz") as arrays:
        train, test = arrays["train"], arrays["test"]
    model = EinetDensity(max_iter=10, pseudocount=0.1, random_state=0).fit(train)
    assert model.score(test) > -81.2
    rows = test[:20].astype(float)
    rows[np.random.RandomState(0).random_sample(rows.shape) < 0.3] = np.nan
    assert (model.impute(rows)[~np.isnan(rows)] == rows[~np.isnan(rows)]).all()
    assert np.isfinite(model.feature_scores(rows)[~np.isnan(rows)]).all()


def test_outliers_of_a_real_table():
    """Trained on normal rows only; both detectors with default parameters."""
    with np.load(FOLDER / "adbench" / "thyroid.npz") as arrays:
        X, y = arrays["X"], arrays["y"]
    train = np.flatnonzero(y == 0)[::2]
    test = np.setdiff1d(np.arange(len(X)), train)
    ours = EinetDensity(random_state=0).fit(X[train]).score_samples(X[test])
    forest = IsolationForest(random_state=0).fit(X[train]).score_samples(X[test])
    assert roc_auc_score(y[test], -ours) > 0.95
    assert roc_auc_score(y[test], -ours) > roc_auc_score(y[test], -forest) - 0.03
