"""The densities that displays show."""

from __future__ import annotations

from typing import Any

from sklearn_einet.model.devices import resolve_device
from sklearn_einet.model.table_density import TableDensity

__all__ = ["density_of"]


def density_of(estimator: Any) -> TableDensity:
    """Return the density of a fitted estimator, on the device set by its parameters."""
    density: TableDensity = estimator.table_density_
    return density.to(resolve_device(estimator.device, required=False))
