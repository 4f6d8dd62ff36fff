"""What all estimators share: they check tables and ask a fitted density."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import replace
from functools import cached_property, partial, wraps
from typing import Any, TypeVar

import numpy as np
from sklearn.base import BaseEstimator, DensityMixin, OutlierMixin
from sklearn.exceptions import ConvergenceWarning
from sklearn.utils import Tags
from sklearn.utils.validation import check_is_fitted, validate_data

from sklearn_einet.circuit import Circuit
from sklearn_einet.estimators.documentation import DocumentationLink
from sklearn_einet.model.devices import resolve_device
from sklearn_einet.model.outlier_scores import OutlierScores, RowQuery
from sklearn_einet.model.score_distribution import ScoreDistribution
from sklearn_einet.model.table_density import TableDensity
from sklearn_einet.structure import RegionGraph
from sklearn_einet.tables.callers import levels_to_caller
from sklearn_einet.tables.column_warnings import check_categories
from sklearn_einet.tables.encoding import Encoding
from sklearn_einet.tables.frames import without_mask
from sklearn_einet.tables.in_memory import InMemoryTable
from sklearn_einet.tables.leaf_report import leaf_report
from sklearn_einet.tables.stored import StoredTable, is_stored
from sklearn_einet.tables.table import Table, is_dask
from sklearn_einet.tables.validation import (
    BlockReader,
    checked_query,
    numbers_of,
    refuse_infinities,
)
from sklearn_einet.tables.weights import checked_weight

__all__ = ["BaseEinet", "restores_on_failure", "warn_of_unfinished"]

Method = TypeVar("Method", bound=Callable[..., Any])


class BaseEinet(DocumentationLink, OutlierMixin, DensityMixin, BaseEstimator):
    """Checks tables, and asks the fitted density.

    In fit, derived classes set `table_density_` and then the attributes of the outlier interface.
    Their queries check the rows, delegate to the density, and wrap its answers.
    """

    device: Any
    categorical_features: Any
    n_features_in_: int
    table_density_: TableDensity
    region_graph_: RegionGraph
    classes_: np.ndarray

    @cached_property
    def offset_(self) -> float:
        """Log-density below which a complete row is an outlier."""
        offset: float = self._threshold("offset_")
        return offset

    @cached_property
    def _score_distribution(self) -> ScoreDistribution:
        """Distribution of the comparable log-densities of typical rows."""
        distribution: ScoreDistribution = self._threshold("_score_distribution")
        return distribution

    @property
    def circuit_(self) -> Circuit:
        """The model itself, in internal units."""
        return self.table_density_.circuit

    @property
    def categories_(self) -> dict[Any, np.ndarray]:
        """The categories of each categorical column, by its name or index."""
        check_is_fitted(self)
        encoding = self.table_density_.encoding
        return {encoding.names[j]: values.copy() for j, values in encoding.categories.items()}

    @property
    def leaf_report_(self) -> Any:
        """How fit has modelled each column, and why: a DataFrame with a row for each column.

        It is of the same kind as the table in fit, or of pandas. Its columns are

        - ``column``: the name of the column;
        - ``leaf``: the family of its distribution, "states" if all values are atoms;
        - ``transform``: the map of the column, if any (`numeric_transform`);
        - ``n_atoms``, ``share_of_atoms``: the number of atoms (values with a probability of their
          own), and their share of the cells;
        - ``step``: the step of the grid that the values lie on, 0 if there is no grid;
        - ``low``, ``high``: the bounds of draws;
        - ``reason``: why the column is modelled this way.

        Examples
        --------
        >>> import numpy as np
        >>> import pandas as pd
        >>> from sklearn_einet import EinetDensity
        >>> x = np.random.RandomState(0).uniform(size=(100, 2))
        >>> table = pd.DataFrame({"share": x[:, 0].round(1), "score": 20 * x[:, 1]})
        >>> model = EinetDensity(leaf={"beta": ["share"]}, bounds={"score": (0, 20)}, max_iter=200)
        >>> model.fit(table).leaf_report_[["column", "leaf", "n_atoms", "low", "high"]]
          column    leaf  n_atoms  low  high
        0  share    beta        2  0.0   1.0
        1  score  normal        0  0.0  20.0
        """
        check_is_fitted(self)
        return leaf_report(self.table_density_.schema, self.table_density_.encoding)

    def as_numbers(self, X: Any) -> np.ndarray | StoredTable:
        """Check rows, and return them as the array of numbers that `table_density_` takes.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Missing cells are NaN.

        Returns
        -------
        numbers : ndarray of shape (n_samples, n_features), or StoredTable
            NaN for missing cells, codes for categories, counts of steps for dates. Tables that are
            read in slices, such as memory maps, are not read yet.

        Raises
        ------
        ValueError, TypeError
            If X lacks a column of fit, or has infinities; the message names the column.

        Examples
        --------
        >>> import pandas as pd
        >>> from sklearn_einet import EinetDensity
        >>> table = pd.DataFrame({"size": [1.5, 2.5] * 9, "kind": ["a", "b"] * 9})
        >>> model = EinetDensity(max_iter=2, tol=1, random_state=0).fit(table)
        >>> model.as_numbers(table[:2]).tolist()
        [[1.5, 0.0], [2.5, 1.0]]
        """
        check_is_fitted(self)
        numbers, _ = self._numbers(X, self.table_density_.encoding)
        check_categories(self.table_density_.schema, numbers)
        return numbers

    def _cells(self, X: Any) -> np.ndarray:
        """Return the rows of a query in float64."""
        return self.as_numbers(X).astype(np.float64)

    def _density(self) -> TableDensity:
        """Return the fitted density, on the device set by the parameters."""
        check_is_fitted(self)
        return self.table_density_.to(resolve_device(self.device, required=False))

    def _outlier_scores(self) -> OutlierScores:
        """Return the fitted density, as `_density` does, with the scores of typical rows."""
        return OutlierScores(self._density(), self.offset_, self._score_distribution)

    def _row_wise(
        self, X: Any, query: RowQuery, dtype: type = float, n_outputs: int | None = None
    ) -> Any:
        """Return the answers of a query for all rows; for dask collections lazily, by blocks.

        Parameters
        ----------
        X : array-like, or dask array or dataframe, of shape (n_samples, n_features)
        query : callable
            A method of `OutlierScores`.
        dtype : type, default=float
            Of the result.
        n_outputs : int or None, default=None
            Number of columns of the result; None: it has one dimension.
        """
        check_is_fitted(self)
        scores = OutlierScores(self.table_density_)
        if query is not OutlierScores.log_density:  # it needs neither, and they may cost a pass
            scores = replace(scores, offset=self.offset_, distribution=self._score_distribution)
        if not is_dask(X):
            device = resolve_device(self.device, required=False)
            return query(scores.to(device), self.as_numbers(X))
        from sklearn_einet.estimators.dask_input import LazyQuery

        reader = BlockReader(scores.density.encoding, self._column_names, type(self).__name__)
        lazy = LazyQuery(scores, reader, self.device, query)
        check_columns = partial(validate_data, self, reset=False, skip_check_array=True)
        return lazy.answers(X, check_columns, dtype, n_outputs)

    def _numbers(
        self, X: Any, encoding: Encoding | None
    ) -> tuple[np.ndarray | StoredTable, Encoding]:
        """Return a table as numbers without infinities and masks; errors name the column.

        Tables that are read in slices become a `StoredTable`, unless there are categories to
        encode.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
        encoding : Encoding or None
            None: X is a table for fit, which finds the encoding.
        """
        X = without_mask(X)
        if is_dask(X):
            raise TypeError(
                f"{type(self).__name__} accepts dask collections only in fit, partial_fit and the "
                "methods that score rows. For other queries, call compute() on X, or map the "
                "method of the fitted estimator over its blocks."
            )
        check = partial(validate_data, reset=True) if encoding is None else checked_query
        validate = partial(check, self)
        name = type(self).__name__
        if is_stored(X):
            X = X if isinstance(X, StoredTable) else StoredTable(X)
            asked = self.categorical_features
            if encoding is not None:
                asked = list(encoding.categories or encoding.times) or None
            if X.dtype.kind not in "Mm" and (asked is None or isinstance(asked, str)):
                example = X[:1] if X.shape[1] else X[:]
                validate(example, dtype="numeric", ensure_all_finite=False)
                refuse_infinities(X, name)
                return X, Encoding()
            X = X[:]
        if encoding is None:
            encoding, doubts = Encoding.fit(X, self.categorical_features)
            for doubt in doubts:
                warnings.warn(doubt, UserWarning, stacklevel=levels_to_caller())
        return numbers_of(X, encoding, name, validate), encoding

    def _table(
        self, X: Any, sample_weight: Any, encoding: Encoding | None
    ) -> tuple[Table, Encoding]:
        """Return the rows with weight to learn from, and the encoding, found if it is None."""
        if is_dask(X):
            from sklearn_einet.estimators.dask_input import dask_table

            table: Table
            table, encoding, sample_weight = dask_table(self, X, sample_weight, encoding)
        else:
            numbers, encoding = self._numbers(X, encoding)
            table = numbers if isinstance(numbers, StoredTable) else InMemoryTable(numbers)
        if sample_weight is not None:
            table = table.weighted(checked_weight(sample_weight, table))
        return table.with_positive_weight(), encoding

    @property
    def _column_names(self) -> list[Any]:
        """Names of the columns, or their numbers."""
        return list(getattr(self, "feature_names_in_", range(self.n_features_in_)))

    def _set(self, attributes: dict[str, Any]) -> None:
        """Set fitted attributes."""
        for name, value in attributes.items():
            setattr(self, name, value)

    def _threshold(self, name: str) -> Any:
        """Return an attribute of the outlier interface whose computation was deferred."""
        ask_later = vars(self).get("_ask_later")
        if ask_later is not None:
            self._set(ask_later())
            # Last, since another thread may be about to ask as well.
            self.__dict__.pop("_ask_later", None)
        try:
            return vars(self)[name]
        except KeyError:
            raise AttributeError(f"{type(self).__name__} has no {name} before fit.") from None

    def __getstate__(self) -> dict[str, Any]:
        """Return what is saved or copied: the threshold, but not the rows it is computed from."""
        if "_ask_later" in vars(self):
            self._threshold("offset_")
        state: dict[str, Any] = super().__getstate__()
        return state

    def __sklearn_tags__(self) -> Tags:
        tags = super().__sklearn_tags__()
        tags.input_tags.allow_nan = True
        return tags


def restores_on_failure(method: Method) -> Method:
    """Restore the attributes of an object if its method raises an error."""

    @wraps(method)
    def wrapped(self: Any, *args: Any, **kwargs: Any) -> Any:
        before = vars(self).copy()
        try:
            return method(self, *args, **kwargs)
        except BaseException:
            self.__dict__ = before
            raise

    return wrapped  # type: ignore[return-value]


def warn_of_unfinished(what: str, tol: float, max_iter: int) -> None:
    """Warn that a fit ended before it converged; `what` is what was still growing."""
    warnings.warn(
        f"{what} was still growing by more than tol={tol} after max_iter={max_iter} epochs. "
        "Increase max_iter or tol.",
        ConvergenceWarning,
        stacklevel=levels_to_caller(),
    )
