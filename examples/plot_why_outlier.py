"""
Why is this row an outlier?
===========================

An outlier detector says that a row is unusual. :meth:`~sklearn_einet.EinetDensity.feature_scores`
says which of its cells make it so: for every cell, how unlikely its value is given all other
cells of the row. One call scores all cells of all rows.
"""

# %%
# A model of wines. Five more wines are looked at, of which three get a wrong cell: an alcohol
# content that other cultivars have, a decimal point in the wrong place, and flavanoids of yet
# another cultivar.
import matplotlib.pyplot as plt
import numpy as np
from sklearn.datasets import load_wine

from sklearn_einet import EinetDensity
from sklearn_einet.inspection import ConditionalDensityDisplay, FeatureScoresDisplay

wine = load_wine(as_frame=True).data
model = EinetDensity(random_state=0).fit(wine.iloc[5:])
rows = wine.iloc[:5].copy()
rows.loc[0, "alcohol"] = 11.4
rows.loc[1, "hue"] = 10.5
rows.loc[2, "flavanoids"] = 0.7
rows.loc[3, "magnesium"] = np.nan
print("log-densities of the five rows:", model.score_samples(rows).round(1))

# %%
# The cells that stick out. Scores are in nats above what is usual in their column: a cell of 5
# nats is e\ :sup:`5` times less likely than a usual one. Grey cells are missing.
display = FeatureScoresDisplay.from_estimator(model, rows, max_features=None)
display.figure_.set_size_inches(9, 4.5)
display.ax_.set_title("Which cells do not fit their row?")

# %%
# The same for a single row: an alcohol content of 11.4% is low, but other wines have it. Given the
# rest of this wine, it cannot be.
figure, axes = plt.subplots(1, 3, figsize=(15, 4.2), layout="constrained")
row = rows.iloc[[0]]
FeatureScoresDisplay.from_estimator(model, row, method="marginal", max_features=8, ax=axes[0])
axes[0].set_title("each cell by itself")
FeatureScoresDisplay.from_estimator(model, row, max_features=8, ax=axes[1])
axes[1].set_title("each cell given the rest")
ConditionalDensityDisplay.from_estimator(model, row, "alcohol", ax=axes[2])
axes[2].set_title("what alcohol should be")

# %%
# Knowing which cell is wrong, it can be replaced by what the rest of the row suggests.
suspicious = wine.columns[model.feature_scores(row).to_numpy().argmax()]
gap = row.assign(**{suspicious: np.nan})
expected, variance = (frame[suspicious].item() for frame in (model.mean(gap), model.variance(gap)))
print(
    f"{suspicious} of row 0 was {wine.loc[0, suspicious]} and was replaced by 11.4; the model "
    f"expects {expected:.1f} +- {np.sqrt(variance):.1f}"
)
plt.show()
