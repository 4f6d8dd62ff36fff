"""Densities from other libraries in the form of scikit-learn estimators, for continuous.py.

Each has `fit`, `score_samples`, and `chosen_`: what it chose by itself. Libraries are imported
when a model is fitted.
"""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
from scipy.special import logsumexp, ndtr
from sklearn.base import BaseEstimator
from sklearn.mixture import GaussianMixture
from sklearn.model_selection import train_test_split

# The share and the scale of a t density with 3 degrees of freedom in each column, mixed into
# densities that are 0 somewhere.
OUTSIDE = 1e-3
OUTSIDE_SCALE = 3.0


def nowhere_zero(log_density: np.ndarray, X: np.ndarray) -> np.ndarray:
    """Log-densities of a model, a thousandth of which is a wide density."""
    log_constant = np.log(2 / (np.pi * np.sqrt(3) * OUTSIDE_SCALE))
    wide = (log_constant - 2 * np.log1p((X / OUTSIDE_SCALE) ** 2 / 3)).sum(axis=1)
    return np.logaddexp(np.log1p(-OUTSIDE) + log_density, np.log(OUTSIDE) + wide)


class BICMixture(BaseEstimator):
    """A GaussianMixture whose components and covariances are those of the lowest BIC.

    For each kind of covariances components are added, up to `max_components`, until `patience`
    more of them have not made the BIC of that kind lower.
    """

    def __init__(
        self, max_components: int = 32, patience: int = 8, random_state: int | None = None
    ) -> None:
        self.max_components = max_components
        self.patience = patience
        self.random_state = random_state

    def fit(self, X: np.ndarray, y: None = None) -> BICMixture:
        """Try kinds and numbers of components; a fit that fails is the last of its kind."""
        best: dict[str, float] = {}
        for kind in ["full", "tied", "diag", "spherical"]:
            best[kind], best_n, n = np.inf, 0, 1
            while n <= min(self.max_components, len(X)) and n <= best_n + self.patience:
                mixture = GaussianMixture(n, covariance_type=kind, random_state=self.random_state)
                try:
                    bic = mixture.fit(X).bic(X)
                except ValueError:
                    break
                if bic < min(best.values()):
                    self.mixture_ = mixture
                if bic < best[kind]:
                    best[kind], best_n = bic, n
                n += 1
        self.chosen_ = {
            "n_components": self.mixture_.n_components,
            "covariance_type": self.mixture_.covariance_type,
        }
        return self

    def score_samples(self, X: np.ndarray) -> np.ndarray:
        """Log-densities."""
        return self.mixture_.score_samples(X)


class VineCopula(BaseEstimator):
    """A vine copula of pyvinecopulib with kernel margins.

    Parameters
    ----------
    pairs : {"kernel, constant", "kernel, quadratic", "all"}
        Pair copulas: kernel estimates by local likelihood, of constants or quadratic functions,
        unless independence has a better AIC; or by mBICV these (constant), or Gaussian, Clayton,
        Gumbel, Frank or Joe copulas, truncated where that has a better mBICV.
    """

    def __init__(self, pairs: str = "kernel, constant") -> None:
        self.pairs = pairs

    def fit(self, X: np.ndarray, y: None = None) -> VineCopula:
        """Fit the margins, and then the vine."""
        from pyvinecopulib import BicopFamily, FitControlsVinecop, Vinedist

        parametric = ["gaussian", "clayton", "gumbel", "frank", "joe"]
        of_all = self.pairs == "all"
        names = ["indep", "tll", *(parametric if of_all else [])]
        controls = FitControlsVinecop(
            family_set=[getattr(BicopFamily, name) for name in names],
            nonparametric_method="constant" if of_all else self.pairs.split(", ")[1],
            selection_criterion="mbicv" if of_all else "aic",
            select_trunc_lvl=of_all,
            num_threads=1,
        )
        self.vine_ = Vinedist.from_data(X, controls)
        return self

    def score_samples(self, X: np.ndarray) -> np.ndarray:
        """Log-densities; the margins' kernels end a little beyond the training rows."""
        with np.errstate(divide="ignore"):
            return nowhere_zero(np.asarray(self.vine_.logpdf(X)), X)


class SplineFlow(BaseEstimator):
    """A neural spline flow of zuko: autoregressive, three transforms, two hidden layers of 64.

    Adam in float32, until a tenth of the rows that is held out has not become more likely for
    `patience` epochs, or for `max_steps` steps; the best epoch counts.
    """

    def __init__(
        self,
        max_steps: int = 3000,
        patience: int = 15,
        batch_size: int = 256,
        learning_rate: float = 2e-3,
        random_state: int | None = None,
    ) -> None:
        self.max_steps = max_steps
        self.patience = patience
        self.batch_size = batch_size
        self.learning_rate = learning_rate
        self.random_state = random_state

    def fit(self, X: np.ndarray, y: None = None) -> SplineFlow:
        """Train, and return to the best epoch."""
        import torch
        from zuko.flows import NSF

        torch.manual_seed(self.random_state or 0)
        parts = train_test_split(X, test_size=0.1, random_state=self.random_state)
        rows, held_out = (torch.as_tensor(part, dtype=torch.float32) for part in parts)
        flow = NSF(X.shape[1], transforms=3, hidden_features=(64, 64))
        optimizer = torch.optim.Adam(flow.parameters(), lr=self.learning_rate)
        best, best_epoch, state, epoch, steps = -np.inf, 0, flow.state_dict(), 0, 0
        while steps < self.max_steps and epoch - best_epoch <= self.patience:
            for batch in torch.randperm(len(rows)).split(self.batch_size):
                loss = -flow().log_prob(rows[batch]).mean()
                optimizer.zero_grad()
                loss.backward()
                torch.nn.utils.clip_grad_norm_(flow.parameters(), 5.0)
                optimizer.step()
                steps += 1
            epoch += 1
            with torch.no_grad():
                score = float(flow().log_prob(held_out).mean())
            if score > best:
                best, best_epoch, state = score, epoch, copy.deepcopy(flow.state_dict())
        flow.load_state_dict(state)
        self.flow_, self.chosen_ = flow, {"epochs": best_epoch}
        return self

    def score_samples(self, X: np.ndarray) -> np.ndarray:
        """Log-densities."""
        import torch

        with torch.no_grad():
            rows = torch.as_tensor(X, dtype=torch.float32)
            return self.flow_().log_prob(rows).double().numpy()


