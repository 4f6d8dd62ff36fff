import itertools
import pickle
from importlib import import_module

import numpy as np
import pytest

from sklearn_einet.structure import Partition, Region, RegionGraph, random_binary_trees
from sklearn_einet.structure.chow_liu import chow_liu, chow_liu_trees, spanning_trees
from sklearn_einet.structure.discretization import discretized
from sklearn_einet.structure.tree_regions import tree_of, tree_regions

# The package's attribute of this name is the function.
module = import_module("sklearn_einet.structure.chow_liu")


def seed(number=0):
    return np.random.RandomState(number)


def edges(tree):
    return {frozenset((column, int(p))) for column, p in enumerate(tree) if p >= 0}


def depths(tree):
    result = []
    for column in range(len(tree)):
        steps = 0
        while tree[column] >= 0:
            column, steps = tree[column], steps + 1
        result.append(steps)
    return result


def is_connected(chosen, d):
    """Whether edges lead from column 0 to all d columns."""
    reached = {0}
    for _ in range(d):
        reached |= {column for edge in chosen if reached & edge for column in edge}
    return len(reached) == d


def binary_columns(parents, n_rows=4000, flips=0.2):
    """Each column is the copy of its parent, an earlier column, with some cells flipped."""
    rng = seed(3)
    X = np.empty((n_rows, len(parents)))
    for column, parent in enumerate(parents):
        coin = rng.randint(2, size=n_rows)
        flipped = rng.random_sample(n_rows) < flips
        X[:, column] = coin if parent < 0 else np.abs(X[:, parent] - flipped)
    return X


CHAIN = [-1, 0, 1, 2, 3, 4]
STAR = [-1, 0, 0, 0, 0, 0]


@pytest.mark.parametrize("number", range(10))
def test_no_tree_is_better(number):
    information = seed(number).random_sample((5, 5)) * (seed(number + 1).rand(5, 5) > 0.4)
    information += information.T
    pairs = [frozenset(pair) for pair in itertools.combinations(range(5), 2)]

    def total(chosen):
        return sum(information[tuple(edge)] for edge in chosen)

    best = max(total(c) for c in itertools.combinations(pairs, 4) if is_connected(c, 5))
    (tree,) = spanning_trees(information, np.zeros((5, 5)), 1, seed())
    assert is_connected(edges(tree), 5)
    assert total(edges(tree)) == pytest.approx(best, abs=1e-12)


@pytest.mark.parametrize("missing", [0, 0.3])
@pytest.mark.parametrize("parents", [CHAIN, STAR, [-1, 0, 0, 1, 1, 4]], ids=str)
@pytest.mark.parametrize("numeric", [False, True])
def test_recovers_a_known_tree(parents, missing, numeric):
    X = binary_columns(parents)
    if numeric:
        X += 0.3 * seed().randn(*X.shape)
    X[seed().random_sample(X.shape) < missing] = np.nan
    n_states = np.full(6, 0 if numeric else 2)
    (tree,) = tree_of(chow_liu(X, n_states, random_state=seed()))
    assert edges(tree) == edges(parents)


@pytest.mark.parametrize("number", range(10))
def test_the_root_is_in_the_middle(number):
    rng = seed(number)
    parents = [-1, *(rng.randint(max(0, i - 3), i) for i in range(1, 20))]
    information = np.zeros((20, 20))
    for edge in map(tuple, edges(parents)):
        information[edge] = information[edge[::-1]] = 1
    (tree,) = spanning_trees(information, np.zeros((20, 20)), 1, rng)
    assert edges(tree) == edges(parents)
    apart = np.where(information > 0, 1, 99) * (1 - np.eye(20))
    for via in range(20):
        apart = np.minimum(apart, apart[:, via, None] + apart[via])
    assert max(depths(tree)) == np.ceil(apart.max() / 2)


def test_a_star_of_unrelated_columns():
    """All pairs are as good: the tree spans all the same, and is as flat as can be."""
    X = np.zeros((50, 6))
    (tree,) = chow_liu_trees(X, np.full(6, 2), random_state=seed())
    assert tree.tolist() == STAR


def test_a_long_chain():
    information = np.eye(2000, k=1) + np.eye(2000, k=-1)
    (tree,) = spanning_trees(information, np.zeros((2000, 2000)), 1, seed())
    assert edges(tree) == {frozenset((i, i + 1)) for i in range(1999)}
    graph = tree_regions([tree])
    assert len(graph.layers()) == 1001
    assert len(graph.regions) == 2000 + 1998  # leaf regions, and all but the two ends
    np.testing.assert_array_equal(tree_of(pickle.loads(pickle.dumps(graph)))[0], tree)


