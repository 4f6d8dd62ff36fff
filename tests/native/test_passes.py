"""Both backends' passes against the layers, one by one, and those against finite differences."""

import numpy as np
import pytest
import torch

from sklearn_einet.circuit import Circuit, LeafColumns, Parameters
from sklearn_einet.circuit.backend import VARIABLE
from sklearn_einet.circuit.torch_passes import TorchPasses
from sklearn_einet.families import Normal
from sklearn_einet.structure import poon_domingos, random_binary_trees
from sklearn_einet.structure.tree_regions import tree_regions
from tests.helpers.circuits import LAYERS
from tests.helpers.layer_functions import written_out_output

pytestmark = pytest.mark.usefixtures("compiled")


def structures():
    rng = np.random.RandomState(0)
    trees = [[-1, 0, 1, 2, 2, 4, 1, 6, 0], [3, 3, 3, -1, 3, 4, 5, 6, 7]]
    mixed = np.arange(9) % 2 == 0
    return {
        "leaf": random_binary_trees(9, 0, 1, rng),
        "leaves": random_binary_trees(9, 0, 3, rng),
        "one tree": random_binary_trees(9, 3, 1, rng),
        "trees": random_binary_trees(9, 2, 4, rng),
        "shared": poon_domingos((3, 3), 3),
        "learned": tree_regions(trees[:1], mixed),
        "learned, two": tree_regions(trees),
    }


def example(name, layer, k, dtype):
    columns = LeafColumns(Normal(), np.arange(9), np.tile([0.0, 1.0], (9, 1)))
    circuit = Circuit(structures()[name], [columns], k, layer=layer, dtype=dtype)
    generator = torch.Generator().manual_seed(k)
    for i, axes in enumerate(circuit.summed_axes):
        weights = torch.rand(circuit.weights[i].shape, generator=generator, dtype=dtype)
        weights *= circuit.weights[i] > 0
        circuit.weights[i] = weights / weights.sum(axes, keepdim=True)
    return circuit


def layer_by_layer(circuit, leaves, upstream):
    leaves = leaves.clone().requires_grad_()
    weights = [w.clone().requires_grad_() for w in circuit.weights]
    outputs = [leaves]
    for layer, w in zip(circuit.layers, weights, strict=True):
        outputs.append(written_out_output(layer, layer.layout.join(outputs), w))
    root = outputs[-1][0, 0]
    flows, *gradients = torch.autograd.grad(root, [leaves, *weights], upstream)
    return root.detach(), flows, [g * w.detach() for g, w in zip(gradients, weights, strict=True)]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
@pytest.mark.parametrize("k", [1, 2, 5])
@pytest.mark.parametrize("layer", LAYERS)
@pytest.mark.parametrize("name", structures())
@pytest.mark.parametrize("backend", ["native", "torch"])
def test_the_same_as_layer_by_layer(monkeypatch, backend, name, layer, k, dtype):
    monkeypatch.setenv(VARIABLE, backend)
    circuit = example(name, layer, k, dtype)
    generator = torch.Generator().manual_seed(0)
    for batch in (1, 5, 37, 100):
        shape = (*circuit.output_shapes[0], batch)
        leaves = 5 * torch.randn(shape, generator=generator, dtype=dtype)
        leaves[0, :, 0] = -torch.inf
        leaves[-1, 0] = -torch.inf
        upstream = torch.rand(batch, generator=generator, dtype=dtype)
        upstream[-1] = 0
        passes = circuit.passes
        outputs = circuit.propagate(leaves).outputs
        state = passes.up(leaves, circuit.weights, for_down=True)
        root = passes.root(state).clone()
        for found, kept in zip(passes.outputs(state), outputs, strict=True):
            assert torch.equal(found, kept)  # what is kept for the way down changes nothing
        flows, counts = passes.down(state, upstream, circuit.weights)
        expected_root, expected_flows, expected_counts = layer_by_layer(circuit, leaves, upstream)
        rtol = 1e-4 if dtype == torch.float32 else 1e-11
        torch.testing.assert_close(root, expected_root, rtol=rtol, atol=rtol)
        torch.testing.assert_close(flows, expected_flows, rtol=rtol, atol=rtol)
        for found, expected in zip(counts, expected_counts, strict=True):
            torch.testing.assert_close(found, expected, rtol=rtol, atol=rtol * batch)
        check_outputs(circuit, leaves, outputs, rtol)
        check_log_root(circuit, leaves, upstream, (root, flows, counts))
        # The flows below add up to those above, except for impossible rows.
        possible = upstream[root > -torch.inf].sum()
        torch.testing.assert_close(counts[-1].sum(), possible, rtol=rtol, atol=rtol)


