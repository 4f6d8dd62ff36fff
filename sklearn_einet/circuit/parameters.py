"""Everything learnable of a circuit, as its forward pass takes it."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from sklearn_einet.circuit.leaves.natural_parameters import NaturalParameters

__all__ = ["Parameters"]


@dataclass
class Parameters:
    """Everything learnable, as the forward pass takes it.

    Attributes
    ----------
    weights : list of Tensor
        Linear weights of all sum layers, as `Circuit.weights`.
    leaves : list of NaturalParameters
        Those of all leaf groups.
    """

    weights: list[Tensor]
    leaves: list[NaturalParameters]

    def lasting(self) -> Parameters:
        """Return the same for many blocks of rows to come."""
        for natural in self.leaves:
            natural.lasts = True
        return self
