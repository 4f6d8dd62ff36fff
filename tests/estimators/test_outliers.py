"""Outlier labels and probabilities, and learning from data with outliers in it."""

import pickle

import numpy as np
import pandas as pd
import pytest
from scipy.stats import norm
from sklearn.base import clone
from sklearn.datasets import load_iris, make_blobs

from sklearn_einet import EinetDensity, EinetMixture, EinetOutlierDetector
from sklearn_einet.families import Normal
from sklearn_einet.model.table_density import TableDensity

pytestmark = [
    pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning"),
    pytest.mark.filterwarnings("ignore:depth=:UserWarning"),
]
IRIS = load_iris().data
FAST = {"K": 3, "max_iter": 5, "random_state": 0}


def with_outliers(n=300, share=0.1, seed=0):
    """Rows of two columns, the last of them a tight group far from all others."""
    rng = np.random.RandomState(seed)
    n_outliers = int(n * share)
    usual = rng.randn(n - n_outliers, 2) * [1, 2] + [0, 5]
    return np.vstack([usual, rng.randn(n_outliers, 2) * 0.05 + [4, -3]])


# --- labels and probabilities


@pytest.mark.parametrize("contamination", ["auto", 0.02, 0.1, 0.5])
@pytest.mark.parametrize(
    "estimator",
    [
        EinetDensity(**FAST),
        EinetDensity(solver="em", **FAST),
        EinetMixture(2, **FAST),
        EinetOutlierDetector(replicas=2, **FAST),
        EinetDensity(leaf="poisson", **FAST),
    ],
)
def test_labels_scores_and_probabilities_agree(estimator, contamination):
    X = np.round(IRIS * 3)
    model = clone(estimator).set_params(contamination=contamination).fit(X)
    rng = np.random.RandomState(0)
    rows = np.vstack(
        [X, X + rng.randint(-9, 9, X.shape), 1e6 * X, np.full((1, 4), np.nan), X[:1] + 0.5]
    )
    rows[200:250, 1] = np.nan
    decision, label = model.decision_function(rows), model.predict(rows)
    probability = model.predict_proba(rows)
    np.testing.assert_array_equal(label == 1, decision >= 0)
    np.testing.assert_array_equal(label == 1, probability[:, 1] >= 0.5)
    np.testing.assert_array_equal(model.classes_[probability.argmax(axis=1)][label == -1], -1)
    np.testing.assert_allclose(probability.sum(axis=1), 1)
    order = np.argsort(decision, kind="stable")
    assert (np.diff(probability[order, 1]) >= -1e-12).all()
    assert (np.diff(model.p_values(rows)[order]) >= -1e-12).all()
    if contamination != "auto":
        # No other cut between different densities is nearer.
        _, first = np.unique(decision[: len(X)].round(9), return_index=True)
        shares = np.array([(decision[: len(X)] < decision[i] - 1e-9).mean() for i in first])
        found = (label[: len(X)] == -1).mean()
        assert abs(found - contamination) <= np.abs(shares - contamination).min() + 1e-12
    assert set(label[: len(X)]) == {-1, 1}


def test_a_row_at_the_threshold_and_a_usual_one(monkeypatch):
    model = EinetDensity(**FAST).fit(IRIS)
    usual = model._score_distribution
    for p, score in ((0.1, model.offset_), (0.5, usual.quantile(0.5))):
        monkeypatch.setattr(
            TableDensity, "comparable_scores", lambda *_, score=score: np.array([score])
        )
        assert model.p_values(IRIS[:1])[0] == pytest.approx(p)
        assert model.predict_proba(IRIS[:1])[0, 1] == pytest.approx(0.5 if p == 0.1 else 0.9)


@pytest.mark.parametrize("share", [0.02, 0.1, 0.3])
def test_contamination_is_the_share_of_training_rows(share):
    model = EinetDensity(contamination=share, **FAST).fit(with_outliers())
    assert (model.predict(with_outliers()) == -1).sum() == 300 * share


