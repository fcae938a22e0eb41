"""Small photographs of ten kinds of things: 50,000 to train on, 10,000 to test on, 32 x 32, colour."""

from __future__ import annotations

from pathlib import Path

from bnexp.data.cifar import cifar
from bnexp.protocols import Dataset

FILES = (*(f"data_batch_{number}" for number in range(1, 6)), "test_batch", "batches.meta")


def cifar10(data_dir: Path) -> Dataset:
    """Return CIFAR-10, downloaded into `data_dir` on first use.

    Raises:
        DataError: absent and not to be had, or present and unreadable.
    Source: Krizhevsky 2009, Learning Multiple Layers of Features from Tiny Images.
    """
    return cifar("CIFAR10", data_dir, folder="cifar-10-batches-py", files=FILES)
