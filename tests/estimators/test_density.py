"""EinetDensity as scikit-learn users expect it."""

import copy
import pickle
import warnings

import joblib
import numpy as np
import pandas as pd
import polars as pl
import pytest
import torch
from scipy import integrate, stats
from sklearn.base import clone
from sklearn.datasets import load_breast_cancer, load_iris
from sklearn.ensemble import IsolationForest
from sklearn.exceptions import ConvergenceWarning, NotFittedError
from sklearn.metrics import roc_auc_score
from sklearn.mixture import GaussianMixture
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from sklearn_einet import EinetDensity
from sklearn_einet.families import Categorical, Normal
from tests.helpers.densities import LEAVES, mixed_frame, small, with_gaps

pytestmark = [
    pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning"),
]
IRIS = load_iris().data
SOLVERS = ["sem", "em", "adam", "sgd"]


# --- densities


@pytest.mark.parametrize("solver", SOLVERS)
def test_learns_dependence(solver):
    """Better than independent columns, and than one Gaussian, on data with clusters."""
    step_size = {"adam": 0.05, "sgd": 0.2}.get(solver, 0.05)
    model = small(solver=solver, step_size=step_size, max_iter=60, tol=0).fit(IRIS)
    independent = sum(stats.norm(c.mean(), c.std()).logpdf(c).mean() for c in IRIS.T)
    assert model.score(IRIS) > independent + 0.5
    assert model.score_samples(IRIS).dtype == np.float64


def test_beats_a_gaussian_on_held_out_rows():
    X = load_breast_cancer().data
    rows = np.random.RandomState(0).permutation(len(X))
    train, test = X[rows[:400]], X[rows[400:]]
    gaussian = GaussianMixture(1, covariance_type="diag", random_state=0).fit(train)
    assert EinetDensity(random_state=0).fit(train).score(test) > gaussian.score(test) + 5


@pytest.mark.parametrize("solver", ["sem", "em"])
def test_density_of_one_column_integrates_to_one(solver):
    X = 1000 + 5 * np.random.RandomState(0).gamma(2.0, size=(300, 1))
    model = small(solver=solver).fit(X)
    grid = np.linspace(900, 1200, 20001)
    density = np.exp(model.score_samples(grid[:, None]))
    assert abs(integrate.trapezoid(density, grid) - 1) < 1e-6


def test_change_of_unit_changes_scores_by_the_jacobian():
    scale, shift = np.array([1e-6, 1e3, 7.0, 1e8]), np.array([1e3, -5.0, 0.0, 1e10])
    for X in (IRIS, with_gaps(IRIS)):
        # What is positive is bounded, whatever the unit, but not after a shift.
        plain = small(atoms=None).fit(X).score_samples(X)
        moved = small(atoms=None).fit(X * scale + shift).score_samples(X * scale + shift)
        jacobian = ~np.isnan(X) @ np.log(scale)
        np.testing.assert_allclose(moved + jacobian, plain, atol=2e-3)


def test_tiny_spread_far_from_zero():
    """Standard deviations of 1e-3 around 1e3: float32 training agrees with float64."""
    X = 1e3 + 1e-3 * np.random.RandomState(0).randn(300, 6)
    single = small(dtype="float32").fit(X).score_samples(X)
    double = small(dtype="float64").fit(X).score_samples(X)
    np.testing.assert_allclose(single, double, atol=1e-4 * 6)
    normal = stats.norm(1e3, 1e-3).logpdf(X).sum(1).mean()
    assert abs(double.mean() - normal) < 0.5


@pytest.mark.parametrize("solver", SOLVERS)
def test_missing_cells_in_fit_and_score(solver):
    X = with_gaps(IRIS)
    X[0] = np.nan
    model = small(solver=solver, structure="chow-liu").fit(X)
    scores = model.score_samples(X)
    assert np.isfinite(scores).all()
    assert scores[0] == pytest.approx(0, abs=1e-9)
    row, values = X[:1].copy(), np.arange(150) / 10  # on the grid of the column
    row[:] = [[5.0, np.nan, 1.5, np.nan]]
    filled = np.repeat(row, len(values), axis=0)
    filled[:, 1] = values
    total = 0.1 * np.exp(model.score_samples(filled)).sum()
    np.testing.assert_allclose(total, np.exp(model.score_samples(row))[0], rtol=1e-5)


