"""EinetMixture: clusters of rows, with a circuit for each."""

from __future__ import annotations

import itertools
import warnings
from numbers import Integral
from typing import Any, ClassVar, Self

import numpy as np
import torch
from joblib import Parallel, delayed, effective_n_jobs
from sklearn.base import _fit_context
from sklearn.exceptions import ConvergenceWarning
from sklearn.utils import gen_batches
from sklearn.utils._param_validation import Interval
from sklearn.utils.validation import check_is_fitted

from sklearn_einet.circuit import Circuit
from sklearn_einet.circuit.transforms.mixture import (
    component_circuits,
    component_log_values,
    component_weights,
    mixture_circuit,
)
from sklearn_einet.estimators.base import (
    levels_to_caller,
    new_random_state,
    restores_on_failure,
)
from sklearn_einet.estimators.clusters import cluster_centers, cluster_rows
from sklearn_einet.estimators.completion import CompletionQueries
from sklearn_einet.estimators.density import EinetDensity
from sklearn_einet.estimators.parallel import shared_cores
from sklearn_einet.estimators.progress import Units, report
from sklearn_einet.estimators.recipe import (
    new_region_graph,
    new_schema,
    pseudocount_of,
    split_rows,
    stochastic_em,
    training_rows,
)
from sklearn_einet.estimators.trimming import with_partitions
from sklearn_einet.learning import FullEM, Solver, fit_circuit
from sklearn_einet.model.gap_patterns import comparable_scores, rows_to_compare
from sklearn_einet.model.log_density import column_blocks, log_density, query_circuit
from sklearn_einet.structure import Region, RegionGraph
from sklearn_einet.tables.rows import Rows
from sklearn_einet.tables.schema import Schema
from sklearn_einet.tables.stored import StoredTable
from sklearn_einet.tables.table import is_dask

__all__ = ["EinetMixture"]

# Rows that are scored by all components to find the outlier thresholds.
THRESHOLD_ROWS = 20_000

# Rows whose evidence is held in float64 at a time.
ROWS_AT_A_TIME = 2**13


