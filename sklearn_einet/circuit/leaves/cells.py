"""Normal leaves of columns on a grid, which give probabilities of its cells."""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from sklearn_einet.circuit.leaves.grid_cells import GridCells
from sklearn_einet.circuit.leaves.natural_parameters import NaturalParameters
from sklearn_einet.circuit.leaves.product import ProductGroup
from sklearn_einet.circuit.leaves.tables import TableGroup
from sklearn_einet.circuit.leaves.terms import Cells, Terms
from sklearn_einet.families import Normal
from sklearn_einet.families.normal_cells import FARTHEST, normal_cells
from sklearn_einet.native.backend import NativeBackend
from sklearn_einet.native.look_ups import cell_sums, cell_values, looked_up

__all__ = ["CellGroup"]

# Tables with fewer numbers than this are computed as a whole without counting cells first.
SMALL_TABLE = 2**11

# The same for parameters that last.
LASTING_TABLE = 2**18


class CellGroup(TableGroup, ProductGroup):
    """Normal leaves that give a value the probability of its cell, divided by the cell's width.

    Values are latent normal numbers rounded to a grid: the probabilities of all cells add up to 1
    however narrow a leaf is, and boxes and draws agree with them. The E-step uses the expected
    statistics of the latent number. Values beyond the grid's cells, where a leaf is wide or has
    hardly any mass, get the density.

    Parameters
    ----------
    grid : GridCells
    *arguments
        As in `LeafGroup`.

    Attributes
    ----------
    edges : Tensor of shape (n_columns, n_cells + 1)
        As in the grid, but finite.
    has_cell : Tensor of bool of shape (n_columns, n_cells)
        Which cells are not padding.
    log_width : Tensor of shape (n_columns, n_cells)
    cell_reference : Tensor of shape (n_columns, n_cells)
        Logarithms of the cells' probabilities under the columns' own distributions.
    """

    family: Normal
    grid: GridCells

    def __init__(self, grid: GridCells, *arguments: Any) -> None:
        self.grid = grid
        super().__init__(*arguments)

    def __getstate__(self) -> dict[str, Any]:
        return super().__getstate__() | {"grid": self.grid}

    def derive(self) -> None:
        self.edges = torch.as_tensor(self.grid.edges.clip(-FARTHEST, FARTHEST))
        log_width = torch.as_tensor(self.grid.log_width)
        self.has_cell = ~torch.isnan(log_width)
        self.log_width = log_width.nan_to_num(nan=0.0)
        super().derive()
        low, high = self.edges[:, :-1], self.edges[:, 1:]
        deviation = self.family.variance(self.reference).sqrt()
        self.cell_reference, _ = normal_cells(low, high, self.reference[:, 0], deviation)
        # For every row of the table, its term and the ends and reference of its cell.
        numbers = torch.arange(len(self.terms.column))
        self.term_of_row = numbers.repeat_interleave(self.n_states)
        first_of_term = self.first_row[self.terms.slot]
        cell = torch.arange(self._n_rows) - first_of_term[self.term_of_row]
        where = self.terms.column[self.term_of_row], cell
        self.ends_of_row = torch.stack([low[where], high[where]], 1)
        self.reference_of_row = self.cell_reference[where]

    def states_of_columns(self) -> Tensor:
        return self.has_cell.sum(1)

    def at(self, theta: Tensor) -> NaturalParameters:
        plain = super().at(theta)
        return _CellParameters(self, theta, plain)

    def cells(self, x: Tensor) -> Cells:
        cells = super().cells(x)
        number = torch.searchsorted(self.edges, cells.x.contiguous(), right=True) - 1
        known = cells.seen & (number >= 0) & (number < self.states_of_columns().unsqueeze(1))
        return cells._replace(states=torch.where(known, number, -1))

    def _statistics(self, x: Tensor) -> Tensor | None:
        return None

    def _beyond(self, cells: Cells) -> tuple[Tensor | slice, Cells] | None:
        """Return rows that include all with observed values beyond the grid's cells, and these
        values; None if there are no such values."""
        assert cells.states is not None
        beyond = cells.seen & (cells.states < 0)
        rows: Tensor | slice = slice(None)
        if beyond.device.type == "cpu":  # on a GPU, this would wait
            rows = torch.nonzero(beyond.any(0)).view(-1)
            if not len(rows):
                return None
        x, none = cells.x[:, rows], cells.x.new_zeros(())
        return rows, Cells(x, beyond[:, rows], False, none, self.family.statistics(x))

    def linear(
        self, cells: Cells, natural: NaturalParameters, dtype: torch.dtype
    ) -> tuple[Tensor, Any]:
        if isinstance(natural, _CellParameters):
            own, kept = self.own_linear(cells, natural, dtype)
            return self.in_all_regions(own), kept
        cells = cells._replace(statistics=self.family.statistics(cells.x))
        leaves, kept = ProductGroup.linear(self, cells, natural, dtype)
        return leaves, _Kept(None, (slice(None), kept))

    def own_linear(
        self, cells: Cells, natural: NaturalParameters, dtype: torch.dtype
    ) -> tuple[Tensor, Any]:
        assert isinstance(natural, _CellParameters)
        assert cells.states is not None
        beyond = self._beyond(cells)
        of_table: _KeptCells | _KeptRows
        if natural.is_compiled:
            own, of_table = self._compiled(cells.states, natural, dtype)
        else:
            whole = cells._replace(complete=cells.complete and beyond is None)
            own, of_table = self._gathered(whole, natural, dtype)
        of_densities: tuple[Tensor | slice, Any] | None = None
        if beyond is not None:
            leaves, kept = ProductGroup.linear(self, beyond[1], natural, dtype)
            own[:, :, beyond[0]] += leaves[self._regions]
            of_densities = beyond[0], kept
        return own, _Kept(of_table, of_densities)

    def _compiled(
        self, numbers: Tensor, natural: _CellParameters, dtype: torch.dtype
    ) -> tuple[Tensor, _KeptCells]:
        """Return sums over the slots of the own regions, and intermediate results, by compiled
        loops."""
        states = torch.where(numbers >= 0, numbers.to(torch.float64), torch.nan)
        if self._is_sparse(numbers.shape[1], natural):
            table, moments = natural.of_cells(states)
            table = table.to(dtype)
        else:
            table, moments = natural.table(dtype), natural.moments()
        own = looked_up(states, self.compiled_terms, self.compiled_ends, table)
        return own, _KeptCells(states, moments)

    def _gathered(
        self, cells: Cells, natural: _CellParameters, dtype: torch.dtype
    ) -> tuple[Tensor, _KeptRows]:
        """Return the same by torch."""
        assert cells.states is not None
        batch = cells.x.shape[1]
        rows, used = self.table_rows(cells, cells.states, self._is_sparse(batch, natural))
        if used is None and not natural.theta.requires_grad:
            table, moments = natural.table(dtype), natural.moments()
        else:
            values, moments = natural.of_rows(used)
            table = torch.nn.functional.pad(values.to(dtype), (0, 0, 0, 1))
        return self.summed(rows, table, batch), _KeptRows(rows, used, moments)

    def _is_sparse(self, n_rows: int, natural: _CellParameters) -> bool:
        """Return whether so many rows have few cells compared with the tables to compute."""
        if natural.has_tables:
            return False
        # On a GPU, one would have to wait for their number.
        smallest = LASTING_TABLE if natural.lasts else SMALL_TABLE
        is_large = self._n_rows * self.phi.shape[-1] >= smallest
        is_sparse = is_large and n_rows * len(self.terms.slot) < self._n_rows
        return is_sparse and self.phi.device.type == "cpu"

    def expected(self, kept: Any, flows: Tensor) -> tuple[Tensor, Tensor]:
        weighted = torch.zeros_like(self.phi)
        mass = torch.zeros_like(self.phi[:, :, 0])
        if kept.of_densities is not None:
            which, of_products = kept.of_densities
            more, more_mass = super().expected(of_products, flows[:, :, which])
            weighted, mass = weighted + more, mass + more_mass
        if isinstance(kept.of_table, _KeptCells):
            states, moments = kept.of_table
            sums = cell_sums(states, flows, self.places, moments)
            weighted.flatten(0, 1).index_add_(0, self.terms.slot, sums[:, 1:])
            mass.flatten(0, 1).index_add_(0, self.terms.slot, sums[:, 0])
        elif kept.of_table is not None:
            rows, used, moments = kept.of_table
            passed = self.flows_of_rows(rows, len(moments), flows).to(self.phi.dtype)
            term = self.term_of_row if used is None else self.term_of_row[used]
            slot = self.terms.slot[term]
            weighted.flatten(0, 1).index_add_(0, slot, moments * passed.unsqueeze(1))
            mass.flatten(0, 1).index_add_(0, slot, passed)
        return weighted, mass

    def term_log_densities(self, cells: Cells, terms: Terms, natural: NaturalParameters) -> Tensor:
        assert isinstance(natural, _CellParameters)
        assert cells.states is not None
        states = cells.states[terms.column]
        first = self.first_row[terms.slot].unsqueeze(1)
        rows = torch.where(states >= 0, states + first, self._n_rows)
        values = natural.table(torch.float64)[rows].transpose(1, 2)
        beyond = self._beyond(cells)
        if beyond is None:
            return values
        densities = super().term_log_densities(beyond[1], terms, natural)
        here = beyond[1].seen[terms.column].unsqueeze(1)
        values[:, :, beyond[0]] += torch.where(here, densities, 0.0)
        return values

    def log_reference(self, cells: Cells) -> Tensor:
        assert cells.states is not None
        number = cells.states.clamp_min(0)
        value = (self.cell_reference - self.log_width).gather(1, number)
        value = torch.where(cells.states >= 0, value, 0.0)
        beyond = self._beyond(cells)
        if beyond is None:
            return value
        value[:, beyond[0]] += super().log_reference(beyond[1])
        return value

    def _log_reference_sum(self, cells: Cells) -> Tensor:
        return self.log_reference(cells).sum(0)

    def log_peaks(self) -> Tensor:
        phi = self.phi.flatten(0, 1)[self.terms.slot]
        edges, mean = self.edges[self.terms.column], self.family.peak(phi)
        number = torch.searchsorted(edges, mean.contiguous(), right=True) - 1
        known = (number >= 0) & (number < self.n_states.unsqueeze(1))
        number = number.clamp(0, edges.shape[1] - 2)
        low, high = edges.gather(1, number), edges.gather(1, number + 1)
        log_p, _ = normal_cells(low, high, mean, self.family.variance(phi).sqrt())
        log_p -= self.log_width[self.terms.column].gather(1, number)
        return torch.where(known, log_p, super().log_peaks())


