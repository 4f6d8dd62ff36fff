"""What real tables do to a model: units, constants, sentinels, gaps, ties, many draws.

    python benchmarks/real_tables.py [--cases constant ...]

Every line is a table with one trait that tables of users have, and what the model makes of it. All
tables are made by the script; figures are those of seed 0. To compare two versions, run it once
with each of them first on PYTHONPATH.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import time
import warnings
from collections.abc import Callable, Iterator

import numpy as np
import pandas as pd
from sklearn.metrics import roc_auc_score

from sklearn_einet import EinetDensity, EinetImputer, EinetOutlierDetector

Line = tuple[str, str, object]


def normal(n: int, d: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(n, d))


def attempt(compute: Callable[[], object]) -> object:
    """A result, or the error in its place."""
    try:
        return compute()
    except (TypeError, ValueError, ModuleNotFoundError) as error:
        return f"{type(error).__name__}: {str(error)[:60]}"


def trimmed_flag() -> Iterator[Line]:
    """5% of the rows have another value in a column that is constant without them."""
    y = np.arange(1000) < 50
    for leaf in ("auto", "exponential", "log-normal"):
        for unit in (1e-6, 1.0, 1e3, 1e6):
            X = normal(1000, 4, seed=1)
            X = {"auto": X, "exponential": np.abs(X), "log-normal": np.exp(X)}[leaf]
            X[:, 3] = (y + int(leaf == "log-normal")) * unit
            detector = EinetOutlierDetector(leaf=leaf, random_state=0).fit(X)
            auc = roc_auc_score(y, -detector.score_samples(X))
            yield f"flag of 5%, {leaf}, unit {unit:g}", "AUROC", auc


def constant() -> Iterator[Line]:
    X = normal(1000, 3)
    X[:, 1] = 1e-6
    model = EinetDensity(random_state=0).fit(X)
    yield "constant 1e-6", "standard deviation of draws", model.sample(1000, 0)[:, 1].std()
    yield "constant 1e-6", "label of a row with 1.0", int(model.predict([[0, 1.0, 0]])[0])


def gaps() -> Iterator[Line]:
    """Half of the rows miss a cell of a column in another unit."""
    for unit in (1e-3, 1.0, 1e3):
        X, new = normal(1500, 4), normal(1500, 4, seed=1)
        for table in (X, new):
            table[:, 3] *= unit
            table[::2, 3] = np.nan
        label = EinetOutlierDetector(random_state=0).fit(X).predict(new)
        for name, rows in (("with", slice(0, None, 2)), ("without", slice(1, None, 2))):
            share = (label[rows] == -1).mean()
            yield f"gaps, unit {unit:g}", f"flagged {name} gap", share


def bad_cells() -> Iterator[Line]:
    new = normal(2000, 3, seed=1)
    clean = EinetDensity(random_state=0).fit(normal(2000, 3)).score(new)
    yield "no bad cells", "nats of new rows", clean
    for n, value in ((1, 1e2), (2, 9999), (20, -999), (100, -999), (100, 1e9), (20, 1e30)):
        X = normal(2000, 3)
        X[:n, 0] = value
        model = EinetDensity(random_state=0)
        lost = attempt(lambda m=model, X=X: clean - m.fit(X).score(new))
        yield f"{n} of 2,000 cells are {value:g}", "nats lost", lost
    for leaf, value in (("poisson", 1e12), ("exponential", 1e9)):
        X, new = np.random.default_rng(0).poisson(4, (2, 2000, 3)).astype(float)
        before = EinetDensity(leaf=leaf, random_state=0).fit(X).score(new)
        X[0, 0] = value
        lost = before - EinetDensity(leaf=leaf, random_state=0).fit(X).score(new)
        yield f"one {leaf} cell is {value:g}", "nats lost", lost


def ages() -> Iterator[Line]:
    age = np.random.default_rng(0).normal(40, 12, 1000)
    age[0] = 99999
    X = np.column_stack([age, 1000 * age])
    model = EinetDensity(random_state=0).fit(X)
    for value in (25.0, 60.0):
        yield "one age of 99999", f"income at {value:g}", model.mean([[value, np.nan]])[0, 1]
    inside = np.exp(model.interval_log_proba({0: 30}, {0: 50})[0])
    yield "one age of 99999", "P(30 <= age <= 50)", inside


def fill_values() -> Iterator[Line]:
    for value in (1e30, 9.97e36, 1e100):
        X = normal(1000, 3)
        X[:5, 0] = value

        def found(X: np.ndarray = X) -> object:
            return int((EinetOutlierDetector(random_state=0).fit(X).predict(X[:5]) == -1).sum())

        yield f"5 fill values of {value:g}", "labelled by the detector", attempt(found)


def beyond() -> Iterator[Line]:
    X = np.random.default_rng(0).binomial(4, 0.3, (1000, 2))
    model = EinetDensity(leaf="binomial", random_state=0).fit(X)
    yield "a count above all of fit", "log-density", model.score_samples([[5, 1]])[0]


def input_types() -> Iterator[Line]:
    X = normal(500, 3)
    for dtype in (">f8", np.longdouble):
        table = X.astype(dtype)
        fitted = attempt(lambda X=table: EinetDensity(random_state=0).fit(X).score(X))
        yield f"type {np.dtype(dtype).str}", "nats", fitted
    masked = np.ma.array(X, mask=np.random.default_rng(0).random(X.shape) < 0.1)
    masked.data[masked.mask] = 1e20
    for name, table in (("masked", masked), ("NaN", masked.filled(np.nan))):
        yield f"cells that are {name}", "nats", EinetDensity(random_state=0).fit(table).score(table)


def ties() -> Iterator[Line]:
    X = np.repeat([[1.0], [-1.0]], [37, 13], axis=0)
    model = EinetDensity(contamination=0.2, random_state=0).fit(X)
    yield (
        "37 ones, 13 minus ones, contamination 0.2",
        "labelled",
        int((model.predict(X) == -1).sum()),
    )


def numbers_as_texts() -> Iterator[Line]:
    pulse = [*map(str, range(40, 100)), "?"] * 5
    frame = pd.DataFrame({"pulse": pulse, "n": normal(len(pulse), 1)[:, 0]})
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        EinetDensity(max_iter=2, random_state=0).fit(frame)
    yield 'numbers and "?"', "warnings", sum("pulse" in str(w.message) for w in caught)


def verbose() -> Iterator[Line]:
    X = normal(500, 3) * 1e6
    out = io.StringIO()
    with contextlib.redirect_stdout(out):
        model = EinetDensity(max_iter=1, verbose=1, random_state=0).fit(X)
    printed = float(out.getvalue().split("log-likelihood ")[1].split(",")[0])
    yield "verbose", "printed less the attribute", printed - model.log_likelihoods_[0]


def many_draws() -> Iterator[Line]:
    frame = pd.DataFrame(
        {"a": normal(1000, 1)[:, 0], "b": np.arange(1000) % 7, "c": ["x", "y"] * 500}
    )
    model = EinetDensity(max_iter=3, random_state=0).fit(frame)
    row = frame.head(1).assign(a=np.nan, c=None)
    model.sample_conditional(row)

    def seconds(X: pd.DataFrame, n_draws: int | None) -> float:
        start = time.process_time()
        model.sample_conditional(X, n_draws=n_draws, random_state=0)
        return time.process_time() - start

    ratio = seconds(row, 300) / seconds(pd.concat([row] * 300), None)
    yield "300 draws of a row", "times the CPU time of 300 rows", ratio


def many_categories() -> Iterator[Line]:
    def seconds(n_states: int) -> float:
        codes = np.random.default_rng(0).integers(0, 50, 1000)
        kind = pd.CategoricalDtype([f"c{i}" for i in range(n_states)])
        texts = pd.Series([f"c{i}" for i in codes], dtype=kind)
        frame = pd.DataFrame({"c": texts, "x": normal(1000, 1)[:, 0] + codes})
        start = time.process_time()
        EinetDensity(max_iter=2, random_state=0).fit(frame)
        return time.process_time() - start

    yield "10,000 declared categories", "times the CPU time of 500", seconds(10_000) / seconds(500)


def multiple_imputation() -> Iterator[Line]:
    rng = np.random.default_rng(0)
    x = rng.normal(size=2000)
    y = 0.6 * x + 0.8 * rng.normal(size=2000) + 1
    y[rng.random(2000) < 1 / (1 + np.exp(-1.5 * x))] = np.nan
    tables = (
        EinetImputer(n_draws=10, random_state=0).fit(np.c_[x, y]).transform_multiple(np.c_[x, y])
    )
    slope = np.mean([np.polyfit(*table.T, 1)[0] for table in tables])
    yield "y missing at random given x", "slope of completed tables less 0.6", slope - 0.6


CASES = {
    case.__name__: case
    for case in (
        trimmed_flag,
        constant,
        gaps,
        bad_cells,
        ages,
        fill_values,
        beyond,
        input_types,
        ties,
        numbers_as_texts,
        verbose,
        many_draws,
        many_categories,
        multiple_imputation,
    )
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--cases", nargs="+", default=list(CASES), choices=list(CASES))
    warnings.simplefilter("ignore")
    print("| table | what | value |\n|---|---|---|")
    for name in parser.parse_args().cases:
        for table, what, value in CASES[name]():
            print(
                f"| {table} | {what} | {value if isinstance(value, str) else f'{value:.4g}'} |",
                flush=True,
            )


if __name__ == "__main__":
    main()
