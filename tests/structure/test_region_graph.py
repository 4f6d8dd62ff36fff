import pickle

import pytest

from sklearn_einet.structure import Partition, Region, RegionGraph
from tests.helpers.circuits import irregular_graph, tree_graph


def test_decomposability_is_checked():
    with pytest.raises(ValueError, match="disjoint"):
        Partition([Region([0, 1]), Region([1, 2])])


def test_smoothness_is_checked():
    with pytest.raises(ValueError, match="smoothness"):
        Region([0, 1, 2], [Partition([Region([0]), Region([1])])])


def test_partition_needs_two_children():
    with pytest.raises(ValueError, match="at least two"):
        Partition([Region([0])])


def test_only_leaf_regions_can_be_empty():
    assert Region([]).is_leaf
    with pytest.raises(ValueError, match="at least one feature"):
        Region([], [Partition([Region([]), Region([])])])
    with pytest.raises(ValueError, match="at least one feature"):
        RegionGraph(Region([]))


def test_root_must_cover_all_features():
    with pytest.raises(ValueError, match="features 0 to 1"):
        RegionGraph(Region([1, 2]))


@pytest.mark.parametrize("graph", [irregular_graph(), tree_graph(9, 3, 4), tree_graph(3, 0, 1)])
def test_layers_are_topological(graph):
    layers = graph.layers()
    assert sorted(id(region) for layer in layers for region in layer) == sorted(
        map(id, graph.regions)
    )
    layer_of = {region: i for i, layer in enumerate(layers) for region in layer}
    for region in graph.regions:
        for partition in region.partitions:
            assert all(layer_of[child] > layer_of[region] for child in partition.children)
    assert set(layers[-1]) == set(graph.leaves)
    assert layers[0] == [graph.root]


def test_layers_of_a_tree_are_in_order():
    *inner, _ = layers = tree_graph(16, 3, 2).layers()
    for layer, below in zip(inner, layers[1:], strict=True):
        assert [c for r in layer for p in r.partitions for c in p.children] == below


def test_binarized_has_pairs_only():
    graph = irregular_graph().binarized()
    assert {len(p.children) for r in graph.regions for p in r.partitions} == {2}
    assert len(graph.regions) == len(irregular_graph().regions) + 1
    binary = tree_graph(4, 2, 2)
    assert binary.binarized() is binary


def test_binarized_wide_partition():
    graph = RegionGraph(Region(range(7), [Partition([Region([i]) for i in range(7)])]))
    binary = graph.binarized()
    assert len(binary.regions) == 8 + 5
    assert len(binary.layers()) == 4  # the root, two layers of new regions, the leaves


def test_pickle_keeps_a_deep_graph():
    region = Region([0])
    for i in range(1, 3000):
        region = Region(range(i + 1), [Partition([region, Region([i])])])
    graph = RegionGraph(region)
    copy = pickle.loads(pickle.dumps(graph))
    assert repr(copy) == repr(graph)
    assert [r.scope for r in copy.regions] == [r.scope for r in graph.regions]
