"""The docstrings of the package have the structure that numpydoc reads."""

import ast
import inspect
import re
from pathlib import Path

import pytest

import sklearn_einet

ROOT = Path(sklearn_einet.__file__).parent
MODULES = sorted(ROOT.rglob("*.py"))
ENTRY = re.compile(r"`?\w+`?(, \w+)* : \S")
DOCUMENTED = (ast.FunctionDef, ast.ClassDef, ast.Module)


def docstrings(path):
    """Yield the line and the cleaned docstring of every definition of a module."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, DOCUMENTED) and (text := ast.get_docstring(node, clean=False)):
            yield getattr(node, "lineno", 1), inspect.cleandoc(text)


def faults(text):
    """Yield what numpydoc would not read as it is meant."""
    lines = text.splitlines()
    if lines[0].endswith(".") and lines[1:2] not in ([], [""]):
        yield "has no empty line after its summary"
    heading = ""
    for line, below in zip(lines, [*lines[1:], ""], strict=True):
        if line and not below.strip("-") and below:
            heading = line
        if heading in ("Parameters", "Other Parameters", "Attributes", "Returns", "Yields"):
            if line.startswith(" ") and ENTRY.match(line.strip()):
                yield f"has an entry inside another: {line.strip()}"
            if line.startswith("`") and ENTRY.match(line):
                yield f"has a name in backticks: {line}"


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(ROOT)))
def test_structure_of_docstrings(path):
    found = [f"{line}: {fault}" for line, text in docstrings(path) for fault in faults(text)]
    assert found == []


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("Do it.\nAnd more.", "no empty line"),
        ("Do it.\n\nParameters\n----------\na : int\n    One.\n    b : int\n", "inside another"),
        ("Do it.\n\nAttributes\n----------\n`a` : int\n    One.\n", "backticks"),
    ],
)
def test_faults_are_found(text, fault):
    assert [fault in found for found in faults(text)] == [True]
