"""Models are saved and loaded by pickle and by skops, and answer as before."""

import pickle
import subprocess
import sys

import numpy as np
import pandas as pd
import polars as pl
import pytest

from sklearn_einet import (
    TRUSTED_TYPES,
    EinetDensity,
    EinetImputer,
    EinetMixture,
    EinetOutlierDetector,
)
from sklearn_einet.tables.encoding import Encoding

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

N_ROWS = 60
rng = np.random.RandomState(0)
NUMBERS = rng.randn(N_ROWS, 4)
NUMBERS[::5, 1] = np.nan
CODES = rng.randint(3, size=N_ROWS)
CITY = np.array(["Bern", "Oslo", "Rome"])[CODES].tolist()
FLAG = (NUMBERS[:, 0] > 0).tolist()
TABLES = {
    "array": NUMBERS,
    "pandas": pd.DataFrame(
        {
            "size": NUMBERS[:, 0],
            "city": CITY,
            "flag": FLAG,
            "whole": pd.array(CODES, dtype="Int64"),
            "code": pd.Categorical(2 * CODES, [0, 2, 4, 6], ordered=True),
            "small": NUMBERS[:, 1].astype(np.float32),
        }
    ).astype({"flag": "boolean"}),
    "polars": pl.DataFrame(
        {
            "size": NUMBERS[:, 0],
            "city": CITY,
            "flag": FLAG,
            "kind": pl.Series(CITY, dtype=pl.Categorical),
            "rank": pl.Series(CITY, dtype=pl.Enum(["Rome", "Bern", "Oslo", "Paris"])),
            "whole": pl.Series(CODES, dtype=pl.UInt8),
        }
    ),
}
ESTIMATORS = [EinetDensity, EinetOutlierDetector, EinetMixture, EinetImputer]


def small(kind=EinetDensity, **parameters):
    fast = {"K": 2, "max_iter": 2, "random_state": 0}
    if kind is EinetMixture:
        fast["n_components"] = 2
    if kind is EinetImputer:
        return EinetImputer(small(**parameters), random_state=0)
    return kind(**(fast | parameters))


def by_pickle(model):
    return pickle.loads(pickle.dumps(model))


def by_skops(model):
    io = pytest.importorskip("skops.io", reason="skops is not installed (extra 'test')")
    return io.loads(io.dumps(model), trusted=TRUSTED_TYPES)


WAYS = pytest.mark.parametrize("saved", [by_pickle, by_skops])


def assert_same(found, expected):
    """Two arrays or two DataFrames that agree in everything."""
    assert type(found) is type(expected)
    if isinstance(found, pd.DataFrame):
        pd.testing.assert_frame_equal(found, expected)
    elif isinstance(found, pl.DataFrame):
        assert found.schema == expected.schema
        assert found.equals(expected, null_equal=True)
    else:
        np.testing.assert_array_equal(found, expected)


@WAYS
@pytest.mark.parametrize("kind", ESTIMATORS)
@pytest.mark.parametrize("case", TABLES)
def test_models_answer_as_before(case, kind, saved):
    X = TABLES[case]
    model = small(kind).fit(X)
    loaded = saved(model)
    if kind is EinetImputer:
        assert_same(loaded.transform(X), model.transform(X))
        model, loaded = model.density_, loaded.density_
    assert str(loaded.get_params()) == str(model.get_params())
    assert_same(loaded.score_samples(X), model.score_samples(X))
    assert_same(loaded.p_values(X), model.p_values(X))
    assert_same(loaded.predict(X), model.predict(X))
    assert_same(loaded.sample(9, random_state=0), model.sample(9, random_state=0))
    assert_same(loaded.impute(X), model.impute(X))
    assert_same(loaded.feature_scores(X), model.feature_scores(X))
    for name, categories in model.categories_.items():
        assert_same(loaded.categories_[name], categories)
    part, expected = loaded.marginal([2, 0]), model.marginal([2, 0])
    assert_same(saved(part).sample(9, random_state=0), expected.sample(9, random_state=0))
    if kind is EinetDensity:  # also what learning goes on from
        again, expected = loaded.partial_fit(X), model.partial_fit(X)
        assert_same(again.score_samples(X), expected.score_samples(X))


POSITIVE = np.exp(NUMBERS)
MODELS = {
    "images": ({"structure": "poon-domingos", "image_shape": (2, 2), "delta": 2}, NUMBERS),
    "quarters": ({"structure": "quad-tree", "image_shape": (2, 2)}, NUMBERS),
    "quarters in both orders": ({"structure": "quad-graph", "image_shape": (2, 2)}, NUMBERS),
    "trees": ({"structure": "binary-trees", "layer": "tucker", "replicas": 2}, NUMBERS),
    "a lone leaf": ({"structure": "binary-trees", "depth": 0}, NUMBERS),
    "amounts": ({"leaf": {"gamma": [0], "log-normal": [1], "exponential": [2, 3]}}, POSITIVE),
    "shares": ({"leaf": "beta"}, 1 / (1 + POSITIVE)),
    "counts": (
        {
            "leaf": {
                "poisson": [0],
                "binomial": [1],
                "categorical": [2],
                "negative-binomial": [3],
            }
        },
        POSITIVE // 1,
    ),
    "power maps": ({"numeric_transform": "yeo-johnson"}, POSITIVE),
    "spline maps": ({"numeric_transform": {"quantile-spline": [0, 3]}}, POSITIVE),
    "flags": ({}, (NUMBERS > 0).astype(float)),
    "float64": ({"solver": "em"}, NUMBERS),
}


