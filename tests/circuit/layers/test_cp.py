import numpy as np
import pytest
import torch

from sklearn_einet.circuit import scratch
from sklearn_einet.circuit.layers.cp import Wiring, log_cp_derivatives
from sklearn_einet.circuit.semirings import MAX
from tests.helpers.layer_functions import log_cp

# Of every child its row, its partition, and whether it is mixed; and the number of rows.
WIRINGS = {
    "one child": ([0], [0], [True], 1),
    "one to four children": (
        [3, 0, 2, 4, 1, 5, 6, 8, 7, 9],
        [0, 1, 1, 2, 2, 2, 3, 3, 3, 3],
        [True, True, False, False, True, True, True, True, False, True],
        10,
    ),
    "in order": (range(6), [0, 0, 1, 1, 2, 2], [True] * 6, 6),
    "shared and unused rows": (
        [1, 4, 4, 1, 4, 2],
        [0, 0, 1, 1, 2, 2],
        [True, True, True, False, True, True],
        7,
    ),
    "each row mixed once, and taken as it is once": (
        [0, 1, 0, 1],
        [0, 0, 1, 1],
        [True, True, False, False],
        2,
    ),
    "no mixed child": ([2, 0, 1, 3], [0, 0, 1, 1], [False] * 4, 5),
    "none mixed in one of two": ([0, 1, 2, 3], [0, 0, 1, 1], [False, False, True, True], 4),
    "one mixed child": ([0, 1, 2], [0, 0, 0], [False, True, False], 3),
    "many children": (range(40), [0] * 39 + [1], [i % 3 > 0 for i in range(40)], 40),
}


def wiring_of(name):
    rows, partition, mixed, n_rows = WIRINGS[name]
    rows, partition, mixed = np.array(rows), np.array(partition), np.array(mixed)
    return Wiring.of(rows, partition, mixed), rows, partition, mixed, n_rows


def example(name, k=3, batch=4, k_out=None, spread=50.0, seed=0, dtype=torch.float64):
    """Activations and weights of a layer, and the expected result."""
    wiring, rows, partition, mixed, n_rows = wiring_of(name)
    generator = torch.Generator().manual_seed(seed)
    x = spread * torch.randn(n_rows, k, batch, generator=generator, dtype=torch.float64)
    shape = int(mixed.sum()), k if k_out is None else k_out, k
    weights = torch.rand(shape, generator=generator, dtype=torch.float64)
    weights = weights / weights.sum(2, keepdim=True)

    def naive(x, weights, reduce=torch.logsumexp):
        return naive_log_cp(x, weights, rows, partition, mixed, reduce)

    x, weights = x.to(dtype).requires_grad_(), weights.to(dtype).requires_grad_()
    return x, weights, wiring, naive


def naive_log_cp(x, weights, rows, partition, mixed, reduce):
    """Child by child, with plain autograd."""
    results, number = [[] for _ in range(partition[-1] + 1)], 0
    for row, p, is_mixed in zip(rows, partition, mixed, strict=True):
        value = x[row]
        if is_mixed:
            value = reduce(weights[number].log().unsqueeze(-1) + value.unsqueeze(0), 1)
            number += 1
        results[p].append(value)
    return torch.stack([torch.stack(values).sum(0) for values in results])


def gradients(values, inputs, seed=1):
    direction = torch.randn(values.shape, generator=torch.Generator().manual_seed(seed)).double()
    return torch.autograd.grad(values, inputs, direction.to(values.dtype), allow_unused=True)


@pytest.mark.parametrize("name", WIRINGS)
@pytest.mark.parametrize(("k", "batch"), [(3, 4), (1, 1), (5, 2)])
def test_log_cp(name, k, batch):
    x, weights, wiring, naive = example(name, k, batch)
    found, expected = log_cp(x, weights, wiring), naive(x, weights)
    torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-12)
    for a, b in zip(gradients(found, (x, weights)), gradients(expected, (x, weights)), strict=True):
        b = torch.zeros_like(a) if b is None else b
        torch.testing.assert_close(a, b, rtol=1e-9, atol=1e-12)


