"""Queries that answer with log-densities."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Self

import numpy as np
from sklearn.base import clone
from sklearn.utils.validation import check_is_fitted

from sklearn_einet.estimators.base import BaseEinet
from sklearn_einet.estimators.thresholds import outlier_attributes
from sklearn_einet.model.outlier_scores import OutlierScores
from sklearn_einet.model.table_density import TableDensity
from sklearn_einet.structure.image_regions import IMAGE_STRUCTURES
from sklearn_einet.tables.conditions import read_conditions
from sklearn_einet.tables.partial_rows import framed_numbers, is_partial, read_partial_rows

__all__ = ["ScoreQueries"]

# Rows that are drawn to find the outlier threshold of a marginal model.
THRESHOLD_DRAWS = 10_000


class ScoreQueries(BaseEinet):
    """Densities of rows, of some columns given others, and of single cells."""

    leaf: Any
    atoms: Any
    bounds: Any
    structure: str
    contamination: float | str

    # Attributes that describe the fit; a marginal model keeps them.
    _history: ClassVar[tuple[str, ...]] = ()

    def score_samples(self, X: Any) -> np.ndarray:
        """Return the log-density of each row.

        Parameters
        ----------
        X : array-like, or dask array or dataframe, of shape (n_samples, n_features)
            Missing cells are NaN and are integrated out: the result is the marginal log-density
            of the observed cells, and 0 for a row without any. Memory maps, and other numeric
            objects that can be sliced by rows, are read in slices.

        Returns
        -------
        log_density : ndarray of shape (n_samples,)
            In nats (the unit of natural logarithms, 1.44 bits) per unit of the columns; for
            discrete columns, a log-probability. -inf where a column has a value that its
            distribution cannot have. Unknown categories count as `handle_unknown` says; so do new
            values in a column with a single value, and counts above those of fit, as by "smooth".
            For a dask collection, this is a dask array that is not computed yet; the same holds
            for outlier scores and labels.

        Notes
        -----
        An atom is a number with a probability of its own, see the parameter `atoms`. Its density
        is this probability divided by a unit: the step of the column's grid, or else the standard
        deviation of the column divided by the number of its atoms. For whole numbers, with a step
        of 1, log-densities are log-probabilities: the step times the density at the number.

        Numbers that fit has ruled out have the probability 1 / (n + 1): those beyond detected
        bounds, where it decreases exponentially at the scale of the column's standard deviation,
        and new numbers in a column of atoms only. Beyond bounds that you set (see `bounds`), the
        probability is 0.

        Examples
        --------
        >>> from sklearn.datasets import load_iris
        >>> from sklearn_einet import EinetDensity
        >>> model = EinetDensity(max_iter=200, random_state=0).fit(load_iris().data)
        >>> model.score_samples([[5.0, 3.5, 1.4, 0.2]]).shape
        (1,)
        """
        log_density: np.ndarray = self._row_wise(X, OutlierScores.log_density)
        return log_density

    def score(self, X: Any, y: Any = None) -> float:
        """Return the mean log-density of the rows, for model selection; higher is better.

        Compare scores between models with the same atoms, such as models that were fitted to the
        same table with the same parameter `atoms`; see the notes of `score_samples`.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Missing cells are NaN.
        y : Ignored
            Not used, present for API consistency.

        Returns
        -------
        score : float
            In nats per row. -inf if any row is impossible under the model.

        Examples
        --------
        >>> from sklearn.datasets import load_iris
        >>> from sklearn_einet import EinetDensity
        >>> X = load_iris().data
        >>> round(EinetDensity(max_iter=200, random_state=0).fit(X).score(X), 1)
        -1.1
        """
        return float(np.mean(self.score_samples(X)))

    def conditional_score_samples(self, X: Any, given: Any) -> np.ndarray:
        """Return the log-density of the other columns of each row, given some of its columns.

        This is log p(rest | given): the log-density of the row minus that of its given part.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features), dict, or DataFrame of some columns
            Missing cells are NaN. They are integrated out, in the given columns as in the others.
            A dict maps columns to a value, or to a list with a value for each row.
        given : str, int, slice, array-like of str, int or bool, or dict
            The columns to condition on: names, indices, or a mask. A dict sets conditions for all
            rows, as in `sample`.

        Returns
        -------
        log_density : ndarray of shape (n_samples,)
            In nats per unit of the columns that are not given. -inf where one of these has a value
            that its distribution cannot have. Given cells with such a value are ignored, with a
            warning. With conditions, rows that do not meet them have -inf, and missing cells of X
            are as the conditions say. A column with a range or several values counts as not given:
            the result is log p(row | its value is in the range).

        Raises
        ------
        ValueError
            If X lacks a column that `given` names, or if conditions are impossible.

        Examples
        --------
        How likely are petal lengths of 1.4 and 5 cm for a flower with these sepals?

        >>> from sklearn.datasets import load_iris
        >>> from sklearn_einet import EinetDensity
        >>> iris = load_iris(as_frame=True).data
        >>> model = EinetDensity(max_iter=200, random_state=0).fit(iris)
        >>> rows = iris.iloc[[0, 0]].assign(**{"petal width (cm)": float("nan")})
        >>> rows["petal length (cm)"] = [1.4, 5.0]
        >>> sepals = ["sepal length (cm)", "sepal width (cm)"]
        >>> model.conditional_score_samples(rows, given=sepals).round(1)
        array([ 0.6, -8.7])

        And for a flower with sepals longer than 6 cm?

        >>> petals = {"petal length (cm)": [1.4, 5.0]}
        >>> long = {"sepal length (cm)": (6, None)}
        >>> model.conditional_score_samples(petals, given=long).round(1)
        array([-5. , -0.7])
        """
        density = self._density()
        schema, encoding = density.schema, density.encoding
        is_some = is_partial(X, schema)
        rows = read_partial_rows(X, schema, encoding) if is_some else self.as_numbers(X)
        if isinstance(given, Mapping):
            conditions = read_conditions("given", given, schema, encoding)
            return density.log_density_given_event(rows, conditions)
        return density.conditional_log_density(rows, schema.positions(given, "given"))

    def feature_scores(self, X: Any, method: str = "conditional") -> Any:
        """Return how unexpected each cell is, to find the cells that make a row an outlier.

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
        scores : ndarray or DataFrame of shape (n_samples, n_features)
            In nats; higher is more unexpected. NaN where the cell is missing, inf where a column
            has a value that its distribution cannot have. Unknown categories count as
            `handle_unknown` says. Such cells, and those whose density is less than exp(-1e10)
            times a typical one, are not used to score the others. A DataFrame if X is one.

        Notes
        -----
        One upward and one downward pass through the model score all cells of a row [1]_. The cost
        is that of a few calls of `score_samples`, whatever the number of columns. Scores of
        continuous columns are log-densities and depend on the columns' units: compare a score with
        those of other rows in the same column.

        References
        ----------
        .. [1] A. Darwiche, "A Differential Approach to Inference in Bayesian Networks", JACM 2003.

        Examples
        --------
        The petals of the second flower are too long for the rest of it:

        >>> from sklearn.datasets import load_iris
        >>> from sklearn_einet import EinetDensity
        >>> model = EinetDensity(max_iter=200, random_state=0).fit(load_iris().data)
        >>> model.feature_scores([[5.0, 3.5, 1.4, 0.2], [5.0, 3.5, 5.0, 0.2]]).round(1)
        array([[-0.5, -0.3, -0.8, -1.4],
               [ 1. ,  0. ,  9.7, -0.5]])
        """
        check_is_fitted(self)
        if method not in ("conditional", "marginal"):
            raise ValueError(f"method must be 'conditional' or 'marginal', got {method!r}.")
        rows = self.as_numbers(X)
        density = self._density()
        scores = density.cell_scores(rows, given_others=method == "conditional")
        return framed_numbers(scores, X, density.encoding)

    def marginal(self, features: Any) -> Self:
        """Return the model of some of the columns, with the others integrated out exactly.

        Parameters
        ----------
        features : str, int, slice, or array-like of str, int or bool
            The columns to keep, in this order: names, indices, or a mask.

        Returns
        -------
        model : estimator
            A fitted estimator for tables of these columns, independent of this one. Its training
            history is that of the whole table. Since the training rows are no longer available,
            `contamination` is the share of outliers among 10,000 draws from the model itself.

        Raises
        ------
        ValueError
            If X lacks one of the columns, if a column is named twice, or if none is named.

        Examples
        --------
        >>> from sklearn.datasets import load_iris
        >>> from sklearn_einet import EinetDensity
        >>> model = EinetDensity(max_iter=200, random_state=0).fit(load_iris().data)
        >>> petals = model.marginal([2, 3])
        >>> petals.score_samples([[1.4, 0.2]]).round(1)
        array([0.9])
        >>> nan = float("nan")
        >>> model.score_samples([[nan, nan, 1.4, 0.2]]).round(1)
        array([0.9])
        """
        check_is_fitted(self)
        schema = self.table_density_.schema
        columns = schema.positions(features, "features")
        if not len(columns):
            raise ValueError("features must name at least one column, got none.")
        for column in columns[np.bincount(columns)[columns] > 1]:
            raise ValueError(f"features names the column {schema.names[column]!r} twice.")
        return self._around(self.table_density_.marginal(columns), columns)

    def _around(self, density: TableDensity, columns: np.ndarray) -> Self:
        """Return an estimator fitted to some columns, with a given density."""
        model = clone(self).set_params(
            leaf=self._restricted_dict("leaf", columns) or "auto",
            numeric_transform=self._restricted_dict("numeric_transform", columns) or None,
            atoms=self._restricted_values("atoms", columns),
            bounds=self._restricted_values("bounds", columns),
            # In a new fit, some of the pixels would not make up an image.
            structure="binary-trees" if self.structure in IMAGE_STRUCTURES else self.structure,
            K=density.circuit.K,
            layer=density.circuit.layer,
            categorical_features=self._restricted_categories(columns),
        )
        model._set({name: getattr(self, name) for name in self._history if hasattr(self, name)})
        model.n_features_in_ = len(columns)
        if hasattr(self, "feature_names_in_"):
            model.feature_names_in_ = self.feature_names_in_[columns]
        model.table_density_ = density
        model.region_graph_ = density.circuit.region_graph
        here = model._density()
        scores = here.log_density(here.draws(THRESHOLD_DRAWS, np.random.RandomState(0)))
        model._set(outlier_attributes(scores, None, self.contamination))
        return model

    def _restricted_dict(self, parameter: str, columns: np.ndarray) -> Any:
        """Return a parameter that may map names to columns, for a table of some of them."""
        asked = getattr(self, parameter)
        if not isinstance(asked, Mapping):
            return asked
        position = {int(column): i for i, column in enumerate(columns)}
        restricted = {
            key: [
                position[int(c)]
                for c in self.table_density_.schema.positions(wanted, parameter)
                if int(c) in position
            ]
            for key, wanted in asked.items()
        }
        return {key: kept for key, kept in restricted.items() if kept}

    def _restricted_values(self, parameter: str, columns: np.ndarray) -> Any:
        """Return a parameter that may map columns to values, for a table of some of them."""
        asked = getattr(self, parameter)
        if not isinstance(asked, Mapping):
            return asked
        schema, kept = self.table_density_.schema, columns.tolist()
        given = {
            int(c): values
            for key, values in asked.items()
            for c in schema.positions(key, parameter)
        }
        return {kept.index(column): given[column] for column in kept if column in given}

    def _restricted_categories(self, columns: np.ndarray) -> Any:
        """Return the parameter categorical_features for a table of some of the columns."""
        asked = self.categorical_features
        if asked is None or isinstance(asked, str):
            return asked
        chosen = set(self.table_density_.schema.positions(asked, "categorical_features").tolist())
        return [i for i, column in enumerate(columns) if int(column) in chosen] or None
