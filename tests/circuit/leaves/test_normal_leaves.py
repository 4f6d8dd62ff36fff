"""Compiled loops for normal leaves against torch: the same numbers, whatever the table."""

import numpy as np
import pytest
import torch

from sklearn_einet.circuit import LeafColumns
from sklearn_einet.circuit.leaves.groups import leaf_group, moved_group
from sklearn_einet.circuit.leaves.normal import NormalGroup
from sklearn_einet.circuit.torch_passes import TorchBackend
from sklearn_einet.families import LogNormal, Normal
from sklearn_einet.native.backend import NativeBackend
from sklearn_einet.structure import Region

pytestmark = pytest.mark.usefixtures("instructions")

# Leaf regions of three, one and two of five columns, with padding.
INDEX = torch.tensor([[0, 3, 4], [2, 5, 5], [4, 1, 5], [5, 5, 5]])


def by_torch(group):
    """The same group of the torch backend."""
    return moved_group(group, torch.device("cpu"), TorchBackend())


def example(k, variance_bounds=None, least_variance=None, spread=1.0):
    """A group with densities whose standard deviations are about `spread` of the columns'."""
    rng = np.random.RandomState(k)
    mean = torch.as_tensor(rng.normal(size=5))
    reference = torch.stack([mean, mean**2 + torch.as_tensor(rng.uniform(0.5, 2, 5))], 1)
    family = Normal(variance_bounds)
    columns = torch.arange(5)
    group = NormalGroup(family, columns, INDEX, k, reference, 1e-3, least_variance)
    mean = torch.as_tensor(rng.normal(size=(*INDEX.shape, k)))
    variance = spread**2 * torch.as_tensor(rng.uniform(0.2, 2, (*INDEX.shape, k)))
    group.phi = torch.stack([mean, mean**2 + variance], 2)
    return group


def table(batch, kind, seed=0):
    """Columns with the given kind of cells."""
    x = torch.as_tensor(np.random.RandomState(seed).normal(size=(5, batch)))
    if kind == "missing":
        x[torch.as_tensor(np.random.RandomState(1).rand(5, batch) < 0.4)] = torch.nan
    elif kind == "infinite":
        x[1, ::3], x[2, 1::4], x[3, -1] = torch.inf, -torch.inf, torch.nan
    elif kind == "huge":
        x[0, 0], x[4, -1] = 1e200, -3e5
    elif kind == "nothing":
        x[:] = torch.nan
    return x


def close(found, expected, tolerance):
    """Equal where not finite, and elsewhere up to rounding, relative to the largest number."""
    finite = torch.isfinite(expected)
    assert torch.equal(found[~finite].double(), expected[~finite].double())
    if finite.any():
        error = (found[finite].double() - expected[finite].double()).abs().max()
        assert error <= tolerance * max(1.0, float(expected[finite].abs().max()))


@pytest.mark.parametrize("k", [1, 2, 7, 8, 40, 1500])
def test_parameters(k):
    group = example(k)
    found, expected = group.natural_parameters(), by_torch(group).natural_parameters()
    close(found.theta, expected.theta, 1e-13)
    close(found.log_normalizer, expected.log_normalizer, 1e-13)


@pytest.mark.parametrize(
    "settings", [{}, {"variance_bounds": (0.1, 1.0)}, {"least": True}], ids=str
)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
@pytest.mark.parametrize("pseudocount", [0.0, 0.5])
@pytest.mark.parametrize("k", [1, 3, 8, 17, 1100])
def test_maximum_of_the_likelihood(k, pseudocount, dtype, settings):
    settings = dict(settings)
    if settings.pop("least", False):
        settings["least_variance"] = np.array([0.0, 0.1, 0.5, 0.9, 0.0])
    group = example(k, **settings)
    rng = np.random.RandomState(1)
    mass = torch.as_tensor(rng.uniform(0, 10, (*INDEX.shape, k)))
    mass[rng.rand(*mass.shape) < 0.3] = 0  # nothing belongs to some
    mean = torch.as_tensor(rng.normal(size=mass.shape))
    square = mean**2 + torch.as_tensor(rng.uniform(0, 1, mass.shape)) ** 8  # some below the floor
    weighted = (torch.stack([mean, square], 2) * mass.unsqueeze(2)).to(dtype)
    mass = mass.to(dtype)
    before = group.phi

    for min_variance in (1e-3, 0.3):  # may change between fits
        group.phi, group.min_variance = before, min_variance
        other = by_torch(group)
        for each in (group, other):
            each.update(weighted, mass, pseudocount)
        close(group.phi, other.phi, 1e-12)
    if pseudocount == 0:
        mean_of = group.phi[:, :, 0][mass == 0]
        torch.testing.assert_close(mean_of, before[:, :, 0][mass == 0], rtol=0, atol=0)


