"""The tree of a learned structure."""

from __future__ import annotations

from collections.abc import Sequence
from numbers import Integral
from typing import Any, Self

import numpy as np
from sklearn.utils._optional_dependencies import check_matplotlib_support
from sklearn.utils._param_validation import Interval, validate_params
from sklearn.utils.validation import check_is_fitted

from sklearn_einet.inspection.models import density_of
from sklearn_einet.inspection.tree_layout import tree_layout
from sklearn_einet.structure.discretization import discretized
from sklearn_einet.structure.mutual_information import mutual_information
from sklearn_einet.structure.tree_regions import tree_of
from sklearn_einet.tables.randomness import new_random_state

__all__ = ["StructureDisplay"]

# Lengths in units of the font size: a row of the picture, the gap between a box and the edges next
# to it, the space for edges between two layers, and the padding of boxes.
ROW = 1.9
GAP = 0.3
REACH = 2.2
PADDING = 0.3

# Rows below the tree for the colour bar, and its length.
BAR_ROWS = 2.4
BAR_LENGTH = 14.0

BOX_COLOR, ROOT_COLOR = "#eef2f7", "#ffe9c7"


class StructureDisplay:
    """Structure visualisation: the learned tree of columns (Chow-Liu tree).

    The tree links the most strongly dependent columns.

    It is recommended to use :func:`~sklearn_einet.inspection.StructureDisplay.from_estimator` to
    create a `StructureDisplay`. All parameters are stored as attributes.

    Parameters
    ----------
    parents : array-like of int of shape (n_features,)
        Parent of each column in the tree; -1 for the root.
    names : sequence of str
        Names of the columns.
    strengths : array-like of shape (n_features,), default=None
        Mutual information of each column and its parent, in nats (1 nat is 1.44 bits): how much one
        column says on average about the other. That of the root is not used. None: all edges look
        the same.

    Attributes
    ----------
    ax_ : matplotlib.axes.Axes
        Axes with the tree.
    figure_ : matplotlib.figure.Figure
        Figure with the tree.

    Examples
    --------
    >>> import matplotlib.pyplot as plt
    >>> from sklearn.datasets import load_wine
    >>> from sklearn_einet import EinetDensity
    >>> from sklearn_einet.inspection import StructureDisplay
    >>> wine = load_wine(as_frame=True).data
    >>> model = EinetDensity(structure="chow-liu", tol=0.1, random_state=0).fit(wine)
    >>> StructureDisplay.from_estimator(model)
    <...StructureDisplay object at ...>
    >>> plt.show()
    """

    def __init__(self, parents: Any, *, names: Sequence[str], strengths: Any = None) -> None:
        self.parents = parents
        self.names = names
        self.strengths = strengths

    @classmethod
    @validate_params(
        {
            "replica": [Interval(Integral, 0, None, closed="left")],
            "n_draws": [Interval(Integral, 0, None, closed="left")],
        },
        prefer_skip_nested_validation=True,
    )
    def from_estimator(
        cls,
        estimator: Any,
        *,
        replica: int = 0,
        feature_names: Sequence[str] | None = None,
        n_draws: int = 2000,
        random_state: Any = 0,
        ax: Any = None,
        fontsize: float = 9.0,
        **kwargs: Any,
    ) -> Self:
        """Create a display from a fitted estimator.

        Parameters
        ----------
        estimator : EinetDensity
            Fitted estimator with ``structure="auto"`` or "chow-liu".
        replica : int, default=0
            Number of the tree, if the model has several.
        feature_names : sequence of str, default=None
            Names of the columns. None: those seen in fit, or numbers.
        n_draws : int, default=2000
            Number of draws from the model to estimate the mutual information of linked columns.
            Numbers are put into five bins for this, so it is at most 1.61 nats. 0: all edges look
            the same.
        random_state : int, RandomState instance or None, default=0
            Seed of these draws.
        ax : matplotlib Axes, default=None
            Axes to plot on. None: a new figure is created, as large as the tree needs.
        fontsize : float, default=9
            Font size in points; it is reduced if the axes are too small.
        **kwargs
            Keyword arguments for `matplotlib.collections.LineCollection`, which draws the edges.

        Returns
        -------
        display : StructureDisplay
            The display, already plotted.

        Raises
        ------
        ValueError
            If the model has no such tree, or if the number of names differs from that of columns.
        """
        check_is_fitted(estimator)
        if not hasattr(estimator, "region_graph_"):
            raise ValueError(
                f"There is no tree of columns in a {type(estimator).__name__}: pass the fitted "
                "EinetDensity itself, for example the last step of a pipeline."
            )
        if estimator.structure not in ("auto", "chow-liu"):
            raise ValueError(
                f"There is no tree of columns to plot, since structure is {estimator.structure!r}: "
                "fit an EinetDensity with structure='chow-liu'."
            )
        if hasattr(estimator, "estimators_"):
            raise ValueError(
                "Each component of a mixture has its own tree: pass one of estimators_."
            )
        try:
            trees = tree_of(estimator.region_graph_)
        except ValueError as error:
            raise ValueError(
                "The model's structure is not a tree of its columns: it was fitted with another "
                "structure, or is the marginal of a model. Pass the model that has the tree."
            ) from error
        if replica >= len(trees):
            raise ValueError(f"replica must be below {len(trees)}, got {replica}.")
        parents = np.asarray(trees[replica])
        known = getattr(estimator, "feature_names_in_", range(len(parents)))
        names = [str(name) for name in (known if feature_names is None else feature_names)]
        if len(names) != len(parents):
            raise ValueError(
                f"feature_names has {len(names)} names, but the model has {len(parents)} columns."
            )
        strengths = _strengths(estimator, parents, n_draws, random_state) if n_draws else None
        display = cls(parents, names=names, strengths=strengths)
        return display.plot(ax=ax, fontsize=fontsize, **kwargs)

    def plot(self, *, ax: Any = None, fontsize: float = 9.0, **kwargs: Any) -> Self:
        """Plot the tree from left to right, starting with the root.

        Parameters
        ----------
        ax : matplotlib Axes, default=None
            Axes to plot on. None: a new figure is created, as large as the tree needs.
        fontsize : float, default=9
            Font size in points; it is reduced if the axes are too small.
        **kwargs
            Keyword arguments for `matplotlib.collections.LineCollection`, which draws the edges.

        Returns
        -------
        display : StructureDisplay
            This display.
        """
        check_matplotlib_support(f"{type(self).__name__}.plot")
        import matplotlib.pyplot as plt
        from matplotlib.font_manager import FontProperties
        from matplotlib.textpath import TextToPath

        parents = np.asarray(self.parents)
        depth, row = tree_layout(parents)
        has_bar = self.strengths is not None and len(parents) > 1
        # All lengths are multiples of the font size until the picture's size is known.
        measure, font = TextToPath().get_text_width_height_descent, FontProperties(size=100)
        # In small text, letters are moved to whole pixels, which makes it up to 7% longer.
        width = np.array([1.07 * measure(str(n), font, False)[0] / 100 for n in self.names])
        layer_width = np.zeros(depth.max() + 1)
        np.maximum.at(layer_width, depth, width + 2 * PADDING)
        start = np.cumsum(np.append(0.5, layer_width[:-1] + 2 * GAP + REACH))
        size = np.array([start[-1] + layer_width[-1] + 0.5, ROW * (row.max() + 1)])
        if has_bar:
            size = np.maximum(size + [0, ROW * BAR_ROWS], [BAR_LENGTH + 2, 0])
        if ax is None:
            figure = plt.figure(figsize=tuple(np.maximum(size * fontsize / 72, 0.5)))
            ax = figure.add_axes((0, 0, 1, 1))
        room = np.array(ax.get_window_extent().size) * 72 / ax.figure.dpi
        fontsize = float(min(fontsize, *(room / size)))
        ax.set(xlim=(0, size[0]), ylim=(size[1], 0))
        ax.set_axis_off()
        x, y = start[depth], ROW * (row + 0.5)
        for i, name in enumerate(self.names):
            color = ROOT_COLOR if parents[i] < 0 else BOX_COLOR
            style = {"boxstyle": f"round,pad={PADDING}", "fc": color, "ec": "0.6", "lw": 0.6}
            text = ax.text(x[i] + PADDING, y[i], name, size=fontsize, va="center_baseline")
            text.set(bbox=style, parse_math=False)
        edges = self._plot_edges(ax, x, y, fontsize, kwargs)
        if has_bar and edges.get_array() is not None:
            place = (1 / size[0], 1.6 / size[1], BAR_LENGTH / size[0], 0.5 / size[1])
            bar = ax.figure.colorbar(edges, cax=ax.inset_axes(place), orientation="horizontal")
            bar.ax.tick_params(labelsize=0.8 * fontsize, length=2, pad=1, width=0.5)
            bar.ax.set_title("mutual information (nats)", size=0.9 * fontsize, loc="left", pad=2)
            bar.outline.set_linewidth(0.5)
        self.ax_, self.figure_ = ax, ax.figure
        return self

    def _plot_edges(
        self, ax: Any, x: np.ndarray, y: np.ndarray, fontsize: float, kwargs: dict[str, Any]
    ) -> Any:
        import matplotlib as mpl
        from matplotlib.collections import LineCollection
        from matplotlib.colors import ListedColormap

        parents = np.asarray(self.parents)
        end = np.flatnonzero(parents >= 0)
        style: dict[str, Any] = {"color": "0.6", "linewidths": fontsize / 7}
        if self.strengths is not None and len(end) and not {"color", "colors"} & set(kwargs):
            strengths = np.asarray(self.strengths, dtype=np.float64)
            # Weak edges first: where edges leave a box together, the strongest one is on top.
            end = end[np.argsort(strengths[end])]
            top = strengths[end].max() or 1.0
            widths = fontsize * (0.1 + strengths[end] / top / 3)
            # Without the bright end of the colour map, which is hard to see on white.
            cmap = ListedColormap(mpl.colormaps["viridis_r"](np.linspace(0.15, 1, 256)))
            style = {"array": strengths[end], "cmap": cmap, "clim": (0, top), "linewidths": widths}
        # Straight on beneath the boxes of the layer, and then to the child in the space between
        # layers, where there are no boxes.
        start = parents[end]
        t = np.linspace(0, 1, 30)
        bend = (x[end] - GAP - REACH)[:, None] + REACH * t
        rise = y[start][:, None] + (y[end] - y[start])[:, None] * t**2 * (3 - 2 * t)
        curves_x = np.column_stack([x[start] + PADDING, bend, x[end] + PADDING])
        curves_y = np.column_stack([y[start], rise, y[end]])
        curves = list(np.stack([curves_x, curves_y], axis=-1))
        edges = LineCollection(curves, **({"zorder": 1} | style | kwargs))
        ax.add_collection(edges, autolim=False)
        return edges


def _strengths(estimator: Any, parents: np.ndarray, n_draws: int, random_state: Any) -> np.ndarray:
    """Return the mutual information of columns and their parents in the model, 0 for the root."""
    density = density_of(estimator)
    draws = density.draws(n_draws, new_random_state(random_state))
    codes, n_codes = discretized(draws, density.schema.compared_states())
    strengths = np.zeros(len(parents))
    for child in np.flatnonzero(parents >= 0):
        pair = [child, parents[child]]
        information, _ = mutual_information(codes[:, pair], n_codes[pair])
        strengths[child] = max(0.0, information[0, 1])
    return strengths
