"""The short version of the benchmarks, end to end with two of its cases."""

import csv
import importlib
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

FOLDER = Path(__file__).parents[1] / "benchmarks"
SCRIPT = FOLDER / "short.py"


@pytest.fixture
def short(monkeypatch):
    """The module, which imports others of its folder."""
    monkeypatch.syspath_prepend(FOLDER)
    return importlib.import_module("short")


def run(*arguments):
    return subprocess.run(
        [sys.executable, SCRIPT, *map(str, arguments)], capture_output=True, text=True, check=False
    )


def test_table_of_two_benchmarks(monkeypatch, tmp_path):
    """One that needs no data, and one that says that there is none."""
    path = tmp_path / "new.csv"
    monkeypatch.setenv("SKLEARN_EINET_DATA", os.fspath(tmp_path / "none"))
    finished = run("--only", "p_values", "table1", "--output", path)
    assert finished.returncode == 0, finished.stderr
    head, *lines = path.read_text().splitlines()
    assert head.startswith("# commit ")
    assert "torch" in head
    rows = list(csv.DictReader(lines))
    assert {row["benchmark"] for row in rows} == {"p_values", "table1"}
    assert [row["value"] for row in rows if row["benchmark"] == "table1"] == [
        "skipped: no data (SKLEARN_EINET_DATA)"
    ]
    for row in rows:
        assert f"| {' | '.join(row.values())} |" in finished.stdout
        if row["benchmark"] == "p_values":
            assert row["unit"] == "share"
            assert 0 <= float(row["value"]) <= 1


def table(short, path, **values):
    """A table of one benchmark: an epoch, a score, and the memory."""
    units = {"epoch": "products", "score": "nats", "memory": "MB"}
    rows = [short.Row("scaling", "a", k, units[k], v) for k, v in values.items()]
    short.save(path, "commit abc", rows)
    return rows


def compared(short, monkeypatch, capsys, old, *runs):
    """Exit status and marked quantities of a comparison in which these rows are measured."""
    runs = iter(runs)
    monkeypatch.setattr(short, "run", lambda name: next(runs))
    monkeypatch.setattr(sys, "argv", ["short.py", "--only", "scaling", "--compare", str(old)])
    status = short.main()
    output = capsys.readouterr().out
    assert "commit abc" in output
    return status, {
        line.split(" | ")[2]: line.split("**")[1] for line in output.splitlines() if "**" in line
    }


def test_comparison_marks_what_is_worse(short, monkeypatch, capsys, tmp_path):
    old = tmp_path / "old.csv"
    table(short, old, epoch="100", score="-5.0000", memory="50")

    def outcome(*runs):
        rows = [table(short, tmp_path / "new.csv", **values) for values in runs]
        return compared(short, monkeypatch, capsys, old, *rows)

    assert outcome({"epoch": "115", "score": "-5.0100", "memory": "20"}) == (0, {})
    # A higher cost is measured again, and the lower one counts.
    slow, fast = ({"epoch": e, "score": "-5.0000", "memory": "50"} for e in ("150", "110"))
    assert outcome(slow, slow) == (1, {"epoch": "worse"})
    assert outcome(slow, fast) == (0, {})
    changed = {"epoch": "50", "score": "-4.9000", "memory": "50"}
    assert outcome(changed) == (1, {"score": "changed"})
    assert outcome({"epoch": "100", "score": "nan"}) == (
        1,
        {"score": "changed", "memory": "missing"},
    )


def test_failed_benchmarks_are_marked_and_skipped_ones_are_not(
    short, monkeypatch, capsys, tmp_path
):
    old = tmp_path / "old.csv"
    table(short, old, epoch="100")
    failed = [short.Row("scaling", "", "", "", "failed: ValueError: no")]
    status, marked = compared(short, monkeypatch, capsys, old, failed)
    assert status == 1
    assert set(marked.values()) == {"failed", "missing"}
    skipped = [short.Row("scaling", "a", "", "", "skipped: no module cirkit")]
    assert compared(short, monkeypatch, capsys, old, skipped) == (0, {})


def test_a_benchmark_that_fails_or_takes_too_long_is_reported(short, monkeypatch, tmp_path):
    monkeypatch.setenv("SKLEARN_EINET_DATA", os.fspath(tmp_path))
    (row,) = short.run("table1")
    assert row.value.startswith("failed: FileNotFoundError")
    monkeypatch.setattr(short, "TIMEOUT", 0.01)
    (row,) = short.run("table1")
    assert row.value == "failed: more than 0.01 s"


# --- drawn rows


@pytest.fixture
def synthetic(monkeypatch):
    monkeypatch.syspath_prepend(FOLDER)
    return importlib.import_module("synthetic")


def passengers(n, seed=0):
    """A small mixed table with gaps; the fare tells who survived."""
    rng = np.random.RandomState(seed)
    fare, age = rng.exponential(30, n).round(2), rng.normal(30, 9, n).round(1)
    age[::5] = np.nan
    survived = pd.Categorical((fare > 25).astype(int))
    kin = rng.poisson(1, n)
    port = pd.Categorical(rng.choice(["C", "S"], n))
    return pd.DataFrame(
        {"Survived": survived, "Age": age, "SibSp": kin, "Fare": fare, "Embarked": port}
    )


