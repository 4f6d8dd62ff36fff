"""What is said of the epochs of a fit while they go on."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from sklearn_einet.learning import History
from sklearn_einet.tables.rows import Rows
from sklearn_einet.tables.schema import Schema

__all__ = ["Units", "report"]


class Units:
    """From log-likelihoods of the circuit to those in the units of the columns.

    Parameters
    ----------
    schema : Schema
    rows : Rows
        That are learned from.
    held_out : Rows or None
    """

    def __init__(self, schema: Schema, rows: Rows, held_out: Rows | None) -> None:
        self.of_rows = schema.mean_log_jacobian(rows)
        self.of_held_out = None if held_out is None else schema.mean_log_jacobian(held_out)

    def attributes(self, history: History) -> dict[str, np.ndarray]:
        """Return the attributes of an estimator that tell of its training."""
        attributes = {"log_likelihoods_": np.array(history.log_likelihoods) + self.of_rows}
        if self.of_held_out is not None:
            attributes["validation_log_likelihoods_"] = (
                np.array(history.validation_log_likelihoods) + self.of_held_out
            )
        return attributes


def report(estimator: Any, units: Units) -> Callable[[History, Callable[[], History]], bool]:
    """Return an `after_epoch` of `fit_circuit` that prints the progress, as asked by verbose."""

    def printed(history: History, _: Callable[[], History]) -> bool:
        n_iter = len(history.log_likelihoods)
        if estimator.verbose and n_iter % int(estimator.verbose) == 0:
            training, *held_out = units.attributes(history).values()
            message = f"epoch {n_iter}: log-likelihood {training[-1]:.4f}"
            if held_out:
                message += f", held out {held_out[0][-1]:.4f}"
            print(f"[{type(estimator).__name__}] {message}")
        return False

    return printed
