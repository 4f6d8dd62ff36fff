"""Walks from the root to the leaves, for a whole batch of rows at once."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from sklearn_einet.circuit.circuit import Activations, Circuit
from sklearn_einet.circuit.layers.base import Layer
from sklearn_einet.circuit.layers.choices import Choices, TermValues
from sklearn_einet.circuit.leaves.joint_normal import JointGroup
from sklearn_einet.circuit.queries.descent import descend
from sklearn_einet.circuit.queries.joint import drawn
from sklearn_einet.families import ExponentialFamily

__all__ = [
    "Choices",
    "MostProbableChoices",
    "PosteriorChoices",
    "PriorChoices",
    "Values",
    "fill",
    "sample",
    "walk",
    "walks_at_a_time",
]

# How many leaf parameters a block of walks may use.
WALK_CELLS = 2**22

# How many terms of sum nodes are held at a time.
WALK_TERMS = 2**21


@dataclass(frozen=True)
class Values:
    """Fills cells from the leaves that walks have reached.

    Attributes
    ----------
    random_state : RandomState or None
        The source of draws. None: use the values of highest density.
    """

    random_state: np.random.RandomState | None

    def __call__(self, family: ExponentialFamily, phi: np.ndarray) -> np.ndarray:
        """Return values (n_cells,), given expectation parameters (n_statistics, n_cells)."""
        if self.random_state is None:
            return family.peak(torch.from_numpy(phi)).numpy()
        return family.sample(phi, self.random_state)


def sample(
    circuit: Circuit,
    n_samples: int,
    random_state: np.random.RandomState,
    values: Values | None = None,
) -> np.ndarray:
    """Draw rows by ancestral sampling: float64, in the units of the circuit.

    `values` fills the cells; None: draws from the leaves.
    """
    rows = np.full((n_samples, circuit.region_graph.n_features), np.nan)
    visits = walk(circuit, n_samples, PriorChoices(random_state))
    fill(circuit, visits, rows, values or Values(random_state))
    return rows


class PriorChoices(Choices):
    """Choices drawn by the sums' own weights, for rows without evidence.

    Parameters
    ----------
    random_state : RandomState
    """

    def __init__(self, random_state: np.random.RandomState) -> None:
        self.random_state = random_state

    def term(
        self,
        weights: Tensor,
        visits: Tensor,
        values: Callable[[Sequence[Tensor]], TermValues],
    ) -> Tensor:
        return self._draw(weights, visits)

    def pair(
        self,
        weights: Tensor,
        visits: Tensor,
        children: Callable[[Sequence[Tensor]], Tensor],
    ) -> Tensor:
        pair = self._draw(weights.flatten(2), visits)
        k = weights.shape[3]
        return torch.stack([pair // k, pair % k])

    def _draw(self, weights: Tensor, visits: Tensor) -> Tensor:
        """Return one index for each visit, with probabilities weights[row, unit]."""
        n = weights.shape[-1]
        cumulative = weights.to(torch.float64).cumsum(-1)
        cumulative = (cumulative / cumulative[..., -1:]).view(-1, n)
        distribution = visits[1] * weights.shape[1] + visits[2]
        u = torch.as_tensor(self.random_state.random_sample(visits.shape[1])).to(weights.device)
        # Distribution i occupies [i, i + 1), so that one sorted search serves them all.
        ends = cumulative + torch.arange(len(cumulative), device=weights.device).unsqueeze(1)
        index = torch.searchsorted(ends.view(-1), u + distribution, right=True)
        return (index - distribution * n).clamp(0, n - 1)


class _EvidenceChoices(Choices):
    """Choices by weights times the values of the terms, row by row.

    Parameters
    ----------
    activations : Activations
        For the rows of the evidence; walk number i belongs to row i modulo their number.
    """

    def __init__(self, activations: Activations) -> None:
        self.activations = activations
        self.n_rows = activations.root.shape[0]

    def term(
        self,
        weights: Tensor,
        visits: Tensor,
        values: Callable[[Sequence[Tensor]], TermValues],
    ) -> Tensor:
        values_of = values(self.activations.outputs)
        log_weights = weights.log()
        result = torch.empty_like(visits[0])
        for part in _blocks(visits.shape[1], weights.shape[2]):
            row, number, unit = visits[:, part]
            here = values_of(number, unit, row % self.n_rows)
            result[part] = self._choose(log_weights[number, unit] + here)
        return result

    def pair(
        self,
        weights: Tensor,
        visits: Tensor,
        children: Callable[[Sequence[Tensor]], Tensor],
    ) -> Tensor:
        below = children(self.activations.outputs)
        log_weights = weights.log()
        result = torch.empty_like(visits[:2])
        for part in _blocks(visits.shape[1], weights[0, 0].numel()):
            row, partition, unit = visits[:, part]
            left = below[2 * partition, :, row % self.n_rows]
            right = below[2 * partition + 1, :, row % self.n_rows]
            terms = log_weights[partition, unit] + right.unsqueeze(1)
            result[0, part] = self._choose(self._total(terms) + left)
            chosen = torch.arange(len(row), device=row.device), result[0, part]
            result[1, part] = self._choose(terms[chosen])
        return result

    @abstractmethod
    def _total(self, log_terms: Tensor) -> Tensor:
        """Return the total of the terms along the last axis."""

    @abstractmethod
    def _choose(self, log_terms: Tensor) -> Tensor:
        """Return one index along the last axis."""


class PosteriorChoices(_EvidenceChoices):
    """Choices drawn by the posterior given the evidence.

    Parameters
    ----------
    activations : Activations
    random_state : RandomState
    """

    def __init__(self, activations: Activations, random_state: np.random.RandomState) -> None:
        super().__init__(activations)
        self.random_state = random_state

    def _total(self, log_terms: Tensor) -> Tensor:
        return log_terms.logsumexp(-1)

    def _choose(self, log_terms: Tensor) -> Tensor:
        terms = (log_terms - log_terms.amax(-1, keepdim=True)).exp_().to(torch.float64)
        cumulative = terms.cumsum_(-1)
        total = cumulative[:, -1]
        u = torch.as_tensor(self.random_state.random_sample(len(terms))).to(terms.device)
        # Rounding must not reach the total, or a last term of probability 0 might be drawn.
        point = torch.minimum(u * total, torch.nextafter(total, torch.zeros_like(total)))
        return (cumulative <= point.unsqueeze(-1)).sum(-1)


class MostProbableChoices(_EvidenceChoices):
    """Choices of the most probable term; needs activations of the semiring `MAX`."""

    def _total(self, log_terms: Tensor) -> Tensor:
        return log_terms.amax(-1)

    def _choose(self, log_terms: Tensor) -> Tensor:
        return log_terms.argmax(-1)


def _blocks(n_visits: int, n_terms: int) -> Iterator[slice]:
    """Yield some visits at a time, grouped by the number of terms to choose from."""
    step = max(1, WALK_TERMS // n_terms)
    for start in range(0, n_visits, step):
        yield slice(start, start + step)


def walks_at_a_time(circuit: Circuit) -> int:
    """Return how many walks to make together so that the leaves' parameters take little memory."""
    widest = max(group.family.n_statistics for group in circuit.leaf_groups)
    return max(1, WALK_CELLS // (circuit.region_graph.n_features * widest))


def walk(circuit: Circuit, n_walks: int, choices: Choices) -> Tensor:
    """Walk down from the root, choosing one term of every sum node on the way.

    A walk visits the nodes of one induced tree: a partition of each region that it reaches, and a
    unit of each child. The choices of all walks in a layer are made together.

    Parameters
    ----------
    circuit : Circuit
    n_walks : int
    choices : Choices

    Returns
    -------
    visits : Tensor of int of shape (3, n_visits)
        Number of the walk, leaf region, unit.
    """
    start = torch.zeros(3, n_walks, dtype=torch.int64, device=circuit.device)
    start[0] = torch.arange(n_walks, device=circuit.device)

    def visit(number: int, layer: Layer, weights: Tensor, visits: list[Tensor]) -> Tensor:
        return layer.choose(choices, weights, torch.cat(visits, 1))

    def receive(
        visits: list[Tensor] | None, layer: Layer, output: int, below: Tensor
    ) -> list[Tensor]:
        walk, child, unit = below
        source, row = layer.layout.on(below.device, "children")[child].T
        return [*(visits or []), torch.stack([walk, row, unit])[:, source == output]]

    return torch.cat(descend(circuit, [start], visit, receive), 1)


def fill(
    circuit: Circuit,
    visits: Tensor,
    rows: np.ndarray,
    values: Values,
    evidence: Tensor | None = None,
) -> None:
    """Fill every missing cell from the leaf unit that the walk has reached.

    Parameters
    ----------
    circuit : Circuit
    visits : Tensor of int of shape (3, n_visits)
        As from `walk`.
    rows : ndarray of shape (n_walks, n_features)
        In the units of the circuit, NaN where missing; changed in place.
    values : Values
    evidence : Tensor of shape (n_features, n_rows), default=None
        The evidence of the choices; walk number i belongs to row i modulo n_rows. None: no
        evidence.
    """
    missing = torch.as_tensor(np.isnan(rows), device=circuit.device)
    walk, region, unit = visits
    for group in circuit.leaf_groups:
        columns = torch.nn.functional.pad(group.columns, (0, 1), value=-1)[group.index]
        wanted = missing[walk.unsqueeze(1), columns[region]] & group.present[region, :, 0]
        visit, slot = torch.nonzero(wanted, as_tuple=True)
        phi = group.phi[region[visit], slot, :, unit[visit]].T.cpu().numpy()
        where = walk[visit].cpu().numpy(), columns[region[visit], slot].cpu().numpy()
        rows[where] = values(group.family, phi)
    for joint in circuit.joint_groups:
        _fill_joint(joint, visits, rows, values, evidence)


def _fill_joint(
    group: JointGroup,
    visits: Tensor,
    rows: np.ndarray,
    values: Values,
    evidence: Tensor | None,
) -> None:
    """Fill the missing cells of a joint group."""
    walk, region, unit = visits[:, torch.isin(visits[1], group.regions)]
    if not len(walk):
        return
    density = torch.searchsorted(group.regions, region) * group.K + unit
    columns = group.columns.cpu().numpy()
    if evidence is None:
        z = group.center.new_full((len(columns), len(walk)), torch.nan)
    else:
        z = group.axis(evidence)[:, walk % evidence.shape[1]]
    filled = drawn(group, z, density, values.random_state)
    parts = [family.from_axis(part) for family, part in group.by_family(filled)]
    found = torch.cat(parts).T.cpu().numpy()
    where = np.ix_(walk.cpu().numpy(), columns)
    before = rows[where]
    rows[where] = np.where(np.isnan(before), found, before)
