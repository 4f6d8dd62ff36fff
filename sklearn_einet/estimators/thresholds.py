"""The outlier threshold of a fit."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from sklearn_einet.circuit import Circuit
from sklearn_einet.model.gap_patterns import rows_to_compare
from sklearn_einet.model.outlier_scores import threshold_and_distribution
from sklearn_einet.model.table_density import TableDensity
from sklearn_einet.tables.table import Table

__all__ = ["outlier_attributes", "with_threshold"]


def outlier_attributes(
    scores: np.ndarray,
    weight: np.ndarray | None,
    contamination: float | str,
    held_out: np.ndarray | None = None,
    unseen: np.ndarray | None = None,
) -> dict[str, Any]:
    """Return the fitted attributes of the outlier interface; see `threshold_and_distribution`."""
    offset, distribution = threshold_and_distribution(
        scores, weight, contamination, held_out, unseen
    )
    return {
        "offset_": offset,
        "classes_": np.array([-1, 1]),
        "_score_distribution": distribution,
    }


def with_threshold(
    learned: dict[str, Any],
    table: Table,
    contamination: float | str,
    held_out: np.ndarray | None = None,
    calibration: Circuit | None = None,
    log_density: np.ndarray | None = None,
) -> dict[str, Any]:
    """Return learned attributes, and the outlier threshold of the rows.

    p-values compare with held-out rows as scored by the circuit `calibration`, if it is not the
    same; labels of the rows themselves follow from the scores that queries give them. Log-densities
    of the rows that are known, as queries give them, are not computed again.
    """
    density = learned["table_density_"]
    scores, unseen = _scores_of_fit(
        density, table, held_out, contamination, calibration, log_density
    )
    return learned | outlier_attributes(scores, table.weight, contamination, held_out, unseen)


def _scores_of_fit(
    density: TableDensity,
    table: Table,
    held_out: np.ndarray | None,
    contamination: float | str,
    calibration: Circuit | None,
    log_density: np.ndarray | None,
) -> tuple[np.ndarray, np.ndarray]:
    """Return the training rows' comparable scores, as queries and as calibration see them.

    Parameters
    ----------
    density : TableDensity
    table : Table
    held_out : ndarray of int or None
    contamination : float or "auto"
    calibration : Circuit or None
        A circuit that has not learned from held-out rows; None: neither has the density.
    log_density : ndarray of shape (n_samples,) or None
        The rows' log-densities, where they are known.

    Returns
    -------
    scores, unseen : ndarray of shape (n_samples,)
        As of `threshold_and_distribution`.
    """
    wanted = rows_to_compare(len(table), held_out, contamination)
    scores = density.comparable_scores(table, wanted, log_density)
    if calibration is None or held_out is None:
        return scores, scores
    unseen = scores.copy()
    unseen[held_out] = replace(density, circuit=calibration).comparable_scores(
        table.selected(held_out), None if wanted is None else wanted[held_out]
    )
    return scores, unseen
