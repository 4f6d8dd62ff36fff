"""All queries of a fitted density."""

from __future__ import annotations

from sklearn_einet.estimators.completion import CompletionQueries
from sklearn_einet.estimators.criteria import CriterionQueries
from sklearn_einet.estimators.explanations import ExplanationQueries
from sklearn_einet.estimators.intervals import IntervalQueries
from sklearn_einet.estimators.outliers import OutlierQueries
from sklearn_einet.estimators.scores import ScoreQueries

__all__ = ["EinetQueries"]


class EinetQueries(
    ScoreQueries,
    CriterionQueries,
    CompletionQueries,
    IntervalQueries,
    OutlierQueries,
    ExplanationQueries,
):
    """All queries of a fitted density, however it was fitted; each file has one topic."""
