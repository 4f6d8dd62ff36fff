"""Labels and p-values of rows with missing cells, relative to typical rows with the same gaps."""

import itertools

import numpy as np
import pandas as pd
import pytest
from scipy.special import logsumexp
from scipy.stats import gamma, norm
from sklearn.metrics import roc_auc_score

from sklearn_einet import EinetDensity, EinetMixture, EinetOutlierDetector
from sklearn_einet.model import gap_patterns
from sklearn_einet.model.gap_patterns import GapPatterns, _from_normal, rows_to_compare, to_normal

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
FAST = {"K": 4, "max_iter": 10, "random_state": 0}
KINDS = [EinetDensity, EinetOutlierDetector, EinetMixture]
QUERIES = ("decision_function", "predict", "predict_proba", "p_values")


def a_model(kind, **parameters):
    if kind is EinetMixture:
        parameters["n_components"] = 2
    if kind is EinetOutlierDetector:
        parameters["replicas"] = 3
    return kind(**FAST | parameters)


def normal_table(n_rows, share, unit=1.0, seed=0):
    """Four normal columns, the last of them in another unit and with gaps in it."""
    rng = np.random.RandomState(seed)
    X = rng.randn(n_rows, 4)
    X[:, 3] *= unit
    gap = rng.rand(n_rows) < share
    X[gap, 3] = np.nan
    return X, gap


def patterns_of(circuit_model):
    density = circuit_model.table_density_
    return GapPatterns(density.scoring_circuit, density.schema)


# --- typical scores for a pattern


@pytest.fixture(scope="module")
def binary():
    rng = np.random.RandomState(0)
    X = (rng.rand(300, 4) < [0.2, 0.4, 0.5, 0.7]).astype(float)
    X[:, 3] = np.where(rng.rand(300) < 0.8, X[:, 0], X[:, 3])
    return EinetDensity(**FAST).fit(X)


def test_moments_are_those_of_the_model(binary):
    states = np.array(list(itertools.product([0.0, 1.0], repeat=4)))
    log_p = binary.score_samples(states)
    masks = np.array(list(itertools.product([False, True], repeat=4)))[1:-1]
    gaps = patterns_of(binary)
    draws, complete = gaps.draws
    np.testing.assert_allclose(complete, binary.score_samples(draws), rtol=1e-12)
    mean, deviation = gaps.moments(masks)
    for number, mask in enumerate(masks):

        def marginal(row, seen=~mask):
            return logsumexp(log_p[(states[:, seen] == row[seen]).all(axis=1)])

        of_states = np.array([marginal(state) for state in states])
        of_draws = np.array([marginal(draw) for draw in draws])
        assert mean[number] == pytest.approx(of_draws.mean(), abs=1e-9)
        assert deviation[number] == pytest.approx(of_draws.std(), abs=1e-9)
        p = np.exp(log_p)
        expected = p @ of_states
        central = of_states - expected
        spread = np.sqrt(p @ central**2)
        assert abs(mean[number] - expected) <= 4 * spread / np.sqrt(len(draws))
        error = np.sqrt((p @ central**4 - spread**4) / len(draws)) / (2 * spread)
        assert abs(deviation[number] - spread) <= 4 * error


@pytest.mark.parametrize("shape", [0.5, 1.0, 4.0, 20.0])
def test_p_values_of_gamma_variables_are_nearly_exact(shape):
    p = np.array([0.8, 0.5, 0.2, 0.1, 0.01, 1e-3])
    scores = 3 + shape - gamma(shape).isf(p)  # their mean is 3
    z = to_normal(scores, np.full(6, 3.0), np.full(6, np.sqrt(shape)))
    assert (abs(norm.sf(z) / p - 1) < [0.05, 0.05, 0.05, 0.05, 0.05, 0.2]).all()


