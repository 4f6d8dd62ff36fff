"""What estimators print of their fits."""

import re
import time

import numpy as np
import pandas as pd
import pytest
from sklearn.callback import ScoringMonitor
from sklearn.datasets import load_iris
from sklearn.frozen import FrozenEstimator

from sklearn_einet import EinetDensity, EinetImputer, EinetMixture, EinetOutlierDetector
from sklearn_einet.estimators import progress

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
X = load_iris().data
NUMBER = r"-?\d+\.\d{4}"
EPOCH = (
    rf"(?P<part>.*?)epoch +(?P<epoch>\d+)  log-likelihood +(?P<training>{NUMBER})"
    rf"(?: \(held out +(?P<held_out>{NUMBER})\))? nats per row(?:  gain +(?P<gain>{NUMBER}))?"
)


def with_gaps():
    """Columns in very different units, with missing cells."""
    gaps = X * [1, 1e3, 1e-5, 1]
    gaps[::4, 1] = np.nan
    return gaps


def mixed_columns():
    columns = pd.DataFrame(X, columns=list("abcd"))
    return columns.assign(kind=["x", "y", "z"] * 50, other=["u", "v"] * 75)


def tree(**parameters):
    fast = {"structure": "chow-liu", "K": 3, "max_iter": 5, "random_state": 0, "verbose": 1}
    return EinetDensity(**(fast | parameters))


def said(out, name="EinetDensity"):
    """The lines that an estimator has printed, without its name and the time."""
    lines = out.splitlines()
    found = [re.fullmatch(rf"\[{name}\] +\d+\.\d s  (.*)", line) for line in lines]
    assert all(found), lines
    return [each[1] for each in found]


def epochs(lines, part=""):
    """The numbers of the lines of epochs of a part of the model; NaN where there are none."""
    found = [each for line in lines if (each := re.fullmatch(EPOCH, line)) and each["part"] == part]
    names = "epoch", "training", "held_out", "gain"
    return {name: np.array([each[name] for each in found], dtype=float) for name in names}


def assert_same(printed, log_likelihoods, held_out=None, every=1):
    """Check that what was printed are the attributes, every so many epochs."""
    rows = slice(every - 1, None, every)
    np.testing.assert_array_equal(printed["epoch"], np.arange(1, len(log_likelihoods) + 1)[rows])
    np.testing.assert_allclose(printed["training"], log_likelihoods[rows], atol=6e-5)
    if held_out is None:
        assert np.isnan(printed["held_out"]).all()
        held_out = log_likelihoods
    else:
        np.testing.assert_allclose(printed["held_out"], held_out[rows], atol=6e-5)
    before = np.concatenate([[np.nan], np.maximum.accumulate(held_out)[:-1]])
    np.testing.assert_allclose(printed["gain"], (held_out - before)[rows], atol=6e-5)


@pytest.mark.parametrize("kind", [EinetDensity, EinetOutlierDetector])
@pytest.mark.parametrize("early_stopping", [False, True])
@pytest.mark.parametrize("every", [1, 3])
def test_prints_what_the_attributes_say(kind, early_stopping, every, capsys):
    """In the units of the columns, with weights and missing cells."""
    model = kind(K=3, max_iter=7, structure="chow-liu", random_state=0)
    model.set_params(early_stopping=early_stopping, verbose=every)
    model.fit(with_gaps(), sample_weight=1 + np.arange(len(X)) % 3)
    printed = epochs(said(capsys.readouterr().out, kind.__name__))
    held_out = model.validation_log_likelihoods_ if early_stopping else None
    assert_same(printed, model.log_likelihoods_, held_out, every)


@pytest.mark.parametrize("solver", ["sem", "em"])
@pytest.mark.parametrize("table", [X, mixed_columns()], ids=["numbers", "mixed"])
def test_parts_are_told_before_the_whole(solver, table, capsys):
    model = EinetDensity(K=4, max_iter=4, solver=solver, random_state=0, verbose=1).fit(table)
    lines = said(capsys.readouterr().out)
    assert_same(
        epochs(lines),
        model.log_likelihoods_,
        model.validation_log_likelihoods_ if solver == "sem" else None,
    )
    part = [line for line in lines if line.startswith("joint normal part: ")]
    assert bool(part) == (solver == "sem")
    if part:
        assert len(epochs(part, "joint normal part: ")["epoch"])
        assert re.match(r"joint normal part: converged after \d+ epochs?|.* reached", part[-1])
        assert "joint normal part: learning mixtures of 1, 2, 4, 8 normal distributions" in "".join(
            part
        )


