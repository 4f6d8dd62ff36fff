"""EinetOverSampler, by imbalanced-learn's own checks and on tables of all kinds."""

import warnings

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_array_equal
from scipy import sparse
from sklearn.base import clone
from sklearn.datasets import load_breast_cancer, load_iris
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.exceptions import ConvergenceWarning
from sklearn.model_selection import cross_val_score

from sklearn_einet import EinetDensity, EinetMixture

pytest.importorskip(
    "imblearn", reason='imbalanced-learn is not installed: pip install "sklearn-einet[imblearn]"'
)

from imblearn.pipeline import make_pipeline
from imblearn.utils.estimator_checks import estimator_checks_generator

from sklearn_einet.contrib.imblearn import EinetOverSampler

BRIEF = [
    EinetDensity(K=2, max_iter=2, learn_gaps=True),
    EinetMixture(2, structure="binary-trees", K=2, max_iter=2, replicas=2),
]
SAMPLERS = [EinetOverSampler(density=density, random_state=0) for density in BRIEF]
CHECKS = [checked for sampler in SAMPLERS for checked in estimator_checks_generator(sampler)]


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@pytest.mark.filterwarnings("ignore:Of 2 clusters:UserWarning")
@pytest.mark.filterwarnings("ignore:depth=:UserWarning")
@pytest.mark.parametrize(
    ("sampler", "check"),
    CHECKS,
    ids=[f"{type(s.density).__name__}-{check.func.__name__}" for s, check in CHECKS],
)
def test_checks_of_imbalanced_learn(sampler, check):
    check(sampler)


@pytest.fixture
def people():
    """A table of all kinds of columns with missing cells, and a class of 40 rows in 240."""
    pandas = pytest.importorskip("pandas")
    rng = np.random.RandomState(0)
    y = np.repeat(["no", "yes"], [200, 40])
    kind = np.where(rng.uniform(size=240) < np.where(y == "yes", 0.9, 0.2), "big", "small")
    table = pandas.DataFrame(
        {
            "size": rng.normal(10.0 * (kind == "big")),
            "count": rng.poisson(3, 240),
            "level": rng.randint(0, 200, 240).astype(np.uint8),
            "nullable": pandas.array(rng.randint(0, 50, 240), dtype="Int64"),
            "kind": pandas.Categorical(kind, categories=["tiny", "small", "big"]),
            "name": rng.choice(["x", "y"], 240),
            "day": pandas.Timestamp("2024-01-01")
            + pandas.to_timedelta(rng.randint(0, 99, 240), unit="D"),
            "member": rng.uniform(size=240) < 0.5,
            "share": rng.uniform(size=240).astype(np.float32),
        }
    )
    for column in ("size", "nullable", "kind", "name", "day"):
        table.loc[rng.uniform(size=240) < 0.25, column] = None
    return table, pandas.Series(y, name="label")


def test_tables_keep_their_types(people):
    X, y = people
    X_new, y_new = EinetOverSampler(random_state=0).fit_resample(X, y)
    assert_array_equal(X_new.dtypes, X.dtypes)
    assert_array_equal(X_new.columns, X.columns)
    assert_array_equal(X_new.index, np.arange(400))
    assert (y_new.name, y_new.dtype) == (y.name, y.dtype)
    assert X_new[:240].equals(X)
    assert_array_equal(y_new[:240], y)
    assert (y_new[240:] == "yes").all()


def test_new_rows_are_like_those_of_their_class(people):
    X, y = people
    drawn = EinetOverSampler(random_state=0).fit_resample(X, y)[0][240:]
    assert set(drawn["kind"].dropna()) <= {"small", "big"}
    assert (drawn["kind"] == "big").sum() > 5 * (drawn["kind"] == "small").sum()
    big = drawn.loc[drawn["kind"] == "big", "size"]
    assert abs(big.mean() - 10) < 1
    rate = drawn["size"].isna().mean()
    assert abs(rate - X.loc[y == "yes", "size"].isna().mean()) < 0.12
    assert not drawn[["count", "member", "share"]].isna().any(axis=None)