@pytest.mark.parametrize("deviation", [0.0, 1e-3, 0.3, 1.0, 7.0])
def test_scores_keep_their_order_and_can_be_read_back(deviation):
    score = np.concatenate([[-np.inf, -1e6], np.linspace(-50, 30, 401), [1e4]])
    spread = np.full(len(score), deviation)
    z = to_normal(score, np.zeros(len(score)), spread)
    assert (np.diff(z[1:]) < 0).all()
    assert z[0] == np.inf
    np.testing.assert_allclose(_from_normal(z, 0.0, np.array(deviation)), score, atol=1e-8)


def test_a_rare_value_counts_by_its_probability_where_nothing_varies():
    # None of the draws has it, and their log-densities do not vary.
    z = to_normal(np.array([0.0, -9.0]), np.zeros(2), np.zeros(2))
    usual, rare = _from_normal(z, -5.0, np.array(1.5))
    assert -7 < usual <= -5
    assert -25 < rare < -12


# --- shares of new rows, in every unit


@pytest.mark.parametrize(("kind", "share"), [(EinetDensity, 0.2), *((kind, 0.5) for kind in KINDS)])
def test_a_tenth_is_flagged_with_and_without_gaps_in_every_unit(kind, share):
    new, gap = normal_table(3000, share, seed=1)
    labels = []
    for unit in (1e-6, 1e6):
        model = a_model(kind).fit(normal_table(1500, share, unit)[0])
        rows = new * [1, 1, 1, unit]
        labels.append(model.predict(rows))
        p = model.p_values(rows)
        for group in (gap, ~gap):
            # p-values are computed from 150 rows: their tenth has a standard error of 0.024.
            assert (labels[-1][group] == -1).mean() == pytest.approx(0.1, abs=0.07)
            assert (p[group] < 0.1).mean() == pytest.approx(0.1, abs=0.07)
            assert (p[group] < 0.5).mean() == pytest.approx(0.5, abs=0.1)
    assert (labels[1] != labels[0]).sum() <= 4


def test_the_shares_hold_for_every_pattern_of_correlated_columns():
    rng = np.random.RandomState(0)
    X = rng.randn(5000, 3) @ [[1, 0.5, 0], [0, 1, 0], [0, 0, 1]]
    X = np.column_stack([X, X + 0.05 * rng.randn(*X.shape)]) * [1, 10, 100, 1e-3, 1, 1e3]
    # A column is missing, its copy, both, two of three pairs, or all but one cell.
    missing = [[], [0], [3], [0, 3], [0, 1, 3, 4], [1, 2, 3, 4, 5]]
    which = rng.randint(len(missing), size=len(X))
    for number, columns in enumerate(missing):
        X[np.ix_(which == number, columns)] = np.nan
    model = EinetDensity(random_state=0, max_iter=30).fit(X[:2000])
    p = model.p_values(X[2000:])
    plain = model.score_samples(X[2000:])
    below = plain < np.quantile(plain, 0.1)
    for number in range(len(missing)):
        group = which[2000:] == number
        # p-values are computed from 200 rows: their tenth has a standard error of 0.021.
        assert (p[group] < 0.1).mean() == pytest.approx(0.1, abs=0.08)
        assert (p[group] < 0.5).mean() == pytest.approx(0.5, abs=0.17)
    of_plain = [below[which[2000:] == number].mean() for number in range(len(missing))]
    assert min(of_plain) < 0.02
    assert max(of_plain) > 0.3


def test_gaps_in_frames_of_categories_and_numbers():
    rng = np.random.RandomState(0)
    kind = rng.choice(["a", "b", "c"], 4000, p=[0.5, 0.3, 0.2])
    X = pd.DataFrame(
        {
            "kind": kind,
            "value": rng.randn(4000) * 1e3 + 1e4 * (kind == "c"),
            "flag": rng.rand(4000) < 0.4,
        }
    )
    gap = rng.rand(4000) < 0.4
    X.loc[gap, "kind"] = None
    X["kind"] = X["kind"].astype("category")
    model = EinetDensity(**FAST).fit(X[:2000])
    new, gap = X[2000:], gap[2000:]
    for group in (gap, ~gap):
        assert (model.predict(new[group]) == -1).mean() == pytest.approx(0.1, abs=0.05)


