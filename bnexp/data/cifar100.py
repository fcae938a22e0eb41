"""Small photographs of a hundred kinds of things: 50,000 to train on, 10,000 to test on, 32 x 32, colour."""

from __future__ import annotations

from pathlib import Path

from bnexp.data.cifar10 import cifar
from bnexp.protocols import Dataset

FILES = ("train", "test", "meta")


def cifar100(data_dir: Path) -> Dataset:
    """Return CIFAR-100 with its fine labels, downloaded into `data_dir` on first use.

    Raises:
        DataError: absent and not to be had, or present and unreadable.
    Source: Krizhevsky 2009, Learning Multiple Layers of Features from Tiny Images.
    """
    return cifar("CIFAR100", data_dir, folder="cifar-100-python", files=FILES)
