"""The leaf group for the columns of a family."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor

from sklearn_einet.circuit.leaves.base import TENSORS, LeafGroup
from sklearn_einet.circuit.leaves.cells import CellGroup
from sklearn_einet.circuit.leaves.grid_cells import GridCells
from sklearn_einet.circuit.leaves.look_up import LookUpGroup
from sklearn_einet.circuit.leaves.natural_parameters import NaturalParameters
from sklearn_einet.circuit.leaves.normal import NormalGroup
from sklearn_einet.circuit.leaves.product import ProductGroup
from sklearn_einet.circuit.protocols import Backend
from sklearn_einet.families import Categorical, ExponentialFamily, Normal
from sklearn_einet.native.backend import NativeBackend
from sklearn_einet.native.threads import torch_alone
from sklearn_einet.structure import Region

__all__ = [
    "LeafColumns",
    "are_large_products",
    "forward",
    "leaf_group",
    "loaded_group",
    "moved_group",
    "threads_of_leaves",
]

# From this many columns on, the densities of a leaf region are large matrix products.
COLUMNS = 4


@dataclass(frozen=True)
class LeafColumns:
    """Columns that share a family.

    Attributes
    ----------
    family : ExponentialFamily
    columns : ndarray of int
    reference : ndarray of shape (len(columns), family.n_statistics)
        Mean sufficient statistics of each column.
    least_variance : ndarray of shape (len(columns),), default=None
        A lower bound for the variance of each column's leaves, as a share of the column's own, in
        addition to `min_variance`.
    grid : GridCells or None, default=None
        Cells of normal columns with values on a grid: univariate leaves give their probabilities,
        divided by their widths. None: densities.
    """

    family: ExponentialFamily
    columns: np.ndarray
    reference: np.ndarray
    least_variance: np.ndarray | None = None
    grid: GridCells | None = None

    def of(self, which: np.ndarray | list[bool]) -> LeafColumns:
        """Return some of the columns, given a mask."""
        which = np.asarray(which, dtype=bool)
        least = None if self.least_variance is None else self.least_variance[which]
        grid = None if self.grid is None else self.grid.of(which)
        return LeafColumns(self.family, self.columns[which], self.reference[which], least, grid)

    @property
    def can_be_joint(self) -> bool:
        """Whether joint leaf regions have multivariate normal densities of the columns."""
        return isinstance(self.family, Normal) and self.family.variance_bounds is None


def leaf_group(
    columns: LeafColumns,
    leaves: Sequence[Region],
    K: int,
    min_variance: float,
    device: torch.device,
    backend: Backend,
) -> LeafGroup:
    """Return the leaf group of the kind that suits a family; see `LeafGroup`."""
    kind: Callable[..., LeafGroup] = _kind(columns.family, backend)
    if columns.grid is not None:
        kind = partial(CellGroup, columns.grid)
    group = kind(
        columns.family,
        torch.as_tensor(columns.columns),
        _slots(leaves, columns),
        K,
        torch.as_tensor(columns.reference, dtype=torch.float64),
        min_variance,
        columns.least_variance,
        backend,
    )
    return group.move_to(device)


def moved_group(group: LeafGroup, device: torch.device, backend: Backend) -> LeafGroup:
    """Return the same group on another device; tensors are shared if possible."""
    kind = type(group) if group.grid is not None else _kind(group.family, backend)
    other = kind.__new__(kind)  # copy.copy would go through numpy
    vars(other).update(vars(group))
    other.backend = backend
    if type(other) is not type(group):
        for name in TENSORS:
            setattr(other, name, getattr(group, name).cpu())
        other.derive()
    return other.move_to(device)


def loaded_group(state: dict[str, Any], backend: Backend) -> LeafGroup:
    """Return the group that `LeafGroup.__getstate__` was called on."""
    kind = CellGroup if state.get("grid") is not None else _kind(state["family"], backend)
    group = kind.__new__(kind)
    group.__setstate__(state)
    return group


def forward(
    groups: Sequence[LeafGroup],
    columns: Tensor,
    parameters: Sequence[NaturalParameters],
    dtype: torch.dtype,
) -> tuple[Tensor, Tensor, list[Any]]:
    """Return the sums of all groups' shares, and intermediate results; see `LeafGroup.forward`."""
    leaves: Tensor | None = None
    base = columns.new_zeros(columns.shape[1], dtype=torch.float64)
    kept: list[Any] = [None] * len(groups)
    # Groups with all regions first: others are added to them in place.
    for i in sorted(range(len(groups)), key=lambda i: groups[i].own_regions is not None):
        group = groups[i]
        own, of_group, kept[i] = group.forward(columns[group.own], parameters[i], dtype)
        base.add_(of_group)
        if group.own_regions is None:
            leaves = own if leaves is None else leaves.add_(own)
        else:
            if leaves is None:
                leaves = own.new_zeros(len(group.index), *own.shape[1:])
            leaves = leaves.index_add_(0, group.own_regions, own)
    assert leaves is not None
    return leaves, base, kept


def are_large_products(groups: Sequence[LeafGroup]) -> bool:
    """Return whether the densities of leaf regions are large matrix products."""
    n_terms = sum(len(group.terms.slot) for group in groups if not group.looks_up)
    return n_terms >= COLUMNS * len(groups[0].index)


def threads_of_leaves(groups: Sequence[LeafGroup]) -> AbstractContextManager[None]:
    """Return the context for leaves: torch uses several threads only for large products."""
    is_native = isinstance(groups[0].backend, NativeBackend)
    return torch_alone() if is_native and not are_large_products(groups) else nullcontext()


def _kind(family: ExponentialFamily, backend: Backend) -> type[LeafGroup]:
    if isinstance(family, Categorical):
        return LookUpGroup
    if type(family) is Normal and isinstance(backend, NativeBackend):  # not a log-normal one
        return NormalGroup
    return ProductGroup


def _slots(leaves: Sequence[Region], columns: LeafColumns) -> Tensor:
    """Return the features of each leaf region as positions in its columns, padded with their
    number; those of joint densities have no slots."""
    position = {int(column): i for i, column in enumerate(columns.columns)}
    slots = [
        []
        if leaf.joint and columns.can_be_joint
        else [position[f] for f in sorted(leaf.scope) if f in position]
        for leaf in leaves
    ]
    width = max(1, *map(len, slots)) if slots else 1
    index = torch.full((len(leaves), width), len(position), dtype=torch.int64)
    for row, slot in zip(index, slots, strict=True):
        row[: len(slot)] = torch.tensor(slot, dtype=torch.int64)
    return index
