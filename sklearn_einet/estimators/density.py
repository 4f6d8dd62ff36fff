"""EinetDensity: one Einsum Network as a density estimator."""

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
    """Density estimation with an Einsum Network.

    A deep mixture model: it describes all columns of a table and how they depend on each other.
    Columns are combined into groups, and these into larger groups, along a tree that is learned
    from the table (or drawn at random). `K` densities describe every group, and sums and products
    of these make up one normalised density of all columns. Numeric columns also have Gaussian
    mixtures, as in `GaussianMixture`; held-out rows decide how much each of the two parts counts.

    Missing cells (NaN) are integrated out exactly, in `fit` and in all queries. Use the model to
    score rows, to compare models by `score`, to draw new rows, to fill missing cells, or to detect
    outliers like `IsolationForest`. Read more in the :doc:`user guide </user_guide>`.

    Parameters
    ----------
    structure : {"auto", "joint-normal", "chow-liu", "binary-trees", "quad-graph", "quad-tree", \
            "poon-domingos"}, default="auto"
        How columns are grouped; :doc:`/structures` helps to choose.

        - "auto" mixes "joint-normal" and "chow-liu", weighted by held-out rows. It is "chow-liu"
          alone if fewer than 2 or more than 256 columns can have joint densities, with a `solver`
          other than "sem", and with ``layer="tucker"``.
        - "joint-normal" keeps numeric columns together: Gaussian mixtures of 1, 2, 4, ...
          components, learned by full EM and averaged by their likelihood of unseen rows [3]_. A
          tree of the other columns, those with many ties among them, shares their states.
        - "chow-liu" learns a tree that links the most strongly dependent columns, by their mutual
          information [2]_. Each column inside the tree has a latent variable of K states.
        - "binary-trees" splits the columns at random, as `depth` and `replicas` say [1]_.
        - For images: "quad-tree" cuts them into quarters, again and again, down to pixels;
          "quad-graph" does so in both orders of cuts; "poon-domingos" cuts them in all ways that
          `delta` and `split_axes` allow.
    K : int or None, default=None
        Number of densities of each group of columns. Time grows with its square; with
        ``layer="tucker"``, with its third power. None is 32, or 64 with 10,000 rows or more and up
        to 256 columns, or 10 with "tucker". Lower it if the model overfits.
    replicas : int or None, default=None
        Number R of trees. Time and memory are proportional to it. None is 10 with "binary-trees",
        and 1 with "chow-liu" and "auto". With "joint-normal", the model has R * K normal
        densities: 1 is a single mixture of K, None is up to 4 (up to 16 with 9,000 rows and 4
        numeric columns or more), or 1 with ``solver="em"``.
    depth : int or None, default=None
        Number of times that "binary-trees" split the columns. None is as often as the number of
        columns allows, at most 4 times; a larger number than they allow is lowered, with a
        warning. With 0, the model is a mixture of K products of univariate densities.
    leaf : {"auto", "normal", "symlog-normal", "log-normal", "bernoulli", "binomial", \
            "categorical", "poisson", "negative-binomial", "exponential", "gamma", "beta"}, \
            ExponentialFamily or dict, default="auto"
        Distribution of single columns, except those of `categorical_features`. A dict maps
        distributions to columns (names, indices, a mask or a slice); other columns are "auto":
        "bernoulli" for booleans in a DataFrame, and if the whole table holds only 0 and 1; else
        "normal" with `atoms`. "categorical" is for codes 0, 1, 2, ... Objects from
        `sklearn_einet.families` set hyperparameters. A numeric column with a single value is a
        point mass, and a normal one with extreme values becomes "symlog-normal", unless
        `variance_bounds` is given.
    categorical_features : "from_dtype", array-like of str, int or bool, or None, \
            default="from_dtype"
        Columns of categories: names, indices or a mask, as in `HistGradientBoostingClassifier`.
        "from_dtype" takes the categorical, enum and string columns of a DataFrame. Categories are
        those seen in fit and those that the type declares. Dates, durations, periods and times
        are not categories unless you name them: they are numbers of days (hours, seconds, ...)
        inside. Draws and filled cells have their own type; means and variances are such numbers.
    pseudocount : float or "auto", default=0.01
        Strength of smoothing: every sum and every univariate density of the model is learned as if
        so many average rows were added to its own. Where rows are few, this keeps values possible.
        "auto" is 1 with `trim`, else 0.01. Raise it to 0.1 or 1 if the model overfits.
    min_variance : float or "auto", default=1e-3
        Least variance of a normal density, as a share of the column's variance ("log-normal": of
        its logarithm's). For "gamma", the least squared coefficient of variation; for
        "exponential", the least squared mean, as a share of the column's. Columns with many ties
        have a higher limit, the squared share of pairs of rows that agree. "sgd" and "adam"
        enforce it after each epoch. "auto" is 20 / n_rows, within 1e-3 and 0.1: worse for the
        likelihood, but better for outlier detection. Raise it if the model overfits.
    max_iter : int or "auto", default=100
        Maximum number of epochs (passes over the rows). For "auto", see `EinetOutlierDetector`.
    contamination : "auto" or float, default="auto"
        Share of the training rows, in (0, 0.5], to label as outliers; it sets `offset_`. Rows of
        equal density get equal labels, so the share is met approximately; both labels occur unless
        all rows have the same density. "auto" labels rows with a p-value below 0.1 (see
        `p_values`): a tenth of rows like those held out, perhaps fewer of the training rows.
    random_state : int, RandomState instance or None, default=None
        Seed for the structure, initial parameters, minibatches and held-out rows.
    device : "auto", str or torch.device, default="auto"
        Where to compute. "auto" is "cuda" if there is a GPU, else "cpu".
    verbose : int, default=0
        If above 0, print what `fit` is doing, and log-likelihoods (nats per row) every `verbose`
        epochs. `sklearn.callback.ProgressBar` draws a bar instead.

    Other Parameters
    ----------------
    atoms : "auto", float, dict or None, default="auto"
        Numbers with a probability of their own, such as 0 or a cap; other numbers of the column
        have a density. "auto" finds values that a thousandth of the rows, and at least ten, share
        and that stand out on a grid such as whole numbers. Columns with few different values, or
        predicted better that way, consist of atoms only. Any 0 or 1 that a family named by `leaf`
        cannot have is an atom, too. A float replaces the thousandth; a dict names the atoms,
        ``{"income": [0, 99999]}``. If nearly all numbers are on a grid, so are draws. None: no
        atoms, grids or detected bounds. Images have none. :doc:`/mixed_columns` has the rules,
        `leaf_report_` what was found.
    bounds : "auto", dict or None, default="auto"
        Limits of a column's density, draws and filled cells, if `leaf` does not name it. "auto"
        detects 0 if no number is below, 1 or 100 if they come near, the range of types such as
        uint8, and atoms at the ends. A dict sets them, others are "auto"; None or infinity leaves
        an end open: ``{"score": (0, 20), "day": ("2024-01-01", None)}``. Values beyond bounds that
        you set raise an error in fit, and have log-density -inf in queries. None: no bounds, but
        draws on grids stay within the range of the type.
    learn_gaps : bool or columns, default=False
        Whether the model also learns in which cells values are missing, in all columns with
        missing cells or those named. Then `sample` leaves cells missing at their rate, and you can
        ask for them, ``given={"age": [None]}``. In other queries, missing stays unknown.
    numeric_transform : {"auto", "yeo-johnson", "quantile-spline"}, dict or None, default="auto"
        Smooth increasing maps that make numeric columns more normal. Queries are still about the
        original columns, and exact, but "mpe" finds peaks of mapped values. "yeo-johnson" is for
        skewed columns, "quantile-spline" for any shape. "auto" takes one or none for each column,
        by the likelihood of held-out cells, and no maps if joint densities are better without. A
        dict maps names to columns, like `leaf`; others have no map. Constant columns and those
        with extreme values never have one.
    handle_unknown : {"smooth", "ignore", "error"}, default="smooth"
        How to treat categories not seen in fit. "smooth": probability 1 / (n + 1), where n is the
        weight of the rows of fit, whatever the rest of the row. "ignore": a missing cell, with a
        warning. "error": a ValueError. New values in a column with a single value, and counts
        above those in fit, have that probability in any case.
    layer : {"auto", "cp", "tucker"}, default="auto"
        How groups are combined. "cp" mixes the densities of each group, then multiplies the
        results one by one, for any number of groups. "tucker" sums over all K * K products of the
        densities of two groups [1]_. "auto" is "tucker" with "poon-domingos", else "cp".
    image_shape : tuple of int, default=None
        (height, width) or (height, width, channels) of images, for the image structures. Each row
        is an image flattened by ``image.reshape(-1)``.
    delta : int or list of int, default=None
        Number of pieces per side of an image, for "poon-domingos". A list cuts coarse pieces into
        finer ones: [7, 28] cuts 28 x 28 pixels into pieces of 4 x 4, and these into pixels. The
        number of rectangles grows with the fourth power of the pieces per side.
    split_axes : {"both", "horizontal", "vertical"}, default="both"
        Whether to cut images by horizontal lines, vertical lines, or both.
    solver : {"sem", "em", "adam", "sgd"}, default="sem"
        "sem" is stochastic EM on minibatches. It ends with a few steps of full EM, kept unless
        they make held-out rows less likely; the last one also uses these rows, so that columns
        without missing cells have the shares and means of the whole table. p-values come from the
        densities of held-out rows before that. "em" is full EM: the penalised training likelihood
        never decreases, and integer weights are exactly the same as repeated rows (with up to
        5,000 rows; larger tables start from some of them). "adam" and "sgd" are gradient ascent.
    step_size : float or "auto", default="auto"
        Weight of the first minibatch in the moving average of "sem", or learning rate of "adam"
        and "sgd"; "em" does not use it. "auto" is 0.3 for "sem", else 0.05.
    step_decay : float, default=0.75
        How fast this weight shrinks in "sem": to ``step_size / (1 + t) ** step_decay`` after t
        epochs. 0 is the constant step of [1]_.
    batch_size : int or "auto", default="auto"
        Rows per minibatch. "auto" is a hundredth of the training rows, within 20 and 100, up to 250
        beyond 16,000 rows, a thousandth beyond 250,000; above 32, rounded down to a multiple of it.
    tol : float, default=1e-3
        Least gain in mean log-likelihood that counts as progress, also in the last steps: in nats
        per row, 1 nat being 1.44 bits.
    n_iter_no_change : int, default=5
        Number of epochs without progress after which to stop.
    early_stopping : bool or "auto", default="auto"
        Whether to hold out rows, monitor progress on them, and keep the parameters that were best
        on them. "auto" does so with 50 rows or more, unless the solver is "em".
    validation_fraction : float, default=0.1
        Share of the rows that early stopping holds out.
    warm_start : bool, default=False
        Whether `fit` continues from the last fit's parameters, structure, families and units.
    covariance_shrinkage : float, default=0.5
        Number of rows by which the covariance of every multivariate normal density is shrunk
        towards the pooled covariance within its mixture.
    covariance_floor : float, default=1e-5
        Least variance of such a density in any direction, as a share of the pooled one.
    variance_bounds : (float, float), default=None
        Least and largest variance of normal densities in absolute units; it replaces
        `min_variance`, and is enforced likewise. For images with values in [0, 1], section 4.2 of
        [1]_ has (1e-6, 1e-2).
    bandwidth : float or "auto", default=0
        Standard deviation, in units of the column's, of noise that normal densities are convolved
        with after training. Smooth densities rank outliers better. "auto": 0.4 with `trim`, or 0.
    trim : float or "auto", default=0
        Share of the rows, in [0, 0.5), to leave out of training: the least typical ones. A wide
        density of independent columns gets this share. "auto": see `EinetOutlierDetector`. Fits
        that continue (`warm_start`, `partial_fit`) leave out what the model so far finds untypical.
    dtype : {"auto", "float32", "float64"}, default="auto"
        Precision of training. "auto" is "float64" for "em", since rounding would break its
        guarantees, else "float32". Queries on the CPU always use "float64".

    Attributes
    ----------
    region_graph_ : RegionGraph
        The structure.
    table_density_ : TableDensity
        The model in the columns' units. It takes arrays of numbers, see `as_numbers`.
    circuit_ : Circuit
        The model itself, in internal units.
    log_likelihoods_ : ndarray of shape (n_epochs,)
        Mean log-density of the training rows in each epoch, before each update, in nats per row.
    validation_log_likelihoods_ : ndarray of shape (n_epochs,)
        The same of the held-out rows after each epoch; only with early stopping.
    n_iter_ : int
        Number of epochs, without the last steps of "sem", which are not recorded above either.
    converged_ : bool
        Whether training stopped for lack of progress.
    offset_ : float
        Log-density below which a complete row is an outlier; see `decision_function` for others.
    classes_ : ndarray of shape (2,)
        The labels -1 (outlier) and 1 (inlier), in the order of `predict_proba`.
    categories_ : dict
        The categories of each categorical column, by its name or index.
    n_parameters_ : int
        Number of free parameters, see `bic`.
    n_features_in_ : int
        Number of columns seen in fit.
    feature_names_in_ : ndarray of shape (n_features,)
        Names of the columns seen in fit, if all are strings.

    See Also
    --------
    EinetOutlierDetector : The same model with defaults for outlier detection.
    EinetMixture : One network for each cluster of rows.
    sklearn.mixture.GaussianMixture : A single sum over multivariate normal densities.
    sklearn.neighbors.KernelDensity : A non-parametric density.

    Notes
    -----
    A value that its column's distribution cannot have (2 in a column of 0 and 1, say) raises an
    error in fit, and has log-density -inf in queries. For new categories, see `handle_unknown`.

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
    array([  0. , -16.5])
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
            Missing cells are NaN. A row may miss all its cells, a column may not. Memory maps and
            other numeric objects that can be sliced by rows, such as h5py datasets, are read in
            slices and never held as a whole, unless `categorical_features` names columns. Their
            minibatches come from 64 MB of rows at a time, taken from many places; up to this size
            they are those of an array. Dask collections stay on the workers, which compute sums
            over the rows: the result is that of a fit in memory, up to rounding.
        y : Ignored
            Not used, present for API consistency.
        sample_weight : array-like or dask array of shape (n_samples,), default=None
            Non-negative weights of the rows; 1 each if None. They count as numbers of rows, also
            compared with `pseudocount`: do not normalise them to a sum of 1.

        Returns
        -------
        self : EinetDensity
            The fitted estimator. If fit raises an error, the estimator is left as it was.

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
        training.settings.report.done(training.why_it_ended(history))
        return self