@pytest.mark.parametrize("k", [1, 5, 16])
def test_variances_beyond_the_precision_of_the_means_are_not_negative(k):
    group = example(k, variance_bounds=(1e-6, 1e-5))
    rng = np.random.RandomState(0)
    mass = torch.as_tensor(rng.uniform(1, 10, (*INDEX.shape, k)))
    mean = torch.as_tensor(1e6 + rng.normal(size=mass.shape))
    weighted = torch.stack([mean, mean**2 + 1e-6], 2) * mass.unsqueeze(2)

    other = by_torch(group)

    def updated(group):
        group.update(weighted, mass, 0.0)
        return group.phi, group.natural_parameters().theta[:, :, 1] + group.slot_theta[:, :, 1]

    (phi, theta), (expected_phi, expected_theta) = updated(group), updated(other)
    torch.testing.assert_close(phi, expected_phi, rtol=0, atol=0)
    assert (theta < 0).all()
    torch.testing.assert_close(theta, expected_theta, rtol=1e-14, atol=0)


@pytest.mark.parametrize("pseudocount", [0.0, 0.5])
def test_statistics_that_are_no_numbers(pseudocount):
    group = example(2)
    before = group.phi
    weighted, mass = torch.full_like(before, torch.nan), torch.ones_like(before[:, :, 0])
    mass[0] = torch.nan

    other = by_torch(group)
    for each in (group, other):
        each.update(weighted, mass, pseudocount)
    torch.testing.assert_close(torch.isnan(group.phi), torch.isnan(other.phi))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
@pytest.mark.parametrize("spread", [1.0, 1e-3], ids=["wide", "sharp"])
@pytest.mark.parametrize("kind", ["complete", "missing", "infinite", "huge", "nothing"])
@pytest.mark.parametrize("batch", [1, 3, 8, 33, 256, 700])
def test_densities_and_statistics(batch, kind, spread, dtype):
    group = example(3, spread=spread)
    x = table(batch, kind)
    flows = torch.as_tensor(np.random.RandomState(2).rand(len(INDEX), 3, batch)).to(dtype)

    natural = group.natural_parameters()

    def passes(group):
        leaves, base, kept = group.forward(x, natural, dtype)
        return leaves, base, kept, group.expected(kept, flows)

    (leaves, base, kept, found), expected = passes(group), passes(by_torch(group))
    assert leaves.dtype == dtype
    in_double = expected[2][0].dtype == torch.float64
    assert kept[0].dtype == torch.float64 if in_double else kept[0].dtype in (dtype, torch.float64)
    tolerance = 1e-13 if in_double else 1e-5
    close(leaves, expected[0], max(tolerance, torch.finfo(dtype).eps))
    close(base, expected[1], 1e-13)
    for a, b in zip(found, expected[3], strict=True):
        close(a, b, tolerance)


def test_offsets_of_incomplete_blocks_are_not_rounded():
    """Far from all cells, the offset is the largest factor, and is multiplied with 1."""
    group = example(1)
    group.phi[:, :, 0], group.phi[:, :, 1] = 10.0, 100.0 + 1 / 30
    x = 0.05 * table(20, "missing").clamp(-2, 2)
    leaves, _, (statistics, _) = group.forward(x, group.natural_parameters(), torch.float32)
    assert statistics.dtype == torch.float64
    expected, _, (statistics, _) = by_torch(group).forward(
        x, group.natural_parameters(), torch.float32
    )
    assert statistics.dtype == torch.float64
    torch.testing.assert_close(leaves, expected, rtol=1e-6, atol=1e-5)


def test_transposed_columns_are_read_as_they_are():
    group = example(2)
    x = table(40, "complete").T.contiguous().T
    assert not x.is_contiguous()
    found = group.forward(x, group.natural_parameters(), torch.float64)
    expected = by_torch(group).forward(x, group.natural_parameters(), torch.float64)
    close(found[0], expected[0], 1e-13)
    close(found[1], expected[1], 1e-13)


def test_no_rows():
    group = example(2)
    leaves, base, _ = group.forward(table(0, "complete"), group.natural_parameters(), torch.float32)
    assert leaves.shape == (len(INDEX), 2, 0)
    assert base.shape == (0,)


@pytest.mark.parametrize(("family", "is_normal"), [(Normal(), True), (LogNormal(), False)])
def test_log_normal_leaves_are_not_normal_ones(family, is_normal):
    columns = LeafColumns(family, np.arange(2), np.array([[0.0, 1.0], [0.0, 1.0]]))
    group = leaf_group(columns, [Region([0, 1])], 2, 1e-3, torch.device("cpu"), NativeBackend())
    assert isinstance(group, NormalGroup) == is_normal
