"""What queries derive from a model is kept for the next ones, and for no other model."""

import pickle
from copy import deepcopy
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from sklearn.base import clone

from sklearn_einet import EinetDensity, EinetImputer

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

rng = np.random.RandomState(0)
LATENT = rng.randn(200, 1)
ROWS = np.column_stack(
    [
        np.exp(LATENT[:, 0] + 0.1 * rng.randn(200)),
        (LATENT[:, 0] + rng.randn(200)).round(1),
        rng.gamma(2, size=200) * (rng.rand(200) < 0.7),
        rng.randint(3, size=200),
    ]
)
FRAME = pd.DataFrame(ROWS, columns=["size", "grid", "some", "kind"]).astype({"kind": "str"})
GAPS = ROWS[:5].copy()
GAPS[:, [0, 2]] = np.nan
FRAME_GAPS = FRAME[:5].copy()
FRAME_GAPS.iloc[:, [0, 2]] = np.nan

QUERIES = {
    "score_samples": lambda model, rows, gaps: model.score_samples(rows),
    "decision_function": lambda model, rows, gaps: model.decision_function(gaps),
    "feature_scores": lambda model, rows, gaps: model.feature_scores(rows),
    "marginal scores": lambda model, rows, gaps: model.feature_scores(rows, method="marginal"),
    "mean": lambda model, rows, gaps: model.mean(gaps),
    "variance": lambda model, rows, gaps: model.variance(gaps),
    "most probable": lambda model, rows, gaps: model.impute(gaps, strategy="mpe"),
    "impute": lambda model, rows, gaps: model.impute(gaps),
    "columns": lambda model, rows, gaps: model.mean(),
}


def new(**parameters):
    return EinetDensity(**({"K": 3, "max_iter": 3, "random_state": 0} | parameters))


def answers(model, rows=ROWS[:5], gaps=GAPS):
    found = {name: query(model, rows, gaps) for name, query in QUERIES.items()}
    return {
        name: each.to_numpy() if isinstance(each, pd.DataFrame) else each
        for name, each in found.items()
    }


def assert_same(found, expected):
    for name in expected:
        np.testing.assert_array_equal(found[name], expected[name], err_msg=name)


def untouched(model):
    """The same model without anything that queries have left."""
    result = deepcopy(model)
    result.table_density_ = replace(
        result.table_density_,
        circuit=pickle.loads(pickle.dumps(result.circuit_)),
        schema=pickle.loads(pickle.dumps(result.table_density_.schema)),
    )
    return result


@pytest.mark.parametrize("structure", ["auto", "chow-liu", "joint-normal"])
def test_queries_answer_alike_whatever_was_asked_before(structure):
    model = new(structure=structure).fit(ROWS)
    expected = {name: QUERIES[name](untouched(model), ROWS[:5], GAPS) for name in QUERIES}
    for _ in range(2):
        assert_same(answers(model), expected)
    # Other rows, columns and gaps in between.
    model.score_samples(ROWS)
    other = ROWS[5:9].copy()
    other[:, [1, 3]] = np.nan
    model.mean(other)
    model.marginal([2, 0]).score_samples(ROWS[:, [2, 0]])
    assert_same(answers(model), expected)


@pytest.mark.parametrize(
    "change",
    [
        lambda model: model.partial_fit(ROWS[100:]),
        lambda model: model.fit(ROWS[100:]),
        lambda model: model.set_params(warm_start=True, max_iter=5).fit(ROWS[:150]),
    ],
    ids=["partial_fit", "fit", "warm start"],
)
def test_models_that_learn_more_keep_nothing_old(change):
    asked, silent = new().fit(ROWS), new().fit(ROWS)
    before = answers(asked)
    change(asked)
    change(silent)
    found = answers(asked)
    assert_same(found, answers(untouched(silent)))
    assert not np.array_equal(found["score_samples"], before["score_samples"])


def test_a_failed_update_keeps_the_old_answers():
    model = new().fit(ROWS)
    expected = answers(model)
    with pytest.raises(ValueError, match="contains infinity"):
        model.partial_fit(np.where(ROWS > 1, np.inf, ROWS))
    assert_same(answers(model), expected)


@pytest.mark.parametrize("rows", [ROWS, FRAME], ids=["array", "frame"])
def test_saved_models_do_not_grow_by_queries(rows):
    gaps = GAPS if rows is ROWS else FRAME_GAPS
    model = new().fit(rows)
    size, expected = len(pickle.dumps(model)), answers(model, rows[:5], gaps)
    model.score_samples(rows)
    assert len(pickle.dumps(model)) == size
    loaded = pickle.loads(pickle.dumps(model))
    size = len(pickle.dumps(loaded))
    for name, query in QUERIES.items():  # the first of each
        found = query(pickle.loads(pickle.dumps(model)), rows[:5], gaps)
        np.testing.assert_array_equal(np.asarray(found), expected[name], err_msg=name)
    assert_same(answers(loaded, rows[:5], gaps), expected)
    assert len(pickle.dumps(loaded)) == size


def test_imputers_of_frames_fill_alike_whatever_was_asked_before():
    imputer = EinetImputer(new()).fit(FRAME)
    expected = pickle.loads(pickle.dumps(imputer)).set_output(transform="pandas")
    expected = expected.transform(FRAME_GAPS)
    for _ in range(2):
        imputer.set_output(transform="pandas")
        pd.testing.assert_frame_equal(imputer.transform(FRAME_GAPS), expected)
        imputer.set_output(transform="default")
        np.testing.assert_array_equal(imputer.transform(FRAME_GAPS), expected.to_numpy(object))
    size = len(pickle.dumps(clone(imputer).fit(FRAME)))
    assert abs(len(pickle.dumps(imputer)) - size) < 100
