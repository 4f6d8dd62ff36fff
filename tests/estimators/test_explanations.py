"""Cells that make rows outliers together."""

import numpy as np
import pandas as pd
import polars as pl
import pytest
from sklearn.datasets import load_iris, load_wine

from sklearn_einet import EinetDensity, EinetMixture, EinetOutlierDetector
from tests.helpers.atoms import table

IRIS = load_iris(as_frame=True).data
NAMES = list(IRIS.columns)


@pytest.fixture(scope="module")
def detector():
    return EinetOutlierDetector(random_state=0).fit(IRIS)


def odd_rows():
    """Flowers of which one or two cells are those of another kind."""
    X = IRIS.iloc[[0, 10, 60, 120, 140]].astype(float).reset_index(drop=True)
    X.iloc[0, 2] = 5.5
    X.iloc[1, [2, 3]] = [6.0, 0.1]
    X.iloc[2, 1] = 9.0
    X.iloc[3, 0], X.iloc[3, 3] = 4.4, 0.1
    return X


def named(reasons, row):
    return set(reasons.loc[reasons["row"] == row, "column"])


def without(X, row, columns):
    rows = X.iloc[[row]].copy()
    rows[list(columns)] = np.nan
    return rows


@pytest.mark.parametrize("estimator", [EinetOutlierDetector, EinetDensity, EinetMixture])
def test_named_cells_are_a_minimal_set(estimator):
    X = odd_rows()
    model = estimator(random_state=0).fit(IRIS)
    reasons = model.explain(X)
    outliers = np.flatnonzero(model.predict(X) == -1)
    assert len(outliers) >= 3
    assert list(reasons["row"].unique()) == list(outliers)
    for row in outliers:
        columns = named(reasons, row)
        assert model.predict(without(X, row, columns))[0] == 1
        for column in columns:
            assert model.predict(without(X, row, columns - {column}))[0] == -1


def test_planted_cells_are_named(detector):
    reasons = detector.explain(odd_rows())
    assert named(reasons, 0) == {NAMES[2]}
    assert named(reasons, 1) == {NAMES[2]}  # the width fits the sepals
    assert named(reasons, 2) == {NAMES[1]}


def test_what_is_told_of_a_cell(detector):
    X = odd_rows()
    reasons = detector.explain(X)
    assert list(reasons.columns) == [
        *["row", "column", "value", "typical", "low", "high", "p_value", "p_value_without"]
    ]
    p_values = detector.p_values(X)
    for _, cell in reasons.iterrows():
        row, column = cell["row"], cell["column"]
        assert cell["value"] == X.loc[row, column]
        assert cell["low"] <= cell["typical"] <= cell["high"]
        np.testing.assert_allclose(cell["p_value"], p_values[row])
        left = without(X, row, named(reasons, row))
        np.testing.assert_allclose(cell["p_value_without"], detector.p_values(left)[0])
        assert cell["p_value"] < 0.1 <= cell["p_value_without"] + 0.03
        draws = detector.sample_conditional(left, n_draws=4000, random_state=1)
        values = np.array([each[column].iloc[0] for each in draws])
        for name, level in (("low", 0.1), ("typical", 0.5), ("high", 0.9)):
            below, up_to = (values < cell[name]).mean(), (values <= cell[name]).mean()
            assert below - 0.03 < level < up_to + 0.03


def test_the_first_cell_is_the_best_one(detector):
    """All columns are tried one by one, and compared by what predictions are made of."""
    X = odd_rows()
    first = detector.explain(X, max_cells=1)
    assert first["row"].is_unique
    for _, cell in first.iterrows():
        decisions = {
            name: detector.decision_function(without(X, cell["row"], [name]))[0] for name in NAMES
        }
        assert max(decisions, key=decisions.get) == cell["column"]


def test_usual_rows_have_no_reasons(detector):
    usual = IRIS[detector.predict(IRIS) == 1]
    reasons = detector.explain(usual)
    assert len(reasons) == 0
    assert "p_value" in reasons.columns


def test_rows_keep_their_labels_and_gaps(detector):
    X = odd_rows()
    X.index = ["a", "b", "c", "d", "e"]
    X.iloc[0, 0] = np.nan
    reasons = detector.explain(X)
    assert set(reasons["row"]) <= set("abcde")
    assert named(reasons, "a") == {NAMES[2]}  # a gap is no reason


def test_arrays_have_numbers_for_names():
    model = EinetOutlierDetector(random_state=0).fit(IRIS.to_numpy())
    reasons = model.explain(odd_rows().to_numpy())
    assert isinstance(reasons, pd.DataFrame)
    assert set(reasons["column"]) <= set(range(4))


