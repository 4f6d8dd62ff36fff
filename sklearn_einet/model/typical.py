"""What to expect in missing cells, given the observed cells of their rows."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor

from sklearn_einet.circuit import Circuit
from sklearn_einet.circuit.block_rows import slices
from sklearn_einet.circuit.queries.moments import posterior
from sklearn_einet.circuit.queries.quantiles import LEAST_SHARE, CellMixtures, cell_mixtures
from sklearn_einet.families import Categorical
from sklearn_einet.model.evidence import check_possible, incomplete_blocks
from sklearn_einet.tables.grid_cells import cells_inside
from sklearn_einet.tables.schema import Schema

__all__ = ["category_columns", "typical_cells"]


def category_columns(schema: Schema) -> np.ndarray:
    """Return which columns have categories, (n_columns,): no quantiles, but a most probable one."""
    result = np.zeros(len(schema.names), dtype=bool)
    for group in schema.own_groups:  # not columns of numbers, even if these are states
        result[group.columns] = isinstance(group.family, Categorical)
    return result


def typical_cells(
    circuit: Circuit,
    schema: Schema,
    X: np.ndarray,
    row: np.ndarray,
    column: np.ndarray,
    levels: np.ndarray,
) -> np.ndarray:
    """Return quantiles of missing cells, or most probable categories; see `TableDensity`."""
    result = np.empty((len(levels), len(row)))
    for rows, evidence, leaves in incomplete_blocks(circuit, schema, X):
        cells = np.flatnonzero(np.isin(row, rows))
        place = np.searchsorted(rows, row[cells])
        block = _Block(circuit, schema, evidence, leaves, rows)
        Z = block.typical(place, column[cells], levels)
        decoded = schema.decode(Z.reshape(-1, Z.shape[2])).reshape(len(levels), len(cells), -1)
        result[:, cells] = decoded[:, np.arange(len(cells)), column[cells]]
    return result


class _Block:
    """Some rows with missing cells.

    Parameters
    ----------
    circuit : Circuit
    schema : Schema
    evidence : Tensor of shape (n_features, batch)
    leaves : Tensor of shape (n_leaf_regions, K, batch)
        The leaf regions' values for it.
    rows : ndarray of int of shape (batch,)
        The numbers of the rows, for messages.
    """

    def __init__(
        self, circuit: Circuit, schema: Schema, evidence: Tensor, leaves: Tensor, rows: np.ndarray
    ) -> None:
        activations = circuit.propagate(leaves)
        check_possible(activations.root.cpu().numpy(), rows)
        self.circuit, self.schema, self.evidence, self.rows = circuit, schema, evidence, rows
        self.posterior = posterior(circuit, activations)

    def typical(self, row: np.ndarray, column: np.ndarray, levels: np.ndarray) -> np.ndarray:
        """Return rows of the circuit for each level and cell, (n_levels, n_cells, n_features); they
        hold what is typical of the cell, and 0 elsewhere."""
        states = self.schema.states
        result = np.zeros((len(levels), len(row), states.n_features))
        is_split = np.isin(column, states.split)
        whole, split = np.flatnonzero(~is_split), np.flatnonzero(is_split)
        level = np.repeat(levels[:, None], len(whole), axis=1)
        result[:, whole, column[whole]] = self.quantiles(row[whole], column[whole], level)
        for part in slices(len(split), self.circuit.block_rows):
            some = split[part]
            state = np.array([states.state_of(c) for c in column[some].tolist()])
            found = self._with_atoms(row[some], column[some], state, levels)
            result[:, some, column[some]], result[:, some, state] = found
        return result

    def quantiles(self, row: np.ndarray, column: np.ndarray, level: np.ndarray) -> np.ndarray:
        """Return quantiles of cells at levels (n_levels, n_cells), or most probable categories."""
        result = np.empty(level.shape)
        has_categories = category_columns(self.schema)[column]
        for some, mixtures in self._mixtures(row, column):
            found = mixtures.quantiles(torch.from_numpy(level[:, some]).to(self.evidence))
            result[:, some] = found.cpu().numpy()
            is_category = has_categories[some]
            if is_category.any():
                most_probable = mixtures.probabilities().argmax(0).cpu().numpy()
                result[:, some[is_category]] = most_probable[is_category]
        return result

    def _mixtures(
        self, row: np.ndarray, column: np.ndarray
    ) -> Iterator[tuple[np.ndarray, CellMixtures]]:
        """Yield some of the cells, and their distributions."""
        cells = (torch.as_tensor(each, device=self.circuit.device) for each in (row, column))
        for some, mixtures in cell_mixtures(self.circuit, self.posterior, self.evidence, *cells):
            yield some.cpu().numpy(), mixtures

    def _with_atoms(
        self, row: np.ndarray, column: np.ndarray, state: np.ndarray, levels: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """Return quantiles of cells that are atoms or numbers, as numbers and states of the
        circuit, (n_levels, n_cells) each."""
        cells, ends = np.arange(len(row)), _ends_of_atoms(self.schema, column)
        share, cdf = np.zeros(ends.shape), np.zeros(ends.shape)
        for some, mixtures in self._mixtures(row, state):
            probabilities = mixtures.probabilities().cpu().numpy()
            share[: len(probabilities), some] = probabilities
        n_atoms = np.array([len(self.schema.states.forms[c].atoms) for c in column.tolist()])
        of_number = share[n_atoms, cells]
        share[n_atoms, cells] = 0.0
        numbers = self._numbers(row, state, np.where(of_number > LEAST_SHARE, n_atoms, np.nan))
        for some, mixtures in numbers._mixtures(cells, column):
            below_ends = mixtures.cdf(torch.from_numpy(ends[:, some]).to(self.evidence))
            cdf[:, some] = below_ends.cpu().numpy()
        atoms_below = share.cumsum(axis=0) - share
        below = atoms_below + of_number * cdf
        wanted = levels[:, None]
        # The first atom from which on the level is reached: by itself, or by numbers below it.
        first = (below + share >= wanted[:, None]).argmax(axis=1)
        level = (wanted - atoms_below[first, cells]) / of_number.clip(min=LEAST_SHARE)
        is_atom = below[first, cells] < wanted
        return numbers.quantiles(cells, column, level), np.where(is_atom, first, n_atoms)

    def _numbers(self, row: np.ndarray, state: np.ndarray, code: np.ndarray) -> _Block:
        """Return a row for each cell, in which its state is known unless the code is NaN."""
        given = self.evidence[:, torch.as_tensor(row, device=self.circuit.device)]
        given[state, np.arange(len(row))] = torch.as_tensor(code).to(given)
        leaves, _ = self.circuit.leaf_log_densities(given, self.circuit.parameters())
        return _Block(self.circuit, self.schema, given, leaves, self.rows[row])


def _ends_of_atoms(schema: Schema, column: np.ndarray) -> np.ndarray:
    """Return where the cells of atoms end in the columns of some cells, in the units of the
    circuit, (n_ends, n_cells): in ascending order, with at least one infinity at the end."""
    forms = schema.states.forms
    most = max(len(forms[c].atoms) for c in column.tolist())
    ends = np.full((most + 1, len(schema.names)), np.inf)
    for c in set(column.tolist()):
        atoms = forms[c].atoms
        _, ends[: len(atoms), c] = cells_inside(np.full(len(atoms), -np.inf), atoms, forms[c])
    return schema.standardize(ends)[:, column]
