"""Why rows are outliers, as a table."""

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
        """Name the cells that make rows outliers together, and what would be usual in their place.

        Of every row that `predict` labels -1, cells are taken out, always the one without which
        the row is the most usual, until it is labelled 1. Cells that can be put back without
        making it an outlier again are put back. What remains are the named cells: without all of
        them the row is usual, without some of them it is not.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Missing cells are NaN.
        max_cells : int or None, default=None
            The most cells that are named of a row, which may then be an outlier without them, too.
            None: as many as it takes. A row without any cell is usual.

        Returns
        -------
        reasons : frame
            A row for each named cell; none for rows that are no outliers. Of the kind that X is,
            or that the table in fit was, or else of pandas. Its columns:

            - ``row``: the label in the index of X, or the number of the row;
            - ``column`` and ``value`` of the cell;
            - ``usual``, ``low``, ``high``: median, 10% and 90% quantile of what the cells that are
              not named let expect in its place, from 200 draws; of categories the most frequent
              one, three times;
            - ``p_value`` of the row, and ``p_value_without`` its named cells; see `p_values`.

            The cells of a row are in the order in which they were found. In frames that have no
            columns of mixed types, such as polars', values are texts unless all are numbers.

        Raises
        ------
        ImportError
            If X and the table in fit were arrays, and pandas is not installed.

        See Also
        --------
        feature_scores : How unexpected every single cell is, given all others.

        Notes
        -----
        The search is greedy: there may be another set of fewer cells. Cells that are unlikely
        only together are one set: of two that contradict each other, one is named, that fits
        the others less. Each step costs two passes for all rows, whatever the number of columns,
        and two for the draws that tell what is usual for every pattern of gaps (see
        `decision_function`).

        Examples
        --------
        A flower whose petals are too long for the rest of it:

        >>> from sklearn.datasets import load_iris
        >>> from sklearn_einet import EinetOutlierDetector
        >>> iris = load_iris(as_frame=True).data
        >>> detector = EinetOutlierDetector(random_state=0).fit(iris)
        >>> odd = iris[:1].assign(**{"petal length (cm)": 5.0})
        >>> detector.explain(odd)[["row", "column", "value", "usual"]].round(1)
           row             column  value  usual
        0    0  petal length (cm)    5.0    1.4
        """
        _check_number(max_cells)
        rows = self._cells(X)
        return self._reasons(explained(self._outlier_scores(), rows, max_cells), X, rows)

    def _reasons(self, found: Explanation, X: Any, rows: np.ndarray) -> Any:
        """Return the frame of the named cells."""
        encoding = self.table_density_.encoding
        like = X if is_frame(X) else encoding.template
        kind = type(like) if is_frame(like) else import_module("pandas").DataFrame
        names = self._column_names
        labels = np.asarray(X.index)[found.row] if hasattr(X, "iloc") else found.row
        is_mixed = hasattr(like, "iloc") or not is_frame(like)
        columns = {"row": labels, "column": _array([names[j] for j in found.column.tolist()])}
        columns["value"] = _values(self._own(X, found), is_mixed)
        for name, numbers in zip(("low", "usual", "high"), found.usual, strict=True):
            columns[name] = _values(self._decoded(numbers, found, rows), is_mixed)
        columns |= {"p_value": found.p_value, "p_value_without": found.p_value_without}
        ordered = ["row", "column", "value", "usual", "low", "high", "p_value", "p_value_without"]
        return as_frame(kind, ordered, [columns[name] for name in ordered], None)

    def _own(self, X: Any, found: Explanation) -> list[Any]:
        """Return the values of the named cells, as they are in X."""
        table = native_columns(X)
        of_column = {j: cells(table[j]) for j in set(found.column.tolist())}
        places = zip(found.row.tolist(), found.column.tolist(), strict=True)
        return [of_column[j][i] for i, j in places]

    def _decoded(self, numbers: np.ndarray, found: Explanation, rows: np.ndarray) -> list[Any]:
        """Return numbers that stand in place of the named cells, as values of their columns."""
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
        raise ValueError(f"max_cells must be an integer above 0, or None; got {max_cells!r}.")


def _values(values: list[Any], is_mixed: bool) -> np.ndarray:
    """Return values as a column: of numbers if all are, else of objects or texts."""
    if all(isinstance(value, float | int) and not isinstance(value, bool) for value in values):
        return np.array(values, dtype=np.float64)
    return _array(values if is_mixed else [str(value) for value in values])


def _array(values: list[Any]) -> np.ndarray:
    result = np.empty(len(values), dtype=object)
    result[:] = values
    return result