@pytest.mark.filterwarnings("ignore")
def test_drawn_rows_are_compared_and_results_kept(synthetic, monkeypatch, capsys, tmp_path):
    path = tmp_path / "synthetic.csv"
    monkeypatch.setattr(synthetic, "RESULTS", path)
    monkeypatch.setattr(synthetic, "frame_of", lambda name, max_rows: passengers(max_rows or 300))

    def run(*models):
        arguments = ["--tables", "titanic", "--rows", "300", "--models", *models]
        monkeypatch.setattr(sys, "argv", ["synthetic.py", *arguments])
        synthetic.main()
        return list(csv.DictReader(path.read_text().splitlines()))

    run("training rows", "independent columns")
    first = path.read_text()
    rows = run("einet", "training rows")
    assert path.read_text().startswith(first)
    found = {row["model"]: row for row in rows}
    assert [row["model"] for row in rows] == ["training rows", "independent columns", "einet"]
    assert found["training rows"]["copies"] == "1"
    assert float(found["independent columns"]["copies"]) < 0.1
    assert float(found["training rows"]["useful"]) > 0.95 > float(found["einet"]["copies"])
    assert float(found["independent columns"]["useful"]) < 0.7 < float(found["einet"]["useful"])
    assert float(found["einet"]["outside"]) < 0.2
    printed = capsys.readouterr().out.splitlines()[-3:]
    assert [line.split(" | ")[2] for line in printed] == [
        "einet",
        "independent columns",
        "training rows",
    ]
    assert all(line.count("|") == printed[0].count("|") for line in printed)


@pytest.mark.filterwarnings("ignore")
def test_measures_of_likeness(synthetic, monkeypatch):
    likeness = importlib.import_module("_likeness")
    real, same, other = (
        synthetic.typed_like(passengers(400, seed), passengers(400)) for seed in (0, 1, 2)
    )
    other["Fare"], other["Embarked"] = other["Fare"] + 1000.001, "S"
    other["Embarked"] = other["Embarked"].astype(real["Embarked"].dtype)
    other.loc[:9] = real.loc[:9]

    def measured():
        shapes = likeness.column_shapes(real, other)
        return [*shapes.values(), likeness.pair_trends(real, other)]

    shapes = likeness.column_shapes(real, other)
    assert shapes["Fare"] == pytest.approx(10 / 400, abs=1e-9)
    assert shapes["Embarked"] == pytest.approx(0.5, abs=0.05)
    found = measured()
    monkeypatch.setattr(likeness, "find_spec", lambda name: None)
    np.testing.assert_allclose(measured(), found, atol=1e-12)
    assert likeness.pair_trends(real, same) > 0.9 > likeness.pair_trends(real, other)
    boosting = likeness.hist_gradient_boosting()
    assert likeness.not_told_apart(real, same, boosting) > 0.7
    assert likeness.not_told_apart(real, other, boosting) < 0.1
    assert likeness.share_of_copies(other, real) == pytest.approx(10 / 400)
    outside, beside = likeness.impossible_values(other[["Fare", "SibSp"]], real[["Fare", "SibSp"]])
    assert beside == pytest.approx(0.5 * 390 / 400, abs=1e-9)
    assert outside == pytest.approx(0.5 * 390 / 400, abs=0.01)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", ["Gaussian copula", "ARF", "TVAE", "CTGAN", "independent columns"])
def test_rows_of_rivals_are_like_those_of_the_table(synthetic, name):
    generators = importlib.import_module("_generators")
    pytest.importorskip(generators.MODELS[name].library)
    train = passengers(200)
    generator = generators.MODELS[name]()
    if hasattr(generator, "epochs"):
        generator.epochs = 2
    drawn = generator.fit(train).sample(150)
    assert drawn.shape == (150, 5)
    assert drawn.dtypes[["Survived", "Embarked"]].eq(train.dtypes[["Survived", "Embarked"]]).all()
    assert 0.05 < drawn["Age"].isna().mean() < 0.4
    outside, beside = importlib.import_module("_likeness").impossible_values(drawn, train)
    assert outside == beside == 0


def test_gpu_benchmark_runs_on_a_cpu(monkeypatch, capsys):
    """With small circuits of all kinds, each pass once."""
    monkeypatch.syspath_prepend(FOLDER)
    gpu = importlib.import_module("gpu")
    monkeypatch.setattr(gpu, "fastest", lambda function, seconds=0: function() or 0.5)
    cases = list(gpu.cases(quick=True))
    for case in cases:
        gpu.measure(case._replace(K=2, n_rows=40, batch=20), torch.device("cpu"), 1e12)
    rows = capsys.readouterr().out.splitlines()
    assert len(rows) == len(cases) == 4
    for row in rows:
        assert row.count("|") == 9
        assert "| 40 | 20 | 0.5 | 0.5 | - | 0.0% |" in row
