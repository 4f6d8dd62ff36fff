import numpy as np
import pytest
import torch
from scipy import stats

from sklearn_einet.families import (
    FAMILIES,
    Bernoulli,
    Beta,
    Binomial,
    Categorical,
    FixedShapeGamma,
    Gamma,
    LogNormal,
    NegativeBinomial,
    Normal,
    Poisson,
)
from tests.helpers.families import CASES, FAMILY_EXAMPLES, random_phi

N = 12


def frozen(family, phi):
    """The same distributions in scipy.stats, from expectation parameters."""
    return CASES[type(family)].scipy(family, phi)


@pytest.fixture(params=FAMILY_EXAMPLES, ids=lambda f: f.name)
def family(request):
    return request.param


@pytest.fixture
def phi(family):
    return random_phi(family, (N,), np.random.RandomState(0))


def support_points(family, phi):
    """Values inside the support of every distribution, (n, N)."""
    if isinstance(family, Categorical):
        return torch.arange(family.n_states, dtype=torch.float64)[:, None].expand(-1, N)
    distribution = frozen(family, phi)
    return torch.as_tensor(
        np.array([distribution.ppf(q) for q in np.linspace(0.001, 0.999, 41)]), dtype=torch.float64
    )


def test_log_density(family, phi):
    x = support_points(family, phi)
    found = family.log_prob(x, phi)
    if isinstance(family, Categorical):
        expected = np.log(phi.numpy())
    else:
        distribution = frozen(family, phi)
        expected = (distribution.logpmf if family.is_discrete else distribution.logpdf)(x.numpy())
    np.testing.assert_allclose(found, expected, rtol=1e-9, atol=1e-9)


def test_cdf_mean_variance(family, phi):
    x = support_points(family, phi)
    if isinstance(family, Categorical):
        states = np.arange(family.n_states)
        np.testing.assert_allclose(family.cdf(x, phi), np.cumsum(phi.numpy(), 0), rtol=1e-12)
        mean = states @ phi.numpy()
        variance = (states**2) @ phi.numpy() - mean**2
    else:
        distribution = frozen(family, phi)
        np.testing.assert_allclose(
            family.cdf(x, phi), distribution.cdf(x.numpy()), rtol=1e-8, atol=1e-12
        )
        mean, variance = distribution.mean(), distribution.var()
    np.testing.assert_allclose(family.mean(phi), mean, rtol=1e-9)
    np.testing.assert_allclose(family.variance(phi), variance, rtol=1e-8)


def test_cdf_at_infinity(family, phi):
    infinity = torch.full((N,), torch.inf, dtype=torch.float64)
    np.testing.assert_allclose(family.cdf(infinity, phi), 1)
    np.testing.assert_allclose(family.cdf(-infinity, phi), 0, atol=1e-300)


def test_mode_is_the_highest_density(family, phi):
    mode = family.mode(phi)
    inside = mode if family.is_discrete else mode + 1e-9
    if isinstance(family, Beta):
        inside = mode.clamp(1e-9, 1 - 1e-9)
    at_mode = family.log_prob(inside, phi)
    assert (at_mode >= family.log_prob(support_points(family, phi), phi) - 1e-6).all()


def test_sampling_moments(family, phi):
    n = 200_000
    draws = family.sample(np.repeat(phi.numpy()[None], n, axis=0), np.random.RandomState(0))
    assert draws.shape == (n, N)
    assert family.in_support(torch.as_tensor(draws)).all()
    mean, sd = family.mean(phi).numpy(), family.variance(phi).sqrt().numpy()
    np.testing.assert_array_less(np.abs(draws.mean(0) - mean), 5 * sd / np.sqrt(n))
    if not isinstance(family, LogNormal):  # whose fourth moment is too large for this
        np.testing.assert_allclose(draws.var(0), sd**2, rtol=0.05)
    statistics = family.statistics(torch.as_tensor(draws.T)).mean(-1).T
    np.testing.assert_allclose(statistics, phi, rtol=0.05, atol=0.03)


