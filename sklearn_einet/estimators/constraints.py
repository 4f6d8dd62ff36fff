"""The values that the parameters of the estimators may have."""

from __future__ import annotations

from numbers import Integral, Real
from typing import Any

import torch
from sklearn.utils._param_validation import Interval, StrOptions

from sklearn_einet.circuit.circuit import LAYERS
from sklearn_einet.families import ExponentialFamily
from sklearn_einet.structure.image_regions import IMAGE_STRUCTURES
from sklearn_einet.structure.poon_domingos import SPLIT_AXES
from sklearn_einet.tables.map_fitting import KINDS

__all__ = ["DENSITY_CONSTRAINTS", "MIXTURE_CONSTRAINTS"]

STRUCTURES = ("binary-trees", "chow-liu", "joint-normal", *IMAGE_STRUCTURES)

DENSITY_CONSTRAINTS: dict[str, list[Any]] = {
    "depth": [Interval(Integral, 0, None, closed="left"), None],
    "replicas": [Interval(Integral, 1, None, closed="left"), None],
    "K": [Interval(Integral, 1, None, closed="left"), None],
    "leaf": [str, dict, ExponentialFamily],
    "numeric_transform": [StrOptions({"auto", *KINDS}), dict, None],
    "atoms": [StrOptions({"auto"}), Interval(Real, 0, 1, closed="right"), dict, None],
    "bounds": [StrOptions({"auto"}), dict, None],
    "learn_gaps": ["boolean", str, int, "array-like"],
    "categorical_features": ["array-like", StrOptions({"from_dtype"}), None],
    "handle_unknown": [StrOptions({"smooth", "ignore", "error"})],
    "structure": [StrOptions({"auto", *STRUCTURES})],
    "layer": [StrOptions({"auto", *LAYERS})],
    "image_shape": [tuple, list, None],
    "delta": [Interval(Integral, 1, None, closed="left"), tuple, list, None],
    "split_axes": [StrOptions(set(SPLIT_AXES))],
    "solver": [StrOptions({"sem", "em", "adam", "sgd"})],
    "step_size": [Interval(Real, 0, None, closed="neither"), StrOptions({"auto"})],
    "step_decay": [Interval(Real, 0, 1, closed="both")],
    "batch_size": [Interval(Integral, 1, None, closed="left"), StrOptions({"auto"})],
    "max_iter": [Interval(Integral, 1, None, closed="left"), StrOptions({"auto"})],
    "tol": [Interval(Real, 0, None, closed="left")],
    "n_iter_no_change": [Interval(Integral, 1, None, closed="left")],
    "early_stopping": ["boolean", StrOptions({"auto"})],
    "validation_fraction": [Interval(Real, 0, 1, closed="neither")],
    "min_variance": [Interval(Real, 0, None, closed="neither"), StrOptions({"auto"})],
    "covariance_shrinkage": [Interval(Real, 0, None, closed="neither")],
    "covariance_floor": [Interval(Real, 0, 1, closed="left")],
    "variance_bounds": [tuple, list, None],
    "pseudocount": [Interval(Real, 0, None, closed="left"), StrOptions({"auto"})],
    "bandwidth": [Interval(Real, 0, None, closed="left"), StrOptions({"auto"})],
    "trim": [Interval(Real, 0, 0.5, closed="left"), StrOptions({"auto"})],
    "contamination": [StrOptions({"auto"}), Interval(Real, 0, 0.5, closed="right")],
    "warm_start": ["boolean"],
    "device": [str, torch.device],
    "dtype": [StrOptions({"auto", "float32", "float64"})],
    "random_state": ["random_state"],
    "verbose": ["verbose"],
}

MIXTURE_CONSTRAINTS: dict[str, Any] = {
    name: allowed
    for name, allowed in DENSITY_CONSTRAINTS.items()
    if name not in ("bandwidth", "trim", "warm_start")
} | {
    "max_iter": [Interval(Integral, 1, None, closed="left")],
    "n_components": [Interval(Integral, 1, None, closed="left")],
    "kmeans": "no_validation",  # cluster_rows says what is wrong
    "refine_iter": [Interval(Integral, 0, None, closed="left")],
    "n_jobs": [Integral, None],
}
