"""The parameters of an estimator with every "auto" resolved."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch

from sklearn_einet.circuit.layers.stack import PRODUCT_LAYERS
from sklearn_einet.model.devices import resolve_device

__all__ = ["Settings", "auto_layer"]

# Deepest split that depth=None makes.
MAX_AUTO_DEPTH = 4

# The K of CP layers if it is None, of tables with so many rows and no more columns.
LARGE_K, LARGE_ROWS, LARGE_COLUMNS = 64, 10_000, 256

# Number of trees that replicas=None makes, by structure.
AUTO_REPLICAS = {"binary-trees": 10, "chow-liu": 1}

# What a detector has if K is None: random trees of this K, or so many joint densities at most, with
# so many means in all, and of so many rows each.
DETECTOR_K, MAX_DETECTOR_K, MAX_DETECTOR_CELLS, ROWS_OF_DENSITY = 8, 32, 800, 20

# The first step of stochastic EM, and the learning rate of the gradient methods, of "auto".
AUTO_STEP_SIZE = {"sem": 0.3, "adam": 0.05, "sgd": 0.05}

# Variances of min_variance="auto": inversely proportional to the number of rows, within bounds.
ROWS_OF_A_NORMAL = 20
AUTO_MIN_VARIANCE = (1e-3, 0.1)

# What pseudocount="auto" is; more smoothing where outliers may be left among the rows.
AUTO_PSEUDOCOUNT, TRIMMED_PSEUDOCOUNT = 0.01, 1.0

# What bandwidth="auto" is with trim, else it is 0.
TRIMMED_BANDWIDTH = 0.4

# What max_iter="auto" is of stochastic EM: as many epochs as make so many minibatches (more where
# all rows are usual, and sharper densities tell more), of so many rows at most, held-out ones
# included. The other solvers' is a number of epochs.
BRIEF_BATCHES, UNTRIMMED_BATCHES, BRIEF_ROWS, AUTO_MAX_ITER = 100, 300, 20_000, 100

# Least number of rows of which early_stopping="auto" holds some out.
MIN_ROWS_TO_HOLD_OUT = 50


@dataclass(frozen=True)
class Settings:
    """What the parameters of `EinetDensity` ask for; see there.

    What depends on the number of rows, which may be those of a cluster or those that trimming
    leaves, has a method that takes it.

    Attributes
    ----------
    joint_replicas : int or None
        Partitions of the root with joint densities; 1: a single mixture of K. None: as many as the
        rows allow.
    depth : int or None
        None: as the columns allow, see `depth_of`.
    batch_size : int or None
        None: by the number of rows, see `batch_size_of`.
    max_iter : int or None
        None: as many epochs as a ranking of the rows takes, see `is_brief`.
    early_stopping : bool or None
        None: by the number of rows, see `n_held_out`.
    min_variance : float or None
        None: by the number of rows, see `min_variance_of`.
    """

    joint_replicas: int | None
    depth: int | None
    replicas: int
    K: int
    has_auto_K: bool
    has_auto_replicas: bool
    is_detector: bool
    leaf: Any
    numeric_transform: Any
    atoms: Any
    bounds: Any
    learn_gaps: Any
    handle_unknown: str
    structure: str
    layer: str
    image_shape: Any
    delta: Any
    split_axes: str
    solver: str
    step_size: float
    step_decay: float
    batch_size: int | None
    max_iter: int | None
    tol: float
    n_iter_no_change: int
    early_stopping: bool | None
    validation_fraction: float
    min_variance: float | None
    covariance_shrinkage: float
    covariance_floor: float
    variance_bounds: Any
    pseudocount: float
    trim: float | str
    bandwidth: float
    contamination: float | str
    device: torch.device
    dtype: torch.dtype
    verbose: int

    @classmethod
    def of(cls, estimator: Any, **changes: Any) -> Settings:
        """Resolve the parameters of an estimator.

        Parameters
        ----------
        estimator : EinetDensity or EinetMixture
        **changes
            Parameters that have other values than the estimator's.

        Raises
        ------
        ValueError
            If there is no such device.
        """
        given = {"trim": 0.0, "bandwidth": 0.0} | vars(estimator) | changes
        given["is_detector"] = getattr(estimator, "_is_detector", False)
        given["joint_replicas"] = _joint_replicas(given)
        resolved = {name: given.get(name) for name in cls.__annotations__}
        structure, solver, layer = given["structure"], given["solver"], given["layer"]
        if layer == "auto":
            layer = auto_layer(structure)
        resolved["layer"] = layer
        resolved["has_auto_K"] = given["K"] is None
        resolved["has_auto_replicas"] = given["replicas"] is None
        resolved["K"] = PRODUCT_LAYERS[layer].auto_K if given["K"] is None else int(given["K"])
        if given["replicas"] is None:
            resolved["replicas"] = AUTO_REPLICAS.get(structure, 1)
        if _is_auto(given["step_size"]):
            resolved["step_size"] = AUTO_STEP_SIZE.get(solver, 1.0)
        if _is_auto(given["pseudocount"]):
            resolved["pseudocount"] = TRIMMED_PSEUDOCOUNT if given["trim"] else AUTO_PSEUDOCOUNT
        if _is_auto(given["max_iter"]):
            resolved["max_iter"] = None if solver == "sem" else AUTO_MAX_ITER
        if _is_auto(given["bandwidth"]):
            resolved["bandwidth"] = TRIMMED_BANDWIDTH if given["trim"] else 0.0
        for name in ("batch_size", "early_stopping", "min_variance"):
            if _is_auto(given[name]):
                resolved[name] = None
        resolved["device"] = resolve_device(given["device"], required=True)
        resolved["dtype"] = _training_dtype(given["dtype"], solver)
        return cls(**resolved)

    def depth_of(self, n_features: int) -> int:
        """Return how often random trees split so many columns."""
        if self.depth is not None:
            return self.depth
        return min(n_features.bit_length() - 1, MAX_AUTO_DEPTH)

    def of_table(self, n_rows: int, n_columns: int) -> Settings:
        """Return the settings with the K that suits a table, unless the user has asked for one."""
        is_large = n_rows >= LARGE_ROWS and n_columns <= LARGE_COLUMNS
        if self.is_detector or not (self.has_auto_K and is_large and self.layer == "cp"):
            return self
        return replace(self, K=LARGE_K)

    def of_detector(self, n_joint: int, n_rows: int) -> Settings:
        """Return the settings with what ranks rows best, where a detector is to choose.

        Parameters
        ----------
        n_joint : int
            How many columns can have joint densities; 0: there is to be no part with these.
        n_rows : int
            Rows to learn from.
        """
        if not self.is_detector or self.structure not in ("auto", "binary-trees"):
            return self
        if self.structure == "auto" and n_joint and self.trim:
            n_densities = min(
                MAX_DETECTOR_K, MAX_DETECTOR_CELLS // n_joint, n_rows // ROWS_OF_DENSITY
            )
            K = max(1, n_densities) if self.has_auto_K else self.K
            replicas = 1 if self.has_auto_replicas else self.replicas
            return replace(self, structure="joint-normal", joint_replicas=replicas, K=K)
        K = DETECTOR_K if self.has_auto_K and self.layer == "cp" else self.K
        replicas = AUTO_REPLICAS["binary-trees"] if self.has_auto_replicas else self.replicas
        return replace(self, structure="binary-trees", replicas=replicas, K=K)

    def of_fitted(self, K: int) -> Settings:
        """Return the settings with the K of a fitted model, if that is what a table got."""
        is_chosen = K == LARGE_K or self.is_detector
        return replace(self, K=K) if self.has_auto_K and is_chosen else self

    def batch_size_of(self, n_rows: int) -> int:
        """Return the number of rows of a minibatch."""
        if self.batch_size is not None:
            return int(self.batch_size)
        # A hundred batches an epoch while they are small; 250 rows suffice until there are a
        # thousand batches.
        smallest = int(np.clip(n_rows // 100, 20, 100))
        return max(smallest, min(n_rows // 160, 250), n_rows // 1000)

    @property
    def is_brief(self) -> bool:
        """Whether fits end when rows are ranked, and not when their likelihood no longer grows."""
        return self.max_iter is None

    def max_iter_of(self, n_rows: int) -> int:
        """Return the largest number of epochs of so many training rows."""
        if self.max_iter is not None:
            return int(self.max_iter)
        n_batches = BRIEF_BATCHES if self.trim else UNTRIMMED_BATCHES
        return -(-n_batches * self.batch_size_of(n_rows) // n_rows)

    def n_to_learn_from(self, n_rows: int) -> int:
        """Return how many of the rows are looked at, held-out ones included."""
        return min(n_rows, BRIEF_ROWS) if self.is_brief else n_rows

    def min_variance_of(self, n_rows: float) -> float:
        """Return the least variance of normal densities, as a share of the columns'."""
        if self.min_variance is not None:
            return float(self.min_variance)
        return float(np.clip(ROWS_OF_A_NORMAL / n_rows, *AUTO_MIN_VARIANCE))

    def n_held_out(self, n_rows: int) -> int:
        """Return how many rows early stopping holds out.

        Raises
        ------
        ValueError
            If none would be left for training.
        """
        holds_out = self.early_stopping
        if holds_out is None:
            holds_out = self.solver != "em" and n_rows >= MIN_ROWS_TO_HOLD_OUT
        if not holds_out:
            return 0
        n_held_out = int(np.ceil(self.validation_fraction * n_rows))
        if n_held_out >= n_rows:
            raise ValueError(
                f"validation_fraction={self.validation_fraction} leaves none of "
                f"n_samples={n_rows} for training; set early_stopping=False."
            )
        return n_held_out


def auto_layer(structure: str) -> str:
    """Return the layer that "auto" is with a structure."""
    return "tucker" if structure == "poon-domingos" else "cp"


def _joint_replicas(given: dict[str, Any]) -> int | None:
    """Return how many partitions have joint densities.

    Raises
    ------
    ValueError
        If such densities cannot be learned as asked.
    """
    if given["structure"] != "joint-normal":
        return None
    if given["solver"] in ("adam", "sgd"):
        raise ValueError(
            f"structure='joint-normal' is learned by EM: solver={given['solver']!r} is not "
            "possible, choose 'sem' or 'em'."
        )
    if given["layer"] == "tucker":
        raise ValueError("structure='joint-normal' has CP layers: layer='tucker' is not possible.")
    if given["replicas"] is None and given["solver"] == "em":
        return 1
    return None if given["replicas"] is None else int(given["replicas"])


def _is_auto(value: Any) -> bool:
    return isinstance(value, str) and value == "auto"


def _training_dtype(dtype: str, solver: str) -> torch.dtype:
    if dtype == "auto":
        return torch.float64 if solver == "em" else torch.float32
    return {"float32": torch.float32, "float64": torch.float64}[dtype]
