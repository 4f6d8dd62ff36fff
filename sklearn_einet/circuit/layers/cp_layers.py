"""CP layers: children mixed one by one, then multiplied entry by entry.

Where an einsum layer sums over all pairs of two children's entries, K^3 weights a partition, a CP
layer mixes the entries of every child into K new ones, K^2 weights a child, and multiplies those of
all children. Activations have the shapes of `sklearn_einet.circuit.layers.sum_layers`.

References
----------
L. Loconte et al., "What is the Relationship between Tensor Factorizations and Circuits (and How
Can We Exploit it)?", 2024.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from sklearn_einet.native.products import (
    addresses,
    blocks,
    native,
    native_arguments,
    ratio,
    scaled_exp,
)
from sklearn_einet.native.program import in_a_row

__all__ = ["Wiring", "log_cp_derivatives", "log_cp_exp", "log_cp_max", "take_rows"]

# Positions along an axis; a slice where they follow each other.
Positions = slice | np.ndarray | Tensor


@dataclass(frozen=True)
class Wiring:
    """Which children belong to which partitions.

    Attributes
    ----------
    mixed, plain : ndarray or Tensor of int, or slice
        Rows of the children that are mixed, and of those that are taken as they are.
    of_mixed, of_plain : ndarray or Tensor of int, or slice
        The partitions that those belong to, in ascending order.
    n_partitions : int
    """

    mixed: Positions
    plain: Positions
    of_mixed: Positions
    of_plain: Positions
    n_partitions: int

    @classmethod
    def of(cls, rows: np.ndarray, partition: np.ndarray, mixed: np.ndarray) -> Wiring:
        """From the row, the partition and the kind of every child."""
        return cls(
            _as_slice(rows[mixed]),
            _as_slice(rows[~mixed]),
            _as_slice(partition[mixed]),
            _as_slice(partition[~mixed]),
            int(partition[-1]) + 1,
        )

    def on(self, device: torch.device) -> Wiring:
        """The same with tensors on a device, which are copied there once."""
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
        return kept[key]

    @cached_property
    def tensors(self) -> list[Tensor]:
        """Of either kind the rows, and how many of them there are up to each partition's last; and
        the partitions of the mixed ones."""
        rows = [torch.from_numpy(_as_array(part)) for part in (self.mixed, self.plain)]
        of = [_as_array(part) for part in (self.of_mixed, self.of_plain)]
        ends = [
            torch.from_numpy(np.bincount(part, minlength=self.n_partitions).cumsum()) for part in of
        ]
        return [rows[0], ends[0], rows[1], ends[1], torch.from_numpy(of[0])]


def _as_slice(positions: np.ndarray) -> Positions:
    if in_a_row(positions):
        return slice(int(positions[0]), int(positions[-1]) + 1)
    return positions


def _as_array(positions: Positions) -> np.ndarray:
    if isinstance(positions, slice):
        return np.arange(positions.start, positions.stop)
    return np.asarray(positions, dtype=np.int64)


def take_rows(x: Tensor, positions: Positions) -> Tensor:
    """Rows of x; a view if they follow each other."""
    if isinstance(positions, slice):
        return x[positions]
    return x.index_select(0, torch.as_tensor(positions, device=x.device))


def _add(total: Tensor, positions: Positions, values: Tensor) -> None:
    """Add values to rows of total, some of which may be repeated."""
    if not len(values):
        return  # without children of a kind, their number of entries has no meaning
    if isinstance(positions, slice):
        total[positions] += values
    else:
        index = torch.as_tensor(positions, device=total.device)
        # In two dimensions, rows are added several times as fast.
        total.flatten(1).index_add_(0, index, values.flatten(1))


class _LogCPExp(torch.autograd.Function):
    """One exponential and one logarithm for each mixed child; all else is products and sums."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weights: Tensor, wiring: Wiring) -> Tensor:
        logs, sums = _log_mix(x, weights, wiring, any(ctx.needs_input_grad))
        ctx.save_for_backward(x, weights, sums)
        ctx.wiring = wiring
        return logs

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        x, weights, sums = ctx.saved_tensors
        wiring: Wiring = ctx.wiring
        grad_children, grad_weights = _mix_gradients(x, weights, wiring, sums, grad)
        wiring = wiring.on(x.device)
        # Children may be shared by partitions, and rows may have no parent here.
        grad_x = x.new_zeros(x.shape)
        _add(grad_x, wiring.mixed, grad_children)
        _add(grad_x, wiring.plain, take_rows(grad, wiring.of_plain))
        return grad_x, grad_weights, None


