"""What makes a row an outlier, next to what is typical."""

from __future__ import annotations

import math
import re
from textwrap import fill
from typing import Any, Self

import numpy as np
from sklearn.utils._optional_dependencies import check_matplotlib_support
from sklearn.utils.validation import check_is_fitted

from sklearn_einet.model.table_density import TableDensity
from sklearn_einet.model.typical import category_columns

__all__ = ["ExplanationDisplay"]

# Values further outside the interval than this, in its widths, are arrows at the edge.
REACH = 2.0

# Maximum lengths of lines of names, of strings, and of three numbers on one line, in characters.
NAME_WIDTH, TEXT_WIDTH, NUMBERS_WIDTH = 20, 30, 13

# What to leave out in dates and times where it does not tell them apart.
SPLIT_SECONDS, MIDNIGHT = re.compile(r"(?<=:\d\d)\.\d+"), re.compile(r"[T ]00:00:00$")

INTERVAL_COLOR, VALUE_COLOR = "lightsteelblue", "tab:red"


class ExplanationDisplay:
    """Explanation visualisation: the cells that make a row an outlier, and what is typical there.

    It shows the cells that `explain` names, in the same order from top to bottom. Each number has a
    scale of its own: the bar is the typical interval given the cells that are not named, from its
    10% to its 90% quantile, with a black line at the median and a red mark at the value in the row.
    Values more than two widths of the bar away from it, and those beside a bar without width, are
    red arrows at the edge. Categories, booleans and dates are shown as text.

    It is recommended to use :func:`~sklearn_einet.inspection.ExplanationDisplay.from_estimator` to
    create an `ExplanationDisplay`. All parameters are stored as attributes.

    Parameters
    ----------
    feature_names : list of str
        Names of the columns of the cells.
    cells : ndarray of object of shape (n_cells, 4)
        For each cell, its value in the row, and the median and the 10% and 90% quantile of what is
        typical there, in the units of the column: floats, which are drawn on a scale, or str.
    p_value, p_value_without : float
        p-values of the row, as it is and without these cells.
    row_name : str
        Name of the row.

    Attributes
    ----------
    ax_ : matplotlib.axes.Axes
        Axes with the cells.
    figure_ : matplotlib.figure.Figure
        Figure with the cells.

    See Also
    --------
    sklearn_einet.EinetDensity.explain : The explanations as a table.
    ConditionalDensityDisplay : What one cell should be, given the rest of its row.

    Examples
    --------
    >>> import matplotlib.pyplot as plt
    >>> from sklearn.datasets import load_iris
    >>> from sklearn_einet import EinetOutlierDetector
    >>> from sklearn_einet.inspection import ExplanationDisplay
    >>> iris = load_iris(as_frame=True).data
    >>> detector = EinetOutlierDetector(random_state=0).fit(iris)
    >>> odd = iris[:1].assign(**{"petal length (cm)": 5.0})
    >>> ExplanationDisplay.from_estimator(detector, odd)
    <...ExplanationDisplay object at ...>
    >>> plt.show()
    """

    def __init__(
        self,
        feature_names: list[str],
        *,
        cells: np.ndarray,
        p_value: float,
        p_value_without: float,
        row_name: str,
    ) -> None:
        self.feature_names = feature_names
        self.cells = cells
        self.p_value = p_value
        self.p_value_without = p_value_without
        self.row_name = row_name

    @classmethod
    def from_estimator(
        cls,
        estimator: Any,
        X: Any,
        *,
        max_cells: int | None = None,
        ax: Any = None,
        **kwargs: Any,
    ) -> Self:
        """Create a display from a fitted estimator and a row.

        Parameters
        ----------
        estimator : EinetDensity, EinetOutlierDetector or EinetMixture
            Fitted estimator.
        X : array-like of shape (1, n_features)
            A single row. Missing cells are NaN.
        max_cells : int or None, default=None
            Maximum number of cells to name. None: as many as needed.
        ax : matplotlib Axes, default=None
            Axes to plot on. None: a new figure is created.
        **kwargs
            Keyword arguments for `matplotlib.axes.Axes.plot`, which draws the marks of the values.

        Returns
        -------
        display : ExplanationDisplay
            The display, already plotted. If the row is not an outlier, it says so.
        """
        check_is_fitted(estimator)
        if len(np.shape(X)) != 2 or np.shape(X)[0] != 1:
            got = f"{type(X).__name__} of shape {np.shape(X)}"
            raise ValueError(f"X must be a single row, of shape (1, n_features), got {got}.")
        reasons = estimator.explain(X, max_cells=max_cells)
        p_values = reasons[["p_value", "p_value_without"]].to_numpy()
        both = p_values[0] if len(p_values) else estimator.p_values(X).repeat(2)
        names = list(getattr(estimator, "feature_names_in_", range(estimator.n_features_in_)))
        reported = ("column", "value", "typical", "low", "high")
        rows = list(zip(*(reasons[name].to_list() for name in reported), strict=True))
        cells = [_shown(own, names.index(name), estimator.table_density_) for name, *own in rows]
        display = cls(
            [str(name) for name, *_ in rows],
            cells=np.array(cells, dtype=object).reshape(-1, 4),
            p_value=float(both[0]),
            p_value_without=float(both[1]),
            row_name=str(X.index[0] if hasattr(X, "iloc") else 0),
        )
        return display.plot(ax=ax, **kwargs)

    def plot(self, *, ax: Any = None, **kwargs: Any) -> Self:
        """Plot the cells.

        Parameters
        ----------
        ax : matplotlib Axes, default=None
            Axes to plot on. None: a new figure is created.
        **kwargs
            Keyword arguments for `matplotlib.axes.Axes.plot`, which draws the marks of the values.

        Returns
        -------
        display : ExplanationDisplay
            This display.
        """
        check_matplotlib_support(f"{type(self).__name__}.plot")
        import matplotlib.pyplot as plt

        n_cells = len(self.feature_names)
        if ax is None:
            _, ax = plt.subplots(figsize=(6.4, 1.6 + 0.75 * n_cells), layout="constrained")
        both = (self.p_value, self.p_value_without)
        shown = [f"{p:.2g}" if p >= 1e-4 else "below 0.0001" for p in both]
        title = f"Row {self.row_name}: p-value {shown[0]}"
        if n_cells:
            which = "this cell" if n_cells == 1 else f"these {n_cells} cells"
            title += f"\nwithout {which}: {shown[1]}"
            self._plot_cells(ax, kwargs)
        else:
            ax.set_axis_off()
            ax.text(0.5, 0.5, "not an outlier", ha="center", va="center", transform=ax.transAxes)
        ax.set_title(title, fontsize="medium", parse_math=False)
        self.ax_, self.figure_ = ax, ax.figure
        return self

    def _plot_cells(self, ax: Any, kwargs: dict[str, Any]) -> None:
        for y, (value, typical, low, high) in enumerate(self.cells):
            x, gap = 0.5, 1
            if not isinstance(value, str):
                gap = 7
                *interval, median, exact = _positions([low, high, typical, value], low, high)
                x = float(np.clip(exact, -REACH, 1 + REACH))
                marker = "o" if x == exact else ("<" if x < 0 else ">")
                ax.plot(interval, [y, y], color=INTERVAL_COLOR, lw=7)
                ax.plot([median], [y], color="black", marker="|", ms=11, mew=1.5)
                style = {"marker": marker, "color": VALUE_COLOR, "linestyle": "none", "zorder": 4}
                ax.plot([x], [y], **(style | kwargs))
            side = "left" if x < -1 else ("right" if x > 2 else "center")
            near = {"textcoords": "offset points", "fontsize": "small", "parse_math": False}
            above = near | {"xytext": (0, gap), "ha": side, "va": "bottom", "color": VALUE_COLOR}
            below = near | {"xytext": (0, -gap), "ha": "center", "va": "top", "color": "dimgrey"}
            ax.annotate(f"is {_text(value)}", (x, y), **above)
            ax.annotate(_typical_text(typical, low, high), (0.5, y), **below)
        names = [fill(name, NAME_WIDTH) for name in self.feature_names]
        ax.set_yticks(range(len(names)), names, parse_math=False)
        ax.set(xlim=(-REACH - 0.3, REACH + 1.3), ylim=(len(names) - 0.3, -0.6), xticks=[])
        if not all(isinstance(value, str) for value in self.cells[:, 0]):
            ax.set_xticks([0, 1], ["10%", "90%"], fontsize="small")
            ax.set_xlabel("quantiles,\ngiven the other cells")


