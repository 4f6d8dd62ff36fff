"""Multivariate normal densities with gaps, and the M-step with shrunk covariances."""

import numpy as np
import pytest
import torch
from scipy import stats

from sklearn_einet.circuit.leaves.normal_rows import expected_statistics, scored
from sklearn_einet.families import MultivariateNormal
from sklearn_einet.families.covariance_prior import (
    CovariancePrior,
    maximized,
    scatters,
)
from sklearn_einet.families.multivariate_normal import SMALL_MATRIX, inverse
from tests.helpers.joint import random_normals

DIMENSIONS = pytest.mark.parametrize("d", [1, 2, 5, SMALL_MATRIX + 3])


def random_rows(d, n, share, seed=0):
    """Columns first, (d, n), with gaps; a row without any cell, and a complete one."""
    rng = np.random.RandomState(seed)
    z = 2 * rng.standard_normal((d, n))
    z[rng.rand(d, n) < share] = np.nan
    z[:, 0] = np.nan
    z[:, 1] = 0.5
    return torch.as_tensor(z)


def conditional(mean, covariance, row):
    """The log-density of a row, and mean and covariance of its missing cells."""
    seen, missing = np.flatnonzero(~np.isnan(row)), np.flatnonzero(np.isnan(row))
    inner = covariance[np.ix_(seen, seen)]
    gain = covariance[np.ix_(missing, seen)] @ np.linalg.inv(inner)
    density = stats.multivariate_normal.logpdf(row[seen], mean[seen], inner) if len(seen) else 0.0
    filled = row.copy()
    filled[missing] = mean[missing] + gain @ (row[seen] - mean[seen])
    spread = np.zeros_like(covariance)
    spread[np.ix_(missing, missing)] = (
        covariance[np.ix_(missing, missing)] - gain @ covariance[np.ix_(seen, missing)]
    )
    return density, filled, spread


@DIMENSIONS
@pytest.mark.parametrize("share", [0.0, 0.3, 0.9])
def test_density_and_completions(d, share):
    normals = random_normals(3, d, np.random.RandomState(1))
    z = random_rows(d, 25, share)
    completed = normals.completed(z)
    log_density = normals.log_density(z)
    scores, _ = scored(normals, z)
    filled = completed.deviation + normals.mean.unsqueeze(2)
    for k in range(3):
        mean, covariance = normals.mean[k].numpy(), normals.covariance[k].numpy()
        for i, row in enumerate(z.T.numpy()):
            density, expected, _ = conditional(mean, covariance, row)
            for found in (log_density, scores, completed.log_density):
                assert found[k, i] == pytest.approx(density, rel=1e-9, abs=1e-9)
            np.testing.assert_allclose(filled[k, :, i], expected, rtol=1e-8, atol=1e-8)


@DIMENSIONS
def test_conditional_covariances(d):
    normals = random_normals(2, d, np.random.RandomState(1))
    z = random_rows(d, 20, 0.5)
    seen = set()
    for each in normals.completed(z).completions:
        missing, gaps = each.gaps.of_rows.numpy(), each.gaps
        for j, row in enumerate(gaps.rows.tolist()):
            assert row not in seen
            seen.add(row)
            for k in range(2):
                parameters = normals.mean[k].numpy(), normals.covariance[k].numpy()
                _, _, spread = conditional(*parameters, z[:, row].numpy())
                own = np.ix_(missing[:, j], missing[:, j])
                found = each.covariance[:, :, gaps.pattern[j], k]
                np.testing.assert_allclose(found, spread[own], rtol=1e-8, atol=1e-9)
                log_det = each.log_det_precision[gaps.pattern[j], k]
                assert -log_det == pytest.approx(np.linalg.slogdet(spread[own])[1], abs=1e-7)
    assert seen == set(np.flatnonzero(np.isnan(z.numpy()).any(0)))


