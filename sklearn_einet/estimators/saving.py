"""The types that saved models consist of."""

from __future__ import annotations

from typing import Any

from sklearn_einet import families
from sklearn_einet.circuit import Circuit, GridCells, LeafColumns
from sklearn_einet.circuit.layers.layout import ChildLayout
from sklearn_einet.circuit.layers.mixing import MixingLayer
from sklearn_einet.circuit.layers.stack import PRODUCT_LAYERS
from sklearn_einet.circuit.leaves.joint_normal import JointGroup
from sklearn_einet.estimators.density import EinetDensity
from sklearn_einet.estimators.detector import EinetOutlierDetector
from sklearn_einet.estimators.imputer import EinetImputer
from sklearn_einet.estimators.mixture import EinetMixture
from sklearn_einet.model.score_distribution import ScoreDistribution
from sklearn_einet.model.table_density import TableDensity
from sklearn_einet.structure import RegionGraph
from sklearn_einet.tables.column_forms import ColumnForm
from sklearn_einet.tables.column_maps import QuantileSpline, YeoJohnson
from sklearn_einet.tables.cut_out import CutOut
from sklearn_einet.tables.encoding import Encoding
from sklearn_einet.tables.half_line import HalfLine
from sklearn_einet.tables.schema import Schema
from sklearn_einet.tables.state_columns import StateColumns
from sklearn_einet.tables.time_grids import Grid
from sklearn_einet.tables.times import TimeAxis
from sklearn_einet.tables.units import FarOut

__all__ = ["TRUSTED_TYPES"]

_ESTIMATORS = (EinetDensity, EinetImputer, EinetMixture, EinetOutlierDetector)
_MODEL = (Circuit, Encoding, FarOut, RegionGraph, Schema, ScoreDistribution)
_DENSITIES = (GridCells, JointGroup, LeafColumns, TableDensity)
_MAPS = (ColumnForm, CutOut, HalfLine, QuantileSpline, StateColumns, YeoJohnson)
_LAYERS = (ChildLayout, MixingLayer, *PRODUCT_LAYERS.values())
_FAMILIES = (*families.FAMILIES.values(), families.Constant, families.FixedShapeGamma)
_TIMES = (Grid, TimeAxis)
_TYPES: list[Any] = [*_ESTIMATORS, *_DENSITIES, *_MODEL, *_MAPS, *_TIMES, *_LAYERS, *_FAMILIES]

#: Names of the types in saved models; pass them to `skops.io.load` as ``trusted``.
TRUSTED_TYPES = ["builtins.frozenset"] + [f"{t.__module__}.{t.__qualname__}" for t in _TYPES]
