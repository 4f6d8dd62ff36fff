"""Columns of a table and the families that model them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import torch
from sklearn.utils import gen_batches

from sklearn_einet.circuit import LeafColumns
from sklearn_einet.families import FAMILIES, Bernoulli, ExponentialFamily, Normal
from sklearn_einet.learning import Rows

__all__ = ["Schema"]

# How many cells are looked at to find units and mean statistics.
CELLS_FOR_UNITS = 2**23

# How many cells are held in float64 at a time.
BLOCK_CELLS = 2**17


class Schema:
    """How each column is modelled, and its unit in the circuit.

    Attributes
    ----------
    leaf_columns : list of LeafColumns
        The columns of each family.
    location, scale : ndarray of shape (n_features,)
        The circuit sees ``(X - location) / scale``.
    names : list of str or int
        Names of the columns, or their numbers.
    """

    def __init__(self, names: list[Any]) -> None:
        self.names = names
        self.leaf_columns: list[LeafColumns] = []
        self.location = np.zeros(len(names))
        self.scale = np.ones(len(names))

    @classmethod
    def fit(
        cls,
        X: np.ndarray,
        weight: np.ndarray | None,
        leaf: Any,
        names: list[Any],
        random_state: np.random.RandomState,
    ) -> Schema:
        """Choose families and units from data.

        Parameters
        ----------
        X : array of shape (n_samples, n_features)
        weight : ndarray of shape (n_samples,) or None
        leaf : "auto", family name, ExponentialFamily or dict of those to columns
        names : list of str or int
        random_state : RandomState
            Chooses the rows that units are read off, where there are very many.

        Raises
        ------
        ValueError, TypeError
            Naming the column or the parameter at fault.
        """
        schema = cls(names)
        largest, is_binary = schema._profile(X)
        n_rows = min(len(X), max(1000, CELLS_FOR_UNITS // len(names)))
        rows: slice | np.ndarray = slice(None)
        if n_rows < len(X):
            rows = np.sort(random_state.choice(len(X), n_rows, replace=False))
        weight = np.ones(n_rows) if weight is None else weight[rows]
        for requested, columns in schema._assign(leaf, is_binary):
            schema._check_support(requested, columns, X)
            for family, which in requested.fit_columns(largest[columns]):
                references = [
                    schema._fit_units(family, some, X, rows, weight)
                    for some in _column_blocks(columns[which], n_rows)
                ]
                group = LeafColumns(family, columns[which], np.concatenate(references))
                schema.leaf_columns.append(group)
        return schema

    def encode(self, X: np.ndarray) -> np.ndarray:
        """Rows in the units of the circuit, a new float64 array with NaN where missing."""
        return (np.asarray(X, dtype=np.float64) - self.location) / self.scale

    def decode(self, Z: np.ndarray) -> np.ndarray:
        """The inverse of `encode`."""
        return Z * self.scale + self.location

    def log_jacobian(self, X: np.ndarray) -> np.ndarray:
        """What to add to log-densities of the circuit to have them per unit of the columns."""
        return -(~np.isnan(X) @ np.log(self.scale))

    def mean_log_jacobian(self, rows: Rows) -> float:
        """The weighted mean of `log_jacobian` over rows."""
        total = 0.0
        for block in rows.blocks(max(1, BLOCK_CELLS // len(self.names))):
            x, weight = rows.raw(block)
            total += float(self.log_jacobian(x) @ (np.ones(len(x)) if weight is None else weight))
        return total / rows.total_weight

    def check(self, X: np.ndarray) -> None:
        """Raise a ValueError that names a column with a value that its family cannot have."""
        for group in self.leaf_columns:
            self._check_support(group.family, group.columns, X)

    def _profile(self, X: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The largest value of every column, and whether it holds both 0 and 1 and no more."""
        smallest = np.full(len(self.names), np.nan)
        largest = smallest.copy()
        is_binary = np.ones(len(self.names), dtype=bool)
        for block in _row_blocks(X):
            smallest = np.fmin(smallest, np.fmin.reduce(block))
            largest = np.fmax(largest, np.fmax.reduce(block))
            is_binary &= ((block == 0) | (block == 1) | np.isnan(block)).all(axis=0)
        for column in np.flatnonzero(np.isnan(largest)):
            raise ValueError(
                f"Column {self.names[column]!r} has no observed value: drop it, or fill it."
            )
        return largest, is_binary & (smallest < largest)

    def _assign(
        self, leaf: Any, is_binary: np.ndarray
    ) -> Iterator[tuple[ExponentialFamily, np.ndarray]]:
        """The family that is asked for, for all columns."""
        free = np.ones(len(self.names), dtype=bool)
        default = leaf
        if isinstance(leaf, Mapping):
            default = "auto"
            for key, wanted in leaf.items():
                columns = self._positions(wanted)
                for column in columns[~free[columns]]:
                    raise ValueError(
                        f"Column {self.names[column]!r} appears more than once in leaf={leaf!r}."
                    )
                free[columns] = False
                if len(columns):
                    yield resolve_family(key), columns
        if isinstance(default, str) and default == "auto":
            choices = [(Bernoulli(), free & is_binary), (Normal(), free & ~is_binary)]
        else:
            choices = [(resolve_family(default), free)]
        for family, chosen in choices:
            if chosen.any():
                yield family, np.flatnonzero(chosen)

    def _positions(self, wanted: Any) -> np.ndarray:
        """Indices of columns given by name, index, mask or slice, or a list of those."""
        everything = np.arange(len(self.names))
        if isinstance(wanted, slice):
            return everything[wanted]
        wanted = np.atleast_1d(np.asarray(wanted))
        if wanted.dtype.kind in "UO":
            for name in wanted:
                if name not in self.names:
                    raise ValueError(f"leaf names the column {str(name)!r}, which X does not have.")
            return np.array([self.names.index(name) for name in wanted])
        try:
            return everything[wanted]
        except IndexError as error:
            raise ValueError(
                f"leaf asks for the columns {wanted.tolist()}, X has {len(self.names)}."
            ) from error

    def _check_support(self, family: ExponentialFamily, columns: np.ndarray, X: np.ndarray) -> None:
        """Raise a ValueError if a column holds values that the family cannot have."""
        for block in _row_blocks(X):
            x = torch.tensor(block[:, columns], dtype=torch.float64)
            for row, column in torch.nonzero(~(family.in_support(x) | torch.isnan(x))).tolist():
                raise ValueError(
                    f"Column {self.names[columns[column]]!r} holds {x[row, column]:g}, but its "
                    f"leaf family {family.name!r} is for {family.support}. Choose another family "
                    "by the parameter leaf, or correct the value."
                )

    def _fit_units(
        self,
        family: ExponentialFamily,
        columns: np.ndarray,
        X: np.ndarray,
        rows: slice | np.ndarray,
        weight: np.ndarray,
    ) -> np.ndarray:
        """Set the units of some columns; return their mean statistics in these units."""
        x = np.array(X[:, columns][rows] if isinstance(rows, slice) else X[np.ix_(rows, columns)])
        x = x.astype(np.float64)
        for j in np.flatnonzero(np.isnan(x).all(axis=0)):
            observed = np.flatnonzero(~np.isnan(X[:, columns[j]]))[: len(x)]
            x[: len(observed), j] = X[observed, columns[j]]
        self.location[columns], self.scale[columns] = family.scaling(x, weight)
        z = torch.from_numpy(((x - self.location[columns]) / self.scale[columns]).T)
        seen = family.in_support(z)
        statistics = family.statistics(torch.where(seen, z, family.fill_value))
        mass = torch.from_numpy(weight) * seen
        mean = (statistics * mass.unsqueeze(1)).sum(2) / mass.sum(1, keepdim=True)
        return family.interior(mean.numpy(), float(weight.sum()))


def resolve_family(leaf: Any) -> ExponentialFamily:
    """The family of a name, or the family itself."""
    if isinstance(leaf, ExponentialFamily):
        return leaf
    if not isinstance(leaf, str):
        raise TypeError(f"leaf must be a name, a family or a dict, got {leaf!r}.")
    if leaf not in FAMILIES:
        raise ValueError(f"leaf={leaf!r} is unknown; choose 'auto' or one of {sorted(FAMILIES)}.")
    return FAMILIES[leaf]()


def _row_blocks(X: np.ndarray) -> Iterator[np.ndarray]:
    """Rows in float, some at a time."""
    for rows in gen_batches(len(X), max(1, BLOCK_CELLS // X.shape[1])):
        block = X[rows]
        yield block if block.dtype.kind == "f" else block.astype(np.float64)


def _column_blocks(columns: np.ndarray, n_rows: int) -> list[np.ndarray]:
    """Columns, some at a time."""
    step = max(1, BLOCK_CELLS // n_rows)
    return [columns[block] for block in gen_batches(len(columns), step)]
