"""Leaf parameters as factors of statistics, with results that all blocks share."""

from __future__ import annotations

from collections.abc import Callable, Hashable

import torch
from torch import Tensor

__all__ = ["NaturalParameters"]


class NaturalParameters:
    """The parameters' side of products with statistics, sum of T(x) . theta - log_normalizer.

    In a circuit they are relative: the natural parameters and log-normalisers of the columns' own
    distributions are subtracted.

    Parameters
    ----------
    theta : Tensor of shape (n_regions, n_slots, n_statistics, K)
    log_normalizer : Tensor of shape (n_regions, n_slots, K)
    mask : Tensor of bool of shape (n_regions, n_slots, 1), or None
        Which slots are not padding. None: all.

    Attributes
    ----------
    lasts : bool
        Whether many blocks of rows will follow, so that tables are worth their cost.
    """

    lasts = False

    def __init__(self, theta: Tensor, log_normalizer: Tensor, mask: Tensor | None) -> None:
        self.theta = theta
        self.log_normalizer = log_normalizer
        self.mask = mask
        self._kept: dict[Hashable, Tensor] = {}
        self._largest: dict[bool, float] = {}

    def matrices(self, complete: bool, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
        """Return factors of the statistics, and the numbers to subtract from every product.

        Parameters
        ----------
        complete : bool
            Whether all cells are observed. If not, the indicator of an observed cell is one more
            statistic, with the parameter -log_normalizer.
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
            ("both", dtype),
            lambda: torch.cat([self.theta, -self.log_normalizer.unsqueeze(2)], 2).to(dtype),
        )
        return factors, factors.new_zeros(len(factors), factors.shape[-1])

    def _total(self) -> Tensor:
        if self.mask is None:
            return self.log_normalizer.sum(1)
        return torch.where(self.mask, self.log_normalizer, 0).sum(1)

    def table(self, dtype: torch.dtype) -> Tensor:
        """Return theta - log_normalizer of every state of every slot, and a last row of zeros for
        "missing"."""
        return self._once(("table", dtype), lambda: self._table(dtype))

    def _table(self, dtype: torch.dtype) -> Tensor:
        table = (self.theta - self.log_normalizer.unsqueeze(2)).to(dtype)
        return torch.nn.functional.pad(table.reshape(-1, table.shape[-1]), (0, 0, 0, 1))

    def rows(self, used: Tensor) -> Tensor:
        """Return some of the rows of `table`, in double precision."""
        slot = used // self.theta.shape[2]
        return self.theta.flatten(0, 2)[used] - self.log_normalizer.flatten(0, 1)[slot]

    def largest(self, complete: bool) -> float:
        """Return the largest absolute value of the factors; a GPU has to be waited for."""
        if complete not in self._largest:
            factors = [self.theta] if complete else [self.theta, self.log_normalizer]
            ends = [float(end) for f in factors for end in torch.aminmax(f.detach())]
            self._largest[complete] = max(map(abs, ends))
        return self._largest[complete]

    def _once(self, key: Hashable, compute: Callable[[], Tensor]) -> Tensor:
        if self.theta.requires_grad:  # a result would keep its graph, or have none
            return compute()
        if key not in self._kept:
            self._kept[key] = compute()
        return self._kept[key]
