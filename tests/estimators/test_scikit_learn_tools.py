"""Tables with strings in scikit-learn's tools: pipelines, searches, stacks."""

import numpy as np
import pytest
from sklearn import config_context
from sklearn.base import BaseEstimator, TransformerMixin, clone
from sklearn.compose import ColumnTransformer
from sklearn.ensemble import IsolationForest
from sklearn.experimental import enable_halving_search_cv  # noqa: F401
from sklearn.feature_selection import SelectKBest
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import (
    GridSearchCV,
    HalvingGridSearchCV,
    cross_val_predict,
    cross_val_score,
    train_test_split,
)
from sklearn.pipeline import FeatureUnion, Pipeline, make_pipeline
from sklearn.preprocessing import (
    FunctionTransformer,
    OneHotEncoder,
    OrdinalEncoder,
    StandardScaler,
)

from sklearn_einet import EinetDensity, EinetImputer, EinetMixture
from tests.helpers.mixed_columns import LEAF, pandas_frame, polars_frame, records, small

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

TEXTS, NUMBERS = ["city", "grade"], ["size", "weight", "visits"]
FRAMES = pytest.mark.parametrize("make", [pandas_frame, polars_frame], ids=["pandas", "polars"])


def labelled(n=300, seed=0):
    """Rows, and a label that their size and city tell."""
    rows = records(n, seed, missing=0.1)
    y = [(row["size"] or 2) + 2 * (row["city"] == "Rome") > 3 for row in rows]
    return rows, np.array(y).astype(int)


def plain(**parameters):
    return small(**({"leaf": "auto"} | parameters))


class Scores(TransformerMixin, BaseEstimator):
    """The log-density of a row and its cells' scores, as features."""

    def __init__(self, density=None):
        self.density = density

    def fit(self, X, y=None):
        self.density_ = clone(self.density).fit(X)
        return self

    def transform(self, X):
        scores = self.density_.feature_scores(X)
        return np.column_stack([self.density_.score_samples(X), np.nan_to_num(scores)])


# --- evaluation


@pytest.mark.parametrize(("make", "kind"), [(pandas_frame, "density"), (polars_frame, "mixture")])
def test_cross_validation(make, kind):
    X = make(records(150))
    scores = cross_val_score(small(kind), X, cv=3, error_score="raise")
    assert np.isfinite(scores).all()
    expected = small(kind).fit(X[50:]).score(X[:50])
    assert scores[0] == pytest.approx(expected, abs=1e-9)
    labels = cross_val_predict(small(kind), X, cv=2)
    assert set(labels) == {-1, 1}


@FRAMES
def test_grid_search(make):
    X = make(records(150))
    grid = {"K": [1, 3], "structure": ["chow-liu", "binary-trees"]}
    search = GridSearchCV(small(max_iter=3), grid, cv=2, error_score="raise").fit(X)
    assert np.isfinite(search.cv_results_["mean_test_score"]).all()
    assert len(set(search.cv_results_["mean_test_score"])) == 4
    assert search.best_estimator_.get_params()["K"] == search.best_params_["K"]
    assert search.score_samples(X).shape == (150,)
    assert list(search.best_estimator_.categories_) == ["city", "grade"]


@FRAMES
def test_successive_halving(make):
    """Small parts of the table miss some of the categories."""
    X = make(records(240))
    search = HalvingGridSearchCV(
        small(max_iter=2),
        {"K": [1, 2, 3, 4]},
        cv=2,
        random_state=0,
        min_resources=20,
        error_score="raise",
    ).fit(X)
    assert search.n_resources_ == [20, 60]
    assert np.isfinite(search.cv_results_["mean_test_score"]).all()
    assert search.best_estimator_.categories_["city"].tolist() == ["Bern", "Oslo", "Rome"]


