"""Epochs of stochastic EM as one call of compiled loops.

A step on a small batch is some hundred calls that take microseconds each, and as many tensors that
live as long. All of it is recorded once in a fit: reading the rows, both passes, and the M-steps of
sums and leaves. Leaves are normal densities, those of the cells of a grid, of two states, of any
states, constants, and joint densities that stay as they are; other ones are left to torch.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from sklearn_einet.circuit import Circuit
from sklearn_einet.circuit.layers.base import MIN_WEIGHT, has_no_padding
from sklearn_einet.circuit.leaves.groups import are_large_products
from sklearn_einet.families import Bernoulli, Categorical, Constant, Normal
from sklearn_einet.learning.compiled_terms import (
    Binaries,
    GridNormals,
    Normals,
    States,
    TermsOfKind,
)
from sklearn_einet.learning.statistics import Statistics
from sklearn_einet.native.backend import NativeBackend
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

# What the values of joint densities for all rows may take.
GIVEN_BYTES = 2**28

# Densities of cells in a batch from which single steps are faster, if they are such products.
LARGE_PRODUCT = 2**19

FAMILIES = (Normal, Bernoulli, Categorical, Constant)


class CompiledSteps:
    """Steps of stochastic EM on batches of the rows of a fit; see `of`.

    Parameters
    ----------
    circuit : Circuit
    x : Tensor of shape (n_rows, n_features)
    table : Tensor of shape (n_rows, n_columns)
        As from `_table`.
    weight : Tensor of shape (n_rows,) or None
    base : Tensor of shape (n_rows,)
        Log-densities of the rows under the columns' own distributions.
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
        x: Tensor,
        table: Tensor,
        weight: Tensor | None,
        base: Tensor,
        most_rows: int,
        pseudocount: float,
        average: Statistics,
    ) -> None:
        self._pseudocount = pseudocount
        self._weight = weight
        self._row_weight = np.ones(len(x)) if weight is None else weight.numpy()
        self._base = float((base.numpy() * self._row_weight).sum())
        self._average = average
        self._total = torch.zeros(1, dtype=torch.float64)
        first = np.cumsum([0, *(len(g.columns) for g in circuit.leaf_groups)])
        kinds = [(type(group.family), group.grid is None) for group in circuit.leaf_groups]

        def groups_of(family: type, is_plain: bool = True) -> list[int]:
            return [i for i, kind in enumerate(kinds) if kind == (family, is_plain)]

        self._normals = Normals(circuit, first, groups_of(Normal))
        self._binaries = Binaries(circuit, first, groups_of(Bernoulli))
        self._states = States(circuit, first, groups_of(Categorical))
        self._grids = GridNormals(circuit, first, groups_of(Normal, False))
        self._kinds: list[TermsOfKind] = [
            self._normals,
            self._binaries,
            self._states,
            self._grids,
        ]
        n_rows = self._states.n_rows, self._grids.n_rows
        self._logs = torch.zeros(sum(n_rows), circuit.K, dtype=circuit.dtype)
        self._states.place(self._logs, 0)
        self._grids.place(self._logs, n_rows[0])
        passes = circuit.passes
        assert isinstance(passes, Passes)
        recorded = passes.recorded
        program = self._program(circuit, recorded, x, table, most_rows)
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
        if not _is_possible(circuit, pseudocount) or _multiplies(circuit, batch_size):
            return None
        if (encoded := rows.encoded) is None:
            return None
        n_units = sum(len(group.regions) * group.K for group in circuit.joint_groups)
        if n_units * len(rows) * circuit.dtype.itemsize > GIVEN_BYTES:
            return None
        x, weight = encoded
        base, table = _log_reference(circuit, x), _table(circuit, x)
        if table is None or not bool(torch.isfinite(base).all()):
            return None
        return cls(
            circuit, x, table, weight, base, min(batch_size + 1, len(x)), pseudocount, average
        )

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
        for kind in self._kinds:
            kind.read(self._average)
        self._total.zero_()
        counts = [torch.empty_like(w) for w in circuit.weights]
        self._steps.run(sizes, numbers, circuit.weights, counts)
        for kind in self._kinds:
            kind.write(self._average, self._pseudocount)
        total = float(self._total) + self._base
        return float(total / weight.sum())

    def _program(
        self, circuit: Circuit, passes: RecordedPasses, x: Tensor, table: Tensor, most_rows: int
    ) -> Program:
        recorder = Recorder(circuit.dtype.itemsize)
        cells = torch.empty(table.shape[1], most_rows, dtype=torch.float64)
        columns, rows = recorder.fixed(cells), PerStep("rows")
        recorder.call("read_cells", recorder.fixed(table), rows, columns, len(cells), BATCH)
        for each in filter(len, (self._states, self._grids)):
            each.record_values(recorder, columns)
        self._record_leaves(recorder, circuit, columns, x, passes.leaves)
        before = recorder.program(len(circuit.weights))
        weight = NULL if self._weight is None else recorder.fixed(self._weight.to(circuit.dtype))
        total = recorder.fixed(self._total)
        recorder.call("root_flows", passes.root, weight, rows, passes.root_flows, total, BATCH)
        between = recorder.program(len(circuit.weights))
        for i, axes in enumerate(circuit.summed_axes):
            self._record_sums(recorder, circuit.weights[i], axes, i)
        for kind in filter(len, self._kinds):
            kind.record_update(recorder, columns, passes.leaf_flows, self._pseudocount)
        after = recorder.program(len(circuit.weights))
        return Program.joined([before, passes.up, between, passes.down, after])

    def _record_leaves(
        self, recorder: Recorder, circuit: Circuit, columns: Address, x: Tensor, leaves: Address
    ) -> None:
        n_regions, k = circuit.output_shapes[0]
        triples = np.concatenate([kind.triples for kind in self._kinds])
        triples = triples[np.argsort(triples[:, 0], kind="stable")]
        ends = np.searchsorted(triples[:, 0], np.arange(n_regions), side="right")
        given, given_at = _given(circuit, x)
        has_given = given.shape[1] > 0
        recorder.call(
            "leaf_values",
            x=columns,
            ends=recorder.kept(ends),
            terms=recorder.kept(triples[:, 1:].copy()),
            normals=recorder.fixed(self._normals.factors),
            priors=recorder.fixed(self._normals.priors),
            binaries=recorder.fixed(self._binaries.factors),
            logs=recorder.fixed(self._logs),
            given=recorder.fixed(given) if has_given else NULL,
            given_at=recorder.kept(given_at) if has_given else NULL,
            rows=PerStep("rows"),
            leaves=leaves,
            n_regions=n_regions,
            n_terms=len(triples),
            n_given=given.shape[1],
            k=k,
            batch=BATCH,
        )

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
    """Return whether there are loops for all that a circuit consists of."""
    return (
        isinstance(circuit.backend, NativeBackend)
        and pseudocount > torch.finfo(torch.float32).tiny
        and all(type(group.family) in FAMILIES for group in circuit.leaf_groups)
        and all(group.frozen for group in circuit.joint_groups)
        and all(map(has_no_padding, circuit.weights, circuit.summed_axes))
    )


