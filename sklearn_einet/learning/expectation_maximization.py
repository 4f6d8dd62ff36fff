"""Expectation-maximisation, full (paper, eq. 7) and stochastic (paper, eq. 8 and 9)."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor

from sklearn_einet.circuit import Circuit, Parameters
from sklearn_einet.circuit.layers.base import MIN_WEIGHT, has_no_padding
from sklearn_einet.learning.compiled_rows import CompiledRows
from sklearn_einet.learning.compiled_steps import CompiledSteps
from sklearn_einet.learning.statistics import (
    Statistics,
    expected_statistics,
    prior_statistics,
)
from sklearn_einet.tables.rows import Rows

__all__ = ["FullEM", "StochasticEM", "maximize", "penalty", "step"]


def maximize(
    circuit: Circuit, statistics: Statistics, pseudocount: float, unit: float = 1.0
) -> None:
    """Make the M-step: set the most likely parameters given the statistics.

    Parameters
    ----------
    circuit : Circuit
        Changed in place.
    statistics : Statistics
    pseudocount : float
        Mass of the prior of every node, in the unit of the statistics: spread evenly over the
        terms of a sum, and with the statistics of the whole column at a leaf. The result
        maximises the penalised likelihood, see `penalty`.
    unit : float, default=1.0
        The weight of a row in the statistics, in which the covariances' prior counts.
    """
    sums = zip(circuit.weights, statistics.counts, circuit.summed_axes, strict=True)
    circuit.weights = [_normalized(old, counts, axes, pseudocount) for old, counts, axes in sums]
    _maximize_leaves(circuit, statistics, pseudocount, unit)


def _maximize_leaves(
    circuit: Circuit, statistics: Statistics, pseudocount: float, unit: float
) -> None:
    n_groups = len(circuit.leaf_groups)
    own, joint = statistics.leaves[:n_groups], statistics.leaves[n_groups:]
    for group, (weighted, mass) in zip(circuit.leaf_groups, own, strict=True):
        group.update(weighted, mass, pseudocount)
    for joint_group, (weighted, mass) in zip(circuit.joint_groups, joint, strict=True):
        joint_group.update(weighted, mass, pseudocount, unit)


def step(
    circuit: Circuit,
    average: Statistics,
    statistics: Statistics,
    step_size: Any,
    pseudocount: float,
    unit: float = 1.0,
) -> None:
    """Blend a batch's statistics into the average and maximise, all in place; `unit` is the weight
    of a row in the average."""
    keep, add = average.shares(statistics, step_size)
    average.blend_leaves(statistics, keep, add)
    for i, axes in enumerate(circuit.summed_axes):
        mean, counts, old = average.counts[i], statistics.counts[i], circuit.weights[i]
        if has_no_padding(old, axes):
            n_terms = math.prod(old.shape[axis] for axis in axes)
            circuit.backend.em_update_(
                mean.view(-1, n_terms),
                counts.reshape(-1, n_terms),
                old.view(-1, n_terms),
                keep,
                add,
                pseudocount / n_terms + MIN_WEIGHT,
                pseudocount == 0,
            )
        else:
            mean.mul_(keep).add_(counts * add)
            circuit.weights[i] = _normalized(old, mean, axes, pseudocount)
    _maximize_leaves(circuit, average, pseudocount, unit)


def _normalized(old: Tensor, counts: Tensor, axes: tuple[int, ...], pseudocount: float) -> Tensor:
    """Return weights of a layer's sums in proportion to smoothed counts; padding stays at zero."""
    total = counts.sum(axes, keepdim=True)
    if has_no_padding(old, axes):  # in as few passes over memory as possible
        n_terms: float | Tensor = float(math.prod(old.shape[axis] for axis in axes))
        smoothing: float | Tensor = pseudocount / n_terms + MIN_WEIGHT
    else:
        present = (old > 0).to(old.dtype)
        n_terms = present.sum(axes, keepdim=True)
        smoothing = (pseudocount / n_terms + MIN_WEIGHT) * present
    new = (counts + smoothing).div_(total + pseudocount + MIN_WEIGHT * n_terms)
    if pseudocount == 0:
        # A sum that no row reaches keeps its weights.
        new = torch.where(total == 0, old, new)
    return new