def test_regions_of_a_small_tree():
    graph = tree_regions([[3, 3, 1, -1, 1]], np.array([True, False, False, False, True]))
    (top,) = graph.root.partitions
    assert [(sorted(c.scope), c.is_leaf, c.mixed) for c in top.children] == [
        ([3], True, False),
        ([0], True, True),
        ([1, 2, 4], False, True),
    ]
    (below,) = top.children[2].partitions
    assert [(sorted(c.scope), c.is_leaf, c.mixed) for c in below.children] == [
        ([1], True, False),
        ([2], True, False),
        ([4], True, True),
    ]


@pytest.mark.parametrize("n_rows", [1, 30])
def test_a_single_column(n_rows):
    graph = chow_liu(np.ones((n_rows, 1)), np.array([0]), 3, random_state=seed())
    assert graph.root.is_leaf
    assert graph.root.scope == {0}
    assert tree_of(graph)[0].tolist() == [-1]


def test_a_single_row():
    (tree,) = chow_liu_trees(
        np.array([[1.0, np.nan, 0.3]]), np.array([2, 2, 0]), random_state=seed()
    )
    assert is_connected(edges(tree), 3)


def test_replicas_meet_in_the_root_and_share_nothing():
    X = binary_columns(CHAIN, 30, flips=0.4)
    graph = chow_liu(X, np.full(6, 2), 5, random_state=seed())
    trees = chow_liu_trees(X, np.full(6, 2), 5, random_state=seed())
    np.testing.assert_array_equal(tree_of(graph), trees)
    assert len(graph.root.partitions) == 5
    assert len(graph.leaves) == 5 * 6
    assert len({frozenset(edges(tree)) for tree in trees}) > 1
    (alone,) = chow_liu_trees(X, np.full(6, 2), random_state=seed(1))
    np.testing.assert_array_equal(trees[0], alone)


def test_replicas_agree_when_there_is_no_doubt():
    X = binary_columns(CHAIN, 20_000)
    trees = chow_liu_trees(X, np.full(6, 2), 5, random_state=seed())
    assert {frozenset(edges(tree)) for tree in trees} == {frozenset(edges(CHAIN))}


def test_noise_has_the_standard_deviation_of_the_estimates():
    """Two of three pairs make the tree; how often a pair is left out tells how noisy it is."""
    information = np.array([[0, 9, 1.0], [9, 0, 1.1], [1.0, 1.1, 0]])
    variance = np.array([[0, 0, 0.02], [0, 0, 0.02], [0.02, 0.02, 0]])
    trees = spanning_trees(information, variance, 2001, seed())
    other = np.mean([frozenset((0, 2)) in edges(tree) for tree in trees[1:]])
    assert other == pytest.approx(0.309, abs=0.04)  # P(N(0.1, 0.04) < 0) = P(N(0, 1) < -0.5)


def test_the_seed_decides():
    X = binary_columns(CHAIN, 30, flips=0.4)
    before = np.random.get_state()[1].tolist()
    first, same, other = (
        np.array(chow_liu_trees(X, np.full(6, 2), 9, random_state=seed(i))) for i in (0, 0, 1)
    )
    np.testing.assert_array_equal(first, same)
    assert (first != other).any()
    assert np.random.get_state()[1].tolist() == before


def test_rows_of_weight_0_count_for_nothing():
    X, noise = binary_columns(CHAIN), seed().randn(4000, 6)
    X[:, 3:] += 0.1 * noise[:, 3:]
    n_states = np.array([2, 2, 2, 0, 0, 0])
    noise[:, :3] = noise[:, [0, 1, 0]] > 0  # would join columns 0 and 2, and move all bins
    both = np.concatenate([X, noise * 100 * (n_states == 0) + noise * (n_states > 0)])
    weight = np.repeat([1.0, 0.0], 4000)
    trees = [
        chow_liu_trees(X, n_states, 3, random_state=seed()),
        chow_liu_trees(both, n_states, 3, random_state=seed(), weight=weight),
    ]
    np.testing.assert_array_equal(*trees)
    assert edges(chow_liu_trees(both, n_states, random_state=seed())[0]) != edges(trees[0][0])


