"""The device part of fits and queries on tensors without numbers: see `tests.helpers.fake_gpu`.

Whatever mixes devices, reads a number back or has a shape that depends on one is an error there.
Three things cannot be followed, and are left to the simulated GPU of `test_gpu.py`: derivatives by
autograd, which needs a GPU's libraries (the solvers adam and sgd); walks down the circuit (draws,
completions), where the number of visits to a layer depends on the choices above it; and joint
normal leaves, which sort rows by their missing cells. Beta densities solve equations on the host.
"""

import numpy as np
import pytest
import torch
from packaging.version import Version

from sklearn_einet.circuit import Circuit, LeafColumns
from sklearn_einet.circuit.backend import VARIABLE
from sklearn_einet.circuit.layers.cp import CPLayer
from sklearn_einet.circuit.layers.einsum import EinsumLayer
from sklearn_einet.circuit.leaves.base import LeafGroup
from sklearn_einet.circuit.queries.cells import conditional_scores, marginal_scores
from sklearn_einet.circuit.queries.flows import leaf_log_flows
from sklearn_einet.circuit.queries.moments import expected, posterior
from sklearn_einet.circuit.scratch import SCRATCH_BYTES
from sklearn_einet.circuit.semirings import MAX
from sklearn_einet.families import Bernoulli, Beta, Categorical, Normal
from sklearn_einet.learning import FullEM, StochasticEM
from sklearn_einet.learning.expectation_maximization import maximize, step
from sklearn_einet.learning.statistics import expected_statistics, prior_statistics
from sklearn_einet.structure import poon_domingos
from sklearn_einet.structure.quadrants import quad_graph, quad_tree
from sklearn_einet.tables.rows import Rows
from tests.helpers.cells import rounded_circuit
from tests.helpers.circuits import (
    FAMILY_TABLES,
    GRAPHS,
    Structure,
    random_circuit,
    table_id,
    tree_graph,
)
from tests.helpers.fake_gpu import DEVICE, Allocations, fake_gpu
from tests.helpers.joint import joint_circuit

MIXED = {Normal(): [0], Bernoulli(): [1], Categorical(3): [2, 3]}
STRUCTURES = [
    *GRAPHS,
    Structure(quad_tree((2, 2)), "cp"),
    Structure(quad_tree((2, 2)), "tucker"),
    Structure(quad_graph((2, 2)), "cp"),
    Structure(poon_domingos((2, 2), 2), "tucker"),
]
BATCH = 7

pytestmark = pytest.mark.skipif(
    torch.version.cuda is not None and not torch.cuda.is_available(),
    reason="a torch for GPUs asks for a driver also for fake tensors",
)
exports = pytest.mark.skipif(
    Version(torch.__version__) < Version("2.13"),
    reason="older versions of torch.export do not follow all operations in place",
)


@pytest.fixture(autouse=True)
def torch_backend(monkeypatch):
    monkeypatch.setenv(VARIABLE, "torch")


def rows_of(circuit, batch=BATCH):
    return torch.empty(
        batch, circuit.region_graph.n_features, dtype=torch.float64, device=circuit.device
    )


def make_steps(circuit, weighted=False, pseudocount=0.1):
    """Two steps of stochastic EM, of which the second moves nothing to the GPU, and one of full
    EM."""
    x = rows_of(circuit)
    weight = torch.empty(BATCH, dtype=torch.float64, device=circuit.device) if weighted else None
    average = prior_statistics(circuit)
    for _ in range(2):
        with Allocations() as second:
            statistics = expected_statistics(circuit, x, weight)
            step(circuit, average, statistics, 0.1, pseudocount)
            total = statistics + statistics
    assert second.moves == []
    maximize(circuit, total, pseudocount)
    return total


def assert_on_gpu(circuit, statistics):
    groups = [getattr(group, name) for group in circuit.leaf_groups for name in ("phi", "present")]
    for tensor in [*circuit.weights, *statistics.counts, *groups, statistics.log_likelihood]:
        assert tensor.device == DEVICE
    assert all(w.dtype == torch.float32 for w in [*circuit.weights, *statistics.counts])