def test_missing_cells_hardly_hurt():
    """Fitting with gaps comes close to fitting without, and beats fitting to filled means."""
    rng = np.random.RandomState(0)
    latent = rng.randn(1000, 1)
    X = latent @ rng.randn(1, 6) + 0.3 * rng.randn(1000, 6)
    train, test = X[:600], X[600:]
    gaps = with_gaps(train, 0.3)
    filled = np.where(np.isnan(gaps), np.nanmean(gaps, 0), gaps)
    complete, missing, mean = (small(max_iter=30).fit(Z).score(test) for Z in (train, gaps, filled))
    assert missing > complete - 0.6
    assert missing > mean + 0.5


@pytest.mark.parametrize("solver", SOLVERS)
def test_seed_reproduces_bit_for_bit(solver):
    X = with_gaps(IRIS)
    first, again = (small(solver=solver).fit(X) for _ in range(2))
    np.testing.assert_array_equal(first.score_samples(X), again.score_samples(X))
    np.testing.assert_array_equal(first.log_likelihoods_, again.log_likelihoods_)
    np.testing.assert_array_equal(first.sample(5, random_state=3), again.sample(5, random_state=3))
    other = small(solver=solver, random_state=1).fit(X)
    assert not np.array_equal(first.score_samples(X), other.score_samples(X))


def test_global_state_is_left_alone():
    np.random.seed(0)
    torch.manual_seed(0)
    before = np.random.get_state()[1].copy(), torch.get_rng_state(), torch.get_num_threads()
    model = small(random_state=None).fit(IRIS)
    model.sample(3)
    model.score_samples(IRIS)
    np.testing.assert_array_equal(np.random.get_state()[1], before[0])
    assert torch.equal(torch.get_rng_state(), before[1])
    assert torch.get_num_threads() == before[2]
    assert torch.get_default_dtype() == torch.float32


# --- leaves


@pytest.mark.parametrize("solver", SOLVERS)
def test_mixed_columns(solver):
    frame = mixed_frame(200)
    model = small(leaf=LEAVES, solver=solver, max_iter=5).fit(frame)
    assert np.isfinite(model.score_samples(frame)).all()
    families = {
        frame.columns[c]: g.family.name
        for g in model.circuit_.leaf_groups
        for c in g.columns.tolist()
    }
    assert families == {
        "age": "normal",
        "member": "bernoulli",
        "visits": "poisson",
        "city": "categorical",
        "share": "beta",
        "wait": "exponential",
        "income": "log-normal",
        "passed": "binomial",
        "cost": "fixed-shape-gamma",
    }
    # The discrete columns sum to one.
    rows = pd.DataFrame(np.nan, index=range(6), columns=frame.columns)
    rows["member"], rows["city"] = [0, 0, 0, 1, 1, 1], [0, 1, 2, 0, 1, 2]
    assert np.exp(model.score_samples(rows)).sum() == pytest.approx(1, abs=1e-9)


def test_samples_look_like_the_rows():
    frame = mixed_frame(1000)
    model = small(leaf=LEAVES, max_iter=15, batch_size=100).fit(frame)
    draws = model.sample(20_000, random_state=0)
    assert draws.columns.equals(frame.columns)
    error = (draws.mean() - frame.mean()).abs() / frame.std().replace(0, 1)
    assert error.max() < 0.1
    np.testing.assert_allclose(draws.corr(), frame.astype(float).corr(), atol=0.12)
    assert set(draws["member"]) == {0, 1}
    assert set(draws["city"]) == {0, 1, 2}
    assert (draws[["share", "wait", "income", "cost"]] > 0).all(axis=None)


def families(model):
    return {group.family.name: group.columns.tolist() for group in model.circuit_.leaf_groups}


def test_auto_leaves():
    flags = np.array([[0, 1, 0], [1, 1, 0], [np.nan, 1, 0], [1, 0, 0]])
    assert families(small().fit(flags)) == {"bernoulli": [0, 1, 2]}
    assert families(small().fit(flags > 0)) == {"bernoulli": [0, 1, 2]}
    # Numbers that happen to be 0 and 1 in fit may be 2 later.
    assert families(small().fit(np.column_stack([flags, [3, 4, 5, 6]]))) == {
        "normal": [0, 1, 3],
        "constant": [2],
    }


