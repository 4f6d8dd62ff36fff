"""Parameters of leaves, and what is derived from them once for all blocks of rows."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from typing import NamedTuple

import torch
from torch import Tensor

__all__ = ["Factors", "LeafParameters"]


class Factors:
    """The parameters' side of products with statistics, sum of T(x) . theta - offset.

    Parameters
    ----------
    theta : Tensor of shape (n_regions, n_slots, n_statistics, K)
    offset : Tensor of shape (n_regions, n_slots, K)
    present : Tensor of bool of shape (n_regions, n_slots, 1)
        Which slots are no padding.
    """

    def __init__(self, theta: Tensor, offset: Tensor, present: Tensor) -> None:
        self.theta = theta
        self.offset = offset
        self.present = present
        self._kept: dict[Hashable, Tensor] = {}
        self._largest: dict[Hashable, float] = {}

    def matrices(self, complete: bool, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
        """Factors of the statistics, and what is subtracted from every product.

        Parameters
        ----------
        complete : bool
            Whether all cells are observed. If not, the indicator of an observed cell is one more
            statistic, with the parameter -offset.
        dtype : torch.dtype

        Returns
        -------
        factors : Tensor of shape (n_regions, n_slots, n_statistics [+ 1], K)
        total : Tensor of shape (n_regions, K)
        """
        if complete:
            return (
                self._once(("theta", dtype), lambda: self.theta.to(dtype)),
                self._once(("total", dtype), lambda: self._total().to(dtype)),
            )
        factors = self._once(
            ("both", dtype), lambda: torch.cat([self.theta, -self.offset.unsqueeze(2)], 2).to(dtype)
        )
        return factors, factors.new_zeros(len(factors), factors.shape[-1])

    def _total(self) -> Tensor:
        return torch.where(self.present, self.offset, 0).sum(1)

    def table(self, dtype: torch.dtype) -> Tensor:
        """theta - offset of every state of every slot, and a last row of zeros for "missing"."""
        return self._once(("table", dtype), lambda: self._table(dtype))

    def _table(self, dtype: torch.dtype) -> Tensor:
        table = (self.theta - self.offset.unsqueeze(2)).to(dtype)
        return torch.nn.functional.pad(table.reshape(-1, table.shape[-1]), (0, 0, 0, 1))

    def largest(self, complete: bool, dtype: torch.dtype) -> float:
        """The largest of the factors, without their sign; to be waited for on a GPU."""
        key = complete, dtype
        if key not in self._largest:
            factors, _ = self.matrices(complete, dtype)
            low, high = torch.aminmax(factors.detach())
            self._largest[key] = max(-float(low), float(high))
        return self._largest[key]

    def _once(self, key: Hashable, compute: Callable[[], Tensor]) -> Tensor:
        if self.theta.requires_grad:  # a result would keep its graph, or have none
            return compute()
        if key not in self._kept:
            self._kept[key] = compute()
        return self._kept[key]


class LeafParameters(NamedTuple):
    """The parameters of a leaf group, as the forward pass takes them.

    Attributes
    ----------
    theta : Tensor of shape (n_regions, n_slots, n_statistics, K)
        Natural parameters.
    normalizer : Tensor of shape (n_regions, n_slots, K)
        Log-normalisers.
    relative : Factors
        Both without those of the columns' own distributions.
    """

    theta: Tensor
    normalizer: Tensor
    relative: Factors
