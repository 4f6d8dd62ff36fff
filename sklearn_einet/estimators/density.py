"""EinetDensity: one circuit as a density estimator."""

from __future__ import annotations

from typing import Any, ClassVar

import torch
from sklearn.base import _fit_context
from sklearn.callback import CallbackSupportMixin, with_callbacks

from sklearn_einet.estimators.base import restores_on_failure, warn_of_unfinished
from sklearn_einet.estimators.constraints import DENSITY_CONSTRAINTS
from sklearn_einet.estimators.progress import Callbacks
from sklearn_einet.estimators.settings import Settings
from sklearn_einet.estimators.trained import TrainedQueries

__all__ = ["EinetDensity"]


class EinetDensity(CallbackSupportMixin, TrainedQueries):
    """Density of a table, by an Einsum Network.

    A deep mixture model: the columns are split into parts, and these again, along a tree that is
    learned from the table (or at random); every part is modelled by `K` densities, and sums and
    products of those make up one normalised density of all columns. Beside the tree, numeric
    columns have mixtures of multivariate normal densities, as in `GaussianMixture`; rows that are
    held out decide how much each part counts for. Missing cells (NaN) are integrated out exactly,
    in `fit` and in every query. The density can be used on its own, to compare models by `score`,
    to draw new rows, or as an outlier detector like `IsolationForest`.

    Parameters
    ----------
    depth : int or None, default=None
        Number D of times that "binary-trees" split the columns. None: as often as the number of
        columns allows, 4 times at most. An explicit depth that the columns do not allow is
        lowered, with a warning. With 0 the model is a mixture of K products of univariate
        densities.
    replicas : int or None, default=None
        Number R of trees. Time and memory are proportional to it. None: 10 "binary-trees", or 1
        tree of "chow-liu" and "auto". With "joint-normal", R * K is the number of normal densities:
        1 is a single mixture of K, and None up to 4, up to 16 if there are 9,000 rows and
        4 such columns, see `structure`; with ``solver="em"`` 1.
    K : int or None, default=None
        Number of densities in every part of the columns. Time grows with its square, with "tucker"
        with its third power. None: 32, of 10,000 rows and up to 256 columns 64, with "tucker" 10.
    leaf : {"auto", "normal", "symlog-normal", "log-normal", "bernoulli", "binomial", \
            "categorical", "poisson", "negative-binomial", "exponential", "gamma", "beta"}, \
            ExponentialFamily or dict, default="auto"
        Univariate family of the columns that `categorical_features` leaves over. "auto" is
        "bernoulli" for columns of a frame that hold booleans, and for all columns if the whole
        table holds nothing but 0 and 1; else it is "normal" with `atoms`. A dict maps families to
        the columns (names, indices, a mask or a slice) that have them; the others are "auto".
        "categorical" is for columns of codes 0, 1, 2, ... Families with hyperparameters can be
        given as objects, see `sklearn_einet.families`. Columns of numbers that hold a single value
        are point masses, and normal ones with values that are far out "symlog-normal", unless
        `variance_bounds` is given.
    atoms : "auto", float, dict or None, default="auto"
        What of a column of numbers is a probability and no density. "auto": values that repeat,
        such as zeros and caps, are probability masses, with a density of the other numbers beside
        them; and a column is nothing but masses if it has few different values, or if left-out rows
        are more likely so than by a density, by more than the other columns tell about it as a
        number. A value repeats if 10 rows and a thousandth of them have it, and on a grid, such as
        that of whole numbers, five times as many as any of the four next to it; where columns hang
        together, rounded values are not taken for atoms. Beside a continuous family that `leaf`
        names, atoms are values that repeat, and any 0 and 1 that it cannot have, however few; there
        are no grids. A number is another share than a thousandth; a dict gives columns their atoms,
        ``{"income": [0, 99999]}``. Numbers on a grid, but for few, are drawn on it. None: neither
        atoms, grids nor bounds that are found. `leaf_report_` has what was found. Images have none.
    bounds : "auto", dict or None, default="auto"
        What no draw or filled cell of a column is beyond, and where its density ends, if `leaf`
        names no family. "auto": 0 where no number is below, 1 or 100 where they come near, the
        range of a type such as uint8, and atoms at the ends. None: none, but such a range for draws
        on grids. A dict gives columns theirs, with None or infinity for an open end,
        ``{"score": (0, 20), "day": ("2024-01-01", None)}``, others are "auto". Beyond them, values
        are an error in fit, and have log-density -inf in queries.
    learn_gaps : bool or columns, default=False
        Whether missing cells are information: the model also learns in which cells of columns (all
        that have any, or those named) values are missing, together with all else. Then `sample`
        draws gaps at their rate, and conditions can ask for them, ``given={"age": [None]}``.
        Everything else is as without: a cell that is missing in a query is unknown.
    numeric_transform : {"auto", "yeo-johnson", "quantile-spline"}, dict or None, default="auto"
        Smooth increasing maps of normal columns to more normal ones, estimated in fit. Every query
        is about the columns as they are, and exact; but "mpe" finds peaks of densities of mapped
        values. "yeo-johnson" is for skewed columns, "quantile-spline" for those of any shape.
        "auto" chooses, for every column, one of these or none by the likelihood of held-out cells,
        and drops all maps if joint densities of the columns are better without them.
        A dict maps these names to columns, as `leaf` does; the remaining columns have no map, nor
        have constant ones and those with values that are far out.
    categorical_features : "from_dtype", array-like of str, int or bool, or None, \
            default="from_dtype"
        The columns of categories, which may be texts or numbers: as of
        `sklearn.ensemble.HistGradientBoostingClassifier` by their names, indices, or a mask.
        "from_dtype" takes the columns of a frame with a categorical type, an enumeration or
        texts. Categories are those that occur in fit and those that the type declares. Dates,
        durations, periods and times of day of pandas, polars and numpy are none, if they are not
        named, but numbers of days (hours, seconds, ...) inside, and come out of all queries as they
        came in.
    handle_unknown : {"smooth", "ignore", "error"}, default="smooth"
        What a category is taken for that was not there in fit. "smooth": one of probability
        1 / (n + 1), where n is the weight of the rows of fit, whatever the rest of the row.
        "ignore": a missing cell, with a warning. "error": a ValueError. Other values of columns of
        a single one, and counts above those of fit, have that probability in any case.
    structure : {"auto", "joint-normal", "chow-liu", "binary-trees", "quad-graph", "quad-tree", \
            "poon-domingos"}, default="auto"
        How the columns are split. "chow-liu": along the tree of the columns that have most to say
        about each other, by their mutual information [2]_; every column that is not at the end of
        a branch has a latent variable with K states. "binary-trees": at random, as `depth` and
        `replicas` say [1]_. For images: "quad-tree" into quarters, and these again, down to pixels,
        "quad-graph" likewise in both orders of cuts, "poon-domingos" in all ways that `delta` and
        `split_axes` allow. "joint-normal": numeric columns are not split, but have multivariate
        normal densities: mixtures of 1, 2, 4, ... of them, learned by full EM and averaged by their
        likelihood of rows that they have not seen [3]_; a tree of the other columns has the same
        states. Columns of which some values have many rows are others, too. "auto": both
        "joint-normal" and "chow-liu", weighed by held-out rows; "chow-liu" alone if there are less
        than 2 or more than 256 columns for joint densities, or with another `solver` or "tucker".
    layer : {"auto", "cp", "tucker"}, default="auto"
        How the parts of a part are combined. "tucker": in pairs, by sums over all K * K products
        of a density of the one with a density of the other [1]_. "cp": the densities of each part
        are mixed, and the results multiplied one by one, for any number of parts. "auto" is
        "tucker" with "poon-domingos", else "cp".
    image_shape : tuple of int, default=None
        (height, width) or (height, width, channels) of the images that the rows are, flattened by
        ``image.reshape(-1)``; for the structures of images.
    delta : int or list of int, default=None
        Number of pieces into which each side of an image is cut; for "poon-domingos". A list cuts
        coarse pieces again into finer ones, [7, 28] images of 28 x 28 pixels into pieces of 4 x 4
        and those into pixels. Rectangles grow with the fourth power of the pieces a side.
    split_axes : {"both", "horizontal", "vertical"}, default="both"
        Whether images are cut by horizontal lines, by vertical lines, or by both.
    solver : {"sem", "em", "adam", "sgd"}, default="sem"
        Stochastic EM on minibatches, full EM, or gradient ascent. "sem" ends a fit with a few
        steps of full EM, kept unless held-out rows become less likely by them. The last learns
        from these rows, too: in columns without missing cells, the model has the shares and means
        of the whole table. p-values are read off the held-out rows' densities before that. With
        "em" the penalised training likelihood never decreases, and an integer weight of a row has
        the very same effect as repeating it (with 5,000 rows at most; the start is read off some
        of the rows of larger tables).
    step_size : float or "auto", default="auto"
        Weight of the first minibatch in the moving average of stochastic EM; learning rate of
        "adam" and "sgd". Not used by "em". "auto" is 0.3 for "sem", else 0.05.
    step_decay : float, default=0.75
        How fast the weight of a minibatch shrinks in stochastic EM: after t epochs it is
        ``step_size / (1 + t) ** step_decay``. 0 is the constant step of the paper [1]_.
    batch_size : int or "auto", default="auto"
        Rows in a minibatch. "auto" is a hundredth of the training rows, 20 at least and 100 at
        most; of more than 16,000, 250 at most; and with more than 250,000, a thousandth.
    max_iter : int or "auto", default=100
        Largest number of epochs (passes over the rows). "auto": see `EinetOutlierDetector`.
    tol : float, default=1e-3
        The least gain in mean log-likelihood (nats per row) that counts, also in the last steps.
    n_iter_no_change : int, default=5
        Number of epochs without progress after which to stop.
    early_stopping : bool or "auto", default="auto"
        Whether to hold out rows, to watch progress on them, and to keep the parameters that were
        best on them. "auto" does so with 50 rows or more, unless the solver is "em".
    validation_fraction : float, default=0.1
        Share of the rows that early stopping holds out.
    min_variance : float or "auto", default=1e-3
        Least variance of a normal density, as a share of the variance of the whole column (for
        "log-normal", of its logarithm). For "gamma" the least squared coefficient of variation;
        for "exponential" the least squared mean, as a share of the column's. "sgd" and "adam"
        enforce it after every epoch. "auto" is 20 divided by the number of rows, but between 1e-3
        and 0.1: wider than is good for the likelihood, and better for outlier detection. Columns
        with many ties have a higher floor, the square of the share of pairs of rows that agree.
    covariance_shrinkage : float, default=0.5
        Number of rows by which the covariance of every multivariate normal density is drawn to the
        one that its mixture's densities have in common, the pooled covariance within them.
    covariance_floor : float, default=1e-5
        The least variance of such a density in any direction, as a share of the pooled one.
    variance_bounds : (float, float), default=None
        Least and largest variance of the normal densities, absolute, in place of `min_variance`:
        (1e-6, 1e-2) for images with values in [0, 1] (paper, section 4.2). Enforced as that is.
    pseudocount : float or "auto", default=0.01
        Number of extra rows with which every sum and every univariate density in the model is
        smoothed: spread evenly over the terms of a sum, distributed like the whole column in a
        univariate density. "auto" is 1 with `trim`, else 0.01.
    bandwidth : float or "auto", default=0
        Standard deviation of the noise that normal densities are convolved with when `fit` ends, in
        those of the columns. Smooth densities rank outliers better. "auto": 0.4 with `trim`, or 0.
    trim : float or "auto", default=0
        Share of the rows, in [0, 0.5), that are not learned from: the least typical ones. A wide
        density of independent columns gets this share. "auto": see `EinetOutlierDetector`.
    contamination : "auto" or float, default="auto"
        Share of the training rows, in (0, 0.5], that are labelled outliers, which sets `offset_`.
        Rows of the same density have the same label: the share is the nearest one that can be had
        with both labels occurring, if there are two densities.
        "auto" labels rows of a p-value below 0.1, see `p_values`: a tenth of rows like those that
        fit held out, which may be fewer training rows.
    warm_start : bool, default=False
        Whether `fit` starts from the last one's parameters, with its structure, families and units.
    device : "auto", str or torch.device, default="auto"
        Where to compute. "auto" is "cuda" if there is a GPU, else "cpu".
    dtype : {"auto", "float32", "float64"}, default="auto"
        Precision of training. "auto" is "float64" for "em", whose guarantees rounding would
        spoil, and "float32" for the other solvers. Queries are computed in "float64" on the CPU
        in any case.
    random_state : int, RandomState instance or None, default=None
        Determines the structure, the initial parameters, the minibatches and the held-out rows.
    verbose : int, default=0
        Print the progress every `verbose` epochs; `sklearn.callback.ProgressBar` draws a bar.

    Attributes
    ----------
    region_graph_ : RegionGraph
        The structure.
    table_density_ : TableDensity
        The model with the columns' units, which answers for arrays of numbers, see `as_numbers`.
    circuit_ : Circuit
        The model itself, in the units of its leaves.
    log_likelihoods_ : ndarray of shape (n_epochs,)
        Mean log-density of the training rows during each epoch, before each update, in nats.
    validation_log_likelihoods_ : ndarray of shape (n_epochs,)
        Mean log-density of the held-out rows after each epoch; only with early stopping.
    n_iter_ : int
        Number of epochs. The step that ends a fit by "sem" is none, here and above.
    converged_ : bool
        Whether training stopped for lack of progress.
    offset_ : float
        Log-density below which a complete row is an outlier; see `decision_function` for others.
    classes_ : ndarray of shape (2,)
        The labels -1 (outlier) and 1 (inlier), the columns of `predict_proba`.
    categories_ : dict
        For each column of categories, by its name or index, these in an array.
    n_parameters_ : int
        Number of free parameters, see `bic`.
    n_features_in_ : int
        Number of columns seen in fit.
    feature_names_in_ : ndarray of shape (n_features,)
        Names of the columns seen in fit, if all are strings.

    See Also
    --------
    sklearn.mixture.GaussianMixture : A single sum over multivariate normal densities.
    sklearn.neighbors.KernelDensity : A non-parametric density.
    sklearn.ensemble.IsolationForest : An outlier detector without a density.

    Notes
    -----
    A value that its column's family cannot have (2 in a column of 0 and 1, say) raises an error in
    fit, and has log-density -inf in queries; but for new categories, see `handle_unknown`.

    References
    ----------
    .. [1] R. Peharz et al., "Einsum Networks: Fast and Scalable Learning of Tractable
       Probabilistic Circuits", ICML 2020.
    .. [2] A. Liu and G. Van den Broeck, "Tractable Regularization of Probabilistic Circuits",
       NeurIPS 2021.
    .. [3] P. Smyth and D. Wolpert, "Linearly Combining Density Estimators via Stacking", Machine
       Learning 36, 1999.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn.datasets import load_iris
    >>> from sklearn_einet import EinetDensity
    >>> X = load_iris().data
    >>> model = EinetDensity(max_iter=200, random_state=0).fit(X)
    >>> model.score_samples([[5.0, 3.5, 1.4, np.nan], [5.0, 3.5, 9.0, 0.2]]).round(1)
    array([  0.1, -16.5])
    >>> model.predict([[5.0, 3.5, 1.4, np.nan], [5.0, 3.5, 9.0, 0.2]])
    array([ 1, -1])
    """

    _parameter_constraints: ClassVar[dict[str, list[Any]]] = DENSITY_CONSTRAINTS

    _history = (
        *("n_iter_", "converged_", "log_likelihoods_", "validation_log_likelihoods_"),
        *("_n_rows", "_n_epochs"),
    )

    def __init__(
        self,
        depth: int | None = None,
        replicas: int | None = None,
        K: int | None = None,
        *,
        leaf: Any = "auto",
        numeric_transform: Any = "auto",
        atoms: Any = "auto",
        bounds: Any = "auto",
        learn_gaps: Any = False,
        categorical_features: Any = "from_dtype",
        handle_unknown: str = "smooth",
        structure: str = "auto",
        layer: str = "auto",
        image_shape: Any = None,
        delta: Any = None,
        split_axes: str = "both",
        solver: str = "sem",
        step_size: float | str = "auto",
        step_decay: float = 0.75,
        batch_size: int | str = "auto",
        max_iter: int | str = 100,
        tol: float = 1e-3,
        n_iter_no_change: int = 5,
        early_stopping: bool | str = "auto",
        validation_fraction: float = 0.1,
        min_variance: float | str = 1e-3,
        covariance_shrinkage: float = 0.5,
        covariance_floor: float = 1e-5,
        variance_bounds: tuple[float, float] | None = None,
        pseudocount: float | str = 0.01,
        bandwidth: float | str = 0.0,
        trim: float | str = 0.0,
        contamination: float | str = "auto",
        warm_start: bool = False,
        device: str | torch.device = "auto",
        dtype: str = "auto",
        random_state: Any = None,
        verbose: int = 0,
    ) -> None:
        self.depth = depth
        self.replicas = replicas
        self.K = K
        self.leaf = leaf
        self.numeric_transform = numeric_transform
        self.atoms = atoms
        self.bounds = bounds
        self.learn_gaps = learn_gaps
        self.categorical_features = categorical_features
        self.handle_unknown = handle_unknown
        self.structure = structure
        self.layer = layer
        self.image_shape = image_shape
        self.delta = delta
        self.split_axes = split_axes
        self.solver = solver
        self.step_size = step_size
        self.step_decay = step_decay
        self.batch_size = batch_size
        self.max_iter = max_iter
        self.tol = tol
        self.n_iter_no_change = n_iter_no_change
        self.early_stopping = early_stopping
        self.validation_fraction = validation_fraction
        self.min_variance = min_variance
        self.covariance_shrinkage = covariance_shrinkage
        self.covariance_floor = covariance_floor
        self.variance_bounds = variance_bounds
        self.pseudocount = pseudocount
        self.bandwidth = bandwidth
        self.trim = trim
        self.contamination = contamination
        self.warm_start = warm_start
        self.device = device
        self.dtype = dtype
        self.random_state = random_state
        self.verbose = verbose

    @restores_on_failure
    @with_callbacks
    @_fit_context(prefer_skip_nested_validation=True)
    def fit(self, X: Any, y: Any = None, sample_weight: Any = None) -> EinetDensity:
        """Fit the density to a table.

        Parameters
        ----------
        X : array-like, or dask array or dataframe, of shape (n_samples, n_features)
            Missing cells are NaN. Rows may miss all their cells; columns may not. A memory map, or
            another object of numbers that can be sliced by rows, such as a dataset of h5py, is read
            some rows at a time and never held as a whole, unless `categorical_features` names
            columns of it. Its minibatches are drawn from rows of many places in it, 64 MB of them
            at a time; up to this size they are those of an array. The blocks of dask's collections
            stay on the workers, which compute what is additive over the rows: the result is that
            of a fit in memory, to rounding.
        y : Ignored
            Not used, present for API consistency.
        sample_weight : array-like or dask array of shape (n_samples,), default=None
            Weights of the rows, none of them negative; 1 each if None. They count as numbers of
            rows, also beside `pseudocount`: do not normalise them to a sum of 1.

        Returns
        -------
        self : EinetDensity
            The fitted estimator. If fit raises, the estimator is left as it was.

        Raises
        ------
        ValueError, TypeError
            If a parameter or the data is invalid; the message names the parameter or the column.
        """
        warm = self.warm_start and hasattr(self, "table_density_")
        training = self._training(Settings.of(self), X, sample_weight, fresh=not warm)
        context = self._init_callback_context(max_subtasks=training.max_iter)
        callbacks = Callbacks.of(context, self, X, training.table, y, sample_weight)
        callbacks.begin()
        history = training.run(
            type(self).__name__,
            lambda history, ended: callbacks.after_epoch(lambda: training.fitted(ended())),
            n_epochs=self._n_epochs if warm else 0,
            learn_held_out=True,
        )
        attributes = training.fitted(history)
        if warm:
            attributes["_n_epochs"] += self._n_epochs
        self._commit(attributes)
        if not (history.converged or history.stopped or training.settings.is_brief):
            warn_of_unfinished("The log-likelihood", self.tol, training.max_iter)
        callbacks.end(attributes)
        return self
