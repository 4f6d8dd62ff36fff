"""The components of a mixture: clusters of rows, and the densities that are fitted to them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np
from joblib import Parallel, delayed, effective_n_jobs

from sklearn_einet.circuit import Circuit
from sklearn_einet.circuit.transforms.mixture import mixture_circuit
from sklearn_einet.estimators.base import warn_of_unfinished
from sklearn_einet.estimators.parallel import shared_cores
from sklearn_einet.estimators.progress import Report
from sklearn_einet.estimators.recipe import new_region_graph
from sklearn_einet.estimators.settings import Settings
from sklearn_einet.estimators.training import Training
from sklearn_einet.estimators.trimming import with_partitions
from sklearn_einet.model.table_density import TableDensity
from sklearn_einet.structure import RegionGraph
from sklearn_einet.tables.encoding import Encoding
from sklearn_einet.tables.in_memory import InMemoryTable
from sklearn_einet.tables.schema import Schema
from sklearn_einet.tables.split import Split

__all__ = [
    "Clusters",
    "fit_components",
    "labels_of_all_rows",
    "mixed",
    "say_how_it_ended",
    "some_of_each",
]

# Rows that are scored by all components to find the outlier thresholds.
THRESHOLD_ROWS = 20_000


@dataclass(frozen=True)
class Job:
    """What a worker needs to fit a component."""

    settings: Settings
    schema: Schema
    encoding: Encoding
    graph: RegionGraph
    table: InMemoryTable
    split: Split
    seed: int


@dataclass(frozen=True)
class Clusters:
    """A table whose rows belong to clusters.

    Attributes
    ----------
    schema : Schema
    encoding : Encoding
    table : InMemoryTable
    labels : ndarray of int of shape (n_samples,)
        The cluster of each row: 0, 1, ... without gaps.
    split : Split
    """

    schema: Schema
    encoding: Encoding
    table: InMemoryTable
    labels: np.ndarray
    split: Split

    @property
    def n_clusters(self) -> int:
        """Number of clusters."""
        return int(self.labels.max()) + 1

    @property
    def shares(self) -> np.ndarray:
        """Share of the weight in every cluster, (n_clusters,)."""
        return np.bincount(self.labels, self.table.weight) / self.table.total_weight

    def job(
        self, number: int, settings: Settings, seed: int, random_state: np.random.RandomState
    ) -> Job:
        """Return what a worker needs to fit a component to the rows of one cluster."""
        name, most = f"component {number + 1}/{self.n_clusters}", len(str(self.n_clusters))
        report = settings.report.of_part(name, len("component /") + 2 * most)
        settings = replace(settings, report=report)
        own = np.flatnonzero(self.labels == number)
        table, split = self.table.selected(own), self.split.within(own)
        graph = new_region_graph(settings, self.schema, table, split, random_state)
        return Job(settings, self.schema, self.encoding, with_partitions(graph), table, split, seed)


class Fit(NamedTuple):
    """The result of a job.

    Attributes
    ----------
    seed : int
    learned : dict
        Fitted attributes of an `EinetDensity`, except the threshold.
    scores : ndarray of shape (n_scored,)
        Log-densities of rows that calibrate the threshold.
    """

    seed: int
    learned: dict[str, Any]
    scores: np.ndarray


def fit_components(
    clusters: Clusters,
    settings: Settings,
    scored: np.ndarray,
    n_jobs: int | None,
    random_state: np.random.RandomState,
) -> list[Fit]:
    """Fit a density to the rows of each cluster, in parallel.

    Parameters
    ----------
    clusters : Clusters
    settings : Settings
        Of every component.
    scored : ndarray of shape (n_scored, n_features)
        Rows that all components score.
    n_jobs : int or None
        As in joblib.
    random_state : RandomState
    """
    sizes = np.bincount(clusters.labels)
    n_workers = min(effective_n_jobs(n_jobs), clusters.n_clusters)
    found = f"{len(sizes)} clusters of {sizes.min()} to {sizes.max()} rows"
    settings.report.say(f"fitting {found} with n_jobs={n_workers}")
    jobs = []
    for number in range(clusters.n_clusters):
        seed = random_state.randint(2**31)
        job = clusters.job(number, settings, seed, random_state)
        jobs.append(delayed(_fit)(job, scored, n_workers))
    # Start with the largest clusters, so that no worker is left with one of them at the end.
    order = np.argsort(-sizes, kind="stable")
    done = Parallel(n_jobs, batch_size=1)(jobs[number] for number in order)
    return [done[place] for place in np.argsort(order)]


def _fit(job: Job, scored: np.ndarray, n_workers: int) -> Fit:
    """Fit a component in one of several workers that share the cores."""
    with shared_cores(n_workers):
        training = Training.of_part(
            job.settings, job.schema, job.encoding, job.graph, job.table, job.split, job.seed
        )
        learned = training.learned(training.run())
        return Fit(job.seed, learned, learned["table_density_"].log_density(scored))


def say_how_it_ended(report: Report, components: Sequence[Any], tol: float, max_iter: int) -> None:
    """Print the last line of the fit of a mixture, and warn of components without convergence."""
    n_components = len(components)
    if unfinished := sum(not each.converged_ for each in components):
        report.done(f"{unfinished} of {n_components} components reached max_iter={max_iter}")
        what = f"In {unfinished} of {n_components} components the log-likelihood"
        warn_of_unfinished(what, tol, max_iter)
    else:
        report.done(f"all {n_components} components converged")


def mixed(densities: Sequence[TableDensity], shares: np.ndarray) -> tuple[np.ndarray, Circuit]:
    """Return the component of each partition of a mixture's root, and the mixture's circuit."""
    circuits = [density.circuit for density in densities]
    n_partitions = [len(circuit.region_graph.root.partitions) for circuit in circuits]
    return np.repeat(np.arange(len(circuits)), n_partitions), mixture_circuit(circuits, shares)


def some_of_each(labels: np.ndarray, random_state: np.random.RandomState) -> np.ndarray:
    """Choose the rows whose densities set the thresholds: all, or some of each cluster in
    proportion."""
    if len(labels) <= THRESHOLD_ROWS:
        return np.arange(len(labels))
    some = []
    for number in range(labels.max() + 1):
        own = np.flatnonzero(labels == number)
        n_rows = -(-len(own) * THRESHOLD_ROWS // len(labels))
        some.append(random_state.choice(own, n_rows, replace=False))
    return np.sort(np.concatenate(some))


def labels_of_all_rows(labels: np.ndarray, sample_weight: Any) -> np.ndarray:
    """Return the labels of rows with weight, and -1 for the others."""
    has_weight = np.asarray(1 if sample_weight is None else sample_weight) > 0
    if has_weight.ndim == 0:
        return labels
    result = np.full(len(has_weight), -1)
    result[has_weight] = labels
    return result
