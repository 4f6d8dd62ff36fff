"""Follow the README in a fresh environment and a clean copy of the checkout."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).parents[1]

# Commands that continuous integration runs itself.
RUN_ELSEWHERE = {"make demo", "make test"}

CHECK = """
from sklearn_einet import native
assert native.available(), "the compiled loops are missing: is there a C++ compiler?"
"""


def checkout_files() -> list[str]:
    """Return the files of the checkout, without anything that was built in it."""
    command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    listed = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    return [name for name in listed.split("\0") if name and (ROOT / name).is_file()]


def copied_to(folder: Path) -> None:
    """Copy the files of the checkout."""
    for name in checkout_files():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(ROOT / name, folder / name)


def commands(text: str) -> list[str]:
    """Return the commands in the blocks of shell, without comments."""
    blocks = re.findall(r"^```sh\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    lines = (line.partition("#")[0].strip() for block in blocks for line in block.splitlines())
    return [line for line in lines if line]


def main() -> None:
    """Run the install commands of the README, then its code, in its folder."""
    with tempfile.TemporaryDirectory() as name:
        folder, environment = Path(name) / "checkout", Path(name) / "environment"
        copied_to(folder)
        text = (folder / "README.md").read_text()
        for target in re.findall(r"(?:\]\(|src=\")(?!https?:)([^)#\"]+)", text):
            assert (folder / target).exists(), f"README links to {target}, which is not there"
        subprocess.run([sys.executable, "-m", "venv", str(environment)], check=True)
        variables = {k: v for k, v in os.environ.items() if not k.startswith("PYTHON")}
        variables["PATH"] = os.pathsep.join([str(environment / "bin"), os.environ["PATH"]])
        variables["PIP_NO_COMPILE"] = variables["PIP_QUIET"] = "1"  # for speed
        variables.setdefault("OMP_NUM_THREADS", "1")  # other jobs may share the cores
        for command in commands(text):
            if command not in RUN_ELSEWHERE:
                print(command, flush=True)
                subprocess.run(command, shell=True, cwd=folder, env=variables, check=True)
        doctest = ["python", "-m", "doctest", "-o", "NORMALIZE_WHITESPACE", "README.md"]
        subprocess.run(doctest, cwd=folder, env=variables, check=True)
        subprocess.run(["python", "-c", CHECK], cwd=folder, env=variables, check=True)
        print("README: every command works, every line of code prints what it says")


if __name__ == "__main__":
    main()
