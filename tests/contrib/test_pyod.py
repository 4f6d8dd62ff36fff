"""Einet, as pyod's users and pyod's ensembles use a detector."""

import pickle

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy.stats import rankdata
from sklearn.base import clone, is_outlier_detector
from sklearn.metrics import roc_auc_score

from sklearn_einet import EinetDensity, EinetOutlierDetector

pytest.importorskip("pyod", reason='pyod is not installed: pip install "sklearn-einet[pyod]"')
pytest.importorskip("combo", reason="combo is not installed, and pyod's ensembles need it")

from pyod.models.combination import average, maximization, median
from pyod.models.feature_bagging import FeatureBagging
from pyod.models.lof import LOF
from pyod.models.lscp import LSCP
from pyod.utils.data import evaluate_print, generate_data
from pyod.utils.utility import standardizer

from sklearn_einet.contrib.pyod import Einet


@pytest.fixture(scope="module")
def tables():
    """Rows to fit and new rows, and their labels: 1 for outliers."""
    return generate_data(n_train=200, n_test=100, n_features=4, contamination=0.1, random_state=0)


@pytest.fixture(scope="module")
def fitted(tables):
    return Einet(random_state=0).fit(tables[0])


def test_scores_are_those_of_the_wrapped_detector(tables, fitted):
    X, X_new, _, _ = tables
    plain = EinetOutlierDetector(random_state=0).fit(X)
    for rows, scores in (
        (X, fitted.decision_scores_),
        (X_new, fitted.decision_function(X_new)),
    ):
        assert_array_equal(scores, -plain.decision_function(rows))
        assert_allclose(scores, plain.offset_ - plain.score_samples(rows))


def test_outliers_have_higher_scores(tables, fitted):
    _, X_new, y, y_new = tables
    assert roc_auc_score(y, fitted.decision_scores_) > 0.99
    assert roc_auc_score(y_new, fitted.decision_function(X_new)) > 0.99


@pytest.mark.parametrize("contamination", [0.05, 0.1, 0.5])
def test_contamination_sets_the_threshold_only(tables, fitted, contamination):
    X = tables[0]
    detector = Einet(contamination, random_state=0).fit(X)
    assert_array_equal(detector.decision_scores_, fitted.decision_scores_)
    assert detector.labels_.sum() == round(contamination * len(X))
    assert_array_equal(detector.labels_, detector.decision_scores_ > detector.threshold_)
    assert_array_equal(detector.predict(X), detector.labels_)


@pytest.mark.parametrize("contamination", [0.0, 0.6, -1])
def test_bad_contamination(contamination):
    with pytest.raises(ValueError, match="contamination"):
        Einet(contamination)


@pytest.mark.parametrize(
    ("parameters", "error"),
    [
        ({"contamination": 2}, ValueError),
        ({"detector": 3}, TypeError),
        ({"detector": EinetOutlierDetector}, TypeError),
        ({"detector": EinetOutlierDetector(K=0)}, ValueError),
    ],
)
def test_a_fit_that_fails_changes_nothing(tables, parameters, error):
    X = tables[0]
    detector = Einet(random_state=0).fit(X)
    before = dict(vars(detector))
    detector.set_params(**parameters)
    with pytest.raises(error, match="K" if "K=0" in str(parameters) else next(iter(parameters))):
        detector.fit(5 * X[:50])
    after = vars(detector)
    assert all(after[name] is before[name] for name in before if name.endswith("_"))


def test_dask_arrays():
    da = pytest.importorskip("dask.array")
    X = np.random.RandomState(0).randn(200, 3)
    detector = Einet(detector=EinetDensity(K=2, max_iter=2, solver="em"), random_state=0)
    detector.fit(da.from_array(X, chunks=(100, -1)))
    assert isinstance(detector.decision_scores_, np.ndarray)
    assert isinstance(detector.decision_function(da.from_array(X[:5])), np.ndarray)
    assert detector.labels_.sum() == 20


def test_probabilities_and_confidence(tables, fitted):
    X_new = tables[1]
    scores = fitted.decision_function(X_new)
    for method in ("linear", "unify"):
        probability, confidence = fitted.predict_proba(X_new, method, return_confidence=True)
        assert_allclose(probability.sum(axis=1), 1)
        assert probability.min() >= 0
        assert (np.diff(probability[np.argsort(scores), 1]) >= 0).all()
        assert_array_equal(confidence, fitted.predict_confidence(X_new))
    labels, confidence = fitted.predict(X_new, return_confidence=True)
    assert_array_equal(labels, scores > fitted.threshold_)
    assert ((confidence >= 0) & (confidence <= 1)).all()
    assert set(fitted.predict_with_rejection(X_new, c_r=0.1)) <= {-2, 0, 1}
    assert_array_equal(
        rankdata(fitted._predict_rank(X_new), "min") > 90, rankdata(scores, "min") > 90
    )


