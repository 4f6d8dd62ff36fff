"""A table with columns of all kinds that depend on each other."""

import numpy as np
import pandas as pd

N = 600
SMALL = {"K": 4, "max_iter": 60, "tol": 1e-2, "random_state": 0}
LEAF = {"poisson": ["visits"], "gamma": ["wait"], "beta": ["share"], "binomial": ["wins"]}


def frame_of(n=N, seed=0):
    rng = np.random.RandomState(seed)
    sex = rng.choice(["female", "male", "other"], n, p=[0.45, 0.4, 0.15])
    age = rng.normal(40, 12, n).round(1)
    grade = np.digitize(age + 10 * rng.standard_normal(n), [33, 47])
    return pd.DataFrame(
        {
            "age": age,
            "sex": sex,
            "income": np.exp(rng.normal(9 + 0.02 * age, 0.4)),
            "city": pd.Categorical(rng.choice(["Bern", "Oslo", "Rome"], n)),
            "grade": pd.Categorical.from_codes(grade, ["low", "mid", "high"], ordered=True),
            "member": (sex == "male") ^ (rng.rand(n) < 0.2),
            "visits": rng.poisson(np.where(sex == "male", 2, 5)),
            "wait": rng.gamma(2, age / 20) + 0.01,
            "share": rng.beta(2, 3, n),
            "wins": rng.binomial(6, 0.4, n),
            "same": 5.0,
        }
    )


FRAME = frame_of()
NAMES = list(FRAME)
