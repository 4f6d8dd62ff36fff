"""The drawing of cells that make a row an outlier."""

import builtins

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import polars as pl
import pytest
from sklearn.datasets import load_iris
from sklearn.exceptions import NotFittedError

from sklearn_einet import EinetDensity, EinetMixture, EinetOutlierDetector
from sklearn_einet.inspection import ExplanationDisplay

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

IRIS = load_iris(as_frame=True).data
CATEGORY = "kind of $5 or $6"


def odd_flower(**cells):
    values = dict(zip(IRIS.columns, [7.9, 2.0, 1.2, 2.5], strict=True)) | cells
    return pd.DataFrame(values, index=["odd"])


def machines(n=500, seed=0):
    """Two kinds of machines that differ in all columns."""
    rng = np.random.RandomState(seed)
    large = rng.rand(n) < 0.5
    return pd.DataFrame(
        {
            "power": np.where(large, 50, 10) + 2 * rng.randn(n),
            "load": np.where(large, 3e6, 1e6) + 1e5 * rng.randn(n),
            CATEGORY: pd.Categorical(np.where(large, "large", "small")),
            "built": pd.to_datetime("2020-01-01") + pd.to_timedelta(rng.randint(0, 300, n), "D"),
            "is tall": large,
            "stops": rng.poisson(np.where(large, 20, 2)),
        }
    )


def odd_machine(column):
    """A large machine in which one column is wrong."""
    row = machines()[:1].assign(power=50.0, load=3e6, stops=20, built=pd.Timestamp("2020-05-06"))
    row["is tall"] = column != "is tall"
    kind = "small" if column == CATEGORY else "large"
    row[CATEGORY] = pd.Categorical([kind], categories=["large", "small"])
    wrong = {"load": 9e6, "stops": 90, "built": pd.Timestamp("1990-05-06")}
    return row.assign(**{column: wrong[column]}) if column in wrong else row


@pytest.fixture(scope="module")
def detector():
    return EinetOutlierDetector(random_state=0).fit(IRIS)


@pytest.fixture(scope="module")
def mixed():
    return EinetDensity(random_state=0).fit(machines())


@pytest.fixture(scope="module")
def polars_mixed():
    return EinetDensity(random_state=0).fit(pl.from_pandas(machines()))


@pytest.fixture(autouse=True)
def close_figures():
    yield
    plt.close("all")


def display_of(value, typical, low, high, *, name="a", **parameters):
    """A display of one cell."""
    cells = np.array([[value, typical, low, high]], dtype=object)
    p_values = {"p_value": 0.001, "p_value_without": 0.5} | parameters
    return ExplanationDisplay([name], cells=cells, row_name="7", **p_values)


def texts(display):
    return [text.get_text() for text in display.ax_.texts]


def names(display):
    return [label.get_text().replace("\n", " ") for label in display.ax_.get_yticklabels()]


def lines(display):
    """The bar, the median and the mark of each number, as (x, y, marker)."""
    found = display.ax_.get_lines()
    every = [(list(line.get_xdata()), line.get_ydata()[0], line.get_marker()) for line in found]
    return [every[i : i + 3] for i in range(0, len(every), 3)]


def test_numbers_are_drawn_where_they_are(detector):
    row = odd_flower()
    reasons = detector.explain(row)
    display = ExplanationDisplay.from_estimator(detector, row)
    assert len(reasons) >= 2
    assert names(display) == reasons["column"].to_list() == display.feature_names
    expected = reasons[["value", "typical", "low", "high"]].to_numpy()
    np.testing.assert_array_equal(display.cells.astype(float), expected)
    drawn = lines(display)
    assert len(drawn) == len(reasons)
    for place, (bar, median, mark) in enumerate(drawn):
        value, typical, low, high = expected[place]
        assert bar[:2] == ([0, 1], place)
        assert median[0][0] == pytest.approx((typical - low) / (high - low))
        exact = (value - low) / (high - low)
        assert mark[0][0] == pytest.approx(np.clip(exact, -2, 3))
        assert mark[2] == ("<" if exact < -2 else ">" if exact > 3 else "o")
        assert f"is {value:.6g}" == texts(display)[2 * place]
    assert display.ax_.yaxis_inverted()  # the first cell is on top
    assert [label.get_text() for label in display.ax_.get_xticklabels()] == ["10%", "90%"]
    assert list(display.ax_.get_xticks()) == [0, 1]


