"""Clusters of rows, for the components of a mixture."""

from __future__ import annotations

import warnings
from inspect import signature
from typing import Any

import numpy as np
from sklearn.base import clone
from sklearn.cluster import KMeans, MiniBatchKMeans
from sklearn.metrics import pairwise_distances_argmin

from sklearn_einet.circuit.block_rows import slices
from sklearn_einet.families import Categorical
from sklearn_einet.tables.callers import levels_to_caller
from sklearn_einet.tables.schema import Schema
from sklearn_einet.tables.table import CELLS_AT_A_TIME

__all__ = ["cluster_centers", "cluster_rows"]

# MiniBatchKMeans is the default from this number of rows on.
MANY_ROWS = 20_000

# Categorical columns with more states are clustered by their codes.
MAX_INDICATORS = 32

# An EiNet learns nothing from clusters of fewer rows: they join the nearest larger one.
MIN_CLUSTER_ROWS = 10

# Values beyond this many standard deviations are clipped: k-means would make a cluster of each.
LARGEST_DEVIATION = 3.0


def cluster_rows(
    estimator: Any,
    schema: Schema,
    X: np.ndarray,
    weight: np.ndarray | None,
    random_state: np.random.RandomState,
) -> np.ndarray:
    """Return the cluster of each row, 0, 1, ... without gaps, by the parameter kmeans.

    Raises
    ------
    ValueError, TypeError
        If kmeans is not a clusterer, or if there are fewer rows than clusters.
    """
    if len(X) < estimator.n_components:
        raise ValueError(f"n_samples={len(X)} should be >= n_components={estimator.n_components}.")
    clusterer = _clusterer(estimator, len(X), random_state)
    if estimator.n_components == 1 and estimator.kmeans is None:
        return np.zeros(len(X), dtype=np.int64)
    Z = assignment_features(schema, X, by_pixel=estimator.image_shape is not None)
    labels = _labels(clusterer, Z, weight)
    weight = np.ones(len(X)) if weight is None else weight
    merged = _merged(Z, labels, weight)
    wanted = max(len(np.unique(labels[labels >= 0])), getattr(clusterer, "n_clusters", None) or 1)
    if merged.max() + 1 < wanted:
        warnings.warn(
            f"Of {wanted} clusters, {wanted - merged.max() - 1} were empty or had fewer than "
            f"{MIN_CLUSTER_ROWS} rows and were merged with the nearest one: the mixture has "
            f"{merged.max() + 1} components. Reduce n_components, or the clusters of kmeans.",
            UserWarning,
            stacklevel=levels_to_caller(),
        )
    return merged