@WAYS
@pytest.mark.parametrize("case", MODELS)
def test_all_parts_of_models(case, saved):
    parameters, X = MODELS[case]
    model = small(**parameters).fit(X)
    loaded = saved(model)
    assert loaded.circuit_.dtype == model.circuit_.dtype
    assert repr(loaded.region_graph_) == repr(model.region_graph_)
    assert_same(loaded.score_samples(X), model.score_samples(X))
    assert_same(loaded.sample(9, random_state=0), model.sample(9, random_state=0))


@WAYS
def test_deep_trees_are_saved_without_recursion(saved):
    X = np.cumsum(rng.randn(50, 250), axis=1)
    model = small(max_iter=1).fit(X)
    assert len(model.region_graph_.layers()) > 40
    limit = sys.getrecursionlimit()
    sys.setrecursionlimit(300)
    try:
        loaded = saved(model)
    finally:
        sys.setrecursionlimit(limit)
    assert_same(loaded.score_samples(X), model.score_samples(X))


def test_only_trusted_types_are_loaded():
    io = pytest.importorskip("skops.io", reason="skops is not installed (extra 'test')")
    data = io.dumps(small().fit(NUMBERS))
    needed = io.get_untrusted_types(data=data)
    assert set(needed) <= set(TRUSTED_TYPES)
    with pytest.raises(io.exceptions.UntrustedTypesFoundException):
        io.loads(data, trusted=[name for name in TRUSTED_TYPES if "Circuit" not in name])


FRAMES = {
    "names of two levels": pd.DataFrame(
        np.eye(2), columns=pd.MultiIndex.from_product([["a"], [1, 2]], names=["x", None])
    ),
    "whole numbers as names": pd.DataFrame(np.eye(2), columns=pd.Index([3, 1], name="year")),
    "objects": pd.DataFrame({"a": pd.Series([True, None], dtype=object)}),
    "other types": pd.DataFrame(
        {
            "strings": pd.Series(["a", None], dtype="string"),
            "big-endian": np.zeros(2, dtype=">f8"),
            "small": np.zeros(2, dtype=np.int8),
            "texts": pd.Categorical(["b", "a"], ["b", "a"]),
            "numbers": pd.Categorical([0.5, None]),
            "flags": pd.Categorical([True, False], ordered=True),
            "intervals": pd.cut(pd.Series([1, 2]), 2),
            "arrow": pd.Series([1, None], dtype="int64[pyarrow]"),
            "times": pd.Series([0, 1]).astype("M8[ms]"),
            "zone": pd.Series([0, 1]).astype("M8[ns]").dt.tz_localize("Europe/Berlin"),
            "offset": pd.Series(pd.to_datetime(["2020-01-01 00:00:00-03:30"] * 2)),
            "periods": pd.period_range("2020", periods=2, freq="M"),
            "durations": pd.Series([0, 1]).astype("m8[s]"),
            "arrow's days": pd.Series([0, 1], dtype="int32[pyarrow]").astype("date32[pyarrow]"),
        }
    ),
    "polars": pl.DataFrame(
        {"a": [1, 2], "b": ["x", None], "c": [None] * 2, "d": [0, 1], "e": [0, 1], "f": [0, 1]},
        schema={
            "a": pl.Decimal(10, 2),
            "b": pl.Enum(["y", "x"]),
            "c": pl.Datetime("ms"),
            "d": pl.Datetime("ns", "Europe/Berlin"),
            "e": pl.Duration("ns"),
            "f": pl.Date,
        },
    ),
}


@pytest.mark.parametrize("case", FRAMES)
def test_types_of_frames(case):
    X = FRAMES[case]
    template = by_pickle(Encoding(list(X.columns), X.head(0))).template
    if isinstance(X, pl.DataFrame):
        assert_same(template, X.head(0))
        return
    expected = X.head(0).reset_index(drop=True)
    pd.testing.assert_frame_equal(template, expected, check_index_type=False)


def test_pickles_are_loaded_by_other_processes(tmp_path):
    X = TABLES["pandas"]
    model = small().fit(X)
    (tmp_path / "model").write_bytes(pickle.dumps((model, X)))
    code = (
        "import pickle, sys; model, X = pickle.load(open(sys.argv[1], 'rb')); "
        "print(float(model.score(X)).hex())"
    )
    command = [sys.executable, "-c", code, str(tmp_path / "model")]
    out = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert out.strip() == float(model.score(X)).hex()


def test_pickles_are_small():
    """Of DataFrames, nothing is kept but names and types."""
    X = TABLES["pandas"]
    state = pickle.dumps(small().fit(X).table_density_.encoding)
    assert len(state) < 2000
    assert b"DataFrame" not in state
