"""The structures "joint-normal" and "auto" in all that an estimator can be asked."""

import pickle

import numpy as np
import pandas as pd
import pytest
import torch
from scipy import stats
from sklearn.base import clone
from sklearn.mixture import GaussianMixture
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from sklearn_einet import EinetDensity, EinetImputer, EinetMixture, EinetOutlierDetector
from sklearn_einet.circuit.transforms.mixture import set_root_terms
from sklearn_einet.families import MultivariateNormal
from tests.helpers.densities import with_gaps

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

STRUCTURES = pytest.mark.parametrize("structure", ["joint-normal", "auto"])


def new(structure, cls=EinetDensity, **parameters):
    fast = {"structure": structure, "K": 2, "max_iter": 2, "random_state": 0}
    return cls(**(fast | parameters))


def numbers(n=52, d=3, share=0.0, seed=0):
    rng = np.random.RandomState(seed)
    X = rng.randn(n, d) @ rng.randn(d, d) + 3 * rng.randint(2, size=(n, 1))
    return with_gaps(X, share, seed)


def frame(n=52, seed=0):
    """Numbers, categories that depend on them, booleans and a constant; with gaps."""
    X = numbers(n, 2, 0.1, seed)
    city = np.where(np.nan_to_num(X[:, 0]) > 1, "Oslo", "Bern").astype(object)
    city[::9] = None
    table = pd.DataFrame({"a": X[:, 0], "b": X[:, 1], "city": pd.Categorical(city)})
    table["member"] = np.random.RandomState(seed).rand(n) < 0.3
    table["same"] = 3.0
    return table


# --- a mixture of normal densities as it is known from elsewhere


@pytest.fixture(scope="module")
def known():
    """A Gaussian mixture, and the same densities in an estimator."""
    X = numbers(200) * [1, 100, 0.01] + [5, -1000, 0]
    mixture = GaussianMixture(3, random_state=0).fit(X)
    model = new("joint-normal", K=3, replicas=1, dtype="float64", atoms=None).fit(X)
    circuit, schema = model.circuit_, model.table_density_.schema
    (group,) = circuit.joint_groups
    assert len(group.normals) == 3
    columns = group.columns.numpy()
    zero, one = (schema.standardize(np.full((1, 3), value))[0] for value in (0.0, 1.0))
    scale = (one - zero)[columns]
    mean = schema.standardize(mixture.means_)[:, columns]
    covariance = mixture.covariances_[:, columns[:, None], columns] * scale * scale[:, None]
    group.normals = MultivariateNormal(torch.as_tensor(mean), torch.as_tensor(covariance))
    set_root_terms(circuit, torch.as_tensor(mixture.weights_).view(-1, 3))
    model.table_density_ = type(model.table_density_)(
        circuit, schema, model.table_density_.encoding
    )
    return mixture, model, X


def test_a_gaussian_mixture_is_a_special_case(known):
    mixture, model, X = known
    np.testing.assert_allclose(model.score_samples(X), mixture.score_samples(X), atol=1e-8)
    mean, variance = model.mean(), model.covariance().diagonal()
    expected = mixture.weights_ @ mixture.means_
    np.testing.assert_allclose(mean, expected, rtol=1e-8)
    deviation = mixture.means_ - expected
    spread = np.einsum("k,ki,kj->ij", mixture.weights_, deviation, deviation)
    spread += np.einsum("k,kij->ij", mixture.weights_, mixture.covariances_)
    np.testing.assert_allclose(model.covariance(), spread, rtol=1e-7)
    np.testing.assert_allclose(variance, spread.diagonal(), rtol=1e-7)


