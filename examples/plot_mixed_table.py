"""
A real table from beginning to end
==================================

Categories, counts, booleans and numbers in one table, and a quarter of some columns missing: the
passengers of the Titanic. One model of all columns says which passengers are unusual and why, fills
the gaps, and answers what-if questions. Nothing is encoded, scaled or filled beforehand.
"""

# %%
# The table as pandas reads it. Texts are categories, ``survived`` is a column of booleans, and two
# columns count relatives on board.
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from sklearn.model_selection import train_test_split

from sklearn_einet import EinetDensity
from sklearn_einet.inspection import ConditionalDensityDisplay, FeatureScoresDisplay

try:
    here = Path(__file__).parent
except NameError:  # in a notebook, or where the documentation is built
    here = Path.cwd()
titanic = pd.read_csv(here / "titanic.csv")
print(titanic.dtypes.to_string())
print("missing cells:", titanic.isna().sum().loc[lambda n: n > 0].to_dict())

# %%
# Density
# -------
# Columns are taken for what they are: ``leaf_report_`` says for what. The mean log-density of rows
# that the model has not seen tells how good it is. A model of independent columns (a tree with K=1)
# is much worse.
train, test = train_test_split(titanic, test_size=0.3, random_state=0)
model = EinetDensity(random_state=0).fit(train)
print(model.leaf_report_[["column", "leaf", "n_atoms", "reason"]].to_string(index=False))
independent = EinetDensity(structure="chow-liu", K=1, random_state=0).fit(train)
print(f"held-out log-density: {model.score(test):.2f} nats a row, ", end="")
print(f"of independent columns {independent.score(test):.2f}")

# %%
# Outliers, with reasons
# ----------------------
# ``p_values`` says how many usual rows are as unlikely as a row. The bars say by which cells it
# sticks out: how much more unlikely each is, given the rest of the row, than cells of its column
# usually are.
p_values = pd.Series(model.p_values(test), index=test.index)
strange = p_values.nsmallest(3).index
print(test.loc[strange].assign(p_value=p_values[strange].round(4)).to_string())
figure, axes = plt.subplots(1, 3, figsize=(15, 4), layout="constrained")
for row, ax in zip(strange, axes, strict=True):
    FeatureScoresDisplay.from_estimator(model, test.loc[[row]], max_features=6, ax=ax)

# %%
# Gaps filled
# -----------
# By what the rest of the row says: the expected age, the most probable deck. To see how well, known
# cells of the test rows are hidden first.
rng = np.random.RandomState(0)
hidden = test.copy()
for column in ["age", "sex", "ticket_class"]:
    hidden.loc[rng.rand(len(test)) < 0.3, column] = np.nan
filled = model.impute(hidden)
for column in ["sex", "ticket_class"]:
    gap = hidden[column].isna()
    hit = (filled[column] == test[column])[gap].mean()
    usual = (test[column][gap] == train[column].mode()[0]).mean()
    print(f"{column}: {hit:.0%} of the hidden cells are right, {usual:.0%} by the usual value")
gap = hidden["age"].isna() & test["age"].notna()
error = (filled["age"] - test["age"])[gap].abs().mean()
print(
    f"age: off by {error:.1f} years, {(train['age'].mean() - test['age'])[gap].abs().mean():.1f} ",
    end="",
)
print("by the mean")

# %%
# What if
# -------
# The probability to survive, given the sex and the class of the ticket, with all else left open:
# exact conditionals of the one model.
survived = pd.DataFrame(index=["first", "second", "third"], columns=["female", "male"], dtype=float)
nobody = titanic.iloc[[0]].astype(object)
nobody.loc[:, :] = None
for sex in survived.columns:
    for ticket in survived.index:
        passenger = nobody.assign(survived=True, sex=sex, ticket_class=ticket)
        log_p = model.conditional_score_samples(passenger, given=["sex", "ticket_class"])
        survived.loc[ticket, sex] = np.exp(log_p[0])
print("probability to survive:", survived.round(2).to_string(), sep="\n")

# %%
# And how old, on which deck were the boys of the third class who travelled with two parents, and
# the single men of the first?
figure, axes = plt.subplots(1, 3, figsize=(15, 4), layout="constrained")
boy = nobody.assign(ticket_class="third", sex="male", parents_children=2, siblings_spouses=3)
ConditionalDensityDisplay.from_estimator(model, boy, "age", ax=axes[0])
axes[0].set_title("third class, male, 2 parents, 3 siblings")
man = nobody.assign(ticket_class="first", sex="male", parents_children=0, siblings_spouses=0)
ConditionalDensityDisplay.from_estimator(model, man, "age", ax=axes[1])
axes[1].set_title("first class, male, alone")
ConditionalDensityDisplay.from_estimator(model, man, "deck", ax=axes[2])
axes[2].set_title("first class, male, alone")

# %%
# New passengers, in a table like the first one.
print(model.sample(5, random_state=0).round(1).to_string())
plt.show()
