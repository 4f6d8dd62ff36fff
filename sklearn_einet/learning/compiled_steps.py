"""Epochs of stochastic EM as one call of compiled loops.

A step on a small batch is some hundred calls that take microseconds each, and as many tensors that
live as long. All of it is recorded once in a fit: reading the rows, both passes, and the M-steps of
sums and leaves. Leaves are those of `CompiledTable`, and joint densities that stay as they are;
other ones are left to torch.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from sklearn_einet.circuit import Circuit
from sklearn_einet.circuit.layers.base import MIN_WEIGHT, has_no_padding
from sklearn_einet.learning.compiled_leaves import CompiledLeaves, multiplies
from sklearn_einet.learning.compiled_states import AVERAGE
from sklearn_einet.learning.compiled_table import CompiledTable
from sklearn_einet.learning.compiled_terms import BY_STEP
from sklearn_einet.learning.statistics import Statistics
from sklearn_einet.native.passes import Passes, RecordedPasses
from sklearn_einet.native.program import (
    BATCH,
    COUNTS,
    NULL,
    WEIGHTS,
    Address,
    PerStep,
    Program,
    Recorder,
)
from sklearn_einet.native.steps import Steps
from sklearn_einet.tables.rows import Rows

__all__ = ["CompiledSteps"]


class CompiledSteps:
    """Steps of stochastic EM on batches of the rows of a fit; see `of`.

    Parameters
    ----------
    circuit : Circuit
    table : CompiledTable
    given : Tensor of shape (n_rows, n_values)
        As from `CompiledTable.given`.
    most_rows : int
        The size of the largest batch.
    pseudocount : float
        Mass of the prior of every node, in the unit of the statistics.
    average : Statistics
        The moving average, which steps change in place.
    """

    def __init__(
        self,
        circuit: Circuit,
        table: CompiledTable,
        given: Tensor,
        most_rows: int,
        pseudocount: float,
        average: Statistics,
    ) -> None:
        self._pseudocount = pseudocount
        self._weight = table.weight
        self._row_weight = np.ones(len(table)) if table.weight is None else table.weight.numpy()
        self._base = float((table.base.numpy() * self._row_weight).sum())
        self._average = average
        self._total = torch.zeros(1, dtype=torch.float64)
        self._leaves = CompiledLeaves(circuit)
        passes = circuit.passes
        assert isinstance(passes, Passes)
        recorded = passes.recorded
        program = self._program(circuit, recorded, table.cells, given, most_rows)
        sizes = recorded.n_units, recorded.scratch_units, most_rows, circuit.dtype
        self._steps = Steps(program, *sizes)

    @classmethod
    def of(
        cls,
        circuit: Circuit,
        rows: Rows,
        average: Statistics,
        batch_size: int,
        pseudocount: float,
    ) -> CompiledSteps | None:
        """Return the steps of a fit, or None if they cannot be compiled.

        Parameters
        ----------
        circuit : Circuit
        rows : Rows
        average : Statistics
            The moving average, which steps change in place.
        batch_size : int
        pseudocount : float
        """
        if not _is_possible(circuit, pseudocount) or multiplies(circuit, batch_size):
            return None
        if (table := CompiledTable.of(circuit, rows)) is None:
            return None
        if (given := table.given(circuit)) is None:
            return None
        most_rows = min(batch_size + 1, len(table))
        return cls(circuit, table, given, most_rows, pseudocount, average)

    def run(
        self,
        circuit: Circuit,
        batches: Sequence[Any],
        step_sizes: np.ndarray,
        is_first: bool,
    ) -> float:
        """Make one step for every batch, and the M-step of the leaves that follows from all.

        Parameters
        ----------
        circuit : Circuit
            Its weights and leaves are changed; the weights in place.
        batches : sequence of ndarray of int
            The rows of each: all of the fit, once.
        step_sizes : ndarray of shape (n_batches,)
            Of batches of average weight.
        is_first : bool
            Whether the average is that of the circuit itself.

        Returns
        -------
        log_likelihood : float
            Mean over the rows, each before the update with its batch, in nats.
        """
        order, sizes = np.concatenate(batches), np.array([len(batch) for batch in batches])
        starts = np.cumsum(sizes) - sizes
        weight = self._row_weight[order]
        weights = np.add.reduceat(weight, starts)
        step_sizes = (step_sizes * weights / (sizes * weight.mean())).clip(max=1)
        prior = np.full(len(sizes), self._pseudocount)
        prior[0] *= not is_first  # until the first step, leaves are the average's
        numbers = {
            "rows": order.ctypes.data + order.itemsize * starts,
            "keep": 1 - step_sizes,
            "add": step_sizes / np.where(weights > 0, weights, 1.0),
            "prior": prior,
        }
        self._leaves.read(self._average, circuit.leaf_groups)
        self._total.zero_()
        counts = [torch.empty_like(w) for w in circuit.weights]
        self._steps.run(sizes, numbers, circuit.weights, counts)
        self._leaves.write(self._average)
        self._leaves.update(circuit.leaf_groups, self._average, self._pseudocount)
        total = float(self._total) + self._base
        return float(total / weight.sum())

    def _program(
        self, circuit: Circuit, passes: RecordedPasses, cells: Tensor, given: Tensor, most_rows: int
    ) -> Program:
        recorder = Recorder(circuit.dtype.itemsize)
        n_columns = cells.shape[1]
        columns = recorder.fixed(torch.empty(n_columns, most_rows, dtype=torch.float64))
        rows = PerStep("rows")
        recorder.call("read_cells", recorder.fixed(cells), rows, columns, n_columns, BATCH)
        values = columns, passes.leaves, AVERAGE, given, rows
        self._leaves.record_values(recorder, *values)
        before = recorder.program(len(circuit.weights))
        weight = NULL if self._weight is None else recorder.fixed(self._weight.to(circuit.dtype))
        total = recorder.fixed(self._total)
        recorder.call("root_flows", passes.root, weight, rows, passes.root_flows, total, BATCH)
        between = recorder.program(len(circuit.weights))
        for i, axes in enumerate(circuit.summed_axes):
            self._record_sums(recorder, circuit.weights[i], axes, i)
        update = columns, passes.leaf_flows, BY_STEP, self._pseudocount
        self._leaves.record_update(recorder, *update)
        after = recorder.program(len(circuit.weights))
        return Program.joined([before, passes.up, between, passes.down, after])

    def _record_sums(
        self, recorder: Recorder, weights: Tensor, axes: tuple[int, ...], number: int
    ) -> None:
        n_terms = int(np.prod([weights.shape[axis] for axis in axes]))
        recorder.call(
            "em_update_",
            average=recorder.fixed(self._average.counts[number]),
            counts=Address(COUNTS, number, 0),
            weights=Address(WEIGHTS, number, 0),
            keep=PerStep("keep"),
            add=PerStep("add"),
            smoothing=self._pseudocount / n_terms + MIN_WEIGHT,
            idle=False,
            n_sums=weights.numel() // n_terms,
            n_terms=n_terms,
        )


def _is_possible(circuit: Circuit, pseudocount: float) -> bool:
    """Return whether there are loops for the M-step of all that a circuit consists of."""
    return (
        pseudocount > torch.finfo(torch.float32).tiny
        and all(group.frozen for group in circuit.joint_groups)
        and all(map(has_no_padding, circuit.weights, circuit.summed_axes))
    )
