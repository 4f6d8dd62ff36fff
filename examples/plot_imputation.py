"""
Fill missing values
===================

:class:`~sklearn_einet.EinetImputer` learns how all columns depend on each other, and fills each
missing cell from the rest of its row. This example removes cells from a real table at random, and
compares the filled cells with those of scikit-learn's imputers. Then it shows two things that the
other imputers cannot do: to predict the error of each filled cell, and to fill a table several
times at random.
"""

# %%
# Compare imputers
# ----------------
# The table has 13 measurements of 178 wines, standardised. A share of the cells is removed, both
# from the training rows and from the rows to fill. The error is measured in the cells removed
# from the latter, in standard deviations of the columns, over four random removals.
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

figure, axis = plt.subplots(figsize=(7, 4), layout="constrained")
for name, squared in errors.items():
    axis.plot(shares, np.sqrt(squared), "o-", label=name)
axis.set(xlabel="share of cells removed", ylabel="error (standard deviations)", ylim=(0, 1.4))
axis.set_title("Error of filled cells")
axis.legend()
plt.show()

# %%
# With few missing cells, the Einet and the regressions of ``IterativeImputer`` are equally good.
# With 30% of the cells missing or more, the Einet is close to the nearest rows of ``KNNImputer``,
# which are slightly better in this small table. If hardly any cells are left to learn from, no
# imputer beats the means of the columns by much. (At 30%, the regressions fill a few cells with
# values that no wine has.) The benchmarks in ``benchmarks/README.md`` have larger tables, from
# which there is more to learn.

# %%
# Predict the error
# -----------------
# The model knows how sure it is: the variance of each missing cell, given its row, predicts the
# squared error. Here, the filled cells are sorted into ten groups by their expected error. With
# so few rows, the order of the cells is only roughly right, but on average the error is as large
# as expected.
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
overall = np.sqrt(np.mean(deviation**2)), np.sqrt(np.mean(mistake**2))
print(f"overall error: {overall[0]:.2f} expected, {overall[1]:.2f} observed")

figure, axis = plt.subplots(figsize=(7, 4), layout="constrained")
axis.plot([0, 1.5], [0, 1.5], color="grey", linestyle="--", label="perfect prediction")
axis.plot(expected, observed, "o", label="a tenth of the filled cells")
axis.set(xlabel="expected error", ylabel="observed error", title="Expected and observed error")
axis.legend()
plt.show()

# %%
# Fill the table several times
# ----------------------------
# To carry this uncertainty into an analysis, fill the table several times at random and see how
# much the result varies. This is called multiple imputation. Here, the result is the standard
# deviation of a column. It comes out too small if missing cells are filled with their means.
column = load_wine().feature_names.index("proline")
tables = imputer.set_params(n_draws=20).transform_multiple(gaps)
drawn = [table[:, column].std() for table in tables]
filled = imputer.transform(gaps)[:, column].std()
print(
    f"standard deviation of proline: {truth[:, column].std():.2f} in the whole table,\n"
    f"{np.mean(drawn):.2f} +- {np.std(drawn):.2f} in 20 tables filled at random,\n"
    f"{filled:.2f} in a table filled with means"
)
