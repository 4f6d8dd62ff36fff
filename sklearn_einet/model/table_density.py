"""A density over a table, in the units of its columns."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
import torch

from sklearn_einet.circuit import Circuit
from sklearn_einet.circuit.transforms.marginal import marginal_circuit
from sklearn_einet.model import completion, events, moments
from sklearn_einet.model.boxes import box_log_probability
from sklearn_einet.model.cells import cell_scores
from sklearn_einet.model.conditional import conditional_log_density, log_density_given
from sklearn_einet.model.covariance import covariance
from sklearn_einet.model.evidence import usable_evidence
from sklearn_einet.model.gap_patterns import comparable_scores
from sklearn_einet.model.log_density import log_density, query_circuit
from sklearn_einet.model.typical import typical_cells
from sklearn_einet.tables.conditions import Conditions
from sklearn_einet.tables.derived import KeepsDerived
from sklearn_einet.tables.encoding import Encoding
from sklearn_einet.tables.schema import Schema

__all__ = ["TableDensity"]


@dataclass(frozen=True)
class TableDensity(KeepsDerived):
    """A fitted density of the rows of a table, which answers all queries for arrays of numbers.

    It combines a circuit with the units, families and categories of the columns. Rows are arrays
    of numbers, as returned by the estimators' method `as_numbers`: NaN for missing cells, codes for
    categories. Log-densities are in nats, per unit of the columns.

    Attributes
    ----------
    circuit : Circuit
        The trained circuit.
    schema : Schema
        The families and units of the columns.
    encoding : Encoding
        The categories of the columns, and the type of the table.
    device : torch.device or None
        The device that queries are computed on. None: that of the circuit.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from sklearn_einet import EinetDensity
    >>> X = load_iris().data
    >>> density = EinetDensity(max_iter=200, random_state=0).fit(X).table_density_
    >>> density.log_density(X[:2]).shape, density.marginal([2, 3]).log_density(X[:2, 2:]).shape
    ((2,), (2,))
    """

    circuit: Circuit
    schema: Schema
    encoding: Encoding
    device: torch.device | None = None

    def to(self, device: torch.device) -> TableDensity:
        """Return the same density with queries computed on a device."""
        if device == (self.device or self.circuit.device):
            return self
        if device not in self._elsewhere:
            self._elsewhere[device] = replace(self, device=device)
        return self._elsewhere[device]

    @cached_property
    def _elsewhere(self) -> dict[torch.device, TableDensity]:
        """Copies of the density on other devices."""
        return {}

    @cached_property
    def scoring_circuit(self) -> Circuit:
        """The circuit that scores rows: in float64 on the CPU, in its own precision on a GPU."""
        return query_circuit(self.circuit, self.device or self.circuit.device)

    @cached_property
    def exact_circuit(self) -> Circuit:
        """The circuit in float64."""
        circuit = self.scoring_circuit
        if circuit.dtype != torch.float64:
            circuit = circuit.to(circuit.device, torch.float64).settled()
        return circuit

    @cached_property
    def _column_moments(self) -> moments.ColumnMoments:
        return moments.ColumnMoments(self.exact_circuit, self.schema)

    def log_density(self, X: Any) -> np.ndarray:
        """Return the log-density of the observed cells of each row of an array or a table."""
        return log_density(self.scoring_circuit, self.schema, X)

    def comparable_scores(
        self, X: Any, wanted: np.ndarray | None = None, scores: np.ndarray | None = None
    ) -> np.ndarray:
        """Return log-densities that are comparable between rows, whatever cells are missing.

        Parameters
        ----------
        X : ndarray or Table of shape (n_samples, n_features)
        wanted, scores
            As in `sklearn_einet.model.gap_patterns.comparable_scores`.
        """
        return comparable_scores(self.scoring_circuit, self.schema, X, wanted, scores)

    def conditional_log_density(self, X: Any, given: np.ndarray) -> np.ndarray:
        """Return the log-density of the other cells of each row, given some columns.

        Impossible cells are not conditioned on, with a warning.
        """
        return conditional_log_density(self.exact_circuit, self.schema, X, given)

    def log_density_given(self, X: np.ndarray, evidence: np.ndarray) -> np.ndarray:
        """Return the log-density of rows given their cells in `evidence`, which may be one row."""
        return log_density_given(self.exact_circuit, self.schema, X, evidence)

    def evidence(self, X: np.ndarray) -> np.ndarray:
        """Return rows with NaN for cells that are impossible under the model, with a warning; also
        warn about cells far beyond the values seen in fit."""
        return usable_evidence(self.exact_circuit, self.schema, X)

    def cell_scores(self, X: Any, given_others: bool = True) -> np.ndarray:
        """Return minus the log-density of every cell, given the rest of its row or given nothing.

        NaN for missing cells, inf for impossible ones.
        """
        return cell_scores(self.exact_circuit, self.schema, X, given_others)

    def box_log_probability(self, low: np.ndarray, high: np.ndarray) -> np.ndarray:
        """Return the log-probability of each box; free columns have infinite bounds."""
        return box_log_probability(self.exact_circuit, self.schema, low, high)

    def log_density_given_event(self, X: Any, conditions: Conditions) -> np.ndarray:
        """Return the log-density of rows given conditions; -inf for rows that do not meet them."""
        return events.log_density_given_event(self.exact_circuit, self.schema, X, conditions)

    def event_log_probability(self, event: Conditions, given: Conditions) -> float:
        """Return the log-probability that conditions are met, given that others are."""
        return events.event_log_probability(self.exact_circuit, self.schema, event, given)

    def draws(
        self, n_samples: int, random_state: np.random.RandomState, noise: bool = True
    ) -> np.ndarray:
        """Draw new rows, (n_samples, n_features); without noise, leaves return their modes."""
        return self.draws_with_gaps(n_samples, random_state, noise)[0]

    def draws_with_gaps(
        self, n_samples: int, random_state: np.random.RandomState, noise: bool = True
    ) -> tuple[np.ndarray, np.ndarray | None]:
        """Draw new rows and, if the model has learned gaps, which of their cells are missing."""
        return completion.draws(self.scoring_circuit, self.schema, n_samples, random_state, noise)

    def draws_given(
        self,
        conditions: Conditions,
        n_samples: int,
        random_state: np.random.RandomState,
        noise: bool = True,
    ) -> tuple[np.ndarray, np.ndarray | None]:
        """Draw new rows given conditions and, if the model has learned gaps, which of their cells
        are missing."""
        circuit = self.exact_circuit
        return events.draws_given(circuit, self.schema, conditions, n_samples, random_state, noise)

    def conditional_draws(
        self,
        X: np.ndarray,
        n_draws: int,
        random_state: np.random.RandomState,
        noise: bool = True,
    ) -> np.ndarray:
        """Draw the missing cells of float64 rows jointly, (n_draws, n_samples, n_features)."""
        circuit = self.exact_circuit
        return completion.conditional_draws(circuit, self.schema, X, n_draws, random_state, noise)

    def typical_cells(
        self, X: np.ndarray, row: np.ndarray, column: np.ndarray, levels: np.ndarray
    ) -> np.ndarray:
        """Return quantiles of missing cells of float64 rows, each given the observed cells of its
        row, (n_levels, n_cells); for categories, the most probable one."""
        return typical_cells(self.exact_circuit, self.schema, X, row, column, levels)

    def most_probable(self, X: np.ndarray) -> np.ndarray:
        """Return float64 rows with missing cells filled by the most probable completion."""
        return completion.most_probable_rows(self.exact_circuit, self.schema, X)

    def moments(self) -> tuple[np.ndarray, np.ndarray]:
        """Return the mean and variance of every column, of its codes if it has categories."""
        return moments.moments(self._column_moments)

    def conditional_moments(
        self, X: np.ndarray, codes: bool = False, warn: bool = True
    ) -> tuple[np.ndarray, np.ndarray]:
        """Return float64 rows with missing cells filled by conditional means, and variances.

        Categorical cells are filled with the most probable category, unless `codes` is true. `warn`
        is false for rows that `evidence` has already warned about.
        """
        return moments.conditional_moments(self._column_moments, X, codes, warn)

    def covariance(self) -> np.ndarray:
        """Return the covariance matrix of the columns; NaN for those of categories."""
        return covariance(self.exact_circuit, self.schema)

    def marginal(self, columns: Any) -> TableDensity:
        """Return the density of some columns, in this order; the others are integrated out."""
        columns = np.asarray(columns)
        circuit = marginal_circuit(self.circuit, self.schema.states.features(columns.tolist()))
        schema = self.schema.restricted(columns, circuit.leaf_columns)
        return replace(
            self, circuit=circuit, schema=schema, encoding=self.encoding.restricted(columns)
        )
