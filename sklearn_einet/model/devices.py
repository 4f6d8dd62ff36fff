"""Devices to compute on."""

from __future__ import annotations

import torch

__all__ = ["resolve_device"]


def resolve_device(device: str | torch.device, required: bool) -> torch.device:
    """Return the device named by a parameter; the CPU if it is optional and not available.

    Raises
    ------
    ValueError
        If a required device cannot be used.
    """
    if device == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        found = torch.device(device)
        torch.empty(0, device=found, dtype=torch.float64)
    except (RuntimeError, AssertionError, TypeError) as error:
        if not required:
            return torch.device("cpu")
        raise ValueError(f"device={device!r} cannot be used: {error}") from error
    return found
