"""Initial parameters that break the symmetry between the entries of a vector."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from sklearn_einet.circuit import Circuit
from sklearn_einet.circuit.cp_level import CPLevel
from sklearn_einet.circuit.input_layer import LeafGroup
from sklearn_einet.circuit.leaf_parameters import Factors
from sklearn_einet.circuit.level import EntryLevel, Level

__all__ = ["initialize"]

# Mass of the whole column in each initial leaf, relative to that of the leaf's own rows.
SHRINKAGE = 0.5

# Mass of uniformly random weights in each initial sum, relative to that of the rows' own.
RANDOM_SHARE = 0.1

# Rounding errors of positions, which have a standard deviation of about 1, are far below this.
SAME_PLACE = 1e-9

# Rows at a time in steps that need more memory for a row than its groups.
CHUNK_ROWS = 128

# What the groups of the rows that are looked at may take, for all leaf regions.
GROUP_BYTES = 2**21


def initialize(
    circuit: Circuit, x: Tensor, weight: Tensor | None, random_state: np.random.RandomState
) -> None:
    """Set all parameters of a circuit, at random and from data.

    Every region puts the rows on a line: a leaf region by a random direction of its sufficient
    statistics, any other by a random combination of the lines of its children. It cuts the line
    into K groups of equal weight, and takes them for the posteriors of its K densities. One M-step
    from there, shrunk towards whole columns at the leaves and towards random weights at the sums,
    gives densities that differ from each other and sums that already fit together.

    Repeating a row and doubling its weight have the same effect, and so has any order of rows.

    Parameters
    ----------
    circuit : Circuit
        Changed in place.
    x : Tensor of shape (n_rows, n_features)
        Rows in the units of the circuit; see `rows_to_look_at`.
    weight : Tensor of shape (n_rows,) or None
    random_state : RandomState
    """
    columns = x.T.contiguous()
    weight = torch.ones(len(x), device=x.device) if weight is None else weight
    weight = weight.to(torch.float64)
    positions = [_leaf_positions(circuit, columns, weight, random_state)]
    groups = [_equal_groups(positions[0], weight, circuit.K, circuit.dtype)]
    all_counts: list[Tensor] = []
    for level in circuit.levels:
        counts, position, group_share = _level_counts(
            level, positions, groups, weight, random_state
        )
        all_counts += counts
        positions.append(position)
        groups.append(group_share)
    for group in circuit.leaf_groups:
        weighted, mass = _leaf_statistics(group, columns, groups[0], weight)
        group.update(weighted, mass, pseudocount=SHRINKAGE * float(weight.sum()) / circuit.K)
    sums = zip(circuit.weights, all_counts, circuit.summed_axes, strict=True)
    circuit.weights = [_blurred(old, new, axes, random_state) for old, new, axes in sums]


def _level_counts(
    level: Level,
    positions: list[Tensor],
    groups: list[Tensor],
    weight: Tensor,
    random_state: np.random.RandomState,
) -> tuple[list[Tensor], Tensor, Tensor]:
    """How often the groups of a level's regions and of their children occur together.

    Leaf regions that a CP layer does not mix take the groups of their parents.

    Returns
    -------
    counts : list of Tensor
        As the level's weights; those of a mixing layer are even.
    position : Tensor of shape (n_regions, n_rows)
    group : Tensor of shape (n_regions, k_out, n_rows)
    """
    uniform = level.uniform_mixing()
    even = [] if uniform is None else [torch.as_tensor(uniform)]
    if isinstance(level, EntryLevel):
        return even, positions[-1][:1], torch.ones_like(groups[-1][:1, :1])
    children = level.children.tolist()
    lines = torch.stack([positions[output][row] for output, row in children])
    partition = torch.as_tensor(level.partition, device=lines.device)
    later = partition.diff(prepend=partition[:1] - 1) == 0
    slope = torch.as_tensor(random_state.standard_normal((int(later.sum()), 1)))
    lines[later] *= slope.to(lines)
    region = torch.as_tensor(level.region_of_partition(), device=lines.device)
    position = lines.new_zeros(level.n_regions, lines.shape[1])
    position.index_add_(0, region[partition], lines)
    group = _equal_groups(position, weight, level.k_out, groups[0].dtype)
    shares = (group * weight.to(group))[region]
    counts: Tensor | None = None
    for start in range(0, shares.shape[2], CHUNK_ROWS):
        rows = slice(start, start + CHUNK_ROWS)
        below = torch.stack([groups[output][row, :, rows] for output, row in children])
        more = level.joint_counts(below, shares[:, :, rows])
        counts = more if counts is None or more is None else counts + more
    if isinstance(level, CPLevel):
        plain = torch.as_tensor(~level.is_mixed, device=lines.device)
        leaves = torch.as_tensor(level.children[~level.is_mixed, 1], device=lines.device)
        groups[0][leaves] = group[region[partition[plain]]]
    assert counts is not None
    return [counts, *even], position, group


def _blurred(
    old: Tensor, counts: Tensor, axes: tuple[int, ...], random_state: np.random.RandomState
) -> Tensor:
    """Weights in proportion to counts, mixed with random ones; padding stays at zero."""
    noise = torch.as_tensor(random_state.standard_exponential(tuple(old.shape))).to(old)
    noise = torch.where(old > 0, noise, 0)
    weights = counts.to(old) / counts.to(old).sum(axes, keepdim=True)
    weights = weights + RANDOM_SHARE * noise / noise.sum(axes, keepdim=True)
    return weights / (1 + RANDOM_SHARE)


def rows_to_look_at(circuit: Circuit) -> int:
    """How many rows `initialize` can take at once."""
    n_regions = circuit.output_shapes[0][0]
    return max(256, GROUP_BYTES // (4 * n_regions * circuit.K))


def _leaf_positions(
    circuit: Circuit, columns: Tensor, weight: Tensor, random_state: np.random.RandomState
) -> Tensor:
    """Every row's position on a random direction of each leaf region, (regions, rows)."""
    position = torch.zeros((), dtype=torch.float64, device=circuit.device)
    for group in circuit.leaf_groups:
        direction = group.slot_reference.new_tensor(
            random_state.standard_normal(group.slot_reference.shape)
        )
        direction = direction / _spread(group, columns[group.own], weight)
        # With this in place of the log-normaliser, a missing cell counts as an average one.
        center = (direction * group.slot_reference).sum(2)
        factors = Factors(direction, center, group.present)
        parts = [
            group.linear(group.cells(x), factors, torch.float64)[0].squeeze(1)
            for x in columns[group.own].split(CHUNK_ROWS, dim=1)
        ]
        position = position + torch.cat(parts, 1)
    return position


