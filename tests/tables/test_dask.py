"""Fits to dask's collections, and lazy scores, on a cluster of processes on this machine."""

import os
import signal
import subprocess
import sys
import threading
import warnings
from contextlib import contextmanager

import joblib
import numpy as np
import pandas as pd
import pytest
from sklearn.model_selection import GridSearchCV

from sklearn_einet import EinetDensity, EinetMixture, EinetOutlierDetector

dask = pytest.importorskip("dask", reason="dask is not installed")
da = pytest.importorskip("dask.array", reason="dask is not installed")
distributed = pytest.importorskip("distributed", reason="dask's distributed is not installed")

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

# Chunks of rows: one of no rows, one of a single row.
CHUNKS = (1, 0, 250, 349)


@contextmanager
def connected():
    """A client of a cluster of two workers."""
    options = {"processes": True, "threads_per_worker": 1, "dashboard_address": ":0"}
    with (
        distributed.LocalCluster(n_workers=2, **options) as cluster,
        distributed.Client(cluster) as client,
    ):
        yield client


@pytest.fixture(scope="module")
def client():
    with connected() as client:
        yield client


@pytest.fixture
def fragile_client():
    """A cluster of its own: distributed does not always start a killed worker again."""
    with connected() as client:
        yield client


@pytest.fixture(scope="module")
def table():
    """Rows of a random walk; every tenth cell is missing."""
    random_state = np.random.RandomState(0)
    X = random_state.standard_normal((600, 6)).cumsum(1)
    X[random_state.uniform(size=X.shape) < 0.1] = np.nan
    return X


@pytest.fixture(scope="module")
def frame(table):
    """Numbers, strings with gaps, a categorical type, and booleans."""
    random_state = np.random.RandomState(1)
    letters = pd.Categorical(random_state.choice(["u", "v"], 600), categories=["v", "u", "w"])
    frame = pd.DataFrame(table[:, :3], columns=["a", "b", "c"]).assign(
        texts=np.where(table[:, 0] > 0, "high", random_state.choice(["low", "lower"], 600)),
        letters=letters,
        is_high=table[:, 0] > 0.5,
    )
    frame.loc[::7, "texts"] = None
    frame.loc[:149, "texts"] = "high"  # the first partition has not seen the others
    return frame


@pytest.fixture(scope="module")
def dataframe(frame):
    pytest.importorskip("pyarrow", reason="dask's dataframes need pyarrow")
    import dask.dataframe as dd

    return dd.from_pandas(frame, npartitions=4)


def small(kind=EinetDensity, **parameters):
    return kind(**({"K": 3, "max_iter": 4, "random_state": 0} | parameters))


def assert_same(spread, alone, X, exact):
    """Two fitted models agree, to the rounding of float64 or float32."""
    rtol = 1e-9 if exact else 1e-3
    np.testing.assert_allclose(spread.score_samples(X), alone.score_samples(X), rtol, rtol)
    np.testing.assert_allclose(spread.log_likelihoods_, alone.log_likelihoods_, rtol / 10)
    np.testing.assert_allclose(spread.offset_, alone.offset_, rtol)
    assert spread.n_iter_ == alone.n_iter_


# --- fit


@pytest.mark.parametrize("weighted", [False, True], ids=["", "weighted"])
@pytest.mark.parametrize(
    "parameters",
    [
        {"solver": "em"},
        {"solver": "em", "structure": "binary-trees", "early_stopping": True},
        {"solver": "sem", "batch_size": 200},
        {"solver": "sem", "batch_size": 200, "structure": "binary-trees", "early_stopping": False},
        {"solver": "adam", "batch_size": 300},
        {"solver": "em", "numeric_transform": "quantile-spline"},
    ],
    ids=lambda parameters: "-".join(map(str, parameters.values())),
)
def test_a_fit_equals_that_in_memory(client, table, parameters, weighted):
    # Some rows have no weight.
    weight = np.arange(600.0) % 3 if weighted else None
    alone = small(**parameters).fit(table, sample_weight=weight)
    spread = small(**parameters).fit(
        da.from_array(table, chunks=(CHUNKS, (2, 4))), sample_weight=weight
    )
    assert_same(spread, alone, table, exact=parameters["solver"] == "em")


def test_the_default_batches(client, table):
    alone = small(max_iter=2).fit(table)
    spread = small(max_iter=2).fit(da.from_array(table, chunks=(300, -1)))
    assert_same(spread, alone, table, exact=False)


@pytest.mark.parametrize("chunks", [600, 97, (599, 1)], ids=str)
def test_the_chunks_do_not_matter(client, table, chunks):
    alone = small(solver="em").fit(table)
    X = da.from_array(table, chunks=((chunks, 6) if isinstance(chunks, int) else (chunks, (6,))))
    weight = da.ones(600, chunks=77)
    assert_same(small(solver="em").fit(X, sample_weight=weight), alone, table, exact=True)