def test_rare_categories_in_folds():
    """A category of one row is unknown in one of the folds, which the score survives."""
    frame = pandas_frame(records(90))
    frame.loc[7, "city"] = "Paris"
    scores = {
        how: cross_val_score(small(handle_unknown=how), frame, cv=3)
        for how in ("smooth", "ignore", "error")
    }
    assert np.isfinite([scores["smooth"], scores["ignore"]]).all()
    assert np.isnan(scores["error"]).sum() == 1
    assert (scores["smooth"] <= scores["ignore"] + 1e-12).all()
    assert scores["smooth"][0] < scores["ignore"][0]


# --- pipelines


@FRAMES
def test_columns_scaled_and_passed_through(make):
    X, output = make(records()), "pandas" if make is pandas_frame else "polars"
    scale = ColumnTransformer(
        [("scale", StandardScaler(), NUMBERS)],
        remainder="passthrough",
        verbose_feature_names_out=False,
    ).set_output(transform=output)
    pipeline = make_pipeline(scale, plain(atoms=None)).fit(X)
    density = pipeline[-1]
    assert list(density.categories_) == TEXTS
    assert density.feature_names_in_.tolist() == [*NUMBERS, *TEXTS, "member"]
    X = X[density.feature_names_in_.tolist()]
    difference = pipeline.score_samples(X) - plain(atoms=None).fit(X).score_samples(X)
    deviations = np.log(scale.named_transformers_["scale"].scale_)
    seen = np.array([[row[name] is not None for name in NUMBERS] for row in records()])
    np.testing.assert_allclose(difference, seen @ deviations, atol=2e-3)
    assert type(density.sample(3)) is type(X)


def test_columns_of_an_array_are_named_by_their_places():
    """Without set_output, the result is an array of objects."""
    X = pandas_frame(records())
    transform = ColumnTransformer([("scale", StandardScaler(), NUMBERS)], remainder="passthrough")
    with pytest.raises(ValueError, match=r"Column 3 cannot be used.*categorical_features"):
        make_pipeline(transform, plain()).fit(X[[*NUMBERS, *TEXTS]])
    pipeline = make_pipeline(transform, plain(categorical_features=[3, 4]))
    scores = pipeline.fit(X[[*NUMBERS, *TEXTS]]).score_samples(X[[*NUMBERS, *TEXTS]])
    assert np.isfinite(scores).all()
    assert list(pipeline[-1].categories_) == [3, 4]


@FRAMES
def test_an_encoder_is_not_needed(make):
    """The density of codes is that of the strings."""
    X = make(records(missing=0))[["city", "size"]]
    encode = ColumnTransformer([("codes", OrdinalEncoder(), ["city"])], remainder="passthrough")
    codes = make_pipeline(encode, plain(leaf={"categorical": [0]})).fit(X)
    np.testing.assert_array_equal(codes.score_samples(X), plain().fit(X).score_samples(X))


@FRAMES
def test_in_place_of_an_isolation_forest(make):
    """Rows whose city belies their size; each detector in the same pipeline."""
    rows = records(400, missing=0)
    spoilt = [
        row | {"city": {"Bern": "Rome", "Rome": "Bern"}.get(row["city"], row["city"])}
        for row in records(100, seed=1, missing=0)
        if row["city"] != "Oslo"
    ]
    usual = records(100, seed=2, missing=0)
    X, y = make(usual + spoilt), np.r_[np.zeros(len(usual)), np.ones(len(spoilt))]
    columns = ["city", "size", "weight"]
    encode = ColumnTransformer(
        [("indicators", OneHotEncoder(sparse_output=False), ["city"])],
        remainder="passthrough",
        verbose_feature_names_out=False,
    ).set_output(transform="pandas" if make is pandas_frame else "polars")
    areas = {}
    for detector in (IsolationForest(random_state=0), plain(max_iter=30, batch_size="auto")):
        pipeline = Pipeline([("encode", encode), ("detector", detector)])
        if isinstance(detector, EinetDensity):
            pipeline.set_params(encode="passthrough")
        pipeline.fit(make(rows)[columns])
        assert set(pipeline.predict(X[columns])) == {-1, 1}
        areas[type(detector)] = roc_auc_score(y, -pipeline.decision_function(X[columns]))
    assert areas[EinetDensity] > 0.85
    assert areas[EinetDensity] > areas[IsolationForest]


