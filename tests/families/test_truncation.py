"""Draws from single densities inside of intervals, and of normal ones inside of boxes."""

import numpy as np
import pytest
import torch
from scipy import special, stats

from sklearn_einet.families import Beta, Categorical, Constant, Gamma, Normal, Poisson, SymlogNormal
from sklearn_einet.families.base import ExponentialFamily
from sklearn_einet.families.normal_boxes import log_box_probability
from sklearn_einet.families.truncated_normal import draw_inside
from tests.helpers.families import FAMILY_EXAMPLES, random_phi

N = 12
INF = np.inf


def full(value):
    return torch.full((N,), float(value), dtype=torch.float64)


def ranges(family):
    """Ranges of all kinds: in the middle, in both tails, with one end and with none."""
    if family.name == "beta":
        return [(0.3, 0.8), (-INF, 0.01), (0.995, INF), (-INF, INF), (-1, 0.5)]
    if family.name in ("bernoulli", "categorical"):
        return [(0, 1), (0.5, INF), (-INF, INF), (-INF, 0), (1, 1)]
    return [(0.5, 2.5), (-INF, 1), (4, INF), (-INF, INF), (3.5, 4.2), (0.001, 1.01)]


@pytest.mark.parametrize("family", FAMILY_EXAMPLES, ids=lambda f: f.name)
def test_quantiles_inside_of_ranges_invert_the_probability(family):
    phi = random_phi(family, (N,), np.random.RandomState(0))
    for low, high in ranges(family):
        low, high = full(low), full(high)
        inside = family.log_interval(low, high, phi)
        for share in (1e-9, 0.02, 0.4, 0.7, 1 - 1e-9):
            x = family.truncated_quantile(full(share), low, high, phi)
            assert ((low <= x) & (x <= high) & family.in_support(x)).all()
            reached = (family.log_interval(low, x, phi) - inside).exp()
            if family.is_discrete:
                before = (family.log_interval(low, x - 1, phi) - inside).exp()
                before = torch.where(x - 1 < low, 0.0, before)
                assert (before < share + 1e-12).all()
                assert (reached > share - 1e-12).all()
            else:
                np.testing.assert_allclose(reached, share, rtol=1e-7, atol=1e-9)


@pytest.mark.parametrize("family", [Gamma(), Beta(), SymlogNormal(3.0)], ids=lambda f: f.name)
def test_bisection_is_right_for_any_family(family):
    """That of the base class, which families need not replace."""
    phi = random_phi(family, (N,), np.random.RandomState(1))
    ends = [(0.2, 0.9), (0.3, 0.30001)] + ([] if family.name == "beta" else [(2, INF), (-INF, 1)])
    for low, high in ends:
        for share in (0.01, 0.5, 0.99):
            arguments = full(share), full(low), full(high), phi
            found = ExponentialFamily.truncated_quantile(family, *arguments)
            np.testing.assert_allclose(found, family.truncated_quantile(*arguments), rtol=1e-6)


@pytest.mark.parametrize("low", [30.0, 40.0, 1e4])
def test_far_normal_tails_are_nearly_exponential(low):
    phi = torch.tensor([[0.0], [1.0]], dtype=torch.float64)
    u = torch.tensor([0.5], dtype=torch.float64)
    for sign in (1, -1):
        ends = torch.tensor([[low], [INF]], dtype=torch.float64) * sign
        x = Normal().truncated_quantile(u, *(ends if sign > 0 else ends.flip(0)), phi)
        assert low * (abs(x.item()) - low) == pytest.approx(np.log(2), rel=0.01)


def test_far_tails_of_counts_and_amounts():
    low, high = torch.tensor([300.0]).double(), torch.tensor([INF]).double()
    u = torch.tensor([0.9]).double()
    found = Poisson().truncated_quantile(u, low, high, torch.tensor([[2.0]]).double())
    assert found.item() == 300  # 301 has less than a hundredth of its probability
    gamma = Gamma().expectation(torch.tensor([[1.0], [-1.0]]).double())
    found = Gamma().truncated_quantile(u, low, high, gamma)
    assert found.item() == pytest.approx(300 + np.log(10), rel=1e-6)


def test_probabilities_of_values():
    for family in (f for f in FAMILY_EXAMPLES if f.is_discrete):
        phi = random_phi(family, (3, N), np.random.RandomState(0))
        values = torch.tensor([1.0, 0.0, 17.5, 1e6], dtype=torch.float64)
        found = family.log_probabilities(values, phi)
        expected = torch.stack([family.log_prob(v.expand(3, N), phi) for v in values], 1)
        np.testing.assert_allclose(found, expected, atol=1e-12)
    found = Constant().log_probabilities(torch.tensor([0.0, 9.0]), torch.zeros(1, 2))
    assert found.tolist() == [[0.0, 0.0], [-INF, -INF]]
    assert Categorical(2).log_probabilities(values[:2], torch.ones(2, 1) / 2).shape == (2, 1)


BOXES = {
    "middle": ([-1, -0.5, 0], [1, 1.5, 2], 0.3),
    "corner": ([1, 1, 1], [INF, INF, INF], 0.5),
    "against the correlation": ([2, -INF, 1], [INF, -1, 1.5], 0.8),
    "thin": ([0.5, -2, -INF], [0.51, 2, 0], 0.6),
    "far out": ([8, 9, 7], [INF, 12, INF], 0.4),
}