@DIMENSIONS
@pytest.mark.parametrize("share", [0.0, 0.4])
def test_expected_statistics(d, share):
    normals = random_normals(3, d, np.random.RandomState(2))
    z = random_rows(d, 15, share)[:, 1:] if share == 0 else random_rows(d, 15, share)
    posterior = torch.as_tensor(np.random.RandomState(3).rand(3, z.shape[1]))
    _, kept = scored(normals, z)
    found = expected_statistics(normals, kept, posterior)
    row, column = np.triu_indices(d)
    for k in range(3):
        total = np.zeros(1 + d + len(row))
        for i, cells in enumerate(z.T.numpy()):
            parameters = normals.mean[k].numpy(), normals.covariance[k].numpy()
            _, filled, spread = conditional(*parameters, cells)
            second = np.outer(filled, filled) + spread
            each = np.concatenate([[1.0], filled, second[row, column]])
            total += float(posterior[k, i]) * each
        np.testing.assert_allclose(found[k], total, rtol=1e-8, atol=1e-8)


@pytest.mark.parametrize("correlation", [0.999, 1 - 1e-6, 1 - 1e-9])
def test_nearly_singular(correlation):
    """Compared with closed forms; the condition number amplifies rounding errors."""
    covariance = torch.tensor([[[1, correlation], [correlation, 1]]], dtype=torch.float64)
    normals = MultivariateNormal(torch.zeros(1, 2, dtype=torch.float64), covariance)
    size = 1 / (1 - correlation)
    z = torch.tensor([[1.0, 1.0, torch.nan], [1.0, torch.nan, -2.0]], dtype=torch.float64)
    expected = [
        -0.5 * 2 / (1 + correlation)
        - 0.5 * np.log1p(-correlation)
        - 0.5 * np.log1p(correlation)
        - np.log(2 * np.pi),
        stats.norm.logpdf(1),
        stats.norm.logpdf(-2),
    ]
    np.testing.assert_allclose(normals.log_density(z)[0], expected, atol=1e-15 * size + 1e-9)
    single = normals.log_density(z[:, :1])
    np.testing.assert_allclose(single[0], expected[:1], atol=1e-15 * size + 1e-9)
    completed = normals.completed(z)
    assert completed.deviation[0, 1, 1] == pytest.approx(correlation, abs=1e-15 * size + 1e-9)
    (gaps,) = completed.completions
    variance = gaps.covariance[0, 0, :, 0]
    np.testing.assert_allclose(variance, 1 - correlation**2, rtol=1e-15 * size + 1e-9)


