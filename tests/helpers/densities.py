"""Quick densities, and tables for them."""

import numpy as np
import pandas as pd

from sklearn_einet import EinetDensity
from sklearn_einet.families import Binomial, FixedShapeGamma


def small(**parameters):
    fast = {"replicas": 3, "K": 4, "max_iter": 10, "early_stopping": False, "random_state": 0}
    return EinetDensity(**(fast | parameters))


def with_gaps(X, share=0.2, seed=0):
    X = np.array(X, dtype=float)
    X[np.random.RandomState(seed).rand(*X.shape) < share] = np.nan
    return X


def mixed_frame(n=400, seed=0):
    rng = np.random.RandomState(seed)
    cluster = rng.randint(2, size=n)
    return pd.DataFrame(
        {
            "age": rng.normal(40 + 10 * cluster, 5),
            "member": rng.rand(n) < 0.2 + 0.6 * cluster,
            "visits": rng.poisson(2 + 5 * cluster),
            "city": (cluster + rng.randint(2, size=n)).astype(float),
            "share": rng.beta(2 + cluster, 3),
            "wait": rng.exponential(3.0, size=n),
            "income": rng.lognormal(10 + cluster, 0.5),
            "passed": rng.binomial(8, 0.3 + 0.4 * cluster),
            "cost": rng.gamma(2.0, 10.0, size=n),
        }
    )


LEAVES = {
    "poisson": ["visits"],
    "categorical": "city",
    "beta": ["share"],
    "exponential": ["wait"],
    "log-normal": ["income"],
    Binomial(n_trials=8): ["passed"],
    FixedShapeGamma(2.0): ["cost"],
}
