"""The cells that make rows atypical."""

from __future__ import annotations

from numbers import Integral, Real
from typing import Any, Self

import numpy as np
from sklearn import config_context
from sklearn.utils._optional_dependencies import check_matplotlib_support
from sklearn.utils._param_validation import Interval, StrOptions, validate_params

from sklearn_einet.tables.frames import cells, native_columns

__all__ = ["FeatureScoresDisplay"]

# Number of draws from the model that determine the typical score of each column.
REFERENCE_DRAWS = 2000

# Cells of a heat map have the same colour from this number of nats on, where their density is less
# than 5e-5 times the typical one.
HIGHEST_COLOR = 10.0

# Maximum number of row names beside a heat map; with more rows, only some have names.
MAX_ROW_NAMES = 40

BAR_COLOR = "tab:blue"

EXCESS_LABEL = "nats above typical cells"


class FeatureScoresDisplay:
    """Feature scores visualisation: how unexpected each cell of one or more rows is.

    It is recommended to use :func:`~sklearn_einet.inspection.FeatureScoresDisplay.from_estimator`
    to create a `FeatureScoresDisplay`. All parameters are stored as attributes.

    Parameters
    ----------
    excess : ndarray of shape (n_samples, n_features)
        Scores of the cells minus the typical score of their columns, in nats: a cell of 5 nats is
        about 150 times (e to the power of 5) less likely than a typical one. NaN for missing cells,
        inf for impossible ones.
    values : ndarray of object of shape (n_samples, n_features)
        The cells; None where missing.
    feature_names : list of str
        Names of the columns.
    row_names : list of str
        Names of the rows.

    Attributes
    ----------
    ax_ : matplotlib.axes.Axes
        Axes with the bars or the heat map.
    figure_ : matplotlib.figure.Figure
        Figure with the bars or the heat map.

    See Also
    --------
    sklearn_einet.EinetDensity.feature_scores : The scores as a table.
    ConditionalDensityDisplay : What a cell should be, given the rest of its row.

    Examples
    --------
    >>> import matplotlib.pyplot as plt
    >>> from sklearn.datasets import load_iris
    >>> from sklearn_einet import EinetDensity
    >>> from sklearn_einet.inspection import FeatureScoresDisplay
    >>> iris = load_iris(as_frame=True).data
    >>> model = EinetDensity(max_iter=200, random_state=0).fit(iris)
    >>> FeatureScoresDisplay.from_estimator(model, iris.iloc[[41]])
    <...FeatureScoresDisplay object at ...>
    >>> plt.show()
    """

    def __init__(
        self,
        excess: np.ndarray,
        *,
        values: np.ndarray,
        feature_names: list[str],
        row_names: list[str],
    ) -> None:
        self.excess = excess
        self.values = values
        self.feature_names = feature_names
        self.row_names = row_names

    @classmethod
    @validate_params(
        {
            "kind": [StrOptions({"auto", "bars", "heatmap"})],
            "max_features": [Interval(Integral, 1, None, closed="left"), None],
        },
        prefer_skip_nested_validation=True,
    )
    def from_estimator(
        cls,
        estimator: Any,
        X: Any,
        *,
        method: str = "conditional",
        reference: Any = None,
        kind: str = "auto",
        max_features: int | None = 20,
        ax: Any = None,
        **kwargs: Any,
    ) -> Self:
        """Create a display from a fitted estimator and one or more rows.

        Scores of continuous columns depend on the columns' units. Therefore the plot shows how far
        the score of a cell lies above the mean score of its column in typical rows.

        Parameters
        ----------
        estimator : EinetDensity
            Fitted estimator.
        X : array-like of shape (n_samples, n_features)
            Rows to score. Missing cells are NaN.
        method : {"conditional", "marginal"}, default="conditional"
            Whether to score each cell given the rest of its row, or by itself. See
            `EinetDensity.feature_scores`.
        reference : array-like of shape (n_reference, n_features), default=None
            Typical rows to compare with. None: 2,000 draws from the model itself.
        kind : {"auto", "bars", "heatmap"}, default="auto"
            Whether to plot bars, for a single row, or a heat map of all cells. "auto" chooses by
            the number of rows. The colours of the heat map end at 10 nats, unless `vmax` is given.
        max_features : int or None, default=20
            Maximum number of columns to plot: those with the highest bars or cells.
        ax : matplotlib Axes, default=None
            Axes to plot on. None: a new figure is created.
        **kwargs
            Keyword arguments for `matplotlib.axes.Axes.barh` or `matplotlib.axes.Axes.imshow`.

        Returns
        -------
        display : FeatureScoresDisplay
            The display, already plotted.
        """
        scores = np.asarray(estimator.feature_scores(X, method=method))
        if reference is None:
            with config_context(transform_output="default"):
                reference = estimator.sample(REFERENCE_DRAWS, random_state=0)
        usual = np.asarray(estimator.feature_scores(reference, method=method))
        seen = np.isfinite(usual)
        usual = np.where(seen, usual, 0.0).sum(axis=0) / np.maximum(seen.sum(axis=0), 1)
        names = getattr(estimator, "feature_names_in_", range(scores.shape[1]))
        display = cls(
            scores - usual,
            values=np.array([cells(column) for column in native_columns(X)], dtype=object).T,
            feature_names=[str(name) for name in names],
            row_names=[str(row) for row in (X.index if hasattr(X, "iloc") else range(len(scores)))],
        )
        return display.plot(kind=kind, max_features=max_features, ax=ax, **kwargs)

    def plot(
        self,
        *,
        kind: str = "auto",
        max_features: int | None = 20,
        ax: Any = None,
        **kwargs: Any,
    ) -> Self:
        """Plot the scores.

        Parameters
        ----------
        kind : {"auto", "bars", "heatmap"}, default="auto"
            Whether to plot bars, for a single row, or a heat map of all cells.
        max_features : int or None, default=20
            Maximum number of columns to plot: those with the highest bars or cells.
        ax : matplotlib Axes, default=None
            Axes to plot on. None: a new figure is created.
        **kwargs
            Keyword arguments for `matplotlib.axes.Axes.barh` or `matplotlib.axes.Axes.imshow`.

        Returns
        -------
        display : FeatureScoresDisplay
            This display.
        """
        check_matplotlib_support(f"{type(self).__name__}.plot")
        import matplotlib.pyplot as plt

        if kind == "auto":
            kind = "bars" if len(self.excess) == 1 else "heatmap"
        if kind == "bars" and len(self.excess) != 1:
            raise ValueError(f"kind='bars' needs a single row, got {len(self.excess)} rows.")
        if ax is None:
            _, ax = plt.subplots(layout="constrained")
        highest = np.where(np.isnan(self.excess), -np.inf, self.excess).max(axis=0)
        order = np.argsort(-highest, kind="stable")[:max_features]
        draw = self._plot_bars if kind == "bars" else self._plot_heatmap
        draw(ax, order, kwargs)
        self.ax_, self.figure_ = ax, ax.figure
        return self

    def _plot_bars(self, ax: Any, order: np.ndarray, kwargs: dict[str, Any]) -> None:
        excess = self.excess[0, order]
        finite = np.where(np.isfinite(excess), excess, 0.0)
        top = max(1.0, finite.max())
        labels = []
        for column in order:
            labels.append(f"{self.feature_names[column]} {_shown(self.values[0, column])}")
        length = np.where(np.isposinf(excess), 1.2 * top, finite)
        ax.barh(labels, length, **({"color": BAR_COLOR} | kwargs))
        for position in np.flatnonzero(np.isposinf(excess)):
            ax.annotate(
                "impossible", (1.18 * top, position), ha="right", va="center", color="white"
            )
        ax.invert_yaxis()
        ax.axvline(0, color="black", linewidth=0.8)
        ax.set(title=f"Row {self.row_names[0]}", xlabel=EXCESS_LABEL)

    def _plot_heatmap(self, ax: Any, order: np.ndarray, kwargs: dict[str, Any]) -> None:
        import matplotlib as mpl

        order = np.sort(order)
        excess = self.excess[:, order]
        top = np.clip(np.nanmax(excess, initial=0.0), 1.0, HIGHEST_COLOR)
        limits = {} if "norm" in kwargs else {"vmin": 0.0, "vmax": top}
        style = {"cmap": "viridis", "aspect": "auto"} | limits | kwargs
        style["cmap"] = mpl.colormaps.get_cmap(style["cmap"]).with_extremes(bad="lightgrey")
        image = ax.imshow(np.where(np.isposinf(excess), 1e6 * top, excess), **style)
        ax.set_xticks(range(len(order)), [self.feature_names[c] for c in order], rotation=90)
        named = np.unique(np.linspace(0, len(excess) - 1, MAX_ROW_NAMES).astype(int))
        ax.set_yticks(named, [self.row_names[row] for row in named])
        ax.set_ylabel("row")
        extend = "max" if (excess > image.norm.vmax).any() else "neither"
        bar = ax.figure.colorbar(image, ax=ax, extend=extend)
        bar.set_label(EXCESS_LABEL)


def _shown(cell: Any) -> str:
    """Return the text that is shown for a cell."""
    if cell is None or cell != cell:
        return "missing"
    is_number = isinstance(cell, Real) and not isinstance(cell, bool)
    return f"= {cell:.6g}" if is_number else f"= {cell}"