def test_missing_cells_and_conditionals_of_a_gaussian_mixture(known):
    mixture, model, X = known
    rows = with_gaps(X[:20], 0.4)
    rows[0] = np.nan
    found = model.score_samples(rows)
    means, variances = model.table_density_.conditional_moments(rows, codes=False)
    for row, value, mean, variance in zip(rows, found, means, variances, strict=True):
        seen = np.flatnonzero(~np.isnan(row))
        terms, first, second = [], [], []
        for log_weight, m, c in zip(
            np.log(mixture.weights_), mixture.means_, mixture.covariances_, strict=True
        ):
            inner = c[np.ix_(seen, seen)]
            gain = c[:, seen] @ np.linalg.inv(inner)
            first.append(m + gain @ (row[seen] - m[seen]))
            second.append((c - gain @ c[seen]).diagonal())
            terms.append(log_weight)
            if len(seen):
                terms[-1] += stats.multivariate_normal.logpdf(row[seen], m[seen], inner)
        assert value == pytest.approx(np.logaddexp.reduce(terms), abs=1e-8)
        share = np.exp(terms - value)
        np.testing.assert_allclose(mean, share @ first, rtol=1e-8)
        missing, spread = np.isnan(row), share @ (second + (first - share @ first) ** 2)
        np.testing.assert_allclose(variance[missing], spread[missing], rtol=1e-6)
    given = model.conditional_score_samples(X, [0, 2])
    marginal = model.score_samples(np.where([False, True, False], np.nan, X))
    np.testing.assert_allclose(given, mixture.score_samples(X) - marginal, atol=1e-8)


# --- fits


@STRUCTURES
@pytest.mark.parametrize("solver", ["sem", "em"])
def test_fit_of_numbers_with_gaps(structure, solver):
    X = numbers(share=0.2)
    X[3] = np.nan
    model = new(structure, solver=solver).fit(X)
    values = model.score_samples(X)
    assert np.isfinite(values).all()
    assert values[3] == pytest.approx(0, abs=1e-9)
    assert model.n_iter_ == len(model.log_likelihoods_) >= 1
    assert isinstance(model.converged_, bool)
    assert np.isfinite(model.log_likelihoods_).all()
    assert model.n_parameters_ > 0
    assert np.isfinite([model.bic(X), model.aic(X)]).all()
    assert bool(model.circuit_.joint_groups) == ((structure, solver) != ("auto", "em"))
    assert not any(group.frozen for group in model.circuit_.joint_groups)


@STRUCTURES
def test_fit_of_a_mixed_frame_and_its_queries(structure):
    X = frame()
    model = new(structure).fit(X)
    values = model.score_samples(X)
    assert np.isfinite(values).all()
    assert list(model.sample(5).columns) == list(X.columns)
    drawn = pd.DataFrame(model.sample_conditional(X))
    assert np.isfinite(model.p_values(X)).all()
    assert set(model.predict(X)) <= {-1, 1}
    assert not drawn.isna().any(axis=None)
    part = model.marginal(["b", "city"])
    alone = X.assign(a=np.nan, member=pd.array([None] * len(X), dtype="boolean"), same=np.nan)
    np.testing.assert_allclose(
        part.score_samples(X[["b", "city"]]), model.score_samples(alone), atol=1e-9
    )
    scores = np.asarray(model.feature_scores(X), dtype=float)
    first = X.assign(a=np.nan)
    expected = model.score_samples(first) - values
    seen = X["a"].notna().to_numpy()
    np.testing.assert_allclose(scores[seen, 0], expected[seen], atol=1e-8)


@STRUCTURES
@pytest.mark.parametrize("numeric_transform", [None, "quantile-spline"])
def test_answers_agree_with_draws(structure, numeric_transform):
    X = np.exp(0.5 * numbers(80))
    model = new(structure, numeric_transform=numeric_transform).fit(X)
    n = 40_000
    draws = np.asarray(model.sample(n), dtype=float)
    error = draws.std(axis=0) / np.sqrt(n)
    assert (np.abs(draws.mean(axis=0) - model.mean()) < 6 * error).all()
    low, high = np.quantile(X, 0.2, axis=0), np.quantile(X, 0.7, axis=0)
    low[2], high[2] = -np.inf, np.inf
    inside = ((draws > low) & (draws < high)).all(axis=1).mean()
    found = np.exp(model.interval_log_proba(low[None], high[None]))
    assert found == pytest.approx(inside, abs=0.02)
    covariance = model.covariance()
    np.testing.assert_allclose(covariance, covariance.T, rtol=1e-14)
    centered = draws - draws.mean(axis=0)
    for i, j in ((0, 0), (0, 1), (1, 2)):
        products = centered[:, i] * centered[:, j]
        error = products.std() / np.sqrt(n)
        assert products.mean() == pytest.approx(covariance[i, j], abs=8 * error)


