"""
One model of a whole table
==========================

The passengers of the Titanic: strings, booleans, counts, numbers, and missing cells. One
:class:`~sklearn_einet.EinetDensity` of all columns finds outliers and says why, fills missing
cells, draws new rows, and answers what-if questions. ``make demo`` runs this example.
"""

# %%
# Fit the table as pandas loaded it. Nothing is encoded, scaled or filled beforehand.
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd

from sklearn_einet import EinetDensity
from sklearn_einet.datasets import load_titanic

titanic = load_titanic().drop(columns="deck")
n_missing = int(titanic.isna().sum().sum())
print(f"1. Fit one model to {len(titanic)} passengers, {n_missing} cells of which are missing.")
model = EinetDensity(random_state=0).fit(titanic)

# %%
# Outliers, with reasons
# ----------------------
# ``p_values`` says how rare a passenger is: the share of typical passengers who are as unlikely.
# ``feature_scores`` says which cells are to blame: it is -log p(cell | rest of the row), in nats.
print("2. Find the strangest passengers, and the cells that make them strange.")
p_values = pd.Series(model.p_values(titanic), index=titanic.index)
strangest = p_values.nsmallest(4).index
scores = model.feature_scores(titanic.loc[strangest])
reasons = scores.idxmax(axis=1)
pd.DataFrame({"p-value": p_values[strangest].round(4), "least expected": reasons})

# %%
# Missing cells
# -------------
# Hide 200 of the fares, and fill them from the other cells of each row.
print("3. Hide 200 fares, and fill them from the rest of each row.")
hidden = titanic.sample(200, random_state=0).index
with_gaps = titanic.copy()
with_gaps.loc[hidden, "fare"] = np.nan
filled = EinetDensity(random_state=0).fit(with_gaps).impute(with_gaps)
fares = titanic.loc[hidden, "fare"]
error = (filled.loc[hidden, "fare"] - fares).abs().mean()
error_of_median = (with_gaps["fare"].median() - fares).abs().mean()
print(f"   mean error: {error:.1f} pounds; of the median fare: {error_of_median:.1f} pounds")

# %%
# New rows
# --------
# Drawn passengers have the columns, types and dependences of the table.
print("4. Draw as many new passengers.")
drawn = model.sample(len(titanic), random_state=0)
drawn.head()

# %%
# What-if questions
# -----------------
# The probability of any event, given any other. Here, survival by age, class and sex.
print("5. Ask who survives, by age, class and sex.")
ages = np.arange(2, 71)
curves = {}
for sex in ("female", "male"):
    for ticket_class in ("first", "third"):
        people = {"sex": sex, "ticket_class": ticket_class, "age": ages}
        log_density = model.conditional_score_samples({**people, "survived": True}, list(people))
        curves[sex, ticket_class] = np.exp(log_density)

# %%
# All of it in one picture.
plt.rcParams.update({"font.size": 9, "axes.titlesize": 10, "axes.titleweight": "bold"})
figure = plt.figure(figsize=(6.6, 5.6), layout="constrained")
grid = figure.add_gridspec(2, 2, height_ratios=[1, 1.7])

table = figure.add_subplot(grid[0, :])
table.imshow(scores, cmap="Oranges", vmin=0, vmax=12, aspect="auto")
for i, row in enumerate(strangest):
    for j, column in enumerate(titanic.columns):
        value = titanic.loc[row, column]
        number = isinstance(value, float | np.floating)
        text = f"{value:.4g}" if number and not np.isnan(value) else str(value)
        bold = "bold" if column == reasons[row] else "normal"
        table.text(j, i, text, ha="center", va="center", fontsize=7.2, weight=bold)
names = [column.replace("_", "\n") for column in titanic.columns]
table.set_xticks(range(len(names)), names, fontsize=8)
table.set_yticks(range(len(strangest)), [f"row {row}" for row in strangest], fontsize=8)
table.tick_params(length=0, top=True, bottom=False, labeltop=True, labelbottom=False)
table.set_title("Outliers, with reasons: the darker, the less expected")

plot = figure.add_subplot(grid[1, 0])
for (sex, ticket_class), curve in curves.items():
    color = "tab:purple" if sex == "female" else "tab:green"
    style = "-" if ticket_class == "first" else "--"
    plot.plot(ages, curve, style, color=color, label=f"{sex}, {ticket_class}")
plot.set(ylim=(0, 1), ylabel="probability of survival", xlabel="age")
plot.set_title("What if? Age, sex and class")
plot.legend(fontsize=8, loc="upper right", bbox_to_anchor=(1, 0.92), handlelength=1.5)

plot = figure.add_subplot(grid[1, 1])
for rows, marker, label in ((titanic, "o", "real"), (drawn, "x", "drawn")):
    plot.scatter(rows["age"], rows["fare"], s=10, marker=marker, alpha=0.5, label=label)
plot.set_yscale("symlog", linthresh=10)
plot.set(xlabel="age", ylabel="fare, pounds", xlim=(-2, 85), ylim=(-1, 700))
plot.set_title("Synthetic rows")
plot.legend(fontsize=8, loc="lower right", framealpha=0.9)
figure.savefig("titanic.png", dpi=180)

# %%
# What came out.
first, third = (np.mean(curves["male", c][12:37]) for c in ("first", "third"))
row = strangest[0]
print("\nThe picture is in titanic.png. Findings:")
print(f"- The strangest passenger is row {row}: {reasons[row]} {titanic.loc[row, reasons[row]]:g}.")
print(f"- Filled fares are {1 - error / error_of_median:.0%} closer to the truth than the median.")
print(f"- Of men from 14 to 38, {first:.0%} survive in the first class, {third:.0%} in the third.")