@pytest.mark.parametrize("make", [pd.DataFrame, pl.DataFrame])
def test_auto_leaves_of_frames(make):
    frame = make({"age": [30.0, 40, 50], "member": [True, False, True], "children": [0, 1, 1]})
    assert families(small().fit(frame)) == {"bernoulli": [1], "normal": [0, 2]}
    assert families(small().partial_fit(frame)) == {"bernoulli": [1], "normal": [0, 2]}


@pytest.mark.parametrize(
    "columns", [["city"], [3], slice(3, 4), [c == "city" for c in mixed_frame(2).columns], "city"]
)
def test_ways_to_name_columns(columns):
    model = small(leaf={"categorical": columns}, max_iter=1).fit(mixed_frame(60))
    (group,) = (g for g in model.circuit_.leaf_groups if 3 in g.columns)
    assert group.family.name == "categorical"
    assert 3 not in model.table_density_.schema.states.forms


def test_values_that_a_family_cannot_have_are_impossible():
    frame = mixed_frame()
    model = small(leaf=LEAVES).fit(frame)
    row = frame.astype(float).iloc[[0] * 4]
    row.iloc[1, 1], row.iloc[2, 2], row.iloc[3, 4] = 3, -1, 1.5
    scores = model.score_samples(row)
    assert np.isneginf(scores).tolist() == [False, True, True, True]
    assert model.predict(row)[1:].tolist() == [-1, -1, -1]
    assert model.predict_proba(row)[1:].tolist() == [[1, 0]] * 3
    assert model.score(row) == -np.inf


# --- training


@pytest.mark.parametrize("pseudocount", [0, 0.1])
def test_full_em_is_monotone(pseudocount):
    # Early differences outweigh the prior's, so that the plain likelihood grows, too.
    model = small(solver="em", pseudocount=pseudocount, max_iter=40, tol=0).fit(with_gaps(IRIS))
    gains = np.diff(model.log_likelihoods_)
    assert (gains[:10] > 0).all()
    assert (gains >= -1e-3).all()
    assert model.log_likelihoods_[-1] > model.log_likelihoods_[0] + 0.2


def test_convergence_warning_and_attributes():
    with pytest.warns(ConvergenceWarning, match="max_iter=2"):
        model = small(max_iter=2, tol=0).fit(IRIS)
    assert not model.converged_
    assert model.n_iter_ == 2
    assert model.log_likelihoods_.shape == (2,)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        model = small(max_iter=200, tol=1.0).fit(IRIS)
    assert model.converged_
    assert model.n_iter_ < 200


def test_log_likelihoods_are_in_the_unit_of_the_columns():
    X = 50 * IRIS
    model = small(solver="em", max_iter=200, tol=1e-6).fit(X)
    assert model.log_likelihoods_[-1] == pytest.approx(model.score(X), abs=1e-3)


def test_early_stopping_keeps_the_best():
    X = load_breast_cancer().data[:150]
    overfitting = {"K": 10, "min_variance": 1e-6, "pseudocount": 1e-4, "max_iter": 100}
    overfitting |= {"structure": "chow-liu", "numeric_transform": None}
    stopped = small(early_stopping=True, n_iter_no_change=2, **overfitting).fit(X)
    assert stopped.converged_
    curve = stopped.validation_log_likelihoods_
    assert len(curve) == stopped.n_iter_
    assert np.argmax(curve) < len(curve) - 1
    # The circuit kept is that of the best epoch: a fit that ends there is the same.
    best = small(
        early_stopping=True, n_iter_no_change=99, **overfitting | {"max_iter": np.argmax(curve) + 1}
    ).fit(X)
    np.testing.assert_array_equal(best.score_samples(X), stopped.score_samples(X))


def test_a_new_fit_forgets_the_old_one():
    model = small(early_stopping=True).fit(IRIS)
    model.set_params(early_stopping=False).fit(IRIS)
    assert not hasattr(model, "validation_log_likelihoods_")