@FRAMES
def test_scores_as_features(make):
    rows, y = labelled()
    X = make(rows)
    numbers = FunctionTransformer(lambda X: X[["size", "weight"]].to_numpy())
    numbers = make_pipeline(numbers, SimpleImputer())
    union = FeatureUnion([("scores", Scores(small(max_iter=3))), ("numbers", numbers)])
    stack = make_pipeline(union, StandardScaler(), LogisticRegression())
    accuracy = cross_val_score(stack, X, y, cv=2, error_score="raise")
    assert accuracy.mean() > 0.8
    search = GridSearchCV(
        make_pipeline(union, SelectKBest(k=5), LogisticRegression()),
        {"featureunion__scores__density__K": [1, 3]},
        cv=2,
        error_score="raise",
    ).fit(X, y)
    assert np.isfinite(search.cv_results_["mean_test_score"]).all()


@FRAMES
def test_a_density_for_each_class(make):
    """Bayes' rule, from DataFrames with strings."""
    rows, y = labelled(600)
    train, test = train_test_split(np.arange(600), random_state=0)
    scores = [
        small(max_iter=15)
        .fit(make([rows[i] for i in train if y[i] == label]))
        .score_samples(make([rows[i] for i in test]))
        for label in (0, 1)
    ]
    assert roc_auc_score(y[test], scores[1] - scores[0]) > 0.95


@FRAMES
def test_imputer_before_a_classifier(make):
    rows, y = labelled()
    X = make(rows)
    output = "pandas" if make is pandas_frame else "polars"
    impute = EinetImputer(small(max_iter=3), random_state=0).set_output(transform=output)
    encode = ColumnTransformer(
        [("indicators", OneHotEncoder(handle_unknown="ignore"), TEXTS)], remainder="passthrough"
    )
    pipeline = make_pipeline(impute, encode, StandardScaler(with_mean=False), LogisticRegression())
    assert cross_val_score(pipeline, X, y, cv=2, error_score="raise").mean() > 0.85
    search = GridSearchCV(
        pipeline, {"einetimputer__strategy": ["mpe", "sample"]}, cv=2, error_score="raise"
    ).fit(X, y)
    assert np.isfinite(search.cv_results_["mean_test_score"]).all()
    with config_context(transform_output=output):
        filled = EinetImputer(small(max_iter=1), random_state=0).fit_transform(X)
    assert type(filled) is type(X)


# --- clones


@pytest.mark.parametrize("asked", [["city"], [0], np.array([True, False]), ("city",), "from_dtype"])
@pytest.mark.parametrize("kind", [EinetDensity, EinetMixture])
def test_clones(kind, asked):
    X = pandas_frame(records(missing=0))[["city", "size"]]
    model = kind(K=2, max_iter=2, random_state=0, categorical_features=asked)
    model.set_params(handle_unknown="ignore")
    copy = clone(model.fit(X))
    assert not hasattr(copy, "circuit_")
    assert copy.handle_unknown == "ignore"
    np.testing.assert_array_equal(copy.categorical_features, asked)
    np.testing.assert_array_equal(copy.fit(X).score_samples(X), model.score_samples(X))
    assert "categorical_features" in repr(EinetDensity(categorical_features=["city"]))


def test_parameters_are_not_changed():
    asked, leaf = ["city", "grade"], {"poisson": ["visits"]}
    model = EinetDensity(K=2, max_iter=2, categorical_features=asked, leaf=leaf, random_state=0)
    model.fit(pandas_frame(records()))
    assert model.categorical_features is asked
    assert asked == ["city", "grade"]
    assert model.leaf is leaf
    assert leaf == LEAF