def test_tells_what_is_fitted_and_why_it_ended(capsys):
    def lines(**parameters):
        tree(**parameters).fit(X)
        return said(capsys.readouterr().out)

    unfinished = lines(tol=0)
    assert unfinished[:4] == [
        "reading the table",
        "150 rows (15 held out), 4 columns, structure 'chow-liu', solver 'sem'",
        "choosing the distributions of 4 columns",
        "building the structure of 4 columns",
    ]
    assert unfinished[4].startswith("initialising ")
    assert unfinished[-2] == "finishing: last steps, outlier threshold"
    assert re.fullmatch(r"done in \d+\.\d s: max_iter=5 reached before convergence", unfinished[-1])
    em = lines(solver="em")
    assert em[1] == "150 rows, 4 columns, structure 'chow-liu', solver 'em'"
    finished = lines(tol=10, n_iter_no_change=2)
    assert re.fullmatch(r"done in \d+\.\d s: converged after 3 epochs", finished[-1])
    brief = EinetOutlierDetector(structure="chow-liu", K=2, tol=0, random_state=0, verbose=1)
    brief.fit(X)
    last = said(capsys.readouterr().out, "EinetOutlierDetector")[-1]
    expected = f"max_iter='auto' reached after {brief.n_iter_} epochs"
    assert re.sub(r".*: ", "", last) == expected


def test_tells_of_a_callback_that_stops(capsys):
    class Stop:
        def setup(self, estimator, context): ...
        def teardown(self, estimator, context): ...
        def on_fit_task_begin(self, estimator, context): ...
        def on_fit_task_end(self, estimator, context):
            return True

    tree().set_callbacks(Stop()).fit(X)
    assert said(capsys.readouterr().out)[-1].endswith("s: stopped by a callback after 1 epoch")


@pytest.mark.parametrize("table", [X, mixed_columns()[["a", "kind", "other"]]])
def test_a_detector_tells_of_what_it_trims(table, capsys):
    """By a robust normal density, or by a coarse tree, whose epochs are said."""
    model = EinetOutlierDetector(random_state=0, verbose=1).fit(table)
    lines = said(capsys.readouterr().out, "EinetOutlierDetector")
    trimming = [line for line in lines if line.startswith("trimming: ")]
    if table is X:
        assert trimming[-1] == "trimming: scoring all rows by a robust normal distribution"
    else:
        assert len(epochs(lines, "trimming: ")["epoch"])
        assert trimming[-1] == "trimming: scoring all rows"
    typical = epochs(lines, "typical rows: ")
    assert np.isfinite(typical["training"]).all()
    assert len(typical["epoch"])
    assert_same(epochs(lines), model.log_likelihoods_, model.validation_log_likelihoods_)


@pytest.mark.parametrize("n_jobs", [1, 2])
def test_components_are_numbered(n_jobs, capfd):
    """By the order of `estimators_`, also by other processes."""
    parameters = {"K": 3, "max_iter": 4, "refine_iter": 3, "n_jobs": n_jobs, "random_state": 0}
    table = np.random.RandomState(0).normal(size=(600, 4)) * [1, 1e3, 1e-5, 1]
    table[::4, 1] = np.nan
    model = EinetMixture(10, **parameters, verbose=1).fit(table)
    lines = said(capfd.readouterr().out, "EinetMixture")
    assert lines[1] == "600 rows, 4 columns, structure 'chow-liu', solver 'sem'"
    assert "clustering 600 rows" in lines
    assert len(model.estimators_) == 10
    for number, each in enumerate(model.estimators_, 1):
        part = f"component {number}/10:".ljust(len("component 10/10: "))
        assert_same(epochs(lines, part), each.log_likelihoods_, each.validation_log_likelihoods_)
        assert f"{part}building the structure of 4 columns" in lines
    refined = epochs(lines, "refinement: ")
    np.testing.assert_allclose(refined["training"], model.log_likelihoods_, atol=6e-5)
    assert lines[-2] == "refinement: refine_iter=3 reached before convergence"
    ended = r"done in \S+ s: \d+ of 10 components reached max_iter=4"
    assert re.fullmatch(ended, lines[-1])


def test_a_mixture_converges(capsys):
    EinetMixture(2, K=2, tol=10, random_state=0, verbose=100).fit(X)
    lines = said(capsys.readouterr().out, "EinetMixture")
    assert lines[-1].endswith("s: all 2 components converged")


def test_partial_fit_and_warm_start(capsys):
    model = tree(verbose=2).partial_fit(X)
    first = said(capsys.readouterr().out)
    assert first[1] == "150 rows, 4 columns, structure 'chow-liu', solver 'sem'"
    assert len(epochs(first)["epoch"]) == 0
    for part in (X[:70], X[70:], X[:100]):
        model.partial_fit(part)
    lines = said(capsys.readouterr().out)
    assert len(lines) == 2
    printed = epochs(lines)
    assert printed["epoch"].tolist() == [2, 4]
    np.testing.assert_allclose(printed["training"], model.log_likelihoods_[1::2], atol=6e-5)
    # Rows of several calls do not compare.
    assert np.isnan(printed["gain"]).all()
    model.set_params(warm_start=True).fit(X)
    lines = said(capsys.readouterr().out)
    assert lines[1].startswith("continuing the last fit: 150 rows (15 held out), 4 columns")


