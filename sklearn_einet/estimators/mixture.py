"""EinetMixture: clusters of rows, with an Einsum Network for each."""

from __future__ import annotations

from typing import Any, ClassVar, Self

import numpy as np
import torch
from sklearn.base import _fit_context

from sklearn_einet.circuit.transforms.mixture import component_weights
from sklearn_einet.estimators.base import restores_on_failure
from sklearn_einet.estimators.clusters import cluster_centers, cluster_rows
from sklearn_einet.estimators.components import (
    Clusters,
    fit_components,
    labels_of_all_rows,
    mixed,
    say_how_it_ended,
    some_of_each,
)
from sklearn_einet.estimators.constraints import MIXTURE_CONSTRAINTS
from sklearn_einet.estimators.density import EinetDensity
from sklearn_einet.estimators.queries import EinetQueries
from sklearn_einet.estimators.recipe import new_schema, said_of, split_rows
from sklearn_einet.estimators.refinement import refined
from sklearn_einet.estimators.settings import Settings
from sklearn_einet.estimators.thresholds import with_threshold
from sklearn_einet.model.components import joint_log_densities, responsibilities
from sklearn_einet.model.table_density import TableDensity
from sklearn_einet.structure.joint_regions import joined_graph
from sklearn_einet.tables.in_memory import InMemoryTable
from sklearn_einet.tables.randomness import new_random_state
from sklearn_einet.tables.table import is_dask

__all__ = ["EinetMixture"]