def test_rows_of_one_cell_and_of_none():
    rng = np.random.RandomState(0)
    X = rng.randn(1500, 5) * [1, 1e3, 1e-3, 1, 1]
    X[:300, 1:] = np.nan
    X[300:310] = np.nan
    model = EinetDensity(**FAST).fit(X)
    nothing = np.full((2, 5), np.nan)
    assert (model.predict(nothing) == 1).all()
    assert model.p_values(nothing) == pytest.approx(0.5, abs=0.15)
    assert np.isfinite(model.decision_function(nothing)).all()
    # The weights of the root sum to 1 up to rounding.
    assert np.abs(model.score_samples(nothing)).max() < 1e-14
    cells = np.full((1000, 5), np.nan)
    for column in range(5):
        one = cells.copy()
        one[:, column] = rng.randn(1000) * [1, 1e3, 1e-3, 1, 1][column]
        assert (model.predict(one) == -1).mean() == pytest.approx(0.1, abs=0.05)
        assert model.predict(one[:1] * 0 + 10 * np.nanstd(one[:, column]))[0] == -1


@pytest.mark.parametrize("scale", [1.0, 1e-3])
def test_outliers_among_rows_with_gaps_are_found(scale):
    rng = np.random.RandomState(0)
    factor = rng.randn(3000, 2)
    X = factor @ rng.randn(2, 8) + 0.5 * rng.randn(3000, 8)
    outlier = np.arange(3000) >= 2700
    for column in X.T:  # cells that do not belong together
        column[outlier] = 1.3 * rng.permutation(column[outlier])
    gap = rng.rand(3000, 8) < rng.choice([0, 0.3, 0.6], 3000)[:, None]
    X = np.where(gap, np.nan, X * scale)
    order = rng.permutation(3000)
    model = EinetDensity(random_state=0, max_iter=30).fit(X[:1500])
    X, outlier = X[order], outlier[order]
    by_density = roc_auc_score(outlier, -model.score_samples(X))
    compared = roc_auc_score(outlier, -model.decision_function(X))
    assert compared > by_density + 0.05
    assert compared > 0.75


# --- what it costs, and what it does not depend on


@pytest.mark.parametrize("kind", KINDS)
def test_complete_tables_are_scored_as_they_were(kind, monkeypatch):
    def fail(*_):
        raise AssertionError("rows were drawn")

    monkeypatch.setattr(gap_patterns, "sample", fail)
    X, _ = normal_table(300, 0)
    model = a_model(kind).fit(X)
    expected = model.score_samples(X) - model.offset_
    np.testing.assert_array_equal(model.decision_function(X), expected)
    for name in QUERIES:
        getattr(model, name)(X)


def test_complete_rows_beside_others_are_scored_as_alone():
    X, gap = normal_table(600, 0.3)
    model = a_model(EinetDensity).fit(X)
    expected = model.score_samples(X) - model.offset_
    np.testing.assert_array_equal(model.decision_function(X)[~gap], expected[~gap])


def test_every_pattern_is_scored_once(monkeypatch):
    X, _ = normal_table(600, 0)
    X[::2, 0], X[::3, 1] = np.nan, np.nan
    model = a_model(EinetDensity).fit(X)
    lengths, score = [], gap_patterns.log_density

    def counted(circuit, schema, rows):
        lengths.append(len(rows))
        return score(circuit, schema, rows)

    monkeypatch.setattr(gap_patterns, "log_density", counted)
    model.predict(X)
    assert sum(lengths) == 600 + (1 + 3) * gap_patterns.MAX_DRAWS
    lengths.clear()
    model.predict(X[1::6])
    assert sum(lengths) == 100


