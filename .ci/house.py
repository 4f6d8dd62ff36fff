"""Show the structure of a checkout, and check its rules: `python .ci/house.py [--check] [PATH]`.

The report lists the modules and lines of every folder, the imports between folders, and all broken
rules: imports that run upward, circular imports, long files, long functions, and private members
used across folders. With `--check`, only broken rules are printed, and the exit status is 1 if
there are any. Docstrings of functions that do not start with a verb from `verbs.txt` are reported,
but do not break a rule.
"""

from __future__ import annotations

import argparse
import ast
import sys
import tomllib
from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

PACKAGE = "sklearn_einet"
ROOT = Path(__file__).parents[1]

# The contract that import-linter checks, too; see pyproject.toml. The top, above all folders,
# consists of the package's own `__init__` and the modules beside it.
TOP = "(top)"
CONTRACTS = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"][
    "contracts"
]
FOLDERS = [TOP, *CONTRACTS[0]["layers"]]

COMPILED = {".c", ".h", ".cpp", ".hpp", ".cc", ".hh"}
MAX_LINES = 400
MAX_COMPILED_LINES = 500
MAX_FUNCTION_LINES = 50

FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef)

ACCESSORS = {"getattr", "setattr", "hasattr", "delattr"}

#: Decorators of functions that are read as attributes, and so are described by noun phrases.
PROPERTIES = {"property", "cached_property", "setter"}

VERBS = set((ROOT / ".ci/verbs.txt").read_text().split())


@dataclass(frozen=True)
class Module:
    """A module of the package, parsed."""

    name: str
    path: Path
    tree: ast.Module
    n_lines: int

    @property
    def folder(self) -> str:
        """The folder of the package that it belongs to, with all folders inside."""
        parts = self.path.parts
        return parts[1] if len(parts) > 2 else TOP

    def at(self, node: ast.AST) -> str:
        """Return where a node is."""
        return f"{self.path}:{getattr(node, 'lineno', 1)}"


@dataclass(frozen=True)
class Import:
    """An import of a module, or of a name from it, by another module."""

    source: Module
    target: Module
    node: ast.AST
    names: tuple[str, ...]
    typing_only: bool

    def __str__(self) -> str:
        kind = ", for types only" if self.typing_only else ""
        return f"{self.source.at(self.node)} imports {self.target.name}{kind}"


def read_modules(root: Path) -> dict[str, Module]:
    """Parse all modules of the package, by name; compiled modules are known by their stubs."""
    modules = {}
    files = (root / PACKAGE).rglob
    for path in sorted([*files("*.py"), *files("*.pyi")]):
        text = path.read_text(encoding="utf-8")
        relative = path.relative_to(root)
        parts = relative.with_suffix("").parts
        name = ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
        modules[name] = Module(name, relative, ast.parse(text), len(text.splitlines()))
    return modules


# ---------------------------------------------------------------------------------- imports


def typing_nodes(tree: ast.Module) -> set[ast.AST]:
    """Return everything inside `if TYPE_CHECKING`."""
    blocks = (n for n in ast.walk(tree) if isinstance(n, ast.If))
    guarded = [n.body for n in blocks if "TYPE_CHECKING" in ast.unparse(n.test)]
    return {inner for body in guarded for statement in body for inner in ast.walk(statement)}


def base_of(module: Module, node: ast.ImportFrom) -> str:
    """Return the absolute name of the module after `from`."""
    if not node.level:
        return node.module or ""
    parts = module.name.split(".")
    depth = node.level - (module.path.name == "__init__.py")
    return ".".join(parts[: len(parts) - depth] + ([node.module] if node.module else []))


def imports_of(module: Module, modules: dict[str, Module]) -> Iterator[Import]:
    """Yield a module's imports from the package, wherever in the module they are."""
    typing_only = typing_nodes(module.tree)
    for node in ast.walk(module.tree):
        taken: dict[str, list[str]] = defaultdict(list)
        if isinstance(node, ast.Import):
            for alias in node.names:
                taken[alias.name] = []
        elif isinstance(node, ast.ImportFrom):
            base = base_of(module, node)
            for alias in node.names:
                inner = f"{base}.{alias.name}"
                taken[inner if inner in modules else base].append(alias.name)
        for name, names in taken.items():
            if name in modules and name != module.name:
                yield Import(module, modules[name], node, tuple(names), node in typing_only)


