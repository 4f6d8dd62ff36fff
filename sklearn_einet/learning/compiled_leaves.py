"""All leaf groups of a circuit in compiled programs: their values, and their statistics."""

from __future__ import annotations

from collections.abc import Sequence
from copy import copy
from typing import Self

import numpy as np
import torch
from torch import Tensor

from sklearn_einet.circuit import Circuit
from sklearn_einet.circuit.leaves.base import LeafGroup
from sklearn_einet.circuit.leaves.groups import are_large_products
from sklearn_einet.families import Bernoulli, Categorical, Normal
from sklearn_einet.learning.compiled_states import LOGS, GridNormals, Prior, States
from sklearn_einet.learning.compiled_table import given_places
from sklearn_einet.learning.compiled_terms import Binaries, Blend, Normals, TermsOfKind
from sklearn_einet.learning.statistics import Statistics
from sklearn_einet.native.program import BATCH, NULL, TABLES, Address, PerStep, Recorder

__all__ = ["CompiledLeaves", "multiplies"]

# From this many densities of cells in a batch, torch is faster if they are large matrix products.
LARGE_PRODUCT = 2**19


def multiplies(circuit: Circuit, batch_size: int) -> bool:
    """Return whether torch is faster for a batch, because normal leaves of many columns are large
    matrix products there."""
    normal = [g for g in circuit.leaf_groups if type(g.family) is Normal and g.grid is None]
    n_terms = sum(len(group.terms.slot) for group in normal)
    return n_terms * circuit.K * batch_size > LARGE_PRODUCT and are_large_products(normal)


class CompiledLeaves:
    """The leaves of a circuit, or of another circuit with the same layers.

    Parameters
    ----------
    circuit : Circuit
        Its families are those of `CompiledTable`.
    """

    def __init__(self, circuit: Circuit) -> None:
        self._shape = circuit.output_shapes[0]
        self._given_at = given_places(circuit)
        first = np.cumsum([0, *(len(g.columns) for g in circuit.leaf_groups)])
        groups = list(enumerate(circuit.leaf_groups))

        def groups_of(family: type, is_plain: bool = True) -> list[int]:
            return [
                i
                for i, group in groups
                if isinstance(group.family, family) and (group.grid is None) == is_plain
            ]

        self._normals = Normals(circuit, first, groups_of(Normal))
        self._binaries = Binaries(circuit, first, groups_of(Bernoulli))
        self._states = States(circuit, first, groups_of(Categorical))
        self._grids = GridNormals(circuit, first, groups_of(Normal, False))
        self._kinds: list[TermsOfKind] = [
            self._normals,
            self._binaries,
            self._states,
            self._grids,
        ]
        self._grids.first_row = self._states.n_rows
        self._dtype = circuit.dtype

    def apart(self) -> Self:
        """Return the same terms with sums of their own, 0 at first, whose updates do not change
        the parameters of these terms."""
        other = copy(self)
        other._states = self._states.apart()
        others = self._normals, self._binaries, self._grids
        other._kinds = [other._states, *(kind.apart() for kind in others)]
        return other

    def read(self, average: Statistics, groups: Sequence[LeafGroup]) -> None:
        """Read a moving average, and the parameters of leaf groups that agree with it."""
        self.read_parameters(groups)
        self.read_sums(average)

    def read_parameters(self, groups: Sequence[LeafGroup]) -> None:
        """Read the parameters of leaf groups; those of states are shared if possible."""
        for kind in self._kinds:
            kind.read_parameters(groups)

    def read_sums(self, statistics: Statistics) -> None:
        """Read the sums so far; those of states are shared with the statistics if possible."""
        for kind in self._kinds:
            kind.read_sums(statistics)

    def tables(self) -> list[Tensor]:
        """Return the tables with which to run what has been recorded, until the next reading."""
        n_rows = max(1, self._states.n_rows + self._grids.n_rows)  # for an address
        return [torch.empty(n_rows, self._shape[1], dtype=self._dtype), self._states.counts]

    def write(self, statistics: Statistics) -> None:
        """Copy the sums into the statistics that they were read from."""
        for kind in self._kinds:
            kind.write(statistics)

    def release(self) -> None:
        """Drop the tables of parameters or sums, which would otherwise live as long as this."""
        self._states.release()

    def update(
        self, groups: Sequence[LeafGroup], statistics: Statistics, pseudocount: float
    ) -> None:
        """Make the M-step of leaf groups; constants are skipped."""
        for number in (number for kind in self._kinds for number in kind.numbers):
            groups[number].update(*statistics.leaves[number], pseudocount)

    def record_values(
        self,
        recorder: Recorder,
        columns: Address,
        leaves: Address,
        prior: Prior,
        given: Tensor,
        rows: Address | PerStep,
    ) -> None:
        """Record the values of leaf regions for a batch.

        Parameters
        ----------
        recorder : Recorder
        columns : Address
            The batch's cells, column by column.
        leaves : Address
            Of the result.
        prior : Prior
            That of states.
        given : Tensor of shape (n_rows, n_values)
            Values of joint densities.
        rows : Address or PerStep
            The batch's rows among these.
        """
        for each in filter(len, (self._states, self._grids)):
            each.record_values(recorder, columns, prior)
        n_regions, k = self._shape
        triples = np.concatenate([kind.triples for kind in self._kinds])
        triples = triples[np.argsort(triples[:, 0], kind="stable")]
        ends = np.searchsorted(triples[:, 0], np.arange(n_regions), side="right")
        has_given = given.shape[1] > 0
        recorder.call(
            "leaf_values",
            x=columns,
            ends=recorder.kept(ends),
            terms=recorder.kept(triples[:, 1:].copy()),
            normals=recorder.fixed(self._normals.factors),
            priors=recorder.fixed(self._normals.priors),
            binaries=recorder.fixed(self._binaries.factors),
            logs=Address(TABLES, LOGS, 0),
            given=recorder.fixed(given) if has_given else NULL,
            given_at=recorder.kept(self._given_at) if has_given else NULL,
            rows=rows,
            leaves=leaves,
            n_regions=n_regions,
            n_terms=len(triples),
            n_given=given.shape[1],
            k=k,
            batch=BATCH,
        )

    def record_update(
        self, recorder: Recorder, columns: Address, flows: Address, blend: Blend, pseudocount: float
    ) -> None:
        """Record the addition of a batch's sums, given the flows of leaf regions, to the sums so
        far, and the M-step that follows."""
        for kind in filter(len, self._kinds):
            kind.record_update(recorder, columns, flows, blend, pseudocount)
