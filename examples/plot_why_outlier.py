"""
Explain why a row is an outlier
===============================

An outlier detector says which rows are atypical.
:meth:`~sklearn_einet.EinetDensity.feature_scores` says which cells are the reason: it scores each
cell by how unlikely its value is, given all other cells of the row. One call scores all cells of
all rows.
"""

# %%
# Change a few cells
# ------------------
# The table has 13 measurements of 178 wines. The model learns from all wines except the first
# five. In three of these, a cell is replaced by a wrong value: an alcohol content of another kind
# of wine, a hue with the decimal point in the wrong place, and the flavanoids of yet another
# kind. In a fourth wine, a cell is missing.
import matplotlib.pyplot as plt
import numpy as np
from sklearn.datasets import load_wine

from sklearn_einet import EinetDensity
from sklearn_einet.inspection import ConditionalDensityDisplay, FeatureScoresDisplay

wine = load_wine(as_frame=True).data.rename(columns={"od280/od315_of_diluted_wines": "od280/od315"})
model = EinetDensity(random_state=0).fit(wine.iloc[5:])
rows = wine.iloc[:5].copy()
rows.loc[0, "alcohol"] = 11.4
rows.loc[1, "hue"] = 10.5
rows.loc[2, "flavanoids"] = 0.7
rows.loc[3, "magnesium"] = np.nan
print("log-densities of the five wines:", model.score_samples(rows).round(1))

# %%
# Find the cells that do not fit
# ------------------------------
# Scores are shown in nats above those of typical cells of the same column. A cell with 5 nats is
# about 150 times (e\ :sup:`5`) less likely than a typical one. The missing cell is grey. In row
# 1, the hue is so extreme that most other cells do not fit it, either.
figure, axis = plt.subplots(figsize=(8.5, 4.2), layout="constrained")
_ = FeatureScoresDisplay.from_estimator(model, rows, max_features=None, ax=axis)
axis.set_title("Which cells do not fit their row?")
plt.show()

# %%
# If one wrong cell makes others look wrong, ask :meth:`~sklearn_einet.EinetDensity.explain`. It
# looks for few cells that together make a row an outlier, here the hue alone, and says what to
# expect instead. (The other wines are not outliers as a whole.)
print(model.explain(rows).round(3).to_string(index=False))

# %%
# Look at a single row
# --------------------
# An alcohol content of 11.4% is low, but other wines have it: by itself, the cell is not
# remarkable (left). Given the rest of this wine, it is the least expected cell by far (right).
row = rows.iloc[[0]]
figure, axes = plt.subplots(1, 2, figsize=(9, 3.8), layout="constrained")
FeatureScoresDisplay.from_estimator(model, row, method="marginal", max_features=6, ax=axes[0])
FeatureScoresDisplay.from_estimator(model, row, max_features=6, ax=axes[1])
axes[0].set_title("each cell by itself")
axes[1].set_title("each cell given the rest")
plt.show()

# %%
# What should the alcohol content be instead? The display shows the density of alcohol given the
# rest of this wine, and its density in all wines.
figure, axis = plt.subplots(figsize=(7, 3.5), layout="constrained")
_ = ConditionalDensityDisplay.from_estimator(model, row, "alcohol", ax=axis)
plt.show()

# %%
# Correct the cell
# ----------------
# Make the suspicious cell missing, and compute its expected value from the rest of the row.
suspicious = wine.columns[model.feature_scores(row).to_numpy().argmax()]
gap = row.assign(**{suspicious: np.nan})
expected, variance = model.mean(gap)[suspicious].item(), model.variance(gap)[suspicious].item()
print(
    f"{suspicious} of row 0 was {wine.loc[0, suspicious]} before the change to 11.4; the model "
    f"expects {expected:.1f} +- {np.sqrt(variance):.1f}"
)
