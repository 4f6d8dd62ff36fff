"""Region graphs: the skeleton of a circuit (paper, sections 2 and 3.1)."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import cached_property
from typing import Any

__all__ = ["Partition", "Region", "RegionGraph"]


class Partition:
    """A split of a region into disjoint child regions: a vector of product nodes.

    Parameters
    ----------
    children : sequence of Region
        Two or more regions with pairwise disjoint scopes (decomposability).

    Attributes
    ----------
    children : tuple of Region
    scope : frozenset of int
        The union of the children's scopes.

    Raises
    ------
    ValueError
        If there are fewer than two children, or if two of them share a feature.
    """

    def __init__(self, children: Iterable[Region]) -> None:
        self.children = tuple(children)
        if len(self.children) < 2:
            raise ValueError(
                f"A partition needs at least two child regions, got {len(self.children)}."
            )
        self.scope: frozenset[int] = frozenset().union(*(c.scope for c in self.children))
        if len(self.scope) != sum(len(c.scope) for c in self.children):
            raise ValueError(
                "The children of a partition must have disjoint scopes (decomposability); got "
                f"{[sorted(c.scope) for c in self.children]}."
            )


class Region:
    """A set of features with a joint density: a vector of sum nodes, or of leaves.

    Parameters
    ----------
    scope : iterable of int
        The column indices of the features. A leaf region may have none: it represents the constant
        1, which is left of a region once all its features are marginalised.
    partitions : sequence of Partition, default=()
        The ways to split the region; none for a leaf region. All must have the scope of the region
        (smoothness).
    mixed : bool, default=True
        False for a leaf region whose densities belong one to one to the units of its only parent,
        like observations of a latent variable: CP layers do not mix them. Tucker layers ignore it.
    joint : bool, default=False
        Whether a leaf region has multivariate normal densities for its numeric columns instead of
        products of univariate densities.

    Attributes
    ----------
    scope : frozenset of int
    partitions : tuple of Partition
    mixed, joint : bool

    Raises
    ------
    ValueError
        If the scope differs from that of a partition, if it is empty but there are partitions, or
        if a region with partitions is not mixed, or is joint.
    """

    def __init__(
        self,
        scope: Iterable[int],
        partitions: Iterable[Partition] = (),
        mixed: bool = True,
        joint: bool = False,
    ) -> None:
        self.scope = frozenset(scope)
        self.partitions = tuple(partitions)
        self.mixed = mixed
        self.joint = joint
        if self.partitions and not mixed:
            raise ValueError("A region with partitions must be mixed.")
        if self.partitions and joint:
            raise ValueError("Only a leaf region can be joint.")
        if self.partitions and not self.scope:
            raise ValueError("A region with partitions needs at least one feature, got none.")
        for partition in self.partitions:
            if partition.scope != self.scope:
                raise ValueError(
                    "Every partition of a region must cover the region's own scope (smoothness): "
                    f"the region has {sorted(self.scope)}, a partition {sorted(partition.scope)}."
                )

    @property
    def is_leaf(self) -> bool:
        """Whether the region has no partition."""
        return not self.partitions


class RegionGraph:
    """A rooted, directed acyclic graph of regions and partitions.

    Regions and partitions check smoothness and decomposability when they are created, and cannot
    be created before their children, so that every graph is acyclic and valid.

    Parameters
    ----------
    root : Region
        The region of all features. Its scope must be ``{0, ..., n_features - 1}``.

    Attributes
    ----------
    root : Region
    n_features : int
    regions : tuple of Region
        Every region once, parents before children.

    References
    ----------
    R. Peharz et al., "Einsum Networks: Fast and Scalable Learning of Tractable Probabilistic
    Circuits", ICML 2020, sections 2 and 3.1.

    Examples
    --------
    >>> from sklearn_einet.structure import Partition, Region, RegionGraph
    >>> left, right = Region([0, 1]), Region([2])
    >>> graph = RegionGraph(Region([0, 1, 2], [Partition([left, right])]))
    >>> graph
    RegionGraph(n_features=3, regions=3, partitions=1, leaves=2)
    >>> [[sorted(region.scope) for region in layer] for layer in graph.layers()]
    [[[0, 1, 2]], [[0, 1], [2]]]
    """

    def __init__(self, root: Region) -> None:
        self.root = root
        self.n_features = len(root.scope)
        if not root.scope:
            raise ValueError("A region graph needs at least one feature, got none.")
        if root.scope != frozenset(range(self.n_features)):
            raise ValueError(
                f"The root must cover the features 0 to {self.n_features - 1}, "
                f"got {sorted(root.scope)}."
            )
        self.regions = tuple(_parents_first(root))

    def __repr__(self) -> str:
        return (
            f"RegionGraph(n_features={self.n_features}, regions={len(self.regions)}, "
            f"partitions={sum(len(r.partitions) for r in self.regions)}, "
            f"leaves={len(self.leaves)})"
        )

    def __getstate__(self) -> dict[str, object]:
        """Return a flat table: pickling nested regions would recurse as deep as the graph."""
        number = {region: i for i, region in enumerate(self.regions)}
        table = [
            (
                sorted(r.scope),
                [[number[c] for c in p.children] for p in r.partitions],
                r.mixed,
                r.joint,
            )
            for r in self.regions
        ]
        return {"table": table}

    def __setstate__(self, state: dict[str, Any]) -> None:
        RegionGraph.__init__(self, _root_of(state["table"]))

    @cached_property
    def leaves(self) -> tuple[Region, ...]:
        """The regions without partitions."""
        return tuple(region for region in self.regions if region.is_leaf)

    def layers(self) -> list[list[Region]]:
        """Return topological layers of the graph (paper, Algorithm 1).

        A region belongs to the first layer such that all its parents are in earlier layers; a
        partition belongs to the layer of its only parent. All leaf regions form the last layer.

        Returns
        -------
        layers : list of list of Region
            From the root's layer down to that of the leaves. Within a layer, regions are in the
            order in which the partitions of the layers above first mention them: in a perfect
            binary tree, the children of partition p are the regions 2p and 2p + 1 of the next
            layer.
        """
        if self.root.is_leaf:
            return [[self.root]]
        depth = {self.root: 0}
        for region in self.regions:
            for partition in region.partitions:
                for child in partition.children:
                    depth[child] = max(depth.get(child, 0), depth[region] + 1)
        n_inner = 1 + max(depth[region] for region in self.regions if not region.is_leaf)
        layers: list[list[Region]] = [[] for _ in range(n_inner + 1)]
        layers[0].append(self.root)
        placed = {self.root}
        for layer in layers:
            for region in layer:
                for child in (c for p in region.partitions for c in p.children):
                    if child not in placed:
                        placed.add(child)
                        layers[n_inner if child.is_leaf else depth[child]].append(child)
        return layers

    def binarized(self) -> RegionGraph:
        """Return the same graph with partitions of more than two children split into trees.

        An einsum layer combines two children (paper, section 3.2). A partition of m children
        becomes a balanced binary tree of partitions, with m - 2 new regions inside.

        Returns
        -------
        graph : RegionGraph
            The graph itself if all its partitions are binary.
        """
        if all(len(p.children) == 2 for r in self.regions for p in r.partitions):
            return self
        new: dict[Region, Region] = {}
        for region in reversed(self.regions):
            partitions = [_binary([new[c] for c in p.children]) for p in region.partitions]
            new[region] = Region(region.scope, partitions, region.mixed, region.joint)
        return RegionGraph(new[self.root])


def _binary(children: Sequence[Region]) -> Partition:
    """Return a partition with two children that represents one with many."""
    middle = (len(children) + 1) // 2
    halves = []
    for half in (children[:middle], children[middle:]):
        if len(half) == 1:
            halves.append(half[0])
        else:
            partition = _binary(half)
            halves.append(Region(partition.scope, [partition]))
    return Partition(halves)


def _parents_first(root: Region) -> list[Region]:
    """Return all regions below the root in topological order, without recursion."""
    n_parents: dict[Region, int] = {root: 0}
    stack = [root]
    while stack:
        for partition in stack.pop().partitions:
            for child in partition.children:
                if child not in n_parents:
                    n_parents[child] = 0
                    stack.append(child)
                n_parents[child] += 1
    order: list[Region] = [root]
    for region in order:
        for partition in region.partitions:
            for child in partition.children:
                n_parents[child] -= 1
                if n_parents[child] == 0:
                    order.append(child)
    return order


def _root_of(table: list[tuple[list[int], list[list[int]], bool, bool]]) -> Region:
    """Return the root of a parents-first table of (scope, partitions as rows, mixed, joint)."""
    regions: dict[int, Region] = {}
    for i in reversed(range(len(table))):
        scope, partitions, mixed, joint = table[i]
        parts = [Partition([regions[c] for c in p]) for p in partitions]
        regions[i] = Region(scope, parts, mixed, joint)
    return regions[0]
