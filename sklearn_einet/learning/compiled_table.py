"""Encoded rows as compiled loops read them: cells of all leaf groups, in one table."""

from __future__ import annotations

from functools import partial
from operator import is_not
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from sklearn_einet.circuit import Circuit
from sklearn_einet.families import Bernoulli, Categorical, Constant, Normal
from sklearn_einet.native.backend import NativeBackend
from sklearn_einet.tables.rows import Rows

__all__ = ["CompiledTable", "given_places"]

# What the values of joint densities for all rows may take.
GIVEN_BYTES = 2**28

FAMILIES = (Normal, Bernoulli, Categorical, Constant)


class _Given(NamedTuple):
    """Values of joint densities, and the parameters that they are of."""

    values: Tensor
    tensors: list[Tensor]


class CompiledTable:
    """The rows that count in a fit; see `of`.

    Parameters
    ----------
    x : Tensor of shape (n_rows, n_features)
    weight : Tensor of shape (n_rows,) or None
    cells : Tensor of shape (n_rows, n_columns)
        The columns of all leaf groups; those on a grid as the numbers of its cells.
    base : Tensor of shape (n_rows,)
        Log-densities of the rows under the columns' own distributions.
    """

    def __init__(self, x: Tensor, weight: Tensor | None, cells: Tensor, base: Tensor) -> None:
        self.x = x
        self.weight = weight
        self.cells = cells
        self.base = base
        self._given: _Given | None = None

    def __len__(self) -> int:
        return len(self.x)

    @classmethod
    def of(cls, circuit: Circuit, rows: Rows) -> CompiledTable | None:
        """Return the table of some rows, or None if there are no loops for what the circuit's
        leaves consist of, or if the rows have cells that no loop knows. It is made once."""
        return rows.latest("table", circuit.passes, partial(cls._read, circuit, rows))

    @classmethod
    def _read(cls, circuit: Circuit, rows: Rows) -> CompiledTable | None:
        known = all(type(group.family) in FAMILIES for group in circuit.leaf_groups)
        if not (known and isinstance(circuit.backend, NativeBackend)):
            return None
        if (encoded := rows.encoded) is None:
            return None
        x, weight = encoded
        base, cells = _log_reference(circuit, x), _cells(circuit, x)
        if cells is None or not bool(torch.isfinite(base).all()):
            return None
        return cls(x, weight, cells, base)

    def given(self, circuit: Circuit) -> Tensor | None:
        """Return the values of frozen joint densities for all rows, (n_rows, n_values), in the
        places that `given_places` says; None if they would take too much, or are not frozen."""
        groups = circuit.joint_groups
        n_values = sum(len(group.regions) * group.K for group in groups)
        is_small = n_values * len(self) * circuit.dtype.itemsize <= GIVEN_BYTES
        if not (is_small and all(group.frozen for group in groups)):
            return None
        tensors = [tensor for group in groups for tensor in group.tensors]
        if self._given is None or any(map(is_not, self._given.tensors, tensors)):
            values = torch.empty(len(self), n_values, dtype=circuit.dtype)
            for start in range(0, len(self), circuit.block_rows):
                block = slice(start, start + circuit.block_rows)
                self.measure(circuit, block, values[block], False)
            self._given = _Given(values, tensors)
        return self._given.values

    def measure(
        self, circuit: Circuit, block: slice, given: Tensor, for_expected: bool
    ) -> list[Any]:
        """Write the values of joint densities for a block of rows into a matrix, and return what
        `JointGroup.expected` needs, if that will follow."""
        columns = self.x[block].T.contiguous()
        kept: list[Any] = []
        start = 0
        for group in circuit.joint_groups:
            values, of_group = group.forward(columns, for_expected)
            end = start + values.shape[0] * values.shape[1]
            given[:, start:end] = values.flatten(0, 1).T
            kept.append(of_group)
            start = end
        return kept


def given_places(circuit: Circuit) -> np.ndarray:
    """Return where among the values of joint densities those of every leaf region begin, -1 for
    regions that have none."""
    n_regions, k = circuit.output_shapes[0]
    place = np.full(n_regions, -1)
    n = 0
    for group in circuit.joint_groups:
        place[group.regions.numpy()] = n + k * np.arange(len(group.regions))
        n += k * len(group.regions)
    return place


def _cells(circuit: Circuit, x: Tensor) -> Tensor | None:
    """Return the columns of all leaf groups, those on a grid as the numbers of its cells; None if
    there are values that have no cell."""
    parts = []
    for group in circuit.leaf_groups:
        own = x[:, group.columns]
        if group.grid is not None:
            cells = group.cells(own.T)
            assert cells.states is not None
            if bool((cells.seen & (cells.states < 0)).any()):
                return None
            own = torch.where(cells.seen, cells.states.to(x.dtype), torch.nan).T
        parts.append(own)
    return torch.cat(parts, 1).contiguous()


def _log_reference(circuit: Circuit, x: Tensor) -> Tensor:
    """Return log-densities of rows under the columns' own distributions."""
    parts = []
    for block in x.split(circuit.block_rows):
        cells = block.T
        shares = [group.log_base(cells[group.own]) for group in circuit.leaf_groups]
        parts.append(torch.stack(shares).sum(0))
    return torch.cat(parts)