def test_theta_phi_round_trip(family, phi):
    theta = family.natural(phi)
    np.testing.assert_allclose(family.expectation(theta), phi, rtol=1e-8, atol=1e-10)
    u = family.to_unconstrained(theta)
    np.testing.assert_allclose(family.from_unconstrained(u), theta, rtol=1e-10)


def test_expectation_is_the_gradient_of_the_log_normalizer(family, phi):
    theta = family.natural(phi).requires_grad_()
    (gradient,) = torch.autograd.grad(family.log_normalizer(theta).sum(), theta)
    np.testing.assert_allclose(gradient, phi, rtol=1e-8, atol=1e-10)


def test_outside_of_the_support_is_impossible(family, phi):
    outside = CASES[type(family)].outside
    x = torch.tensor(outside, dtype=torch.float64)[:, None]
    assert (family.log_prob(x, phi) == -torch.inf).all()
    assert not family.in_support(torch.tensor([torch.nan])).any()


def test_open_ends_are_beside_the_support(family):
    for end in family.open_ends:
        beside = np.nextafter(end, [-1.0, 2.0])
        inside = family.in_support(torch.tensor([end, *beside], dtype=torch.float64))
        assert inside.tolist() in ([False, True, False], [False, False, True])
    # None of those at 0 and 1 is left out.
    ends = [] if family.is_discrete else [0.0, 1.0]
    left_out = {end for end in ends if not family.in_support(torch.tensor([end])).item()}
    assert left_out == set(family.open_ends)


def test_m_step_maximizes_the_likelihood(family, phi):
    """Mean statistics of a sample beat all other parameters tried on that sample."""
    rng = np.random.RandomState(1)
    draws = family.sample(np.repeat(phi.numpy()[None], 50, axis=0), rng).T
    x = torch.as_tensor(draws)
    best = family.project(family.statistics(x).mean(-1).T, phi, 1e-6)
    value = family.log_prob(x.T, best).mean(0)
    for _ in range(20):
        other = random_phi(family, (N,), rng)
        for step in (1, 0.1, 0.01):
            near = (1 - step) * best + step * other
            assert (family.log_prob(x.T, near).mean(0) <= value + 1e-9).all()


@pytest.mark.parametrize("family", [Normal(), LogNormal(), Gamma(), FixedShapeGamma(1.0)])
def test_project_bounds_the_concentration(family):
    constant = torch.tensor([2.0, 3.0], dtype=torch.float64)
    phi = family.statistics(constant)
    reference = torch.as_tensor(family.interior(phi.T.numpy(), 5.0)).T
    projected = family.project(phi, reference, 1e-2)
    if isinstance(family, Gamma):
        variation = family.variance(projected) / family.mean(projected) ** 2
        np.testing.assert_allclose(variation, 1e-2, rtol=1e-6)
    elif isinstance(family, Normal):
        np.testing.assert_allclose(projected[1] - projected[0] ** 2, 1e-2, rtol=1e-9)
    assert torch.isfinite(family.log_prob(constant, projected)).all()


@pytest.mark.parametrize("name", sorted(FAMILIES))
def test_constant_columns_give_finite_distributions(name):
    value = {"beta": 0.5}.get(name, 1.0)
    x = np.full((4, 1), value)
    ((family, _),) = FAMILIES[name]().fit_columns(x.max(0))
    family = family.fit_cells(x[:, 0], np.ones(4))
    location, scale = family.scaling(x, np.ones(4))
    z = torch.as_tensor((x - location) / scale).T
    reference = torch.as_tensor(family.interior(family.statistics(z).mean(-1).numpy(), 4.0))
    phi = family.project(reference.T, reference.T, 1e-3)
    assert torch.isfinite(family.log_prob(z[:, :1], phi)).all()
    assert torch.isfinite(family.natural(phi)).all()


