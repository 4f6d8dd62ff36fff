"""Build the sdist and the wheel, and check both as a user gets them: `make release-check`.

The script builds a clean copy of the checkout with the tools of the extra `release`, which it
installs in an environment of their own.

It does not install torch again. The environments in which it fits models have links to the
libraries of the environment that runs it, except sklearn-einet, which pip installs from the wheel.
pip checks there that the libraries are what the wheel requires. Other versions of Python on PATH
cannot use these libraries, and load the compiled part alone. With `--install-libraries`, pip
downloads all libraries for them, and they fit a model, too.

The tests are those of the unpacked sdist. Its folder `sklearn_einet` is removed first, so that they
run with the installed wheel.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import sysconfig
import tarfile
import tempfile
import time
import tomllib
import traceback
import zipfile
from collections.abc import Callable
from functools import partial
from pathlib import Path

from readme import ROOT, copied_to

PYTHONS = ("3.11", "3.12", "3.13")
THIS = f"{sys.version_info.major}.{sys.version_info.minor}"
LINUX = sys.platform == "linux"

#: What wheels must have beside modules, and must not.
NEEDED = ("sklearn_einet/py.typed", "sklearn_einet/native/_native.pyi")
UNWANTED = (".cpp", ".hpp", ".h", ".o", ".ipynb")
#: What sdists need not have.
NOT_SHIPPED = (".github/",)

SMALL_FIT = ROOT / ".ci" / "small_fit.py"
LOAD = """
import sys
from importlib.util import module_from_spec, spec_from_file_location
spec = spec_from_file_location("_native", sys.argv[1])
library = module_from_spec(spec)
spec.loader.exec_module(library)
print(f"  loads {len(library.OPERATIONS)} operations ({library.instruction_set()}), without torch")
"""


def run(*command: str | Path, cwd: Path | None = None, **variables: str) -> str:
    """Return what a command prints; print that only if the command fails."""
    hidden = ("PYTHONPATH", "PYTHONHOME", "SKLEARN_EINET_DATA", "SKLEARN_EINET_BACKEND")
    environment = {k: v for k, v in os.environ.items() if k not in hidden}
    words = [str(word) for word in command]
    finished = subprocess.run(
        words,
        cwd=cwd,
        env={**environment, "OMP_NUM_THREADS": "1", "MPLBACKEND": "agg", **variables},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    if finished.returncode:
        print(finished.stdout[-20_000:])
        raise RuntimeError(f"failed with status {finished.returncode}: {' '.join(words)}")
    return finished.stdout


def say(text: str) -> None:
    """Print the lines of a text, indented."""
    print("\n".join(f"    {line.strip()}" for line in text.strip().splitlines()), flush=True)


def working_python(version: str) -> str | None:
    """Return the path of a Python on PATH that starts (those of version managers may not)."""
    path = sys.executable if version == THIS else shutil.which(f"python{version}")
    command = [path or "", "-c", "import venv, ensurepip"]
    works = path and not subprocess.run(command, capture_output=True, check=False).returncode
    return path if works else None


class Check:
    """The files that are checked, in a temporary folder.

    Parameters
    ----------
    folder : Path
    options : Namespace
    """

    def __init__(self, folder: Path, options: argparse.Namespace) -> None:
        self.folder = folder
        self.options = options
        self.checkout = folder / "checkout"
        self.libraries = folder / "libraries"
        self.dist = folder / "dist"
        copied_to(self.checkout)

    @property
    def sdist(self) -> Path:
        """The sdist that has been built."""
        return next(self.dist.glob("*.tar.gz"))

    @property
    def wheel(self) -> Path:
        """The wheel that has been built; on Linux the repaired one, where that has been made."""
        return next((self.folder / "repaired").glob("*.whl"), next(self.dist.glob("*.whl")))

    def tool(self, name: str, *arguments: str | Path) -> str:
        """Return what one of the tools prints."""
        path = os.pathsep.join([str(self.folder / "tools" / "bin"), os.environ["PATH"]])
        return run(self.folder / "tools" / "bin" / name, *arguments, PATH=path)

    def tools(self) -> None:
        """Install the tools of the extra `release`."""
        project = tomllib.loads((self.checkout / "pyproject.toml").read_text())["project"]
        run(sys.executable, "-m", "venv", self.folder / "tools")
        needed = project["optional-dependencies"]["release"]
        run(self.folder / "tools" / "bin" / "python", "-m", "pip", "install", "--quiet", *needed)

    def build(self) -> None:
        """Build the sdist, and the wheel from the sdist."""
        self.tool("pyproject-build", "--outdir", self.dist, self.checkout)
        for path in (self.sdist, self.wheel):
            say(f"{path.name}: {path.stat().st_size / 1e6:.1f} MB")

    def metadata(self) -> None:
        """Check the metadata, and whether README can be shown."""
        say(self.tool("twine", "--no-color", "check", "--strict", self.sdist, self.wheel))

    def sdist_contents(self) -> None:
        """Compare the sdist with the checkout."""
        files = (p.relative_to(self.checkout) for p in self.checkout.rglob("*") if p.is_file())
        # The build leaves an egg-info there.
        expected = {p.as_posix() for p in files if not p.parts[0].endswith((".egg-info", "build"))}
        with tarfile.open(self.sdist) as archive:
            found = {m.name.partition("/")[2] for m in archive.getmembers() if m.isfile()}
        lacking = sorted(name for name in expected - found if not name.startswith(NOT_SHIPPED))
        assert not lacking, f"the sdist lacks {lacking}: see MANIFEST.in"
        built = ("PKG-INFO", "setup.cfg")
        extra = {n for n in found - expected if ".egg-info/" not in n and n not in built}
        assert not extra, f"the sdist has {sorted(extra)}"
        n_tests = sum(name.startswith("tests/") for name in found)
        say(f"{len(found)} files, {n_tests} of them in tests/; none is lacking")

    def wheel_contents(self) -> None:
        """Check that the wheel has all modules, what types need, and nothing to compile."""
        with zipfile.ZipFile(self.wheel) as archive:
            found = set(archive.namelist())
        modules = (self.checkout / "sklearn_einet").rglob("*.py")
        expected = {p.relative_to(self.checkout).as_posix() for p in modules} | set(NEEDED)
        assert expected <= found, f"the wheel lacks {sorted(expected - found)}"
        assert any(n.startswith("sklearn_einet/native/_native.") for n in found - expected), (
            "the wheel has no compiled part"
        )
        unwanted = [n for n in found if n.endswith(UNWANTED)]
        assert not unwanted, f"the wheel has {unwanted}"
        outside = {n.split("/")[0] for n in found} - {"sklearn_einet"}
        assert all(name.endswith(".dist-info") for name in outside), f"the wheel has {outside}"
        say(self.tool("check-wheel-contents", self.wheel))

    def portable(self) -> None:
        """Tag the wheel for Linux distributions; it must not bundle a library, torch above all."""
        report = " ".join(self.tool("auditwheel", "show", self.wheel).split())
        say(report.partition(" This constrains")[0])
        assert "torch" not in report, report
        self.tool("auditwheel", "repair", "--wheel-dir", self.folder / "repaired", self.wheel)
        assert "manylinux" in self.wheel.name, self.wheel.name
        with zipfile.ZipFile(self.wheel) as archive:
            bundled = [name for name in archive.namelist() if ".libs/" in name]
        assert not bundled, f"auditwheel bundled {bundled}"
        say(f"{self.wheel.name} bundles no library")

    def stable_abi(self) -> None:
        """Check that the compiled part calls nothing outside of Python's stable ABI."""
        assert "-cp311-abi3-" in self.wheel.name, self.wheel.name
        say(self.tool("abi3audit", "--strict", "--summary", self.wheel))

    def linked_libraries(self) -> Path:
        """Return a folder of links to this environment's libraries, without sklearn-einet."""
        if not self.libraries.exists():
            self.libraries.mkdir()
            ours = ("sklearn_einet", "__editable__", "_virtualenv")
            for site_packages in {sysconfig.get_path("purelib"), sysconfig.get_path("platlib")}:
                for path in Path(site_packages).iterdir():
                    if not path.name.startswith(ours) and path.suffix != ".pth":
                        (self.libraries / path.name).symlink_to(path)
        return self.libraries

    def environment(self, name: str) -> Path:
        """Return the Python of a new environment that has links to this environment's libraries."""
        folder = self.folder / name
        run(sys.executable, "-m", "venv", "--without-pip", folder)
        (site_packages,) = folder.glob("lib/python*/site-packages")
        (site_packages / "libraries.pth").write_text(f"{self.linked_libraries()}\n")
        return folder / "bin" / "python"

    def installed(self, name: str) -> Path:
        """Return the Python of a new environment with the wheel; pip checks its requirements."""
        python = self.environment(name)
        run(sys.executable, "-m", "pip", "--python", python, "install", "--no-index", self.wheel)
        return python

    def fit(self, version: str) -> str | None:
        """Fit with the wheel, where there are libraries for this version of Python."""
        python = working_python(version)
        if python is None:
            return "NOT CHECKED, as it is not on PATH"
        if version == THIS:
            say(self.small_fit(self.installed("fit")))
        elif self.options.install_libraries:
            folder = self.folder / f"fit-{version}"
            run(python, "-m", "venv", folder)
            run(folder / "bin" / "python", "-m", "pip", "install", "--quiet", self.wheel)
            say(self.small_fit(folder / "bin" / "python"))
        else:
            with zipfile.ZipFile(self.wheel) as archive:
                name = next(n for n in archive.namelist() if n.endswith(".abi3.so"))
                library = archive.extract(name, self.folder / "extracted")
            say(run(python, "-c", LOAD, library, cwd=self.folder))
            return "ok, but only the compiled part alone (without --install-libraries)"
        return None

    def without_compiler(self) -> None:
        """Install the sdist where there is no compiler, and fit."""
        python = self.environment("uncompiled")
        pip = [sys.executable, "-m", "pip", "--python", str(python), "install", "--no-cache-dir"]
        log = run(*pip, "--verbose", "--no-deps", self.sdist, CC="false", CXX="false")
        assert "WITHOUT its compiled part" in log, log
        say(self.small_fit(python, "--uncompiled"))

    def small_fit(self, python: Path, *arguments: str) -> str:
        """Return what a small fit prints."""
        return run(python, "-W", "ignore", SMALL_FIT, *arguments, cwd=self.folder)

    def tests(self) -> None:
        """Run the tests of the sdist with the wheel."""
        with tarfile.open(self.sdist) as archive:
            archive.extractall(self.folder / "unpacked", filter="data")
        (root,) = (self.folder / "unpacked").iterdir()
        shutil.rmtree(root / "sklearn_einet")
        python = self.installed("tests")
        where = run(python, "-c", "import sklearn_einet; print(sklearn_einet.__file__)", cwd=root)
        assert where.startswith(str(self.folder / "tests")), where
        workers = ["-n", "auto", "--dist", "worksteal", "-p", "no:cacheprovider"]
        chosen = ["--every", str(self.options.every), "tests"]
        log = run(python, "-m", "pytest", *workers, "-q", "--no-header", *chosen, cwd=root)
        say("\n".join([line for line in log.splitlines() if "SKIPPED" in line]))
        say(f"with {where}")
        say(log.strip().splitlines()[-1])


