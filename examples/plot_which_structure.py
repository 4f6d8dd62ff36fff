"""
Compare structures
==================

The *structure* of an Einsum Network determines how it groups the columns of a table. The
structure can be a tree that is learned from the table, or trees that are drawn at random. The
default mixes a learned tree with Gaussian mixtures of all numeric columns. This example plots a
learned tree, and uses held-out rows to choose between structures, layers and `K`. The page
:doc:`/structures` explains these terms.
"""

# %%
# Plot a learned tree
# -------------------
# The table has ten properties of the cell nuclei of 569 tumours, with the mean, the standard
# error and the worst value of each.
import matplotlib.pyplot as plt
import numpy as np
from sklearn.datasets import load_breast_cancer, load_wine
from sklearn.model_selection import GridSearchCV, KFold

from sklearn_einet import EinetDensity
from sklearn_einet.inspection import StructureDisplay

tumours = load_breast_cancer(as_frame=True).data
model = EinetDensity(structure="chow-liu", random_state=0).fit(tumours)
print(f"{model.n_parameters_} parameters, mean log-density {model.score(tumours):.1f} nats per row")

# %%
# The learned tree links the most strongly dependent columns: radius, perimeter and area; the mean
# and the worst value of texture, smoothness and symmetry; the standard errors. The darker an
# edge, the more one of its columns says about the other in the fitted model. For example, the
# columns of texture hardly depend on the others.
_ = StructureDisplay.from_estimator(model, fontsize=8)
plt.show()

# %%
# Choose the structure with held-out rows
# ---------------------------------------
# Like any other parameter, the structure can be chosen by cross-validation. The search runs for a
# second table as well: 13 measurements of 178 wines.
kinds = [
    *[("auto", "cp"), ("joint-normal", "cp"), ("chow-liu", "cp")],
    *[("chow-liu", "tucker"), ("binary-trees", "cp"), ("binary-trees", "tucker")],
]
sizes = [2, 8, 32]
grid = [{"structure": [s], "layer": [layer], "K": sizes} for s, layer in kinds]
folds = KFold(3, shuffle=True, random_state=0)
searches = {}
for name, table in {"tumours": tumours, "wines": load_wine(as_frame=True).data}.items():
    search = GridSearchCV(EinetDensity(tol=0.01, random_state=0), grid, cv=folds)
    searches[name] = search.fit(table)
    print(name, search.best_params_)

# %%
# Each cell shows the mean score over the folds, in nats per row (1 nat is 1.44 bits); higher is
# better.
figure, axes = plt.subplots(1, 2, figsize=(9, 4), sharey=True, layout="constrained")
for axis, (name, search) in zip(axes, searches.items(), strict=True):
    scores = search.cv_results_["mean_test_score"].reshape(len(kinds), len(sizes))
    image = axis.imshow(scores, aspect="auto")
    for (row, column), value in np.ndenumerate(scores):
        dark = value < scores.min() + 0.6 * np.ptp(scores)
        axis.text(column, row, f"{value:.1f}", ha="center", va="center", color="wk"[not dark])
    axis.set(title=name, xlabel="K")
    axis.set_xticks(range(len(sizes)), sizes)
    axis.set_yticks(range(len(kinds)), [", ".join(kind) for kind in kinds])
    figure.colorbar(image, ax=axis)
figure.suptitle("mean held-out log-density (nats)", fontsize="medium")
plt.show()

# %%
# The table of tumours has groups of columns that nearly determine each other, mostly along
# straight lines. Joint normal densities can follow these lines. Trees of single columns do so
# only roughly: the learned tree keeps the groups together, random splits separate them. With
# ``K=2`` the learned tree is worst, since two of its parts share information only through two
# states. The default is as good as joint normal densities alone.
#
# The table of wines has few rows, and its columns depend on each other only loosely. With
# ``K=32`` all structures are similar, and the default, an average of two of them, is best. The
# mixtures of ten random trees need a smaller `K`. The layer makes little difference.
for name, search in searches.items():
    results = search.cv_results_
    for structure in dict.fromkeys(structure for structure, _ in kinds):
        own = np.flatnonzero(results["param_structure"] == structure)
        best = own[results["mean_test_score"][own].argmax()]
        print(
            f"{name}, {structure}: best score {results['mean_test_score'][best]:.2f} nats, "
            f"{results['mean_fit_time'][best]:.1f} s per fit"
        )