class EinetMixture(EinetQueries):
    """Density estimation with a mixture of Einsum Networks, one for each cluster of rows.

    k-means divides the rows into clusters, an `EinetDensity` is fitted to each of them, and their
    densities are mixed in proportion to the sizes of the clusters [1]_. Use it for large tables,
    and for images of several kinds: each network has less to learn, and all are fitted in parallel.
    Read more in the :doc:`user guide </user_guide>`.

    Parameters
    ----------
    n_components : int, default=8
        Number of clusters. It also sets the `n_clusters` of `kmeans`, if it has this parameter.
    structure : str, default="chow-liu"
        How columns are grouped, see `EinetDensity`.
    K, depth, replicas : optional
        Size of every component, see `EinetDensity`.
    refine_iter : int, default=0
        Maximum number of epochs of joint EM after the components have been fitted. Rows are then
        no longer bound to one cluster. Full EM if `solver` is "em", else stochastic EM.
    leaf, categorical_features, pseudocount, min_variance, max_iter, contamination : optional
        See `EinetDensity`. Distributions and units of columns are those of the whole table.
    n_jobs : int, default=None
        Number of components to fit in parallel, which share the threads of all cores. None is 1
        unless in a `joblib.parallel_config` context, -1 is one for each core. Keep 1 on a GPU.
    random_state, device, verbose : optional
        See `EinetDensity`.

    Other Parameters
    ----------------
    kmeans : clusterer, default=None
        Any scikit-learn clusterer or pipeline with `fit_predict`; without a parameter `n_clusters`
        it finds its own number of clusters. Its columns have mean 0 and variance 1, missing cells
        are 0, and categories of up to 32 states are indicators; with `image_shape`, all columns
        are divided by the same number. Rows that it labels as noise (-1) join the nearest cluster.
        None: `KMeans`, or `MiniBatchKMeans` with 20,000 rows or more.
    atoms, bounds, learn_gaps, numeric_transform, handle_unknown : optional
    layer, image_shape, delta, split_axes : optional
    solver, step_size, step_decay, batch_size, tol, n_iter_no_change : optional
    early_stopping, validation_fraction : optional
    covariance_shrinkage, covariance_floor, variance_bounds, dtype : optional
        See `EinetDensity`. By default, there are no maps of columns (`numeric_transform`). Rows
        are held out from the whole table.

    Attributes
    ----------
    weights_ : ndarray of shape (n_components,)
        Share of the rows in each component; there are fewer if clusters were merged.
    estimators_ : list of EinetDensity
        The fitted components, which can be used on their own.
    labels_ : ndarray of shape (n_samples,)
        Cluster of each training row; -1 for rows of weight 0.
    cluster_centers_ : ndarray of shape (n_components, n_features)
        Means of the observed cells of each cluster.
    table_density_ : TableDensity
        The model in the columns' units. It takes arrays of numbers, see `as_numbers`.
    circuit_ : Circuit
        The mixture as one circuit. Its root has the partitions of all components' roots.
    region_graph_ : RegionGraph
        Structure of that circuit.
    log_likelihoods_ : ndarray of shape (n_epochs,)
        Mean log-density of the training rows in each epoch of joint EM, in nats per row.
    n_iter_ : int
        Number of epochs of the component that took most.
    converged_ : bool
        Whether training stopped for lack of progress in all components.
    offset_ : float
        Log-density below which a complete row is an outlier; see `decision_function` for others.
        With more than 20,000 training rows, it is computed from 20,000 of them.
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
    EinetDensity : A single network.
    sklearn.mixture.GaussianMixture : A mixture of multivariate normal densities.

    References
    ----------
    .. [1] R. Peharz et al., "Einsum Networks: Fast and Scalable Learning of Tractable Probabilistic
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

    _parameter_constraints: ClassVar[dict[str, Any]] = MIXTURE_CONSTRAINTS

    _history = ("n_iter_", "converged_", "log_likelihoods_", "labels_", "weights_", "_component")

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
        numeric_transform: Any = None,
        atoms: Any = "auto",
        bounds: Any = "auto",
        learn_gaps: Any = False,
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
        covariance_shrinkage: float = 0.5,
        covariance_floor: float = 1e-5,
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
            Missing cells are NaN. A row may miss all its cells, a column may not. Clustering needs
            the table in memory: memory maps and the like are read as a whole.
        y : Ignored
            Not used, present for API consistency.
        sample_weight : array-like of shape (n_samples,), default=None
            Non-negative weights of the rows; 1 each if None.

        Returns
        -------
        self : EinetMixture
            The fitted estimator. If fit raises an error, the estimator is left as it was.

        Raises
        ------
        ValueError, TypeError
            If a parameter or the data is invalid; the message names the parameter or the column.
        """
        if is_dask(X):
            raise TypeError(
                "EinetMixture.fit needs a table in memory to cluster its rows, got a dask "
                "collection. Fit an EinetDensity instead, or the mixture to some of the rows."
            )
        settings, random_state = Settings.of(self), new_random_state(self.random_state)
        report = settings.report
        with report.timed("reading the table"):
            table, encoding = self._table(X, sample_weight, None)
            table = InMemoryTable(table[:], table.weight)
        report.say(said_of(settings, table))
        schema = new_schema(settings, table, encoding, self._column_names, random_state)
        with report.timed(f"clustering {len(table)} rows"):
            labels = cluster_rows(self, schema, table.array, table.weight, random_state)
        split = split_rows(settings, len(table), random_state)
        calibration_rows = some_of_each(labels, random_state)
        calibration = table.selected(calibration_rows)
        clusters = Clusters(schema, encoding, table, labels, split)
        components, scores = self._fit_components(settings, clusters, calibration, random_state)
        densities = [each.table_density_ for each in components]
        component, circuit = mixed(densities, clusters.shares)
        log_likelihoods = np.empty(0)
        if self.refine_iter:
            mixture = circuit, component, components
            circuit, log_likelihoods = refined(self, report, clusters, *mixture, random_state)
        density = TableDensity(circuit, schema, encoding)
        weights = component_weights(circuit, component)
        if self.refine_iter:
            joint = joint_log_densities(density, component, calibration.array)
        else:
            joint = scores + np.log(weights)
        self._set(
            {
                "table_density_": density,
                "region_graph_": joined_graph([each.region_graph_ for each in components]),
                "_component": component,
                "weights_": weights,
                "estimators_": components,
                "cluster_centers_": cluster_centers(table.array, table.weight, labels),
                "labels_": labels_of_all_rows(labels, sample_weight),
                "log_likelihoods_": log_likelihoods,
                "n_iter_": max(each.n_iter_ for each in components),
                "converged_": all(each.converged_ for each in components),
            }
        )
        usual = split.is_held_out(len(table))[calibration_rows]
        self._set_thresholds(calibration, joint, labels[calibration_rows], usual)
        say_how_it_ended(report, components, self.tol, self.max_iter)
        return self

    def responsibilities(self, X: Any) -> np.ndarray:
        """Return the probability of each component, given the observed cells of each row.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Missing cells are NaN. Cells that are impossible under the model are ignored, with a
            warning.

        Returns
        -------
        responsibilities : ndarray of shape (n_samples, n_components)
            Each row sums to 1. A row without observed cells has `weights_`.

        Examples
        --------
        >>> from sklearn.datasets import load_iris
        >>> from sklearn_einet import EinetMixture
        >>> X = load_iris().data
        >>> model = EinetMixture(3, K=4, max_iter=10, tol=0.1, random_state=0).fit(X)
        >>> model.responsibilities(X).shape
        (150, 3)
        """
        return responsibilities(self._density(), self._component, self.as_numbers(X))

    def marginal(self, features: Any) -> Self:
        model = super().marginal(features)
        columns = self.table_density_.schema.positions(features, "features")
        model.estimators_ = [each.marginal(features) for each in self.estimators_]
        model.cluster_centers_ = self.cluster_centers_[:, columns]
        return model

    marginal.__doc__ = EinetQueries.marginal.__doc__

    def _fit_components(
        self,
        settings: Settings,
        clusters: Clusters,
        calibration: InMemoryTable,
        random_state: np.random.RandomState,
    ) -> tuple[list[EinetDensity], np.ndarray]:
        """Fit an estimator to the rows of each cluster.

        Also return the log-densities of the calibration rows under each, (n_rows, n_components),
        of no rows if the mixture will be refined.
        """
        scored = calibration.array[:0] if self.refine_iter else calibration.array
        fits = fit_components(clusters, settings, scored, self.n_jobs, random_state)
        shared = EinetDensity().get_params().keys() & self.get_params(deep=False).keys()
        parameters = {name: getattr(self, name) for name in shared}
        of_columns = ("n_features_in_", "feature_names_in_")
        names = {name: value for name, value in vars(self).items() if name in of_columns}
        components = []
        for fit in fits:
            component = EinetDensity(**(parameters | {"random_state": fit.seed}))
            component._set(fit.learned | names)
            components.append(component)
        return components, np.column_stack([fit.scores for fit in fits])

    def _set_thresholds(
        self, calibration: InMemoryTable, joint: np.ndarray, labels: np.ndarray, usual: np.ndarray
    ) -> None:
        """Set the outlier thresholds of the mixture and, on their own rows, of the components."""
        parts = [np.ones(len(joint), dtype=bool)]
        parts += [labels == number for number in range(len(self.weights_))]
        joined = np.logaddexp.reduce(joint, axis=1)
        scores = np.column_stack([joined, joint - np.log(self.weights_)])
        estimators: list[EinetQueries] = [self, *self.estimators_]
        for number, (estimator, own) in enumerate(zip(estimators, parts, strict=True)):
            own_rows = calibration.selected(np.flatnonzero(own))
            attributes = with_threshold(
                {"table_density_": estimator.table_density_},
                own_rows,
                self.contamination,
                np.flatnonzero(usual[own]),
                log_density=scores[own, number],
            )
            estimator._set(attributes)