@pytest.mark.parametrize("kind", [EinetDensity, EinetMixture, EinetOutlierDetector])
@pytest.mark.parametrize(("share", "expected"), [(0.01, 5), (0.11, 5), (0.2, 13), (0.5, 13)])
def test_contamination_with_ties(kind, share, expected):
    """Rows of three kinds, the rarer the less likely: the labels are those of the nearest cut."""
    X = np.repeat([[1.0], [-1.0], [0.0]], [37, 8, 5], axis=0)
    model = kind(leaf={"categorical": [0]}, contamination=share, **FAST)
    if kind is EinetMixture:
        model.set_params(n_components=1)
    labels = model.fit(X + 1).predict(X + 1)
    assert (labels == -1).sum() == expected
    assert (labels[:37] == 1).all()


@pytest.mark.parametrize("kind", [EinetDensity, EinetMixture, EinetOutlierDetector])
def test_auto_labels_a_tenth_of_new_rows(kind):
    X, _ = make_blobs(6000, 3, centers=4, random_state=0)
    model = kind(K=8, max_iter=10, random_state=0).fit(X[:3000])
    assert (model.predict(X[3000:]) == -1).mean() == pytest.approx(0.1, abs=0.04)
    assert (model.p_values(X[3000:]) < 0.5).mean() == pytest.approx(0.5, abs=0.06)


def test_p_values_come_from_rows_that_were_held_out():
    X = np.random.RandomState(0).randn(60, 8)
    over_fit = {"K": 16, "max_iter": 100, "min_variance": 1e-4, "random_state": 0}
    model = EinetDensity(n_iter_no_change=100, **over_fit).fit(X)
    held_out = model._score_distribution.scores
    assert len(held_out) == 6
    assert np.isin(held_out.round(6), model.score_samples(X).round(6)).all()
    in_sample = EinetDensity(early_stopping=False, **over_fit).fit(X)
    assert len(in_sample._score_distribution.scores) == 60


def test_weights_count_in_the_threshold():
    X, weight = with_outliers(), np.ones(300)
    weight[270:] = 3
    model = EinetDensity(solver="em", contamination=0.25, **FAST).fit(X, sample_weight=weight)
    repeated = EinetDensity(solver="em", contamination=0.25, **FAST)
    repeated.fit(np.repeat(X, weight.astype(int), axis=0))
    assert model.offset_ == pytest.approx(repeated.offset_)


# --- trimming


def test_a_group_of_outliers_is_not_learned():
    X = with_outliers()
    plain = EinetDensity(K=8, max_iter=30, random_state=0).fit(X).score_samples(X)
    trimmed = EinetDensity(K=8, max_iter=30, trim=0.15, random_state=0).fit(X).score_samples(X)
    assert plain[270:].mean() > plain[:270].mean()
    assert trimmed[270:].max() < np.quantile(trimmed[:270], 0.05)


@pytest.mark.parametrize("structure", ["chow-liu", "binary-trees"])
@pytest.mark.parametrize("layer", ["cp", "tucker"])
def test_far_rows_have_the_density_of_the_tail(structure, layer):
    plain = {"numeric_transform": None, "atoms": None, "trim": 0.2}
    model = EinetDensity(structure=structure, layer=layer, **plain, **FAST).fit(IRIS)
    (group,) = model.circuit_.leaf_groups
    mean, square = group.reference[:, :, 0].T.numpy()
    schema = model.table_density_.schema
    mean, scale = schema.decode(mean[None])[0], schema.scale * np.sqrt(square - mean**2)
    rows = mean + scale * np.array([[40.0, -30, 50, 20], [-60, 0, 60, 60]])
    expected = np.log(0.2) + norm(mean, 3 * scale).logpdf(rows).sum(axis=1)
    np.testing.assert_allclose(model.score_samples(rows), expected, rtol=1e-6)


def test_trimmed_probabilities_add_up_to_one():
    X = (np.random.RandomState(0).rand(100, 3) < 0.3).astype(float)
    model = EinetDensity(trim=0.1, **FAST).fit(X)
    every = np.array(np.meshgrid(*[[0, 1]] * 3)).reshape(3, -1).T
    assert np.exp(model.score_samples(every)).sum() == pytest.approx(1, abs=1e-6)
    gaps = np.array([[1, np.nan, 0.0]])
    both = [[1, 0, 0], [1, 1, 0]]
    expected = np.exp(model.score_samples(both)).sum()
    assert np.exp(model.score_samples(gaps))[0] == pytest.approx(expected, abs=1e-9)
    np.testing.assert_allclose(
        model.marginal([0, 2]).score_samples([[1.0, 0.0]]), model.score_samples(gaps), atol=1e-9
    )


