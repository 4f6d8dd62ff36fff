"""Terms of one kind in compiled steps, with contiguous statistics and parameters."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from copy import copy
from typing import Any, ClassVar, NamedTuple, Self

import numpy as np
import torch
from torch import Tensor

from sklearn_einet.circuit import Circuit
from sklearn_einet.circuit.leaves.base import LeafGroup
from sklearn_einet.families.bernoulli import MIN_PROBABILITY
from sklearn_einet.learning.statistics import Statistics
from sklearn_einet.native.program import BATCH, Address, PerStep, Recorder

__all__ = ["ADDED", "BY_STEP", "Binaries", "Blend", "Normals", "TermsOfKind"]


class Blend(NamedTuple):
    """Factors for sums and for the sums of a batch that are added to them."""

    keep: float | PerStep
    add: float | PerStep


BY_STEP = Blend(PerStep("keep"), PerStep("add"))
ADDED = Blend(1.0, 1.0)


class TermsOfKind(ABC):
    """All terms of one kind: the columns of some leaf groups in leaf regions.

    Parameters
    ----------
    circuit : Circuit
    first : ndarray of int
        Where the columns of every leaf group begin among all columns.
    groups : sequence of int
        The numbers of the leaf groups.

    Attributes
    ----------
    number : int
        The number of the kind in the operation `leaf_values`.
    numbers : list of int
        The numbers of the leaf groups.
    region, column : ndarray of int of shape (n_terms,)
    """

    number: ClassVar[int]

    def __init__(self, circuit: Circuit, first: np.ndarray, groups: Sequence[int]) -> None:
        self.K = circuit.K
        self.numbers = list(groups)
        self._groups = [circuit.leaf_groups[i] for i in groups]
        self._slots = [group.terms.slot for group in self._groups]
        none = [torch.empty(0, dtype=torch.int64)]
        regions = [group.terms.region for group in self._groups]
        columns = [
            g.terms.column + int(first[i]) for i, g in zip(groups, self._groups, strict=True)
        ]
        self.region = torch.cat(regions or none).numpy()
        self.column = torch.cat(columns or none).numpy()

    def __len__(self) -> int:
        return len(self.region)

    @property
    def triples(self) -> np.ndarray:
        """The region of every term, and its description for `leaf_values`."""
        number = np.full(len(self), self.number)
        return np.column_stack([self.region, number, self.column, self._places])

    @property
    def _places(self) -> np.ndarray:
        return np.arange(len(self))

    @property
    def _terms(self) -> np.ndarray:
        """The description of every term for the M-step."""
        return np.column_stack([self.region, self.column])

    def _of_slots(self, values: Sequence[Tensor], *empty: int) -> Tensor:
        """Return values by term, given values by slot, (n_regions, n_slots, ...), for every
        group."""
        pairs = zip(values, self._slots, strict=True)
        parts = [value.flatten(0, 1)[slot] for value, slot in pairs]
        return torch.cat(parts) if parts else torch.empty(*empty, dtype=torch.float64)

    def _in_groups(self, average: Statistics) -> Iterator[tuple[LeafGroup, Tensor, Tensor, Tensor]]:
        """Yield the groups, their slots and their statistics in the average."""
        for number, group, slot in zip(self.numbers, self._groups, self._slots, strict=True):
            yield group, slot, *average.leaves[number]

    def _phi(self, groups: Sequence[LeafGroup]) -> list[Tensor]:
        """Return the parameters of the groups of the kind, among all."""
        return [groups[number].phi for number in self.numbers]

    @abstractmethod
    def apart(self) -> Self:
        """Return the same terms with sums of their own; for all methods, see `CompiledLeaves`."""

    @abstractmethod
    def read_parameters(self, groups: Sequence[LeafGroup]) -> None:
        """Copy the parameters of leaf groups."""

    @abstractmethod
    def read_sums(self, average: Statistics) -> None:
        """Copy a moving average, from which parameters may be computed."""

    @abstractmethod
    def write(self, statistics: Statistics) -> None:
        """Copy the sums into statistics, in place."""

    @abstractmethod
    def record_update(
        self, recorder: Recorder, columns: Address, flows: Address, blend: Blend, pseudocount: float
    ) -> None:
        """Record the addition of a batch's sums, and the M-step."""


