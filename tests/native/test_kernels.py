"""The compiled loops against torch: the same numbers, whatever the shapes."""

import numpy as np
import pytest
import torch

from sklearn_einet.circuit.layers.cp import Wiring
from sklearn_einet.circuit.semirings import scaled_exp
from sklearn_einet.circuit.torch_passes import TorchBackend
from sklearn_einet.native.backend import NativeBackend
from tests.helpers.kernels import (
    einsum,
    einsum_gradients,
    log_mixture,
    log_mixture_gradients,
    mix,
    mix_gradients,
    scale,
)
from tests.helpers.layer_functions import log_cp, log_einsum, log_mix

pytestmark = pytest.mark.usefixtures("instructions")

NATIVE, TORCH = NativeBackend(), TorchBackend()

DTYPES = [torch.float32, torch.float64]

# Around the widths of vectors and strips, and the sizes of register tiles and of blocks of pairs.
BATCHES = [1, 7, 8, 16, 17, 33, 100]
ENTRIES = [1, 2, 5, 12, 13, 25, 40]


def assert_close(found, expected, dtype):
    """Equal up to the rounding of sums, relative to the largest number."""
    assert found.dtype == dtype
    assert found.shape == expected.shape
    finite = torch.isfinite(expected)
    assert torch.equal(found[~finite].double(), expected[~finite].double())
    scale = float(expected[finite].detach().abs().max()) if finite.any() else 1.0
    error = float((found - expected)[finite].detach().abs().max()) if finite.any() else 0.0
    assert error <= 100 * torch.finfo(dtype).eps * max(scale, 1e-30)


