"""The leaf group for each family."""

from __future__ import annotations

from typing import Any

from sklearn_einet.circuit.input_layer import LeafGroup
from sklearn_einet.circuit.look_up_leaves import LookUpGroup
from sklearn_einet.circuit.normal_leaves import NormalGroup
from sklearn_einet.circuit.product_leaves import ProductGroup
from sklearn_einet.families import Categorical, ExponentialFamily, Normal

__all__ = ["leaf_group"]


def leaf_group(family: ExponentialFamily, *arguments: Any) -> LeafGroup:
    """The leaf group that suits a family; see `LeafGroup` for the arguments."""
    if isinstance(family, Categorical):
        return LookUpGroup(family, *arguments)
    if type(family) is Normal:  # a log-normal one has other statistics
        return NormalGroup(family, *arguments)
    return ProductGroup(family, *arguments)
