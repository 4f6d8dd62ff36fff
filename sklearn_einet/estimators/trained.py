"""Fits that continue from earlier parameters, or start from rows alone."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Self

import numpy as np
from sklearn.base import _fit_context

from sklearn_einet.estimators.base import restores_on_failure
from sklearn_einet.estimators.fresh import fresh_training
from sklearn_einet.estimators.queries import EinetQueries
from sklearn_einet.estimators.settings import Settings
from sklearn_einet.estimators.thresholds import LATER
from sklearn_einet.estimators.training import Training
from sklearn_einet.tables.randomness import new_random_state

__all__ = ["TrainedQueries"]


class TrainedQueries(EinetQueries):
    """The queries of a density that can learn from more rows."""

    random_state: Any
    n_iter_: int
    log_likelihoods_: np.ndarray
    _n_rows: float
    _n_epochs: int

    @restores_on_failure
    @_fit_context(prefer_skip_nested_validation=True)
    def partial_fit(self, X: Any, y: Any = None, sample_weight: Any = None) -> Self:
        """Update the density with more rows, by one pass of stochastic EM.

        The first call chooses families, units, structure and initial parameters, so its rows should
        be representative, some hundred at least. With `trim`, later calls leave out the rows that
        are least typical under the model so far: the share `trim`, or a tenth if it is "auto".
        `solver` is not used. There is no step of full EM at the end, unlike in `fit`: it would
        forget the rows of earlier calls.

        The outlier threshold is that of the rows of the last call. If they are in memory, it is
        computed only when `offset_` or a query needs it, or when the estimator is saved or copied.
        Until then, the estimator holds a copy of these rows.

        Parameters
        ----------
        X : array-like, or dask array or dataframe, of shape (n_samples, n_features)
            Missing cells are NaN. Memory maps and the like are read in slices, see `fit`.
        y : Ignored
            Not used, present for API consistency.
        sample_weight : array-like or dask array of shape (n_samples,), default=None
            Weights of the rows; 1 each if None.

        Returns
        -------
        self : EinetDensity
            The updated estimator. If partial_fit raises an error, the estimator is left as it was.
        """
        first = not hasattr(self, "table_density_")
        settings = replace(Settings.of(self), early_stopping=False, max_iter=1)
        report = settings.report
        if first:
            settings = replace(settings, trim=0.0)
        else:
            settings = replace(settings, report=report.silent())
        training = self._training(settings, X, sample_weight, fresh=first)
        seen = (0.0, 0) if first else (self._n_rows, self._n_epochs)
        history, counts = training.pass_once(Settings.of(self, solver="sem"), *seen)
        attributes = training.fitted_for_now(history) | counts
        here = {"log_likelihoods_": attributes["log_likelihoods_"]}
        if not first:
            attributes["n_iter_"] += self.n_iter_
            both = self.log_likelihoods_, attributes["log_likelihoods_"]
            attributes["log_likelihoods_"] = np.append(*both)
        self._commit(attributes)
        report.epoch(self.n_iter_, lambda: here)
        return self

    def _training(self, settings: Settings, X: Any, sample_weight: Any, fresh: bool) -> Training:
        """Prepare a fit, from data alone or from the parameters of the last fit."""
        fitted = None if fresh else self.table_density_
        encoding = None if fitted is None else fitted.encoding
        with settings.report.timed("reading the table"):
            table, encoding = self._table(X, sample_weight, encoding)
        random_state = new_random_state(self.random_state)
        if fitted is not None:
            return Training.continued(settings, fitted, self.region_graph_, table, random_state)
        return fresh_training(settings, table, encoding, self._column_names, random_state)

    def _commit(self, attributes: dict[str, Any]) -> None:
        """Replace the attributes that the last fit has set."""
        for name in ("validation_log_likelihoods_", *LATER, "_ask_later"):
            self.__dict__.pop(name, None)
        self._set(attributes)