def test_an_imputer_tells_of_its_density_and_of_what_it_fills(capsys):
    def printed():
        out = capsys.readouterr().out.splitlines()
        return [[line for line in out if f"[{name}]" in line] for name in ("EinetDensity", name)]

    name, gaps = "EinetImputer", with_gaps()
    imputer = EinetImputer(random_state=0, verbose=1).fit(gaps)
    density, own = printed()
    assert_same(
        epochs(said("\n".join(density))),
        imputer.density_.log_likelihoods_,
        imputer.density_.validation_log_likelihoods_,
    )
    assert own == []
    imputer.transform(gaps)
    _, own = printed()
    assert said("\n".join(own), name) == ["filling the missing cells of 150 rows"]
    imputer.transform_multiple(gaps)
    assert len(printed()[1]) == 1
    # A density of one's own has the last word, unless it says nothing.
    EinetImputer(tree(verbose=0), verbose=5).fit(gaps)
    assert len(epochs(said("\n".join(printed()[0])))["epoch"]) == 1
    EinetImputer(tree(verbose=5), verbose=1).fit(gaps)
    assert len(epochs(said("\n".join(printed()[0])))["epoch"]) == 1
    EinetImputer(FrozenEstimator(tree(verbose=0).fit(gaps)), verbose=1).fit(gaps)
    assert printed() == [[], []]


def test_long_parts_are_told(capsys, monkeypatch):
    monkeypatch.setattr(progress, "SLOW", 0.0)
    monkeypatch.setattr(progress, "BETWEEN", 0.0)
    EinetDensity(K=4, max_iter=2, random_state=0, verbose=1).fit(X)
    lines = said(capsys.readouterr().out)
    took = [line.rpartition(" took ")[0] for line in lines if re.search(r": took \d+\.\d s$", line)]
    for what in ("reading the table", "building the structure of 4 columns"):
        assert f"{what}:" in took
    assert "joint normal part: learned a mixture of 8 normal distributions" in lines
    places = [
        lines.index("finishing: last steps, outlier threshold"),
        lines.index("weighing both parts of the model"),
        lines.index("making the last step"),
        lines.index("setting the outlier threshold"),
        len(lines) - 1,
    ]
    assert places == sorted(places)
    assert "last steps: 1 made" in lines
    monkeypatch.undo()
    monkeypatch.setattr(progress, "BETWEEN", 1e9)
    EinetDensity(K=4, max_iter=2, random_state=0, verbose=1).fit(X)
    assert not any("learned a mixture" in line for line in said(capsys.readouterr().out))


def test_callbacks_that_ask_for_a_model_print_nothing(capsys, monkeypatch):
    """They get one as if the fit had ended there; but it goes on."""
    monkeypatch.setattr(progress, "BETWEEN", 0.0)
    monitor = ScoringMonitor(scoring=lambda estimator, X, y: {"nats": estimator.score(X)})
    model = EinetDensity(K=4, max_iter=3, random_state=0, verbose=1).set_callbacks(monitor)
    model.fit(X, np.zeros(len(X)))
    lines = said(capsys.readouterr().out)
    assert len(epochs(lines)["epoch"]) == 3
    finishing = lines.index("finishing: last steps, outlier threshold")
    for what in ("weighing both parts of the model", "setting the outlier threshold"):
        assert lines.count(what) == 1
        assert lines.index(what) > finishing


def test_the_time_is_that_since_the_fit_began(capsys):
    report = progress.Report("Name", 1)
    report.clock.began -= 12.34
    report.of_part("part").of_part("3/4", 5).say("words")
    assert re.fullmatch(r"\[Name\]    12\.\d s  part: 3/4:   words\n", capsys.readouterr().out)
    report.clock.began = time.time() + 99  # the clock of another machine
    assert report.seconds == 0
    report.silent().say("nothing")
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize("verbose", [0, False])
def test_nothing_is_printed_without_verbose(verbose, capfd):
    table = mixed_columns()
    EinetDensity(K=2, max_iter=2, verbose=verbose).fit(table).partial_fit(table)
    EinetOutlierDetector(K=2, max_iter=2, verbose=verbose).fit(table)
    EinetMixture(2, K=2, max_iter=2, refine_iter=1, verbose=verbose).fit(table)
    imputer = EinetImputer(tree(verbose=verbose), verbose=verbose).fit(table)
    imputer.transform(table)
    EinetMixture(2, K=2, max_iter=2, n_jobs=2, verbose=verbose).fit(table)
    assert capfd.readouterr() == ("", "")


def test_verbose_changes_nothing():
    quiet, loud = (EinetDensity(K=4, max_iter=3, random_state=0, verbose=v) for v in (0, 1))
    table = mixed_columns()
    np.testing.assert_array_equal(
        quiet.fit(table).score_samples(table), loud.fit(table).score_samples(table)
    )


def test_maps_are_compared_aloud(capsys):
    skewed = np.exp(X * 2)
    EinetDensity(K=2, max_iter=1, random_state=0, verbose=1).fit(skewed)
    lines = said(capsys.readouterr().out)
    assert "comparing columns with and without numeric_transform" in lines