class AdversarialForest(BaseEstimator):
    """An adversarial random forest of arfpy: a mixture of leaves with truncated normal densities.

    arfpy has no likelihood: it follows here from the bounds, means and deviations of its leaves.
    Nor has it a floor of deviations, without which rows that agree in a column have no density: a
    tenth of the rows is held out and chooses the floor.

    Parameters
    ----------
    floors : tuple of float
        Least standard deviations of leaves, of which one is chosen.
    n_trees, min_node_size : int
        As in arfpy.
    random_state : int, optional
    """

    def __init__(
        self,
        floors: tuple[float, ...] = (1e-3, 1e-2, 1e-1, 0.3),
        n_trees: int = 30,
        min_node_size: int = 5,
        random_state: int | None = None,
    ) -> None:
        self.floors = floors
        self.n_trees = n_trees
        self.min_node_size = min_node_size
        self.random_state = random_state

    def fit(self, X: np.ndarray, y: None = None) -> AdversarialForest:
        """Grow the forest, describe its leaves, and choose the floor."""
        import pandas as pd

        # arfpy 0.1.1 calls np.in1d, which NumPy 2.4 has no more, and draws from NumPy's state.
        vars(np).setdefault("in1d", np.isin)
        from arfpy import arf

        rows, held_out = train_test_split(X, test_size=0.1, random_state=self.random_state)
        np.random.seed(self.random_state or 0)
        frame = pd.DataFrame(rows, columns=[f"c{j}" for j in range(X.shape[1])])
        forest = arf.arf(
            frame,
            num_trees=self.n_trees,
            min_node_size=self.min_node_size,
            verbose=False,
            random_state=self.random_state,
        )
        forest.forde()
        self.trees_ = [
            tree_leaves(forest.params, forest.bnds, t, list(frame)) for t in range(self.n_trees)
        ]
        scores = [self._log_density(held_out, floor).mean() for floor in self.floors]
        self.floor_ = self.floors[int(np.argmax(scores))]
        self.chosen_ = {"floor": self.floor_}
        return self

    def score_samples(self, X: np.ndarray) -> np.ndarray:
        """Log-densities."""
        return self._log_density(X, self.floor_)

    def _log_density(self, X: np.ndarray, floor: float) -> np.ndarray:
        """The mean of the trees' densities."""
        by_tree = [log_density_of_tree(X, leaves, floor) for leaves in self.trees_]
        return nowhere_zero(logsumexp(by_tree, axis=0) - np.log(len(by_tree)), X)


def log_density_of_tree(X: np.ndarray, leaves: dict[str, np.ndarray], floor: float) -> np.ndarray:
    """Log-densities of a tree; the boxes of its leaves do not overlap."""
    mean, low, high = leaves["mean"], leaves["min"], leaves["max"]
    deviation = np.maximum(np.nan_to_num(leaves["sd"]), floor)
    within = np.ones((len(X), len(mean)), dtype=bool)
    for j, column in enumerate(X.T):
        within &= (column[:, None] > low[:, j]) & (column[:, None] <= high[:, j])
    row, leaf = np.nonzero(within)
    inside = ndtr((high - mean) / deviation) - ndtr((low - mean) / deviation)
    constants = -np.log(deviation * inside * np.sqrt(2 * np.pi)).sum(axis=1)
    constants += np.log(leaves["share"])
    z = (X[row] - mean[leaf]) / deviation[leaf]
    log_density = np.full(len(X), -np.inf)
    np.logaddexp.at(log_density, row, constants[leaf] - 0.5 * (z**2).sum(axis=1))
    return log_density


def tree_leaves(parameters: Any, bounds: Any, tree: int, names: list[str]) -> dict[str, np.ndarray]:
    """The leaves of a tree as arrays of shape (leaves, columns), and their shares of the rows."""
    of_tree = parameters[parameters["tree"] == tree]
    bounds = bounds[bounds["tree"] == tree].drop_duplicates("nodeid").set_index("nodeid")
    arrays = {}
    for key in ("mean", "sd", "min", "max"):
        table = of_tree.pivot(index="nodeid", columns="variable", values=key)[names]
        arrays[key] = table.to_numpy(np.float64)
    arrays["share"] = bounds["cvg"].loc[table.index].to_numpy(np.float64)
    return arrays
