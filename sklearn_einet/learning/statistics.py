"""Additive statistics of the E-step (paper, eq. 6)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from sklearn_einet.circuit import Circuit, Parameters

__all__ = ["Statistics", "expected_statistics", "prior_statistics", "unread"]


@dataclass
class Statistics:
    """Expected sufficient statistics of some rows. Those of two blocks of rows add up.

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
        their leaves, and the sums of those posteriors; see `LeafGroup.update`.
    """

    log_likelihood: Any
    weight: Any
    counts: list[Tensor]
    leaves: list[tuple[Tensor, Tensor]]

    def __add__(self, other: Statistics) -> Statistics:
        return Statistics(
            self.log_likelihood + other.log_likelihood,
            self.weight + other.weight,
            [a + b for a, b in zip(self.counts, other.counts, strict=True)],
            [(a[0] + b[0], a[1] + b[1]) for a, b in zip(self.leaves, other.leaves, strict=True)],
        )

    def __iadd__(self, other: Statistics) -> Statistics:
        self.log_likelihood = self.log_likelihood + other.log_likelihood
        self.weight = self.weight + other.weight
        for mine, more in zip(self.counts, other.counts, strict=True):
            mine.add_(more)
        for pair, other_pair in zip(self.leaves, other.leaves, strict=True):
            for total, new in zip(pair, other_pair, strict=True):
                total.add_(new)
        return self

    def shares(self, other: Statistics, step_size: Any) -> tuple[Any, Any]:
        """What this moving average and a batch are multiplied with in the next one.

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
                total.mul_(keep).add_(more * add)
        self.log_likelihood = keep * self.log_likelihood + add * other.log_likelihood
        self.weight = 1.0


def unread(number: Tensor) -> Any:
    """A number; on a GPU the tensor that has it, so that nothing waits until it is known."""
    return float(number.detach()) if number.device.type == "cpu" else number.detach()


def expected_statistics(circuit: Circuit, x: Tensor, weight: Tensor | None = None) -> Statistics:
    """E-step by automatic differentiation.

    The derivative of the log-likelihood with respect to a sum weight, times the weight, is the
    expected number of times that it is chosen; that with respect to the logarithm of a leaf is its
    posterior, with which sufficient statistics are weighted.

    Parameters
    ----------
    circuit : Circuit
    x : Tensor of shape (batch, n_features)
    weight : Tensor of shape (batch,) or None, default=None
        Weights of the rows, 1 if None.

    References
    ----------
    R. Peharz et al., ICML 2020, section 3.6; A. Darwiche, "A Differential Approach to Inference
    in Bayesian Networks", JACM 2003.
    """
    parameters = circuit.parameters()
    with torch.no_grad():
        columns = x.to(torch.float64).T.contiguous()
        leaves, base, kept = circuit.upward(columns, parameters)
    leaves = leaves.requires_grad_()
    weights = [w.detach().requires_grad_() for w in parameters.weights]
    with torch.enable_grad():
        root = circuit.propagate(leaves, Parameters(weights, parameters.leaves)).root
    log_prob = root.detach().to(torch.float64) + base
    unknown = torch.isnan(log_prob)  # as in Circuit.log_prob
    log_prob = torch.where(unknown, -torch.inf, log_prob)
    row_weight = torch.ones_like(log_prob) if weight is None else weight
    total = log_prob.sum() if weight is None else log_prob @ weight
    upstream = torch.where(unknown, 0, row_weight).to(root.dtype)
    flows, *gradients = torch.autograd.grad(root, [leaves, *weights], upstream)
    counts = [g.mul_(w) for g, w in zip(gradients, parameters.weights, strict=True)]
    pairs = zip(circuit.leaf_groups, kept, strict=True)
    n_rows = len(x) if weight is None else unread(weight.sum())
    return Statistics(
        unread(total), n_rows, counts, [group.expected(k, flows) for group, k in pairs]
    )


def prior_statistics(circuit: Circuit) -> Statistics:
    """The statistics that one row drawn from the circuit itself has on average.

    They make a moving average start in agreement with the current parameters: the M-step of
    these statistics alone would change nothing.
    """
    mass = [
        torch.zeros(rows, k, dtype=circuit.dtype, device=circuit.device)
        for rows, k in circuit.output_shapes
    ]
    mass[-1] += 1
    counts: list[Tensor] = []
    weights = circuit.by_level(circuit.weights)
    for output in range(len(circuit.levels), 0, -1):
        level = circuit.levels[output - 1]
        partition_mass = mass[output]
        if level.mixing is not None:
            mixed = weights[output - 1].mixing * mass[output].unsqueeze(1)
            counts.append(mixed)
            partition_mass = level.by_partition(mixed)
        terms, below = level.expected_counts(weights[output - 1], partition_mass)
        if terms is not None:
            counts.append(terms)
        children = torch.as_tensor(level.children, device=circuit.device)
        for source in level.sources:
            here = children[:, 0] == source
            mass[source].index_add_(0, children[here, 1], below[here])
    leaves = []
    for group in circuit.leaf_groups:
        present = group.present
        slot_mass = torch.where(present, mass[0].to(group.phi.dtype).unsqueeze(1), 0)
        leaves.append((group.phi * slot_mass.unsqueeze(2), slot_mass))
    return Statistics(0.0, 1.0, counts[::-1], leaves)