class EinetMixture(CompletionQueries):
    """Density of a table, by a mixture of Einsum Networks: one for each cluster of rows.

    k-means cuts the rows into clusters, an `EinetDensity` learns each of them, and their densities
    are mixed in proportion to the clusters' sizes (paper, section 4.2). For large tables and images
    of several kinds: every network has less to learn, and all are fitted in parallel.

    Parameters
    ----------
    n_components : int, default=8
        Number of clusters. The `n_clusters` of `kmeans`, where it has one, is set to it.
    depth, replicas, K : optional
        Size of every component, see `EinetDensity`.
    kmeans : clusterer, default=None
        Any scikit-learn clusterer or pipeline with `fit_predict`; one without a parameter
        `n_clusters` finds its own number of clusters. It is given rows whose columns
        have mean 0 and variance 1, missing cells filled by 0, categories of up to 32 states as
        indicators; with `image_shape`, all columns are divided by the same number. Rows that it
        calls noise (-1) join the nearest cluster. None: `KMeans`, and with 20,000 rows or more
        `MiniBatchKMeans`.
    refine_iter : int, default=0
        Largest number of epochs of joint EM, in which rows are no longer bound to clusters, after
        the components have been fitted. Full EM if `solver` is "em", else stochastic EM.
    n_jobs : int, default=None
        Number of components to fit at a time, see joblib. None is 1 unless in a
        `joblib.parallel_config` context; -1 is one for each core. The cores' threads are divided
        among them.
    leaf, categorical_features, handle_unknown : optional
        Kinds of columns, see `EinetDensity`.
    structure, layer, image_shape, delta, split_axes : optional
        Families and structure of every component, see `EinetDensity`. Families and units are
        read off the whole table: a column that is constant in a cluster does no harm.
    solver, step_size, step_decay, batch_size, max_iter, tol, n_iter_no_change : optional
        Training of every component, see `EinetDensity`.
    early_stopping, validation_fraction : optional
        See `EinetDensity`. Rows are held out from the whole table.
    min_variance, variance_bounds, pseudocount : optional
        See `EinetDensity`.
    contamination, device, dtype, random_state, verbose : optional
        See `EinetDensity`. On a GPU, leave `n_jobs` at 1.

    Attributes
    ----------
    weights_ : ndarray of shape (n_components,)
        Share of the rows in every component; there may be fewer than asked for, if clusters were
        merged.
    estimators_ : list of EinetDensity
        The fitted components, usable on their own.
    labels_ : ndarray of shape (n_samples,)
        Cluster of every training row; -1 for rows of weight 0.
    cluster_centers_ : ndarray of shape (n_components, n_features)
        Means of the observed cells of every cluster.
    circuit_ : Circuit
        The mixture as one circuit: its root has the partitions of all components' roots.
    region_graph_ : RegionGraph
        Structure of that circuit.
    log_likelihoods_ : ndarray of shape (n_epochs,)
        Mean log-density of the training rows during each epoch of joint EM, in nats.
    n_iter_ : int
        Number of epochs that the slowest component took.
    converged_ : bool
        Whether training stopped for lack of progress in all components.
    offset_ : float
        Log-density below which a complete row is an outlier; see `decision_function` for others.
        Of more than 20,000 training rows, it is read off 20,000.
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
    EinetDensity : A single network.
    sklearn.mixture.GaussianMixture : A mixture of multivariate normal densities.

    References
    ----------
    R. Peharz et al., "Einsum Networks: Fast and Scalable Learning of Tractable Probabilistic
    Circuits", ICML 2020, section 4.2.

    Examples
    --------
    >>> from sklearn.datasets import load_digits
    >>> from sklearn_einet import EinetMixture
    >>> X = load_digits().data
    >>> model = EinetMixture(10, K=4, min_variance=0.1, tol=1, random_state=0).fit(X)
    >>> model.weights_.shape
    (10,)
    >>> model.responsibilities(X[:1]).argmax() == model.labels_[0]
    np.True_
    """

    _parameter_constraints: ClassVar[dict[str, Any]] = {
        name: allowed
        for name, allowed in EinetDensity._parameter_constraints.items()
        if name not in ("trim", "warm_start")
    } | {
        "n_components": [Interval(Integral, 1, None, closed="left")],
        "kmeans": "no_validation",  # cluster_rows says what is wrong
        "refine_iter": [Interval(Integral, 0, None, closed="left")],
        "n_jobs": [Integral, None],
    }

    region_graph_: RegionGraph

    def __init__(
        self,
        n_components: int = 8,
        depth: int | None = None,
        replicas: int | None = None,
        K: int | None = None,
        *,
        kmeans: Any = None,
        refine_iter: int = 0,
        n_jobs: int | None = None,
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
        contamination: float | str = "auto",
        device: str | torch.device = "auto",
        dtype: str = "auto",
        random_state: Any = None,
        verbose: int = 0,
    ) -> None:
        self.n_components = n_components
        self.depth = depth
        self.replicas = replicas
        self.K = K
        self.kmeans = kmeans
        self.refine_iter = refine_iter
        self.n_jobs = n_jobs
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
        self.contamination = contamination
        self.device = device
        self.dtype = dtype
        self.random_state = random_state
        self.verbose = verbose

    @restores_on_failure
    @_fit_context(prefer_skip_nested_validation=True)
    def fit(self, X: Any, y: Any = None, sample_weight: Any = None) -> EinetMixture:
        """Fit the mixture to a table.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Missing cells are NaN. Rows may miss all their cells; columns may not. Clusters are
            made in memory: what an `EinetDensity` reads some rows at a time, such as a memory map,
            is read as a whole here.
        y : Ignored
            Not used, present for API consistency.
        sample_weight : array-like of shape (n_samples,), default=None
            Weights of the rows, none of them negative; 1 each if None.

        Returns
        -------
        self : EinetMixture
            The fitted estimator. If fit raises, the estimator is left as it was.

        Raises
        ------
        ValueError, TypeError
            If a parameter or the data is invalid; the message names the parameter or the column.
        """
        if is_dask(X):
            raise TypeError(
                "EinetMixture.fit needs a table in memory, to find clusters in it: fit an "
                "EinetDensity to dask collections, or the mixture to some of the rows."
            )
        X, weight = self._validate(X, sample_weight, reset=True)
        X = X[:] if isinstance(X, StoredTable) else X
        random_state = new_random_state(self.random_state)
        schema = new_schema(self, X, weight, random_state)
        labels = cluster_rows(self, schema, X, weight, random_state)
        parts = split_rows(self, len(X), random_state)
        looked_at = _some_of_each(labels, random_state)
        components, scores = self._fit_components(
            schema, X, weight, labels, parts, X[looked_at], random_state
        )
        shares = np.bincount(labels, weight) / (len(X) if weight is None else weight.sum())
        component = np.repeat(
            np.arange(len(components)),
            [len(each.circuit_.region_graph.root.partitions) for each in components],
        )
        circuit = mixture_circuit([each.circuit_ for each in components], shares)
        rows, validation = training_rows(schema, circuit, X, weight, random_state, parts)
        log_likelihoods = np.empty(0)
        if self.refine_iter:
            circuit, log_likelihoods = self._refined(
                circuit, schema, rows, validation, max(each.n_iter_ for each in components)
            )
            for each, part in zip(components, component_circuits(circuit, component), strict=True):
                each.circuit_ = part
                if self.solver != "em":
                    each._n_epochs += len(log_likelihoods)
        self._schema = schema
        self.circuit_ = circuit
        # The circuit's own graph has the components' in the form that they are computed in.
        trees = [each.region_graph_.root.partitions for each in components]
        self.region_graph_ = RegionGraph(
            Region(range(len(schema.names)), itertools.chain.from_iterable(trees))
        )
        self._component = component
        self.weights_ = component_weights(circuit, component)
        self.estimators_ = components
        self.cluster_centers_ = cluster_centers(X, weight, labels)
        self.labels_ = _among_all_rows(labels, sample_weight)
        self.log_likelihoods_ = log_likelihoods
        self.n_iter_ = max(each.n_iter_ for each in components)
        self.converged_ = all(each.converged_ for each in components)
        if self.refine_iter:
            circuit = query_circuit(circuit, circuit.device)
            joint = self._joint_log_densities(circuit, X[looked_at])
        else:
            joint = scores + np.log(self.weights_)
        held_out = np.zeros(len(X), dtype=bool)
        held_out[[] if parts[1] is None else parts[1]] = True
        self._set_thresholds(
            X[looked_at],
            joint,
            None if weight is None else weight[looked_at],
            labels[looked_at],
            held_out[looked_at],
        )
        self._warn_of_unfinished()
        return self

    def responsibilities(self, X: Any) -> np.ndarray:
        """Probability of every component, given the observed cells of each row.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Missing cells are NaN. Cells that are impossible under the model are not conditioned
            on, with a warning.

        Returns
        -------
        responsibilities : ndarray of shape (n_samples, n_components)
            Rows sum to 1. For a row without observed cells they are `weights_`.

        Examples
        --------
        >>> from sklearn.datasets import load_iris
        >>> from sklearn_einet import EinetMixture
        >>> X = load_iris().data
        >>> model = EinetMixture(3, K=4, max_iter=10, tol=0.1, random_state=0).fit(X)
        >>> model.responsibilities(X).shape
        (150, 3)
        """
        check_is_fitted(self)
        X = self._read(X)
        circuit = self._query_circuit(torch.float64)
        joint = np.empty((len(X), len(self.weights_)))
        for rows in gen_batches(len(X), ROWS_AT_A_TIME):
            evidence = self._usable_evidence(circuit, X[rows].astype(np.float64))
            joint[rows] = self._joint_log_densities(circuit, evidence)
        total = np.logaddexp.reduce(joint, axis=1, keepdims=True)
        self._check_possible(total[:, 0])
        return np.exp(joint - total)

    def marginal(self, features: Any) -> Self:
        model = super().marginal(features)
        model.estimators_ = [each.marginal(features) for each in self.estimators_]
        model.cluster_centers_ = self.cluster_centers_[
            :, self._schema.positions(features, "features")
        ]
        return model

    marginal.__doc__ = CompletionQueries.marginal.__doc__

    def _fit_components(
        self,
        schema: Schema,
        X: np.ndarray,
        weight: np.ndarray | None,
        labels: np.ndarray,
        parts: tuple[np.ndarray | None, np.ndarray | None],
        looked_at: np.ndarray,
        random_state: np.random.RandomState,
    ) -> tuple[list[EinetDensity], np.ndarray]:
        """An estimator fitted to the rows of each cluster, in parallel, and its log-densities.

        Returns
        -------
        components : list of EinetDensity
        scores : ndarray of shape (len(looked_at), n_components)
            Of the rows in `looked_at`; empty if there is to be a refinement.
        """
        shared = EinetDensity().get_params().keys() & self.get_params(deep=False).keys()
        parameters = {name: getattr(self, name) for name in shared}
        n_workers = min(effective_n_jobs(self.n_jobs), int(labels.max()) + 1)
        components, jobs = [], []
        for number in range(labels.max() + 1):
            own = np.flatnonzero(labels == number)
            parameters["random_state"] = random_state.randint(2**31)
            component = EinetDensity(**parameters)
            own_weight = None if weight is None else weight[own]
            own_rows, own_parts = X[own], _within(own, parts)
            graph = new_region_graph(self, schema, own_rows, own_weight, own_parts, random_state)
            job = component, schema, with_partitions(graph), own_rows, own_weight, own_parts
            scored = looked_at[:0] if self.refine_iter else looked_at
            jobs.append(delayed(_fit_component)(*job, scored, n_workers))
            components.append(component)
        # The largest clusters first, so that no worker is left with one of them in the end.
        order = np.argsort(-np.bincount(labels), kind="stable")
        done = Parallel(self.n_jobs, batch_size=1)(jobs[number] for number in order)
        results = [done[place] for place in np.argsort(order)]
        for component, (learned, _) in zip(components, results, strict=True):
            component._commit(learned)
            component._encoding = self._encoding
            component.n_features_in_ = self.n_features_in_
            if hasattr(self, "feature_names_in_"):
                component.feature_names_in_ = self.feature_names_in_
        return components, np.column_stack([scores for _, scores in results])

    def _refined(
        self,
        circuit: Circuit,
        schema: Schema,
        rows: Rows,
        validation: Rows | None,
        n_epochs: int,
    ) -> tuple[Circuit, np.ndarray]:
        """The circuit after EM on the whole mixture, and the history of the training rows;
        `n_epochs` have gone before."""
        solver: Solver = FullEM(pseudocount_of(self))
        if self.solver != "em":
            solver = stochastic_em(self, len(rows), rows.total_weight, n_epochs)
        units = Units(schema, rows, validation)
        history = fit_circuit(
            circuit,
            solver,
            rows,
            validation,
            max_iter=self.refine_iter,
            tol=self.tol,
            n_iter_no_change=self.n_iter_no_change,
            after_epoch=report(self, units),
        )
        history.circuit = history.circuit.to(history.circuit.device)
        return history.circuit, units.attributes(history)["log_likelihoods_"]

    def _joint_log_densities(self, circuit: Circuit, X: np.ndarray) -> np.ndarray:
        """log(weight of a component * its density), (n_samples, n_components)."""
        parameters = circuit.parameters()
        result = np.empty((len(X), len(self.weights_)))
        X, of_unknown = self._schema.without_unknown(X)
        with torch.no_grad():
            for rows, columns in column_blocks(circuit, self._schema, X):
                leaves, base = circuit.leaf_log_densities(columns, parameters)
                values = component_log_values(
                    circuit, circuit.propagate(leaves, parameters), self._component
                )
                result[rows] = (values + base).T.cpu().numpy()
                result[rows] += self._schema.log_jacobian(X[rows])[:, None]
        # As in Circuit.log_prob: what is too extreme for a number has no density.
        result = np.where(np.isnan(result), -np.inf, result)
        return result + np.reshape(of_unknown, (-1, 1))

    def _set_thresholds(
        self,
        X: np.ndarray,
        joint: np.ndarray,
        weight: np.ndarray | None,
        labels: np.ndarray,
        held_out: np.ndarray,
    ) -> None:
        """The outlier thresholds of the mixture and, on their own rows, of the components."""
        everything = np.ones(len(joint), dtype=bool)
        joined = np.logaddexp.reduce(joint, axis=1)
        cases = [(self, joined, everything)] + [
            (component, joint[:, number] - np.log(self.weights_[number]), labels == number)
            for number, component in enumerate(self.estimators_)
        ]
        for estimator, scores, own in cases:
            usual = np.flatnonzero(held_out[own])
            attributes = estimator._outlier_attributes(
                comparable_scores(
                    estimator._query_circuit(),
                    self._schema,
                    X[own],
                    rows_to_compare(int(own.sum()), usual, self.contamination),
                    scores[own],
                ),
                None if weight is None else weight[own],
                self.contamination,
                usual,
            )
            vars(estimator).update(attributes)

    def _warn_of_unfinished(self) -> None:
        unfinished = sum(not each.converged_ for each in self.estimators_)
        if unfinished:
            warnings.warn(
                f"In {unfinished} of {len(self.estimators_)} components the log-likelihood still "
                f"grew by more than tol={self.tol} after max_iter={self.max_iter} epochs; "
                "increase max_iter or tol.",
                ConvergenceWarning,
                stacklevel=levels_to_caller(),
            )


