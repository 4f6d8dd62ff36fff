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

from sklearn_einet.learning import FullEM
from sklearn_einet.tables.rows import Rows

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
    """One that needs no data, and one that says that the data are missing."""
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


# --- ten minutes on a GPU


@pytest.fixture
def script(monkeypatch, tmp_path):
    """The module, with two tests for a GPU, of which one fails where it is run, and no data."""
    monkeypatch.syspath_prepend(FOLDER)
    script = importlib.import_module("gpu")
    folder = tmp_path / "tests"
    folder.mkdir()
    (folder / "setup.cfg").write_text("[tool:pytest]\nmarkers =\n    gpu: needs a GPU\n")
    marked = "import pytest\n\npytestmark = pytest.mark.gpu\n\n"
    (folder / "test_one.py").write_text(f"{marked}def test_right(): pass\n")
    (folder / "test_two.py").write_text(f"{marked}def test_wrong(): assert False\n")
    monkeypatch.setattr(script, "TESTS", folder)
    monkeypatch.setenv("SKLEARN_EINET_DATA", os.fspath(tmp_path))
    # Several threads of torch take long for small products where others use the cores.
    n_threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield script
    torch.set_num_threads(n_threads)


def rehearsed(script, monkeypatch, capsys, *arguments):
    """Exit status of a rehearsal, and the lines that it printed, part by part."""
    monkeypatch.setattr(sys, "argv", ["gpu.py", "--device", "cpu", "--tiny", *arguments])
    status = script.main()
    head, *parts = capsys.readouterr().out.split("\n## ")
    named = {part.split("\n")[0]: part.splitlines()[2:] for part in parts}
    return status, {"": head.splitlines()} | named


def save_images(path):
    """Training and test images in the place of MNIST's."""
    images = np.random.RandomState(0).binomial(1, 0.02, (400, 784)).astype(np.uint8)
    np.savez(path, train_x=images[:300], test_x=images[300:])


def measured(part):
    """The rows of the table, a dict each."""
    names, _, *rows = ([cell.strip() for cell in line.split("|")[1:-1]] for line in part if line)
    return [dict(zip(names, row, strict=True)) for row in rows if len(row) == len(names)]


def test_gpu_benchmark_runs_on_a_cpu(script, monkeypatch, capsys, tmp_path):
    """All of its parts, with tiny sizes and images that are nearly black."""
    save_images(tmp_path / "mnist.npz")
    status, parts = rehearsed(script, monkeypatch, capsys)
    assert status == 0
    assert list(parts) == ["", "tests", "speed", "mnist"]
    assert any(line.startswith("product of 256 x 256 in float32:") for line in parts[""])
    assert parts["tests"][0].startswith("collected, and not run on a CPU: 2 ")
    rows = measured(parts["speed"])
    names = [row["case"].split(",")[0] for row in rows]
    assert names == [*["Fig. 4: D=2"] * 8, *["10 columns"] * 4, "hidden tree", "quad tree"]
    is_ours = [row["by"] == "sklearn-einet" for row in rows]
    assert is_ours == [*[True, False] * 6, True, True]
    for row in rows:
        assert all(0 < float(row[name]) < np.inf for name in ("epoch s", "score s"))
        assert 0 <= float(row["of float32 rate"].rstrip("%")) < np.inf
        assert row["peak MB"] == row["of TF32 rate"] == "-"
        ratios = row["times ours: epoch / score / memory"].split(" / ")
        assert ratios == [""] or all(0 <= float(ratio) < np.inf for ratio in ratios[:2])
        assert (ratios == [""]) == (row["by"] == "sklearn-einet")
    first, second, fit, test, goal = parts["mnist"][:5]
    for line, start in ((first, "epoch 1: "), (second, "epoch 2: "), (test, "test: ")):
        assert line.startswith(start)
        assert 0 < float(line.split(" bits")[0].split()[-1]) < 1
    assert fit.startswith("fit: 2 of 2 epochs of 300 images")
    assert goal.startswith("1.20 bits a pixel: in epoch 1, ")
    assert parts["mnist"][-1].startswith("nothing failed, ")


def test_gpu_benchmark_goes_on_after_failures(script, monkeypatch, capsys):
    """A card without enough memory, a case that fails, a part that does, and no data."""
    speed = importlib.import_module("_gpu_speed")

    def full(*arguments, **others):
        raise torch.cuda.OutOfMemoryError("no")

    def broken(*arguments, **others):
        raise ValueError("a | b\nc")

    monkeypatch.setattr(speed, "measure_ours", full)
    status, parts = rehearsed(script, monkeypatch, capsys, "--only", "mnist", "speed")
    assert status == 0
    assert list(parts) == ["", "speed", "mnist"]
    rows = measured(parts["speed"])
    found = [row["epoch s"] == "out of memory" for row in rows]
    assert found == [*[True, False] * 4, *[True] * 4, True, True]
    assert parts["mnist"][0].startswith("skipped: no MNIST")
    monkeypatch.setattr(speed, "measure_paper", broken)
    monkeypatch.setattr(script, "run_tests", broken)
    status, parts = rehearsed(script, monkeypatch, capsys)
    assert status == 1
    assert parts["tests"][0] == "failed: ValueError: a / b c"
    rows = measured(parts["speed"])
    assert len(rows) == 14
    assert rows[1]["epoch s"] == "failed: ValueError: a / b c"
    assert parts["mnist"][-1].startswith("failed: tests, speed, ")


