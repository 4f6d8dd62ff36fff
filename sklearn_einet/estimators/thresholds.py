"""The outlier threshold of a fit."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from sklearn_einet.circuit import Circuit
from sklearn_einet.model.gap_patterns import rows_to_compare
from sklearn_einet.model.outlier_scores import AUTO_CONTAMINATION, threshold_and_distribution
from sklearn_einet.model.table_density import TableDensity
from sklearn_einet.tables.in_memory import InMemoryTable
from sklearn_einet.tables.table import Table

__all__ = ["LATER", "outlier_attributes", "with_later_threshold", "with_threshold"]

# The classes: outlier, inlier.
LABELS = np.array([-1, 1])

# The attributes that need the scores of rows.
LATER = ("offset_", "_score_distribution")


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
        "classes_": LABELS.copy(),
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

    p-values compare rows with held-out rows as scored by the circuit `calibration`, if there is
    one. Labels of the rows themselves follow from their scores in queries. Known log-densities of
    the rows, as queries return them, are not computed again.
    """
    density = learned["table_density_"]
    rows = density, table, contamination, calibration
    found = None if log_density is not None else _threshold_of_held_out(*rows, held_out)
    if found is None:
        scores, unseen = _scores_of_fit(*rows, held_out, log_density)
        found = outlier_attributes(scores, table.weight, contamination, held_out, unseen)
    return learned | found


def with_later_threshold(
    learned: dict[str, Any], table: Table, contamination: float | str
) -> dict[str, Any]:
    """Return learned attributes, and `_ask_later`, a function that returns those of `LATER`.

    Rows that are not in memory may be gone later, so that their threshold is computed now.
    """
    if not isinstance(table, InMemoryTable):
        return with_threshold(learned, table, contamination)
    # Streams often write the next rows into the array that held these.
    rows = InMemoryTable(table.array.copy(), table.weight)
    density = {"table_density_": learned["table_density_"]}

    def ask_later() -> dict[str, Any]:
        found = with_threshold(density, rows, contamination)
        return {name: found[name] for name in LATER}

    return learned | {"classes_": LABELS.copy(), "_ask_later": ask_later}


def _threshold_of_held_out(
    density: TableDensity,
    table: Table,
    contamination: float | str,
    calibration: Circuit | None,
    held_out: np.ndarray | None,
) -> dict[str, Any] | None:
    """Return the attributes computed from held-out rows alone, if all rows would give the same.

    Return None otherwise. The other rows matter only for a share of all rows, and for whether both
    labels occur: if they occur among the held-out rows, they occur among all.
    """
    if not isinstance(contamination, str) or held_out is None or not len(held_out):
        return None
    usual = table.selected(held_out)
    all_of_them = np.arange(len(usual))
    scores, unseen = _scores_of_fit(density, usual, contamination, calibration, all_of_them)
    found = outlier_attributes(scores, usual.weight, contamination, unseen=unseen)
    offset = found["offset_"]
    is_free = offset == found["_score_distribution"].quantile(AUTO_CONTAMINATION)
    have_both = (scores < offset).any() and (scores >= offset).any()
    return found if is_free and have_both else None


def _scores_of_fit(
    density: TableDensity,
    table: Table,
    contamination: float | str,
    calibration: Circuit | None,
    held_out: np.ndarray | None,
    log_density: np.ndarray | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """Return the training rows' comparable scores, as queries and as calibration see them.

    Parameters
    ----------
    density : TableDensity
    table : Table
    contamination : float or "auto"
    calibration : Circuit or None
        A circuit that has not learned from held-out rows; None if the density has not either.
    held_out : ndarray of int or None
    log_density : ndarray of shape (n_samples,) or None, default=None
        The rows' log-densities, if they are known.

    Returns
    -------
    scores, unseen : ndarray of shape (n_samples,)
        As in `threshold_and_distribution`.
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