def test_new_rows_are_complete_without_learned_gaps(people):
    X, y = people
    sampler = EinetOverSampler(density=EinetDensity(max_iter=5), random_state=0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        drawn = sampler.fit_resample(X, y)[0][240:]
    assert not drawn.isna().any(axis=None)


@pytest.mark.parametrize("dtype", [np.float64, np.float32, np.int64, np.uint8, bool])
def test_arrays_keep_their_type(dtype):
    rng = np.random.RandomState(0)
    X = rng.randint(0, 2 if dtype is bool else 200, size=(60, 3)).astype(dtype)
    y = np.repeat([0, 1], [45, 15]).astype(np.int8)
    X_new, y_new = EinetOverSampler(random_state=0).fit_resample(X, y)
    assert (X_new.dtype, y_new.dtype) == (X.dtype, y.dtype)
    assert_array_equal(X_new[:60], X)
    assert_array_equal(np.bincount(y_new), [45, 45])


def test_arrays_with_strings():
    rng = np.random.RandomState(0)
    X = np.column_stack([rng.choice(["a", "b"], 60).astype(object), rng.normal(size=60)])
    y = np.repeat([0, 1], [45, 15])
    density = EinetDensity(categorical_features=[0], max_iter=200)
    X_new, _ = EinetOverSampler(density=density, random_state=0).fit_resample(X, y)
    assert X_new.dtype == object
    assert set(X_new[:, 0]) == {"a", "b"}


@pytest.mark.parametrize("as_frame", [False, True])
def test_columns_without_values_in_a_class(as_frame):
    X, y = load_iris(return_X_y=True, as_frame=as_frame)
    X, y = X[:70].copy(), y[:70]
    column = X["petal width (cm)"].to_numpy(copy=True) if as_frame else X[:, 3].copy()
    column[50:] = np.nan
    if as_frame:
        X["petal width (cm)"] = column
    else:
        X[:, 3] = column
    drawn = np.asarray(EinetOverSampler(random_state=0).fit_resample(X, y)[0])[70:]
    assert_array_equal(np.isnan(drawn), [[False, False, False, True]] * 30)
    with pytest.raises(ValueError, match="no observed value"):
        EinetOverSampler(density=EinetDensity()).fit_resample(X, y)


def test_cells_without_values_in_arrays_of_objects():
    y = np.repeat([0, 1], [50, 20])
    X = np.random.RandomState(0).randn(70, 2).astype(object)
    X[50:, 0], X[3, 1] = None, pd.NA
    X_new, _ = EinetOverSampler(random_state=0).fit_resample(X, y)
    assert pd.isna(X_new[70:, 0]).all()
    assert not pd.isna(X_new[70:, 1]).any()


@pytest.mark.parametrize("as_frame", [False, True])
def test_a_class_without_any_value_has_rows_without_values(as_frame):
    X = np.random.RandomState(0).randn(70, 2)
    X[50:] = np.nan
    table = pd.DataFrame(X, columns=["a", "b"]) if as_frame else X
    X_new, y_new = EinetOverSampler(random_state=0).fit_resample(table, np.repeat([0, 1], [50, 20]))
    assert_array_equal(np.bincount(y_new), [50, 50])
    assert np.isnan(np.asarray(X_new)[70:]).all()


@pytest.mark.parametrize("as_frame", [False, True])
@pytest.mark.parametrize("dtype", ["uint8", "uint64", "int8"])
def test_integers_do_not_wrap(dtype, as_frame):
    """A density without bounds draws numbers beyond the range of the type."""
    limits = np.iinfo(dtype)
    X = np.random.RandomState(0).randint(0, 3, size=(70, 3)).astype(dtype)
    X[:, 1] = limits.max - X[:, 0] if limits.max < 256 else X[:, 0]
    density = EinetDensity(bounds=None, atoms=None, K=2, max_iter=2)
    table = pd.DataFrame(X, columns=list("abc")) if as_frame else X
    sampler = EinetOverSampler(density=density, random_state=0)
    drawn = np.asarray(sampler.fit_resample(table, np.repeat([0, 1], [50, 20]))[0])[70:]
    assert drawn.dtype == dtype
    assert (drawn[:, 0] < 100).all()
    assert (drawn[:, 1] > 20).all() or limits.max >= 256


def test_a_fit_that_fails_names_the_class_and_changes_nothing():
    X, y = load_iris(return_X_y=True)
    X, y = X[:125], y[:125]
    sampler = EinetOverSampler(density=EinetDensity(K=2, max_iter=2), random_state=0)
    sampler.fit_resample(X, y)
    before = sampler.densities_
    sampler.set_params(density=EinetMixture(40))
    with pytest.raises(ValueError, match="The 25 rows of class 2: "):
        sampler.fit_resample(X, y)
    assert sampler.densities_ is before


def test_columns_of_one_name():
    X = pd.DataFrame(np.ones((70, 2)), columns=["a", "a"])
    with pytest.raises(ValueError, match="several columns named 'a'"):
        EinetOverSampler().fit_resample(X, np.repeat([0, 1], [50, 20]))


def test_a_class_of_a_single_row_is_repeated():
    X = np.array([[0.0, 1.0], [0.5, 2.0], [1.0, 0.5], [9.0, 9.5]])
    y = np.array([0, 0, 0, 1])
    X_new, _ = EinetOverSampler(random_state=0).fit_resample(X, y)
    assert_array_equal(X_new[4:], [[9.0, 9.5]] * 2)


def test_sampling_strategy():
    X, y = load_iris(return_X_y=True)
    X, y = X[:120], y[:120]  # 50, 50, 20
    for strategy, expected in (
        ("auto", [50, 50, 50]),
        ("minority", [50, 50, 50]),
        ({2: 30}, [50, 50, 30]),
        ({0: 60, 2: 21}, [60, 50, 21]),
        (lambda y: {1: 55}, [50, 55, 20]),
    ):
        sampler = EinetOverSampler(sampling_strategy=strategy, random_state=0)
        _, y_new = sampler.fit_resample(X, y)
        assert_array_equal(np.bincount(y_new), expected)
        drawn = {
            c
            for c, (n, before) in enumerate(zip(expected, (50, 50, 20), strict=True))
            if n > before
        }
        assert set(sampler.densities_) == drawn
    binary = EinetOverSampler(sampling_strategy=0.6, random_state=0)
    assert_array_equal(np.bincount(binary.fit_resample(X[50:], y[50:])[1])[1:], [50, 30])


def test_random_state():
    X, y = load_iris(return_X_y=True)
    X, y = X[:70], y[:70]
    first, _ = EinetOverSampler(random_state=0).fit_resample(X, y)
    again, _ = EinetOverSampler(random_state=0).fit_resample(X, y)
    other, _ = EinetOverSampler(random_state=1).fit_resample(X, y)
    assert_array_equal(first, again)
    assert (first[70:] != other[70:]).any()


def test_the_density_is_cloned():
    X, y = load_iris(return_X_y=True)
    X, y = X[:70], y[:70]
    density = EinetMixture(1, K=2, max_iter=200, random_state=7)
    sampler = EinetOverSampler(density=density, random_state=0)
    sampler.fit_resample(X, y)
    assert isinstance(sampler.densities_[1], EinetMixture)
    assert not hasattr(density, "table_density_")
    assert density.random_state == 7
    assert clone(sampler).set_params(density__K=3).density.K == 3


def test_small_classes_do_not_warn_by_default():
    X, y = load_iris(return_X_y=True)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        EinetOverSampler(random_state=0).fit_resample(X[:70], y[:70])


def test_in_a_pipeline():
    X, y = load_breast_cancer(return_X_y=True)
    rows = np.r_[np.flatnonzero(y == 1)[:200], np.flatnonzero(y == 0)[:30]]
    X, y = X[rows, :6], y[rows]
    X[np.random.RandomState(0).uniform(size=X.shape) < 0.1] = np.nan
    model = make_pipeline(
        EinetOverSampler(random_state=0), HistGradientBoostingClassifier(random_state=0)
    )
    assert cross_val_score(model, X, y, cv=3, scoring="balanced_accuracy").mean() > 0.85


def test_unsupported_tables():
    X, y = load_iris(return_X_y=True)
    sampler = EinetOverSampler()
    with pytest.raises(TypeError, match=r"toarray"):
        sampler.fit_resample(sparse.csr_matrix(X[:70]), y[:70])
    polars = pytest.importorskip("polars")
    with pytest.raises(TypeError, match=r"DataFrames of pandas.*to_pandas"):
        sampler.fit_resample(polars.DataFrame(X[:70]), y[:70])


def test_bad_parameters():
    X, y = load_iris(return_X_y=True)
    with pytest.raises(ValueError, match="'density' parameter of EinetOverSampler"):
        EinetOverSampler(density="einet").fit_resample(X, y)
    with pytest.raises(ValueError, match="inconsistent numbers of samples"):
        EinetOverSampler().fit_resample(X, y[:-1])
