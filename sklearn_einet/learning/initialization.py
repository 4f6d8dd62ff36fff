"""Initial parameters that break the symmetry between the units of a region."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from sklearn_einet.circuit import Circuit
from sklearn_einet.circuit.layers.base import ProductLayer
from sklearn_einet.circuit.layers.mixing import MixingLayer
from sklearn_einet.circuit.leaves.base import LeafGroup

__all__ = ["initialize"]

# Mass of the whole column in each initial leaf, relative to that of the leaf's own rows.
SHRINKAGE = 0.5

# Mass of uniformly random weights in each initial sum, relative to the weights from the rows.
RANDOM_SHARE = 0.1

# Rounding errors of positions, which have a standard deviation of about 1, are far below this.
SAME_PLACE = 1e-9

# The least number of rows per block in steps that need more memory than the rows' groups.
CHUNK_ROWS = 32

# Memory for the groups of the rows used, for all leaf regions.
GROUP_BYTES = 2**21


def initialize(
    circuit: Circuit, x: Tensor, weight: Tensor | None, random_state: np.random.RandomState
) -> None:
    """Set all parameters of a circuit, at random and from data.

    Every region projects the rows onto a line: a leaf region by a random direction of its
    sufficient statistics, any other region by a random combination of its children's lines. The
    line is cut into K groups of equal weight, which are used as posteriors of the K densities. One
    M-step from there, shrunk towards whole columns at the leaves and towards random weights at the
    sums, gives densities that differ from each other, and sums that match them.

    Repeating a row and doubling its weight have the same effect. The order of rows has none.

    Parameters
    ----------
    circuit : Circuit
        Changed in place.
    x : Tensor of shape (n_rows, n_features)
        Rows in the units of the circuit; see `n_initial_rows`.
    weight : Tensor of shape (n_rows,) or None
    random_state : RandomState
    """
    columns = x.T.contiguous()
    weight = torch.ones(len(x), device=x.device) if weight is None else weight
    weight = weight.to(torch.float64)
    positions = [_leaf_positions(circuit, columns, weight, random_state)]
    # The position from which each leaf region takes its groups: an output and one of its rows.
    leaf_lines = np.array([(0, row) for row in range(len(positions[0]))])
    all_counts: list[Tensor] = []
    for number in range(len(circuit.layers)):
        counts, position = _layer_counts(
            circuit, number, positions, leaf_lines, weight, random_state
        )
        all_counts.append(counts)
        positions.append(position)
    posterior = _equal_groups(_lines(positions, leaf_lines), weight, circuit.K, circuit.dtype)
    del positions
    for group in circuit.leaf_groups:
        weighted, mass = _leaf_statistics(group, columns, posterior, weight)
        group.update(weighted, mass, pseudocount=SHRINKAGE * float(weight.sum()) / circuit.K)
    del posterior
    for i, axes in enumerate(circuit.summed_axes):
        old, circuit.weights[i] = circuit.weights[i], all_counts[i]
        _blur(circuit.weights[i], old, axes, random_state)


def _lines(positions: list[Tensor], places: np.ndarray) -> Tensor:
    """Return the positions at some places, rows of (output, row)."""
    result = positions[0].new_empty(len(places), positions[0].shape[1])
    for output in np.unique(places[:, 0]).tolist():
        here = np.flatnonzero(places[:, 0] == output)
        result[here] = positions[output][places[here, 1]]
    return result


def _layer_counts(
    circuit: Circuit,
    number: int,
    positions: list[Tensor],
    leaf_lines: np.ndarray,
    weight: Tensor,
    random_state: np.random.RandomState,
) -> tuple[Tensor, Tensor]:
    """Return how often the groups above and below a layer occur together, as its weights, and the
    positions of its regions; for a mixing layer, equal weights and the same positions.

    Leaf regions whose units a layer does not sum take the groups of their parents.
    """
    layer = circuit.layers[number]
    if not isinstance(layer, ProductLayer):
        even = torch.as_tensor(layer.uniform_weights(circuit.K))
        return even.to(circuit.weights[0]), positions[-1][: layer.n_rows]
    region = _region_of_partition(circuit, number)
    position = _region_positions(layer, region, positions, random_state)
    counts = _joint_counts(layer, region, positions, leaf_lines, position, weight, circuit)
    plain = ~layer.is_summed
    leaf_lines[layer.children[plain, 1], 0] = number + 1
    leaf_lines[layer.children[plain, 1], 1] = region[layer.partition[plain]]
    return counts, position


def _region_of_partition(circuit: Circuit, number: int) -> np.ndarray:
    """Return the region, in its topological layer, of every partition of a layer of products."""
    above = circuit.layers[number + 1] if number + 1 < len(circuit.layers) else None
    if isinstance(above, MixingLayer) and not above.over_units:
        return above.row_of_term
    return np.arange(circuit.layers[number].n_rows)


def _region_positions(
    layer: ProductLayer,
    region: np.ndarray,
    positions: list[Tensor],
    random_state: np.random.RandomState,
) -> Tensor:
    """Combine the lines of the children of each region at random, (n_regions, n_rows)."""
    lines = _lines(positions, layer.children)
    partition = torch.as_tensor(layer.partition, device=lines.device)
    later = partition.diff(prepend=partition[:1] - 1) == 0
    slope = torch.as_tensor(random_state.standard_normal((int(later.sum()), 1)))
    lines[later] *= slope.to(lines)
    position = lines.new_zeros(int(region[-1]) + 1, lines.shape[1])
    of_child = torch.as_tensor(region, device=lines.device)[partition]
    return position.index_add_(0, of_child, lines)


def _joint_counts(
    layer: ProductLayer,
    region: np.ndarray,
    positions: list[Tensor],
    leaf_lines: np.ndarray,
    position: Tensor,
    weight: Tensor,
    circuit: Circuit,
) -> Tensor:
    """Return how often the groups of regions and of their children occur together, as the weights.

    Groups are formed for some partitions at a time, because the groups of all would take K times
    the memory of their positions.
    """
    is_leaf = layer.children[:, 0] == 0
    places = layer.children.copy()
    places[is_leaf] = leaf_lines[places[is_leaf, 1]]
    parts = []
    step = max(1, GROUP_BYTES // (8 * circuit.K * len(weight)))
    for start in range(0, layer.n_rows, step):
        block = region[start : start + step]
        first, last = np.searchsorted(layer.partition, [start, start + len(block)])
        below = _equal_groups(
            _lines(positions, places[first:last]), weight, circuit.K, circuit.dtype
        )
        above = _equal_groups(position[block], weight, layer.k_out, circuit.dtype)
        which = slice(int(first), int(last))
        parts.append(layer.joint_counts(below, above.mul_(weight), which, circuit.backend))
    return torch.cat(parts)


def _blur(
    counts: Tensor, old: Tensor, axes: tuple[int, ...], random_state: np.random.RandomState
) -> None:
    """Turn counts into proportional weights, mixed with random ones; padding, which is 0 in the
    old weights, stays at 0."""
    step = max(1, GROUP_BYTES // (8 * max(1, old[:1].numel())))
    for some, before in zip(counts.split(step), old.split(step), strict=True):
        noise = torch.as_tensor(random_state.standard_exponential(tuple(some.shape))).to(some)
        noise.mul_(before > 0)
        some.div_(some.sum(axes, keepdim=True))
        some.add_(noise.mul_(RANDOM_SHARE / noise.sum(axes, keepdim=True))).div_(1 + RANDOM_SHARE)


def n_initial_rows(circuit: Circuit) -> int:
    """Return how many rows `initialize` can take at once."""
    n_regions = circuit.output_shapes[0][0]
    return max(256, GROUP_BYTES // (4 * n_regions * circuit.K))


def _leaf_positions(
    circuit: Circuit, columns: Tensor, weight: Tensor, random_state: np.random.RandomState
) -> Tensor:
    """Return every row's position on a random direction of each leaf region, (regions, rows)."""
    position = torch.zeros((), dtype=torch.float64, device=circuit.device)
    for group in circuit.leaf_groups:
        direction = group.slot_reference.new_tensor(
            random_state.standard_normal(group.slot_reference.shape)
        )
        direction = direction / _spread(group, columns[group.own], weight)
        # With this instead of the log-normaliser, a missing cell counts as an average one.
        center = (direction * group.slot_reference).sum(2)
        natural = group.factors(direction, center)
        parts = [
            group.linear(group.cells(x), natural, torch.float64)[0].squeeze(1)
            for x in columns[group.own].split(_chunk_rows(group), dim=1)
        ]
        position = position + torch.cat(parts, 1)
    return position


