"""Columns with atoms, grids and bounds: densities and probabilities by enumeration."""

import itertools

import numpy as np
import pandas as pd
import pytest

from tests.helpers.atoms import HOURS, STRUCTURES, new, probabilities, rows_of, table

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

FRAME = table()
QUERY = table(60, seed=5, gaps=0.25)
ROOMS, KINDS = [1.0, 2.0, 3.0, 4.0, 5.0], ["a", "b", "c"]
GAINS = 0.05 * np.sinh(np.linspace(0, 9, 3001))[1:]  # without 0


@pytest.fixture(scope="module", params=[*STRUCTURES, "mixture"])
def model(request):
    return new(request.param).fit(FRAME)


def box(model, low, high, closed="both"):
    return np.exp(model.interval_log_proba(low, high, closed))[0]


def grid(**values):
    """All combinations of values."""
    cells = list(itertools.product(*values.values()))
    frame = pd.DataFrame(cells, columns=list(values))
    return rows_of(**{name: frame[name].to_numpy() for name in values})


# --- masses


def test_what_columns_are_taken_for(model):
    report = model.leaf_report_.set_index("column")
    assert report["n_atoms"].tolist() == [1, 1, 5, 0, 0]
    assert report["step"].tolist() == [0, 1, 1, 0, 0]
    assert report["low"].tolist() == [0, 0, 1, -np.inf, -np.inf]
    assert report["leaf"].tolist() == ["normal", "normal", "states", "normal", "categorical"]
    shares = [(FRAME["gain"] == 0).mean(), (FRAME["hours"] == 40).mean()]
    seen = FRAME[["gain", "hours"]].notna().mean()
    np.testing.assert_allclose(report["share_of_atoms"][:2], shares / seen)


def test_masses_of_single_columns(model):
    gains = np.trapezoid(probabilities(model, gain=GAINS), GAINS)
    assert gains + probabilities(model, gain=0.0)[0] == pytest.approx(1, abs=1e-4)
    # Joint densities at values are those of their cells, up to curvature, largest near the bound.
    is_joint = model.table_density_.circuit.joint_groups
    error = 3e-4 if is_joint else 1e-6
    assert probabilities(model, hours=HOURS).sum() == pytest.approx(1, abs=error)
    assert probabilities(model, rooms=ROOMS).sum() == pytest.approx(1, abs=1e-9)


def test_mass_of_discrete_columns_together(model):
    hours = HOURS[HOURS < 160]
    scores = model.score_samples(grid(hours=hours, rooms=ROOMS, kind=KINDS))
    expected = probabilities(model, hours=hours).sum()
    assert np.exp(scores).sum() == pytest.approx(expected, abs=1e-9)
    assert expected == pytest.approx(1, abs=3e-4)


def test_mass_beside_a_continuous_column(model):
    hours = np.append(np.arange(20.0, 70.0, 10), 40.0)
    expected = probabilities(model, hours=hours)
    zero = probabilities(model, hours=hours, gain=np.zeros(6))
    for each, of_zero, whole in zip(hours, zero, expected, strict=True):
        positive = probabilities(model, hours=np.full(len(GAINS), each), gain=GAINS)
        assert np.trapezoid(positive, GAINS) + of_zero == pytest.approx(whole, rel=1e-4)


# --- boxes


def test_zero_and_above(model):
    zero = probabilities(model, gain=0.0)[0]
    assert box(model, {"gain": 0}, {"gain": 0}) == pytest.approx(zero)
    assert box(model, {"gain": 0}, None, "neither") == pytest.approx(1 - zero)
    assert box(model, {"gain": 0}, None, "right") == pytest.approx(1 - zero)
    assert box(model, {"gain": 0}, None) == pytest.approx(1)
    assert box(model, None, {"gain": 0}, "neither") == 0
    assert box(model, {"gain": 1.0}, {"gain": 1.0}) == 0
    fine = np.linspace(2, 5, 4001)
    expected = np.trapezoid(probabilities(model, gain=fine), fine)
    assert box(model, {"gain": 2}, {"gain": 5}) == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize(
    ("closed", "ends"), [("both", 0), ("left", 1), ("right", 2), ("neither", 3)]
)
@pytest.mark.parametrize(("low", "high"), [(35, 45), (40, 52), (29, 40), (50, 60), (39, 41)])
def test_boxes_on_a_grid_by_sums(model, low, high, closed, ends):
    inside = np.arange(low + (ends >= 2), high + 1 - (ends % 2), dtype=float)
    expected = probabilities(model, hours=inside).sum()
    found = box(model, {"hours": low}, {"hours": high}, closed)
    # The density at a value is that of its cell, up to curvature.
    assert found == pytest.approx(expected, rel=2e-3)


def test_bounds_between_grid_points_are_those_beside(model):
    expected = box(model, {"hours": 36}, {"hours": 44})
    for low, high in ((35.5, 44.5), (35.01, 44.99), (36, 44.2)):
        assert box(model, {"hours": low}, {"hours": high}) == pytest.approx(expected)
    assert box(model, {"hours": 36.2}, {"hours": 36.8}) == 0


