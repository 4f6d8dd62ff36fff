"""Encoded rows for compiled loops: cells of all leaf groups in one table."""

from __future__ import annotations

from functools import partial
from operator import is_not
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from sklearn_einet.circuit import Circuit
from sklearn_einet.families import (
    Bernoulli,
    Categorical,
    Constant,
    LogNormal,
    Normal,
    SymlogNormal,
)
from sklearn_einet.native.backend import NativeBackend
from sklearn_einet.tables.rows import Rows

__all__ = ["Block", "CompiledTable", "given_places", "measure"]

# How much memory the values of joint densities for all rows may take.
GIVEN_BYTES = 2**28

FAMILIES = (Normal, LogNormal, SymlogNormal, Bernoulli, Categorical, Constant)


class _Given(NamedTuple):
    """Values of joint densities, and the parameters for which they hold."""

    values: Tensor
    tensors: list[Tensor]


class Block(NamedTuple):
    """Some rows: encoded, as cells of all leaf groups, and their weights."""

    x: Tensor
    cells: Tensor
    weight: Tensor | None


class CompiledTable:
    """The rows that count in a fit; see `of`.

    Rows that take little memory are encoded once and kept; others are encoded whenever they are
    read.

    Parameters
    ----------
    rows : Rows
    columns : _Columns
        Those of the circuit.
    kept : Block or None
        All rows, if they take little memory.
    base : Tensor of shape (n_rows,)
        Log-densities of the rows under the columns' own distributions.

    Attributes
    ----------
    weight : Tensor of shape (n_rows,) or None
    n_columns : int
        Number of cells of a row.
    rows_at_a_time : int
        How many rows to encode at a time.
    """

    def __init__(self, rows: Rows, columns: _Columns, kept: Block | None, base: Tensor) -> None:
        self.kept = kept
        self.base = base
        self.weight = rows.all_weights
        self.n_columns = columns.n
        self.total_weight = rows.total_weight
        self.rows_at_a_time = rows.rows_at_a_time
        self._rows = rows.apart()
        self._columns = columns
        self._given: _Given | None = None

    def __len__(self) -> int:
        return len(self.base)

    @classmethod
    def of(cls, circuit: Circuit, rows: Rows) -> CompiledTable | None:
        """Return the cached table of some rows, or None if there are no loops for the circuit's
        leaves, or if the rows have cells that no loop can handle."""
        return rows.latest("table", circuit.passes, partial(cls._read, circuit, rows))

    @classmethod
    def _read(cls, circuit: Circuit, rows: Rows) -> CompiledTable | None:
        known = all(type(group.family) in FAMILIES for group in circuit.leaf_groups)
        if not (known and rows.is_at_hand and isinstance(circuit.backend, NativeBackend)):
            return None
        columns = _Columns(circuit)
        size = len(rows) if rows.encoded is not None else rows.rows_at_a_time
        parts = []
        kept: Block | None = None
        for part in rows.blocks(size):
            x, weight = rows.select(part)
            base, cells = _log_reference(circuit, x), columns.cells(x)
            if cells is None or not bool(torch.isfinite(base).all()):
                return None
            parts.append(base)
            kept = None if rows.encoded is None else Block(x, cells, weight)
        return cls(rows, columns, kept, torch.cat(parts))

    def read(self, which: Any) -> Block:
        """Return some rows: a slice, or a batch as from `Rows.batches`."""
        if self.kept is not None:
            of_row = self.kept.weight
            own = None if of_row is None else of_row[which]
            return Block(self.kept.x[which], self.kept.cells[which], own)
        x, weight = self._rows.select(which)
        cells = self._columns.cells(x)
        assert cells is not None  # checked when the table was made
        return Block(x, cells, weight)

    def given(self, circuit: Circuit) -> Tensor | None:
        """Return the values of frozen joint densities for all rows, (n_rows, n_values), in the
        positions of `given_places`; None if they need too much memory, or are not frozen."""
        groups = circuit.joint_groups
        n_values = sum(len(group.regions) * group.K for group in groups)
        is_small = n_values * len(self) * circuit.dtype.itemsize <= GIVEN_BYTES
        if not (is_small and all(group.frozen for group in groups)):
            return None
        if not groups:
            return torch.empty(len(self), 0, dtype=circuit.dtype)
        tensors = [tensor for group in groups for tensor in group.tensors]
        if self._given is None or any(map(is_not, self._given.tensors, tensors)):
            values = torch.empty(len(self), n_values, dtype=circuit.dtype)
            for start in range(0, len(self), circuit.block_rows):
                block = slice(start, start + circuit.block_rows)
                measure(circuit, self.read(block).x, values[block], False)
            self._given = _Given(values, tensors)
        return self._given.values


def measure(circuit: Circuit, x: Tensor, given: Tensor, for_expected: bool) -> list[Any]:
    """Write the values of joint densities for encoded rows into a matrix, and return what
    `JointGroup.expected` needs if it will be called."""
    kept: list[Any] = []
    if not circuit.joint_groups:
        return kept
    columns = x.T.contiguous()
    start = 0
    for group in circuit.joint_groups:
        values, of_group = group.forward(columns, for_expected)
        end = start + values.shape[0] * values.shape[1]
        given[:, start:end] = values.flatten(0, 1).T
        kept.append(of_group)
        start = end
    return kept


def given_places(circuit: Circuit) -> np.ndarray:
    """Return where the values of every leaf region begin among those of joint densities, -1 for
    regions without any."""
    n_regions, k = circuit.output_shapes[0]
    place = np.full(n_regions, -1)
    n = 0
    for group in circuit.joint_groups:
        place[group.regions.numpy()] = n + k * np.arange(len(group.regions))
        n += k * len(group.regions)
    return place


class _Columns:
    """Positions of the columns of all leaf groups in encoded rows.

    Parameters
    ----------
    circuit : Circuit

    Attributes
    ----------
    n : int
        Number of cells of a row.
    """

    def __init__(self, circuit: Circuit) -> None:
        # Only grids use the group: the parameters of others are not kept.
        self._groups = [
            (g.columns, g.family, None if g.grid is None else g) for g in circuit.leaf_groups
        ]
        self.n = sum(len(columns) for columns, _, _ in self._groups)
        (columns, _, grid), *others = self._groups
        in_order = torch.equal(columns.cpu(), torch.arange(circuit.graph.n_features))
        self._are_all = in_order and grid is None and not others

    def cells(self, x: Tensor) -> Tensor | None:
        """Return the columns of all leaf groups, those on a grid as numbers of cells, and others on
        the axis of their normal densities; None if some values have no cell."""
        parts = []
        for columns, family, group in self._groups:
            own = x if self._are_all else x[:, columns]
            if group is None:
                own = family.axis(own) if isinstance(family, Normal) else own
            else:
                cells = group.cells(own.T)
                assert cells.states is not None
                if bool((cells.seen & (cells.states < 0)).any()):
                    return None
                own = torch.where(cells.seen, cells.states.to(x.dtype), torch.nan).T
            parts.append(own)
        return own if self._are_all else torch.cat(parts, 1)


def _log_reference(circuit: Circuit, x: Tensor) -> Tensor:
    """Return log-densities of rows under the columns' own distributions."""
    parts = []
    for block in x.split(circuit.block_rows):
        cells = block.T
        shares = [group.log_base(cells[group.own]) for group in circuit.leaf_groups]
        parts.append(torch.stack(shares).sum(0))
    return torch.cat(parts)
