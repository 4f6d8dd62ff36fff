"""
Estimate how many rows meet a condition
=======================================

How many rows have values in certain ranges? Databases and dashboards answer this question all the
time. :meth:`~sklearn_einet.EinetDensity.interval_log_proba` answers it from a fitted model,
without the rows: it returns the log-probability of ranges in any number of columns. The result is
exact for ranges in one or two columns. If three or more numeric columns depend on each other, it
takes longer and has a stated error.
"""

# %%
# Ask one question
# ----------------
# The table has ten measurements of 569 tumours. The model learns from one half; the rows of the
# other half are counted. How many of these have a mean radius of 12 to 15 and a mean smoothness
# of at most 0.09? Columns that are not mentioned may have any value.
import matplotlib.pyplot as plt
import numpy as np
from sklearn.datasets import load_breast_cancer

from sklearn_einet import EinetDensity

table = load_breast_cancer(as_frame=True).data.iloc[:, :10]
table = table.sample(frac=1, random_state=0)
train, test = table.iloc[:284], table.iloc[284:]
model = EinetDensity(random_state=0).fit(train)

low, high = {"mean radius": 12}, {"mean radius": 15, "mean smoothness": 0.09}
expected = len(test) * np.exp(model.interval_log_proba(low, high))[0]
counted = (test["mean radius"].between(12, 15) & (test["mean smoothness"] <= 0.09)).sum()
print(f"{expected:.0f} rows expected, {counted} rows counted")

# %%
# Ask a thousand questions
# ------------------------
# Each question has random ranges in two random columns. The model is compared with two other
# estimates. Most databases treat columns as independent. Counting the training rows is as
# accurate as asking the model, but needs the rows.
rng = np.random.RandomState(0)
n_boxes = 1000
low = np.full((n_boxes, table.shape[1]), np.nan)
high = low.copy()
for box in range(n_boxes):
    for column in rng.choice(table.shape[1], 2, replace=False):
        share = np.sort(rng.uniform(size=2))
        low[box, column], high[box, column] = np.quantile(train.iloc[:, column], share)


def inside(X):
    X = X.to_numpy()[:, None]
    return ~(low > X) & ~(high < X)


counted = inside(test).all(axis=2).sum(axis=0)
names = table.columns
boxes = (table.__class__(side, columns=names) for side in (low, high))
estimates = {
    "EinetDensity": len(test) * np.exp(model.interval_log_proba(*boxes)),
    "training rows": inside(train).all(axis=2).sum(axis=0),
    "independent columns": len(test) * inside(train).mean(axis=0).prod(axis=1),
}
errors = {name: np.sqrt(np.mean((n - counted) ** 2)) for name, n in estimates.items()}
for name, error in errors.items():
    print(f"{name:20s} root mean squared error: {error:.1f} rows")

figure, axes = plt.subplots(1, 2, figsize=(8.5, 4), sharey=True, layout="constrained")
for axis, name in zip(axes, ["EinetDensity", "independent columns"], strict=True):
    axis.plot([0, 250], [0, 250], color="grey", linewidth=1)
    axis.plot(counted, estimates[name], ".", alpha=0.4)
    axis.set(title=f"{name} (error {errors[name]:.1f})", xlabel="rows counted in the other half")
axes[0].set_ylabel("rows estimated")
plt.show()