def people(n=400, seed=0):
    rng = np.random.RandomState(seed)
    tall = rng.rand(n) < 0.5
    return pd.DataFrame(
        {
            "height": np.where(tall, 185, 165) + 4 * rng.randn(n),
            "weight": np.where(tall, 85, 60) + 4 * rng.randn(n),
            "kind": pd.Categorical(np.where(tall, "tall", "small")),
            "since": pd.to_datetime("2024-01-01") + pd.to_timedelta(rng.randint(0, 400, n), "D"),
            "visits": rng.poisson(4, n),
        }
    )


def odd_people():
    X = people()[:3].copy()
    X.loc[0, ["height", "weight", "kind"]] = [186.0, 60.0, "tall"]
    X.loc[1, "since"] = pd.Timestamp("1980-05-05")
    X.loc[2, "visits"] = 60
    return X


def test_values_come_back_as_they_are():
    X = odd_people()
    model = EinetOutlierDetector(random_state=0).fit(people())
    reasons = model.explain(X).set_index(["row", "column"])
    assert reasons.loc[(1, "since"), "value"] == pd.Timestamp("1980-05-05")
    assert pd.Timestamp("2023-12-01") < reasons.loc[(1, "since"), "typical"]
    assert reasons.loc[(2, "visits"), "value"] == 60
    assert 1 <= reasons.loc[(2, "visits"), "typical"] <= 8
    assert set(reasons.loc[0].index) <= {"height", "weight", "kind"}


def test_the_usual_category_is_the_most_frequent_one():
    table = people()[["height", "weight", "kind"]]
    X = pd.DataFrame({"height": [186.0], "weight": [86.0], "kind": ["small"]})
    reasons = EinetDensity(random_state=0).fit(table).explain(X)
    assert list(reasons["column"]) == ["kind"]
    assert list(reasons[["value", "typical", "low", "high"]].iloc[0]) == ["small", *["tall"] * 3]


def test_states_of_a_number_have_quantiles():
    """Numbers with few values are states of the model, and still numbers."""
    rng = np.random.RandomState(0)
    size = rng.randn(600)
    table = pd.DataFrame({"size": size, "visits": np.clip(np.round(4 + size), 1, 7)})
    table["visits"] += rng.randint(0, 3, 600)
    model = EinetDensity(random_state=0).fit(table)
    assert model.leaf_report_.set_index("column").loc["visits", "leaf"] == "states"
    reasons = model.explain(pd.DataFrame({"size": [-1.0], "visits": [9.0]}))
    assert list(reasons["column"]) == ["visits"]
    found = reasons.iloc[0]
    share = np.exp([model.event_log_proba({"visits": (None, v)}, {"size": -1.0}) for v in range(9)])
    low, typical, high = (int(np.argmax(share >= q)) for q in (0.1, 0.5, 0.9))
    assert low < typical < high
    assert [found["low"], found["typical"], found["high"]] == pytest.approx(
        [low, typical, high], abs=1
    )


def test_polars_gives_polars():
    table = pl.from_pandas(people())
    model = EinetOutlierDetector(random_state=0).fit(table)
    reasons = model.explain(pl.from_pandas(odd_people()))
    assert isinstance(reasons, pl.DataFrame)
    assert {"since", "visits"} <= set(reasons["column"].to_list())
    assert reasons["value"].dtype == pl.String


def test_impossible_and_unknown_cells_are_named():
    table = pd.DataFrame({"n": np.random.RandomState(0).poisson(3, 300), "kind": ["a", "b"] * 150})
    model = EinetDensity(leaf={"poisson": ["n"]}, contamination=0.01, random_state=0).fit(table)
    X = pd.DataFrame({"n": [-1.0, 3.0], "kind": ["a", "never seen"]})
    reasons = model.explain(X)
    assert named(reasons, 0) == {"n"}
    assert np.isneginf(model.score_samples(X)[0])
    if model.predict(X)[1] == -1:
        assert named(reasons, 1) == {"kind"}


def test_one_column_and_one_cell():
    model = EinetOutlierDetector(random_state=0).fit(IRIS[NAMES[:1]])
    # Without its only cell a row is as typical as possible.
    assert named(model.explain(pd.DataFrame({NAMES[0]: [50.0]})), 0) == {NAMES[0]}
    whole = EinetOutlierDetector(random_state=0).fit(IRIS)
    row = pd.DataFrame(np.full((1, 4), np.nan), columns=NAMES)
    row.iloc[0, 0] = 50.0
    assert named(whole.explain(row), 0) == {NAMES[0]}


