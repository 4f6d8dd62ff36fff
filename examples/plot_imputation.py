"""
Filling missing cells
=====================

:class:`~sklearn_einet.EinetImputer` fills missing cells by the joint density of all columns. Here
it is compared with scikit-learn's imputers on a real table, from which cells were removed at
random, and asked what the other imputers cannot say: how sure it is.
"""

# %%
# The table: 13 measurements of 178 wines. A share of all cells is removed, from the rows to
# learn from and from those to fill. The error is measured in the cells that were removed from the
# latter, in units of their column's standard deviation, and averaged over four random removals.
import matplotlib.pyplot as plt
import numpy as np
from sklearn.datasets import load_wine
from sklearn.experimental import enable_iterative_imputer  # noqa: F401
from sklearn.impute import IterativeImputer, KNNImputer, SimpleImputer

from sklearn_einet import EinetImputer

X = load_wine().data
X = (X - X.mean(axis=0)) / X.std(axis=0)


def split_with_gaps(share, seed):
    rng = np.random.RandomState(seed)
    order = rng.permutation(len(X))
    gaps = np.where(rng.rand(*X.shape) < share, np.nan, X)
    return gaps[order[:120]], gaps[order[120:]], X[order[120:]]


imputers = {
    "EinetImputer": EinetImputer(random_state=0),
    "IterativeImputer": IterativeImputer(max_iter=20, random_state=0),
    "KNNImputer": KNNImputer(),
    "SimpleImputer": SimpleImputer(),
}
shares = [0.1, 0.3, 0.5, 0.7]
errors = {name: np.zeros(len(shares)) for name in imputers}
for i, share in enumerate(shares):
    for seed in range(4):
        train, gaps, truth = split_with_gaps(share, seed)
        for name, imputer in imputers.items():
            filled = imputer.fit(train).transform(gaps)
            errors[name][i] += np.mean((filled - truth)[np.isnan(gaps)] ** 2) / 4

print(f"{'root mean squared error':24s}", *(f"{share:6.0%}" for share in shares))
for name, squared in errors.items():
    print(f"{name:24s}", *(f"{error:6.2f}" for error in np.sqrt(squared)))

figure, axes = plt.subplots(1, 2, figsize=(11, 4.2), layout="constrained")
for name, squared in errors.items():
    axes[0].plot(shares, np.sqrt(squared), "o-", label=name)
axes[0].set(xlabel="share of cells removed", ylabel="error (standard deviations)", ylim=(0, 1.4))
axes[0].set_title("Error of filled cells")
axes[0].legend(fontsize="small")

# %%
# With few gaps the density and the regressions are on a par, with a third the density and the
# nearest rows; with half of the cells missing and more the density is the best by a little. Where
# there is little left to learn from, nobody beats the columns' means by much. (The regressions have
# a bad run at 30%: a few cells are filled with values that no wine has.) ``benchmarks/README.md``
# has larger tables, where there is more to learn.
#
# A density also knows how sure it is: the variance of each missing cell, given its row, predicts
# the squared errors that are really made. With so few rows the order of the cells is only roughly
# right, but on average the error is as large as expected.
deviations, mistakes = [], []
for seed in range(4):
    train, gaps, truth = split_with_gaps(0.3, seed)
    imputer = EinetImputer(random_state=0).fit(train)
    missing = np.isnan(gaps)
    mistakes.append((imputer.transform(gaps) - truth)[missing])
    deviations.append(np.sqrt(imputer.density_.variance(gaps))[missing])
deviation, mistake = np.concatenate(deviations), np.concatenate(mistakes)
groups = np.array_split(np.argsort(deviation), 10)
expected = [np.sqrt(np.mean(deviation[group] ** 2)) for group in groups]
observed = [np.sqrt(np.mean(mistake[group] ** 2)) for group in groups]
axes[1].plot([0, 1.2], [0, 1.2], color="grey", linestyle="--", label="perfect")
axes[1].plot(expected, observed, "o", label="a tenth of the filled cells each")
axes[1].set(xlabel="expected error", ylabel="observed error", title="Known uncertainty")
axes[1].legend(fontsize="small")
overall = np.sqrt(np.mean(deviation**2)), np.sqrt(np.mean(mistake**2))
print(f"\nerror expected {overall[0]:.2f}, observed {overall[1]:.2f}")

# %%
# To carry that uncertainty into an analysis, fill the table several times at random, and see how
# much the result varies: multiple imputation. Here, the standard deviation of a column, which
# cells that were filled by their means make too small.
column = load_wine().feature_names.index("proline")
tables = imputer.set_params(n_draws=20).transform_multiple(gaps)
drawn = [table[:, column].std() for table in tables]
filled = imputer.transform(gaps)[:, column].std()
print(
    f"\nstandard deviation of proline: {truth[:, column].std():.2f} in the whole table,\n"
    f"{np.mean(drawn):.2f} +- {np.std(drawn):.2f} in 20 random completions, "
    f"{filled:.2f} after filling by means"
)
plt.show()
