"""Quantiles of single cells, against probabilities from one upward pass for each cell and value."""

import numpy as np
import pytest
import torch

from sklearn_einet.circuit.queries import quantiles
from sklearn_einet.circuit.queries.events import Event, event_log_densities
from sklearn_einet.circuit.queries.moments import posterior
from sklearn_einet.circuit.queries.quantiles import cell_mixtures
from sklearn_einet.families import Categorical
from tests.helpers.circuits import (
    FAMILY_TABLES,
    GRAPHS,
    family_of,
    random_circuit,
    rows_with_gaps,
    table_id,
)
from tests.helpers.joint import CASES, joint_circuit

LEVELS = np.array([0.1, 0.5, 0.9])


def mixtures_of(circuit, rows):
    """The missing cells, (n_cells, 2), and their distributions with the cells of each."""
    evidence = rows.T.contiguous()
    leaves, _ = circuit.leaf_log_densities(evidence, circuit.parameters())
    flows = posterior(circuit, circuit.propagate(leaves))
    cells = torch.nonzero(torch.isnan(rows))
    return cells, list(cell_mixtures(circuit, flows, evidence, *cells.T))


def share_below(circuit, row, column, value):
    """P(x_column <= value | row)."""
    low, high = np.full((2, 4), np.inf)
    high[column] = value
    leaves, base, _ = event_log_densities(circuit, row.unsqueeze(1), Event(-low, high))
    both = circuit.propagate(leaves).root + base
    return (both - circuit.log_prob(row.unsqueeze(0))).exp().item()


def check(circuit, rows):
    cells, found = mixtures_of(circuit, rows)
    assert sorted(torch.cat([some for some, _ in found]).tolist()) == list(range(len(cells)))
    level = torch.as_tensor(LEVELS).unsqueeze(1)
    for some, mixtures in found:
        values = mixtures.quantiles(level.expand(-1, len(some)))
        for (row, column), own in zip(cells[some].tolist(), values.T.tolist(), strict=True):
            family = family_of(circuit, column)
            assert family == mixtures.family
            at = [share_below(circuit, rows[row], column, value) for value in own]
            if family.is_discrete:
                below = [share_below(circuit, rows[row], column, value - 1) for value in own]
                assert (np.array(at) >= LEVELS - 1e-9).all()
                assert (np.array(below) < LEVELS + 1e-9).all()
            else:
                np.testing.assert_allclose(at, LEVELS, atol=1e-9)


@pytest.mark.parametrize("graph", GRAPHS, ids=str)
@pytest.mark.parametrize("families", FAMILY_TABLES, ids=table_id)
def test_quantiles_of_every_family(graph, families):
    circuit = random_circuit(graph, families)
    check(circuit, rows_with_gaps(circuit, 4, share=0.6))


@pytest.mark.parametrize("case", CASES)
def test_quantiles_under_joint_densities(case):
    circuit = joint_circuit(case)
    check(circuit, rows_with_gaps(circuit, 4, share=0.6))


@pytest.mark.parametrize("case", CASES)
def test_blocks_do_not_matter(case, monkeypatch):
    circuit = joint_circuit(case)
    rows = rows_with_gaps(circuit, 7, share=0.6)
    cells, whole = mixtures_of(circuit, rows)
    monkeypatch.setattr(quantiles, "PARAMETERS_AT_A_TIME", 1)
    monkeypatch.setattr(type(circuit.joint_groups[0]), "block_rows", 2)
    _, parts = mixtures_of(circuit, rows)
    assert len(parts) == len(cells) > len(whole)
    results = []
    for found in (whole, parts):
        values = np.empty(len(cells))
        for some, mixtures in found:
            values[some] = mixtures.quantiles(torch.full((len(some),), 0.3).double())
        results.append(values)
    np.testing.assert_allclose(*results, rtol=1e-12)


def test_probabilities_of_states():
    circuit = random_circuit(GRAPHS[0], {Categorical(3): [0, 1, 2, 3]})
    rows = rows_with_gaps(circuit, 5, share=0.6)
    cells, ((some, mixtures),) = mixtures_of(circuit, rows)
    found = mixtures.probabilities()
    for (row, column), own in zip(cells[some].tolist(), found.T, strict=True):
        states = rows[row].repeat(3, 1)
        states[:, column] = torch.arange(3)
        expected = (circuit.log_prob(states) - circuit.log_prob(rows[[row]])).exp()
        np.testing.assert_allclose(own, expected, rtol=1e-9)


def test_levels_at_the_ends_have_finite_quantiles():
    circuit = random_circuit(GRAPHS[1], FAMILY_TABLES[0])
    _, found = mixtures_of(circuit, rows_with_gaps(circuit, 3, share=0.6))
    for some, mixtures in found:
        for level in (-1.0, 0.0, 1.0, 2.0):
            values = mixtures.quantiles(torch.full((len(some),), level).double())
            assert torch.isfinite(values).all()
