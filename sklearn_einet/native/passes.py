"""Both passes through the layers of a circuit, as recorded programs."""

from __future__ import annotations

import math
import threading
from collections.abc import Sequence
from typing import NamedTuple, Protocol

import numpy as np
import torch
from torch import Tensor

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
from sklearn_einet.native.threads import torch_alone

__all__ = ["LayerBuffers", "Passes", "RecordableLayer", "RecordedPasses", "RecordedUp"]


class LayerBuffers:
    """Addresses of a layer's arrays, for its methods `record_forward` and `record_backward`.

    Attributes
    ----------
    recorder : Recorder
    k : int
        Number of units of the children.
    rows : ndarray of int
        Rows of the children among the rows of k units in `values` and `flows`.
    alone : bool
        Whether none of them has another parent.
    values, flows : Address
        Of all outputs, one after the other: their logarithms, and derivatives with respect to
        these.
    value, flow : Address
        Those of the layer's own output.
    weights, counts : Address
        Of the layer's weights.
    goes_down : bool
        Whether a downward pass follows.
    of_logs : bool
        Whether gradients of weights are with respect to their logarithms, which makes them
        expected counts.
    kept : dict of str to Address
        Arrays that the downward pass needs.
    adds : bool
        Whether anything is added to flows, which must then be 0 at first.
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
        goes_down: bool,
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
        self.goes_down = goes_down
        self.of_logs = True
        self.kept: dict[str, Address] = {}
        self.adds = False

    def move_flows(self, flows: Address) -> None:
        """Set the address of the flows of all outputs."""
        self.flows = flows
        self.flow = flows.plus(self._own_units * self.recorder.itemsize)

    def at(self, address: Address, row: int) -> Address:
        """Return the address of a row of the values or flows."""
        return address.plus(int(row) * self.k * self.recorder.itemsize)

    def below(self) -> tuple[Address, Address]:
        """Return the address of the children's values, and their rows from there; NULL for all
        rows in order."""
        if in_a_row(self.rows):
            return self.at(self.values, self.rows[0]), NULL
        return self.values, self.recorder.kept(self.rows)

    def for_down(self, rows: int, units: int) -> Address:
        """Reserve an array for the downward pass; return NULL if none follows."""
        return self.recorder.buffer(rows, units) if self.goes_down else NULL

    def flows_to(self, rows: np.ndarray) -> Address:
        """Return the address for the flows of some children, before `add_flows`."""
        if self.alone and in_a_row(rows):
            return self.at(self.flows, rows[0])
        return self.recorder.scratch(len(rows), self.k)

    def add_flows(self, written: Address, rows: np.ndarray, which: Address = NULL) -> None:
        """Add flows to those of some children, unless they have been written there directly;
        children without another parent have none yet.

        `which` are the written rows, if these are not all rows in order.
        """
        if len(rows) and written != self.at(self.flows, rows[0]):
            to = self.flows, self.recorder.kept(rows)
            sizes = len(rows), PerRow(self.k)
            self.recorder.call("add_rows", *to, written, which, *sizes, self.alone)
            self.adds |= not self.alone


class RecordableLayer(Protocol):
    """A layer that can be recorded; see `sklearn_einet.circuit.layers.base.Layer`."""

    @property
    def children(self) -> np.ndarray:
        """The (output, row) of every child."""

    def record_forward(self, buffers: LayerBuffers) -> None:
        """Record the computation of the layer's output."""

    def record_backward(self, buffers: LayerBuffers) -> None:
        """Record the computation of the flows below, and of the gradients of the weights."""


class _Up(NamedTuple):
    """The recorded upward pass."""

    program: Program
    recorder: Recorder
    buffers: list[LayerBuffers]


class RecordedUp(NamedTuple):
    """The upward pass alone, as part of longer programs; see `RecordedPasses`."""

    up: Program
    n_units: int
    leaves: Address
    root: Address


class RecordedPasses(NamedTuple):
    """Both passes as parts of longer programs.

    Attributes
    ----------
    up, down : Program
    n_units, scratch_units : int
        Numbers for each row of the batch that the buffer and the scratch have to hold.
    leaves, root : Address
        Of the input of the upward pass, and of its result.
    leaf_flows, root_flows : Address
        Of the result of the downward pass, and of its input, which overwrites the root's value if
        the addresses are the same.
    """

    up: Program
    down: Program
    n_units: int
    scratch_units: int
    leaves: Address
    root: Address
    leaf_flows: Address
    root_flows: Address


class _State(NamedTuple):
    """The result of an upward pass: a buffer for a batch of some size."""

    buffer: Tensor
    batch: int