@pytest.mark.parametrize("size", [1e-6, 1e3, 1e6])
def test_scales(size):
    """The density of rows in other units."""
    rng = np.random.RandomState(0)
    one = random_normals(2, 3, rng)
    other = MultivariateNormal(size * one.mean, size**2 * one.covariance)
    z = random_rows(3, 20, 0.3)
    n_seen = (~torch.isnan(z)).sum(0).double()
    expected = one.log_density(z) - n_seen * np.log(size)
    torch.testing.assert_close(other.log_density(size * z), expected, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("size", [1e4, 1e8, 1e12])
def test_values_far_from_all_densities(size):
    """A product with squares would lose what is left of their difference."""
    mean = torch.full((1, 2), size, dtype=torch.float64)
    covariance = torch.tensor([[[1.0, 0.5], [0.5, 2.0]]], dtype=torch.float64)
    normals = MultivariateNormal(mean, covariance)
    z = mean.T + torch.tensor([[1.0, 0.0, 2.0], [0.5, 0.0, -1.0]], dtype=torch.float64)
    expected = stats.multivariate_normal.logpdf((z - mean.T).T, [0, 0], covariance[0])
    for rows in (z, torch.cat([z, torch.full_like(z, torch.nan)], 1)):
        found, _ = scored(normals, rows)
        np.testing.assert_allclose(found[0, :3], expected, rtol=1e-7, atol=1e-7)


def test_values_whose_squares_overflow():
    normals = random_normals(2, 2, np.random.RandomState(0))
    z = torch.tensor([[1e200, 0.0], [0.0, 0.0]], dtype=torch.float64)
    found = normals.log_density(z)
    assert torch.isneginf(found[:, 0]).all()
    assert torch.isfinite(found[:, 1]).all()


@pytest.mark.parametrize("p", [1, 2, SMALL_MATRIX, SMALL_MATRIX + 1])
def test_inverse(p):
    rng = np.random.RandomState(p)
    factor = rng.standard_normal((4, 3, p, p))
    matrices = factor @ factor.swapaxes(-1, -2) + 0.1 * np.eye(p)
    found, log_det = inverse(torch.as_tensor(matrices).permute(2, 3, 0, 1).contiguous())
    assert found.shape == (p, p, 4, 3)
    expected = np.linalg.inv(matrices)
    np.testing.assert_allclose(found.permute(2, 3, 0, 1), expected, rtol=1e-7, atol=1e-8)
    np.testing.assert_allclose(log_det, np.linalg.slogdet(matrices)[1], rtol=1e-9, atol=1e-9)


def test_marginals_and_some_of_them():
    normals = random_normals(4, 3, np.random.RandomState(0))
    z = random_rows(3, 10, 0.3)
    whole = z.clone()
    whole[1] = torch.nan
    part = normals.of(torch.tensor([3, 1])).marginal(torch.tensor([2, 0]))
    expected = normals.log_density(whole)[[3, 1]]
    torch.testing.assert_close(part.log_density(z[[2, 0]]), expected, rtol=1e-10, atol=1e-10)
    assert (len(part), part.n_columns) == (2, 2)


# --- the M-step


def m_step(rows=0.5, floor=1e-3, pseudocount=0.3, d=3, seed=0, spread=1.0):
    """Densities of an M-step, and the objective that they are to maximise."""
    rng = np.random.RandomState(seed)
    normals = random_normals(4, d, rng)
    z = torch.as_tensor(spread * rng.standard_normal((d, 30)))
    posterior = torch.as_tensor(rng.rand(4, 30))
    posterior[3, 2:] = 0  # two rows only
    scale = random_normals(2, d, rng).covariance
    prior = CovariancePrior(scale, torch.tensor([0, 1, 1, 0]), rows, floor)
    center, width = z.mean(1), z.std(1)
    total = expected_statistics(normals, scored(normals, z)[1], posterior)
    new = maximized(
        normals, total[:, 1:], total[:, 0], prior, (center, width), pseudocount, unit=1.0
    )

    def objective(other):
        distance = center - other.mean
        square = torch.einsum("ni,nij,nj->n", distance, other.precision, distance)
        trace = (other.precision.diagonal(dim1=1, dim2=2) * width**2).sum(1)
        whole = (other.log_peak - 0.5 * (square + trace)).sum()
        value = (posterior * other.log_density(z)).sum()
        return float(value + pseudocount * whole + prior.penalty(other))

    return new, objective, prior


def perturbed(normals, rng, size):
    n, d = normals.mean.shape
    noise = size * torch.as_tensor(rng.standard_normal((n, d, d)))
    factor = normals.cholesky @ (torch.eye(d, dtype=torch.float64) + noise)
    mean = normals.mean + size * torch.as_tensor(rng.standard_normal((n, d)))
    return MultivariateNormal(mean, factor @ factor.transpose(1, 2))


def eigenvalues(normals, prior):
    """Those of the covariances relative to their pools'."""
    factor = torch.linalg.cholesky(prior.scale[prior.pool])
    half = torch.linalg.solve_triangular(factor, normals.covariance, upper=False)
    whole = torch.linalg.solve_triangular(factor, half.transpose(1, 2), upper=False)
    return torch.linalg.eigvalsh(whole)


@pytest.mark.parametrize("rows", [0.01, 0.5, 20.0])
@pytest.mark.parametrize("pseudocount", [0.0, 0.3])
@pytest.mark.parametrize("d", [1, 3])
def test_the_m_step_maximises_the_penalised_likelihood(rows, pseudocount, d):
    new, objective, _ = m_step(rows, 0.0, pseudocount, d)
    best = objective(new)
    rng = np.random.RandomState(9)
    for size in (1e-3, 1e-2, 0.1):
        assert all(objective(perturbed(new, rng, size)) < best for _ in range(20))


def test_the_m_step_maximises_above_the_floor():
    new, objective, prior = m_step(0.1, 0.3, 0.0, spread=0.3)
    least = eigenvalues(new, prior)
    assert (least >= 0.3 * (1 - 1e-9)).all()
    assert (least < 0.3 * (1 + 1e-9)).any()
    best, tried = objective(new), 0
    rng = np.random.RandomState(9)
    for size in np.repeat([1e-3, 1e-2, 0.1], 300):
        other = perturbed(new, rng, size)
        if (eigenvalues(other, prior) >= 0.3).all():
            tried += 1
            assert objective(other) < best
    # Away from the boundary there is always some room.
    mixed = MultivariateNormal(new.mean, 0.99 * new.covariance + 0.01 * prior.scale[prior.pool])
    assert objective(mixed) < best


@pytest.mark.parametrize("floor", [0.0, 1e-5, 0.2])
def test_a_row_alone_has_the_covariance_of_the_prior(floor):
    new, _, prior = m_step(1e-9 if floor else 0.5, floor, 0.0, spread=1e-12)
    assert (eigenvalues(new, prior) >= floor * (1 - 1e-6)).all()
    assert torch.isfinite(new.log_peak).all()


def test_the_prior_counts_in_rows():
    """A mass of a thousandth a row is the same as one of 1."""
    rng = np.random.RandomState(0)
    normals = random_normals(2, 2, rng)
    z, posterior = torch.as_tensor(rng.randn(2, 20)), torch.as_tensor(rng.rand(2, 20))
    prior = CovariancePrior(random_normals(1, 2, rng).covariance, torch.tensor([0, 0]), 3.0, 1e-5)
    whole = torch.zeros(2, dtype=torch.float64), torch.ones(2, dtype=torch.float64)
    total = expected_statistics(normals, scored(normals, z)[1], posterior)
    one, other = (
        maximized(normals, unit * total[:, 1:], unit * total[:, 0], prior, whole, 0.5 * unit, unit)
        for unit in (1.0, 1e-3)
    )
    torch.testing.assert_close(one.mean, other.mean, rtol=1e-9, atol=1e-12)
    torch.testing.assert_close(one.covariance, other.covariance, rtol=1e-9, atol=1e-12)


def test_a_density_without_rows_stays():
    normals = random_normals(2, 2, np.random.RandomState(0))
    total = torch.zeros(2, 5, dtype=torch.float64)
    mass = torch.tensor([0.0, 2.0], dtype=torch.float64)
    total[1] = torch.tensor([2.0, 2.0, 3.0, 2.0, 3.0])
    prior = CovariancePrior(torch.eye(2).double().unsqueeze(0), torch.tensor([0, 0]), 0.5, 0.0)
    whole = torch.zeros(2, dtype=torch.float64), torch.ones(2, dtype=torch.float64)
    new = maximized(normals, total, mass, prior, whole, 0.0, 1.0)
    torch.testing.assert_close(new.mean[0], normals.mean[0], rtol=0, atol=0)
    torch.testing.assert_close(new.covariance[0], normals.covariance[0], rtol=0, atol=0)
    np.testing.assert_allclose(new.mean[1], [1, 1])
    np.testing.assert_allclose(new.covariance[1], np.diag([0.6, 0.6]), atol=1e-12)


def test_scatters_about_the_mean():
    rng = np.random.RandomState(0)
    x = rng.randn(10, 2) + 3
    row, column = np.triu_indices(2)
    square = (x[:, row] * x[:, column]).sum(0)
    weighted = torch.as_tensor(np.concatenate([x.sum(0), square])[None])
    center, spread = torch.tensor([1.0, 2.0]).double(), torch.tensor([2.0, 1.0]).double()
    mass = torch.tensor([10.0]).double()
    mean, scatter, total = scatters(weighted, mass, center, spread, 0.0)
    np.testing.assert_allclose(mean[0], x.mean(0))
    np.testing.assert_allclose(scatter[0], 10 * np.cov(x.T, bias=True), atol=1e-10)
    # A pseudocount of a row with the whole columns' means and variances.
    mean, scatter, total = scatters(weighted, mass, center, spread, 1.0)
    exact = (x.sum(0) + center.numpy()) / 11
    square = x.T @ x + np.diag([4, 1]) + np.outer(center, center) - 11 * np.outer(exact, exact)
    np.testing.assert_allclose(mean[0], exact)
    np.testing.assert_allclose(scatter[0], square, atol=1e-10)
    assert float(total) == 11
