"""The loop over epochs: when to stop, and which parameters to keep."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor

from sklearn_einet.circuit import Circuit
from sklearn_einet.learning.compiled_rows import CompiledRows
from sklearn_einet.learning.statistics import weighted_sum
from sklearn_einet.tables.rows import Rows

__all__ = ["History", "Solver", "fit_circuit", "last_steps", "mean_log_likelihood"]

# Steps of full EM before the last one. They hardly change the likelihood, but improve how columns
# depend on each other in draws.
MAX_STEPS_BEFORE_LAST = 4


class Solver(Protocol):
    """An algorithm that improves a circuit."""

    def epoch(self, circuit: Circuit, rows: Rows) -> float:
        """Improve the circuit by one pass over the rows; return their mean log-density before."""

    def last_step(self, circuit: Circuit, *parts: Rows) -> Iterator[Circuit]:
        """Yield the circuit after a last pass over the first part of the rows, then over the first
        two parts, and so on; the given circuit is not changed.

        Yields nothing if this solver has no such step.
        """

    def end_epochs(self) -> None:
        """Free memory that only further epochs need."""


@dataclass
class History:
    """The history of a fit.

    Attributes
    ----------
    log_likelihoods : list of float
        Mean log-density of the training rows in each epoch, in nats, in the circuit's units.
    validation_log_likelihoods : list of float
        The same for the held-out rows after each epoch; empty without held-out rows.
    converged : bool
        Whether the criterion was met before the last epoch.
    stopped : bool
        Whether a callback ended the fit.
    circuit : Circuit
        The best circuit; when the fit has ended, after the solver's last step.
    calibration : Circuit or None
        When the fit has ended, the circuit that has not seen the held-out rows, which relates to
        these as the other one does to new rows. None: the same circuit.
    """

    circuit: Circuit
    log_likelihoods: list[float] = field(default_factory=list)
    validation_log_likelihoods: list[float] = field(default_factory=list)
    converged: bool = False
    stopped: bool = False
    calibration: Circuit | None = None


def fit_circuit(
    circuit: Circuit,
    solver: Solver,
    rows: Rows,
    held_out: Rows | None,
    *,
    max_iter: int,
    tol: float,
    n_iter_no_change: int,
    after_epoch: Callable[[History, Callable[[], History]], Any],
    after_epochs: Callable[[History, int], Any] | None = None,
    learn_held_out: bool = False,
    beside: Circuit | None = None,
    settles: bool = True,
) -> History:
    """Run epochs until the monitored log-likelihood no longer grows by `tol`.

    If there are held-out rows, they are monitored, and the circuit that was best on them is kept;
    otherwise, the training rows are monitored. The circuit then makes a few of the solver's last
    steps, as long as it does not become worse on the held-out rows. These steps do not count as
    epochs: the history has the log-likelihoods of epochs only.

    Parameters
    ----------
    circuit : Circuit
        Changed in place.
    solver : Solver
    rows, held_out : Rows
    max_iter : int
        Largest number of epochs.
    tol : float
        The least gain that counts, in nats per row; also for the steps before the last one.
    n_iter_no_change : int
        Number of epochs without such a gain after which to stop.
    after_epoch : callable
        Called after every epoch with the history so far; if it returns True, the epochs end. Its
        second argument is a function that returns the history of a fit that ends here.
    after_epochs : callable or None, default=None
        Told of the history when the epochs are over, with 0, and again after each of the steps
        before the last one, with their number.
    learn_held_out : bool, default=False
        Whether the last step, once the held-out rows have confirmed it, also learns from them.
    beside : Circuit or None, default=None
        A density with which the circuit will be mixed: on held-out rows, the mixture in equal
        shares is monitored.
    settles : bool, default=True
        Whether to make further steps before the last one.
    """
    history = History(circuit)

    def ended() -> History:
        settled, goes_on = history.circuit, True
        if settles and held_out is not None:
            after_step = None if after_epochs is None else partial(after_epochs, history)
            settled, goes_on = _settled(settled, solver, rows, held_out, tol, after_step)
        if not goes_on:
            return replace(history, circuit=settled)
        last, calibration = last_steps(settled, solver, rows, held_out, learn_held_out)
        return replace(history, circuit=last, calibration=calibration)

    best, n_idle = -np.inf, 0
    for _ in range(max_iter):
        history.log_likelihoods.append(solver.epoch(circuit, rows))
        monitored = history.log_likelihoods[-1]
        if held_out is not None:
            monitored = mean_log_likelihood(circuit, held_out, beside)
            history.validation_log_likelihoods.append(monitored)
        if not np.isfinite(history.log_likelihoods[-1]):
            raise ValueError(
                f"The log-likelihood became {history.log_likelihoods[-1]} in epoch "
                f"{len(history.log_likelihoods)}: lower step_size, or raise min_variance."
            )
        n_idle = n_idle + 1 if monitored < best + tol else 0
        if monitored > best:
            best = monitored
            if held_out is not None:
                # Solvers write only into what they have made in the epoch: sharing is enough.
                history.circuit = circuit.to(circuit.device)
        history.stopped = bool(after_epoch(history, ended))
        if history.stopped:
            break
        if n_idle >= n_iter_no_change:
            history.converged = True
            break
    if after_epochs is not None:
        after_epochs(history, 0)
    solver.end_epochs()
    return ended()


def _settled(
    circuit: Circuit,
    solver: Solver,
    rows: Rows,
    held_out: Rows,
    tol: float,
    after_step: Callable[[int], Any] | None = None,
) -> tuple[Circuit, bool]:
    """Return a circuit after steps like the last one, as long as held-out rows gain `tol`; and
    whether, as far as is known, one more step would not lose."""
    best = mean_log_likelihood(circuit, held_out)
    for n_steps in range(MAX_STEPS_BEFORE_LAST):
        if after_step is not None and n_steps:
            after_step(n_steps)
        new = next(solver.last_step(circuit, rows), None)
        if new is None or (found := mean_log_likelihood(new, held_out)) < best:
            return circuit, False
        gain = found - best
        circuit, best = new, found
        if gain < tol:
            break
    return circuit, True


def last_steps(
    circuit: Circuit, solver: Solver, rows: Rows, held_out: Rows | None, learn_held_out: bool
) -> tuple[Circuit, Circuit | None]:
    """Return a circuit after the solver's last step, or itself if held-out rows lose; and, if it
    has learned from these rows, the one that has not."""
    if held_out is None:
        return next(solver.last_step(circuit, rows), circuit), None
    steps = solver.last_step(circuit, rows, held_out)
    last = next(steps, None)
    if last is None or not _is_no_worse(last, circuit, held_out):
        return circuit, None
    return (next(steps), last) if learn_held_out else (last, None)


def _is_no_worse(new: Circuit, old: Circuit, rows: Rows) -> bool:
    return mean_log_likelihood(new, rows) >= mean_log_likelihood(old, rows)


def mean_log_likelihood(circuit: Circuit, rows: Rows, beside: Circuit | None = None) -> float:
    """Return the weighted mean log-density of rows, in nats, in the circuit's units; if there is a
    second circuit `beside`, which must not change, that of their mixture in equal shares."""
    return float(rows.total(partial(_log_likelihood, circuit, beside)) / rows.total_weight)


def _log_likelihood(
    circuit: Circuit, beside: Circuit | None, rows: Rows, which: np.ndarray | None
) -> Any:
    """Return the weighted sum of log-densities."""
    if which is None and rows.is_at_hand and rows.device.type == "cpu":
        other = None
        if beside is not None:
            other = rows.latest("beside", beside, partial(_log_densities, beside, rows))
        return weighted_sum(_mixed(_log_densities(circuit, rows), other), rows.all_weights)
    total: Any = 0.0
    parameters = circuit.parameters()
    with torch.no_grad():
        for block in rows.blocks(circuit.block_rows, which):
            x, weight = rows.select(block)
            other = None if beside is None else beside.log_prob(x)
            total += weighted_sum(_mixed(circuit.log_prob(x, parameters), other), weight)
    return total


@torch.no_grad()
def _log_densities(circuit: Circuit, rows: Rows) -> Tensor:
    """Return the log-densities of all rows."""
    if (compiled := CompiledRows.of(circuit, rows)) is not None:
        return compiled.log_prob(circuit)
    parameters, blocks = circuit.parameters(), rows.blocks(circuit.block_rows)
    return torch.cat([circuit.log_prob(rows.select(block)[0], parameters) for block in blocks])


def _mixed(log_prob: Tensor, other: Tensor | None) -> Tensor:
    """Return log-densities under a mixture in equal shares, if there is a second circuit."""
    return log_prob if other is None else torch.logaddexp(log_prob, other) - math.log(2)
