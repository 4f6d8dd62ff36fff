"""End to end on the benchmark data, where there is some."""

import os
import warnings
from pathlib import Path

import numpy as np
import pandas as pd
import polars as pl
import pytest
from sklearn.base import clone
from sklearn.ensemble import IsolationForest
from sklearn.exceptions import ConvergenceWarning
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import GridSearchCV

from sklearn_einet import EinetDensity

FOLDER = Path(os.environ.get("SKLEARN_EINET_DATA", Path(__file__).parents[3] / "shared" / "data"))
pytestmark = [
    pytest.mark.skipif(not FOLDER.is_dir(), reason="SKLEARN_EINET_DATA names no folder of data"),
    pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning"),
]


def test_nltcs_is_close_to_the_published_figure():
    """The paper's EiNet has -6.02 nats on the test rows."""
    with np.load(FOLDER / "debd" / "nltcs.npz") as arrays:
        model = EinetDensity(max_iter=6, random_state=0).fit(arrays["train"])
        assert model.score(arrays["test"]) > -6.10
        assert {group.family.name for group in model.circuit_.leaf_groups} == {"bernoulli"}


def test_a_learned_tree_beats_random_ones():
    """The paper's EiNet has -96.09 nats on these test rows, and random trees are close to that."""
    with np.load(FOLDER / "debd" / "dna.npz") as arrays:
        train, test = arrays["train"], arrays["test"]
    model = EinetDensity(max_iter=10, pseudocount=0.1, random_state=0).fit(train)
    assert model.score(test) > -81.2
    rows = test[:20].astype(float)
    rows[np.random.RandomState(0).random_sample(rows.shape) < 0.3] = np.nan
    assert (model.impute(rows)[~np.isnan(rows)] == rows[~np.isnan(rows)]).all()
    assert np.isfinite(model.feature_scores(rows)[~np.isnan(rows)]).all()


def test_outliers_of_a_real_table():
    """Trained on normal rows only; both detectors with default parameters."""
    with np.load(FOLDER / "adbench" / "thyroid.npz") as arrays:
        X, y = arrays["X"], arrays["y"]
    train = np.flatnonzero(y == 0)[::2]
    test = np.setdiff1d(np.arange(len(X)), train)
    ours = EinetDensity(random_state=0).fit(X[train]).score_samples(X[test])
    forest = IsolationForest(random_state=0).fit(X[train]).score_samples(X[test])
    assert roc_auc_score(y[test], -ours) > 0.95
    assert roc_auc_score(y[test], -ours) > roc_auc_score(y[test], -forest) - 0.03


# --- tables with strings


@pytest.fixture(scope="module", params=["pandas", "polars"])
def read(request):
    """DataFrames of UCI's tables, as either library reads them."""

    def read(name, marks=None):
        path = FOLDER / "uci" / name
        if not path.exists():
            pytest.skip(f"there is no {name} in SKLEARN_EINET_DATA")
        if request.param == "pandas":
            return pd.read_csv(path, na_values=marks)
        return pl.read_csv(path, null_values=marks, infer_schema_length=None)

    return read


def part_of(X, rows):
    return X.iloc[rows] if isinstance(X, pd.DataFrame) else X[rows]


def cells(table):
    return {name: table[name].to_list() for name in table.columns}


TITANIC = ["Survived", "Pclass", "Sex", "Age", "SibSp", "Parch", "Fare", "Embarked"]


def titanic(read):
    X = read("titanic.csv")[TITANIC]
    model = EinetDensity(
        max_iter=30,
        leaf={"poisson": ["SibSp", "Parch"]},
        categorical_features=["Survived", "Pclass", "Sex", "Embarked"],
        random_state=0,
    )
    return X, model


def test_titanic(read):
    """Without any preparation; missing ages and ports."""
    X, model = titanic(read)
    model.fit(X)
    assert model.categories_["Pclass"].tolist() == [1, 2, 3]
    assert model.categories_["Embarked"].tolist() == ["C", "Q", "S"]
    assert np.isfinite(model.score_samples(X)).all()
    # Women and children first.
    rate = {
        sex: np.exp(
            model.interval_log_proba(both := {"Survived": 1, "Sex": sex}, both)
            - model.interval_log_proba({"Sex": sex}, {"Sex": sex})
        )[0]
        for sex in ("female", "male")
    }
    assert rate["female"] == pytest.approx(0.742, abs=0.03)
    assert rate["male"] == pytest.approx(0.189, abs=0.03)
    filled, drawn = model.impute(X), model.sample(500, random_state=0)
    for table in (filled, drawn):
        assert type(table) is type(X)
        for name in ("Survived", "Pclass", "Sex", "SibSp", "Parch", "Embarked"):
            assert table[name].dtype == X[name].dtype
            assert set(table[name].to_list()) <= {*X[name].to_list()} | set(range(30))
    age, known = cells(X)["Age"], cells(filled)["Age"]
    assert all(np.isfinite(known))
    assert all(b == a for a, b in zip(age, known, strict=True) if a is not None and a == a)