def test_p_values_are_those_of_explain(detector):
    row = odd_flower(**{"sepal length (cm)": 5.0, "petal width (cm)": np.nan})
    reasons = detector.explain(row)
    display = ExplanationDisplay.from_estimator(detector, row)
    assert display.p_value == reasons["p_value"][0]
    assert display.p_value_without == reasons["p_value_without"][0]
    assert display.row_name == "odd"
    assert display.figure_ is display.ax_.figure


@pytest.mark.parametrize(
    ("before", "after", "title"),
    [
        (0.01234, 0.5678, "Row 7: p-value 0.012\nwithout this cell: 0.57"),
        (1e-30, 9e-5, "Row 7: p-value below 0.0001\nwithout this cell: below 0.0001"),
    ],
)
def test_titles(before, after, title):
    display = display_of(1.0, 0.0, -1.0, 1.0, p_value=before, p_value_without=after).plot()
    assert display.ax_.get_title() == title


def test_titles_count_cells(detector):
    display = ExplanationDisplay.from_estimator(detector, odd_flower())
    assert f"without these {len(display.cells)} cells" in display.ax_.get_title()
    display = ExplanationDisplay.from_estimator(detector, odd_flower(), max_cells=1)
    assert len(display.cells) == 1
    assert "without this cell" in display.ax_.get_title()


@pytest.mark.parametrize(
    ("cell", "x", "marker"),
    [
        ((5.0, 5.0, 4.0, 8.0), 0.25, "o"),
        ((0.0, 5.0, 4.0, 8.0), -1.0, "o"),
        ((-1e300, 5.0, 4.0, 8.0), -2.0, "<"),
        ((99.0, 5.0, 4.0, 8.0), 3.0, ">"),
        ((4.0, 4.0, 4.0, 4.0), 0.5, "o"),
        ((5.0, 4.0, 4.0, 4.0), 3.0, ">"),
        ((3.0, 4.0, 4.0, 4.0), -2.0, "<"),
        ((1e308, -1e308, -1e308, 1e308), 0.5, "o"),  # the width is infinite in floats
    ],
)
def test_positions_of_marks(cell, x, marker):
    ((_, _, mark),) = lines(display_of(*cell).plot())
    assert mark == ([x], 0, marker)


@pytest.mark.parametrize(
    ("cell", "expected"),
    [
        ((5.0, 1.47, 0.5, 2.3), ["is 5", "typically 1.5 (0.5 to 2.3)"]),
        ((3.1, 3.3, 2.9, 3.72), ["is 3.1", "typically 3.30 (2.90 to 3.72)"]),
        ((60.0, 4.0, 4.0, 4.0), ["is 60", "typically 4"]),
        ((1234567.0, 84426.1, 76264.9, 92747.4), None),
        ((0.1, -0.001, -1.0, 1.0), ["is 0.1", "typically 0.0 (-1.0 to 1.0)"]),
        ((1e-8, 1.52e-9, 1e-9, 2e-9), ["is 1e-08", "typically 1.5e-09\n(1e-09 to 2e-09)"]),
        (("a", "b", "b", "b"), ["is a", "typically b"]),
        (("x" * 40, "b", "b", "b"), [f"is {'x' * 27}...", "typically b"]),
    ],
)
def test_texts(cell, expected):
    expected = expected or ["is 1234567", "typically 84000\n(76000 to 93000)"]
    assert texts(display_of(*cell).plot()) == expected


def test_long_names_have_several_lines_and_dollars_are_no_formulas():
    display = display_of(1.0, 0.0, -1.0, 1.0, name="income in Swiss francs per year").plot()
    label = display.ax_.get_yticklabels()[0]
    assert label.get_text() == "income in Swiss\nfrancs per year"
    display = display_of("$a$", "$b", "$b", "$b", name="$c$").plot()
    drawn = [*display.ax_.texts, *display.ax_.get_yticklabels(), display.ax_.title]
    assert not any(text.get_parse_math() for text in drawn)


