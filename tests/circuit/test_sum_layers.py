import numpy as np
import pytest
import torch

from sklearn_einet.circuit import sum_layers
from sklearn_einet.circuit.sum_layers import log_einsum_exp, log_mix_exp


def naive_log_einsum_exp(children, weights):
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
def test_log_einsum_exp(monkeypatch, n, k, k_out, batch, buffer_bytes):
    monkeypatch.setattr(sum_layers, "BUFFER_BYTES", buffer_bytes)
    children, weights = example(n, k, k_out, batch)
    found = log_einsum_exp(children, weights)
    expected = naive_log_einsum_exp(children, weights)
    torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-12)
    direction = torch.randn(found.shape, generator=torch.Generator().manual_seed(1)).double()
    for a, b in zip(
        torch.autograd.grad(found, (children, weights), direction),
        torch.autograd.grad(expected, (children, weights), direction),
        strict=True,
    ):
        torch.testing.assert_close(a, b, rtol=1e-9, atol=1e-12)


def test_einsum_buffers_are_small(monkeypatch):
    """No block of outer products exceeds the budget, in either pass."""
    monkeypatch.setattr(sum_layers, "BUFFER_BYTES", 2000)
    sizes = []
    blocks = sum_layers.blocks

    def recording(n, like, shape):
        for block, buffer in blocks(n, like, shape):
            sizes.append(buffer.numel() * buffer.element_size())
            yield block, buffer

    monkeypatch.setattr(sum_layers, "blocks", recording)
    children, weights = example(64, 4, 4, 5)
    log_einsum_exp(children, weights).sum().backward()
    assert max(sizes) <= 2000 < 64 * 4 * 4 * 5 * 8
    assert sum(sizes) == 3 * 64 * 4 * 4 * 5 * 8  # one in the forward pass, two in the backward one


def test_impossible_is_minus_infinity():
    children, weights = example(2, 3, 2, 4)
    with torch.no_grad():
        children[0, :, 1] = -torch.inf  # nothing possible on one side
        children[2, :2, 2] = -torch.inf  # one entry possible
        children[2:4, :, 3] = -torch.inf
    found = log_einsum_exp(children, weights)
    expected = naive_log_einsum_exp(children, weights)
    torch.testing.assert_close(found, expected)
    assert (found[0, :, 1] == -torch.inf).all()
    gradients = torch.autograd.grad(found[found > -torch.inf].sum(), (children, weights))
    assert all(torch.isfinite(g).all() for g in gradients)


def test_log_mix_exp():
    generator = torch.Generator().manual_seed(0)
    x = 100 * torch.randn(2, 3, 4, 5, generator=generator, dtype=torch.float64)
    x[1, :, :, 0] = -torch.inf
    weights = torch.rand(2, 3, 4, generator=generator, dtype=torch.float64)
    found = log_mix_exp(x, weights)
    expected = torch.logsumexp(x + weights.log().unsqueeze(-1), 1)
    torch.testing.assert_close(found, expected)
    assert (found[1, :, 0] == -torch.inf).all()


def test_extreme_activations_stay_finite():
    children = torch.full((2, 3, 2), -1e5)
    children[:, :, 1] = 80.0
    weights = torch.full((1, 3, 3, 3), 1 / 9)
    found = log_einsum_exp(children, weights)
    np.testing.assert_allclose(found[0, :, 0], -2e5, rtol=1e-6)
    np.testing.assert_allclose(found[0, :, 1], 160, rtol=1e-6)
