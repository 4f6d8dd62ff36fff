"""Epochs of stochastic EM as one call of compiled loops.

A step on a small batch consists of some hundred calls that take microseconds each, with as many
short-lived tensors. All of it is recorded once in a fit: reading the rows, both passes, and the
M-steps of sums and leaves. Supported leaves are those of `CompiledTable` and frozen joint
densities; others are left to torch.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

import numpy as np
import torch
from torch import Tensor

from sklearn_einet.circuit import Circuit
from sklearn_einet.circuit.layers.base import MIN_WEIGHT, Layer, has_no_padding
from sklearn_einet.circuit.layers.mixing import MixingLayer
from sklearn_einet.learning.compiled_batches import Batches, Piece
from sklearn_einet.learning.compiled_leaves import CompiledLeaves, multiplies
from sklearn_einet.learning.compiled_states import AVERAGE
from sklearn_einet.learning.compiled_table import CompiledTable
from sklearn_einet.learning.compiled_terms import BY_STEP
from sklearn_einet.learning.statistics import Statistics, weighted_sum
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
    batches : Batches
        The batches of the table.
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
        batches: Batches,
        most_rows: int,
        pseudocount: float,
        average: Statistics,
    ) -> None:
        self._pseudocount = pseudocount
        self._batches = batches
        self._base = float(weighted_sum(table.base, table.weight))
        self._n_rows, self._total_weight = len(table), table.total_weight
        self._average = average
        self._total = torch.zeros(1, dtype=torch.float64)
        self._leaves = CompiledLeaves(circuit)
        passes = circuit.passes
        assert isinstance(passes, Passes)
        recorded = passes.recorded
        program = self._program(circuit, recorded, most_rows)
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
        most_rows = min(batch_size + 1, len(table))
        batches = Batches.of(circuit, table, most_rows)
        return cls(circuit, table, batches, most_rows, pseudocount, average)

    def run(
        self,
        circuit: Circuit,
        batches: Iterable[Any],
        step_sizes: np.ndarray,
        is_first: bool,
    ) -> float:
        """Make one step for every batch, and the resulting M-step of the leaves.

        Parameters
        ----------
        circuit : Circuit
            Its weights and leaves are changed; the weights in place.
        batches : iterable
            As in `Rows.batches`: all rows of the fit, once.
        step_sizes : ndarray of shape (n_batches,)
            For batches of average weight.
        is_first : bool
            Whether the average is that of the circuit itself.

        Returns
        -------
        log_likelihood : float
            Mean over the rows, each before the update with its batch, in nats.
        """
        self._leaves.read(self._average, circuit.leaf_groups)
        tables = self._leaves.tables()
        self._total.zero_()
        counts = [torch.empty_like(w) for w in circuit.weights]
        done = 0
        for piece in self._batches.pieces(batches):
            end = done + len(piece.sizes)
            # Until the first step, the leaves are those of the average.
            numbers = self._numbers(piece, step_sizes[done:end], is_first and done == 0)
            self._steps.run(piece.sizes, numbers, circuit.weights, counts, tables)
            done = end
        del tables
        self._leaves.write(self._average)
        self._leaves.release()
        self._leaves.update(circuit.leaf_groups, self._average, self._pseudocount)
        return (float(self._total) + self._base) / self._total_weight

    def _numbers(
        self, piece: Piece, step_sizes: np.ndarray, begins_without_prior: bool
    ) -> dict[str, np.ndarray]:
        """Return the numbers that differ from step to step."""
        rows, sizes, weight = piece
        starts = np.cumsum(sizes) - sizes
        weights = np.add.reduceat(weight, starts)
        expected = sizes * self._total_weight / self._n_rows
        step_sizes = (step_sizes * weights / expected).clip(max=1)
        prior = np.full(len(sizes), self._pseudocount)
        prior[0] *= not begins_without_prior
        return {
            "rows": rows.ctypes.data + rows.itemsize * starts,
            "keep": 1 - step_sizes,
            "add": step_sizes / np.where(weights > 0, weights, 1.0),
            "prior": prior,
        }

    def _program(self, circuit: Circuit, passes: RecordedPasses, most_rows: int) -> Program:
        recorder = Recorder(circuit.dtype.itemsize)
        source = self._batches
        n_columns = source.cells.shape[1]
        columns = recorder.fixed(torch.empty(n_columns, most_rows, dtype=torch.float64))
        rows = PerStep("rows")
        recorder.call("read_cells", recorder.fixed(source.cells), rows, columns, n_columns, BATCH)
        values = columns, passes.leaves, AVERAGE, source.given, rows
        self._leaves.record_values(recorder, *values)
        before = recorder.program(len(circuit.weights))
        weight = NULL if source.weight is None else recorder.fixed(source.weight)
        total = recorder.fixed(self._total)
        recorder.call("root_flows", passes.root, weight, rows, passes.root_flows, total, BATCH)
        between = recorder.program(len(circuit.weights))
        for i, (layer, weights) in enumerate(zip(circuit.layers, circuit.weights, strict=True)):
            self._record_sums(recorder, layer, weights, i)
        update = columns, passes.leaf_flows, BY_STEP, self._pseudocount
        self._leaves.record_update(recorder, *update)
        after = recorder.program(len(circuit.weights))
        return Program.joined([before, passes.up, between, passes.down, after])

    def _record_sums(self, recorder: Recorder, layer: Layer, weights: Tensor, number: int) -> None:
        arguments: dict[str, Any] = {
            "average": recorder.fixed(self._average.counts[number]),
            "counts": Address(COUNTS, number, 0),
            "weights": Address(WEIGHTS, number, 0),
            "keep": PerStep("keep"),
            "add": PerStep("add"),
        }
        if has_no_padding(weights, layer.summed_axes):
            n_terms = math.prod(weights.shape[axis] for axis in layer.summed_axes)
            smoothing = self._pseudocount / n_terms + MIN_WEIGHT
            sizes = {"n_sums": weights.numel() // n_terms, "n_terms": n_terms}
            recorder.call("em_update_", **arguments, smoothing=smoothing, idle=False, **sizes)
            return
        assert isinstance(layer, MixingLayer)
        prior = {"prior": self._pseudocount, "least": MIN_WEIGHT}
        sizes = dict(zip(("n_regions", "n_slots", "k"), weights.shape, strict=True))
        slot = recorder.kept(layer.slot)
        recorder.call(
            "mixture_update_", **arguments, **prior, slot=slot, n_partitions=layer.n_terms, **sizes
        )


def _is_possible(circuit: Circuit, pseudocount: float) -> bool:
    """Return whether there are compiled loops for the M-step of every part of a circuit."""
    has_prior = pseudocount > torch.finfo(torch.float32).tiny
    return has_prior and all(group.frozen for group in circuit.joint_groups)