@pytest.mark.parametrize("theta", [(1e-3, 1e-3), (1e-3, 1e3), (1e4, 0.1), (50.0, 1e4)])
def test_newton_at_extremes(theta):
    beta = torch.tensor(theta, dtype=torch.float64)[:, None]
    np.testing.assert_allclose(Beta().natural(Beta().expectation(beta)), beta, rtol=1e-6)
    gamma = beta * torch.tensor([[1.0], [-1.0]])
    np.testing.assert_allclose(Gamma().natural(Gamma().expectation(gamma)), gamma, rtol=1e-6)


@pytest.mark.parametrize(
    ("make", "match"),
    [
        (lambda: Binomial(n_trials=0), "n_trials"),
        (lambda: Binomial(n_trials=1.5), "n_trials"),
        (lambda: Categorical(n_states=0), "n_states"),
        (lambda: FixedShapeGamma(-1.0), "shape"),
        (lambda: NegativeBinomial(0), "n_failures"),
        (lambda: NegativeBinomial(np.inf), "n_failures"),
        (lambda: NegativeBinomial().natural(torch.ones(1, 1)), "n_failures is not set"),
        (lambda: Categorical().n_statistics, "n_states is not set"),
        (lambda: Binomial().natural(torch.ones(1, 1)), "n_trials is not set"),
    ],
)
def test_invalid_hyperparameters(make, match):
    with pytest.raises(ValueError, match=match):
        make()


def test_hyperparameters_from_columns():
    families = Binomial().fit_columns(np.array([3.0, 7.0, 3.0]))
    assert [(f.n_trials, c.tolist()) for f, c in families] == [(3, [0, 2]), (7, [1])]
    families = Categorical().fit_columns(np.array([1.0, 4.0]))
    assert [(f.n_states, c.tolist()) for f, c in families] == [(2, [0]), (5, [1])]


# --- numbers of failures


@pytest.mark.parametrize("n_failures", [0.3, 2.0, 30.0])
def test_numbers_of_failures_are_those_of_the_highest_likelihood(n_failures):
    rng = np.random.RandomState(0)
    x = rng.negative_binomial(n_failures, n_failures / (n_failures + 20), 20_000).astype(float)
    weight = rng.randint(3, size=len(x)).astype(float)
    x[::10] = np.nan
    seen = ~np.isnan(x)
    found = NegativeBinomial().fit_cells(x, weight).n_failures
    assert found == pytest.approx(n_failures, rel=0.1)
    mean = np.average(x[seen], weights=weight[seen])

    def likelihood(n):
        return weight[seen] @ stats.nbinom.logpmf(x[seen], n, n / (n + mean))

    assert likelihood(found) > max(likelihood(0.85 * found), likelihood(1.15 * found))
    assert found == float(f"{found:.2g}")


def test_counts_that_do_not_vary_more_than_poisson_ones_are_such():
    x = np.random.RandomState(0).binomial(20, 0.4, 5000).astype(float)
    family = NegativeBinomial().fit_cells(x, np.ones(5000))
    phi = torch.tensor([[8.0]], dtype=torch.float64)
    states = torch.arange(40, dtype=torch.float64)
    expected = Poisson().log_prob(states, phi)
    np.testing.assert_allclose(family.log_prob(states, phi), expected, atol=1e-3)
    fixed = NegativeBinomial(3)
    assert fixed.fit_cells(x, np.ones(5000)) is fixed
    assert not fixed.reads_cells


def test_extreme_numbers_of_failures():
    x = np.zeros(10_000)
    x[0] = 1e6
    found = NegativeBinomial().fit_cells(x, np.ones(len(x)))
    assert found.n_failures == 1e-4
    mean = torch.tensor([[100.0]], dtype=torch.float64)
    states = torch.tensor([0.0, 1.0, 1e6], dtype=torch.float64)
    expected = stats.nbinom.logpmf(states.numpy(), 1e-4, 1e-4 / (1e-4 + 100))
    np.testing.assert_allclose(found.log_prob(states, mean), expected, rtol=1e-8)


