"""All learnable parameters of a circuit, in the form of its forward pass."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from sklearn_einet.circuit.leaves.natural_parameters import NaturalParameters

__all__ = ["Parameters"]


@dataclass
class Parameters:
    """All learnable parameters, in the form of the forward pass.

    Attributes
    ----------
    weights : list of Tensor
        Linear weights of all sum layers, as in `Circuit.weights`.
    leaves : list of NaturalParameters
        The parameters of all leaf groups.
    """

    weights: list[Tensor]
    leaves: list[NaturalParameters]

    def lasting(self) -> Parameters:
        """Return the same parameters, prepared for many blocks of rows."""
        for natural in self.leaves:
            natural.lasts = True
        return self
