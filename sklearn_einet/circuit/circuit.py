"""Circuits: region graphs whose regions are vectors of K densities (paper, section 3).

Conventions, in all of `sklearn_einet.circuit`:

- Cells are columns first, (n_features, batch), in float64; activations are (rows, K, batch), with a
  row for each region or partition. The batch is the last axis, so that inner loops run over
  contiguous memory however small K is.
- Activations are logarithms, relative to the columns' own distributions; weights are linear.
- Impossible values are -inf, never NaN, and have gradient 0.
- Output 0 belongs to the leaf regions, output i to layer i - 1; the last one is that of the root.
- Slots of leaf groups are padded with the number of their columns, and those of mixing layers with
  their first term; the parameters of padding stay 0 or have no effect.
- An upward pass owns one buffer with all outputs, of which `Activations` has views. A downward
  pass overwrites it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from sklearn_einet.circuit.activations import Activations
from sklearn_einet.circuit.backend import choose_backend
from sklearn_einet.circuit.block_rows import good_block_rows
from sklearn_einet.circuit.layers.mixing import MixingLayer
from sklearn_einet.circuit.layers.stack import PRODUCT_LAYERS, layers_above
from sklearn_einet.circuit.leaves.groups import (
    LeafColumns,
    forward,
    leaf_group,
    loaded_group,
    moved_group,
    threads_of_leaves,
)
from sklearn_einet.circuit.leaves.joint_normal import joint_groups
from sklearn_einet.circuit.log_root import LogRoot
from sklearn_einet.circuit.parameters import Parameters
from sklearn_einet.circuit.protocols import Passes
from sklearn_einet.circuit.semirings import SUM, Semiring
from sklearn_einet.circuit.torch_passes import TorchPasses
from sklearn_einet.structure import RegionGraph

__all__ = ["LAYERS", "Activations", "Circuit", "LeafColumns", "Parameters", "by_column"]

#: The kinds of layers.
LAYERS = tuple(PRODUCT_LAYERS)

# A cell with less than exp(-1e10) times the density of its column's own distribution tells nothing
# about the other cells: the relevant differences are lost in rounding.
LEAST_LOG_DENSITY = -1e10


class Circuit:
    """A smooth and decomposable circuit of einsum layers or CP layers.

    Parameters
    ----------
    region_graph : RegionGraph
    leaf_columns : sequence of LeafColumns
        Together, they must have every column of the region graph once.
    K : int
        Number of densities of every region except the root, which is a single density.
    layer : {"tucker", "cp"}, default="tucker"
        "tucker": partitions are einsum layers, which sum over all pairs of two children's units;
        partitions of more children become binary trees. "cp": the units of every child are mixed,
        and the results are multiplied unit by unit; the root sums over all units.
    min_variance : float, default=0.0
        The least variance of a leaf, as a share of the column's own.
    dtype : torch.dtype, default=torch.float32
        Type of the activations and of the sum weights. Leaf parameters are always float64.
    device : torch.device or str, default="cpu"

    Attributes
    ----------
    graph : RegionGraph
        The computed graph: the region graph or its binarized form.
    layers : list of Layer
        From the bottom up: the partitions of every topological layer of regions and, if a region
        has several, the mixing layer above them. Above CP layers, or a lone leaf region, the last
        layer mixes the units of everything below.
    weights : list of Tensor
        One tensor per layer, normalised over `summed_axes`.
    leaf_groups : list of LeafGroup
        The leaves with univariate densities.
    joint_groups : list of JointGroup
    backend : Backend
        See `sklearn_einet.circuit.backend`.

    Examples
    --------
    >>> import numpy as np, torch
    >>> from sklearn_einet.circuit import Circuit, LeafColumns
    >>> from sklearn_einet.families import Bernoulli
    >>> from sklearn_einet.structure import random_binary_trees
    >>> graph = random_binary_trees(2, 1, 1, np.random.RandomState(0))
    >>> columns = LeafColumns(Bernoulli(), np.arange(2), np.array([[0.5], [0.25]]))
    >>> circuit = Circuit(graph, [columns], K=3)
    >>> circuit.log_prob(torch.tensor([[1.0, 1.0], [1.0, torch.nan]])).exp()
    tensor([0.1250, 0.5000], dtype=torch.float64)
    """

    def __init__(
        self,
        region_graph: RegionGraph,
        leaf_columns: Sequence[LeafColumns],
        K: int,
        *,
        layer: str = "tucker",
        min_variance: float = 0.0,
        dtype: torch.dtype = torch.float32,
        device: torch.device | str = "cpu",
    ) -> None:
        self.region_graph = region_graph
        self.K = K
        self.layer = layer
        self.dtype = dtype
        self.device = torch.device(device)
        self.backend = choose_backend(self.device, dtype)
        *inner, leaves = self.graph.layers()
        self.leaf_groups = [
            leaf_group(columns, leaves, K, min_variance, self.device, self.backend)
            for columns in leaf_columns
        ]
        self.joint_groups = joint_groups(leaf_columns, leaves, K, self.device)
        self.layers = layers_above(inner, leaves, PRODUCT_LAYERS[layer], K)
        self.weights = [
            torch.as_tensor(each.uniform_weights(K), dtype=dtype, device=device)
            for each in self.layers
        ]
        self._passes: dict[tuple[str, torch.dtype], Passes] = {}
        self._block_rows: int | None = None
        self._settled: Parameters | None = None

    @property
    def graph(self) -> RegionGraph:
        """The region graph, binarized if the layers need partitions of two children."""
        is_binary = PRODUCT_LAYERS[self.layer].is_binary
        return self.region_graph.binarized() if is_binary else self.region_graph

    @property
    def mixes_units(self) -> bool:
        """Whether the last layer sums over the units of all partitions of the graph's root."""
        is_leaf = self.region_graph.root.is_leaf
        return not (is_leaf or PRODUCT_LAYERS[self.layer].ends_in_sums)

    @property
    def summed_axes(self) -> list[tuple[int, ...]]:
        """The axes of each of the weights over which they are normalised."""
        return [layer.summed_axes for layer in self.layers]

    def parameters(self) -> Parameters:
        """Return the current parameters, detached from any graph of operations."""
        return self._settled or Parameters(
            list(self.weights), [group.natural_parameters() for group in self.leaf_groups]
        )

    def settled(self) -> Circuit:
        """Return a circuit with the same parameters, which must not change any more.

        Intermediate results of queries are then computed only once.
        """
        other = self.to(self.device)
        other._settled = other.parameters().lasting()
        return other

    def log_prob(self, x: Tensor, parameters: Parameters | None = None) -> Tensor:
        """Compute the log-density of every row.

        Parameters
        ----------
        x : Tensor of shape (batch, n_features)
            NaN cells are marginalised. Float64 keeps the precision of large values.
        parameters : Parameters or None, default=None
            Used in place of the circuit's own, for derivatives.

        Returns
        -------
        log_prob : Tensor of shape (batch,)
            In nats, in float64. The precision is that of `dtype`, relative to the columns' own
            distributions.
        """
        parameters = parameters or self.parameters()
        if len(x) > self.block_rows and not torch.is_grad_enabled():
            parts = [self.log_prob(part, parameters) for part in x.split(self.block_rows)]
            return torch.cat(parts)
        columns = by_column(x)
        leaves, base = self.leaf_log_densities(columns, parameters)
        log_prob = self.log_root(leaves, parameters).to(torch.float64) + base
        # The density of a value whose square overflows cannot be distinguished from 0.
        return torch.where(torch.isnan(log_prob), -torch.inf, log_prob)

    def propagate(
        self, leaves: Tensor, parameters: Parameters | None = None, semiring: Semiring = SUM
    ) -> Activations:
        """Make the upward pass without derivatives; for these, use `log_root`.

        Parameters
        ----------
        leaves : Tensor of shape (n_leaf_regions, K, batch)
            Logarithms of the leaf regions' values for each row: densities, probabilities of
            intervals, or expected values.
        parameters : Parameters or None, default=None
            Used in place of the circuit's own.
        semiring : Semiring, default=SUM
            `MAX`: every sum is replaced by its largest term.
        """
        weights = self.weights if parameters is None else parameters.weights
        passes = self.passes if semiring is SUM else TorchPasses(self.layers, semiring)
        return Activations(passes, passes.up(leaves, weights))

    def log_root(self, leaves: Tensor, parameters: Parameters | None = None) -> Tensor:
        """Return the logarithm of the root's value for every row, (batch,); differentiable once.

        Parameters
        ----------
        leaves : Tensor of shape (n_leaf_regions, K, batch)
            As in `propagate`.
        parameters : Parameters or None, default=None
        """
        weights = self.weights if parameters is None else parameters.weights
        result: Tensor = LogRoot.apply(self.passes, leaves, *weights)
        return result

    @property
    def passes(self) -> Passes:
        """Both passes, with the derivatives that EM needs; shared by circuits with equal layers."""
        key = self.backend.name, self.dtype
        if key not in self._passes:
            self._passes[key] = self.backend.passes(self.layers, self.output_shapes, self.dtype)
        return self._passes[key]

    def is_finite(self) -> bool:
        """Return whether no parameter is NaN or infinite."""
        tensors = self.weights + [group.phi for group in self.leaf_groups]
        tensors += [each for group in self.joint_groups for each in group.tensors]
        return bool(torch.stack([torch.isfinite(tensor).all() for tensor in tensors]).all())

    def leaf_log_densities(self, columns: Tensor, parameters: Parameters) -> tuple[Tensor, Tensor]:
        """Return log-densities of all leaf regions, and the base to which they are relative.

        Parameters
        ----------
        columns : Tensor of shape (n_features, batch)
        parameters : Parameters

        Returns
        -------
        leaves : Tensor of shape (n_leaf_regions, K, batch)
            Relative to the columns' own distributions.
        base : Tensor of shape (batch,)
            Log-densities of the rows under these distributions.
        """
        leaves, base, _ = self.leaf_forward(columns, parameters, for_expected=False)
        return leaves, base

    def leaf_forward(
        self, columns: Tensor, parameters: Parameters, for_expected: bool = True
    ) -> tuple[Tensor, Tensor, list[Any]]:
        """Return the results of `leaf_log_densities`, with the intermediate results for the method
        `expected` of the leaf groups and then of the joint groups."""
        with threads_of_leaves(self.leaf_groups):
            leaves, base, kept = forward(self.leaf_groups, columns, parameters.leaves, self.dtype)
            for joint in self.joint_groups:
                density, of_joint = joint.forward(columns, for_expected)
                leaves.index_add_(0, joint.regions, density.to(leaves.dtype))
                kept.append(of_joint)
        return leaves, base, kept

    def usable(self, columns: Tensor) -> Tensor:
        """Return which cells can be conditioned on: observed cells that are possible.

        Parameters
        ----------
        columns : Tensor of shape (n_features, batch)

        Returns
        -------
        usable : Tensor of bool of shape (n_features, batch)
        """
        result = torch.empty_like(columns, dtype=torch.bool)
        for group in self.leaf_groups:
            cells = group.cells(columns[group.own])
            result[group.own] = cells.seen & (group.log_reference(cells) > LEAST_LOG_DENSITY)
        return result

    @property
    def leaf_columns(self) -> list[LeafColumns]:
        """The columns of each family."""
        return [
            LeafColumns(
                g.family,
                g.columns.cpu().numpy(),
                g.reference.squeeze(-1).cpu().numpy(),
                g.least_variance.cpu().numpy(),
                g.grid,
            )
            for g in self.leaf_groups
        ]

    @property
    def nothing(self) -> Tensor:
        """Logarithms of the leaf regions' values for one row without evidence, all of them 0."""
        rows, k = self.output_shapes[0]
        return torch.zeros(rows, k, 1, dtype=self.dtype, device=self.device)

    @property
    def output_shapes(self) -> list[tuple[int, int]]:
        """Rows and units of the outputs of the leaf regions and of every layer."""
        leaves = (len(self.leaf_groups[0].index), self.K)
        return [leaves] + [(layer.n_rows, layer.k_out) for layer in self.layers]

    @property
    def n_parameters(self) -> int:
        """Number of sum weights and leaf parameters."""
        total = sum(weights.numel() for weights in self.weights)
        total += sum(int(g.present.sum()) * g.phi[0, 0].numel() for g in self.leaf_groups)
        return total + sum(group.n_free_parameters for group in self.joint_groups)

    @property
    def n_free_parameters(self) -> int:
        """Number of sum weights and leaf parameters that are not determined by others."""
        pairs = zip(self.layers, self.weights, strict=True)
        total = sum(layer.n_free_weights(weights) for layer, weights in pairs)
        total += sum(group.n_free_parameters for group in self.leaf_groups)
        return total + sum(group.n_free_parameters for group in self.joint_groups)

    @property
    def block_rows(self) -> int:
        """A good number of rows to process at a time."""
        if self._block_rows is None:
            phi = [group.phi for group in self.leaf_groups]
            self._block_rows = good_block_rows(self._row_bytes, self.weights + phi, self.device)
        return self._block_rows

    @property
    def _row_bytes(self) -> int:
        """Memory for the activations of a row."""
        # Partitions that are mixed into regions are not counted twice.
        mixed = [m for m in self.layers if isinstance(m, MixingLayer) and not m.over_units]
        rows = sum(n for n, _ in self.output_shapes) - sum(layer.n_terms for layer in mixed)
        looked_up = sum(2 * 8 * g.index.numel() for g in self.leaf_groups if g.looks_up)
        row_bytes = 3 * rows * self.K * torch.finfo(self.dtype).bits // 8 + looked_up
        return row_bytes + 6 * 8 * self.region_graph.n_features

    def to(self, device: torch.device | str, dtype: torch.dtype | None = None) -> Circuit:
        """Return the same circuit on another device or with another type; tensors are shared.

        Weights are normalised again when the type changes, so that in float64 all probabilities
        sum to 1 within its precision.
        """
        other = Circuit.__new__(Circuit)  # copy.copy would go through numpy
        vars(other).update(vars(self))
        other.device = torch.device(device)
        other.dtype = dtype or self.dtype
        other.backend = choose_backend(other.device, other.dtype)
        other._block_rows, other._settled = None, None
        other.weights = [w.to(device, other.dtype) for w in self.weights]
        if other.dtype != self.dtype:
            for weights, axes in zip(other.weights, self.summed_axes, strict=True):
                weights.div_(weights.sum(axes, keepdim=True))
        other.leaf_groups = [moved_group(g, other.device, other.backend) for g in self.leaf_groups]
        other.joint_groups = [group.to(other.device) for group in self.joint_groups]
        return other

    def __getstate__(self) -> dict[str, Any]:
        """Return the state with arrays instead of tensors, to be loaded on any machine."""
        state = vars(self).copy()
        for name in ("_passes", "_block_rows", "_settled", "device", "backend"):
            del state[name]
        state["dtype"] = str(self.dtype).removeprefix("torch.")
        state["weights"] = [w.cpu().numpy() for w in self.weights]
        state["leaf_groups"] = [group.__getstate__() for group in self.leaf_groups]
        return state

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state)
        self.device, self.dtype = torch.device("cpu"), getattr(torch, state["dtype"])
        self.backend = choose_backend(self.device, self.dtype)
        self.weights = [torch.tensor(w) for w in state["weights"]]
        self.leaf_groups = [loaded_group(group, self.backend) for group in state["leaf_groups"]]
        self._passes, self._block_rows, self._settled = {}, None, None


def by_column(x: Tensor) -> Tensor:
    """Return rows as float64 columns, (n_features, batch)."""
    columns = x.T
    if columns.dtype == torch.float64 and columns.is_contiguous():
        return columns
    # Change type and order in one copy.
    return torch.empty(columns.shape, dtype=torch.float64, device=x.device).copy_(columns)