def penalty(circuit: Circuit, pseudocount: float, parameters: Parameters | None = None) -> Tensor:
    """Compute the log-density of the parameters under the prior, up to a constant, in nats.

    Full EM never lowers the log-likelihood of the training rows plus this.

    Parameters
    ----------
    circuit : Circuit
    pseudocount : float
        See `maximize`.
    parameters : Parameters or None, default=None
        Used in place of the circuit's own, for derivatives.

    Returns
    -------
    penalty : Tensor
        A scalar.
    """
    parameters = parameters or circuit.parameters()
    total = torch.zeros((), dtype=torch.float64, device=circuit.device)
    sums = zip(circuit.weights, parameters.weights, circuit.summed_axes, strict=True)
    for old, weights, axes in sums:
        present = old > 0
        share = present / present.sum(axes, keepdim=True)
        tiny = torch.finfo(weights.dtype).tiny
        total = total + (share * weights.clamp_min(tiny).log()).sum()
    for group, natural in zip(circuit.leaf_groups, parameters.leaves, strict=True):
        value = (natural.theta * group.slot_reference).sum(2) - natural.log_normalizer
        total = total + torch.where(group.present, value, 0).sum()
    joint = sum(group.penalty(pseudocount) for group in circuit.joint_groups)
    return pseudocount * total + joint


def block_statistics(circuit: Circuit, rows: Rows, which: Any) -> Statistics:
    """Return statistics of some rows (None: of all), computed where the rows are."""
    if which is None and (compiled := CompiledRows.of(circuit, rows)) is not None:
        return compiled.statistics(circuit)
    return rows.total(partial(_local_statistics, circuit), which)


def _local_statistics(circuit: Circuit, rows: Rows, which: Any) -> Statistics:
    """Return statistics of some rows, added up over blocks that fit into memory."""
    total: Statistics | None = None
    parameters = circuit.parameters()
    for block in rows.blocks(circuit.block_rows, which):
        statistics = expected_statistics(circuit, *rows.select(block), parameters)
        if total is None:
            total = statistics
        else:
            total += statistics
        del statistics
    assert total is not None
    return total


def _run_leaves(circuit: Circuit, average: Statistics, batch_size: int, pseudocount: float) -> None:
    """Convert the average to one that leaf groups follow step by step."""
    for i, group in enumerate(circuit.leaf_groups):
        weighted, mass = average.leaves[i]
        average.leaves[i] = group.running(weighted, batch_size, pseudocount), mass


@dataclass
class FullEM:
    """EM over all rows: one update per epoch.

    Attributes
    ----------
    pseudocount : float
        See `maximize`; in rows.
    """

    pseudocount: float

    def epoch(self, circuit: Circuit, rows: Rows) -> float:
        """Make one E-step over all rows and one M-step.

        Returns
        -------
        log_likelihood : float
            Mean over the rows, before the update, in nats.
        """
        statistics = block_statistics(circuit, rows, None)
        maximize(circuit, statistics, self.pseudocount)
        return float(statistics.log_likelihood / statistics.weight)

    def last_step(self, circuit: Circuit, *parts: Rows) -> Iterator[Circuit]:
        """Yield nothing: every epoch is a full step."""
        return iter(())

    def end_epochs(self) -> None:
        """Do nothing: epochs share no memory."""


