"""Versions of libraries, for bug reports."""

from __future__ import annotations

import os
import platform
import sys
from importlib import metadata

import torch

from sklearn_einet import native
from sklearn_einet._version import __version__

__all__ = ["show_versions"]

LIBRARIES = (
    "numpy",
    "scipy",
    "scikit-learn",
    "torch",
    "narwhals",
    "joblib",
    "threadpoolctl",
    "pandas",
    "polars",
    "pyarrow",
    "dask",
    "distributed",
    "h5py",
    "matplotlib",
    "skops",
    "pyod",
    "imbalanced-learn",
)


def show_versions() -> None:
    """Print the versions of Python and of all libraries, and how models are computed.

    Please include the output in bug reports.

    Examples
    --------
    >>> from sklearn_einet import show_versions
    >>> show_versions()
    <BLANKLINE>
    System
       python: ...
    """
    sections = {"System": _system(), "Libraries": _libraries(), "Computation": _computation()}
    for heading, entries in sections.items():
        width = max(map(len, entries))
        print(f"\n{heading}")
        for name, value in entries.items():
            print(f"{name:>{width}}: {value}")


def _system() -> dict[str, str]:
    """Return the version of Python and the machine it runs on."""
    return {
        "python": sys.version.replace("\n", " "),
        "executable": sys.executable,
        "machine": platform.platform(),
    }


def _libraries() -> dict[str, str]:
    """Return the version of each library, including those that are not installed."""
    versions = {"sklearn-einet": __version__}
    for name in LIBRARIES:
        try:
            versions[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            versions[name] = "not installed"
    return versions


def _computation() -> dict[str, str]:
    """Return how models are computed: by the compiled part or torch, and on how many threads."""
    has_gpu = torch.cuda.is_available()
    cause = native.cause_of_absence()
    return {
        "compiled part": "built" if cause is None else f"missing: {cause.reason}",
        "instruction set": native.instruction_set() or "none",
        "SKLEARN_EINET_BACKEND": os.environ.get("SKLEARN_EINET_BACKEND", "not set"),
        "threads": str(torch.get_num_threads()),
        "CPUs": str(os.cpu_count()),
        "GPU": torch.cuda.get_device_name() if has_gpu else "none",
    }