def test_fit_compares_few_rows_of_many(monkeypatch):
    monkeypatch.setattr(gap_patterns, "MAX_ROWS_TO_COMPARE", 50)
    X, _ = normal_table(1000, 0.5)
    model = a_model(EinetDensity, early_stopping=False).fit(X)
    usual = model._score_distribution.scores
    assert len(usual) == 50
    assert np.isin(usual.round(6), (model.decision_function(X) + model.offset_).round(6)).all()
    assert rows_to_compare(1000, np.arange(10), "auto").nonzero()[0].tolist() == list(range(10))
    assert rows_to_compare(1000, None, "auto").sum() == 50
    assert rows_to_compare(1000, np.arange(10), 0.1) is None
    complete = a_model(EinetDensity).fit(X[:, :3])
    assert len(complete._score_distribution.scores) == 100
    # Both labels are there, and a number is the share of the training rows.
    assert set(model.predict(X)) == {-1, 1}
    model = a_model(EinetDensity, contamination=0.2).fit(X)
    assert (model.predict(X) == -1).sum() == 200


@pytest.mark.parametrize("kind", KINDS)
def test_scores_depend_on_the_row_and_the_model_alone(kind, tmp_path, monkeypatch):
    rng = np.random.RandomState(0)
    X = rng.randn(400, 6)
    X[rng.rand(400, 6) < 0.3] = np.nan
    model = a_model(kind).fit(X)
    before = vars(model).copy()
    together = {name: getattr(model, name)(X) for name in QUERIES}
    assert vars(model) == before
    order = rng.permutation(400)
    stored = np.memmap(tmp_path / "x", np.float64, "w+", shape=X.shape)
    stored[:] = X
    for name, expected in together.items():
        query = getattr(model, name)
        one_by_one = np.concatenate([query(row[None]) for row in X[:20]])
        np.testing.assert_allclose(one_by_one, expected[:20], rtol=0, atol=1e-10)
        np.testing.assert_allclose(query(X[order]), expected[order], rtol=0, atol=1e-10)
        np.testing.assert_allclose(query(stored), expected, rtol=0, atol=1e-10)
    monkeypatch.setattr(gap_patterns, "CELLS_AT_A_TIME", 2000)
    few_at_a_time = model.decision_function(X)
    np.testing.assert_allclose(few_at_a_time, together["decision_function"], rtol=0, atol=1e-10)


def test_blocks_of_dask_are_compared_as_one_table():
    da = pytest.importorskip("dask.array")
    rng = np.random.RandomState(0)
    X = rng.randn(300, 4)
    X[rng.rand(300, 4) < 0.3] = np.nan
    chunks = da.from_array(X, chunks=(100, 4))
    parameters = FAST | {"solver": "em", "early_stopping": True}
    model = EinetDensity(**parameters).fit(X)
    remote = EinetDensity(**parameters).fit(chunks)
    assert remote.offset_ == pytest.approx(model.offset_, abs=1e-6)
    for name in QUERIES:
        expected = getattr(model, name)(X)
        np.testing.assert_allclose(getattr(model, name)(chunks).compute(), expected, atol=1e-10)


def test_components_and_marginals_compare_too():
    X, gap = normal_table(1500, 0.4, unit=1e-4)
    model = a_model(EinetMixture).fit(X)
    groups = [model.labels_ == number for number in range(2)]
    cases = list(zip(model.estimators_, [X, X], groups, strict=True))
    cases.append((model.marginal([1, 3]), X[:, [1, 3]], np.ones(1500, dtype=bool)))
    for each, rows, own in cases:
        for group in (gap, ~gap):  # by plain log-densities, all and none
            assert (each.p_values(rows[group & own]) < 0.5).mean() == pytest.approx(0.5, abs=0.2)


@pytest.mark.filterwarnings("ignore:Column 'kind' has categories not seen:UserWarning")
def test_unknown_categories_are_cells_unless_they_are_ignored():
    rng = np.random.RandomState(0)
    X = pd.DataFrame({"kind": rng.choice(["a", "b"], 500), "x": rng.randn(500)})
    X["kind"] = X["kind"].astype("category")
    new = pd.DataFrame({"kind": ["z", None], "x": [0.1, 0.1]})
    smooth = EinetDensity(**FAST).fit(X)
    plain = smooth.score_samples(new)[0] - smooth.offset_
    assert smooth.decision_function(new)[0] == plain
    assert smooth.predict(new).tolist() == [-1, 1]
    ignored = EinetDensity(handle_unknown="ignore", **FAST).fit(X).decision_function(new)
    assert ignored[0] == ignored[1]
