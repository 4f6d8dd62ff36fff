"""The results of an upward pass."""

from __future__ import annotations

from functools import cached_property
from typing import Any

from torch import Tensor

from sklearn_einet.circuit.protocols import Passes

__all__ = ["Activations"]


class Activations:
    """The values of all regions and partitions for a batch of rows.

    Parameters
    ----------
    passes : Passes
    state
        What `Passes.up` returned.
    """

    def __init__(self, passes: Passes, state: Any) -> None:
        self._passes = passes
        self._state = state

    @cached_property
    def outputs(self) -> list[Tensor]:
        """Logarithms of the values of the leaf regions and of every layer's rows, (rows, K, batch)
        each."""
        return self._passes.outputs(self._state)

    @property
    def root(self) -> Tensor:
        """Logarithm of the root's value for every row, (batch,)."""
        return self._passes.root(self._state)
