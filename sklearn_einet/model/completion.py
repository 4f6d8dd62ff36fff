"""Draws of new rows, and rows with their missing cells filled."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from sklearn_einet.circuit import Circuit
from sklearn_einet.circuit.block_rows import slices
from sklearn_einet.circuit.queries.maxima import add_peaks, peak_log_densities
from sklearn_einet.circuit.queries.sampling import (
    Choices,
    MostProbableChoices,
    PosteriorChoices,
    Values,
    fill,
    sample,
    walk,
    walks_at_a_time,
)
from sklearn_einet.circuit.semirings import MAX
from sklearn_einet.model.evidence import check_possible, incomplete_blocks
from sklearn_einet.tables.schema import Schema

__all__ = ["conditional_draws", "draws", "most_probable_rows"]


def draws(
    circuit: Circuit,
    schema: Schema,
    n_samples: int,
    random_state: np.random.RandomState,
    noise: bool,
) -> tuple[np.ndarray, np.ndarray | None]:
    """Draw new rows; see `TableDensity.draws_with_gaps`."""
    values = Values(random_state if noise else None)
    blocks = [
        sample(circuit, rows.stop - rows.start, random_state, values)
        for rows in slices(n_samples, walks_at_a_time(circuit))
    ]
    drawn = np.concatenate(blocks)
    return schema.decode(drawn), schema.states.missing(drawn)


def conditional_draws(
    circuit: Circuit,
    schema: Schema,
    X: np.ndarray,
    n_draws: int,
    random_state: np.random.RandomState,
    noise: bool,
) -> np.ndarray:
    """Draw the missing cells of rows; see `TableDensity.conditional_draws`."""
    values = Values(random_state if noise else None)
    result = np.repeat(X[None], n_draws, axis=0)
    for rows, evidence, leaves in incomplete_blocks(circuit, schema, X):
        activations = circuit.propagate(leaves)
        check_possible(activations.root.cpu().numpy(), rows)
        choices = PosteriorChoices(activations, random_state)
        step = max(1, walks_at_a_time(circuit) // len(rows))
        for some in slices(n_draws, step):
            _complete(circuit, schema, result[some], rows, evidence, choices, values)
    return result


def most_probable_rows(circuit: Circuit, schema: Schema, X: np.ndarray) -> np.ndarray:
    """Return rows with their most probable completion; see `TableDensity.most_probable`.

    Densities of numbers cannot be compared with probabilities of atoms. So the state is chosen
    first (which atom, or a number), and then the number.
    """
    result = X.copy()
    peaks = peak_log_densities(circuit)
    states = schema.states
    for rows, evidence, leaves in incomplete_blocks(circuit, schema, X):
        missing = np.isnan(X[rows])
        wanted = states.spread(missing)
        open_states = missing[:, states.split].any()
        if open_states:
            wanted[:, states.split] = False
        cells = evidence.T.cpu().numpy().copy()
        _fill_most_probable(circuit, leaves, cells, wanted, peaks, rows)
        if open_states:
            # Numbers have been integrated out so far; their filled values are not needed.
            numbers = missing[:, states.split] & ~states.has_atom(cells)
            cells[:, states.split] = np.where(
                missing[:, states.split], np.nan, cells[:, states.split]
            )
            wanted[:] = False
            wanted[:, states.split] = numbers
            known = torch.from_numpy(cells.T).to(circuit.device)
            leaves, _ = circuit.leaf_log_densities(known, circuit.parameters())
            _fill_most_probable(circuit, leaves, cells, wanted, peaks, rows)
        result[rows] = np.where(missing, schema.decode(cells), X[rows])
    return result


def _fill_most_probable(
    circuit: Circuit,
    leaves: Tensor,
    cells: np.ndarray,
    wanted: np.ndarray,
    peaks: list[Tensor],
    rows: np.ndarray,
) -> None:
    """Fill missing cells (n_rows, n_features) of the circuit, in place.

    Parameters
    ----------
    circuit : Circuit
    leaves : Tensor of shape (n_leaf_regions, K, n_rows)
        The leaf regions' values for what is observed; changed in place.
    cells : ndarray of shape (n_rows, n_features)
    wanted : ndarray of bool of shape (n_rows, n_features)
        The cells over which to maximise; others are integrated out.
    peaks : list of Tensor
    rows : ndarray of int of shape (n_rows,)
        The numbers of the rows, for messages.
    """
    evidence = torch.from_numpy(cells.T.copy()).to(circuit.device)
    add_peaks(circuit, leaves, torch.from_numpy(wanted.T).to(circuit.device), evidence, peaks)
    activations = circuit.propagate(leaves, semiring=MAX)
    check_possible(activations.root.cpu().numpy(), rows)
    choices = MostProbableChoices(activations)
    fill(circuit, walk(circuit, len(cells), choices), cells, Values(None), evidence)


def _complete(
    circuit: Circuit,
    schema: Schema,
    result: np.ndarray,
    rows: np.ndarray,
    evidence: Tensor,
    choices: Choices,
    values: Values,
) -> None:
    """Fill the missing cells of result[:, rows], an array (n_draws, n_rows, n_features)."""
    before = result[:, rows]
    cells = schema.encode(before.reshape(-1, before.shape[2]))
    fill(circuit, walk(circuit, len(cells), choices), cells, values, evidence)
    after = schema.decode(cells).reshape(before.shape)
    result[:, rows] = np.where(np.isnan(before), after, before)
