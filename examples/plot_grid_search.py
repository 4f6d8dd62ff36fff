"""
Tune a model with a grid search
===============================

With ``structure="binary-trees"``, :class:`~sklearn_einet.EinetDensity` splits the columns at
random: `depth` times, in `replicas` ways. Together with `K`, the number of densities in each part
of the model, these parameters determine how flexible the density is. As in any scikit-learn
estimator, :class:`~sklearn.model_selection.GridSearchCV` can choose them, here inside a
:class:`~sklearn.pipeline.Pipeline`.

The criterion is `score`, the mean log-density of rows that were held out. It is higher if the
model expects rows that it has not seen, and it needs no labels. The default structure needs no
such search: see :ref:`sphx_glr_auto_examples_plot_which_structure.py` for a comparison.
"""

# %%
# Run the search
# --------------
# The table has 13 measurements of 178 wines.
import matplotlib.pyplot as plt
import numpy as np
from sklearn.datasets import load_wine
from sklearn.model_selection import GridSearchCV, KFold
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from sklearn_einet import EinetDensity

X = load_wine().data
density = EinetDensity(structure="binary-trees", early_stopping=True, max_iter=200, random_state=0)
pipeline = make_pipeline(StandardScaler(), density)
grid = {
    "einetdensity__depth": [0, 1, 2, 3],
    "einetdensity__replicas": [1, 10],
    "einetdensity__K": [2, 8, 32],
}
search = GridSearchCV(pipeline, grid, cv=KFold(4, shuffle=True, random_state=0))
search.fit(X)
print(search.best_params_)

# %%
# Compare the scores
# ------------------
# Each cell shows the mean score over the folds, in nats per row (1 nat is 1.44 bits); higher is
# better. With depth 0 nothing is split, so the number of replicas makes no difference.
scores = search.cv_results_["mean_test_score"].reshape(3, 4, 2)  # K, depth, replicas
figure, axes = plt.subplots(1, 2, figsize=(8.5, 3.6), sharey=True, layout="constrained")
for axis, replicas, values in zip(axes, grid["einetdensity__replicas"], scores.T, strict=True):
    image = axis.imshow(values, vmin=scores.min(), vmax=scores.max(), aspect="auto")
    for (row, column), value in np.ndenumerate(values):
        dark = value < scores.min() + 0.6 * np.ptp(scores)
        axis.text(column, row, f"{value:.1f}", ha="center", va="center", color="wk"[not dark])
    axis.set(title=f"replicas={replicas}", xlabel="K", ylabel="depth" if axis is axes[0] else "")
    axis.set_xticks(range(3), grid["einetdensity__K"])
    axis.set_yticks(range(4), grid["einetdensity__depth"])
figure.colorbar(image, ax=axes, label="mean held-out log-density (nats)")
plt.show()

# %%
# A single random tree depends on luck, and a larger `K` makes up for it only in part. A mixture
# of ten trees is better. Then neither their depth nor `K` matters much.