@pytest.mark.parametrize(("solver", "n_rows"), [("em", 500), ("sem", 49), ("sem", 50)])
def test_early_stopping_auto(solver, n_rows):
    X = load_breast_cancer().data[:n_rows]
    model = small(solver=solver, max_iter=2, early_stopping="auto").fit(X)
    held_out = solver != "em" and n_rows >= 50
    assert hasattr(model, "validation_log_likelihoods_") == held_out


def test_warm_start_continues():
    cold = small(max_iter=20, tol=0, solver="em").fit(IRIS)
    warm = small(max_iter=10, tol=0, solver="em", warm_start=True).fit(IRIS)
    graph = warm.region_graph_
    warm.fit(IRIS)
    assert warm.region_graph_ is graph
    np.testing.assert_allclose(warm.score_samples(IRIS), cold.score_samples(IRIS), rtol=1e-9)
    with pytest.raises(ValueError, match="3 features"):
        warm.fit(IRIS[:, :3])


def test_partial_fit_streams():
    rng = np.random.RandomState(0)
    blocks = [IRIS[rng.permutation(150)] for _ in range(15)]
    model = small().partial_fit(blocks[0])
    first = model.score(IRIS)
    for block in blocks[1:]:
        model.partial_fit(block)
    assert model.score(IRIS) > first + 0.3
    assert model.predict(IRIS).min() == -1
    with pytest.raises(ValueError, match="features"):
        model.partial_fit(IRIS[:, :2])


def test_partial_fit_after_fit():
    model = small().fit(IRIS)
    before = model.score(IRIS[:50])
    for _ in range(20):
        model.partial_fit(IRIS[:50])
    assert model.score(IRIS[:50]) > before


@pytest.mark.parametrize("solver", ["sem", "em", "adam"])
def test_rows_without_weight_do_not_count(solver):
    weight = (np.arange(150) % 3 > 0).astype(float)
    weighted = small(solver=solver).fit(IRIS, sample_weight=weight)
    removed = small(solver=solver).fit(IRIS[weight > 0], sample_weight=weight[weight > 0])
    np.testing.assert_array_equal(weighted.score_samples(IRIS), removed.score_samples(IRIS))


@pytest.mark.parametrize("solver", SOLVERS)
def test_weights_move_the_density(solver):
    weight = np.where(np.arange(150) < 50, 100.0, 1.0)
    plain, weighted = small(solver=solver), small(solver=solver)
    gain = weighted.fit(IRIS, sample_weight=weight).score(IRIS[:50])
    assert gain > plain.fit(IRIS).score(IRIS[:50])


def test_heavy_rows_count_by_their_weight():
    """Few rows with half of the total weight draw half of the density to themselves.

    They would draw 0.4 if every minibatch counted the same, however heavy.
    """
    X = np.random.RandomState(0).rand(1000, 2)
    X[:50] = 3.0
    weight = np.where(X[:, 0] == 3, 19.0, 1.0)
    model = small(max_iter=60, tol=0, step_size=0.01).fit(X, sample_weight=weight)
    share = (model.sample(20_000, random_state=0) > 2).all(axis=1).mean()
    assert 0.46 < share < 0.54


@pytest.mark.parametrize("solver", SOLVERS)
def test_unit_weights_change_nothing(solver):
    plain = small(solver=solver).fit(IRIS)
    weighted = small(solver=solver).fit(IRIS, sample_weight=np.ones(150))
    np.testing.assert_allclose(weighted.score_samples(IRIS), plain.score_samples(IRIS), rtol=1e-5)


def test_weights_are_repetitions_in_full_em():
    X = np.random.RandomState(0).randn(400, 6)
    weighted = small(solver="em", max_iter=5).fit(X, sample_weight=np.full(400, 2.0))
    repeated = small(solver="em", max_iter=5).fit(np.repeat(X, 2, axis=0))
    np.testing.assert_allclose(weighted.score_samples(X), repeated.score_samples(X), rtol=1e-7)


def test_extreme_values_are_outliers():
    model = small().fit(IRIS)
    X = np.repeat(IRIS[:1], 4, axis=0)
    X[np.arange(3), [0, 1, 2]] = [1e200, -1e160, 1e30]
    scores = model.score_samples(X)
    assert not np.isnan(scores).any()
    assert model.predict(X)[:3].tolist() == [-1, -1, -1]


