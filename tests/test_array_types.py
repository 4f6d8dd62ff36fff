"""Arrays of every type of numbers are the tables that they stand for."""

import dask.array as da
import numpy as np
import pandas as pd
import pytest

from sklearn_einet import EinetDensity, EinetImputer, EinetMixture, EinetOutlierDetector
from sklearn_einet.learning import StoredTable

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

N_ROWS = 60
rng = np.random.RandomState(0)
NUMBERS = rng.randn(N_ROWS, 3).astype(np.float16)  # all types of floats have them
NUMBERS[::7, 1] = np.nan
COUNTS = rng.randint(5, size=(N_ROWS, 3))
TYPES = {
    ">f8": NUMBERS,
    ">f4": NUMBERS,
    ">f2": NUMBERS,
    "longdouble": NUMBERS,
    "float16": NUMBERS,
    ">i4": COUNTS,
    ">i8": COUNTS,
    ">u2": COUNTS,
    "uint64": COUNTS,
}
OTHERS = pytest.mark.parametrize("kind", [EinetOutlierDetector, EinetMixture])


def small(kind=EinetDensity, **parameters):
    fast = {"K": 2, "max_iter": 3, "random_state": 0}
    if kind is EinetMixture:
        fast["n_components"] = 2
    return kind(**(fast | parameters))


def answers(model, X):
    """What all queries say of some rows."""
    return {
        "score_samples": model.score_samples(X),
        "decision_function": model.decision_function(X),
        "predict": model.predict(X),
        "predict_proba": model.predict_proba(X),
        "p_values": model.p_values(X),
        "feature_scores": model.feature_scores(X),
        "conditional": model.conditional_score_samples(X, [0]),
        "mean": model.mean(X),
        "variance": model.variance(X),
        "impute": np.asarray(model.impute(X), float),
        "mpe": np.asarray(model.impute(X, "mpe"), float),
        "draws": np.asarray(model.sample_conditional(X, n_draws=2, random_state=0), float),
        "intervals": model.interval_log_proba(high=X),
    }


def assert_same_answers(model, X, other, Y, rounding=0.0):
    expected = answers(other, Y)
    for name, found in answers(model, X).items():
        np.testing.assert_allclose(found, expected[name], rounding, rounding, err_msg=name)


def as_map(array, path):
    result = np.memmap(path, array.dtype, mode="w+", shape=array.shape)
    result[:] = array
    return result


WRAPPERS = {
    "array": lambda array, path: array,
    "reversed": lambda array, path: array[::-1].copy()[::-1],
    "memory map": as_map,
    "frame": lambda array, path: pd.DataFrame(array),
}


def assert_types_do_not_matter(dtype, wrapper, kind, path):
    """Fits and queries are those of the same numbers in float64."""
    X = WRAPPERS[wrapper](TYPES[dtype].astype(dtype), path)
    plain = TYPES[dtype].astype(np.float64)
    model, expected = small(kind).fit(X), small(kind).fit(plain)
    # Frames come back with their types, and their numbers so rounded.
    rounding = 2e-3 if (dtype, wrapper) == ("float16", "frame") else 0.0
    assert_same_answers(model, X, expected, plain, rounding)
    assert_same_answers(expected, X, expected, plain, rounding)


@pytest.mark.parametrize("dtype", TYPES)
def test_types(dtype, tmp_path):
    assert_types_do_not_matter(dtype, "array", EinetDensity, tmp_path / "table")


@pytest.mark.parametrize("wrapper", list(WRAPPERS)[1:])
@pytest.mark.parametrize("dtype", [">f8", "longdouble", "float16", ">i4"])
def test_types_in_other_places(dtype, wrapper, tmp_path):
    assert_types_do_not_matter(dtype, wrapper, EinetDensity, tmp_path / "table")


@OTHERS
@pytest.mark.parametrize("wrapper", ["array", "memory map"])
@pytest.mark.parametrize("dtype", [">f8", "longdouble"])
def test_types_in_other_estimators(dtype, wrapper, kind, tmp_path):
    assert_types_do_not_matter(dtype, wrapper, kind, tmp_path / "table")


@pytest.mark.parametrize("dtype", [">f8", "longdouble", "float16", ">u2"])
def test_types_in_other_methods(dtype):
    X, plain = TYPES[dtype].astype(dtype), TYPES[dtype].astype(np.float64)
    model = small().partial_fit(X).partial_fit(X)
    assert_same_answers(model, X, small().partial_fit(plain).partial_fit(plain), plain)
    filled, expected = (EinetImputer(small()).fit_transform(table) for table in (X, plain))
    np.testing.assert_array_equal(filled, expected)
    weight = np.arange(1, N_ROWS + 1)
    model = small().fit(X, sample_weight=weight.astype(dtype))
    assert_same_answers(model, X, small().fit(plain, sample_weight=weight), plain)
    model = small(categorical_features=[2]).fit(X)
    other = small(categorical_features=[2]).fit(plain)
    np.testing.assert_array_equal(model.score_samples(X), other.score_samples(plain))


@pytest.mark.parametrize("dtype", [">f8", "longdouble", ">u2"])
def test_types_on_dask(dtype):
    X, plain = TYPES[dtype].astype(dtype), TYPES[dtype].astype(np.float64)
    blocks, others = (da.from_array(table, chunks=(20, 3)) for table in (X, plain))
    model, other = small(batch_size=60).fit(blocks), small(batch_size=60).fit(others)
    found = model.score_samples(blocks).compute()
    np.testing.assert_array_equal(found, other.score_samples(plain))


@pytest.mark.filterwarnings("ignore:overflow encountered in cast")
@pytest.mark.parametrize("wrapper", WRAPPERS)
def test_long_doubles_that_float64_does_not_have(wrapper, tmp_path):
    X = np.ones((9, 2), dtype=np.longdouble)
    X[3, 1] = np.finfo(np.longdouble).max
    if np.isinf(X.astype(np.float64)).any():
        with pytest.raises(ValueError, match=r"^Column 1 cannot be used.*infinity"):
            small().fit(WRAPPERS[wrapper](X, tmp_path / "table"))


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64, np.uint8, np.int64, bool])
def test_usual_types_are_not_copied(dtype):
    X = COUNTS.astype(dtype)
    checked = small()._check_array(X, reset=True)
    assert checked.dtype == dtype
    assert np.shares_memory(checked, X)


def test_stored_tables_are_converted_slab_by_slab(tmp_path, monkeypatch):
    monkeypatch.setattr("sklearn_einet.learning.stored.SLAB_BYTES", 8 * 3 * 10)
    table = StoredTable(as_map(COUNTS.astype(">f8"), tmp_path / "table"))
    assert table.dtype == np.dtype("=f8")
    assert table.slab_rows == 10
    assert table[:7].dtype == table[np.array([5, 50])].dtype == table[:].dtype == "=f8"
    np.testing.assert_array_equal(table[:], COUNTS)
