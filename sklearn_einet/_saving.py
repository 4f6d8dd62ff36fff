"""What saved models consist of."""

from __future__ import annotations

from typing import Any

from sklearn_einet import families
from sklearn_einet._density import EinetDensity
from sklearn_einet._detector import EinetOutlierDetector
from sklearn_einet._encoding import Encoding
from sklearn_einet._imputer import EinetImputer
from sklearn_einet._mixture import EinetMixture
from sklearn_einet._schema import Schema
from sklearn_einet._score_distribution import ScoreDistribution
from sklearn_einet._units import FarOut
from sklearn_einet.circuit import Circuit, LeafColumns
from sklearn_einet.circuit.cp_level import CPLevel
from sklearn_einet.circuit.einsum_level import EinsumLevel
from sklearn_einet.circuit.entry_level import EntryLevel
from sklearn_einet.circuit.look_up_leaves import LookUpGroup
from sklearn_einet.circuit.normal_leaves import NormalGroup
from sklearn_einet.circuit.product_leaves import ProductGroup
from sklearn_einet.structure import RegionGraph

__all__ = ["TRUSTED_TYPES"]

_ESTIMATORS = (EinetDensity, EinetImputer, EinetMixture, EinetOutlierDetector)
_MODEL = (Circuit, Encoding, FarOut, LeafColumns, RegionGraph, Schema, ScoreDistribution)
_LAYERS = (CPLevel, EinsumLevel, EntryLevel, LookUpGroup, NormalGroup, ProductGroup)
_FAMILIES = (*families.FAMILIES.values(), families.Constant, families.FixedShapeGamma)
_TYPES: list[Any] = [*_ESTIMATORS, *_MODEL, *_LAYERS, *_FAMILIES]

#: Names of the types in saved models that `skops.io.load` has to be told to trust.
TRUSTED_TYPES = ["builtins.frozenset"] + [f"{t.__module__}.{t.__qualname__}" for t in _TYPES]
