"""Queries that answer with rows: draws, imputations, moments."""

from __future__ import annotations

from numbers import Integral
from typing import Any

import numpy as np
from sklearn.utils import check_scalar
from sklearn.utils.validation import check_is_fitted

from sklearn_einet.estimators.base import BaseEinet
from sklearn_einet.tables.conditions import read_conditions
from sklearn_einet.tables.missing_cells import with_gaps
from sklearn_einet.tables.partial_rows import (
    completed_table,
    completed_tables,
    framed_numbers,
    is_partial,
    read_partial_rows,
)
from sklearn_einet.tables.randomness import new_random_state

__all__ = ["STRATEGIES", "CompletionQueries"]

#: The ways to fill missing cells.
STRATEGIES = ("mean", "mpe", "sample")


class CompletionQueries(BaseEinet):
    """New rows, completed rows, and what is to be expected of missing cells."""

    def sample(
        self, n_samples: int = 1, random_state: Any = None, noise: bool = True, given: Any = None
    ) -> Any:
        """Draw new rows, of all that there can be or of those that meet conditions.

        Parameters
        ----------
        n_samples : int, default=1
            Number of rows.
        random_state : int, RandomState instance or None, default=None
            None: different rows every time.
        noise : bool, default=True
            False: cells are not drawn from the univariate densities that the draw of hidden choices
            ends in, but get their most probable values. Images without the noise of single pixels.
            Where `given` rules those out, they get the nearest values that it allows.
        given : dict or None, default=None
            Conditions on columns, by name or number, that all rows are to meet: a value; a range,
            a tuple ``(low, high)`` with both ends inclusive and None for an open one; or a list
            or set of several values or categories. Ranges of categories follow their order.
            ``[None]``: the cell is missing, in a column of which `learn_gaps` has learned that.

        Returns
        -------
        X : ndarray or frame of shape (n_samples, n_features)
            In the units of the columns. A frame of the kind that was given to fit, if one was, with
            its types, but for columns of whole numbers that a continuous density models. With gaps
            if `learn_gaps` says so.

        Raises
        ------
        ValueError, TypeError
            If `given` is no dict of conditions on the columns, or has probability 0 under the
            model; the message names the column.

        Notes
        -----
        Rows that meet conditions are drawn from the conditional distribution itself, not by
        waiting for those that do: it takes no longer if hardly any rows do. Where three columns or
        more with joint normal densities (see `structure`) have ranges, the weights of these
        densities are integrated to a standard error of a thousandth as a rule.

        Examples
        --------
        >>> from sklearn.datasets import load_iris
        >>> from sklearn_einet import EinetDensity
        >>> model = EinetDensity(max_iter=200, random_state=0).fit(load_iris().data)
        >>> model.sample(3, random_state=0).shape
        (3, 4)

        Flowers with petals of 6 cm or more:

        >>> rows = model.sample(10_000, random_state=0, given={2: (6, None)})
        >>> rows[:, 2].min() >= 6, rows.mean(axis=0).round(1)
        (np.True_, array([7.3, 3.1, 6.4, 2.3]))
        """
        check_is_fitted(self)
        check_scalar(n_samples, "n_samples", Integral, min_val=1)
        density, random_state = self._density(), new_random_state(random_state)
        if given is None:
            rows, missing = density.draws_with_gaps(int(n_samples), random_state, noise)
        else:
            conditions = read_conditions("given", given, density.schema, density.encoding)
            rows, missing = density.draws_given(conditions, int(n_samples), random_state, noise)
        table = density.encoding.table(rows)
        return table if missing is None else with_gaps(table, missing)

    def sample_conditional(
        self, X: Any, n_draws: int | None = None, random_state: Any = None, noise: bool = True
    ) -> Any:
        """Draw the missing cells of each row, jointly, given its observed cells.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features), dict, or frame of some columns
            Missing cells are NaN. A row without observed cells becomes a new row. A dict has
            a value, or a list of one for each row, for some columns, by name or number; all cells
            of other columns are missing. (Ranges are conditions of `sample`.)
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
            are no categories or dates. For a dict, or a frame of some columns, a table of all
            columns as `sample` gives it. The draws are an array of shape (n_draws, n_samples,
            n_features) or a sequence of frames, in all of which a column has the same type.
            Observed cells are returned as they came, also those that are impossible under the
            model: those are not conditioned on, with a warning.

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
        >>> model.sample_conditional({0: 5.0, 1: [3.5, 2.5]}, random_state=0)[:, :2]
        array([[5. , 3.5],
               [5. , 2.5]])
        """
        check_is_fitted(self)
        if n_draws is not None:
            check_scalar(n_draws, "n_draws", Integral, min_val=1)
        random_state = new_random_state(random_state)
        density, (rows, is_some) = self._density(), self._evidence(X)
        n_tables = 1 if n_draws is None else int(n_draws)
        draws = density.conditional_draws(rows, n_tables, random_state, noise)
        if n_draws is None:
            return self._completed(draws[0], X, is_some)
        if is_some:
            return completed_tables(draws, X, density.encoding)
        return density.encoding.tables(draws, X)

    def impute(self, X: Any, strategy: str = "mean", random_state: Any = None) -> Any:
        """Fill the missing cells of each row, given its observed cells.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features), dict, or frame of some columns
            Missing cells are NaN; see `sample_conditional`.
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
            are no categories or dates. For a dict, or a frame of some columns, a table of all
            columns as `sample` gives it. Observed cells are returned as they came, also those that
            are impossible under the model: those are not conditioned on, with a warning.

        Notes
        -----
        "mean" of a column of 0 and 1 that is neither categorical nor boolean is a probability, and
        of counts a fraction. "mpe" finds the most probable combination of missing cells and hidden
        choices in the model, by maxima in place of sums [1]_. That is exact for the combination,
        but only approximate for the missing cells alone, of which the same values can come about
        in several ways. A leaf whose density has no highest point has its mean there; of columns
        that `numeric_transform` maps, it is the mapped values that are most probable.

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
        array([[5. , 3.5, 1.4, 0.2],
               [6.6, 3. , 5.5, 2. ]])
        """
        if strategy not in STRATEGIES:
            raise ValueError(f"strategy must be one of {STRATEGIES}, got {strategy!r}.")
        if strategy == "sample":
            return self.sample_conditional(X, random_state=random_state)
        density, (rows, is_some) = self._density(), self._evidence(X)
        if strategy == "mean":
            return self._completed(density.conditional_moments(rows)[0], X, is_some)
        return self._completed(density.most_probable(rows), X, is_some)

    def mean(self, X: Any = None) -> Any:
        """Return means of columns, or of cells given the observed cells of their rows.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features), dict or frame, default=None
            Missing cells are NaN; as of `sample_conditional`. None: the means of the columns.

        Returns
        -------
        mean : ndarray of shape (n_features,); ndarray or frame of shape (n_samples, n_features)
            A frame of the same kind if X is one, or a dict and fit was given one. Exact. The mean
            of an observed cell is its value. That of a column that `leaf` calls categorical is the
            mean of its codes. NaN in other columns of categories, which have no mean.

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

    def variance(self, X: Any = None) -> Any:
        """Return variances of columns, or of cells given the observed cells of their rows.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features), dict or frame, default=None
            Missing cells are NaN; as of `sample_conditional`. None: the variances of the columns.

        Returns
        -------
        variance : ndarray of shape (n_features,); ndarray or frame of shape (n_samples, n_features)
            A frame of the same kind if X is one, or a dict and fit was given one. Exact. The
            variance of an observed cell is 0. That of a column that `leaf` calls categorical is
            the variance of its codes. NaN in other columns of categories.

        Examples
        --------
        >>> from sklearn.datasets import load_iris
        >>> from sklearn_einet import EinetDensity
        >>> model = EinetDensity(max_iter=200, random_state=0).fit(load_iris().data)
        >>> model.variance().round(1)
        array([0.7, 0.2, 3.1, 0.6])
        """
        return self._moments(X)[1]

    def covariance(self) -> np.ndarray:
        """Return the covariance matrix of the columns under the model.

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
        return self._density().covariance()

    def _moments(self, X: Any) -> tuple[Any, Any]:
        density = self._density()
        if X is None:
            mean, variance = density.moments()
        else:
            mean, variance = density.conditional_moments(self._evidence(X)[0], codes=True)
        for array in (mean, variance):
            array[..., list(density.encoding.categories)] = np.nan
        if X is None:
            return mean, variance
        encoding = density.encoding
        return framed_numbers(mean, X, encoding), framed_numbers(variance, X, encoding)

    def _evidence(self, X: Any) -> tuple[np.ndarray, bool]:
        """Return rows in float64, and whether X has some of the columns only."""
        density = self._density()
        if is_partial(X, density.schema):
            return read_partial_rows(X, density.schema, density.encoding), True
        return self._cells(X), False

    def _completed(self, rows: np.ndarray, X: Any, is_some: bool) -> Any:
        """Return the table that X has become, of which `is_some` is as `_evidence` gives it."""
        encoding = self._density().encoding
        return completed_table(rows, X, encoding) if is_some else encoding.table(rows, X)
