"""Boxes of a table as unions of boxes of the circuit, row by row."""

import numpy as np
import pytest

from sklearn_einet import EinetDensity
from sklearn_einet.tables.bounds import without_ends
from sklearn_einet.tables.box_terms import box_terms, codes_inside
from sklearn_einet.tables.column_forms import ColumnForm
from sklearn_einet.tables.grid_cells import cells_inside
from tests.helpers.atoms import FAST, table

X = table(800, gaps=0)[["gain", "hours", "rooms", "size"]].to_numpy(copy=True)
X[::3, 3] = 0.125
pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

CLOSED = ["both", "left", "right", "neither"]


@pytest.fixture(scope="module")
def schema():
    model = EinetDensity(**FAST, structure="chow-liu", atoms={3: [0.125]}).fit(X)
    found = model.table_density_.schema
    assert found.states.split == [0, 1, 3]
    assert found.states.complete == [2]
    return found


def boxes(seed, n=60):
    """Bounds at values of rows, between these, or none."""
    rng = np.random.RandomState(seed)
    ends = X[rng.randint(len(X), size=(2, n))] + rng.choice([0, 0, 0.5, 0.3], (2, n, 4))
    for column, atom in ((0, 0.0), (3, 0.125)):
        # Next to a number, as maps round: whether it belongs to a box has no probability.
        ends[..., column] += np.where(ends[..., column] == atom, 0.0, 1e-9)
    low, high = np.sort(ends, axis=0)
    low[rng.rand(n, 4) < 0.4], high[rng.rand(n, 4) < 0.4] = -np.inf, np.inf
    return low, high


def within(closed, low, high):
    """Which rows are in each of the boxes, (n_boxes, n_rows)."""
    above = low[:, None] < X if closed in ("right", "neither") else low[:, None] <= X
    below = high[:, None] > X if closed in ("left", "neither") else high[:, None] >= X
    return (above & below).all(axis=2)


def n_terms_of_rows(schema, low, high):
    """In how many terms each row is, (n_boxes, n_rows)."""
    Z = schema.encode(X)
    result = np.zeros((len(low), len(X)), dtype=int)
    for possible, starts, stops in box_terms(schema, low, high):
        is_free = np.isneginf(starts) & np.isposinf(stops)
        inside = (starts[:, None] <= Z) & (stops[:, None] >= Z)
        inside |= is_free[:, None]  # missing numbers of atoms, too
        result += inside.all(axis=2) & possible[:, None]
    return result


@pytest.mark.parametrize("closed", CLOSED)
@pytest.mark.parametrize("seed", range(5))
def test_every_row_of_a_box_is_in_one_term(schema, closed, seed):
    low, high = boxes(seed)
    found = n_terms_of_rows(schema, *without_ends(low, high, schema, closed))
    expected = within(closed, low, high)
    np.testing.assert_array_equal(found, expected)
    assert expected.any(axis=1).mean() > 0.3


def test_bounds_of_boxes_are_left_as_they_were(schema):
    low, high = boxes(0)
    before = low.copy(), high.copy()
    assert list(box_terms(schema, low, high))
    np.testing.assert_array_equal(low, before[0])
    np.testing.assert_array_equal(high, before[1])


def test_columns_without_a_bound_cost_nothing(schema):
    free = np.full((3, 4), np.inf)
    assert len(list(box_terms(schema, -free, free))) == 1
    low = -free
    low[:, 3] = 0.5
    assert len(list(box_terms(schema, low, free))) <= 2
    with np.errstate(all="raise"):
        assert not list(box_terms(schema, np.full((1, 4), 1e6), np.full((1, 4), 2e6)))[1:]


def test_codes_by_brute_force():
    atoms = np.array([-2.0, 0.0, 3.0, 7.5])
    rng = np.random.RandomState(0)
    low, high = np.sort(rng.choice([-5.0, -2, -1, 0, 1, 3, 5, 7.5, 9], (2, 300)), axis=0)
    first, last = codes_inside(low, high, atoms)
    for a, b, i, j in zip(low, high, first, last, strict=True):
        inside = np.flatnonzero((atoms >= a) & (atoms <= b))
        assert np.arange(i, j + 1).tolist() == inside.tolist()


@pytest.mark.parametrize("step", [1.0, 0.1, 2.5])
def test_cells_of_a_grid_by_brute_force(step):
    form = ColumnForm(np.empty(0), step=step, origin=0.3)
    points = 0.3 + step * np.arange(-40, 41)
    rng = np.random.RandomState(0)
    low, high = np.sort(rng.uniform(-20, 20, (2, 200)) * step, axis=0)
    low[::4], high[::3] = points[rng.randint(40, size=50)], points[40 + rng.randint(40, size=67)]
    start, stop = cells_inside(low, high, form)
    for a, b, first, last in zip(low, high, start, stop, strict=True):
        inside = points[(points >= a - 1e-9) & (points <= b + 1e-9)]
        covered = points[(points - step / 2 > first - 1e-6) & (points + step / 2 < last + 1e-6)]
        np.testing.assert_array_equal(covered, inside)


def test_intervals_from_a_bound_go_on_beyond():
    form = ColumnForm(np.empty(0), low=0.0, high=10.0)
    low, high = np.array([-np.inf, 0, 2, 8, 0, 3]), np.array([2.0, 2, 8, 10, 10, np.inf])
    start, stop = cells_inside(low, high, form)
    np.testing.assert_array_equal(start, [-np.inf, -np.inf, 2, 8, -np.inf, 3])
    np.testing.assert_array_equal(stop, [2, 2, 8, np.inf, np.inf, np.inf])
    outside = cells_inside(np.array([11.0, -5]), np.array([12.0, -1]), form)
    assert (outside[0] > outside[1]).all()


@pytest.mark.parametrize("step", [0.0, 1.0])
def test_numbers_beside_an_atom_at_a_bound_are_from_the_bound_on(step):
    form = ColumnForm(np.array([0.0]), step=step, low=0.0)
    low = np.array([1e-6 if step else np.nextafter(0, 1), 2.0])
    start, stop = cells_inside(low, np.array([np.inf, np.inf]), form)
    assert start[0] == (step / 2 or low[0])
    assert start[1] == 2 - step / 2
    assert (stop == np.inf).all()