TABLES = {
    "one column": IRIS[:, :1],
    "a constant column": np.column_stack([IRIS, np.ones(150)]),
    "three rows": IRIS[:3],
    "one row": IRIS[:1],
    "rows without values": np.vstack([IRIS, np.full((3, 4), np.nan)]),
    "equal rows": np.repeat(IRIS[:2], 20, axis=0),
    "texts": pd.DataFrame(IRIS, columns=list("abcd")).assign(e=["x", "y", None] * 50),
}


@pytest.mark.parametrize("case", TABLES)
@pytest.mark.parametrize("solver", ["sem", "em", "adam"])
def test_unusual_tables_are_trimmed(case, solver):
    X = TABLES[case]
    model = EinetDensity(trim=0.3, solver=solver, **FAST).fit(X)
    assert np.isfinite(model.score_samples(X)).all()
    assert model.sample(3, random_state=0).shape == (3, X.shape[1])


def test_a_column_that_only_trimmed_rows_have():
    X = np.column_stack([with_outliers(), np.full(300, np.nan)])
    X[290:, 2] = np.arange(10)
    model = EinetDensity(trim=0.2, **FAST).fit(X)
    assert np.isfinite(model.score_samples(X)).all()


def test_trimmed_models_go_on_learning():
    X = with_outliers()
    model = EinetDensity(trim=0.15, warm_start=True, **FAST).fit(X)
    usual = X[:255]
    graph, first = model.region_graph_, model.score(usual)
    model.fit(X)
    assert model.region_graph_ is graph
    assert model.score(usual) > first
    model.partial_fit(X)
    assert model.region_graph_ is graph


def of_trim(model, trim):
    """A copy of a fitted model with other trimming."""
    return pickle.loads(pickle.dumps(model)).set_params(trim=trim)


def least_typical(model, X, share):
    """Which rows have the lowest scores."""
    scores = model.decision_function(X)
    return scores < np.sort(scores)[int(share * len(X))]


@pytest.mark.parametrize(
    "model",
    [
        EinetOutlierDetector(**FAST),
        EinetOutlierDetector(**FAST, trim=0.2),
        EinetDensity(**FAST, trim=0.2),
    ],
    ids=str,
)
@pytest.mark.parametrize("warm", [False, True])
def test_later_fits_leave_out_the_rows_that_a_model_finds_least_typical(model, warm):
    first = clone(model).set_params(warm_start=warm, early_stopping=False, bandwidth=0.2)
    first.fit(with_outliers(500))
    later = with_outliers(400, seed=1)
    later[::7, 1] = np.nan
    out = least_typical(first, later, 0.2 if first.trim == 0.2 else 0.1)
    assert out.sum() == (80 if first.trim == 0.2 else 40)
    # So small a share leaves out no row, but the other settings are those of trimming.
    found, expected = of_trim(first, first.trim), of_trim(first, 1e-9)
    for each, rows in ((found, later), (expected, later[~out])):
        (each.fit if warm else each.partial_fit)(rows)
    np.testing.assert_allclose(found.score_samples(later), expected.score_samples(later))


def test_outliers_of_later_rows_are_not_learned():
    first = EinetOutlierDetector(**FAST).fit(with_outliers(500, share=0.08))
    trimmed, untrimmed = of_trim(first, "auto"), of_trim(first, 1e-9)
    for seed in range(1, 6):
        for each in (trimmed, untrimmed):
            each.partial_fit(with_outliers(500, share=0.08, seed=seed))
    test = with_outliers(1000, seed=9)
    usual, odd = test[:-100], test[-100:]
    assert (trimmed.score_samples(odd).max() < trimmed.score_samples(usual)).mean() > 0.95
    margin = [np.median(each.score_samples(odd)) for each in (trimmed, untrimmed)]
    assert margin[0] < margin[1] - 1


