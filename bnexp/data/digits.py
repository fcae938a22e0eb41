"""The handwritten digits that come with the package."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from bnexp.protocols import Dataset, Split

EMBEDDED = Path(__file__).with_name("digits.npz")
SIDE = 28
GREYS = 16
TEST_EVERY = 5


def digits(data_dir: Path) -> Dataset:
    """Return the 1,797 digits of UCI's optdigits as 28 x 28 images, a fifth of them as the test split.

    The originals are 8 x 8 with values 0 to 16. The test split is every fifth digit of the file sorted by
    class: stratified, 359 digits, and the same for every seed. Nothing is read from `data_dir`.

    Source: Alpaydin & Kaynak 1998, doi:10.24432/C50P49; CC BY 4.0, see digits.LICENSE.
    """
    with np.load(EMBEDDED) as arrays:
        small_NHW, labels = arrays["images"], arrays["labels"].astype(np.int64)
    images = torch.from_numpy(enlarge(small_NHW)).unsqueeze(1)
    in_test = np.zeros(len(labels), dtype=bool)
    in_test[np.argsort(labels, kind="stable")[TEST_EVERY - 1 :: TEST_EVERY]] = True
    targets = torch.from_numpy(labels)
    train, test = (
        Split(images[torch.from_numpy(part)], targets[torch.from_numpy(part)]) for part in (~in_test, in_test)
    )
    return Dataset(train, test, tuple("0123456789"))


def enlarge(small_NHW: np.ndarray) -> np.ndarray:
    """Scale square images of values 0 to 16 bilinearly to 28 x 28 bytes.

    big = W small W^T * 255 / 16, W the weights of bilinear interpolation between pixel centres. All products
    are whole numbers that float64 holds exactly, so the bytes are the same on every machine.

    Shape: (N, S, S) -> uint8 (N, 28, 28).
    """
    weights = _whole_weights(small_NHW.shape[-1])
    unit = (2 * SIDE) ** 2 * GREYS
    scaled = weights @ small_NHW.astype(np.float64) @ weights.T
    return np.asarray(np.rint(scaled * 255 / unit), dtype=np.uint8)


def _whole_weights(size: int) -> np.ndarray:
    """Return the (28, size) interpolation matrix times 56, which makes every entry whole."""
    # The centre of output pixel i lies at (i + 1/2) * size / 28 - 1/2 of the input; the border is repeated.
    centre = np.clip((2 * np.arange(SIDE) + 1) * size - SIDE, 0, (size - 1) * 2 * SIDE)
    distance: np.ndarray = np.abs(centre[:, None] - np.arange(size) * 2 * SIDE)
    return np.maximum(2.0 * SIDE - distance, 0.0)
