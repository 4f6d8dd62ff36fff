"""Progress reports of a fit, and calls of its callbacks."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from sklearn.utils import _safe_indexing
from sklearn.utils.validation import _num_samples

from sklearn_einet.learning import History
from sklearn_einet.tables.rows import Rows
from sklearn_einet.tables.schema import Schema
from sklearn_einet.tables.stored import StoredTable
from sklearn_einet.tables.table import Table, is_dask

__all__ = ["Callbacks", "Report", "Units"]

# Steps that take longer than this many seconds report their duration; and the least number of
# seconds between two lines about frequent events.
SLOW, BETWEEN = 1.0, 2.0


@dataclass
class Clock:
    """When a fit began, when it last printed a line (seconds since 1970), and if it is muted now.

    Other clocks may differ between the workers of a mixture.
    """

    began: float = field(default_factory=time.time)
    spoke: float = 0.0
    muted: bool = False


@dataclass(frozen=True)
class Report:
    """Prints what a fit is doing, and the time since it began, as the parameter verbose asks.

    Attributes
    ----------
    name : str
        The estimator.
    verbose : int
        Number of epochs from one line to the next; 0: nothing is printed.
    prefix : str, default=""
        Name of the part of the model that the lines are about; "": the whole model.
    limit : str, default="max_iter"
        The parameter that limits the number of epochs.
    clock : Clock
    """

    name: str
    verbose: int
    prefix: str = ""
    limit: str = "max_iter"
    clock: Clock = field(default_factory=Clock)

    @classmethod
    def of(cls, estimator: Any) -> Report:
        """Begin to report what an estimator does."""
        return cls(type(estimator).__name__, int(estimator.verbose))

    def of_part(self, name: str, width: int = 0) -> Report:
        """Return a report for a part of the model, with its name padded to a width."""
        return replace(self, prefix=f"{self.prefix}{name + ':':{width + 1}} ")

    def silent(self) -> Report:
        """Return a report that prints nothing."""
        return replace(self, verbose=0)

    @property
    def seconds(self) -> float:
        """How long ago the fit began."""
        return max(0.0, time.time() - self.clock.began)

    def say(self, text: str) -> None:
        """Print a line."""
        if self.verbose and not self.clock.muted:
            self.clock.spoke = time.time()
            # Print the line at once and as a whole, since other workers print lines, too.
            line = f"[{self.name}] {self.seconds:7.1f} s  {self.prefix}{text}\n"
            print(line, end="", flush=True)

    def say_rarely(self, text: str) -> None:
        """Print a line if the last one was some seconds ago."""
        if self.verbose and time.time() - self.clock.spoke >= BETWEEN:
            self.say(text)

    @contextmanager
    def timed(self, text: str) -> Iterator[None]:
        """Say what begins, and how long it took if it took long."""
        began = time.time()
        self.say(text)
        yield
        if (took := time.time() - began) >= SLOW:
            self.say(f"{text}: took {took:.1f} s")

    @contextmanager
    def muted(self) -> Iterator[None]:
        """Print nothing for a while, as callbacks of an epoch finish copies of the model."""
        self.clock.muted = True
        try:
            yield
        finally:
            self.clock.muted = False

    def epoch(
        self, n_iter: int, attributes: Callable[[], dict[str, np.ndarray]], width: int = 3
    ) -> None:
        """Print the log-likelihoods of an epoch, every `verbose` epochs.

        Parameters
        ----------
        n_iter : int
            Number of the epoch.
        attributes : callable
            Returns log-likelihoods of the training rows in the epochs so far and, if there are any,
            of the held-out rows.
        width : int, default=3
            Number of digits of an epoch's number.
        """
        if not self.verbose or n_iter % self.verbose:
            return
        training, *held_out = attributes().values()
        text = f"epoch {n_iter:{width}}  log-likelihood {training[-1]:9.4f}"
        if held_out:
            text += f" (held out {held_out[0][-1]:9.4f})"
        text += " nats per row"
        monitored = held_out[0] if held_out else training
        if len(monitored) > 1:
            text += f"  gain {monitored[-1] - monitored[:-1].max():8.4f}"
        self.say(text)

    def epochs_are_over(self, why: str, n_steps: int = 0) -> None:
        """Say what follows the last epoch of the model, or why it was the last one of a part; of
        the steps after it, how many there were."""
        if n_steps:
            self.say_rarely(f"last steps: {n_steps} made")
        else:
            self.say(why if self.prefix else "finishing: last steps, outlier threshold")

    def why_it_ended(self, history: History, max_iter: int, is_brief: bool) -> str:
        """Return why there were no more epochs."""
        n_iter = len(history.log_likelihoods)
        epochs = "1 epoch" if n_iter == 1 else f"{n_iter} epochs"
        if history.stopped:
            return f"stopped by a callback after {epochs}"
        if history.converged:
            return f"converged after {epochs}"
        if is_brief:
            return f"max_iter='auto' reached after {epochs}"
        return f"{self.limit}={max_iter} reached before convergence"

    def done(self, why: str) -> None:
        """Print the last line of a fit."""
        self.say(f"done in {self.seconds:.1f} s: {why}")


class Units:
    """Converts log-likelihoods of the circuit to the units of the columns.

    Parameters
    ----------
    schema : Schema
    rows : Rows
        The training rows.
    held_out : Rows or None
    """

    def __init__(self, schema: Schema, rows: Rows, held_out: Rows | None) -> None:
        self.of_rows = schema.mean_log_jacobian(rows)
        self.of_held_out = None if held_out is None else schema.mean_log_jacobian(held_out)

    def attributes(self, history: History) -> dict[str, np.ndarray]:
        """Return the attributes of an estimator that describe its training."""
        attributes = {"log_likelihoods_": np.array(history.log_likelihoods) + self.of_rows}
        if self.of_held_out is not None:
            attributes["validation_log_likelihoods_"] = (
                np.array(history.validation_log_likelihoods) + self.of_held_out
            )
        return attributes


@dataclass(frozen=True)
class Callbacks:
    """The callbacks of an estimator during one fit.

    Attributes
    ----------
    context : CallbackContext
        The context of scikit-learn.
    data : dict
        What callbacks receive about the fit.
    """

    context: Any
    data: dict[str, Any]

    @classmethod
    def of(
        cls, context: Any, estimator: Any, X: Any, table: Table, y: Any, sample_weight: Any
    ) -> Callbacks:
        """Collect what callbacks receive: of the user's rows, those with weight."""
        metadata = {} if sample_weight is None else {"sample_weight": table.weight}
        if is_dask(X):
            metadata = {} if sample_weight is None else {"sample_weight": sample_weight}
        elif len(table) < _num_samples(X):
            kept = np.flatnonzero(np.asarray(sample_weight) > 0)
            X = table if isinstance(table, StoredTable) else _safe_indexing(X, kept)
            y = None if y is None else _safe_indexing(y, kept)
        return cls(context, {"estimator": estimator, "X": X, "y": y, "metadata": metadata})

    def begin(self) -> None:
        """Tell the callbacks that the fit begins."""
        self.context.call_on_fit_task_begin(**self.data)

    def after_epoch(self, attributes: Any) -> bool:
        """Tell the callbacks of an epoch, and return whether the fit should stop.

        `attributes` is a function that returns the fitted attributes if the fit stops here.
        """
        epoch = self.context.subcontext(task_name="epoch")
        epoch.call_on_fit_task_begin(**self.data)
        return bool(epoch.call_on_fit_task_end(**self.data, reconstruction_attributes=attributes))

    def end(self, attributes: dict[str, Any]) -> None:
        """Tell the callbacks that the fit has ended."""
        self.context.call_on_fit_task_end(**self.data, reconstruction_attributes=attributes)
