"""Rows under multivariate normal densities: compiled loops, torch and scipy agree."""

import numpy as np
import pytest
import scipy.stats
import torch

from sklearn_einet.circuit.backend import VARIABLE
from sklearn_einet.circuit.leaves import normal_rows
from sklearn_einet.circuit.leaves.normal_rows import expected_statistics, log_density, scored
from sklearn_einet.families import MultivariateNormal
from sklearn_einet.families.multivariate_normal import CompletedRows

# Densities, columns and rows: around the widths of vectors, and more rows than a thread takes.
SIZES = [(1, 1, 1), (1, 4, 9), (8, 1, 33), (9, 2, 300), (16, 5, 40), (17, 10, 601), (3, 30, 50)]


def normals_of(n, d, seed=0, shift=1.0):
    generator = torch.Generator().manual_seed(seed)
    root = torch.randn(n, d, d + 2, generator=generator, dtype=torch.float64)
    covariance = root @ root.mT / (d + 2) + 0.1 * torch.eye(d)
    mean = shift * torch.randn(n, d, generator=generator, dtype=torch.float64)
    return MultivariateNormal(mean, covariance)


def rows_of(d, batch, gaps, seed=1):
    """Draw rows with gaps; one is complete, and one has no cell."""
    generator = torch.Generator().manual_seed(seed)
    z = torch.randn(d, batch, generator=generator, dtype=torch.float64)
    missing = torch.rand(d, batch, generator=generator) < gaps
    if gaps:
        missing[:, 0], missing[:, -1] = False, True
        missing[:, 2:-1:3] = missing[:, 1:-2:3]
    return z.masked_fill(missing, torch.nan)


def assert_close(found, expected, tolerance=1e-10):
    assert found.shape == expected.shape
    assert (found - expected).abs().max() <= tolerance * expected.abs().max().clamp_min(1.0)


@pytest.mark.parametrize("gaps", [0.0, 0.2, 0.8])
@pytest.mark.parametrize(("n", "d", "batch"), SIZES)
def test_compiled_rows_are_those_of_torch(instructions, monkeypatch, n, d, batch, gaps):
    normals, z = normals_of(n, d), rows_of(d, batch, gaps)
    posterior = torch.rand(n, batch, generator=torch.Generator().manual_seed(2)).double()
    completed = normals.completed(z)
    expected = normals.expected_of(completed, posterior)
    for columns in (24, 0):  # complete rows by products, and by compiled loops
        monkeypatch.setattr(normal_rows, "PRODUCT_COLUMNS", columns)
        found, kept = scored(normals, z)
        assert not isinstance(kept, CompletedRows)
        assert_close(found, completed.log_density)
        assert_close(expected_statistics(normals, kept, posterior), expected)
    assert_close(log_density(normals, z), completed.log_density)
    if gaps:
        assert (log_density(normals, z)[:, -1] == 0).all()


@pytest.mark.parametrize("threads", [1, 3, 8])
def test_threads_share_rows(instructions, monkeypatch, threads):
    normals, z = normals_of(5, 6), rows_of(6, 1100, 0.3)
    posterior = torch.rand(5, 1100, generator=torch.Generator().manual_seed(2)).double()
    monkeypatch.setattr(torch, "get_num_threads", lambda: threads)
    found, kept = scored(normals, z)
    completed = normals.completed(z)
    assert_close(found, completed.log_density)
    assert_close(
        expected_statistics(normals, kept, posterior), normals.expected_of(completed, posterior)
    )


def test_no_rows(backend):
    normals, z = normals_of(3, 2), torch.zeros(2, 0, dtype=torch.float64)
    assert log_density(normals, z).shape == (3, 0)
    found, kept = scored(normals, z)
    assert found.shape == (3, 0)
    assert torch.equal(expected_statistics(normals, kept, found), torch.zeros(3, 6).double())


@pytest.mark.parametrize("size", [1e8, 1e-8])
def test_units_of_any_size(instructions, size):
    """Rows far from the means, and columns of very different units."""
    normals, z = normals_of(9, 4), rows_of(4, 60, 0.3)
    unit = torch.tensor([1.0, size, 1.0, size**2]).double()
    scaled = MultivariateNormal(
        normals.mean * unit, normals.covariance * unit.unsqueeze(1) * unit.unsqueeze(0)
    )
    logs = (~z.isnan()).double().T @ unit.log()
    assert_close(log_density(scaled, z * unit.unsqueeze(1)) + logs, log_density(normals, z))
    z[0, 0] = 1e9
    assert_close(log_density(normals, z), normals.completed(z).log_density)


def test_nearly_dependent_columns(instructions):
    """Marginal densities are as exact as those of complete rows, which torch whitens."""
    n, batch, thin = 5, 200, 1e-10
    generator = torch.Generator().manual_seed(3)
    root = torch.randn(n, 4, 4, generator=generator, dtype=torch.float64)
    root[:, 3] = root[:, 0] + root[:, 1]
    covariance = root @ root.mT + thin * torch.eye(4)
    normals = MultivariateNormal(torch.zeros(n, 4).double(), covariance)
    z = (root[0] @ torch.randn(4, batch, generator=generator, dtype=torch.float64)).contiguous()
    assert_close(log_density(normals, z), normals.log_density(z))
    for column in range(4):
        others = [i for i in range(4) if i != column]
        gap = z.clone()
        gap[column] = torch.nan
        expected = normals.marginal(torch.tensor(others)).log_density(z[others])
        # What is known of the missing cell is known up to the rounding of its precision.
        assert_close(log_density(normals, gap), expected, 1e-5)
        _, kept = scored(normals, gap)
        statistics = expected_statistics(normals, kept, torch.ones(n, batch).double())
        completed = normals.completed(gap)
        reference = normals.expected_of(completed, torch.ones(n, batch).double())
        assert_close(statistics, reference, 1e-5)


def test_against_scipy(backend):
    normals, z = normals_of(3, 4), rows_of(4, 30, 0.4)
    found = log_density(normals, z)
    for i in range(3):
        for b in range(30):
            seen = ~z[:, b].isnan().numpy()
            if seen.any():
                own = normals.covariance[i].numpy()[np.ix_(seen, seen)]
                exact = scipy.stats.multivariate_normal(normals.mean[i].numpy()[seen], own)
                assert np.isclose(found[i, b], exact.logpdf(z[seen, b].numpy()), rtol=1e-10)


def test_torch_computes_where_it_is_asked_to(monkeypatch):
    monkeypatch.setenv(VARIABLE, "torch")
    _, kept = scored(normals_of(3, 4), rows_of(4, 30, 0.4))
    assert isinstance(kept, CompletedRows)