def cluster_centers(X: np.ndarray, weight: np.ndarray | None, labels: np.ndarray) -> np.ndarray:
    """Return the mean of the observed cells of each cluster, (n_clusters, n_features).

    A column without observed cells in a cluster gets its mean over all rows.
    """
    weight = np.ones(len(X)) if weight is None else weight
    total = np.zeros((labels.max() + 1, X.shape[1]))
    mass = np.zeros_like(total)
    for rows in slices(len(X), max(1, CELLS_AT_A_TIME // X.shape[1])):
        member = (labels[rows] == np.arange(len(total))[:, None]) * weight[rows]
        x = X[rows].astype(np.float64)
        seen = ~np.isnan(x)
        total += member @ np.where(seen, x, 0)
        mass += member @ seen
    overall = total.sum(0) / mass.sum(0)
    return np.where(mass > 0, total / np.where(mass > 0, mass, 1), overall)


def assignment_features(schema: Schema, X: np.ndarray, by_pixel: bool) -> np.ndarray:
    """Return rows as clusterers see them: columns of mean 0 and variance 1, missing cells 0.

    Extreme values are clipped first, and then values beyond 3 standard deviations. A categorical
    column becomes one indicator for each state, with a total variance of 1. Pixels have a common
    unit, so that all are divided by the same number: a pixel that hardly varies matters little.

    Returns
    -------
    Z : ndarray of float32 of shape (n_samples, n_outputs)
    """
    n_states = np.ones(X.shape[1], dtype=int)
    for group in schema.own_groups:
        if (
            isinstance(group.family, Categorical)
            and 2 < group.family.n_statistics <= MAX_INDICATORS
        ):
            n_states[group.columns] = 1 if by_pixel else group.family.n_statistics
    column = np.repeat(np.arange(X.shape[1]), n_states)
    state = np.arange(len(column)) - np.repeat(np.cumsum(n_states) - n_states, n_states)
    is_state = n_states[column] > 1
    Z = np.empty((len(X), len(column)), dtype=np.float32)
    total, square, mass = np.zeros((3, len(column)))
    first = _first_observed(X)
    blocks = list(slices(len(X), max(1, CELLS_AT_A_TIME // len(column))))
    # Squares of very large and very small numbers would overflow or underflow.
    unit = np.zeros(X.shape[1])
    typical = schema.typical
    first = first.clip(*typical)
    for rows in blocks:
        x = X[rows].astype(np.float64).clip(*typical)
        unit = np.fmax(unit, np.fmax.reduce(np.abs(x - first)))
    if by_pixel:
        unit[:] = unit.max()
    shift = np.where(is_state, 0.0, first[column])
    unit = np.where(is_state | (unit[column] == 0), 1.0, unit[column])
    for rows in blocks:
        z = X[rows].astype(np.float64).clip(*typical)[:, column]
        z = (np.where(is_state & ~np.isnan(z), z == state, z) - shift) / unit
        mass += (~np.isnan(z)).sum(0)
        total += np.nansum(z, axis=0)
        square += np.nansum(z * z, axis=0)
        Z[rows] = z
    mean = total / mass
    variance = np.bincount(column, (square / mass - mean**2).clip(0))
    if by_pixel:
        variance[:] = variance.mean()
    scale = np.sqrt(np.where(variance > 0, variance, 1.0))[column]
    for rows in blocks:
        Z[rows] = np.nan_to_num((Z[rows] - mean) / scale).clip(
            -LARGEST_DEVIATION, LARGEST_DEVIATION
        )
    return Z


def _first_observed(X: np.ndarray) -> np.ndarray:
    """Return a value of each column; squares of differences from it lose fewer digits."""
    rows = (~np.isnan(X)).argmax(0) if X.dtype.kind == "f" else np.zeros(X.shape[1], dtype=int)
    return X[rows, np.arange(X.shape[1])].astype(np.float64)


def _clusterer(estimator: Any, n_rows: int, random_state: np.random.RandomState) -> Any:
    """Return an unfitted clusterer with the number of clusters that was asked for."""
    if estimator.kmeans is None:
        kind = KMeans if n_rows < MANY_ROWS else MiniBatchKMeans
        return kind(estimator.n_components, random_state=random_state.randint(2**31))
    is_object = not isinstance(estimator.kmeans, type) and hasattr(estimator.kmeans, "get_params")
    if not is_object or not hasattr(estimator.kmeans, "fit_predict"):
        raise TypeError(
            "kmeans must be a clusterer with the method fit_predict, such as "
            f"sklearn.cluster.KMeans(), got {estimator.kmeans!r}."
        )
    clusterer = clone(estimator.kmeans)
    for name, value in clusterer.get_params().items():
        kind = name.split("__")[-1]  # of a step, if it is a pipeline
        if kind == "n_clusters" and value is not None:
            clusterer.set_params(**{name: estimator.n_components})
        if kind == "random_state" and value is None:
            clusterer.set_params(**{name: random_state.randint(2**31)})
    return clusterer


def _labels(clusterer: Any, Z: np.ndarray, weight: np.ndarray | None) -> np.ndarray:
    """Return the labels that fit_predict gives, checked."""
    takes_weight = "sample_weight" in signature(clusterer.fit_predict).parameters
    if weight is not None and takes_weight:
        labels = clusterer.fit_predict(Z, sample_weight=weight / weight.max())
    else:
        labels = clusterer.fit_predict(Z)
    labels = np.asarray(labels)
    if labels.shape != (len(Z),) or labels.dtype.kind not in "iu":
        raise ValueError(
            f"fit_predict of kmeans={clusterer!r} must return an integer label for each row, got "
            f"{labels.dtype} of shape {labels.shape} for {len(Z)} rows."
        )
    return labels


def _merged(Z: np.ndarray, labels: np.ndarray, weight: np.ndarray) -> np.ndarray:
    """Return labels without gaps: tiny clusters, and rows without one (-1), join the nearest."""
    numbers, clusters = np.unique(labels, return_inverse=True)
    is_noise = labels < 0
    n_rows = np.bincount(clusters)
    centers = np.stack(
        [
            np.average(Z[clusters == i], axis=0, weights=weight[clusters == i])
            for i in range(len(n_rows))
        ]
    )
    becomes = np.arange(len(n_rows))
    kept = numbers >= 0
    if not kept.any():
        return np.zeros(len(labels), dtype=np.int64)
    while kept.sum() > 1 and n_rows[kept].min() < MIN_CLUSTER_ROWS:
        small = np.flatnonzero(kept)[n_rows[kept].argmin()]
        kept[small] = False
        near = _nearest(centers[small : small + 1], centers, kept)[0]
        becomes[becomes == small] = near
        pair = [near, small]
        centers[near] = np.average(centers[pair], axis=0, weights=n_rows[pair])
        n_rows[near] += n_rows[small]
    result = becomes[clusters]
    if is_noise.any():
        result[is_noise] = _nearest(Z[is_noise], centers, kept)
    return np.unique(result, return_inverse=True)[1]


def _nearest(points: np.ndarray, centers: np.ndarray, allowed: np.ndarray) -> np.ndarray:
    """Return the nearest of the allowed centres for each point."""
    candidates = np.flatnonzero(allowed)
    return candidates[pairwise_distances_argmin(points, centers[candidates])]
