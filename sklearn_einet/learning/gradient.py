"""Gradient ascent on the log-likelihood, in unconstrained coordinates."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor

from sklearn_einet.circuit import Circuit, Parameters
from sklearn_einet.learning.expectation_maximization import penalty
from sklearn_einet.learning.statistics import detached_scalar
from sklearn_einet.tables.rows import Rows

__all__ = ["GradientAscent"]

OPTIMIZERS: dict[str, type[torch.optim.Optimizer]] = {
    "adam": torch.optim.Adam,
    "sgd": torch.optim.SGD,
}


@dataclass
class GradientAscent:
    """Adam or plain stochastic gradient ascent on minibatches.

    Sum weights are softmax functions of real numbers; leaves have the coordinates of
    `ExponentialFamily.from_unconstrained`. The objective is the one of EM: the mean log-likelihood
    and the prior, see `sklearn_einet.learning.expectation_maximization.penalty`.

    Attributes
    ----------
    optimizer : {"adam", "sgd"}
    pseudocount : float
        Mass of the prior of every node, in rows.
    step_size : float
        Learning rate.
    batch_size : int
    n_rows : float
        Total weight of the rows that the pseudocount is compared with.
    """

    optimizer: str
    pseudocount: float
    step_size: float
    batch_size: int
    n_rows: float
    _state: dict[str, Any] | None = field(default=None, repr=False)

    def epoch(self, circuit: Circuit, rows: Rows) -> float:
        """Make one pass over the rows in random order.

        Returns
        -------
        log_likelihood : float
            Mean over the rows, each before the update with its batch, in nats.
        """
        logits = [w.log().requires_grad_() for w in circuit.weights]
        coordinates = [
            group.family.to_unconstrained(group.family.natural(group.phi)).requires_grad_()
            for group in circuit.leaf_groups
        ]
        optimizer = OPTIMIZERS[self.optimizer](logits + coordinates, lr=self.step_size)  # type: ignore[call-arg]
        if self._state is not None:
            optimizer.load_state_dict(self._state)
        total = weight = 0.0
        for batch in rows.batches(self.batch_size):
            log_likelihood, batch_weight = self._accumulate(
                circuit, rows, batch, logits, coordinates
            )
            optimizer.step()
            total += log_likelihood
            weight += batch_weight
        self._state = optimizer.state_dict()
        with torch.no_grad():
            circuit.weights = _softmax(circuit, logits)
            for group, u in zip(circuit.leaf_groups, coordinates, strict=True):
                phi = group.family.expectation(group.family.from_unconstrained(u))
                group.phi = group.projected(phi)
        return float(total / weight)

    def last_step(self, circuit: Circuit, *parts: Rows) -> Iterator[Circuit]:
        """Yield nothing: gradient ascent has no last step of its own."""
        return iter(())

    def end_epochs(self) -> None:
        """Drop the optimizer's state."""
        self._state = None

    def _accumulate(
        self,
        circuit: Circuit,
        rows: Rows,
        batch: Any,
        logits: list[Tensor],
        coordinates: list[Tensor],
    ) -> tuple[Any, Any]:
        """Set the gradient of the coordinates to that of a batch."""
        # The expected weight of a batch instead of its own, so that every row counts by its weight.
        expected = len(batch) * rows.total_weight / len(rows)
        batch_part = rows.total(partial(_gradient, circuit, logits, coordinates), batch)
        for coordinate, gradient in zip(logits + coordinates, batch_part.gradients, strict=True):
            coordinate.grad = gradient.div_(-expected)
        if self.pseudocount > 0:
            with torch.enable_grad():
                parameters = _parameters(circuit, logits, coordinates)
                (-penalty(circuit, self.pseudocount / self.n_rows, parameters)).backward()
        return batch_part.log_likelihood, batch_part.weight


@dataclass
class _Gradient:
    """Log-likelihood of some rows, their weight, and the gradient; all are additive."""

    log_likelihood: Any
    weight: Any
    gradients: list[Tensor]

    def __add__(self, other: _Gradient) -> _Gradient:
        return _Gradient(
            self.log_likelihood + other.log_likelihood,
            self.weight + other.weight,
            [a + b for a, b in zip(self.gradients, other.gradients, strict=True)],
        )


def _gradient(
    circuit: Circuit,
    logits: list[Tensor],
    coordinates: list[Tensor],
    rows: Rows,
    which: np.ndarray | None,
) -> _Gradient:
    """Return the gradient of the log-likelihood of some rows, block by block."""
    inputs = logits + coordinates
    total = _Gradient(0.0, 0.0, [torch.zeros_like(each) for each in inputs])
    with torch.enable_grad():
        for block in rows.blocks(circuit.block_rows, which):
            x, weight = rows.select(block)
            log_prob = circuit.log_prob(x, _parameters(circuit, logits, coordinates))
            gain = log_prob.sum() if weight is None else log_prob @ weight
            gradients = list(torch.autograd.grad(gain, inputs))
            n_rows = len(x) if weight is None else detached_scalar(weight.sum())
            total += _Gradient(detached_scalar(gain), n_rows, gradients)
    return total


def _softmax(circuit: Circuit, logits: list[Tensor]) -> list[Tensor]:
    """Return weights of all sum layers."""
    return [
        # All axes from the first one on are summed over in an einsum layer.
        torch.softmax(a.flatten(axes[0]), axes[0]).view_as(a)
        if len(axes) > 1
        else torch.softmax(a, axes[0])
        for a, axes in zip(logits, circuit.summed_axes, strict=True)
    ]


def _parameters(circuit: Circuit, logits: list[Tensor], coordinates: list[Tensor]) -> Parameters:
    """Return differentiable parameters of the circuit at the given coordinates."""
    leaves = [
        group.at(group.family.from_unconstrained(u))
        for group, u in zip(circuit.leaf_groups, coordinates, strict=True)
    ]
    return Parameters(_softmax(circuit, logits), leaves)
