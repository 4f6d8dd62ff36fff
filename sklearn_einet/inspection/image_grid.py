"""Images side by side: draws from a model, and completions of covered images."""

from __future__ import annotations

from collections.abc import Sequence
from numbers import Integral
from typing import Any, Self

import numpy as np
from sklearn.utils._optional_dependencies import check_matplotlib_support
from sklearn.utils._param_validation import Interval, validate_params
from sklearn.utils.validation import check_is_fitted

from sklearn_einet.inspection.models import density_of
from sklearn_einet.structure.poon_domingos import checked_shape
from sklearn_einet.tables.randomness import new_random_state

__all__ = ["ImageGridDisplay"]

# The colour of missing pixels.
COVER = (0.25, 0.35, 0.65)

# Pixels between two images.
MARGIN = 1


class ImageGridDisplay:
    """Image grid visualisation: new images, or completions of covered images.

    It is recommended to use :func:`~sklearn_einet.inspection.ImageGridDisplay.from_estimator` to
    create an `ImageGridDisplay`. All parameters are stored as attributes.

    Parameters
    ----------
    images : ndarray of shape (n_rows, n_columns, height, width) or \
            (n_rows, n_columns, height, width, 3)
        Grey or RGB images. Missing pixels are NaN; they are shown in blue.
    value_range : (float, float)
        Values of black and white pixels.
    column_titles : list of str, default=None
        A title for each column; "" for no title.
    n_images : int, default=None
        Number of places in the grid that have an image, row by row. None: all.

    Attributes
    ----------
    ax_ : matplotlib.axes.Axes
        Axes with the grid.
    figure_ : matplotlib.figure.Figure
        Figure with the grid.

    See Also
    --------
    sklearn_einet.EinetDensity.sample : New rows as a table.
    sklearn_einet.EinetDensity.sample_conditional : Completed rows as a table.

    Examples
    --------
    Draw the lower halves of digits, given the upper ones:

    >>> import matplotlib.pyplot as plt
    >>> import numpy as np
    >>> from sklearn.datasets import load_digits
    >>> from sklearn_einet import EinetDensity
    >>> from sklearn_einet.inspection import ImageGridDisplay
    >>> X = load_digits().data
    >>> model = EinetDensity(K=4, min_variance=0.1, tol=0.1, random_state=0).fit(X)
    >>> covered = X[:5].copy()
    >>> covered[:, 32:] = np.nan
    >>> ImageGridDisplay.from_estimator(
    ...     model, covered, original=X[:5], n_draws=4, image_shape=(8, 8), random_state=0
    ... )
    <...ImageGridDisplay object at ...>
    >>> plt.show()
    """

    def __init__(
        self,
        images: np.ndarray,
        *,
        value_range: tuple[float, float],
        column_titles: Sequence[str] | None = None,
        n_images: int | None = None,
    ) -> None:
        self.images = images
        self.value_range = value_range
        self.column_titles = column_titles
        self.n_images = n_images

    @classmethod
    @validate_params(
        {
            "n_samples": [Interval(Integral, 1, None, closed="left")],
            "n_draws": [Interval(Integral, 1, None, closed="left")],
            "n_columns": [Interval(Integral, 1, None, closed="left")],
        },
        prefer_skip_nested_validation=True,
    )
    def from_estimator(
        cls,
        estimator: Any,
        X: Any = None,
        *,
        original: Any = None,
        n_draws: int = 1,
        n_samples: int = 25,
        n_columns: int = 10,
        image_shape: Sequence[int] | None = None,
        value_range: tuple[float, float] | None = None,
        noise: bool = True,
        random_state: Any = None,
        ax: Any = None,
        **kwargs: Any,
    ) -> Self:
        """Create a display from a fitted estimator: draw new images, or complete covered ones.

        Parameters
        ----------
        estimator : EinetDensity or EinetMixture
            Fitted estimator.
        X : array-like of shape (n_images, n_features), default=None
            Images to complete; covered pixels are NaN. Each row of the grid shows one of them, and
            draws of its covered pixels given the others. None: draw new images.
        original : array-like of shape (n_images, n_features), default=None
            The same images without covers, to show next to them.
        n_draws : int, default=1
            Number of draws for each image of X.
        n_samples : int, default=25
            Number of new images, if X is None.
        n_columns : int, default=10
            Number of new images in each row of the grid.
        image_shape : (height, width) or (height, width, channels), default=None
            Shape of the images. None: that of the estimator.
        value_range : (float, float), default=None
            Values of black and white pixels. None: the smallest and the largest observed value of
            `original` or X, or of the new images.
        noise : bool, default=True
            Whether to draw single pixels at random as well, see `EinetDensity.sample`.
        random_state : int, RandomState instance or None, default=None
            Seed of the draws.
        ax : matplotlib Axes, default=None
            Axes to plot on. None: a new figure is created.
        **kwargs
            Keyword arguments for `matplotlib.axes.Axes.imshow`.

        Returns
        -------
        display : ImageGridDisplay
            The display, already plotted.

        Raises
        ------
        ValueError
            If the shape of the images is not known, or does not fit the number of columns.
        """
        check_is_fitted(estimator)
        density = density_of(estimator)
        shape = _checked_shape(estimator, image_shape)
        if X is None:
            drawn = density.draws(n_samples, new_random_state(random_state), noise)
            n_columns = min(n_columns, n_samples)
            n_missing = -n_samples % n_columns
            drawn = np.append(drawn, np.full((n_missing, drawn.shape[1]), np.nan), axis=0)
            grid, titles = drawn.reshape(-1, n_columns, drawn.shape[1]), None
            known = drawn
        else:
            covered = estimator.as_numbers(X).astype(np.float64)
            draws = density.conditional_draws(
                covered, n_draws, new_random_state(random_state), noise
            )
            parts, titles = [covered[None], draws], ["covered", "drawn", *[""] * (n_draws - 1)]
            known = covered
            if original is not None:
                known = estimator.as_numbers(original).astype(np.float64)
                if len(known) != len(covered):
                    raise ValueError(
                        f"original has {len(known)} images, X has {len(covered)}. Pass the same "
                        "number of images."
                    )
                parts, titles = [known[None], *parts], ["original", *titles]
            grid = np.concatenate(parts).transpose(1, 0, 2)
        if value_range is None:
            known = grid if np.isnan(known).all() else known
            value_range = (float(np.nanmin(known)), float(np.nanmax(known)))
        elif len(value_range) != 2:
            raise ValueError(f"value_range must be two numbers, got {value_range!r}.")
        images = grid.reshape(grid.shape[:2] + shape)
        n_images = n_samples if X is None else images.shape[0] * images.shape[1]
        display = cls(images, value_range=value_range, column_titles=titles, n_images=n_images)
        return display.plot(ax=ax, **kwargs)

    def plot(self, *, ax: Any = None, **kwargs: Any) -> Self:
        """Plot the grid.

        Parameters
        ----------
        ax : matplotlib Axes, default=None
            Axes to plot on. None: a new figure is created.
        **kwargs
            Keyword arguments for `matplotlib.axes.Axes.imshow`.

        Returns
        -------
        display : ImageGridDisplay
            This display.
        """
        check_matplotlib_support(f"{type(self).__name__}.plot")
        import matplotlib.pyplot as plt

        mosaic = _mosaic(self.images, self.value_range, self.n_images)
        if ax is None:
            height, width = 0.5 * self.images.shape[0] + 0.5, 0.5 * self.images.shape[1] + 0.2
            _, ax = plt.subplots(figsize=(max(2, width), max(1.5, height)), layout="constrained")
        ax.imshow(mosaic, **({"interpolation": "nearest"} | kwargs))
        pitch = self.images.shape[3] + MARGIN
        titles = self.column_titles or []
        shown = [i for i, title in enumerate(titles) if title]
        ax.set_xticks(
            [i * pitch + pitch / 2 for i in shown],
            [titles[i] for i in shown],
            fontsize="x-small",
        )
        ax.tick_params(length=0, top=False, labeltop=True, labelbottom=False, pad=1)
        ax.set_yticks([])
        for spine in ax.spines.values():
            spine.set_visible(False)
        self.ax_, self.figure_ = ax, ax.figure
        return self


