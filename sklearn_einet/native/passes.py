"""Both passes through the layers of a circuit, as recorded programs."""

from __future__ import annotations

import math
import threading
from collections.abc import Sequence
from typing import Any, NamedTuple, Protocol

import numpy as np
import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from sklearn_einet.native.program import (
    COUNTS,
    NULL,
    WEIGHTS,
    Address,
    PerRow,
    Program,
    Recorder,
    in_a_row,
)

__all__ = ["LayerBuffers", "Passes", "RecordableLayer"]


class LayerBuffers:
    """Where the arrays of one layer are, for its methods `record_forward` and `record_backward`.

    Attributes
    ----------
    recorder : Recorder
    k : int
        Number of units of the children.
    rows : ndarray of int
        Rows of the children, among the rows of k units that `values` and `flows` consist of.
    alone : bool
        Whether each of them has no other parent.
    values, flows : Address
        Of all outputs, one after the other: logarithms, and derivatives with respect to them.
    value, flow : Address
        Those of the layer's own output.
    weights, counts : Address
        Of the layer's weights.
    of_logs : bool
        Whether the gradients of weights are those with respect to their logarithms, which are
        expected counts.
    kept : dict of str to Address
        What is to be found again on the way down.
    adds : bool
        Whether anything is added to flows, which must be 0 before that.
    """

    def __init__(
        self,
        recorder: Recorder,
        k: int,
        rows: np.ndarray,
        alone: bool,
        values: Address,
        own_units: int,
        number: int,
    ) -> None:
        self.recorder = recorder
        self.k = k
        self.rows = rows
        self.alone = alone
        self._own_units = own_units
        self.values = values
        self.value = values.plus(own_units * recorder.itemsize)
        self.move_flows(values)
        self.weights, self.counts = Address(WEIGHTS, number, 0), Address(COUNTS, number, 0)
        self.of_logs = True
        self.kept: dict[str, Address] = {}
        self.adds = False

    def move_flows(self, flows: Address) -> None:
        """Set where the flows of all outputs are."""
        self.flows = flows
        self.flow = flows.plus(self._own_units * self.recorder.itemsize)

    def at(self, address: Address, row: int) -> Address:
        """Return the address of a row of the values or flows."""
        return address.plus(int(row) * self.k * self.recorder.itemsize)

    def below(self) -> tuple[Address, Address]:
        """Return where the children's values are, and which rows from there; NULL for all in
        order."""
        if in_a_row(self.rows):
            return self.at(self.values, self.rows[0]), NULL
        return self.values, self.recorder.kept(self.rows)

    def flows_to(self, rows: np.ndarray) -> Address:
        """Return where to write the flows of some children, before `add_flows`."""
        if self.alone and in_a_row(rows):
            return self.at(self.flows, rows[0])
        return self.recorder.scratch(len(rows), self.k)

    def add_flows(self, written: Address, rows: np.ndarray, which: Address = NULL) -> None:
        """Add flows to those of some children, unless that is where they have been written.

        `which` are the rows of what has been written, if not all in order.
        """
        if len(rows) and written != self.at(self.flows, rows[0]):
            to = self.flows, self.recorder.kept(rows)
            sizes = len(rows), PerRow(self.k)
            self.recorder.call("add_rows", *to, written, which, *sizes)
            self.adds = True


class RecordableLayer(Protocol):
    """What is recorded of a layer: see `sklearn_einet.circuit.layers.base.Layer`."""

    @property
    def children(self) -> np.ndarray:
        """The (output, row) of every child."""

    def record_forward(self, buffers: LayerBuffers) -> None:
        """Record how the layer's output follows from those below."""

    def record_backward(self, buffers: LayerBuffers) -> None:
        """Record the flows below, and the gradients of the weights."""


class _State(NamedTuple):
    """What an upward pass leaves: a buffer for a batch of some size."""

    buffer: Tensor
    batch: int