@pytest.mark.parametrize("rooms", [(1, 3), (2, 5), (3, 3), (0, 9)])
def test_boxes_of_states(model, rooms):
    inside = np.array([each for each in ROOMS if rooms[0] <= each <= rooms[1]])
    found = box(model, {"rooms": rooms[0]}, {"rooms": rooms[1]})
    assert found == pytest.approx(probabilities(model, rooms=inside).sum())
    strict = inside[(inside > rooms[0]) & (inside < rooms[1])]
    expected = probabilities(model, rooms=strict).sum() if len(strict) else 0
    found = box(model, {"rooms": rooms[0]}, {"rooms": rooms[1]}, "neither")
    assert found == pytest.approx(expected)


def test_boxes_of_two_columns_that_are_split(model):
    hours = np.arange(30.0, 53.0)
    zeros = probabilities(model, hours=hours, gain=np.zeros(23))
    every = probabilities(model, hours=hours)
    bounds = {"hours": 30, "gain": 0}, {"hours": 52}
    assert box(model, *bounds) == pytest.approx(every.sum(), rel=1e-3)
    assert box(model, bounds[0], {"hours": 52, "gain": 0}) == pytest.approx(zeros.sum(), rel=1e-3)
    above = {"hours": 29, "gain": 0}, {"hours": 53}
    assert box(model, *above, "neither") == pytest.approx((every - zeros).sum(), rel=1e-3)
    # Both atoms at once, and with a state and a category.
    cell = {"hours": 40, "gain": 0, "rooms": 2, "kind": "a"}
    assert box(model, cell, cell) == pytest.approx(probabilities(model, **cell)[0])


def test_many_boxes_at_once_are_those_one_by_one(model):
    rng = np.random.RandomState(0)
    low = pd.DataFrame(
        {"gain": rng.choice([-1, 0, 1, 3.0], 40), "hours": rng.choice([20, 40.0], 40)}
    )
    high = low + rng.choice([0, 1.0, 20], (40, 2))
    low.loc[::7, "gain"] = np.nan
    for closed in ("both", "neither"):
        found = model.interval_log_proba(low, high, closed)
        single = [
            model.interval_log_proba(low[i : i + 1], high[i : i + 1], closed)[0] for i in range(40)
        ]
        np.testing.assert_allclose(found, single, rtol=1e-6, atol=1e-9)


def test_intervals_add_up(model):
    cuts = [-np.inf, 0.0, 10.0, 40.0, 90.0, np.inf]
    for name, scale in (("hours", 1), ("rooms", 0.1), ("size", 0.1)):
        found = [
            box(model, {name: low * scale}, {name: high * scale}, "right")
            for low, high in itertools.pairwise(cuts)
        ]
        found[0] = box(model, {name: -np.inf}, {name: 0.0})
        assert sum(found) == pytest.approx(1, abs=1e-3)


def test_intervals_beside_a_bound_add_up():
    x = np.abs(np.random.RandomState(0).standard_normal((500, 1)))
    half = new("binary-trees", numeric_transform=None).fit(x)
    assert half.leaf_report_["low"].tolist() == [0]
    low, high = [[0.0], [0.3], [1.0]], [[0.3], [1.0], [np.inf]]
    assert np.exp(half.interval_log_proba(low, high)).sum() == pytest.approx(1, abs=1e-6)


@pytest.mark.parametrize("given", [{"gain": 0}, {"gain": (0.001, None)}, {"hours": [40, 45]}])
def test_events_by_sums(model, given):
    """P(event, given) / P(given) on the grid of hours."""
    event = {"hours": (38, 44)}
    found = np.exp(model.event_log_proba(event, given))
    hours = np.arange(38.0, 45.0)
    every, zero = (
        probabilities(model, hours=hours),
        probabilities(model, hours=hours, gain=np.zeros(7)),
    )
    of_zero = probabilities(model, gain=0.0)[0]
    if "hours" in given:
        p = probabilities(model, hours=[40.0, 45.0])
        expected = p[0] / p.sum()
    elif given["gain"] == 0:
        expected = zero.sum() / of_zero
    else:
        expected = (every - zero).sum() / (1 - of_zero)
    assert found == pytest.approx(expected, rel=5e-3)


def test_no_atoms_without_asking():
    X = FRAME.drop(columns="kind").to_numpy()
    found = new(atoms=None).fit(X)
    report = found.leaf_report_
    assert (report["n_atoms"] == 0).all()
    assert (report["step"] == 0).all()
    assert np.isneginf(found.interval_log_proba({0: 0}, {0: 0})).all()
    assert found.table_density_.schema.states.n_features == 4
    none = {0: [], 1: [], 2: [], 3: []}
    plain = new(leaf="normal", atoms=none).fit(X)
    np.testing.assert_array_equal(found.score_samples(X), plain.score_samples(X))
