"""Histograms of log-densities, to see whether a model distinguishes sets of rows."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Self

import numpy as np
from sklearn.utils._optional_dependencies import check_matplotlib_support
from sklearn.utils.validation import check_is_fitted

__all__ = ["LogDensityDisplay"]


class LogDensityDisplay:
    """Log-density visualisation: histograms for several sets of rows.

    The histograms show whether a model distinguishes the sets, as in Fig. 6 of [1]_.

    It is recommended to use :func:`~sklearn_einet.inspection.LogDensityDisplay.from_estimator` to
    create a `LogDensityDisplay`. All parameters are stored as attributes.

    Parameters
    ----------
    log_densities : dict of str to ndarray of shape (n_rows,)
        Log-densities of the rows in nats, by the name of their set.
    threshold : float, default=None
        Log-density below which complete rows are outliers.

    Attributes
    ----------
    ax_ : matplotlib.axes.Axes
        Axes with the histograms.
    figure_ : matplotlib.figure.Figure
        Figure with the histograms.

    See Also
    --------
    sklearn_einet.EinetDensity.score_samples : The log-densities.

    References
    ----------
    .. [1] R. Peharz et al., "Einsum Networks: Fast and Scalable Learning of Tractable Probabilistic
       Circuits", ICML 2020.

    Examples
    --------
    >>> import matplotlib.pyplot as plt
    >>> import numpy as np
    >>> from sklearn.datasets import load_digits
    >>> from sklearn_einet import EinetDensity
    >>> from sklearn_einet.inspection import LogDensityDisplay
    >>> X = load_digits().data
    >>> model = EinetDensity(K=4, min_variance=0.1, tol=0.1, random_state=0).fit(X[:1200])
    >>> noise = np.random.RandomState(0).permutation(X.ravel()).reshape(X.shape)
    >>> LogDensityDisplay.from_estimator(model, {"digits": X[1200:], "noise": noise})
    <...LogDensityDisplay object at ...>
    >>> plt.show()
    """

    def __init__(
        self, log_densities: Mapping[str, np.ndarray], *, threshold: float | None = None
    ) -> None:
        self.log_densities = log_densities
        self.threshold = threshold

    @classmethod
    def from_estimator(
        cls,
        estimator: Any,
        X: Mapping[str, Any],
        *,
        bins: Any = 100,
        ax: Any = None,
        **kwargs: Any,
    ) -> Self:
        """Create a display from a fitted estimator and sets of rows.

        Parameters
        ----------
        estimator : EinetDensity or EinetMixture
            Fitted estimator.
        X : dict of str to array-like of shape (n_rows, n_features)
            Maps the name of each set to its rows.
        bins : int or sequence of float, default=100
            Number or edges of the bins, as in `numpy.histogram_bin_edges`; the same for all sets.
        ax : matplotlib Axes, default=None
            Axes to plot on. None: a new figure is created.
        **kwargs
            Keyword arguments for `matplotlib.axes.Axes.hist`.

        Returns
        -------
        display : LogDensityDisplay
            The display, already plotted.
        """
        check_is_fitted(estimator)
        if not isinstance(X, Mapping):
            raise TypeError(f"X must be a dict from names to tables, got {type(X).__name__}.")
        if not X:
            raise ValueError("X must have at least one table, got an empty dict.")
        scores = {name: estimator.score_samples(rows) for name, rows in X.items()}
        display = cls(scores, threshold=estimator.offset_)
        return display.plot(bins=bins, ax=ax, **kwargs)

    def plot(self, *, bins: Any = 100, ax: Any = None, **kwargs: Any) -> Self:
        """Plot the histograms.

        The legend counts the rows of density 0, which are not in the histograms.

        Parameters
        ----------
        bins : int or sequence of float, default=100
            Number or edges of the bins, as in `numpy.histogram_bin_edges`; the same for all sets.
        ax : matplotlib Axes, default=None
            Axes to plot on. None: a new figure is created.
        **kwargs
            Keyword arguments for `matplotlib.axes.Axes.hist`.

        Returns
        -------
        display : LogDensityDisplay
            This display.
        """
        check_matplotlib_support(f"{type(self).__name__}.plot")
        import matplotlib.pyplot as plt

        if ax is None:
            _, ax = plt.subplots(figsize=(6.4, 3.6), layout="constrained")
        finite = {name: s[np.isfinite(s)] for name, s in self.log_densities.items()}
        together = np.concatenate(list(finite.values()))
        edges = np.histogram_bin_edges(together, bins) if len(together) else [0, 1]
        for name, scores in self.log_densities.items():
            n_impossible = int(np.isneginf(scores).sum())
            label = f"{name} ({n_impossible} of {len(scores)} impossible)" if n_impossible else name
            share = np.full(len(finite[name]), 1 / max(1, len(scores)))
            style = {"alpha": 0.6, "label": label, "weights": share}
            ax.hist(finite[name], edges, **(style | kwargs))
        if self.threshold is not None:
            ax.axvline(self.threshold, color="black", ls="--", lw=1, label="outlier threshold")
        ax.set_xlabel("log-density (nats)")
        ax.set_ylabel("share of the rows")
        ax.legend(fontsize="small")
        self.ax_, self.figure_ = ax, ax.figure
        return self
