"""Queries that answer with rows: draws, imputations, moments."""

from __future__ import annotations

from collections.abc import Iterator
from numbers import Integral
from typing import Any

import numpy as np
import torch
from sklearn.utils import check_scalar, gen_batches
from sklearn.utils.validation import check_is_fitted
from torch import Tensor

from sklearn_einet.circuit import Circuit
from sklearn_einet.circuit.queries.maxima import add_peaks, peak_log_densities
from sklearn_einet.circuit.queries.moments import Moments, covariance, expected, posterior
from sklearn_einet.circuit.queries.sampling import (
    Choices,
    MostProbableChoices,
    PosteriorChoices,
    Value,
    drawn_by,
    fill,
    most_probable,
    sample,
    walk,
    walks_at_a_time,
)
from sklearn_einet.circuit.semirings import MAX
from sklearn_einet.estimators.base import new_random_state
from sklearn_einet.estimators.scores import ScoreQueries
from sklearn_einet.families import Categorical
from sklearn_einet.model.log_density import column_blocks

__all__ = ["STRATEGIES", "CompletionQueries"]

#: The ways to fill missing cells.
STRATEGIES = ("mean", "mpe", "sample")


class CompletionQueries(ScoreQueries):
    """New rows, completed rows, and what is to be expected of missing cells."""

    def sample(self, n_samples: int = 1, random_state: Any = None, noise: bool = True) -> Any:
        """Draw new rows.

        Parameters
        ----------
        n_samples : int, default=1
            Number of rows.
        random_state : int, RandomState instance or None, default=None
            None: different rows every time.
        noise : bool, default=True
            False: cells are not drawn from the univariate densities that the draw of hidden choices
            ends in, but get their most probable values. Images without the noise of single pixels.

        Returns
        -------
        X : ndarray or frame of shape (n_samples, n_features)
            In the units of the columns. A frame of the kind that was given to fit, if one was, with
            its types, but for columns of whole numbers that a continuous density models.

        Examples
        --------
        >>> from sklearn.datasets import load_iris
        >>> from sklearn_einet import EinetDensity
        >>> model = EinetDensity(max_iter=200, random_state=0).fit(load_iris().data)
        >>> model.sample(3, random_state=0).shape
        (3, 4)
        """
        check_is_fitted(self)
        check_scalar(n_samples, "n_samples", Integral, min_val=1)
        rows = self._draws(int(n_samples), new_random_state(random_state), noise)
        return self._encoding.table(rows)

    def sample_conditional(
        self, X: Any, n_draws: int | None = None, random_state: Any = None, noise: bool = True
    ) -> Any:
        """Draw the missing cells of each row, jointly, given its observed cells.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Missing cells are NaN. A row without observed cells becomes a new row.
        n_draws : int or None, default=None
            Number of draws for every row. None: one, without the axis of draws.
        random_state : int, RandomState instance or None, default=None
            None: different values every time.
        noise : bool, default=True
            False: cells are not drawn from the univariate densities that the draw of hidden choices
            ends in, but get their most probable values. Images without the noise of single pixels.

        Returns
        -------
        X : ndarray or frame of shape (n_samples, n_features), or `n_draws` of those
            A frame if X is one, with the types of its columns; else an array, in float64 if there
            are no categories. The draws are an array of shape (n_draws, n_samples, n_features) or
            a sequence of frames, in all of which a column has the same type. Observed cells are
            returned as they came, also those that are impossible under the model: those are not
            conditioned on, with a warning.

        Examples
        --------
        >>> import numpy as np
        >>> from sklearn.datasets import load_iris
        >>> from sklearn_einet import EinetDensity
        >>> model = EinetDensity(max_iter=200, random_state=0).fit(load_iris().data)
        >>> row = [[5.0, 3.5, np.nan, np.nan]]
        >>> petals = model.sample_conditional(row, n_draws=1000, random_state=0)[:, 0, 2:]
        >>> petals.mean(axis=0).round(1)
        array([1.5, 0.3])
        """
        check_is_fitted(self)
        if n_draws is not None:
            check_scalar(n_draws, "n_draws", Integral, min_val=1)
        random_state = new_random_state(random_state)
        rows = self._read(X).astype(np.float64)
        n_tables = 1 if n_draws is None else int(n_draws)
        draws = self._conditional_draws(rows, n_tables, random_state, noise)
        if n_draws is None:
            return self._encoding.table(draws[0], X)
        return self._encoding.tables(draws, X)

    def impute(self, X: Any, strategy: str = "mean", random_state: Any = None) -> Any:
        """Fill the missing cells of each row, given its observed cells.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Missing cells are NaN.
        strategy : {"mean", "mpe", "sample"}, default="mean"
            "mean": the exact conditional expectation of every missing cell, which has the least
            expected squared error; the most probable value of a column of categories or booleans.
            "mpe": one most probable completion of all missing cells together, which consists of
            values that the columns can have. "sample": a draw, as by `sample_conditional`.
        random_state : int, RandomState instance or None, default=None
            For "sample".

        Returns
        -------
        X : ndarray or frame of shape (n_samples, n_features)
            A frame if X is one, with the types of its columns; else an array, in float64 if there
            are no categories. Observed cells are returned as they came, also those that are
            impossible under the model: those are not conditioned on, with a warning.

        Notes
        -----
        "mean" of a column of 0 and 1 that is neither categorical nor boolean is a probability, and
        of counts a fraction. "mpe" finds the most probable combination of missing cells and hidden
        choices in the model, by maxima in place of sums [1]_. That is exact for the combination,
        but only approximate for the missing cells alone, of which the same values can come about
        in several ways. A leaf whose density has no highest point has its mean there.

        References
        ----------
        .. [1] H. Poon and P. Domingos, "Sum-Product Networks: A New Deep Architecture", UAI 2011.

        Examples
        --------
        >>> import numpy as np
        >>> from sklearn.datasets import load_iris
        >>> from sklearn_einet import EinetDensity
        >>> model = EinetDensity(max_iter=200, random_state=0).fit(load_iris().data)
        >>> model.impute([[5.0, 3.5, 1.4, np.nan], [np.nan, np.nan, 5.5, 2.0]]).round(1)
        array([[5. , 3.5, 1.4, 0.3],
               [6.6, 3. , 5.5, 2. ]])
        """
        if strategy not in STRATEGIES:
            raise ValueError(f"strategy must be one of {STRATEGIES}, got {strategy!r}.")
        if strategy == "sample":
            return self.sample_conditional(X, random_state=random_state)
        check_is_fitted(self)
        cells = self._read(X).astype(np.float64)
        circuit = self._query_circuit(torch.float64)
        if strategy == "mean":
            return self._encoding.table(self._means(circuit, cells)[0], X)
        return self._encoding.table(self._most_probable(circuit, cells), X)

    def mean(self, X: Any = None) -> np.ndarray:
        """Mean of every column, or of every cell given the observed cells of its row.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features), default=None
            Missing cells are NaN. None: the means of the columns.

        Returns
        -------
        mean : ndarray of shape (n_features,) or (n_samples, n_features)
            Exact. The mean of an observed cell is its value. That of a column that `leaf` calls
            categorical is the mean of its codes. NaN in other columns of categories, which have no
            mean.

        Examples
        --------
        >>> import numpy as np
        >>> from sklearn.datasets import load_iris
        >>> from sklearn_einet import EinetDensity
        >>> model = EinetDensity(max_iter=200, random_state=0).fit(load_iris().data)
        >>> model.mean().round(1)
        array([5.8, 3.1, 3.7, 1.2])
        >>> model.mean([[5.0, 3.5, np.nan, np.nan]]).round(1)
        array([[5. , 3.5, 1.5, 0.3]])
        """
        return self._moments(X)[0]

    def variance(self, X: Any = None) -> np.ndarray:
        """Variance of every column, or of every cell given the observed cells of its row.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features), default=None
            Missing cells are NaN. None: the variances of the columns.

        Returns
        -------
        variance : ndarray of shape (n_features,) or (n_samples, n_features)
            Exact. The variance of an observed cell is 0. That of a column that `leaf` calls
            categorical is the variance of its codes. NaN in other columns of categories.

        Examples
        --------
        >>> from sklearn.datasets import load_iris
        >>> from sklearn_einet import EinetDensity
        >>> model = EinetDensity(max_iter=200, random_state=0).fit(load_iris().data)
        >>> model.variance().round(1)
        array([0.7, 0.2, 3.2, 0.6])
        """
        return self._moments(X)[1]

    def covariance(self) -> np.ndarray:
        """Covariance matrix of the columns under the model.

        Returns
        -------
        covariance : ndarray of shape (n_features, n_features)
            Exact. Columns that `leaf` calls categorical enter by their codes; NaN for other columns
            of categories.

        Examples
        --------
        >>> from sklearn.datasets import load_iris
        >>> from sklearn_einet import EinetDensity
        >>> model = EinetDensity(max_iter=200, random_state=0).fit(load_iris().data)
        >>> model.covariance().shape
        (4, 4)
        """
        check_is_fitted(self)
        scale = self._schema.scale.copy()
        scale[list(self._encoding.categories)] = np.nan
        result: np.ndarray = covariance(self._query_circuit(torch.float64)).cpu().numpy()
        with np.errstate(over="ignore"):
            return result * scale * scale[:, None]

    def _draws(
        self, n_samples: int, random_state: np.random.RandomState, noise: bool = True
    ) -> np.ndarray:
        """New rows, with codes for categories."""
        circuit = self._query_circuit()
        value = None if noise else most_probable
        blocks = [
            sample(circuit, rows.stop - rows.start, random_state, value)
            for rows in gen_batches(n_samples, walks_at_a_time(circuit))
        ]
        return self._schema.decode(np.concatenate(blocks))

    def _conditional_draws(
        self, X: np.ndarray, n_draws: int, random_state: np.random.RandomState, noise: bool
    ) -> np.ndarray:
        """Completed rows, (n_draws, n_samples, n_features), with codes for categories."""
        circuit = self._query_circuit(torch.float64)
        value = drawn_by(random_state) if noise else most_probable
        result = np.repeat(X[None], n_draws, axis=0)
        for rows, leaves in self._incomplete(circuit, X):
            activations = circuit.propagate(leaves)
            self._check_possible(activations.root.cpu().numpy(), rows)
            choices = PosteriorChoices(activations, random_state)
            step = max(1, walks_at_a_time(circuit) // len(rows))
            for draws in gen_batches(n_draws, step):
                self._complete(circuit, result[draws], rows, choices, value)
        return result

    def _moments(self, X: Any) -> tuple[np.ndarray, np.ndarray]:
        check_is_fitted(self)
        circuit = self._query_circuit(torch.float64)
        if X is None:
            moments = Moments(circuit)(posterior(circuit, circuit.propagate(circuit.nothing)))
            mean, variance = (each[:, 0].cpu().numpy() for each in moments)
            mean, variance = self._schema.decode(mean), self._schema.decode_square(variance)
        else:
            mean, variance = self._means(circuit, self._read(X).astype(np.float64), codes=True)
        for array in (mean, variance):
            array[..., list(self._encoding.categories)] = np.nan
        return mean, variance

    def _means(
        self, circuit: Circuit, X: np.ndarray, codes: bool = False
    ) -> tuple[np.ndarray, np.ndarray]:
        """Rows with conditional means in place of missing cells, and the variances of these.

        Categorical cells are filled by their most probable category, unless codes is true.
        """
        moments = Moments(circuit)
        mean, variance = X.copy(), np.zeros(X.shape)
        for rows, leaves in self._incomplete(circuit, X):
            activations = circuit.propagate(leaves)
            self._check_possible(activations.root.cpu().numpy(), rows)
            posteriors = posterior(circuit, activations)
            block_mean, block_variance = moments(posteriors)
            if not codes:
                _set_categories(circuit, posteriors, block_mean)
            missing = np.isnan(X[rows])
            decoded = self._schema.decode(block_mean.T.cpu().numpy())
            mean[rows] = np.where(missing, decoded, X[rows])
            scaled = self._schema.decode_square(block_variance.T.cpu().numpy())
            variance[rows] = np.where(missing, scaled, 0.0)
        return mean, variance

    def _most_probable(self, circuit: Circuit, X: np.ndarray) -> np.ndarray:
        """Rows with the most probable completion in place of missing cells."""
        result = X[None].copy()
        peaks = peak_log_densities(circuit)
        for rows, leaves in self._incomplete(circuit, X):
            missing = torch.as_tensor(np.isnan(X[rows]).T, device=circuit.device)
            add_peaks(circuit, leaves, missing, peaks)
            activations = circuit.propagate(leaves, semiring=MAX)
            self._check_possible(activations.root.cpu().numpy(), rows)
            self._complete(circuit, result, rows, MostProbableChoices(activations), most_probable)
        return result[0]

    def _incomplete(self, circuit: Circuit, X: np.ndarray) -> Iterator[tuple[np.ndarray, Tensor]]:
        """Rows with missing cells some at a time, and the leaf regions' values for them."""
        incomplete = np.flatnonzero(np.isnan(X).any(axis=1))
        evidence = self._usable_evidence(circuit, X[incomplete])
        parameters = circuit.parameters()
        for part, columns in column_blocks(circuit, self._schema, evidence):
            leaves, _ = circuit.leaf_log_densities(columns, parameters)
            yield incomplete[part], leaves

    def _complete(
        self,
        circuit: Circuit,
        result: np.ndarray,
        rows: np.ndarray,
        choices: Choices,
        value: Value,
    ) -> None:
        """Fill the missing cells of result[:, rows], an array (n_draws, n_rows, n_features)."""
        before = result[:, rows]
        cells = self._schema.encode(before.reshape(-1, before.shape[2]))
        fill(circuit, walk(circuit, len(cells), choices), cells, value)
        after = self._schema.decode(cells).reshape(before.shape)
        result[:, rows] = np.where(np.isnan(before), after, before)


def _set_categories(circuit: Circuit, posterior: Tensor, columns: Tensor) -> None:
    """Put the most probable category into the categorical ones of (n_features, batch) cells."""
    for group in circuit.leaf_groups:
        if isinstance(group.family, Categorical):
            probabilities = expected(group, posterior, group.phi)
            columns[group.columns] = probabilities.argmax(1).to(columns.dtype)