def test_as_many_entries_as_asked_for():
    for k_out in (1, 2, 7):
        x, weights, wiring, naive = example("in order", k_out=k_out)
        found = log_cp(x, weights, wiring)
        assert found.shape == (3, k_out, 4)
        torch.testing.assert_close(found, naive(x, weights), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("name", ["one to four children", "shared and unused rows"])
def test_gradients_by_finite_differences(name):
    x, weights, wiring, _ = example(name, k=2, batch=2, spread=1.0)
    assert torch.autograd.gradcheck(lambda *a: log_cp(*a, wiring), (x, weights))


@pytest.mark.parametrize("name", ["one to four children", "shared and unused rows"])
def test_rows_do_not_depend_on_their_batch(name):
    x, weights, wiring, _ = example(name)
    whole = log_cp(x, weights, wiring)
    alone = torch.cat([log_cp(column, weights, wiring) for column in x.split(1, 2)], 2)
    torch.testing.assert_close(alone, whole, rtol=1e-13, atol=1e-13)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_impossible_is_minus_infinity(dtype):
    """Of a mixed child and of one that is not, a single entry and all entries."""
    x, weights, wiring, naive = example("one to four children", dtype=dtype, spread=1.0)
    with torch.no_grad():
        x[0, 1, 0] = -torch.inf  # one entry of a mixed child
        x[0, :, 1] = -torch.inf  # all of them
        x[2, 1, 2] = -torch.inf  # one entry of a child that is not mixed
        x[2, :, 3] = -torch.inf  # all of them
    found = log_cp(x, weights, wiring)
    torch.testing.assert_close(found, naive(x, weights))
    assert not torch.isnan(found).any()
    assert torch.isneginf(found[1]).tolist() == [
        [False, True, entry == 1, True] for entry in range(3)
    ]
    assert torch.isfinite(found[[0, 2, 3]]).all()
    # Impossible entries are not compared: their derivatives do not matter, unless they are NaN.
    (for_x, for_weights) = torch.autograd.grad(found, (x, weights), torch.ones_like(found))
    assert torch.isfinite(for_x).all()
    assert torch.isfinite(for_weights).all()
    assert (for_x[0, :, 1] == 0).all()
    assert for_x[0, 1, 0] == 0
    # Factors of impossible ones still have the derivatives of the possible entries.
    possible = torch.ones_like(found)
    possible[torch.isneginf(found)] = 0
    (masked,) = torch.autograd.grad(log_cp(x, weights, wiring), x, possible)
    rest = x.detach().clone().clamp_min_(-1e4).requires_grad_()
    (expected,) = torch.autograd.grad(naive(rest, weights), rest, possible)
    torch.testing.assert_close(masked, expected, rtol=1e-5, atol=1e-6)


def test_impossible_everywhere():
    x, weights, wiring, _ = example("shared and unused rows")
    impossible = torch.full_like(x, -torch.inf).requires_grad_()
    found = log_cp(impossible, weights, wiring)
    assert torch.isneginf(found).all()
    for gradient in torch.autograd.grad(found.sum(), (impossible, weights)):
        assert torch.isfinite(gradient).all()


def test_weights_of_zero():
    x, weights, wiring, naive = example("one to four children", spread=1.0)
    with torch.no_grad():
        weights[2, 1] = torch.tensor([0.0, 1.0, 0.0])
    found = log_cp(x, weights, wiring)
    (for_x,) = torch.autograd.grad(found.sum(), x)
    torch.testing.assert_close(found, naive(x, weights))
    (expected,) = torch.autograd.grad(naive(x, weights).sum(), x)
    torch.testing.assert_close(for_x, expected)


def test_extreme_activations_stay_finite():
    x, weights, wiring, _ = example("one to four children", dtype=torch.float32)
    with torch.no_grad():
        x[:] = -1e5
        x[..., 1] = 80.0
        x[..., 2] = torch.tensor([0.0, -1e30, -200.0])
    found = log_cp(x, weights, wiring)
    n_children = torch.tensor([1.0, 2, 3, 4]).view(4, 1).expand(4, 3)
    np.testing.assert_allclose(found[..., 0].detach(), -1e5 * n_children, rtol=1e-6)
    np.testing.assert_allclose(found[..., 1].detach(), 80 * n_children, rtol=1e-6)
    assert torch.isfinite(found).all()
    for gradient in torch.autograd.grad(found.sum(), (x, weights)):
        assert torch.isfinite(gradient).all()


def test_least_weights_are_not_lost():
    """The likely entry has next to no weight, as without a pseudocount."""
    wiring = wiring_of("one child")[0]
    x = torch.tensor([[0.0], [-60.0]]).unsqueeze(0).requires_grad_()
    weights = torch.tensor([[[1e-30, 1.0], [0.5, 0.5]]]).requires_grad_()
    found = log_cp(x, weights, wiring)
    np.testing.assert_allclose(
        found[0, :, 0].detach(), [np.logaddexp(np.log(1e-30), -60), np.log(0.5)], rtol=1e-6
    )
    (share,) = torch.autograd.grad(found[0, 0, 0], weights)
    assert (share * weights).sum().item() == pytest.approx(1, rel=1e-6)


# --- downward


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("name", WIRINGS)
def test_log_cp_derivatives(name, dtype):
    """d root / d child, by autodiff of the products in the linear domain."""
    x, weights, wiring, _ = example(name, spread=1.0, dtype=dtype)
    _, rows, partition, mixed, _ = wiring_of(name)
    generator = torch.Generator().manual_seed(2)
    above = torch.rand(partition[-1] + 1, 3, 4, generator=generator, dtype=torch.float64)
    found = log_cp_derivatives(x.detach(), weights.detach(), wiring, above.log().to(dtype))
    expected = derivatives(x, weights, above, rows, partition, mixed)
    for a, b in zip(found, expected, strict=True):
        assert a.dtype == dtype
        tolerance = 1e-9 if dtype == torch.float64 else 1e-4
        torch.testing.assert_close(a.double().exp(), b, rtol=tolerance, atol=1e-12)


def derivatives(x, weights, above, rows, partition, mixed):
    """Derivatives with respect to the density of every child, of either kind."""
    # Every child is a row of its own here, whether or not it shares one.
    children = x.detach()[rows].double().exp().requires_grad_()
    products, number = [None] * len(above), 0
    for child, (p, is_mixed) in enumerate(zip(partition, mixed, strict=True)):
        factor = children[child]
        if is_mixed:
            factor = weights[number].detach().double() @ factor
            number += 1
        products[p] = factor if products[p] is None else products[p] * factor
    (gradient,) = torch.autograd.grad((torch.stack(products) * above).sum(), children)
    return gradient[mixed], gradient[~mixed]


@pytest.mark.parametrize("zeros", [[0], [2], [0, 2], [0, 4], [2, 1, 4]], ids=str)
def test_derivatives_beside_factors_of_zero(zeros):
    """Only the child that is zero alone has a derivative; none if two are."""
    name = "one to four children"
    x, weights, wiring, _ = example(name, spread=1.0)
    _, rows, partition, mixed, _ = wiring_of(name)
    with torch.no_grad():
        x[zeros] = -torch.inf
        x[5, 0, 0] = -torch.inf  # a single entry of a mixed child is no zero
    above = torch.rand(4, 3, 4, generator=torch.Generator().manual_seed(2)).double()
    found = log_cp_derivatives(x.detach(), weights.detach(), wiring, above.log())
    expected = derivatives(x, weights, above, rows, partition, mixed)
    for a, b in zip(found, expected, strict=True):
        assert not torch.isnan(a).any()
        torch.testing.assert_close(a.exp(), b, rtol=1e-9, atol=1e-12)
        assert (torch.isneginf(a) == (b == 0)).all()


def test_derivatives_beside_an_unlikely_child():
    """A child of 1e6 nats below the others does not drown these, in float32."""
    wiring = wiring_of("one mixed child")[0]
    x = torch.zeros(3, 2, 1)
    x[0], x[1], x[2] = -1e6, torch.tensor([[0.5], [-0.25]]), torch.tensor([[-0.125], [0.25]])
    weights = torch.eye(2).unsqueeze(0)
    mixed, plain = log_cp_derivatives(x, weights, wiring, torch.zeros(1, 2, 1))
    torch.testing.assert_close(plain[0], x[1] + x[2], rtol=1e-6, atol=1e-6)
    torch.testing.assert_close(mixed[0], x[0] + x[2], rtol=1e-6, atol=0)


# --- maxima


@pytest.mark.parametrize("name", WIRINGS)
@pytest.mark.parametrize("buffer_bytes", [1, 200, 2**21])
def test_maxima(monkeypatch, name, buffer_bytes):
    monkeypatch.setattr(scratch, "SCRATCH_BYTES", buffer_bytes)
    x, weights, wiring, naive = example(name, k=4, spread=2.0)
    with torch.no_grad():
        x[0, 1, 0] = -torch.inf
        x[0, :, 1] = -torch.inf
        found = log_cp(x, weights, wiring, MAX)
        expected = naive(x, weights, reduce=torch.amax)
    torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-12)
    assert (found <= log_cp(x, weights, wiring) + 1e-12).all()


