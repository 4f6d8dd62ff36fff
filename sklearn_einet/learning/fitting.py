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

# Steps of full EM before the last one. They hardly change the likelihood, but what is drawn: how
# columns go together.
MAX_STEPS_BEFORE_LAST = 4


class Solver(Protocol):
    """What improves a circuit."""

    def epoch(self, circuit: Circuit, rows: Rows) -> float:
        """Improve the circuit by one pass over the rows, and return their mean before it."""

    def last_step(self, circuit: Circuit, *parts: Rows) -> Iterator[Circuit]:
        """Yield what ends a fit: the circuit after one more pass over the first part of the rows,
        then over the first two of them, and so on; itself unchanged.

        Nothing if this solver has no such step.
        """


@dataclass
class History:
    """What happened in a fit.

    Attributes
    ----------
    log_likelihoods : list of float
        Mean log-density of the training rows in each epoch, in nats, in the circuit's units.
    validation_log_likelihoods : list of float
        Likewise of the held-out rows after each epoch; empty without them.
    converged : bool
        Whether the criterion was met before the last epoch.
    stopped : bool
        Whether a callback ended the fit.
    circuit : Circuit
        The best circuit; when the fit has ended, after the solver's last step.
    calibration : Circuit or None
        When the fit has ended, the circuit that has not seen the held-out rows, as the other one
        has not seen new rows. None: that is the same one.
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
    learn_held_out: bool = False,
    beside: Circuit | None = None,
    settles: bool = True,
) -> History:
    """Run epochs until the monitored log-likelihood no longer grows by `tol`.

    Held-out rows are monitored where there are any, and the circuit that was best on them is
    kept; otherwise the training rows are. That circuit then makes a few of the solver's last
    steps, as long as it becomes no worse on the held-out rows by them. They are no epochs: the
    log-likelihoods of the history are those of the epochs.

    Parameters
    ----------
    circuit : Circuit
        Changed in place.
    solver : Solver
    rows, held_out : Rows
    max_iter : int
        Largest number of epochs.
    tol : float
        The least gain that counts, in nats per row; also of the steps before the last one.
    n_iter_no_change : int
        Number of epochs without such a gain after which to stop.
    after_epoch : callable
        Told of every epoch by the history so far; its answer True ends the epochs. Its second
        argument is a function that returns the history of a fit that ends here.
    learn_held_out : bool, default=False
        Whether the last step, once the held-out rows have said yes, learns from them, too.
    beside : Circuit or None, default=None
        A density that the circuit will be mixed with: what is monitored of held-out rows is the
        mixture in even shares.
    settles : bool, default=True
        Whether there are other steps before the last one.
    """
    history = History(circuit)

    def ended() -> History:
        settled, goes_on = history.circuit, True
        if settles and held_out is not None:
            settled, goes_on = _settled(settled, solver, rows, held_out, tol)
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
    return ended()


def _settled(
    circuit: Circuit, solver: Solver, rows: Rows, held_out: Rows, tol: float
) -> tuple[Circuit, bool]:
    """Return a circuit after steps like the last one, as long as held-out rows gain `tol` by them;
    and whether they would not lose, as far as is known, by one more."""
    best = mean_log_likelihood(circuit, held_out)
    for _ in range(MAX_STEPS_BEFORE_LAST):
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
    """Return a circuit after the solver's last step, or itself where held-out rows say no; and, if
    it has learned from these rows, the one that has not."""
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
    """Return the weighted mean log-density of rows, in nats, in the circuit's units: that of the
    mixture of two circuits in even shares, if there is one beside, which must not change."""
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
    """Return log-densities under a mixture of two in even shares, if there is another one."""
    return log_prob if other is None else torch.logaddexp(log_prob, other) - math.log(2)
