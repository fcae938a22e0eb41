"""Bytes to normalized numbers, by the training images' own statistics."""

from __future__ import annotations

from math import sqrt

import torch
from torch import Tensor

from bnexp.protocols import Split

BRIGHTEST = 255


class Pixels:
    """Normalizes images channel by channel: (x - mean) / std over all pixels of the training split.

    `mean` and `std` count pixel values from 0 to 1. They are exact: a histogram of the bytes, summed in whole
    numbers. std is the biased one (/N), and 1 for a constant channel.

    Shape: uint8 (N, C, H, W) -> float32 of the same shape and memory format, on `device`.
    """

    def __init__(self, split: Split, *, device: torch.device | str) -> None:
        moments = [_moments(channel) for channel in split.images.cpu().unbind(dim=1)]
        self.mean = tuple(mean / BRIGHTEST for mean, _ in moments)
        self.std = tuple(std / BRIGHTEST for _, std in moments)
        self._level = self._per_channel([mean for mean, _ in moments], device)
        self._scale = self._per_channel([1 / std for _, std in moments], device)

    def __call__(self, images: Tensor) -> Tensor:
        return images.sub(self._level).mul_(self._scale)

    def constants(self) -> dict[str, list[float]]:
        """Return what normalizes images elsewhere, under the names that files of a run have it by."""
        return {"pixel_mean": list(self.mean), "pixel_std": list(self.std)}

    @staticmethod
    def _per_channel(values: list[float], device: torch.device | str) -> Tensor:
        return torch.tensor(values, dtype=torch.float32, device=device).view(-1, 1, 1)


def _moments(channel: Tensor) -> tuple[float, float]:
    """Return the mean and standard deviation of bytes; whole numbers keep the difference of squares exact."""
    counts = torch.bincount(channel.flatten(), minlength=BRIGHTEST + 1).tolist()
    num = sum(counts)
    total = sum(count * level for level, count in enumerate(counts))
    squares = sum(count * level**2 for level, count in enumerate(counts))
    variance = (num * squares - total**2) / num**2
    return total / num, sqrt(variance) or float(BRIGHTEST)