def _leaf_statistics(
    group: LeafGroup, columns: Tensor, posterior: Tensor, weight: Tensor
) -> tuple[Tensor, Tensor]:
    """Weighted statistics and mass of a leaf group, given posteriors (regions, K, rows)."""
    weighted, mass = torch.zeros_like(group.phi), torch.zeros_like(group.phi[:, :, 0])
    nothing = Factors(weighted, mass, group.present)
    chunks = columns[group.own].split(CHUNK_ROWS, dim=1)
    parts = zip(posterior.split(CHUNK_ROWS, dim=2), weight.split(CHUNK_ROWS), strict=True)
    for x, (part, row_weight) in zip(chunks, parts, strict=True):
        part = (part * row_weight).to(posterior.dtype)
        _, kept = group.linear(group.cells(x), nothing, posterior.dtype)
        more_weighted, more_mass = group.expected(kept, part)
        weighted, mass = weighted + more_weighted, mass + more_mass
    return weighted, mass


def _spread(group: LeafGroup, x: Tensor, weight: Tensor) -> Tensor:
    """Standard deviations of the sufficient statistics in every slot; 1 for constant ones."""
    square = torch.zeros_like(group.reference)
    mass = torch.zeros_like(square[:, :1])
    for part, w in zip(x.split(CHUNK_ROWS, dim=1), weight.split(CHUNK_ROWS), strict=True):
        cells = group.cells(part)
        cell_weight = (w * cells.seen).unsqueeze(1)
        deviation = group.family.statistics(cells.x) - group.reference
        square += (cell_weight * deviation**2).sum(2, keepdim=True)
        mass += cell_weight.sum(2, keepdim=True)
    square = square / mass.clamp_min(1e-30)
    spread = torch.where(square > 1e-20, square.sqrt(), 1.0)
    return spread[group.index.clamp_max(len(spread) - 1)]


def _equal_groups(position: Tensor, weight: Tensor, K: int, dtype: torch.dtype) -> Tensor:
    """Share of each row in each of K groups of equal weight, cut along the sorted positions.

    A row that lies on a cut belongs to both sides in part, and rows at the same place have the
    same shares, whatever their order.

    Parameters
    ----------
    position : Tensor of shape (n_regions, n_rows)
    weight : Tensor of shape (n_rows,)
    K : int
    dtype : torch.dtype
        Type of the result.

    Returns
    -------
    share : Tensor of shape (n_regions, K, n_rows)
    """
    result = torch.empty(len(position), K, len(weight), dtype=dtype, device=position.device)
    step = max(1, GROUP_BYTES // (8 * K * len(weight)))
    for part, share in zip(position.split(step), result.split(step), strict=True):
        share.copy_(_block_groups(part, weight, K))
    return result


def _block_groups(position: Tensor, weight: Tensor, K: int) -> Tensor:
    """`_equal_groups` of so few regions that the steps in between take little memory."""
    order = position.argsort(dim=1, stable=True)
    after = weight[order].cumsum(1)
    before = after - weight[order]
    cuts = torch.linspace(0, 1, K + 1, dtype=weight.dtype, device=weight.device) * weight.sum()
    low, high = cuts[:-1].view(1, K, 1), cuts[1:].view(1, K, 1)
    overlap = torch.minimum(after.unsqueeze(1), high) - torch.maximum(before.unsqueeze(1), low)
    line = position.gather(1, order)
    is_new = line.diff(dim=1, prepend=line[:, :1]) > SAME_PLACE
    place = is_new.cumsum(1)
    mass = torch.zeros_like(line).scatter_add_(1, place, weight[order])
    place = place.unsqueeze(1).expand_as(overlap)
    total = torch.zeros_like(overlap).scatter_add_(2, place, overlap.clamp_min_(0))
    share = (total / mass.clamp_min(torch.finfo(mass.dtype).tiny).unsqueeze(1)).gather(2, place)
    return torch.zeros_like(share).scatter_(2, order.unsqueeze(1).expand_as(share), share)
