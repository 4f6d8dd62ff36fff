"""What is said of the epochs of a fit while they go on."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from sklearn.utils import _safe_indexing
from sklearn.utils.validation import _num_samples

from sklearn_einet.learning import History
from sklearn_einet.tables.rows import Rows
from sklearn_einet.tables.schema import Schema
from sklearn_einet.tables.stored import StoredTable
from sklearn_einet.tables.table import Table, is_dask

__all__ = ["Callbacks", "Units"]


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

    def report(self, name: str, verbose: int, history: History) -> None:
        """Print the progress every `verbose` epochs, after the name of the estimator."""
        n_iter = len(history.log_likelihoods)
        if verbose and n_iter % int(verbose) == 0:
            training, *held_out = self.attributes(history).values()
            message = f"epoch {n_iter}: log-likelihood {training[-1]:.4f}"
            if held_out:
                message += f", held out {held_out[0][-1]:.4f}"
            print(f"[{name}] {message}")


@dataclass(frozen=True)
class Callbacks:
    """The callbacks of an estimator during one fit.

    Attributes
    ----------
    context : CallbackContext
        Of scikit-learn.
    data : dict
        What callbacks are given of the fit.
    """

    context: Any
    data: dict[str, Any]

    @classmethod
    def of(
        cls, context: Any, estimator: Any, X: Any, table: Table, y: Any, sample_weight: Any
    ) -> Callbacks:
        """Collect what callbacks are given: of the user's rows those that have weight."""
        metadata = {} if sample_weight is None else {"sample_weight": table.weight}
        if is_dask(X):
            metadata = {} if sample_weight is None else {"sample_weight": sample_weight}
        elif len(table) < _num_samples(X):
            kept = np.flatnonzero(np.asarray(sample_weight) > 0)
            X = table if isinstance(table, StoredTable) else _safe_indexing(X, kept)
            y = None if y is None else _safe_indexing(y, kept)
        return cls(context, {"estimator": estimator, "X": X, "y": y, "metadata": metadata})

    def begin(self) -> None:
        """Tell that the fit begins."""
        self.context.call_on_fit_task_begin(**self.data)

    def after_epoch(self, attributes: Any) -> bool:
        """Tell of an epoch, and return whether the fit is to stop.

        `attributes` is a function that returns the fitted attributes if it stops here.
        """
        epoch = self.context.subcontext(task_name="epoch")
        epoch.call_on_fit_task_begin(**self.data)
        return bool(epoch.call_on_fit_task_end(**self.data, reconstruction_attributes=attributes))

    def end(self, attributes: dict[str, Any]) -> None:
        """Tell that the fit has ended."""
        self.context.call_on_fit_task_end(**self.data, reconstruction_attributes=attributes)
