"""Terms of one kind in compiled steps: their statistics and parameters in one row of memory."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor

from sklearn_einet.circuit import Circuit
from sklearn_einet.circuit.leaves.base import LeafGroup
from sklearn_einet.circuit.leaves.cells import CellGroup
from sklearn_einet.families.bernoulli import MIN_PROBABILITY
from sklearn_einet.families.categorical import ADDED_PROBABILITY
from sklearn_einet.learning.statistics import Statistics
from sklearn_einet.native.program import BATCH, Address, PerStep, Recorder

__all__ = ["Binaries", "GridNormals", "Normals", "States", "TermsOfKind"]


class TermsOfKind(ABC):
    """All terms of one kind: the columns of some leaf groups in leaf regions.

    Parameters
    ----------
    circuit : Circuit
    first : ndarray of int
        Where the columns of every leaf group begin among those of all.
    groups : sequence of int
        The numbers of the leaf groups.

    Attributes
    ----------
    number : int
        That of the kind in the operation `leaf_values`.
    region, column : ndarray of int of shape (n_terms,)
    """

    number: ClassVar[int]

    def __init__(self, circuit: Circuit, first: np.ndarray, groups: Sequence[int]) -> None:
        self.K = circuit.K
        self._numbers = list(groups)
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
        """The region of every term, and what `leaf_values` is told of it."""
        number = np.full(len(self), self.number)
        return np.column_stack([self.region, number, self.column, self._places])

    @property
    def _places(self) -> np.ndarray:
        return np.arange(len(self))

    @property
    def _terms(self) -> np.ndarray:
        """What the M-step is told of every term."""
        return np.column_stack([self.region, self.column])

    def _of_slots(self, values: Sequence[Tensor], *empty: int) -> Tensor:
        """Return what is said of slots, (n_regions, n_slots, ...) for every group, of the terms."""
        pairs = zip(values, self._slots, strict=True)
        parts = [value.flatten(0, 1)[slot] for value, slot in pairs]
        return torch.cat(parts) if parts else torch.empty(*empty, dtype=torch.float64)

    def _in_groups(self, average: Statistics) -> Iterator[tuple[LeafGroup, Tensor, Tensor, Tensor]]:
        """Yield the groups, their slots and the average's statistics of them."""
        for number, group, slot in zip(self._numbers, self._groups, self._slots, strict=True):
            yield group, slot, *average.leaves[number]

    @abstractmethod
    def read(self, average: Statistics) -> None:
        """Copy a moving average, and the parameters of the circuit."""

    @abstractmethod
    def write(self, average: Statistics, pseudocount: float) -> None:
        """Copy the moving average back, and set the circuit's parameters by it."""

    @abstractmethod
    def record_update(
        self, recorder: Recorder, columns: Address, flows: Address, pseudocount: float
    ) -> None:
        """Record the M-step."""


