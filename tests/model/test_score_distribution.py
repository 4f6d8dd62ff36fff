"""p-values of scores."""

import numpy as np
import pytest
from scipy.special import expit

from sklearn_einet.model.score_distribution import ScoreDistribution, nearest_threshold, threshold


def p_values(distribution, scores):
    return expit(distribution.logit(np.asarray(scores, dtype=float)))


def test_order_statistics_have_conformal_p_values():
    scores = np.random.RandomState(0).randn(19)
    p = p_values(ScoreDistribution(scores), np.sort(scores))
    np.testing.assert_allclose(p, np.arange(1, 20) / 20)


def test_linear_in_between_and_exponential_beyond():
    usual = ScoreDistribution(np.arange(1.0, 100))
    np.testing.assert_allclose(p_values(usual, [10.25, 50.5]), [0.1025, 0.505])
    far = usual.logit(np.array([1.0, 0.0, -1.0, -500.0, -1e9]))
    log_p = far - np.log1p(np.exp(far))
    step = log_p[0] - log_p[1]
    assert step > 0
    np.testing.assert_allclose(log_p, log_p[0] - step * np.array([0, 1, 2, 501, 1e9 + 1]))
    high = p_values(usual, [99, 100, 105, 1e3])
    assert (np.diff(high) > 0).all()
    assert high[-1] <= 1


def test_tails_fall_as_those_of_an_exponential_distribution_do():
    scores = -np.random.RandomState(0).exponential(3.0, 10_000)
    usual = ScoreDistribution(scores)
    low = np.array([-40.0, -60.0])
    log_p = -np.logaddexp(0, -usual.logit(low))
    np.testing.assert_allclose(log_p[0] - log_p[1], 20 / 3, rtol=0.1)


@pytest.mark.parametrize("n", [5, 50, 500])
def test_p_values_of_new_rows_are_uniform_on_average(n):
    rng = np.random.RandomState(0)
    p = np.concatenate(
        [p_values(ScoreDistribution(rng.randn(n)), rng.randn(20)) for _ in range(500)]
    )
    # Between the i-th and the next of n scores a new one lies with probability 1 / (n + 1).
    assert (p < 1 / (n + 1)).mean() == pytest.approx(1 / (n + 1), abs=0.02)
    for share in (0.2, 0.5, 0.9):
        assert (p < share).mean() == pytest.approx(share, abs=0.03)


def test_monotone():
    scores = np.random.RandomState(0).standard_cauchy(50)
    logits = ScoreDistribution(scores).logit(np.linspace(-100, 100, 10_001))
    assert (np.diff(logits) > 0).all()


def test_quantiles_are_the_inverse():
    usual = ScoreDistribution(np.random.RandomState(0).randn(30))
    for p in (1e-6, 0.01, 1 / 31, 0.1, 0.5, 0.9, 30 / 31, 0.999):
        assert p_values(usual, [usual.quantile(p)])[0] == pytest.approx(p, rel=1e-6)


def test_ties_are_cut_in_the_middle():
    usual = ScoreDistribution(np.array([1.0, 2, 2, 2, 5]))
    np.testing.assert_allclose(p_values(usual, [1, 2, 5]), np.array([1, 3, 5]) / 6)
    assert usual.quantile(0.4) == usual.quantile(0.6) == 2


def test_a_weight_is_a_number_of_rows():
    scores, weight = np.array([-1.0, 0.5, 3.0, 4.0]), np.array([2.0, 1, 3, 1])
    weighted = ScoreDistribution(scores, weight)
    repeated = np.repeat(scores, weight.astype(int))
    # The same row may have been summed in another order.
    repeated = ScoreDistribution(repeated + 1e-13 * np.arange(len(repeated)))
    grid = np.concatenate([np.linspace(-5, 6, 111), scores])
    np.testing.assert_allclose(weighted.logit(grid), repeated.logit(grid), rtol=1e-7, atol=1e-9)
    for p in (0.01, 0.1, 0.4, 0.8):
        assert weighted.quantile(p) == pytest.approx(repeated.quantile(p), abs=1e-9)


def test_impossible_rows():
    usual = ScoreDistribution(np.array([-np.inf, -np.inf, 0.0, 1.0]))
    np.testing.assert_allclose(p_values(usual, [-np.inf, 0, 1]), [0, 3 / 5, 4 / 5])
    nothing = ScoreDistribution(np.array([-np.inf]))
    np.testing.assert_array_equal(p_values(nothing, [-np.inf, 0.0]), [0, 0.5])
    assert nothing.quantile(0.1) == -np.inf


@pytest.mark.parametrize("scores", [[2.0], [2.0, 2.0, 2.0]])
def test_a_single_score(scores):
    usual = ScoreDistribution(np.array(scores))
    p = p_values(usual, [1.0, 2.0, 3.0])
    assert 0 < p[0] < p[1] == 0.5 < p[2] < 1
    assert usual.quantile(0.5) == 2


@pytest.mark.parametrize("share", [0.01, 0.1, 0.25, 0.5])
def test_threshold_has_the_share_below(share):
    scores = np.random.RandomState(0).randn(200)
    assert (scores < threshold(scores, np.ones(200), share)).sum() == 200 * share


def test_threshold_is_finite_if_a_score_is():
    scores = np.r_[[-np.inf] * 10, np.arange(90.0)]
    assert threshold(scores, np.ones(100), 0.02) == 0


@pytest.mark.parametrize("share", [0.01, 0.1, 0.2, 0.37, 0.5])
@pytest.mark.parametrize("weighted", [False, True])
def test_nearest_threshold_against_all_cuts(share, weighted):
    """Ties are not cut, both sides have rows, and no other cut is nearer."""
    for seed in range(60):
        rng = np.random.RandomState(seed)
        n = rng.randint(2, 12)
        scores = rng.choice([-np.inf, -3.0, -1.5, 0.0, 2.0][seed % 2 :], n)
        weight = rng.randint(1, 4, n) * (0.1 if weighted else 1.0)
        weight = weight if weighted else np.ones(n)
        found = nearest_threshold(scores, weight, share)
        values = np.unique(scores)
        if len(values) == 1:
            assert found == values[0]
            continue
        shares = [weight[scores < value].sum() / weight.sum() for value in values[1:]]
        distances = np.abs(np.array(shares) - share)
        here = weight[scores < found].sum() / weight.sum()
        assert abs(here - share) <= distances.min() + 1e-12
        assert here == pytest.approx(
            min(s for s in shares if abs(s - share) < distances.min() + 1e-12)
        )
        assert np.isfinite(found)
        assert 0 < here < 1


def test_nearest_threshold_is_not_moved_by_rounding():
    scores = np.repeat([-5.0, 1.0, 3.0], [13, 20, 17]) + 1e-13 * np.arange(50)
    found = nearest_threshold(scores, np.ones(50), 0.2)
    assert found == pytest.approx(-2)