def test_equality_and_repr():
    assert Binomial(3) == Binomial(3) != Binomial(4)
    assert len({Binomial(3), Binomial(3), Bernoulli(), Bernoulli()}) == 2
    assert repr(Binomial(3)) == "Binomial(n_trials=3)"
    assert repr(Bernoulli()) == "Bernoulli()"


def test_complement_of_the_cdf(family, phi):
    """Precise where the cdf itself is 1 to rounding."""
    x = support_points(family, phi)
    complement = family.cdf(x, phi, complement=True)
    np.testing.assert_allclose(complement, 1 - family.cdf(x, phi), atol=1e-12)
    infinity = torch.full((N,), torch.inf, dtype=torch.float64)
    np.testing.assert_allclose(family.cdf(infinity, phi, complement=True), 0, atol=1e-300)
    np.testing.assert_allclose(family.cdf(-infinity, phi, complement=True), 1)
    if not isinstance(family, Categorical):
        distribution = frozen(family, phi)
        far = torch.as_tensor(distribution.isf(1e-25))
        np.testing.assert_allclose(
            family.cdf(far, phi, complement=True), distribution.sf(far.numpy()), rtol=1e-6
        )


def test_log_probability_of_intervals(family, phi):
    points = support_points(family, phi)
    low, high = points[:-1], points[1:]
    found = family.log_interval(low, high, phi).exp()
    expected = family.cdf(high, phi) - family.cdf(low, phi)
    if family.is_discrete:
        expected = expected + family.log_prob(low, phi).exp()
        np.testing.assert_allclose(
            family.log_interval(low, low, phi), family.log_prob(low, phi), rtol=1e-12
        )
        between = family.log_interval(low + 0.25, low + 0.75, phi)
    else:
        between = family.log_interval(low, low, phi)
    np.testing.assert_allclose(found, expected, atol=1e-12)
    assert (between == -torch.inf).all()
    infinity = torch.full((1, 1), torch.inf, dtype=torch.float64)
    np.testing.assert_allclose(family.log_interval(-infinity, infinity, phi), 0, atol=1e-12)
    np.testing.assert_allclose(
        family.log_interval(-infinity, high, phi).exp(), family.cdf(high, phi), atol=1e-12
    )
    np.testing.assert_allclose(
        family.log_interval(-infinity, low - 1e99, phi).exp(), 0, atol=1e-300
    )


@pytest.mark.parametrize("scale", [1.0, -1.0])
def test_intervals_in_far_normal_tails(scale):
    phi = torch.tensor([[0.0], [1.0]], dtype=torch.float64)
    low, high = sorted([30 * scale, 31 * scale])
    found = Normal().log_interval(
        torch.tensor([low], dtype=torch.float64), torch.tensor([high], dtype=torch.float64), phi
    )
    tail = stats.norm.logcdf(-30) + np.log1p(
        -np.exp(stats.norm.logcdf(-31) - stats.norm.logcdf(-30))
    )
    assert found.item() == pytest.approx(tail, rel=1e-12)


@pytest.mark.parametrize("family", [Normal(), LogNormal()])
def test_intervals_beyond_all_numbers(family):
    phi = torch.tensor([[0.0], [1.0]], dtype=torch.float64)
    low = torch.tensor([[1e200], [-torch.inf], [-1e200], [1e160]], dtype=torch.float64)
    high = torch.tensor([[torch.inf], [-1e200], [-1e190], [1e170]], dtype=torch.float64)
    found = family.log_interval(low, high, phi)
    assert not torch.isnan(found).any()
    assert (found < -1e4).all()