def random(*shape, dtype, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("batch", BATCHES)
@pytest.mark.parametrize("k", [1, 3, 16])
def test_scale(dtype, batch, k):
    x = 30 * random(5, k, batch, dtype=dtype)
    x[0, :, 0] = -torch.inf
    x[1, 0, :] = -torch.inf
    x[2, -1, -1] = torch.nan
    x[3] = x[3].abs() * 1e3
    scaled, maximum = scale(x)
    expected, expected_maximum = scaled_exp(x)
    torch.testing.assert_close(maximum, expected_maximum, rtol=0, atol=0, equal_nan=True)
    tiny = torch.finfo(dtype).tiny
    expected = torch.where(expected < 2 * tiny, 0, expected)
    scaled = torch.where(scaled < 2 * tiny, 0, scaled)
    rtol = 4 * torch.finfo(dtype).eps
    torch.testing.assert_close(scaled, expected, rtol=rtol, atol=0, equal_nan=True)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_exp_and_log_to_the_last_bits(dtype):
    """Over their whole ranges: exp by two entries, log by sums with one entry of weight w."""
    eps = torch.finfo(dtype).eps
    low = -85.0 if dtype == torch.float32 else -700.0
    x = torch.zeros(1, 2, 10_001, dtype=dtype)
    x[0, 1] = torch.linspace(low, 0, 10_001, dtype=dtype)
    expected = x[0, 1].double().exp()
    assert float((scale(x)[0][0, 1].double() / expected - 1).abs().max()) < 2.5 * eps
    exponents = torch.linspace(-37 if dtype == torch.float32 else -300, 4, 5001).double()
    weights = (10**exponents).to(dtype).view(-1, 1, 1, 1)
    weights[0] = 0
    children = torch.zeros(2 * len(weights), 1, 1, dtype=dtype)
    logs, _ = einsum(children, weights)
    expected = weights.double().log().view(-1)
    assert logs[0] == -torch.inf
    error = (logs.view(-1).double() - expected)[1:].abs() / expected[1:].abs().clamp_min(1)
    assert float(error.max()) < 2.5 * eps


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("batch", BATCHES)
@pytest.mark.parametrize("gathered", [False, True])
def test_pairs_of_any_batch(dtype, batch, gathered):
    check_pairs(dtype, 5, 4, 3, batch, gathered)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("k", ENTRIES)
@pytest.mark.parametrize("k_out", [1, 3, 13])
def test_pairs_of_any_number_of_units(dtype, k, k_out):
    check_pairs(dtype, 3, k, k_out, 37, False)


def check_pairs(dtype, n, k, k_out, batch, gathered):
    x = 5 * random(2 * n, k, batch, dtype=dtype)
    x[0, :, 0] = -torch.inf
    x[1, 0, :] = -torch.inf
    weights = random(n, k_out, k, k, dtype=dtype, seed=1).abs()
    weights[-1, 0] = 0
    gather = torch.tensor([0, 1, *range(2, 2 * n - 1), 2]) if gathered else None
    grad = random(n, k_out, batch, dtype=dtype, seed=2)
    logs, sums = einsum(x, weights, gather)
    children = x if gather is None else x[gather]
    double = children.double().requires_grad_(), weights.double().requires_grad_()
    expected = log_einsum(*double)
    assert_close(logs, expected, dtype)
    scaled = scaled_exp(children)[0].double()
    assert_close(sums, pair_sums(scaled, weights.double()), dtype)
    # Where a sum is too small to be divided by, nothing is possible.
    direction = torch.where(sums < torch.finfo(dtype).tiny, 0, grad).double()
    found = einsum_gradients(x, weights, gather, sums, grad)
    wanted = torch.autograd.grad(expected, double, direction)
    for a, b in zip(found, wanted, strict=True):
        assert_close(a, b, dtype)
    counts = einsum_gradients(x, weights, gather, sums, grad, of_logs=True)[1]
    assert_close(counts, wanted[1] * double[1], dtype)
    # Without sums, everything is linear.
    linear, double = scale(x)[0], (scaled.requires_grad_(), double[1])
    found = einsum_gradients(linear, weights, gather, None, grad)
    for_x, for_weights = torch.autograd.grad(pair_sums(*double), double, grad.double())
    assert_close(found[0], for_x * scaled, dtype)
    assert_close(found[1], for_weights, dtype)


def pair_sums(scaled, weights):
    return torch.einsum("noij,nib,njb->nob", weights, scaled[0::2], scaled[1::2])


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("batch", BATCHES)
@pytest.mark.parametrize("k", [1, 3])
@pytest.mark.parametrize("counts", [(1,), (7,), (40, 1, 3)])
def test_mixtures(dtype, batch, k, counts):
    """One region or several, with the same or different numbers of partitions."""
    x = 20 * random(sum(counts), k, batch, dtype=dtype)
    x[0, 0] = -torch.inf
    x[:, :, 0] = -torch.inf
    slot = torch.tensor([max(counts) * r + i for r, n in enumerate(counts) for i in range(n)])
    weights = random(len(counts) * max(counts), k, dtype=dtype, seed=1).abs()
    weights[-1] = 0
    weights[np.setdiff1d(np.arange(len(weights)), slot)] = 0
    weights = weights.view(len(counts), max(counts), k)
    grad = random(len(counts), k, batch, dtype=dtype, seed=2)
    logs = log_mixture(x, weights, slot)
    double = x.double().requires_grad_(), weights.double().requires_grad_()
    expected = log_mix(*double, slot)
    assert_close(logs, expected, dtype)
    assert (logs[:, :, 0] == -torch.inf).all()
    found = log_mixture_gradients(x, weights, slot, grad)
    wanted = torch.autograd.grad(expected, double, grad.double())
    assert_close(found[0], wanted[0], dtype)
    # Padding has no gradient, or one that its weight of zero makes irrelevant.
    assert_close(found[1].flatten(0, 1)[slot], wanted[1].flatten(0, 1)[slot], dtype)
    counts = log_mixture_gradients(x, weights, slot, grad, of_logs=True)[1]
    assert_close(counts, wanted[1] * double[1], dtype)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("batch", BATCHES)
@pytest.mark.parametrize("k", [1, 17, 32])
def test_mixed_children(dtype, batch, k):
    """Partitions with mixed children only, with plain ones only, with shared and unused rows."""
    rows = np.array([0, 1, 2, 3, 3, 5, 0, 6])
    partition = np.array([0, 0, 1, 1, 1, 2, 2, 3])
    mixed = np.array([True, True, False, False, True, True, False, False])
    wiring = Wiring.of(rows, partition, mixed)
    x = 5 * random(7, k, batch, dtype=dtype)
    weights = random(int(mixed.sum()), k, k, dtype=dtype, seed=1).abs()
    x[0, :, 0] = -torch.inf
    x[5, 0, :] = -torch.inf
    direction = random(4, k, batch, dtype=dtype, seed=2)
    # Every child is a row of its own, as its gradient is one.
    children = x[rows].double().requires_grad_(), weights.double().requires_grad_()
    expected = log_cp(*children, Wiring.of(np.arange(len(rows)), partition, mixed))
    logs, sums = mix(x, weights, wiring)
    assert_close(logs, expected, dtype)
    for_x, for_weights = torch.autograd.grad(expected, children, direction.double())
    found = mix_gradients(x, weights, wiring, sums, direction)
    assert_close(found[0], for_x[mixed], dtype)
    assert_close(found[1], for_weights, dtype)
    counts = mix_gradients(x, weights, wiring, sums, direction, of_logs=True)[1]
    assert_close(counts, for_weights * children[1], dtype)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("batch", BATCHES)
@pytest.mark.parametrize(
    ("slots", "t", "k"), [(1, 1, 1), (5, 2, 3), (3, 2, 10), (17, 3, 33), (64, 2, 4)]
)
def test_gathered_products(dtype, batch, slots, t, k):
    n = 6
    index = torch.randint(0, 9, (n, slots), generator=torch.Generator().manual_seed(3))
    x, factors = random(9, t, batch, dtype=dtype), random(n, slots, t, k, dtype=dtype, seed=1)
    bias, grad = random(n, k, dtype=dtype, seed=2), random(n, k, batch, dtype=dtype, seed=4)
    expected = TORCH.gathered_product(factors.double(), bias.double(), x.double(), index)
    assert_close(NATIVE.gathered_product(factors, bias, x, index), expected, dtype)
    expected = TORCH.gathered_gradients(grad.double(), x.double(), index)
    for a, b in zip(NATIVE.gathered_gradients(grad, x, index), expected, strict=True):
        assert_close(a, b, dtype)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("n_terms", [1, 3, 16, 100, 123])
@pytest.mark.parametrize("idle", [False, True])
@pytest.mark.parametrize("backend", [NATIVE, TORCH], ids=lambda b: b.name)
def test_em_update_(backend, dtype, n_terms, idle):
    average, counts = (random(5, n_terms, dtype=dtype, seed=s).abs() for s in (0, 1))
    average[2], counts[2] = 0, 0
    weights = torch.full_like(average, 0.125)
    smoothing = 1e-30 if idle else 0.01
    expected = 0.75 * average + 0.5 * counts
    share = (expected + smoothing) / (expected + smoothing).sum(1, keepdim=True)
    if idle:
        share[2] = 0.125
    counts = counts.T.contiguous().T  # whatever the order in memory
    backend.em_update_(average, counts, weights, 0.75, 0.5, smoothing, idle)
    assert_close(average, expected, dtype)
    assert_close(weights, share, dtype)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("k", [1, 4, 13])
@pytest.mark.parametrize("k_out", [1, 3])
def test_pair_counts(dtype, k, k_out):
    children, partitions = random(6, k, 37, dtype=dtype), random(3, k_out, 37, dtype=dtype, seed=1)
    double = partitions.double(), children[0::2].double(), children[1::2].double()
    expected = torch.einsum("nob,nib,njb->noij", *double)
    for backend in (NATIVE, TORCH):
        assert_close(backend.pair_counts(children, partitions), expected, dtype)


def test_views_and_transposed_tensors_are_read_as_they_are():
    """Tensors that are not contiguous, or do not start where their storage does."""
    x = random(9, 20, 4, dtype=torch.float64).transpose(1, 2)[1:]
    factors = random(3, 4, 4, 5, dtype=torch.float64, seed=1).permute(0, 3, 1, 2)
    index, bias = torch.tensor([[0, 3, 1, 7, 2]] * 3), random(3, 4, dtype=torch.float64)
    products = NATIVE.gathered_product(factors, bias, x, index)
    assert_close(products, TORCH.gathered_product(factors, bias, x, index), torch.float64)
    grad = random(20, 4, 3, dtype=torch.float64).permute(2, 1, 0)
    for a, b in zip(
        NATIVE.gathered_gradients(grad, x, index),
        TORCH.gathered_gradients(grad, x, index),
        strict=True,
    ):
        assert_close(a, b, torch.float64)
    partitions = random(20, 2, 4, dtype=torch.float64).permute(2, 1, 0)
    expected = TORCH.pair_counts(x, partitions)
    assert_close(NATIVE.pair_counts(x, partitions), expected, torch.float64)


def test_any_number_of_threads_gives_the_same(monkeypatch):
    """Threads share work by whole sums, so that rounding does not depend on their number."""
    x = random(12, 20, 300, dtype=torch.float32)
    weights = random(6, 20, 20, 20, dtype=torch.float32, seed=1).abs()
    results = []
    for threads in (1, 2, 5, 100):
        monkeypatch.setattr(torch, "get_num_threads", lambda threads=threads: threads)
        logs, sums = einsum(x, weights)
        gradients = einsum_gradients(x, weights, None, sums, torch.ones_like(sums))
        results.append((logs, *gradients))
    for other in results[1:]:
        for a, b in zip(results[0], other, strict=True):
            assert torch.equal(a, b)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_subnormal_numbers_are_zero(dtype):
    """They would slow the loops down; outside of them, they stay what they are."""
    tiny = torch.finfo(dtype).tiny
    weights = torch.tensor([tiny / 2, tiny], dtype=dtype).view(2, 1, 1, 1)
    logs, _ = einsum(torch.zeros(4, 1, 1, dtype=dtype), weights)
    assert logs[0] == -torch.inf
    assert logs[1] == pytest.approx(np.log(tiny))
    x = torch.full((200_000,), tiny, dtype=dtype)  # on all threads of torch, and on numpy's
    assert (x / 2 > 0).all()
    assert (x.numpy() / 2 > 0).all()


def test_other_types_are_refused():
    """Addresses are trusted, so that nothing but what the loops are made for may reach them."""
    x = random(4, 3, 20, dtype=torch.float32)
    weights = random(2, 3, 3, 3, dtype=torch.float32, seed=1).abs()
    with pytest.raises(TypeError, match="the same type"):
        einsum(x.double(), weights)
    with pytest.raises(TypeError, match="float32 or float64"):
        scale(x.to(torch.bfloat16))


def test_nothing_to_compute():
    x, weights = torch.zeros(0, 3, 20), torch.zeros(0, 2, 3, 3)
    assert einsum(x, weights)[0].shape == log_einsum(x, weights).shape == (0, 2, 20)
    assert scale(torch.zeros(4, 3, 0))[0].shape == (4, 3, 0)
