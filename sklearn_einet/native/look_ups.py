"""Compiled look-ups in tables with a row for each state of each term."""

from __future__ import annotations

import torch
from torch import Tensor

from sklearn_einet.native.calls import call

__all__ = ["cell_sums", "cell_values", "looked_up", "state_sums"]


def cell_values(
    cells: Tensor,
    terms: Tensor,
    theta: Tensor,
    ends: Tensor,
    reference: Tensor,
) -> tuple[Tensor, Tensor]:
    """Return log-probabilities of cells under normal densities, and moments in them.

    Parameters
    ----------
    cells : Tensor of float64 of shape (n_columns, batch)
        The numbers of the cells to compute, NaN for none; all others are 0.
    terms : Tensor of int of shape (n_terms, 4)
        The leaf region, the column, its first cell and its number of cells.
    theta : Tensor of shape (n_terms, 2, K)
        Natural parameters.
    ends : Tensor of shape (n_cells, 2)
    reference : Tensor of shape (n_cells,)
        Logarithms of the base to which the probabilities are relative.

    Returns
    -------
    logs : Tensor of shape (n_cells, K)
    moments : Tensor of shape (n_cells, 2, K)
        Expected values and expected squares.
    """
    k, n = theta.shape[2], len(ends)
    halved = -theta[:, 1]
    factors = torch.stack([0.5 * theta[:, 0] / halved, halved, torch.zeros_like(halved)], 1)
    logs, moments = ends.new_zeros(n, k), ends.new_zeros(n, 2, k)
    call(
        "cell_values",
        x=cells.contiguous(),
        terms=terms,
        factors=factors,
        ends=ends,
        reference=reference,
        logs=logs,
        moments=moments,
        n_terms=len(terms),
        k=k,
        batch=cells.shape[1],
    )
    return logs, moments


def cell_sums(cells: Tensor, flows: Tensor, terms: Tensor, moments: Tensor) -> Tensor:
    """Return sums over rows of flows, and of flows times the moments in the rows' cells,
    (n_terms, 3, K), in float64.

    Parameters
    ----------
    cells, terms
        As in `cell_values`.
    flows : Tensor of shape (n_regions, K, batch)
    moments : Tensor of shape (n_cells, 2, K)
    """
    n, (_, k, batch) = len(terms), flows.shape
    sums = moments.new_zeros(n, 3, k)
    call(
        "cell_update",
        x=cells.contiguous(),
        flows=flows.contiguous(),
        terms=terms,
        moments=moments,
        priors=moments.new_ones(n, 4) * 0.5,  # the M-step that follows does not matter
        sums=sums,
        factors=torch.ones_like(sums),
        keep=0.0,
        add=1.0,
        prior=1.0,
        n_terms=n,
        k=k,
        batch=batch,
    )
    return sums


def looked_up(states: Tensor, terms: Tensor, ends: Tensor, table: Tensor) -> Tensor:
    """Return sums over the terms of leaf regions of rows of a table, (n_regions, K, batch).

    Parameters
    ----------
    states : Tensor of float64 of shape (n_columns, batch)
        NaN where nothing is added.
    terms : Tensor of int of shape (n_terms, 3)
        The number 2, the column, and the row of its first state.
    ends : Tensor of int of shape (n_regions,)
        Where the terms of every region end.
    table : Tensor of shape (n_rows, K)
    """
    k, batch, none = table.shape[1], states.shape[1], states.new_zeros(4 * table.shape[1])
    leaves = table.new_empty(len(ends), k, batch)
    call(
        "leaf_values",
        x=states.contiguous(),
        ends=ends,
        terms=terms,
        normals=none[: 3 * k],
        priors=none[:4],
        binaries=none[: 2 * k],
        logs=table,
        leaves=leaves,
        n_regions=len(ends),
        n_terms=len(terms),
        n_given=0,
        k=k,
        batch=batch,
    )
    return leaves


def state_sums(states: Tensor, flows: Tensor, terms: Tensor, n_rows: int) -> tuple[Tensor, Tensor]:
    """Return sums of flows in float64, over the rows of a batch with each state, (n_rows, K), and
    over those with any state, (n_terms, K).

    Parameters
    ----------
    states : Tensor of float64 of shape (n_columns, batch)
        NaN for none.
    flows : Tensor of shape (n_regions, K, batch)
    terms : Tensor of int of shape (n_terms, 4)
        The leaf region, the column, the row of its first state and its number of states.
    n_rows : int
        The number of states of all terms.
    """
    _, k, batch = flows.shape
    counts, mass = states.new_zeros(n_rows, k), states.new_zeros(len(terms), k)
    call(
        "state_update",
        x=states.contiguous(),
        flows=flows.contiguous(),
        terms=terms,
        counts=counts,
        mass=mass,
        scale=states.new_ones(1),
        keep=1.0,
        add=1.0,
        n_terms=len(terms),
        n_states=n_rows,
        k=k,
        batch=batch,
    )
    return counts, mass