@STRUCTURES
@pytest.mark.parametrize("n", [1, 2, 3, 5])
def test_few_rows(structure, n):
    X = numbers(n)
    model = new(structure).fit(X)
    assert np.isfinite(model.score_samples(X)).all()
    assert np.isfinite(model.sample(3)).all()


@STRUCTURES
@pytest.mark.parametrize("K", [1, 2])
@pytest.mark.parametrize("replicas", [1, 2, None])
def test_single_column(structure, K, replicas):
    X = numbers(share=0.1)[:, :1]
    X[0] = 1.0
    model = new(structure, K=K, replicas=replicas).fit(X)
    grid = np.linspace(-60, 60, 20_001)[:, None]
    total = np.exp(model.score_samples(grid)).sum() * (grid[1, 0] - grid[0, 0])
    assert total == pytest.approx(1, abs=1e-3)


@STRUCTURES
def test_equal_and_constant_columns_and_more_columns_than_rows(structure):
    X = numbers()
    twins = np.column_stack([X, X[:, 0], np.full(len(X), 7.0)])
    model = new(structure).fit(twins)
    assert np.isfinite(model.score_samples(twins)).all()
    wide = np.random.RandomState(0).randn(8, 12)
    model = new(structure).fit(wide)
    assert np.isfinite(model.score_samples(wide + 1)).all()
    assert np.isfinite(model.score_samples(with_gaps(wide, 0.5))).all()


@STRUCTURES
def test_units_do_not_matter(structure):
    X = numbers(share=0.1)
    scale = np.array([1e-6, 1e6, 1.0])
    one, other = new(structure).fit(X), new(structure).fit(X * scale)
    shift = (~np.isnan(X) * np.log(scale)).sum(axis=1)
    np.testing.assert_allclose(
        other.score_samples(X * scale) + shift, one.score_samples(X), rtol=1e-8, atol=1e-8
    )


def test_weights_equal_repetitions():
    X = numbers(30)
    repeats = np.random.RandomState(0).randint(0, 3, size=30)
    weighted = new("joint-normal", solver="em").fit(X, sample_weight=repeats)
    repeated = new("joint-normal", solver="em").fit(np.repeat(X, repeats, axis=0))
    np.testing.assert_allclose(
        weighted.score_samples(X), repeated.score_samples(X), rtol=1e-5, atol=1e-5
    )


@STRUCTURES
def test_columns_that_training_rows_have_not_observed(structure):
    """Both rows with numbers may be held out."""
    X = pd.DataFrame({"a": pd.Categorical(["u", "v"] * 30), "x": np.nan, "y": np.nan})
    X.loc[[3, 7], ["x", "y"]] = [[1.0, 2.0], [2.0, 2.5]]
    for seed in range(3):
        model = new(structure, validation_fraction=0.95, random_state=seed).fit(X)
        assert np.isfinite(model.score_samples(X)).all()


# --- going on, copies and tools


@STRUCTURES
@pytest.mark.parametrize("make", [lambda: numbers(share=0.1), frame], ids=["numbers", "frame"])
def test_partial_fit_and_warm_start(structure, make):
    X = make()
    model = new(structure)
    for count in (1, 2):
        model.partial_fit(X)
        assert model.n_iter_ == len(model.log_likelihoods_) == count
    assert np.isfinite(model.score(X))
    model = new(structure, warm_start=True).fit(X)
    before = model.score(X)
    copy = pickle.loads(pickle.dumps(model))
    np.testing.assert_array_equal(copy.score_samples(X), model.score_samples(X))
    model.fit(X)
    assert model.score(X) > before - 0.5
    assert copy.score(X) == before
    copy.partial_fit(X)
    assert np.isfinite(copy.score(X))


