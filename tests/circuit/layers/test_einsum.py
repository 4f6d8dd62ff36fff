import numpy as np
import pytest
import torch

from sklearn_einet.circuit import scratch
from sklearn_einet.circuit.layers import einsum
from sklearn_einet.circuit.semirings import MAX
from tests.helpers.layer_functions import log_einsum, log_mix


def naive_log_einsum(children, weights):
    """Eq. 4 of the paper, with the whole outer product and plain autograd."""
    left, right = children[0::2], children[1::2]
    products = left.unsqueeze(2) + right.unsqueeze(1)
    terms = weights.log()[:, :, :, :, None] + products.unsqueeze(1)
    return torch.logsumexp(terms.flatten(2, 3), 2)


def example(n, k, k_out, batch, seed=0):
    generator = torch.Generator().manual_seed(seed)
    children = 50 * torch.randn(2 * n, k, batch, generator=generator, dtype=torch.float64)
    weights = torch.rand(n, k_out, k, k, generator=generator, dtype=torch.float64)
    return children.requires_grad_(), weights.requires_grad_()


@pytest.mark.parametrize(("n", "k", "k_out", "batch"), [(5, 3, 3, 4), (1, 4, 1, 7), (3, 1, 2, 1)])
@pytest.mark.parametrize("buffer_bytes", [1, 500, 2**21])
def test_log_einsum(monkeypatch, n, k, k_out, batch, buffer_bytes):
    monkeypatch.setattr(scratch, "SCRATCH_BYTES", buffer_bytes)
    children, weights = example(n, k, k_out, batch)
    found = log_einsum(children, weights)
    expected = naive_log_einsum(children, weights)
    torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-12)
    direction = torch.randn(found.shape, generator=torch.Generator().manual_seed(1)).double()
    for a, b in zip(
        torch.autograd.grad(found, (children, weights), direction),
        torch.autograd.grad(expected, (children, weights), direction),
        strict=True,
    ):
        torch.testing.assert_close(a, b, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("buffer_bytes", [1, 500, 2**21])
@pytest.mark.parametrize("gathered", [False, True])
def test_maxima(monkeypatch, buffer_bytes, gathered):
    monkeypatch.setattr(scratch, "SCRATCH_BYTES", buffer_bytes)
    children, weights = (t.detach() for t in example(5, 3, 2, 4))
    children[0, :, 1] = -torch.inf
    gather = torch.tensor([9, 3, 1, 1, 4, 0, 2, 3, 3, 8]) if gathered else None
    found = log_einsum(children, weights, gather, MAX)
    x = children[gather] if gathered else children
    pairs = x[0::2].unsqueeze(2) + x[1::2].unsqueeze(1)
    expected = (weights.log().unsqueeze(-1) + pairs.unsqueeze(1)).amax((2, 3))
    torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("counts", [(2, 2, 2), (3, 1, 2)])
@pytest.mark.parametrize("buffer_bytes", [1, 2**21])
def test_gathered_children_and_mixed_partitions(monkeypatch, counts, buffer_bytes):
    """Regions with several parents, and with the same or different numbers of partitions."""
    monkeypatch.setattr(scratch, "SCRATCH_BYTES", buffer_bytes)
    x, weights = example(6, 3, 2, 5)
    x = x.detach()[:5].requires_grad_()
    gather = torch.tensor([0, 1, 1, 2, 4, 3, 0, 0, 2, 4, 1, 3])
    slot = torch.tensor([max(counts) * r + i for r, n in enumerate(counts) for i in range(n)])
    present = torch.zeros(len(counts) * max(counts), dtype=torch.float64)
    present[slot] = 1
    mixing = torch.rand(len(counts), max(counts), 2, dtype=torch.float64)
    mixing = (mixing * present.view(len(counts), -1, 1)).requires_grad_()
    found = log_mix(log_einsum(x, weights, gather), mixing, slot)
    partitions = naive_log_einsum(x[gather], weights)
    torch.testing.assert_close(log_einsum(x, weights, gather), partitions)
    regions = (partitions + mixing.flatten(0, 1)[slot].log().unsqueeze(-1)).split(counts)
    expected = torch.stack([region.logsumexp(0) for region in regions])
    torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-12)
    direction = torch.randn(found.shape, generator=torch.Generator().manual_seed(1)).double()
    for a, b in zip(
        torch.autograd.grad(found, (x, weights, mixing), direction),
        torch.autograd.grad(expected, (x, weights, mixing), direction),
        strict=True,
    ):
        b = b if a.shape != mixing.shape else torch.where(mixing > 0, b, 0)
        torch.testing.assert_close(a, b, rtol=1e-9, atol=1e-12)


