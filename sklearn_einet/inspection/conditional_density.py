"""The density of one column, given the rest of a row."""

from __future__ import annotations

from numbers import Integral
from typing import Any, Self

import numpy as np
from sklearn.utils._optional_dependencies import check_matplotlib_support
from sklearn.utils._param_validation import Interval, validate_params
from sklearn.utils.validation import check_is_fitted

from sklearn_einet.families import Categorical, ExponentialFamily
from sklearn_einet.inspection.models import density_of
from sklearn_einet.model.table_density import TableDensity

__all__ = ["ConditionalDensityDisplay"]

# Number of draws from the model that determine the range of a column.
RANGE_DRAWS = 2000


class ConditionalDensityDisplay:
    """Conditional density visualisation: what one cell of a row should be.

    It shows the density of a column given the other observed cells of a row, next to its density
    in all rows.

    It is recommended to use
    :func:`~sklearn_einet.inspection.ConditionalDensityDisplay.from_estimator` to create a
    `ConditionalDensityDisplay`. All parameters are stored as attributes.

    Parameters
    ----------
    grid : ndarray of shape (n_grid,)
        Values of the column.
    conditional : ndarray of shape (n_grid,)
        Densities of these values given the other observed cells of the row; probabilities for a
        discrete column.
    marginal : ndarray of shape (n_grid,)
        The same given nothing, that is, in all rows.
    feature_name : str
        Name of the column.
    value : float
        Value of the cell; NaN if it is missing.
    is_discrete : bool
        Whether the column is discrete.
    category_names : list of str, default=None
        Names of the categories of a categorical column, for which `grid` holds the codes 0, 1,
        2, ...

    Attributes
    ----------
    ax_ : matplotlib.axes.Axes
        Axes with the densities.
    figure_ : matplotlib.figure.Figure
        Figure with the densities.

    See Also
    --------
    FeatureScoresDisplay : How unexpected each cell of a row is.

    Examples
    --------
    >>> import matplotlib.pyplot as plt
    >>> from sklearn.datasets import load_iris
    >>> from sklearn_einet import EinetDensity
    >>> from sklearn_einet.inspection import ConditionalDensityDisplay
    >>> iris = load_iris(as_frame=True).data
    >>> model = EinetDensity(max_iter=200, random_state=0).fit(iris)
    >>> ConditionalDensityDisplay.from_estimator(model, iris.iloc[[0]], "petal length (cm)")
    <...ConditionalDensityDisplay object at ...>
    >>> plt.show()
    """

    def __init__(
        self,
        grid: np.ndarray,
        *,
        conditional: np.ndarray,
        marginal: np.ndarray,
        feature_name: str,
        value: float,
        is_discrete: bool,
        category_names: list[str] | None = None,
    ) -> None:
        self.grid = grid
        self.conditional = conditional
        self.marginal = marginal
        self.feature_name = feature_name
        self.value = value
        self.is_discrete = is_discrete
        self.category_names = category_names

    @classmethod
    @validate_params(
        {"grid_resolution": [Interval(Integral, 2, None, closed="left")]},
        prefer_skip_nested_validation=True,
    )
    def from_estimator(
        cls,
        estimator: Any,
        X: Any,
        feature: str | int,
        *,
        grid_resolution: int = 400,
        ax: Any = None,
        **kwargs: Any,
    ) -> Self:
        """Create a display from a fitted estimator and a row.

        Parameters
        ----------
        estimator : EinetDensity
            Fitted estimator.
        X : array-like of shape (1, n_features)
            A single row. Missing cells are NaN. The cell of `feature` is only marked in the plot.
        feature : str or int
            Name or index of the column.
        grid_resolution : int, default=400
            Number of values at which to compute the density of a continuous column; for a discrete
            column, the maximum number.
        ax : matplotlib Axes, default=None
            Axes to plot on. None: a new figure is created.
        **kwargs
            Keyword arguments for `matplotlib.axes.Axes.plot` or `matplotlib.axes.Axes.bar`, which
            draw the conditional density.

        Returns
        -------
        display : ConditionalDensityDisplay
            The display, already plotted.
        """
        check_is_fitted(estimator)
        density, row = density_of(estimator), estimator.as_numbers(X).astype(np.float64)
        if len(row) != 1:
            raise ValueError(f"X must be a single row, got {len(row)} rows.")
        columns = density.schema.positions(feature, "feature")
        if len(columns) != 1:
            raise ValueError(f"feature must be a single column, got {feature!r}.")
        column = int(columns[0])
        family = next(g.family for g in density.circuit.leaf_groups if column in g.columns)
        evidence = row.copy()
        evidence[0, column] = np.nan
        evidence = density.evidence(evidence)
        grid = _grid(density, evidence, column, family, grid_resolution)
        given_row = _density(density, evidence, column, grid)
        given_nothing = _density(density, np.full_like(row, np.nan), column, grid)
        form = density.schema.states.forms.get(column)
        is_discrete = family.is_discrete
        if form is not None and (form.is_complete or form.step):
            # Densities per unit are probabilities of values.
            is_discrete = True
            given_row, given_nothing = given_row * form.unit, given_nothing * form.unit
        if not is_discrete:
            possible = given_nothing > 0
            grid, given_row = grid[possible], given_row[possible]
            given_nothing = given_nothing[possible]
        categories = density.encoding.categories.get(column)
        value = float(row[0, column])
        display = cls(
            grid,
            conditional=given_row,
            marginal=given_nothing,
            feature_name=str(density.schema.names[column]),
            value=np.nan if categories is not None and value == len(categories) else value,
            is_discrete=is_discrete,
            category_names=None if categories is None else [str(c) for c in categories],
        )
        return display.plot(ax=ax, **kwargs)

    def plot(self, *, ax: Any = None, **kwargs: Any) -> Self:
        """Plot the densities.

        Parameters
        ----------
        ax : matplotlib Axes, default=None
            Axes to plot on. None: a new figure is created.
        **kwargs
            Keyword arguments for `matplotlib.axes.Axes.plot` or `matplotlib.axes.Axes.bar`, which
            draw the conditional density.

        Returns
        -------
        display : ConditionalDensityDisplay
            This display.
        """
        check_matplotlib_support(f"{type(self).__name__}.plot")
        import matplotlib.pyplot as plt

        if ax is None:
            _, ax = plt.subplots(layout="constrained")
        style = {"label": "given the rest of the row"} | kwargs
        if self.is_discrete and (np.diff(self.grid) == 1).all():
            ax.bar(self.grid, self.conditional, **({"width": 0.8} | style))
            edges = np.append(self.grid, self.grid[-1] + 1) - 0.5
            ax.stairs(self.marginal, edges, color="grey", ls="--", label="in all rows")
            ax.set_ylabel("probability")
        else:
            ax.plot(self.grid, self.conditional, **style)
            ax.plot(self.grid, self.marginal, color="grey", linestyle="--", label="in all rows")
            ax.set_ylabel("probability" if self.is_discrete else "density")
        if self.category_names is not None:
            ax.set_xticks(self.grid, self.category_names, rotation=90 * (len(self.grid) > 4))
        if not np.isnan(self.value):
            # A value far outside would leave too little room for the curves.
            shown = np.clip(self.value, self.grid[0], self.grid[-1])
            label = "value in the row"
            if shown != self.value:
                label += f", at {self.value:.6g}"
            ax.axvline(shown, color="tab:red", linewidth=1, label=label)
        ax.set_xlabel(self.feature_name)
        # Room for the legend above the curves.
        ax.set_ylim(0, 1.4 * max(self.conditional.max(), self.marginal.max()))
        ax.legend(loc="upper center", fontsize="small")
        self.ax_, self.figure_ = ax, ax.figure
        return self


