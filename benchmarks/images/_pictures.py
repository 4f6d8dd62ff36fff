"""Pictures of a model of images: draws, and covered images that it completes."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from sklearn_einet import EinetDensity
from sklearn_einet.inspection import ImageGridDisplay

__all__ = ["save_pictures"]

SEEN = 6
DRAWS = 10


def save_pictures(model: EinetDensity, test: np.ndarray, name: str, folder: Path) -> None:
    """Save new images, and test images of which one half was covered, ten draws of it each."""
    shown: dict[str, object] = {"value_range": (0, 255), "noise": False, "random_state": 0}
    drawn = ImageGridDisplay.from_estimator(model, n_samples=60, n_columns=15, **shown)
    drawn.figure_.savefig(folder / f"{name}_drawn.png", dpi=130)
    some = test[np.random.RandomState(1).choice(len(test), SEEN, replace=False)]
    for part in ("upper", "left"):
        covered = _covered(some, model.image_shape, part)
        display = ImageGridDisplay.from_estimator(
            model, covered, original=some, n_draws=DRAWS, **shown
        )
        display.figure_.savefig(folder / f"{name}_{part}_half.png", dpi=130)


def _covered(images: np.ndarray, shape: tuple[int, ...], part: str) -> np.ndarray:
    """Images of which one half is missing."""
    covered = images.reshape(-1, *shape).astype(np.float64)
    if part == "upper":
        covered[:, : shape[0] // 2] = np.nan
    else:
        covered[:, :, : shape[1] // 2] = np.nan
    return covered.reshape(images.shape)
