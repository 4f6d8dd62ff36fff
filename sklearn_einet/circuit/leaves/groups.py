"""The leaf group for the columns of a family."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from sklearn_einet.circuit.leaves.base import LeafGroup
from sklearn_einet.circuit.leaves.look_up import LookUpGroup
from sklearn_einet.circuit.leaves.normal import NormalGroup
from sklearn_einet.circuit.leaves.product import ProductGroup
from sklearn_einet.families import Categorical, ExponentialFamily, Normal
from sklearn_einet.structure import Region

__all__ = ["LeafColumns", "leaf_group"]


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
        What is known of the least variance of each column's leaves, as a share of the column's own;
        beside `min_variance`.
    """

    family: ExponentialFamily
    columns: np.ndarray
    reference: np.ndarray
    least_variance: np.ndarray | None = None


def leaf_group(
    columns: LeafColumns,
    leaves: Sequence[Region],
    K: int,
    min_variance: float,
    device: torch.device,
) -> LeafGroup:
    """The leaf group of the kind that suits a family; see `LeafGroup`."""
    kind: type[LeafGroup] = ProductGroup
    if isinstance(columns.family, Categorical):
        kind = LookUpGroup
    elif type(columns.family) is Normal:  # a log-normal one has other statistics
        kind = NormalGroup
    return kind(
        columns.family,
        torch.as_tensor(columns.columns, device=device),
        _slots(leaves, columns.columns).to(device),
        K,
        torch.as_tensor(columns.reference, dtype=torch.float64, device=device),
        min_variance,
        columns.least_variance,
    )


def _slots(leaves: Sequence[Region], columns: np.ndarray) -> Tensor:
    """Positions in `columns` of the features of each leaf region, padded with len(columns)."""
    position = {int(column): i for i, column in enumerate(columns)}
    slots = [[position[f] for f in sorted(leaf.scope) if f in position] for leaf in leaves]
    index = torch.full((len(leaves), max(map(len, slots))), len(columns), dtype=torch.int64)
    for row, slot in zip(index, slots, strict=True):
        row[: len(slot)] = torch.tensor(slot, dtype=torch.int64)
    return index