@pytest.mark.parametrize("graph", STRUCTURES, ids=str)
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("pseudocount", [0.0, 0.1])
def test_steps_of_all_structures(graph, weighted, pseudocount):
    numbers = random_circuit(graph, MIXED, dtype=torch.float32)
    with fake_gpu():
        circuit = numbers.to("cuda")
        assert_on_gpu(circuit, make_steps(circuit, weighted, pseudocount))


@pytest.mark.parametrize("families", FAMILY_TABLES, ids=table_id)
@pytest.mark.parametrize("layer", ["cp", "tucker"])
def test_steps_of_all_families(families, layer):
    numbers = random_circuit(tree_graph(4, 2, 2), families, dtype=torch.float32, layer=layer)
    with fake_gpu():
        circuit = numbers.to("cuda")
        if any(isinstance(family, Beta) for family in families):
            with pytest.raises(RuntimeError):
                make_steps(circuit)
        else:
            assert_on_gpu(circuit, make_steps(circuit))


@pytest.mark.parametrize("graph", [STRUCTURES[0], STRUCTURES[6]], ids=str)
def test_steps_of_leaves_on_a_grid(graph):
    numbers = rounded_circuit(graph, dtype=torch.float32)
    with fake_gpu():
        circuit = numbers.to("cuda")
        assert_on_gpu(circuit, make_steps(circuit))


def test_joint_leaves_read_numbers_back():
    """Which rows have gaps, and which gaps; everything else stays on the device."""
    numbers = joint_circuit("deep", dtype=torch.float32)
    with fake_gpu():
        circuit = numbers.to("cuda")
        with pytest.raises(RuntimeError):
            circuit.log_prob(rows_of(circuit))
        total = circuit.joint_groups[0].prior_statistics(circuit.nothing.squeeze(-1))
        assert all(tensor.device == DEVICE for tensor in total)


@pytest.mark.parametrize("solver", ["em", "sem"])
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("share", [0.0, 1.0], ids=["streamed", "resident"])
@pytest.mark.parametrize("graph", [STRUCTURES[1], STRUCTURES[4]], ids=str)
def test_an_epoch_reads_one_number_back(monkeypatch, solver, weighted, share, graph):
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (2**30, 2**30))
    monkeypatch.setattr("sklearn_einet.tables.rows.RESIDENT_SHARE", share)
    numbers, X = random_circuit(graph, MIXED, dtype=torch.float32), np.zeros((100, 4))
    weight, reads = (np.ones(100) if weighted else None), []
    make = {"em": FullEM(0.1), "sem": StochasticEM(0.1, 0.3, 30, 100, 0.5)}
    with fake_gpu(reads):
        circuit = numbers.to("cuda")
        rows = Rows(X, lambda part: part, weight, DEVICE, np.random.RandomState(0))
        for epoch in range(2):
            make[solver].epoch(circuit, rows)
            assert reads == ["__float__"] * (epoch + 1)


def test_both_ways():
    """Moved there and back, of another type and not; all that a circuit holds goes with it."""
    numbers = random_circuit(GRAPHS[0], MIXED, dtype=torch.float32)
    held = [numbers, joint_circuit("deep", dtype=torch.float32), rounded_circuit(GRAPHS[0])]
    with fake_gpu():
        for original in held:
            for dtype in (None, torch.float64):
                there = original.to("cuda", dtype)
                back = there.to("cpu", torch.float32)
                for circuit, device in ((there, DEVICE), (back, torch.device("cpu"))):
                    assert {t.device for t in tensors_of(circuit)} == {device}
                assert back.weights[0].dtype == torch.float32
                assert there.weights[0].dtype == (dtype or original.dtype)


def tensors_of(circuit):
    groups = [*circuit.leaf_groups, *circuit.joint_groups]
    held = [value for group in groups for value in vars(group).values()]
    held += [t for group in circuit.leaf_groups for t in group.terms]
    held += [t for group in circuit.joint_groups for t in (*group.tensors, group.prior.scale)]
    return [each for each in [*circuit.weights, *held] if isinstance(each, torch.Tensor)]


