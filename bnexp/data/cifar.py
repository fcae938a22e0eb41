"""Data sets in CIFAR's format: pickled batches of 32 x 32 colour images."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from bnexp.data.download import published
from bnexp.protocols import Dataset, Split


def cifar(name: str, data_dir: Path, *, folder: str, files: tuple[str, ...]) -> Dataset:
    """Return torchvision's data set `name`, downloaded on first use; torchvision verifies its checksums.

    Raises:
        DataError: absent and not to be had, or present and unreadable.
    """
    train, test = published(name, data_dir, folder=folder, files=files)
    return Dataset(_split(train), _split(test), tuple(train.classes))


def _split(part: Any) -> Split:
    images = torch.from_numpy(part.data).permute(0, 3, 1, 2).contiguous()
    return Split(images, torch.tensor(part.targets, dtype=torch.int64))