@pytest.mark.parametrize("weighted", [False, True])
def test_a_large_table_is_judged_by_some_rows(monkeypatch, weighted):
    seen = []

    def watched(codes, n_states, weight):
        seen.append(len(codes))
        assert weight is None or (len(weight) == len(codes) and (weight == 2).all())
        return original(codes, n_states, weight)

    original = module.mutual_information
    monkeypatch.setattr(module, "mutual_information", watched)
    monkeypatch.setattr(module, "MIN_ROWS", 500)
    X, weight = binary_columns(CHAIN), np.repeat([0.0, 2.0], [1000, 3000])
    weight = weight if weighted else None
    for products in (10**9, 1000 * 72, 1):  # 12 states, half of whose pairs are computed
        monkeypatch.setattr(module, "MAX_PRODUCTS", products)
        (tree,) = chow_liu_trees(X, np.full(6, 2), random_state=seed(), weight=weight)
        assert edges(tree) == edges(CHAIN)
    assert seen == [3000 if weighted else 4000, 1000, 500]


@pytest.mark.parametrize(
    ("trees", "mixed", "message"),
    [
        ([[-1, -1]], None, "2 parents that lead to one root"),
        ([[1, 0]], None, "lead to one root"),
        ([[-1, 2, 1]], None, "lead to one root"),
        ([[-1, 7]], None, "lead to one root"),
        ([[-1, 0], [-1, 0, 0]], None, "2 parents"),
        ([[-1, 0]], [True], "mixed_leaves must have 2 entries, got 1"),
    ],
    ids=str,
)
def test_no_trees(trees, mixed, message):
    with pytest.raises(ValueError, match=message):
        tree_regions(trees, mixed)


@pytest.mark.parametrize(
    "graph",
    [
        random_binary_trees(4, 2, 1, seed()),
        random_binary_trees(4, 1, 1, seed()),
        random_binary_trees(4, 0, 1, seed()),
        RegionGraph(
            Region(
                range(3),
                [
                    Partition(
                        [
                            Region([0]),
                            Region([1, 2], [Partition([Region([1]), Region([2])])] * 2),
                        ]
                    )
                ],
            )
        ),
        tree_regions([STAR]).binarized(),
    ],
    ids=str,
)
def test_other_graphs_are_no_trees(graph):
    with pytest.raises(ValueError, match="graph is not a Chow-Liu tree"):
        tree_of(graph)


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"replicas": 0}, "replicas must be at least 1, got 0"),
        ({"n_bins": 1}, "n_bins must be at least 2, got 1"),
        ({"weight": np.array([1.0, -1.0])}, "weight must be"),
        ({"n_states": np.array([2, 2])}, "column 1 that are not codes below 2"),
    ],
    ids=str,
)
def test_bad_parameters(parameters, message):
    usual = {"X": np.array([[0.0, 1.0], [1.0, 2.0]]), "n_states": np.array([2, 3])}
    with pytest.raises(ValueError, match=message):
        chow_liu(**(usual | parameters), random_state=seed())


def test_weights_count_as_repetitions():
    """Also of numbers, whose bins depend on how many rows there are."""
    rng = np.random.RandomState(0)
    X = np.column_stack([rng.randn(60, 3).cumsum(1), rng.randint(4, size=60)])
    X[rng.rand(*X.shape) < 0.1] = np.nan
    repeats = rng.randint(4, size=60)
    n_states = np.array([0, 0, 0, 4])
    codes, found = discretized(np.repeat(X, repeats, axis=0), n_states)
    kept = repeats > 0
    own = discretized(X[kept], n_states, weight=repeats[kept].astype(float))
    np.testing.assert_array_equal(np.repeat(own[0], repeats[kept], axis=0), codes)
    np.testing.assert_array_equal(own[1], found)
    unweighted, _ = discretized(X[kept], n_states)
    assert (unweighted != own[0]).any()


@pytest.mark.parametrize("binary", [False, True])
def test_sparse_columns_take_no_part_in_the_tree_of_others(binary):
    """Of 20 observed cells, chance alone makes more information than there is in a real edge."""
    rng = np.random.RandomState(0)
    X = rng.randn(3000, 8)
    for j in range(1, 6):
        X[:, j] = 0.5 * X[:, j - 1] + 0.75**0.5 * X[:, j]
    X[20:, 6:] = np.nan
    if binary:
        X = np.where(np.isnan(X), np.nan, X > 0)
    (tree,) = chow_liu_trees(X, np.full(8, 2 if binary else 0), random_state=rng)
    edges = {frozenset(pair) for pair in enumerate(tree.tolist())}
    assert all(frozenset((j, j + 1)) in edges for j in range(5))


def test_normalised_weights_make_the_same_tree():
    rng = np.random.RandomState(0)
    X = rng.randn(500, 5).cumsum(1)
    for weight in (np.full(500, 1 / 500), np.full(500, 1e-30)):
        trees = [
            chow_liu_trees(X, np.zeros(5, int), random_state=rng, weight=w)[0]
            for w in (weight, None)
        ]
        np.testing.assert_array_equal(*trees)