class _KeptCells(NamedTuple):
    """The numbers of cells, NaN without one, and the moments in all of them."""

    states: Tensor
    moments: Tensor


class _KeptRows(NamedTuple):
    """The table rows of cells, the rows among which these are counted (None: all), and the moments
    in these."""

    rows: Tensor
    used: Tensor | None
    moments: Tensor


class _Kept(NamedTuple):
    """Intermediate results for `CellGroup.expected`: for the cells of a grid, and for other values
    the rows that have them and the results of products."""

    of_table: _KeptCells | _KeptRows | None
    of_densities: tuple[Tensor | slice, Any] | None


class _CellParameters(NaturalParameters):
    """The parameters of a group, with the tables of its cells.

    Parameters
    ----------
    group : CellGroup
    theta : Tensor of shape (n_regions, n_slots, 2, K)
        Natural parameters, not relative to those of the columns.
    relative : NaturalParameters
    """

    def __init__(self, group: CellGroup, theta: Tensor, relative: NaturalParameters) -> None:
        super().__init__(relative.theta, relative.log_normalizer, relative.mask)
        self._group = group
        self._absolute = theta
        self._both: tuple[Tensor, Tensor] | None = None

    @property
    def is_compiled(self) -> bool:
        """Whether compiled loops compute the tables."""
        return isinstance(self._group.backend, NativeBackend) and not self.theta.requires_grad

    @property
    def has_tables(self) -> bool:
        """Whether the whole tables have been computed."""
        return self._both is not None

    def of_cells(self, states: Tensor) -> tuple[Tensor, Tensor]:
        """Return the table, (n_rows, K), and the moments of the latent number in its cells,
        (n_rows, 2, K), by compiled loops and in double precision.

        Parameters
        ----------
        states : Tensor of float64 of shape (n_columns, batch)
            The cells to compute, NaN for none; all others are 0.
        """
        group = self._group
        theta = self._absolute.flatten(0, 1)[group.terms.slot]
        return cell_values(states, group.places, theta, group.ends_of_row, group.reference_of_row)

    def of_rows(self, used: Tensor | None) -> tuple[Tensor, Tensor]:
        """Return the same for some rows (None: all), differentiable, by torch."""
        group = self._group
        term, ends, reference = group.term_of_row, group.ends_of_row, group.reference_of_row
        if used is not None:
            term, ends, reference = term[used], ends[used], reference[used]
        low, high = ends.T.unsqueeze(2)
        theta = self._absolute.flatten(0, 1)[group.terms.slot[term]]
        log_p, moments = _LogProbabilities.apply(theta, low, high)
        return log_p - reference.unsqueeze(1), moments

    def _all_rows(self) -> tuple[Tensor, Tensor]:
        if self.theta.requires_grad:
            return self.of_rows(None)
        if self._both is None:
            has_cell = self._group.has_cell
            numbers = torch.arange(has_cell.shape[1], dtype=torch.float64, device=has_cell.device)
            everything = torch.where(has_cell, numbers, torch.nan)
            self._both = self.of_cells(everything) if self.is_compiled else self.of_rows(None)
        return self._both

    def moments(self) -> Tensor:
        """Return the moments in the cells of the whole table."""
        return self._all_rows()[1]

    def _table(self, dtype: torch.dtype) -> Tensor:
        return torch.nn.functional.pad(self._all_rows()[0].to(dtype), (0, 0, 0, 1))


class _LogProbabilities(torch.autograd.Function):
    """Log-probabilities of cells. Their derivative with respect to natural parameters is the
    difference between the statistics in the cell and without it."""

    @staticmethod
    def forward(ctx: Any, theta: Tensor, low: Tensor, high: Tensor) -> tuple[Tensor, Tensor]:
        precision = -2 * theta[:, 1]
        mean = theta[:, 0] / precision
        log_p, moments = normal_cells(low, high, mean, precision.rsqrt())
        moments = moments.transpose(0, 1)
        ctx.mark_non_differentiable(moments)
        if ctx.needs_input_grad[0]:
            whole = torch.stack([mean, mean * mean + 1 / precision], 1)
            ctx.save_for_backward(moments - whole)
        return log_p, moments

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor, _: Tensor) -> tuple[Tensor, None, None]:
        (more,) = ctx.saved_tensors
        return grad.unsqueeze(1) * more, None, None
