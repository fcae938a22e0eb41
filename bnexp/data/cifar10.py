"""CIFAR-10, and its format: pickled batches of colour photographs, 32 x 32, 50,000 and 10,000 of them."""

from __future__ import annotations

from pathlib import Path

import torch

from bnexp.data.download import checked, published
from bnexp.protocols import Dataset

FILES = (*(f"data_batch_{number}" for number in range(1, 6)), "test_batch", "batches.meta")


def cifar10(data_dir: Path) -> Dataset:
    """Return CIFAR-10, ten kinds of things, downloaded into `data_dir` on first use.

    Raises:
        DataError: absent and not to be had, or present and unreadable.
    Source: Krizhevsky 2009, Learning Multiple Layers of Features from Tiny Images.
    """
    return cifar("CIFAR10", data_dir, folder="cifar-10-batches-py", files=FILES)


def cifar(name: str, data_dir: Path, *, folder: str, files: tuple[str, ...]) -> Dataset:
    """Return torchvision's data set `name`, downloaded on first use; torchvision verifies its checksums.

    Raises:
        DataError: absent and not to be had, or present and unreadable.
    """
    parts = published(name, data_dir, folder=folder, files=files)
    train, test = (
        (torch.from_numpy(part.data).permute(0, 3, 1, 2).contiguous(), torch.tensor(part.targets))
        for part in parts
    )
    return checked(train, test, tuple(parts[0].classes), home=data_dir / folder, sizes=(50_000, 10_000))