def test_diverging_updates_leave_the_model_unchanged():
    model = small().partial_fit(IRIS)
    before = model.score_samples(IRIS)
    X = IRIS.copy()
    X[0, 0] = 1e200
    with pytest.raises(ValueError, match="no longer finite"):
        model.partial_fit(X)
    np.testing.assert_array_equal(model.score_samples(IRIS), before)


def test_warm_start_refuses_another_K():
    model = small(warm_start=True).fit(IRIS).set_params(K=7)
    with pytest.raises(ValueError, match=r"has K=4 and cannot continue with K=7"):
        model.fit(IRIS)


@pytest.mark.parametrize("n_rows", [1, 2, 3])
@pytest.mark.parametrize("solver", SOLVERS)
def test_very_few_rows(n_rows, solver):
    model = small(solver=solver).fit(IRIS[:n_rows])
    assert np.isfinite(model.score_samples(IRIS)).all()
    assert model.sample(2).shape == (2, 4)


@pytest.mark.parametrize("solver", SOLVERS)
def test_single_column(solver):
    model = small(solver=solver).fit(IRIS[:, :1])
    assert len(model.region_graph_.regions) == 1
    assert model.score(IRIS[:, :1]) > stats.norm(0, 5).logpdf(IRIS[:, 0]).mean()


@pytest.mark.parametrize("constant", [0.0, 1.0, 1e6, -3.5])
def test_constant_columns(constant):
    X = np.column_stack([IRIS, np.full(150, constant)])
    model = small().fit(X)
    assert np.isfinite(model.score_samples(X)).all()
    np.testing.assert_array_equal(model.sample(20, random_state=0)[:, 4], constant)
    usual = model.score_samples(X)
    without = model.score_samples(np.column_stack([IRIS, np.full(150, np.nan)]))
    np.testing.assert_allclose(usual, without)
    other = model.score_samples(np.column_stack([IRIS, np.full(150, constant + 100)]))
    np.testing.assert_allclose(other, without - np.log(151))


# --- outliers


def test_outlier_scores():
    data = load_breast_cancer()
    inliers = data.data[data.target == 1]
    model = EinetDensity(random_state=0).fit(inliers[:250])
    forest = IsolationForest(random_state=0).fit(inliers[:250])
    X = np.vstack([inliers[250:], data.data[data.target == 0]])
    y = np.r_[np.ones(len(inliers) - 250), np.zeros(len(X) - len(inliers) + 250)]
    area = roc_auc_score(y, model.score_samples(X))
    assert area > 0.9
    assert area > roc_auc_score(y, forest.score_samples(X)) - 0.05


@pytest.mark.parametrize("contamination", ["auto", 0.02, 0.25, 0.5])
def test_contamination(contamination):
    model = small(contamination=contamination).fit(IRIS)
    share = 0.1 if contamination == "auto" else contamination
    labels = model.predict(IRIS)
    assert (labels == -1).sum() == pytest.approx(share * 150, abs=1)
    assert set(labels) == {-1, 1}
    assert labels.dtype.kind == "i"
    decision = model.decision_function(IRIS)
    np.testing.assert_array_equal(labels == 1, decision >= 0)
    np.testing.assert_allclose(decision, model.score_samples(IRIS) - model.offset_)


def test_predict_proba():
    model = small().fit(IRIS)
    far = np.vstack([IRIS, IRIS.mean(0) + np.linspace(0, 100, 50)[:, None]])
    probability = model.predict_proba(far)
    np.testing.assert_array_equal(model.classes_, [-1, 1])
    np.testing.assert_allclose(probability.sum(1), 1)
    order = np.argsort(model.score_samples(far))
    assert (np.diff(probability[order, 1]) >= 0).all()
    np.testing.assert_array_equal(probability[:, 1] >= 0.5, model.predict(far) == 1)
    np.testing.assert_array_equal(probability[:, 1] >= 0.5, model.decision_function(far) >= 0)
    assert 0.8 < np.median(probability[:150, 1]) < 1
    model.offset_ = model.score_samples(IRIS[:1])[0]
    assert model.predict_proba(IRIS[:1])[0, 1] == 0.5


def test_fit_predict():
    np.testing.assert_array_equal(small().fit_predict(IRIS), small().fit(IRIS).predict(IRIS))


