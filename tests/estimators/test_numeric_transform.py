"""Models with maps of columns in front of their leaves: everything stays exact."""

import itertools
import pickle

import numpy as np
import pandas as pd
import pytest
import torch
from scipy.integrate import quad
from scipy.stats import ks_2samp
from sklearn.base import clone

from sklearn_einet import EinetDensity, EinetImputer, EinetMixture, EinetOutlierDetector
from sklearn_einet.families import Normal, SymlogNormal
from sklearn_einet.inspection import ConditionalDensityDisplay
from sklearn_einet.tables.column_maps import QuantileSpline, YeoJohnson

pytestmark = [
    pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning"),
    pytest.mark.filterwarnings("ignore:Columns have values so far:UserWarning"),
]

N_ROWS = 500
KINDS = ["yeo-johnson", "quantile-spline"]


def rows(n=N_ROWS, seed=0):
    """Columns that depend on each other: skewed amounts, a normal one, two bumps."""
    rng = np.random.default_rng(seed)
    hidden = rng.normal(size=n)
    return np.column_stack(
        [
            np.exp(0.8 * hidden + 0.3 * rng.normal(size=n)),
            hidden + rng.normal(size=n),
            np.sign(hidden) * 3 + rng.normal(size=n),
            -np.exp(0.5 * rng.normal(size=n) - 0.5 * hidden),
        ]
    )


def small(kind=EinetDensity, **parameters):
    fast = {"K": 4, "max_iter": 5, "batch_size": 100, "random_state": 0}
    if kind is EinetMixture:
        fast["n_components"] = 2
    # Without bounds, which are maps themselves and do not shift with the values.
    trees = {"structure": "chow-liu", "numeric_transform": "auto", "atoms": None}
    return kind(**(fast | trees | parameters))


@pytest.fixture(scope="module")
def X():
    return rows()


@pytest.fixture(scope="module", params=["auto", *KINDS])
def model(request, X):
    return small(numeric_transform=request.param).fit(X)


def maps(model):
    return model.table_density_.schema.maps


def in_z(model, X):
    schema = model.table_density_.schema
    return (X - schema.location) / schema.scale


def test_kinds_of_maps(X):
    chosen = maps(small().fit(X))
    assert 0 in chosen
    assert 1 not in chosen
    assert type(chosen[2]) is QuantileSpline
    for kind, wanted in zip(KINDS, (YeoJohnson, QuantileSpline), strict=True):
        found = maps(small(numeric_transform=kind).fit(X))
        assert sorted(found) == [0, 1, 2, 3]
        assert {type(each) for each in found.values()} == {wanted}
    assert maps(small(numeric_transform=None).fit(X)) == {}
    found = maps(small(numeric_transform={"yeo-johnson": [0], "auto": slice(1, 4)}).fit(X))
    assert type(found[0]) is YeoJohnson
    assert type(found[2]) is QuantileSpline
    frame = pd.DataFrame(X, columns=list("abcd"))
    assert list(maps(small(numeric_transform={"yeo-johnson": ["b"]}).fit(frame))) == [1]
    mask = np.array([True, False, False, True])
    assert list(maps(small(numeric_transform={"quantile-spline": mask}).fit(frame))) == [0, 3]


# --- densities


def test_log_densities_by_hand(model, X):
    gaps = X.copy()
    gaps[np.random.default_rng(0).random(X.shape) < 0.3] = np.nan
    for table in (X, gaps):
        z = in_z(model, table)
        y, slopes = z.copy(), np.zeros(z.shape)
        for column, column_map in maps(model).items():
            y[:, column] = column_map.forward(z[:, column])
            slopes[:, column] = column_map.log_slope(z[:, column])
        slopes -= np.log(model.table_density_.schema.scale)
        expected = model.table_density_.exact_circuit.log_prob(torch.from_numpy(y)).numpy()
        expected = expected + np.where(np.isnan(table), 0, slopes).sum(1)
        np.testing.assert_allclose(model.score_samples(table), expected, rtol=1e-9)


