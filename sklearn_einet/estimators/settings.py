"""The parameters of an estimator with every "auto" resolved."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch

from sklearn_einet.circuit.layers.stack import PRODUCT_LAYERS
from sklearn_einet.estimators.progress import Report
from sklearn_einet.model.devices import resolve_device
from sklearn_einet.tables.rows import STRIP

__all__ = ["Settings", "auto_layer"]

# Largest depth of depth=None.
MAX_AUTO_DEPTH = 4

# The K of CP layers with K=None, for tables with at least so many rows and at most so many columns.
LARGE_K, LARGE_ROWS, LARGE_COLUMNS = 64, 10_000, 256

# Number of trees of replicas=None, by structure.
AUTO_REPLICAS = {"binary-trees": 10, "chow-liu": 1}

# What a detector has with K=None: random trees of this K, or at most so many joint densities, with
# at most so many means in total and at least so many rows for each.
DETECTOR_K, MAX_DETECTOR_K, MAX_DETECTOR_CELLS, ROWS_OF_DENSITY = 8, 32, 800, 20

# step_size="auto": the first step of stochastic EM, or the learning rate of the gradient methods.
AUTO_STEP_SIZE = {"sem": 0.3, "adam": 0.05, "sgd": 0.05}

# min_variance="auto" is inversely proportional to the number of rows, within bounds.
ROWS_OF_A_NORMAL = 20
AUTO_MIN_VARIANCE = (1e-3, 0.1)

# pseudocount="auto"; more smoothing where outliers may be left among the rows.
AUTO_PSEUDOCOUNT, TRIMMED_PSEUDOCOUNT = 0.01, 1.0

# bandwidth="auto" with trim, else it is 0.
TRIMMED_BANDWIDTH = 0.4

# max_iter="auto" of stochastic EM: as many epochs as make so many minibatches (more where all rows
# are typical, and sharper densities tell more), of at most so many rows, including held-out ones.
# For the other solvers it is a number of epochs.
BRIEF_BATCHES, UNTRIMMED_BATCHES, BRIEF_ROWS, AUTO_MAX_ITER = 100, 300, 20_000, 100

# Least number of rows from which early_stopping="auto" holds some out.
MIN_ROWS_TO_HOLD_OUT = 50


@dataclass(frozen=True)
class Settings:
    """The parameters of `EinetDensity`, resolved; see there.

    Settings that depend on the number of rows (those of a cluster, or those left by trimming) have
    a method that takes this number.

    Attributes
    ----------
    joint_replicas : int or None
        Partitions of the root with joint densities; 1: a single mixture of K. None: as many as the
        rows allow.
    depth : int or None
        None: depends on the columns, see `depth_of`.
    batch_size : int or None
        None: depends on the number of rows, see `batch_size_of`.
    max_iter : int or None
        None: as many epochs as a ranking of the rows takes, see `is_brief`.
    early_stopping : bool or None
        None: depends on the number of rows, see `n_held_out`.
    min_variance : float or None
        None: depends on the number of rows, see `min_variance_of`.
    report : Report
        What verbose asks for; it begins with the settings.
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
    report: Report

    @classmethod
    def of(cls, estimator: Any, **changes: Any) -> Settings:
        """Resolve the parameters of an estimator.

        Parameters
        ----------
        estimator : EinetDensity or EinetMixture
        **changes
            Parameters with values other than the estimator's, or a report to continue.

        Raises
        ------
        ValueError
            If the device does not exist.
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
        resolved["report"] = given.get("report") or Report.of(estimator)
        return cls(**resolved)

    def depth_of(self, n_features: int) -> int:
        """Return how many times random trees split so many columns."""
        if self.depth is not None:
            return self.depth
        return min(n_features.bit_length() - 1, MAX_AUTO_DEPTH)

    def of_table(self, n_rows: int, n_columns: int) -> Settings:
        """Return the settings with the K that suits a table, unless the user has set K."""
        is_large = n_rows >= LARGE_ROWS and n_columns <= LARGE_COLUMNS
        if self.is_detector or not (self.has_auto_K and is_large and self.layer == "cp"):
            return self
        return replace(self, K=LARGE_K)

    def of_detector(self, n_joint: int, n_rows: int) -> Settings:
        """Return the settings that rank rows best, where a detector has the choice.

        Parameters
        ----------
        n_joint : int
            Number of columns that can have joint densities; 0: the model has no part with these.
        n_rows : int
            Number of rows to learn from.
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
        """Return the settings with the K of a fitted model, if that was chosen for its table."""
        is_chosen = K == LARGE_K or self.is_detector
        return replace(self, K=K) if self.has_auto_K and is_chosen else self

    def batch_size_of(self, n_rows: int) -> int:
        """Return the number of rows of a minibatch."""
        if self.batch_size is not None:
            return int(self.batch_size)
        # A hundred batches per epoch while batches are small; 250 rows suffice until there are a
        # thousand batches.
        smallest = int(np.clip(n_rows // 100, 20, 100))
        size = max(smallest, min(n_rows // 160, 250), n_rows // 1000)
        return size - size % STRIP if size > STRIP else size

    def trimmed_share(self, auto: float) -> float:
        """Return the share of the rows to leave out, which trim="auto" leaves to the caller."""
        return auto if isinstance(self.trim, str) else self.trim

    @property
    def is_brief(self) -> bool:
        """Whether fits end once rows are ranked, before their likelihood stops growing."""
        return self.max_iter is None

    def max_iter_of(self, n_rows: int) -> int:
        """Return the maximum number of epochs for so many training rows."""
        if self.max_iter is not None:
            return int(self.max_iter)
        n_batches = BRIEF_BATCHES if self.trim else UNTRIMMED_BATCHES
        return -(-n_batches * self.batch_size_of(n_rows) // n_rows)

    def n_to_learn_from(self, n_rows: int) -> int:
        """Return how many of the rows are used, including those held out."""
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
                f"n_samples={n_rows} for training. Reduce it, or set early_stopping=False."
            )
        return n_held_out


def auto_layer(structure: str) -> str:
    """Return the layer that "auto" stands for with a structure."""
    return "tucker" if structure == "poon-domingos" else "cp"


def _joint_replicas(given: dict[str, Any]) -> int | None:
    """Return how many partitions have joint densities.

    Raises
    ------
    ValueError
        If the other parameters do not allow such densities.
    """
    if given["structure"] != "joint-normal":
        return None
    if given["solver"] in ("adam", "sgd"):
        raise ValueError(
            f"structure='joint-normal' is learned by EM, so solver={given['solver']!r} is not "
            "possible. Choose 'sem' or 'em'."
        )
    if given["layer"] == "tucker":
        raise ValueError(
            "structure='joint-normal' has CP layers, so layer='tucker' is not possible. Choose "
            "'cp' or 'auto'."
        )
    if given["replicas"] is None and given["solver"] == "em":
        return 1
    return None if given["replicas"] is None else int(given["replicas"])


def _is_auto(value: Any) -> bool:
    return isinstance(value, str) and value == "auto"


def _training_dtype(dtype: str, solver: str) -> torch.dtype:
    if dtype == "auto":
        return torch.float64 if solver == "em" else torch.float32
    return {"float32": torch.float32, "float64": torch.float64}[dtype]
