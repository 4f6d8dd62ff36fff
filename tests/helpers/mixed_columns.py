"""Rows of strings, categories, booleans, counts and numbers, and models of them."""

import itertools

import numpy as np
import pandas as pd
import polars as pl
import pytest

from sklearn_einet import EinetDensity, EinetMixture

CATEGORIES = {
    "city": ["Bern", "Oslo", "Rome"],
    "grade": ["low", "mid", "high", "top"],  # ordered, and not as the alphabet; top never occurs
    "member": [False, True],
}
NAMES = ["city", "visits", "grade", "size", "member", "weight"]
LEAF = {"poisson": ["visits"]}
N_ROWS = 120


def records(n=N_ROWS, seed=0, missing=0.2):
    """Rows as dicts, None for missing cells."""
    rng = np.random.RandomState(seed)
    rows = []
    for kind in rng.randint(2, size=n):
        size = float(rng.normal(5 * kind, 1))
        row = {
            "city": CATEGORIES["city"][rng.randint(2) + kind],
            "visits": int(rng.poisson(2 + 4 * kind)),
            "grade": CATEGORIES["grade"][rng.randint(2) + kind],
            "size": size,
            "member": bool(rng.rand() < 0.2 + 0.6 * kind),
            "weight": size + float(rng.normal()),
        }
        rows.append({name: None if rng.rand() < missing else row[name] for name in NAMES})
    return rows


def pandas_frame(rows):
    types = {"city": "str", "visits": "Int64", "member": "boolean"}
    frame = pd.DataFrame(
        {n: pd.Series([r[n] for r in rows], dtype=types.get(n, object)) for n in NAMES}
    )
    grade = pd.CategoricalDtype(CATEGORIES["grade"], ordered=True)
    return frame.astype({"grade": grade, "size": float, "weight": float})


def polars_frame(rows):
    types = [pl.String, pl.Int64, pl.Enum(CATEGORIES["grade"]), pl.Float64, pl.Boolean, pl.Float64]
    return pl.DataFrame(rows, schema=dict(zip(NAMES, types, strict=True)))


def object_array(rows):
    return np.array([[row[name] for name in NAMES] for row in rows], dtype=object)


FRAMES = pytest.mark.parametrize("make", [pandas_frame, polars_frame], ids=["pandas", "polars"])
MODELS = {"density": EinetDensity, "mixture": EinetMixture}
ESTIMATORS = pytest.mark.parametrize("kind", MODELS)


def small(kind="density", **parameters):
    fast = {"K": 3, "max_iter": 5, "batch_size": 40, "random_state": 0, "leaf": LEAF}
    if kind == "mixture":
        fast["n_components"] = 2
    return MODELS[kind](**(fast | parameters))


def changed(rows, **cells):
    return [row | cells for row in rows]


def only(row, names):
    return {name: row[name] if name in names else None for name in NAMES}


def combinations(row, names=tuple(CATEGORIES)):
    """The row with all combinations of categories in place of those that it misses."""
    missing = [name for name in names if row[name] is None]
    return [
        row | dict(zip(missing, values, strict=True))
        for values in itertools.product(*(CATEGORIES[name] for name in missing))
    ]


NOTHING = dict.fromkeys(NAMES)
