"""Build the kernels for 64-bit ARM, and run the cases of all operations there, in an emulator.

    python -m tests.native.on_arm [COMPILER]

It needs a cross compiler, aarch64-linux-gnu-g++ unless another one is given, and qemu-aarch64 or
qemu-aarch64-static (in Debian g++-aarch64-linux-gnu and qemu-user-static). Without them it says so
and does nothing. Neither this machine's compiled part nor any other of the package is needed; on a
machine whose processor is ARM, the tests of `tests/native` do the same by Python.
"""

from __future__ import annotations

import shutil
import struct
import subprocess
import sys
import tempfile
from pathlib import Path

import torch
from torch import Tensor

from tests.helpers.kernel_cases import DTYPES, GROUPS, Case, cases

SOURCES = Path(__file__).parents[2] / "sklearn_einet" / "native" / "src"
# As in setup.py.
FLAGS = ["-std=c++17", "-O3", "-pthread", "-static", "-Wall", "-Wno-psabi", f"-I{SOURCES}"]
CONTRACT = {"kernels.cpp": "-ffp-contract=fast", "unfused.cpp": "-ffp-contract=off"}


def number(value: int) -> bytes:
    return struct.pack("<q", value)


def word(data: bytes) -> bytes:
    return number(len(data)) + data


def field(value: Tensor | float | None) -> bytes:
    if isinstance(value, Tensor):
        return number(1) + word(value.contiguous().numpy().tobytes())
    if isinstance(value, float):
        return number(0) + struct.pack("<d", value)
    return number(0) + number(value or 0)


def written(case: Case, dtype: torch.dtype) -> bytes:
    """Return a case as `run_cases.cpp` reads it."""
    parts = [word(case.operation.encode()), number(dtype is torch.float64)]
    parts.append(number(len(case.fields)))
    parts += [word(name.encode()) + field(value) for name, value in case.fields.items()]
    parts.append(number(len(case.expected)))
    for name, expected in case.expected.items():
        parts += [word(name.encode()), number(expected.numel())]
        parts.append(expected.contiguous().numpy().tobytes())
    return b"".join(parts)


def built(compiler: str, folder: Path) -> Path:
    """Compile the kernels and the program around them."""
    objects = []
    for source, contract in CONTRACT.items():
        objects.append(str(folder / f"{source}.o"))
        own = [contract, "-DINSTRUCTION_SET=generic", "-c", str(SOURCES / source)]
        subprocess.run([compiler, *FLAGS, *own, "-o", objects[-1]], check=True)
    program = folder / "run_cases"
    sources = [str(Path(__file__).with_name("run_cases.cpp"))]
    sources += [str(SOURCES / name) for name in ("instructions.cpp", "pool.cpp")]
    subprocess.run([compiler, *FLAGS, *sources, *objects, "-o", str(program)], check=True)
    return program


def main() -> int:
    compiler = sys.argv[1] if len(sys.argv) > 1 else "aarch64-linux-gnu-g++"
    emulator = shutil.which("qemu-aarch64") or shutil.which("qemu-aarch64-static")
    if shutil.which(compiler) is None or emulator is None:
        print(f"skipped: {compiler} and qemu-aarch64 are needed, and not both are here")
        return 0
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        program = built(compiler, folder)
        data = [written(c, dtype) for dtype in DTYPES for g in GROUPS for c in cases(g, dtype)]
        (folder / "cases").write_bytes(number(len(data)) + b"".join(data))
        return subprocess.run([emulator, str(program), str(folder / "cases")]).returncode


if __name__ == "__main__":
    sys.exit(main())
