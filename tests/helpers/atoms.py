"""A table of columns with atoms, grids and gaps, and models of it."""

import numpy as np
import pandas as pd

from sklearn_einet import EinetDensity, EinetMixture

NAMES = ["gain", "hours", "rooms", "size", "kind"]
FAST = {"K": 3, "max_iter": 4, "tol": 1, "random_state": 0}
STRUCTURES = ["auto", "chow-liu", "joint-normal", "binary-trees"]

# The numbers of hours, without those beyond what a density of them can be.
HOURS = np.arange(0.0, 250.0)


def table(n=1000, seed=0, gaps=0.1):
    """A zero-inflated column, heaped whole numbers, few values, numbers and categories."""
    rng = np.random.RandomState(seed)
    cluster = rng.randint(2, size=n)
    hours = rng.normal(45 + 10 * cluster, 12).round().clip(1)
    frame = pd.DataFrame(
        {
            "gain": np.where(rng.rand(n) < 0.7 - 0.4 * cluster, 0, rng.lognormal(1 + cluster, 0.5)),
            "hours": np.where(rng.rand(n) < 0.4 - 0.1 * cluster, 40, hours),
            "rooms": (cluster + rng.choice([1, 2, 4], n, p=[0.5, 0.3, 0.2])).astype(float),
            "size": rng.normal(3 * cluster, 1.0),
            "kind": np.where(rng.rand(n) < 0.2 + 0.5 * cluster, "a", rng.choice(["b", "c"], n)),
        }
    )
    return frame.mask(rng.rand(n, 5) < gaps)


def new(structure="auto", **parameters):
    if structure == "mixture":
        return EinetMixture(**({"n_components": 2} | FAST | parameters))
    return EinetDensity(**(FAST | {"structure": structure} | parameters))


def rows_of(**cells):
    """A DataFrame with some cells, the others missing."""
    n = max(np.size(each) for each in cells.values())
    frame = pd.DataFrame({name: np.full(n, np.nan) for name in NAMES}).astype({"kind": object})
    return frame.assign(**cells)


def units(model, rows):
    """Factors that turn the densities of a DataFrame's rows with atoms into probabilities."""
    schema = model.table_density_.schema
    result = np.ones(len(rows))
    for column, form in schema.states.forms.items():
        result[rows[schema.names[column]].isin(form.atoms)] *= form.unit
    return result


def probabilities(model, **cells):
    """Densities of the numbers of rows times probabilities of their atoms and categories."""
    rows = rows_of(**cells)
    return np.exp(model.score_samples(rows)) * units(model, rows)
