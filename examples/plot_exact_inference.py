"""
Exact inference in one picture
==============================

How can one model answer every question exactly? This page computes a tiny network by hand: four
yes-or-no columns, A to D, and ``K=2`` densities for each group of columns.
"""

# %%
# The network
# -----------
# Each column has two *leaves*: two distributions of that column, here the probabilities of 1. A
# group of columns, a *region*, has two densities as well. Each is a product over the parts of the
# region; a factor is a weighted sum (weights add up to 1) of the two densities of its part. The
# whole table is the last region. It has one density, which is the model.
from itertools import product

import matplotlib.pyplot as plt
import numpy as np

from sklearn_einet import EinetDensity

p_one = {"A": [0.9, 0.2], "B": [0.7, 0.1], "C": [0.6, 0.3], "D": [0.2, 0.8]}
weights = np.array([[0.8, 0.2], [0.1, 0.9]])  # of the two sums in every factor
root_weights = np.array([0.6, 0.4])


def leaf(column, value):
    """Return the two densities of a column at a value; a missing cell (None) has the factor 1."""
    if value is None:
        return np.ones(2)
    return np.array(p_one[column]) if value == 1 else 1 - np.array(p_one[column])


def one_pass(row):
    """Return the value of every region, from the leaves to the whole."""
    values = {column: leaf(column, value) for column, value in row.items()}
    for first, second in ("AB", "CD"):
        values[first + second] = (weights @ values[first]) * (weights @ values[second])
    values["ABCD"] = root_weights @ (values["AB"] * values["CD"])
    return values


# %%
# Any part of a row, in one pass
# ------------------------------
# The probability of a complete row is the value of the last region.
row = {"A": 1, "B": 1, "C": 0, "D": 1}
print(f"P(A=1, B=1, C=0, D=1) = {one_pass(row)['ABCD']:.4f}")

# %%
# If B is missing, we need the sum over both of its values. There is no need to try them: sums and
# products pass it down to the leaves of B, whose probabilities add up to 1. So a missing cell is
# the number 1, and a row with missing cells takes one pass like any other.
missing = one_pass({**row, "B": None})["ABCD"]
both = sum(one_pass({**row, "B": b})["ABCD"] for b in (0, 1))
print(f"P(A=1, C=0, D=1): {missing:.4f} in one pass, {both:.4f} by trying both values of B")

# %%
# A conditional probability is a ratio of two passes, one with B and one without.
known = one_pass(row)["ABCD"]
print(f"P(B=1 | A=1, C=0, D=1) = {known:.4f} / {missing:.4f} = {known / missing:.3f}")

# %%
# The same in one picture: on the left B is known, on the right it is missing.
PLACES = {"A": (0, 0), "B": (1, 0), "C": (2, 0), "D": (3, 0), "AB": (0.5, 1), "CD": (2.5, 1)}
PLACES["ABCD"] = (1.5, 2)
PARTS = {"AB": "AB", "CD": "CD", "ABCD": ["AB", "CD"]}


def draw(axis, row):
    values = one_pass(row)
    for region, parts in PARTS.items():
        for part in parts:
            axis.plot(*zip(PLACES[part], PLACES[region], strict=True), color="0.6", zorder=1)
    for region, (x, y) in PLACES.items():
        gap = row.get(region, 0) is None
        numbers = "\n".join(f"{value:.3g}" for value in np.atleast_1d(values[region]))
        name = f"{region} = {row[region]}" if region in row and not gap else region
        name = f"{region} missing" if gap else name
        box = {"boxstyle": "round", "facecolor": "moccasin" if gap else "aliceblue"}
        axis.text(x, y, numbers, ha="center", va="center", fontsize=11, bbox=box, zorder=2)
        axis.text(x, y - 0.33, name, ha="center", va="center", fontsize=10, zorder=2)
    axis.set(xlim=(-0.6, 3.6), ylim=(-0.5, 2.3))
    axis.set_axis_off()
    return values["ABCD"]


figure, axes = plt.subplots(1, 2, figsize=(9, 4.2), layout="constrained")
for axis, b, name in zip(axes, (1, None), ("with B", "without B"), strict=True):
    value = draw(axis, {**row, "B": b})
    axis.set_title(f"Pass {name}: {value:.4f}", fontsize=12)
figure.suptitle(f"P(B=1 | A=1, C=0, D=1) = {known:.4f} / {missing:.4f} = {known / missing:.3f}")
plt.show()

# %%
# The check
# ---------
# The sixteen rows have probabilities that add up to 1, and the ratio is what counting gives.
rows = [dict(zip("ABCD", bits, strict=True)) for bits in product((0, 1), repeat=4)]
probabilities = np.array([one_pass(r)["ABCD"] for r in rows])
given = np.array([(r["A"], r["C"], r["D"]) == (1, 0, 1) for r in rows])
b_is_one = np.array([r["B"] == 1 for r in rows])
counted = probabilities[given & b_is_one].sum() / probabilities[given].sum()
print(f"all rows: {probabilities.sum():.6f}; by counting: {counted:.3f}")

# %%
# A fitted model has the same parts, only more of them: a learned structure in place of pairs,
# K=32 in place of 2, and normal or categorical leaves. The passes work on logarithms, and on
# whole layers at a time, which is what makes an Einsum Network fast. Here are the same two passes
# through a model that was fitted to 2,000 of these rows.
table = np.array([list(r.values()) for r in rows], dtype=float)
drawn = table[np.random.default_rng(0).choice(16, 2000, p=probabilities)]
model = EinetDensity(leaf="bernoulli", K=2, random_state=0).fit(drawn)
log_known, log_missing = model.score_samples([[1, 1, 0, 1], [1, np.nan, 0, 1]])
print(f"from 2,000 rows: P(B=1 | A=1, C=0, D=1) = {np.exp(log_known - log_missing):.3f}")
