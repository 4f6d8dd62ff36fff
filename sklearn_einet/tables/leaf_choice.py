"""The choice of a family for every column, by the parameter leaf."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from sklearn_einet.families import FAMILIES, Bernoulli, Categorical, ExponentialFamily, Normal
from sklearn_einet.tables.encoding import Encoding
from sklearn_einet.tables.positions import mapped_positions

__all__ = ["automatic", "check_codes", "named_continuous", "requested_families"]

# Largest number of categories of a column.
MAX_STATES = 2**16


def requested_families(
    names: list[Any], leaf: Any, encoding: Encoding, all_binary: bool, normal: Normal
) -> Iterator[tuple[ExponentialFamily, np.ndarray]]:
    """Yield every requested family and its columns; `normal` for the name of that family.

    Parameters
    ----------
    names : list of str or int
        Of all columns.
    leaf : "auto", family name, ExponentialFamily or dict of those to columns
    encoding : Encoding
        Knows the columns of categories, booleans and times.
    all_binary : bool
        Whether all numbers are 0 or 1.
    normal : Normal

    Raises
    ------
    ValueError, TypeError
        Naming the column or the parameter at fault.
    """
    free = np.ones(len(names), dtype=bool)
    default = leaf
    n_categories = np.zeros(len(free), dtype=np.int64)
    for column, categories in encoding.categories.items():
        n_categories[column] = len(categories)
    if isinstance(leaf, Mapping):
        default = "auto"
        yield from _mapped_families(names, leaf, normal, n_categories, free)
    for place in np.flatnonzero(n_categories > MAX_STATES):
        raise ValueError(
            f"Column {names[place]!r} has {n_categories[place]} categories, but at most "
            f"{MAX_STATES} are allowed: drop the column, or merge rare categories."
        )
    for n in np.unique(n_categories[n_categories > 0]):
        yield Categorical(int(n)), np.flatnonzero(n_categories == n)
    free &= n_categories == 0
    is_binary = np.full(len(free), all_binary)
    is_binary[list(encoding.times)] = False
    is_binary[list(encoding.booleans)] = True
    if isinstance(default, str) and default == "auto":
        choices = [(Bernoulli(), free & is_binary), (normal, free & ~is_binary)]
    else:
        choices = [(resolve_family(default, normal), free)]
    for family, chosen in choices:
        if chosen.any():
            yield family, np.flatnonzero(chosen)


def automatic(
    names: list[Any],
    leaf: Any,
    requests: Sequence[tuple[ExponentialFamily, np.ndarray]],
    normal: Normal,
) -> np.ndarray:
    """Return the columns of numbers for which no family was requested.

    Parameters
    ----------
    names, leaf, normal
        As in `requested_families`.
    requests : sequence of (ExponentialFamily, ndarray of int)
        The pairs that it has yielded.
    """
    is_mapping = isinstance(leaf, Mapping)
    if not is_mapping and not (isinstance(leaf, str) and leaf == "auto"):
        return np.empty(0, dtype=np.int64)
    named = (
        [c for _, columns in mapped_positions(names, leaf, "leaf") for c in columns]
        if (is_mapping)
        else []
    )
    numbers = [columns for family, columns in requests if family is normal]
    return np.setdiff1d(np.concatenate(numbers), named) if numbers else np.empty(0, dtype=np.int64)


def named_continuous(
    requests: Sequence[tuple[ExponentialFamily, np.ndarray]], others: np.ndarray
) -> dict[int, ExponentialFamily]:
    """Return the columns whose continuous family the user has named, with these families.

    Parameters
    ----------
    requests : sequence of (ExponentialFamily, ndarray of int)
        The pairs that `requested_families` has yielded.
    others : ndarray of int
        The columns that `automatic` returns.
    """
    return {
        column: family
        for family, columns in requests
        # Bounds of variances ask for densities.
        if not family.is_discrete and getattr(family, "variance_bounds", None) is None
        for column in np.setdiff1d(columns, others).tolist()
    }


def _mapped_families(
    names: list[Any],
    leaf: Mapping[Any, Any],
    normal: Normal,
    n_categories: np.ndarray,
    free: np.ndarray,
) -> Iterator[tuple[ExponentialFamily, np.ndarray]]:
    """Yield the families of a dict, and mark their columns as no longer free."""
    for key, columns in mapped_positions(names, leaf, "leaf"):
        free[columns] = False
        family = resolve_family(key, normal)
        for column in columns[n_categories[columns] > 0]:
            if family != Categorical():
                raise ValueError(
                    f"Column {names[column]!r} has categories, which leaf={leaf!r} cannot model: "
                    "leave the column out of leaf, or out of categorical_features."
                )
        columns = columns[n_categories[columns] == 0]
        if len(columns):
            yield family, columns


def resolve_family(leaf: Any, normal: Normal) -> ExponentialFamily:
    """Return the family with a name, `normal` if it is its name; or the family itself."""
    if isinstance(leaf, ExponentialFamily):
        return leaf
    if not isinstance(leaf, str):
        raise TypeError(f"leaf must be a name, a family or a dict, got {leaf!r}.")
    if leaf not in FAMILIES:
        raise ValueError(f"leaf={leaf!r} is unknown; choose 'auto' or one of {sorted(FAMILIES)}.")
    return normal if leaf == normal.name else FAMILIES[leaf]()


def check_codes(
    family: ExponentialFamily, columns: np.ndarray, largest: np.ndarray, names: list[Any]
) -> None:
    """Refuse category codes that would need a table of billions of probabilities."""
    if isinstance(family, Categorical) and family.n_states is None:
        for column in columns[largest[columns] >= MAX_STATES]:
            raise ValueError(
                f"Column {names[column]!r} has the category {largest[column]:g}: number the "
                f"categories 0, 1, 2, ... without gaps, at most {MAX_STATES} of them."
            )
