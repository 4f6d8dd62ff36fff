"""Conversion of users' tables to arrays of numbers."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from sklearn.utils.validation import check_array, validate_data

from sklearn_einet.tables.encoding import Encoding
from sklearn_einet.tables.frames import (
    is_frame,
    refuse_other_cells,
    unusable,
    unusable_column,
    without_mask,
)
from sklearn_einet.tables.stored import StoredTable, native_dtype

__all__ = ["BlockReader", "Validate", "checked_query", "numbers_of", "refuse_infinities"]

# Checks the shape, names and cells of a table, with the options of scikit-learn's
# `validate_data`.
Validate = Callable[..., Any]

# The options for tables with only numbers.
NUMBERS = {"dtype": "numeric", "ensure_all_finite": "allow-nan"}


def numbers_of(X: Any, encoding: Encoding, name: str, validate: Validate) -> np.ndarray:
    """Return a table in memory as numbers, without infinities; errors name the column.

    Parameters
    ----------
    X : DataFrame or array-like of shape (n_samples, n_features)
        Without masks.
    encoding : Encoding
    name : str
        The name of the estimator, for messages.
    validate : callable
    """
    if encoding.categories or encoding.times:
        validate(X, skip_check_array=True)
        coded = encoding.to_numbers(X)
        try:
            return coded if _is_plain(coded) else check_array(coded, estimator=name, **NUMBERS)
        except ValueError as error:
            raise unusable_column(coded, error, encoding.names) or error from None
    refuse_other_cells(X)
    try:
        array = validate(X, **NUMBERS)
        wanted = native_dtype(array.dtype)
        if array.dtype == wanted:
            return array
        with np.errstate(over="ignore"):  # long doubles; infinities are refused
            array = array.astype(wanted)
        return check_array(array, ensure_all_finite="allow-nan", estimator=name)
    except (TypeError, ValueError) as error:
        raise unusable_column(X, error) or error from None


def _is_plain(X: Any) -> bool:
    """Return whether scikit-learn's check would return a table of numbers unchanged."""
    is_numbers = type(X) is np.ndarray and X.dtype in (np.float64, np.float32)
    return is_numbers and X.ndim == 2 and X.size > 0 and not np.isinf(X).any()


def refuse_infinities(table: StoredTable, name: str) -> None:
    """Raise a ValueError if a stored table has an infinity; it names the column."""
    if table.dtype.kind != "f":
        return
    infinite, example = np.zeros(table.shape[1], dtype=bool), None
    for rows in table.slabs():
        found = np.isinf(table[rows]).any(axis=0)
        if found.any():
            infinite, example = infinite | found, table[rows]
    for column in np.flatnonzero(infinite):
        try:
            check_array(example, ensure_all_finite="allow-nan", estimator=name, input_name="X")
        except ValueError as error:
            raise unusable(int(column), error, table) from error


def checked_query(estimator: Any, X: Any, skip_check_array: bool = False, **options: Any) -> Any:
    """Return a table as `validate_data` does for a fitted estimator, with its errors.

    Nearly all tables are like the one in fit, and a quick check shows it. The full check takes
    longer than scoring a row.
    """
    names = getattr(estimator, "feature_names_in_", None)
    if skip_check_array:
        is_expected = is_frame(X) and names is not None and list(X.columns) == names.tolist()
    else:
        is_expected = (
            names is None
            and options == NUMBERS
            and _is_plain(X)
            and X.shape[1] == estimator.n_features_in_
        )
    if is_expected:
        return X
    options["skip_check_array"] = skip_check_array
    return validate_data(estimator, X, reset=False, **options)


@dataclass(frozen=True)
class BlockReader:
    """Reads blocks of rows of a table without an estimator.

    Attributes
    ----------
    encoding : Encoding
    column_names : list of str or int
        Of the whole table; numbers if the columns have no names.
    name : str
        The name of the estimator, for messages.
    """

    encoding: Encoding
    column_names: list[Any]
    name: str

    def __call__(self, block: Any) -> np.ndarray:
        """Return a block as an array of numbers."""
        if not len(block):
            return np.empty((0, len(self.column_names)))
        return numbers_of(without_mask(block), self.encoding, self.name, self._validate)

    def _validate(self, block: Any, skip_check_array: bool = False, **options: Any) -> Any:
        """Check a block as scikit-learn's `validate_data` does, with the same messages."""
        if is_frame(block) and isinstance(self.column_names[0], str):
            names = list(block.columns)
            if names != self.column_names:
                same = sorted(map(str, names)) == sorted(self.column_names)
                expected = f"be in the same order as they were in fit: {self.column_names}"
                raise ValueError(
                    "The feature names should match those that were passed during fit.\n"
                    f"Feature names must {expected if same else f'be {self.column_names}'}, got "
                    f"{names}."
                )
        if not skip_check_array:
            block = check_array(block, estimator=self.name, input_name="X", **options)
        if block.shape[1] != len(self.column_names):
            raise ValueError(
                f"X has {block.shape[1]} features, but {self.name} is expecting "
                f"{len(self.column_names)} features as input."
            )
        return block
