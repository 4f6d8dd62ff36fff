"""Memory maps, and what gives rows by slices only, in place of arrays."""

import subprocess
import sys
from pathlib import Path

import h5py
import numpy as np
import pytest
import torch

from sklearn_einet import EinetDensity, EinetImputer, EinetMixture, EinetOutlierDetector
from sklearn_einet.tables import rows as rows_in_memory
from sklearn_einet.tables import stored
from sklearn_einet.tables.stored import StoredRows, StoredTable, is_stored

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

N_ROWS, N_COLUMNS = 1500, 6


class Slices:
    """A table that gives slices of neighbouring rows and nothing else, and notes their lengths."""

    def __init__(self, X):
        self._X = X
        self.shape, self.dtype = X.shape, X.dtype
        self.lengths = []

    def __getitem__(self, rows):
        assert isinstance(rows, slice)
        assert rows.step is None
        self.lengths.append(rows.stop - rows.start)
        return self._X[rows].copy()


def made_up_table(seed=0, dtype=np.float64):
    rng = np.random.RandomState(seed)
    X = rng.standard_normal((N_ROWS, N_COLUMNS)).cumsum(1)
    if np.dtype(dtype).kind != "f":
        return (3 * X).round().astype(dtype)
    X[rng.rand(*X.shape) < 0.05] = np.nan
    return X.astype(dtype)


def mapped(folder, X, mode="r"):
    np.save(folder / "table.npy", X)
    return np.load(folder / "table.npy", mmap_mode=mode)


def forms(folder, X):
    """The same table in all forms that are read by rows."""
    with h5py.File(folder / "table.h5", "w") as file:
        file["x"] = X
    return [mapped(folder, X), Slices(X), h5py.File(folder / "table.h5", "r")["x"]]


@pytest.fixture
def small_slabs(monkeypatch):
    """Slabs of 33 rows in float64."""
    monkeypatch.setattr(stored, "SLAB_BYTES", 33 * N_COLUMNS * 8)


@pytest.fixture
def small_buffer(monkeypatch, small_slabs):
    """As well as a buffer of 264 rows."""
    monkeypatch.setattr(stored, "SHUFFLED_BYTES", 264 * N_COLUMNS * 8)
    monkeypatch.setattr(rows_in_memory, "ENCODED_BYTES", 0)


def new(cls=EinetDensity, **parameters):
    return cls(**{"K": 3, "max_iter": 2, "tol": 0, "random_state": 0} | parameters)


def assert_same_answers(model, other, X, form):
    """Two models agree in everything that they are asked about a table in two forms."""
    for query in ("score_samples", "decision_function", "predict", "predict_proba", "p_values"):
        assert np.array_equal(getattr(model, query)(X), getattr(other, query)(form)), query
    given = [0, 2]
    assert np.array_equal(
        model.conditional_score_samples(X, given), other.conditional_score_samples(form, given)
    )
    given = {0: (0, None), 2: (None, 1)}
    np.testing.assert_allclose(
        model.conditional_score_samples(X, given), other.conditional_score_samples(form, given)
    )
    for query in ("feature_scores", "impute", "mean", "variance"):
        mine, others = getattr(model, query)(X), getattr(other, query)(form)
        assert np.array_equal(mine, others, equal_nan=True), query
    assert model.score(X) == other.score(form)
    assert model.offset_ == other.offset_


def test_which_tables_are_read_by_rows(tmp_path):
    pandas = pytest.importorskip("pandas")
    X = made_up_table()
    M = mapped(tmp_path, X)
    assert all(is_stored(form) for form in (*forms(tmp_path, X), M[5:], M[:, 1:], StoredTable(X)))
    copied = [X, M[[1, 2]], M + 1, np.array(M)]
    others = [X.tolist(), pandas.DataFrame(X), torch.tensor(X), Slices(X[0]), None]
    others += [Slices(X.astype(complex)), Slices(X.astype(str))]
    assert not any(is_stored(other) for other in copied + others)


