"""A large mixed table as loaded: time and likelihood compared with other models.

    python benchmarks/adult.py [--threads 2]

adult: 48,842 rows, 6 columns of numbers, 9 of strings, "?" read as missing; the column that marks
the official split is left out, everything else is kept. Models learn from the official training
rows and are judged by the test rows, in nats a row:

- EinetDensity with its defaults.
- A model per column: an EinetDensity for each column alone, their log-densities added up.
- GaussianMixture of standardised numbers and one-hot coded strings, with the most frequent value
  for missing cells. It has a density on a space in which strings are points of measure 0, so that
  its log-densities of whole rows are not comparable. Well defined are its density of the numbers
  alone and, by comparing a row with the same row with other strings, the probability of every
  string given the rest of its row.

`numbers`: log-density of the columns of numbers. `strings`: the sum over the columns of strings of
the mean log-probability given the rest of the row. For these two the rows are 2,000 of the test
rows without missing cells. `numbers` mostly compares lower bounds on variances: nine tenths of the
capital gains and losses are 0, half of the weeks have 40 hours, and GaussianMixture may have peaks
there as narrow as 1e-3 of the column's variance; in EinetDensity, ties bound the variance from
below.

The second table times fit on all rows and every query on all rows, for the DataFrames of pandas and
of polars. Needs the benchmark data and polars.
"""

from __future__ import annotations

import argparse
import time
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import torch
from _data import data_folder
from _short import Figure, cpu_seconds, in_products
from scipy.special import logsumexp
from scipy.stats import multivariate_normal
from sklearn.compose import ColumnTransformer
from sklearn.impute import SimpleImputer
from sklearn.mixture import GaussianMixture
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

from sklearn_einet import EinetDensity

COMPONENTS = [10, 30]
ROWS = 2000


def adult(read: Callable[..., Any] = pd.read_csv, **how: Any) -> Any:
    """The table, with missing cells."""
    return read(data_folder() / "uci" / "adult.csv.gz", **how)


def per_column(train: pd.DataFrame, test: pd.DataFrame) -> dict[str, np.ndarray]:
    """Log-densities of the cells of each column under a model of that column alone."""
    return {
        name: EinetDensity(random_state=0).fit(train[[name]]).score_samples(test[[name]])
        for name in train
    }


class OneHotMixture:
    """GaussianMixture of standardised numbers and one-hot coded strings."""

    def __init__(self, train: pd.DataFrame, n_components: int) -> None:
        self.numbers = list(train.select_dtypes("number"))
        self.texts = [name for name in train if name not in self.numbers]
        hot = make_pipeline(
            SimpleImputer(strategy="most_frequent"),
            OneHotEncoder(sparse_output=False, handle_unknown="ignore"),
        )
        self.encoder = ColumnTransformer(
            [("numbers", StandardScaler(), self.numbers), ("texts", hot, self.texts)]
        )
        Z = self.encoder.fit_transform(train)
        self.mixture = GaussianMixture(n_components, reg_covar=1e-3, random_state=0).fit(Z)
        encoder = self.encoder.named_transformers_["texts"][-1]
        self.categories = dict(zip(self.texts, encoder.categories_, strict=True))

    def score_numbers(self, rows: pd.DataFrame) -> np.ndarray:
        """Log-density of the columns of numbers in their own units."""
        d = len(self.numbers)
        Z = self.encoder.transform(rows)[:, :d]
        logs = [
            np.log(weight) + multivariate_normal(mean[:d], covariance[:d, :d]).logpdf(Z)
            for weight, mean, covariance in zip(
                self.mixture.weights_, self.mixture.means_, self.mixture.covariances_, strict=True
            )
        ]
        units = np.log(self.encoder.named_transformers_["numbers"].scale_).sum()
        return logsumexp(logs, axis=0) - units

    def score_texts(self, rows: pd.DataFrame) -> np.ndarray:
        """Sum over the strings of their log-probabilities given the rest of the row."""
        own = self.mixture.score_samples(self.encoder.transform(rows))
        total = np.zeros(len(rows))
        for name in self.texts:
            others = [
                self.mixture.score_samples(self.encoder.transform(rows.assign(**{name: category})))
                for category in self.categories[name]
            ]
            total += own - logsumexp(others, axis=0)
        return total


def halves(frame: pd.DataFrame) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Training and test rows."""
    is_train = frame["split"] == "train"
    train, test = (part.drop(columns="split") for part in (frame[is_train], frame[~is_train]))
    return train, test


def judged(
    model: EinetDensity, test: pd.DataFrame, some: pd.DataFrame
) -> tuple[float, float, float]:
    """Log-densities of whole rows, and of some rows' numbers and strings."""
    numbers = list(test.select_dtypes("number"))
    is_text = ~test.columns.isin(numbers)
    of_numbers = model.marginal(numbers).score(some[numbers])
    of_texts = -model.feature_scores(some).to_numpy()[:, is_text].sum(axis=1).mean()
    return model.score(test), of_numbers, of_texts


