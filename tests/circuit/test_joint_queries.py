"""Draws, moments, completions and boxes of circuits with joint leaves, against flat mixtures."""

from itertools import pairwise
from types import MappingProxyType

import numpy as np
import pytest
import torch

from sklearn_einet.circuit.queries.intervals import interval_log_values
from sklearn_einet.circuit.queries.joint_moments import covariances_within
from sklearn_einet.circuit.queries.maxima import add_peaks, peak_log_densities
from sklearn_einet.circuit.queries.moments import Moments, covariance, posterior
from sklearn_einet.circuit.queries.sampling import (
    MostProbableChoices,
    PosteriorChoices,
    Values,
    fill,
    sample,
    walk,
)
from sklearn_einet.circuit.semirings import MAX
from sklearn_einet.families import LogNormal, MultivariateNormal
from tests.helpers.joint import CASES, flat, joint_circuit, rows_of

EVERY_CASE = pytest.mark.parametrize("case", CASES)
SOME_CASES = pytest.mark.parametrize("case", ["categories", "groups", "deep-tucker", "lone"])

inf, nan = np.inf, np.nan


def columns_and_leaves(circuit, rows):
    columns = rows.T.contiguous()
    return columns, circuit.leaf_log_densities(columns, circuit.parameters())[0]


# --- moments


def check_moments(circuit, rows, mean, variance):
    mixture = flat(circuit)
    for i, row in enumerate(rows.numpy()):
        given = mixture.given(row)
        for column in mixture.numeric:
            if np.isnan(row[column]):
                first, second = given.moments(column)
                assert mean[column, i] == pytest.approx(first, rel=1e-6, abs=1e-8)
                assert variance[column, i] == pytest.approx(second, rel=1e-6, abs=1e-8)


@EVERY_CASE
def test_conditional_moments(case):
    circuit = joint_circuit(case)
    rows = rows_of(circuit, 12)
    columns, leaves = columns_and_leaves(circuit, rows)
    share = posterior(circuit, circuit.propagate(leaves))
    check_moments(circuit, rows, *Moments(circuit)(share, columns))


@EVERY_CASE
def test_moments_without_evidence(case):
    circuit = joint_circuit(case)
    share = posterior(circuit, circuit.propagate(circuit.nothing))
    mean, variance = Moments(circuit)(share)
    check_moments(circuit, torch.full((1, 4), nan).double(), mean, variance)


@EVERY_CASE
def test_conditional_probabilities_of_categories(case):
    circuit = joint_circuit(case)
    mixture = flat(circuit)
    rows = rows_of(circuit, 8)
    for column in mixture.probabilities:
        rows[:, column] = nan
        filled = rows.repeat_interleave(3, 0)
        filled[:, column] = torch.arange(3).repeat(len(rows))
        found = (circuit.log_prob(filled) - circuit.log_prob(rows).repeat_interleave(3)).exp()
        for row, p in zip(rows.numpy(), found.view(-1, 3), strict=True):
            given = mixture.given(row)
            expected = np.exp(given.log_weights) @ given.probabilities[column]
            np.testing.assert_allclose(p, expected, rtol=1e-9)


@EVERY_CASE
def test_covariance(case):
    circuit = joint_circuit(case)
    mixture = flat(circuit)
    found = covariance(circuit)
    np.testing.assert_array_equal(found, found.T)
    for column in mixture.numeric:
        assert found[column, column] == pytest.approx(mixture.moments(column)[1], rel=1e-6)
    for i in mixture.numeric:
        for j in mixture.numeric:
            if i < j:
                scale = float((found[i, i] * found[j, j]).sqrt())
                expected = mixture.covariance_of(i, j)
                assert found[i, j] == pytest.approx(expected, abs=1e-6 * scale)


def test_covariance_in_blocks(monkeypatch):
    circuit = joint_circuit("groups")
    whole = covariance(circuit)
    monkeypatch.setattr(type(circuit), "block_rows", 2)
    np.testing.assert_allclose(covariance(circuit), whole, rtol=1e-12, atol=1e-14)