def _fit_component(
    component: EinetDensity,
    schema: Schema,
    graph: RegionGraph,
    X: np.ndarray,
    weight: np.ndarray | None,
    parts: tuple[np.ndarray | None, np.ndarray | None],
    looked_at: np.ndarray,
    n_workers: int,
) -> tuple[dict[str, Any], np.ndarray]:
    """What a worker does: fit a component to its rows, and score those that are looked at."""
    with shared_cores(n_workers):
        learned = component._fit_component(schema, graph, X, weight, parts)
        circuit = learned["circuit_"]
        return learned, log_density(query_circuit(circuit, circuit.device), schema, looked_at)


def _some_of_each(labels: np.ndarray, random_state: np.random.RandomState) -> np.ndarray:
    """The rows whose densities set the thresholds: all, or some of each cluster in proportion."""
    if len(labels) <= THRESHOLD_ROWS:
        return np.arange(len(labels))
    some = []
    for number in range(labels.max() + 1):
        own = np.flatnonzero(labels == number)
        n_rows = -(-len(own) * THRESHOLD_ROWS // len(labels))
        some.append(random_state.choice(own, n_rows, replace=False))
    return np.sort(np.concatenate(some))


def _within(
    own: np.ndarray, parts: tuple[np.ndarray | None, np.ndarray | None]
) -> tuple[np.ndarray | None, np.ndarray | None]:
    """A cluster's rows for training and those held out, counted within the cluster."""
    training, held_out = (
        None if rows is None else np.flatnonzero(np.isin(own, rows)) for rows in parts
    )
    if training is None or held_out is None or not len(training) or not len(held_out):
        return None, None
    return training, held_out


def _among_all_rows(labels: np.ndarray, sample_weight: Any) -> np.ndarray:
    """Labels of the rows that have weight, and -1 for the others."""
    has_weight = np.asarray(1 if sample_weight is None else sample_weight) > 0
    if has_weight.ndim == 0:
        return labels
    result = np.full(len(has_weight), -1)
    result[has_weight] = labels
    return result
