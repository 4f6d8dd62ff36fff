"""Generators of rows for synthetic.py, with `fit`, `sample`, and `note_` for their own choices.

Libraries are imported when a model is fitted.
"""

from __future__ import annotations

from importlib.util import find_spec
from typing import Any

import numpy as np
import pandas as pd
from _frames import decimals, numeric
from joblib import parallel_config

MISSING = "(missing)"


class TrainingRows:
    """The training rows themselves, which no model can beat except in privacy."""

    library = "pandas"
    note_ = ""

    def fit(self, train: pd.DataFrame) -> TrainingRows:
        """Keep the rows."""
        self.train_ = train
        return self

    def sample(self, n_rows: int) -> pd.DataFrame:
        """Draw some of the rows, all if there are to be as many."""
        return self.train_.sample(n_rows, replace=n_rows > len(self.train_), random_state=0)


class IndependentColumns(TrainingRows):
    """The training rows with each column shuffled by itself."""

    def sample(self, n_rows: int) -> pd.DataFrame:
        """Draw each column from its training values."""
        rng = np.random.RandomState(0)
        n = len(self.train_)
        rows = [
            rng.permutation(n) if n_rows == n else rng.randint(n, size=n_rows)
            for _ in range(self.train_.shape[1])
        ]
        columns = {
            name: self.train_[name].iloc[chosen].reset_index(drop=True)
            for name, chosen in zip(self.train_, rows, strict=True)
        }
        return pd.DataFrame(columns)


class Einet:
    """EinetDensity with its defaults, which learns gaps as well."""

    library = "sklearn_einet"
    note_ = ""
    K: int | None = None

    def fit(self, train: pd.DataFrame) -> Einet:
        """Fit the density."""
        from sklearn_einet import EinetDensity

        self.model_ = EinetDensity(K=self.K, learn_gaps=True, random_state=0).fit(train)
        return self

    def sample(self, n_rows: int) -> pd.DataFrame:
        """Draw rows, as they come."""
        return self.model_.sample(n_rows, random_state=0)


class LargeEinet(Einet):
    """The same with more densities of each group of columns."""

    K = 128


class LargestEinet(Einet):
    """The same with still more of them."""

    K = 256


class Rival:
    """A model of complete rows whose numbers have no grid.

    As SDV does for such models, gaps in numeric columns are filled with the mean and put back at
    random, missing categories are a category, and drawn numbers are clipped to the range of their
    column and rounded to its decimals.
    """

    library = ""
    note_ = ""

    def fit(self, train: pd.DataFrame) -> Rival:
        """Fit the model to complete rows."""
        self.train_ = train
        complete = train.copy()
        for name in train:
            if train[name].dtype != "category":
                complete[name] = train[name].fillna(train[name].mean()).astype(np.float64)
            elif train[name].isna().any():
                complete[name] = train[name].cat.add_categories([MISSING]).fillna(MISSING)
        self._fit(complete)
        return self

    def sample(self, n_rows: int) -> pd.DataFrame:
        """Draw rows, and make them look like those of the table."""
        drawn, rng = self._sample(n_rows), np.random.RandomState(0)
        columns = {}
        for name, seen in self.train_.items():
            values = drawn[name].reset_index(drop=True)
            if seen.dtype == "category":
                values = values.astype(object).where(values.astype(object) != MISSING, None)
                columns[name] = values.astype(seen.dtype)
                continue
            values = values.astype(np.float64).clip(seen.min(), seen.max())
            n_decimals = decimals(seen)
            if n_decimals is not None:
                values = values.round(n_decimals)
            columns[name] = values.mask(rng.random_sample(n_rows) < seen.isna().mean())
        return pd.DataFrame(columns)

    def _fit(self, complete: pd.DataFrame) -> None:
        raise NotImplementedError

    def _sample(self, n_rows: int) -> pd.DataFrame:
        raise NotImplementedError


