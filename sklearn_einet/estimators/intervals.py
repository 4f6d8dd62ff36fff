"""Probabilities of boxes, with bounds by name, number or category."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from sklearn.utils import gen_batches
from sklearn.utils.validation import check_is_fitted, validate_data

from sklearn_einet.circuit.queries.intervals import interval_log_values
from sklearn_einet.estimators.base import BaseEinet
from sklearn_einet.tables.frames import cells, is_frame, native_columns, without_mask

__all__ = ["IntervalQueries"]


class IntervalQueries(BaseEinet):
    """Probabilities of boxes."""

    def interval_log_proba(self, low: Any = None, high: Any = None) -> np.ndarray:
        """Log-probability that a row lies in a box: ``low <= x <= high`` in every column.

        With `low` or `high` left out, this is the joint cumulative distribution function or
        survival function.

        Parameters
        ----------
        low, high : dict, frame, or array-like of shape (n_samples, n_features), default=None
            Bounds, both inclusive. A dict has a number for each of some columns, or as many
            numbers as there are boxes; a frame need not have all columns, either. NaN, infinities,
            None and columns left out stand for no bound. A single row goes with every row of
            the other side. Equal bounds ask for a single value of a discrete column. Categories
            are bounded by categories, in their order if they have one; else by equal ones only.

        Returns
        -------
        log_probability : ndarray of shape (n_samples,)
            In nats. -inf for a box that holds no value that the columns can have, and for
            a single value of a continuous column.

        Raises
        ------
        ValueError
            If X does not have a column, or if a lower bound exceeds the upper one; the message
            names the column.

        Notes
        -----
        Whole numbers in a column whose family is continuous are points of a line to the model: a
        bound half-way between two of them counts them best.

        Exact: the densities at the leaves are replaced by their probabilities of the interval.
        Probabilities of single columns below 1e-308 count as 0, except those of normal and
        log-normal columns.

        Examples
        --------
        What share of flowers has sepals of 5 to 6 cm and petals of 2 cm at least?

        >>> import numpy as np
        >>> from sklearn.datasets import load_iris
        >>> from sklearn_einet import EinetDensity
        >>> iris = load_iris(as_frame=True).data
        >>> model = EinetDensity(max_iter=200, random_state=0).fit(iris)
        >>> low = {"sepal length (cm)": 5, "petal length (cm)": 2}
        >>> np.exp(model.interval_log_proba(low, high={"sepal length (cm)": 6})).round(2)
        array([0.23])
        >>> inside = iris["sepal length (cm)"].between(5, 6) & (iris["petal length (cm)"] >= 2)
        >>> inside.mean().round(2)
        np.float64(0.25)
        """
        check_is_fitted(self)
        if low is None and high is None:
            raise ValueError("interval_log_proba needs low, high or both.")
        low, high = (
            self._check_bounds(low, "low", -np.inf),
            self._check_bounds(high, "high", np.inf),
        )
        try:
            low, high = np.broadcast_arrays(low, high)
        except ValueError as error:
            raise ValueError(
                f"low and high must have as many rows as each other, or one; got {len(low)} and "
                f"{len(high)}."
            ) from error
        self._check_boxes(low, high)
        circuit = self._query_circuit(torch.float64)
        result = np.empty(len(low))
        for rows in gen_batches(len(low), circuit.block_rows):
            ends = (self._schema.standardize(bounds[rows]).T for bounds in (low, high))
            leaves = interval_log_values(
                circuit, *(torch.from_numpy(end).to(circuit.device) for end in ends)
            )
            result[rows] = circuit.propagate(leaves).root.cpu().numpy()
        return np.minimum(result, 0.0)

    def _bounds_by_name(self, bounds: Any, parameter: str) -> np.ndarray:
        """Bounds of some columns, completed by NaN for the others."""
        names = list(bounds) if isinstance(bounds, Mapping) else list(bounds.columns)
        columns = [int(self._schema.positions(name, parameter)[0]) for name in names]
        given = [
            self._bounds_of(column, bounds[name], parameter)
            for column, name in zip(columns, names, strict=True)
        ]
        try:
            values = np.broadcast_arrays(*given)
        except ValueError as error:
            raise ValueError(
                f"{parameter} must have one bound, or the same number of bounds, for each of its "
                f"columns: {error}"
            ) from error
        if len(set(columns)) < len(columns):
            raise ValueError(f"{parameter} has a column twice: {names}.")
        n_boxes = values[0].size if names else 1
        if n_boxes == 0 or any(value.ndim > 1 for value in values):
            raise ValueError(f"{parameter} must have a bound for each box and column.")
        array = np.full((n_boxes, self.n_features_in_), np.nan)
        for column, value in zip(columns, values, strict=True):
            array[:, column] = value
        return array

    def _bounds_of(self, column: int, values: Any, parameter: str) -> np.ndarray:
        """Bounds of one column as numbers, NaN for none."""
        name = self._schema.names[column]
        values = without_mask(values)
        if column not in self._encoding.categories:
            try:
                return np.asarray(values, dtype=np.float64)
            except (TypeError, ValueError) as error:
                raise ValueError(
                    f"{parameter} must have a number, or a list of them, in column {name!r}: "
                    f"{error}"
                ) from error
        is_one = np.ndim(values) == 0
        if is_one or not hasattr(values, "dtype"):
            values = np.array([values] if is_one else list(values), dtype=object)
        listed = cells(values)
        listed = [None if value in (-np.inf, np.inf) else value for value in listed]
        try:
            codes = self._encoding.codes(column, listed)
        except TypeError as error:
            raise TypeError(
                f"{parameter} in column {name!r} must hold categories: {error}"
            ) from error
        for value, code in zip(listed, codes, strict=True):
            if code == len(self._encoding.categories[column]):
                raise ValueError(
                    f"{parameter} has the category {value!r} in column {name!r}, which was not "
                    "there in fit."
                )
        return codes[0] if is_one else codes

    def _check_bounds(self, bounds: Any, parameter: str, default: float) -> np.ndarray:
        """One side of boxes, in float64 with infinities for no bound."""
        bounds = without_mask(bounds)
        if bounds is None:
            return np.full((1, self.n_features_in_), default)
        is_named_frame = is_frame(bounds) and hasattr(self, "feature_names_in_")
        if isinstance(bounds, Mapping) or is_named_frame:
            bounds = self._bounds_by_name(bounds, parameter)
        elif self._encoding.categories:
            validate_data(self, bounds, reset=False, skip_check_array=True)
            columns = enumerate(native_columns(bounds))
            bounds = np.column_stack([self._bounds_of(*each, parameter) for each in columns])
        else:
            bounds = validate_data(
                self, bounds, reset=False, dtype=np.float64, ensure_all_finite=False
            )
        return np.where(np.isnan(bounds), default, bounds)

    def _check_boxes(self, low: np.ndarray, high: np.ndarray) -> None:
        """Raise a ValueError if a lower bound exceeds an upper one, or if they make no sense."""
        for row, column in np.argwhere(low > high):
            raise ValueError(
                f"low exceeds high in column {self._schema.names[column]!r} of row {row}: "
                f"{low[row, column]:g} > {high[row, column]:g}."
            )
        for column in self._encoding.categories.keys() - self._encoding.ordered:
            bounded = np.isfinite(low[:, column]) | np.isfinite(high[:, column])
            if (bounded & (low[:, column] != high[:, column])).any():
                raise ValueError(
                    f"Column {self._schema.names[column]!r} has categories without an order: give "
                    "low and high the same one, or neither."
                )
