"""Input layers: factorised leaves as matrix products of sufficient statistics (paper, 3.5).

A leaf region with scope S has K densities, each a product over the features of S. In an
exponential family their logarithms are one matrix product, sum_i T(x_i) . theta_ik - A(theta_ik),
and the gradient with respect to theta is the statistic of the M-step.

The circuit computes with densities relative to the distribution of each whole column. Terms that
are the same for all K and all regions, such as the base measure h(x), are summed once in float64
and added at the root. The rest is of moderate size, so that float32 is precise enough.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any, ClassVar, Self

import numpy as np
import torch
from torch import Tensor

from sklearn_einet.circuit.backend import choose_backend
from sklearn_einet.circuit.leaves.decaying import Decaying
from sklearn_einet.circuit.leaves.grid_cells import GridCells
from sklearn_einet.circuit.leaves.natural_parameters import NaturalParameters
from sklearn_einet.circuit.leaves.terms import Cells, Terms
from sklearn_einet.circuit.protocols import Backend
from sklearn_einet.families import ExponentialFamily

__all__ = ["TENSORS", "LeafGroup"]

# The tensors that cannot be derived from others.
TENSORS = ("columns", "index", "reference", "least_variance", "phi")


class LeafGroup(ABC):
    """All columns of one family at the leaves of a circuit.

    Parameters
    ----------
    family : ExponentialFamily
    columns : Tensor of shape (n_columns,)
        The group's columns among those of the circuit.
    index : Tensor of shape (n_regions, n_slots)
        For each leaf region, the features of its scope that belong to the group, as positions in
        `columns`, padded with n_columns.
    K : int
        Number of densities of every leaf region.
    reference : Tensor of shape (n_columns, n_statistics)
        Expectation parameters of every whole column: the prior, and the unit of `min_variance`.
    min_variance : float
        See `ExponentialFamily.project`.
    least_variance : ndarray of shape (n_columns,), default=None
        The same for each column of normal leaves, if it exceeds `min_variance`.
    backend : Backend, default=None
        None: the one for the CPU. In any case, all tensors are on the CPU until `move_to`.

    Attributes
    ----------
    grid : GridCells or None
        The columns' cells on a grid, if the group gives probabilities of these.
    phi : Tensor of shape (n_regions, n_slots, n_statistics, K)
        Expectation parameters, in float64.
    own : slice or Tensor
        Selects the group's columns; a slice if possible, which avoids a copy.
    present : Tensor of bool of shape (n_regions, n_slots, 1)
        Which slots are not padding.
    mask : Tensor or None
        `present`, if there is any padding.
    slot_reference : Tensor of shape (n_regions, n_slots, n_statistics, 1)
        The reference of every slot.
    terms : Terms
        The slots that are not padding.
    own_regions : Tensor of int or None
        The leaf regions that `forward` computes: those with columns of the group, if they are few.
        None: all.
    """

    looks_up: ClassVar[bool] = False
    grid: GridCells | None = None
    own_regions: Tensor | None = None

    def __init__(
        self,
        family: ExponentialFamily,
        columns: Tensor,
        index: Tensor,
        K: int,
        reference: Tensor,
        min_variance: float,
        least_variance: np.ndarray | None = None,
        backend: Backend | None = None,
    ) -> None:
        self.backend = backend or choose_backend(columns.device, torch.float64)
        self.family = family
        self.columns = columns
        self.index = index
        self.min_variance = min_variance
        self.reference = reference.unsqueeze(-1)
        least = np.zeros(len(columns)) if least_variance is None else least_variance
        self.least_variance = torch.as_tensor(least)
        self.derive()
        self.phi = self.slot_reference.expand(-1, -1, -1, K).clone()

    def derive(self) -> None:
        """Set the tensors that follow from others: the columns' own distributions, by slot.

        All are on the CPU at first, because their shapes depend on values; see `move_to`.
        """
        first, n = int(self.columns[0]), len(self.columns)
        in_a_row = torch.equal(self.columns, torch.arange(first, first + n))
        self.own = slice(first, first + n) if in_a_row else self.columns
        columns = self.index.clamp_max(n - 1)
        self.present = (self.index < len(self.columns)).unsqueeze(-1)
        self.mask = None if bool(self.present.all()) else self.present
        self.reference_theta = self.family.natural(self.reference)
        self.reference_normalizer = self.family.log_normalizer(self.reference_theta)
        self.slot_reference = self.reference[columns]
        self.slot_least_variance = self.least_variance[columns].unsqueeze(-1)
        self.has_least_variance = bool((self.least_variance > 0).any())
        self.slot_theta = self.reference_theta[columns]
        self.slot_normalizer = self.reference_normalizer[columns]
        slot = torch.nonzero(self.present.view(-1)).view(-1)
        self.terms = Terms(slot // self.index.shape[1], self.index.view(-1)[slot], slot)

    def move_to(self, device: torch.device) -> Self:
        """Move all tensors of the group itself to a device, and return it."""
        for name, value in vars(self).items():
            if isinstance(value, Tensor):
                setattr(self, name, value.to(device))
        self.terms = Terms(*(tensor.to(device) for tensor in self.terms))
        return self

    def __getstate__(self) -> dict[str, Any]:
        arrays = {name: getattr(self, name).cpu().numpy() for name in TENSORS}
        return arrays | {"family": self.family, "min_variance": self.min_variance}

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state)
        for name in TENSORS:
            setattr(self, name, torch.tensor(state[name]))
        self.backend = choose_backend(self.columns.device, torch.float64)
        self.derive()

    @property
    def n_free_parameters(self) -> int:
        """Number of free leaf parameters; padding does not count."""
        return int(self.present.sum()) * self.phi.shape[-1] * self.family.n_free_parameters

    def natural_parameters(self) -> NaturalParameters:
        """Return the current parameters."""
        return self.at(self.family.natural(self.phi))

    def in_slots(self, values: Tensor) -> Tensor:
        """Return values of regions, (n_regions, K), copied to their slots, with 0 in padding,
        (n_regions, n_slots, K)."""
        values = values.unsqueeze(1)
        if self.mask is None:
            return values.repeat(1, self.index.shape[1], 1)
        return torch.where(self.mask, values, 0)

    def at(self, theta: Tensor) -> NaturalParameters:
        """Return the current parameters, given natural ones, (n_regions, n_slots, n_statistics,
        K)."""
        log_normalizer = self.family.log_normalizer(theta) - self.slot_normalizer
        return self.factors(theta - self.slot_theta, log_normalizer)

    def factors(self, theta: Tensor, log_normalizer: Tensor) -> NaturalParameters:
        """Return factors of statistics, as `linear` takes them; see `NaturalParameters`."""
        return NaturalParameters(theta, log_normalizer, self.mask)

    def update(self, weighted: Any, mass: Tensor, pseudocount: float) -> None:
        """Make the M-step (paper, eq. 7): expectation parameters become mean statistics.

        Parameters
        ----------
        weighted : Tensor of shape (n_regions, n_slots, n_statistics, K)
            Statistics of the observed cells, weighted by the posteriors of their leaves; or their
            moving average from `running`, which the parameters follow until `settle` is called.
        mass : Tensor of shape (n_regions, n_slots, K)
            The sums of these posteriors.
        pseudocount : float
            Mass of the prior, which has the statistics of the whole column.
        """
        total = mass.to(self.phi.dtype, copy=True).add_(pseudocount).unsqueeze(2)
        phi = weighted.to(self.phi.dtype, copy=True)
        phi.add_(self.slot_reference, alpha=pseudocount).div_(total)
        least = torch.finfo(torch.float32).tiny
        if pseudocount <= least:
            # A leaf without observed cells keeps its parameters.
            phi = torch.where(total <= least, self.phi, phi)
        self.phi = self.projected(phi)

    def running(self, weighted: Tensor, n_rows: int, pseudocount: float) -> Tensor | Decaying:
        """Return storage for a moving average of `weighted` over batches of a given size.

        Parameters
        ----------
        weighted : Tensor
            The initial average, as `update` takes it.
        n_rows : int
        pseudocount : float
            That of the updates.
        """
        return weighted

    def settle(self) -> None:  # noqa: B027
        """Detach parameters that follow a running average from it."""

    def projected(self, phi: Tensor) -> Tensor:
        """Return the nearest parameters that are not too concentrated, perhaps in the memory of
        the given ones; see `ExponentialFamily.project`."""
        return self.family.project(phi, self.slot_reference, self.least_share)

    @property
    def least_share(self) -> float | Tensor:
        """The least variance in every slot, as a share of the column's own."""
        if self.has_least_variance:
            return self.slot_least_variance.clamp_min(self.min_variance)
        return self.min_variance

    def forward(
        self, x: Tensor, natural: NaturalParameters, dtype: torch.dtype
    ) -> tuple[Tensor, Tensor, Any]:
        """Return the group's share of the leaves' log-densities.

        Parameters
        ----------
        x : Tensor of shape (n_columns, batch)
            In float64. NaN cells are marginalised.
        natural : NaturalParameters
        dtype : torch.dtype
            The type of the result; products that would lose too much precision use float64.

        Returns
        -------
        leaves : Tensor of shape (n_regions, K, batch)
            For the group's `own_regions`, relative to the columns' own distributions.
        base : Tensor of shape (batch,)
            Log-densities of the observed cells under the columns' own distributions, in float64;
            -inf where a value is outside of the support.
        kept
            Intermediate results for `expected`.
        """
        cells = self.cells(x)
        base = self._base(cells)
        leaves, kept = self.own_linear(cells, natural, dtype)
        return leaves, base, kept

    def log_base(self, x: Tensor) -> Tensor:
        """Return log-densities of the observed cells under the columns' own distributions,
        (batch,), as `forward` does."""
        return self._base(self.cells(x))

    def _base(self, cells: Cells) -> Tensor:
        return self._log_reference_sum(cells).add_(cells.impossible)

    @abstractmethod
    def expected(self, kept: Any, flows: Tensor) -> tuple[Tensor, Tensor]:
        """Return statistics of observed cells, weighted by posteriors of leaves; see `update`.

        Parameters
        ----------
        kept
            As from `forward`.
        flows : Tensor of shape (n_regions, K, batch)
            The posteriors of the leaves.

        Returns
        -------
        weighted : Tensor of shape (n_regions, n_slots, n_statistics, K)
            May be sparse.
        mass : Tensor of shape (n_regions, n_slots, K)
        """

    def term_log_densities(self, cells: Cells, terms: Terms, natural: NaturalParameters) -> Tensor:
        """Return log-densities of single cells, relative to their columns' own distributions.

        Parameters
        ----------
        cells : Cells
        terms : Terms
            Some of the group's.
        natural : NaturalParameters

        Returns
        -------
        densities : Tensor of shape (n_terms, K, batch)
            In float64, for `Cells.x`, also where nothing is observed.
        """
        log_normalizer = natural.log_normalizer.flatten(0, 1)[terms.slot]
        products = self._term_products(cells, terms, natural.theta.flatten(0, 1)[terms.slot])
        return products.sub_(log_normalizer.unsqueeze(-1))

    def log_peaks(self) -> Tensor:
        """Return logarithms of the largest densities of all terms, (n_terms, K)."""
        phi = self.phi.flatten(0, 1)[self.terms.slot]
        return self.family.log_prob(self.family.peak(phi), phi)

    def cells(self, x: Tensor) -> Cells:
        """Return a block of data, (n_columns, batch), prepared for the products below."""
        # On a GPU, one would have to wait for the answer.
        if x.device.type == "cpu" and self.family.supports_all(x):
            seen = torch.ones((), dtype=torch.bool).expand(x.shape)
            return Cells(x, seen, True, x.new_zeros(()), self._statistics(x))
        seen = self.family.in_support(x)
        impossible = ~(seen | torch.isnan(x)).all(0)
        x = torch.where(seen, x, self.family.fill_value)
        floor = torch.where(impossible, -torch.inf, 0.0).to(x.dtype)
        return Cells(x, seen, False, floor, self._statistics(x))

    def _statistics(self, x: Tensor) -> Tensor | None:
        """Return sufficient statistics if the products need them."""
        return None

    @abstractmethod
    def linear(
        self, cells: Cells, natural: NaturalParameters, dtype: torch.dtype
    ) -> tuple[Tensor, Any]:
        """Sum T(x) . theta - log_normalizer over a region's observed cells.

        Parameters
        ----------
        cells : Cells
        natural : NaturalParameters
        dtype : torch.dtype
            The type of the result.

        Returns
        -------
        leaves : Tensor of shape (n_regions, K, batch)
        kept
            For `expected`.
        """

    def own_linear(
        self, cells: Cells, natural: NaturalParameters, dtype: torch.dtype
    ) -> tuple[Tensor, Any]:
        """Return the results of `linear` for the group's `own_regions`."""
        return self.linear(cells, natural, dtype)

    def term_log_intervals(self, low: Tensor, high: Tensor, terms: Terms) -> Tensor:
        """Return log-probabilities of intervals in single columns, (n_terms, K, batch).

        Parameters
        ----------
        low, high : Tensor of shape (n_terms, batch)
        terms : Terms
            Some of the group's.
        """
        phi = self.phi.flatten(0, 1)[terms.slot].unsqueeze(1)
        return self.family.log_interval(low.unsqueeze(2), high.unsqueeze(2), phi).transpose(1, 2)

    @abstractmethod
    def _term_products(self, cells: Cells, terms: Terms, theta: Tensor) -> Tensor:
        """Return T(x) . theta, (n_terms, K, batch), for theta (n_terms, n_statistics, K)."""

    @abstractmethod
    def log_reference(self, cells: Cells) -> Tensor:
        """Return log-densities of cells under the columns' own distributions, 0 where nothing is
        observed, (n_columns, batch).
        """

    def _log_reference_sum(self, cells: Cells) -> Tensor:
        """Return the sums of `log_reference` over the columns, (batch,)."""
        return self.log_reference(cells).sum(0)
