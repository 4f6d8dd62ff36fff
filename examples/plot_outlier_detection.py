"""
Detect outliers in real data
============================

Three detectors learn what typical rows look like, and rank new rows by how atypical they are:
:class:`~sklearn_einet.EinetOutlierDetector`, :class:`~sklearn.ensemble.IsolationForest` and
:class:`~sklearn.mixture.GaussianMixture`. All of them have `score_samples`, so one can replace
another.

The tasks use two tables that come with scikit-learn. Each detector is fitted to half of the rows
of one kind, the typical rows. Then it ranks the other half together with the rows of another
kind, the outliers. The third task repeats the second one with a fifth of all cells missing. The
Einsum Network integrates missing cells out; for the other two detectors, they are filled.
"""

# %%
# Prepare the tasks
# -----------------
# Each task has typical rows to learn from, rows to rank, and a mask that says which of these are
# typical.
import matplotlib.pyplot as plt
import numpy as np
from sklearn.datasets import load_breast_cancer, load_digits
from sklearn.ensemble import IsolationForest
from sklearn.impute import SimpleImputer
from sklearn.metrics import RocCurveDisplay, roc_auc_score
from sklearn.mixture import GaussianMixture
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from sklearn_einet import EinetOutlierDetector


def one_class_task(X, is_normal, seed=0):
    normal = np.random.RandomState(seed).permutation(np.flatnonzero(is_normal))
    half = len(normal) // 2
    rest = np.r_[normal[half:], np.flatnonzero(~is_normal)]
    return X[normal[:half]], X[rest], is_normal[rest]


def with_gaps(X, share=0.2, seed=0):
    X = X.copy()
    X[np.random.RandomState(seed).rand(*X.shape) < share] = np.nan
    return X


cancer, digits = load_breast_cancer(), load_digits()
pixels = digits.data[:, digits.data.std(axis=0) > 0]
tasks = {
    "tumours: benign against malignant": one_class_task(cancer.data, cancer.target == 1),
    "digits: 0 to 8 against 9": one_class_task(pixels, digits.target != 9),
    "digits, a fifth of the cells missing": one_class_task(with_gaps(pixels), digits.target != 9),
}

# %%
# Choose the detectors
# --------------------
# The training rows contain no outliers, so the Einsum Network has ``trim=0``, and otherwise its
# defaults. The forest needs filled cells. The Gaussian mixture needs filled and scaled cells, and
# a number of components.


def detectors():
    return {
        "Einet": EinetOutlierDetector(trim=0, random_state=0),
        "IsolationForest": make_pipeline(SimpleImputer(), IsolationForest(random_state=0)),
        "GaussianMixture": make_pipeline(
            SimpleImputer(), StandardScaler(), GaussianMixture(5, reg_covar=1e-3, random_state=0)
        ),
    }


# %%
# Compare the rankings
# --------------------
# The curves show the share of outliers found (vertical) for each share of false alarms
# (horizontal). The area under the curve (AUC) is 1 for a perfect ranking, and 0.5 for a random
# one.
figure, axes = plt.subplots(1, 3, figsize=(9.5, 3.7), sharey=True, layout="constrained")
figure.get_layout_engine().set(h_pad=0.15)
print(f"{'area under the ROC curve':38s}", *(f"{name:>16s}" for name in detectors()))
for axis, (title, (train, test, is_normal)) in zip(axes, tasks.items(), strict=True):
    areas = []
    for name, detector in detectors().items():
        unusual = -detector.fit(train).score_samples(test)
        areas.append(roc_auc_score(~is_normal, unusual))
        RocCurveDisplay.from_predictions(~is_normal, unusual, name=name, ax=axis)
    print(f"{title:38s}", *(f"{area:16.3f}" for area in areas))
    axis.set(xlabel="false alarms", ylabel="")
    axis.set_title(title, fontsize="medium")
    axis.legend(loc="lower right", fontsize="small")
axes[0].set_ylabel("outliers found")
plt.show()

# %%
# On complete digits, the Gaussian mixture is better than the Einsum Network; with missing cells,
# it is the other way round.

# %%
# Choose a threshold
# ------------------
# Which rows are outliers? The p-value of a row is the share of typical rows that are as unlikely,
# computed from rows that the model has not learned from. So a threshold for p-values is, on
# average, the share of false alarms.
train, test, is_normal = tasks["tumours: benign against malignant"]
p_values = EinetOutlierDetector(trim=0, random_state=0).fit(train).p_values(test)
for level in (0.1, 0.05):
    flagged = p_values < level
    print(
        f"p < {level}: {np.mean(flagged[is_normal]):.0%} of the new benign tumours, "
        f"{np.mean(flagged[~is_normal]):.0%} of the malignant ones."
    )
plt.show()
