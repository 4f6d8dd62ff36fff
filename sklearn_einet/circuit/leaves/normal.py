"""Normal leaves, for which compiled loops do in one pass what torch does in ten."""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor

from sklearn_einet.circuit.leaves.factors import Factors
from sklearn_einet.circuit.leaves.product import ProductGroup, rounds
from sklearn_einet.families import Normal
from sklearn_einet.native.products import addresses, native, native_arguments

__all__ = ["NormalGroup"]


class _Block(NamedTuple):
    """The cells of some rows.

    Attributes
    ----------
    statistics : Tensor of shape (n_columns + 1, n_statistics, batch)
        Those that products are formed with, and a last row of zeros.
    base : Tensor of shape (batch,)
        See `LeafGroup.upward`.
    largest : float
        The largest of the statistics, without their sign.
    all_finite : bool
        Whether all cells are.
    """

    statistics: Tensor
    base: Tensor
    largest: float
    all_finite: bool


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

    def _derive(self) -> None:
        super()._derive()
        constant = self.family.log_base_measure(self.reference[:, 0]) - self.reference_normalizer
        self.coefficients = torch.cat([constant, self.reference_theta.squeeze(-1)], 1)
        self.slot_coefficients = self.coefficients[self.index.clamp_max(len(self.columns) - 1)]
        self._limits: tuple[float, Tensor] | None = None

    def factors(self) -> Factors:
        first = native_arguments(self.phi)
        if first is None:
            return super().factors()
        theta, offset = torch.empty_like(self.phi), torch.empty_like(self.phi[:, :, 0])
        places = addresses(self.phi, self.slot_coefficients, theta, offset)
        native.natural_normal(*first, *places, self.index.numel(), self.phi.shape[-1])
        return Factors(theta, offset, self.mask)

    def update(self, weighted: Tensor, mass: Tensor, pseudocount: float) -> None:
        first = native_arguments(self.phi)
        if first is None:
            super().update(weighted, mass, pseudocount)
            return
        phi = torch.empty_like(self.phi)
        sums = [each.to(phi.dtype).contiguous() for each in (weighted, mass)]
        prior = phi.new_tensor(pseudocount)
        places = addresses(*sums, self.slot_reference, self.limits, prior, self.phi, phi)
        native.maximize_normal(*first, *places, self.index.numel(), phi.shape[-1])
        self.phi = phi

    @property
    def limits(self) -> Tensor:
        """The least and the largest variance in every slot, (n_regions, n_slots, 2)."""
        if self._limits is None or self._limits[0] != self.min_variance:
            limits = self.family.limits(self.slot_reference, self.least_share)
            self._limits = self.min_variance, torch.cat(limits, -1)
        return self._limits[1]

    def upward(self, x: Tensor, factors: Factors, dtype: torch.dtype) -> tuple[Tensor, Tensor, Any]:
        if native_arguments(x) is None:
            return super().upward(x, factors, dtype)
        x = x.contiguous()
        # Nearly always all cells are finite and of moderate size; if not, they are read again.
        in_double = rounds(1.0, factors.largest(True), dtype)
        block = self._read(x, True, torch.float64 if in_double else dtype)
        complete = block.all_finite
        rounded = not in_double and rounds(block.largest, factors.largest(complete), dtype)
        if rounded or not complete:
            block = self._read(x, complete, torch.float64 if in_double or rounded else dtype)
        leaves, kept = self._products(block.statistics, complete, factors, dtype)
        return leaves, block.base, kept

    def _read(self, x: Tensor, complete: bool, dtype: torch.dtype) -> _Block:
        """A block's statistics; if it is not complete, the last one is whether a cell is finite."""
        statistics = torch.empty((len(x) + 1, 2 if complete else 3, x.shape[1]), dtype=dtype)
        base, found = x.new_empty(x.shape[1]), x.new_empty(2)
        first = native_arguments(statistics)
        assert first is not None
        places = *addresses(x, self.coefficients), *addresses(statistics), *addresses(base, found)
        native.read_normal(*first, *places, len(x), x.shape[1], not complete)
        size, finite = found.tolist()
        all_finite = finite == 1
        # Of an incomplete block, whether a cell is finite is a statistic, too.
        largest = max(size, size * size, 0.0 if all_finite else 1.0)
        return _Block(statistics, base, largest, all_finite)
