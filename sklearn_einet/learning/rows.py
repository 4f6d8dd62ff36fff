"""Training rows, encoded block by block."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
import torch
from torch import Tensor

__all__ = ["Rows"]


class Rows:
    """Rows of a table with weights, read in blocks.

    Parameters
    ----------
    X : array of shape (n_samples, n_features)
        Anything whose rows can be selected by slices and index arrays.
    encode : callable
        Maps selected rows to float64 in the circuit's units.
    weight : ndarray of shape (n_samples,) or None
    device : torch.device
    random_state : RandomState
        Source of the order of mini-batches.
    """

    def __init__(
        self,
        X: np.ndarray,
        encode: Callable[[np.ndarray], np.ndarray],
        weight: np.ndarray | None,
        device: torch.device,
        random_state: np.random.RandomState,
    ) -> None:
        self.X = X
        self.encode = encode
        self.weight = weight
        self.device = device
        self.random_state = random_state

    def __len__(self) -> int:
        return len(self.X)

    @property
    def total_weight(self) -> float:
        """Sum of the weights."""
        return float(len(self.X) if self.weight is None else self.weight.sum())

    def select(self, which: slice | np.ndarray) -> tuple[Tensor, Tensor | None]:
        """Encoded rows and their weights on the device."""
        x = torch.from_numpy(self.encode(self.X[which])).to(self.device)
        if self.weight is None:
            return x, None
        return x, torch.from_numpy(self.weight[which].copy()).to(self.device)

    def batches(self, size: int) -> Iterator[np.ndarray]:
        """Indices of mini-batches of nearly equal size, all rows once, in random order."""
        order = self.random_state.permutation(len(self.X))
        return iter(np.array_split(order, -(-len(order) // size)))

    def blocks(self, size: int, which: np.ndarray | None = None) -> Iterator[slice | np.ndarray]:
        """Cut the given rows (None: all) into pieces of at most `size` rows."""
        for start in range(0, len(self.X if which is None else which), size):
            block = slice(start, start + size)
            yield block if which is None else which[block]