def _checked_shape(estimator: Any, image_shape: Any) -> tuple[int, ...]:
    """Return the height and width of the images, and 3 if they have colours."""
    shape = getattr(estimator, "image_shape", None) if image_shape is None else image_shape
    if shape is None:
        raise ValueError(
            "image_shape is not known. Pass it as (height, width) or (height, width, channels)."
        )
    shape = checked_shape(shape)
    if shape[2] not in (1, 3):
        raise ValueError(f"image_shape must have 1 or 3 channels to show images, got {shape}.")
    if np.prod(shape) != estimator.n_features_in_:
        raise ValueError(
            f"image_shape={shape} has {np.prod(shape)} features, but the model has "
            f"{estimator.n_features_in_}."
        )
    return shape[:2] if shape[2] == 1 else shape


def _mosaic(
    images: np.ndarray, value_range: tuple[float, float], n_images: int | None
) -> np.ndarray:
    """Return all images as a single RGB image with values from 0 to 1."""
    low, high = value_range
    scaled = ((images - low) / ((high - low) or 1.0)).clip(0, 1)
    if scaled.ndim == 4:
        scaled = np.repeat(scaled[..., None], 3, axis=-1)
    scaled = np.where(np.isnan(scaled).any(axis=-1, keepdims=True), COVER, scaled)
    if n_images is not None:
        scaled.reshape(-1, *scaled.shape[2:])[n_images:] = 1.0
    n_rows, n_columns, height, width, _ = scaled.shape
    tiles = np.ones((n_rows, n_columns, height + MARGIN, width + MARGIN, 3))
    tiles[:, :, :height, :width] = scaled
    mosaic = tiles.transpose(0, 2, 1, 3, 4).reshape(
        n_rows * (height + MARGIN), n_columns * (width + MARGIN), 3
    )
    return mosaic[:-MARGIN, :-MARGIN]