@pytest.mark.parametrize("box", BOXES)
@pytest.mark.parametrize("d", [1, 2, 3])
def test_draws_inside_of_boxes(box, d):
    """The distribution of each column, from probabilities of parts of the box."""
    low, high, r = BOXES[box]
    low, high = np.array(low[:d], float), np.array(high[:d], float)
    mean = np.array([0.1, -0.3, 0.2])[:d]
    scale = np.array([1.0, 1.5, 0.7])[:d]
    covariance = ((1 - r) * np.eye(d) + r) * np.outer(scale, scale)
    rows = draw_inside(low, high, mean, covariance, 5000, np.random.RandomState(0))
    assert ((low <= rows) & (rows <= high)).all()
    (whole,), _ = log_box_probability(low[None], high[None], mean[None], covariance[None])
    for column in range(d):
        cuts = np.quantile(rows[:, column], np.linspace(0.1, 0.9, 9))
        lower = np.tile(high, (9, 1))
        lower[:, column] = cuts
        below, _ = log_box_probability(np.tile(low, (9, 1)), lower, mean[None], covariance[None])
        share = np.exp(below[:, 0] - whole[0])
        # Integration of three columns has an error of 1e-6, which is much of what is far out.
        if d < 3 or np.exp(whole[0]) > 1e-3:
            np.testing.assert_allclose(share, np.linspace(0.1, 0.9, 9), atol=0.025)


def test_draws_inside_of_boxes_depend_as_they_should():
    """Against plain rejection."""
    rng = np.random.RandomState(1)
    covariance = np.array([[1.0, 0.9, -0.3], [0.9, 1.0, -0.2], [-0.3, -0.2, 1.0]])
    low, high = np.array([0.5, -INF, 0.0]), np.array([INF, 0.8, 2.0])
    rows = rng.multivariate_normal(np.zeros(3), covariance, 400_000)
    rows = rows[((low <= rows) & (rows <= high)).all(axis=1)]
    drawn = draw_inside(low, high, np.zeros(3), covariance, len(rows), rng)
    np.testing.assert_allclose(drawn.mean(0), rows.mean(0), atol=0.02)
    np.testing.assert_allclose(np.cov(drawn.T), np.cov(rows.T), atol=0.01)
    for a, b in zip(drawn.T, rows.T, strict=True):
        assert stats.ks_2samp(a, b).pvalue > 1e-3


def test_many_columns_by_rejection():
    rng = np.random.RandomState(2)
    factor = rng.standard_normal((6, 6))
    covariance = factor @ factor.T + 0.2 * np.eye(6)
    low, high = np.array([-1, 0, -INF, 0.5, -2, 0]), np.array([INF, 3, 1, 2, 1, INF])
    rows = rng.multivariate_normal(np.zeros(6), covariance, 600_000)
    rows = rows[((low <= rows) & (rows <= high)).all(axis=1)]
    assert len(rows) > 2000
    drawn = draw_inside(low, high, np.zeros(6), covariance, 20_000, rng)
    for a, b in zip(drawn.T, rows.T, strict=True):
        assert stats.ks_2samp(a, b).pvalue > 1e-3
    deviation = rows.std(0)
    np.testing.assert_allclose(
        np.cov((drawn / deviation).T), np.cov((rows / deviation).T), atol=0.08
    )


def test_many_columns_and_close_dependence():
    rng = np.random.RandomState(0)
    factor = rng.standard_normal((12, 12))
    covariance = factor @ factor.T + 0.01 * np.eye(12)
    low, high = np.full(12, 0.5), np.full(12, INF)
    rows = draw_inside(low, high, np.zeros(12), covariance, 200, rng)
    assert (rows >= low).all()
    assert len(np.unique(rows[:, 0])) == 200


def test_hopeless_boxes_are_approximate_with_a_warning(monkeypatch):
    from sklearn_einet.families import truncated_normal

    monkeypatch.setattr(truncated_normal, "STATIONARY", -1.0)  # no shift
    monkeypatch.setattr(truncated_normal, "MANY_PROPOSALS", 2**12)
    covariance = np.array([[1.0, 0.999], [0.999, 1.0]])
    box = np.array([0.0, 0.5]), np.array([0.01, 0.6])
    with pytest.warns(UserWarning, match="approximate"):
        rows = draw_inside(*box, np.zeros(2), covariance, 50, np.random.RandomState(0))
    assert ((box[0] <= rows) & (rows <= box[1])).all()


def test_means_of_truncated_draws_are_exact():
    phi = torch.tensor([[1.0], [5.0]], dtype=torch.float64).expand(2, 20_000)
    u = torch.as_tensor(np.random.RandomState(0).random_sample(20_000))
    low, high = torch.zeros(20_000).double(), torch.full((20_000,), 2.0).double()
    draws = Normal().truncated_quantile(u, low, high, phi)
    a, b = special.ndtr([-0.5, 0.5])
    expected = 1 + 2 * (stats.norm.pdf(-0.5) - stats.norm.pdf(0.5)) / (b - a)
    assert draws.mean().item() == pytest.approx(expected, abs=0.02)
