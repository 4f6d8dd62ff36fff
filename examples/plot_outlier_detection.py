"""
Outliers in real data
=====================

Three detectors learn what normal rows look like and rank unseen rows by how unusual they are:
:class:`~sklearn_einet.EinetOutlierDetector`, :class:`~sklearn.ensemble.IsolationForest` and
:class:`~sklearn.mixture.GaussianMixture`. All of them have `score_samples`, so that they can be
swapped for each other.

The tasks are made from two tables that scikit-learn ships. Every detector is fitted to half of the
normal rows and ranks the other half together with the rows of the remaining class. The third panel
repeats the second task with a fifth of all cells missing: an Einsum Network integrates them out,
the other two need them filled.
"""

# %%
# The tasks: normal rows to learn from, rows to rank, and which of those are normal.
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
# The detectors. An Einsum Network is told that there are no outliers among the rows to learn from
# (``trim=0``), and else used as it comes; the forest needs filled cells, the mixture filled and
# scaled cells and a number of components.


def detectors():
    return {
        "Einet": EinetOutlierDetector(trim=0, random_state=0),
        "IsolationForest": make_pipeline(SimpleImputer(), IsolationForest(random_state=0)),
        "GaussianMixture": make_pipeline(
            SimpleImputer(), StandardScaler(), GaussianMixture(5, reg_covar=1e-3, random_state=0)
        ),
    }


# %%
# Fit, rank, and draw how many outliers are found (vertical) for how many false alarms
# (horizontal). The area under the curve is 1 for a perfect ranking and 0.5 for a random one.
figure, axes = plt.subplots(1, 3, figsize=(13, 4.8), sharey=True, layout="constrained")
figure.get_layout_engine().set(h_pad=0.15)
print(f"{'area under the ROC curve':38s}", *(f"{name:>16s}" for name in detectors()))
for axis, (title, (train, test, is_normal)) in zip(axes, tasks.items(), strict=True):
    areas = []
    for name, detector in detectors().items():
        unusual = -detector.fit(train).score_samples(test)
        areas.append(roc_auc_score(~is_normal, unusual))
        RocCurveDisplay.from_predictions(~is_normal, unusual, name=name, ax=axis)
    print(f"{title:38s}", *(f"{area:16.3f}" for area in areas))
    axis.set(title=title, xlabel="false alarms", ylabel="")
    axis.legend(loc="lower right")
axes[0].set_ylabel("outliers found")
figure.savefig("outlier_detection.png", dpi=100)
print("The curves are in outlier_detection.png.")

# %%
# On complete digits a mixture of a few full covariance matrices is better than an Einsum Network;
# with gaps it is the other way round.
#
# How unusual is too unusual? The p-value of a row is the share of usual rows that are as unlikely,
# read off rows that were not learned from. So it says how many false alarms there will be.
train, test, is_normal = tasks["tumours: benign against malignant"]
p_values = EinetOutlierDetector(trim=0, random_state=0).fit(train).p_values(test)
for level in (0.1, 0.05):
    flagged = p_values < level
    print(
        f"Of the new tumours with p < {level} there are {np.mean(flagged[is_normal]):.0%} of the "
        f"benign and {np.mean(flagged[~is_normal]):.0%} of the malignant ones."
    )
plt.show()