@pytest.mark.parametrize(
    ("column", "cells", "shown"),
    [
        (CATEGORY, ["small", *["large"] * 3], ["is small", "typically large"]),
        ("is tall", ["False", *["True"] * 3], ["is False", "typically True"]),
        ("load", [9e6], ["is 9000000"]),
        ("stops", [90.0], ["is 90"]),
        ("built", ["1990-05-06"], ["is 1990-05-06"]),
    ],
)
@pytest.mark.parametrize("library", ["pandas", "polars"])
def test_each_kind_of_column(mixed, polars_mixed, library, column, cells, shown):
    row = odd_machine(column)
    model = mixed
    if library == "polars":
        model, row = polars_mixed, pl.from_pandas(row)
    display = ExplanationDisplay.from_estimator(model, row)
    assert display.feature_names == names(display) == [column]
    (found,) = display.cells.tolist()
    assert found[: len(cells)] == cells
    assert [type(entry) for entry in found] == [type(cells[0])] * 4
    assert texts(display)[: len(shown)] == shown
    # Only numbers are drawn.
    assert len(lines(display)) == isinstance(cells[0], float)
    reason = model.explain(row)
    if isinstance(cells[0], float):
        expected = [float(reason[name][0]) for name in ("typical", "low", "high")]
        np.testing.assert_array_equal(found[1:], expected)
    if column == "built":
        expected = [str(reason[name][0])[:10] for name in ("typical", "low", "high")]
        assert found[1:] == expected
        assert texts(display)[1] == "typically {}\n({} to {})".format(*expected)


def test_polars_shows_what_pandas_shows(mixed, polars_mixed):
    row = odd_machine("built").assign(load=9e6)
    from_pandas = ExplanationDisplay.from_estimator(mixed, row)
    from_polars = ExplanationDisplay.from_estimator(polars_mixed, pl.from_pandas(row))
    assert len(texts(from_pandas)) == 4
    assert texts(from_polars) == texts(from_pandas)
    assert from_polars.row_name == "0"


def test_text_alone_has_no_scale(mixed):
    display = ExplanationDisplay.from_estimator(mixed, odd_machine("built"))
    assert display.feature_names == ["built"]
    assert len(display.ax_.get_xticks()) == 0
    assert display.ax_.get_xlabel() == ""
    assert lines(display) == []


def test_times_keep_what_tells_them_apart():
    start = pd.Timestamp("2024-01-01 10:00:00.250")
    rng = np.random.RandomState(0)
    wide = start + pd.to_timedelta(rng.randint(0, 10**9, 300), "ms")
    narrow = start + pd.to_timedelta(rng.randint(0, 300, 300), "ms")
    table = pd.DataFrame({"x": rng.randn(300), "wide": wide, "narrow": narrow})
    model = EinetDensity(K=3, max_iter=5, random_state=0).fit(table)
    row = table[:1].assign(wide=start - pd.Timedelta("900D"), narrow=start - pd.Timedelta("1D"))
    display = ExplanationDisplay.from_estimator(model, row)
    cells = dict(zip(display.feature_names, display.cells.tolist(), strict=True))
    assert cells["wide"][0] == "2021-07-15 10:00:00"
    assert not any("." in text for text in cells["wide"])
    assert all("." in text for text in cells["narrow"])


def test_codes_of_categories_have_no_scale():
    X = np.random.RandomState(0).randn(300, 2)
    X[:, 1] = X[:, 0] > 0
    model = EinetDensity(leaf={"categorical": [1]}, random_state=0).fit(X)
    display = ExplanationDisplay.from_estimator(model, [[0.5, 9.0]])
    assert display.feature_names == ["1"]
    assert display.cells.tolist() == [["9", "1", "1", "1"]]
    assert lines(display) == []


@pytest.mark.parametrize("make", [np.asarray, lambda row: row.tolist()], ids=["array", "list"])
def test_arrays_and_gaps(make):
    model = EinetOutlierDetector(random_state=0).fit(IRIS.to_numpy())
    row = IRIS[:1].to_numpy().copy()
    row[0, 0], row[0, 2] = np.nan, 5.5
    display = ExplanationDisplay.from_estimator(model, make(row))
    assert display.feature_names == ["2"]  # the missing cell is no reason
    assert display.cells[0, 0] == 5.5
    assert display.row_name == "0"