def test_covariances_of_log_normal_columns_in_closed_form():
    """Wide ones, and correlations of 1 and -1."""
    circuit = joint_circuit("lone-curved")
    (group,) = circuit.joint_groups
    families = [f for f, n in zip(group.families, group.sizes, strict=True) for _ in range(n)]
    place = [type(family) for family in families].index(LogNormal)
    others = [i for i in range(3) if i != place]
    for sd, r in ((0.1, 0.5), (1.0, 1.0), (1.5, -0.999999), (2.0, 0.9)):
        matrix = np.eye(3)
        matrix[place, others[0]] = matrix[others[0], place] = r * sd
        matrix[place, place] = sd**2
        matrix += 1e-12 * np.eye(3)
        mean = torch.zeros(2, 3, dtype=torch.float64)
        group.normals = MultivariateNormal(mean, torch.as_tensor(matrix).expand(2, 3, 3).clone())
        group.families = [type(f)() if isinstance(f, LogNormal) else f for f in group.families]
        within = covariances_within(group, {})[0]
        size = np.exp(sd**2)
        assert within[place, place] == pytest.approx((size - 1) * size, rel=1e-6)
        if others[0] == 0:  # E[y exp(x)] = cov(x, y) E[exp(x)]
            assert within[0, place] == pytest.approx(r * sd * np.sqrt(size), rel=1e-6)


# --- draws


@SOME_CASES
def test_draws(case):
    """Means and covariances of draws on the axes, and shares of categories."""
    circuit = joint_circuit(case)
    mixture = flat(circuit)
    n = 40_000
    rows = sample(circuit, n, np.random.RandomState(0))
    assert not np.isnan(rows).any()
    check_draws(rows, mixture)


def check_draws(rows, mixture):
    n = len(rows)
    z, numeric = mixture.axis(rows), mixture.numeric
    weights = np.exp(mixture.log_weights)
    mean = weights @ mixture.mean
    deviation = mixture.mean - mean
    spread = np.einsum("k,ki,kj->ij", weights, deviation, deviation)
    spread += np.einsum("k,kij->ij", weights, mixture.covariance)
    for i in numeric:
        error = np.sqrt(spread[i, i] / n)
        assert z[:, i].mean() == pytest.approx(mean[i], abs=5 * error + 1e-12)
        for j in numeric:
            products = (z[:, i] - mean[i]) * (z[:, j] - mean[j])
            error = products.std() / np.sqrt(n)
            assert products.mean() == pytest.approx(spread[i, j], abs=5 * error + 1e-12)
    for column, probabilities in mixture.probabilities.items():
        expected = weights @ probabilities
        found = np.bincount(rows[:, column].astype(int), minlength=len(expected)) / n
        np.testing.assert_allclose(found, expected, atol=5 * 0.5 / np.sqrt(n))


@SOME_CASES
@pytest.mark.parametrize("missing", [[1], [0, 3], [1, 2, 3]], ids=str)
def test_conditional_draws(case, missing):
    circuit = joint_circuit(case)
    mixture = flat(circuit)
    rows = rows_of(circuit, 3, share=0)[1:]
    rows[:, missing] = nan
    columns, leaves = columns_and_leaves(circuit, rows)
    random_state = np.random.RandomState(0)
    choices = PosteriorChoices(circuit.propagate(leaves), random_state)
    n = 15_000
    drawn = np.tile(rows.numpy(), (n, 1))
    visits = walk(circuit, len(drawn), choices)
    fill(circuit, visits, drawn, Values(random_state), columns)
    assert not np.isnan(drawn).any()
    for i, row in enumerate(rows.numpy()):
        own = drawn[i :: len(rows)]
        seen = ~np.isnan(row)
        np.testing.assert_array_equal(own[:, seen], np.tile(row[seen], (n, 1)))
        check_draws(own, mixture.given(row))


# --- most probable completions


def peaks(mixture, row):
    """Completions of a row by every term, at the conditional means on the axes and the most
    probable categories, and their log-densities."""
    given = mixture.given(row)
    filled = np.tile(row, (len(given.log_weights), 1))
    for column in range(4):
        if not np.isnan(row[column]):
            continue
        if column in mixture.probabilities:
            filled[:, column] = mixture.probabilities[column].argmax(1)
        else:
            y = torch.as_tensor(given.mean[:, column])
            filled[:, column] = mixture.families[column].from_axis(y)
    return filled, np.diagonal(mixture.term_log_densities(filled))


def most_probable(circuit, rows):
    """Rows with their most probable completions, and the values that the maximum has."""
    columns, leaves = columns_and_leaves(circuit, rows)
    base = circuit.leaf_log_densities(columns, circuit.parameters())[1]
    add_peaks(circuit, leaves, torch.isnan(columns), columns, peak_log_densities(circuit))
    activations = circuit.propagate(leaves, semiring=MAX)
    found = rows.numpy().copy()
    visits = walk(circuit, len(rows), MostProbableChoices(activations))
    fill(circuit, visits, found, Values(None), columns)
    return found, (activations.root + base).numpy()