class Passes:
    """Programs for both passes.

    One buffer has the rows of all outputs, then what layers keep for the way down, then, where
    these are not written over the values, the flows. The program for the way down is recorded when
    it is first asked for: scores need none.

    Parameters
    ----------
    layers : sequence of RecordableLayer
    shapes : sequence of (int, int)
        Rows and units of the leaf regions' output and of every layer's. Outputs of other numbers
        of units than the leaf regions' come after all others.
    dtype : torch.dtype
    """

    def __init__(
        self,
        layers: Sequence[RecordableLayer],
        shapes: Sequence[tuple[int, int]],
        dtype: torch.dtype,
    ) -> None:
        self._layers, self._shapes = layers, shapes
        self._first_unit = np.cumsum([0, *(rows * k for rows, k in shapes)]).tolist()
        self._recorder = Recorder(dtype.itemsize)
        self._buffers = self._record_up()
        self._up = self._recorder.program(len(layers))
        self._units_up = self._recorder.n_units
        self._down: dict[bool, Program] = {}
        self._lock = threading.Lock()  # threads may share a circuit

    def _record_up(self) -> list[LayerBuffers]:
        values = self._recorder.buffer(self._first_unit[-1], 1)
        start = np.array(self._first_unit)
        first_row = np.cumsum([0, *(rows for rows, _ in self._shapes)])
        ids = [first_row[layer.children[:, 0]] + layer.children[:, 1] for layer in self._layers]
        n_parents = np.bincount(np.concatenate(ids), minlength=first_row[-1])
        result = []
        for i, (layer, child) in enumerate(zip(self._layers, ids, strict=True)):
            source, row = layer.children.T
            k = self._shapes[source[0]][1]
            buffers = LayerBuffers(
                self._recorder,
                k,
                start[source] // k + row,
                bool((n_parents[child] == 1).all()),
                values,
                self._first_unit[i + 1],
                i,
            )
            layer.record_forward(buffers)
            result.append(buffers)
        return result

    def _program_down(self, of_logs: bool) -> Program:
        with self._lock:
            if not self._down:
                program = self._record_down(of_logs)
                if any(own.adds for own in self._buffers):
                    # Only without a row that two parents add to can flows be where values were.
                    flows = self._recorder.buffer(self._first_unit[-1], 1)
                    for own in self._buffers:
                        own.move_flows(flows)
                    program = self._record_down(of_logs)
                self._down[of_logs] = program
            elif of_logs not in self._down:
                self._down[of_logs] = self._record_down(of_logs)
            return self._down[of_logs]

    def _record_down(self, of_logs: bool) -> Program:
        for layer, own in zip(reversed(self._layers), reversed(self._buffers), strict=True):
            own.of_logs = of_logs
            self._recorder.release()
            layer.record_backward(own)
        first = self._buffers[0]
        if first.flows != first.values:
            self._recorder.before("clear", first.flows, PerRow(self._first_unit[-2]))
        return self._recorder.program(len(self._layers))

    def up(self, leaves: Tensor, weights: Sequence[Tensor], *, for_down: bool = False) -> _State:
        """Make the upward pass; see `sklearn_einet.circuit.backend.Passes`."""
        if for_down:
            self._program_down(True)
        batch = leaves.shape[-1]
        buffer = leaves.new_empty(batch * (self._recorder.n_units if for_down else self._units_up))
        buffer[: leaves.numel()].view_as(leaves).copy_(leaves)
        self._up.run(batch, buffer, buffer, [w.contiguous() for w in weights], [])
        return _State(buffer, batch)

    def root(self, state: _State) -> Tensor:
        """Return the logarithm of the root's value for every row; a view."""
        return self._output(state, -1).view(-1)

    def outputs(self, state: _State) -> list[Tensor]:
        """Return the output of the leaf regions and of every layer; views."""
        return [self._output(state, number) for number in range(len(self._shapes))]

    def _output(self, state: _State, number: int) -> Tensor:
        rows, k = self._shapes[number]
        start = self._first_unit[:-1][number] * state.batch
        shape = rows, k, state.batch
        return state.buffer[start : start + math.prod(shape)].view(shape)

    def down(
        self,
        state: _State,
        upstream: Tensor,
        weights: Sequence[Tensor],
        *,
        of_logs: bool = True,
    ) -> tuple[Tensor, list[Tensor]]:
        """Make the downward pass; see `sklearn_einet.circuit.backend.Passes`.

        With `of_logs` false, the gradients are those with respect to the weights themselves.
        """
        program = self._program_down(of_logs)
        buffer, batch = state
        first_flow = self._buffers[0].flows.per_row // self._recorder.itemsize
        flows = buffer[first_flow * batch :]
        root = self._first_unit[-2] * batch
        flows[root : root + batch] = upstream
        counts = [torch.empty_like(w, memory_format=torch.contiguous_format) for w in weights]
        scratch = buffer.new_empty(self._recorder.scratch_units * batch)
        program.run(batch, buffer, scratch, [w.contiguous() for w in weights], counts)
        shape = *self._shapes[0], batch
        return flows[: math.prod(shape)].view(shape), counts

    def log_root(self, leaves: Tensor, weights: Sequence[Tensor]) -> Tensor:
        """Return the logarithm of the root's value for every row; differentiable."""
        result: Tensor = _LogRoot.apply(self, leaves, *weights)
        return result


class _LogRoot(torch.autograd.Function):
    """Both programs as one differentiable function."""

    @staticmethod
    def forward(ctx: Any, passes: Passes, leaves: Tensor, *weights: Tensor) -> Tensor:
        is_asked = any(ctx.needs_input_grad)
        state = passes.up(leaves, weights, for_down=is_asked)
        if is_asked:
            ctx.passes, ctx.state = passes, state
            ctx.save_for_backward(*weights)
        return passes.root(state).clone()

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        state, ctx.state = ctx.state, None  # used up by the pass
        if state is None:
            raise RuntimeError("The gradient of a pass can be asked for once.")
        flows, gradients = ctx.passes.down(state, grad, ctx.saved_tensors, of_logs=False)
        return None, flows, *gradients
