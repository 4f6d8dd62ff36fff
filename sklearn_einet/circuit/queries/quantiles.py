"""Distributions of single cells given the observed cells of their rows, and their quantiles."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from sklearn_einet.circuit.block_rows import slices
from sklearn_einet.circuit.circuit import Circuit
from sklearn_einet.circuit.leaves.base import LeafGroup
from sklearn_einet.circuit.leaves.joint_normal import JointGroup
from sklearn_einet.circuit.queries.joint import completed_blocks, missing_variances
from sklearn_einet.families import ExponentialFamily
from sklearn_einet.families.quantiles import bisected

__all__ = ["LEAST_SHARE", "CellMixtures", "cell_mixtures"]

# Densities with a smaller share of a cell do not change its quantiles. Levels are as far from 0
# and 1 at least, so that quantiles are finite.
LEAST_SHARE = 1e-12

# How many parameters of densities are held at a time.
PARAMETERS_AT_A_TIME = 2**21


@dataclass(frozen=True)
class CellMixtures:
    """Distributions of cells of one family: mixtures of the leaves' densities.

    Attributes
    ----------
    family : ExponentialFamily
    n_cells : int
    cell : Tensor of int of shape (n,)
        The cell to which each density contributes.
    weight : Tensor of shape (n,)
        Posterior probabilities of the densities, given the row of the cell.
    phi : Tensor of shape (n_statistics, n)
    """

    family: ExponentialFamily
    n_cells: int
    cell: Tensor
    weight: Tensor
    phi: Tensor

    def cdf(self, x: Tensor) -> Tensor:
        """Return P(X <= x) for values (..., n_cells)."""
        return self._mean(self.family.cdf(x[..., self.cell], self.phi))

    def quantiles(self, level: Tensor) -> Tensor:
        """Return the least values with P(X <= x) >= level, (..., n_cells)."""
        start = torch.nan_to_num(self._mean(self.family.mean(self.phi))).expand_as(level)
        end = torch.full_like(level, torch.inf)
        level = level.clamp(LEAST_SHARE, 1 - LEAST_SHARE)
        return bisected(self.cdf, level, -end, end, start, self.family.is_discrete)

    def probabilities(self) -> Tensor:
        """Return probabilities of the states of a categorical family, (n_states, n_cells)."""
        return self._mean(self.phi)

    def _mean(self, values: Tensor) -> Tensor:
        """Return mean values of the densities of each cell, (..., n_cells), given (..., n)."""
        zeros = values.new_zeros(*values.shape[:-1], self.n_cells)
        weight = self.weight.new_zeros(self.n_cells).index_add_(0, self.cell, self.weight)
        return zeros.index_add_(-1, self.cell, values * self.weight) / weight


class Components(NamedTuple):
    """Densities that contribute to cells, as in `CellMixtures`."""

    cell: Tensor
    weight: Tensor
    phi: Tensor


def cell_mixtures(
    circuit: Circuit, posterior: Tensor, evidence: Tensor, row: Tensor, column: Tensor
) -> Iterator[tuple[Tensor, CellMixtures]]:
    """Yield some missing cells at a time, and their distributions.

    Parameters
    ----------
    circuit : Circuit
    posterior : Tensor of shape (n_leaf_regions, K, batch)
    evidence : Tensor of shape (n_features, batch)
        The evidence of the posterior.
    row, column : Tensor of int of shape (n_cells,)
        The cells, with columns of the circuit.
    """
    of_joint = [_of_joint(each, posterior, evidence, row, column) for each in circuit.joint_groups]
    for group in circuit.leaf_groups:
        own = torch.nonzero(torch.isin(column, group.columns)).view(-1)
        n_terms = 1 + len(group.terms.slot) // len(group.columns)
        width = n_terms * circuit.K * group.family.n_statistics
        for part in slices(len(own), max(1, PARAMETERS_AT_A_TIME // width)):
            some = own[part]
            found = [_of_leaves(group, posterior, row[some], column[some])]
            found += [_of_some(each, some) for each in of_joint]
            # Joint densities without any such cell may have other statistics.
            components = _joined([each for each in found if len(each.cell)])
            yield some, CellMixtures(group.family, len(some), *components)


def _of_leaves(group: LeafGroup, posterior: Tensor, row: Tensor, column: Tensor) -> Components:
    """Return the univariate densities of cells in a leaf group's columns."""
    terms = group.terms
    of_column = group.columns[terms.column].unsqueeze(1) == column
    term, cell = torch.nonzero(of_column, as_tuple=True)
    share = posterior[terms.region[term], :, row[cell]]
    pair, unit = torch.nonzero(share > LEAST_SHARE, as_tuple=True)
    phi = group.phi.flatten(0, 1)[terms.slot[term[pair]], :, unit].T
    return Components(cell[pair], share[pair, unit], phi)


def _of_joint(
    group: JointGroup, posterior: Tensor, evidence: Tensor, row: Tensor, column: Tensor
) -> Components:
    """Return the conditional densities of the cells that lie in a joint group's columns."""
    cells = torch.nonzero(torch.isin(column, group.columns)).view(-1)
    place, shares = group.positions(column[cells]), posterior[group.regions].flatten(0, 1)
    blank = row.new_empty(0)
    parts = [Components(blank, shares.new_empty(0), shares.new_empty(2, 0))]
    for part, completed in completed_blocks(group, group.axis(evidence)):
        here = torch.nonzero((row[cells] >= part.start) & (row[cells] < part.stop)).view(-1)
        of_row = row[cells[here]]
        share = shares[:, of_row]
        density, cell = torch.nonzero(share > LEAST_SHARE, as_tuple=True)
        where = density, place[here][cell], of_row[cell] - part.start
        mean = completed.deviation[where] + group.normals.mean[where[:2]]
        variance = missing_variances(group, completed)[where]
        phi = torch.stack([mean, mean**2 + variance])
        parts.append(Components(cells[here][cell], share[density, cell], phi))
    return _joined(parts)


def _joined(parts: list[Components]) -> Components:
    cell, weight, phi = zip(*parts, strict=True)
    return Components(torch.cat(cell), torch.cat(weight), torch.cat(phi, 1))


def _of_some(components: Components, cells: Tensor) -> Components:
    """Return the components of some cells, numbered by their positions among these."""
    here = torch.isin(components.cell, cells)
    cell = torch.searchsorted(cells, components.cell[here])
    return Components(cell, components.weight[here], components.phi[:, here])
