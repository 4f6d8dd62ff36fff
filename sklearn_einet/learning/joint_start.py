"""Initial joint densities of circuits: mixtures of 1, 2, 4, ... normal densities."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from sklearn_einet.circuit import Circuit
from sklearn_einet.circuit.leaves.joint_normal import JointGroup
from sklearn_einet.circuit.transforms.mixture import root_terms, set_root_terms
from sklearn_einet.families import MultivariateNormal
from sklearn_einet.families.covariance_prior import CovariancePrior
from sklearn_einet.learning.normal_ladder import (
    MAX_STEPS,
    LadderRows,
    Rung,
    climb,
    stacking_weights,
)
from sklearn_einet.native.threads import torch_alone

__all__ = [
    "MIN_STACKING_ROWS",
    "Ladder",
    "ladder_rows",
    "ladder_sizes",
    "restacked",
    "set_joint_densities",
    "stacked_log_likelihood",
]

# Rows per column that each component needs, and the number of components allowed in any case.
ROWS_OF_COLUMN, MIN_COMPONENTS = 1, 8

# Standard deviations of the widest density, in those of the rows, and the rows that its share
# starts with: a safeguard against far-out rows, so small that moments hardly change.
WIDE, WIDE_ROWS = 2.0, 0.05

# Rows that the share of a single density starts with; for mixtures, this is divided by the square
# of their number of components. If unseen rows do not decide, simpler densities are right more
# often, especially far out.
SINGLE_ROWS = 5.0

#: With fewer held-out rows than this, the mixtures' shares are found by cross-validation.
MIN_STACKING_ROWS, FOLDS = 200, 5


def ladder_sizes(n_units: int, n_rows: int, n_columns: int) -> list[int]:
    """Return the numbers of components of mixtures that have so many units in total.

    One unit is left for a wide density. The last mixture has at least a row for each column of each
    component, or few components.
    """
    most = max(MIN_COMPONENTS, n_rows // (ROWS_OF_COLUMN * n_columns))
    most = min(most, max(1, n_rows // 2))
    sizes = [1]
    while 2 * sizes[-1] <= most and sum(sizes) + 2 * sizes[-1] < n_units:
        sizes.append(2 * sizes[-1])
    return sizes


@dataclass(frozen=True)
class Ladder:
    """Mixtures of more and more normal densities, with their shares.

    Attributes
    ----------
    rungs : list of Rung
    shares : Tensor of shape (n_rungs,)
    prior_rows, floor : float
        As in `CovariancePrior`.
    """

    rungs: list[Rung]
    shares: Tensor
    prior_rows: float
    floor: float

    @classmethod
    @torch_alone()
    def flat(
        cls,
        rows: LadderRows,
        size: int,
        prior_rows: float,
        floor: float,
        most: int = MAX_STEPS,
        after_rung: Callable[[int], Any] | None = None,
    ) -> Ladder:
        """Fit a single mixture, with a largest number of EM steps for each mixture before it."""
        sizes = [1]
        while sizes[-1] < size:
            sizes.append(min(size, 2 * sizes[-1]))
        *_, last = climb(rows, sizes, prior_rows, floor, most, after_rung)
        return cls([last], torch.ones_like(rows.center[:1]), prior_rows, floor)

    @classmethod
    @torch_alone()
    def fit(
        cls,
        rows: LadderRows,
        sizes: list[int],
        prior_rows: float,
        floor: float,
        held_out: LadderRows | None,
        random_state: np.random.RandomState,
        after_rung: Callable[[int], Any] | None = None,
    ) -> Ladder:
        """Fit mixtures of all sizes, and their shares by rows that they have not seen."""
        how = sizes, prior_rows, floor, MAX_STEPS, after_rung
        rungs = list(climb(rows, *how))
        unseen, weight = _unseen(rows, held_out, random_state, how, rungs)
        return cls([*rungs, _wide(rungs[0])], _shares(unseen, weight, sizes), prior_rows, floor)

    @property
    def rung_of_unit(self) -> Tensor:
        """The rung of every density."""
        counts = torch.tensor([len(rung.log_weights) for rung in self.rungs])
        return torch.repeat_interleave(counts)

    @property
    def n_units(self) -> int:
        """Number of all densities."""
        return len(self.rung_of_unit)

    @property
    def unit_weights(self) -> Tensor:
        """Weights of all densities."""
        weights = torch.cat([rung.log_weights for rung in self.rungs]).exp()
        return weights * self.shares[self.rung_of_unit]


@torch_alone()
def stacked_log_likelihood(
    rows: LadderRows,
    sizes: list[int],
    prior_rows: float,
    floor: float,
    held_out: LadderRows | None,
    random_state: np.random.RandomState,
    after_rung: Callable[[int], Any] | None = None,
) -> float:
    """Return the mean log-density of unseen rows, in nats, under the ladder that `Ladder.fit` finds
    with the same arguments."""
    how = sizes, prior_rows, floor, MAX_STEPS, after_rung
    unseen, weight = _unseen(rows, held_out, random_state, how)
    log_shares = _shares(unseen, weight, sizes).log().unsqueeze(1)
    return float((unseen + log_shares).logsumexp(0) @ weight / weight.sum())


def _unseen(
    rows: LadderRows,
    held_out: LadderRows | None,
    random_state: np.random.RandomState,
    how: tuple[Any, ...],
    rungs: list[Rung] | None = None,
) -> tuple[Tensor, Tensor]:
    """Return log-densities of unseen rows under every mixture, the wide density last, and the rows'
    weights.

    They are the held-out rows, if there are enough, else all rows in turn. `how` are the other
    arguments of `climb`; the mixtures of all rows may be known.
    """
    n = len(rows.weight)
    if held_out is not None and len(held_out.weight) >= MIN_STACKING_ROWS:
        ladders, unseen = [climb(rows, *how) if rungs is None else iter(rungs)], [held_out]
    elif n < 2:
        ladders, unseen = [climb(rows, *how)], [rows]
    else:
        n_folds = min(FOLDS, n)
        folds = torch.as_tensor(random_state.permutation(n) % n_folds)
        ladders = [climb(rows.of(folds != fold), *how) for fold in range(n_folds)]
        unseen = [rows.of(folds == fold) for fold in range(n_folds)]
    return _scored(ladders, unseen, len(how[0]))


def _scored(
    ladders: list[Iterator[Rung]], unseen: list[LadderRows], n_rungs: int
) -> tuple[Tensor, Tensor]:
    """Return log-densities of rows that each ladder has not seen, and the rows' weights.

    Once two mixtures in a row make unseen rows less likely than one before, no larger ones are
    tried, and they have density 0. (What is compared are averages with the single density, which
    few far-out rows do not decide.)
    """
    weight = torch.cat([rows.weight for rows in unseen])
    values: list[Tensor] = []
    gains: list[float] = []
    wide: list[Tensor] = []
    for rungs in zip(*ladders, strict=True):
        pairs = list(zip(rungs, unseen, strict=True))
        values.append(torch.cat([rung.log_density(rows.z) for rung, rows in pairs]))
        if not wide:
            wide = [_wide(rung).log_density(rows.z) for rung, rows in pairs]
        gains.append(float(torch.logaddexp(values[-1], values[0]) @ weight))
        if len(gains) > 2 and max(gains[-2:]) < max(gains):
            break
    untried = torch.full_like(weight, -torch.inf)
    return torch.stack([*values, *[untried] * (n_rungs - len(values)), torch.cat(wide)]), weight


def _shares(unseen: Tensor, weight: Tensor, sizes: list[int]) -> Tensor:
    """Return the shares of mixtures of these sizes and of the wide density, given the log-densities
    of unseen rows."""
    prior = unseen.new_tensor([*(SINGLE_ROWS / size**2 for size in sizes), WIDE_ROWS])
    return stacking_weights(unseen, weight, prior)


def _wide(single: Rung) -> Rung:
    """Return a single density, wider."""
    wide = MultivariateNormal(single.normals.mean, WIDE**2 * single.normals.covariance)
    return Rung(single.log_weights, wide, WIDE**2 * single.scale)


def set_joint_densities(circuit: Circuit, ladder: Ladder) -> None:
    """Give a circuit with one joint group the densities of a ladder, and its root their weights.

    The circuit is changed. Spare units are copies of the last ones, with hardly any weight.
    """
    (group,) = circuit.joint_groups
    n_units, last = len(group.normals), ladder.n_units - 1
    source = torch.arange(n_units).clamp_max(last)
    normals = [rung.normals for rung in ladder.rungs]
    group.normals = MultivariateNormal(
        torch.cat([each.mean for each in normals])[source],
        torch.cat([each.covariance for each in normals])[source],
    ).to(circuit.device)
    group.prior = CovariancePrior(
        torch.stack([rung.scale for rung in ladder.rungs]),
        ladder.rung_of_unit[source],
        ladder.prior_rows,
        ladder.floor,
    ).to(circuit.device)
    weights = torch.zeros(n_units, dtype=torch.float64)
    weights[: last + 1] = ladder.unit_weights
    set_root_terms(circuit, weights.view(-1, circuit.K))


def restacked(circuit: Circuit, ladder: Ladder) -> Circuit:
    """Return a circuit in which every mixture of the ladder has its share again."""
    (group,) = circuit.joint_groups
    terms = root_terms(circuit).flatten().to("cpu", torch.float64)
    rung = group.prior.pool.cpu()
    total = torch.zeros_like(ladder.shares).index_add_(0, rung, terms)
    result = circuit.to(circuit.device)
    result.weights = [*circuit.weights[:-1], circuit.weights[-1].clone()]
    terms = terms * (ladder.shares / total.clamp_min(1e-30))[rung]
    set_root_terms(result, (terms / terms.sum()).view(-1, circuit.K))
    return result


def ladder_rows(group: JointGroup, columns: Tensor, weight: Tensor | None) -> LadderRows:
    """Return rows (n_features, batch) as mixtures of a group's columns learn from them; those
    without any observed cell are left out."""
    z = group.axis(columns)
    if weight is None:
        weight = torch.ones_like(z[0])
    rows = LadderRows(z, weight.to(torch.float64), group.center, group.spread)
    return rows.of(~torch.isnan(z).all(0))
