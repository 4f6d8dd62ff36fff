"""The choice of the backend of a circuit: compiled loops or torch.

The environment variable ``SKLEARN_EINET_BACKEND`` decides when a circuit is made, moved or loaded.
"auto", the default, uses the compiled loops if they are built and applicable; "torch" never uses
them; "native" raises an error if they cannot be used.
"""

from __future__ import annotations

import os

import torch

from sklearn_einet import native
from sklearn_einet.circuit.protocols import Backend
from sklearn_einet.circuit.torch_passes import TorchBackend
from sklearn_einet.native.backend import DTYPES, NativeBackend

__all__ = ["BACKENDS", "VARIABLE", "choose_backend"]

#: The environment variable, and its values.
VARIABLE = "SKLEARN_EINET_BACKEND"
BACKENDS = ("auto", "native", "torch")

_NATIVE, _TORCH = NativeBackend(), TorchBackend()


def choose_backend(device: torch.device, dtype: torch.dtype) -> Backend:
    """Return the backend for circuits of a given type on a device; see `VARIABLE`."""
    wanted = os.environ.get(VARIABLE, "auto")
    if wanted not in BACKENDS:
        raise ValueError(f"{VARIABLE} must be one of {BACKENDS}, got {wanted!r}.")
    if wanted == "torch":
        return _TORCH
    if native.available() and device.type == "cpu" and dtype in DTYPES:
        return _NATIVE
    if wanted == "native":
        cause = native.cause_of_absence()
        reason = f"they compute in float32 or float64 on the CPU, not in {dtype} on {device}"
        if cause is not None:
            reason = f"they are missing: {cause.reason}"
        raise RuntimeError(f"{VARIABLE}=native asks for the compiled loops, but {reason}.")
    if device.type == "cpu" and dtype in DTYPES:
        native.warn_if_missing()
    return _TORCH