def test_a_few_later_rows_are_all_learned():
    first = EinetOutlierDetector(**FAST).fit(with_outliers(500))
    for n_rows in (1, 9):
        rows = with_outliers(20, seed=1)[-n_rows:]
        found, expected = of_trim(first, "auto"), of_trim(first, 1e-9)
        for each in (found, expected):
            each.partial_fit(rows)
        np.testing.assert_array_equal(
            found.score_samples(IRIS[:, :2]), expected.score_samples(IRIS[:, :2])
        )


def test_images_are_trimmed():
    X = np.random.RandomState(0).rand(80, 16)
    how = {"structure": "poon-domingos", "image_shape": (4, 4), "delta": 2}
    model = EinetDensity(trim=0.1, **how, **FAST).fit(X)
    assert np.isfinite(model.score_samples(X)).all()


@pytest.mark.parametrize("share", [-0.1, 0.5, 1, "some"])
def test_bad_trim(share):
    with pytest.raises(ValueError, match="trim"):
        EinetDensity(trim=share).fit(IRIS)


# --- the detector


def test_the_detector_is_a_density_with_other_defaults():
    detector, density = EinetOutlierDetector().get_params(), EinetDensity().get_params()
    assert detector.keys() == density.keys()
    different = {name for name, value in detector.items() if value != density[name]}
    assert different == {
        "bandwidth",
        "covariance_shrinkage",
        "numeric_transform",
        "atoms",
        "min_variance",
        "pseudocount",
        "trim",
        "max_iter",
    }


def test_the_detector_finds_groups_and_single_outliers():
    X = with_outliers()
    detector = EinetOutlierDetector(contamination=0.1, random_state=0).fit(X)
    assert (detector.predict(X[270:]) == -1).mean() > 0.9
    assert detector.predict([[9.0, 5.0], [0.0, 5.0], [np.nan, 30.0]]).tolist() == [-1, 1, -1]
    restored = pickle.loads(pickle.dumps(detector))
    np.testing.assert_array_equal(restored.p_values(X), detector.p_values(X))


# --- ties


def least_variance(model):
    """The least variance of a leaf, in shares of the column's own."""
    (group,) = [g for g in model.circuit_.leaf_groups if isinstance(g.family, Normal)]
    spread = group.family.variance(group.phi) / group.family.variance(group.slot_reference)
    return float(spread[group.present.expand_as(spread)].min())


@pytest.mark.parametrize("solver", ["sem", "em", "adam"])
def test_ties_bound_variances(solver):
    rng = np.random.RandomState(0)
    share = 0.6  # of zeros
    x = np.where(rng.rand(2000) < share, 0.0, rng.exponential(1000, 2000))[:, None]
    model = EinetDensity(
        min_variance=1e-9, solver=solver, atoms=None, **FAST | {"max_iter": 20}
    ).fit(x)
    zeros = (x == 0).sum()
    agree = zeros * (zeros - 1) / (2000 * 1999)
    assert least_variance(model) == pytest.approx(agree**2, rel=0.01)
    # A normal density with this variance is highest at its mean.
    deviation = agree * x.std()
    assert model.score_samples(x).max() <= norm(0, deviation).logpdf(0) + 0.02


@pytest.mark.parametrize(("grid", "expected"), [(0.8, 0.8**2 / 12), (0.5, 0.5**2 / 12), (0.1, 0)])
def test_a_grid_bounds_variances_by_that_of_its_rounding(grid, expected):
    # Of a fine grid, the share of rows that agree is below a tenth: that is left to min_variance.
    x = np.round(np.random.RandomState(0).randn(5000, 1) / grid) * grid
    model = EinetDensity(atoms=None, **FAST).fit(x)
    least = model.circuit_.leaf_groups[0].least_variance.item() * x.var()
    assert least == pytest.approx(expected, rel=0.1)


def test_the_bound_is_kept_by_queries_and_copies():
    x = np.repeat([0.0, 1.0], [150, 50])[:, None] + [[0, 5]]
    model = EinetDensity(min_variance=1e-9, atoms=None, **FAST).fit(x)
    least = model.circuit_.leaf_groups[0].least_variance
    assert (least > 0.3).all()
    for copy in (pickle.loads(pickle.dumps(model)), model.marginal([0])):
        assert copy.circuit_.leaf_groups[0].least_variance[0] == least[0]
    mixture = EinetMixture(2, min_variance=1e-9, atoms=None, **FAST).fit(x)
    assert least_variance(mixture) >= 0.3