@pytest.mark.parametrize("layer", LAYERS)
@pytest.mark.parametrize("name", structures())
@pytest.mark.parametrize("backend", ["native", "torch"])
def test_gradients_by_finite_differences(monkeypatch, backend, name, layer):
    monkeypatch.setenv(VARIABLE, backend)
    circuit = example(name, layer, 2, torch.float64)
    generator = torch.Generator().manual_seed(0)

    def random(shape):
        return torch.randn(shape, generator=generator).double()

    leaves, upstream = random((*circuit.output_shapes[0], 3)), random(3)
    passes, step = circuit.passes, 1e-6
    state = passes.up(leaves, circuit.weights, for_down=True)
    flows, gradients = passes.down(state, upstream, circuit.weights, of_logs=False)
    directions = [random(leaves.shape), *(random(w.shape) * (w > 0) for w in circuit.weights)]

    def value(distance):
        moved = [
            each + distance * direction
            for each, direction in zip([leaves, *circuit.weights], directions, strict=True)
        ]
        return passes.root(passes.up(moved[0], moved[1:])) @ upstream

    slopes = zip([flows, *gradients], directions, strict=True)
    expected = (value(step) - value(-step)) / (2 * step)
    found = sum((gradient * direction).sum() for gradient, direction in slopes)
    assert float(found) == pytest.approx(float(expected), rel=1e-6, abs=1e-6)


def check_outputs(circuit, leaves, outputs, rtol):
    passes = TorchPasses(circuit.layers)
    expected = passes.outputs(passes.up(leaves, circuit.weights))
    for found, wanted in zip(outputs, expected, strict=True):
        torch.testing.assert_close(found, wanted, rtol=rtol, atol=rtol)


def check_log_root(circuit, leaves, upstream, expected):
    """One differentiable function, whose gradients are those of the weights themselves."""
    inputs = [
        leaves.clone().requires_grad_(),
        *(w.clone().requires_grad_() for w in circuit.weights),
    ]
    root = circuit.log_root(inputs[0], Parameters(inputs[1:], []))
    flows, *gradients = torch.autograd.grad(root, inputs, upstream, retain_graph=True)
    assert torch.equal(root, expected[0])
    assert torch.equal(flows, expected[1])
    for gradient, w, counts in zip(gradients, circuit.weights, expected[2], strict=True):
        torch.testing.assert_close(torch.where(w > 0, gradient * w, 0), counts)
    with pytest.raises(RuntimeError, match="once"):
        torch.autograd.grad(root, inputs, upstream)


def test_passes_are_recorded_once(monkeypatch):
    """For batches of all sizes, and for all circuits of the same layers and type."""
    circuit = example("trees", "cp", 2, torch.float32)
    passes = circuit.passes
    assert circuit.to("cpu").passes is passes
    double = circuit.to("cpu", torch.float64).passes
    assert double is not passes
    assert circuit.to("cpu", torch.float64).passes is double
    assert circuit.passes is passes


def test_weights_are_read_where_they_are_now():
    """Passes are recorded once, and weights may be other tensors by the next time."""
    circuit = example("trees", "tucker", 2, torch.float64)
    leaves = torch.zeros(*circuit.output_shapes[0], 3, dtype=torch.float64)
    leaves[:, 1] = -1
    before = circuit.propagate(leaves).root
    circuit.weights = example("trees", "tucker", 2, torch.float64).weights
    circuit.weights[0] = circuit.weights[0].flip(2)
    after = circuit.propagate(leaves).root
    torch.testing.assert_close(after, layer_by_layer(circuit, leaves, torch.ones(3).double())[0])
    assert not torch.allclose(before, after)


def test_weights_of_another_type_are_refused():
    circuit = example("trees", "tucker", 2, torch.float32)
    leaves = torch.zeros(*circuit.output_shapes[0], 3)
    with pytest.raises(TypeError, match="the same type"):
        circuit.passes.up(leaves, [w.double() for w in circuit.weights])
