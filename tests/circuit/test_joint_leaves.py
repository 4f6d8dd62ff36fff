"""Circuits with joint leaves against flat mixtures of normal densities."""

import pickle

import numpy as np
import pytest
import torch

from sklearn_einet.circuit import Circuit
from sklearn_einet.circuit.queries.cells import conditional_scores, marginal_scores
from sklearn_einet.circuit.queries.flows import leaf_log_flows
from sklearn_einet.circuit.transforms.marginal import marginal_circuit
from sklearn_einet.circuit.transforms.mixture import component_circuits, mixture_circuit
from sklearn_einet.families import MultivariateNormal, Normal
from sklearn_einet.structure import Region, RegionGraph
from tests.helpers.circuits import random_circuit
from tests.helpers.joint import CASES, flat, joint_circuit, rows_of

EVERY_CASE = pytest.mark.parametrize("case", CASES)


@EVERY_CASE
def test_density_is_that_of_a_flat_mixture(case):
    circuit = joint_circuit(case)
    rows = rows_of(circuit, 30)
    found = circuit.log_prob(rows)
    np.testing.assert_allclose(found, flat(circuit).log_prob(rows), rtol=1e-10, atol=1e-10)
    assert found[0] == pytest.approx(0, abs=1e-12)


@EVERY_CASE
def test_rows_without_gaps_and_in_blocks(case, monkeypatch):
    circuit = joint_circuit(case)
    rows = rows_of(circuit, 40, share=0)[1:]
    expected = flat(circuit).log_prob(rows)
    np.testing.assert_allclose(circuit.log_prob(rows), expected, rtol=1e-10, atol=1e-10)
    monkeypatch.setattr(Circuit, "block_rows", 7)
    np.testing.assert_allclose(circuit.log_prob(rows), expected, rtol=1e-10, atol=1e-10)


@EVERY_CASE
def test_float32_is_close(case):
    rows = rows_of(joint_circuit(case), 30)
    found = joint_circuit(case, dtype=torch.float32).log_prob(rows)
    expected = joint_circuit(case).log_prob(rows)
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-4)


@EVERY_CASE
def test_impossible_and_far_values(case):
    circuit = joint_circuit(case)
    mixture = flat(circuit)
    if type(mixture.families[3]) is not Normal:  # log-normal
        row = rows_of(circuit, 2, share=0)[1:]
        row[0, 3] = -1.0
        assert circuit.log_prob(row).item() == -np.inf
        row[0, 0] = torch.nan
        assert circuit.log_prob(row).item() == -np.inf
    rows = rows_of(circuit, 6, share=0)[1:]
    rows[:, 0] = 1e6
    rows[0, 1] = rows[1, 3] = torch.nan
    np.testing.assert_allclose(circuit.log_prob(rows), mixture.log_prob(rows), rtol=1e-9)
    rows[:, 0] = 1e200
    assert (circuit.log_prob(rows) == -np.inf).all()


@EVERY_CASE
@pytest.mark.parametrize("columns", [[0], [3, 0], [1, 3], [3, 2, 1], [2], [2, 0, 3, 1]], ids=str)
def test_marginals_are_circuits(case, columns):
    circuit = joint_circuit(case)
    rows = rows_of(circuit, 30)
    gone = np.setdiff1d(np.arange(4), columns)
    whole = rows.clone()
    whole[:, gone] = torch.nan
    part = marginal_circuit(circuit, np.array(columns))
    found, expected = part.log_prob(rows[:, columns]), circuit.log_prob(whole)
    torch.testing.assert_close(found, expected, rtol=1e-11, atol=1e-11)
    again = marginal_circuit(part, np.array([0]))
    alone = torch.full_like(rows, torch.nan)
    alone[:, columns[0]] = rows[:, columns[0]]
    found, expected = again.log_prob(rows[:, columns[:1]]), circuit.log_prob(alone)
    torch.testing.assert_close(found, expected, rtol=1e-11, atol=1e-11)


def scores(circuit, rows, method=conditional_scores):
    arguments = [circuit, rows.T.contiguous(), circuit.parameters()]
    if method is marginal_scores:
        arguments.append(leaf_log_flows(circuit, circuit.propagate(circuit.nothing)))
    return method(*arguments).T


@EVERY_CASE
def test_scores_of_cells_are_ratios_of_densities(case):
    circuit = joint_circuit(case)
    mixture = flat(circuit)
    rows = rows_of(circuit, 20)
    rows = torch.cat([rows, rows_of(circuit, 4, seed=5, share=0)[1:]])
    conditional, marginal = scores(circuit, rows), scores(circuit, rows, marginal_scores)
    for column in range(4):
        missing = torch.isnan(rows[:, column])
        assert torch.isnan(conditional[missing, column]).all()
        assert torch.isnan(marginal[missing, column]).all()
        own = rows[~missing]
        others, alone = own.clone(), torch.full_like(own, torch.nan)
        others[:, column] = torch.nan
        alone[:, column] = own[:, column]
        expected = mixture.log_prob(others) - mixture.log_prob(own)
        np.testing.assert_allclose(conditional[~missing, column], expected, rtol=1e-8, atol=1e-8)
        expected = -mixture.log_prob(alone)
        np.testing.assert_allclose(marginal[~missing, column], expected, rtol=1e-8, atol=1e-8)


@EVERY_CASE
def test_scores_in_blocks(case, monkeypatch):
    circuit = joint_circuit(case)
    rows = rows_of(circuit, 40)
    expected = [scores(circuit, rows, m) for m in (conditional_scores, marginal_scores)]
    monkeypatch.setattr("sklearn_einet.circuit.leaves.joint_normal.JOINT_BYTES", 1)
    found = [scores(circuit, rows, m) for m in (conditional_scores, marginal_scores)]
    for a, b in zip(found, expected, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-12, atol=1e-12, equal_nan=True)