def one_column(model, column):
    """Return the density of a column, and where it has its mass."""
    part = model.marginal([column])
    draws = part.sample(5000, random_state=0)[:, 0]
    low, high = draws.min() - 3 * draws.std(), draws.max() + 3 * draws.std()
    grid = np.linspace(low, high, 400_001)
    return grid, np.exp(part.score_samples(grid[:, None])), part


@pytest.mark.parametrize("column", range(4))
def test_densities_of_single_columns(model, X, column):
    grid, density, part = one_column(model, column)
    step = grid[1] - grid[0]
    assert density.sum() * step == pytest.approx(1, abs=1e-3)
    mean = (grid * density).sum() * step
    assert model.mean()[column] == pytest.approx(mean, abs=0.01)
    variance = ((grid - mean) ** 2 * density).sum() * step
    assert model.variance()[column] == pytest.approx(variance, rel=0.05)
    low, high = np.quantile(X[:, column], [0.1, 0.6])
    inside = (grid > low) & (grid < high)
    box = part.interval_log_proba({0: low}, {0: high})
    assert np.exp(box) == pytest.approx(density[inside].sum() * step, abs=1e-3)


def test_boxes_of_several_columns(model):
    draws = model.sample(40_000, random_state=0)
    low, high = np.quantile(draws, 0.2, axis=0), np.quantile(draws, 0.9, axis=0)
    inside = ((draws > low) & (draws < high)).all(1).mean()
    box = model.interval_log_proba(dict(enumerate(low)), dict(enumerate(high)))
    assert np.exp(box[0]) == pytest.approx(inside, abs=0.01)
    assert model.interval_log_proba({0: -np.inf}, {0: np.inf})[0] == pytest.approx(0, abs=1e-9)


def test_draws_look_like_the_rows(X):
    model = small(K=8, max_iter=50).fit(X)
    draws = model.sample(20_000, random_state=0)
    for drawn, seen in zip(draws.T, X.T, strict=True):
        assert ks_2samp(drawn, seen).statistic < 0.06


# --- conditionals


def test_conditional_moments_by_quadrature(model, X):
    gaps = X[:6].copy()
    gaps[[0, 1, 2, 3], [0, 1, 2, 3]] = np.nan
    mean, variance = model.mean(gaps), model.variance(gaps)
    for row in range(4):
        values = _wide_grid(X[:, row])
        table = np.repeat(gaps[[row]], len(values), axis=0)
        table[:, row] = values
        density = np.exp(model.score_samples(table) - model.score_samples(gaps[[row]]))
        step = values[1] - values[0]
        assert density.sum() * step == pytest.approx(1, abs=1e-3)
        expected = density @ values * step
        assert mean[row, row] == pytest.approx(expected, abs=0.01 * X[:, row].std())
        spread = density @ (values - expected) ** 2 * step
        assert variance[row, row] == pytest.approx(spread, rel=0.05)
    seen = ~np.isnan(gaps)
    np.testing.assert_array_equal(mean[seen], gaps[seen])
    np.testing.assert_array_equal(variance[seen], 0)


def _wide_grid(x):
    width = x.max() - x.min()
    return np.linspace(x.min() - 2 * width, x.max() + 4 * width, 200_001)


def test_moments_by_draws(model):
    draws = model.sample(200_000, random_state=1)
    np.testing.assert_allclose(model.mean(), draws.mean(0), atol=0.02 * draws.std(0).max())
    np.testing.assert_allclose(model.variance(), draws.var(0), rtol=0.1)
    covariance = model.covariance()
    scale = np.sqrt(np.diag(covariance))
    np.testing.assert_allclose(covariance / scale / scale[:, None], np.corrcoef(draws.T), atol=0.02)
    np.testing.assert_allclose(np.diag(covariance), model.variance(), rtol=1e-9)


def test_conditional_draws_and_imputation(model, X):
    gaps = X[:3].copy()
    gaps[:, [0, 2]] = np.nan
    draws = model.sample_conditional(gaps, 4000, random_state=0)
    np.testing.assert_array_equal(draws[:, :, [1, 3]], np.broadcast_to(X[:3, [1, 3]], (4000, 3, 2)))
    mean, deviation = model.mean(gaps), np.sqrt(model.variance(gaps))
    error = (draws.mean(0) - mean)[:, [0, 2]] / deviation[:, [0, 2]]
    assert np.abs(error).max() < 0.12
    for strategy in ("mean", "mpe", "sample"):
        filled = model.impute(gaps, strategy, random_state=0)
        assert np.isfinite(filled).all()
    np.testing.assert_allclose(model.impute(gaps, "mean"), mean)


