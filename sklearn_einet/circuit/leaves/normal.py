"""Normal leaves of the native backend: loops in one pass instead of torch's ten."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from sklearn_einet.circuit.leaves.natural_parameters import NaturalParameters
from sklearn_einet.circuit.leaves.product import ProductGroup, rounds
from sklearn_einet.families import Normal
from sklearn_einet.native.backend import NativeBackend

__all__ = ["NormalGroup"]


class NormalGroup(ProductGroup):
    """Normal densities. All results are those of `ProductGroup`, up to rounding.

    Attributes
    ----------
    coefficients : Tensor of shape (n_columns, 3)
        Logarithms of the columns' own densities, as polynomials.
    slot_coefficients : Tensor of shape (n_regions, n_slots, 3)
        Those of every slot.
    """

    family: Normal
    backend: NativeBackend

    def derive(self) -> None:
        super().derive()
        constant = self.family.log_base_measure(self.reference[:, 0]) - self.reference_normalizer
        self.coefficients = torch.cat([constant, self.reference_theta.squeeze(-1)], 1)
        self.slot_coefficients = self.coefficients[self.index.clamp_max(len(self.columns) - 1)]
        self._limits: tuple[float, Tensor] | None = None

    def natural_parameters(self) -> NaturalParameters:
        return NaturalParameters(
            *self.backend.natural_normal(self.phi, self.slot_coefficients), self.mask
        )

    def update(self, weighted: Tensor, mass: Tensor, pseudocount: float) -> None:
        self.phi = self.backend.maximize_normal(
            weighted, mass, self.slot_reference, self.limits, pseudocount, self.phi
        )

    @property
    def limits(self) -> Tensor:
        """The least and the largest variance in every slot, (n_regions, n_slots, 2)."""
        if self._limits is None or self._limits[0] != self.min_variance:
            limits = self.family.limits(self.slot_reference, self.least_share)
            self._limits = self.min_variance, torch.cat(limits, -1)
        return self._limits[1]

    def forward(
        self, x: Tensor, natural: NaturalParameters, dtype: torch.dtype
    ) -> tuple[Tensor, Tensor, Any]:
        x = x.contiguous()
        # Nearly always, all cells are finite and of moderate size; if not, they are read again.
        in_double = rounds(1.0, natural.largest(True), dtype)
        first_dtype = torch.float64 if in_double else dtype
        block = self.backend.read_normal(x, self.coefficients, True, first_dtype)
        statistics, base, size, complete = block
        # In an incomplete block, whether a cell is finite is also a statistic.
        largest = max(size, size * size, 0.0 if complete else 1.0)
        rounded = not in_double and rounds(largest, natural.largest(complete), dtype)
        if rounded or not complete:
            dtype_again = torch.float64 if in_double or rounded else dtype
            block = self.backend.read_normal(x, self.coefficients, complete, dtype_again)
            statistics, base, _, _ = block
        leaves, kept = self._products(statistics, complete, natural, dtype)
        return leaves, base, kept
