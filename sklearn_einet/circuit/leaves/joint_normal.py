"""Leaf regions whose numeric columns have multivariate normal densities."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor

from sklearn_einet.circuit.leaves.groups import LeafColumns
from sklearn_einet.circuit.leaves.normal_rows import expected_statistics, log_density, scored
from sklearn_einet.families import MultivariateNormal, Normal
from sklearn_einet.families.covariance_prior import CovariancePrior, maximized
from sklearn_einet.families.multivariate_normal import pairs
from sklearn_einet.families.normal import LOG_SQRT_2PI
from sklearn_einet.structure import Region

__all__ = ["JointGroup", "joint_groups"]

# Memory for the distances of a block of rows from all means.
JOINT_BYTES = 2**22

# The tensors that cannot be derived from others.
TENSORS = ("columns", "regions", "center", "spread")


class JointGroup:
    """All joint leaf regions of a circuit over the same columns.

    Densities are on the axes of the columns' families, relative to the columns' own distributions,
    as in `LeafGroup`. Base measures and impossible values are handled by the columns' leaf groups.

    Parameters
    ----------
    columns : sequence of LeafColumns
        Normal families with the columns that the regions have.
    regions : Tensor of int of shape (n_regions,)
        The rows of the leaf regions' output.
    K : int
    device : torch.device

    Attributes
    ----------
    columns : Tensor of int of shape (d,)
        The columns of the circuit; those of one family are contiguous.
    center, spread : Tensor of shape (d,)
        Mean and standard deviation of the columns' own distributions.
    normals : MultivariateNormal
        n_regions * K densities; those of one region are contiguous.
    prior : CovariancePrior
    frozen : bool
        Whether EM leaves the densities as they are.
    """

    frozen = False

    def __init__(
        self, columns: Sequence[LeafColumns], regions: Tensor, K: int, device: torch.device
    ) -> None:
        self.families: list[Normal] = [each.family for each in columns]  # type: ignore[misc]
        self.sizes = [len(each.columns) for each in columns]
        numbers = [torch.as_tensor(each.columns) for each in columns]
        self.columns = torch.cat(numbers).to(device)
        self.regions = regions
        self.K = K
        reference = torch.cat([torch.as_tensor(each.reference) for each in columns]).to(device)
        self.center = reference[:, 0]
        self.spread = (reference[:, 1] - self.center**2).sqrt()
        n, d = len(regions) * K, len(self.columns)
        whole = torch.diag(self.spread**2)
        pool = torch.zeros(n, dtype=torch.int64, device=device)
        self.prior = CovariancePrior(whole.unsqueeze(0), pool, 1.0, 0.0)
        mean = self.center.expand(n, d).clone()
        self.normals = MultivariateNormal(mean, whole.expand(n, d, d).clone())

    def __getstate__(self) -> dict[str, Any]:
        arrays = {name: getattr(self, name).cpu().numpy() for name in TENSORS}
        prior = vars(self.prior) | {
            "scale": self.prior.scale.cpu().numpy(),
            "pool": self.prior.pool.cpu().numpy(),
        }
        normals = self.normals.mean.cpu().numpy(), self.normals.covariance.cpu().numpy()
        return arrays | {
            "families": self.families,
            "sizes": self.sizes,
            "K": self.K,
            "frozen": self.frozen,
            "prior": prior,
            "normals": normals,
        }

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state)
        for name in TENSORS:
            setattr(self, name, torch.tensor(state[name]))
        prior = state["prior"]
        tensors = {name: torch.tensor(prior[name]) for name in ("scale", "pool")}
        self.prior = CovariancePrior(**(prior | tensors))
        self.normals = MultivariateNormal(*(torch.tensor(each) for each in state["normals"]))

    def to(self, device: torch.device) -> JointGroup:
        """Return the same group on another device; tensors are shared if possible."""
        other = JointGroup.__new__(JointGroup)
        vars(other).update(vars(self))
        for name in TENSORS:
            setattr(other, name, getattr(self, name).to(device))
        other.prior = self.prior.to(device)
        other.normals = self.normals.to(device)
        return other

    def positions(self, columns: Tensor) -> Tensor:
        """Return positions among the group's columns, given column numbers of the circuit."""
        order = self.columns.argsort()
        return order[torch.searchsorted(self.columns[order], columns)]

    def copy_from(self, other: JointGroup, own_rows: Tensor, rows: Tensor, columns: Tensor) -> None:
        """Copy the densities of some regions from another group, in place.

        Parameters
        ----------
        other : JointGroup
        own_rows, rows : Tensor of int
            Positions of regions among those of this group and of the other one.
        columns : Tensor of int of shape (d,)
            Where the columns of this group are among those of the other one.
        """
        units = torch.arange(self.K, device=rows.device)
        here = (own_rows.unsqueeze(1) * self.K + units).flatten()
        there = (rows.unsqueeze(1) * self.K + units).flatten()
        old = other.normals.of(there).marginal(columns)
        mean, covariance = self.normals.mean.clone(), self.normals.covariance.clone()
        mean[here], covariance[here] = old.mean, old.covariance
        self.normals = MultivariateNormal(mean, covariance)
        scale = other.prior.scale[:, columns.unsqueeze(1), columns]
        pool = self.prior.pool.clone()
        pool[here] = other.prior.pool[there] + len(self.prior.scale)
        used, pool = torch.unique(pool, return_inverse=True)
        scales = torch.cat([self.prior.scale, scale])[used]
        self.prior = CovariancePrior(scales, pool, other.prior.rows, other.prior.floor)

    @property
    def n_free_parameters(self) -> int:
        """Number of free parameters: means and the upper triangles of the covariances."""
        d = len(self.columns)
        return len(self.normals) * (d + d * (d + 1) // 2)

    @property
    def block_rows(self) -> int:
        """How many rows to process at a time, to save memory."""
        return max(16, JOINT_BYTES // (8 * len(self.normals) * len(self.columns)))

    @property
    def tensors(self) -> tuple[Tensor, Tensor]:
        """The parameters: means and covariances."""
        return self.normals.mean, self.normals.covariance

    def axis(self, columns: Tensor) -> Tensor:
        """Return the group's cells on the axes of their families.

        Parameters
        ----------
        columns : Tensor of shape (n_features, batch)

        Returns
        -------
        z : Tensor of shape (d, batch)
            NaN where a cell is missing, or outside of the support.
        """
        parts = []
        for family, x in self.by_family(columns[self.columns]):
            parts.append(torch.where(family.in_support(x), family.axis(x), torch.nan))
        return torch.cat(parts)

    def by_family(self, values: Tensor) -> Iterator[tuple[Normal, Tensor]]:
        """Yield every family, with the part of values (d, ...) for its columns."""
        yield from zip(self.families, values.split(self.sizes), strict=True)

    def log_reference(self, z: Tensor) -> Tensor:
        """Return log-densities of cells under the columns' own distributions, by axis, 0 where
        missing, (d, batch)."""
        distance = (z - self.center.unsqueeze(1)) / self.spread.unsqueeze(1)
        peak = -self.spread.log().unsqueeze(1) - LOG_SQRT_2PI
        return torch.nan_to_num(peak - 0.5 * distance**2, nan=0.0)

    def forward(self, columns: Tensor, for_expected: bool = False) -> tuple[Tensor, Any]:
        """Return log-densities of the regions, (n_regions, K, batch), and results for `expected`.

        Parameters
        ----------
        columns : Tensor of shape (n_features, batch)
        for_expected : bool, default=False
            Whether `expected` will be called.
        """
        z = self.axis(columns)
        values = torch.empty(len(self.normals), z.shape[1], dtype=torch.float64, device=z.device)
        kept = []
        for part in self.blocks(z):
            block = z[:, part]
            if for_expected and not self.frozen:
                values[:, part], more = scored(self.normals, block)
                kept.append((part, more))
            else:
                values[:, part] = log_density(self.normals, block)
        values -= self.log_reference(z).sum(0)
        return values.view(len(self.regions), self.K, -1), kept

    def blocks(self, z: Tensor) -> Iterator[slice]:
        """Yield some of the rows of (d, batch) at a time."""
        for start in range(0, z.shape[1], self.block_rows):
            yield slice(start, start + self.block_rows)

    def expected(self, kept: Any, flows: Tensor) -> tuple[Tensor, Tensor]:
        """Return expected statistics x and x x' and the sums of posteriors.

        Parameters
        ----------
        kept
            As from `forward`.
        flows : Tensor of shape (n_leaf_regions, K, batch)

        Returns
        -------
        weighted : Tensor of shape (n_densities, d + d (d + 1) / 2)
        mass : Tensor of shape (n_densities,)
            Both are empty if the group is frozen.
        """
        posterior = flows[self.regions].flatten(0, 1).to(torch.float64)
        d = len(self.columns)
        n = 0 if self.frozen else len(self.normals)
        total = posterior.new_zeros(n, 1 + d + d * (d + 1) // 2)
        for part, rows in kept:
            total += expected_statistics(self.normals, rows, posterior[:, part])
        return total[:, 1:], total[:, 0]

    def prior_statistics(self, mass: Tensor) -> tuple[Tensor, Tensor]:
        """Return expected statistics of rows drawn from the densities.

        Parameters
        ----------
        mass : Tensor of shape (n_leaf_regions, K)
            How often each density is reached.
        """
        own = mass[self.regions].flatten().to(torch.float64)
        mean = self.normals.mean
        second = self.normals.covariance + mean.unsqueeze(2) * mean.unsqueeze(1)
        row, column = pairs(mean.shape[1], mean.device)
        statistics = torch.cat([mean, second[:, row, column]], 1)
        if self.frozen:
            statistics, own = statistics[:0], own[:0]
        return statistics * own.unsqueeze(1), own

    def update(self, weighted: Tensor, mass: Tensor, pseudocount: float, unit: float) -> None:
        """Make the M-step.

        Parameters
        ----------
        weighted, mass : Tensor
            As from `expected`.
        pseudocount : float
            Mass of the prior, which has the means and variances of the whole columns.
        unit : float
            Mass of a row.
        """
        if self.frozen:
            return
        self.normals = maximized(
            self.normals, weighted, mass, self.prior, (self.center, self.spread), pseudocount, unit
        )

    def penalty(self, pseudocount: float) -> Tensor:
        """Return the log-density of the parameters under the prior, up to a constant, in nats."""
        normals = self.normals
        distance = self.center - normals.mean
        square = torch.einsum("ni,nij,nj->n", distance, normals.precision, distance)
        trace = (normals.precision.diagonal(dim1=1, dim2=2) * self.spread**2).sum(1)
        whole = (normals.log_peak - 0.5 * (square + trace)).sum()
        return pseudocount * whole + self.prior.penalty(normals)


def joint_groups(
    leaf_columns: Sequence[LeafColumns], leaves: Sequence[Region], K: int, device: torch.device
) -> list[JointGroup]:
    """Return the groups of joint leaf regions, one for each set of columns."""
    by_columns: dict[frozenset[int], list[int]] = {}
    numeric = [each for each in leaf_columns if each.can_be_joint]
    possible = {int(column) for each in numeric for column in each.columns}
    for row, leaf in enumerate(leaves):
        if leaf.joint and leaf.scope & possible:
            by_columns.setdefault(leaf.scope & possible, []).append(row)
    result = []
    for wanted, rows in by_columns.items():
        own = [each.of([int(c) in wanted for c in each.columns]) for each in numeric]
        own = [each for each in own if len(each.columns)]
        result.append(JointGroup(own, torch.tensor(rows, device=device), K, device))
    return result