def test_scores_of_cells(model, X):
    without = X[:5].copy()
    without[:, 0] = np.nan
    expected = model.score_samples(without) - model.score_samples(X[:5])
    np.testing.assert_allclose(model.feature_scores(X[:5])[:, 0], expected, rtol=1e-6)
    alone = -model.marginal([2]).score_samples(X[:5, [2]])
    scores = model.feature_scores(X[:5], method="marginal")[:, 2]
    np.testing.assert_allclose(scores, alone, rtol=1e-6)
    given = model.conditional_score_samples(X[:5], given=[1, 2, 3])
    np.testing.assert_allclose(given, -expected, rtol=1e-6)


def test_marginals_keep_their_maps(model, X):
    part = model.marginal([3, 1])
    without = X.copy()
    without[:, [0, 2]] = np.nan
    np.testing.assert_allclose(
        part.score_samples(X[:, [3, 1]]), model.score_samples(without), rtol=1e-9
    )
    whole = small(numeric_transform={"yeo-johnson": [0, 3], "quantile-spline": [2]}).fit(X)
    part = whole.marginal([3, 1])
    assert part.numeric_transform == {"yeo-johnson": [0]}
    assert clone(part).fit(X[:, [3, 1]]).n_features_in_ == 2
    assert whole.marginal([1]).numeric_transform is None


# --- units


@pytest.mark.parametrize("kind", [EinetDensity, EinetMixture, EinetOutlierDetector])
@pytest.mark.parametrize("transform", ["auto", *KINDS])
def test_units_do_not_matter(kind, transform, X):
    gaps = X.copy()
    gaps[np.random.default_rng(1).random(X.shape) < 0.1] = np.nan
    unit, shift = np.array([1e-6, 1.0, 1e6, 256.0]), np.array([0, 1e3, -1e7, 0.0])
    first = small(kind, numeric_transform=transform).fit(gaps)
    second = small(kind, numeric_transform=transform).fit(gaps * unit + shift)
    assert {c: type(m) for c, m in maps(first).items()} == {
        c: type(m) for c, m in maps(second).items()
    }
    other = rows(100, seed=1)
    jacobian = np.log(unit).sum()
    np.testing.assert_allclose(
        first.score_samples(other), second.score_samples(other * unit + shift) + jacobian, atol=1e-3
    )
    np.testing.assert_array_equal(first.predict(other), second.predict(other * unit + shift))
    np.testing.assert_allclose(first.mean() * unit + shift, second.mean(), rtol=1e-3)
    np.testing.assert_allclose(first.variance() * unit**2, second.variance(), rtol=1e-2)


# --- tables that are hard


@pytest.mark.parametrize("transform", ["auto", *KINDS])
def test_hard_columns(transform):
    rng = np.random.default_rng(0)
    n = 300
    X = np.column_stack(
        [
            rng.lognormal(0, 3, n),
            rng.standard_cauchy(n),
            rng.normal(size=n).round(),
            rng.choice([2.0, 5.0], n),
            np.full(n, 7.0),
            np.where(rng.random(n) < 0.7, 0, rng.exponential(size=n)),
            rng.integers(0, 2, n) * 1e-300,
            np.r_[np.full(n - 3, np.nan), 1.0, 2.0, 3.0],
        ]
    )
    model = small(numeric_transform=transform).fit(X)
    assert 4 not in maps(model)  # it is constant
    families = {
        int(c): group.family
        for group in model.table_density_.schema.leaf_columns
        for c in group.columns
    }
    # Values are far out on the axis of the column, but not on the mapped one.
    assert (transform == "quantile-spline") or (0 in maps(model))
    for column in (0, 1):
        assert isinstance(families[column], SymlogNormal) == (column not in maps(model))
    assert np.isfinite(model.score_samples(X)).all()
    draws = model.sample(500, random_state=0)
    assert np.isfinite(draws).all()
    assert np.isfinite(model.mean()).all()
    assert np.isfinite(model.impute(X)).all()
    far = np.full((2, 8), 1e200)
    far[1] *= -1
    assert not np.isnan(model.score_samples(far)).any()


