"""The cells that a leaf group reads, and its densities for them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from torch import Tensor

from sklearn_einet.circuit.scratch import SCRATCH_BYTES

__all__ = ["Cells", "Terms"]


class Cells(NamedTuple):
    """The cells of a leaf group's columns in a block of rows.

    Attributes
    ----------
    x : Tensor of shape (n_columns, batch)
        Inside the support, also where nothing is observed.
    seen : Tensor of bool of shape (n_columns, batch)
        Which cells are observed.
    complete : bool
        Whether all cells are observed.
    impossible : Tensor that broadcasts with (batch,)
        -inf for rows with a value outside of the support, else 0.
    statistics : Tensor of shape (n_columns, n_statistics, batch) or None
        Sufficient statistics, if the group multiplies with them.
    states : Tensor of int of shape (n_columns, batch) or None
        For groups with grids, numbers of the cells on these, -1 where nothing is observed or the
        grid has no cell.
    """

    x: Tensor
    seen: Tensor
    complete: bool
    impossible: Tensor
    statistics: Tensor | None
    states: Tensor | None = None


class Terms(NamedTuple):
    """Every univariate density vector of a leaf group: a column in a leaf region, K units.

    Attributes
    ----------
    region : Tensor of int of shape (n_terms,)
        The leaf region; in ascending order.
    column : Tensor of int of shape (n_terms,)
        The column, as a position in the group's `columns`.
    slot : Tensor of int of shape (n_terms,)
        The position in the flattened first two axes of the group's parameters.
    """

    region: Tensor
    column: Tensor
    slot: Tensor

    def where(self, wanted: Tensor) -> Terms:
        """Return the terms of some columns, given a mask of these."""
        here = wanted[self.column]
        return Terms(self.region[here], self.column[here], self.slot[here])

    def blocks(self, term_bytes: int) -> Iterator[tuple[slice, Terms]]:
        """Yield as many terms at a time as fill a scratch buffer."""
        step = max(1, SCRATCH_BYTES // term_bytes)
        for start in range(0, len(self.region), step):
            part = slice(start, start + step)
            yield part, Terms(self.region[part], self.column[part], self.slot[part])