# --- memory


class LargestResult(torch.utils._python_dispatch.TorchDispatchMode):
    """The most elements of any tensor that an operation returns."""

    def __init__(self):
        super().__init__()
        self.n_elements = 0

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        result = function(*args, **(kwargs or {}))
        for tensor in result if isinstance(result, tuple | list) else [result]:
            if isinstance(tensor, torch.Tensor):
                self.n_elements = max(self.n_elements, tensor.numel())
        return result


@pytest.mark.parametrize("name", ["in order", "many children", "shared and unused rows"])
def test_no_tensor_is_larger_than_the_children(monkeypatch, name):
    """Neither pass makes the products of entries and weights of a whole layer."""
    k, batch = 16, 32
    # The scratch buffer of maxima is bounded by bytes: here it holds one child.
    monkeypatch.setattr(scratch, "SCRATCH_BYTES", k * batch * 8)
    x, weights, wiring, _ = example(name, k, batch)
    _, rows, partition, _, n_rows = wiring_of(name)
    limit = max(n_rows, len(rows)) * k * batch
    with LargestResult() as forward:
        found = log_cp(x, weights, wiring)
    with LargestResult() as backward:
        found.sum().backward()
    with LargestResult() as downward:
        above = torch.zeros(partition[-1] + 1, k, batch, dtype=torch.float64)
        log_cp_derivatives(x.detach(), weights.detach(), wiring, above)
    with LargestResult() as maxima, torch.no_grad():
        log_cp(x, weights, wiring, MAX)
    for largest in (forward, backward, downward, maxima):
        assert 0 < largest.n_elements <= limit < len(rows) * k * k * batch
