"""Image sets of the benchmark data, as tables of one pixel a column."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
from scipy.ndimage import zoom

sys.path.insert(0, str(Path(__file__).parents[1]))

from _data import data_folder

__all__ = ["faces", "mnist", "mnist_like_semeion", "semeion", "svhn", "svhn_grey"]

LUMA = np.array([0.299, 0.587, 0.114])


def mnist() -> tuple[np.ndarray, np.ndarray]:
    """Training and test digits, (n, 784) uint8."""
    with np.load(data_folder() / "mnist.npz") as arrays:
        return arrays["train_x"], arrays["test_x"]


def semeion(order: int) -> np.ndarray:
    """SEMEION's binary 16 x 16 digits enlarged to 28 x 28, (n, 784) uint8.

    With order 0, pixels are repeated and remain black or white; with order 1 they are
    interpolated.
    """
    return _resized(_semeion(), 28 / 16, order)


def mnist_like_semeion() -> np.ndarray:
    """SEMEION's digits made to look like MNIST's: 20 x 20 pixels in the middle of 28 x 28."""
    small = _resized(_semeion(), 20 / 16, 1).reshape(-1, 20, 20)
    return np.pad(small, ((0, 0), (4, 4), (4, 4))).reshape(len(small), -1)


def _semeion() -> np.ndarray:
    with np.load(data_folder() / "semeion.npz") as arrays:
        return arrays["x"].reshape(-1, 16, 16) * 255.0


def svhn_grey() -> np.ndarray:
    """House numbers in grey, 28 x 28, (n, 784) uint8."""
    with np.load(data_folder() / "svhn.npz") as arrays:
        return _resized(arrays["x"] @ LUMA, 28 / 32, 1)


def svhn() -> tuple[np.ndarray, np.ndarray]:
    """House numbers in colour, 32 x 32 x 3 uint8: training and test, from different photographs."""
    with np.load(data_folder() / "svhn.npz") as arrays:
        return _split(arrays["x"], arrays["photo"])


def faces() -> tuple[np.ndarray, np.ndarray]:
    """Faces in colour, 64 x 64 x 3 uint8: training and test, of different people."""
    with np.load(data_folder() / "faces_rgb.npz") as arrays:
        return _split(arrays["x"], arrays["person"])


def _split(images: np.ndarray, group: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """A tenth of the groups for testing."""
    names = np.unique(group)
    held_out = np.random.RandomState(0).choice(names, len(names) // 10, replace=False)
    test = np.isin(group, held_out)
    flat = images.reshape(len(images), -1)
    return flat[~test], flat[test]


def _resized(images: np.ndarray, factor: float, order: int) -> np.ndarray:
    larger = zoom(images, (1, factor, factor), order=order, mode="nearest", grid_mode=True)
    return larger.clip(0, 255).round().astype(np.uint8).reshape(len(images), -1)
