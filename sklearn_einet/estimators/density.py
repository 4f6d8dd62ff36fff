"""EinetDensity: one circuit as a density estimator."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import replace
from numbers import Integral, Real
from typing import Any, ClassVar

import numpy as np
import torch
from sklearn.base import _fit_context
from sklearn.callback import CallbackSupportMixin, with_callbacks
from sklearn.exceptions import ConvergenceWarning
from sklearn.utils import _safe_indexing
from sklearn.utils._param_validation import Interval, StrOptions
from sklearn.utils.validation import _num_samples

from sklearn_einet.circuit import Circuit
from sklearn_einet.circuit.circuit import LAYERS
from sklearn_einet.estimators.base import (
    levels_to_caller,
    new_random_state,
    restores_on_failure,
)
from sklearn_einet.estimators.completion import CompletionQueries
from sklearn_einet.estimators.progress import Units, report
from sklearn_einet.estimators.recipe import (
    continued_circuit,
    make_solver,
    new_circuit,
    new_region_graph,
    new_schema,
    split_rows,
    stochastic_em,
    training_rows,
)
from sklearn_einet.estimators.trimming import (
    COARSE,
    typical_weight,
    with_partitions,
    with_tail,
    with_weight,
)
from sklearn_einet.families import ExponentialFamily
from sklearn_einet.learning import History, fit_circuit
from sklearn_einet.model.gap_patterns import comparable_scores, rows_to_compare
from sklearn_einet.model.log_density import query_circuit
from sklearn_einet.structure import RegionGraph
from sklearn_einet.structure.poon_domingos import SPLIT_AXES
from sklearn_einet.tables.rows import Rows
from sklearn_einet.tables.schema import Schema
from sklearn_einet.tables.stored import StoredTable
from sklearn_einet.tables.table import is_dask

__all__ = ["EinetDensity"]


class EinetDensity(CallbackSupportMixin, CompletionQueries):
    """Density of a table, by an Einsum Network.

    A deep mixture model: the columns are split into parts, and these again, along a tree that is
    learned from the table (or at random); every part is modelled by `K` densities, and sums and
    products of those make up one normalised density of all columns. Missing cells (NaN) are
    integrated out exactly, in `fit` and in every query. The density can be used on its own, to
    compare models by `score`, to draw new rows, or as an outlier detector like `IsolationForest`.

    Parameters
    ----------
    depth : int or None, default=None
        Number D of times that "binary-trees" split the columns. None: as often as the number of
        columns allows, 4 times at most. An explicit depth that the columns do not allow is
        lowered, with a warning. With 0 the model is a mixture of K products of univariate
        densities.
    replicas : int or None, default=None
        Number R of trees. Time and memory are proportional to it. None: 10 "binary-trees", or 1
        tree of "chow-liu".
    K : int or None, default=None
        Number of densities in every part of the columns. Time grows with its square, with
        ``layer="tucker"`` with its third power. None: 32, with ``layer="tucker"`` 10.
    leaf : {"auto", "normal", "symlog-normal", "log-normal", "bernoulli", "binomial", \
            "categorical", "poisson", "exponential", "gamma", "beta"}, ExponentialFamily or \
            dict, default="auto"
        Univariate family of the columns that `categorical_features` leaves over. "auto" is
        "bernoulli" for columns of a frame that hold booleans, and for all columns if the whole
        table holds nothing but 0 and 1; else it is "normal". A dict maps families to the columns
        (names, indices, a mask or a slice) that have them; the remaining columns are "auto".
        "categorical" is for columns of codes 0, 1, 2, ... Families with hyperparameters can be
        given as objects, see `sklearn_einet.families`. Columns of numbers that hold a single value
        are point masses, and normal ones with values that are far out "symlog-normal", unless
        `variance_bounds` is given.
    categorical_features : "from_dtype", array-like of str, int or bool, or None, \
            default="from_dtype"
        The columns of categories, which may be texts or numbers: as of
        `sklearn.ensemble.HistGradientBoostingClassifier` by their names, indices, or a mask.
        "from_dtype" takes the columns of a frame with a categorical type, an enumeration or
        texts. Categories are those that occur in fit and those that the type declares.
    handle_unknown : {"smooth", "ignore", "error"}, default="smooth"
        What a category is taken for that was not there in fit. "smooth": one of probability
        1 / (n + 1), where n is the weight of the rows of fit, whatever the rest of the row.
        "ignore": a missing cell, with a warning. "error": a ValueError. Other values of columns of
        a single one, and counts above those of fit, have that probability in any case.
    structure : {"chow-liu", "binary-trees", "poon-domingos"}, default="chow-liu"
        How the columns are split. "chow-liu": along the tree of the columns that have most to say
        about each other, by their mutual information [2]_; every column that is not at the end of
        a branch has a latent variable with K states. "binary-trees": at random, as `depth` and
        `replicas` say [1]_. "poon-domingos": as the pixels of an image into rectangles, in all
        ways that `delta` and `split_axes` allow.
    layer : {"auto", "cp", "tucker"}, default="auto"
        How the parts of a part are combined. "tucker": in pairs, by sums over all K * K products
        of a density of the one with a density of the other [1]_. "cp": the densities of each part
        are mixed, and the results multiplied one by one, for any number of parts. "auto" is
        "tucker" with "poon-domingos", else "cp".
    image_shape : tuple of int, default=None
        (height, width) or (height, width, channels) of the images that the rows are, flattened by
        ``image.reshape(-1)``; for "poon-domingos".
    delta : int or list of int, default=None
        Number of pieces into which each side of an image is cut; for "poon-domingos". A list cuts
        coarse pieces again into finer ones, [7, 28] images of 28 x 28 pixels into pieces of 4 x 4
        and those into pixels. The number of rectangles grows with the fourth power of the number
        of pieces a side.
    split_axes : {"both", "horizontal", "vertical"}, default="both"
        Whether images are cut by horizontal lines, by vertical lines, or by both.
    solver : {"sem", "em", "adam", "sgd"}, default="sem"
        Stochastic EM on mini-batches, full EM, or gradient ascent. "sem" ends a fit with one step
        of full EM, kept unless held-out rows become less likely by it. It then learns from these
        rows, too: in columns without missing cells, the model has the shares and means of the
        whole table. p-values are read off the held-out rows' densities before that. With "em" the
        penalised training likelihood never decreases, and an integer weight of a row has the very
        same effect as repeating it (with 5,000 rows at most; the start is read off some of the
        rows of larger tables).
    step_size : float or "auto", default="auto"
        Weight of the first mini-batch in the moving average of stochastic EM; learning rate of
        "adam" and "sgd". Not used by "em". "auto" is 0.3 for "sem", else 0.05.
    step_decay : float, default=0.75
        How fast the weight of a mini-batch shrinks in stochastic EM: after t epochs it is
        ``step_size / (1 + t) ** step_decay``. 0 is the constant step of the paper [1]_.
    batch_size : int or "auto", default="auto"
        Rows in a mini-batch. "auto" is a hundredth of the training rows, 20 at least and 100 at
        most; of more than 16,000, 250 at most; and with more than 250,000, a thousandth.
    max_iter : int, default=100
        Largest number of epochs (passes over the rows).
    tol : float, default=1e-3
        The least gain in mean log-likelihood (nats per row) that counts as progress.
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
    variance_bounds : (float, float), default=None
        Least and largest variance of the normal densities, absolute, in place of `min_variance`:
        (1e-6, 1e-2) for images with values in [0, 1] (paper, section 4.2). Enforced by every
        M-step; by "sgd" and "adam" after every epoch.
    pseudocount : float or "auto", default=0.01
        Number of extra rows with which every sum and every univariate density in the model is
        smoothed: spread evenly over the terms of a sum, distributed like the whole column in a
        univariate density. "auto" is 1 with `trim`, else 0.01.
    trim : float, default=0
        Share of the rows, in [0, 0.5), that the network does not learn from: those that a first,
        coarse model finds least likely. They are left to a wide density of independent columns,
        which gets this share of the mixture. For outlier detection where outliers are among the
        training rows (see `EinetOutlierDetector`); the likelihood of other rows gets worse.
    contamination : "auto" or float, default="auto"
        Share of the training rows, in (0, 0.5], that are labelled outliers, which sets `offset_`.
        Rows of the same density have the same label: the share is the nearest one that can be had
        with both labels occurring, if there are two densities.
        "auto" labels rows of a p-value below 0.1, see `p_values`: a tenth of rows like those that
        fit held out, which may be fewer training rows.
    warm_start : bool, default=False
        Whether `fit` starts from the parameters of the previous fit. Structure, families and
        column units remain those of the first fit.
    device : "auto", str or torch.device, default="auto"
        Where to compute. "auto" is "cuda" if there is a GPU, else "cpu".
    dtype : {"auto", "float32", "float64"}, default="auto"
        Precision of training. "auto" is "float64" for "em", whose guarantees rounding would
        spoil, and "float32" for the other solvers. Queries are computed in "float64" on the CPU
        in any case.
    random_state : int, RandomState instance or None, default=None
        Determines the structure, the initial parameters, the mini-batches and the held-out rows.
    verbose : int, default=0
        Print the progress every `verbose` epochs. For a progress bar, use
        `sklearn.callback.ProgressBar`.

    Attributes
    ----------
    region_graph_ : RegionGraph
        The structure.
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
    fit, and has log-density -inf in every query. Categories that fit has not seen are the
    exception, see `handle_unknown`.

    References
    ----------
    .. [1] R. Peharz et al., "Einsum Networks: Fast and Scalable Learning of Tractable
       Probabilistic Circuits", ICML 2020.
    .. [2] A. Liu and G. Van den Broeck, "Tractable Regularization of Probabilistic Circuits",
       NeurIPS 2021.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn.datasets import load_iris
    >>> from sklearn_einet import EinetDensity
    >>> X = load_iris().data
    >>> model = EinetDensity(max_iter=200, random_state=0).fit(X)
    >>> model.score_samples([[5.0, 3.5, 1.4, np.nan], [5.0, 3.5, 9.0, 0.2]]).round(1)
    array([ -0.3, -14.8])
    >>> model.predict([[5.0, 3.5, 1.4, np.nan], [5.0, 3.5, 9.0, 0.2]])
    array([ 1, -1])
    """

    _parameter_constraints: ClassVar[dict[str, list[Any]]] = {
        "depth": [Interval(Integral, 0, None, closed="left"), None],
        "replicas": [Interval(Integral, 1, None, closed="left"), None],
        "K": [Interval(Integral, 1, None, closed="left"), None],
        "leaf": [str, dict, ExponentialFamily],
        "categorical_features": ["array-like", StrOptions({"from_dtype"}), None],
        "handle_unknown": [StrOptions({"smooth", "ignore", "error"})],
        "structure": [StrOptions({"binary-trees", "poon-domingos", "chow-liu"})],
        "layer": [StrOptions({"auto", *LAYERS})],
        "image_shape": [tuple, list, None],
        "delta": [Interval(Integral, 1, None, closed="left"), tuple, list, None],
        "split_axes": [StrOptions(set(SPLIT_AXES))],
        "solver": [StrOptions({"sem", "em", "adam", "sgd"})],
        "step_size": [Interval(Real, 0, None, closed="neither"), StrOptions({"auto"})],
        "step_decay": [Interval(Real, 0, 1, closed="both")],
        "batch_size": [Interval(Integral, 1, None, closed="left"), StrOptions({"auto"})],
        "max_iter": [Interval(Integral, 1, None, closed="left")],
        "tol": [Interval(Real, 0, None, closed="left")],
        "n_iter_no_change": [Interval(Integral, 1, None, closed="left")],
        "early_stopping": ["boolean", StrOptions({"auto"})],
        "validation_fraction": [Interval(Real, 0, 1, closed="neither")],
        "min_variance": [Interval(Real, 0, None, closed="neither"), StrOptions({"auto"})],
        "variance_bounds": [tuple, list, None],
        "pseudocount": [Interval(Real, 0, None, closed="left"), StrOptions({"auto"})],
        "trim": [Interval(Real, 0, 0.5, closed="left")],
        "contamination": [StrOptions({"auto"}), Interval(Real, 0, 0.5, closed="right")],
        "warm_start": ["boolean"],
        "device": [str, torch.device],
        "dtype": [StrOptions({"auto", "float32", "float64"})],
        "random_state": ["random_state"],
        "verbose": ["verbose"],
    }

    region_graph_: RegionGraph

    def __init__(
        self,
        depth: int | None = None,
        replicas: int | None = None,
        K: int | None = None,
        *,
        leaf: Any = "auto",
        categorical_features: Any = "from_dtype",
        handle_unknown: str = "smooth",
        structure: str = "chow-liu",
        layer: str = "auto",
        image_shape: Any = None,
        delta: Any = None,
        split_axes: str = "both",
        solver: str = "sem",
        step_size: float | str = "auto",
        step_decay: float = 0.75,
        batch_size: int | str = "auto",
        max_iter: int = 100,
        tol: float = 1e-3,
        n_iter_no_change: int = 5,
        early_stopping: bool | str = "auto",
        validation_fraction: float = 0.1,
        min_variance: float | str = 1e-3,
        variance_bounds: tuple[float, float] | None = None,
        pseudocount: float | str = 0.01,
        trim: float = 0.0,
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
        self.variance_bounds = variance_bounds
        self.pseudocount = pseudocount
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
            columns of it. Its mini-batches are drawn from rows of many places in it, 64 MB of them
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
        warm = self.warm_start and hasattr(self, "circuit_")
        context = self._init_callback_context(max_subtasks=self.max_iter)
        table = X
        X, weight = self._validate(X, sample_weight, reset=not warm)
        random_state = new_random_state(self.random_state)
        parts = split_rows(self, len(X), random_state)
        _, held_out = parts
        if warm:
            graph = self.region_graph_
            schema, circuit = continued_circuit(self, X)
        else:
            schema, graph, circuit, parts = self._start(X, weight, parts, random_state)
        rows, validation = training_rows(schema, circuit, X, weight, random_state, parts)
        metadata = {} if sample_weight is None else {"sample_weight": weight}
        if is_dask(table):
            metadata = {} if sample_weight is None else {"sample_weight": sample_weight}
        elif len(X) < _num_samples(table):
            kept = np.flatnonzero(np.asarray(sample_weight) > 0)
            table = X if isinstance(X, StoredTable) else _safe_indexing(table, kept)
            y = None if y is None else _safe_indexing(y, kept)
        told = {"estimator": self, "X": table, "y": y, "metadata": metadata}
        context.call_on_fit_task_begin(**told)
        units = Units(schema, rows, validation)
        print_progress = report(self, units)

        def fitted(history: History) -> dict[str, Any]:
            unseen = history.calibration
            if self.trim and not warm:
                history = replace(history, circuit=with_tail(history.circuit, self.trim))
                unseen = None if unseen is None else with_tail(unseen, self.trim)
            learned = self._learned(history, schema, rows, units)
            learned["region_graph_"] = graph
            return self._scored(learned, X, weight, held_out, unseen)

        def after_epoch(history: History, ended: Callable[[], History]) -> bool:
            print_progress(history, ended)
            epoch = context.subcontext(task_name="epoch")
            epoch.call_on_fit_task_begin(**told)
            return bool(
                epoch.call_on_fit_task_end(
                    **told, reconstruction_attributes=lambda: fitted(ended())
                )
            )

        n_epochs = self._n_epochs if warm else 0
        history = self._train(circuit, rows, validation, after_epoch, n_epochs, learn_held_out=True)
        attributes = fitted(history)
        if warm:
            attributes["_n_epochs"] += self._n_epochs
        self._commit(attributes)
        if not history.converged and not history.stopped:
            warnings.warn(
                f"The log-likelihood still grew by more than tol={self.tol} after "
                f"max_iter={self.max_iter} epochs; increase max_iter or tol.",
                ConvergenceWarning,
                stacklevel=levels_to_caller(),
            )
        context.call_on_fit_task_end(**told, reconstruction_attributes=attributes)
        return self

    @restores_on_failure
    @_fit_context(prefer_skip_nested_validation=True)
    def partial_fit(self, X: Any, y: Any = None, sample_weight: Any = None) -> EinetDensity:
        """Update the density with more rows: one pass of stochastic EM, whatever the solver.

        The first call chooses families, units, structure and initial parameters from the rows it
        is given, so these should be some hundred representative rows at least. The outlier
        threshold is that of the rows of the last call. There is no step of full EM in the end, as
        in `fit`: it would forget the rows of former calls.

        Parameters
        ----------
        X : array-like, or dask array or dataframe, of shape (n_samples, n_features)
            Missing cells are NaN. Memory maps and the like are read some rows at a time, see `fit`.
        y : Ignored
            Not used, present for API consistency.
        sample_weight : array-like or dask array of shape (n_samples,), default=None
            Weights of the rows; 1 each if None.

        Returns
        -------
        self : EinetDensity
            The updated estimator. If partial_fit raises, the estimator is left as it was.
        """
        first = not hasattr(self, "circuit_")
        X, weight = self._validate(X, sample_weight, reset=first)
        random_state = new_random_state(self.random_state)
        if first:
            schema = new_schema(self, X, weight, random_state)
            graph = new_region_graph(self, schema, X, weight, (None, None), random_state)
            circuit = new_circuit(self, schema, graph, X, weight, random_state)
        else:
            graph = self.region_graph_
            schema, circuit = continued_circuit(self, X)
        rows, _ = training_rows(schema, circuit, X, weight, random_state, (None, None))
        n_rows = rows.total_weight + (0.0 if first else self._n_rows)
        solver = stochastic_em(self, len(rows), n_rows, 0 if first else self._n_epochs)
        history = History(circuit, [solver.epoch(circuit, rows)])
        learned = self._learned(history, schema, rows, Units(schema, rows, None))
        attributes = self._scored(learned, X, weight, None)
        attributes |= {"_n_rows": n_rows, "_n_epochs": solver.n_epochs, "region_graph_": graph}
        if not first:
            attributes["n_iter_"] += self.n_iter_
            attributes["log_likelihoods_"] = np.append(
                self.log_likelihoods_, attributes["log_likelihoods_"]
            )
        self._commit(attributes)
        return self

    def _start(
        self,
        X: np.ndarray,
        weight: np.ndarray | None,
        parts: tuple[np.ndarray | None, np.ndarray | None],
        random_state: np.random.RandomState,
    ) -> tuple[Schema, RegionGraph, Circuit, tuple[np.ndarray | None, np.ndarray | None]]:
        """Families, structure and initial parameters, and which rows to train on and to hold out.

        With trim, all are those of the rows that remain.
        """
        schema = new_schema(self, X, weight, random_state)
        if self.trim:
            names = EinetDensity().get_params()
            parameters = {name: getattr(self, name) for name in names} | COARSE
            parameters["random_state"] = random_state.randint(2**31)
            if self.structure != "poon-domingos":
                parameters["structure"] = "chow-liu"
            weight = typical_weight(
                EinetDensity(**parameters), self.trim, schema, X, weight, parts, random_state
            )
            parts = with_weight(weight, parts)
            schema = new_schema(self, X, weight, random_state)
        graph = new_region_graph(self, schema, X, weight, parts, random_state)
        computed = with_partitions(graph) if self.trim else graph
        return schema, graph, new_circuit(self, schema, computed, X, weight, random_state), parts

    def _fit_component(
        self,
        schema: Schema,
        graph: RegionGraph,
        X: np.ndarray,
        weight: np.ndarray | None,
        parts: tuple[np.ndarray | None, np.ndarray | None],
    ) -> dict[str, Any]:
        """The attributes of this estimator as a component of a mixture, but for the threshold."""
        random_state = new_random_state(self.random_state)
        circuit = new_circuit(self, schema, graph, X, weight, random_state)
        rows, validation = training_rows(schema, circuit, X, weight, random_state, parts)
        units = Units(schema, rows, validation)
        history = self._train(circuit, rows, validation, report(self, units))
        return self._learned(history, schema, rows, units)

    def _train(
        self,
        circuit: Circuit,
        rows: Rows,
        validation: Rows | None,
        after_epoch: Callable[[History, Callable[[], History]], Any],
        n_epochs: int = 0,
        learn_held_out: bool = False,
    ) -> History:
        return fit_circuit(
            circuit,
            make_solver(self, rows, n_epochs),
            rows,
            validation,
            max_iter=self.max_iter,
            tol=self.tol,
            n_iter_no_change=self.n_iter_no_change,
            after_epoch=after_epoch,
            learn_held_out=learn_held_out,
        )

    def _scored(
        self,
        attributes: dict[str, Any],
        X: np.ndarray,
        weight: np.ndarray | None,
        held_out: np.ndarray | None,
        calibration: Circuit | None = None,
    ) -> dict[str, Any]:
        """Learned attributes, and the outlier threshold of the rows.

        p-values compare with held-out rows as scored by the circuit `calibration`, if it is not
        the same; labels of the rows themselves follow from the scores that queries give them.
        """
        circuit, schema = attributes["circuit_"], attributes["_schema"]
        wanted = rows_to_compare(len(X), held_out, self.contamination)
        scores = comparable_scores(query_circuit(circuit, circuit.device), schema, X, wanted)
        unseen = scores
        if calibration is not None and held_out is not None:
            unseen = scores.copy()
            unseen[held_out] = comparable_scores(
                query_circuit(calibration, circuit.device),
                schema,
                X[held_out] if isinstance(X, np.ndarray) else X.selected(held_out),
                None if wanted is None else wanted[held_out],
            )
        return attributes | self._outlier_attributes(
            scores, weight, self.contamination, held_out, unseen
        )

    def _learned(
        self, history: History, schema: Schema, rows: Rows, units: Units
    ) -> dict[str, Any]:
        """The attributes of an estimator whose fit ended here, but for the outlier threshold."""
        circuit = history.circuit.to(history.circuit.device)
        if not circuit.is_finite():
            raise ValueError(
                "The parameters are no longer finite: look for extreme values in X, lower "
                "step_size, or raise min_variance."
            )
        return {
            "circuit_": circuit,
            "region_graph_": circuit.region_graph,
            "_schema": schema,
            "_n_rows": rows.total_weight,
            "_n_epochs": len(history.log_likelihoods) if self.solver == "sem" else 0,
            "n_iter_": len(history.log_likelihoods),
            "converged_": history.converged,
            **units.attributes(history),
        }

    def _commit(self, attributes: dict[str, Any]) -> None:
        """Replace the fitted attributes, all at once."""
        self.__dict__.pop("validation_log_likelihoods_", None)
        self.__dict__.update(attributes)
