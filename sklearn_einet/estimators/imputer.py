"""EinetImputer: an Einsum Network that fills missing cells, as a transformer."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from numbers import Integral
from typing import Any, ClassVar, Self

import narwhals.stable.v2 as nw
import numpy as np
from sklearn import config_context, get_config
from sklearn.base import (
    BaseEstimator,
    OneToOneFeatureMixin,
    TransformerMixin,
    _fit_context,
    clone,
)
from sklearn.frozen import FrozenEstimator
from sklearn.impute import MissingIndicator
from sklearn.utils import Tags, check_array
from sklearn.utils._param_validation import HasMethods, Interval, MissingValues, StrOptions
from sklearn.utils._set_output import _get_output_config, _wrap_data_with_container
from sklearn.utils.validation import check_is_fitted, validate_data

from sklearn_einet.estimators.base import restores_on_failure
from sklearn_einet.estimators.completion import STRATEGIES
from sklearn_einet.estimators.density import EinetDensity
from sklearn_einet.tables.callers import levels_to_caller
from sklearn_einet.tables.frames import (
    cells,
    column_type,
    is_frame,
    native_columns,
    numbers,
    repeated,
    without_mask,
)
from sklearn_einet.tables.lazy_tables import Tables
from sklearn_einet.tables.missing_cells import (
    joined,
    marks_nothing_else,
    missing_cells,
    replaced,
    with_zeros,
    without_marks,
)
from sklearn_einet.tables.randomness import new_random_state
from sklearn_einet.tables.stored import is_stored
from sklearn_einet.tables.validation import checked_query

__all__ = ["EinetImputer"]


class EinetImputer(OneToOneFeatureMixin, TransformerMixin, BaseEstimator):
    """Fill missing cells by what the rest of their row says about them.

    `fit` learns the joint density of all columns from rows with or without gaps; `transform` fills
    the gaps of any rows by that density. One model serves all columns and all patterns of missing
    cells.

    Parameters
    ----------
    density : estimator or None, default=None
        The density to fit, cloned before. None: ``EinetDensity(random_state=random_state)``. Give
        one to tune it by ``density__K`` and the like in a grid search.
    strategy : {"mean", "mpe", "sample"}, default="mean"
        "mean" fills with the expected value, the most probable category in categorical columns:
        the choice for prediction. "mpe" fills with one most probable combination of values;
        "sample" with a random draw, which keeps the spread of the columns.
        See `EinetDensity.impute`.
    n_draws : int, default=5
        Number of tables that `transform_multiple` returns.
    random_state : int, RandomState instance or None, default=None
        For "sample", `transform_multiple`, and the default density. With an int, the same rows are
        always filled in the same way.
    missing_values : int, float, str, np.nan, None or pandas.NA, default=np.nan
        What marks a missing cell. np.nan, None and pandas.NA are the same: NaN, None, NA and null
        are missing cells. With any other mark those are an error.
    add_indicator : bool, default=False
        Whether to add a column of 0 and 1 for each column that misses cells in `fit`: 1 where a
        cell was missing, as `sklearn.impute.MissingIndicator` has them.
    keep_empty_features : bool, default=False
        Columns without an observed value in `fit` are left out, with a warning. True: they stay,
        and 0 fills them; False in columns of booleans, "missing_value" in those of texts.

    Attributes
    ----------
    density_ : estimator
        The fitted density, which answers all other questions about the table. Columns without an
        observed value are constants to it.
    indicator_ : MissingIndicator or None
        Which columns have an indicator. None if `add_indicator` is False.
    empty_features_ : ndarray of int
        The columns without an observed value in fit; none with a frozen density, which was fitted
        to other rows.
    n_features_in_ : int
        Number of columns seen in fit.
    feature_names_in_ : ndarray of shape (n_features,)
        Names of the columns seen in fit, if all are strings.

    See Also
    --------
    EinetDensity.impute : The same for a density that is fitted already.
    sklearn.impute.IterativeImputer : Regressions of each column on all others, in turns.
    sklearn.impute.KNNImputer : Means of the nearest rows.

    Notes
    -----
    Cells that are impossible under the model (a category that was not seen in fit) are left as they
    are and not used to fill others, with a warning.

    Tables that `fit` reads by slices need an observed value in each column, and NaN in their
    missing cells: with other marks a memory map is read as a whole.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn.datasets import load_iris
    >>> from sklearn_einet import EinetImputer
    >>> X = load_iris().data
    >>> gaps = X.copy()
    >>> gaps[np.random.RandomState(0).rand(*X.shape) < 0.2] = np.nan
    >>> filled = EinetImputer(random_state=0).fit_transform(gaps)
    >>> missing = np.isnan(gaps)
    >>> float(np.abs(filled - X)[missing].mean().round(1))
    0.2
    >>> float(np.abs(np.nanmean(gaps, axis=0) - X)[missing].mean().round(1))
    0.8
    """

    _parameter_constraints: ClassVar[dict[str, list[Any]]] = {
        "density": [HasMethods(["fit", "impute", "sample_conditional"]), None],
        "strategy": [StrOptions(set(STRATEGIES))],
        "n_draws": [Interval(Integral, 1, None, closed="left")],
        "random_state": ["random_state"],
        "missing_values": [MissingValues()],
        "add_indicator": ["boolean"],
        "keep_empty_features": ["boolean"],
    }

    def __init__(
        self,
        density: Any = None,
        *,
        strategy: str = "mean",
        n_draws: int = 5,
        random_state: Any = None,
        missing_values: Any = np.nan,
        add_indicator: bool = False,
        keep_empty_features: bool = False,
    ) -> None:
        self.density = density
        self.strategy = strategy
        self.n_draws = n_draws
        self.random_state = random_state
        self.missing_values = missing_values
        self.add_indicator = add_indicator
        self.keep_empty_features = keep_empty_features

    @restores_on_failure
    @_fit_context(prefer_skip_nested_validation=False)
    def fit(self, X: Any, y: Any = None, sample_weight: Any = None) -> Self:
        """Fit the density.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Missing cells are NaN, or `missing_values`. A memory map is learned from as in the fit
            of the density, but `transform` reads it as a whole.
        y : Ignored
            Not used, present for API consistency.
        sample_weight : array-like of shape (n_samples,), default=None
            Weights of the rows; 1 each if None.

        Returns
        -------
        self : EinetImputer
            The fitted transformer.
        """
        density = self.density
        if density is None:
            density = EinetDensity(random_state=self.random_state)
        table = without_marks(without_mask(X), self.missing_values)
        self.empty_features_ = np.empty(0, dtype=np.intp)
        if not is_stored(table) and not isinstance(density, FrozenEstimator):
            self.empty_features_ = _empty_columns(table)
        density = clone(density).fit(self._learnable(table), y, sample_weight=sample_weight)
        validate_data(self, X, reset=True, skip_check_array=True)
        # A frozen density may have been fitted to another table.
        _check_same_columns(self, density)
        self.density_ = density
        self.indicator_ = _fitted_indicator(table) if self.add_indicator else None
        self._warn_of_empty_columns()
        return self

    def transform(self, X: Any) -> Any:
        """Fill the missing cells.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Missing cells are NaN, or `missing_values`.

        Returns
        -------
        X : ndarray or frame of shape (n_samples, n_features_out)
            A copy without missing cells: an array, of objects if there are texts in it, unless
            `set_output` asks for a frame; that has the types of X's columns, if X is such a frame.
        """
        self._check_columns(X)
        X = self._checked(X)
        rows = self._learnable(X)
        with self._output():
            table = self.density_.impute(rows, self.strategy, self.random_state)
            return self._as_asked(self._completed(table, X))

    def transform_multiple(self, X: Any) -> Sequence[Any]:
        """Fill the missing cells several times, at random: multiple imputation.

        What varies between the tables is what the missing cells leave open. Analyse each of them,
        average the results, and add their variance to that of a single result (Rubin's rules [1]_).
        The draws depend on each other as far as the model has learned it: correlations between
        columns with many missing cells come out too weak if there were few rows to learn from.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Missing cells are NaN, or `missing_values`.

        Returns
        -------
        tables : sequence of ndarray or frame of shape (n_samples, n_features_out)
            `n_draws` of them, of the type that `transform` returns.

        References
        ----------
        .. [1] D. B. Rubin, "Multiple Imputation for Nonresponse in Surveys", Wiley, 1987.

        Examples
        --------
        >>> import numpy as np
        >>> from sklearn.datasets import load_iris
        >>> from sklearn_einet import EinetImputer
        >>> imputer = EinetImputer(n_draws=100, random_state=0).fit(load_iris().data)
        >>> tables = imputer.transform_multiple([[5.0, 3.5, 1.4, np.nan]])
        >>> widths = [table[0, 3] for table in tables]
        >>> round(np.mean(widths), 1), round(np.std(widths), 1)
        (np.float64(0.2), np.float64(0.1))
        """
        self._check_columns(X)
        random_state = new_random_state(self.random_state)
        X = self._checked(X)
        with self._output():
            tables = self.density_.sample_conditional(
                self._learnable(X), self.n_draws, random_state
            )
            if not isinstance(tables, Tables):
                return [self._wrapped(table, X) for table in tables]
            tables = tables.changed(lambda table: self._wrapped(table, X))
        return list(tables) if isinstance(tables, np.ndarray) else tables

    def _check_columns(self, X: Any) -> None:
        """Refuse a table without all columns, which densities take: a transformer fills none."""
        check_is_fitted(self)
        if isinstance(X, Mapping):
            raise TypeError(f"X must be a table, got {type(X).__name__}.")
        if is_frame(X):
            checked_query(self, X, skip_check_array=True)

    def get_feature_names_out(self, input_features: Any = None) -> np.ndarray:
        """Return the names of the columns that `transform` returns.

        Parameters
        ----------
        input_features : array-like of str or None, default=None
            Names of the columns, if they had none in fit.

        Returns
        -------
        feature_names_out : ndarray of str
            Those of indicators are ``missingindicator_`` and the name of their column.
        """
        names = np.asarray(super().get_feature_names_out(input_features))
        out = names if self.keep_empty_features else np.delete(names, self.empty_features_)
        if self.indicator_ is None:
            return out
        return np.concatenate([out, self.indicator_.get_feature_names_out(names)])

    def _checked(self, X: Any) -> Any:
        """Return rows to be filled, whose missing cells are those that the density knows."""
        if not self._changes_nothing or not marks_nothing_else(self.missing_values):
            if not native_columns(X):
                check_array(X, dtype=None, ensure_all_finite=False)  # says what X should be
            checked_query(self, X, skip_check_array=True)
        return without_marks(without_mask(X), self.missing_values)

    @property
    def _changes_nothing(self) -> bool:
        """Whether the columns that come out are those of the density."""
        return not len(self.empty_features_) and self.indicator_ is None

    def _learnable(self, X: Any) -> Any:
        """Return a table whose columns without observed values are constants.

        All columns keep their places, by which parameters of the density may name them.
        """
        return replaced(X, {int(j): np.ones(len(X)) for j in self.empty_features_})

    def _completed(self, table: Any, X: Any) -> Any:
        """Return a table of the density's with the columns that were asked for."""
        if self._changes_nothing:
            return table
        if len(table) > len(X):
            X = repeated(X, len(table) // len(X))
        kept = {
            int(j): with_zeros(X, int(j)) if self.keep_empty_features else None
            for j in self.empty_features_
        }
        more = np.empty((len(table), 0))
        if self.indicator_ is not None:
            more = self.indicator_.transform(_only_gaps(X))
        return joined(table, X, kept, more, self.get_feature_names_out())

    def _warn_of_empty_columns(self) -> None:
        if self.keep_empty_features or not len(self.empty_features_):
            return
        all_names = getattr(self, "feature_names_in_", range(self.n_features_in_))
        names = [all_names[j] for j in self.empty_features_]
        warnings.warn(
            f"Columns {names} have no observed value and are left out; keep_empty_features=True "
            "keeps them.",
            UserWarning,
            stacklevel=levels_to_caller(),
        )

    def _wrapped(self, table: Any, X: Any) -> Any:
        """Return a table of the density's as `transform` returns it for X."""
        table = self._as_asked(self._completed(table, X))
        return _wrap_data_with_container("transform", table, X, self)

    def _output(self) -> Any:
        """Return a context in which the density's tables are of the kind set by set_output."""
        return config_context(transform_output=_get_output_config("transform", self)["dense"])

    def _as_asked(self, table: Any) -> Any:
        """Return a frame as an array, if there is to be no frame."""
        if get_config()["transform_output"] != "default" or not is_frame(table):
            return table
        columns = native_columns(table)
        dtypes = map(column_type, columns)
        if all(dtype.is_numeric() or dtype == nw.Boolean for dtype in dtypes):
            return np.column_stack([numbers(column) for column in columns])
        array = np.empty(table.shape, dtype=object)
        for j, column in enumerate(columns):
            array[:, j] = cells(column)
        return array

    def __sklearn_tags__(self) -> Tags:
        tags = super().__sklearn_tags__()
        tags.input_tags.allow_nan = marks_nothing_else(self.missing_values)
        return tags


def _empty_columns(X: Any) -> np.ndarray:
    """Return the columns without an observed value; none if all are, which a density refuses."""
    missing = missing_cells(X)
    if missing is None or missing.all():
        return np.empty(0, dtype=np.intp)
    return np.flatnonzero(missing.all(axis=0))


def _fitted_indicator(X: Any) -> MissingIndicator:
    indicator = MissingIndicator(error_on_new=False).set_output(transform="default")
    return indicator.fit(_only_gaps(X))


def _only_gaps(X: Any) -> np.ndarray:
    """Return an array with the missing cells of a table, and 0 elsewhere."""
    missing = missing_cells(X)
    if missing is None:
        raise ValueError("add_indicator=True is for tables in memory.")
    return np.where(missing, np.nan, 0.0)


def _check_same_columns(imputer: EinetImputer, density: Any) -> None:
    """Raise a ValueError if the density was not fitted to the imputer's columns."""
    mine, others = (
        list(getattr(each, "feature_names_in_", range(each.n_features_in_)))
        for each in (imputer, density)
    )
    if mine != others:
        raise ValueError(f"density is fitted to the columns {others}, X has {mine}.")