class Passes:
    """Programs for both passes.

    One buffer has the rows of all outputs, then what layers keep for the downward pass, then the
    flows, unless these overwrite the values. Scores keep nothing for a downward pass. Programs are
    recorded when they are first needed.

    Parameters
    ----------
    layers : sequence of RecordableLayer
    shapes : sequence of (int, int)
        Rows and units of the outputs of the leaf regions and of every layer. Outputs whose number
        of units differs from that of the leaf regions come last.
    dtype : torch.dtype
    """

    def __init__(
        self,
        layers: Sequence[RecordableLayer],
        shapes: Sequence[tuple[int, int]],
        dtype: torch.dtype,
    ) -> None:
        self._layers, self._shapes, self._dtype = layers, shapes, dtype
        self._first_unit = np.cumsum([0, *(rows * k for rows, k in shapes)]).tolist()
        self._ups: dict[bool, _Up] = {}
        self._downs: dict[bool, Program] = {}
        self._lock = threading.RLock()  # threads may share a circuit

    def _up(self, for_down: bool) -> _Up:
        with self._lock:
            if for_down not in self._ups:
                recorder = Recorder(self._dtype.itemsize)
                buffers = self._record_up(recorder, for_down)
                program = recorder.program(len(self._layers))
                self._ups[for_down] = _Up(program, recorder, buffers)
            return self._ups[for_down]

    def _record_up(self, recorder: Recorder, goes_down: bool) -> list[LayerBuffers]:
        values = recorder.buffer(self._first_unit[-1], 1)
        start = np.array(self._first_unit)
        first_row = np.cumsum([0, *(rows for rows, _ in self._shapes)])
        ids = [first_row[layer.children[:, 0]] + layer.children[:, 1] for layer in self._layers]
        n_parents = np.bincount(np.concatenate(ids), minlength=first_row[-1])
        result = []
        for i, (layer, child) in enumerate(zip(self._layers, ids, strict=True)):
            source, row = layer.children.T
            k = self._shapes[source[0]][1]
            rows, alone = start[source] // k + row, bool((n_parents[child] == 1).all())
            own_units = self._first_unit[i + 1]
            buffers = LayerBuffers(recorder, k, rows, alone, values, own_units, i, goes_down)
            layer.record_forward(buffers)
            result.append(buffers)
        return result

    def _down(self, of_logs: bool) -> Program:
        with self._lock:
            if not self._downs:
                _, recorder, buffers = self._up(True)
                program = self._record_down(of_logs)
                if any(own.adds for own in buffers):
                    # Flows can overwrite values only if no row has two parents that add to it.
                    flows = recorder.buffer(self._first_unit[-1], 1)
                    for own in buffers:
                        own.move_flows(flows)
                    program = self._record_down(of_logs)
                self._downs[of_logs] = program
            elif of_logs not in self._downs:
                self._downs[of_logs] = self._record_down(of_logs)
            return self._downs[of_logs]

    def _record_down(self, of_logs: bool) -> Program:
        _, recorder, buffers = self._up(True)
        for layer, own in zip(reversed(self._layers), reversed(buffers), strict=True):
            own.of_logs = of_logs
            recorder.release()
            layer.record_backward(own)
        if buffers[0].flows != buffers[0].values:
            recorder.before("clear", buffers[0].flows, PerRow(self._first_unit[-2]))
        return recorder.program(len(self._layers))

    @property
    def recorded(self) -> RecordedPasses:
        """Both passes, with expected counts."""
        down, (up, recorder, buffers) = self._down(of_logs=True), self._up(True)
        root = self._first_unit[-2] * recorder.itemsize
        values, flows = buffers[0].values, buffers[0].flows
        ends = values, values.plus(root), flows, flows.plus(root)
        return RecordedPasses(up, down, recorder.n_units, recorder.scratch_units, *ends)

    @property
    def recorded_up(self) -> RecordedUp:
        """The upward pass without a downward pass."""
        up, recorder, buffers = self._up(False)
        values = buffers[0].values
        root = values.plus(self._first_unit[-2] * recorder.itemsize)
        return RecordedUp(up, recorder.n_units, values, root)

    @torch_alone()
    def up(self, leaves: Tensor, weights: Sequence[Tensor], *, for_down: bool = False) -> _State:
        """Make the upward pass; see `sklearn_einet.circuit.protocols.Passes`."""
        if for_down and not self._downs:
            self._down(of_logs=True)  # it determines the size of the buffer
        program, recorder, _ = self._up(for_down)
        batch = leaves.shape[-1]
        buffer = leaves.new_empty(batch * recorder.n_units)
        buffer[: leaves.numel()].view_as(leaves).copy_(leaves)
        program.run(batch, buffer, buffer, [w.contiguous() for w in weights], [])
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

    @torch_alone()
    def down(
        self,
        state: _State,
        upstream: Tensor,
        weights: Sequence[Tensor],
        *,
        of_logs: bool = True,
    ) -> tuple[Tensor, list[Tensor]]:
        """Make the downward pass; see `sklearn_einet.circuit.protocols.Passes`."""
        program, (_, recorder, buffers) = self._down(of_logs), self._up(True)
        buffer, batch = state
        flows = buffer[buffers[0].flows.per_row // recorder.itemsize * batch :]
        root = self._first_unit[-2] * batch
        flows[root : root + batch] = upstream
        counts = [torch.empty_like(w, memory_format=torch.contiguous_format) for w in weights]
        scratch = buffer.new_empty(recorder.scratch_units * batch)
        program.run(batch, buffer, scratch, [w.contiguous() for w in weights], counts)
        shape = *self._shapes[0], batch
        return flows[: math.prod(shape)].view(shape), counts