@pytest.mark.parametrize("transform", ["auto", *KINDS])
def test_single_columns_and_rows(transform):
    X = rows()[:, :1]
    model = small(numeric_transform=transform).fit(X)
    assert model.covariance()[0, 0] == pytest.approx(model.variance()[0])
    assert model.mean()[0] == pytest.approx(X.mean(), rel=0.1)
    for table in (X[:1], X[:2], X[:5], rows(3)):
        few = small(numeric_transform=transform).fit(table)
        assert np.isfinite(few.score_samples(table)).all()
        assert np.isfinite(few.sample(5)).all()


def test_a_density_by_quad(X):
    model = small(numeric_transform="quantile-spline", max_iter=20).fit(X[:, [0]])
    ends = np.quantile(X[:, 0], np.linspace(0, 1, 30))
    ends[0], ends[-1] = ends[0] - 5, ends[-1] + 60
    total = sum(
        quad(lambda x: np.exp(model.score_samples([[x]])[0]), *piece, limit=200)[0]
        for piece in itertools.pairwise(ends)
    )
    assert total == pytest.approx(1, abs=1e-4)


def test_skewed_tables_become_more_likely():
    """One density of each column, as in a leaf of many columns, is what maps are for."""
    train, test = rows(2000, seed=2)[:, [0, 3]], rows(2000, seed=3)[:, [0, 3]]
    mean = {
        transform: small(K=1, max_iter=30, numeric_transform=transform).fit(train).score(test)
        for transform in (None, "auto")
    }
    assert mean["auto"] > mean[None] + 0.3


# --- continuation, copies, other estimators


def test_maps_are_those_of_the_first_fit(X):
    model = small(warm_start=True).fit(X)
    before = dict(maps(model))
    model.set_params(numeric_transform=None).fit(rows(seed=5) * 2)
    assert maps(model) == before
    model = small().partial_fit(X)
    before = dict(maps(model))
    assert before
    assert maps(model.partial_fit(rows(seed=5))) == before


def test_pickles(model, X):
    again = pickle.loads(pickle.dumps(model))
    np.testing.assert_array_equal(again.score_samples(X), model.score_samples(X))
    assert maps(again) == maps(model)


def test_components_and_imputers(X):
    mixture = small(EinetMixture).fit(X)
    assert all(maps(each) == maps(mixture) for each in mixture.estimators_)
    assert maps(mixture)
    shares = mixture.responsibilities(X)
    np.testing.assert_allclose(shares.sum(1), 1)
    parts = np.column_stack([each.score_samples(X) for each in mixture.estimators_])
    joint = np.logaddexp.reduce(parts + np.log(mixture.weights_), axis=1)
    np.testing.assert_allclose(mixture.score_samples(X), joint, rtol=1e-6)
    gaps = X.copy()
    gaps[::3, 0] = np.nan
    filled = EinetImputer(small()).fit_transform(gaps)
    assert (filled[::3, 0] > 0).mean() > 0.9


def test_memory_maps(X, tmp_path):
    np.save(tmp_path / "X.npy", X)
    stored = np.load(tmp_path / "X.npy", mmap_mode="r")
    first, second = small().fit(X), small().fit(stored)
    assert maps(first) == maps(second)
    np.testing.assert_allclose(first.score_samples(X), second.score_samples(stored))


def test_conditional_density_display(model, X):
    pytest.importorskip("matplotlib").use("agg")
    display = ConditionalDensityDisplay.from_estimator(model, X[:1], 0)
    width = display.grid[1] - display.grid[0]
    assert display.marginal.sum() * width == pytest.approx(1, abs=0.1)


# --- what is asked for