class GaussianCopula(Rival):
    """A Gaussian copula of `copulas` with beta margins, the default of SDV.

    A category becomes a random number in an interval as long as its share, as there.
    """

    library = "copulas"
    note_ = "beta margins"

    def _fit(self, complete: pd.DataFrame) -> None:
        from copulas.multivariate import GaussianMultivariate
        from copulas.univariate import BetaUnivariate

        rng = np.random.RandomState(0)
        self.ends_: dict[str, pd.Series] = {}
        coded = complete.copy()
        for name in complete:
            if complete[name].dtype == "category":
                shares = complete[name].value_counts(normalize=True)
                self.ends_[name] = ends = shares[shares > 0].cumsum()
                of_rows = complete[name].astype(object)
                width = of_rows.map(shares.to_dict()).astype(np.float64)
                end = of_rows.map(ends.to_dict()).astype(np.float64)
                coded[name] = end - width * rng.random_sample(len(complete))
        self.model_ = GaussianMultivariate(distribution=BetaUnivariate, random_state=0)
        self.model_.fit(coded)

    def _sample(self, n_rows: int) -> pd.DataFrame:
        drawn = self.model_.sample(n_rows)
        for name, ends in self.ends_.items():
            place = np.searchsorted(ends.to_numpy(), drawn[name].to_numpy())
            drawn[name] = ends.index.astype(object)[np.minimum(place, len(ends) - 1)]
        return drawn


class _Network(Rival):
    """A network of `ctgan`, for its default number of epochs."""

    library = "ctgan"
    epochs = 300

    def _fit(self, complete: pd.DataFrame) -> None:
        import ctgan

        self.model_ = getattr(ctgan, type(self).__name__)(epochs=self.epochs, enable_gpu=False)
        self.model_.set_random_state(0)
        self.note_ = f"{self.epochs} epochs"
        discrete = [name for name in complete if name not in numeric(complete)]
        texts = {name: complete[name].astype(str) for name in discrete}
        self.values_ = {
            name: dict(zip(map(str, values), values, strict=True))
            for name, values in ((n, complete[n].cat.categories) for n in discrete)
        }
        # Its columns are prepared by processes, whose time would not count.
        with parallel_config(backend="sequential"):
            self.model_.fit(complete.assign(**texts), discrete)

    def _sample(self, n_rows: int) -> pd.DataFrame:
        drawn = self.model_.sample(n_rows)
        return drawn.assign(**{n: drawn[n].map(values) for n, values in self.values_.items()})


class TVAE(_Network):
    """A variational autoencoder."""


class CTGAN(_Network):
    """A generative adversarial network."""


class AdversarialForest(Rival):
    """An adversarial random forest of `arfpy`."""

    library = "arfpy"
    note_ = "30 trees"

    def _fit(self, complete: pd.DataFrame) -> None:
        # arfpy 0.1.1 calls np.in1d, which NumPy 2.4 has no more, and draws from NumPy's state.
        vars(np).setdefault("in1d", np.isin)
        from arfpy import arf

        np.random.seed(0)
        # It takes the names of columns for their places, which they are here.
        complete = complete.set_axis(range(complete.shape[1]), axis=1)
        self.model_ = arf.arf(complete, verbose=False, random_state=0)
        self.model_.forde()

    def _sample(self, n_rows: int) -> pd.DataFrame:
        return self.model_.forge(n=n_rows).set_axis(list(self.train_), axis=1)


MODELS: dict[str, Any] = {
    "einet": Einet,
    "einet K=128": LargeEinet,
    "einet K=256": LargestEinet,
    "ARF": AdversarialForest,
    "TVAE": TVAE,
    "CTGAN": CTGAN,
    "Gaussian copula": GaussianCopula,
    "independent columns": IndependentColumns,
    "training rows": TrainingRows,
}


def why_skipped(name: str) -> str | None:
    """Why a model cannot be run here, or None."""
    library = MODELS[name].library
    return None if find_spec(library) else f"{name}: skipped, no module {library}"