@pytest.mark.parametrize("kept", [None, np.arange(0, N_ROWS, 3), np.array([0, 1, 2, 700, 1499])])
def test_rows_are_those_of_the_array(small_slabs, kept):
    X = made_up_table()
    source = Slices(X)
    table = StoredTable(source)
    if kept is not None:
        table, X = table.selected(np.arange(N_ROWS)[kept]), X[kept]
    assert (table.shape, len(table), table.dtype) == (X.shape, len(X), X.dtype)
    some = np.random.RandomState(0).randint(len(X), size=100)
    keys = [
        slice(None),
        slice(3, 4),
        slice(30, 40),
        slice(100, 100),
        slice(20, 300),
        some,
        some[:0],
    ]
    for key in [*keys, np.sort(some), np.arange(len(X))]:
        assert np.array_equal(table[key], X[key], equal_nan=True)
    assert np.array_equal(np.concatenate([table[s] for s in table.slabs()]), X, equal_nan=True)
    assert max(source.lengths) <= 33
    with pytest.raises(ValueError, match="neighbours"):
        table[::2]


def test_rows_in_order_are_read_once(small_slabs):
    source = Slices(made_up_table())
    table = StoredTable(source)
    for start in range(0, N_ROWS, 7):
        table[start : start + 7]
    # The first rows of a slab are read on their own if they are few.
    assert sum(source.lengths) < 1.2 * N_ROWS


@pytest.mark.parametrize("dtype", [np.float64, np.float32, np.int16, np.uint8, bool])
def test_full_em_and_queries_are_exact(tmp_path, small_buffer, dtype):
    X = made_up_table(dtype=dtype)
    model = new(solver="em").fit(X)
    for form in forms(tmp_path, X):
        other = new(solver="em").fit(form)
        assert np.array_equal(model.log_likelihoods_, other.log_likelihoods_)
        assert_same_answers(model, other, X, form)


@pytest.mark.parametrize(
    "parameters",
    [{}, {"solver": "adam"}, {"structure": "binary-trees"}, {"early_stopping": False}],
    ids=str,
)
def test_small_tables_are_learned_from_as_arrays_are(tmp_path, small_slabs, parameters):
    X = made_up_table()
    model, other = new(**parameters).fit(X), new(**parameters).fit(mapped(tmp_path, X))
    assert_same_answers(model, other, X, mapped(tmp_path, X))


@pytest.mark.parametrize("cls", [EinetDensity, EinetOutlierDetector])
def test_slices_stay_small(small_buffer, cls):
    X = made_up_table()
    source = Slices(X)
    model = new(cls).fit(source)
    scores = model.score_samples(source)
    assert max(source.lengths) <= 33
    assert np.array_equal(scores, new(cls).fit(Slices(X)).score_samples(X))
    assert abs(scores.mean() - new(cls).fit(X).score(X)) < 0.3


def batches_of(source, size, weight=None, which=None, seed=0):
    rows = StoredRows(
        StoredTable(source),
        lambda x: x.astype(np.float64),
        weight,
        torch.device("cpu"),
        np.random.RandomState(seed),
        which,
    )
    return rows, list(rows.batches(size))


