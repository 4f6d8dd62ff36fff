"""Both passes over many rows, and their expected statistics, as compiled programs.

All blocks of rows use the same memory for reading and for the upward and downward passes. Joint
densities that EM learns, and sums over blocks, are computed between the programs.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import partial
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from sklearn_einet.circuit import Circuit
from sklearn_einet.learning.compiled_leaves import CompiledLeaves, multiplies
from sklearn_einet.learning.compiled_states import PARAMETERS
from sklearn_einet.learning.compiled_table import CompiledTable, measure
from sklearn_einet.learning.compiled_terms import ADDED
from sklearn_einet.learning.statistics import Statistics, weighted_root
from sklearn_einet.native.passes import Passes, RecordedPasses, RecordedUp
from sklearn_einet.native.program import Address, Program, Recorder
from sklearn_einet.native.threads import torch_alone
from sklearn_einet.tables.rows import Rows, even_slices

__all__ = ["CompiledRows"]


class CompiledRows:
    """Rows of a fit, with programs for a circuit or others with the same layers; see `of`.

    Parameters
    ----------
    circuit : Circuit
    table : CompiledTable
    """

    def __init__(self, circuit: Circuit, table: CompiledTable) -> None:
        self._table = table
        self._block_rows = max(1, min(circuit.block_rows, len(table)))
        self._leaves = CompiledLeaves(circuit)
        self._up: _UpProgram | None = None
        self._both: _BothPrograms | None = None

    @classmethod
    def of(cls, circuit: Circuit, rows: Rows) -> CompiledRows | None:
        """Return the cached programs for some rows, or None if they are left to torch."""
        return rows.latest("compiled", circuit.passes, partial(cls._made, circuit, rows))

    @classmethod
    def _made(cls, circuit: Circuit, rows: Rows) -> CompiledRows | None:
        if multiplies(circuit, circuit.block_rows):
            return None
        table = CompiledTable.of(circuit, rows)
        return None if table is None else cls(circuit, table)

    @torch_alone()
    def log_prob(self, circuit: Circuit) -> Tensor:
        """Return the log-density of every row, (n_rows,); see `Circuit.log_prob`."""
        if self._up is None:
            self._up = _UpProgram(circuit, self._leaves, self._table, self._block_rows)
        self._leaves.read_parameters(circuit.leaf_groups)
        weights = [each.contiguous() for each in circuit.weights]
        memory = self._up.memory(self._leaves.tables())
        log_prob = self._table.base.clone()
        for block in even_slices(len(self._table), self._block_rows):
            x, cells, _ = self._table.read(block)
            self._read_joint(circuit, block, x, self._up.given, False)
            log_prob[block] += self._up.run(memory, cells, weights)
        self._leaves.release()
        return torch.where(torch.isnan(log_prob), -torch.inf, log_prob)

    @torch_alone()
    def statistics(self, circuit: Circuit) -> Statistics:
        """Return expected statistics of all rows; see `expected_statistics`."""
        if self._both is None:
            self._both = _BothPrograms(circuit, self._leaves, self._table, self._block_rows)
        table, total = self._table, _nothing(circuit)
        self._leaves.read_parameters(circuit.leaf_groups)
        self._both.sums.read_sums(total)
        memory = self._both.memory(self._leaves.tables())
        weights = [each.contiguous() for each in circuit.weights]
        counts = [torch.empty_like(each) for each in weights]
        for block in even_slices(len(table), self._block_rows):
            x, cells, weight = table.read(block)
            kept = self._read_joint(circuit, block, x, self._both.given, True)
            root = self._both.run(memory, cells, weights)
            log_likelihood, row_weight = weighted_root(root, table.base[block], weight)
            total.log_likelihood += log_likelihood
            flows = self._both.down(memory, row_weight, weights, counts)
            for mine, more in zip(total.counts, counts, strict=True):
                mine.add_(more)
            _add_joint(circuit, total, kept, flows)
        self._both.sums.write(total)
        for each in (self._leaves, self._both.sums):
            each.release()
        total.weight = table.total_weight
        return total

    def _read_joint(
        self, circuit: Circuit, block: slice, x: Tensor, given: Tensor, for_expected: bool
    ) -> list[Any]:
        """Write the values of joint densities for a block of rows; return intermediate results."""
        own = given[: block.stop - block.start]
        values = self._table.given(circuit)
        if values is None:
            return measure(circuit, x, own, for_expected)
        own.copy_(values[block])
        return [[] for _ in circuit.joint_groups]  # frozen densities keep nothing


def _nothing(circuit: Circuit) -> Statistics:
    """Return statistics of an empty set of rows."""
    counts = [torch.zeros(each.shape, dtype=each.dtype) for each in circuit.weights]
    leaves: list[tuple[Any, Tensor]] = [
        (torch.zeros_like(group.phi), torch.zeros_like(group.phi[:, :, 0]))
        for group in circuit.leaf_groups
    ]
    none = torch.empty(*circuit.output_shapes[0], 0, dtype=circuit.dtype)
    leaves += [group.expected([], none) for group in circuit.joint_groups]
    return Statistics(0.0, 0.0, counts, leaves)


def _add_joint(circuit: Circuit, total: Statistics, kept: list[Any], flows: Tensor) -> None:
    """Add statistics of joint densities, given the flows of all leaf regions."""
    first = len(circuit.leaf_groups)
    for i, (group, of_group) in enumerate(zip(circuit.joint_groups, kept, strict=True), first):
        if not group.frozen:
            for mine, more in zip(total.leaves[i], group.expected(of_group, flows), strict=True):
                mine.add_(more)


class _Memory(NamedTuple):
    """The memory of one pass over all blocks, and the tables of the leaves."""

    buffer: Tensor
    scratch: Tensor
    tables: Sequence[Tensor]

    def array(self, address: Address, *shape: int) -> Tensor:
        """Return an array of a given shape in the buffer; its last axis is the batch."""
        start = address.per_row // self.buffer.itemsize * shape[-1]
        return self.buffer[start : start + math.prod(shape)].view(shape)


class _UpProgram:
    """Leaves and the upward pass of a block of rows.

    Attributes
    ----------
    given : Tensor of shape (most_rows, n_values)
        Values of joint densities, to be written before `run`.
    """

    def __init__(
        self, circuit: Circuit, leaves: CompiledLeaves, table: CompiledTable, most_rows: int
    ) -> None:
        passes = circuit.passes
        assert isinstance(passes, Passes)
        self._passes: RecordedUp | RecordedPasses = self._recorded(passes)
        self._recorder = Recorder(circuit.dtype.itemsize)
        n_columns = table.n_columns
        self._cells = torch.empty(n_columns * most_rows, dtype=torch.float64)
        self._columns = self._recorder.fixed(self._cells)
        n_values = sum(len(group.regions) * group.K for group in circuit.joint_groups)
        self.given = torch.empty(most_rows, n_values, dtype=circuit.dtype)
        rows = self._recorder.kept(np.arange(most_rows))
        values = self._columns, self._passes.leaves, PARAMETERS, self.given, rows
        leaves.record_values(self._recorder, *values)
        self._n_weights = len(circuit.weights)
        self._up = Program.joined([self._recorder.program(self._n_weights), self._passes.up])
        self._most_rows, self._dtype = most_rows, circuit.dtype

    def _recorded(self, passes: Passes) -> RecordedUp | RecordedPasses:
        return passes.recorded_up

    def memory(self, tables: Sequence[Tensor]) -> _Memory:
        """Return the memory that the other methods need, once for all blocks."""
        buffer = torch.empty(self._passes.n_units * self._most_rows, dtype=self._dtype)
        return _Memory(buffer, buffer, tables)  # the upward pass needs no scratch

    def run(self, memory: _Memory, cells: Tensor, weights: Sequence[Tensor]) -> Tensor:
        """Return the logarithm of the root's value for every row, (batch,); a view.

        Parameters
        ----------
        memory : _Memory
        cells : Tensor of shape (batch, n_columns)
        weights : sequence of Tensor
            Contiguous.
        """
        self._cells[: cells.numel()].view(cells.shape[::-1]).copy_(cells.T)
        buffer, scratch, tables = memory
        self._up.run(len(cells), buffer, scratch, weights, [], tables)
        return memory.array(self._passes.root, len(cells))


class _BothPrograms(_UpProgram):
    """The same, with the downward pass and sums over blocks.

    Attributes
    ----------
    sums : CompiledLeaves
        Those of the leaves.
    """

    _passes: RecordedPasses

    def __init__(
        self, circuit: Circuit, leaves: CompiledLeaves, table: CompiledTable, most_rows: int
    ) -> None:
        super().__init__(circuit, leaves, table, most_rows)
        self.sums = leaves.apart()
        flows = self._passes.leaf_flows
        # The M-step that follows does not matter, whatever its prior.
        self.sums.record_update(self._recorder, self._columns, flows, ADDED, 1.0)
        own = self._recorder.program(self._n_weights)
        self._down = Program.joined([self._passes.down, own])
        self._shape = circuit.output_shapes[0]

    def _recorded(self, passes: Passes) -> RecordedPasses:
        return passes.recorded

    def memory(self, tables: Sequence[Tensor]) -> _Memory:
        buffer = super().memory(tables).buffer
        scratch = buffer.new_empty(self._passes.scratch_units * self._most_rows)
        return _Memory(buffer, scratch, tables)

    def down(
        self,
        memory: _Memory,
        row_weight: Tensor,
        weights: Sequence[Tensor],
        counts: Sequence[Tensor],
    ) -> Tensor:
        """Write the counts of the block that `run` was last called for, and add to all sums.

        Returns
        -------
        flows : Tensor of shape (n_leaf_regions, K, batch)
            A view.
        """
        batch = len(row_weight)
        memory.array(self._passes.root_flows, batch).copy_(row_weight)
        tables = self.sums.tables()
        self._down.run(batch, memory.buffer, memory.scratch, weights, counts, tables)
        return memory.array(self._passes.leaf_flows, *self._shape, batch)
