"""Rows under multivariate normal densities: log-densities and expected statistics.

Compiled loops compute both if they are built; otherwise, torch does. For complete rows with few
columns, either way uses one matrix product with the rows' statistics in each direction.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from sklearn_einet.circuit.backend import choose_backend
from sklearn_einet.circuit.semirings import scaled_exp
from sklearn_einet.families import MultivariateNormal
from sklearn_einet.families.multivariate_normal import CompletedRows
from sklearn_einet.native.backend import NativeBackend

__all__ = [
    "expected_statistics",
    "log_density",
    "log_density_by",
    "scaled_posterior",
    "scored",
]

# The largest number of columns for which statistics of complete rows are computed: for more, this
# takes longer than compiled loops without statistics, and a lot of memory.
PRODUCT_COLUMNS = 24


@dataclass(frozen=True)
class SeenRows:
    """Rows that compiled loops complete a second time for their expected statistics.

    Attributes
    ----------
    z : Tensor of shape (d, batch)
    backend : NativeBackend
    """

    z: Tensor
    backend: NativeBackend


def log_density(normals: MultivariateNormal, z: Tensor) -> Tensor:
    """Return log-densities of the observed cells of rows, in nats.

    Parameters
    ----------
    normals : MultivariateNormal
    z : Tensor of shape (d, batch)
        NaN where a cell is missing.

    Returns
    -------
    log_density : Tensor of shape (n, batch)
    """
    backend = choose_backend(z.device, z.dtype)
    if isinstance(backend, NativeBackend):
        return backend.joint_log_densities(
            z,
            normals.mean_by_column,
            normals.precision_by_column,
            normals.whitening_by_column,
            normals.log_peak,
        )
    return normals.log_density(z)


def log_density_by(normals: MultivariateNormal, statistics: Tensor) -> Tensor:
    """Return log-densities of complete rows, given their statistics: by a product with these unless
    rounding errors would be too large."""
    product = normals.log_density_of(statistics)
    return (
        log_density(normals, statistics[1 : 1 + normals.n_columns]) if product is None else product
    )


def scored(normals: MultivariateNormal, z: Tensor) -> tuple[Tensor, Any]:
    """Return log-densities of rows, and intermediate results for `expected_statistics`.

    Parameters
    ----------
    normals, z
        As in `log_density`.

    Returns
    -------
    log_density : Tensor of shape (n, batch)
    kept : object
    """
    backend = choose_backend(z.device, z.dtype)
    is_native = isinstance(backend, NativeBackend)
    is_complete = not bool(torch.isnan(z).any())
    if is_complete and not (is_native and len(z) > PRODUCT_COLUMNS):
        statistics = normals.statistics(z)
        return log_density_by(normals, statistics), statistics
    if isinstance(backend, NativeBackend):
        return log_density(normals, z), SeenRows(z, backend)
    completed = normals.completed(z)
    return completed.log_density, completed


def scaled_posterior(joint: Tensor) -> tuple[Tensor, Tensor]:
    """Return unnormalised posteriors of components, (n, batch), and the logarithm of their scale,
    given their log-densities with the rows."""
    backend = choose_backend(joint.device, joint.dtype)
    if isinstance(backend, NativeBackend):
        return backend.scaled_exp(joint)
    scaled, largest = scaled_exp(joint, 0)
    return scaled, largest.squeeze(0)


def expected_statistics(normals: MultivariateNormal, kept: Any, posterior: Tensor) -> Tensor:
    """Return expected statistics 1, x and x x', weighted by posteriors, (n, n_statistics).

    Parameters
    ----------
    normals : MultivariateNormal
    kept : object
        As from `scored`.
    posterior : Tensor of shape (n, batch)
    """
    if isinstance(kept, CompletedRows):
        return normals.expected_of(kept, posterior)
    if isinstance(kept, SeenRows):
        means, precisions = normals.mean_by_column, normals.precision_by_column
        return kept.backend.joint_statistics(kept.z, means, precisions, posterior)
    result: Tensor = posterior @ kept.T
    return result
