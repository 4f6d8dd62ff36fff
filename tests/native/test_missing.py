"""What users are told where the compiled part is missing."""

import os
import shutil
import subprocess
import sys
import threading
from functools import partial
from importlib.machinery import EXTENSION_SUFFIXES
from importlib.metadata import distributions
from pathlib import Path

import pytest
import torch

import sklearn_einet
from sklearn_einet import native, show_versions
from sklearn_einet.circuit.backend import VARIABLE, choose_backend
from sklearn_einet.native import missing

CPU = torch.device("cpu")
PACKAGE = Path(sklearn_einet.__file__).parent

FIT = """
import sys, warnings
import numpy as np
import sklearn_einet
from sklearn_einet import EinetDensity, native, show_versions

assert sklearn_einet.__file__.startswith(sys.argv[1]), sklearn_einet.__file__
assert not native.available()
X = np.random.RandomState(0).normal(size=(50, 2))
with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always")
    for _ in range(2):
        EinetDensity(K=2, max_iter=1, tol=1e9, random_state=0).fit(X)
print("WARNINGS:", *(str(w.message) for w in caught if "compiled" in str(w.message)), sep="\\n")
show_versions()
"""


@pytest.fixture
def absent(monkeypatch, tmp_path):
    """A process that has not warned yet, in a folder of site-packages with nothing compiled.

    Other copies of the package are looked for in the folder "installed" only.
    """
    folder = tmp_path / "site-packages" / "sklearn_einet" / "native"
    folder.mkdir(parents=True)
    monkeypatch.setattr(missing, "available", lambda: False)
    monkeypatch.setattr(missing, "UNSUPPORTED", False)
    monkeypatch.setattr(missing, "FOLDER", folder)
    monkeypatch.setattr(missing, "_first_call", threading.Lock())
    search = partial(distributions, path=[str(tmp_path / "installed")])
    monkeypatch.setattr(missing, "distributions", search)
    monkeypatch.setattr(native, "available", lambda: False)
    monkeypatch.setenv(VARIABLE, "auto")
    return folder


def installed_copy(site_packages):
    """A compiled copy of the package, in site-packages, as pip records it."""
    record = site_packages / "sklearn_einet-0.1.0.dist-info" / "RECORD"
    files = ["calls.py", f"_native{EXTENSION_SUFFIXES[0]}"]
    for name in files:
        path = site_packages / "sklearn_einet" / "native" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("")
    record.parent.mkdir()
    record.write_text("".join(f"sklearn_einet/native/{name},,\n" for name in files))
    (record.parent / "METADATA").write_text("Name: sklearn-einet\nVersion: 0.1.0\n")
    return site_packages


def test_first_use_warns_and_later_ones_do_not(absent, recwarn):
    with pytest.warns(UserWarning, match=r"no C\+\+ compiler was found.*which is slower") as w:
        assert choose_backend(CPU, torch.float64).name == "torch"
    assert "pip install --force-reinstall --no-deps --no-cache-dir" in str(w[0].message)
    choose_backend(CPU, torch.float64)
    assert len(recwarn) == 0


@pytest.mark.filterwarnings("error")
def test_as_an_error_it_is_raised_once(absent):
    with pytest.raises(UserWarning, match="compiled part"):
        choose_backend(CPU, torch.float64)
    choose_backend(CPU, torch.float64)


@pytest.mark.filterwarnings("error")
def test_choices_that_are_meant_are_silent(absent, monkeypatch):
    choose_backend(CPU, torch.bfloat16)
    choose_backend(torch.device("cuda"), torch.float32)
    monkeypatch.setenv(VARIABLE, "torch")
    choose_backend(CPU, torch.float64)


@pytest.mark.filterwarnings("error")
def test_platforms_without_compiled_part_are_silent(absent, monkeypatch, capsys):
    monkeypatch.setattr(missing, "UNSUPPORTED", True)
    choose_backend(CPU, torch.float64)
    show_versions()
    assert "compiled part: missing: the C++ sources need gcc or clang" in capsys.readouterr().out


def test_checkouts_are_told_to_build_in_place(absent):
    checkout = absent.parents[1]
    (checkout / "pyproject.toml").write_text("")
    assert missing.cause_of_absence().remedy == (
        f"Install a C++ compiler such as gcc or clang, then run `pip install -e .` in {checkout}."
    )


def test_a_checkout_that_hides_an_installed_copy_is_named(absent, tmp_path):
    (absent.parents[1] / "pyproject.toml").write_text("")
    installed_copy(tmp_path / "installed")
    reason, remedy = missing.cause_of_absence()
    assert reason == (
        f"the folder {absent.parent} hides the installed, compiled copy in "
        f"{tmp_path / 'installed' / 'sklearn_einet'}"
    )
    assert remedy.startswith("Start Python in another folder, or run `pip install -e .` in ")


def test_an_installed_copy_that_is_not_compiled_is_no_help(absent, tmp_path):
    next(installed_copy(tmp_path / "installed").rglob("_native*")).unlink()
    assert "it was not built" in missing.cause_of_absence().reason


def test_what_cannot_be_loaded_is_named_with_the_error(absent, monkeypatch):
    (absent / f"_native{EXTENSION_SUFFIXES[-1]}").write_text("")
    monkeypatch.setattr(missing, "import_error", ImportError("version GLIBC_9 not found"))
    reason, remedy = missing.cause_of_absence()
    assert "(version GLIBC_9 not found)" in reason
    assert remedy.startswith("Reinstall: `pip install")


def test_there_is_no_cause_where_it_is_built(compiled, capsys):
    assert native.cause_of_absence() is None
    show_versions()
    assert "compiled part: built\n" in capsys.readouterr().out


@pytest.mark.parametrize("setting", ["auto", "torch"])
def test_fits_by_an_uncompiled_copy_that_hides_a_compiled_one(setting, tmp_path):
    """In a process of its own, from the import on."""
    ignored = shutil.ignore_patterns("_native.*.so", "_native.so", "_native*.pyd", "__pycache__")
    shutil.copytree(PACKAGE, tmp_path / "copy" / "sklearn_einet", ignore=ignored)
    folders = [tmp_path / "copy", installed_copy(tmp_path / "installed")]
    variables = {"PYTHONPATH": os.pathsep.join(map(str, folders)), VARIABLE: setting}
    finished = subprocess.run(
        [sys.executable, "-c", FIT, str(folders[0])],
        env=os.environ | variables,
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert finished.returncode == 0, finished.stderr
    warned, versions = finished.stdout.split("\nSystem\n")
    assert warned.count("hides the installed, compiled copy") == (setting == "auto")
    assert "compiled part: missing: the folder" in versions
