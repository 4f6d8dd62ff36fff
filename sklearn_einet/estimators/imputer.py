"""EinetImputer: a transformer that fills missing cells with an Einsum Network."""

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
from sklearn.utils import Tags, check_array
from sklearn.utils._param_validation import HasMethods, Interval, MissingValues, StrOptions
from sklearn.utils._set_output import _get_output_config, _wrap_data_with_container
from sklearn.utils.validation import _num_samples, check_is_fitted, validate_data

from sklearn_einet.estimators.base import restores_on_failure
from sklearn_einet.estimators.completion import STRATEGIES
from sklearn_einet.estimators.density import EinetDensity
from sklearn_einet.estimators.documentation import DocumentationLink
from sklearn_einet.estimators.missing_indicator import empty_columns, fitted_indicator, only_gaps
from sklearn_einet.estimators.progress import Report
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
    replaced,
    with_zeros,
    without_marks,
)
from sklearn_einet.tables.randomness import new_random_state
from sklearn_einet.tables.stored import is_stored
from sklearn_einet.tables.validation import checked_query

__all__ = ["EinetImputer"]


class EinetImputer(DocumentationLink, OneToOneFeatureMixin, TransformerMixin, BaseEstimator):
    """Imputation of missing values with an Einsum Network.

    `fit` learns how all columns depend on each other, from rows with or without missing cells.
    `transform` fills the missing cells of any rows, given the other cells of each row. One model
    serves all columns and all patterns of missing cells. Read more on the page :doc:`/questions`.

    Parameters
    ----------
    density : estimator or None, default=None
        The density to fit; it is cloned first. None is ``EinetDensity(random_state=random_state)``.
        Pass one to tune it in a grid search, by names such as ``density__K``.
    strategy : {"mean", "mpe", "sample"}, default="mean"
        How to fill missing cells. "mean": with the expected value, or the most probable category;
        the choice for prediction. "mpe": with one most probable combination of values. "sample":
        with a random draw, which keeps the spread of the columns. See `EinetDensity.impute`.
    n_draws : int, default=5
        Number of tables that `transform_multiple` returns.
    random_state : int, RandomState instance or None, default=None
        Seed for "sample", `transform_multiple` and the default density. With an int, the same rows
        are always filled in the same way.
    missing_values : int, float, str, np.nan, None or pandas.NA, default=np.nan
        What marks a missing cell. np.nan, None and pandas.NA mean the same: all of NaN, None, NA
        and null are missing cells. With any other mark, they raise an error.
    add_indicator : bool, default=False
        Whether to append a column of 0 and 1 for each column with missing cells in `fit`, which is
        1 where a cell was missing; see `sklearn.impute.MissingIndicator`.
    keep_empty_features : bool, default=False
        Whether to keep columns without an observed value in `fit`. If True, they are filled with 0,
        with False in boolean columns and with "missing_value" in string columns. If False, they are
        dropped, with a warning.
    verbose : int, default=0
        If above 0, print the progress of `fit` every `verbose` epochs, as in `EinetDensity`, and
        what `transform` fills. A `density` whose own `verbose` is above 0 keeps it.

    Attributes
    ----------
    density_ : estimator
        The fitted density, for all other questions about the table. For this density, columns
        without an observed value are constant.
    indicator_ : MissingIndicator or None
        The fitted indicator. None if `add_indicator` is False.
    empty_features_ : ndarray of int
        Columns without an observed value in fit. Empty if the density is frozen, since it was
        fitted to other rows.
    n_features_in_ : int
        Number of columns seen in fit.
    feature_names_in_ : ndarray of shape (n_features,)
        Names of the columns seen in fit, if all are strings.

    See Also
    --------
    EinetDensity.impute : The same for a density that is already fitted.
    sklearn.impute.IterativeImputer : Regressions of each column on all others, in turns.
    sklearn.impute.KNNImputer : Means of the nearest rows.

    Notes
    -----
    Cells that are impossible under the model, such as a category that was not seen in fit, are
    returned unchanged and not used to fill others, with a warning.

    Tables that `fit` reads in slices, such as memory maps, need an observed value in each column
    and NaN in their missing cells. With other marks, a memory map is read as a whole.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn.datasets import load_iris
    >>> from sklearn_einet import EinetImputer
    >>> X = load_iris().data
    >>> missing = np.random.RandomState(0).rand(*X.shape) < 0.2
    >>> gaps = np.where(missing, np.nan, X)
    >>> filled = EinetImputer(random_state=0).fit_transform(gaps)
    >>> float(np.abs(filled - X)[missing].mean().round(1))
    0.2

    The same error if missing cells are filled with the means of the columns:

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
        "verbose": ["verbose"],
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
        verbose: int = 0,
    ) -> None:
        self.density = density
        self.strategy = strategy
        self.n_draws = n_draws
        self.random_state = random_state
        self.missing_values = missing_values
        self.add_indicator = add_indicator
        self.keep_empty_features = keep_empty_features
        self.verbose = verbose

    @restores_on_failure
    @_fit_context(prefer_skip_nested_validation=False)
    def fit(self, X: Any, y: Any = None, sample_weight: Any = None) -> Self:
        """Fit the density to a table.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Missing cells are NaN, or `missing_values`. Memory maps are read as in
            `EinetDensity.fit`, but `transform` reads them as a whole.
        y : Ignored
            Not used, present for API consistency.
        sample_weight : array-like of shape (n_samples,), default=None
            Weights of the rows; 1 each if None.

        Returns
        -------
        self : EinetImputer
            The fitted transformer.
        """
        density = self._new_density()
        table = without_marks(without_mask(X), self.missing_values)
        self.empty_features_ = np.empty(0, dtype=np.intp)
        if not is_stored(table) and not isinstance(density, FrozenEstimator):
            self.empty_features_ = empty_columns(table)
        density = density.fit(self._learnable(table), y, sample_weight=sample_weight)
        validate_data(self, X, reset=True, skip_check_array=True)
        # A frozen density may have been fitted to another table.
        _check_same_columns(self, density)
        self.density_ = density
        self.indicator_ = fitted_indicator(table) if self.add_indicator else None
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
        X : ndarray or DataFrame of shape (n_samples, n_features_out)
            A copy without missing cells: an array (of objects if it holds strings), or a DataFrame
            if `set_output` asks for one. If X is a DataFrame of that kind, types are kept.
        """
        self._check_columns(X)
        X = self._checked(X)
        rows = self._learnable(X)
        with self._told(X), self._output():
            table = self.density_.impute(rows, self.strategy, self.random_state)
            return self._as_asked(self._completed(table, X))

    def transform_multiple(self, X: Any) -> Sequence[Any]:
        """Fill the missing cells several times at random: multiple imputation.

        The tables differ as much as the missing cells are uncertain. Run your analysis on each
        table, average the results, and add their variance to that of a single result (Rubin's
        rules [1]_). Draws keep the dependence between columns as far as the model has learned it:
        with few rows to learn from, correlations between columns with many missing cells come out
        too weak.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Missing cells are NaN, or `missing_values`.

        Returns
        -------
        tables : sequence of ndarray or DataFrame of shape (n_samples, n_features_out)
            `n_draws` tables of the type that `transform` returns.

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
        with self._told(X), self._output():
            tables = self.density_.sample_conditional(
                self._learnable(X), self.n_draws, random_state
            )
            if not isinstance(tables, Tables):
                return [self._wrapped(table, X) for table in tables]
            tables = tables.changed(lambda table: self._wrapped(table, X))
        return list(tables) if isinstance(tables, np.ndarray) else tables

    def _new_density(self) -> Any:
        """Return the density to fit, which prints its progress if the imputer does."""
        default = EinetDensity(random_state=self.random_state)
        density = clone(default if self.density is None else self.density)
        if self.verbose and density.get_params(deep=False).get("verbose") == 0:
            density.set_params(verbose=self.verbose)
        return density

    def _check_columns(self, X: Any) -> None:
        """Refuse a table that lacks columns: densities accept those, a transformer does not."""
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
            Indicators are named ``missingindicator_`` and the name of their column.
        """
        names = np.asarray(super().get_feature_names_out(input_features))
        out = names if self.keep_empty_features else np.delete(names, self.empty_features_)
        if self.indicator_ is None:
            return out
        return np.concatenate([out, self.indicator_.get_feature_names_out(names)])

    def _checked(self, X: Any) -> Any:
        """Return the rows to fill, with their missing cells marked as the density expects."""
        if not self._changes_nothing or not marks_nothing_else(self.missing_values):
            if not native_columns(X):
                check_array(X, dtype=None, ensure_all_finite=False)  # says what X should be
            checked_query(self, X, skip_check_array=True)
        return without_marks(without_mask(X), self.missing_values)

    @property
    def _changes_nothing(self) -> bool:
        """Whether the output has exactly the columns of the density."""
        return not len(self.empty_features_) and self.indicator_ is None

    def _learnable(self, X: Any) -> Any:
        """Return a table whose columns without observed values are constants.

        All columns keep their positions, since parameters of the density may refer to these.
        """
        return replaced(X, {int(j): np.ones(len(X)) for j in self.empty_features_})

    def _completed(self, table: Any, X: Any) -> Any:
        """Return a table from the density with the columns that the output should have."""
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
            more = self.indicator_.transform(only_gaps(X))
        return joined(table, X, kept, more, self.get_feature_names_out())

    def _warn_of_empty_columns(self) -> None:
        if self.keep_empty_features or not len(self.empty_features_):
            return
        all_names = getattr(self, "feature_names_in_", range(self.n_features_in_))
        names = [all_names[j] for j in self.empty_features_]
        warnings.warn(
            f"Columns {names} have no observed value and are dropped. Set "
            "keep_empty_features=True to keep them.",
            UserWarning,
            stacklevel=levels_to_caller(),
        )

    def _wrapped(self, table: Any, X: Any) -> Any:
        """Return a table from the density as `transform` returns it for X."""
        table = self._as_asked(self._completed(table, X))
        return _wrap_data_with_container("transform", table, X, self)

    def _told(self, X: Any) -> Any:
        """Return a context in which missing cells are filled, which is said if the user asks."""
        return Report.of(self).timed(f"filling the missing cells of {_num_samples(X)} rows")

    def _output(self) -> Any:
        """Return a context in which the density returns tables of the kind set by set_output."""
        return config_context(transform_output=_get_output_config("transform", self)["dense"])

    def _as_asked(self, table: Any) -> Any:
        """Return a DataFrame as an array, unless a DataFrame was asked for."""
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


def _check_same_columns(imputer: EinetImputer, density: Any) -> None:
    """Raise a ValueError if the density was not fitted to the imputer's columns."""
    mine, others = (
        list(getattr(each, "feature_names_in_", range(each.n_features_in_)))
        for each in (imputer, density)
    )
    if mine != others:
        raise ValueError(f"density is fitted to the columns {others}, but X has {mine}.")
