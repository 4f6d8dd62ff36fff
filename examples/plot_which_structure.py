"""
Which structure?
================

An Einsum Network puts a table's columns together step by step. In which order it does so is its
structure: a tree that is learned from the table, or one that is drawn at random. By default there
are joint normal densities of all numeric columns beside a learned tree. This example looks at a
tree, and lets held-out rows choose between structures, layers and `K`. What these are is told on
the page :doc:`/structures`.
"""

# %%
# The table: the mean, the standard error and the worst value of ten properties of the cell nuclei
# of 569 tumours.
import matplotlib.pyplot as plt
import numpy as np
from sklearn.datasets import load_breast_cancer, load_wine
from sklearn.model_selection import GridSearchCV, KFold

from sklearn_einet import EinetDensity
from sklearn_einet.inspection import StructureDisplay

tumours = load_breast_cancer(as_frame=True).data
model = EinetDensity(structure="chow-liu", random_state=0).fit(tumours)
print(f"{model.circuit_.n_parameters} parameters, mean log-density {model.score(tumours):.1f} nats")

# %%
# The learned tree joins the columns that have most to say about each other: radius, perimeter and
# area; the mean and the worst value of texture, smoothness and symmetry; the standard errors. The
# darker an edge, the more one of its columns says about the other in the fitted model. Hardly
# anything is known of texture, say, from the columns that it hangs on.
StructureDisplay.from_estimator(model)
plt.show()

# %%
# Is it the right structure? Rows that were held out can tell, as they can for any parameter. A
# second table, 13 measurements of 178 wines, is searched as well.
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
# The mean over the folds, in nats per row: larger is better.
figure, axes = plt.subplots(1, 2, figsize=(9.5, 4.2), sharey=True, layout="constrained")
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
# Among the tumours' columns there are groups that nearly determine each other, mostly along
# straight lines. Joint densities follow these, and trees of single columns do so roughly at best:
# the learned tree joins the groups, and random splits take them apart. With ``K=2`` the tree is the
# worst, since all that two parts of it know of each other has to pass through two states. The
# default is as good as joint densities alone.
#
# The wines are few, and their columns depend on each other only loosely. All structures are close
# to each other there with ``K=32``; the default, an average of two of them, is the best. Random
# trees, of which ten are mixed, make do with a smaller `K`. The layer makes little difference.
for name, search in searches.items():
    results = search.cv_results_
    for structure in dict.fromkeys(structure for structure, _ in kinds):
        own = np.flatnonzero(results["param_structure"] == structure)
        best = own[results["mean_test_score"][own].argmax()]
        print(
            f"{name}, {structure}: {results['mean_test_score'][best]:.2f} nats at best, "
            f"{results['mean_fit_time'][best]:.1f} s for a fit"
        )