def _grid(
    density: TableDensity,
    evidence: np.ndarray,
    column: int,
    family: ExponentialFamily,
    grid_resolution: int,
) -> np.ndarray:
    """Return values of a column that are typical given the evidence, or given nothing."""
    form = density.schema.states.forms.get(column)
    if form is not None and form.is_complete:
        return form.atoms
    if isinstance(family, Categorical):
        return np.arange(family.n_statistics, dtype=np.float64)
    usual = np.quantile(
        density.draws(RANGE_DRAWS, np.random.RandomState(0))[:, column], [0.002, 0.998]
    )
    mean, variance = density.conditional_moments(evidence, warn=False)
    around = mean[0, column] + 3 * np.sqrt(variance[0, column]) * np.array([-1, 1])
    low, high = min(usual[0], around[0]), max(usual[1], around[1])
    if form is not None:
        low, high = max(low, form.low), min(high, form.high)
        if form.step:
            n_steps = max(1, int((high - low) / form.step))
            values = form.origin + np.round((low - form.origin) / form.step) * form.step
            return np.asarray(
                values + form.step * np.arange(0, n_steps + 1, -(-n_steps // grid_resolution))
            )
    if not family.is_discrete:
        return np.linspace(low, high, grid_resolution)
    low, high = max(0.0, np.floor(low)), np.ceil(high)
    return np.unique(np.linspace(low, high, int(min(high - low + 1, grid_resolution))).round())


def _density(
    density: TableDensity, evidence: np.ndarray, column: int, grid: np.ndarray
) -> np.ndarray:
    """Return the density of a column at every value of a grid, given the cells of a row."""
    rows = np.repeat(evidence, len(grid), axis=0)
    rows[:, column] = grid
    return np.exp(density.log_density_given(rows, evidence))
