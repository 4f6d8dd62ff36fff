from importlib import import_module

import numpy as np
import pytest
from sklearn.metrics import mutual_info_score

from sklearn_einet.structure.discretization import discretized
from sklearn_einet.structure.mutual_information import mutual_information

# The package's attributes of these names may be functions.
discretization = import_module("sklearn_einet.structure.discretization")
module = import_module("sklearn_einet.structure.mutual_information")
sparse_counts = import_module("sklearn_einet.structure.sparse_counts")

N_STATES = np.array([2, 3, 1, 4, 7])

# Codes of two rows, and numbers of states.
TWO = (np.zeros((2, 2), int), np.array([1, 1]))


def random_codes(n_rows=60, missing=0.2, seed=0):
    """Dependent columns, the fifth with states that never occur."""
    rng = np.random.RandomState(seed)
    hidden = rng.randint(12, size=n_rows)
    codes = np.stack([(hidden + rng.randint(4, size=n_rows)) * s // 15 for s in (2, 3, 1, 4, 5)], 1)
    codes[rng.random_sample(codes.shape) < missing] = -1
    return codes


def by_hand(x, y, weight=None):
    """Mutual information and its variance, cell by cell."""
    both = (x >= 0) & (y >= 0)
    weight = np.ones(len(x)) if weight is None else weight
    both &= weight > 0
    x, y, weight = x[both], y[both], weight[both]
    n = weight.sum()
    if n == 0:
        return -np.inf, 0.0
    plug_in = second = 0.0
    for a in set(x):
        for b in set(y):
            joint = weight[(x == a) & (y == b)].sum() / n
            if joint:
                p, q = weight[x == a].sum() / n, weight[y == b].sum() / n
                plug_in += joint * np.log(joint / p / q)
                second += joint * np.log(joint / p / q) ** 2
    k = (len(set(x)) - 1) * (len(set(y)) - 1)
    chance = (k + 3 * np.sqrt(2 * k)) / (2 * n)
    return plug_in - chance if k else -np.inf, (second - plug_in**2) / n


def all_by_hand(codes, weight=None):
    d = codes.shape[1]
    pairs = np.zeros((2, d, d))
    for i in range(d):
        for j in set(range(d)) - {i}:
            pairs[:, i, j] = by_hand(codes[:, i], codes[:, j], weight)
    return pairs


@pytest.mark.parametrize("missing", [0, 0.2, 0.8])
@pytest.mark.parametrize("n_rows", [1, 2, 60])
def test_all_pairs_by_hand(n_rows, missing):
    codes = random_codes(n_rows, missing)
    np.testing.assert_allclose(
        mutual_information(codes, N_STATES), all_by_hand(codes), rtol=1e-9, atol=1e-12
    )


def test_plug_in_is_that_of_scikit_learn():
    codes = random_codes(missing=0)
    information, _ = mutual_information(codes, N_STATES)
    plug_in = mutual_info_score(codes[:, 1], codes[:, 3])
    assert information[1, 3] == pytest.approx(plug_in - (6 + 3 * 12**0.5) / 120)


def test_a_single_column():
    information, variance = mutual_information(random_codes()[:, :1], N_STATES[:1])
    assert information.tolist() == variance.tolist() == [[0.0]]


def test_columns_never_observed_together():
    codes = np.repeat([[0, 0, -1], [1, 1, -1], [0, -1, 1], [1, -1, 0]], 50, axis=0)
    information, variance = mutual_information(codes, np.array([2, 2, 2]))
    assert information[1, 2] == -np.inf
    assert variance[1, 2] == 0
    chance = (1 + 3 * 2**0.5) / 200
    assert information[0, 1] == pytest.approx(np.log(2) - chance)
    assert information[0, 2] == pytest.approx(np.log(2) - chance)


def test_independent_columns_are_rarely_above_zero():
    codes = np.random.RandomState(0).randint(5, size=(200, 60))
    information, _ = mutual_information(codes, np.full(60, 5))
    assert (information[np.triu_indices(60, 1)] > 0).mean() < 0.02


def test_weights_are_repeated_rows():
    codes = random_codes()
    weight = np.random.RandomState(1).randint(4, size=len(codes))
    expected = mutual_information(np.repeat(codes, weight, axis=0), N_STATES)
    np.testing.assert_allclose(mutual_information(codes, N_STATES, weight), expected, atol=1e-12)
    assert not np.allclose(mutual_information(codes, N_STATES), expected)


def test_fractional_weights_by_hand():
    codes = random_codes()
    weight = np.random.RandomState(1).random_sample(len(codes)) * (codes[:, 0] != 1)
    np.testing.assert_allclose(
        mutual_information(codes, N_STATES, weight), all_by_hand(codes, weight), atol=1e-6
    )


@pytest.mark.parametrize("weight", [None, np.arange(60) % 3])
@pytest.mark.parametrize(("rows", "states"), [(1, 1), (7, 5), (59, 9), (60, 1000)])
def test_blocks_make_no_difference(monkeypatch, rows, states, weight):
    codes = random_codes()
    expected = mutual_information(codes, N_STATES, weight)
    monkeypatch.setattr(module, "BLOCK_ROWS", rows)
    monkeypatch.setattr(module, "BLOCK_STATES", states)
    np.testing.assert_allclose(
        mutual_information(codes, N_STATES, weight), expected, rtol=1e-12, atol=1e-15
    )


def test_variance_is_that_of_the_estimates():
    rng = np.random.RandomState(0)
    estimates, variances = [], []
    for _ in range(400):
        x = rng.randint(3, size=500)
        y = np.where(rng.random_sample(500) < 0.5, x, rng.randint(3, size=500))
        information, variance = mutual_information(np.stack([x, y], 1), np.array([3, 3]))
        estimates.append(information[0, 1])
        variances.append(variance[0, 1])
    assert np.var(estimates) == pytest.approx(np.mean(variances), rel=0.25)


@pytest.mark.parametrize("weight", [[1, -1], [1, np.nan], [np.inf, 1]])
def test_bad_weights(weight):
    with pytest.raises(ValueError, match="weight must be finite and at least 0"):
        mutual_information(*TWO, np.array(weight))


# --- codes


def of_numbers(values, n_bins):
    codes, n_states = discretized(np.array(values, float)[:, None], np.array([0]), n_bins)
    return codes[:, 0].tolist(), n_states.item()


NUMBERS = {
    "quantiles": ([5, 1, 2, 6, 4, 3], 3, [2, 0, 0, 2, 1, 1], 3),
    "few values": ([7, -1, 7, 9], 3, [1, 0, 1, 2], 3),
    "missing": ([np.nan, 1, np.nan, 0], 2, [-1, 1, -1, 0], 2),
    "constant": ([3, 3, 3], 4, [0, 0, 0], 1),
    "never observed": ([np.nan, np.nan], 4, [-1, -1], 1),
    "most at the bottom": ([0, 0, 0, 0, 0, 0, 1, 2, 3, 4], 3, [0] * 6 + [1, 1, 2, 2], 3),
    "most at the top": ([1, 2, 3, 4, 9, 9, 9, 9, 9, 9], 3, [0] * 3 + [1] + [2] * 6, 3),
    "nearly all at the top": ([1, 2, 3, 4, 5] + [9] * 20, 5, [0] * 5 + [1] * 20, 2),
    "most in the middle": ([1, 2, 5, 5, 5, 5, 8, 9], 3, [0, 0, 1, 1, 1, 1, 2, 2], 3),
}


@pytest.mark.parametrize("case", NUMBERS)
def test_known_bins(case):
    values, n_bins, codes, n_states = NUMBERS[case]
    assert of_numbers(values, n_bins) == (codes, n_states)


@pytest.mark.parametrize("n_bins", [2, 5, 9])
@pytest.mark.parametrize("seed", range(20))
def test_bins_are_ordered_and_none_is_empty(seed, n_bins):
    rng = np.random.RandomState(seed)
    values = np.round(rng.randn(rng.randint(2, 60)) * rng.choice([0.5, 3, 100]))
    codes, n_states = of_numbers(values, n_bins)
    assert set(codes) == set(range(n_states))
    assert min(2, len(set(values))) <= n_states <= n_bins
    pairs = sorted(zip(values, codes, strict=True))
    assert (np.diff([code for _, code in pairs]) >= 0).all()
    assert len(dict(pairs)) == len(set(pairs))


def test_codes_stay_but_the_rarest_of_too_many():
    codes = np.array([0, 3, 3, np.nan, 9, 3, 5, 5, 7, 1])[:, None]
    same, n_states = discretized(codes, np.array([10]))
    assert same[:, 0].tolist() == [0, 3, 3, -1, 9, 3, 5, 5, 7, 1]
    assert n_states.tolist() == [10]
    pooled, n_states = discretized(codes, np.array([10]), max_states=3)
    assert pooled[:, 0].tolist() == [2, 0, 0, -1, 2, 0, 1, 1, 2, 2]
    assert n_states.tolist() == [3]


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_rows_and_blocks_of_columns(monkeypatch, dtype):
    rng = np.random.RandomState(0)
    X = np.stack([rng.randn(300), rng.randint(200, size=300), rng.randint(2, size=300)], 1)
    X = np.where(rng.random_sample(X.shape) < 0.1, np.nan, X).astype(dtype)
    n_states = np.array([0, 200, 2])
    codes, found = discretized(X[5::2], n_states)
    monkeypatch.setattr(discretization, "DISCRETIZED_CELLS", 1)
    for rows in (slice(5, None, 2), np.arange(5, 300, 2)):
        again, found_again = discretized(X, n_states, rows=rows)
        np.testing.assert_array_equal(again, codes)
        np.testing.assert_array_equal(found_again, found)
    assert codes[:, 1].max() > 127  # more than the smallest type of integers can hold


@pytest.mark.parametrize("value", [-1, 3, 0.5, np.inf])
def test_values_that_are_no_codes(value):
    with pytest.raises(ValueError, match="values in column 1 that are not codes below 3"):
        discretized(np.array([[0.0, 1.0], [0.0, value]]), np.array([0, 3]))


@pytest.mark.parametrize("name", ["n_bins", "max_states"])
def test_too_few_states(name):
    with pytest.raises(ValueError, match=f"{name} must be at least 2, got 1"):
        discretized(np.zeros((2, 1)), np.array([0]), **{name: 1})


def many_states(n_rows=80, missing=0.2, seed=0):
    """Dependent columns of up to 40 states, one constant and one without an observed cell."""
    rng = np.random.RandomState(seed)
    hidden = rng.randint(8, size=n_rows)
    codes = [(hidden + rng.geometric(p, n_rows)) % 40 for p in (0.9, 0.5, 0.1)]
    codes = np.stack([*codes, np.full(n_rows, 3), hidden, rng.randint(25, size=n_rows)], 1)
    codes[rng.random_sample(codes.shape) < missing] = -1
    codes[:, 4] = -1 if missing else codes[:, 4]
    return codes, np.array([40, 40, 45, 4, 8, 25])


@pytest.mark.parametrize("products", [2**21, 100])
@pytest.mark.parametrize("missing", [0, 0.2, 0.7])
@pytest.mark.parametrize("n_rows", [1, 3, 80])
def test_sparse_counts_by_hand(n_rows, missing, products, monkeypatch):
    monkeypatch.setattr(sparse_counts, "BLOCK_PRODUCTS", products)  # or many blocks
    codes, n_states = many_states(n_rows, missing)
    monkeypatch.setattr(module, "_by_dense_products", None)  # cannot be called
    monkeypatch.setattr(module, "prefers_sparse", lambda *args: True)
    found = mutual_information(codes, n_states)
    np.testing.assert_allclose(found, all_by_hand(codes), rtol=1e-9, atol=1e-12)
    np.testing.assert_array_equal(found, np.swapaxes(found, 1, 2))
    same = mutual_information(codes, n_states, np.ones(n_rows))
    np.testing.assert_array_equal(same, found)


def test_sparse_counts_where_states_are_many():
    rng = np.random.RandomState(0)
    few, many = (rng.randint(n, size=(50, 6)) for n in (5, 200))
    assert not sparse_counts.prefers_sparse(few, np.full(6, 5))
    assert sparse_counts.prefers_sparse(many, np.full(6, 200))
    # Cells other than the most frequent state are what counts.
    some = np.where(rng.random_sample((50, 6)) < 0.9, 0, rng.randint(20, size=(50, 6)))
    assert sparse_counts.prefers_sparse(some, np.full(6, 20))
    assert not sparse_counts.prefers_sparse(rng.randint(16, size=(50, 6)), np.full(6, 15))