class _WithFactors(TermsOfKind):
    """Terms whose parameters follow from their sums in the M-step.

    Attributes
    ----------
    factors : Tensor of shape (n_terms, n_factors, K)
        Parameters, as operations take them.
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

    def read(self, average: Statistics) -> None:
        leaves = [average.leaves[number] for number in self._numbers]
        weighted = self._of_slots([w for w, _ in leaves], 0, self.n_factors - 1, self.K)
        mass = self._of_slots([m for _, m in leaves], 0, self.K)
        self.sums.copy_(torch.cat([mass.unsqueeze(1), weighted], 1))
        phi = self._of_slots([group.phi for group in self._groups], 0, self.n_factors - 1, self.K)
        self.factors.copy_(self._factors_of(phi))

    def write(self, average: Statistics, pseudocount: float) -> None:
        start = 0
        for group, slot, weighted, mass in self._in_groups(average):
            own = self.sums[start : start + len(slot)]
            start += len(slot)
            mass.flatten(0, 1)[slot] = own[:, 0]
            weighted.flatten(0, 1)[slot] = own[:, 1:]
            group.update(weighted, mass, pseudocount)

    def record_update(
        self, recorder: Recorder, columns: Address, flows: Address, pseudocount: float
    ) -> None:
        recorder.call(
            self.operation,
            x=columns,
            flows=flows,
            terms=recorder.kept(self._terms),
            sums=recorder.fixed(self.sums),
            factors=recorder.fixed(self.factors),
            keep=PerStep("keep"),
            add=PerStep("add"),
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
        """Return what the M-step is told of the columns."""


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


class _WithLogs(TermsOfKind):
    """Terms whose logarithms are computed where they occur, state by state.

    Attributes
    ----------
    n_states : ndarray of int of shape (n_terms,)
    logs : Tensor of shape (n_rows, K)
        Those of the states of all terms.
    """

    number = 2
    n_states: np.ndarray
    logs: Tensor
    _first = 0

    @property
    def n_rows(self) -> int:
        """Number of states of all terms."""
        return int(self.n_states.sum())

    def place(self, logs: Tensor, first: int) -> None:
        """Have the logarithms among those of others, from a row on."""
        self.logs, self._first = logs[first : first + self.n_rows], first

    @property
    def _places(self) -> np.ndarray:
        return self._first + np.cumsum(self.n_states) - self.n_states

    @property
    def _terms(self) -> np.ndarray:
        own = self._places - self._first
        return np.column_stack([self.region, self.column, own, self.n_states])

    @abstractmethod
    def record_values(self, recorder: Recorder, columns: Address) -> None:
        """Record what `leaf_values` needs of the states that a batch has."""


class GridNormals(_WithLogs, Normals):
    """Normal densities of columns on a grid: the probabilities of its cells."""

    operation = "cell_update"

    def __init__(self, circuit: Circuit, first: np.ndarray, groups: Sequence[int]) -> None:
        super().__init__(circuit, first, groups)
        own: list[CellGroup] = self._groups  # type: ignore[assignment]
        none = np.empty(0, dtype=np.int64)
        self.n_states = np.concatenate([none, *(group.n_states.numpy() for group in own)])
        self._ends = torch.cat([torch.empty(0, 2).double(), *(g.ends_of_row for g in own)])
        self._reference = torch.cat([torch.empty(0).double(), *(g.reference_of_row for g in own)])
        self._moments = torch.zeros(self.n_rows, 2, self.K, dtype=torch.float64)

    def record_values(self, recorder: Recorder, columns: Address) -> None:
        recorder.call(
            "cell_values",
            x=columns,
            terms=recorder.kept(self._terms),
            factors=recorder.fixed(self.factors),
            ends=recorder.fixed(self._ends),
            reference=recorder.fixed(self._reference),
            logs=recorder.fixed(self.logs),
            moments=recorder.fixed(self._moments),
            n_terms=len(self),
            k=self.K,
            batch=BATCH,
        )

    def _of_reference(self, recorder: Recorder) -> dict[str, Any]:
        return super()._of_reference(recorder) | {"moments": recorder.fixed(self._moments)}


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


class States(_WithLogs):
    """Densities of any number of states."""

    def __init__(self, circuit: Circuit, first: np.ndarray, groups: Sequence[int]) -> None:
        super().__init__(circuit, first, groups)
        pairs = zip(self._groups, self._slots, strict=True)
        sizes = [np.full(len(slot), group.family.n_statistics) for group, slot in pairs]
        self.n_states = np.concatenate([np.empty(0, dtype=np.int64), *sizes])
        references = [group.slot_reference for group in self._groups]
        self.reference = self._by_state(references).view(-1)
        self.counts = torch.zeros(self.n_rows, self.K, dtype=torch.float64)
        self.mass = torch.zeros(len(self), self.K, dtype=torch.float64)
        self.scale = torch.ones(1, dtype=torch.float64)

    def _by_state(self, values: Sequence[Tensor]) -> Tensor:
        """Return what is said of states, (n_regions, n_slots, n_states, n) for every group, of the
        states of all terms."""
        pairs = zip(values, self._slots, strict=True)
        parts = [value.flatten(0, 1)[slot].flatten(0, 1) for value, slot in pairs]
        return torch.cat(parts) if parts else torch.empty(0, 1, dtype=torch.float64)

    def read(self, average: Statistics) -> None:
        leaves = [average.leaves[number] for number in self._numbers]
        self.counts.copy_(self._by_state([weighted for weighted, _ in leaves]))
        self.mass.copy_(self._of_slots([mass for _, mass in leaves], 0, self.K))
        self.scale.fill_(1)

    def write(self, average: Statistics, pseudocount: float) -> None:
        first = start = 0
        for group, slot, weighted, mass in self._in_groups(average):
            n_states = group.family.n_statistics
            counts = self.counts[first : first + len(slot) * n_states] * self.scale
            weighted.flatten(0, 1)[slot] = counts.view(len(slot), n_states, self.K)
            mass.flatten(0, 1)[slot] = self.mass[start : start + len(slot)]
            first, start = first + len(counts), start + len(slot)
            group.update(weighted, mass, pseudocount)

    def record_values(self, recorder: Recorder, columns: Address) -> None:
        recorder.call(
            "state_logs",
            x=columns,
            terms=recorder.kept(self._terms),
            counts=recorder.fixed(self.counts),
            mass=recorder.fixed(self.mass),
            reference=recorder.fixed(self.reference),
            scale=recorder.fixed(self.scale),
            logs=recorder.fixed(self.logs),
            prior=PerStep("prior"),
            least=ADDED_PROBABILITY,
            n_terms=len(self),
            k=self.K,
            batch=BATCH,
        )

    def record_update(
        self, recorder: Recorder, columns: Address, flows: Address, pseudocount: float
    ) -> None:
        recorder.call(
            "state_update",
            x=columns,
            flows=flows,
            terms=recorder.kept(self._terms),
            counts=recorder.fixed(self.counts),
            mass=recorder.fixed(self.mass),
            scale=recorder.fixed(self.scale),
            keep=PerStep("keep"),
            add=PerStep("add"),
            n_terms=len(self),
            n_states=len(self.counts),
            k=self.K,
            batch=BATCH,
        )
