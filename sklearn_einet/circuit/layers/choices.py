"""Choices on a walk from the root to the leaves: which term of a sum to follow."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence

from torch import Tensor

__all__ = ["Choices", "TermValues"]

# Maps numbers of sums, their units and rows of the batch, (n_visits,) each, to logarithms of the
# values of the terms there, (n_visits, n_terms).
TermValues = Callable[[Tensor, Tensor, Tensor], Tensor]


class Choices(ABC):
    """How a walk chooses one term of each sum node that it meets."""

    @abstractmethod
    def term(
        self,
        weights: Tensor,
        visits: Tensor,
        values: Callable[[Sequence[Tensor]], TermValues],
    ) -> Tensor:
        """Return the number of a term, (n_visits,), for each visit.

        Parameters
        ----------
        weights : Tensor of shape (n_sums, k_out, n_terms)
        visits : Tensor of int of shape (3, n_visits)
            Row of the batch, number of the sum, unit.
        values : callable
            Maps the outputs of the upward pass to a function that returns the values of the terms,
            if these matter.
        """

    @abstractmethod
    def pair(
        self,
        weights: Tensor,
        visits: Tensor,
        children: Callable[[Sequence[Tensor]], Tensor],
    ) -> Tensor:
        """Return a unit of each child, (2, n_visits), for each visit.

        Parameters
        ----------
        weights : Tensor of shape (n_partitions, k_out, K, K)
        visits : Tensor of int of shape (3, n_visits)
            Row of the batch, partition, unit.
        children : callable
            Maps the outputs of the upward pass to the log-densities of the children,
            (2 * n_partitions, K, batch), if these matter.
        """