# --- in scikit-learn


def test_pipeline_and_grid_search():
    search = GridSearchCV(
        make_pipeline(StandardScaler(), small(max_iter=5)),
        {
            "einetdensity__depth": [1, 2],
            "einetdensity__replicas": [1, 3],
            "einetdensity__K": [2, 4],
        },
        cv=2,
    ).fit(IRIS)
    assert np.isfinite(search.cv_results_["mean_test_score"]).all()
    best = search.best_estimator_[-1]
    assert best.get_params()["K"] == search.best_params_["einetdensity__K"]
    trees = [
        partition
        for partition in best.region_graph_.root.partitions
        if not any(child.joint for child in partition.children)
    ]
    assert len(trees) == search.best_params_["einetdensity__replicas"]


def test_a_grid_survives_a_depth_that_is_too_large():
    trees = small(max_iter=3, structure="binary-trees")
    search = GridSearchCV(trees, {"depth": [1, 5]}, cv=2, error_score="raise")
    with pytest.warns(UserWarning, match="depth=5 needs at least 32 features, but there are 4"):
        search.fit(IRIS)


@pytest.mark.parametrize("make", [pd.DataFrame, pl.DataFrame])
def test_frames_and_feature_names(make):
    names = list("abcd")
    frame = make(dict(zip(names, with_gaps(IRIS).T, strict=True)))
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        warnings.simplefilter("ignore", ConvergenceWarning)
        model = small().fit(frame)
        scores = model.score_samples(frame)
    np.testing.assert_array_equal(model.feature_names_in_, names)
    np.testing.assert_array_equal(
        scores, small().fit(with_gaps(IRIS)).score_samples(with_gaps(IRIS))
    )
    with pytest.raises(ValueError, match="feature names"):
        model.score_samples(make(dict(zip("abce", IRIS.T, strict=True))))


def test_nulls_in_polars_are_missing():
    frame = pl.DataFrame({"a": [1.0, None, 3.0, 4.0], "b": [1, 2, None, 3]})
    model = small().fit(frame)
    expected = model.score_samples(pl.DataFrame({"a": [np.nan], "b": [2.0]}))
    np.testing.assert_array_equal(model.score_samples(frame)[1:2], expected)


@pytest.mark.parametrize("dtype", [np.float32, np.int64, np.uint8, bool])
def test_numeric_types(dtype):
    X = (IRIS > 3 if dtype is bool else IRIS).astype(dtype)
    model = small().fit(X)
    np.testing.assert_array_equal(model.score_samples(X), model.score_samples(X.astype(float)))


def test_read_only_memory_map(tmp_path):
    np.save(tmp_path / "X.npy", IRIS)
    X = np.load(tmp_path / "X.npy", mmap_mode="r")
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        warnings.simplefilter("ignore", ConvergenceWarning)
        scores = small().fit(X).score_samples(X)
    np.testing.assert_array_equal(scores, small().fit(IRIS).score_samples(IRIS))


def test_parameters_are_not_changed_by_fit():
    leaf = {"gamma": [0], "normal": [1]}
    model = small(leaf=leaf)
    parameters = copy.deepcopy(model.get_params())
    model.fit(IRIS)
    assert model.get_params() == parameters
    assert clone(model).get_params() == parameters


def test_inputs_are_not_changed():
    X, weight = with_gaps(IRIS), np.ones(150)
    kept = X.copy()
    model = small().fit(X, sample_weight=weight)
    model.score_samples(X)
    model.partial_fit(X)
    np.testing.assert_array_equal(X, kept)


def test_queries_do_not_change_the_model():
    model = small().fit(IRIS)
    before = vars(model).copy()
    model.score_samples(IRIS)
    model.predict_proba(IRIS)
    model.sample(3)
    assert vars(model) == before


@pytest.mark.parametrize(
    "method", ["score_samples", "score", "predict", "predict_proba", "decision_function"]
)
def test_not_fitted(method):
    with pytest.raises(NotFittedError):
        getattr(EinetDensity(), method)(IRIS)
    with pytest.raises(NotFittedError):
        EinetDensity().sample()