def _multiplies(circuit: Circuit, batch_size: int) -> bool:
    """Return whether single steps take less time, as normal leaves of many columns each are large
    products of matrices there."""
    normal = [g for g in circuit.leaf_groups if type(g.family) is Normal and g.grid is None]
    n_terms = sum(len(group.terms.slot) for group in normal)
    return n_terms * circuit.K * batch_size > LARGE_PRODUCT and are_large_products(normal)


def _table(circuit: Circuit, x: Tensor) -> Tensor | None:
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


def _given(circuit: Circuit, x: Tensor) -> tuple[Tensor, np.ndarray]:
    """Return the values of joint densities for all rows, (n_rows, n), and where in a row those of
    every leaf region begin, -1 for regions that have none."""
    n_regions, k = circuit.output_shapes[0]
    place = np.full(n_regions, -1)
    n = 0
    for group in circuit.joint_groups:
        place[group.regions.numpy()] = n + k * np.arange(len(group.regions))
        n += k * len(group.regions)
    given = torch.empty(len(x), n, dtype=circuit.dtype)
    n = 0
    for group in circuit.joint_groups:
        end = n + k * len(group.regions)
        for start in range(0, len(x), circuit.block_rows):
            part = slice(start, start + circuit.block_rows)
            values, _ = group.forward(x[part].T.contiguous())
            given[part, n:end] = values.flatten(0, 1).T.to(circuit.dtype)
        n = end
    return given, place