def test_the_mode_is_at_the_pole():
    theta = torch.tensor([[0.5, 1.2, 0.5], [1.2, 0.5, 2.0]], dtype=torch.float64)
    assert Beta().mode(Beta().expectation(theta)).tolist() == [0.0, 1.0, 0.0]


def test_peaks_are_inside_the_support(family, phi):
    peak = family.peak(phi)
    assert family.in_support(peak).all()
    mode = family.mode(phi)
    expected = torch.where(family.in_support(mode), mode, family.mean(phi))
    np.testing.assert_array_equal(peak, expected)
    assert isinstance(family, Beta) or torch.equal(peak, mode)


@pytest.mark.parametrize(
    ("family", "theta"), [(Gamma(), [0.5, -1.0]), (Beta(), [0.5, 2.0]), (Beta(), [0.5, 0.5])]
)
def test_a_pole_is_no_peak(family, theta):
    phi = family.expectation(torch.tensor(theta, dtype=torch.float64).unsqueeze(1))
    np.testing.assert_array_equal(family.peak(phi), family.mean(phi))


# --- absolute bounds on the variance of normal densities


def test_variance_bounds_are_absolute():
    family = Normal((1e-4, 0.5))
    variance = torch.tensor([1e-9, 0.1, 7.0], dtype=torch.float64)
    mean = torch.tensor([0.3, -0.2, 0.0], dtype=torch.float64)
    phi = torch.stack([mean, mean**2 + variance])
    reference = torch.tensor([[0.0], [100.0]], dtype=torch.float64)
    found = family.project(phi, reference, 0.5)
    torch.testing.assert_close(family.mean(found), mean)
    expected = torch.tensor([1e-4, 0.1, 0.5], dtype=torch.float64)
    torch.testing.assert_close(family.variance(found), expected, rtol=1e-9, atol=1e-12)


def test_bounds_are_in_the_units_of_the_column():
    x = np.array([[1.0, 5.0], [9.0, 5.0]])
    location, scale = Normal((1e-6, 1e-2)).scaling(x, np.ones(2))
    np.testing.assert_array_equal(location, [5, 5])
    np.testing.assert_array_equal(scale, [1, 1])


@pytest.mark.parametrize(
    "bounds", [(1, 0.5), (0, 1), (-1, 1), (1, np.inf), (1,), (1, 2, 3), ("a", "b"), (np.nan, 1)]
)
def test_bad_variance_bounds(bounds):
    with pytest.raises(ValueError, match="variance_bounds must be two numbers"):
        Normal(bounds)


@pytest.mark.parametrize("family", [Categorical(7), Normal(), Poisson()], ids=str)
def test_sums_of_statistics(family):
    rng = np.random.RandomState(0)
    x = torch.tensor(rng.randint(7, size=(3, 50)).astype(float))
    weight = torch.tensor(rng.exponential(size=(3, 50)))
    center = torch.tensor(rng.exponential(size=(3, family.n_statistics)))
    statistics = family.statistics(x).numpy()
    sums = np.einsum("csn,cn->cs", statistics, weight.numpy())
    np.testing.assert_allclose(family.weighted_sum(x, weight), sums, rtol=1e-12)
    square = np.einsum("csn,cn->cs", (statistics - center.numpy()[:, :, None]) ** 2, weight)
    found = family.squared_deviations(x, weight, center)
    np.testing.assert_allclose(found, square, rtol=1e-12)


def test_smoothed_states_are_those_of_the_projection():
    family = Categorical(6)
    phi = torch.tensor([0.5, 0, 1e-13, 1e-6, 0.25, 0.25 - 1e-6 - 1e-13], dtype=torch.float64)
    phi = phi.unsqueeze(-1)
    projected = family.project(phi, phi, 0.0)
    torch.testing.assert_close(family.smoothed(phi), projected, rtol=1e-14, atol=0)
    assert projected.min() == pytest.approx(1e-12, rel=1e-9)
    assert projected.sum() == pytest.approx(1, rel=1e-15)
