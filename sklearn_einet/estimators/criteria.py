"""Criteria that weigh the fit of a model against its size."""

from __future__ import annotations

from typing import Any

import numpy as np

from sklearn_einet.estimators.base import BaseEinet
from sklearn_einet.model.outlier_scores import OutlierScores

__all__ = ["CriterionQueries"]


class CriterionQueries(BaseEinet):
    """Information criteria, as in `sklearn.mixture.GaussianMixture`."""

    @property
    def n_parameters_(self) -> int:
        """Number of free parameters.

        These are the weights of the sums, minus one for each sum since its weights add up to 1, and
        the parameters of the densities: the mean and variance of each univariate normal density,
        the means and covariances of each multivariate one. Maps of columns (`numeric_transform`)
        are not counted.
        """
        return self.circuit_.n_free_parameters

    def bic(self, X: Any) -> float:
        """Return the Bayesian information criterion (BIC) for some rows; lower is better.

        Parameters
        ----------
        X : array-like, or dask array or dataframe, of shape (n_samples, n_features)
            Normally the rows of fit. Missing cells are NaN, as in `score_samples`.

        Returns
        -------
        bic : float
            ``-2 * log_likelihood + n_parameters_ * log(n_samples)``, where the log-likelihood is
            the sum of the rows' log-densities in nats. inf if any row is impossible under the
            model.

        See Also
        --------
        score : The mean log-density, to compare models by rows that they have not seen.

        Notes
        -----
        Compare BIC only between models of the same rows in the same units. The criterion is made
        for models with fewer parameters than rows, which determine all of the parameters. Models
        with many latent variables are different: larger networks are often better on new rows
        than BIC suggests.

        Examples
        --------
        >>> from sklearn.datasets import load_iris
        >>> from sklearn_einet import EinetDensity
        >>> X = load_iris().data
        >>> small, large = (EinetDensity(K=K, max_iter=200, random_state=0).fit(X) for K in (2, 32))
        >>> small.n_parameters_, large.n_parameters_
        (147, 6207)
        >>> bool(small.bic(X) < large.bic(X))
        True
        """
        log_density = self._log_densities(X)
        return float(-2 * log_density.sum() + self.n_parameters_ * np.log(len(log_density)))

    def aic(self, X: Any) -> float:
        """Return the Akaike information criterion (AIC) for some rows; lower is better.

        Parameters
        ----------
        X : array-like, or dask array or dataframe, of shape (n_samples, n_features)
            Normally the rows of fit. Missing cells are NaN, as in `score_samples`.

        Returns
        -------
        aic : float
            ``-2 * log_likelihood + 2 * n_parameters_``, see `bic`.

        Examples
        --------
        >>> from sklearn.datasets import load_iris
        >>> from sklearn_einet import EinetDensity
        >>> X = load_iris().data
        >>> model = EinetDensity(K=2, max_iter=200, random_state=0).fit(X)
        >>> bool(model.aic(X) < model.bic(X))
        True
        """
        return float(-2 * self._log_densities(X).sum() + 2 * self.n_parameters_)

    def _log_densities(self, X: Any) -> np.ndarray:
        """Return the log-density of each row, computed."""
        return np.asarray(self._row_wise(X, OutlierScores.log_density))
