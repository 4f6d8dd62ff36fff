"""Why the compiled part is missing, and the one warning about it."""

from __future__ import annotations

import sys
import warnings
from importlib.machinery import EXTENSION_SUFFIXES
from importlib.metadata import Distribution, distributions
from pathlib import Path
from threading import Lock
from typing import NamedTuple

from sklearn_einet.native.calls import available, import_error

__all__ = ["UNSUPPORTED", "Cause", "cause_of_absence", "warn_if_missing"]

#: Whether this is a platform that the C++ sources are not written for: there is nothing to do.
UNSUPPORTED = sys.platform == "win32"

FOLDER = Path(__file__).resolve().parent

# The first call of `warn_if_missing` takes it and keeps it: as an error, too, it is raised once.
_first_call = Lock()


class Cause(NamedTuple):
    """Why the compiled part is missing.

    Attributes
    ----------
    reason : str
    remedy : str
        What the user can do; empty where there is nothing to do.
    """

    reason: str
    remedy: str


def cause_of_absence() -> Cause | None:
    """Return why the compiled part is missing, or None where it is in use."""
    if available():
        return None
    if UNSUPPORTED:
        return Cause("the C++ sources need gcc or clang, and do not support Windows", "")
    checkout = FOLDER.parents[1]
    is_checkout = (checkout / "pyproject.toml").is_file()
    hidden = _hidden_copy()
    if hidden is not None:
        remedy = "Start Python in another folder"
        if is_checkout:
            remedy += f", or run `pip install -e .` in {checkout}"
        reason = f"the folder {FOLDER.parent} hides the installed, compiled copy in {hidden}"
        return Cause(reason, f"{remedy}.")
    again = "reinstall: `pip install --force-reinstall --no-deps --no-cache-dir sklearn-einet`"
    if is_checkout:
        again = f"run `pip install -e .` in {checkout}"
    built = _extensions_in(FOLDER)
    if built:
        reason = f"Python cannot load {built[0]} ({import_error})"
        return Cause(reason, f"{again[0].upper()}{again[1:]}.")
    reason = "it was not built, most likely because no C++ compiler was found"
    return Cause(reason, f"Install a C++ compiler such as gcc or clang, then {again}.")


def warn_if_missing() -> None:
    """Warn that the compiled part is missing: once in a process, where it could be built."""
    if not _first_call.acquire(blocking=False):
        return
    cause = cause_of_absence()
    if cause is not None and cause.remedy:
        warnings.warn(
            f"The compiled part of sklearn-einet is missing: {cause.reason}. torch computes "
            f"instead, which is slower. {cause.remedy} To use torch without this warning, "
            "set the environment variable SKLEARN_EINET_BACKEND=torch.",
            UserWarning,
            stacklevel=2,
        )


def _extensions_in(folder: Path) -> list[Path]:
    """Return the compiled modules in a folder, those of other versions of Python left out."""
    files = (folder / f"_native{suffix}" for suffix in EXTENSION_SUFFIXES)
    return [path for path in files if path.is_file()]


def _hidden_copy() -> Path | None:
    """Return the folder of an installed, compiled copy that Python does not import."""
    for distribution in distributions(name="sklearn-einet"):
        folder = _folder_of(distribution)
        if folder is not None and folder != FOLDER and _extensions_in(folder):
            return folder.parent
    return None


def _folder_of(distribution: Distribution) -> Path | None:
    """Return where this folder is in an installed distribution; None if it has no copy of it."""
    for path in distribution.files or ():
        if path.parts[-3:] == ("sklearn_einet", "native", "calls.py"):
            return Path(str(path.locate())).resolve().parent
    return None
