"""Queries that return rows: draws, imputations, moments."""

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
    """New rows, completed rows, and expectations of missing cells."""

    def sample(
        self, n_samples: int = 1, random_state: Any = None, noise: bool = True, given: Any = None
    ) -> Any:
        """Draw new rows from the model, optionally under conditions.

        Parameters
        ----------
        n_samples : int, default=1
            Number of rows.
        random_state : int, RandomState instance or None, default=None
            Seed of the draws. None: different rows every time.
        noise : bool, default=True
            Whether to draw the cells at random in the last step, after the hidden choices of the
            model are drawn. False: use the most probable values given these choices instead, or
            the nearest values that `given` allows. Images then lack the noise of single pixels.
        given : dict or None, default=None
            Conditions that all rows meet. It maps columns, by name or index, to a value, to a
            range, or to a list or set of several values. A range is a tuple ``(low, high)``, with
            both ends included and None for an open end; ranges of categories follow their order.
            ``[None]`` asks for a missing cell, in columns of `learn_gaps`.

        Returns
        -------
        X : ndarray or DataFrame of shape (n_samples, n_features)
            In the units of the columns. If fit was given a DataFrame, one of the same kind and with
            the same types, except columns of whole numbers that a continuous density models. Cells
            are missing only if `learn_gaps` asks for it.

        Raises
        ------
        ValueError, TypeError
            If `given` is not a dict of conditions on the columns, or has probability 0 under the
            model; the message names the column.

        Notes
        -----
        Rows that meet conditions are drawn from the conditional distribution itself, not by
        rejection: rare conditions take no longer than others. If three or more columns with joint
        normal densities (see `structure`) have ranges, the weights of these densities are
        integrated, normally to a standard error of a thousandth.

        Examples
        --------
        >>> from sklearn.datasets import load_iris
        >>> from sklearn_einet import EinetDensity
        >>> model = EinetDensity(max_iter=200, random_state=0).fit(load_iris().data)
        >>> model.sample(3, random_state=0).shape
        (3, 4)

        Draw flowers with petals of 6 cm or more:

        >>> rows = model.sample(10_000, random_state=0, given={2: (6, None)})
        >>> rows[:, 2].min() >= 6, rows.mean(axis=0).round(1)
        (np.True_, array([7.3, 3.1, 6.4, 2.2]))
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
        """Draw the missing cells of each row jointly, given its observed cells.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features), dict, or DataFrame of some columns
            Missing cells are NaN. A row without observed cells becomes a new row. A dict maps some
            columns, by name or index, to a value or to a list with a value for each row; all cells
            of other columns are missing. For ranges, use the conditions of `sample`.
        n_draws : int or None, default=None
            Number of draws for each row. None: one draw, without an axis for draws.
        random_state : int, RandomState instance or None, default=None
            Seed of the draws. None: different values every time.
        noise : bool, default=True
            Whether to draw the cells at random in the last step, after the hidden choices of the
            model are drawn. False: use the most probable values given these choices instead.
            Images then lack the noise of single pixels.

        Returns
        -------
        X : ndarray or DataFrame of shape (n_samples, n_features), or `n_draws` of these
            A DataFrame with the types of X if X is one; else an array, of float64 if there are no
            categories or dates. For a dict, or a DataFrame of some columns, a table of all columns
            like that of `sample`. With `n_draws`, an array of shape (n_draws, n_samples,
            n_features) or a sequence of DataFrames with equal types. Observed cells are returned
            unchanged. If they are impossible under the model, they are not conditioned on, with a
            warning.

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
        X : array-like of shape (n_samples, n_features), dict, or DataFrame of some columns
            Missing cells are NaN; see `sample_conditional`.
        strategy : {"mean", "mpe", "sample"}, default="mean"
            How to fill missing cells.

            - "mean": the exact conditional expectation of each cell, which has the least expected
              squared error; the most probable value in columns of categories or booleans.
            - "mpe": one most probable completion of all missing cells of a row together. It
              consists of values that the columns can have.
            - "sample": a random draw, as in `sample_conditional`.
        random_state : int, RandomState instance or None, default=None
            Seed for "sample".

        Returns
        -------
        X : ndarray or DataFrame of shape (n_samples, n_features)
            A DataFrame with the types of X if X is one; else an array, of float64 if there are no
            categories or dates. For a dict, or a DataFrame of some columns, a table of all columns
            like that of `sample`. Observed cells are returned unchanged. If they are impossible
            under the model, they are not conditioned on, with a warning.

        Notes
        -----
        The "mean" of a column of 0 and 1 that is neither categorical nor boolean is a probability;
        that of counts need not be a whole number. "mpe" (most probable explanation) finds the most
        probable combination of missing cells and hidden choices of the model, by maxima instead of
        sums [1]_. This is exact for the combination, but only approximate for the missing cells
        alone, since several hidden choices can lead to the same values. Where the density of a leaf
        (a column in one part of the model) has no maximum, its mean is used. For columns that
        `numeric_transform` maps, the mapped values are the most probable ones.

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
        """Return the means of the columns, or of cells given the observed cells of their rows.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features), dict or DataFrame, default=None
            Rows as in `sample_conditional`; missing cells are NaN. None: the means of the columns.

        Returns
        -------
        mean : ndarray of shape (n_features,) or (n_samples, n_features), or DataFrame
            Exact means under the model. The mean of an observed cell is its value. NaN in columns
            of categories, except those that `leaf` declares categorical, which have the mean of
            their codes. A DataFrame if X is one, or if X is a dict and fit got a DataFrame.

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
        """Return the variances of the columns, or of cells given the observed cells of their rows.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features), dict or DataFrame, default=None
            Rows as in `sample_conditional`; missing cells are NaN. None: the variances of the
            columns.

        Returns
        -------
        variance : ndarray of shape (n_features,) or (n_samples, n_features), or DataFrame
            Exact variances under the model. The variance of an observed cell is 0. NaN in columns
            of categories, except those that `leaf` declares categorical, which have the variance
            of their codes. A DataFrame if X is one, or if X is a dict and fit got a DataFrame.

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
        """Return the covariance matrix of the columns under the model.

        Returns
        -------
        covariance : ndarray of shape (n_features, n_features)
            Exact. NaN for columns of categories, except those that `leaf` declares categorical,
            which enter by their codes.

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
        """Return rows in float64, and whether X has only some of the columns."""
        density = self._density()
        if is_partial(X, density.schema):
            return read_partial_rows(X, density.schema, density.encoding), True
        return self._cells(X), False

    def _completed(self, rows: np.ndarray, X: Any, is_some: bool) -> Any:
        """Return completed rows as a table like X; `is_some` is as `_evidence` returns it."""
        encoding = self._density().encoding
        return completed_table(rows, X, encoding) if is_some else encoding.table(rows, X)
