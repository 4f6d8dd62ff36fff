"""
A real table from beginning to end
==================================

The passengers of the Titanic: categories, counts, booleans and numbers in one table, with many
missing cells. One model of all columns finds atypical passengers and says why, fills missing
cells, and answers what-if questions. Nothing is encoded, scaled or filled beforehand.
"""

# %%
# Load the table
# --------------
# The strings are categories, ``survived`` is a column of booleans, and two columns count
# relatives on board.
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from sklearn.model_selection import train_test_split

from sklearn_einet import EinetDensity
from sklearn_einet.datasets import load_titanic
from sklearn_einet.inspection import ConditionalDensityDisplay, FeatureScoresDisplay

titanic = load_titanic()
print(titanic.dtypes.to_string())
print("missing cells:", titanic.isna().sum().loc[lambda n: n > 0].to_dict())

# %%
# Fit a model
# -----------
# The model chooses a distribution for each column; ``leaf_report_`` shows which one, and why. An
# *atom* is a number with a probability of its own, such as 0; "states" means that all values are
# atoms. The mean log-density of unseen rows measures how good the model is, in nats (1 nat is
# 1.44 bits). A model of independent columns, here a tree with ``K=1``, is much worse.
train, test = train_test_split(titanic, test_size=0.3, random_state=0)
model = EinetDensity(random_state=0).fit(train)
print(model.leaf_report_[["column", "leaf", "n_atoms", "reason"]].to_string(index=False))
independent = EinetDensity(structure="chow-liu", K=1, random_state=0).fit(train)
print(f"held-out log-density: {model.score(test):.2f} nats per row, ", end="")
print(f"with independent columns {independent.score(test):.2f}")

# %%
# Explain outliers
# ----------------
# ``p_values`` returns the share of typical rows that are as unlikely as each row. The bars show
# which cells are the reason: how much less likely a cell is, given the rest of its row, than
# typical cells of its column.
p_values = pd.Series(model.p_values(test), index=test.index)
strange = p_values.nsmallest(3).index
print(test.loc[strange].assign(p_value=p_values[strange].round(4)).to_string())
figure, axes = plt.subplots(3, 1, figsize=(7, 7), sharex=True, layout="constrained")
for row, ax in zip(strange, axes, strict=True):
    FeatureScoresDisplay.from_estimator(model, test.loc[[row]], max_features=5, ax=ax)
    ax.label_outer()
plt.show()

# %%
# Fill missing cells
# ------------------
# Missing cells are filled from the rest of their row: with the expected age, or the most probable
# deck. To measure how well this works, hide known cells of the test rows, and compare with the
# mean age or the most frequent category.
rng = np.random.RandomState(0)
hidden = test.copy()
for column in ["age", "sex", "ticket_class"]:
    hidden.loc[rng.rand(len(test)) < 0.3, column] = np.nan
filled = model.impute(hidden)
for column in ["sex", "ticket_class"]:
    gap = hidden[column].isna()
    hit = (filled[column] == test[column])[gap].mean()
    most_frequent = (test[column][gap] == train[column].mode()[0]).mean()
    print(f"{column}: {hit:.0%} of the hidden cells are right, ", end="")
    print(f"with the most frequent category {most_frequent:.0%}")
gap = hidden["age"].isna() & test["age"].notna()
error = (filled["age"] - test["age"])[gap].abs().mean()
error_of_mean = (train["age"].mean() - test["age"])[gap].abs().mean()
print(f"age: off by {error:.1f} years, with the mean age {error_of_mean:.1f}")

# %%
# Ask what-if questions
# ---------------------
# What is the probability of survival, given only the sex and the class of the ticket? The answers
# are exact conditional probabilities of the same model.
survived = pd.DataFrame(index=["first", "second", "third"], columns=["female", "male"], dtype=float)
for sex in survived.columns:
    for ticket_class in survived.index:
        given = {"sex": sex, "ticket_class": ticket_class}
        survived.loc[ticket_class, sex] = np.exp(model.event_log_proba({"survived": True}, given))
print("probability of survival:", survived.round(2).to_string(), sep="\n")

# %%
# How old were boys who travelled in third class with two parents and three siblings? How old were
# men who travelled alone in first class, and on which deck? The cells that are not given are
# missing.
unknown = titanic.iloc[[0]].astype(object)
unknown.loc[:, :] = None
boy = unknown.assign(ticket_class="third", sex="male", parents_children=2, siblings_spouses=3)
man = unknown.assign(ticket_class="first", sex="male", parents_children=0, siblings_spouses=0)
questions = [
    (boy, "age", "third class, male,\n2 parents, 3 siblings"),
    (man, "age", "first class, male, alone"),
    (man, "deck", "first class, male, alone"),
]
figure, axes = plt.subplots(1, 3, figsize=(9, 3.6), layout="constrained")
for ax, (row, column, title) in zip(axes, questions, strict=True):
    ConditionalDensityDisplay.from_estimator(model, row, column, ax=ax)
    ax.set_title(title, fontsize="medium")
plt.show()

# %%
# Draw new passengers
# -------------------
# The new rows have the columns and types of the table.
print(model.sample(5, random_state=0).round(1).to_string())