def circles(modules: dict[str, Module], imports: list[Import]) -> list[list[str]]:
    """Return the groups of modules that import each other (strongly connected components)."""
    after: dict[str, set[str]] = {name: set() for name in modules}
    for taken in imports:
        after[taken.source.name].add(taken.target.name)

    def reachable(start: str) -> set[str]:
        seen: set[str] = set()
        waiting = [start]
        while waiting:
            new = after[waiting.pop()] - seen
            seen |= new
            waiting += new
        return seen

    reach = {name: reachable(name) for name in modules}
    groups = {
        tuple(sorted(m for m in reach[name] if name in reach[m]))
        for name in modules
        if name in reach[name]
    }
    return [list(group) for group in sorted(groups)]


def upward(taken: Import) -> bool:
    """Return whether an import runs up the list of folders."""
    return FOLDERS.index(taken.source.folder) > FOLDERS.index(taken.target.folder)


# --------------------------------------------------------------------- functions and their words


def functions(tree: ast.AST, prefix: str = "") -> Iterator[tuple[str, ast.FunctionDef]]:
    """Yield all functions and methods with their qualified names."""
    for node in ast.iter_child_nodes(tree):
        name = f"{prefix}{node.name}" if isinstance(node, (*FUNCTIONS, ast.ClassDef)) else prefix
        if isinstance(node, FUNCTIONS):
            yield name, node
        inner = f"{name}." if isinstance(node, (*FUNCTIONS, ast.ClassDef)) else prefix
        yield from functions(node, inner)


def code_lines(function: ast.FunctionDef) -> int:
    """Count the lines of a function's body, without its signature and its docstring."""
    body = function.body[1:] if ast.get_docstring(function) is not None else function.body
    return body[-1].end_lineno - body[0].lineno + 1 if body else 0


def is_property(function: ast.FunctionDef) -> bool:
    """Return whether a function is read as an attribute."""
    names = (ast.unparse(d).split("(")[0].split(".")[-1] for d in function.decorator_list)
    return any(name in PROPERTIES for name in names)


def starts_with_verb(function: ast.FunctionDef) -> bool:
    """Return whether a docstring starts with a verb of the list; True without a docstring."""
    text = ast.get_docstring(function)
    if text is None or is_property(function):
        return True
    first = text.split()[0] if text.split() else ""
    return first.rstrip(",:.").lower().split("-")[-1] in VERBS and first[:1].isupper()


# ---------------------------------------------------------------------------- private members


def is_private(name: str) -> bool:
    """Return whether a name is private by Python's convention."""
    return name.startswith("_") and not name.startswith("__") and name != "_"


def private_definitions(module: Module) -> set[str]:
    """Return the private names that a module defines, of members and of the module itself."""
    found = {part for part in module.name.split(".") if is_private(part)}
    for node in ast.walk(module.tree):
        if isinstance(node, (*FUNCTIONS, ast.ClassDef)):
            found.add(node.name)
        elif isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store):
            found.add(node.attr)
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            found.add(node.id)
    return {name for name in found if is_private(name)}


def private_reads(module: Module) -> Iterator[tuple[str, ast.AST]]:
    """Yield the private members that a module uses, by attribute access or `getattr` and the
    like."""
    for node in ast.walk(module.tree):
        if isinstance(node, ast.Attribute):
            if is_private(node.attr) and not isinstance(node.ctx, ast.Store):
                yield node.attr, node
        elif isinstance(node, ast.Call) and ast.unparse(node.func) in ACCESSORS:
            name = node.args[1]
            if isinstance(name, ast.Constant) and is_private(str(name.value)):
                yield str(name.value), node


def private_uses(modules: dict[str, Module], imports: list[Import]) -> Iterator[str]:
    """Yield the uses of members that are private to another folder.

    A member counts as another folder's if it is defined there and nowhere in the folder that uses
    it, because the class of an object is not known.
    """
    defined: dict[str, set[str]] = defaultdict(set)
    for module in modules.values():
        for name in private_definitions(module):
            defined[name].add(module.folder)
    for taken in imports:
        if taken.source.folder != taken.target.folder:
            parts = (*taken.target.name.split("."), *taken.names)
            for name in sorted(set(filter(is_private, parts))):
                yield f"{taken.source.at(taken.node)} imports {name} of {taken.target.folder}"
    for module in modules.values():
        for name, node in private_reads(module):
            owners = defined.get(name, set())
            if owners and module.folder not in owners:
                yield f"{module.at(node)} uses {name} of {', '.join(sorted(owners))}"


# ------------------------------------------------------------------------------------ the report


def count_lines(path: Path) -> int:
    """Count the lines of a file."""
    return len(path.read_text(encoding="utf-8", errors="replace").splitlines())


def compiled_sources(root: Path) -> dict[Path, int]:
    """Return the lines of every source file of the compiled part."""
    paths = (p for p in sorted((root / PACKAGE).rglob("*")) if p.suffix in COMPILED)
    return {p.relative_to(root): count_lines(p) for p in paths}


