"""Install the package without a compiler, with gcc and with clang, and fit a model with each.

The libraries are those of the environment that runs this; compilers that are missing are skipped.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from readme import copied_to

COMPILERS = {"none": ("false", "false"), "gcc": ("gcc", "g++"), "clang": ("clang", "clang++")}
SMALL_FIT = Path(__file__).with_name("small_fit.py")


def install(compiler: str, checkout: Path, target: Path) -> None:
    """Build the package with a compiler, and install it without its dependencies."""
    c, cpp = (shutil.which(command) for command in COMPILERS[compiler])
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-compile"]
    shutil.rmtree(checkout / "build", ignore_errors=True)  # what the compiler before has built
    subprocess.run(
        [*pip, "--target", str(target), str(checkout)],
        env={**os.environ, "CC": str(c), "CXX": str(cpp)},
        check=True,
    )


def main() -> None:
    """Install and fit with every compiler that is there."""
    with tempfile.TemporaryDirectory() as name:
        checkout = Path(name).resolve() / "checkout"
        copied_to(checkout)
        for compiler, commands in COMPILERS.items():
            print(f"compiler: {compiler}", flush=True)
            if not all(map(shutil.which, commands)):
                print("  is not installed")
                continue
            target = Path(name).resolve() / compiler
            install(compiler, checkout, target)
            variables = {**os.environ, "PYTHONPATH": str(target), "OMP_NUM_THREADS": "1"}
            command = [sys.executable, "-W", "ignore", str(SMALL_FIT)]
            arguments = [str(target), *["--uncompiled"] * (compiler == "none")]
            subprocess.run([*command, *arguments], env=variables, cwd=name, check=True)


if __name__ == "__main__":
    main()
