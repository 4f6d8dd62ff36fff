"""Arrays of every type of numbers, and of masked cells, are the tables that they stand for."""

import dask.array as da
import numpy as np
import pandas as pd
import pytest

from sklearn_einet import EinetDensity, EinetImputer, EinetMixture, EinetOutlierDetector
from sklearn_einet.tables.stored import StoredTable

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


def assert_same_answers(model, X, other, Y, rounding=1e-12):
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
    # DataFrames come back with their types, and their numbers so rounded.
    rounding = 2e-3 if (dtype, wrapper) == ("float16", "frame") else 1e-12
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
    checked = small().fit(X).as_numbers(X)
    assert checked.dtype == dtype
    assert np.shares_memory(checked, X)


def test_stored_tables_are_converted_slab_by_slab(tmp_path, monkeypatch):
    monkeypatch.setattr("sklearn_einet.tables.stored.SLAB_BYTES", 8 * 3 * 10)
    table = StoredTable(as_map(COUNTS.astype(">f8"), tmp_path / "table"))
    assert table.dtype == np.dtype("=f8")
    assert table.slab_rows == 10
    assert table[:7].dtype == table[np.array([5, 50])].dtype == table[:].dtype == "=f8"
    np.testing.assert_array_equal(table[:], COUNTS)


# --- masked cells


MASK = rng.rand(N_ROWS, 3) < 0.2
MASK[0] = False


def hidden(dtype, X=COUNTS, mask=MASK):
    """A masked array with nonsense in its masked cells, and the array that it stands for."""
    data = X.astype(dtype)
    data[mask] = 99
    gaps = X.astype(float)
    gaps[mask] = np.nan
    return np.ma.array(data, mask=mask), gaps


MASKED = {
    "float64": hidden(np.float64),
    "float32": hidden(np.float32),
    "big-endian": hidden(">f8"),
    "long double": hidden(np.longdouble),
    "int64": hidden(np.int64),
    "uint8": hidden(np.uint8),
    "with NaN": hidden(np.float64, NUMBERS),
    "objects": hidden(object),
    "no cell": hidden(np.int64, mask=np.zeros_like(MASK)),
    "no mask": (np.ma.array(NUMBERS.astype(float)), NUMBERS.astype(float)),
    "a list": (list(hidden(np.int64)[0]), hidden(np.int64)[1]),
}


@OTHERS
@pytest.mark.parametrize("case", ["float64", "uint8"])
def test_masked_cells_in_other_estimators(case, kind):
    X, gaps = MASKED[case]
    assert_same_answers(small(kind).fit(X), X, small(kind).fit(gaps), gaps)


@pytest.mark.parametrize("case", MASKED)
def test_masked_cells_are_missing(case):
    X, gaps = MASKED[case]
    before = None if case == "a list" else (X.data.copy(), np.ma.getmaskarray(X).copy())
    model, expected = small().fit(X), small().fit(gaps)
    assert_same_answers(model, X, expected, gaps)
    assert_same_answers(expected, X, expected, gaps)
    assert np.isfinite(model.impute(X)).all()
    if before is not None:
        np.testing.assert_array_equal(X.data, before[0])
        np.testing.assert_array_equal(np.ma.getmaskarray(X), before[1])


@pytest.mark.parametrize("case", ["float64", "int64", "a list"])
def test_masked_cells_in_other_methods(case):
    X, gaps = MASKED[case]
    model, expected = small().partial_fit(X), small().partial_fit(gaps)
    assert_same_answers(model, X, expected, gaps)
    imputer, other = (EinetImputer(small(), random_state=0).fit(table) for table in (X, gaps))
    np.testing.assert_array_equal(imputer.transform(X), other.transform(gaps))
    for found, table in zip(
        imputer.transform_multiple(X), other.transform_multiple(gaps), strict=True
    ):
        np.testing.assert_array_equal(found, table)


@pytest.mark.parametrize("dtype", [np.int64, np.float64, object])
def test_masked_cells_of_categories(dtype):
    X, gaps = hidden(dtype)
    model, expected = (small(categorical_features=[2]).fit(table) for table in (X, gaps))
    assert model.categories_[2].tolist() == [0, 1, 2, 3, 4]
    np.testing.assert_array_equal(model.score_samples(X), expected.score_samples(gaps))
    for strategy in ("mean", "mpe", "sample"):
        filled = model.impute(X, strategy, random_state=0)
        other = expected.impute(gaps, strategy, random_state=0)
        np.testing.assert_array_equal(filled.astype(float), other.astype(float))
        np.testing.assert_array_equal(filled[~MASK], COUNTS[~MASK])
    found = model.interval_log_proba(X, X)
    np.testing.assert_array_equal(found, expected.interval_log_proba(gaps, gaps))


def test_masked_texts():
    texts = np.array(["Bern", "Oslo", "?"])[COUNTS % 3]
    X = np.ma.array(texts, mask=texts == "?")
    model = small(categorical_features=[0, 1, 2]).fit(X)
    assert [values.tolist() for values in model.categories_.values()] == [["Bern", "Oslo"]] * 3
    filled = model.impute(X)
    assert (filled == texts)[texts != "?"].all()
    assert set(filled.ravel()) == {"Bern", "Oslo"}


def test_masked_blocks_of_dask():
    X, gaps = MASKED["int64"]
    blocks = da.from_array(X, chunks=(20, 3))
    model = small(batch_size=60).fit(blocks)
    np.testing.assert_allclose(
        model.score_samples(gaps), small(batch_size=60).fit(gaps).score_samples(gaps), atol=1e-4
    )
    np.testing.assert_array_equal(model.score_samples(blocks).compute(), model.score_samples(gaps))


def test_masked_bounds_are_none():
    model = small().fit(COUNTS)
    low = np.ma.array([[1, 99, 2]], mask=[[False, True, False]])
    expected = model.interval_log_proba([[1, np.nan, 2]])
    assert model.interval_log_proba(low) == expected
    by_name = {0: np.ma.array([1], mask=[False]), 1: np.ma.array([99], mask=[True]), 2: 2}
    assert model.interval_log_proba(by_name) == expected


def test_masked_weights_are_refused():
    weight = np.ma.array(np.ones(N_ROWS), mask=np.arange(N_ROWS) == 3)
    with pytest.raises(ValueError, match="sample_weight contains NaN"):
        small().fit(COUNTS, sample_weight=weight)