@pytest.mark.parametrize("graph", STRUCTURES, ids=str)
def test_queries_with_fixed_shapes(graph):
    numbers = random_circuit(graph, MIXED, dtype=torch.float32)
    with fake_gpu():
        circuit = numbers.to("cuda").settled()
        x, parameters = rows_of(circuit), circuit.parameters()
        columns = x.T.contiguous()
        leaves, base = circuit.leaf_log_densities(columns, parameters)
        activations = circuit.propagate(leaves)
        flows = leaf_log_flows(circuit, activations)
        shares = posterior(circuit, activations)
        found = [
            circuit.log_prob(x),
            base,
            circuit.usable(columns),
            circuit.propagate(leaves, semiring=MAX).root,
            flows,
            conditional_scores(circuit, columns, parameters),
            marginal_scores(circuit, columns, parameters, flows),
            *(expected(group, shares.double(), group.phi) for group in circuit.leaf_groups),
        ]
        assert {each.device for each in found} == {DEVICE}


# --- memory and types


def largest(allocations):
    return max(allocations.sizes)


def bound(circuit, batch):
    """What the guide page says of the largest tensor of a step, in bytes."""
    activations = 4 * batch * max(rows * k for rows, k in circuit.output_shapes)
    children = 4 * batch * circuit.K * max(len(layer.children) for layer in circuit.layers)
    weights = 4 * max(w.numel() for w in circuit.weights)
    leaves = 8 * max(2 * group.phi.numel() for group in circuit.leaf_groups)
    statistics = 8 * batch * 4 * circuit.region_graph.n_features
    values = 8 * batch * circuit.K * len(circuit.leaf_groups[0].index)
    scratch = max(64 * SCRATCH_BYTES, 4 * batch * circuit.K**2)
    return max(activations, children, weights, leaves, statistics, values, scratch)


def normal_circuit(graph, K, layer):
    d = graph.n_features
    columns = LeafColumns(Normal(), np.arange(d), np.tile([0.0, 1.0], (d, 1)))
    return Circuit(graph, [columns], K, layer=layer, min_variance=1e-3)


def study(K=40, layer="tucker"):
    """The circuit of Fig. 4 in the paper, with more units."""
    return normal_circuit(tree_graph(512, 4, 10), K, layer)


LARGE = {
    "Fig. 4, K=40": (study, 2000),
    "Fig. 4, K=64, CP": (lambda: study(64, "cp"), 2000),
    "quad tree, K=64": (lambda: normal_circuit(quad_tree((28, 28)), 64, "cp"), 512),
    "quad graph, K=16": (lambda: normal_circuit(quad_graph((28, 28)), 16, "cp"), 512),
    "quad tree, K=16, Tucker": (lambda: normal_circuit(quad_tree((28, 28)), 16, "tucker"), 512),
}


def measured(make, batch):
    """Return a circuit after a step, what the step allocated, and what its passes did."""
    numbers = make()
    with fake_gpu():
        circuit = numbers.to("cuda")
        average, x = prior_statistics(circuit), rows_of(circuit, batch)
        with Allocations() as whole:
            step(circuit, average, expected_statistics(circuit, x), 0.1, 0.1)
        leaves = circuit.nothing.repeat(1, 1, batch)
        with Allocations() as passes:
            state = circuit.passes.up(leaves, circuit.weights, for_down=True)
            circuit.passes.down(state, torch.ones_like(leaves[0, 0]), circuit.weights)
    return circuit, whole, passes


@pytest.mark.parametrize("name", LARGE)
def test_the_largest_tensor_and_float32(name):
    """No step has the products of all pairs of units for a whole layer."""
    make, batch = LARGE[name]
    circuit, whole, passes = measured(make, batch)
    assert largest(whole)[0] <= bound(circuit, batch), largest(whole)
    assert largest(passes)[0] <= bound(circuit, batch), largest(passes)
    floats = {dtype for _, _, dtype in passes.sizes if dtype.is_floating_point}
    assert floats == {torch.float32}


# --- a second witness: the step as a graph of operations


class Step(torch.nn.Module):
    """A step of stochastic EM as a function of the rows."""

    def __init__(self, circuit):
        super().__init__()
        self.circuit, self.average = circuit, prior_statistics(circuit)

    def forward(self, x):
        statistics = expected_statistics(self.circuit, x)
        step(self.circuit, self.average, statistics, 0.1, 0.1)
        phi = [group.phi for group in self.circuit.leaf_groups]
        return [w.clone() for w in self.circuit.weights], phi, statistics.log_likelihood