def long_files(modules: dict[str, Module], compiled: dict[Path, int]) -> Iterator[str]:
    """Yield the files that have too many lines."""
    files = [(m.path, m.n_lines, MAX_LINES) for m in modules.values()]
    files += [(path, n, MAX_COMPILED_LINES) for path, n in compiled.items()]
    for path, n, most in files:
        if n > most:
            yield f"{path} has {n} lines"


def long_functions(modules: dict[str, Module]) -> Iterator[str]:
    """Yield the functions that have too many lines of code."""
    for module in modules.values():
        for name, node in functions(module.tree):
            if (n := code_lines(node)) > MAX_FUNCTION_LINES:
                yield f"{module.at(node)} {name} has {n} lines"


def without_verb(modules: dict[str, Module]) -> Iterator[str]:
    """Yield the functions whose docstrings do not start with a verb."""
    for module in modules.values():
        for name, node in functions(module.tree):
            if not starts_with_verb(node):
                first = (ast.get_docstring(node) or "").split("\n")[0]
                yield f"{module.at(node)} {name}: {first}"


def broken_rules(
    modules: dict[str, Module], imports: list[Import], compiled: dict[Path, int]
) -> dict[str, list[str]]:
    """Return the violations of each rule."""
    return {
        "imports that run upward": [str(i) for i in imports if upward(i)],
        "circles of imports": [", ".join(group) for group in circles(modules, imports)],
        f"files above {MAX_LINES} lines ({MAX_COMPILED_LINES} if compiled)": list(
            long_files(modules, compiled)
        ),
        f"functions above {MAX_FUNCTION_LINES} lines of code, without signature and docstring": (
            list(long_functions(modules))
        ),
        "private members used across folders": list(private_uses(modules, imports)),
    }


def print_sizes(root: Path, modules: dict[str, Module], compiled: dict[Path, int]) -> None:
    """Print the files and lines of every folder, and of the rest of the checkout."""
    sizes = [(m.path.parent, m.n_lines) for m in modules.values()]
    sizes += [(path.parent, n) for path, n in compiled.items()]
    for folder in ("tests", "benchmarks", "examples", ".ci"):
        sizes += [(Path(folder), count_lines(p)) for p in (root / folder).rglob("*.py")]
    print(f"{'folder':<40}{'files':>7}{'lines':>8}")
    for folder in dict.fromkeys(f for f, _ in sizes):
        lines = [n for f, n in sizes if f == folder]
        print(f"{folder!s:<40}{len(lines):>7}{sum(lines):>8}")
    of_package = [n for f, n in sizes if f.parts[0] == PACKAGE]
    print(f"{'all of the package':<40}{len(of_package):>7}{sum(of_package):>8}")
    print(f"{'all':<40}{len(sizes):>7}{sum(n for _, n in sizes):>8}")


def print_imports(imports: list[Import]) -> None:
    """Print how often the modules of one folder import those of another."""
    between = Counter((i.source.folder, i.target.folder) for i in imports if not i.typing_only)
    typing_only = Counter((i.source.folder, i.target.folder) for i in imports if i.typing_only)
    print("\nimports by modules of a folder (rows) from another (columns)")
    print(" " * 12 + "".join(f"{folder:>11}" for folder in FOLDERS))
    for source in FOLDERS:
        counts = (between[source, target] for target in FOLDERS)
        print(f"{source:<12}" + "".join(f"{n or '.':>11}" for n in counts))
    print(
        "for types only: "
        + (", ".join(f"{s} from {t} {n}" for (s, t), n in typing_only.items()) or "none")
    )


def print_findings(findings: dict[str, list[str]]) -> None:
    """Print what was found under each heading."""
    for heading, found in findings.items():
        print(f"\n{heading}: {len(found) or 'none'}")
        for line in found:
            print(f"  {line}")


def main() -> int:
    """Print the report, or check the rules."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--check", action="store_true", help="print only broken rules")
    parser.add_argument("path", nargs="?", type=Path, default=ROOT)
    options = parser.parse_args()
    root = options.path.resolve()
    modules = read_modules(root)
    if unknown := {m.folder for m in modules.values()} - set(FOLDERS):
        parser.error(f"the list of folders lacks {sorted(unknown)}")
    compiled = compiled_sources(root)
    imports = list(chain.from_iterable(imports_of(m, modules) for m in modules.values()))
    broken = broken_rules(modules, imports, compiled)
    if options.check:
        print_findings({heading: found for heading, found in broken.items() if found})
        print(f"house: {len(modules)} modules, {sum(map(len, broken.values()))} rules broken")
        return int(any(broken.values()))
    print_sizes(root, modules, compiled)
    print_imports(imports)
    print_findings(broken)
    print_findings(
        {"docstrings of functions that do not start with a verb": list(without_verb(modules))}
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
