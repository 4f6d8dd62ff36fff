"""Terms in compiled steps with logarithms in tables: states, and cells of grids."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from copy import copy
from typing import Any, NamedTuple, Self

import numpy as np
import torch
from torch import Tensor

from sklearn_einet.circuit import Circuit
from sklearn_einet.circuit.leaves.base import LeafGroup
from sklearn_einet.circuit.leaves.cells import CellGroup
from sklearn_einet.families.categorical import ADDED_PROBABILITY
from sklearn_einet.learning.compiled_terms import Blend, Normals, TermsOfKind
from sklearn_einet.learning.statistics import Statistics
from sklearn_einet.native.program import BATCH, TABLES, Address, PerStep, Recorder

__all__ = ["AVERAGE", "PARAMETERS", "GridNormals", "Prior", "States"]


class Prior(NamedTuple):
    """Rules for probabilities of states from counts: the mass of a prior, and what is finally added
    to each probability."""

    mass: float | PerStep
    least: float


# Counts are a moving average, or final parameters.
AVERAGE = Prior(PerStep("prior"), ADDED_PROBABILITY)
PARAMETERS = Prior(0.0, 0.0)

# The tables of a run: logarithms of states and cells, and counts of states.
LOGS, COUNTS = range(2)


class _WithLogs(TermsOfKind):
    """Terms whose logarithms are computed where they occur, state by state.

    Attributes
    ----------
    n_states : ndarray of int of shape (n_terms,)
    first_row : int
        Where their logarithms begin in the table that they share with others.
    """

    number = 2
    n_states: np.ndarray
    first_row = 0

    @property
    def n_rows(self) -> int:
        """Number of states of all terms."""
        return int(self.n_states.sum())

    def _logs(self, recorder: Recorder) -> Address:
        """Return the address of their logarithms."""
        return Address(TABLES, LOGS, self.first_row * self.K * recorder.itemsize)

    @property
    def _places(self) -> np.ndarray:
        return self.first_row + np.cumsum(self.n_states) - self.n_states

    @property
    def _terms(self) -> np.ndarray:
        own = self._places - self.first_row
        return np.column_stack([self.region, self.column, own, self.n_states])

    @abstractmethod
    def record_values(self, recorder: Recorder, columns: Address, prior: Prior) -> None:
        """Record the computation of what `leaf_values` needs for the states of a batch."""


class GridNormals(_WithLogs, Normals):
    """Normal densities of columns on a grid, as probabilities of its cells."""

    operation = "cell_update"

    def __init__(self, circuit: Circuit, first: np.ndarray, groups: Sequence[int]) -> None:
        super().__init__(circuit, first, groups)
        own: list[CellGroup] = self._groups  # type: ignore[assignment]
        none = np.empty(0, dtype=np.int64)
        self.n_states = np.concatenate([none, *(group.n_states.numpy() for group in own)])
        self._ends = torch.cat([torch.empty(0, 2).double(), *(g.ends_of_row for g in own)])
        self._reference = torch.cat([torch.empty(0).double(), *(g.reference_of_row for g in own)])
        self._moments = torch.zeros(self.n_rows, 2, self.K, dtype=torch.float64)

    def record_values(self, recorder: Recorder, columns: Address, prior: Prior) -> None:
        recorder.call(
            "cell_values",
            x=columns,
            terms=recorder.kept(self._terms),
            factors=recorder.fixed(self.factors),
            ends=recorder.fixed(self._ends),
            reference=recorder.fixed(self._reference),
            logs=self._logs(recorder),
            moments=recorder.fixed(self._moments),
            n_terms=len(self),
            k=self.K,
            batch=BATCH,
        )

    def _of_reference(self, recorder: Recorder) -> dict[str, Any]:
        return super()._of_reference(recorder) | {"moments": recorder.fixed(self._moments)}


class States(_WithLogs):
    """Densities of any number of states.

    Attributes
    ----------
    counts : Tensor of shape (n_rows, K)
        Sums or parameters, from reading until `release`. They are many, so that a lone group
        without padding shares them with what is read.
    """

    def __init__(self, circuit: Circuit, first: np.ndarray, groups: Sequence[int]) -> None:
        super().__init__(circuit, first, groups)
        pairs = zip(self._groups, self._slots, strict=True)
        sizes = [np.full(len(slot), group.family.n_statistics) for group, slot in pairs]
        self.n_states = np.concatenate([np.empty(0, dtype=np.int64), *sizes])
        references = [group.slot_reference for group in self._groups]
        self.reference = self._by_state(references).view(-1)
        self.release()
        self.mass = torch.zeros(len(self), self.K, dtype=torch.float64)
        self.scale = torch.ones(1, dtype=torch.float64)

    def _by_state(self, values: Sequence[Tensor]) -> Tensor:
        """Return values by state, given as (n_regions, n_slots, n_states, n) for every group, for
        the states of all terms."""
        pairs = zip(values, self._slots, strict=True)
        parts = []
        for value, slot in pairs:
            by_slot = value.flatten(0, 1)
            parts.append((by_slot if len(slot) == len(by_slot) else by_slot[slot]).flatten(0, 1))
        if len(parts) == 1:
            return parts[0].contiguous()
        return torch.cat(parts) if parts else torch.empty(0, 1, dtype=torch.float64)

    def apart(self) -> Self:
        other = copy(self)
        other.mass = torch.zeros_like(self.mass)
        other.scale = torch.ones_like(self.scale)
        return other

    def read_parameters(self, groups: Sequence[LeafGroup]) -> None:
        phi = self._phi(groups)
        self.counts = self._by_state(phi)
        self.mass.copy_(self._of_slots([each.sum(2) for each in phi], 0, self.K))
        self.scale.fill_(1)

    def read_sums(self, average: Statistics) -> None:
        leaves = [average.leaves[number] for number in self.numbers]
        self.counts = self._by_state([weighted for weighted, _ in leaves])
        self.mass.copy_(self._of_slots([mass for _, mass in leaves], 0, self.K))
        self.scale.fill_(1)

    def release(self) -> None:
        """Drop the counts."""
        self.counts = torch.empty(0, self.K, dtype=torch.float64)

    def write(self, statistics: Statistics) -> None:
        self.counts.mul_(self.scale)
        self.scale.fill_(1)
        first = start = 0
        for group, slot, weighted, mass in self._in_groups(statistics):
            n_states = group.family.n_statistics
            counts = self.counts[first : first + len(slot) * n_states]
            if counts.data_ptr() != weighted.data_ptr():
                weighted.flatten(0, 1)[slot] = counts.view(len(slot), n_states, self.K)
            mass.flatten(0, 1)[slot] = self.mass[start : start + len(slot)]
            first, start = first + len(counts), start + len(slot)

    def record_values(self, recorder: Recorder, columns: Address, prior: Prior) -> None:
        recorder.call(
            "state_logs",
            x=columns,
            terms=recorder.kept(self._terms),
            counts=Address(TABLES, COUNTS, 0),
            mass=recorder.fixed(self.mass),
            reference=recorder.fixed(self.reference),
            scale=recorder.fixed(self.scale),
            logs=self._logs(recorder),
            prior=prior.mass,
            least=prior.least,
            n_terms=len(self),
            k=self.K,
            batch=BATCH,
        )

    def record_update(
        self, recorder: Recorder, columns: Address, flows: Address, blend: Blend, pseudocount: float
    ) -> None:
        recorder.call(
            "state_update",
            x=columns,
            flows=flows,
            terms=recorder.kept(self._terms),
            counts=Address(TABLES, COUNTS, 0),
            mass=recorder.fixed(self.mass),
            scale=recorder.fixed(self.scale),
            keep=blend.keep,
            add=blend.add,
            n_terms=len(self),
            n_states=self.n_rows,
            k=self.K,
            batch=BATCH,
        )
