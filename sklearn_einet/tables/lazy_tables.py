"""Several tables stored as one."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from sklearn_einet.tables.frames import is_frame

__all__ = ["Tables", "cut"]


class Tables(Sequence[Any]):
    """DataFrames with the same columns, types and number of rows, stored as one long DataFrame.

    Each is cut out when it is first accessed: cutting thousands of pandas DataFrames takes longer
    than drawing their rows.

    Parameters
    ----------
    long : DataFrame
        The rows of all DataFrames.
    n_tables : int
    like : DataFrame or array-like
        The DataFrames have its index if all are pandas DataFrames.

    Examples
    --------
    >>> import pandas as pd
    >>> from sklearn_einet.tables.lazy_tables import Tables
    >>> frame = pd.DataFrame({"a": [1, 2]}, index=["x", "y"])
    >>> tables = Tables(pd.DataFrame({"a": [1, 2, 3, 4]}), 2, frame)
    >>> len(tables), tables[-1].loc["y", "a"].item()
    (2, 4)
    """

    def __init__(self, long: Any, n_tables: int, like: Any) -> None:
        self.long = long
        self._like = like
        self._places = range(0, len(long), max(1, len(long) // n_tables))
        self._cut: dict[int, Any] = {}

    def __len__(self) -> int:
        return len(self._places)

    def __getitem__(self, which: Any) -> Any:
        if isinstance(which, slice):
            return [self._table(start) for start in self._places[which]]
        return self._table(self._places[which])

    def __repr__(self) -> str:
        return f"Tables({list(self)!r})"

    def changed(self, change: Callable[[Any], Any]) -> Any:
        """Return the tables after applying a function that treats all rows alike."""
        return cut(change(self.long), len(self), self._like)

    def _table(self, start: int) -> Any:
        """Return the table that starts at a row of the long table; always the same object."""
        if start not in self._cut:
            stop = start + self._places.step
            if hasattr(self.long, "iloc"):
                # A shallow copy, because pandas 2 warns about changes of slices.
                table = self.long.iloc[start:stop].copy(deep=False)
                by_label = hasattr(self._like, "iloc")
                table.index = self._like.index if by_label else self.long.index[: len(table)]
            else:
                table = self.long[start:stop]
            self._cut[start] = table
        return self._cut[start]


def cut(long: Any, n_tables: int, like: Any) -> Tables | np.ndarray:
    """Return the equal parts of a long table: `Tables`, or a three-dimensional array."""
    if is_frame(long):
        return Tables(long, n_tables, like)
    array: np.ndarray = long.reshape(n_tables, -1, long.shape[1])
    return array
