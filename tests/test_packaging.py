"""What is imported is declared, and versions are bounded by what is tested."""

import ast
import subprocess
import sys
import tomllib
from collections import defaultdict
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

import sklearn_einet
from sklearn_einet import show_versions
from sklearn_einet.estimators.documentation import DOCUMENTATION

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
EXTRAS = PROJECT["optional-dependencies"]
NEEDED = [Requirement(line) for line in PROJECT["dependencies"]]
OF_USERS = ("dask", "imblearn", "pandas", "plot", "pyod")
USED_BY_USERS = [Requirement(line) for name in OF_USERS for line in EXTRAS[name]]
TESTED = NEEDED + USED_BY_USERS + [Requirement(line) for line in EXTRAS["test"]]


def names(requirements):
    return {canonicalize_name(r.name) for r in requirements}


def imported():
    """The modules that import each library."""
    found = defaultdict(list)
    for path in Path(sklearn_einet.__file__).parent.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            modules = []
            if isinstance(node, ast.Import):
                modules = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom) and not node.level:
                modules = [node.module]
            for module in modules:
                found[module.partition(".")[0]].append(path.name)
    return {k: v for k, v in found.items() if k not in {*sys.stdlib_module_names, "sklearn_einet"}}


def pinned(name):
    """The versions of a file of constraints."""
    lines = (ROOT / name).read_text().splitlines()
    pins = (line.split("==") for line in lines if not line.startswith("#"))
    return {canonicalize_name(name): version for name, version in pins}


@pytest.mark.parametrize("library", sorted(imported()))
def test_what_is_imported_is_declared(library):
    distributions = {canonicalize_name(d) for d in packages_distributions()[library]}
    assert distributions & names(NEEDED + USED_BY_USERS), imported()[library]


def test_extras_are_imported_where_they_are_used_only():
    extras = {"dask", "distributed", "imblearn", "matplotlib", "pandas", "pyod"}
    blocked = f"import sys; sys.modules.update(dict.fromkeys({extras}))"
    code = f"{blocked}; import sklearn_einet, sklearn_einet.inspection"
    subprocess.run([sys.executable, "-c", code], check=True, cwd=ROOT)


@pytest.mark.parametrize("requirement", TESTED, ids=str)
def test_lower_bounds_are_what_the_oldest_run_installs(requirement):
    (bound,) = requirement.specifier
    assert bound.operator == ">="
    oldest = pinned("constraints-oldest.txt")[canonicalize_name(requirement.name)]
    assert Requirement(f"x=={oldest}").specifier.contains(bound.version)


@pytest.mark.parametrize("requirement", TESTED, ids=str)
def test_pinned_versions_are_allowed(requirement):
    pins = pinned("constraints.txt")
    assert requirement.specifier.contains(pins[canonicalize_name(requirement.name)])


def test_estimators_link_to_the_documentation_of_the_project():
    assert PROJECT["urls"]["Documentation"] == DOCUMENTATION


def test_versions_for_reports(capsys):
    show_versions()
    printed = capsys.readouterr().out
    for name in (*names(NEEDED), "compiled part", "instruction set", "threads", "GPU"):
        assert f"{name}: " in printed


def test_citation_is_of_this_version():
    lines = (ROOT / "CITATION.cff").read_text().splitlines()
    assert f"version: {sklearn_einet.__version__}" in lines


def test_types_are_installed():
    """With the package, and so in the wheel."""
    package = Path(sklearn_einet.__file__).parent
    assert (package / "py.typed").is_file()
    assert (package / "native" / "_native.pyi").is_file()
