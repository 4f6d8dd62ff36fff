"""
How many rows would satisfy ...?
================================

Databases and dashboards ask how many rows fall into ranges of several columns. A fitted
:class:`~sklearn_einet.EinetDensity` answers from the model alone, without the rows:
:meth:`~sklearn_einet.EinetDensity.interval_log_proba` is the probability of any box under the
model, be it bounded in one column or in all. Of one or two columns it is exact. Where three or more
numeric columns depend on each other, it has a stated error, and takes longer.
"""

# %%
# The model learns from half of the tumours in the table; the other half is counted.
import matplotlib.pyplot as plt
import numpy as np
from sklearn.datasets import load_breast_cancer

from sklearn_einet import EinetDensity

table = load_breast_cancer(as_frame=True).data.iloc[:, :10]
table = table.sample(frac=1, random_state=0)
train, test = table.iloc[:284], table.iloc[284:]
model = EinetDensity(random_state=0).fit(train)

# %%
# One question: how many tumours have a mean radius of 12 to 15 and a smooth contour? Columns
# that are not mentioned have no bound.
low, high = {"mean radius": 12}, {"mean radius": 15, "mean smoothness": 0.09}
expected = len(test) * np.exp(model.interval_log_proba(low, high))[0]
counted = (test["mean radius"].between(12, 15) & (test["mean smoothness"] <= 0.09)).sum()
print(
    f"mean radius from 12 to 15, mean smoothness up to 0.09: {expected:.0f} expected, "
    f"{counted} counted"
)

# %%
# A thousand questions: boxes in two columns at random. Beside the model, the estimate of most
# databases, which takes columns for independent. Counting the rows that the model has learned
# from, if they are at hand, is as accurate as asking the model.
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
by_model = len(test) * np.exp(model.interval_log_proba(*boxes))
independent = len(test) * inside(train).mean(axis=0).prod(axis=1)
in_training_rows = inside(train).all(axis=2).sum(axis=0)
error = np.sqrt(np.mean((in_training_rows - counted) ** 2))
print(f"{'training rows':20s} root mean squared error of the count: {error:.1f}")

figure, axes = plt.subplots(1, 2, figsize=(10, 4.8), sharey=True, layout="constrained")
for ax, (name, estimate) in zip(
    axes, {"EinetDensity": by_model, "independent columns": independent}.items(), strict=True
):
    error = np.sqrt(np.mean((estimate - counted) ** 2))
    print(f"{name:20s} root mean squared error of the count: {error:.1f}")
    ax.plot([0, 150], [0, 150], color="grey", linewidth=1)
    ax.plot(counted, estimate, ".", alpha=0.4)
    ax.set(title=f"{name} (error {error:.1f})", xlabel="rows counted in the other half")
axes[0].set_ylabel("rows estimated")
plt.show()