def test_integers_of_families_with_a_support(client):
    X = np.random.RandomState(0).poisson(3, (300, 4))
    X[:, 3] %= 3
    leaf = {"poisson": [0, 1, 2], "categorical": [3]}
    parameters = {"leaf": leaf, "solver": "em"}
    spread = small(**parameters).fit(da.from_array(X, chunks=(100, 4)))
    assert_same(spread, small(**parameters).fit(X), X, exact=True)
    X[[250, 120], [0, 1]] = -1  # the first of them is told of
    with pytest.raises(ValueError, match=r"Column 1 holds -1, but its leaf family 'poisson'"):
        small(**parameters).fit(da.from_array(X, chunks=(100, 4)))


def test_a_column_that_the_sampled_rows_do_not_have(client, monkeypatch, table):
    monkeypatch.setattr("sklearn_einet.tables.columns.CELLS_FOR_UNITS", 0)
    X = np.vstack([table, table])
    X[:, 2] = np.nan
    X[[700, 703], 2] = [2.0, 3.0]
    alone = small(solver="em").fit(X)
    spread = small(solver="em").fit(da.from_array(X, chunks=(400, 6)))
    assert_same(spread, alone, X, exact=True)


@pytest.mark.parametrize("solver", ["em", "sem"])
def test_the_outlier_detector(client, table, solver):
    parameters = {"solver": solver, "batch_size": 300, "replicas": 2}
    alone = small(EinetOutlierDetector, **parameters).fit(table)
    spread = small(EinetOutlierDetector, **parameters).fit(da.from_array(table, chunks=(200, 6)))
    assert_same(spread, alone, table, exact=solver == "em")


def test_partial_fit_and_warm_start(client, table):
    X = da.from_array(table, chunks=(200, 6))
    parameters = {"batch_size": 200, "warm_start": True}
    spread, alone = (small(**parameters).partial_fit(x).partial_fit(x) for x in (X, table))
    assert_same(spread, alone, table, exact=False)
    spread, alone = spread.fit(X), alone.fit(table)
    assert_same(spread, alone, table, exact=False)


def test_a_dataframe(client, frame, dataframe):
    alone, spread = small(solver="em").fit(frame), small(solver="em").fit(dataframe)
    assert_same(spread, alone, frame, exact=True)
    assert list(spread.feature_names_in_) == list(frame.columns)
    assert {k: v.tolist() for k, v in spread.categories_.items()} == {
        "texts": ["high", "low", "lower"],
        "letters": ["v", "u", "w"],
    }
    assert spread.sample(3, random_state=0)["is_high"].dtype == bool
    scores = spread.score_samples(dataframe)
    assert np.isnan(scores.shape[0])
    np.testing.assert_allclose(scores.compute(), alone.score_samples(frame), rtol=1e-9)


def test_a_dataframe_of_numbers_and_unknown_categories(client, frame, dataframe):
    numbers = ["a", "b", "c"]
    alone = small(solver="em").fit(frame[numbers])
    assert_same(small(solver="em").fit(dataframe[numbers]), alone, frame[numbers], exact=True)
    unknown = dataframe[["a", "letters"]]
    unknown["letters"] = unknown["letters"].cat.as_unknown()
    spread = small(solver="em").fit(unknown)
    alone = small(solver="em").fit(frame[["a", "letters"]])
    assert_same(spread, alone, frame[["a", "letters"]], exact=True)


def test_columns_of_codes_by_categorical_features(client):
    X = np.random.RandomState(0).choice([3, 5, 8], (300, 3))
    X[:100][X[:100] == 5] = 3
    parameters = {"categorical_features": [0, 2], "solver": "em"}
    spread = small(**parameters).fit(da.from_array(X, chunks=(100, 2)))
    assert_same(spread, small(**parameters).fit(X), X, exact=True)
    assert spread.categories_[0].tolist() == [3, 5, 8]


def test_without_a_cluster(table):
    X = da.from_array(table, chunks=(200, 6))
    with dask.config.set(scheduler="threads"):
        spread = small(solver="em").fit(X)
        scores = spread.score_samples(X).compute()
    assert_same(spread, small(solver="em").fit(table), table, exact=True)
    np.testing.assert_allclose(scores, spread.score_samples(table), rtol=1e-12)


def test_verbose_and_callbacks_are_told_of_epochs(client, table, capsys):
    lengths = []

    class Recorder:
        def setup(self, estimator, context): ...
        def teardown(self, estimator, context): ...
        def on_fit_task_begin(self, estimator, context): ...
        def on_fit_task_end(self, estimator, context, *, X, metadata, fitted_estimator):
            lengths.append((len(X), len(metadata["sample_weight"])))
            assert np.isfinite(fitted_estimator.score(X))

    model = small(solver="em", max_iter=2, verbose=1).set_callbacks(Recorder())
    model.fit(da.from_array(table, chunks=(300, 6)), sample_weight=np.arange(600) > 5)
    assert capsys.readouterr().out.count("log-likelihood") == 2
    assert lengths == [(600, 600)] * 3


