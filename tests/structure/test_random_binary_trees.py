import numpy as np
import pytest

from tests.helpers.circuits import tree_graph


@pytest.mark.parametrize(("n_features", "depth", "replicas"), [(8, 3, 2), (13, 2, 5), (100, 4, 3)])
def test_counts_and_balance(n_features, depth, replicas):
    graph = tree_graph(n_features, depth, replicas)
    assert sum(len(r.partitions) for r in graph.regions) == replicas * (2**depth - 1)
    assert len(graph.leaves) == replicas * 2**depth
    sizes = [len(leaf.scope) for leaf in graph.leaves]
    assert set(sizes) <= {n_features // 2**depth, -(-n_features // 2**depth)}


@pytest.mark.parametrize("n_features", [1, 2, 3, 5, 31, 32])
def test_too_deep_is_clamped_with_a_warning(n_features):
    with pytest.warns(UserWarning, match=r"depth=6 needs at least 64 features"):
        graph = tree_graph(n_features, 6, 2)
    deepest = int(np.log2(n_features))
    assert len(graph.leaves) == (2 * 2**deepest if deepest else 1)


def test_seed_determines_the_splits():
    scopes = [[r.scope for r in tree_graph(10, 2, 3, seed).regions] for seed in (0, 0, 1)]
    assert scopes[0] == scopes[1]
    assert scopes[0] != scopes[2]


def test_replicas_differ():
    first, second = tree_graph(40, 1, 2).root.partitions
    assert first.children[0].scope not in {c.scope for c in second.children}
