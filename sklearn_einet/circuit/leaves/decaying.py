"""Moving averages whose tables are changed only where something is added."""

from __future__ import annotations

from torch import Tensor

__all__ = ["Decaying"]

# Below this scale, the table is multiplied out, long before its entries overflow.
LEAST_SCALE = 1e-100


class Decaying:
    """An exponential moving average of sparse tensors, as a table times a scale.

    Everything in the average decays by the same factor, for which it is enough to multiply the
    scale. The cost of a step depends only on what is added.

    Parameters
    ----------
    table : Tensor of float64
        The initial average; changed in place.

    Examples
    --------
    >>> import torch
    >>> from sklearn_einet.circuit.leaves.decaying import Decaying
    >>> average = Decaying(torch.tensor([1.0, 0.0]).double())
    >>> average.blend(torch.tensor([0.0, 1.0]).to_sparse(), keep=0.75, add=0.25)
    >>> average.dense()
    tensor([0.7500, 0.2500], dtype=torch.float64)
    """

    def __init__(self, table: Tensor) -> None:
        self.table = table
        self.scale = 1.0

    def blend(self, more: Tensor, keep: float, add: float) -> None:
        """Make the average ``keep * average + add * more``, with more sparse or dense."""
        self.scale *= keep
        if self.scale < LEAST_SCALE:
            self.table.mul_(self.scale)
            self.scale = 1.0
        self.table.add_(more.to(self.table.dtype), alpha=add / self.scale)

    def dense(self) -> Tensor:
        """Return the average."""
        return self.table * self.scale