@pytest.mark.parametrize("how", ["pickle", "joblib", "deepcopy"])
def test_persistence(how, tmp_path):
    model = small(leaf={"gamma": [0]}).fit(with_gaps(IRIS))
    if how == "joblib":
        joblib.dump(model, tmp_path / "model.joblib")
        other = joblib.load(tmp_path / "model.joblib")
    else:
        other = pickle.loads(pickle.dumps(model)) if how == "pickle" else copy.deepcopy(model)
    np.testing.assert_array_equal(other.score_samples(IRIS), model.score_samples(IRIS))
    np.testing.assert_array_equal(other.sample(3, random_state=0), model.sample(3, random_state=0))
    other.partial_fit(IRIS)
    assert not np.array_equal(other.score_samples(IRIS), model.score_samples(IRIS))


def test_pickle_holds_no_tensors():
    """So that a model trained on a GPU loads on a machine without one."""
    assert b"torch._utils" not in pickle.dumps(small().fit(IRIS))


@pytest.mark.gpu
@pytest.mark.usefixtures("gpu")
def test_gpu_agrees_with_cpu():
    X = with_gaps(load_breast_cancer().data)
    gpu, cpu = (small(device=d, solver="em", max_iter=3).fit(X) for d in ("cuda", "cpu"))
    np.testing.assert_allclose(gpu.score_samples(X), cpu.score_samples(X), atol=1e-3)
    loaded = pickle.loads(pickle.dumps(gpu))
    assert loaded.circuit_.device.type == "cpu"


def test_a_model_of_a_missing_device_still_answers():
    model = small().fit(IRIS).set_params(device="cuda" if not torch.cuda.is_available() else "xla")
    assert np.isfinite(model.score_samples(IRIS)).all()


# --- absolute bounds on variances


def leaf_variances(model):
    """Variances of all univariate densities, in the units of the columns."""
    (group,) = model.circuit_.leaf_groups
    return group.family.variance(group.phi)[group.present.expand(-1, -1, group.phi.shape[3])]


@pytest.mark.parametrize("solver", SOLVERS)
def test_variance_bounds(solver):
    X = np.column_stack([IRIS / 8, np.full(len(IRIS), 0.5)])
    model = small(solver=solver, variance_bounds=(1e-6, 1e-2), K=8, max_iter=20).fit(X)
    variances = leaf_variances(model)
    assert variances.min() >= 1e-6 * (1 - 1e-6)
    assert variances.max() <= 1e-2 * (1 + 1e-6)
    grid = np.linspace(-0.5, 1.5, 40_001)
    density = np.exp(model.marginal([4]).score_samples(grid[:, None]))
    assert integrate.trapezoid(density, grid) == pytest.approx(1, abs=1e-5)


def test_bounds_precede_the_relative_floor():
    model = small(variance_bounds=(1e-6, 1e-2), min_variance=10.0, max_iter=20).fit(IRIS / 8)
    assert leaf_variances(model).max() <= 1e-2 * (1 + 1e-6)


def test_bounds_go_to_normal_columns_only():
    leaf = {"gamma": [0], Normal((0.5, 0.6)): [1]}
    model = small(leaf=leaf, variance_bounds=(1e-6, 1e-2)).fit(IRIS)
    bounds = {
        int(column): getattr(group.family, "variance_bounds", None)
        for group in model.circuit_.leaf_groups
        for column in group.columns
    }
    assert bounds == {0: None, 1: (0.5, 0.6), 2: (1e-6, 1e-2), 3: (1e-6, 1e-2)}


def test_bytes_are_read_as_they_are():
    """Images in uint8 with 256 states: the same model as from floats."""
    X = np.random.RandomState(0).randint(0, 256, (60, 4)).astype(np.uint8)
    leaf = Categorical(256)
    model = small(leaf=leaf).fit(X)
    np.testing.assert_allclose(
        model.score_samples(X), small(leaf=leaf).fit(X * 1.0).score_samples(X)
    )


def test_warm_start_keeps_the_bounds():
    model = small(warm_start=True).fit(IRIS)
    with pytest.raises(ValueError, match="has other variance_bounds"):
        model.set_params(variance_bounds=(1e-6, 1e-2)).fit(IRIS)
    bounded = small(warm_start=True, variance_bounds=(1e-6, 1e-2)).fit(IRIS / 8)
    bounded.fit(IRIS / 8)