def _log_mix(
    x: Tensor, weights: Tensor, wiring: Wiring, with_sums: bool
) -> tuple[Tensor, Tensor | None]:
    """The result of `log_cp_exp`, and the linear sums of the mixed children, in units of their
    maxima; None if not asked for."""
    n_mixed, k_out, k = weights.shape
    batch = x.shape[-1]
    first = native_arguments(x)
    if first is not None:
        x, weights = x.contiguous(), weights.contiguous()
        sums = x.new_empty(n_mixed, k_out, batch) if with_sums else None
        logs = x.new_empty(wiring.n_partitions, k_out, batch)
        places = addresses(x, *wiring.tensors[:4], weights, sums, logs)
        native.mix(*first, *places, wiring.n_partitions, k_out, k, batch)
        return logs, sums
    wiring = wiring.on(x.device)
    scaled, maximum = scaled_exp(take_rows(x, wiring.mixed))
    sums = torch.bmm(weights, scaled)
    logs = x.new_zeros(wiring.n_partitions, k_out, batch)
    _add(logs, wiring.of_plain, take_rows(x, wiring.plain))
    _add(logs, wiring.of_mixed, sums.log().add_(maximum))
    return logs, sums


def _mix_gradients(
    x: Tensor, weights: Tensor, wiring: Wiring, sums: Tensor, grad: Tensor
) -> tuple[Tensor, Tensor]:
    """Gradients of `_log_mix` with respect to the mixed children, (n_mixed, K, batch), and to the
    weights."""
    first = native_arguments(x)
    if first is not None:
        x, weights, grad = x.contiguous(), weights.contiguous(), grad.contiguous()
        grad_children = x.new_empty(len(weights), *x.shape[1:])
        grad_weights = torch.empty_like(weights)
        rows, _, _, _, of = wiring.tensors
        places = addresses(x, rows, of, weights, sums, grad, grad_children, grad_weights)
        native.mix_gradients(*first, *places, *weights.shape, x.shape[-1], False)
        return grad_children, grad_weights
    wiring = wiring.on(x.device)
    scaled, _ = scaled_exp(take_rows(x, wiring.mixed))
    grad_sums = ratio(take_rows(grad, wiring.of_mixed), sums)
    grad_weights = torch.bmm(grad_sums, scaled.transpose(1, 2))
    return torch.bmm(weights.transpose(1, 2), grad_sums).mul_(scaled), grad_weights


def log_cp_exp(x: Tensor, weights: Tensor, wiring: Wiring) -> Tensor:
    """Every partition of a CP layer, in the log domain.

    Parameters
    ----------
    x : Tensor of shape (rows, K, batch)
        Log-densities of regions.
    weights : Tensor of shape (n_mixed, K_out, K)
        Linear, non-negative weights with which the entries of each mixed child are summed.
    wiring : Wiring
        A child that is not mixed must have K = K_out entries.

    Returns
    -------
    values : Tensor of shape (n_partitions, K_out, batch)
        The sums over a partition's children of log(sum_k weights[c, o, k] exp(x[c, k])), or of
        x[c, o] for those that are not mixed. -inf, not NaN, where the density is zero.
    """
    result: Tensor = _LogCPExp.apply(x, weights, wiring)
    return result


def log_cp_derivatives(
    x: Tensor, weights: Tensor, wiring: Wiring, log_derivatives: Tensor
) -> tuple[Tensor, Tensor]:
    """The downward pass of `log_cp_exp`, in the log domain.

    Parameters
    ----------
    x, weights, wiring
        As for `log_cp_exp`.
    log_derivatives : Tensor of shape (n_partitions, K_out, batch)
        Logarithms of the root's derivatives with respect to the partitions' densities.

    Returns
    -------
    mixed, plain : Tensor of shape (n_children, K, batch)
        Those with respect to the densities of the children of either kind.
    """
    wiring = wiring.on(x.device)
    children, plain = take_rows(x, wiring.mixed), take_rows(x, wiring.plain)
    scaled, maximum = scaled_exp(children)
    sums = torch.bmm(weights, scaled).log_().add_(maximum)
    # What the other children amount to is a difference of sums, in which a very unlikely child
    # would drown the others in float32. Factors of zero are counted, not subtracted.
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
        others = take_rows(total, of) - torch.where(is_zero, 0, values)
        possible = take_rows(zeros, of) == is_zero.to(zeros.dtype)
        others = torch.where(possible, others, -torch.inf).to(x.dtype)
        results.append(others + take_rows(log_derivatives, of))
    scaled, top = scaled_exp(results[0])
    below = torch.bmm(weights.transpose(1, 2), scaled).log_().add_(top)
    return below, results[1]


def log_cp_max(x: Tensor, weights: Tensor, wiring: Wiring) -> Tensor:
    """`log_cp_exp` with the largest term in place of every sum."""
    wiring = wiring.on(x.device)
    children = take_rows(x, wiring.mixed)
    n, k_out, k = weights.shape
    batch = x.shape[-1]
    log_weights = weights.log()
    values = x.new_empty(n, k_out, batch)
    for o in range(k_out if n else 0):
        for block, terms in blocks(n, x, (k, batch)):
            torch.add(log_weights[block, o].unsqueeze(-1), children[block], out=terms)
            torch.amax(terms, 1, out=values[block, o])
    result = x.new_zeros(wiring.n_partitions, k_out, batch)
    _add(result, wiring.of_plain, take_rows(x, wiring.plain))
    _add(result, wiring.of_mixed, values)
    return result
