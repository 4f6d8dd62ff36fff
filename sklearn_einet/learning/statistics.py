"""Additive statistics of the E-step (paper, eq. 6)."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from sklearn_einet.circuit import Circuit, Parameters
from sklearn_einet.circuit.circuit import by_column
from sklearn_einet.circuit.layers.base import Layer
from sklearn_einet.circuit.leaves.decaying import Decaying
from sklearn_einet.circuit.queries.descent import descend

__all__ = [
    "Statistics",
    "detached_scalar",
    "expected_statistics",
    "prior_statistics",
    "weighted_root",
    "weighted_sum",
]


@dataclass
class Statistics:
    """Expected sufficient statistics of some rows; they are additive over blocks of rows.

    Attributes
    ----------
    log_likelihood : float, or Tensor on a GPU
        Weighted sum of the rows' log-densities, in nats, at the parameters of the E-step.
    weight : float, or Tensor on a GPU
        Sum of the rows' weights.
    counts : list of Tensor
        Expected number of times that each term of each sum node is chosen, as `Circuit.weights`.
    leaves : list of (Tensor, Tensor)
        For each leaf group, the statistics of the observed cells weighted by the posteriors of
        their leaves, which may be sparse or, of a moving average, `Decaying`; and the sums of those
        posteriors. See `LeafGroup.update`. Then for each joint group; see `JointGroup.update`.
    """

    log_likelihood: Any
    weight: Any
    counts: list[Tensor]
    leaves: list[tuple[Any, Tensor]]

    def __add__(self, other: Statistics) -> Statistics:
        total = replace(self, counts=[counts.clone() for counts in self.counts])
        total += other
        return total

    def __iadd__(self, other: Statistics) -> Statistics:
        self.log_likelihood = self.log_likelihood + other.log_likelihood
        self.weight = self.weight + other.weight
        for mine, more in zip(self.counts, other.counts, strict=True):
            mine.add_(more)
        # If the statistics of some blocks are in double precision, so is the sum.
        pairs = zip(self.leaves, other.leaves, strict=True)
        self.leaves = [(_plus(a[0], b[0]), a[1] + b[1]) for a, b in pairs]
        return self

    def shares(self, other: Statistics, step_size: Any) -> tuple[Any, Any]:
        """Return the factors of this moving average and a batch in the next average.

        Both are taken per unit of weight: the next average has weight 1.

        Parameters
        ----------
        other : Statistics
        step_size : float, or Tensor on a GPU
            Weight of the batch in the new average.
        """
        return (1 - step_size) / self.weight, step_size / other.weight

    def blend_leaves(self, other: Statistics, keep: Any, add: Any) -> None:
        """Move everything but the counts towards those of a batch, in place, by `shares`."""
        for mine, new in zip(self.leaves, other.leaves, strict=True):
            for total, more in zip(mine, new, strict=True):
                if isinstance(total, Decaying):
                    total.blend(more, keep, add)
                else:
                    total.mul_(keep).add_((more * add).to(total.dtype))
        self.log_likelihood = keep * self.log_likelihood + add * other.log_likelihood
        self.weight = 1.0


def _plus(one: Tensor, other: Tensor) -> Tensor:
    """Return the sum of two tensors that may be sparse; dense where that takes less memory."""
    if one.is_sparse and not other.is_sparse:
        one, other = other, one
    total = one + other
    if total.is_sparse and total._nnz() >= math.prod(total.shape[: total.sparse_dim()]):
        return total.to_dense()
    return total


def detached_scalar(number: Tensor) -> Any:
    """Return a number; on a GPU, the tensor that holds it, so that nothing has to wait for it."""
    return float(number.detach()) if number.device.type == "cpu" else number.detach()


def weighted_sum(log_prob: Tensor, weight: Tensor | None) -> Any:
    """Return the sum of log-densities, weighted if there are weights."""
    return detached_scalar(log_prob.sum() if weight is None else log_prob @ weight)


def weighted_root(root: Tensor, base: Tensor, weight: Tensor | None) -> tuple[Any, Tensor]:
    """Return the sum of the rows' log-densities, and the start of the downward pass.

    Parameters
    ----------
    root : Tensor of shape (batch,)
        The logarithm of the root's value for every row.
    base : Tensor of shape (batch,)
        Log-densities to which the root's value is relative.
    weight : Tensor of shape (batch,) or None

    Returns
    -------
    total : float, or Tensor on a GPU
    flows : Tensor of shape (batch,)
        The weights of the rows, 0 where their value is not a number.
    """
    log_prob = root.to(torch.float64) + base
    total = weighted_sum(log_prob, weight)
    flows = torch.ones_like(root) if weight is None else weight.to(root.dtype)
    if not (isinstance(total, float) and math.isfinite(total)):
        unknown = torch.isnan(log_prob)  # as in Circuit.log_prob
        total = weighted_sum(torch.where(unknown, -torch.inf, log_prob), weight)
        flows = torch.where(unknown, 0, flows)
    return total, flows


def expected_statistics(
    circuit: Circuit,
    x: Tensor,
    weight: Tensor | None = None,
    parameters: Parameters | None = None,
) -> Statistics:
    """Make an E-step by differentiation.

    The derivative of the log-likelihood with respect to a sum weight, times the weight, is the
    expected number of times that it is chosen; that with respect to the logarithm of a leaf is its
    posterior, with which sufficient statistics are weighted.

    Parameters
    ----------
    circuit : Circuit
    x : Tensor of shape (batch, n_features)
    weight : Tensor of shape (batch,) or None, default=None
        Weights of the rows, 1 if None.
    parameters : Parameters or None, default=None
        The circuit's parameters, if available.

    References
    ----------
    R. Peharz et al., ICML 2020, section 3.6; A. Darwiche, "A Differential Approach to Inference
    in Bayesian Networks", JACM 2003.
    """
    parameters = parameters or circuit.parameters()
    with torch.no_grad():
        columns = by_column(x)
        leaves, base, kept = circuit.leaf_forward(columns, parameters)
        passes = circuit.passes
        state = passes.up(leaves, parameters.weights, for_down=True)
        del leaves
        root = passes.root(state)
        total, row_weight = weighted_root(root, base, weight)
        flows, counts = passes.down(state, row_weight, parameters.weights)
        groups: list[Any] = [*circuit.leaf_groups, *circuit.joint_groups]
        pairs = zip(groups, kept, strict=True)
        leaf_statistics = [group.expected(k, flows) for group, k in pairs]
    n_rows = len(x) if weight is None else detached_scalar(weight.sum())
    return Statistics(total, n_rows, counts, leaf_statistics)


def prior_statistics(circuit: Circuit) -> Statistics:
    """Return the expected statistics of one row drawn from the circuit itself.

    They make a moving average start in agreement with the current parameters: the M-step from
    these statistics alone would change nothing.
    """
    counts: list[Tensor] = []

    def visit(number: int, layer: Layer, weights: Tensor, mass: Tensor) -> Tensor:
        terms, below = layer.expected_counts(weights, mass)
        counts.append(terms)
        return below

    def receive(mass: Tensor | None, layer: Layer, output: int, below: Tensor) -> Tensor:
        if mass is None:
            mass = below.new_zeros(circuit.output_shapes[output])
        here = np.flatnonzero(layer.children[:, 0] == output)
        rows = torch.as_tensor(layer.children[here, 1], device=circuit.device)
        return mass.index_add_(0, rows, below[torch.as_tensor(here, device=circuit.device)])

    root = torch.ones(circuit.output_shapes[-1], dtype=circuit.dtype, device=circuit.device)
    mass = descend(circuit, root, visit, receive)
    leaves = []
    for group in circuit.leaf_groups:
        slot_mass = group.in_slots(mass.to(group.phi.dtype))
        leaves.append((group.phi * slot_mass.unsqueeze(2), slot_mass))
    leaves += [group.prior_statistics(mass) for group in circuit.joint_groups]
    return Statistics(0.0, 1.0, counts[::-1], leaves)