def steps(check: Check) -> dict[str, Callable[[], str | None]]:
    """Return the steps by their names, in order."""
    on_linux = {"auditwheel: any Linux, nothing bundled": check.portable} if LINUX else {}
    return {
        "tools": check.tools,
        "sdist and wheel are built": check.build,
        "twine: metadata and README": check.metadata,
        "the sdist is the checkout": check.sdist_contents,
        "the wheel has what it should": check.wheel_contents,
        **on_linux,
        "abi3audit: one wheel for all versions of Python": check.stable_abi,
        **{f"the wheel on Python {v}": partial(check.fit, v) for v in PYTHONS},
        "the sdist without a compiler": check.without_compiler,
        f"every {check.options.every}. test of the sdist, with the wheel": check.tests,
    }


def outcome(step: Callable[[], str | None]) -> str:
    """Run a step, and return how it went."""
    start = time.perf_counter()
    try:
        found = step()
    except Exception:
        traceback.print_exc(limit=-2, file=sys.stdout)
        return "FAILED"
    return found or f"ok, {time.perf_counter() - start:.0f} s"


def main() -> int:
    """Check what would be released; exit with 1 if a step fails."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--every", type=int, default=19, metavar="N", help="1 runs all tests")
    parser.add_argument("--install-libraries", action="store_true")
    parser.add_argument("--keep", type=Path, help="copy the sdist and the wheel to this folder")
    options = parser.parse_args()
    outcomes: dict[str, str] = {}
    with tempfile.TemporaryDirectory(prefix="release-check-") as name:
        check = Check(Path(name).resolve(), options)
        for title, step in steps(check).items():
            print(f"{title} ...", flush=True)
            outcomes[title] = outcome(step)
            print(f"    {outcomes[title]}", flush=True)
            if outcomes[title] == "FAILED" and len(outcomes) <= 2:
                break
        if options.keep and "FAILED" not in outcomes.values():
            options.keep.mkdir(parents=True, exist_ok=True)
            for path in (check.sdist, check.wheel):
                shutil.copy2(path, options.keep)
    print("\nrelease check")
    for title, result in outcomes.items():
        print(f"  {title}: {result}")
    return int("FAILED" in outcomes.values())


if __name__ == "__main__":
    sys.exit(main())
