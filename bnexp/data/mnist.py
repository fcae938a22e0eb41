"""MNIST, and its format: four idx files of grey images, 28 x 28, 60,000 and 10,000 of them."""

from __future__ import annotations

from pathlib import Path

from bnexp.data.download import checked, published
from bnexp.protocols import Dataset

FILES = (
    "train-images-idx3-ubyte",
    "train-labels-idx1-ubyte",
    "t10k-images-idx3-ubyte",
    "t10k-labels-idx1-ubyte",
)


def mnist(data_dir: Path) -> Dataset:
    """Return MNIST, handwritten digits, downloaded into `data_dir` on first use.

    Raises:
        DataError: absent and not to be had, or present and unreadable.
    Source: LeCun, Bottou, Bengio & Haffner 1998, doi:10.1109/5.726791.
    """
    return idx("MNIST", data_dir, tuple("0123456789"))


def idx(name: str, data_dir: Path, classes: tuple[str, ...]) -> Dataset:
    """Return torchvision's data set `name`, downloaded on first use.

    Raises:
        DataError: absent and not to be had, unreadable, or labels that do not fit the images.
    """
    folder = f"{name}/raw"
    parts = published(name, data_dir, folder=folder, files=FILES)
    train, test = ((part.data.unsqueeze(1), part.targets.long()) for part in parts)
    return checked(train, test, classes, home=data_dir / folder, sizes=(60_000, 10_000))
