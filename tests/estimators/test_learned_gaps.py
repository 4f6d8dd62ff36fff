"""Missing cells as information."""

import numpy as np
import pandas as pd
import polars as pl
import pytest

from sklearn_einet import EinetDensity, EinetMixture

N_ROWS = 1500


def small(kind=EinetDensity, **parameters):
    return kind(**{"K": 3, "max_iter": 5, "tol": 1.0, "random_state": 0} | parameters)


def frame(seed=0):
    """A table in which rows of one kind miss most of their sizes, and both a and b together."""
    rng = np.random.default_rng(seed)
    kind = rng.random(N_ROWS) < 0.4
    table = pd.DataFrame(
        {
            "a": np.where(rng.random(N_ROWS) < 0.4, 0.0, rng.exponential(2, N_ROWS)),
            "b": pd.array(rng.integers(0, 40, N_ROWS), dtype="Int64"),
            "day": pd.Timestamp("2025-01-01") + pd.to_timedelta(rng.integers(0, 90, N_ROWS), "D"),
            "colour": pd.Categorical(rng.choice(["red", "blue"], N_ROWS)),
            "flag": pd.array(rng.random(N_ROWS) < 0.5, dtype="boolean"),
            "kind": np.where(kind, "odd", "even"),
        }
    )
    gone = kind & (rng.random(N_ROWS) < 0.7)
    for column in ("a", "b"):
        table.loc[gone, column] = None
    for column in ("day", "colour", "flag"):
        table.loc[rng.random(N_ROWS) < 0.2, column] = None
    return table


@pytest.fixture(scope="module", params=["auto", "chow-liu", "mixture"])
def model(request):
    options = {"learn_gaps": True, "K": 4, "max_iter": 40, "tol": 1e-3}
    if request.param == "mixture":
        return small(EinetMixture, n_components=2, **options).fit(frame())
    return small(structure=request.param, **options).fit(frame())


def test_gaps_are_drawn_at_their_rates(model):
    drawn, real = model.sample(20_000, random_state=0), frame()
    assert drawn.dtypes.tolist() == real.dtypes.tolist()
    np.testing.assert_allclose(drawn.isna().mean(), real.isna().mean(), atol=0.03)
    # Those of a and b go together, and with the kind of row.
    assert (drawn["a"].isna() == drawn["b"].isna()).mean() > 0.93
    odd = drawn["kind"] == "odd"
    assert drawn["a"].isna()[odd].mean() == pytest.approx(0.7, abs=0.07)
    assert drawn["a"].isna()[~odd].mean() < 0.05


def test_conditions_on_gaps(model):
    missing = float(np.exp(model.event_log_proba({"a": [None]})))
    assert missing == pytest.approx(frame()["a"].isna().mean(), abs=0.03)
    observed = float(np.exp(model.event_log_proba({"a": (None, 1e6)})))
    assert observed + missing == pytest.approx(1, abs=1e-6)
    rows = model.sample(2000, random_state=0, given={"a": [None]})
    assert rows["a"].isna().all()
    assert (rows["kind"] == "odd").mean() > 0.9
    rows = model.sample(2000, random_state=0, given={"a": (1, None)})
    assert rows["a"].min() >= 1


def test_other_queries_take_missing_cells_for_unknown(model):
    table = frame()
    assert not model.impute(table).isna().any().any()
    alone = model.marginal(["a"])
    nothing = pd.DataFrame({"a": [np.nan]})
    assert alone.score_samples(nothing)[0] == pytest.approx(0, abs=1e-6)
    assert np.isfinite(model.score_samples(table)).all()
    assert np.isfinite(model.mean()[:3]).all()


def test_columns_whose_gaps_are_learned():
    model = small(learn_gaps=["day"]).fit(frame())
    drawn = model.sample(500, random_state=0)
    assert drawn["day"].isna().any()
    assert not drawn.drop(columns="day").isna().any().any()
    with pytest.raises(ValueError, match=r"'a'.*learn_gaps=True"):
        model.sample(5, given={"a": [None]})
    with pytest.raises(ValueError, match="learn_gaps"):
        small(learn_gaps=["height"]).fit(frame())


def test_arrays_and_tables_without_gaps():
    X = np.random.default_rng(0).normal(size=(300, 2))
    plain, learned = small().fit(X), small(learn_gaps=True).fit(X)
    np.testing.assert_array_equal(learned.score_samples(X), plain.score_samples(X))
    X[:100, 1] = np.nan
    drawn = small(learn_gaps=True, max_iter=10).fit(X).sample(3000, random_state=0)
    assert np.isnan(drawn).mean(axis=0) == pytest.approx([0, 1 / 3], abs=0.05)


def test_polars_frames():
    table = pl.from_pandas(frame())
    model = small(learn_gaps=True).fit(table)
    drawn = model.sample(2000, random_state=0)
    assert drawn.schema == table.schema
    missing = [drawn[name].null_count() / 2000 for name in drawn.columns]
    np.testing.assert_allclose(missing, [c.null_count() / N_ROWS for c in table], atol=0.05)