@pytest.mark.parametrize("size", [1, 20, 32, 96, 150, 400, 5000])
@pytest.mark.parametrize("which", [None, np.arange(3, N_ROWS, 2), np.array([4])])
def test_all_rows_are_in_one_batch_each(small_buffer, size, which):
    X = np.arange(N_ROWS * N_COLUMNS, dtype=np.float64).reshape(N_ROWS, N_COLUMNS)
    weight = np.arange(1.0, N_ROWS + 1)
    rows, batches = batches_of(Slices(X), size, weight, which)
    expected = np.arange(N_ROWS) if which is None else which
    numbers = np.concatenate([batch.x[:, 0] for batch in batches]) / N_COLUMNS
    assert np.array_equal(np.sort(numbers), expected)
    lengths = [len(batch) for batch in batches]
    assert len(lengths) == -(-len(expected) // size)
    assert max(lengths) <= size
    if size % rows_in_memory.STRIP:
        assert lengths == [len(part) for part in np.array_split(expected, len(batches))]
    else:
        assert not any(length % rows_in_memory.STRIP for length in lengths[:-1])
        assert max(lengths) - min(lengths) < 2 * rows_in_memory.STRIP
    for batch in batches:
        for block in rows.blocks(50, batch):
            x, own_weight = rows.select(block)
            assert len(x) <= 50
            assert np.array_equal(own_weight, x[:, 0] / N_COLUMNS + 1)


def test_order_of_batches(small_buffer):
    X = np.arange(N_ROWS * N_COLUMNS, dtype=np.float64).reshape(N_ROWS, N_COLUMNS)
    _, batches = batches_of(X, 60)
    numbers = [batch.x[:, 0] / N_COLUMNS for batch in batches]
    again, other = batches_of(X, 60)[1], batches_of(X, 60, seed=1)[1]
    assert all(np.array_equal(a.x, b.x) for a, b in zip(batches, again, strict=True))
    assert not np.array_equal(batches[0].x, other[0].x)
    # Of a sorted table, every batch has rows from far apart, and in random order.
    for batch in numbers:
        assert len(np.unique(batch // 33)) > 4
        assert np.ptp(batch) > N_ROWS / 3
        assert 0.2 < (np.diff(batch) > 0).mean() < 0.8


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_infinities_are_refused_by_the_name_of_the_column(tmp_path, small_slabs, dtype):
    X = made_up_table(dtype=dtype)
    fitted = new().fit(X)
    X[1400, 2] = X[100, 4] = np.inf
    for form in forms(tmp_path, X):
        for call in (new().fit, new().partial_fit, fitted.score_samples, fitted.partial_fit):
            with pytest.raises(ValueError, match="Column 2 cannot be used: Input X contains inf"):
                call(form)
    with pytest.raises(ValueError) as of_array:  # noqa: PT011
        fitted.predict(X)
    with pytest.raises(ValueError) as of_map:  # noqa: PT011
        fitted.predict(mapped(tmp_path, X))
    assert str(of_array.value) == str(of_map.value)


def test_other_errors_are_those_of_arrays(tmp_path, small_slabs):
    X = made_up_table()
    fitted = new().fit(X)
    missing = X.copy()
    missing[:, 3] = np.nan
    cases = [
        (new().fit, missing),
        (new().fit, X[:0]),
        (new().fit, X[:, :0]),
        (new(leaf={"poisson": [1]}).fit, X),
        (fitted.score_samples, X[:, 1:]),
        (fitted.partial_fit, X[:, 1:]),
    ]
    for call, table in cases:
        messages = []
        for form in (table, Slices(table)):
            with pytest.raises(ValueError) as error:  # noqa: PT011
                call(form)
            messages.append(str(error.value))
        assert messages[0] == messages[1]


def test_views_of_memory_maps(tmp_path, small_slabs):
    X = made_up_table()
    M = mapped(tmp_path, X)
    np.save(tmp_path / "columns.npy", np.asfortranarray(X))
    views = [(X[7:], M[7:]), (X[::2], M[::2]), (X[:, 1:4], M[:, 1:4]), (X[::-1], M[::-1])]
    views += [(X, np.load(tmp_path / "columns.npy", mmap_mode="r"))]
    for array, view in views:
        assert is_stored(view)
        expected = new(solver="em").fit(array).score_samples(array)
        assert np.array_equal(new(solver="em").fit(view).score_samples(view), expected)
        assert np.array_equal(array, view, equal_nan=True)


@pytest.mark.parametrize("mode", ["c", "r+"])
def test_changes_that_are_not_written_yet_are_kept(tmp_path, mode):
    X = made_up_table()
    M = mapped(tmp_path, X, mode)
    M[:, 0] = X[:, 0] = np.arange(N_ROWS)
    model = new(solver="em").fit(M)
    assert np.array_equal(M, X, equal_nan=True)
    assert np.array_equal(model.score_samples(M), new(solver="em").fit(X).score_samples(X))
    del M
    in_file = np.load(tmp_path / "table.npy")
    assert np.array_equal(in_file[:, 0], X[:, 0], equal_nan=True) == (mode == "r+")


@pytest.mark.parametrize("solver", ["em", "sem"])
def test_weights(tmp_path, small_slabs, solver):
    X = made_up_table()
    weight = np.random.RandomState(0).randint(3, size=N_ROWS).astype(float)
    X[weight == 0] = 1e6
    model = new(solver=solver).fit(X, sample_weight=weight)
    for form in forms(tmp_path, X):
        other = new(solver=solver).fit(form, sample_weight=weight)
        assert_same_answers(model, other, X, form)


def test_weights_beyond_the_buffer(small_buffer):
    X = made_up_table()
    weight = np.random.RandomState(0).randint(3, size=N_ROWS).astype(float)
    X[weight == 0] = 1e6
    source = Slices(X)
    model = new(batch_size=40).fit(source, sample_weight=weight)
    assert max(source.lengths) <= 33
    other = new(batch_size=40).fit(X, sample_weight=weight)
    kept = weight > 0
    assert abs(model.score(X[kept]) - other.score(X[kept])) < 0.3


def test_early_stopping(tmp_path, small_buffer):
    X = made_up_table()
    model = new(early_stopping=True, solver="em", max_iter=3).fit(X)
    other = new(early_stopping=True, solver="em", max_iter=3).fit(mapped(tmp_path, X))
    assert np.array_equal(model.validation_log_likelihoods_, other.validation_log_likelihoods_)
    assert_same_answers(model, other, X, mapped(tmp_path, X))


def test_partial_fit_streams(tmp_path, small_buffer):
    X = made_up_table()
    model, other = new(batch_size=50), new(batch_size=50)
    M, source = mapped(tmp_path, X), Slices(X)
    for start in range(0, N_ROWS, 200):  # blocks that the buffer takes
        model.partial_fit(X[start : start + 200])
        other.partial_fit(M[start : start + 200])
    assert_same_answers(model, other, X, M)
    other.partial_fit(source)
    assert max(source.lengths) <= 33
    assert len(other.log_likelihoods_) == len(model.log_likelihoods_) + 1


def test_warm_start(tmp_path, small_slabs):
    X = made_up_table()
    model, other = (new(warm_start=True).fit(form).fit(form) for form in (X, mapped(tmp_path, X)))
    assert_same_answers(model, other, X, mapped(tmp_path, X))


def test_mixture(tmp_path, small_slabs):
    X = made_up_table()
    model = new(EinetMixture, n_components=2, refine_iter=2).fit(X)
    for form in forms(tmp_path, X):
        other = new(EinetMixture, n_components=2, refine_iter=2).fit(form)
        assert_same_answers(model, other, X, form)
        assert np.array_equal(model.responsibilities(X), other.responsibilities(form))


def test_imputer(tmp_path, small_slabs):
    X = made_up_table()
    expected = EinetImputer(new()).fit_transform(X)
    for form in forms(tmp_path, X):
        assert np.array_equal(EinetImputer(new()).fit(form).transform(form), expected)


def test_columns_of_categories(tmp_path):
    X = made_up_table(dtype=np.int16)
    model = new(categorical_features=[1], solver="em").fit(X)
    for form in forms(tmp_path, X):
        other = new(categorical_features=[1], solver="em").fit(form)
        assert np.array_equal(model.score_samples(X), other.score_samples(form))


def test_unknown_categories(tmp_path, small_slabs):
    X = made_up_table(dtype=np.int16) % 4
    model = new(leaf="categorical", handle_unknown="ignore").fit(X)
    X[[70, 1400], 3] = 9
    with pytest.warns(UserWarning, match="Column 3 has categories not seen in fit") as told:
        model.score_samples(mapped(tmp_path, X))
    assert len(told) == 1


@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="asks Linux")
def test_resident_memory(tmp_path):
    """A fit and queries need much less memory than the table takes."""
    script = """
import sys, warnings
import numpy as np
from sklearn_einet import EinetDensity

def resident(what):
    with open("/proc/self/status") as status:
        return int(status.read().split(what)[1].split()[0]) / 1024

warnings.simplefilter("ignore")
shape = 400_000, 100
X = np.memmap(sys.argv[1], np.float64, "w+", shape=shape)
for start in range(0, len(X), 10_000):
    X[start : start + 10_000] = np.random.RandomState(start).standard_normal((10_000, 100))
X.flush()
del X
small = np.random.RandomState(0).standard_normal((500, 100))
model = EinetDensity(K=1, replicas=1, depth=0, structure="binary-trees", max_iter=1)
model.fit(small).score(small)
with open("/proc/self/clear_refs", "w") as file:
    file.write("5")  # the peak begins anew
before = resident("VmRSS:")
X = np.memmap(sys.argv[1], np.float64, "r", shape=shape)
model.fit(X).score(X)
print(resident("VmHWM:") - before, X.nbytes / 2**20)
"""
    done = subprocess.run(
        [sys.executable, "-c", script, str(tmp_path / "table.f64")],
        capture_output=True,
        text=True,
        check=True,
    )
    growth, size = map(float, done.stdout.split())
    assert growth < 0.6 * size