@pytest.mark.parametrize("case", ["lone", "lone-curved"])
def test_most_probable_completions(case):
    circuit = joint_circuit(case)
    mixture = flat(circuit)
    rows = rows_of(circuit, 15)
    found, reached = most_probable(circuit, rows)
    for i, row in enumerate(rows.numpy()):
        filled, values = peaks(mixture, row)
        best = values.argmax()
        assert float(reached[i]) == pytest.approx(values[best], abs=1e-8)
        np.testing.assert_allclose(found[i], filled[best], rtol=1e-8, atol=1e-8)


@EVERY_CASE
def test_completions_have_the_density_that_was_maximised(case):
    circuit = joint_circuit(case)
    mixture = flat(circuit)
    rows = rows_of(circuit, 15)
    found, reached = most_probable(circuit, rows)
    seen = ~torch.isnan(rows)
    np.testing.assert_array_equal(found[seen], rows[seen])
    terms = mixture.term_log_densities(found)
    assert np.isclose(terms, reached[:, None], rtol=1e-8, atol=1e-8).any(1).all()


# --- boxes


def box(circuit, low, high):
    ends = [torch.as_tensor(np.atleast_2d(end)).double().T for end in (low, high)]
    leaves, error = interval_log_values(circuit, *ends)
    return circuit.propagate(leaves).root.exp().numpy(), error


def integral(circuit, pieces, fixed=MappingProxyType({})):
    """The integral of the density over a box, by Gauss-Legendre rules.

    `pieces` has the ends of intervals for each bounded column, `fixed` the values of others.
    """
    x, weight = np.polynomial.legendre.leggauss(20)
    grid, mass = np.full((1, 4), nan), np.ones(1)
    for column, value in fixed.items():
        grid[:, column] = value
    for column, ends in pieces.items():
        nodes = np.concatenate([(b - a) / 2 * x + (b + a) / 2 for a, b in pairwise(ends)])
        weights = np.concatenate([(b - a) / 2 * weight for a, b in pairwise(ends)])
        n = len(grid)
        grid, mass = np.repeat(grid, len(nodes), 0), np.repeat(mass, len(nodes))
        grid[:, column] = np.tile(nodes, n)
        mass = mass * np.tile(weights, n)
    return mass @ circuit.log_prob(torch.as_tensor(grid)).exp().numpy()


@EVERY_CASE
@pytest.mark.parametrize("column", [0, 1, 3])
def test_boxes_of_one_column(case, column):
    circuit = joint_circuit(case)
    low, high = np.full((3, 4), -inf), np.full((3, 4), inf)
    low[:, column], high[:, column] = [0.1, -inf, 1.0], [1.7, 0.3, inf]
    found, error = box(circuit, low, high)
    assert error == 0
    exact = integral(circuit, {column: [0.1, 0.5, 1, 1.5, 1.7]})
    assert found[0] == pytest.approx(exact, abs=1e-8)
    below = found[1] + integral(circuit, {column: [0.3, 0.5, 1.0]}) + found[2]
    assert below == pytest.approx(1, abs=1e-8)


@EVERY_CASE
def test_boxes_of_two_columns(case):
    circuit = joint_circuit(case)
    low, high = np.full((1, 4), -inf), np.full((1, 4), inf)
    low[0, [0, 3]], high[0, [0, 3]] = [-0.5, 0.2], [0.4, 0.9]
    pieces = {0: [-0.5, 0, 0.4], 3: [0.2, 0.4, 0.9]}
    found, error = box(circuit, low, high)
    assert error == 0
    assert found[0] == pytest.approx(integral(circuit, pieces), abs=1e-8)
    if flat(circuit).probabilities:
        low[0, 2], high[0, 2] = 0.5, 1.5  # the category 1
        found, error = box(circuit, low, high)
        assert error == 0
        assert found[0] == pytest.approx(integral(circuit, pieces, {2: 1.0}), abs=1e-8)


@EVERY_CASE
def test_boxes_of_three_columns(case):
    circuit = joint_circuit(case)
    low, high = np.full((1, 4), -inf), np.full((1, 4), inf)
    low[0, [0, 1, 3]], high[0, [0, 1, 3]] = [-0.7, -0.5, 0.3], [0.8, 2.5, 2.0]
    found, error = box(circuit, low, high)
    assert error < 1e-5
    exact = integral(circuit, {0: [-0.7, 0.8], 1: [-0.5, 1.5, 2.5], 3: [0.3, 2.0]})
    assert found[0] == pytest.approx(exact, abs=2e-5)


@EVERY_CASE
def test_boxes_without_bounds_and_without_volume(case):
    circuit = joint_circuit(case)
    low, high = np.full((3, 4), -inf), np.full((3, 4), inf)
    low[1, 3] = high[1, 3] = 0.5
    low[2, 0], high[2, 0] = 1e3, inf
    found, _ = box(circuit, low, high)
    np.testing.assert_allclose(found, [1, 0, 0], atol=1e-12)