def test_who_survived(read):
    """Survival, held out as missing cells, is filled like the class of a classifier."""
    X, model = titanic(read)
    rows = np.random.RandomState(0).permutation(891)
    train, test = part_of(X, rows[:600]), part_of(X, rows[600:])
    truth = np.array(test["Survived"].to_list())
    model.fit(train)
    if isinstance(X, pd.DataFrame):
        hidden = test.assign(Survived=None)
    else:
        hidden = test.with_columns(Survived=pl.lit(None, dtype=pl.Int64))
    filled = np.array(model.impute(hidden)["Survived"].to_list())
    assert np.mean(filled == truth) > 0.75
    scores = [
        model.score_samples(
            test.assign(Survived=value)
            if isinstance(X, pd.DataFrame)
            else test.with_columns(Survived=pl.lit(value))
        )
        for value in (0, 1)
    ]
    np.testing.assert_array_equal(filled, np.argmax(scores, axis=0))
    assert roc_auc_score(truth, scores[1] - scores[0]) > 0.83


def test_names_of_passengers_are_told(read):
    X, model = titanic(read)
    X = read("titanic.csv")[["Name", "Ticket", *TITANIC]]
    with pytest.warns(UserWarning, match="Column 'Name' has 891 different strings in 891 rows"):
        model.set_params(max_iter=1, categorical_features="from_dtype").fit(X)


def test_adult(read):
    """A thousand people: the tools of scikit-learn, and rare countries in folds."""
    X = read("adult.csv.gz")
    rows = np.random.RandomState(0).permutation(len(X))[:1000]
    X = part_of(X, rows)[[name for name in X.columns if name not in ("split", "education_num")]]
    model = EinetDensity(K=6, max_iter=5, random_state=0)
    search = GridSearchCV(model, {"K": [1, 6]}, cv=2, error_score="raise").fit(X)
    assert np.isfinite(search.cv_results_["mean_test_score"]).all()
    assert search.best_params_ == {"K": 6}
    best = search.best_estimator_
    assert set(best.categories_["income"].tolist()) == {"<=50K", ">50K"}
    drawn = best.sample(2000, random_state=0)
    for name in ("sex", "income", "marital_status"):
        values = X[name].to_list()
        for value in set(values):
            share = np.mean([cell == value for cell in drawn[name].to_list()])
            assert share == pytest.approx(np.mean([v == value for v in values]), abs=0.05)
    rich = np.array([value == ">50K" for value in X["income"].to_list()])
    X = X[[name for name in X.columns if name != "income"]]
    odds = [
        sign * clone(model).fit(part_of(X, np.flatnonzero(own))).score_samples(X)
        for sign, own in ((1, rich), (-1, ~rich))
    ]
    assert roc_auc_score(rich, sum(odds)) > 0.85


def test_numbers_with_question_marks_among_them(read):
    """1,605 cells of 300 horses are unknown. The table as loaded gives one warning."""
    X = read("horse_colic.csv")
    model = EinetDensity(K=2, max_iter=2, random_state=0)
    with pytest.warns(UserWarning, match="numbers or marks of missing cells") as caught:
        model.fit(X)
    messages = [str(w.message) for w in caught if "as strings" in str(w.message)]
    marked = [name for name in X.columns if "?" in set(X[name].to_list())]
    assert len(marked) == 21
    (message,) = messages
    assert message.startswith(f"Columns {', '.join(map(repr, marked))} have")
    assert "na_values=['?']" in message
    X = read("horse_colic.csv", ["?"])
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        warnings.simplefilter("ignore", ConvergenceWarning)
        warnings.filterwarnings("ignore", "Columns have values so far")  # numbers of hospitals
        filled = model.fit(X).impute(X)
    missing = np.isnan(X.to_numpy().astype(float))
    assert missing.sum() == 1605
    assert np.isfinite(filled.to_numpy()).all()