class _WithFactors(TermsOfKind):
    """Terms whose parameters follow from their sums in the M-step.

    Attributes
    ----------
    factors : Tensor of shape (n_terms, n_factors, K)
        Parameters in the form that operations take.
    """

    n_factors: ClassVar[int]
    operation: ClassVar[str]

    def __init__(self, circuit: Circuit, first: np.ndarray, groups: Sequence[int]) -> None:
        super().__init__(circuit, first, groups)
        shape = len(self), self.n_factors, self.K
        self.factors = torch.zeros(shape, dtype=torch.float64)
        self.sums = torch.zeros_like(self.factors)
        references = [group.slot_reference.squeeze(-1) for group in self._groups]
        self.reference = self._of_slots(references, 0, self.n_factors - 1)

    def apart(self) -> Self:
        other = copy(self)
        other.sums, other.factors = torch.zeros_like(self.sums), torch.zeros_like(self.factors)
        return other

    def read_parameters(self, groups: Sequence[LeafGroup]) -> None:
        phi = self._of_slots(self._phi(groups), 0, self.n_factors - 1, self.K)
        self.factors.copy_(self._factors_of(phi))

    def read_sums(self, average: Statistics) -> None:
        leaves = [average.leaves[number] for number in self.numbers]
        weighted = self._of_slots([w for w, _ in leaves], 0, self.n_factors - 1, self.K)
        mass = self._of_slots([m for _, m in leaves], 0, self.K)
        self.sums.copy_(torch.cat([mass.unsqueeze(1), weighted], 1))

    def write(self, statistics: Statistics) -> None:
        start = 0
        for _, slot, weighted, mass in self._in_groups(statistics):
            own = self.sums[start : start + len(slot)]
            start += len(slot)
            mass.flatten(0, 1)[slot] = own[:, 0]
            weighted.flatten(0, 1)[slot] = own[:, 1:]

    def record_update(
        self, recorder: Recorder, columns: Address, flows: Address, blend: Blend, pseudocount: float
    ) -> None:
        recorder.call(
            self.operation,
            x=columns,
            flows=flows,
            terms=recorder.kept(self._terms),
            sums=recorder.fixed(self.sums),
            factors=recorder.fixed(self.factors),
            keep=blend.keep,
            add=blend.add,
            prior=pseudocount,
            n_terms=len(self),
            k=self.K,
            batch=BATCH,
            **self._of_reference(recorder),
        )

    @abstractmethod
    def _factors_of(self, phi: Tensor) -> Tensor:
        """Return factors, given expectation parameters, (n_terms, n_factors - 1, K)."""

    @abstractmethod
    def _of_reference(self, recorder: Recorder) -> dict[str, Any]:
        """Return the description of the columns for the M-step."""


class Normals(_WithFactors):
    """Normal densities.

    Attributes
    ----------
    priors : Tensor of shape (n_terms, 4)
        Mean and mean square of the columns, and the least and the largest variance.
    """

    number = 0
    n_factors = 3
    operation = "normal_update"

    def __init__(self, circuit: Circuit, first: np.ndarray, groups: Sequence[int]) -> None:
        super().__init__(circuit, first, groups)
        limits = [
            torch.cat(group.family.limits(group.slot_reference, group.least_share), -1)  # type: ignore[attr-defined]
            for group in self._groups
        ]
        self.priors = torch.cat([self.reference, self._of_slots(limits, 0, 2)], 1)

    def _factors_of(self, phi: Tensor) -> Tensor:
        mean, square = phi.unbind(1)
        reference, of_square = self.reference.unsqueeze(2).unbind(1)
        variance = square - mean * mean
        constant = -0.5 * torch.log(variance / (of_square - reference * reference))
        return torch.stack([mean, 0.5 / variance, constant], 1)

    def _of_reference(self, recorder: Recorder) -> dict[str, Any]:
        return {"priors": recorder.fixed(self.priors)}


class Binaries(_WithFactors):
    """Densities of 0 and 1."""

    number = 1
    n_factors = 2
    operation = "binary_update"

    def _factors_of(self, phi: Tensor) -> Tensor:
        share, own = phi.squeeze(1), self.reference
        none = torch.log1p(-share) - torch.log1p(-own)
        return torch.stack([none, torch.logit(share) - torch.logit(own)], 1)

    def _of_reference(self, recorder: Recorder) -> dict[str, Any]:
        return {"reference": recorder.fixed(self.reference), "least": MIN_PROBABILITY}