# --- scores


@pytest.fixture(scope="module")
def fitted(table):
    return small(replicas=2, structure="binary-trees").fit(table)


METHODS = ["score_samples", "decision_function", "predict", "predict_proba", "p_values"]


@pytest.mark.parametrize("method", METHODS)
def test_scores_are_lazy(client, table, fitted, tmp_path, method):
    def read(rows):
        (tmp_path / "read").touch()
        return rows

    chunks = (CHUNKS, (3, 3))
    X = da.from_array(table, chunks=chunks).map_blocks(read, dtype=float, meta=np.empty((0, 0)))
    lazy = getattr(fitted, method)(X)
    expected = getattr(fitted, method)(table)
    assert (lazy.chunks[0], lazy.shape, lazy.dtype) == (CHUNKS, expected.shape, expected.dtype)
    assert not (tmp_path / "read").exists()
    np.testing.assert_allclose(lazy.compute(), expected, rtol=1e-12)
    assert (tmp_path / "read").exists()


def test_the_mean_score(client, table, fitted):
    assert fitted.score(da.from_array(table, chunks=(77, 6))) == pytest.approx(fitted.score(table))


def test_columns_are_checked_before_anything_is_computed(client, fitted, frame, dataframe):
    with pytest.raises(ValueError, match="X has 5 features, but EinetDensity is expecting 6"):
        fitted.score_samples(da.ones((10, 5)))
    numbers = small(max_iter=1).fit(frame[["a", "b"]])
    with pytest.raises(ValueError, match="feature names should match"):
        numbers.predict(dataframe[["b", "a"]])


# --- workers that are lost


class Killer:
    """Kills a worker some milliseconds after the second epoch has begun."""

    def __init__(self, pid):
        self.pid, self.killed_at = pid, None
        self.n_epochs, self.n_at_death = 0, None

    def kill(self):
        os.kill(self.pid, signal.SIGKILL)
        self.n_at_death = self.n_epochs

    def setup(self, estimator, context): ...
    def teardown(self, estimator, context): ...
    def on_fit_task_begin(self, estimator, context):
        if context.task_name == "epoch" and self.n_epochs == 1:
            self.thread = threading.Timer(0.02, self.kill)
            self.thread.start()

    def on_fit_task_end(self, estimator, context):
        self.n_epochs += context.task_name == "epoch"


@pytest.mark.parametrize("solver", ["em", "sem"])
def test_a_worker_is_killed_during_a_fit(fragile_client, solver):
    X = np.random.RandomState(0).standard_normal((20_000, 10)).cumsum(1)
    parameters = {"solver": solver, "batch_size": 4000, "max_iter": 8, "tol": 0, "K": 8}
    alone = small(**parameters).fit(X)
    fragile_client.wait_for_workers(2, timeout=60)
    before = fragile_client.run(os.getpid)
    killer = Killer(max(before.values()))
    spread = small(**parameters).set_callbacks(killer)
    spread.fit(da.from_array(X, chunks=(2500, 10)))
    killer.thread.join()
    assert killer.n_at_death in (1, 2, 3)
    assert killer.pid not in fragile_client.run(os.getpid).values()
    assert_same(spread, alone, X[:500], exact=solver == "em")


# --- joblib's backend


def test_grid_search_on_the_cluster(client, table):
    client.wait_for_workers(2, timeout=60)
    grid = {"K": [2, 4], "structure": ["chow-liu", "binary-trees"]}
    search = GridSearchCV(small(), grid, cv=2)
    with joblib.parallel_config(backend="dask"):
        spread = search.fit(table).cv_results_["mean_test_score"]
    alone = GridSearchCV(small(), grid, cv=2).fit(table).cv_results_["mean_test_score"]
    np.testing.assert_allclose(spread, alone, rtol=1e-5)


def test_a_mixture_on_the_cluster(client, table):
    client.wait_for_workers(2, timeout=60)
    alone = small(EinetMixture, n_components=3).fit(table)
    with joblib.parallel_config(backend="dask"):
        spread = small(EinetMixture, n_components=3).fit(table)
    np.testing.assert_allclose(
        spread.score_samples(table), alone.score_samples(table), rtol=1e-4, atol=1e-4
    )
    lazy = spread.score_samples(da.from_array(table, chunks=(200, 6)))
    np.testing.assert_allclose(lazy.compute(), spread.score_samples(table), rtol=1e-12)


# --- errors