def exported(circuit):
    return torch.export.export(Step(circuit), (rows_of(circuit),), strict=False)


@exports
@pytest.mark.parametrize("graph", [STRUCTURES[0], STRUCTURES[4], STRUCTURES[6]], ids=str)
def test_a_step_is_exported_as_one_graph(graph):
    """Shapes are numbers, nothing is read, and all is on one device. Tensors of "meta" stand for
    those of a GPU, as to export from a fake one needs its libraries."""
    circuit = random_circuit(graph, MIXED, dtype=torch.float32).to("meta")
    make_steps(circuit)  # positions of children are copied to the device once
    program = exported(circuit)
    values = [node.meta["val"] for node in program.graph.nodes if "val" in node.meta]
    tensors = [value for value in values if isinstance(value, torch.Tensor)]
    assert len(tensors) > 50
    assert {tensor.device.type for tensor in tensors} == {"meta"}
    assert all(type(size) is int for tensor in tensors for size in tensor.shape)
    names = {str(node.target) for node in program.graph.nodes}
    assert not [n for n in names if any(word in n for word in ("aten.item", "scalar", "nonzero"))]
    assert not program.range_constraints


# --- planted faults are found


# What spoils the cells that leaves are given.
FAULTS = {
    "read": lambda x: x * float(bool((x > -1e300).any())),
    "devices": lambda x: x + torch.zeros(x.shape[1]),
    "mask": lambda x: torch.where(x[x > 0].sum() > 0, x, x),
    "index": lambda x: x[np.arange(len(x))],
    "move": lambda x: x + torch.as_tensor(np.zeros(1), device=x.device),
}


def plant(monkeypatch, fault):
    original, change = LeafGroup.cells, FAULTS[fault]
    monkeypatch.setattr(LeafGroup, "cells", lambda self, x: original(self, change(x)))


@pytest.mark.parametrize("fault", ["read", "devices", "mask", "index"])
def test_planted_faults_in_steps(monkeypatch, fault):
    plant(monkeypatch, fault)
    with pytest.raises(Exception, match=r"device|host|linked|local_scalar|nonzero"):
        test_steps_of_all_structures(STRUCTURES[4], False, 0.1)


def test_planted_moves_in_steps(monkeypatch):
    plant(monkeypatch, "move")
    with pytest.raises(AssertionError, match="_to_copy"):
        test_steps_of_all_structures(STRUCTURES[4], False, 0.1)


def test_planted_reads_in_epochs(monkeypatch):
    plant(monkeypatch, "read")
    with pytest.raises(AssertionError, match="__bool__"):
        test_an_epoch_reads_one_number_back(monkeypatch, "sem", False, 1.0, STRUCTURES[4])


def whole_layers(original):
    def forward(self, x, weights, semiring):
        left, right = self.layout.gathered(x).unflatten(0, (-1, 2)).unbind(1)
        torch.mul(left.unsqueeze(2), right.unsqueeze(1))
        return original(self, x, weights, semiring)

    return forward


def in_double(original):
    def forward(self, x, weights, semiring):
        values, sums = original(self, x.double(), weights.double(), semiring)
        return values.float(), sums.float()

    return forward


@pytest.mark.parametrize(
    ("layer", "fault", "name"),
    [
        (EinsumLayer, whole_layers, "Fig. 4, K=40"),
        (EinsumLayer, in_double, "quad tree, K=16, Tucker"),
        (CPLayer, in_double, "quad graph, K=16"),
    ],
)
def test_planted_tensors(monkeypatch, layer, fault, name):
    monkeypatch.setattr(layer, "forward", fault(layer.forward))
    with pytest.raises(AssertionError):
        test_the_largest_tensor_and_float32(name)


@exports
def test_planted_reads_in_exports(monkeypatch):
    circuit = random_circuit(STRUCTURES[4], MIXED, dtype=torch.float32).to("meta")
    make_steps(circuit)
    plant(monkeypatch, "read")
    with pytest.raises(Exception, match=r"data-dependent|meta|item"):
        exported(circuit)