def test_far_apart_partitions_are_not_lost():
    """The partition with the likelier children has next to no weight on these."""
    x = torch.tensor([[0.0, -200.0], [0.0, -200.0], [-150.0, -150.0], [0.0, 0.0]]).unsqueeze(-1)
    weights = torch.full((2, 1, 2, 2), 0.25)
    weights[0] = torch.tensor([[1e-30, 0.0], [0.0, 1.0]])
    mixing = torch.tensor([[[0.5], [0.5]]])

    def mixed(x):
        return log_mix(log_einsum(x, weights), mixing, torch.arange(2))

    found = mixed(x)
    assert found.item() == pytest.approx(np.log(0.5e-30), rel=1e-5)
    weights[0, 0, 0, 0] = 0  # now it has none, and the other partition is all there is
    found = mixed(x)
    assert found.item() == pytest.approx(-150 + np.log(0.5), rel=1e-6)
    impossible = torch.full_like(x, -torch.inf).requires_grad_()
    found = mixed(impossible)
    assert found.item() == -np.inf
    (gradient,) = torch.autograd.grad(found.sum(), impossible)
    assert (gradient == 0).all()


def test_einsum_buffers_are_small(monkeypatch):
    """No block of outer products exceeds the budget, in either pass."""
    monkeypatch.setattr(scratch, "SCRATCH_BYTES", 2000)
    sizes = []
    blocks = scratch.blocks

    def recording(n, like, shape):
        for block, buffer in blocks(n, like, shape):
            sizes.append(buffer.numel() * buffer.element_size())
            yield block, buffer

    monkeypatch.setattr(einsum, "blocks", recording)
    children, weights = example(64, 4, 4, 5)
    log_einsum(children, weights).sum().backward()
    assert max(sizes) <= 2000 < 64 * 4 * 4 * 5 * 8
    assert sum(sizes) == 3 * 64 * 4 * 4 * 5 * 8  # one in the forward pass, two in the backward one


def test_impossible_is_minus_infinity():
    children, weights = example(2, 3, 2, 4)
    with torch.no_grad():
        children[0, :, 1] = -torch.inf  # nothing possible on one side
        children[2, :2, 2] = -torch.inf  # one entry possible
        children[2:4, :, 3] = -torch.inf
    found = log_einsum(children, weights)
    expected = naive_log_einsum(children, weights)
    torch.testing.assert_close(found, expected)
    assert (found[0, :, 1] == -torch.inf).all()
    gradients = torch.autograd.grad(found[found > -torch.inf].sum(), (children, weights))
    assert all(torch.isfinite(g).all() for g in gradients)


def test_log_mix():
    generator = torch.Generator().manual_seed(0)
    x = 100 * torch.randn(2, 3, 4, 5, generator=generator, dtype=torch.float64)
    x[1, :, :, 0] = -torch.inf
    weights = torch.rand(2, 3, 4, generator=generator, dtype=torch.float64)
    found = log_mix(x.flatten(0, 1), weights, torch.arange(6))
    expected = torch.logsumexp(x + weights.log().unsqueeze(-1), 1)
    torch.testing.assert_close(found, expected)
    assert (found[1, :, 0] == -torch.inf).all()


def test_maxima_of_mixtures():
    x = 20 * torch.randn(6, 4, 5, generator=torch.Generator().manual_seed(0)).double()
    x[3:, :, 0] = -torch.inf
    weights = torch.rand(2, 3, 4, generator=torch.Generator().manual_seed(1)).double()
    weights[0, 2] = 0  # padding
    found = log_mix(x[[0, 1, 3, 4, 5]], weights, torch.tensor([0, 1, 3, 4, 5]), MAX)
    expected = (x.view(2, 3, 4, 5) + weights.log().unsqueeze(-1)).amax(1)
    torch.testing.assert_close(found, expected)


def test_extreme_activations_stay_finite():
    children = torch.full((2, 3, 2), -1e5)
    children[:, :, 1] = 80.0
    weights = torch.full((1, 3, 3, 3), 1 / 9)
    found = log_einsum(children, weights)
    np.testing.assert_allclose(found[0, :, 0], -2e5, rtol=1e-6)
    np.testing.assert_allclose(found[0, :, 1], 160, rtol=1e-6)
