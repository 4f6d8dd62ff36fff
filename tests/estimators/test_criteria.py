"""Information criteria, and what they count."""

import numpy as np
import pandas as pd
import pytest
from sklearn.datasets import load_iris
from sklearn.exceptions import NotFittedError
from sklearn.mixture import GaussianMixture

from sklearn_einet import EinetDensity, EinetMixture
from tests.helpers.densities import LEAVES, mixed_frame, small, with_gaps
from tests.helpers.families import FAMILY_EXAMPLES

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

IRIS = load_iris().data
FREE = {"normal": 2, "symlog-normal": 2, "log-normal": 2, "gamma": 2, "beta": 2, "constant": 0}


@pytest.mark.parametrize("family", FAMILY_EXAMPLES, ids=lambda family: family.name)
def test_free_parameters_of_families(family):
    expected = family.n_states - 1 if family.name == "categorical" else FREE.get(family.name, 1)
    assert family.n_free_parameters == expected


@pytest.mark.parametrize("layer", ["cp", "tucker"])
def test_criteria_follow_from_scores_and_counts(layer):
    X = with_gaps(IRIS)
    model = small(layer=layer).fit(X)
    total, n = model.score_samples(X).sum(), model.n_parameters_
    assert model.bic(X) == pytest.approx(-2 * total + n * np.log(len(X)), rel=1e-12)
    assert model.aic(X) == pytest.approx(-2 * total + 2 * n, rel=1e-12)
    assert isinstance(model.bic(X), float)
    assert isinstance(model.aic(X), float)
    assert model.bic(X[:10]) != pytest.approx(model.bic(X))


def test_a_mixture_of_diagonal_normals_counts_as_gaussian_mixtures_do():
    mixture = GaussianMixture(3, covariance_type="diag", random_state=0).fit(IRIS)
    model = EinetDensity(depth=0, structure="binary-trees", K=3, random_state=0).fit(IRIS)
    assert model.n_parameters_ == mixture._n_parameters() == 2 + 3 * 4 * 2
    same = -2 * mixture.score(IRIS) * len(IRIS)
    for name in ("bic", "aic"):
        criterion, of_mixture = getattr(model, name)(IRIS), getattr(mixture, name)(IRIS)
        penalty = criterion + 2 * model.score_samples(IRIS).sum()
        assert penalty == pytest.approx(of_mixture - same, rel=1e-9)


def test_single_column_by_hand():
    model = small(K=4).fit(IRIS[:, :1])
    assert model.n_parameters_ == 3 + 4 * 2
    model = small(K=4).fit(np.full((5, 1), 7.5))
    assert model.n_parameters_ == 3


def test_mixtures():
    model = EinetMixture(3, K=2, max_iter=10, random_state=0).fit(IRIS)
    of_components = [each.n_parameters_ for each in model.estimators_]
    assert model.n_parameters_ == sum(of_components) + 2
    total = model.score_samples(IRIS).sum()
    expected = -2 * total + model.n_parameters_ * np.log(len(IRIS))
    assert model.bic(IRIS) == pytest.approx(expected, rel=1e-12)


def test_frames_marginals_and_impossible_rows():
    frame = mixed_frame()
    model = small(leaf=LEAVES).fit(frame)
    assert np.isfinite(model.bic(frame))
    part = model.marginal(["age", "visits"])
    assert part.n_parameters_ < model.n_parameters_
    assert np.isfinite(part.aic(frame[["age", "visits"]]))
    assert model.bic(frame.assign(wait=-1.0)) == np.inf
    with pytest.raises(ValueError, match="feature"):
        model.bic(frame[["age"]])


def test_dask():
    dask_array = pytest.importorskip("dask.array")
    model = small().fit(IRIS)
    lazy = dask_array.from_array(IRIS, chunks=(40, -1))
    assert model.bic(lazy) == pytest.approx(model.bic(IRIS), rel=1e-12)
    frame = pytest.importorskip("dask.dataframe").from_pandas(pd.DataFrame(IRIS), npartitions=3)
    assert model.aic(frame) == pytest.approx(model.aic(IRIS), rel=1e-12)


def test_not_fitted():
    with pytest.raises(NotFittedError):
        EinetDensity().bic(IRIS)
    assert not hasattr(EinetDensity(), "n_parameters_")
