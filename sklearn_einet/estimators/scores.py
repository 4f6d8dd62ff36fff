"""Queries that answer with log-densities or log-probabilities."""

from __future__ import annotations

import copy
import warnings
from collections.abc import Mapping
from functools import partial
from typing import Any, Self

import numpy as np
import torch
from sklearn.utils import gen_batches
from sklearn.utils.validation import check_is_fitted

from sklearn_einet.circuit import Circuit
from sklearn_einet.circuit.queries.cells import conditional_scores, marginal_scores
from sklearn_einet.circuit.queries.flows import leaf_log_flows
from sklearn_einet.circuit.transforms.marginal import marginal_circuit
from sklearn_einet.estimators.base import by_row, levels_to_caller
from sklearn_einet.estimators.intervals import IntervalQueries
from sklearn_einet.model.log_density import column_blocks, log_density

__all__ = ["ScoreQueries"]

# How many rows are split into what is given and the rest at a time.
ROWS_AT_A_TIME = 2**16

# Rows that are drawn to find the outlier threshold of a marginal model.
THRESHOLD_DRAWS = 10_000


class ScoreQueries(IntervalQueries):
    """Densities of rows, of parts of rows given others, and of single cells."""

    @by_row(float)
    def score_samples(self, X: Any) -> np.ndarray:
        """Log-density of each row, in nats per unit of the columns.

        Parameters
        ----------
        X : array-like, or dask array or dataframe, of shape (n_samples, n_features)
            Missing cells are NaN and are integrated out: the result is the marginal log-density
            of the observed cells, and 0 for a row without any. Memory maps, and other objects of
            numbers that can be sliced by rows, are read some rows at a time.

        Returns
        -------
        log_density : ndarray of shape (n_samples,)
            For discrete columns a log-probability. -inf where a column has a value that its
            family cannot have; unknown categories count as `handle_unknown` says, other values of
            a column of a single one, and counts above all of fit, as new categories do. If X is
            one of dask's collections, this is a dask array that is not computed yet, and so are
            outlier scores and labels.

        Examples
        --------
        >>> from sklearn.datasets import load_iris
        >>> from sklearn_einet import EinetDensity
        >>> model = EinetDensity(max_iter=200, random_state=0).fit(load_iris().data)
        >>> model.score_samples([[5.0, 3.5, 1.4, 0.2]]).shape
        (1,)
        """
        check_is_fitted(self)
        X = self._read(X)
        return log_density(self._query_circuit(), self._schema, X)

    def conditional_score_samples(self, X: Any, given: Any) -> np.ndarray:
        """Log-density of the other columns of each row, given some of its columns.

        ``conditional_score_samples(X, given)`` is log p(rest | given), the difference of the
        log-densities of the row and of its given part.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Missing cells are NaN. They are integrated out, among the given columns and elsewhere.
        given : str, int, slice, or array-like of str, int or bool
            The columns to condition on: names, indices, or a mask.

        Returns
        -------
        log_density : ndarray of shape (n_samples,)
            In nats per unit of the columns that are not given. -inf where one of those has a
            value that its family cannot have. Given cells with such a value are not conditioned
            on, with a warning.

        Raises
        ------
        ValueError
            If X does not have a column that `given` asks for.

        Examples
        --------
        How likely are petal lengths of 1.4 and 5 in a flower with these sepals?

        >>> from sklearn.datasets import load_iris
        >>> from sklearn_einet import EinetDensity
        >>> iris = load_iris(as_frame=True).data
        >>> model = EinetDensity(max_iter=200, random_state=0).fit(iris)
        >>> rows = iris.iloc[[0, 0]].assign(**{"petal width (cm)": float("nan")})
        >>> rows["petal length (cm)"] = [1.4, 5.0]
        >>> sepals = ["sepal length (cm)", "sepal width (cm)"]
        >>> model.conditional_score_samples(rows, given=sepals).round(1)
        array([ 0.6, -6.2])
        """
        check_is_fitted(self)
        X = self._read(X)
        given = self._schema.positions(given, "given")
        circuit = self._query_circuit(torch.float64)
        result = np.empty(len(X))
        told = False
        # As many blocks at a time as are computed at once, so that their limits do not matter.
        step = circuit.block_rows * max(1, ROWS_AT_A_TIME // circuit.block_rows)
        for rows in gen_batches(len(X), step):
            both = X[rows].astype(np.float64)
            cells = np.full_like(both, np.nan)
            cells[:, given] = both[:, given]
            evidence = self._usable_evidence(circuit, cells, warn=not told)
            told = told or bool(self._surprising(cells, evidence).any())
            both[:, given] = evidence[:, given]
            result[rows] = self._log_density_given(circuit, both, evidence, rows.start)
        return result

    def feature_scores(self, X: Any, method: str = "conditional") -> np.ndarray:
        """How unexpected each cell is: which cells make a row an outlier.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Missing cells are NaN.
        method : {"conditional", "marginal"}, default="conditional"
            "conditional" is -log p(x_j | all other observed cells of the row): high for a cell
            that does not fit the rest of its row. "marginal" is -log p(x_j): high for a value that
            is rare in its column.

        Returns
        -------
        scores : ndarray of shape (n_samples, n_features)
            In nats; larger is more unexpected. NaN where the cell is missing, inf where a column
            has a value that its family cannot have; unknown categories count as `handle_unknown`
            says. Such cells, and those whose density is less
            than exp(-1e10) times what is usual, are not used to judge the others.

        Notes
        -----
        All cells of a row are judged by one upward and one downward pass through the model [1]_, so
        that the cost is that of a few calls of `score_samples`, whatever the number of columns.
        Scores of continuous columns are log-densities and depend on the columns' units: compare
        them to those of other rows in the same column.

        References
        ----------
        .. [1] A. Darwiche, "A Differential Approach to Inference in Bayesian Networks", JACM 2003.

        Examples
        --------
        The petals of the last flower are too long for the rest of it.

        >>> from sklearn.datasets import load_iris
        >>> from sklearn_einet import EinetDensity
        >>> model = EinetDensity(max_iter=200, random_state=0).fit(load_iris().data)
        >>> model.feature_scores([[5.0, 3.5, 1.4, 0.2], [5.0, 3.5, 5.0, 0.2]]).round(1)
        array([[-0.1,  0. , -0.6, -1.2],
               [ 0.5,  0. ,  6.7, -0.7]])
        """
        check_is_fitted(self)
        if method not in ("conditional", "marginal"):
            raise ValueError(f"method must be 'conditional' or 'marginal', got {method!r}.")
        X = self._read(X)
        circuit = self._query_circuit(torch.float64)
        parameters = circuit.parameters()
        scores = partial(conditional_scores, circuit, parameters=parameters)
        if method == "marginal":
            log_flows = leaf_log_flows(circuit, circuit.propagate(circuit.nothing))
            scores = partial(marginal_scores, circuit, parameters=parameters, log_flows=log_flows)
        schema = self._schema
        ignored = schema.handle_unknown == "ignore"
        result = np.empty(X.shape)
        for rows, columns in column_blocks(circuit, self._schema, X):
            block = scores(columns).T.cpu().numpy()
            block = np.where(schema.unknown_cells(X[rows]), -schema.log_unknown, block)
            if ignored:
                block[schema.unknown_categories(X[rows])] = np.nan
            result[rows] = block
        return result + schema.log_unit

    def marginal(self, features: Any) -> Self:
        """The model of some of the columns, the others integrated out exactly.

        Parameters
        ----------
        features : str, int, slice, or array-like of str, int or bool
            The columns to keep, in this order: names, indices, or a mask.

        Returns
        -------
        model : estimator
            A fitted estimator for tables of these columns, independent of this one. Its
            history of training is that of the whole table. Since the rows that this one learned
            from are gone, `contamination` is the share of outliers among 10,000 draws from the
            model itself.

        Raises
        ------
        ValueError
            If X does not have one of the columns, if one appears twice, or if there are none.

        Examples
        --------
        >>> from sklearn.datasets import load_iris
        >>> from sklearn_einet import EinetDensity
        >>> model = EinetDensity(max_iter=200, random_state=0).fit(load_iris().data)
        >>> petals = model.marginal([2, 3])
        >>> petals.score_samples([[1.4, 0.2]]).round(3)
        array([0.792])
        >>> nan = float("nan")
        >>> model.score_samples([[nan, nan, 1.4, 0.2]]).round(3)
        array([0.792])
        """
        check_is_fitted(self)
        columns = self._schema.positions(features, "features")
        if not len(columns):
            raise ValueError("features must name one column at least, got none.")
        for column in columns[np.bincount(columns)[columns] > 1]:
            raise ValueError(f"features has the column {self._schema.names[column]!r} twice.")
        model = copy.copy(self)
        model.leaf = self._restricted_leaf(columns)
        if model.structure == "poon-domingos":
            model.structure = "binary-trees"  # in a new fit: some pixels are no image
        model.K, model.layer = self.circuit_.K, self.circuit_.layer
        model.n_features_in_ = len(columns)
        if hasattr(self, "feature_names_in_"):
            model.feature_names_in_ = self.feature_names_in_[columns]
        model.circuit_ = marginal_circuit(self.circuit_, columns)
        model.region_graph_ = model.circuit_.region_graph
        model._schema = self._schema.restricted(columns, model.circuit_.leaf_columns)
        model._encoding = self._encoding.restricted(columns)
        model.categorical_features = self._restricted_categories(columns)
        draws = model._draws(THRESHOLD_DRAWS, np.random.RandomState(0))
        scores = log_density(model._query_circuit(), model._schema, draws)
        model.__dict__.update(model._outlier_attributes(scores, None, self.contamination))
        return model

    def _restricted_leaf(self, columns: np.ndarray) -> Any:
        """The parameter leaf for a table of some of the columns."""
        if not isinstance(self.leaf, Mapping):
            return self.leaf
        position = {int(column): i for i, column in enumerate(columns)}
        leaf = {
            family: [
                position[int(c)]
                for c in self._schema.positions(wanted, "leaf")
                if int(c) in position
            ]
            for family, wanted in self.leaf.items()
        }
        return {family: kept for family, kept in leaf.items() if kept} or "auto"

    def _restricted_categories(self, columns: np.ndarray) -> Any:
        """The parameter categorical_features for a table of some of the columns."""
        asked = self.categorical_features
        if asked is None or isinstance(asked, str):
            return asked
        chosen = set(self._schema.positions(asked, "categorical_features").tolist())
        return [i for i, column in enumerate(columns) if int(column) in chosen] or None

    def _log_density_given(
        self, circuit: Circuit, X: np.ndarray, evidence: np.ndarray, first: int = 0
    ) -> np.ndarray:
        """Log-density of rows given their cells in `evidence`, which may be a single row.

        For messages, `first` is the number of the first row.
        """
        of_evidence = log_density(circuit, self._schema, evidence)
        self._check_possible(of_evidence, np.arange(first, first + len(of_evidence)))
        return log_density(circuit, self._schema, X) - of_evidence

    def _usable_evidence(self, circuit: Circuit, X: np.ndarray, warn: bool = True) -> np.ndarray:
        """Rows with NaN where a cell is impossible under the model; a warning tells of those."""
        usable = np.empty(X.shape, dtype=bool)
        for rows, columns in column_blocks(circuit, self._schema, X):
            usable[rows] = circuit.usable(columns).T.cpu().numpy()
        evidence = np.where(usable, X, np.nan)
        for row, column in np.argwhere(self._surprising(X, evidence)) if warn else []:
            what = f"{X[row, column]:g}, which the fitted model deems impossible"
            if column in self._encoding.categories:
                what = "a category not seen in fit"
            elif column in self._schema.definition:
                what = f"{X[row, column]:g}, beyond what fit has seen"
            warnings.warn(
                f"Column {self._schema.names[column]!r} holds {what}: such cells were not "
                "conditioned on.",
                UserWarning,
                stacklevel=levels_to_caller(),
            )
            break
        return evidence

    def _surprising(self, X: np.ndarray, evidence: np.ndarray) -> np.ndarray:
        """Which cells are missing in the evidence that rows give, and are to be told of."""
        surprising = np.isnan(evidence) & ~np.isnan(X)
        if self._schema.handle_unknown == "ignore":
            surprising &= ~self._schema.unknown_categories(X)  # told of already
        return surprising

    def _check_possible(self, log_density: np.ndarray, rows: np.ndarray | None = None) -> None:
        """Raise a ValueError if nothing can be conditioned on a row's cells."""
        for row in np.flatnonzero(np.isneginf(log_density)):
            row = row if rows is None else rows[row]
            raise ValueError(
                f"The cells to condition on in row {row} have probability 0 together under the "
                "fitted model. Fit with pseudocount > 0, or remove some of them."
            )
