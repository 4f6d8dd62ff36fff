"""What EinetMixture promises: it is the weighted sum of its components, in every query."""

import pickle
import warnings

import joblib
import numpy as np
import pandas as pd
import pytest
import torch
from scipy import integrate, stats
from scipy.special import logsumexp
from sklearn.base import BaseEstimator, clone
from sklearn.cluster import DBSCAN, AgglomerativeClustering, KMeans, MiniBatchKMeans
from sklearn.datasets import load_digits, load_iris
from sklearn.decomposition import PCA
from sklearn.exceptions import ConvergenceWarning, NotFittedError
from sklearn.metrics import adjusted_rand_score
from sklearn.mixture import GaussianMixture
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from sklearn_einet import EinetDensity, EinetMixture
from sklearn_einet.estimators import components
from sklearn_einet.estimators.clusters import assignment_features
from sklearn_einet.learning.expectation_maximization import penalty
from sklearn_einet.structure import poon_domingos
from sklearn_einet.tables.encoding import Encoding
from sklearn_einet.tables.in_memory import InMemoryTable
from sklearn_einet.tables.schema import Schema
from tests.helpers.circuits import states

pytestmark = [pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")]
IRIS = load_iris().data


def small(n_components=3, **parameters):
    fast = {"replicas": 2, "K": 3, "max_iter": 5, "random_state": 0, "early_stopping": False}
    return EinetMixture(n_components, **(fast | parameters))


def with_gaps(X, share=0.3, seed=0):
    X = np.array(X, dtype=float)
    X[np.random.RandomState(seed).rand(*X.shape) < share] = np.nan
    return X


def discrete_table(n=400, seed=0):
    """Three columns of two kinds of rows: binary, four categories, a count."""
    rng = np.random.RandomState(seed)
    kind = rng.rand(n) < 0.3
    return np.column_stack(
        [
            rng.rand(n) < np.where(kind, 0.9, 0.2),
            np.where(kind, rng.randint(2, size=n), 2 + rng.randint(2, size=n)),
            rng.binomial(2, np.where(kind, 0.8, 0.1)),
        ]
    ).astype(float)


DISCRETE = {"bernoulli": [0], "categorical": [1], "binomial": [2]}
MIXED_LEAVES = {"normal": [0], "gamma": [1], "log-normal": [2], "categorical": [4]}


def mixed_table():
    """Continuous, positive and categorical columns."""
    return np.column_stack([IRIS, load_iris().target])


@pytest.fixture(scope="module", params=["trees", "refined", "leaves", "em", "mixed"])
def fitted(request):
    """A mixture and rows with gaps."""
    parameters = {
        "trees": {},
        "refined": {"refine_iter": 3},
        "leaves": {"depth": 0},
        "em": {"solver": "em", "refine_iter": 2},
        "mixed": {"leaf": MIXED_LEAVES},
    }[request.param]
    X = mixed_table() if request.param == "mixed" else IRIS
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return small(**parameters).fit(X), with_gaps(X)


def rounding(model):
    """How far the weights of a mixture, stored in its type, may be from the products that they
    are: those of components with the mixture's weights."""
    return 1e-9 if model.circuit_.dtype == torch.float64 else 2e-7


def joint(model, X):
    """log(weight * density), component by component."""
    scores = np.column_stack([each.score_samples(X) for each in model.estimators_])
    return scores + np.log(model.weights_)


# --- the density


def test_density_is_the_weighted_sum(fitted):
    model, X = fitted
    np.testing.assert_allclose(
        model.score_samples(X), logsumexp(joint(model, X), axis=1), rtol=1e-7, atol=1e-7
    )
    assert all(isinstance(each, EinetDensity) for each in model.estimators_)
    assert model.score_samples(np.full((1, X.shape[1]), np.nan)) == pytest.approx(0, abs=1e-12)


def test_responsibilities_are_bayes_rule(fitted):
    model, X = fitted
    log_joint = joint(model, X)
    expected = np.exp(log_joint - logsumexp(log_joint, axis=1, keepdims=True))
    found = model.responsibilities(X)
    np.testing.assert_allclose(found, expected, atol=rounding(model))
    np.testing.assert_allclose(found.sum(1), 1, rtol=1e-12)
    np.testing.assert_allclose(
        model.responsibilities(np.full((1, X.shape[1]), np.nan))[0], model.weights_, rtol=1e-9
    )


@pytest.mark.parametrize("depth", [0, None])
def test_integrates_to_one(depth):
    model = small(depth=depth, atoms=None).fit(IRIS[:, 2:])
    petals, widths = np.linspace(-9, 17, 1201), np.linspace(-6, 9, 1201)
    grid = np.stack(np.meshgrid(petals, widths), -1).reshape(-1, 2)
    density = np.exp(model.score_samples(grid)).reshape(1201, 1201)
    total = integrate.trapezoid(integrate.trapezoid(density, petals), widths)
    assert total == pytest.approx(1, abs=1e-6)


def test_probabilities_of_all_rows_sum_to_one():
    X = discrete_table()
    model = small(2, leaf=DISCRETE).fit(X)
    everything = states(2, 4, 3).numpy()
    assert np.exp(model.score_samples(everything)).sum() == pytest.approx(1, rel=1e-12)


# --- weights, labels, centres


def test_weights_are_shares_of_clusters():
    model = small().fit(IRIS)
    shares = np.bincount(model.labels_) / len(IRIS)
    np.testing.assert_allclose(model.weights_, shares, rtol=1e-6)
    for number, center in enumerate(model.cluster_centers_):
        np.testing.assert_allclose(center, IRIS[model.labels_ == number].mean(axis=0))
    assert adjusted_rand_score(model.labels_, load_iris().target) > 0.5


def test_row_weights():
    weight = np.random.RandomState(0).randint(0, 3, len(IRIS)).astype(float)
    model = small().fit(IRIS, sample_weight=weight)
    np.testing.assert_array_equal(model.labels_ == -1, weight == 0)
    shares = np.bincount(model.labels_[weight > 0], weight[weight > 0]) / weight.sum()
    np.testing.assert_allclose(model.weights_, shares, rtol=1e-6)
    np.testing.assert_array_equal(small().fit(IRIS, sample_weight=2.0).labels_ >= 0, True)


def test_single_component_is_a_density():
    model = small(1).fit(IRIS)
    assert len(model.estimators_) == 1
    np.testing.assert_allclose(
        model.score_samples(IRIS), model.estimators_[0].score_samples(IRIS), rtol=1e-12
    )
    np.testing.assert_array_equal(model.responsibilities(IRIS), 1)


# --- queries


def test_means_and_variances_follow_the_law_of_total_variance(fitted):
    model, X = fitted
    share = model.responsibilities(X)
    means = np.stack([each.mean(X) for each in model.estimators_], -1)
    variances = np.stack([each.variance(X) for each in model.estimators_], -1)
    mean = (means * share[:, None]).sum(-1)
    variance = ((variances + means**2) * share[:, None]).sum(-1) - mean**2
    np.testing.assert_allclose(model.mean(X), mean, rtol=1e-7, atol=1e-9)
    np.testing.assert_allclose(model.variance(X), variance, rtol=1e-5, atol=1e-7)


def test_covariance(fitted):
    model, _ = fitted
    means = np.stack([each.mean() for each in model.estimators_])
    within = np.einsum("c,cij", model.weights_, [e.covariance() for e in model.estimators_])
    centered = means - model.weights_ @ means
    expected = within + np.einsum("c,ci,cj", model.weights_, centered, centered)
    np.testing.assert_allclose(model.covariance(), expected, rtol=1e-6, atol=1e-8)


def test_intervals(fitted):
    model, X = fitted
    low, high = np.nanquantile(X, [0.2, 0.9], axis=0)
    parts = [each.interval_log_proba([low], [high]) for each in model.estimators_]
    expected = logsumexp(np.concatenate(parts) + np.log(model.weights_))
    assert model.interval_log_proba([low], [high])[0] == pytest.approx(
        expected, rel=rounding(model)
    )


def test_conditional_densities_and_cell_scores(fitted):
    model, X = fitted
    X = X[:30]
    given = [0, 3]
    evidence = np.full_like(X, np.nan)
    evidence[:, given] = X[:, given]
    expected = logsumexp(joint(model, X), axis=1) - logsumexp(joint(model, evidence), axis=1)
    np.testing.assert_allclose(model.conditional_score_samples(X, given), expected, atol=1e-7)
    scores = model.feature_scores(X)
    for column in range(X.shape[1]):
        rest = X.copy()
        rest[:, column] = np.nan
        expected = logsumexp(joint(model, rest), axis=1) - logsumexp(joint(model, X), axis=1)
        seen = ~np.isnan(X[:, column])
        np.testing.assert_allclose(scores[seen, column], expected[seen], atol=1e-7)


def test_marginal(fitted):
    model, X = fitted
    part = model.marginal([2, 0])
    np.testing.assert_allclose(
        part.score_samples(X[:, [2, 0]]),
        logsumexp(joint(model, _only(X, [2, 0])), axis=1),
        atol=1e-9,
    )
    np.testing.assert_allclose(
        part.score_samples(X[:, [2, 0]]), logsumexp(joint(part, X[:, [2, 0]]), axis=1), atol=1e-9
    )
    np.testing.assert_allclose(
        part.responsibilities(X[:, [2, 0]]), model.responsibilities(_only(X, [2, 0])), atol=1e-9
    )
    np.testing.assert_array_equal(part.cluster_centers_, model.cluster_centers_[:, [2, 0]])
    assert model.estimators_[0].n_features_in_ == X.shape[1]


def _only(X, columns):
    result = np.full_like(X, np.nan)
    result[:, columns] = X[:, columns]
    return result


def test_most_probable_completion_is_that_of_the_best_component():
    model = small(2, leaf=DISCRETE, K=1, depth=0).fit(discrete_table())
    # With K=1 a component has no hidden choices, and the maximum is exact.
    everything = states(2, 4, 3).numpy()
    best = everything[joint(model, everything).max(axis=1).argmax()]
    np.testing.assert_array_equal(model.impute(np.full((1, 3), np.nan), strategy="mpe")[0], best)


def test_conditional_draws_follow_the_posterior():
    """The component is drawn from its posterior, and then the cells."""
    model = small(2, leaf=DISCRETE).fit(discrete_table())
    row = np.array([[1.0, np.nan, np.nan]])
    draws = model.sample_conditional(row, n_draws=20_000, random_state=0)[:, 0]
    everything = states(2, 4, 3).numpy()
    everything = everything[everything[:, 0] == 1]
    probability = np.exp(logsumexp(joint(model, everything), axis=1))
    probability /= probability.sum()
    counts = [(draws == cells).all(axis=1).sum() for cells in everything]
    assert sum(counts) == len(draws)
    assert stats.chisquare(counts, probability * len(draws)).pvalue > 1e-4
    # The prior would have been noticed.
    prior = np.exp(logsumexp(joint(model, states(2, 4, 3).numpy()), axis=1))
    prior = prior.reshape(2, 12).sum(0)
    assert stats.chisquare(counts, prior * len(draws)).pvalue < 1e-6


def test_draws_have_the_models_distribution():
    model = small(2, leaf=DISCRETE).fit(discrete_table())
    draws = model.sample(20_000, random_state=0)
    everything = states(2, 4, 3).numpy()
    counts = [(draws == cells).all(axis=1).sum() for cells in everything]
    expected = np.exp(model.score_samples(everything)) * len(draws)
    assert stats.chisquare(counts, expected).pvalue > 1e-4


def test_impossible_cells():
    model = small(2, leaf=DISCRETE).fit(discrete_table())
    row = [[1.0, 1.0, 7.0]]
    without = model.score_samples([[1.0, 1.0, np.nan]])
    surprise = np.log1p(len(discrete_table()))
    np.testing.assert_allclose(model.score_samples(row), without - surprise)
    with pytest.warns(UserWarning, match="Column 2 holds 7"):
        found = model.responsibilities(row)
    np.testing.assert_allclose(found, model.responsibilities([[1.0, 1.0, np.nan]]))


# --- outliers


def test_outlier_labels(fitted):
    model, _ = fitted
    X = mixed_table() if model.n_features_in_ == 5 else IRIS
    labels = model.predict(X)
    assert np.mean(labels == -1) == pytest.approx(0.1, abs=0.01)
    np.testing.assert_array_equal(labels == -1, model.decision_function(X) < 0)
    np.testing.assert_array_equal(labels == -1, model.predict_proba(X)[:, 1] < 0.5)
    for number, each in enumerate(model.estimators_):
        own = X[model.labels_ == number]
        share = np.mean(each.predict(own) == -1)
        assert share == pytest.approx(0.1, abs=1.5 / len(own))


def test_thresholds_of_large_tables_come_from_some_rows(monkeypatch):
    monkeypatch.setattr(components, "THRESHOLD_ROWS", 60)
    labels = np.repeat([0, 1, 2], [100, 49, 1])
    some = components.some_of_each(labels, np.random.RandomState(0))
    np.testing.assert_array_equal(np.bincount(labels[some]), [40, 20, 1])
    assert len(np.unique(some)) == 61
    X = np.random.RandomState(0).permutation(np.tile(IRIS, (4, 1)))
    for refine_iter in (0, 2):
        model = small(refine_iter=refine_iter).fit(X)
        assert 0.02 < np.mean(model.predict(X) == -1) < 0.25


# --- joint EM


def test_joint_em_never_lowers_the_penalised_likelihood():
    X = with_gaps(IRIS, 0.1)
    values = []
    for refine_iter in range(1, 6):
        model = small(solver="em", refine_iter=refine_iter, tol=0, min_variance=1e-2).fit(X)
        total = model.score_samples(X).sum()
        values.append(total + float(penalty(model.circuit_, model.pseudocount)))
        assert len(model.log_likelihoods_) == refine_iter
    assert (np.diff(values) > -1e-6 * abs(values[0])).all()
    assert values[-1] > values[0]


def test_refinement_changes_weights_and_fits_better():
    plain, refined = small().fit(IRIS), small(refine_iter=20).fit(IRIS)
    assert refined.score(IRIS) > plain.score(IRIS)
    assert not np.allclose(refined.weights_, plain.weights_, rtol=1e-3)
    assert len(plain.log_likelihoods_) == 0


def test_held_out_rows_stop_refinement():
    model = small(early_stopping=True, refine_iter=3, validation_fraction=0.3).fit(IRIS)
    assert len(model.log_likelihoods_) == 3
    assert all(hasattr(e, "validation_log_likelihoods_") for e in model.estimators_)


# --- clusters


@pytest.mark.parametrize(
    "kmeans",
    [
        KMeans(n_init=3),
        MiniBatchKMeans(),
        AgglomerativeClustering(),
        make_pipeline(PCA(2), KMeans(3)),
        GaussianMixture(3),
    ],
)
def test_any_clusterer(kmeans):
    before = str(kmeans.get_params())
    model = small(kmeans=kmeans).fit(IRIS)
    assert len(model.weights_) == 3
    assert str(kmeans.get_params()) == before
    again = small(kmeans=kmeans).fit(IRIS)
    np.testing.assert_array_equal(model.labels_, again.labels_)


def test_number_of_components_reaches_a_step_of_a_pipeline():
    kmeans = make_pipeline(StandardScaler(), KMeans(4))
    assert [len(small(n, kmeans=kmeans).fit(IRIS).weights_) for n in (1, 2, 5)] == [1, 2, 5]
    tree = AgglomerativeClustering(distance_threshold=20, n_clusters=None)
    assert len(small(kmeans=tree).fit(IRIS).weights_) == 2  # it finds the number itself


@pytest.mark.parametrize("unit", [1e-200, 1e-40, 1e40, 1e150])
def test_units_do_not_change_the_clusters(unit):
    labels = small().fit(IRIS).labels_
    schema = Schema.fit(
        InMemoryTable(IRIS), "normal", list(range(4)), Encoding(), np.random.RandomState(0)
    )
    Z = assignment_features(schema, IRIS, by_pixel=False)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        scaled = assignment_features(schema, IRIS * unit, by_pixel=False)
    np.testing.assert_allclose(scaled, Z, atol=1e-5)
    assert adjusted_rand_score(labels, KMeans(3, random_state=0).fit_predict(scaled)) > 0.5


@pytest.mark.parametrize("weight", [1e-30, 1e30])
def test_unit_of_weights_does_not_stop_clustering(weight):
    model = small().fit(IRIS, sample_weight=np.full(150, weight))
    assert len(model.weights_) == 3


def test_clusterer_with_noise():
    rng = np.random.RandomState(0)
    X = np.concatenate([rng.normal(-5, 0.3, (80, 2)), rng.normal(5, 0.3, (60, 2)), [[4.0, 1.0]]])
    clusterer = DBSCAN(eps=0.3)
    assert -1 in clusterer.fit_predict(X / X.std(0))
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        warnings.simplefilter("ignore", ConvergenceWarning)
        model = small(kmeans=clusterer).fit(X)
    np.testing.assert_array_equal(np.bincount(model.labels_), [80, 61])
    assert model.labels_[-1] == model.labels_[100]


def test_nothing_but_noise_is_one_cluster():
    assert len(small(kmeans=DBSCAN(eps=1e-9)).fit(IRIS).weights_) == 1


def test_tiny_clusters_join_the_nearest():
    rng = np.random.RandomState(0)
    X = np.concatenate([rng.normal(-5, 1, (50, 2)), rng.normal(5, 1, (50, 2)), [[9.0, 9.0]] * 3])
    with pytest.warns(UserWarning, match=r"Of 3 clusters, 1 .* the mixture has 2 components"):
        model = small().fit(X)
    assert sorted(np.bincount(model.labels_)) == [50, 53]
    assert model.labels_[-1] == model.labels_[60]


def test_fewer_distinct_rows_than_clusters():
    X = np.repeat([[0.0, 1.0], [5.0, 6.0]], 20, axis=0)
    with pytest.warns(UserWarning, match="the mixture has 2 components"):
        model = small(5).fit(X)
    assert np.isfinite(model.score(X))


def test_assignment_features():
    X = np.array([[1.0, 0, 7], [3.0, 1, 7], [np.nan, 2, 7], [5.0, 2, np.nan]])
    leaf = {"categorical": [1], "normal": [0, 2]}
    schema = Schema.fit(InMemoryTable(X), leaf, [0, 1, 2], Encoding(), np.random.RandomState(0))
    Z = assignment_features(schema, X, by_pixel=False)
    root = np.sqrt(1.5)
    np.testing.assert_allclose(Z[:, 0], [-root, 0, 0, root], rtol=1e-6)
    one_hot = np.array([[1, 0, 0], [0, 1, 0], [0, 0, 1], [0, 0, 1]]) - [0.25, 0.25, 0.5]
    np.testing.assert_allclose(Z[:, 1:4], one_hot / np.sqrt(0.25 * 0.75 * 2 + 0.25), rtol=1e-6)
    np.testing.assert_array_equal(Z[:, 4], 0)
    # Pixels keep their relative units, and their codes.
    pixels = assignment_features(schema, X, by_pixel=True)
    variance = np.array([8 / 3, 11 / 16, 0]).mean()
    expected = np.nan_to_num((X - [3, 1.25, 7]) / np.sqrt(variance))
    np.testing.assert_allclose(pixels, expected, rtol=1e-6)


def test_many_states_are_compared_by_their_codes():
    X = np.random.RandomState(0).randint(0, 100, (50, 2))
    args = "categorical", [0, 1], Encoding(), np.random.RandomState(0)
    assert assignment_features(Schema.fit(InMemoryTable(X), *args), X, by_pixel=False).shape == (
        50,
        2,
    )


# --- parallel


def component_scores(model, X):
    return np.column_stack([each.score_samples(X) for each in model.estimators_])


@pytest.mark.parametrize("backend", ["loky", "threading"])
def test_jobs_change_nothing(backend):
    threads = torch.get_num_threads()
    alone = small().fit(IRIS)
    with joblib.parallel_config(backend=backend):
        together = small(n_jobs=2).fit(IRIS)
    np.testing.assert_allclose(
        component_scores(together, IRIS), component_scores(alone, IRIS), rtol=1e-5
    )
    assert torch.get_num_threads() == threads


# --- scikit-learn


def test_in_a_pipeline_and_a_grid_search():
    pipeline = make_pipeline(StandardScaler(), small())
    search = GridSearchCV(pipeline, {"einetmixture__n_components": [1, 3]}, cv=2).fit(IRIS)
    assert search.best_estimator_.predict_proba(IRIS).shape == (150, 2)


def test_pickle_and_clone(fitted):
    model, X = fitted
    again = pickle.loads(pickle.dumps(model))
    np.testing.assert_array_equal(again.score_samples(X), model.score_samples(X))
    np.testing.assert_allclose(again.responsibilities(X), model.responsibilities(X))
    with pytest.raises(NotFittedError):
        clone(model).responsibilities(X)


def test_frame_with_names_and_gaps():
    frame = pd.DataFrame(with_gaps(IRIS), columns=list("abcd"))
    model = small(leaf={"gamma": ["b"]}).fit(frame)
    assert list(model.estimators_[0].feature_names_in_) == list("abcd")
    assert model.impute(frame).shape == (150, 4)
    assert np.isfinite(model.cluster_centers_).all()


@pytest.mark.parametrize("n_rows", [1, 2])
def test_few_rows(n_rows):
    model = small(1).fit(IRIS[:n_rows])
    assert np.isfinite(model.score(IRIS[:n_rows]))


def test_one_column_and_a_constant_one():
    model = small().fit(IRIS[:, :1])
    values = np.arange(200) / 10  # on the grid of the column
    density = np.exp(model.score_samples(values[:, None]))
    assert 0.1 * density.sum() == pytest.approx(1, abs=1e-6)
    X = np.column_stack([IRIS, np.full(150, 3.0)])
    assert np.isfinite(small().fit(X).score(X))


def test_column_that_is_constant_in_a_cluster():
    X = np.column_stack([load_iris().target, IRIS]).astype(float)
    model = small().fit(X)
    assert np.isfinite(model.score_samples(X)).all()
    # No narrow peak: the least variance is a share of the whole column's.
    floor = model.min_variance * X[:, 0].var()
    assert min(each.variance()[0] for each in model.estimators_) >= 0.99 * floor


def test_images():
    X = load_digits().data
    model = small(
        4, structure="poon-domingos", image_shape=(8, 8), delta=2, leaf={"categorical": slice(None)}
    ).fit(X.astype(np.uint8))
    n_partitions = 4 * sum(len(r.partitions) for r in poon_domingos((8, 8), 2).regions)
    assert sum(len(r.partitions) for r in model.region_graph_.regions) == n_partitions
    draws = model.sample(5, random_state=0)
    assert ((draws == draws.round()) & (draws >= 0) & (draws <= 16)).all()


# --- bad input


class NoLabels(BaseEstimator):
    def fit_predict(self, X):
        return None


class FewLabels(BaseEstimator):
    def fit_predict(self, X):
        return np.zeros(3, dtype=int)


@pytest.mark.parametrize(
    ("parameters", "error", "message"),
    [
        ({"n_components": 151}, ValueError, "n_samples=150 should be >= n_components=151"),
        ({"n_components": 0}, ValueError, "n_components"),
        ({"refine_iter": -1}, ValueError, "refine_iter"),
        ({"kmeans": StandardScaler()}, TypeError, "kmeans must be a clusterer"),
        ({"kmeans": KMeans}, TypeError, "kmeans must be a clusterer"),
        ({"kmeans": "k-means"}, TypeError, "kmeans must be a clusterer"),
        ({"kmeans": NoLabels()}, ValueError, "must return an integer label for each row"),
        ({"kmeans": FewLabels()}, ValueError, "must return an integer label for each row"),
        ({"structure": "poon-domingos", "delta": 2}, ValueError, "needs the parameter image_shape"),
        (
            {"structure": "poon-domingos", "image_shape": (2, 2)},
            ValueError,
            "needs the parameter delta",
        ),
        (
            {"structure": "poon-domingos", "image_shape": (2, 2), "delta": 1},
            ValueError,
            "does not split",
        ),
        (
            {"structure": "poon-domingos", "image_shape": (2, 3), "delta": 2},
            ValueError,
            "has 6 features, but X has 4",
        ),
        ({"variance_bounds": (1e-2, 1e-6)}, ValueError, "variance_bounds"),
        ({"leaf": "poisson", "variance_bounds": (1e-6, 1e-2)}, ValueError, "variance_bounds"),
    ],
)
def test_bad_parameters_leave_the_model_as_it_was(parameters, error, message):
    model = small().fit(IRIS)
    before = model.score_samples(IRIS)
    old = {name: getattr(model, name) for name in parameters}
    with pytest.raises(error, match=message):
        model.set_params(**parameters).fit(IRIS.round())
    np.testing.assert_array_equal(model.set_params(**old).score_samples(IRIS), before)


def test_tells_of_components_that_did_not_converge():
    with pytest.warns(ConvergenceWarning, match="In 3 of 3 components") as record:
        small(max_iter=1, tol=0).fit(IRIS)
    assert record[0].filename == __file__