def test_gpu_benchmark_names_what_there_was_no_time_for(script, monkeypatch, capsys, tmp_path):
    status, parts = rehearsed(script, monkeypatch, capsys, "--minutes", "0")
    assert status == 0
    assert [part[0] for part in parts.values()][1:] == ["not run: 0 minutes are over"] * 3
    speed = importlib.import_module("_gpu_speed")
    card = importlib.import_module("_gpu_device").Card(torch.device("cpu"), None, None)
    assert speed.speed(speed.TINY, card, deadline=0.0)
    rows = measured(capsys.readouterr().out.splitlines())
    assert len(rows) == 14
    assert {row["epoch s"] for row in rows} == {"not run: the time is over"}
    # A fit that has begun ends with the epoch, and is scored.
    save_images(tmp_path / "mnist.npz")
    mnist = importlib.import_module("_gpu_mnist")
    assert mnist.bits_of_mnist(mnist.TINY, card, deadline=0.0)
    first, fit, test, _ = capsys.readouterr().out.splitlines()
    assert first.startswith("epoch 1: ")
    assert fit.startswith("fit: 1 of 2 epochs")
    assert test.startswith("test: ")


def test_gpu_benchmark_says_how_the_tests_ended(script, monkeypatch, capsys):
    def outcome(**arguments):
        is_fine = script.run_tests(collect_only=False, **arguments)
        return is_fine, capsys.readouterr().out.splitlines()

    is_fine, (failed, summary) = outcome()
    assert not is_fine
    assert failed.startswith("FAILED ")
    assert "test_wrong" in failed
    assert summary.startswith("FAILED: 1 failed, 1 passed")
    is_fine, (summary,) = outcome(seconds=0.01)
    assert not is_fine
    assert summary.startswith("TIMEOUT: not finished after 0.01 s")
    monkeypatch.setattr(script, "TESTS", script.TESTS / "test_one.py")
    is_fine, (summary,) = outcome()
    assert is_fine
    assert summary.startswith("passed: 1 passed")
    monkeypatch.setattr(script, "TESTS", script.TESTS / "none")
    assert outcome() == (True, ["skipped: tests/ is not there"])


def test_paper_network_is_the_same_model(script):
    """Its log-likelihoods are those of our circuit, also after steps of EM by either."""
    speed, paper = (importlib.import_module(name) for name in ("_gpu_speed", "_gpu_paper"))
    cpu = torch.device("cpu")
    sizes = speed.TINY._replace(n_columns=13, depth=3, replicas=3)
    for case in list(speed.cases(sizes))[:4]:
        circuit, X = speed.set_up(case)
        network, x = paper.PaperNetwork.of(circuit, cpu), torch.from_numpy(X)
        rows = Rows(X, lambda part: part.astype(np.float64), None, cpu, None)
        for _ in range(3):
            expected = circuit.log_prob(x.double())
            assert expected.std() > 0.1
            torch.testing.assert_close(network.log_prob(x).double(), expected, rtol=1e-4, atol=1e-3)
            log_likelihood = FullEM(0.0).epoch(circuit, rows)
            assert paper.epoch(network, x, len(x), 1.0) == pytest.approx(log_likelihood, abs=1e-3)
        # Smaller batches and steps remain those of a density.
        paper.epoch(network, x, 20, 0.3)
        torch.testing.assert_close(paper.score(network, x, 7), network.log_prob(x))
        for total in [network.mixture.sum(), *(w.sum((0, 1)) for w in network.weights)]:
            torch.testing.assert_close(total, torch.ones_like(total))


def test_rates_leave_the_precision_of_products_as_it_was(script):
    device = importlib.import_module("_gpu_device")
    flags = torch.backends.cuda.matmul
    before = flags.allow_tf32

    def fail(allowed):
        with device.tf32(allowed):
            assert flags.allow_tf32 is allowed
            raise ZeroDivisionError

    for allowed in (True, False):
        with pytest.raises(ZeroDivisionError):
            fail(allowed)
    assert 0 < device.product_rate(torch.device("cpu"), 32, 0.0, True) < np.inf
    assert flags.allow_tf32 is before