def _shown(entries: list[Any], column: int, density: TableDensity) -> list[Any]:
    """Return a cell's value, median and quantiles as floats, or strings if they have no scale."""
    encoding = density.encoding
    if column in encoding.times:
        whole = [str(entry) for entry in entries]
        brief = [SPLIT_SECONDS.sub("", text) for text in whole]
        texts = brief if len(set(brief)) == len(set(whole)) else whole
        return [MIDNIGHT.sub("", t) for t in texts] if all(map(MIDNIGHT.search, texts)) else texts
    is_category = category_columns(density.schema)[column]
    if not (is_category or column in encoding.categories or column in encoding.booleans):
        return [float(entry) for entry in entries]
    value, typical = (f"{e:.6g}" if isinstance(e, float) else str(e) for e in entries[:2])
    return [value, typical, typical, typical]


def _positions(numbers: list[float], low: float, high: float) -> np.ndarray:
    """Return positions on a scale from `low` at 0 to `high` at 1; if they are equal, at 0.5."""
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        result = (np.array(numbers) - low) / (np.float64(high) - low)
    return np.where(np.isnan(result), 0.5, result)


def _typical_text(typical: Any, low: Any, high: Any) -> str:
    """Return what is typical, with its interval, on one line or two."""
    # Two digits of the width of the interval.
    spread = 0.0 if isinstance(low, str) else high - low
    n_decimals = 1 - math.floor(math.log10(spread)) if 0 < spread < math.inf else None
    median, *ends = (_text(entry, n_decimals) for entry in (typical, low, high))
    if ends[0] == ends[1]:
        return f"typically {median}"
    gap = "\n" if len(median + ends[0] + ends[1]) > NUMBERS_WIDTH else " "
    return f"typically {median}{gap}({ends[0]} to {ends[1]})"


def _text(entry: Any, n_decimals: int | None = None) -> str:
    """Return a number rounded, and the beginning of a string."""
    if isinstance(entry, str):
        return entry if len(entry) <= TEXT_WIDTH else f"{entry[: TEXT_WIDTH - 3]}..."
    if n_decimals is None:
        return f"{entry:.6g}" if abs(entry) < 1e6 else f"{entry:.10g}"
    number = round(entry, n_decimals) + 0.0
    return f"{number:.{n_decimals}f}" if 0 <= n_decimals < 6 else f"{number:.10g}"
