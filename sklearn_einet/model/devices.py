"""Where to compute."""

from __future__ import annotations

import torch

__all__ = ["resolve_device"]


def resolve_device(device: str | torch.device, required: bool) -> torch.device:
    """Return the device of a parameter; the CPU if it is not required and not there.

    Raises
    ------
    ValueError
        If a device that is required cannot be used.
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