def test_requests_that_cannot_be_met(X):
    frame = pd.DataFrame(X, columns=list("abcd")).assign(word="x")
    cases = [
        ({"numeric_transform": "log"}, "The 'numeric_transform' parameter of EinetDensity"),
        ({"numeric_transform": {"log": ["a"]}}, "numeric_transform=.*: 'log' is not one of"),
        ({"numeric_transform": {"auto": ["e"]}}, "numeric_transform names the column 'e'"),
        ({"numeric_transform": {"yeo-johnson": ["word"]}}, "Column 'word' has no normal leaves"),
        (
            {"numeric_transform": {"yeo-johnson": ["a"]}, "leaf": {"log-normal": ["a"]}},
            "Column 'a' has no normal leaves, so that numeric_transform=.* cannot map it",
        ),
        (
            {"numeric_transform": {"yeo-johnson": ["a"], "auto": ["a"]}},
            "Column 'a' appears more than once in numeric_transform",
        ),
        (
            {"numeric_transform": "yeo-johnson", "variance_bounds": (0.1, 1.0)},
            "numeric_transform='yeo-johnson' cannot be combined with variance_bounds",
        ),
        (
            {"numeric_transform": {"yeo-johnson": [0]}, "leaf": {Normal((0.1, 2)): [0]}},
            "Column 'a' has no normal leaves",
        ),
    ]
    for parameters, message in cases:
        with pytest.raises(ValueError, match=message):
            small(**parameters).fit(frame)


def test_requests_that_ask_for_nothing(X):
    frame = pd.DataFrame(X, columns=list("abcd")).assign(word=["x", "y"] * (N_ROWS // 2))
    assert sorted(maps(small(numeric_transform="yeo-johnson").fit(frame))) == [0, 1, 2, 3]
    assert maps(small(variance_bounds=(0.1, 10.0)).fit(frame)) == {}
    assert maps(small(numeric_transform={"auto": ["word"]}).fit(frame)) == {}
    without = small(numeric_transform=None).fit(frame)
    empty = small(numeric_transform={}).fit(frame)
    np.testing.assert_array_equal(without.score_samples(frame), empty.score_samples(frame))


def test_densities_on_the_axes_of_the_maps(model, X):
    """What trimming compares rows by: no slopes of maps."""
    density = model.table_density_
    encoded = torch.from_numpy(density.schema.encode(X))
    expected = density.exact_circuit.log_prob(encoded).numpy() - np.log(density.schema.scale).sum()
    by_axis = type(density)(density.circuit, density.schema.on_axes(), density.encoding)
    np.testing.assert_allclose(by_axis.log_density(X), expected, rtol=1e-9)
    np.testing.assert_allclose(density.schema.decode(encoded.numpy()), X, rtol=1e-9, atol=1e-9)


def test_training_log_likelihoods_are_per_unit_of_the_columns(X):
    model = small(solver="em", max_iter=3, early_stopping=False).fit(X)
    again = clone(model).set_params(max_iter=4).fit(X)
    assert again.log_likelihoods_[-1] == pytest.approx(model.score(X), rel=1e-9)


@pytest.mark.parametrize("transform", ["auto", *KINDS])
def test_weights_are_repetitions_in_full_em(transform, X):
    weight = np.random.default_rng(0).integers(0, 3, len(X))
    em = {"solver": "em", "max_iter": 3, "numeric_transform": transform}
    weighted = small(**em).fit(X, sample_weight=weight)
    repeated = small(**em).fit(np.repeat(X, weight, axis=0))
    np.testing.assert_allclose(weighted.score_samples(X), repeated.score_samples(X), rtol=1e-5)


def test_draws_without_noise_are_peaks_of_the_mapped_densities(model, X):
    draws = model.sample(50, random_state=0, noise=False)
    assert np.isfinite(model.score_samples(draws)).all()
    peaks = model.table_density_.schema.standardize(draws)
    means = model.circuit_.leaf_groups[0].family.mean(model.circuit_.leaf_groups[0].phi)
    means = means.flatten().numpy()
    assert np.abs(peaks[:, :1, None] - means).min(-1).max() < 1e-6


def test_columns_without_gaps_are_left_out_of_moments_of_joint_densities(X):
    model = small(structure="joint-normal", numeric_transform="yeo-johnson").fit(X)
    assert maps(model)
    gaps = X[:5].copy()
    gaps[:, 1] = np.nan
    mean = model.mean(gaps)
    np.testing.assert_array_equal(np.delete(mean, 1, axis=1), np.delete(X[:5], 1, axis=1))
    assert np.isfinite(mean).all()
