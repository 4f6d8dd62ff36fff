"""CP layers: mix the units of every child, then multiply unit by unit.

An einsum layer sums over all pairs of two children's units, with K^3 weights per partition. A CP
layer mixes the units of every child into K new ones, with K^2 weights per child, and multiplies
those of all children.

References
----------
L. Loconte et al., "What is the Relationship between Tensor Factorizations and Circuits (and How
Can We Exploit it)?", 2024.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor

from sklearn_einet.circuit.layers.base import ProductLayer
from sklearn_einet.circuit.layers.choices import Choices, TermValues
from sklearn_einet.circuit.layers.layout import ChildLayout
from sklearn_einet.circuit.protocols import Backend
from sklearn_einet.circuit.semirings import SUM, Semiring, ratio, scaled_exp
from sklearn_einet.native.passes import LayerBuffers
from sklearn_einet.native.program import BATCH, in_a_row
from sklearn_einet.structure import Region

__all__ = ["CPLayer", "Wiring", "cp_gradients", "log_cp", "log_cp_derivatives"]

# Positions along an axis; a slice if they are contiguous.
Positions = slice | np.ndarray | Tensor


@dataclass(frozen=True)
class CPLayer(ProductLayer):
    """Partitions of any number of children, with weights of shape (n_mixed, k_out, K).

    Attributes
    ----------
    of_partition : ndarray of int of shape (n_children,)
        The partition of every child.
    is_mixed : ndarray of bool of shape (n_children,)
        Which children's units are mixed; the others are used directly.
    """

    of_partition: np.ndarray
    is_mixed: np.ndarray

    is_binary: ClassVar[bool] = False
    ends_in_sums: ClassVar[bool] = False
    auto_K: ClassVar[int] = 32

    @classmethod
    def above(cls, layout: ChildLayout, regions: Sequence[Region], k_out: int) -> CPLayer:
        partitions = [p for region in regions for p in region.partitions]
        of_partition = np.repeat(np.arange(len(partitions)), [len(p.children) for p in partitions])
        is_mixed = np.array([child.mixed for p in partitions for child in p.children])
        return cls(layout, k_out, of_partition, is_mixed)

    @property
    def partition(self) -> np.ndarray:
        return self.of_partition

    @property
    def is_summed(self) -> np.ndarray:
        return self.is_mixed

    @cached_property
    def wiring(self) -> Wiring:
        """Positions of the children in the outputs below."""
        return Wiring.of(self.layout.rows, self.partition, self.is_mixed)

    @cached_property
    def mixed_children(self) -> np.ndarray:
        """The numbers of the children that are mixed."""
        return np.flatnonzero(self.is_mixed)

    @cached_property
    def plain_children(self) -> np.ndarray:
        """The numbers of the other children."""
        return np.flatnonzero(~self.is_mixed)

    @cached_property
    def n_children(self) -> np.ndarray:
        """The number of children of each partition."""
        return np.bincount(self.partition)

    @cached_property
    def number(self) -> np.ndarray:
        """The row of the weights of each mixed child."""
        return np.cumsum(self.is_mixed) - 1

    @property
    def summed_axes(self) -> tuple[int, ...]:
        return (2,)

    def uniform_weights(self, K: int) -> np.ndarray:
        return np.full((int(self.is_mixed.sum()), self.k_out, K), 1 / K)

    def forward(self, x: Tensor, weights: Tensor, semiring: Semiring) -> tuple[Tensor, Tensor]:
        return log_cp(x, weights, self.wiring, semiring)

    def gradients(
        self, x: Tensor, weights: Tensor, sums: Tensor, grad: Tensor
    ) -> tuple[Tensor, Tensor]:
        return cp_gradients(x, weights, self.wiring, sums, grad)

    def derivative(self, x: Tensor, weights: Tensor, log_derivatives: Tensor) -> Tensor:
        return self._children(*log_cp_derivatives(x, weights, self.wiring, log_derivatives))

    def expected_counts(self, weights: Tensor, mass: Tensor) -> tuple[Tensor, Tensor]:
        of_child = mass[self.on(mass.device, "partition")]
        mixed, plain = (self.on(mass.device, f"{kind}_children") for kind in ("mixed", "plain"))
        counts = weights * of_child[mixed].unsqueeze(2)
        return counts, self._children(counts.sum(1), of_child[plain])

    def choose(self, choices: Choices, weights: Tensor, visits: Tensor) -> Tensor:
        n_children = self.on(visits.device, "n_children")
        repeats = n_children[visits[1]]
        row, partition, unit = visits.repeat_interleave(repeats, dim=1)
        last = repeats.cumsum(0).repeat_interleave(repeats)
        end = n_children.cumsum(0)[partition]
        child = end - last + torch.arange(len(row), device=row.device)
        result = torch.stack([row, child, unit])
        mixed = self.on(row.device, "is_mixed")[child]
        number = self.on(row.device, "number")[child[mixed]]
        to_mix = torch.stack([row[mixed], number, unit[mixed]])
        result[2, mixed] = choices.term(weights, to_mix, self._mixed_values)
        return result

    def _mixed_values(self, outputs: Sequence[Tensor]) -> TermValues:
        x = self.layout.join(outputs)
        children = _take(x, self.wiring.on(x.device).mixed)
        return lambda child, unit, row: children[child, :, row]

    def rows_of_weights(self, partitions: np.ndarray) -> np.ndarray:
        end = np.cumsum(self.n_children)
        start = end - self.n_children
        children = np.concatenate([np.arange(start[p], end[p]) for p in partitions])
        return self.number[children[self.is_mixed[children]]]

    def joint_counts(
        self, children: Tensor, partitions: Tensor, which: slice, backend: Backend
    ) -> Tensor:
        mixed = self.is_mixed[which]
        of = self.partition[which] - self.partition[which.start]
        return torch.bmm(partitions[of[mixed]], children[mixed].transpose(1, 2))

    def _children(self, mixed: Tensor, plain: Tensor) -> Tensor:
        """Return values of the mixed children and of the others, in the order of all."""
        result = mixed.new_empty(len(self.partition), *mixed.shape[1:])
        result[self.on(mixed.device, "mixed_children")] = mixed
        result[self.on(mixed.device, "plain_children")] = plain
        return result

    def record_forward(self, buffers: LayerBuffers) -> None:
        kept, n_mixed = buffers.kept, int(self.is_mixed.sum())
        wiring = Wiring.of(buffers.rows, self.partition, self.is_mixed)
        arrays = [buffers.recorder.kept(array) for array in wiring.arrays()]
        kept["rows"], *_, kept["of"] = arrays
        kept["sums"] = buffers.for_down(n_mixed, self.k_out)
        arguments = buffers.values, *arrays[:4], buffers.weights, kept["sums"], buffers.value
        sizes = self.n_rows, self.k_out, buffers.k, BATCH
        buffers.recorder.call("mix", *arguments, *sizes)

    def record_backward(self, buffers: LayerBuffers) -> None:
        kept, rows = buffers.kept, buffers.rows[self.is_mixed]
        below = buffers.flows_to(rows)
        before = buffers.values, kept["rows"], kept["of"], buffers.weights, kept["sums"]
        sizes = len(rows), self.k_out, buffers.k, BATCH, buffers.of_logs
        arguments = *before, buffers.flow, below, buffers.counts
        buffers.recorder.call("mix_gradients", *arguments, *sizes)
        buffers.add_flows(below, rows)
        which = buffers.recorder.kept(self.partition[~self.is_mixed])
        buffers.add_flows(buffers.flow, buffers.rows[~self.is_mixed], which)


@dataclass(frozen=True)
class Wiring:
    """Which children belong to which partitions.

    Attributes
    ----------
    mixed, plain : ndarray or Tensor of int, or slice
        Rows of the children that are mixed, and of those that are used directly.
    of_mixed, of_plain : ndarray or Tensor of int, or slice
        The partitions to which these belong, in ascending order.
    n_partitions : int
    """

    mixed: Positions
    plain: Positions
    of_mixed: Positions
    of_plain: Positions
    n_partitions: int

    @classmethod
    def of(cls, rows: np.ndarray, partition: np.ndarray, mixed: np.ndarray) -> Wiring:
        """Return the wiring, given the row, partition and kind of every child."""
        return cls(
            _as_slice(rows[mixed]),
            _as_slice(rows[~mixed]),
            _as_slice(partition[mixed]),
            _as_slice(partition[~mixed]),
            int(partition[-1]) + 1,
        )

    @property
    def has_only_mixed(self) -> bool:
        """Whether all children are mixed."""
        return not isinstance(self.plain, slice) and len(self.plain) == 0

    def on(self, device: torch.device) -> Wiring:
        """Return the wiring with tensors on a device, which are copied there once."""
        kept, key = vars(self), str(device)
        if key not in kept:
            names = ("mixed", "plain", "of_mixed", "of_plain")
            arrays = {name: getattr(self, name) for name in names}
            moved: dict[str, Any] = {
                name: torch.as_tensor(positions, device=device)
                for name, positions in arrays.items()
                if not isinstance(positions, slice)
            }
            kept[key] = replace(self, **moved)
        wiring: Wiring = kept[key]
        return wiring

    def arrays(self) -> list[np.ndarray]:
        """Return, for each kind, the rows and their number up to the end of each partition; and the
        partitions of the mixed children."""
        rows = [_as_array(part) for part in (self.mixed, self.plain)]
        of = [_as_array(part) for part in (self.of_mixed, self.of_plain)]
        ends = [np.bincount(part, minlength=self.n_partitions).cumsum() for part in of]
        return [rows[0], ends[0], rows[1], ends[1], of[0]]


def _as_slice(positions: np.ndarray) -> Positions:
    if in_a_row(positions):
        return slice(int(positions[0]), int(positions[-1]) + 1)
    return positions


def _as_array(positions: Positions) -> np.ndarray:
    if isinstance(positions, slice):
        return np.arange(positions.start, positions.stop)
    return np.asarray(positions, dtype=np.int64)


def _take(x: Tensor, positions: Positions) -> Tensor:
    """Return rows of x; a view if they follow each other."""
    if isinstance(positions, slice):
        return x[positions]
    return x.index_select(0, torch.as_tensor(positions, device=x.device))


def _add(total: Tensor, positions: Positions, values: Tensor) -> None:
    """Add values to rows of total, some of which may be repeated."""
    if values.shape[1] != total.shape[1]:
        return  # without such children, their number of units has no meaning
    if isinstance(positions, slice):
        total[positions] += values
    else:
        index = torch.as_tensor(positions, device=total.device)
        # In two dimensions, rows are added several times as fast.
        total.flatten(1).index_add_(0, index, values.flatten(1))


def log_cp(
    x: Tensor, weights: Tensor, wiring: Wiring, semiring: Semiring = SUM
) -> tuple[Tensor, Tensor]:
    """Compute every partition of a CP layer, in the log domain.

    Parameters
    ----------
    x : Tensor of shape (rows, K, batch)
        Log-densities of regions.
    weights : Tensor of shape (n_mixed, K_out, K)
        Linear, non-negative weights with which the units of each mixed child are summed.
    wiring : Wiring
        A child that is not mixed must have K = K_out units.
    semiring : Semiring, default=SUM

    Returns
    -------
    values : Tensor of shape (n_partitions, K_out, batch)
        The sums over a partition's children of log(sum_k weights[c, o, k] exp(x[c, k])), with
        `SUM`, or of x[c, o] for those that are not mixed. -inf, not NaN, where the density is zero.
    sums : Tensor of shape (n_mixed, K_out, batch)
        Those of the mixed children themselves, in units of the maxima of these.
    """
    wiring = wiring.on(x.device)
    lifted, scale = semiring.lift(_take(x, wiring.mixed), 1)
    sums = semiring.matmul(semiring.lift_weights(weights), lifted)
    values = x.new_zeros(wiring.n_partitions, weights.shape[1], x.shape[-1])
    _add(values, wiring.of_plain, _take(x, wiring.plain))
    _add(values, wiring.of_mixed, semiring.lower(sums, scale))
    return values, sums


def cp_gradients(
    x: Tensor, weights: Tensor, wiring: Wiring, sums: Tensor, grad: Tensor
) -> tuple[Tensor, Tensor]:
    """Return gradients with respect to the logarithms of the children, and to the weights.

    Parameters
    ----------
    x, weights, wiring
        As in `log_cp`.
    sums
        As from `log_cp`.
    grad : Tensor of shape (n_partitions, K_out, batch)
        With respect to the values.
    """
    wiring = wiring.on(x.device)
    scaled, _ = scaled_exp(_take(x, wiring.mixed))
    of_sums = ratio(_take(grad, wiring.of_mixed), sums)
    of_weights = torch.bmm(of_sums, scaled.transpose(1, 2))
    of_mixed = torch.bmm(weights.transpose(1, 2), of_sums).mul_(scaled)
    if isinstance(wiring.mixed, slice) and len(of_mixed) == len(x) and wiring.has_only_mixed:
        return of_mixed, of_weights
    below = torch.zeros_like(x)
    _add(below, wiring.plain, _take(grad, wiring.of_plain))
    _add(below, wiring.mixed, of_mixed)
    return below, of_weights


def log_cp_derivatives(
    x: Tensor, weights: Tensor, wiring: Wiring, log_derivatives: Tensor
) -> tuple[Tensor, Tensor]:
    """Make the downward pass of `log_cp`, in the log domain.

    Parameters
    ----------
    x, weights, wiring
        As for `log_cp`.
    log_derivatives : Tensor of shape (n_partitions, K_out, batch)
        Logarithms of the root's derivatives with respect to the partitions' densities.

    Returns
    -------
    mixed, plain : Tensor of shape (n_children, K, batch)
        Those with respect to the densities of the children of either kind.
    """
    wiring = wiring.on(x.device)
    children, plain = _take(x, wiring.mixed), _take(x, wiring.plain)
    scaled, maximum = scaled_exp(children)
    sums = torch.bmm(weights, scaled).log_().add_(maximum)
    # The product of the other children is a difference of sums of logarithms, in which a very
    # unlikely child would swamp the others in float32. Factors of zero are counted instead.
    total = x.new_zeros(log_derivatives.shape, dtype=torch.float64)
    zeros = x.new_zeros(log_derivatives.shape)
    parts = (sums, wiring.of_mixed), (plain, wiring.of_plain)
    for values, of in parts:
        is_zero = torch.isneginf(values)
        _add(total, of, torch.where(is_zero, 0, values).to(torch.float64))
        _add(zeros, of, is_zero.to(zeros.dtype))
    results = []
    for values, of in parts:
        is_zero = torch.isneginf(values)
        others = _take(total, of) - torch.where(is_zero, 0, values)
        possible = _take(zeros, of) == is_zero.to(zeros.dtype)
        others = torch.where(possible, others, -torch.inf).to(x.dtype)
        results.append(others + _take(log_derivatives, of))
    scaled, top = scaled_exp(results[0])
    below = torch.bmm(weights.transpose(1, 2), scaled).log_().add_(top)
    return below, results[1]
