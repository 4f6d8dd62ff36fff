"""Fits of joint densities to dask's collections."""

import numpy as np
import pandas as pd
import pytest

from sklearn_einet import EinetDensity
from tests.tables.test_dask import assert_same, connected

da = pytest.importorskip("dask.array", reason="dask is not installed")
dd = pytest.importorskip("dask.dataframe", reason="dask's dataframes are not installed")

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")


@pytest.fixture(scope="module")
def client():
    with connected() as client:
        yield client


def table(n=150):
    rng = np.random.RandomState(0)
    X = rng.standard_normal((n, 3)).cumsum(1)
    X[rng.uniform(size=X.shape) < 0.1] = np.nan
    return X


def new(**parameters):
    return EinetDensity(
        **({"K": 2, "max_iter": 2, "batch_size": 50, "random_state": 0} | parameters)
    )


@pytest.mark.parametrize("structure", ["joint-normal", "auto"])
@pytest.mark.parametrize("weighted", [False, True], ids=["", "weighted"])
@pytest.mark.parametrize("solver", ["sem", "em"])
def test_a_fit_equals_that_in_memory(client, structure, weighted, solver):
    X = table()
    weight = np.arange(150.0) % 3 if weighted else None
    parameters = {"structure": structure, "solver": solver}
    alone = new(**parameters).fit(X, sample_weight=weight)
    spread = new(**parameters).fit(da.from_array(X, chunks=(40, 2)), sample_weight=weight)
    assert_same(spread, alone, X, exact=solver == "em")


@pytest.mark.parametrize("structure", ["joint-normal", "auto"])
def test_frames_with_categories(client, structure):
    X = pd.DataFrame(table(), columns=["a", "b", "c"])
    X["texts"] = pd.Categorical(np.where(X["a"].fillna(0) > 0, "high", "low"))
    alone = new(structure=structure).fit(X)
    spread = new(structure=structure).fit(dd.from_pandas(X, npartitions=3))
    assert_same(spread, alone, X, exact=False)


@pytest.mark.parametrize("structure", ["joint-normal", "auto"])
def test_partial_fit(client, structure):
    X = table()
    rows = da.from_array(X, chunks=(60, 3))
    alone, spread = (new(structure=structure).partial_fit(x).partial_fit(x) for x in (X, rows))
    assert_same(spread, alone, X, exact=False)