@pytest.mark.parametrize("size", [1e3, 1e8, 1e100])
def test_absurd_cells_do_not_judge_the_others(size):
    circuit = joint_circuit("groups")
    rows = rows_of(circuit, 6, share=0)[1:]
    rows[:, 0] = size
    found = scores(circuit, rows)
    others = rows.clone()
    others[:, 0] = torch.nan
    if size > 1e5:
        without = scores(circuit, others)
        np.testing.assert_allclose(found[:, 1:], without[:, 1:], rtol=1e-12)
    expected = circuit.log_prob(others) - circuit.log_prob(rows)
    np.testing.assert_allclose(found[:, 0], expected, rtol=1e-6)


@EVERY_CASE
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_saved_and_moved_circuits_are_the_same(case, dtype):
    circuit = joint_circuit(case, dtype=dtype)
    rows = rows_of(joint_circuit(case), 20)
    loaded = pickle.loads(pickle.dumps(circuit))
    torch.testing.assert_close(loaded.log_prob(rows), circuit.log_prob(rows), rtol=0, atol=0)
    assert loaded.n_free_parameters == circuit.n_free_parameters
    for own, other in zip(loaded.joint_groups, circuit.joint_groups, strict=True):
        torch.testing.assert_close(own.prior.scale, other.prior.scale, rtol=0, atol=0)
        assert own.prior.rows == other.prior.rows
    circuit.joint_groups[0].frozen = True
    assert pickle.loads(pickle.dumps(circuit)).joint_groups[0].frozen
    moved = circuit.to("cpu", torch.float64)
    torch.testing.assert_close(moved.log_prob(rows), circuit.log_prob(rows), rtol=1e-5, atol=1e-4)
    group = moved.joint_groups[0]
    group.normals = MultivariateNormal(group.normals.mean + 1, group.normals.covariance)
    torch.testing.assert_close(loaded.log_prob(rows), circuit.log_prob(rows), rtol=0, atol=0)


@pytest.mark.parametrize("case", [case for case in CASES if not case.startswith("lone")])
def test_mixtures_and_taking_them_apart(case):
    circuits = [joint_circuit(case, seed=seed) for seed in range(3)]
    for circuit in circuits[1:]:
        for group, first in zip(circuit.leaf_groups, circuits[0].leaf_groups, strict=True):
            group.reference = first.reference
            group.derive()
        for group, first in zip(circuit.joint_groups, circuits[0].joint_groups, strict=True):
            group.center, group.spread = first.center, first.spread
    weights = np.array([0.5, 0.3, 0.2])
    mixture = mixture_circuit(circuits, weights)
    rows = rows_of(mixture, 20)
    values = torch.stack([circuit.log_prob(rows) for circuit in circuits])
    expected = (values + torch.as_tensor(weights).log().unsqueeze(1)).logsumexp(0)
    torch.testing.assert_close(mixture.log_prob(rows), expected, rtol=1e-11, atol=1e-11)
    assert mixture.n_free_parameters > sum(circuit.n_free_parameters for circuit in circuits)
    n_partitions = len(circuits[0].region_graph.root.partitions)
    parts = component_circuits(mixture, np.repeat(np.arange(3), n_partitions))
    for part, circuit in zip(parts, circuits, strict=True):
        torch.testing.assert_close(
            part.log_prob(rows), circuit.log_prob(rows), rtol=1e-11, atol=1e-11
        )


def test_priors_follow_their_densities():
    circuits = [joint_circuit("categories", seed=seed) for seed in range(2)]
    for number, circuit in enumerate(circuits):
        (group,) = circuit.joint_groups
        scale = (1.0 + number) * torch.eye(3, dtype=torch.float64).expand(2, 3, 3)
        scale = scale * torch.tensor([1.0, 10.0], dtype=torch.float64).view(2, 1, 1)
        group.prior = type(group.prior)(scale, torch.tensor([1, 0]), 0.5, 1e-5)
    mixture = mixture_circuit(circuits, np.array([0.5, 0.5]))
    for circuit in (mixture, marginal_circuit(mixture, np.array([3, 0]))):
        (group,) = circuit.joint_groups
        size = group.prior.scale[group.prior.pool][:, 0, 0]
        np.testing.assert_allclose(size, [10, 1, 20, 2])
        assert (group.prior.rows, group.prior.floor) == (0.5, 1e-5)


def test_joint_regions_of_independent_columns_are_products():
    families = {Normal(): [0, 1, 2]}
    joint = random_circuit(RegionGraph(Region(range(3), joint=True)), families, layer="cp")
    apart = random_circuit(RegionGraph(Region(range(3))), families, layer="cp")
    (own,), (group,) = apart.leaf_groups, joint.joint_groups
    mean, square = own.phi[0, :, 0].T, own.phi[0, :, 1].T
    group.normals = MultivariateNormal(mean, torch.diag_embed(square - mean**2))
    joint.weights = list(apart.weights)
    rows = rows_of(joint, 20)
    torch.testing.assert_close(joint.log_prob(rows), apart.log_prob(rows), rtol=1e-12, atol=1e-12)


def test_number_of_parameters():
    circuit = joint_circuit("categories", K=2)
    (group,) = circuit.joint_groups
    assert group.n_free_parameters == 2 * (3 + 6)
    univariate = 2 * 2 * 2 + 2 * 3 * 2  # categories of two regions, three normal columns
    sums = 2 * 5 + 3  # units of the children that are mixed, and of the root
    assert circuit.n_free_parameters == 18 + univariate + sums
    assert circuit.is_finite()
    group.normals.mean[0, 0] = torch.nan
    assert not circuit.is_finite()
