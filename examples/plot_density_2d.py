"""
Density estimation in two dimensions
====================================

A density of two columns can be plotted. This example fits an :class:`~sklearn_einet.EinetDensity`
to two columns, draws new rows from it, and shows what the model knows about one column if the
other is missing.
"""

# %%
# Fit the density
# ---------------
# The table has two interleaved half circles, which a single normal distribution cannot describe.
# The log-density is measured in nats, the unit of natural logarithms (1 nat is 1.44 bits).
import matplotlib.pyplot as plt
import numpy as np
from sklearn.datasets import make_moons

from sklearn_einet import EinetDensity

X, _ = make_moons(3000, noise=0.07, random_state=0)
model = EinetDensity(K=20, random_state=0).fit(X)
print(f"{model.n_iter_} epochs, mean log-density {model.score(X):.3f} nats per row")

# %%
# Plot the density and draw new rows
# ----------------------------------
# Compute the density on a grid of points, and draw as many new rows as there are training rows.
low, high = X.min(axis=0) - 0.3, X.max(axis=0) + 0.3
grid = np.stack(np.meshgrid(*np.linspace(low, high, 200).T), axis=-1)
density = np.exp(model.score_samples(grid.reshape(-1, 2))).reshape(200, 200)
new = model.sample(len(X), random_state=0)

figure, axes = plt.subplots(1, 3, figsize=(9, 3), sharex=True, sharey=True, layout="constrained")
axes[0].scatter(*X.T, s=2)
axes[0].set_title("training rows")
extent = [low[0], high[0], low[1], high[1]]
axes[1].imshow(density, origin="lower", extent=extent, aspect="auto")
axes[1].set_title("density")
axes[2].scatter(*new.T, s=2)
axes[2].set_title("new rows")
plt.show()

# %%
# Leave out a column
# ------------------
# Missing cells are integrated out exactly. With the second column missing, ``score_samples``
# returns the density of the first column alone. It agrees with a histogram of the training rows.
x = np.linspace(low[0], high[0], 400)
marginal = np.exp(model.score_samples(np.column_stack([x, np.full(400, np.nan)])))

figure, axis = plt.subplots(figsize=(7, 3.2), layout="constrained")
axis.hist(X[:, 0], bins=60, density=True, alpha=0.4, label="training rows")
axis.plot(x, marginal, label="density, second column missing")
axis.set(xlabel="first column", ylabel="density", ylim=(0, 0.9))
axis.legend()
plt.show()