def _leaf_statistics(
    group: LeafGroup, columns: Tensor, posterior: Tensor, weight: Tensor
) -> tuple[Tensor, Tensor]:
    """Return weighted statistics and mass of a leaf group, given posteriors (regions, K, rows)."""
    weighted, mass = torch.zeros_like(group.phi), torch.zeros_like(group.phi[:, :, 0])
    nothing = group.factors(torch.zeros_like(weighted), torch.zeros_like(mass))
    n_rows = _chunk_rows(group)
    chunks = columns[group.own].split(n_rows, dim=1)
    parts = zip(posterior.split(n_rows, dim=2), weight.split(n_rows), strict=True)
    for x, (part, row_weight) in zip(chunks, parts, strict=True):
        part = part * row_weight.to(part)
        _, kept = group.linear(group.cells(x), nothing, posterior.dtype)
        more_weighted, more_mass = group.expected(kept, part)
        weighted.add_(more_weighted.to(weighted.dtype))
        mass.add_(more_mass)
    return weighted, mass


def _chunk_rows(group: LeafGroup) -> int:
    """Return how many rows of a leaf group can be processed together."""
    return max(CHUNK_ROWS, GROUP_BYTES // (8 * max(1, group.phi.numel())))


def _spread(group: LeafGroup, x: Tensor, weight: Tensor) -> Tensor:
    """Return standard deviations of sufficient statistics in every slot; 1 for constant ones."""
    center = group.reference.squeeze(-1)
    square, mass = torch.zeros_like(center), torch.zeros_like(center[:, :1])
    n_rows = _chunk_rows(group)
    for part, w in zip(x.split(n_rows, dim=1), weight.split(n_rows), strict=True):
        cells = group.cells(part)
        cell_weight = w * cells.seen
        square += group.family.squared_deviations(cells.x, cell_weight, center)
        mass += cell_weight.sum(1, keepdim=True)
    square = (square / mass.clamp_min(1e-30)).unsqueeze(-1)
    spread = torch.where(square > 1e-20, square.sqrt(), 1.0)
    return spread[group.index.clamp_max(len(spread) - 1)]


def _equal_groups(position: Tensor, weight: Tensor, K: int, dtype: torch.dtype) -> Tensor:
    """Compute the share of each row in each of K groups of equal weight, along sorted positions.

    A row on a cut belongs partly to both sides, and rows at the same position have the same
    shares, whatever their order.

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
    """Return `_equal_groups` of a few regions at a time, so that they take little memory."""
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