@dataclass
class StochasticEM:
    """EM on minibatches, with a moving average of the statistics.

    Averaging statistics instead of parameters (paper, eq. 8 and 9) lets a node move in proportion
    to how much of the batch belongs to it: a node that no row of the batch reaches does not move.
    For nodes that are reached equally in all batches, both are the same.

    Attributes
    ----------
    pseudocount : float
        See `maximize`; in rows.
    step_size : float
        Weight of the first batch in the average. After t epochs, parts of them included, it is
        step_size / (1 + t) ** step_decay.
    batch_size : int
    n_rows : float
        Total weight of the rows that the pseudocount is compared with.
    step_decay : float, default=0.0
        0 is the constant step of the paper; the average converges for values above 1/2, up to 1.
    n_epochs : int, default=0
        Number t of epochs so far.

    References
    ----------
    M. Sato, "Fast learning of on-line EM algorithm", 1999; O. Cappe and E. Moulines, "On-line
    expectation-maximization algorithm for latent data models", JRSS B 71, 2009.
    """

    pseudocount: float
    step_size: float
    batch_size: int
    n_rows: float
    step_decay: float = 0.0
    n_epochs: int = 0
    average: Statistics | None = field(default=None, repr=False)
    _compiled: CompiledSteps | None = field(default=None, repr=False)

    def epoch(self, circuit: Circuit, rows: Rows) -> float:
        """Make one pass over the rows in random order.

        Returns
        -------
        log_likelihood : float
            Mean over the rows, each before the update with its batch, in nats.
        """
        pseudocount = self.pseudocount / self.n_rows
        is_first = self.average is None
        if self.average is None:
            self.average = prior_statistics(circuit)
            setting = self.average, self.batch_size, pseudocount
            self._compiled = CompiledSteps.of(circuit, rows, *setting)
        # Steps write into the weights, and other objects may hold the old ones.
        circuit.weights = [weights.clone() for weights in circuit.weights]
        n_batches = rows.n_batches(self.batch_size)
        t = self.n_epochs + np.arange(n_batches) / n_batches
        step_sizes = self.step_size / (1 + t) ** self.step_decay
        if self._compiled is not None:
            batches = rows.batches(self.batch_size)
            result = self._compiled.run(circuit, batches, step_sizes, is_first)
        else:
            if is_first:
                _run_leaves(circuit, self.average, self.batch_size, pseudocount)
            result = self._run_steps(circuit, rows, step_sizes, pseudocount)
        self.n_epochs += 1
        return result

    def _run_steps(
        self, circuit: Circuit, rows: Rows, step_sizes: np.ndarray, pseudocount: float
    ) -> float:
        """Make steps one by one; return the mean log-likelihood of `epoch`."""
        assert self.average is not None
        total = weight = 0.0
        batches = rows.batches(self.batch_size)
        for batch, step_size in zip(batches, step_sizes.tolist(), strict=True):
            statistics = block_statistics(circuit, rows, batch)
            total += statistics.log_likelihood
            weight += statistics.weight
            if rows.weight is not None:
                # A batch counts in proportion to its weight, so that every row does.
                expected = len(batch) * rows.total_weight / len(rows)
                step_size = step_size * statistics.weight / expected
                step_size = (
                    step_size.clamp(max=1) if torch.is_tensor(step_size) else min(1.0, step_size)
                )
            step(circuit, self.average, statistics, step_size, pseudocount, 1 / self.n_rows)
            del statistics  # as large as the weights, while the next batch's are computed
        for group in circuit.leaf_groups:
            group.settle()
        return float(total / weight)

    def last_step(self, circuit: Circuit, *parts: Rows) -> Iterator[Circuit]:
        """Yield the circuit after one step of full EM, on more and more parts of the rows.

        The moving average forgets, and mixes statistics for many different parameters. A single
        pass does not: for complete rows, the circuit then has exactly their (smoothed) means in
        every column.
        """
        total: Statistics | None = None
        for rows in parts:
            statistics = block_statistics(circuit, rows, None)
            total = statistics if total is None else total + statistics
            last = circuit.to(circuit.device)
            maximize(last, total, self.pseudocount)
            yield last

    def end_epochs(self) -> None:
        """Drop the moving average and the compiled steps."""
        self.average = self._compiled = None