@STRUCTURES
def test_going_on_with_another_prior(structure):
    X = numbers()
    model = new(structure, warm_start=True).fit(X)
    before = model.circuit_
    model.set_params(covariance_shrinkage=50.0, covariance_floor=0.01).fit(X)
    for circuit, expected in ((before, (0.5, 1e-5)), (model.circuit_, (50.0, 0.01))):
        (group,) = circuit.joint_groups
        assert (group.prior.rows, group.prior.floor) == expected


@STRUCTURES
def test_tools_of_scikit_learn(structure):
    X = numbers(40)
    assert np.isfinite(make_pipeline(StandardScaler(), new(structure)).fit(X).score(X))
    grid = {"covariance_shrinkage": [0.1, 2.0]}
    search = GridSearchCV(new(structure), grid, cv=2).fit(X)
    assert np.isfinite(search.cv_results_["mean_test_score"]).all()
    model = new(structure, covariance_floor=1e-3)
    assert clone(model).get_params() == model.get_params()


@STRUCTURES
@pytest.mark.parametrize("strategy", ["mean", "mpe", "sample"])
def test_imputers(structure, strategy):
    for X in (numbers(share=0.2), frame()):
        imputer = EinetImputer(new(structure), strategy=strategy, random_state=0)
        filled = pd.DataFrame(imputer.fit_transform(X))
        assert not filled.isna().any(axis=None)


@STRUCTURES
@pytest.mark.parametrize("refine_iter", [0, 2])
def test_mixtures(structure, refine_iter):
    for X in (numbers(), frame()):
        model = new(structure, EinetMixture, n_components=2, refine_iter=refine_iter).fit(X)
        assert np.isfinite(model.score_samples(X)).all()
        assert model.predict_proba(X).shape[0] == len(X)


@STRUCTURES
def test_outlier_detectors(structure):
    X = numbers(share=0.05)
    X[:5] = 40 + np.random.RandomState(0).randn(5, 3)
    detector = new(structure, EinetOutlierDetector, trim=0.15).fit(X)
    scores = detector.score_samples(X)
    assert scores[:5].max() < np.median(scores[5:])
    table = frame()
    assert set(new(structure, EinetOutlierDetector, trim=0.15).fit(table).predict(table)) <= {-1, 1}


@STRUCTURES
def test_memory_maps(structure, tmp_path):
    X = numbers(200)
    np.save(tmp_path / "table.npy", X)
    mapped = np.load(tmp_path / "table.npy", mmap_mode="r")
    one, other = new(structure).fit(X), new(structure).fit(mapped)
    np.testing.assert_allclose(
        other.score_samples(mapped), one.score_samples(X), rtol=1e-6, atol=1e-6
    )


# --- errors


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"solver": "adam"}, "solver='adam'"),
        ({"solver": "sgd"}, "solver='sgd'"),
        ({"layer": "tucker"}, "layer='tucker'"),
        ({"variance_bounds": (1e-3, 10)}, "variance_bounds"),
        ({"leaf": "gamma"}, "leaf family"),
        ({"covariance_shrinkage": 0.0}, "covariance_shrinkage"),
        ({"covariance_floor": 1.0}, "covariance_floor"),
    ],
    ids=str,
)
def test_named_errors(parameters, message):
    X = np.abs(numbers()) + 0.1
    with pytest.raises(ValueError, match=message):
        new("joint-normal", **parameters).fit(X)


def test_tables_without_numbers():
    X = frame()[["city", "member"]]
    with pytest.raises(ValueError, match="columns of numbers"):
        new("joint-normal").fit(X)
    assert np.isfinite(new("auto").fit(X).score(X))


@pytest.mark.parametrize(
    "parameters",
    [{"solver": "adam"}, {"layer": "tucker"}, {"variance_bounds": (1e-3, 10)}],
    ids=str,
)
def test_auto_without_a_joint_part(parameters):
    X = numbers()
    model = new("auto", **parameters).fit(X)
    assert not model.circuit_.joint_groups
    assert np.isfinite(model.score(X))