@pytest.mark.filterwarnings("ignore:Function fit_predict:FutureWarning")
def test_methods_that_fit(tables, fitted):
    X, _, y, _ = tables
    assert_array_equal(clone(fitted).fit_predict(X), fitted.labels_)
    assert clone(fitted).fit_predict_score(X, y) > 0.99
    with pytest.warns(UserWarning, match="y should not be presented"):
        clone(fitted).fit(X, y)


def test_a_detector_is_cloned_and_not_changed(tables):
    X = tables[0]
    inner = EinetOutlierDetector(trim=0.2, random_state=3)
    detector = Einet(detector=inner).fit(X)
    assert not hasattr(inner, "table_density_")
    plain = clone(inner).fit(X)
    assert_array_equal(detector.decision_scores_, -plain.decision_function(X))
    assert Einet(detector=inner, random_state=5).fit(X).detector_.random_state == 5
    assert inner.random_state == 3


def test_parameters(fitted):
    inner = EinetOutlierDetector(K=4)
    detector = clone(Einet(0.2, inner, random_state=1))
    assert set(detector.get_params(deep=False)) == {"contamination", "detector", "random_state"}
    assert detector.detector is not inner
    detector.set_params(detector__K=8, contamination=0.3)
    assert (detector.detector.K, detector.contamination) == (8, 0.3)
    assert is_outlier_detector(fitted)
    assert "Einet(" in repr(detector)


def test_missing_cells_are_scored_on_the_same_scale(tables):
    X, X_new, _, y_new = (t.copy() for t in tables)
    rng = np.random.RandomState(0)
    X[rng.uniform(size=X.shape) < 0.2] = np.nan
    X_new[:, 1] = np.nan
    detector = Einet(random_state=0).fit(X)
    assert np.isfinite(detector.decision_scores_).all()
    assert roc_auc_score(y_new, detector.decision_function(X_new)) > 0.95
    assert_array_equal(
        detector.decision_function(X_new), -detector.detector_.decision_function(X_new)
    )


def test_dataframes_with_categories():
    pandas = pytest.importorskip("pandas")
    rng = np.random.RandomState(0)
    kind = rng.choice(["a", "b"], 300)
    table = pandas.DataFrame({"kind": kind, "size": rng.normal(3.0 * (kind == "b"), 0.3)})
    detector = Einet(random_state=0).fit(table)
    odd = pandas.DataFrame({"kind": ["a", "a"], "size": [0.0, 3.0]})
    assert_array_equal(detector.predict(odd), [0, 1])
    assert detector.predict_proba(odd).shape == (2, 2)


def test_a_fitted_detector_can_be_pickled(tables, fitted):
    again = pickle.loads(pickle.dumps(fitted))
    assert_array_equal(again.decision_function(tables[1]), fitted.decision_function(tables[1]))


def test_combination_of_scores(tables, fitted, capsys):
    X, X_new, _, y_new = tables
    others = [Einet(random_state=seed).fit(X) for seed in (1, 2, 3)]
    scores = standardizer(np.column_stack([d.decision_function(X_new) for d in (fitted, *others)]))
    evaluate_print("Einet", y_new, average(scores))
    assert "ROC:1.0" in capsys.readouterr().out
    for combine in (average, maximization, median):
        assert roc_auc_score(y_new, combine(scores)) > 0.99


@pytest.mark.parametrize(
    "ensemble",
    [
        FeatureBagging(Einet(), n_estimators=3, random_state=0),
        LSCP([Einet(random_state=0), Einet(random_state=1), LOF()], random_state=0),
    ],
    ids=lambda ensemble: type(ensemble).__name__,
)
def test_in_ensembles(tables, ensemble):
    X, X_new, _, y_new = tables
    ensemble.fit(X)
    assert ensemble.labels_.sum() == 20
    assert roc_auc_score(y_new, ensemble.decision_function(X_new)) > 0.95


def test_feature_bagging_gives_each_detector_its_own_seed(tables):
    ensemble = FeatureBagging(
        Einet(detector=EinetOutlierDetector()), n_estimators=2, random_state=0
    ).fit(tables[0])
    seeds = [e.detector_.random_state for e in ensemble.estimators_]
    assert len(set(seeds)) == 2


def test_before_fit(tables):
    with pytest.raises(ValueError, match="not fitted"):
        Einet().decision_function(tables[1])


def test_other_densities_work_as_well(tables):
    X, _, y, _ = tables
    detector = Einet(detector=EinetDensity(random_state=0, max_iter=20)).fit(X)
    assert roc_auc_score(y, detector.decision_scores_) > 0.9