def test_what_cannot_be_fitted(client, table):
    model = small(max_iter=1)
    X = da.from_array(table, chunks=(200, 6))
    infinite = table.copy()
    infinite[500, 4] = np.inf
    with pytest.raises(ValueError, match="Column 4 cannot be used"):
        model.fit(da.from_array(infinite, chunks=(200, 6)))
    with pytest.raises(ValueError, match=r"Expected 2D array, got 1D array"):
        model.fit(X[:, 0])
    with pytest.raises(ValueError, match=r"Found array with 0 sample\(s\)"):
        model.fit(X[:0])
    with pytest.raises(ValueError, match="Column 1 has no observed value"):
        model.fit(da.where(np.arange(6) == 1, np.nan, X))
    with pytest.raises(ValueError, match="Negative values in data passed to `sample_weight`"):
        model.fit(X, sample_weight=-da.ones(600))
    with pytest.raises(ValueError, match="sample_weight"):
        model.fit(X, sample_weight=np.ones(7))
    with pytest.raises(TypeError, match="dask array or DataFrame"):
        model.fit(dask.delayed(table))
    with pytest.raises(TypeError, match="table in memory"):
        EinetMixture(2).fit(X)
    assert not hasattr(model, "circuit_")


def test_other_queries_say_what_to_do(client, table, fitted):
    with pytest.raises(TypeError, match="over its blocks"):
        fitted.feature_scores(da.from_array(table, chunks=(200, 6)))


def test_dataframes_that_cannot_be_fitted(client, frame):
    pytest.importorskip("pyarrow", reason="dask's dataframes need pyarrow")
    import dask.dataframe as dd

    mixed = frame[["a"]].assign(b=np.array(["x"] * 300 + [1] * 300, dtype=object))
    halves = [mixed[:300], mixed[300:]]
    with dask.config.set({"dataframe.convert-string": False}):
        mixed = dd.from_map(lambda half: half, halves, meta=mixed[:0])
        with pytest.raises(ValueError, match="Column 'b' holds strings in some partitions"):
            small().fit(mixed)
    named = frame[["a"]].assign(name=[f"row {i}" for i in range(600)])
    with pytest.warns(UserWarning, match="Column 'name' has 600 different strings in 600 rows"):
        small(max_iter=1).fit(dd.from_pandas(named, npartitions=3))


def test_blocks_with_other_columns_than_the_table(client, frame):
    """What dask does not know of its partitions is refused where they are read."""
    pytest.importorskip("pyarrow", reason="dask's dataframes need pyarrow")
    import dask.dataframe as dd

    numbers = frame[["a", "b"]].astype(float)
    model = small(max_iter=1).fit(numbers)
    swapped = dd.from_pandas(numbers, npartitions=2).map_partitions(
        lambda part: part[["b", "a"]], enforce_metadata=False, meta=numbers[:0]
    )
    for query in (model.score_samples(swapped).compute, lambda: small(max_iter=1).fit(swapped)):
        with pytest.raises(ValueError, match=r"(?s)names should match.*same order"):
            query()
    for width in (1, 3):
        other = da.from_array(np.ones((20, width)), chunks=(10, width))
        blocks = da.map_blocks(lambda block: block, other, chunks=(10, 2), dtype=float)
        blocks = da.Array(blocks.dask, blocks.name, ((10, 10), (2,)), float)
        with pytest.raises(ValueError, match=f"X has {width} features, but EinetDensity is"):
            small(max_iter=1).fit(np.eye(2)[[0, 1] * 30]).score_samples(blocks).compute()


def test_dask_is_not_imported_without_need():
    program = (
        "import sys, sklearn_einet, numpy as np\n"
        "X = np.random.RandomState(0).randn(60, 3)\n"
        "sklearn_einet.EinetDensity(K=2, max_iter=1, tol=1e9).fit(X).score_samples(X)\n"
        "assert not {'dask', 'distributed'} & set(sys.modules)\n"
    )
    subprocess.run([sys.executable, "-W", "ignore", "-c", program], check=True)


def test_no_warning_of_large_graphs(client, table):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warnings.filterwarnings("ignore", "The log-likelihood was still growing")
        small(solver="em", K=500, max_iter=1).fit(da.from_array(table[:50], chunks=(25, 6)))


@pytest.mark.parametrize(
    ("parameters", "warns"),
    [({}, True), ({"solver": "em"}, False), ({"batch_size": 500}, False)],
    ids=["default", "em", "batch_size"],
)
def test_many_small_steps_are_warned_of(parameters, warns):
    X = da.from_array(np.random.RandomState(0).randn(1000, 3), chunks=(500, -1))
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        EinetDensity(K=2, max_iter=1, random_state=0, **parameters).fit(X)
    told = [str(w.message) for w in caught if "batch_size" in str(w.message)]
    assert len(told) == warns
