"""EinetOverSampler: new rows of small classes, as an over-sampler of imbalanced-learn."""

from __future__ import annotations

import warnings
from typing import Any, ClassVar

import narwhals.stable.v2 as nw
import numpy as np
from sklearn.base import clone
from sklearn.exceptions import ConvergenceWarning
from sklearn.utils import Tags, check_array, check_consistent_length, check_random_state
from sklearn.utils.validation import validate_data

from sklearn_einet.estimators.base import restores_on_failure
from sklearn_einet.estimators.density import EinetDensity
from sklearn_einet.estimators.documentation import DocumentationLink
from sklearn_einet.estimators.mixture import EinetMixture
from sklearn_einet.tables.missing_cells import missing_cells

try:
    from imblearn.over_sampling.base import BaseOverSampler
    from imblearn.utils import check_target_type
except ImportError as error:
    raise ImportError(
        "sklearn_einet.contrib.imblearn needs imbalanced-learn. "
        'Run: pip install "sklearn-einet[imblearn]"'
    ) from error

__all__ = ["EinetOverSampler"]

SEEDS = np.iinfo(np.int32).max


class EinetOverSampler(DocumentationLink, BaseOverSampler):
    """Over-sampling with rows drawn from a density of each small class.

    For each class that needs more rows, the sampler fits an `EinetDensity` to the rows of this
    class and draws the missing rows from it. Numbers, categories, dates and missing cells are drawn
    jointly, without an encoder and without an imputer.

    Parameters
    ----------
    sampling_strategy : float, str, dict or callable, default="auto"
        Which classes to over-sample, and how many rows they have afterwards. "auto" gives all
        classes as many rows as the largest one. The other values are those of
        `imblearn.over_sampling.RandomOverSampler`.
    density : EinetDensity, EinetMixture or None, default=None
        The density to fit to each class. `fit_resample` clones it and replaces its `random_state`.
        None means ``EinetDensity(learn_gaps=True)``: new rows have missing cells at the rate of
        their class. Without `learn_gaps` the new rows are complete, which a classifier that uses
        missing cells would take for a mark of the class.
    random_state : int, RandomState instance or None, default=None
        Determines the fits and the draws.

    Attributes
    ----------
    sampling_strategy_ : dict
        Number of new rows for each class that is over-sampled.
    densities_ : dict
        The fitted density of each class that has new rows.
    n_features_in_ : int
        Number of columns.
    feature_names_in_ : ndarray of shape (n_features,)
        Names of the columns, if X is a DataFrame whose column names are all strings.

    See Also
    --------
    imblearn.over_sampling.SMOTE : Draws new rows between neighbouring rows of a class.
    imblearn.over_sampling.SMOTENC : SMOTE for tables with categories.
    sklearn_einet.EinetDensity : The density, for all other questions.

    Notes
    -----
    Each class has a density of its own. A class with few rows has a coarse one; a class with a
    single row is repeated. Over-sampling changes the shares of the classes, so the probabilities
    that a classifier returns afterwards are not calibrated.

    Columns that have no value at all in the rows of a class are missing in its new rows, too. This
    works with ``density=None`` only; a given density raises an error.

    Sparse matrices and DataFrames of polars are not supported.

    References
    ----------
    .. [1] R. Peharz et al., "Einsum Networks: Fast and Scalable Learning of Tractable Probabilistic
       Circuits", ICML 2020.
    .. [2] G. Lemaître, F. Nogueira and C. K. Aridas, "Imbalanced-learn: A Python Toolbox to Tackle
       the Curse of Imbalanced Datasets in Machine Learning", JMLR 18, 2017.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn.datasets import load_iris
    >>> from sklearn_einet.contrib.imblearn import EinetOverSampler
    >>> X, y = load_iris(return_X_y=True, as_frame=True)
    >>> X, y = X[:70], y[:70]  # 50 flowers of class 0, 20 of class 1
    >>> X_new, y_new = EinetOverSampler(random_state=0).fit_resample(X, y)
    >>> np.bincount(y_new)
    array([50, 50])
    """

    _parameter_constraints: ClassVar[dict[str, Any]] = {
        **BaseOverSampler._parameter_constraints,
        "density": [EinetDensity, EinetMixture, None],
        "random_state": ["random_state"],
    }

    def __init__(
        self,
        *,
        sampling_strategy: Any = "auto",
        density: EinetDensity | EinetMixture | None = None,
        random_state: Any = None,
    ) -> None:
        super().__init__(sampling_strategy=sampling_strategy)
        self.density = density
        self.random_state = random_state

    def _check_X_y(self, X: Any, y: Any) -> tuple[Any, np.ndarray, bool]:
        """Check the input as imbalanced-learn asks for, and leave DataFrames as they are."""
        y, binarize_y = check_target_type(y, indicate_one_vs_all=True)
        if nw.dependencies.is_pandas_dataframe(X):
            sparse = {k: t.subtype for k, t in X.dtypes.items() if str(t).startswith("Sparse")}
            X = X.astype(sparse)
            if not X.columns.is_unique:
                again = X.columns[X.columns.duplicated()].unique().tolist()
                raise ValueError(f"X has several columns named {again[0]!r}: rename all but one.")
        elif nw.dependencies.is_into_dataframe(X):
            raise TypeError(
                f"{type(self).__name__} takes arrays and DataFrames of pandas, got "
                f"{type(X).__name__} of {type(X).__module__.split('.')[0]}. Pass X.to_pandas()."
            )
        else:
            X = check_array(X, dtype=None, ensure_all_finite=False)
        check_consistent_length(X, y)
        validate_data(self, X=X, reset=True, skip_check_array=True)
        return X, y, binarize_y

    @restores_on_failure
    def _fit_resample(self, X: Any, y: np.ndarray) -> tuple[Any, np.ndarray]:
        """Return the table with the new rows at its end."""
        random_state = check_random_state(self.random_state)
        self.densities_: dict[Any, EinetDensity | EinetMixture] = {}
        parts, labels = [X], [y]
        for label, n_rows in self.sampling_strategy_.items():
            if n_rows:
                rows = X[y == label]
                parts.append(self._drawn(label, rows, int(n_rows), random_state.randint(SEEDS)))
                labels.append(np.full(n_rows, label, dtype=y.dtype))
        if isinstance(X, np.ndarray):
            table: Any = np.concatenate(parts)
        else:
            frames = [nw.from_native(part) for part in parts]
            table = nw.concat(frames).to_native().reset_index(drop=True)
        return table, np.concatenate(labels)

    def _drawn(self, label: Any, rows: Any, n_rows: int, seed: int) -> Any:
        """Return new rows of a class, of the types of its rows, and keep its density."""
        density = EinetDensity(learn_gaps=True) if self.density is None else clone(self.density)
        density.set_params(random_state=seed)
        is_array = isinstance(rows, np.ndarray)
        seen = np.ones(rows.shape[1], dtype=bool)
        if self.density is None:  # others may name their columns by positions
            seen = observed_columns(rows)
            if not seen.any():
                again = np.zeros(n_rows, dtype=np.intp)
                return rows[again] if is_array else rows.iloc[again]
        with warnings.catch_warnings():
            if self.density is None:  # few rows need many epochs, and do not gain by them
                warnings.simplefilter("ignore", ConvergenceWarning)
            try:
                density.fit(rows[:, seen] if is_array else rows.loc[:, seen])
            except (TypeError, ValueError) as error:
                raise type(error)(f"The {len(rows)} rows of class {label}: {error}") from error
        self.densities_[label] = density
        drawn = density.sample(n_rows, random_state=seed)
        if not is_array:
            drawn = drawn.reindex(columns=rows.columns)
            for name, dtype in rows.dtypes.items():
                if dtype.kind in "iu":
                    drawn[name] = whole_numbers(drawn[name], getattr(dtype, "numpy_dtype", dtype))
            return drawn.astype(rows.dtypes)
        if rows.dtype.kind in "iu":
            return whole_numbers(drawn, rows.dtype).astype(rows.dtype)
        if seen.all():
            return drawn.astype(rows.dtype)
        new = np.full((n_rows, rows.shape[1]), np.nan, dtype=rows.dtype)
        new[:, seen] = drawn
        return new

    def __sklearn_tags__(self) -> Tags:
        tags = super().__sklearn_tags__()
        tags.input_tags.allow_nan = True
        tags.input_tags.sparse = False
        return tags


def observed_columns(rows: Any) -> np.ndarray:
    """Return which columns of a table have a value in any of its rows."""
    missing = missing_cells(rows)
    assert missing is not None, "the table is in memory"
    return np.asarray(~missing.all(axis=0))


def whole_numbers(values: Any, dtype: np.dtype[Any]) -> Any:
    """Return drawn numbers, rounded and within the range of a type of integers."""
    range_ = np.iinfo(dtype)
    # The largest numbers of 64 bits are no floats: the next float beyond them would overflow.
    largest = np.nextafter(float(range_.max), 0) if range_.bits > 53 else range_.max
    return values.round().clip(range_.min, largest)
