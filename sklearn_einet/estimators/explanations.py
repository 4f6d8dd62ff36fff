"""Reasons why rows are outliers, as a table."""

from __future__ import annotations

from importlib import import_module
from numbers import Integral
from typing import Any

import numpy as np

from sklearn_einet.estimators.base import BaseEinet
from sklearn_einet.model.explanation import Explanation, explained
from sklearn_einet.tables.frames import as_frame, cells, is_frame, native_columns

__all__ = ["ExplanationQueries"]


class ExplanationQueries(BaseEinet):
    """Reasons for outliers."""

    def explain(self, X: Any, max_cells: int | None = None) -> Any:
        """Explain outliers: which cells together make a row an outlier, and what to expect instead.

        For each row that `predict` labels -1, cells are removed one by one, each time the one
        without which the row is most typical, until the row is labelled 1. Then cells are restored
        if the row does not become an outlier again. The remaining cells are reported: without all
        of them, the row is typical; without only some of them, it is still an outlier.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Missing cells are NaN.
        max_cells : int or None, default=None
            Maximum number of cells to report for a row, which may then still be an outlier without
            them. None: as many as needed. A row without any cells is not an outlier.

        Returns
        -------
        reasons : DataFrame
            A row for each reported cell; none for inliers. Of the same kind as X, or else as the
            table in fit, or else of pandas. Its columns are

            - ``row``: label of the row in the index of X, or its number;
            - ``column`` and ``value`` of the cell;
            - ``typical``, ``low``, ``high``: median, 10% and 90% quantile of the cell, given the
              cells that are not reported. For categories, all three are the most probable one;
            - ``p_value`` of the row, and ``p_value_without`` the reported cells; see `p_values`.

            The cells of a row are in the order in which they were found. In libraries without
            columns of mixed types, such as polars, values are strings unless all are numbers.

        Raises
        ------
        ImportError
            If X and the table in fit were arrays, and pandas is not installed.

        See Also
        --------
        feature_scores : How unexpected each single cell is, given all others.

        Notes
        -----
        The search is greedy: a smaller set of cells may exist. If two cells contradict each other,
        only the one that fits the other cells less is reported. A reported value can be close to
        the typical one: in a rare kind of row, even the likeliest value of a column can be less
        likely than the values of other rows. The row is then rare, rather than the value wrong.

        Each step costs two passes through the model for all rows, whatever the number of columns,
        and two for the draws that rows with the same missing cells are compared with (see
        `decision_function`). Quantiles are exact, so that they do not depend on the other rows
        of X.

        Examples
        --------
        A flower with petals that are too long for the rest of it:

        >>> from sklearn.datasets import load_iris
        >>> from sklearn_einet import EinetOutlierDetector
        >>> iris = load_iris(as_frame=True).data
        >>> detector = EinetOutlierDetector(random_state=0).fit(iris)
        >>> odd = iris[:1].assign(**{"petal length (cm)": 5.0})
        >>> detector.explain(odd)[["row", "column", "value", "low", "high"]].round(1)
           row             column  value  low  high
        0    0  petal length (cm)    5.0  0.6   2.4
        """
        _check_number(max_cells)
        rows = self._cells(X)
        return self._reasons(explained(self._outlier_scores(), rows, max_cells), X, rows)

    def _reasons(self, found: Explanation, X: Any, rows: np.ndarray) -> Any:
        """Return the DataFrame of the reported cells."""
        encoding = self.table_density_.encoding
        like = X if is_frame(X) else encoding.template
        kind = type(like) if is_frame(like) else import_module("pandas").DataFrame
        names = self._column_names
        labels = np.asarray(X.index)[found.row] if hasattr(X, "iloc") else found.row
        is_mixed = hasattr(like, "iloc") or not is_frame(like)
        columns = {"row": labels, "column": _array([names[j] for j in found.column.tolist()])}
        columns["value"] = _values(self._own(X, found), is_mixed)
        for name, numbers in zip(("low", "typical", "high"), found.typical, strict=True):
            columns[name] = _values(self._decoded(numbers, found, rows), is_mixed)
        columns |= {"p_value": found.p_value, "p_value_without": found.p_value_without}
        ordered = ["row", "column", "value", "typical", "low", "high", "p_value", "p_value_without"]
        return as_frame(kind, ordered, [columns[name] for name in ordered], None)

    def _own(self, X: Any, found: Explanation) -> list[Any]:
        """Return the values of the reported cells, as they are in X."""
        table = native_columns(X)
        of_column = {j: cells(table[j]) for j in set(found.column.tolist())}
        places = zip(found.row.tolist(), found.column.tolist(), strict=True)
        return [of_column[j][i] for i, j in places]

    def _decoded(self, numbers: np.ndarray, found: Explanation, rows: np.ndarray) -> list[Any]:
        """Return numbers that replace the reported cells, as values of their columns."""
        density = self.table_density_
        (any_row,) = density.draws(1, np.random.RandomState(0))
        filled = np.where(np.isnan(rows[found.row]), any_row, rows[found.row])
        filled[np.arange(len(numbers)), found.column] = numbers
        table = native_columns(density.encoding.table(filled))
        of_column = {j: cells(table[j]) for j in set(found.column.tolist())}
        return [of_column[j][i] for i, j in enumerate(found.column.tolist())]


def _check_number(max_cells: Any) -> None:
    is_integer = isinstance(max_cells, Integral) and not isinstance(max_cells, bool)
    if max_cells is not None and not (is_integer and max_cells > 0):
        raise ValueError(f"max_cells must be a positive integer or None, got {max_cells!r}.")


def _values(values: list[Any], is_mixed: bool) -> np.ndarray:
    """Return values as a column: of numbers if all are numbers, else of objects or strings."""
    if all(isinstance(value, float | int) and not isinstance(value, bool) for value in values):
        return np.array(values, dtype=np.float64)
    return _array(values if is_mixed else [str(value) for value in values])


def _array(values: list[Any]) -> np.ndarray:
    result = np.empty(len(values), dtype=object)
    result[:] = values
    return result