@pytest.mark.parametrize("scale", [1e-8, 1e6])
def test_units_do_not_matter(detector, scale):
    X = odd_rows()
    scaled = EinetOutlierDetector(random_state=0).fit(IRIS * scale)
    one, other = detector.explain(X), scaled.explain(X * scale)
    assert list(zip(one["row"], one["column"], strict=True)) == list(
        zip(other["row"], other["column"], strict=True)
    )


def test_explaining_changes_nothing(detector):
    X = odd_rows()
    before = X.copy(), detector.score_samples(X), np.random.get_state()[1].copy()
    first, second = detector.explain(X), detector.explain(X)
    pd.testing.assert_frame_equal(first, second)
    pd.testing.assert_frame_equal(X, before[0])
    np.testing.assert_array_equal(detector.score_samples(X), before[1])
    np.testing.assert_array_equal(np.random.get_state()[1], before[2])


def test_a_typical_value_can_make_a_row_rare():
    """In a rare kind of row, even the likeliest price is less likely than those of other rows."""
    rng = np.random.RandomState(0)
    rare = rng.rand(2000) < 0.09
    table = pd.DataFrame(
        {
            "size": np.where(rare, 5, 0) + rng.randn(2000),
            "price": np.where(rare, 3 + rng.randn(2000), 0.05 * rng.randn(2000)),
        }
    )
    model = EinetDensity(contamination=0.09, random_state=0).fit(table)
    row = pd.DataFrame({"size": [5.5], "price": [3.0]})
    reasons = model.explain(row)
    assert list(reasons["column"]) == ["price"]
    assert reasons["typical"][0] == pytest.approx(3.0, abs=0.2)
    assert model.predict(row.assign(price=reasons["typical"]))[0] == -1
    usual = model.feature_scores(table[~rare])["price"].median()
    assert model.feature_scores(row)["price"][0] > usual + 2


def tables_with_odd_rows():
    """A table of flowers, one of atoms and gaps, and one of all kinds of columns; and odd rows."""
    gappy = odd_rows()
    gappy.iloc[[0, 2], 3] = np.nan
    mixed = table(16, seed=5, gaps=0.2)
    mixed[["gain", "size"]] = mixed[["gain", "size"]].sample(frac=1, random_state=0).to_numpy()
    mixed.iloc[:8, 1] += 70
    return {
        "flowers": (IRIS, pd.concat([odd_rows(), gappy], ignore_index=True)),
        "atoms": (table(), mixed),
        "people": (people(), pd.concat([odd_people(), odd_people().assign(kind="small")])),
    }


@pytest.mark.parametrize("estimator", [EinetOutlierDetector, EinetDensity, EinetMixture])
@pytest.mark.parametrize("name", ["flowers", "atoms", "people"])
def test_rows_do_not_depend_on_each_other(estimator, name):
    train, X = tables_with_odd_rows()[name]
    X.index = [f"row {i}" for i in range(len(X))]
    model = estimator(max_iter=20, random_state=0).fit(train)
    alone = [model.explain(X.iloc[[i]]) for i in range(len(X))]
    assert sum(len(each) > 0 for each in alone) >= 5
    expected = pd.concat([each for each in alone if len(each)], ignore_index=True)
    pd.testing.assert_frame_equal(model.explain(X), expected, check_dtype=False, rtol=1e-9)
    order = np.random.RandomState(0).permutation(len(X))
    expected = pd.concat([alone[i] for i in order if len(alone[i])], ignore_index=True)
    found = model.explain(X.iloc[order])
    pd.testing.assert_frame_equal(found, expected, check_dtype=False, rtol=1e-9)


@pytest.mark.parametrize("max_cells", [0, -1, True, 2.5, "a"])
def test_bad_numbers_of_cells(detector, max_cells):
    with pytest.raises(ValueError, match="max_cells"):
        detector.explain(IRIS, max_cells=max_cells)


def test_swapped_cells_of_wine():
    """Of rows that a swapped cell makes outliers, it is the one that is named."""
    rng = np.random.RandomState(0)
    X = load_wine(as_frame=True).data
    model = EinetDensity(random_state=0).fit(X)
    usual = X[model.predict(X) == 1].reset_index(drop=True)
    planted = rng.randint(X.shape[1], size=len(usual))
    for row, column in enumerate(planted):
        far = X.iloc[:, column].to_numpy()
        usual.iloc[row, column] = far[np.argmax(np.abs(far - usual.iloc[row, column]))]
    reasons = model.explain(usual, max_cells=1)
    hits = [
        X.columns[planted[row]] == name
        for row, name in zip(*reasons[["row", "column"]].to_numpy().T, strict=True)
    ]
    assert len(hits) > 50
    assert np.mean(hits) > 0.8
