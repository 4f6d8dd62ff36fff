"""Columns of a table and the families that model them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np
import torch
from sklearn.utils import gen_batches

from sklearn_einet._columns import BLOCK_CELLS, first_observed, least_variance, row_blocks
from sklearn_einet._encoding import Encoding
from sklearn_einet._remote import RemoteTable, by_block
from sklearn_einet.circuit import LeafColumns
from sklearn_einet.families import FAMILIES, Bernoulli, Categorical, ExponentialFamily, Normal
from sklearn_einet.learning import Rows, StoredTable

__all__ = ["Schema"]

# How many cells are looked at to find units and mean statistics.
CELLS_FOR_UNITS = 2**23

# Largest number of categories of a column.
MAX_STATES = 2**16


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
    handle_unknown : {"smooth", "ignore", "error"}
        What categories not seen in fit are taken for.
    log_unknown : float
        Log-probability of such a category.
    encoded : frozenset of int
        The columns whose categories came as something else than codes.
    """

    def __init__(self, names: list[Any], handle_unknown: str) -> None:
        self.names = names
        self.handle_unknown = handle_unknown
        self.log_unknown = 0.0
        self.encoded: frozenset[int] = frozenset()
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
        encoding: Encoding,
        random_state: np.random.RandomState,
        *,
        variance_bounds: Sequence[float] | None = None,
        handle_unknown: str = "smooth",
    ) -> Schema:
        """Choose families and units from data.

        Parameters
        ----------
        X : array of shape (n_samples, n_features)
        weight : ndarray of shape (n_samples,) or None
        leaf : "auto", family name, ExponentialFamily or dict of those to columns
        names : list of str or int
        encoding : Encoding
            Tells the columns of categories and of booleans.
        random_state : RandomState
            Chooses the rows that units are read off, where there are very many.
        variance_bounds : (float, float) or None, default=None
            For columns that leaf gives normal densities, except by an object.
        handle_unknown : {"smooth", "ignore", "error"}, default="smooth"

        Raises
        ------
        ValueError, TypeError
            Naming the column or the parameter at fault.
        """
        schema = cls(names, handle_unknown)
        schema.encoded = frozenset(encoding.categories)
        largest, all_binary = schema._profile(X)
        n_rows = min(len(X), max(1000, CELLS_FOR_UNITS // len(names)))
        rows: slice | np.ndarray = slice(None)
        if n_rows < len(X):
            rows = np.sort(random_state.choice(len(X), n_rows, replace=False))
        if handle_unknown == "smooth":
            # As if one more row had been seen; weights may have been normalised.
            schema.log_unknown = -np.log1p(max(len(X), 0.0 if weight is None else weight.sum()))
        weight = np.ones(n_rows) if weight is None else weight[rows]
        sample = X
        if isinstance(X, StoredTable | RemoteTable):  # read once, and not for every column
            sample, rows = X[rows], slice(None)
        normal = Normal(variance_bounds)
        requests = list(schema._assign(leaf, encoding, all_binary, normal))
        if variance_bounds is not None and all(family is not normal for family, _ in requests):
            raise ValueError(
                "variance_bounds is for columns with the leaf family 'normal', X has none."
            )
        for requested, columns in requests:
            schema._check_support(requested, columns, X)
            schema._check_codes(requested, columns, largest)
            for family, which in requested.fit_columns(largest[columns]):
                step = max(1, BLOCK_CELLS // n_rows)
                parts = [
                    schema._fit_units(family, columns[which][some], X, (sample, rows), weight)
                    for some in gen_batches(len(which), step)
                ]
                reference, least = (np.concatenate(each) for each in zip(*parts, strict=True))
                group = LeafColumns(family, columns[which], reference, least)
                schema.leaf_columns.append(group)
        return schema

    def n_states(self) -> np.ndarray:
        """Of every column of codes the number of states, 0 for columns of numbers."""
        result = np.zeros(len(self.names), dtype=np.int64)
        for group in self.leaf_columns:
            if isinstance(group.family, Bernoulli):
                result[group.columns] = 2
            elif isinstance(group.family, Categorical) and group.family.n_states is not None:
                result[group.columns] = group.family.n_states
        return result

    def encode(self, X: np.ndarray) -> np.ndarray:
        """Rows in the units of the circuit, a new float64 array with NaN where missing.

        It has one column after the other in memory, as circuits read them.
        """
        X = np.asarray(X)
        _, is_read_only = X.__array_interface__["data"]  # X.flags warns of broadcast arrays
        is_plain = X.dtype in (np.float32, np.float64) and X.flags.aligned and min(X.strides) >= 0
        if is_read_only or not is_plain:
            X = np.array(X, dtype=np.float64)
        x = torch.from_numpy(X).T
        encoded = torch.empty(x.shape, dtype=torch.float64)
        # Type and order change in one go, as only a plain copy is fast at that.
        encoded.copy_(x).sub_(torch.tensor(self.location).unsqueeze(1))
        return encoded.div_(torch.tensor(self.scale).unsqueeze(1)).T.numpy()

    def decode(self, Z: np.ndarray) -> np.ndarray:
        """The inverse of `encode`."""
        return Z * self.scale + self.location

    def log_jacobian(self, X: np.ndarray) -> np.ndarray:
        """What to add to log-densities of the circuit to have them per unit of the columns."""
        with np.errstate(all="ignore"):
            complete = np.isfinite(X.sum())
        log_scale = np.log(self.scale)
        result = np.full(len(X), -log_scale.sum())
        if not complete:  # the rows that are have the same number as without the others
            seen = ~np.isnan(X)
            some = ~seen.all(1)
            result[some] = -(seen[some] @ log_scale)
        return result

    def mean_log_jacobian(self, rows: Rows) -> float:
        """The weighted mean of `log_jacobian` over rows."""
        return rows.total(self._total_log_jacobian) / rows.total_weight

    def _total_log_jacobian(self, rows: Rows, which: np.ndarray | None) -> float:
        total = 0.0
        for block in rows.blocks(max(1, BLOCK_CELLS // len(self.names)), which):
            x, weight = rows.raw(block)
            total += float(self.log_jacobian(x) @ (np.ones(len(x)) if weight is None else weight))
        return total

    def unknown_cells(self, X: np.ndarray) -> np.ndarray:
        """Which cells hold categories that fit has not seen, (n_samples, n_features)."""
        result = np.zeros(X.shape, dtype=bool)
        for group in self.leaf_columns:
            if isinstance(group.family, Categorical):
                x = torch.from_numpy(np.asarray(X[:, group.columns], dtype=np.float64))
                result[:, group.columns] = ~(group.family.in_support(x) | torch.isnan(x)).numpy()
        return result

    def without_unknown(self, X: np.ndarray) -> tuple[np.ndarray, np.ndarray | float]:
        """Rows without their unknown categories, and the log-probabilities of these."""
        unknown = self.unknown_cells(X)
        if not unknown.any():
            return X, 0.0
        return np.where(unknown, np.nan, X), self.log_unknown * unknown.sum(axis=1)

    def check(self, X: np.ndarray) -> None:
        """Raise a ValueError that names a column with a value that its family cannot have."""
        for group in self.leaf_columns:
            self._check_support(group.family, group.columns, X)

    def _profile(self, X: np.ndarray) -> tuple[np.ndarray, bool]:
        """The largest value of every column, and whether all cells but categories are 0 or 1."""
        largest_of_blocks, binary_blocks = zip(*by_block(X, self._block_profile), strict=True)
        largest = np.fmax.reduce(largest_of_blocks)
        for column in np.flatnonzero(np.isnan(largest)):
            raise ValueError(
                f"Column {self.names[column]!r} has no observed value: drop it, or fill it."
            )
        return largest, all(binary_blocks)

    def _block_profile(self, X: np.ndarray) -> tuple[np.ndarray, bool]:
        """What `_profile` says of some rows, NaN for columns without an observed cell."""
        largest = np.full(len(self.names), np.nan)
        all_binary = True
        is_number = np.ones(len(self.names), dtype=bool)
        is_number[list(self.encoded)] = False
        for block in row_blocks(X):
            largest = np.fmax(largest, np.fmax.reduce(block))
            if all_binary:
                block = block[:, is_number] if self.encoded else block
                all_binary = bool(((block == 0) | (block == 1) | np.isnan(block)).all())
        return largest, all_binary

    def _assign(
        self, leaf: Any, encoding: Encoding, all_binary: bool, normal: Normal
    ) -> Iterator[tuple[ExponentialFamily, np.ndarray]]:
        """The family that is asked for, for all columns; `normal` wherever that is its name."""
        free = np.ones(len(self.names), dtype=bool)
        default = leaf
        n_categories = np.zeros(len(free), dtype=np.int64)
        for column, categories in encoding.categories.items():
            n_categories[column] = len(categories)
        if isinstance(leaf, Mapping):
            default = "auto"
            for key, wanted in leaf.items():
                columns = self.positions(wanted, "leaf")
                values, counts = np.unique(columns, return_counts=True)
                for column in [*values[counts > 1], *columns[~free[columns]]]:
                    raise ValueError(
                        f"Column {self.names[column]!r} appears more than once in leaf={leaf!r}."
                    )
                free[columns] = False
                family = resolve_family(key, normal)
                for column in columns[n_categories[columns] > 0]:
                    if family != Categorical():
                        raise ValueError(
                            f"Column {self.names[column]!r} has categories, leaf={leaf!r} cannot "
                            "model it: leave it out there, or out of categorical_features."
                        )
                columns = columns[n_categories[columns] == 0]
                if len(columns):
                    yield family, columns
        for place in np.flatnonzero(n_categories > MAX_STATES):
            raise ValueError(
                f"Column {self.names[place]!r} has {n_categories[place]} categories, "
                f"{MAX_STATES} at most are allowed: drop it, or put rare ones together."
            )
        for n in np.unique(n_categories[n_categories > 0]):
            yield Categorical(int(n)), np.flatnonzero(n_categories == n)
        free &= n_categories == 0
        is_binary = np.full(len(free), all_binary)
        is_binary[list(encoding.booleans)] = True
        if isinstance(default, str) and default == "auto":
            choices = [(Bernoulli(), free & is_binary), (normal, free & ~is_binary)]
        else:
            choices = [(resolve_family(default, normal), free)]
        for family, chosen in choices:
            if chosen.any():
                yield family, np.flatnonzero(chosen)

    def positions(self, wanted: Any, parameter: str) -> np.ndarray:
        """Indices of columns given by name, index, mask or slice, or a list of those.

        Parameters
        ----------
        wanted : str, int, slice or array-like
        parameter : str
            What asks for them, for messages.

        Raises
        ------
        ValueError
            If X does not have them.
        """
        everything = np.arange(len(self.names))
        if not isinstance(wanted, slice):
            wanted = np.empty(0, int) if np.size(wanted) == 0 else np.atleast_1d(np.asarray(wanted))
            if wanted.dtype.kind in "UOT":
                return self._positions_of_names(wanted, parameter)
            if wanted.dtype.kind not in "iub" or wanted.ndim > 1:
                raise ValueError(
                    f"{parameter} must name columns, by names, indices or a mask; got "
                    f"{wanted.tolist()}. Values of columns belong into X."
                )
            if wanted.dtype.kind == "b" and wanted.shape != everything.shape:
                raise ValueError(
                    f"{parameter} is a mask of {wanted.size} columns, X has {len(self.names)}."
                )
        try:
            return everything[wanted]
        except (IndexError, TypeError) as error:
            asked = wanted if isinstance(wanted, slice) else wanted.tolist()
            raise ValueError(
                f"{parameter} asks for the columns {asked}, X has {len(self.names)}."
            ) from error

    def _positions_of_names(self, wanted: np.ndarray, parameter: str) -> np.ndarray:
        for name in wanted:
            if name in self.names:
                continue
            hint = "" if isinstance(self.names[0], str) else " X has numbers for names."
            if not isinstance(name, str):
                hint = " Give names; values of columns belong into X."
            elif parameter == "leaf" and name in FAMILIES:
                hint = " A dict is to map families to columns, not columns to families."
            raise ValueError(
                f"{parameter} names the column {str(name)!r}, which X does not have.{hint}"
            )
        return np.array([self.names.index(name) for name in wanted])

    def restricted(self, columns: np.ndarray, leaf_columns: list[LeafColumns]) -> Schema:
        """The schema of some of the columns, in the order given."""
        schema = Schema([self.names[column] for column in columns], self.handle_unknown)
        schema.log_unknown = self.log_unknown
        schema.encoded = frozenset(i for i, c in enumerate(columns) if int(c) in self.encoded)
        if not isinstance(schema.names[0], str):
            schema.names = list(range(len(columns)))
        schema.leaf_columns = leaf_columns
        schema.location, schema.scale = self.location[columns], self.scale[columns]
        return schema

    def _check_support(self, family: ExponentialFamily, columns: np.ndarray, X: np.ndarray) -> None:
        """Raise a ValueError if a column holds values that the family cannot have."""
        by_block(X, partial(self._check_block_support, family, columns))

    def _check_block_support(
        self, family: ExponentialFamily, columns: np.ndarray, X: np.ndarray
    ) -> None:
        for block in row_blocks(X):
            x = torch.tensor(block[:, columns], dtype=torch.float64)
            for row, column in torch.nonzero(~(family.in_support(x) | torch.isnan(x))).tolist():
                if int(columns[column]) in self.encoded:
                    raise ValueError(
                        f"Column {self.names[columns[column]]!r} has a category that was not there "
                        "in the first fit. Fit anew with a type that lists all categories "
                        "(pandas.CategoricalDtype, polars.Enum)."
                    )
                code = isinstance(family, Categorical) and x[row, column] == -1
                raise ValueError(
                    f"Column {self.names[columns[column]]!r} holds {x[row, column]:g}, but its "
                    f"leaf family {family.name!r} is for {family.support}. Choose another family "
                    "by the parameter leaf, or correct the value"
                    + ("; if it is the code of a missing category, make it NaN." if code else ".")
                )

    def _check_codes(
        self, family: ExponentialFamily, columns: np.ndarray, largest: np.ndarray
    ) -> None:
        """Refuse category codes that would make a table of billions of probabilities."""
        if isinstance(family, Categorical) and family.n_states is None:
            for column in columns[largest[columns] >= MAX_STATES]:
                raise ValueError(
                    f"Column {self.names[column]!r} has the category {largest[column]:g}: number "
                    f"categories 0, 1, 2, ... without gaps, {MAX_STATES} of them at most."
                )

    def _fit_units(
        self,
        family: ExponentialFamily,
        columns: np.ndarray,
        X: np.ndarray,
        chosen: tuple[np.ndarray, slice | np.ndarray],
        weight: np.ndarray,
    ) -> tuple[np.ndarray, np.ndarray]:
        """Set the units of some columns; return their mean statistics in these units, and what
        ties tell of the least variances of their leaves. `chosen` is an array and its rows to look
        at; where these miss a column, all of X is."""
        sample, rows = chosen
        x = sample[:, columns][rows] if isinstance(rows, slice) else sample[np.ix_(rows, columns)]
        x = np.array(x, dtype=np.float64)
        for j in np.flatnonzero(np.isnan(x).all(axis=0)):
            first = by_block(X, partial(first_observed, int(columns[j]), len(x)))
            observed = np.concatenate(first)[: len(x)]
            x[: len(observed), j] = observed
        self.location[columns], self.scale[columns] = family.scaling(x, weight)
        total = torch.zeros(len(columns), family.n_statistics, dtype=torch.float64)
        mass = torch.zeros(len(columns), 1, dtype=torch.float64)
        step = max(1, 8 * BLOCK_CELLS // total.numel())
        for block in gen_batches(len(x), step):
            z = torch.from_numpy(((x[block] - self.location[columns]) / self.scale[columns]).T)
            seen = family.in_support(z)
            cell_weight = torch.from_numpy(weight[block]) * seen
            total += family.weighted_sum(torch.where(seen, z, family.fill_value), cell_weight)
            mass += cell_weight.sum(1, keepdim=True)
        least = np.zeros(len(columns))
        if isinstance(family, Normal):
            least = np.array([least_variance(column, weight) for column in x.T])
        return family.interior((total / mass).numpy(), float(weight.sum())), least


def resolve_family(leaf: Any, normal: Normal) -> ExponentialFamily:
    """The family of a name, `normal` if it is the name of that one; or the family itself."""
    if isinstance(leaf, ExponentialFamily):
        return leaf
    if not isinstance(leaf, str):
        raise TypeError(f"leaf must be a name, a family or a dict, got {leaf!r}.")
    if leaf not in FAMILIES:
        raise ValueError(f"leaf={leaf!r} is unknown; choose 'auto' or one of {sorted(FAMILIES)}.")
    return normal if leaf == normal.name else FAMILIES[leaf]()
