"""Initial parameters that break the symmetry between the entries of a vector."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from sklearn_einet.circuit import Circuit
from sklearn_einet.circuit.input_layer import LeafGroup

__all__ = ["initialize"]

# Mass of the whole column in each initial leaf, relative to that of the leaf's own rows.
SHRINKAGE = 0.5

# What the responsibilities of the rows that are looked at may take.
RESPONSIBILITY_BYTES = 2**26


def initialize(
    circuit: Circuit, x: Tensor, weight: Tensor | None, random_state: np.random.RandomState
) -> None:
    """Set all parameters of a circuit, at random and from data.

    Every leaf region projects the rows onto a random direction of its sufficient statistics and
    cuts them into K groups of equal weight; each group gives the parameters of one density,
    shrunk towards those of the whole column. The weights of every sum are uniform on the simplex.

    Repeating a row and doubling its weight have the same effect, and so has any order of rows.

    Parameters
    ----------
    circuit : Circuit
        Changed in place.
    x : Tensor of shape (n_rows, n_features)
        Rows in the units of the circuit; all of them are used if their number is small.
    weight : Tensor of shape (n_rows,) or None
    random_state : RandomState
    """
    for i, old in enumerate(circuit.weights):
        draws = torch.as_tensor(random_state.standard_exponential(tuple(old.shape)))
        draws = torch.where(old > 0, draws.to(old), 0)
        circuit.weights[i] = draws / draws.sum((2, 3) if old.ndim == 4 else (1,), keepdim=True)
    weight = torch.ones(len(x), device=x.device) if weight is None else weight
    columns, weight = x.T.contiguous(), weight.to(torch.float64)
    groups = _equal_groups(_projections(circuit, columns, weight, random_state), weight, circuit.K)
    for group in circuit.leaf_groups:
        theta = torch.zeros_like(group.phi, requires_grad=True)
        normalizer = torch.zeros_like(group.phi[:, :, 0], requires_grad=True)
        with torch.enable_grad():
            leaves, _ = group.log_densities(
                columns[group.columns], theta, normalizer, torch.float64
            )
            weighted, mass = torch.autograd.grad(leaves, (theta, normalizer), groups)
        group.update(weighted, -mass, pseudocount=SHRINKAGE * float(weight.sum()) / circuit.K)


def rows_to_look_at(circuit: Circuit) -> int:
    """How many rows `initialize` can take at once."""
    n_regions = circuit.output_shapes[0][0]
    return max(1000, RESPONSIBILITY_BYTES // (8 * n_regions * circuit.K))


def _projections(
    circuit: Circuit, columns: Tensor, weight: Tensor, random_state: np.random.RandomState
) -> Tensor:
    """Every row's position on a random direction of each leaf region, (regions, rows)."""
    position = torch.zeros((), dtype=torch.float64, device=circuit.device)
    for group in circuit.leaf_groups:
        direction = group.slot_reference.new_tensor(
            random_state.standard_normal(group.slot_reference.shape)
        )
        direction = direction / _spread(group, columns[group.columns], weight)
        # With this in place of the log-normaliser, a missing cell counts as an average one.
        center = (direction * group.slot_reference).sum(2)
        leaves, _ = group.log_densities(columns[group.columns], direction, center, torch.float64)
        position = position + leaves.squeeze(1)
    return position


def _spread(group: LeafGroup, x: Tensor, weight: Tensor) -> Tensor:
    """Standard deviations of the sufficient statistics in every slot; 1 for constant ones."""
    seen = group.family.in_support(x)
    statistics = group.family.statistics(torch.where(seen, x, group.family.fill_value))
    weight = (weight * seen).unsqueeze(1)
    square = (weight * (statistics - group.reference) ** 2).sum(2) / weight.sum(2).clamp_min(1e-30)
    spread = torch.where(square > 1e-20, square.sqrt(), 1.0)
    return spread[group.index.clamp_max(len(spread) - 1)].unsqueeze(-1)


def _equal_groups(position: Tensor, weight: Tensor, K: int) -> Tensor:
    """Weight of each row in each of K groups of equal weight, cut along the sorted positions.

    A row that lies on a cut belongs to both sides in part.
    """
    order = position.argsort(dim=1, stable=True)
    after = weight[order].cumsum(1)
    before = after - weight[order]
    cuts = torch.linspace(0, 1, K + 1, dtype=weight.dtype, device=weight.device) * weight.sum()
    low, high = cuts[:-1].view(1, K, 1), cuts[1:].view(1, K, 1)
    overlap = torch.minimum(after.unsqueeze(1), high) - torch.maximum(before.unsqueeze(1), low)
    groups = torch.zeros_like(overlap)
    return groups.scatter_(2, order.unsqueeze(1).expand_as(overlap), overlap.clamp_min_(0))
