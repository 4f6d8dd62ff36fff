"""What the estimators share: checked tables, and a fitted density that answers."""

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


class BaseEinet(OutlierMixin, DensityMixin, BaseEstimator):
    """Checks tables, and asks the fitted density.

    Derived classes set `table_density_`, and in the end `_outlier_attributes`, in fit. Their
    queries check, delegate to the density, and wrap what it answers.
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
        """That of usual rows' comparable log-densities."""
        distribution: ScoreDistribution = self._threshold("_score_distribution")
        return distribution

    @property
    def circuit_(self) -> Circuit:
        """The model itself, in the units of its leaves."""
        return self.table_density_.circuit

    @property
    def categories_(self) -> dict[Any, np.ndarray]:
        """Categories of the columns that have them."""
        check_is_fitted(self)
        encoding = self.table_density_.encoding
        return {encoding.names[j]: values.copy() for j, values in encoding.categories.items()}

    @property
    def leaf_report_(self) -> Any:
        """What each column was taken for in fit, and why: a frame with a row for each.

        Its columns: ``leaf``, the family of the column's leaves, "states" where every value is an
        atom; ``transform``, the map in front of them, if any; ``n_atoms`` and ``share_of_atoms``;
        ``step`` of the grid that its values lie on, 0 if they lie on none; the bounds ``low`` and
        ``high`` of what is drawn; and the ``reason``. It is of the kind that the table in fit was,
        or of pandas.

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
        """Check the rows of a query, and return them as the fitted density takes them.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Missing cells are NaN.

        Returns
        -------
        numbers : ndarray of shape (n_samples, n_features), or StoredTable
            NaN where a cell is missing, codes for categories, counts of steps for dates. What is
            read by slices of rows, such as a memory map, is not read yet.

        Raises
        ------
        ValueError, TypeError
            If X does not have the columns of fit, or has infinities; the message names the column.

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
        """Return the fitted density, on the device that the parameters ask for."""
        check_is_fitted(self)
        return self.table_density_.to(resolve_device(self.device, required=False))

    def _outlier_scores(self) -> OutlierScores:
        """Return the fitted density, as `_density` does, with what is usual for its scores."""
        return OutlierScores(self._density(), self.offset_, self._score_distribution)

    def _row_wise(
        self, X: Any, query: RowQuery, dtype: type = float, n_outputs: int | None = None
    ) -> Any:
        """Return what a query says of each row; lazily, block by block, of dask's collections.

        Parameters
        ----------
        X : array-like, or dask array or dataframe, of shape (n_samples, n_features)
        query : callable
            A method of `OutlierScores`.
        dtype : type, default=float
            Of the result.
        n_outputs : int or None, default=None
            How many columns it has; None: it has one dimension.
        """
        check_is_fitted(self)
        scores = OutlierScores(self.table_density_)
        if query is not OutlierScores.log_density:  # which can do without, and they may cost a pass
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

        What is read by slices of rows is a `StoredTable`, unless there are categories to encode.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
        encoding : Encoding or None
            None: X is given to fit, which finds the encoding.
        """
        X = without_mask(X)
        if is_dask(X):
            raise TypeError(
                f"{type(self).__name__} takes dask collections in fit, partial_fit and the methods "
                "that score rows. For other queries, compute() them, or have the method of the "
                "fitted estimator mapped over their blocks."
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
        """Return the rows to learn from that have weight, and the encoding (None: to be found)."""
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
        """Return an attribute of the outlier interface that has been left for later."""
        ask_later = vars(self).get("_ask_later")
        if ask_later is not None:
            self._set(ask_later())
            # Last, as another thread may be about to ask, too.
            self.__dict__.pop("_ask_later", None)
        try:
            return vars(self)[name]
        except KeyError:
            raise AttributeError(f"{type(self).__name__} has no {name} before fit.") from None

    def __getstate__(self) -> dict[str, Any]:
        """Return what is saved or copied: the threshold, but not the rows that it is read off."""
        if "_ask_later" in vars(self):
            self._threshold("offset_")
        state: dict[str, Any] = super().__getstate__()
        return state

    def __sklearn_tags__(self) -> Tags:
        tags = super().__sklearn_tags__()
        tags.input_tags.allow_nan = True
        return tags


def restores_on_failure(method: Method) -> Method:
    """Make a method that raises leave the attributes of its object as they were."""

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
    """Tell that a fit ended before it converged; `what` is what still grew."""
    warnings.warn(
        f"{what} still grew by more than tol={tol} after max_iter={max_iter} epochs; increase "
        "max_iter or tol.",
        ConvergenceWarning,
        stacklevel=levels_to_caller(),
    )