def likelihoods(frame: pd.DataFrame) -> None:
    """Print the table of log-densities."""
    train, test = halves(frame)
    some = test.dropna().sample(ROWS, random_state=0)
    print("| model | whole rows | numbers | strings | seconds |\n|---|---|---|---|---|")
    start = time.perf_counter()
    model = EinetDensity(random_state=0).fit(train)
    seconds = time.perf_counter() - start
    whole, of_numbers, of_texts = judged(model, test, some)
    print(f"| EinetDensity | {whole:.2f} | {of_numbers:.2f} | {of_texts:.2f} ", end="")
    print(f"| {seconds:.0f} |")
    start = time.perf_counter()
    each = per_column(train, test)
    seconds = time.perf_counter() - start
    place = test.index.get_indexer(some.index)
    numbers = list(train.select_dtypes("number"))
    is_text = ~train.columns.isin(numbers)
    of_numbers = sum(each[name][place].mean() for name in numbers)
    of_texts = sum(each[name][place].mean() for name in train.columns[is_text])
    whole = sum(scores.mean() for scores in each.values())
    print(f"| a model per column | {whole:.2f} | {of_numbers:.2f} | {of_texts:.2f} ", end="")
    print(f"| {seconds:.0f} |")
    for n_components in COMPONENTS:
        start = time.perf_counter()
        mixture = OneHotMixture(train, n_components)
        seconds = time.perf_counter() - start
        of_numbers, of_texts = mixture.score_numbers(some).mean(), mixture.score_texts(some).mean()
        print(f"| GaussianMixture({n_components}), one-hot | - | {of_numbers:.2f} ", end="")
        print(f"| {of_texts:.2f} | {seconds:.0f} |", flush=True)


def seconds_of(query: Callable[[], Any]) -> str:
    start = time.perf_counter()
    query()
    return f"{time.perf_counter() - start:.1f}"


def timings(frames: dict[str, Any]) -> None:
    """Print the table of seconds."""
    models = {kind: EinetDensity(random_state=0) for kind in frames}
    queries: dict[str, Callable[[EinetDensity, Any], Any]] = {
        "fit": lambda model, X: model.fit(X),
        "score_samples": lambda model, X: model.score_samples(X),
        "conditional_score_samples": lambda model, X: model.conditional_score_samples(X, ["sex"]),
        "p_values": lambda model, X: model.p_values(X),
        "predict_proba": lambda model, X: model.predict_proba(X),
        "feature_scores": lambda model, X: model.feature_scores(X),
        "impute": lambda model, X: model.impute(X),
        "impute, mpe": lambda model, X: model.impute(X, strategy="mpe"),
        "sample_conditional": lambda model, X: model.sample_conditional(X, random_state=0),
        "mean": lambda model, X: model.mean(X),
        "variance": lambda model, X: model.variance(X),
        "interval_log_proba": lambda model, X: model.interval_log_proba(
            {"age": X["age"], "income": ">50K"}, {"income": ">50K"}
        ),
        "sample": lambda model, X: model.sample(len(X), random_state=0),
    }
    print("\n| seconds for 48,842 rows |", " | ".join(frames), "|")
    print("|" + "---|" * (1 + len(frames)))
    for name, query in queries.items():
        cells = [seconds_of(lambda q=query, k=k: q(models[k], frames[k])) for k in frames]
        print(f"| {name} |", " | ".join(cells), "|", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--threads", type=int, default=2)
    torch.set_num_threads(parser.parse_args().threads)
    warnings.simplefilter("ignore")
    frame = adult(na_values=["?"])
    likelihoods(frame)
    polars = adult(pl.read_csv, null_values=["?"])
    timings({"pandas": frame.drop(columns="split"), "polars": polars.drop("split")})


def short() -> Iterator[Figure]:
    """Cases for short.py."""
    train, test = (part.sample(2000, random_state=0) for part in halves(adult(na_values=["?"])))
    model = EinetDensity(random_state=0)
    fit = in_products(lambda: cpu_seconds(lambda: model.fit(train)), rounds=2)
    yield Figure("2000 rows", "fit", "products", fit)
    own = in_products(lambda: cpu_seconds(lambda: model.score_samples(test)))
    yield Figure("2000 rows", "score_samples", "products", own)
    scores = judged(model, test, test.dropna()[:500])
    for name, score in zip(("whole rows", "numbers", "texts"), scores, strict=True):
        yield Figure("2000 rows", name, "nats", score)


if __name__ == "__main__":
    main()