@pytest.mark.parametrize("make", [pd.DataFrame, pl.from_pandas], ids=["pandas", "polars"])
def test_typical_rows_say_so(detector, make):
    row = make(IRIS[7:8])
    assert len(detector.explain(row)) == 0
    display = ExplanationDisplay.from_estimator(detector, row)
    (p_value,) = detector.p_values(row)
    assert display.p_value == display.p_value_without == p_value
    assert display.cells.shape == (0, 4)
    assert texts(display) == ["not an outlier"]
    assert display.ax_.get_title() == f"Row {display.row_name}: p-value {p_value:.2g}"


def test_rows_without_cells_are_typical(detector):
    row = pd.DataFrame(np.full((1, 4), np.nan), columns=IRIS.columns)
    display = ExplanationDisplay.from_estimator(detector, row)
    assert texts(display) == ["not an outlier"]


@pytest.mark.parametrize("estimator", [EinetDensity, EinetMixture])
def test_other_estimators(estimator):
    model = estimator(random_state=0).fit(IRIS)
    row = odd_flower()
    display = ExplanationDisplay.from_estimator(model, row)
    assert display.feature_names == model.explain(row)["column"].to_list()
    assert len(display.feature_names) > 0


def test_axes_and_styles(detector):
    _, ax = plt.subplots()
    display = ExplanationDisplay.from_estimator(
        detector, odd_flower(), ax=ax, marker="s", color="green"
    )
    assert display.ax_ is ax
    marks = ax.get_lines()[2::3]
    assert {(mark.get_marker(), mark.get_color()) for mark in marks} == {("s", "green")}
    assert display.plot().ax_ is not ax


@pytest.mark.parametrize("width", [6.4, 3.3])
def test_no_strings_overlap(width):
    cells = [
        ["1980-05-05", "2024-12-21", "2024-10-29", "2025-02-20"],
        [1234567.0, 84426.1, 76264.9, 92747.4],
        [-60.0, 3.3, 2.9, 3.72],
        ["small", "tall", "tall", "tall"],
        [1.0, 0.0, -1.0, 1.0],
    ]
    feature_names = ["since", "income in Swiss francs per year", "visits", "kind", "size"]
    display = ExplanationDisplay(
        feature_names,
        cells=np.array(cells, dtype=object),
        p_value=1e-9,
        p_value_without=0.15,
        row_name="0",
    )
    _, ax = plt.subplots(figsize=(width, 5.2), layout="constrained")
    figure = display.plot(ax=None if width == 6.4 else ax).figure_
    figure.draw_without_rendering()
    drawn = [*display.ax_.texts, *display.ax_.get_yticklabels(), display.ax_.title]
    boxes = [text.get_window_extent() for text in drawn]
    for i, box in enumerate(boxes):
        assert not box.count_overlaps(boxes[:i])
        assert figure.bbox.x0 <= box.x0
        assert box.x1 <= figure.bbox.x1


@pytest.mark.parametrize(
    "X", [IRIS[:2], IRIS[:0], IRIS.iloc[0], IRIS.iloc[0].to_numpy(), {"a": 1.0}, None, [5.0, 3.0]]
)
def test_anything_but_a_row_is_refused(detector, X):
    with pytest.raises(
        ValueError, match=r"X must be a single row, of shape \(1, n_features\), got"
    ):
        ExplanationDisplay.from_estimator(detector, X)


def test_other_errors(detector, monkeypatch):
    with pytest.raises(NotFittedError):
        ExplanationDisplay.from_estimator(EinetOutlierDetector(), IRIS[:1])
    with pytest.raises(ValueError, match="max_cells must be a positive integer"):
        ExplanationDisplay.from_estimator(detector, IRIS[:1], max_cells=0)
    with pytest.raises(ValueError, match="feature names"):
        ExplanationDisplay.from_estimator(detector, IRIS[:1].rename(columns=str.upper))
    real = builtins.__import__

    def without_matplotlib(name, *args, **kwargs):
        if name.startswith("matplotlib"):
            raise ImportError(name)
        return real(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", without_matplotlib)
    with pytest.raises(ImportError, match=r"ExplanationDisplay\.plot requires matplotlib"):
        ExplanationDisplay.from_estimator(detector, IRIS[:1])
